#include "sentinel/sentinel_conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/resp/emit.h"
#include "sentinel/address_map.h"
#include "sentinel/backoff.h"
#include "sentinel/sentinel_sub.h"
#include "sentinel/wire.h"

#define SENTINEL_MAGIC 0x5e471e1au
/* Questions about one service that wait for an answer; more are put together. */
#define ASKS_MAX 4u
/* Entries of a list that are looked at. */
#define PEERS_MAX 128u

enum question {
    ASK_AUTH,
    ASK_ID,
    ASK_INFO,
    ASK_ADDRESS,
    ASK_MASTER,
    ASK_SENTINELS,
    ASK_REPLICAS,
    ASK_KINDS
};

struct pending {
    enum question question;
    size_t service;
    uint64_t asked_ms;
};

/* What it knows and owes about one service. */
struct desk {
    struct sentinel_view view;
    struct sentinel_view next; /* the address was answered, the rest is still to come */
    uint32_t waiting;          /* answers to come */
    bool again;                /* asked for while there were too many */
};

struct sentinel {
    uint32_t magic;
    const struct sentinel_group *group;
    struct sockaddr_any at;
    struct addr peer; /* as it is called */
    char name[ADDR_TEXT_MAX];
    enum sentinel_state state;
    char id[SENTINEL_ID_MAX + 1];
    struct wire wire;
    struct wheel_timer timer; /* the next try, or the end of waiting for the first of pending */
    struct backoff backoff;
    bool no_lists;           /* its lists are more than we take */
    bool proven;             /* this connection has answered on a service */
    bool refused[ASK_KINDS]; /* it forbids us this question, and the log was told */
    char trouble[160];       /* the last one that the log was told of */
    char auth_trouble[160];  /* the same of AUTH */
    struct pending *pending; /* a ring, in the order asked */
    size_t pending_first, pending_count, pending_cap;
    struct desk *desks; /* one for each service */
    struct sentinel_sub sub;
};

static void connect_now(struct wheel_timer *timer);

static const struct config_sentinel *config_of(const struct sentinel *s)
{
    return s->group->config;
}

static const char *service_name(const struct sentinel *s, size_t service)
{
    return s->group->services[service];
}

/* Copies text to known unless it is the same; true if it is news. */
static bool is_news(char *known, size_t size, struct slice text)
{
    char copy[160];
    size_t n = text.n < sizeof copy ? text.n : sizeof copy - 1;
    CHECK(size == sizeof copy);
    memset(copy, 0, sizeof copy);
    memcpy(copy, text.p, n);
    if (memcmp(copy, known, sizeof copy) == 0) {
        return false;
    }
    memcpy(known, copy, sizeof copy);
    return true;
}

/* The queue of questions. */

static void push(struct sentinel *s, enum question question, size_t service)
{
    if (s->pending_count == s->pending_cap) {
        size_t cap = s->pending_cap == 0 ? 16 : s->pending_cap * 2;
        struct pending *ring = xcalloc(cap, sizeof *ring);
        for (size_t i = 0; i < s->pending_count; i++) {
            ring[i] = s->pending[(s->pending_first + i) % s->pending_cap];
        }
        free(s->pending);
        s->pending = ring;
        s->pending_first = 0;
        s->pending_cap = cap;
    }
    s->pending[(s->pending_first + s->pending_count++) % s->pending_cap] =
        (struct pending){question, service, clock_ms()};
}

static struct pending pop(struct sentinel *s)
{
    struct pending first = s->pending[s->pending_first];
    s->pending_first = (s->pending_first + 1) % s->pending_cap;
    s->pending_count--;
    return first;
}

/* Losing it. */

static void lose(struct sentinel *s, const char *why)
{
    if (s->proven) {
        log_warning("sentinel-down", "sentinel=%s id=%.40s reason=%s", s->name, s->id,
                    log_quote(slice_str(why)));
        (void)is_news(s->trouble, sizeof s->trouble, slice_str(why));
    } else if (is_news(s->trouble, sizeof s->trouble, slice_str(why))) {
        log_warning("sentinel-unreachable", "sentinel=%s reason=%s", s->name,
                    log_quote(slice_str(why)));
    }
    wire_close(&s->wire);
    s->proven = false;
    s->state = SENTINEL_DOWN;
    s->pending_first = s->pending_count = 0;
    memset(s->desks, 0, s->group->service_count * sizeof *s->desks);
    loop_arm(s->group->loop, &s->timer, backoff_next(&s->backoff), connect_now);
    s->group->events->changed(s->group->owner, s);
}

