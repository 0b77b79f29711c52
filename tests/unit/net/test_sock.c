/* Which options a socket gets, that one which does not know them stays as it is, and what is seen
 * of a peer that takes nothing more. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/net/sock.h"

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;
    assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

static void check(int fd, int idle, int interval, int count, int user_timeout)
{
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), idle);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), interval);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPCNT), count);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), user_timeout);
    assert_int_equal(close(fd), 0);
}

static void test_servers_are_given_up_in_seconds(void **state)
{
    (void)state;
    int families[] = {AF_INET, AF_INET6};
    for (size_t i = 0; i < 2; i++) {
        int fd = socket(families[i], SOCK_STREAM, 0);
        if (fd >= 0) { /* this machine has that family */
            sock_tune_upstream(fd);
            check(fd, 1, 1, 3, 3000);
        }
    }
}

static void test_clients_may_pause_for_long(void **state)
{
    (void)state;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    sock_tune_client(fd);
    check(fd, 300, 100, 3, 0);
}

static void test_full_and_alive(void **state)
{
    (void)state;
    static char bytes[1u << 20];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    sock_tune_upstream(fd);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, len), 0);
    int peer = accept(listener, NULL, NULL);
    assert_true(peer >= 0);
    assert_false(sock_peer_is_full(fd));
    ssize_t queued = 0, n;
    while ((n = send(fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
        queued += n;
    }
    while (!sock_peer_is_full(fd)) { /* its last acknowledgement may be on its way */
        usleep(1000);
    }
    while (queued > 0) {
        n = read(peer, bytes, sizeof bytes);
        assert_true(n > 0);
        queued -= n;
    }
    assert_false(sock_peer_is_full(fd));
    assert_int_equal(close(listener) | close(peer), 0);
    sock_give_time(fd, true);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), UPSTREAM_FULL_TIMEOUT_MS);
    sock_give_time(fd, false);
    check(fd, 1, 1, 3, 3000);
}

static void test_unix_sockets_are_left_alone(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    sock_tune_upstream(fds[0]);
    sock_tune_client(fds[1]);
    assert_false(sock_peer_is_full(fds[0]));
    assert_int_equal(write(fds[0], "x", 1), 1);
    char byte = 0;
    assert_int_equal(read(fds[1], &byte, 1), 1);
    assert_int_equal(close(fds[0]) | close(fds[1]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_servers_are_given_up_in_seconds),
        cmocka_unit_test(test_clients_may_pause_for_long),
        cmocka_unit_test(test_full_and_alive),
        cmocka_unit_test(test_unix_sockets_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
