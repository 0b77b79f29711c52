/* Real sockets on loopback: connect, read, write, pause, hang-up, close inside callbacks, mail from
 * a thread, resolver; every test ends with loop_free, which checks that nothing stayed open. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/base/clock.h"
#include "proxy/net/listener.h"
#include "proxy/net/resolve.h"
#include "proxy/net/transport.h"

struct peer {
    struct loop *loop;
    struct transport *t;
    struct wheel_timer timer;
    int connected, err, readable, writable, hangup, stop_after;
    ssize_t last_read;
    char data[256];
    bool close_on_read, pause_on_connect;
    struct peer *accepted;
    struct listener *listener;
};

static void on_connected(void *owner, int err)
{
    struct peer *p = owner;
    p->connected++;
    p->err = err;
    if (err == 0 && p->pause_on_connect) {
        transport_set_reading(p->t, false);
    }
    if (err != 0) {
        loop_stop(p->loop);
    }
}

static void on_readable(void *owner)
{
    struct peer *p = owner;
    p->readable++;
    p->last_read = transport_read(p->t, p->data, sizeof p->data);
    if (p->last_read <= 0 || p->close_on_read) {
        transport_close(&p->t);
        loop_stop(p->loop);
    } else if (p->stop_after > 0) {
        loop_stop(p->loop);
    }
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
    loop_stop(p->loop);
}

static void listen_any(struct peer *server, struct sockaddr_any *at)
{
    struct addr addr;
    int err = 0;
    assert_null(addr_parse(slice_str("127.0.0.1:1"), 0, &addr));
    addr.port = 0;
    assert_true(addr_numeric(&addr, at));
    server->listener = listener_open(server->loop, at, on_accept, server, &err);
    assert_non_null(server->listener);
    addr.port = listener_port(server->listener);
    assert_true(addr_numeric(&addr, at));
}

static void pair_open(struct peer *client, struct peer *server)
{
    struct sockaddr_any at;
    server->loop = client->loop;
    listen_any(server, &at);
    client->t = transport_connect(client->loop, &at, 1000, &events, client);
    while (server->t == NULL || client->connected == 0) {
        loop_run(client->loop);
    }
    assert_int_equal(client->err, 0);
}

static void pair_close(struct peer *client, struct peer *server)
{
    transport_close(&client->t);
    transport_close(&server->t);
    listener_close(&server->listener);
    loop_free(&client->loop);
}

static void on_wait_over(struct wheel_timer *timer)
{
    struct peer *p = CONTAINER_OF(timer, struct peer, timer);
    loop_stop(p->loop);
}

static void test_bytes_arrive(void **state)
{
    (void)state;
    struct peer client = {.loop = loop_new(NULL, NULL)}, server = {.stop_after = 1};
    pair_open(&client, &server);
    char he[] = "he", llo[] = "llo";
    struct iovec iov[2] = {{he, 2}, {llo, 3}};
    assert_int_equal(transport_write(client.t, iov, 2), 5);
    loop_run(client.loop);
    assert_int_equal(server.last_read, 5);
    assert_memory_equal(server.data, "hello", 5);
    pair_close(&client, &server);
}

static void test_refused(void **state)
{
    (void)state;
    struct peer client = {.loop = loop_new(NULL, NULL)}, server = {.loop = client.loop};
    struct sockaddr_any at;
    listen_any(&server, &at);
    listener_close(&server.listener);
    client.t = transport_connect(client.loop, &at, 1000, &events, &client);
    assert_int_equal(client.connected, 0); /* never from inside the call */
    loop_run(client.loop);
    assert_int_equal(client.err, -ECONNREFUSED);
    transport_close(&client.t);
    loop_free(&client.loop);
}

