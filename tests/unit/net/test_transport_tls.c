/* TLS over real sockets on loopback, behind the same calls as without it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/base/limits.h"
#include "proxy/net/listener.h"
#include "proxy/net/transport.h"
#include "tests/unit/net/certs.h"

#define BIG   ((size_t)8 << 20)
#define CROWD ((size_t)3 * TLS_STEPS_A_TURN)

/* Of all that is sent here: how often it works before the connection is gone; negative: always. */
static int sends_left = -1;

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): theirs are reserved */
ssize_t send(int fd, const void *bytes, size_t n, int flags)
{
    if (sends_left == 0) {
        errno = ECONNRESET;
        return -1;
    }
    sends_left -= sends_left > 0;
    return sendto(fd, bytes, n, flags, NULL, 0);
}

struct peer {
    struct loop *loop;
    struct transport *t;
    struct listener *listener;
    struct wheel_timer timer;
    struct tls_ctx *ctx;
    int connected, err, writable, hangup;
    ssize_t last_read;
    size_t step; /* read at a time */
    size_t got;  /* in all */
    bool ended, over;
    char words[400];
    char data[65536];
};

static void on_connected(void *owner, int err)
{
    struct peer *p = owner;
    p->connected++;
    p->err = err;
    if (err != 0) {
        (void)snprintf(p->words, sizeof p->words, "%s", transport_error(p->t, err));
    }
    loop_stop(p->loop);
}

static void on_readable(void *owner)
{
    struct peer *p = owner;
    ssize_t n = transport_read(p->t, p->data, p->step > 0 ? p->step : sizeof p->data);
    if (n == -EAGAIN) {
        return;
    }
    p->last_read = n;
    p->got += n > 0 ? (size_t)n : 0;
    p->ended = n <= 0;
    if (n < 0) {
        (void)snprintf(p->words, sizeof p->words, "%s", transport_error(p->t, (int)n));
    }
    if (n <= 0) {
        transport_set_reading(p->t, false);
    }
    loop_stop(p->loop);
}

static void on_writable(void *owner)
{
    struct peer *p = owner;
    p->writable++;
    loop_stop(p->loop);
}

static void on_hangup(void *owner)
{
    struct peer *p = owner;
    p->hangup++;
    loop_stop(p->loop);
}

static const struct transport_events events = {on_connected, on_readable, on_writable, on_hangup};

static void on_accept(void *owner, int fd)
{
    struct peer *p = owner;
    p->t = transport_accept(p->loop, fd, &events, p);
    transport_secure_accepted(p->t, p->ctx, 10000);
    loop_stop(p->loop);
}

static void on_time(struct wheel_timer *timer)
{
    struct peer *p = CONTAINER_OF(timer, struct peer, timer);
    p->over = true;
    loop_stop(p->loop);
}

static struct tls_ctx *ctx_of(const struct tls_settings *s)
{
    struct tls_problem problem;
    struct tls_ctx *ctx = tls_ctx_new(s, &problem);
    assert_non_null(ctx);
    return ctx;
}

/* A listener, with TLS or without, and a connection to it. */
static void open_pair(struct peer *client, struct peer *server, bool server_tls, uint64_t timeout)
{
    struct tls_settings c = {.side = TLS_CONNECTS, .ca_file = cert("ca.crt")};
    struct tls_settings s = {
        .side = TLS_ACCEPTS, .cert_file = cert("server.crt"), .key_file = cert("server.key")};
    struct addr addr = {.host = "127.0.0.1"};
    struct sockaddr_any at;
    int err = 0;
    *client = (struct peer){.ctx = ctx_of(&c), .loop = loop_new(NULL, NULL)};
    *server = (struct peer){.ctx = server_tls ? ctx_of(&s) : NULL, .loop = client->loop};
    assert_true(addr_numeric(&addr, &at));
    server->listener = listener_open(server->loop, &at, on_accept, server, &err);
    assert_non_null(server->listener);
    addr.port = listener_port(server->listener);
    assert_true(addr_numeric(&addr, &at));
    client->t = transport_connect(client->loop, &at, timeout, &events, client);
    transport_secure(client->t, client->ctx, &addr);
    while (server->t == NULL || client->connected == 0) {
        loop_run(client->loop);
    }
}

