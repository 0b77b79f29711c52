/* Unix sockets: the file a listener makes, what it may replace, and a backlog that is full. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/net/listener.h"
#include "proxy/net/transport.h"

struct stage {
    struct loop *loop;
    char folder[32], path[64];
    struct sockaddr_any at;
    unsigned accepted;
    int connected; /* 1: not yet */
    struct transport *t;
    struct wheel_timer timer;
    int full; /* a listening socket that accepts nobody */
};

static void set(struct stage *s)
{
    struct addr addr = {.port = 0};
    *s = (struct stage){.loop = loop_new(NULL, NULL), .connected = 1, .full = -1};
    (void)snprintf(s->folder, sizeof s->folder, "/tmp/vedette-XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    (void)snprintf(s->path, sizeof s->path, "%s/s", s->folder);
    (void)snprintf(addr.host, sizeof addr.host, "%s", s->path);
    assert_true(addr_numeric(&addr, &s->at));
}

static void clear(struct stage *s)
{
    transport_close(&s->t);
    loop_free(&s->loop);
    (void)unlink(s->path);
    assert_int_equal(rmdir(s->folder), 0);
}

static void on_accepted(void *owner, int fd)
{
    struct stage *s = owner;
    s->accepted++;
    (void)close(fd);
}

static struct listener *open_it(struct stage *s, uint32_t mode, const char *says)
{
    const char *problem = "";
    struct listener *l = listener_open_unix(s->loop, &s->at, mode, on_accepted, s, &problem);
    assert_int_equal(l == NULL, says != NULL);
    if (says == NULL) {
        assert_null(problem);
    } else {
        assert_non_null(strstr(problem, says));
    }
    return l;
}

static bool exists(const struct stage *s)
{
    struct stat st;
    return lstat(s->path, &st) == 0;
}

/* A socket of another process: bound, and listening unless backlog is negative. */
static int foreign(struct stage *s, int backlog)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&s->at.ss, s->at.len), 0);
    assert_true(backlog < 0 || listen(fd, backlog) == 0);
    return fd;
}

static void permissions_whatever_the_umask(void **state)
{
    static const mode_t masks[] = {0, 022, 077, 0777};
    static const mode_t modes[] = {0700, 0770, 0777, 0};
    struct stage s;
    struct stat st;
    (void)state;
    set(&s);
    for (size_t i = 0; i < ARRAY_LEN(masks) * ARRAY_LEN(modes); i++) {
        mode_t before = umask(masks[i / ARRAY_LEN(modes)]);
        struct listener *l = open_it(&s, modes[i % ARRAY_LEN(modes)], NULL);
        (void)umask(before);
        assert_int_equal(lstat(s.path, &st), 0);
        assert_true(S_ISSOCK(st.st_mode));
        assert_int_equal(st.st_mode & 0777, modes[i % ARRAY_LEN(modes)]);
        assert_int_equal(listener_port(l), 0);
        listener_close(&l);
        assert_false(exists(&s));
    }
    clear(&s);
}

static void a_dead_socket_is_replaced(void **state)
{
    struct stage s;
    (void)state;
    set(&s);
    (void)close(foreign(&s, 1));
    assert_true(exists(&s));
    struct listener *l = open_it(&s, 0700, NULL);
    listener_close(&l);
    assert_false(exists(&s));
    clear(&s);
}

static void a_live_one_is_not(void **state)
{
    struct stage s;
    (void)state;
    set(&s);
    struct listener *first = open_it(&s, 0700, NULL);
    assert_null(open_it(&s, 0700, "another process listens there"));
    assert_true(exists(&s));
    listener_close(&first);

    /* Nor one that accepts nobody, so that its backlog is full. */
    int fd = foreign(&s, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(client, (const struct sockaddr *)&s.at.ss, s.at.len), 0);
    assert_null(open_it(&s, 0700, "another process listens there"));
    assert_true(exists(&s));
    (void)close(client);
    (void)close(fd);
    clear(&s);
}