static void test_connect_timeout(void **state)
{
    (void)state;
    struct peer client = {.loop = loop_new(NULL, NULL)}, server = {.loop = client.loop};
    struct sockaddr_any at;
    /* A backlog that is full does not answer; nothing is accepted as the loop is not run. */
    struct addr addr;
    assert_null(addr_parse(slice_str("127.0.0.1:1"), 0, &addr));
    addr.port = 0;
    assert_true(addr_numeric(&addr, &at));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at.ss, at.len), 0);
    assert_int_equal(listen(fd, 0), 0);
    at.len = sizeof at.ss;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at.ss, &at.len), 0);
    int fill[4];
    for (size_t i = 0; i < 4; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fill[i], (struct sockaddr *)&at.ss, at.len);
    }
    client.t = transport_connect(client.loop, &at, 50, &events, &client);
    uint64_t begun = clock_ms();
    loop_run(client.loop);
    assert_int_equal(client.err, -ETIMEDOUT);
    assert_true(clock_ms() - begun >= 45);
    transport_close(&client.t);
    for (size_t i = 0; i < 4; i++) {
        close(fill[i]);
    }
    close(fd);
    loop_free(&server.loop);
}

static void test_close_inside_readable(void **state)
{
    (void)state;
    struct peer client = {.loop = loop_new(NULL, NULL)}, server = {.close_on_read = true};
    pair_open(&client, &server);
    char x[] = "x";
    struct iovec iov = {x, 1};
    assert_int_equal(transport_write(client.t, &iov, 1), 1);
    loop_run(client.loop);
    assert_null(server.t);
    loop_run(client.loop); /* the client sees the end */
    assert_int_equal(client.last_read, 0);
    pair_close(&client, &server);
}

static void test_hangup_while_paused(void **state)
{
    (void)state;
    struct peer client = {.loop = loop_new(NULL, NULL), .pause_on_connect = true}, server = {0};
    pair_open(&client, &server);
    char unread[] = "unread";
    struct iovec iov = {unread, 6};
    assert_int_equal(transport_write(server.t, &iov, 1), 6);
    transport_close(&server.t);
    loop_run(client.loop);
    assert_int_equal(client.hangup, 1);
    assert_int_equal(client.readable, 0);
    assert_false(transport_broken(client.t));
    /* Reported once: no turn is spent on it any more. */
    loop_arm(client.loop, &client.timer, 30, on_wait_over);
    loop_run(client.loop);
    assert_int_equal(client.hangup, 1);
    /* What was sent before the end can still be read. */
    assert_int_equal(transport_read(client.t, client.data, sizeof client.data), 6);
    pair_close(&client, &server);
}

static void test_short_write_then_writable(void **state)
{
    (void)state;
    struct peer client = {.loop = loop_new(NULL, NULL)}, server = {0};
    pair_open(&client, &server);
    transport_set_reading(server.t, false);
    size_t big = 16u << 20;
    char *bytes = xcalloc(1, big), *sink = xcalloc(1, big);
    struct iovec iov = {bytes, big};
    ssize_t sent = transport_write(client.t, &iov, 1);
    assert_true(sent > 0 && (size_t)sent < big);
    ssize_t got = 0, n;
    while ((n = transport_read(server.t, sink, big)) > 0) {
        got += n;
    }
    loop_run(client.loop);
    assert_int_equal(client.writable, 1);
    assert_true(got <= sent);
    free(bytes);
    free(sink);
    pair_close(&client, &server);
}

static void test_write_to_reset_peer(void **state)
{
    (void)state;
    struct peer client = {.loop = loop_new(NULL, NULL)}, server = {0};
    pair_open(&client, &server);
    char x[] = "x";
    struct iovec iov = {x, 1};
    assert_int_equal(transport_write(client.t, &iov, 1), 1);
    transport_close(&server.t); /* unread input: RST */
    transport_set_reading(client.t, false);
    loop_run(client.loop);
    assert_int_equal(client.hangup, 1);
    assert_true(transport_broken(client.t));
    pair_close(&client, &server);
}

static void test_reset_behind_much_to_read(void **state)
{
    (void)state;
    struct peer client = {.loop = loop_new(NULL, NULL)}, server = {0};
    pair_open(&client, &server);
    /* More than the reader takes at once, and then a reset behind it. */
    char bytes[1024] = {0};
    struct iovec iov = {bytes, sizeof bytes};
    assert_int_equal(transport_write(client.t, &iov, 1), 1024);
    transport_set_reading(client.t, false);
    assert_int_equal(transport_write(server.t, &iov, 1), 1024);
    transport_close(&server.t);
    loop_run(client.loop);
    transport_set_reading(client.t, true);
    loop_run(client.loop); /* until the end of it was read */
    assert_null(client.t);
    assert_true(client.last_read < 0 || client.readable > 1);
    pair_close(&client, &server);
}

