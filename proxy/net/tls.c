#include "proxy/net/tls.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/limits.h"
#include "proxy/net/tls_parts.h"

#define TLS_MAGIC 0x7150a11eu

struct tls_room {
    char in[TLS_ROOM_IN];
    char gather[TLS_RECORD_MAX];
    struct buf out; /* keeps its memory */
};

/* A record: where it ends among the plain bytes taken, and among the cipher bytes made. */
struct mark {
    uint64_t plain, cipher;
};

struct tls {
    uint32_t magic;
    SSL *ssl;
    struct tls_room *room;
    struct slice in; /* cipher bytes not looked at: in the room, the caller's, or in `kept` */
    struct buf kept; /* those that outlive the call */
    struct buf out;  /* cipher bytes that the kernel did not take */
    bool in_ended;
    bool done; /* the handshake is */
    bool failed, told, ended, starved;
    uint32_t talk;  /* heads and bodies of records since the last that had data */
    size_t answers; /* bytes that the peer has caused by what is no data, and that are not sent */
    uint64_t plain_taken, plain_sent, cipher_made, cipher_sent;
    struct mark mark[TLS_BATCH_RECORDS];
    uint32_t mark_first, mark_count;
    struct tls_refusal refusal;
    char trouble[TLS_WORDS_MAX + 64];
};

static BIO_METHOD *method;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static struct buf *sink(struct tls *t)
{
    return buf_len(&t->out) > 0 ? &t->out : &t->room->out;
}

static int bio_write(BIO *bio, const char *bytes, int n)
{
    struct tls *t = BIO_get_data(bio);
    CHECK_MAGIC(t, TLS_MAGIC);
    BIO_clear_retry_flags(bio);
    buf_append(sink(t), slice_of(bytes, (size_t)n));
    t->cipher_made += (uint64_t)n;
    return n;
}

/* Why nothing more is read; NULL: it is. */
static const char *nuisance(const struct tls *t)
{
    if (t->talk >= 2 * (TLS_TALK_MAX + 1)) {
        return "TLS: the other side sends message after message, and no data";
    }
    if (t->answers > TLS_ANSWERS_MAX) {
        return "TLS: the other side asks time and again, and reads no answer";
    }
    return NULL;
}

static int bio_read(BIO *bio, char *to, int n)
{
    struct tls *t = BIO_get_data(bio);
    CHECK_MAGIC(t, TLS_MAGIC);
    BIO_clear_retry_flags(bio);
    if (nuisance(t) != NULL) {
        return -1;
    }
    if (t->in.n == 0) {
        if (t->in_ended) {
            return 0;
        }
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t take = (size_t)n < t->in.n ? (size_t)n : t->in.n;
    memcpy(to, t->in.p, take);
    t->in = slice_of(t->in.p + take, t->in.n - take);
    t->talk += t->done && take == (size_t)n ? 1 : 0; /* what comes in pieces is asked for again */
    return (int)take;
}

static long bio_ctrl(BIO *bio, int what, long number, void *ptr)
{
    (void)number, (void)ptr;
    const struct tls *t = BIO_get_data(bio);
    switch (what) {
    case BIO_CTRL_FLUSH: return 1;
    case BIO_CTRL_EOF: return t->in_ended && t->in.n == 0 ? 1 : 0;
    default: return 0;
    }
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

static void init(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "memory of a connection");
    CHECK(method != NULL && BIO_meth_set_write(method, bio_write) == 1 &&
          BIO_meth_set_read(method, bio_read) == 1 && BIO_meth_set_ctrl(method, bio_ctrl) == 1 &&
          BIO_meth_set_create(method, bio_create) == 1);
}

struct tls_room *tls_room_new(void)
{
    return xcalloc(1, sizeof(struct tls_room));
}

void tls_room_free(struct tls_room **where)
{
    struct tls_room *room = *where;
    if (room != NULL) {
        buf_wipe(&room->out);
        secure_wipe(room, sizeof *room); /* plain bytes went through it */
        free(room);
        *where = NULL;
    }
}

char *tls_room_in(struct tls_room *room)
{
    return room->in;
}

/* Whose certificate it has to be: what was configured, else as the peer is called. */
static void expect(struct tls *t, const struct tls_settings *s, const struct addr *peer)
{
    const char *name = s->server_name != NULL ? s->server_name : peer->host;
    struct addr addr = {.port = peer->port};
    struct sockaddr_any numeric;
    (void)snprintf(addr.host, sizeof addr.host, "%s", name);
    bool is_name = !addr_numeric(&addr, &numeric);
    size_t n = strlen(addr.host);
    if (is_name && n > 1 && addr.host[n - 1] == '.') {
        addr.host[n - 1] = '\0'; /* the root, which no certificate names (RFC 6066, 3) */
    }
    if (is_name) {
        (void)SSL_set_tlsext_host_name(t->ssl, addr.host);
    }
    if (s->verify != TLS_VERIFY_FULL) {
        return;
    }
    X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
    if (is_name) {
        X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        CHECK(X509_VERIFY_PARAM_set1_host(param, addr.host, 0) == 1);
    } else {
        addr_normalize(&addr);
        CHECK(X509_VERIFY_PARAM_set1_ip_asc(param, addr.host) == 1);
    }
}

struct tls *tls_new(struct tls_ctx *ctx, struct tls_room *room, const struct addr *peer)
{
    CHECK(pthread_once(&once, init) == 0);
    struct tls *t = xcalloc(1, sizeof *t);
    const struct tls_settings *s = tls_ctx_settings(ctx);
    t->magic = TLS_MAGIC;
    t->room = room;
    t->ssl = tls_ctx_open(ctx, &t->refusal);
    BIO *bio = BIO_new(method);
    CHECK(bio != NULL);
    BIO_set_data(bio, t);
    SSL_set_bio(t->ssl, bio, bio);
    if (s->side == TLS_ACCEPTS) {
        SSL_set_accept_state(t->ssl);
        return t;
    }
    SSL_set_connect_state(t->ssl);
    expect(t, s, peer);
    tls_ctx_resume(ctx, t->ssl, peer);
    return t;
}

void tls_free(struct tls **where)
{
    struct tls *t = *where;
    if (t == NULL) {
        return;
    }
    CHECK_MAGIC(t, TLS_MAGIC);
    CHECK(buf_len(&t->room->out) == 0);
    *where = NULL;
    if (t->done && !t->failed) {
        /* Else the session would be taken for a bad one. */
        SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    }
    SSL_free(t->ssl);
    buf_wipe(&t->kept);
    buf_release(&t->out);
    t->magic = 0;
    free(t);
}

void tls_put(struct tls *t, struct slice cipher)
{
    if (t->in.n == 0) {
        t->in = cipher;
        return;
    }
    struct buf joined = {0};
    buf_append(&joined, t->in);
    buf_append(&joined, cipher);
    buf_release(&t->kept);
    t->kept = joined;
    t->in = buf_slice(&t->kept);
}

void tls_put_end(struct tls *t)
{
    t->in_ended = true;
}

static bool other_reason(int reason)
{
    switch (reason) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_BAD_RECORD_TYPE: return true;
    default: return false;
    }
}

