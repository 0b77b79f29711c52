/* Sessions, links and journals in a world that does anything at all: clients that pipeline, stop
 * reading and leave; kernels that take what they like; servers that refuse, answer late, or go;
 * primaries that move. A byte of the input says what happens next, those behind it how.
 *
 * What must hold: each client gets the answers to its own requests, in order; no request that may
 * change something reaches servers whole twice, but for one that was refused; what is said to be in
 * doubt was sent, what is said not to be executed was not; the books of the worker are right after
 * every turn; and once all is well again, every client is answered. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/held.h"
#include "proxy/server.h"
#include "tests/fuzz/proxy_session/world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define STEPS_MAX 300u
#define HEAL_MAX  400u
#define HOLD_MS   2000u

struct world world;

static struct topology_service published;
static uint64_t published_serial;

/* In place of the main thread. */

void server_hint(struct server *s, size_t service, uint64_t generation, enum hint hint)
{
    (void)s;
    CHECK(service == 0 && generation <= published.generation && hint < HINT_KINDS);
}

void server_hint_replica(struct server *s, size_t service, enum replica_hint hint, uint32_t id)
{
    (void)s;
    CHECK(service == 0 && hint <= HINT_REPLICA_FAILED);
    for (unsigned i = 0; i < NODES && hint == HINT_REPLICA_FAILED; i++) {
        if (world.fit[i].id == id) {
            world.fit[i].id = 0;
        }
    }
}

void server_report(struct server *s, size_t service, uint64_t generation,
                   const struct switch_report *report)
{
    (void)s;
    CHECK(service == 0 && generation <= published.generation && report != NULL);
}

void server_scripts(struct server *s, struct script_news *news)
{
    (void)s;
    script_news_free(&news);
}

struct redirects *server_redirects(const struct server *s)
{
    (void)s;
    return world.redirects;
}

void server_redirects_changed(struct server *s)
{
    (void)s;
    worker_hear_redirects(world.worker);
}

void server_held(struct server *s, int64_t grown)
{
    (void)s;
    (void)grown;
}

bool server_holds_too_much(const struct server *s)
{
    (void)s;
    bool much = world.too_much;
    world.too_much = false;
    return much;
}

void server_worker_ended(struct server *s)
{
    (void)s;
    const struct worker *w = world.worker;
    CHECK(w->sessions.count == 0 && w->services[0].links.count == 0 && w->slots_used == 0);
    for (size_t i = 0; i < LINKSET_BUCKETS; i++) {
        CHECK(w->services[0].sets[i].count == 0);
    }
    net_free_dead();
    for (unsigned i = 0; i < CLIENTS; i++) {
        client_forget(&world.client[i]);
    }
    int64_t readers = w->requests.block != NULL ? w->requests.block->cap : 0;
    readers += w->replies.block != NULL ? w->replies.block->cap : 0;
    CHECK(held_by_thread == readers);
}

unsigned take(void)
{
    return world.input < world.input_end ? *world.input++ : 0;
}

/* What happens */

/* All that the net looks at of an address: which node it is. */
static struct sockaddr_any address_of(unsigned node)
{
    struct sockaddr_any at = {.len = sizeof(struct sockaddr_in)};
    ((char *)&at.ss)[sizeof(sa_family_t)] = (char)node;
    return at;
}

static struct topology_replicas *list_replicas(void)
{
    struct topology_replicas *list = topology_replicas_new(NODES);
    list->lack = "none";
    for (unsigned i = 0; i < NODES; i++) {
        if (world.fit[i].id != 0) {
            list->replica[list->count++] = (struct topology_replica){.id = world.fit[i].id,
                                                                     .at = address_of(i),
                                                                     .caught = world.fit[i].caught,
                                                                     .near = i == 0,
                                                                     .share = 100};
        }
    }
    return list;
}

/* Afterwards those whose bit is set have caught up with the round that begins. */
static void step_round(unsigned caught)
{
    uint64_t round = rounds_next(published.rounds);
    if (round < ROUNDS_MAX) {
        atomic_store(&published.rounds->begun, round);
        world.round_version[round] = world.version;
        for (unsigned i = 0; i < NODES; i++) {
            if ((caught & 1u << i) != 0) {
                world.fit[i].caught = round;
                world.fit[i].version = world.version;
            }
        }
    }
}

