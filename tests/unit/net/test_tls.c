/* Two ends of TLS whose cipher bytes are carried by hand, whole or in pieces: what arrives, what is
 * held, how it ends, and in which words it fails. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/limits.h"
#include "proxy/net/tls.h"
#include "tests/unit/net/certs.h"

struct end {
    struct tls_ctx *ctx;
    struct tls_room *room;
    struct tls *tls;
    int err; /* of the handshake */
};

static struct end client, server;
static uint16_t port = 6379; /* of the peer, as the client knows it */

static void make(struct end *e, const struct tls_settings *s, const char *host)
{
    struct tls_problem problem;
    struct addr peer = {.port = port};
    if (e->ctx == NULL) {
        e->ctx = tls_ctx_new(s, &problem);
        assert_non_null(e->ctx);
        e->room = tls_room_new();
    }
    if (host != NULL) {
        (void)snprintf(peer.host, sizeof peer.host, "%s", host);
    }
    e->tls = tls_new(e->ctx, e->room, host == NULL ? NULL : &peer);
}

static void drop(struct end *e)
{
    tls_free(&e->tls);
    tls_ctx_free(&e->ctx);
    tls_room_free(&e->room);
}

/* Carries at most n of the bytes that one has for the other; how many there were. */
static size_t carry(struct end *from, struct end *to, size_t n)
{
    struct slice out = tls_out(from->tls);
    n = out.n < n ? out.n : n;
    if (n > 0) {
        static char copy[1 << 18];
        memcpy(copy, out.p, n);
        tls_sent(from->tls, n);
        tls_settle(from->tls);
        tls_put(to->tls, slice_of(copy, n));
    }
    return n;
}

/* The handshake, in pieces of at most n bytes. */
static void shake(size_t n)
{
    client.err = server.err = -EAGAIN;
    for (bool moved = true; moved;) {
        client.err = tls_handshake(client.tls);
        tls_settle(client.tls);
        moved = carry(&client, &server, n) > 0;
        if (server.err == -EAGAIN) {
            server.err = tls_handshake(server.tls);
        }
        tls_settle(server.tls);
        moved = carry(&server, &client, n) > 0 || moved;
    }
}

static struct tls_settings client_settings(void)
{
    return (struct tls_settings){.side = TLS_CONNECTS, .ca_file = cert("ca.crt")};
}

static struct tls_settings server_settings(void)
{
    return (struct tls_settings){
        .side = TLS_ACCEPTS, .cert_file = cert("server.crt"), .key_file = cert("server.key")};
}

static void pair(const struct tls_settings *c, const struct tls_settings *s, const char *host)
{
    make(&client, c, host);
    make(&server, s, NULL);
    shake(SIZE_MAX);
}

static void agreed(void)
{
    if (client.err != 0 || server.err != 0) {
        fail_msg("client %d %s, server %d %s", client.err, tls_trouble(client.tls), server.err,
                 tls_trouble(server.tls));
    }
}

static void plain_pair(void)
{
    struct tls_settings c = client_settings(), s = server_settings();
    pair(&c, &s, "localhost");
    agreed();
}

static void drop_pair(void)
{
    drop(&client);
    drop(&server);
}

static ssize_t put(struct end *e, const char *bytes, size_t n)
{
    /* Nothing is written through it. */
    struct iovec iov = {.iov_len = n};
    memcpy(&iov.iov_base, &bytes, sizeof bytes);
    return tls_write(e->tls, &iov, 1, 0);
}

static void test_bytes_both_ways(void **state)
{
    (void)state;
    char got[64];
    plain_pair();
    assert_string_equal(tls_version_name(client.tls), "TLSv1.3");
    assert_int_equal(tls_read(server.tls, got, sizeof got), -EAGAIN);
    assert_int_equal(put(&client, "hello", 5), 5);
    assert_true(carry(&client, &server, SIZE_MAX) > 5);
    assert_int_equal(tls_read(server.tls, got, sizeof got), 5);
    assert_memory_equal(got, "hello", 5);
    assert_int_equal(put(&server, "world", 5), 5);
    (void)carry(&server, &client, SIZE_MAX);
    assert_int_equal(tls_read(client.tls, got, 3), 3);
    assert_true(tls_pending(client.tls));
    tls_settle(client.tls);
    assert_int_equal(tls_read(client.tls, got + 3, sizeof got - 3), 2);
    assert_memory_equal(got, "world", 5);
    assert_false(tls_pending(client.tls));
    drop_pair();
}

