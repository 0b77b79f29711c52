/* A yardstick, not a proxy: an upstream connection for each client, bytes carried as they come.
 * What a proxy on libuv that gives each client a connection can't be faster than.
 *
 * usage: bench_floor_one PORT UPSTREAM-PORT */
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { READ_SIZE = 64 * 1024 };

/* One direction's source; what is read here is written to the peer. */
struct side {
    uv_tcp_t tcp;
    struct side *peer;
    uv_write_t write; /* to the peer, of `held`, while this side is not read */
    char *held;
    bool closed;
};

static uv_loop_t *loop;
static struct sockaddr_in upstream;
static char input[READ_SIZE];

static void start_reading(struct side *s);

/* Both sides are one allocation, freed when the second of them is closed. */
static void on_closed(uv_handle_t *handle)
{
    struct side *s = handle->data;
    s->closed = true;
    free(s->held);
    s->held = NULL;
    if (s->peer->closed) {
        free(s < s->peer ? s : s->peer);
    }
}

static void close_both(struct side *s)
{
    if (!uv_is_closing((uv_handle_t *)&s->tcp)) {
        uv_close((uv_handle_t *)&s->tcp, on_closed);
        uv_close((uv_handle_t *)&s->peer->tcp, on_closed);
    }
}

static void on_written(uv_write_t *write, int status)
{
    struct side *s = write->data;
    free(s->held);
    s->held = NULL;
    if (status == 0) {
        start_reading(s);
    }
}

static void on_room(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    (void)handle;
    (void)size;
    *buf = uv_buf_init(input, READ_SIZE);
}

/* What the peer does not take at once is copied, and nothing is read until it has it. */
static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct side *s = stream->data;
    if (n <= 0) {
        if (n < 0) {
            close_both(s);
        }
        return;
    }
    uv_buf_t data = uv_buf_init(buf->base, (unsigned)n);
    uv_stream_t *to = (uv_stream_t *)&s->peer->tcp;
    int sent = uv_try_write(to, &data, 1);
    if (sent == n) {
        return;
    }
    if (sent < 0 && sent != UV_EAGAIN) {
        close_both(s);
        return;
    }
    size_t done = sent > 0 ? (size_t)sent : 0, left = (size_t)n - done;
    s->held = malloc(left);
    if (s->held == NULL) {
        abort();
    }
    memcpy(s->held, data.base + done, left);
    data = uv_buf_init(s->held, (unsigned)left);
    s->write.data = s;
    uv_read_stop(stream);
    if (uv_write(&s->write, to, &data, 1, on_written) != 0) {
        close_both(s);
    }
}

static void start_reading(struct side *s)
{
    if (!uv_is_closing((uv_handle_t *)&s->tcp)) {
        uv_read_start((uv_stream_t *)&s->tcp, on_room, on_read);
    }
}

static void on_connected(uv_connect_t *connect, int status)
{
    struct side *s = connect->data;
    free(connect);
    if (status != 0) {
        close_both(s);
        return;
    }
    start_reading(s);
    start_reading(s->peer);
}

static void on_client(uv_stream_t *listener, int status)
{
    struct side *pair = calloc(2, sizeof(*pair));
    uv_connect_t *connect = malloc(sizeof(*connect));
    if (status != 0 || pair == NULL || connect == NULL) {
        abort();
    }
    for (int i = 0; i < 2; i++) {
        uv_tcp_init(loop, &pair[i].tcp);
        pair[i].tcp.data = &pair[i];
        pair[i].peer = &pair[1 - i];
    }
    connect->data = &pair[0];
    if (uv_accept(listener, (uv_stream_t *)&pair[0].tcp) != 0 ||
        uv_tcp_connect(connect, &pair[1].tcp, (struct sockaddr *)&upstream, on_connected) != 0) {
        abort();
    }
    uv_tcp_nodelay(&pair[0].tcp, 1);
    uv_tcp_nodelay(&pair[1].tcp, 1);
}

int main(int argc, char **argv)
{
    static uv_tcp_t listener;
    struct sockaddr_in address;
    (void)signal(SIGPIPE, SIG_IGN);
    loop = uv_default_loop();
    if (argc != 3 || uv_ip4_addr("127.0.0.1", (int)strtol(argv[1], NULL, 10), &address) != 0 ||
        uv_ip4_addr("127.0.0.1", (int)strtol(argv[2], NULL, 10), &upstream) != 0) {
        (void)fputs("usage: bench_floor_one PORT UPSTREAM-PORT\n", stderr);
        return 2;
    }
    uv_tcp_init(loop, &listener);
    if (uv_tcp_bind(&listener, (struct sockaddr *)&address, 0) != 0 ||
        uv_listen((uv_stream_t *)&listener, 4096, on_client) != 0) {
        (void)fputs("can't listen\n", stderr);
        return 1;
    }
    return uv_run(loop, UV_RUN_DEFAULT);
}