/* A node becomes fit to be read from, or is so no more. */
static void step_fit(unsigned node)
{
    struct fit_node *f = &world.fit[node];
    bool primary = published.generation == 0 ||
                   ((const char *)&published.primary.ss)[sizeof(sa_family_t)] == (char)node;
    f->id = f->id != 0 || primary ? 0 : ++world.last_id;
    f->caught = 0; /* its data stays as it is */
}

static void publish(enum service_state state, bool moves, unsigned node)
{
    if (published.generation == 0 || moves || published.state != state) {
        published.state_since_ms =
            net_now(); /* as the watcher: said again, it is as old as it was */
    }
    if (published.generation == 0 || moves) {
        for (unsigned i = 0; i < NODES; i++) {
            world.fit[i].id = 0;
        }
        published.generation++;
        published.primary = address_of(node % NODES);
    }
    if (state == SERVICE_SERVING && !moves) { /* what was kept back is to be given */
        for (unsigned i = 0; i < world.requests; i++) {
            world.request[i].distrusted = false;
        }
    }
    world.released = state == SERVICE_SERVING && !moves;
    published.state = state;
    published.hold_timeout_ms = HOLD_MS;
    struct topology *t = topology_new(1);
    t->serial = ++published_serial;
    t->service[0] = published;
    t->service[0].rounds = rounds_ref(published.rounds);
    t->service[0].replicas = list_replicas();
    TRACE("published: state %d generation %u node %u\n", (int)state, (unsigned)published.generation,
          node % NODES);
    worker_take_topology(world.worker, t);
}

static void step_topology(unsigned how)
{
    static const enum service_state states[] = {SERVICE_SERVING, SERVICE_SUSPECT, SERVICE_HOLDING,
                                                SERVICE_SERVING};
    bool moves = how % 4 == 3;
    publish(states[how % 4], moves, how / 4);
}

static struct client *client_at(unsigned how)
{
    return &world.client[how % CLIENTS];
}

static void step_ask(unsigned how)
{
    struct client *c = client_at(how);
    unsigned what = take();
    for (unsigned n = how / CLIENTS % 8 + 1; n > 0; n--) {
        client_ask(c, (enum kind)(what % KINDS), what / KINDS);
        what += how / 40 * 7; /* the same again, or a mixture */
    }
}

/* The beginning of a request too large to be kept until its end is there. */
static void say_much(struct transport *t)
{
    static const char head[] = "*3\r\n$3\r\nSET\r\n$70000\r\n";
    static const char much[70000 + 2];
    if (world.large_left > 0) {
        world.large_left--;
        net_send(t, head, sizeof head - 1);
        net_send(t, much, sizeof much);
    }
}

/* Frames that are taken or not, at the fuzzer's discretion. No tags: they would be others'. */
static void step_raw(unsigned how)
{
    struct client *c = client_at(how);
    static const char twice_auth[] =
        "*8\r\n$5\r\nHELLO\r\n$1\r\n2\r\n$4\r\nAUTH\r\n$2\r\nu1\r\n$1\r\np\r\n"
        "$4\r\nAUTH\r\n$2\r\nu2\r\n$1\r\nq\r\n";
    static const char *const words[] = {"SUBSCRIBE a\r\n",
                                        "MONITOR\r\n",
                                        "*0\r\n",
                                        "\r\n",
                                        "*1\r\n$4\r\nPING\r\n",
                                        "*3\r\n$6\r\nCLIENT\r\n$8\r\nTRACKING\r\n$2\r\nON\r\n",
                                        "*2\r\n$4\r\nAUTH\r\n$1\r\np\r\n",
                                        "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$",
                                        "*1\r\n$4\r\nMULTI\r\n",
                                        "POST / HTTP\r\n",
                                        twice_auth};
    if (c->transport == NULL || c->gone) {
        return;
    }
    c->wild = true;
    if (how / CLIENTS % 4 == 3) {
        say_much(c->transport);
    } else if (how / CLIENTS % 2 == 0) {
        const char *word = words[take() % ARRAY_LEN(words)];
        net_send(c->transport, word, strlen(word));
        return;
    }
    for (unsigned n = take() % 32; n > 0; n--) {
        uint8_t byte = (uint8_t)take();
        byte = byte == '#' ? '+' : byte;
        net_send(c->transport, (const char *)&byte, 1);
    }
}

