#include "proxy/profile.h"

#include <stdio.h>
#include <string.h>

#include "proxy/resp/emit.h"

#define GREETING_ANSWER_MAX   65536u /* HELLO lists the modules, ROLE the replicas */
#define GREETING_ELEMENTS_MAX 4096u

void profile_init(struct profile *p)
{
    *p = (struct profile){.resp = 2};
}

void profile_clear(struct profile *p)
{
    buf_wipe(&p->user);
    buf_wipe(&p->password);
    profile_init(p);
}

static void set(struct buf *b, struct slice bytes)
{
    buf_wipe(b);
    buf_append(b, bytes);
}

void profile_copy(struct profile *to, const struct profile *from)
{
    set(&to->user, buf_slice(&from->user));
    set(&to->password, buf_slice(&from->password));
    to->authenticated = from->authenticated;
    to->identity = from->identity;
    to->database = from->database;
    to->resp = from->resp;
}

static bool same_bytes(const struct buf *a, const struct buf *b)
{
    return buf_len(a) == buf_len(b) &&
           (buf_len(a) == 0 || memcmp(buf_head(a), buf_head(b), buf_len(a)) == 0);
}

bool profile_same(const struct profile *a, const struct profile *b)
{
    return a->resp == b->resp && a->database == b->database &&
           a->authenticated == b->authenticated && a->identity == b->identity &&
           same_bytes(&a->user, &b->user) && same_bytes(&a->password, &b->password);
}

static uint32_t hash_bytes(uint32_t hash, const struct buf *b)
{
    for (size_t i = 0; i < buf_len(b); i++) {
        hash = (hash ^ (unsigned char)buf_head(b)[i]) * 16777619u; /* FNV-1a */
    }
    return hash;
}

uint32_t profile_hash(const struct profile *p)
{
    uint32_t hash =
        2166136261u ^ (uint32_t)p->database * 31u ^ (uint32_t)p->resp ^ p->identity * 131u;
    return hash_bytes(hash_bytes(hash, &p->user), &p->password);
}

bool profile_has_password(const struct profile *p, const struct config_service *service)
{
    return p->authenticated || p->identity > 0 || service->password != NULL;
}

const char *profile_own_user(const struct profile *p, const struct config_service *service)
{
    const char *user =
        p->identity > 0 ? service->upstream_users.v[p->identity - 1].user : service->user;
    return user != NULL ? user : "default";
}

static void set_credentials(struct profile *p, struct slice user, struct slice password)
{
    p->authenticated = true;
    set(&p->user, user);
    set(&p->password, password);
}

/* As Redis 7.0 validateClientName has it. */
bool name_is_valid(struct slice name)
{
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] < '!' || name.p[i] > '~') {
            return false;
        }
    }
    return true;
}

/* HELLO [2|3 [AUTH user password] [SETNAME name]], options in any order (Redis 7.0 helloCommand).
 */
static enum profile_form apply_hello(struct profile *p, struct buf *own_name,
                                     const struct args *args)
{
    if (args->count == 1) {
        return PROFILE_PLAIN;
    }
    int64_t version;
    if (args->count > args->kept || !slice_to_i64(args->v[1], 2, 3, &version)) {
        return PROFILE_UNKNOWN;
    }
    enum profile_form form = PROFILE_PLAIN;
    const struct slice *user = NULL, *name = NULL;
    for (uint32_t i = 2; i < args->kept;) {
        if (slice_eq_nocase(args->v[i], "AUTH") && i + 2 < args->kept) {
            form = user != NULL || name != NULL ? PROFILE_ODD : form;
            user = &args->v[i + 1];
            i += 3;
        } else if (slice_eq_nocase(args->v[i], "SETNAME") && i + 1 < args->kept) {
            form = name != NULL ? PROFILE_ODD : form;
            name = &args->v[i + 1];
            i += 2;
        } else {
            return PROFILE_UNKNOWN;
        }
    }
    p->resp = (int)version;
    if (user != NULL) {
        set_credentials(p, user[0], user[1]);
    }
    if (name != NULL) {
        /* A name the server may refuse, behind an AUTH it may have accepted. */
        form = user != NULL && !name_is_valid(*name) ? PROFILE_ODD : form;
        set(own_name, *name);
    }
    return form;
}