static void name_trouble(struct tls *t, int error)
{
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
    if (t->refusal.error != X509_V_OK) {
        (void)snprintf(t->trouble, sizeof t->trouble, "%s", t->refusal.text);
    } else if (nuisance(t) != NULL) {
        (void)snprintf(t->trouble, sizeof t->trouble, "%s", nuisance(t));
    } else if (error == SSL_ERROR_ZERO_RETURN || error == SSL_ERROR_SYSCALL) {
        (void)snprintf(t->trouble, sizeof t->trouble,
                       "the connection was closed during the TLS handshake");
    } else if (reason >= SSL_AD_REASON_OFFSET) {
        const char *words = tls_error_words(), *alert = strstr(words, "alert ");
        (void)snprintf(t->trouble, sizeof t->trouble, "the other side refuses: %s",
                       alert == NULL ? words : alert + strlen("alert "));
    } else if (!t->done && other_reason(reason)) {
        (void)snprintf(t->trouble, sizeof t->trouble, "the other side speaks no TLS (%s)",
                       tls_error_words());
    } else {
        (void)snprintf(t->trouble, sizeof t->trouble, "TLS: %s", tls_error_words());
    }
}

/* What a call of OpenSSL that has not succeeded means. */
static int outcome(struct tls *t, int result)
{
    int error = SSL_get_error(t->ssl, result);
    if (error == SSL_ERROR_WANT_READ) {
        return -EAGAIN;
    }
    if (error == SSL_ERROR_ZERO_RETURN && t->done) {
        t->ended = true;
        return 0;
    }
    if (!t->failed) {
        t->failed = true;
        name_trouble(t, error);
    }
    ERR_clear_error();
    return -EPROTO;
}

int tls_handshake(struct tls *t)
{
    CHECK_MAGIC(t, TLS_MAGIC);
    if (t->failed) {
        return -EPROTO;
    }
    if (!t->done) {
        ERR_clear_error();
        int result = SSL_do_handshake(t->ssl);
        if (result != 1) {
            return outcome(t, result);
        }
        t->done = true;
    }
    return 0;
}

ssize_t tls_read(struct tls *t, char *to, size_t n)
{
    CHECK_MAGIC(t, TLS_MAGIC);
    CHECK(t->done && n > 0);
    size_t got = 0;
    bool talked = false; /* which cost time: the rest is for another turn */
    while (got < n && !talked && !t->failed && !t->ended) {
        size_t some = 0;
        uint64_t made = t->cipher_made;
        ERR_clear_error();
        int result = SSL_read_ex(t->ssl, to + got, n - got, &some);
        t->answers += (size_t)(t->cipher_made - made);
        if (result != 1) {
            if (outcome(t, result) == -EAGAIN) {
                return got > 0 ? (ssize_t)got : -EAGAIN;
            }
            break;
        }
        got += some;
        talked = t->talk > 2;
        t->talk = 0;
    }
    if (got > 0) {
        return (ssize_t)got; /* the end, or the error, is for the next call */
    }
    t->told = true;
    return t->failed ? -EPROTO : 0;
}