static void on_late(void *owner)
{
    struct peer *p = owner;
    on_readable(owner);
    assert_true(clock_ms() - loop_now_ms(p->loop) < 20);
}

static void *write_late(void *arg)
{
    struct peer *p = arg;
    usleep(100000);
    char x[] = "x";
    assert_int_equal(write(p->stop_after, x, 1), 1);
    return NULL;
}

/* After a long wait the time told in a socket's callback is not that from before the wait. */
static void test_time_after_a_wait(void **state)
{
    (void)state;
    static const struct transport_events late = {on_connected, on_late, on_writable, on_hangup};
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    struct peer p = {.loop = loop_new(NULL, NULL), .stop_after = fds[1]};
    p.t = transport_accept(p.loop, fds[0], &late, &p);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_late, &p), 0);
    loop_run(p.loop);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(p.readable, 1);
    transport_close(&p.t);
    close(fds[1]);
    loop_free(&p.loop);
}

struct letter {
    struct mail mail;
    int *sum;
    struct loop *loop;
};

static void deliver(struct mail *mail, void *owner)
{
    (void)owner;
    struct letter *l = CONTAINER_OF(mail, struct letter, mail);
    if (++*l->sum == 1000) {
        loop_stop(l->loop);
    }
    free(l);
}

struct poster {
    struct loop *loop;
    int *sum;
};

static void *post_many(void *arg)
{
    struct poster *p = arg;
    for (int i = 0; i < 1000; i++) {
        struct letter *l = xcalloc(1, sizeof *l);
        *l = (struct letter){.mail = {.deliver = deliver}, .sum = p->sum, .loop = p->loop};
        loop_post(p->loop, &l->mail);
    }
    return NULL;
}

static void test_mail_from_a_thread(void **state)
{
    (void)state;
    struct loop *loop = loop_new(NULL, NULL);
    int sum = 0;
    struct poster poster = {loop, &sum};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, post_many, &poster), 0);
    loop_run(loop);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(sum, 1000);
    loop_free(&loop);
}

struct lookup {
    struct loop *loop;
    int err, calls;
    size_t count;
};

static void on_found(void *owner, int err, const struct sockaddr_any *found, size_t count)
{
    (void)found;
    struct lookup *l = owner;
    l->calls++;
    l->err = err;
    l->count = count;
    loop_stop(l->loop);
}

static void test_resolve(void **state)
{
    (void)state;
    struct lookup l = {.loop = loop_new(NULL, NULL)};
    struct addr name;
    assert_null(addr_parse(slice_str("localhost:7"), 0, &name));
    assert_non_null(resolve_start(l.loop, &name, on_found, &l));
    loop_run(l.loop);
    assert_int_equal(l.err, 0);
    assert_true(l.count >= 1);
    assert_null(addr_parse(slice_str("no-such-name.invalid:7"), 0, &name));
    assert_non_null(resolve_start(l.loop, &name, on_found, &l));
    loop_run(l.loop);
    assert_int_not_equal(l.err, 0);
    assert_true(strlen(resolve_error(l.err)) > 0);
    struct resolve *cancelled = resolve_start(l.loop, &name, on_found, &l);
    resolve_cancel(&cancelled);
    loop_free(&l.loop);
    assert_int_equal(l.calls, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_arrive),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_connect_timeout),
        cmocka_unit_test(test_close_inside_readable),
        cmocka_unit_test(test_hangup_while_paused),
        cmocka_unit_test(test_short_write_then_writable),
        cmocka_unit_test(test_write_to_reset_peer),
        cmocka_unit_test(test_reset_behind_much_to_read),
        cmocka_unit_test(test_time_after_a_wait),
        cmocka_unit_test(test_mail_from_a_thread),
        cmocka_unit_test(test_resolve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
