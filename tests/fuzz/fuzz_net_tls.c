/* Two ends of TLS, or one against anything: bytes are written, carried in pieces, read with little
 * room, ended and forged as the input says.
 *
 *   what is read is what was written, in order, whatever the pieces, or nothing at all;
 *   held bytes are exactly those that have not been read by an end that had all that was sent;
 *   bytes that are no TLS, or were forged, end in an error, and in words. */
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/limits.h"
#include "proxy/net/tls.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct end {
    struct tls *tls;
    struct buf wire;  /* cipher bytes on their way to the other end */
    uint64_t written; /* plain bytes taken */
    uint64_t read;    /* plain bytes that the other one has written and this one got */
    bool ended, broken;
    bool over; /* it has said that it writes no more */
};

struct input {
    const uint8_t *p, *end;
};

static struct tls_ctx *ctxs[2];
static struct tls_room *room;
static char file[] = "/tmp/fuzz-tls-XXXXXX";

/* A certificate that is its own authority, and its key, in one file. */
static void make_file(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    int fd = mkstemp(file);
    FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
    CHECK(key != NULL && cert != NULL && out != NULL);
    X509_NAME *name = X509_get_subject_name(cert);
    CHECK(X509_set_version(cert, 2) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(cert), 1) == 1 &&
          X509_gmtime_adj(X509_getm_notBefore(cert), -3600) != NULL &&
          X509_gmtime_adj(X509_getm_notAfter(cert), 86400L * 365) != NULL &&
          X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"fuzz", -1,
                                     -1, 0) == 1 &&
          X509_set_issuer_name(cert, name) == 1 && X509_set_pubkey(cert, key) == 1 &&
          X509_sign(cert, key, EVP_sha256()) > 0);
    CHECK(PEM_write_X509(out, cert) == 1 &&
          PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) == 1 && fclose(out) == 0);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static void set_up(void)
{
    if (room != NULL) {
        return;
    }
    make_file();
    struct tls_settings client = {.side = TLS_CONNECTS, .ca_file = file, .verify = TLS_VERIFY_CA};
    struct tls_settings server = {.side = TLS_ACCEPTS, .cert_file = file, .key_file = file};
    struct tls_problem problem;
    ctxs[0] = tls_ctx_new(&client, &problem);
    ctxs[1] = tls_ctx_new(&server, &problem);
    CHECK(ctxs[0] != NULL && ctxs[1] != NULL && unlink(file) == 0);
    room = tls_room_new();
}

static uint8_t next(struct input *in)
{
    return in->p < in->end ? *in->p++ : 0;
}

/* A number of every size up to `most`, from two bytes. */
static size_t number(struct input *in, size_t most)
{
    size_t n = next(in);
    n = n << (next(in) % 11);
    return n < most ? n : most;
}

static char plain_byte(uint64_t at)
{
    return (char)(at * 7 + (at >> 8));
}

static void take_out(struct end *e, size_t n)
{
    struct slice out = tls_out(e->tls);
    n = n < out.n ? n : out.n;
    buf_append(&e->wire, slice_of(out.p, n));
    if (n > 0) {
        tls_sent(e->tls, n);
    }
    tls_settle(e->tls);
}

static void write_some(struct end *e, size_t n)
{
    static char bytes[80000];
    n = n < sizeof bytes ? n : sizeof bytes;
    if (e->over) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        bytes[i] = plain_byte(e->written + i);
    }
    struct iovec iov[3] = {{bytes, n / 3}, {bytes + n / 3, n / 5}, {bytes + n / 3 + n / 5, 0}};
    iov[2].iov_len = n - n / 3 - n / 5;
    ssize_t taken = tls_write(e->tls, iov, 3, 0);
    CHECK(taken <= (ssize_t)n && (taken >= 0 || taken == -EPROTO));
    CHECK(taken <= (ssize_t)(TLS_BATCH_RECORDS * TLS_RECORD_MAX));
    e->written += taken > 0 ? (uint64_t)taken : 0;
    tls_settle(e->tls);
    CHECK(tls_held(e->tls) <= e->written);
}

static void carry(struct end *from, struct end *to, size_t n)
{
    struct slice wire = buf_slice(&from->wire);
    n = n < wire.n ? n : wire.n;
    if (n > 0) {
        tls_put(to->tls, slice_of(wire.p, n));
        tls_settle(to->tls);
        buf_consume(&from->wire, n);
    }
}

