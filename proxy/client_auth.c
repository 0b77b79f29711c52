#include "proxy/client_auth.h"

#include "proxy/base/log.h"
#include "proxy/command_name.h"
#include "proxy/linkset.h"
#include "proxy/resp/emit.h"
#include "proxy/session_blocking.h"
#include "proxy/session_reads.h"
#include "proxy/session_restore.h"
#include "proxy/session_subscribe.h"
#include "proxy/worker.h"

#define WRONGPASS "-WRONGPASS invalid username-password pair or user is disabled.\r\n"

void client_auth_begin(struct session *s)
{
    client_auth_end(s);
    switch (s->service->config->client_auth) {
    case CLIENT_AUTH_FORWARD: s->gate = GATE_FORWARD; return;
    case CLIENT_AUTH_NONE: s->gate = GATE_OPEN; return;
    case CLIENT_AUTH_USERS: s->gate = GATE_SHUT; return;
    }
    UNREACHABLE("client auth");
}

void client_auth_end(struct session *s)
{
    acl_user_unref(&s->user);
}

static bool say(struct session *s, const char *words)
{
    session_give_str(s, words);
    return true;
}

/* Its requests are another user's at the server from now on. What it has on a link of its own is
 * carried over, as far as it would be if that link were lost. */
static void take_identity(struct session *s, unsigned identity)
{
    struct profile p;
    if (s->set->profile.identity == identity) {
        return;
    }
    profile_init(&p);
    profile_copy(&p, &s->set->profile);
    p.identity = identity;
    session_lose_link(s);
    if (s->state < SESSION_CLOSING) {
        service_unwait(s->service, s);
        struct linkset *set = linkset_get(s->service, &p, s->set->replica);
        linkset_drop(&s->set);
        s->set = set;
        s->vetted = s->refused = false;
        reads_profile_changed(s);
    }
    profile_clear(&p);
}

static void log_refusal(const struct session *s, struct slice name, const struct acl *acl)
{
    char text[ADDR_TEXT_MAX];
    /* What is nobody's name may be a password. */
    bool known = acl_find(acl, name) != NULL;
    log_limited(LOG_NOTICE, "client-auth-failed", "service=%s client=%s user=%s",
                log_quote(slice_str(s->service->config->name)), session_peer(s, text),
                known ? log_quote(name) : "(unknown)");
}

/* False: it stays who it was. The session may have been ended for what it could not take along. */
static bool log_in(struct session *s, struct slice name, struct slice password)
{
    if (s->service->users == NULL) { /* as Redis's default user with nopass */
        return slice_eq(name, slice_str("default"));
    }
    struct acl *acl = client_users_now(s->service->users);
    struct acl_user *user = acl_check(acl, name, password);
    if (user != NULL) {
        (void)acl_user_ref(user);
        acl_user_unref(&s->user);
        s->user = user;
        s->gate = GATE_OPEN;
        take_identity(s, config_identity_of(s->service->config, user->name));
    } else {
        log_refusal(s, name, acl);
    }
    acl_unref(&acl);
    return user != NULL;
}

static bool take_auth(struct session *s, const struct args *args)
{
    if (args == NULL) { /* no password is so long */
        return say(s, WRONGPASS);
    }
    if (args->count == 1) {
        return say(s, "-ERR wrong number of arguments for 'auth' command\r\n");
    }
    if (args->count > 3) {
        return say(s, "-ERR syntax error\r\n");
    }
    bool named = args->count == 3;
    if (!named && s->service->users == NULL) {
        return say(s, "-ERR AUTH <password> called without any password configured for the default "
                      "user. Are you sure your configuration is correct?\r\n");
    }
    struct slice name = named ? args->v[1] : slice_str("default");
    if (!log_in(s, name, args->v[named ? 2 : 1])) {
        return say(s, WRONGPASS);
    }
    return s->state >= SESSION_CLOSING || say(s, "+OK\r\n");
}

/* The words against HELLO's version, or NULL. */
static const char *version_problem(const struct args *args)
{
    int64_t version = 2;
    if (args->count > 1 && !slice_to_i64(args->v[1], INT64_MIN, INT64_MAX, &version)) {
        return "-ERR Protocol version is not an integer or out of range\r\n";
    }
    return version < 2 || version > 3 ? "-NOPROTO unsupported protocol version\r\n" : NULL;
}

static bool say_syntax(struct session *s, struct slice option)
{
    struct buf error = {0};
    buf_append_str(&error, "-ERR Syntax error in HELLO option '");
    for (size_t i = 0; i < option.n && i < 128; i++) {
        bool prints = option.p[i] >= ' ' && option.p[i] <= '~';
        buf_append(&error, slice_of(prints ? &option.p[i] : " ", 1));
    }
    buf_append_str(&error, "'\r\n");
    session_give(s, NULL, buf_slice(&error));
    buf_release(&error);
    return true;
}

/* Does what the options say, in order, as Redis 7.0 does; *name gets the last name. False: it was
 * answered, or the session has ended. */