/* What makes a session special, said by one of whom nothing is expected any more. */
static void step_odd(struct client *c, unsigned how)
{
    static const char *const words[] = {
        "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n",
        "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$4\r\nSKIP\r\n",
        "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$2\r\nON\r\n",
        "*3\r\n$6\r\nCLIENT\r\n$8\r\nNO-EVICT\r\n$2\r\nON\r\n",
        "*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n",
        "*4\r\n$6\r\nCLIENT\r\n$8\r\nTRACKING\r\n$2\r\nON\r\n$5\r\nBCAST\r\n",
        "*5\r\n$6\r\nCLIENT\r\n$8\r\nTRACKING\r\n$2\r\nON\r\n$8\r\nREDIRECT\r\n$1\r\n7\r\n",
        "*3\r\n$6\r\nCLIENT\r\n$8\r\nTRACKING\r\n$3\r\nOFF\r\n",
        "*3\r\n$6\r\nCLIENT\r\n$7\r\nCACHING\r\n$3\r\nYES\r\n",
        "*3\r\n$6\r\nCLIENT\r\n$7\r\nUNBLOCK\r\n$1\r\n7\r\n",
        "*1\r\n$8\r\nREADONLY\r\n",
        "*1\r\n$9\r\nREADWRITE\r\n",
        "*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n$8\r\nreturn 1\r\n",
        "*3\r\n$4\r\nEVAL\r\n$8\r\nreturn 2\r\n$1\r\n0\r\n",
        "*3\r\n$7\r\nEVALSHA\r\n$40\r\ne0e1f9fabfc9d4800c877a703b823ac0578ff8db\r\n$1\r\n0\r\n",
        "*2\r\n$10\r\nPSUBSCRIBE\r\n$1\r\n*\r\n",
        "*2\r\n$10\r\nSSUBSCRIBE\r\n$1\r\ns\r\n",
        "*1\r\n$5\r\nMULTI\r\n",
        "*1\r\n$4\r\nEXEC\r\n",
    };
    if (c->transport != NULL && !c->gone) {
        const char *word = words[how % ARRAY_LEN(words)];
        c->wild = true;
        TRACE("client %td says %.60s\n", c - world.client, word);
        net_send(c->transport, word, strlen(word));
    }
}

static void step_client(unsigned how)
{
    struct client *c = client_at(how);
    unsigned n = how / CLIENTS;
    if (c->transport == NULL) {
        net_accept(c, how % CLIENTS);
        return;
    }
    TRACE("client %u does %u\n", how % CLIENTS, n % 8);
    switch (n % 8) {
    case 0: c->gone = c->transport->fin = true; return;
    case 1: c->gone = c->transport->fin = c->transport->rst = true; return;
    case 2: c->transport->room = 0; return;
    case 3: c->transport->room = take(); return;
    case 4: c->transport->room = SIZE_MAX; return;
    case 5: c->transport->all = false; return;
    case 6: net_arrive(c->transport, take()); return;
    case 7: c->transport->all = true; return;
    default: return;
    }
}

static void say_what_nobody_asked(struct transport *t, unsigned how)
{
    static const char *const words[] = {"+OK\r\n",    "$3\r\nab",     "-READONLY no\r\n",
                                        "x",          "*2\r\n:1\r\n", ">1\r\n+p\r\n",
                                        "$70000\r\n", "_\r\n"};
    world.evil = true;
    net_send(t, words[how % ARRAY_LEN(words)], strlen(words[how % ARRAY_LEN(words)]));
}