static void on_silent(struct wheel_timer *timer);

/* Waits for the answer to the oldest question. */
static void arm_deadline(struct sentinel *s)
{
    if (s->pending_count == 0) {
        loop_disarm(s->group->loop, &s->timer);
        return;
    }
    uint64_t waited = clock_ms() - s->pending[s->pending_first].asked_ms;
    uint64_t allowed = config_of(s)->connect_timeout_ms;
    loop_arm(s->group->loop, &s->timer, waited < allowed ? allowed - waited : 0, on_silent);
}

static void on_silent(struct wheel_timer *timer)
{
    struct sentinel *s = CONTAINER_OF(timer, struct sentinel, timer);
    CHECK_MAGIC(s, SENTINEL_MAGIC);
    lose(s, "no answer in time");
}

/* Asking. */

void sentinel_ask(struct sentinel *s, size_t service)
{
    struct desk *desk = &s->desks[service];
    if (!s->wire.open) {
        return;
    }
    if (desk->waiting >= ASKS_MAX) {
        desk->again = true;
        return;
    }
    const char *name = service_name(s, service);
    desk->waiting++;
    push(s, ASK_ADDRESS, service);
    emit_words(&s->wire.out, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", name, NULL);
    push(s, ASK_MASTER, service);
    emit_words(&s->wire.out, "SENTINEL", "MASTER", name, NULL);
}

void sentinel_ask_lists(struct sentinel *s, size_t service)
{
    if (!s->wire.open || s->no_lists) {
        return;
    }
    const char *name = service_name(s, service);
    push(s, ASK_SENTINELS, service);
    emit_words(&s->wire.out, "SENTINEL", "SENTINELS", name, NULL);
    push(s, ASK_REPLICAS, service);
    emit_words(&s->wire.out, "SENTINEL", "REPLICAS", name, NULL);
}

void sentinel_flush(struct sentinel *s)
{
    wire_flush(&s->wire);
    if (s->wire.open) {
        arm_deadline(s);
    }
}

static void on_opened(void *owner)
{
    struct sentinel *s = owner;
    CHECK_MAGIC(s, SENTINEL_MAGIC);
    size_t auths = wire_put_auth(&s->wire, config_of(s)->user, config_of(s)->password);
    for (size_t i = 0; i < auths; i++) {
        push(s, ASK_AUTH, 0);
    }
    push(s, ASK_ID, 0);
    emit_words(&s->wire.out, "SENTINEL", "MYID", NULL);
    for (size_t i = 0; i < s->group->service_count; i++) {
        sentinel_ask(s, i);
    }
    for (size_t i = 0; i < s->group->service_count; i++) {
        sentinel_ask_lists(s, i);
    }
    sentinel_flush(s);
}

/* Answers. Each returns false when the connection was given up. */

static bool give_up(struct sentinel *s, const struct reply *reply, const char *what)
{
    char why[256];
    const char *text = reply_type(reply) == REPLY_ERROR ? log_quote(reply_text(reply)) : "no id";
    (void)snprintf(why, sizeof why, "%s: %s", what, text); /* cut where it is too long */
    if (s->auth_trouble[0] != '\0') {
        (void)is_news(s->trouble, sizeof s->trouble, slice_str(why)); /* told as what AUTH said */
    }
    lose(s, why);
    return false;
}

static void take_auth(struct sentinel *s, const struct reply *reply)
{
    /* A Sentinel without a password refuses one; whether we may go on, SENTINEL MYID tells. */
    enum wire_auth auth = wire_take_auth(&s->wire, reply_type(reply) != REPLY_ERROR);
    if (auth == WIRE_AUTH_LET_IN) {
        memset(s->auth_trouble, 0, sizeof s->auth_trouble);
    } else if (auth == WIRE_AUTH_REFUSED && !wire_auth_outdated(&s->wire) &&
               is_news(s->auth_trouble, sizeof s->auth_trouble, reply_text(reply))) {
        log_error("sentinel-auth-failed", "sentinel=%s error=%s", s->name,
                  log_quote(reply_text(reply)));
    }
}

static void come_up(struct sentinel *s, const char *id)
{
    (void)snprintf(s->id, sizeof s->id, "%s", id); /* both have SENTINEL_ID_MAX + 1 bytes */
    s->state = SENTINEL_UP;
    sentinel_sub_resume(&s->sub);
    s->group->events->changed(s->group->owner, s);
}

/* Only by a sensible answer: one that tells its id and is lost at the next question, each time, is
 * not up and down. */
static void prove(struct sentinel *s)
{
    if (s->proven || s->state != SENTINEL_UP) {
        return;
    }
    s->proven = true;
    memset(s->trouble, 0, sizeof s->trouble);
    backoff_worked(&s->backoff);
    log_notice("sentinel-up", "sentinel=%s id=%.40s", s->name, s->id);
}

static bool take_id(struct sentinel *s, const struct reply *reply)
{
    char id[SENTINEL_ID_MAX + 1];
    if (reply_read_id(reply, id)) {
        come_up(s, id);
        return true;
    }
    if (reply_is_error(reply, "NOAUTH")) {
        return give_up(s, reply, "it wants a password, see the keys of [sentinel]");
    }
    if (reply_type(reply) != REPLY_ERROR) {
        return give_up(s, reply, "SENTINEL MYID failed");
    }
    /* Before 6.2, or forbidden: another number that is only its own will do. */
    push(s, ASK_INFO, 0);
    emit_words(&s->wire.out, "INFO", "server", NULL);
    return true;
}

static bool take_info(struct sentinel *s, const struct reply *reply)
{
    char id[SENTINEL_ID_MAX + 1];
    if (!reply_read_info_id(reply, id)) {
        return give_up(s, reply, "it tells no id, neither by SENTINEL MYID nor by INFO");
    }
    come_up(s, id);
    return true;
}

/* Tells once that it forbids us a question, and what that costs. */
static void note_refusal(struct sentinel *s, const struct reply *reply, enum question question)
{
    static const char *const effects[ASK_KINDS] = {
        [ASK_ADDRESS] = "it has no say in who is primary",
        [ASK_MASTER] = "it has no say in who is primary",
        [ASK_SENTINELS] = "Sentinels that are not configured are not learnt from it",
        [ASK_REPLICAS] = "a replica promoted by hand is not followed by what it knows",
    };
    bool refused = reply_type(reply) == REPLY_ERROR && !reply_is_error(reply, "ERR");
    if (refused && !s->refused[question]) {
        log_warning("sentinel-refuses", "sentinel=%s error=%s effect=\"%s\"", s->name,
                    log_quote(reply_text(reply)), effects[question]);
    }
    s->refused[question] = refused;
}

static void take_address(struct sentinel *s, const struct reply *reply, const struct pending *p)
{
    struct sentinel_view *next = &s->desks[p->service].next;
    memset(next, 0, sizeof *next);
    next->asked_ms = p->asked_ms;
    next->opinion = reply_read_address(reply, &next->primary);
    address_map_apply(&config_of(s)->address_map, &next->primary);
    next->stranger = reply_type(reply) == REPLY_NIL;
    note_refusal(s, reply, p->question);
}

static void take_master(struct sentinel *s, const struct reply *reply, const struct pending *p)
{
    struct desk *desk = &s->desks[p->service];
    bool read = reply_read_master(reply, &desk->next.master);
    address_map_apply(&config_of(s)->address_map, &desk->next.master.addr);
    desk->next.opinion = desk->next.opinion && read;
    desk->next.answered_ms = clock_ms();
    desk->view = desk->next;
    desk->waiting--;
    if (read || reply_type(reply) == REPLY_ERROR) {
        prove(s);
    }
    note_refusal(s, reply, p->question);
    if (desk->again) {
        desk->again = false;
        sentinel_ask(s, p->service);
    }
    if (s->state == SENTINEL_UP) {
        s->group->events->answered(s->group->owner, s, p->service);
    }
}

static void take_list(struct sentinel *s, const struct reply *reply, const struct pending *p)
{
    static struct sentinel_peer peers[PEERS_MAX]; /* main thread only */
    bool valid;
    size_t count = reply_read_peers(reply, peers, PEERS_MAX, &valid);
    note_refusal(s, reply, p->question);
    for (size_t i = 0; i < count; i++) {
        address_map_apply(&config_of(s)->address_map, &peers[i].addr);
    }
    if (valid && s->state == SENTINEL_UP) {
        enum sentinel_list list =
            p->question == ASK_REPLICAS ? SENTINEL_LIST_REPLICAS : SENTINEL_LIST_SENTINELS;
        s->group->events->listed(s->group->owner, p->service, list, peers, count);
    }
}

static bool take(struct sentinel *s, const struct pending *p, const struct reply *reply)
{
    switch (p->question) {
    case ASK_AUTH: take_auth(s, reply); return true;
    case ASK_ID: return take_id(s, reply);
    case ASK_INFO: return take_info(s, reply);
    case ASK_ADDRESS: take_address(s, reply, p); return true;
    case ASK_MASTER: take_master(s, reply, p); return true;
    case ASK_SENTINELS:
    case ASK_REPLICAS: take_list(s, reply, p); return true;
    case ASK_KINDS: break;
    }
    UNREACHABLE("question");
}

static void on_reply(void *owner, const struct reply *reply)
{
    struct sentinel *s = owner;
    CHECK_MAGIC(s, SENTINEL_MAGIC);
    if (s->pending_count == 0) {
        lose(s, "an answer that nobody asked for");
        return;
    }
    struct pending first = pop(s);
    if (take(s, &first, reply)) {
        sentinel_flush(s);
    }
}

static void on_lost(void *owner, const char *why)
{
    struct sentinel *s = owner;
    CHECK_MAGIC(s, SENTINEL_MAGIC);
    if (s->wire.unreadable && s->pending_count > 0) {
        enum question asked = s->pending[s->pending_first].question;
        s->no_lists = s->no_lists || asked == ASK_SENTINELS || asked == ASK_REPLICAS;
    }
    lose(s, why);
}

static void connect_now(struct wheel_timer *timer)
{
    static const struct wire_events events = {
        .opened = on_opened, .reply = on_reply, .lost = on_lost};
    struct sentinel *s = CONTAINER_OF(timer, struct sentinel, timer);
    CHECK_MAGIC(s, SENTINEL_MAGIC);
    wire_open(&s->wire, s->group->loop, &s->at, config_of(s)->connect_timeout_ms, &events, s);
    wire_secure(&s->wire, s->group->tls, &s->peer);
}

struct sentinel *sentinel_new(const struct sentinel_group *group, const struct sockaddr_any *at,
                              const struct addr *name)
{
    struct sentinel *s = xcalloc(1, sizeof *s);
    s->magic = SENTINEL_MAGIC;
    s->group = group;
    s->at = *at;
    s->peer = *name;
    struct addr numeric;
    if (!sockaddr_to_addr(at, &numeric)) {
        numeric = *name;
    }
    char text[ADDR_TEXT_MAX];
    (void)snprintf(s->name, sizeof s->name, "%s", addr_text(&numeric, text)); /* it fits */
    s->desks = xcalloc(group->service_count, sizeof *s->desks);
    connect_now(&s->timer);
    sentinel_sub_init(&s->sub, s, group, &s->at, &s->peer, s->name);
    return s;
}

void sentinel_free(struct sentinel **s)
{
    struct sentinel *left = *s;
    CHECK_MAGIC(left, SENTINEL_MAGIC);
    *s = NULL;
    wire_close(&left->wire);
    loop_disarm(left->group->loop, &left->timer);
    sentinel_sub_stop(&left->sub);
    left->magic = 0;
    free(left->pending);
    free(left->desks);
    free(left);
}

enum sentinel_state sentinel_state(const struct sentinel *s)
{
    return s->state;
}

const char *sentinel_id(const struct sentinel *s)
{
    return s->id;
}

const struct sockaddr_any *sentinel_at(const struct sentinel *s)
{
    return &s->at;
}

const struct sentinel_view *sentinel_view(const struct sentinel *s, size_t service)
{
    return &s->desks[service].view;
}