enum profile_form profile_apply(struct profile *p, struct buf *name, const struct command *command,
                                const struct args *args)
{
    if (command->cls == COMMAND_HELLO) {
        return apply_hello(p, name, args);
    }
    if (command->cls == COMMAND_AUTH && args->count == 2) {
        set_credentials(p, slice_str(""), args->v[1]);
        return PROFILE_PLAIN;
    }
    if (command->cls == COMMAND_AUTH && args->count == 3) {
        set_credentials(p, args->v[1], args->v[2]);
        return PROFILE_PLAIN;
    }
    if (command->cls == COMMAND_SETNAME && args->count == 3) {
        set(name, args->v[2]);
        return PROFILE_PLAIN;
    }
    bool understood = command->cls == COMMAND_SELECT && args->count == 2 &&
                      slice_to_i64(args->v[1], 0, INT32_MAX, &p->database);
    return understood ? PROFILE_PLAIN : PROFILE_UNKNOWN;
}

static void add_step(struct greeting *g, enum greeting_step step, const struct slice *argv,
                     size_t argc)
{
    g->steps[g->count++] = (uint8_t)step;
    emit_command(&g->out, argv, argc);
}

static void add_auth(struct greeting *g, struct slice user, struct slice password)
{
    struct slice argv[3] = {slice_str("AUTH"), user, password};
    if (user.n == 0) {
        argv[1] = password;
    }
    add_step(g, GREET_AUTH, argv, user.n > 0 ? 3 : 2);
}

/* While its password is being changed either of two may be the one. */
static void add_own_auth(struct greeting *g, const char *user, struct secret *secret)
{
    struct passwords passwords;
    g->secret = secret;
    g->secret_version = secret_version(secret);
    secret_passwords(secret, &passwords);
    for (size_t i = 0; i < passwords.count; i++) {
        add_auth(g, slice_str(user != NULL ? user : ""), slice_str(passwords.v[i]));
    }
    passwords_wipe(&passwords);
}

void greeting_begin(struct greeting *g, const struct profile *p, struct slice name,
                    const struct config_service *service, enum greeting_step until)
{
    greeting_clear(g);
    reply_scan_reset(&g->scan, GREETING_ELEMENTS_MAX);
    if (p->authenticated && until > GREET_AUTH) {
        add_auth(g, buf_slice(&p->user), buf_slice(&p->password));
    } else if (p->identity > 0) {
        const struct config_identity *one = &service->upstream_users.v[p->identity - 1];
        add_own_auth(g, one->user, one->password);
    } else if (service->password != NULL) {
        add_own_auth(g, service->user, service->password);
    }
    if (p->resp == 3 && until > GREET_HELLO) {
        add_step(g, GREET_HELLO, (struct slice[]){slice_str("HELLO"), slice_str("3")}, 2);
    }
    if (name.n > 0 && until > GREET_NAME) {
        add_step(g, GREET_NAME, (struct slice[]){slice_str("CLIENT"), slice_str("SETNAME"), name},
                 3);
    }
    char number[24];
    if (p->database != 0 && until > GREET_SELECT) {
        (void)snprintf(number, sizeof number, "%lld", (long long)p->database);
        add_step(g, GREET_SELECT, (struct slice[]){slice_str("SELECT"), slice_str(number)}, 2);
    }
    add_step(g, GREET_ROLE, (struct slice[]){slice_str("ROLE")}, 1);
}

void greeting_ask_id(struct greeting *g)
{
    add_step(g, GREET_ID, (struct slice[]){slice_str("CLIENT"), slice_str("ID")}, 2);
}