static void step_server(unsigned how)
{
    struct conn *c = conn_at(how / 8);
    if (c == NULL) {
        return;
    }
    struct transport *t = conn_transport(c);
    TRACE("conn %p does %u\n", (void *)c, how % 8);
    switch (how % 8) {
    case 0: conn_handle(c, 1, (enum mood)(take() % MOODS)); return;
    case 1: conn_handle(c, REQUESTS_MAX, MOOD_RIGHT); return;
    case 2: conn_end(c, false); return;
    case 3: conn_end(c, true); return;
    case 4: t->room = (size_t)take() * 16; return;
    case 5: t->room = SIZE_MAX; return;
    case 6:
        t->all = !t->all;
        net_arrive(t, take());
        return;
    case 7:
        if (take() >= 240) { /* seldom: nothing is judged behind it */
            say_what_nobody_asked(t, take());
        } else {
            net_arrive(t, take());
        }
        return;
    default: return;
    }
}

static void step_node(unsigned how)
{
    struct node *node = &world.node[how % NODES];
    TRACE("node %u does %u\n", how % NODES, how / NODES % 13);
    switch (how / NODES % 13) {
    case 0:
    case 1: node->silent = !node->silent; return;
    case 2: node->down = !node->down; return;
    case 3: node->mute = !node->mute; return;
    case 4: node->replica = !node->replica; return;
    case 5: node->loading = !node->loading; return;
    case 6: node->closed_to_default = !node->closed_to_default; return;
    case 7: node->no_auth = !node->no_auth; return;
    case 8: node->no_select = !node->no_select; return;
    case 9: node->no_role = !node->no_role; return;
    case 10: node->full = !node->full; return;
    case 11: *node = (struct node){0}; return;
    case 12: node->busy = !node->busy; return;
    default: return;
    }
}

static void step_connecting(unsigned how)
{
    for (struct list_node *n = world.transports.first; n != NULL; n = n->next) {
        struct transport *t = CONTAINER_OF(n, struct transport, node);
        if (t->connecting) {
            static const int outcomes[] = {1, -ECONNREFUSED, -EMFILE, -ETIMEDOUT};
            t->outcome = outcomes[how % ARRAY_LEN(outcomes)];
            t->room = how >= 128 ? how % 32 : SIZE_MAX;
            return;
        }
    }
}

static void step_time(unsigned how)
{
    static const uint64_t times[] = {1, 10, 50, 100, 250, 1000, 5000, 61000};
    uint64_t ms = times[how % ARRAY_LEN(times)];
    if (ms >= 5000) { /* a client that reads nothing, or begins a frame, is not waited for */
        for (unsigned i = 0; i < CLIENTS; i++) {
            world.client[i].excused = true;
        }
    }
    TRACE("%u ms pass\n", (unsigned)ms);
    net_pass(ms);
}

static void step_rare(unsigned how)
{
    switch (how % 8) {
    case 4:
    case 5:
        step_round(how / 8);
        publish(published.state, false, 0);
        return;
    case 6:
    case 7:
        step_fit(how / 8 % NODES);
        publish(published.state, false, 0);
        return;
    case 0: world.backwards = !world.backwards; return;
    case 1: /* the one that holds the most is closed */
        if (how >= 128) {
            world.too_much = true;
            for (unsigned i = 0; i < CLIENTS; i++) {
                world.client[i].excused = true;
            }
            worker_relieve(world.worker);
        } else {
            step_odd(client_at(how / 8), take());
        }
        return;
    case 2: client_subscribe(client_at(how / 4), take()); return;
    case 3: node_publish(how / 4 % NODES, how / 4 / NODES % CHANNELS); return;
    default: return;
    }
}

static void step(void)
{
    unsigned what = take(), how = take();
    switch (what % 16) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4: step_ask(how); break;
    case 5: step_raw(how); break;
    case 6:
    case 7: step_client(how); break;
    case 8:
    case 9:
    case 10: step_server(how); break;
    case 11: step_node(how); break;
    case 12: step_topology(how); break;
    case 13: step_time(how); break;
    case 14: step_connecting(how); break;
    case 15: step_rare(how); break;
    default: break;
    }
    if (what < 128) { /* else the next step happens in the same turn */
        net_settle();
        check_books();
    }
}

/* How it ends */

static bool any_fit(void)
{
    bool any = false;
    for (unsigned i = 0; i < NODES; i++) {
        any = any || world.fit[i].id != 0;
    }
    return any;
}