static void close_pair(struct peer *client, struct peer *server)
{
    loop_disarm(client->loop, &client->timer);
    transport_close(&client->t);
    transport_close(&server->t);
    listener_close(&server->listener);
    loop_free(&client->loop);
    tls_ctx_free(&client->ctx);
    tls_ctx_free(&server->ctx);
}

static void open_good(struct peer *client, struct peer *server)
{
    open_pair(client, server, true, 5000);
    if (client->err != 0) {
        fail_msg("%s", client->words);
    }
}

static void await(struct peer *p, const size_t *what, size_t least)
{
    while (*what < least) {
        loop_run(p->loop);
    }
}

static void test_bytes_arrive(void **state)
{
    (void)state;
    static struct peer client, server;
    open_good(&client, &server);
    char he[] = "he", llo[] = "llo";
    struct iovec iov[2] = {{he, 2}, {llo, 3}};
    assert_int_equal(transport_write(client.t, iov, 2), 5);
    await(&server, &server.got, 5);
    assert_memory_equal(server.data, "hello", 5);
    assert_int_equal(transport_held(client.t), 0);
    close_pair(&client, &server);
}

/* What was decrypted and not read is told of again, though nothing comes any more. */
static void test_reader_with_little_room(void **state)
{
    (void)state;
    static struct peer client, server;
    static char bytes[100000];
    open_good(&client, &server);
    server.step = 1000;
    struct iovec iov = {bytes, sizeof bytes};
    assert_int_equal(transport_write(client.t, &iov, 1), sizeof bytes);
    await(&server, &server.got, sizeof bytes);
    assert_int_equal(server.got, sizeof bytes);
    /* ... also when reading was off meanwhile. */
    server.got = 0;
    iov.iov_len = 5000;
    assert_int_equal(transport_write(client.t, &iov, 1), 5000);
    await(&server, &server.got, 1000);
    size_t before = server.got;
    assert_true(before < 5000);
    transport_set_reading(server.t, false);
    loop_arm(client.loop, &client.timer, 30, on_time);
    while (!client.over) {
        loop_run(client.loop);
    }
    assert_int_equal(server.got, before);
    transport_set_reading(server.t, true);
    await(&server, &server.got, 5000);
    close_pair(&client, &server);
}

/* A reader that stops: what is taken and can't go is held, little of it; nothing more is taken
 * until there is room, and then the rest goes by itself. */
static void test_reader_that_stops(void **state)
{
    (void)state;
    static struct peer client, server;
    char *bytes = xcalloc(1, BIG);
    open_good(&client, &server);
    transport_set_reading(server.t, false);
    struct iovec iov = {bytes, BIG};
    ssize_t taken = transport_write(client.t, &iov, 1);
    assert_true(taken > 0 && (size_t)taken < BIG);
    size_t held = transport_held(client.t);
    assert_true(held > 0 && held <= (size_t)TLS_BATCH_RECORDS * TLS_RECORD_MAX);
    assert_int_equal(transport_write(client.t, &iov, 1), 0);
    transport_set_reading(server.t, true);
    while (client.writable == 0) {
        loop_run(client.loop);
    }
    assert_int_equal(transport_held(client.t), 0);
    await(&server, &server.got, (size_t)taken);
    assert_int_equal(server.got, taken);
    close_pair(&client, &server);
    free(bytes);
}

