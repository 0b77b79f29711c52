/* Many sessions that ask at once, each its own questions, and leave in every way there is: every
 * reply must be the session's own, to the byte. Prints its findings as one line of JSON.
 *
 * A session lives for some batches of requests and ends by closing, by a half-close, or by RST in
 * the middle of a frame, of a pipeline or of a reply; then another begins in its place. */
#include "tests/crosstalk/talk.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { READ_SIZE = 256 * 1024, EVENTS = 256, DEPTH_MAX = 60, SLEEP_MS = 4 };

enum ending { STAYS, CLOSES, HALF_CLOSES, RST_IN_FRAME, RST_IN_PIPELINE, RST_IN_REPLY, ENDINGS };

static const char *const ending_names[] = {
    [STAYS] = "stays",
    [CLOSES] = "close",
    [HALF_CLOSES] = "half_close",
    [RST_IN_FRAME] = "rst_in_frame",
    [RST_IN_PIPELINE] = "rst_in_pipeline",
    [RST_IN_REPLY] = "rst_in_reply",
};

struct session {
    int fd;
    bool slow;
    uint64_t wakes_ms; /* a slow one reads nothing before */
    uint64_t heard_ms; /* of the last byte, or of the batch */
    uint32_t batches;  /* before the last */
    enum ending ending;
    uint64_t limit; /* what an ending counts: bytes to send, replies or bytes to read */
    struct talk talk;
    struct text out, in;
    size_t sent;
};

struct hunt {
    uint16_t port;
    uint32_t sessions;
    uint64_t replies; /* to be heard */
    uint64_t seed, patience_ms;
    bool shaken;

    int epoll;
    uint64_t random, lives, heard, bytes, cuts, doubts, forsaken, now_ms;
    uint64_t ended[ENDINGS];
    struct session *all;
    char *input;
};

static uint64_t clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

_Noreturn static void fail(const char *what)
{
    printf("{\"error\": \"%s: %s\"}\n", what, strerrordesc_np(errno));
    (void)fflush(stdout);
    _exit(1);
}

/* A session that got something else than what is its own, or nothing, or its end. */
_Noreturn static void fail_session(const struct hunt *h, const struct session *s, const char *what)
{
    printf("{\"error\": \"%s\", \"session\": \"%016llx\", \"heard\": %llu, "
           "\"ending\": \"%s\", \"got\": \"",
           what, (unsigned long long)s->talk.life, (unsigned long long)h->heard,
           ending_names[s->ending]);
    for (size_t i = 0; i < s->in.size && i < 200; i++) {
        char c = s->in.data[i];
        bool plain = c >= ' ' && c <= '~' && c != '"' && c != '\\';
        printf(plain ? "%c" : "\\u%04x", (unsigned)(unsigned char)c);
    }
    printf("\", \"history\": \"");
    talk_print_history(&s->talk);
    printf("\"}\n");
    (void)fflush(stdout);
    _exit(1);
}

static uint32_t pick(struct hunt *h, uint32_t below)
{
    return (uint32_t)(talk_random(&h->random) % below);
}

static void watch(struct hunt *h, struct session *s, int op)
{
    struct epoll_event event = {.data.ptr = s};
    event.events = (s->wakes_ms == 0 ? (uint32_t)EPOLLIN : 0) |
                   (s->sent < s->out.size ? (uint32_t)EPOLLOUT : 0);
    if (epoll_ctl(h->epoll, op, s->fd, &event) != 0) {
        fail("epoll_ctl");
    }
}

static void begin_life(struct hunt *h, struct session *s);

static void end_life(struct hunt *h, struct session *s, bool reset)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    if (reset) {
        (void)setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    }
    (void)close(s->fd);
    h->doubts += s->talk.doubts;
    talk_end(&s->talk);
    s->in.size = 0;
    s->fd = -1;
    if (h->heard < h->replies) {
        begin_life(h, s);
    }
}

static void send_some(struct hunt *h, struct session *s)
{
    size_t end = s->ending == RST_IN_FRAME && s->batches == 0 ? s->limit : s->out.size;
    bool all_before = s->sent == s->out.size;
    while (s->sent < end) {
        ssize_t n = send(s->fd, s->out.data + s->sent, end - s->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            break;
        }
        if (n < 0) {
            return; /* it is read next, and judged there */
        }
        s->sent += (size_t)n;
    }
    if (s->sent == end && end < s->out.size) {
        h->ended[RST_IN_FRAME]++;
        end_life(h, s, true);
        return;
    }
    if (s->sent == s->out.size && s->batches == 0 && s->ending == HALF_CLOSES && !all_before) {
        (void)shutdown(s->fd, SHUT_WR);
    }
    watch(h, s, EPOLL_CTL_MOD);
}