static void other_files_stay(void **state)
{
    struct stage s;
    char target[96];
    (void)state;
    set(&s);
    FILE *file = fopen(s.path, "we");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    assert_null(open_it(&s, 0700, "no socket"));
    assert_true(exists(&s));
    assert_int_equal(unlink(s.path), 0);

    (void)snprintf(target, sizeof target, "%s/target", s.folder);
    assert_int_equal(symlink(target, s.path), 0);
    assert_null(open_it(&s, 0700, "no socket"));
    assert_true(exists(&s));
    assert_int_equal(unlink(s.path), 0);

    assert_int_equal(mkdir(s.path, 0700), 0);
    assert_null(open_it(&s, 0700, "no socket"));
    assert_int_equal(rmdir(s.path), 0);
    clear(&s);
}

static void what_others_put_there_stays(void **state)
{
    struct stage s;
    (void)state;
    set(&s);
    struct listener *l = open_it(&s, 0700, NULL);
    assert_int_equal(unlink(s.path), 0);
    int fd = foreign(&s, 1);
    listener_close(&l);
    assert_true(exists(&s));
    (void)close(fd);
    clear(&s);
}

static void no_folder(void **state)
{
    struct stage s;
    (void)state;
    set(&s);
    struct addr addr = {.host = "/tmp/vedette-is-not-there/s"};
    assert_true(addr_numeric(&addr, &s.at));
    assert_null(open_it(&s, 0700, "No such file"));
    clear(&s);
}

/* Connecting. */

static void on_connected(void *owner, int err)
{
    struct stage *s = owner;
    s->connected = err;
    loop_stop(s->loop);
}

static void on_event(void *owner)
{
    struct stage *s = owner;
    loop_stop(s->loop);
}

static const struct transport_events events = {on_connected, on_event, on_event, on_event};

static void on_room(struct wheel_timer *timer)
{
    struct stage *s = CONTAINER_OF(timer, struct stage, timer);
    assert_int_equal(s->connected, 1); /* it waits, as TCP would */
    (void)close(accept(s->full, NULL, NULL));
    (void)close(accept(s->full, NULL, NULL));
}

/* A listening socket whose backlog is full; fds has room for two clients. */
static void fill(struct stage *s, int clients[2])
{
    s->full = foreign(s, 0);
    for (int i = 0; i < 2; i++) {
        clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        int err = connect(clients[i], (const struct sockaddr *)&s->at.ss, s->at.len);
        assert_true(err == 0 || errno == EAGAIN);
    }
}

static void empty(struct stage *s, const int clients[2])
{
    (void)close(clients[0]);
    (void)close(clients[1]);
    (void)close(s->full);
}

static void a_full_backlog_is_waited_for(void **state)
{
    struct stage s;
    int clients[2];
    (void)state;
    set(&s);
    fill(&s, clients);
    s.t = transport_connect(s.loop, &s.at, 2000, &events, &s);
    loop_arm(s.loop, &s.timer, 50, on_room);
    loop_run(s.loop);
    assert_int_equal(s.connected, 0);
    empty(&s, clients);
    clear(&s);
}

static void but_not_for_ever(void **state)
{
    struct stage s;
    int clients[2];
    (void)state;
    set(&s);
    fill(&s, clients);
    s.t = transport_connect(s.loop, &s.at, 60, &events, &s);
    loop_run(s.loop);
    assert_int_equal(s.connected, -ETIMEDOUT);
    transport_close(&s.t);
    /* It may be given up while it waits. */
    s.t = transport_connect(s.loop, &s.at, 60, &events, &s);
    empty(&s, clients);
    clear(&s);
}

static void nobody_listens(void **state)
{
    struct stage s;
    (void)state;
    set(&s);
    s.t = transport_connect(s.loop, &s.at, 1000, &events, &s);
    loop_run(s.loop);
    assert_int_equal(s.connected, -ENOENT);
    transport_close(&s.t);
    (void)close(foreign(&s, 1));
    s.t = transport_connect(s.loop, &s.at, 1000, &events, &s);
    loop_run(s.loop);
    assert_int_equal(s.connected, -ECONNREFUSED);
    clear(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(permissions_whatever_the_umask),
        cmocka_unit_test(a_dead_socket_is_replaced),
        cmocka_unit_test(a_live_one_is_not),
        cmocka_unit_test(other_files_stay),
        cmocka_unit_test(what_others_put_there_stays),
        cmocka_unit_test(no_folder),
        cmocka_unit_test(a_full_backlog_is_waited_for),
        cmocka_unit_test(but_not_for_ever),
        cmocka_unit_test(nobody_listens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