/* It hears what it was told it would; if it may only have it from a replica, once there is one. */
static bool hears(const struct client *c)
{
    const struct link *l = c->session->link;
    bool nowhere = c->session->reader && !any_fit() &&
                   c->session->service->config->read_listen_policy == READS_REPLICA;
    return nowhere || (l != NULL && l->state == LINK_READY &&
                       conn_channels(l->transport->peer.conn) == c->held);
}

static bool all_answered(void)
{
    for (unsigned i = 0; i < CLIENTS; i++) {
        const struct client *c = &world.client[i];
        if (c->transport != NULL && !c->wild && !c->gone &&
            (c->first < c->count || (c->held != 0 && !hears(c)))) {
            return false;
        }
    }
    return true;
}

static void heal(void)
{
    TRACE("all is well again\n");
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct transport *t = world.client[i].transport;
        if (t != NULL) {
            t->all = true;
            t->room = SIZE_MAX;
        }
    }
    servers_heal();
    publish(SERVICE_SERVING, world.requests % 2 == 0, 0);
    for (unsigned i = 0; i < HEAL_MAX && !all_answered(); i++) {
        servers_heal();
        step_round(7);
        publish(SERVICE_SERVING, false, 0);
        net_pass(i < 200 ? 10 : 100);
        net_settle();
        check_books();
    }
    CHECK(world.evil || all_answered());
}

/* The proxy stops: first for all that are idle, then for the rest. */
static void stop(void)
{
    TRACE("the end\n");
    world.stopping = true;
    for (unsigned i = 0; i < CLIENTS; i++) {
        world.client[i].gone = true;
    }
    worker_drain(world.worker, 100);
    net_settle();
    check_books();
    net_pass(101);
    net_settle();
    net_pass(10000); /* those that are blocked */
    net_settle();
    net_pass(10000); /* those that don't read */
    net_settle();
}

void world_run(void)
{
    net_settle();
    unsigned how = take();
    if ((how & 1) == 0) {
        publish(SERVICE_SERVING, true, how / 16);
        net_settle();
    }
    for (unsigned i = 0; i < CLIENTS && (how & 2) == 0; i++) {
        net_accept(&world.client[i], i);
    }
    for (unsigned n = 0; n < STEPS_MAX && world.input < world.input_end; n++) {
        step();
    }
    net_settle();
    check_books();
    if ((how & 4) == 0) {
        heal();
    }
    stop();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    world.trace = getenv("FUZZ_TRACE") != NULL; /* NOLINT(concurrency-mt-unsafe): one thread yet */
    log_set_level(world.trace ? LOG_DEBUG : (enum log_level)(LOG_ERROR + 1));
    command_init();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char name[] = "m", user[] = "u2";
    struct config_service service = {.name = name,
                                     .links_per_profile = 1,
                                     .client_output_limit = 64u << 20,
                                     .hold_timeout_ms = HOLD_MS,
                                     .hold_grace_ms = 50,
                                     .stall_timeout_ms = 250,
                                     .connect_timeout_ms = 1000,
                                     .retain_max = 100000};
    struct config config = {
        .proxy.handshake_timeout_ms = 10000, .services = &service, .service_count = 1};
    bool trace = world.trace;
    memset(&world, 0, sizeof world);
    world.trace = trace;
    world.input = data;
    world.input_end = data + size;
    world.large_left = 4;
    world.huge_left = 2;
    unsigned how = take();
    service.links = (how & 3) == 3 ? LINKS_EXCLUSIVE : LINKS_SHARED;
    service.links_per_profile = (how & 4) != 0 ? 2 : 1;
    world.own_identity = (how & 24) == 24;
    if (world.own_identity) {
        service.user = user;
        service.password = secret_new("p");
    }
    service.read_policy = how >= 128 ? READS_PRIMARY : (enum config_reads)(how / 32);
    service.read_listen_policy = (how & 64) != 0 ? READS_REPLICA : READS_PREFER_REPLICA;
    world.readers = how >= 160;
    service.reads_during_failover = (how & 8) != 0;
    memset(&published, 0, sizeof published);
    world.redirects = redirects_new();
    published.rounds = rounds_new();
    struct worker *w = worker_start(NULL, &config, NULL, NULL, 0);
    worker_join(&w);
    secret_free(&service.password);
    rounds_unref(&published.rounds);
    redirects_free(&world.redirects);
    return 0;
}