static uint32_t depth(struct hunt *h)
{
    uint32_t kind = pick(h, 10);
    return kind < 4 ? 1 : 1 + pick(h, kind < 8 ? 10 : DEPTH_MAX);
}

static void next_batch(struct hunt *h, struct session *s)
{
    s->out.size = s->sent = 0;
    s->heard_ms = h->now_ms;
    for (uint32_t left = depth(h); left > 0 || s->out.size == 0; left -= left > 0) {
        talk_ask(&s->talk, &s->out);
    }
    if (--s->batches == 0) {
        uint32_t replies = s->talk.owed.count > 0 ? s->talk.owed.count : 1;
        s->ending = CLOSES + (enum ending)pick(h, ENDINGS - CLOSES);
        s->limit = s->ending == RST_IN_FRAME      ? pick(h, (uint32_t)s->out.size)
                   : s->ending == RST_IN_PIPELINE ? pick(h, replies)
                                                  : 1 + pick(h, pick(h, 2) == 0 ? 300 : 20000);
    }
    send_some(h, s);
}

static void begin_life(struct hunt *h, struct session *s)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(h->port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1, small = 4096;
    uint64_t before = s->talk.life;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    s->slow = pick(h, 12) == 0;
    s->wakes_ms = 0;
    s->ending = STAYS;
    s->batches = 1 + pick(h, 30);
    s->out.size = s->sent = 0;
    if (s->fd >= 0 && s->slow) {
        (void)setsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    }
    if (s->fd < 0 || connect(s->fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        fail("connect");
    }
    (void)setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)fcntl(s->fd, F_SETFL, O_NONBLOCK);
    talk_begin(&s->talk, ++h->lives, before, h->seed, h->shaken);
    watch(h, s, EPOLL_CTL_ADD);
    next_batch(h, s);
}

/* The server has closed. It may at the end of a half-closed session, which is told of if something
 * was owed, and where it had to cut a reply that was begun. */
static void hear_end(struct hunt *h, struct session *s)
{
    bool half = s->ending == HALF_CLOSES && s->batches == 0;
    if (half && s->in.size == 0) {
        h->ended[HALF_CLOSES]++;
        h->forsaken += !talk_is_over(&s->talk);
    } else if (h->shaken && s->in.size > 0) {
        if (!talk_hear_part(&s->talk, s->in.data, s->in.size)) {
            fail_session(h, s, "not its own, and cut");
        }
        h->cuts++;
    } else {
        fail_session(h, s, "closed by the server");
    }
    end_life(h, s, false);
}

/* Takes the whole replies out of what has come. */
static void hear(struct hunt *h, struct session *s)
{
    size_t done = 0;
    bool in_pipeline = s->batches == 0 && s->ending == RST_IN_PIPELINE;
    while (done < s->in.size) {
        long n = frame_length(s->in.data + done, s->in.size - done);
        if (n == FRAME_PART) {
            break;
        }
        if (n < 0 || !talk_hear(&s->talk, s->in.data + done, (size_t)n)) {
            s->in.size -= done;
            memmove(s->in.data, s->in.data + done, s->in.size);
            fail_session(h, s, n < 0 ? "no reply" : "not its own");
        }
        done += (size_t)n;
        h->heard++;
        if (in_pipeline && s->limit-- == 0) {
            return; /* the rest is not looked at any more */
        }
    }
    s->in.size -= done;
    memmove(s->in.data, s->in.data + done, s->in.size);
    if (s->in.size > 0 && !talk_hear_part(&s->talk, s->in.data, s->in.size)) {
        fail_session(h, s, "the part of a reply that is not its own");
    }
}

static void after_hearing(struct hunt *h, struct session *s)
{
    if (s->talk.owed.count > 0 || s->sent < s->out.size) {
        return;
    }
    if (s->batches > 0 && h->heard < h->replies) {
        next_batch(h, s);
    } else if (s->batches > 0 || s->ending != HALF_CLOSES) {
        h->ended[CLOSES]++;
        end_life(h, s, false);
    }
}

static void readable(struct hunt *h, struct session *s)
{
    bool rst_in_reply = s->batches == 0 && s->ending == RST_IN_REPLY;
    size_t most = s->slow ? 1 + pick(h, 4096) : READ_SIZE;
    most = rst_in_reply && s->limit < most ? s->limit : most;
    ssize_t n = recv(s->fd, h->input, most, 0);
    if (n < 0 && errno == EAGAIN) {
        return;
    }
    if (n <= 0) {
        hear_end(h, s);
        return;
    }
    h->bytes += (uint64_t)n;
    s->heard_ms = h->now_ms;
    text_add(&s->in, h->input, (size_t)n);
    hear(h, s);
    if (rst_in_reply && (s->limit -= (uint64_t)n) == 0) {
        h->ended[RST_IN_REPLY]++;
        end_life(h, s, true);
        return;
    }
    if (s->batches == 0 && s->ending == RST_IN_PIPELINE && s->limit == UINT64_MAX) {
        h->ended[RST_IN_PIPELINE]++;
        end_life(h, s, true);
        return;
    }
    if (s->slow && s->talk.owed.count > 0) {
        s->wakes_ms = h->now_ms + 1 + pick(h, SLEEP_MS);
        watch(h, s, EPOLL_CTL_MOD);
    }
    after_hearing(h, s);
}