static bool take_options(struct session *s, const struct args *args, struct slice *name)
{
    for (uint32_t i = 2; i < args->count;) {
        uint32_t more = args->count - i - 1;
        if (i + (more < 2 ? more : 2) >= args->kept) {
            say_syntax(s, args->v[args->kept - 1]); /* so many options say something twice */
            return false;
        }
        if (slice_eq_nocase(args->v[i], "AUTH") && more >= 2) {
            if (!log_in(s, args->v[i + 1], args->v[i + 2])) {
                say(s, WRONGPASS);
                return false;
            }
            if (s->state >= SESSION_CLOSING) {
                return false;
            }
            i += 3;
        } else if (slice_eq_nocase(args->v[i], "SETNAME") && more >= 1) {
            *name = args->v[i + 1];
            if (!name_is_valid(*name)) {
                say(s, "-ERR Client names cannot contain spaces, newlines or special "
                       "characters.\r\n");
                return false;
            }
            i += 2;
        } else {
            say_syntax(s, args->v[i]);
            return false;
        }
    }
    return true;
}

/* What the server is to hear of it: nothing of who the client is here. */
static bool pass_on(struct session *s, const struct request *r, struct slice name)
{
    struct buf frame = {0};
    struct args args;
    struct slice argv[4] = {slice_str("HELLO"), r->args->count > 1 ? r->args->v[1] : slice_str("2"),
                            slice_str("SETNAME"), name};
    emit_command(&frame, argv, name.p != NULL ? 4 : 2);
    CHECK(args_parse(buf_slice(&frame), &args) == ARGS_OK);
    struct request said = {.command = r->command,
                           .args = &args,
                           .frame = buf_slice(&frame),
                           .whole = true,
                           .voice = r->voice};
    bool taken = request_take_admitted(s, &said);
    args_free(&args);
    buf_release(&frame);
    return taken;
}

/* Redis reads options as strings of C, up to a NUL. */
static bool names_auth(const struct args *args)
{
    for (uint32_t i = 2; i < args->kept; i++) {
        if (slice_eq_nocase(command_name_until_nul(args->v[i]), "AUTH")) {
            return true;
        }
    }
    return args->count > args->kept;
}

static bool take_hello(struct session *s, const struct request *r)
{
    struct slice name = {0};
    if (r->args == NULL) {
        return say_syntax(s, slice_str(""));
    }
    const char *problem = version_problem(r->args);
    if (problem != NULL) {
        return say(s, problem);
    }
    if (!take_options(s, r->args, &name)) {
        return true;
    }
    if (s->gate == GATE_SHUT) {
        return say(s, "-NOAUTH HELLO must be called with the client already authenticated, "
                      "otherwise the HELLO AUTH <user> <pass> option can be used to authenticate "
                      "the client and select the RESP protocol version at the same time\r\n");
    }
    return pass_on(s, r, name);
}

/* Nothing else is let through of a session that is nobody's. */
static bool take_stranger(struct session *s, const struct request *r)
{
    CHECK(s->link == NULL && s->outstanding == 0);
    switch ((int)r->command->cls) {
    case COMMAND_AUTH: return take_auth(s, r->args);
    case COMMAND_HELLO: return take_hello(s, r);
    case COMMAND_QUIT:
    case COMMAND_RESET:
    case COMMAND_HTTP: local_answer(s, r->command, r->args); return true;
    default: say_noauth(s, r->command); return true;
    }
}

/* An answer of our own, or another user, has its place behind all that was asked before. */
static bool is_quiet(const struct session *s)
{
    return s->outstanding == 0 && s->asked == NULL && s->tentative == NULL && !blocking_ahead(s);
}

static bool refuse_in_transaction(struct session *s, const char *words)
{
    session_give_str(s, words);
    if (!s->multi_lost) {
        transaction_spoil(s);
    }
    return true;
}

bool client_auth_take(struct session *s, const struct request *r)
{
    bool hello = r->command->cls == COMMAND_HELLO;
    if (s->gate == GATE_SHUT) {
        return take_stranger(s, r);
    }
    if (hello && r->args != NULL && !names_auth(r->args)) {
        return request_take_admitted(s, r);
    }
    if (!is_quiet(s)) {
        return false;
    }
    if (s->multi || s->multi_lost) {
        return refuse_in_transaction(s, "-ERR AUTH inside MULTI is not allowed\r\n");
    }
    if (listening_only(s)) {
        struct buf error = {0};
        buf_printf(&error,
                   "-ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT "
                   "/ RESET are allowed in this context\r\n",
                   r->command->name);
        session_give(s, NULL, buf_slice(&error));
        buf_release(&error);
        return true;
    }
    return hello ? take_hello(s, r) : take_auth(s, r->args);
}

bool client_auth_refuse_raw(struct session *s, const struct request *r)
{
    struct buf error = {0};
    buf_printf(&error,
               "-ERR '%s' is not served here: behind it the proxy could not tell who the client is "
               "(client-auth)\r\n",
               r->command->name);
    session_give(s, NULL, buf_slice(&error));
    buf_release(&error);
    if (s->multi) {
        transaction_spoil(s);
    }
    return true;
}

void client_auth_users_changed(struct session *s)
{
    if (s->user == NULL || s->state == SESSION_CLOSED) {
        return;
    }
    struct acl *acl = client_users_now(s->service->users);
    bool gone = acl_find(acl, slice_str(s->user->name)) == NULL;
    acl_unref(&acl);
    if (gone) {
        session_close(s, SESSION_END_USER);
    }
}