/* The handshake and a reply arrive one byte at a time. */
static void test_single_bytes(void **state)
{
    (void)state;
    char got[64];
    struct tls_settings c = client_settings(), s = server_settings();
    make(&client, &c, "127.0.0.1");
    make(&server, &s, NULL);
    shake(1);
    agreed();
    assert_int_equal(put(&client, "hello", 5), 5);
    tls_settle(client.tls);
    ssize_t n = -EAGAIN;
    while (n == -EAGAIN) {
        assert_int_equal(tls_held(client.tls), 5);
        assert_int_equal(carry(&client, &server, 1), 1);
        n = tls_read(server.tls, got, sizeof got);
    }
    assert_int_equal(n, 5);
    assert_int_equal(tls_held(client.tls), 0);
    drop_pair();
}

/* Not one byte of a record counts before its last was accepted; then all of them do. */
static void test_held_to_the_byte(void **state)
{
    (void)state;
    static char bytes[5 * TLS_RECORD_MAX];
    plain_pair();
    assert_int_equal(put(&client, bytes, sizeof bytes), TLS_BATCH_RECORDS * TLS_RECORD_MAX);
    tls_settle(client.tls);
    assert_int_equal(put(&client, bytes, 1), 0); /* not while something waits */
    size_t whole = tls_out(client.tls).n / TLS_BATCH_RECORDS;
    size_t held = (size_t)TLS_BATCH_RECORDS * TLS_RECORD_MAX;
    for (unsigned i = 0; i < TLS_BATCH_RECORDS; i++) {
        tls_sent(client.tls, whole - 1);
        assert_int_equal(tls_held(client.tls), held);
        tls_sent(client.tls, 1);
        held -= TLS_RECORD_MAX;
        assert_int_equal(tls_held(client.tls), held);
    }
    assert_int_equal(tls_out(client.tls).n, 0);
    assert_int_equal(put(&client, bytes, 1), 1);
    tls_settle(client.tls);
    tls_sent(client.tls, tls_out(client.tls).n);
    drop_pair();
}

/* Pieces that lie apart become one record, from any offset on. */
static void test_pieces_are_gathered(void **state)
{
    (void)state;
    char a[] = "abc", b[] = "", c[] = "defg", got[16];
    struct iovec iov[3] = {{a, 3}, {b, 0}, {c, 4}};
    plain_pair();
    assert_int_equal(tls_write(client.tls, iov, 3, 2), 5);
    (void)carry(&client, &server, SIZE_MAX);
    assert_int_equal(tls_read(server.tls, got, sizeof got), 5);
    assert_memory_equal(got, "cdefg", 5);
    assert_int_equal(tls_write(client.tls, iov, 3, 7), 0);
    drop_pair();
}

static void test_end(void **state)
{
    (void)state;
    char got[16];
    plain_pair();
    assert_int_equal(put(&client, "bye", 3), 3);
    tls_end(client.tls);
    (void)carry(&client, &server, SIZE_MAX);
    assert_int_equal(tls_read(server.tls, got, sizeof got), 3);
    assert_true(tls_pending(server.tls));
    assert_int_equal(tls_read(server.tls, got, sizeof got), 0);
    assert_false(tls_pending(server.tls));
    /* The other direction goes on. */
    assert_int_equal(put(&server, "answer", 6), 6);
    (void)carry(&server, &client, SIZE_MAX);
    assert_int_equal(tls_read(client.tls, got, sizeof got), 6);
    drop_pair();
    plain_pair();
    tls_put_end(server.tls); /* FIN alone */
    assert_int_equal(tls_read(server.tls, got, sizeof got), 0);
    drop_pair();
}

static void test_forged_bytes(void **state)
{
    (void)state;
    char got[16], forged[64];
    plain_pair();
    assert_int_equal(put(&client, "hello", 5), 5);
    tls_settle(client.tls);
    struct slice out = tls_out(client.tls);
    assert_true(out.n < sizeof forged);
    memcpy(forged, out.p, out.n);
    forged[out.n - 1] ^= 1;
    tls_put(server.tls, slice_of(forged, out.n));
    assert_int_equal(tls_read(server.tls, got, sizeof got), -EPROTO);
    assert_non_null(tls_trouble(server.tls));
    assert_int_equal(put(&server, "x", 1), -EPROTO);
    tls_settle(server.tls);
    drop_pair();
}