static void wake_and_wait(struct hunt *h, uint32_t *living)
{
    *living = 0;
    for (uint32_t i = 0; i < h->sessions; i++) {
        struct session *s = &h->all[i];
        if (s->fd < 0) {
            continue;
        }
        ++*living;
        if (s->wakes_ms != 0 && h->now_ms >= s->wakes_ms) {
            s->wakes_ms = 0;
            watch(h, s, EPOLL_CTL_MOD);
        }
        if (h->now_ms - s->heard_ms > h->patience_ms) {
            fail_session(h, s, "never answered");
        }
    }
}

static void run(struct hunt *h)
{
    struct epoll_event events[EVENTS];
    uint32_t living = h->sessions;
    uint64_t looked_ms = h->now_ms;
    while (living > 0) {
        int n = epoll_wait(h->epoll, events, EVENTS, 1);
        h->now_ms = clock_ms();
        for (int i = 0; i < n; i++) {
            struct session *s = events[i].data.ptr;
            uint64_t life = s->talk.life;
            if ((events[i].events & EPOLLOUT) != 0) {
                send_some(h, s);
            }
            if ((events[i].events & ~(uint32_t)EPOLLOUT) != 0 && s->talk.life == life &&
                s->fd >= 0 && s->wakes_ms == 0) {
                readable(h, s);
            }
        }
        if (h->now_ms != looked_ms) {
            looked_ms = h->now_ms;
            wake_and_wait(h, &living);
        }
    }
}

static void tell(const struct hunt *h, double seconds)
{
    printf("{\"replies\": %llu, \"bytes\": %llu, \"lives\": %llu, \"in_doubt\": %llu, "
           "\"cut\": %llu, \"forsaken\": %llu, \"seconds\": %.1f",
           (unsigned long long)h->heard, (unsigned long long)h->bytes, (unsigned long long)h->lives,
           (unsigned long long)h->doubts, (unsigned long long)h->cuts,
           (unsigned long long)h->forsaken, seconds);
    for (int i = CLOSES; i < ENDINGS; i++) {
        printf(", \"%s\": %llu", ending_names[i], (unsigned long long)h->ended[i]);
    }
    printf("}\n");
}

static void parse(struct hunt *h, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        char *equals = strchr(argv[i], '='), *end;
        uint64_t value = equals != NULL ? strtoull(equals + 1, &end, 10) : 0;
        size_t length = equals != NULL && *end == '\0' ? (size_t)(equals - argv[i]) : 0;
        if (length == 4 && memcmp(argv[i], "port", 4) == 0) {
            h->port = (uint16_t)value;
        } else if (length == 8 && memcmp(argv[i], "sessions", 8) == 0) {
            h->sessions = (uint32_t)value;
        } else if (length == 7 && memcmp(argv[i], "replies", 7) == 0) {
            h->replies = value;
        } else if (length == 4 && memcmp(argv[i], "seed", 4) == 0) {
            h->seed = value;
        } else if (length == 6 && memcmp(argv[i], "shaken", 6) == 0) {
            h->shaken = value != 0;
        } else if (length == 8 && memcmp(argv[i], "patience", 8) == 0) {
            h->patience_ms = value * 1000;
        } else {
            (void)fputs("usage: crosstalk port=N [sessions=N] [replies=N] [seed=N] [patience=S]\n"
                        "                 [shaken=0|1] (1: connections to the server are cut)\n",
                        stderr);
            _exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    struct hunt h = {.sessions = 500, .replies = 200000, .seed = 1, .patience_ms = 20000};
    parse(&h, argc, argv);
    h.random = h.seed;
    h.input = malloc(READ_SIZE);
    h.all = calloc(h.sessions, sizeof(*h.all));
    h.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (h.input == NULL || h.all == NULL || h.epoll < 0) {
        fail("start");
    }
    uint64_t began_ms = h.now_ms = clock_ms();
    for (uint32_t i = 0; i < h.sessions; i++) {
        begin_life(&h, &h.all[i]);
    }
    run(&h);
    tell(&h, (double)(clock_ms() - began_ms) / 1e3);
    return 0;
}
