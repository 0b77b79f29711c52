/* A yardstick, not a proxy: all clients share one upstream connection. Each turn of the loop writes
 * what all of them asked in one go, then each client's replies in one go. No limits, no errors but
 * abort, no care for a reader that is slow.
 *
 * usage: bench_floor_shared PORT UPSTREAM-PORT */
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { READ_SIZE = 256 * 1024, RING = 1 << 20 };

struct bytes {
    char *data;
    size_t size, room;
};

struct peer {
    uv_tcp_t tcp;
    struct bytes in;  /* the frame of which a part is here */
    struct bytes out; /* of this turn */
    uint32_t waiting; /* replies to come */
    bool touched, gone;
    struct peer *next_touched;
};

static uv_loop_t *loop;
static struct peer link_peer, *touched;
static struct peer *ring[RING]; /* whose replies come next */
static uint32_t ring_head, ring_tail;
static char input[READ_SIZE];

static void append(struct bytes *b, const char *data, size_t size)
{
    if (size == 0) {
        return;
    }
    if (b->size + size > b->room) {
        b->room = 2 * (b->size + size);
        b->data = realloc(b->data, b->room);
        if (b->data == NULL) {
            abort();
        }
    }
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

/* The end of the frame at p, NULL if it is not all here. */
static const char *frame_end(const char *p, const char *end)
{
    for (int64_t todo = 1; todo > 0; todo--) {
        const char *line = memchr(p, '\n', (size_t)(end - p));
        if (line == NULL) {
            return NULL;
        }
        int64_t n = *p == '$' || *p == '*' ? strtoll(p + 1, NULL, 10) : 0;
        todo += *p == '*' && n > 0 ? n : 0;
        size_t body = *p == '$' && n >= 0 ? (size_t)n + 2 : 0;
        p = line + 1;
        if ((size_t)(end - p) < body) {
            return NULL;
        }
        p += body;
    }
    return p;
}

static void on_written(uv_write_t *write, int status)
{
    (void)status;
    free(write->data);
    free(write);
}

/* What the socket does not take is left to libuv. */
static void flush(struct peer *p)
{
    uv_buf_t buf = uv_buf_init(p->out.data, (unsigned)p->out.size);
    int sent = p->out.size > 0 ? uv_try_write((uv_stream_t *)&p->tcp, &buf, 1) : 0;
    size_t done = sent > 0 ? (size_t)sent : 0;
    if (done < p->out.size && (sent >= 0 || sent == UV_EAGAIN)) {
        uv_write_t *write = malloc(sizeof(*write));
        if (write == NULL) {
            abort();
        }
        buf = uv_buf_init(p->out.data + done, (unsigned)(p->out.size - done));
        write->data = p->out.data;
        p->out = (struct bytes){0};
        if (uv_write(write, (uv_stream_t *)&p->tcp, &buf, 1, on_written) != 0) {
            abort();
        }
    }
    p->out.size = 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct peer *p = handle->data;
    free(p->in.data);
    free(p->out.data);
    free(p);
}

static void close_when_unused(struct peer *p)
{
    if (p->gone && p->waiting == 0 && !p->touched && !uv_is_closing((uv_handle_t *)&p->tcp)) {
        uv_close((uv_handle_t *)&p->tcp, on_closed);
    }
}

static void on_turn_end(uv_check_t *check)
{
    (void)check;
    flush(&link_peer);
    while (touched != NULL) {
        struct peer *p = touched;
        touched = p->next_touched;
        p->touched = false;
        if (p->gone) {
            close_when_unused(p);
        } else {
            flush(p);
        }
    }
}

static void take_request(struct peer *p, const char *frame, size_t size)
{
    append(&link_peer.out, frame, size);
    if (ring_tail - ring_head == RING) {
        abort();
    }
    ring[ring_tail++ % RING] = p;
    p->waiting++;
}

static void take_reply(const char *frame, size_t size)
{
    struct peer *p = ring[ring_head++ % RING];
    p->waiting--;
    if (p->gone) {
        close_when_unused(p);
        return;
    }
    append(&p->out, frame, size);
    if (!p->touched) {
        p->touched = true;
        p->next_touched = touched;
        touched = p;
    }
}

/* How many bytes were whole frames. */
static size_t take_frames(struct peer *p, const char *data, size_t size)
{
    const char *at = data, *end = data + size, *next;
    while (at < end && (next = frame_end(at, end)) != NULL) {
        if (p == &link_peer) {
            take_reply(at, (size_t)(next - at));
        } else {
            take_request(p, at, (size_t)(next - at));
        }
        at = next;
    }
    return (size_t)(at - data);
}

static void on_room(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    (void)handle;
    (void)size;
    *buf = uv_buf_init(input, READ_SIZE);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct peer *p = stream->data;
    if (n < 0) {
        if (p == &link_peer) {
            abort();
        }
        uv_read_stop(stream);
        p->gone = true;
        close_when_unused(p);
        return;
    }
    size_t size = n > 0 ? (size_t)n : 0;
    if (p->in.size > 0) {
        append(&p->in, buf->base, size);
        size_t taken = take_frames(p, p->in.data, p->in.size);
        p->in.size -= taken;
        memmove(p->in.data, p->in.data + taken, p->in.size);
    } else {
        size_t taken = take_frames(p, buf->base, size);
        append(&p->in, buf->base + taken, size - taken);
    }
}

static void start(struct peer *p)
{
    p->tcp.data = p;
    uv_tcp_nodelay(&p->tcp, 1);
    uv_read_start((uv_stream_t *)&p->tcp, on_room, on_read);
}

static void on_client(uv_stream_t *listener, int status)
{
    struct peer *p = calloc(1, sizeof(*p));
    if (status != 0 || p == NULL) {
        abort();
    }
    uv_tcp_init(loop, &p->tcp);
    if (uv_accept(listener, (uv_stream_t *)&p->tcp) != 0) {
        abort();
    }
    start(p);
}

static void on_connected(uv_connect_t *connect, int status)
{
    (void)connect;
    if (status != 0) {
        abort();
    }
    start(&link_peer);
}

int main(int argc, char **argv)
{
    static uv_tcp_t listener;
    static uv_connect_t connect;
    static uv_check_t turn_end;
    struct sockaddr_in address, upstream;
    (void)signal(SIGPIPE, SIG_IGN);
    loop = uv_default_loop();
    if (argc != 3 || uv_ip4_addr("127.0.0.1", (int)strtol(argv[1], NULL, 10), &address) != 0 ||
        uv_ip4_addr("127.0.0.1", (int)strtol(argv[2], NULL, 10), &upstream) != 0) {
        (void)fputs("usage: bench_floor_shared PORT UPSTREAM-PORT\n", stderr);
        return 2;
    }
    uv_check_init(loop, &turn_end);
    uv_check_start(&turn_end, on_turn_end);
    uv_tcp_init(loop, &link_peer.tcp);
    uv_tcp_init(loop, &listener);
    if (uv_tcp_bind(&listener, (struct sockaddr *)&address, 0) != 0 ||
        uv_tcp_connect(&connect, &link_peer.tcp, (struct sockaddr *)&upstream, on_connected) != 0 ||
        uv_listen((uv_stream_t *)&listener, 4096, on_client) != 0) {
        (void)fputs("can't listen or connect\n", stderr);
        return 1;
    }
    return uv_run(loop, UV_RUN_DEFAULT);
}