/* True if something came. */
static bool read_some(struct end *e, const struct end *from, size_t n)
{
    static char bytes[65536];
    n = n < 1 ? 1 : (n < sizeof bytes ? n : sizeof bytes);
    int err = tls_handshake(e->tls);
    CHECK(err == 0 || err == -EAGAIN || err == -EPROTO);
    ssize_t got = err == 0 ? tls_read(e->tls, bytes, n) : err;
    tls_settle(e->tls);
    CHECK(got <= (ssize_t)n && (got >= 0 || got == -EAGAIN || got == -EPROTO));
    for (ssize_t i = 0; i < got; i++) {
        CHECK(bytes[i] == plain_byte(e->read + (uint64_t)i));
    }
    e->read += got > 0 ? (uint64_t)got : 0;
    CHECK(e->read <= from->written);
    if (got == -EPROTO) {
        CHECK(tls_trouble(e->tls) != NULL && tls_trouble(e->tls)[0] != '\0');
        e->broken = true;
    }
    e->ended = e->ended || got == 0;
    return got > 0;
}

/* All that is on its way arrives. */
static void finish(struct end *a, struct end *b)
{
    for (bool moved = true; moved;) {
        moved = tls_out(a->tls).n > 0 || tls_out(b->tls).n > 0;
        take_out(a, SIZE_MAX);
        take_out(b, SIZE_MAX);
        moved = moved || buf_len(&a->wire) > 0 || buf_len(&b->wire) > 0;
        carry(a, b, SIZE_MAX);
        carry(b, a, SIZE_MAX);
        moved = read_some(a, b, SIZE_MAX) || moved;
        moved = read_some(b, a, SIZE_MAX) || moved;
        moved = moved && !a->broken && !b->broken && !a->ended && !b->ended;
    }
}

static void step(struct input *in, struct end *e, struct end *other, bool *forged)
{
    switch (next(in) % 8) {
    case 0:
    case 1: write_some(e, number(in, 80000)); return;
    case 2: take_out(e, number(in, 1 << 18)); return;
    case 3: carry(e, other, number(in, 1 << 18)); return;
    case 4: (void)read_some(e, other, number(in, 65536)); return;
    case 5:
        if (next(in) % 8 == 0) {
            e->over = e->over || tls_handshake(e->tls) == 0;
            tls_end(e->tls);
            tls_settle(e->tls);
        }
        return;
    case 6: {
        size_t at = number(in, 1 << 18), n = buf_len(&e->wire);
        if (n > 0 && next(in) % 16 == 0) {
            char *byte = &e->wire.data[e->wire.begin + at % n];
            *byte = (char)(unsigned char)((unsigned char)*byte ^ (1u + next(in) % 255u));
            *forged = true;
        }
        return;
    }
    default: finish(e, other);
    }
}

static void pair(struct input *in)
{
    struct addr peer = {.host = "fuzz", .port = 1};
    struct end ends[2] = {{0}, {0}};
    bool forged = false;
    ends[0].tls = tls_new(ctxs[0], room, &peer);
    ends[1].tls = tls_new(ctxs[1], room, NULL);
    while (in->p < in->end) {
        unsigned who = next(in) & 1;
        step(in, &ends[who], &ends[1 - who], &forged);
    }
    bool quiet = !forged && !ends[0].ended && !ends[1].ended;
    finish(&ends[0], &ends[1]);
    if (quiet && !ends[0].ended && !ends[1].ended) {
        CHECK(!ends[0].broken && !ends[1].broken);
        for (unsigned i = 0; i < 2; i++) {
            CHECK(tls_held(ends[i].tls) == 0 && ends[1 - i].read == ends[i].written);
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        tls_free(&ends[i].tls);
        buf_release(&ends[i].wire);
    }
}

/* One end against the input itself. */
static void alone(struct input *in, unsigned side)
{
    struct addr peer = {.host = "fuzz", .port = 1};
    struct tls *t = tls_new(ctxs[side], room, side == 0 ? &peer : NULL);
    int err = tls_handshake(t);
    while (in->p < in->end && err == -EAGAIN) {
        size_t n = 1u + next(in), left = (size_t)(in->end - in->p);
        n = n < left ? n : left;
        tls_sent(t, tls_out(t).n);
        tls_settle(t);
        tls_put(t, slice_of((const char *)in->p, n));
        in->p += n;
        err = tls_handshake(t);
    }
    CHECK(err == -EAGAIN || (err == -EPROTO && tls_trouble(t) != NULL));
    tls_sent(t, tls_out(t).n);
    tls_settle(t);
    tls_free(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    set_up();
    uint8_t mode = next(&in);
    if (mode % 4 < 2) {
        alone(&in, mode % 4);
    } else {
        pair(&in);
    }
    return 0;
}