/* The end follows what is held; the other direction goes on behind it. */
static void test_half_close_behind_much(void **state)
{
    (void)state;
    static struct peer client, server;
    char *bytes = xcalloc(1, BIG);
    open_good(&client, &server);
    transport_set_reading(server.t, false);
    struct iovec iov = {bytes, BIG};
    ssize_t taken = transport_write(client.t, &iov, 1);
    assert_true(transport_held(client.t) > 0);
    transport_shutdown(client.t);
    assert_int_equal(transport_write(client.t, &iov, 1), -EPIPE);
    transport_set_reading(server.t, true);
    while (!server.ended) {
        loop_run(client.loop);
    }
    assert_int_equal(server.last_read, 0);
    assert_int_equal(server.got, taken);
    iov.iov_len = 7;
    assert_int_equal(transport_write(server.t, &iov, 1), 7);
    await(&client, &client.got, 7);
    close_pair(&client, &server);
    free(bytes);
}

static void test_close_is_an_end(void **state)
{
    (void)state;
    static struct peer client, server;
    open_good(&client, &server);
    char x[] = "x";
    struct iovec iov = {x, 1};
    assert_int_equal(transport_write(client.t, &iov, 1), 1);
    transport_close(&client.t);
    while (!server.ended) {
        loop_run(server.loop);
    }
    assert_int_equal(server.got, 1);
    assert_int_equal(server.last_read, 0);
    close_pair(&client, &server);
}

static void test_hangup_while_paused(void **state)
{
    (void)state;
    static struct peer client, server;
    open_good(&client, &server);
    transport_set_reading(client.t, false);
    char unread[] = "unread";
    struct iovec iov = {unread, 6};
    /* The server's handshake ends with what the client says last. */
    while (transport_write(server.t, &iov, 1) == 0) {
        loop_run(client.loop);
    }
    transport_close(&server.t);
    while (client.hangup == 0) {
        loop_run(client.loop);
    }
    assert_false(transport_broken(client.t));
    ssize_t n = -EAGAIN;
    while (n == -EAGAIN) {
        n = transport_read(client.t, client.data, sizeof client.data);
    }
    assert_int_equal(n, 6);
    assert_int_equal(transport_read(client.t, client.data, sizeof client.data), 0);
    close_pair(&client, &server);
}

static void test_server_without_tls(void **state)
{
    (void)state;
    static struct peer client, server;
    open_pair(&client, &server, false, 150); /* which says nothing */
    assert_int_equal(client.err, -ETIMEDOUT);
    assert_non_null(strstr(client.words, "no TLS handshake in time"));
    close_pair(&client, &server);
}

/* The connection breaks when part of a write was taken: who waits for room hears of it, be it that
 * nobody reads. */
static void test_break_in_the_middle_of_a_write(void **state)
{
    (void)state;
    static struct peer client, server;
    char *bytes = xcalloc(1, BIG);
    open_good(&client, &server);
    transport_set_reading(client.t, false);
    struct iovec iov = {bytes, BIG};
    sends_left = 1;
    ssize_t taken = transport_write(client.t, &iov, 1);
    assert_true(taken > 0 && (size_t)taken < BIG);
    loop_arm(client.loop, &client.timer, 5000, on_time);
    while (client.writable == 0 && !client.over) {
        loop_run(client.loop);
    }
    assert_int_equal(client.writable, 1);
    assert_int_equal(transport_write(client.t, &iov, 1), -ECONNRESET);
    sends_left = -1;
    close_pair(&client, &server);
    free(bytes);
}

static const char ping[] = "*1\r\n$4\r\nPING\r\n";

/* limit: TLS_STEPS_A_TURN. Whoever has work with keys to be done waits for a turn with few others.
 */