/* What a client refuses, in which words. */
static void refused(const char *host, const char *cert_name, const char *ca, const char *words)
{
    char crt[64], key[64];
    struct tls_settings c = client_settings(), s = server_settings();
    (void)snprintf(crt, sizeof crt, "%s.crt", cert_name);
    (void)snprintf(key, sizeof key, "%s.key", cert_name);
    c.ca_file = cert(ca);
    s.cert_file = cert(crt);
    s.key_file = cert(key);
    pair(&c, &s, host);
    if (words == NULL) {
        agreed();
    } else if (client.err != -EPROTO || strstr(tls_trouble(client.tls), words) == NULL) {
        fail_msg("%d: %s", client.err, tls_trouble(client.tls));
    }
    drop_pair();
}

static void test_verification(void **state)
{
    (void)state;
    refused("localhost", "server", "ca.crt", NULL);
    refused("localhost.", "server", "ca.crt", NULL); /* as DNS knows it */
    refused("127.0.0.1", "server", "ca.crt", NULL);
    refused("::1", "server", "ca.crt", NULL);
    refused("redis-1", "server", "ca.crt",
            "CN=server,O=Vedette tests is for another name or address: DNS:localhost, IP");
    refused("127.0.0.2", "server", "ca.crt", "is for another name or address: DNS:localhost, IP");
    refused("localhost", "elsewhere", "ca.crt", "another name or address: DNS:elsewhere.example");
    refused("localhost", "expired", "ca.crt", "CN=expired,O=Vedette tests expired on 20");
    refused("localhost", "foreign", "ca.crt", "unable to get local issuer certificate");
    refused("localhost", "server", "other-ca.crt", "unable to get local issuer certificate");
    refused("localhost", "alone", "ca.crt", "self-signed certificate");
}

static void test_server_name_and_lesser_checks(void **state)
{
    (void)state;
    struct tls_settings c = client_settings(), s = server_settings();
    c.server_name = "localhost";
    pair(&c, &s, "10.9.8.7");
    agreed();
    drop_pair();
    c.server_name = NULL;
    c.verify = TLS_VERIFY_CA;
    pair(&c, &s, "10.9.8.7");
    agreed();
    drop_pair();
    c.ca_file = cert("other-ca.crt");
    pair(&c, &s, "10.9.8.7");
    assert_int_equal(client.err, -EPROTO);
    drop_pair();
    c.verify = TLS_VERIFY_NONE;
    pair(&c, &s, "10.9.8.7");
    agreed();
    /* What fails then is not said to be the certificate's fault. */
    static const char forged[] = "\x17\x03\x03\0\x11"
                                 "a record of nobody";
    char got[16];
    tls_put(client.tls, slice_of(forged, sizeof forged - 1));
    assert_int_equal(tls_read(client.tls, got, sizeof got), -EPROTO);
    assert_null(strstr(tls_trouble(client.tls), "certificate"));
    tls_settle(client.tls);
    drop_pair();
}

static void test_client_certificates(void **state)
{
    (void)state;
    char got[16];
    struct tls_settings c = client_settings(), s = server_settings();
    s.ca_file = cert("ca.crt");
    s.auth = TLS_AUTH_YES;
    pair(&c, &s, "localhost");
    assert_int_equal(server.err, -EPROTO);
    assert_non_null(strstr(tls_trouble(server.tls), "peer did not return a certificate"));
    assert_int_equal(client.err, 0); /* in TLS 1.3 it hears of it later */
    assert_int_equal(tls_read(client.tls, got, sizeof got), -EPROTO);
    assert_string_equal(tls_trouble(client.tls), "the other side refuses: certificate required");
    drop_pair();
    s.auth = TLS_AUTH_OPTIONAL;
    pair(&c, &s, "localhost");
    agreed();
    drop_pair();
    c.cert_file = cert("client.crt");
    c.key_file = cert("client.key");
    s.auth = TLS_AUTH_YES;
    pair(&c, &s, "localhost");
    agreed();
    drop_pair();
    s.ca_file = cert("other-ca.crt");
    pair(&c, &s, "localhost");
    assert_int_equal(server.err, -EPROTO);
    assert_non_null(
        strstr(tls_trouble(server.tls), "is refused: self-signed certificate in certificate"));
    drop_pair();
}

static void test_versions(void **state)
{
    (void)state;
    struct tls_settings c = client_settings(), s = server_settings();
    s.min_version = TLS_1_3;
    c.ciphers = "ECDHE+AESGCM";
    pair(&c, &s, "localhost");
    agreed();
    drop_pair();
}