static bool is_other_role(struct slice reply, bool replica)
{
    CHECK(reply.p != NULL);
    const char *wanted = replica ? "$5\r\nslave" : "$6\r\nmaster";
    return reply.p[0] == '*' &&
           memmem(reply.p, reply.n < 32 ? reply.n : 32, wanted, strlen(wanted)) == NULL;
}

/* What a server says unasked before it closes: too many clients, protected mode. */
static bool turned_away(struct slice reply)
{
    return slice_starts_with(reply, "-ERR max number of clients") ||
           slice_starts_with(reply, "-DENIED");
}

/* It says nothing of the profile, and another time the answer is another. */
static bool not_now(struct slice reply)
{
    return turned_away(reply) || slice_starts_with(reply, "-BUSY ") ||
           slice_starts_with(reply, "-LOADING ") || slice_starts_with(reply, "-MASTERDOWN ");
}

/* A server that will not tell its role is no reason to stay away; a name it does not like, or a
 * number that it keeps to itself, neither. */
static bool tolerable(enum greeting_step step, struct slice reply)
{
    return !turned_away(reply) && (step == GREET_ROLE || step == GREET_NAME || step == GREET_ID);
}

/* A password is refused, and another one was not, or is still to be judged. */
static bool other_password(const struct greeting *g, enum greeting_step step)
{
    bool last = g->answered == g->count || g->steps[g->answered] != GREET_AUTH;
    return step == GREET_AUTH && (g->let_in || !last);
}

static enum greeting_result judge_answer(struct greeting *g, struct slice reply)
{
    if (g->scan.type == '>') {
        return GREETING_MORE; /* a push is nobody's answer */
    }
    CHECK(reply.p != NULL);
    enum greeting_step step = (enum greeting_step)g->steps[g->answered++];
    if (step == GREET_ROLE && is_other_role(reply, g->replica)) {
        return GREETING_OTHER_ROLE;
    }
    if (step == GREET_ID && reply.p[0] == ':' && reply.n > 3 &&
        !slice_to_i64(slice_of(reply.p + 1, reply.n - 3), 1, INT64_MAX, &g->client_id)) {
        g->client_id = 0;
    }
    g->needs_auth = g->needs_auth || slice_starts_with(reply, "-NOAUTH ");
    g->let_in = g->let_in || (step == GREET_AUTH && reply.p[0] == '+');
    bool passed_over = other_password(g, step) && !not_now(reply);
    if (reply.p[0] == '-' && !tolerable(step, reply) && !passed_over) {
        g->refused = not_now(reply) ? GREET_ROLE : step;
        buf_append(&g->words, slice_of(reply.p + 1, reply.n - 3));
        return GREETING_REFUSED;
    }
    return g->answered == g->count ? GREETING_DONE : GREETING_MORE;
}

enum greeting_result greeting_feed(struct greeting *g, struct slice bytes)
{
    buf_append(&g->in, bytes);
    enum greeting_result result = GREETING_MORE;
    while (result == GREETING_MORE && buf_len(&g->in) > g->scan.length) {
        struct slice in = buf_slice(&g->in);
        size_t seen = (size_t)g->scan.length, used;
        switch (reply_scan_feed(&g->scan, slice_of(in.p + seen, in.n - seen), &used)) {
        case SCAN_MORE: return in.n > GREETING_ANSWER_MAX ? GREETING_BROKEN : GREETING_MORE;
        case SCAN_ERROR: return GREETING_BROKEN;
        case SCAN_DONE: break;
        }
        size_t length = (size_t)g->scan.length;
        result = judge_answer(g, slice_of(in.p, length));
        buf_consume(&g->in, length);
        reply_scan_reset(&g->scan, GREETING_ELEMENTS_MAX);
    }
    return result;
}

bool greeting_is_outdated(const struct greeting *g)
{
    return g->secret != NULL && secret_version(g->secret) != g->secret_version;
}

void greeting_clear(struct greeting *g)
{
    buf_wipe(&g->out);
    buf_release(&g->in);
    buf_release(&g->words);
    *g = (struct greeting){0};
}