static void test_few_handshakes_in_a_turn(void **state)
{
    (void)state;
    static struct peer crowd[CROWD];
    struct tls_settings s = {
        .side = TLS_ACCEPTS, .cert_file = cert("server.crt"), .key_file = cert("server.key")};
    struct tls_ctx *ctx = ctx_of(&s);
    struct loop *loop = loop_new(NULL, NULL);
    int fds[CROWD][2];
    for (size_t i = 0; i < CROWD; i++) {
        crowd[i] = (struct peer){.ctx = ctx, .loop = loop};
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds[i]), 0);
        assert_int_equal(write(fds[i][1], ping, sizeof ping - 1), sizeof ping - 1);
        on_accept(&crowd[i], fds[i][0]);
    }
    for (size_t ended = 0, turns = 0; ended < CROWD; turns++) {
        size_t before = ended;
        loop_run(loop); /* one that ends stops it, at the end of the turn */
        ended = 0;
        for (size_t i = 0; i < CROWD; i++) {
            ended += crowd[i].ended ? 1 : 0;
        }
        assert_true(ended - before <= TLS_STEPS_A_TURN);
        assert_true(turns < CROWD);
    }
    for (size_t i = 0; i < CROWD; i++) {
        transport_close(&crowd[i].t);
        close(fds[i][1]);
    }
    loop_free(&loop);
    tls_ctx_free(&ctx);
}

/* A client of plain bytes is told so in them, also where they come one by one. */
static void client_without_tls(size_t first)
{
    static struct peer server;
    struct tls_settings s = {
        .side = TLS_ACCEPTS, .cert_file = cert("server.crt"), .key_file = cert("server.key")};
    static const char words[] = "-ERR This port takes TLS connections only\r\n";
    char said[128];
    int fds[2];
    server = (struct peer){.ctx = ctx_of(&s), .loop = loop_new(NULL, NULL)};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(write(fds[1], ping, first), first);
    on_accept(&server, fds[0]);
    loop_arm(server.loop, &server.timer, 20, on_time);
    while (!server.ended) {
        if (server.over && first < sizeof ping - 1) {
            size_t rest = sizeof ping - 1 - first;
            assert_int_equal(write(fds[1], ping + first, rest), rest);
            first = sizeof ping - 1;
        }
        loop_run(server.loop);
    }
    loop_disarm(server.loop, &server.timer);
    assert_int_equal(server.last_read, -EPROTO);
    assert_non_null(strstr(server.words, "the other side speaks no TLS"));
    assert_int_equal(read(fds[1], said, sizeof said), sizeof words - 1);
    assert_memory_equal(said, words, sizeof words - 1);
    transport_close(&server.t);
    close(fds[1]);
    loop_free(&server.loop);
    tls_ctx_free(&server.ctx);
}

static void test_client_without_tls(void **state)
{
    (void)state;
    client_without_tls(sizeof ping - 1);
    client_without_tls(1);
}

/* Within the handshake: an end, and a close of our own. */
static void test_client_that_leaves(void **state)
{
    (void)state;
    static struct peer server;
    struct tls_settings s = {
        .side = TLS_ACCEPTS, .cert_file = cert("server.crt"), .key_file = cert("server.key")};
    int fds[2];
    server = (struct peer){.ctx = ctx_of(&s), .loop = loop_new(NULL, NULL)};
    for (int ours = 0; ours < 2; ours++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
        on_accept(&server, fds[0]);
        assert_int_equal(transport_read(server.t, server.data, 16), -EAGAIN);
        close(fds[1]);
        server.ended = false;
        while (ours == 0 && !server.ended) {
            loop_run(server.loop);
        }
        transport_close(&server.t);
    }
    assert_int_equal(server.last_read, -EPROTO);
    assert_string_equal(server.words, "the connection was closed during the TLS handshake");
    loop_free(&server.loop);
    tls_ctx_free(&server.ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_arrive),
        cmocka_unit_test(test_reader_with_little_room),
        cmocka_unit_test(test_reader_that_stops),
        cmocka_unit_test(test_half_close_behind_much),
        cmocka_unit_test(test_close_is_an_end),
        cmocka_unit_test(test_hangup_while_paused),
        cmocka_unit_test(test_server_without_tls),
        cmocka_unit_test(test_client_without_tls),
        cmocka_unit_test(test_client_that_leaves),
        cmocka_unit_test(test_few_handshakes_in_a_turn),
        cmocka_unit_test(test_break_in_the_middle_of_a_write),
    };
    return cmocka_run_group_tests(tests, certs_make, certs_remove);
}