static void test_no_tls(void **state)
{
    (void)state;
    static const char *const said[] = {"*1\r\n$4\r\nPING\r\n", "GET / HTTP/1.1\r\n\r\n",
                                       "PING\r\n"};
    struct tls_settings c = client_settings(), s = server_settings();
    for (size_t i = 0; i < ARRAY_LEN(said); i++) {
        make(&server, &s, NULL);
        tls_put(server.tls, slice_str(said[i]));
        assert_int_equal(tls_handshake(server.tls), -EPROTO);
        assert_non_null(strstr(tls_trouble(server.tls), "the other side speaks no TLS"));
        tls_settle(server.tls);
        drop(&server);
    }
    make(&client, &c, "localhost");
    assert_int_equal(tls_handshake(client.tls), -EAGAIN);
    tls_put(client.tls, slice_str("-ERR Protocol error\r\n"));
    assert_int_equal(tls_handshake(client.tls), -EPROTO);
    assert_non_null(strstr(tls_trouble(client.tls), "the other side speaks no TLS"));
    tls_settle(client.tls);
    drop(&client);
    make(&client, &c, "localhost");
    assert_int_equal(tls_handshake(client.tls), -EAGAIN);
    tls_put_end(client.tls);
    assert_int_equal(tls_handshake(client.tls), -EPROTO);
    assert_string_equal(tls_trouble(client.tls),
                        "the connection was closed during the TLS handshake");
    tls_settle(client.tls);
    drop(&client);
}

/* The next connection to the same peer goes on with what this one was given, and one to another
 * peer does not. After a reload none does. */
static void test_resumption(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        bool resumed;
    } turn[] = {
        {"localhost", false}, {"localhost", true}, {"127.0.0.1", false}, {"localhost", true}};
    struct tls_problem problem;
    char got[16];
    struct tls_settings c = client_settings(), s = server_settings();
    for (size_t i = 0; i < ARRAY_LEN(turn); i++) {
        pair(&c, &s, turn[i].host);
        agreed();
        assert_int_equal(tls_resumed(client.tls), turn[i].resumed);
        assert_int_equal(tls_read(client.tls, got, sizeof got), -EAGAIN); /* takes the tickets */
        tls_settle(client.tls);
        tls_free(&client.tls);
        tls_free(&server.tls);
    }
    assert_true(tls_ctx_reload(client.ctx, &problem));
    pair(&c, &s, "localhost");
    agreed();
    assert_false(tls_resumed(client.tls));
    drop_pair();
}

/* limit: TLS_SESSIONS_MAX, of all peers: those of one not seen for long are forgotten. */
static void test_sessions_of_many_peers(void **state)
{
    (void)state;
    char got[16];
    struct tls_settings c = client_settings(), s = server_settings();
    for (unsigned i = 0; i <= TLS_SESSIONS_MAX; i++) {
        port = (uint16_t)(6379 + i);
        pair(&c, &s, "localhost");
        agreed();
        assert_false(tls_resumed(client.tls));
        assert_int_equal(tls_read(client.tls, got, sizeof got), -EAGAIN);
        tls_settle(client.tls);
        tls_free(&client.tls);
        tls_free(&server.tls);
    }
    for (int again = 0; again < 2; again++) {
        port = again == 0 ? 6379 + TLS_SESSIONS_MAX : 6379;
        pair(&c, &s, "localhost");
        agreed();
        assert_int_equal(tls_resumed(client.tls), again == 0);
        tls_free(&client.tls);
        tls_free(&server.tls);
    }
    port = 6379;
    make(&client, &c, "localhost");
    make(&server, &s, NULL);
    drop_pair();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_both_ways),
        cmocka_unit_test(test_single_bytes),
        cmocka_unit_test(test_held_to_the_byte),
        cmocka_unit_test(test_pieces_are_gathered),
        cmocka_unit_test(test_end),
        cmocka_unit_test(test_forged_bytes),
        cmocka_unit_test(test_verification),
        cmocka_unit_test(test_server_name_and_lesser_checks),
        cmocka_unit_test(test_client_certificates),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_no_tls),
        cmocka_unit_test(test_resumption),
        cmocka_unit_test(test_sessions_of_many_peers),
    };
    return cmocka_run_group_tests(tests, certs_make, certs_remove);
}