bool tls_pending(const struct tls *t)
{
    return t->done &&
           (t->in.n > 0 || SSL_pending(t->ssl) > 0 || ((t->failed || t->ended) && !t->told));
}

/* The next record's plain bytes: where they lie, or together in the room. */
static struct slice gather(struct tls *t, const struct iovec *iov, size_t count, size_t *at)
{
    size_t i = 0, skip = *at, n = 0;
    while (i < count && skip >= iov[i].iov_len) {
        skip -= iov[i++].iov_len;
    }
    if (i == count) {
        return slice_of(NULL, 0);
    }
    size_t first = iov[i].iov_len - skip;
    const char *p = (const char *)iov[i].iov_base + skip;
    if (first >= TLS_RECORD_MAX || i + 1 == count) {
        n = first < TLS_RECORD_MAX ? first : TLS_RECORD_MAX;
        *at += n;
        return slice_of(p, n);
    }
    for (; i < count && n < TLS_RECORD_MAX; i++, skip = 0) {
        size_t piece = iov[i].iov_len - skip;
        piece = piece < TLS_RECORD_MAX - n ? piece : TLS_RECORD_MAX - n;
        memcpy(t->room->gather + n, (const char *)iov[i].iov_base + skip, piece);
        n += piece;
    }
    *at += n;
    return slice_of(t->room->gather, n);
}

ssize_t tls_write(struct tls *t, const struct iovec *iov, size_t count, size_t from)
{
    CHECK_MAGIC(t, TLS_MAGIC);
    if (t->failed) {
        return -EPROTO;
    }
    size_t at = from;
    t->starved = false;
    if (!t->done || tls_out(t).n > 0) {
        return 0;
    }
    while (t->mark_count < TLS_BATCH_RECORDS) {
        size_t behind = at, written = 0;
        struct slice plain = gather(t, iov, count, &behind);
        if (plain.n == 0) {
            break;
        }
        ERR_clear_error();
        int result = SSL_write_ex(t->ssl, plain.p, plain.n, &written);
        if (result != 1) {
            t->starved = outcome(t, result) == -EAGAIN;
            t->failed = !t->starved;
            break;
        }
        at += written;
        t->plain_taken += written;
        t->mark[(t->mark_first + t->mark_count++) % TLS_BATCH_RECORDS] =
            (struct mark){t->plain_taken, t->cipher_made};
    }
    /* What was taken before it failed counts all the same: it is among what is held. */
    return t->failed && at == from ? -EPROTO : (ssize_t)(at - from);
}

bool tls_starved(const struct tls *t)
{
    return t->starved;
}

void tls_end(struct tls *t)
{
    CHECK_MAGIC(t, TLS_MAGIC);
    /* Said again, it would wait for the peer's, and take bytes of the peer for a mistake. */
    if (t->done && !t->failed && (SSL_get_shutdown(t->ssl) & SSL_SENT_SHUTDOWN) == 0) {
        ERR_clear_error();
        (void)SSL_shutdown(t->ssl); /* 0: the peer has not ended its side, which is its business */
        ERR_clear_error();
    }
}

struct slice tls_out(const struct tls *t)
{
    return buf_slice(buf_len(&t->out) > 0 ? &t->out : &t->room->out);
}

void tls_sent(struct tls *t, size_t n)
{
    struct buf *from = sink(t);
    buf_consume(from, n);
    t->cipher_sent += n;
    while (t->mark_count > 0 && t->mark[t->mark_first].cipher <= t->cipher_sent) {
        t->plain_sent = t->mark[t->mark_first].plain;
        t->mark_first = (t->mark_first + 1) % TLS_BATCH_RECORDS;
        t->mark_count--;
    }
    if (buf_len(from) == 0) {
        t->answers = 0;
        if (from == &t->out) {
            buf_release(from);
        }
    }
}

void tls_forget_out(struct tls *t)
{
    buf_release(&t->out);
    buf_consume(&t->room->out, buf_len(&t->room->out));
}

size_t tls_held(const struct tls *t)
{
    return (size_t)(t->plain_taken - t->plain_sent);
}

void tls_settle(struct tls *t)
{
    struct buf *room = &t->room->out;
    if (buf_len(room) > 0) {
        CHECK(buf_len(&t->out) == 0);
        buf_append(&t->out, buf_slice(room));
        buf_consume(room, buf_len(room));
    }
    if (t->in.n == 0) {
        buf_release(&t->kept);
        t->in = slice_of(NULL, 0);
    } else if (t->kept.data == NULL || t->in.p < t->kept.data ||
               t->in.p >= t->kept.data + t->kept.cap) {
        buf_release(&t->kept);
        buf_append(&t->kept, t->in);
        t->in = buf_slice(&t->kept);
    }
}

const char *tls_trouble(const struct tls *t)
{
    return t->failed ? t->trouble : NULL;
}

bool tls_resumed(const struct tls *t)
{
    return SSL_session_reused(t->ssl) == 1;
}

const char *tls_version_name(const struct tls *t)
{
    return SSL_get_version(t->ssl);
}
