/* A client that has agreed on TLS, and then says in it what no library says: messages of the
 * handshake in pieces, one behind the other, or for ever. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/ssl.h>

#include "proxy/base/limits.h"
#include "proxy/net/tls.h"
#include "proxy/net/transport.h"
#include "tests/unit/net/certs.h"

#define SECRET 32           /* of SHA-256 */
#define KEY    ((size_t)16) /* of AES-128 */
#define IV     12
#define TAG    16
#define MORE   ((size_t)1 << 17)

enum { ALERT = 21, HANDSHAKE = 22, DATA = 23 };

static const char key_update[] = {24, 0, 0, 1, 0}, key_update_both[] = {24, 0, 0, 1, 1};
static const char client_hello[] = {1, 0, 0, 0}, close_notify[] = {1, 0};

/* Ours: one of OpenSSL's as far as the end of the handshake, then our own. */
static struct client {
    SSL_CTX *ctx;
    SSL *ssl;
    bool old; /* TLS 1.2 */
    unsigned char secret[SECRET], key[KEY], iv[IV];
    uint64_t seq;
    char out[4 * MORE]; /* forged */
    size_t n;
} client;

static void derive(const char *kdf, OSSL_PARAM *params, unsigned char *out, size_t n)
{
    EVP_KDF *algorithm = EVP_KDF_fetch(NULL, kdf, NULL);
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(algorithm);
    assert_int_equal(EVP_KDF_derive(ctx, out, n, params), 1);
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(algorithm);
}

static OSSL_PARAM octets(const char *name, const void *from, size_t n)
{
    void *bytes; /* nothing is written through it */
    memcpy(&bytes, &from, sizeof from);
    return OSSL_PARAM_construct_octet_string(name, bytes, n);
}

/* HKDF-Expand-Label (RFC 8446, 7.1), with no context. */
static void expand(const char *label, unsigned char *out, size_t n)
{
    unsigned char info[64] = {0, (unsigned char)n, (unsigned char)(6 + strlen(label))};
    char sha256[] = "SHA256";
    int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
    (void)snprintf((char *)info + 3, sizeof info - 3, "tls13 %s", label);
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, sha256, 0),
                           OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
                           octets(OSSL_KDF_PARAM_KEY, client.secret, SECRET),
                           octets(OSSL_KDF_PARAM_INFO, info, 3 + 6 + strlen(label) + 1),
                           OSSL_PARAM_END};
    derive("HKDF", params, out, n);
}

static void take_keys(void)
{
    expand("key", client.key, KEY);
    expand("iv", client.iv, IV);
    client.seq = 0;
}

/* Of the lines that OpenSSL writes for those who listen. */
static void on_secret(const SSL *ssl, const char *line)
{
    static const char name[] = "CLIENT_TRAFFIC_SECRET_0 ";
    (void)ssl;
    if (strncmp(line, name, strlen(name)) == 0) {
        const char *hex = strrchr(line, ' ') + 1;
        size_t n;
        assert_int_equal(OPENSSL_hexstr2buf_ex(client.secret, SECRET, &n, hex, '\0'), 1);
        assert_int_equal(n, SECRET);
        take_keys();
    }
}

/* RFC 5246, 6.3, for AES-128-GCM. */
static void take_old_keys(void)
{
    unsigned char master[48], seed[64 + 13] = "key expansion", block[2 * KEY + 8];
    char sha256[] = "SHA256";
    assert_int_equal(SSL_SESSION_get_master_key(SSL_get_session(client.ssl), master, 48), 48);
    assert_int_equal(SSL_get_server_random(client.ssl, seed + 13, 32), 32);
    assert_int_equal(SSL_get_client_random(client.ssl, seed + 13 + 32, 32), 32);
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, sha256, 0),
                           octets(OSSL_KDF_PARAM_SECRET, master, sizeof master),
                           octets(OSSL_KDF_PARAM_SEED, seed, sizeof seed), OSSL_PARAM_END};
    derive("TLS1-PRF", params, block, sizeof block);
    memcpy(client.key, block, KEY);
    memcpy(client.iv, block + 2 * KEY, 4);
    client.seq = 1; /* behind Finished */
}

static void put_number(unsigned char *at, uint64_t number, size_t n)
{
    while (n-- > 0) {
        at[n] = (unsigned char)number;
        number >>= 8;
    }
}

/* Encrypts with the keys there are; the tag follows. */
static void seal(const unsigned char nonce[IV], const void *with, size_t with_n, const void *plain,
                 size_t n, unsigned char *out)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int done;
    assert_int_equal(EVP_EncryptInit_ex(ctx, EVP_aes_128_gcm(), NULL, client.key, nonce), 1);
    assert_int_equal(EVP_EncryptUpdate(ctx, NULL, &done, with, (int)with_n), 1);
    assert_int_equal(EVP_EncryptUpdate(ctx, out, &done, plain, (int)n), 1);
    assert_int_equal(EVP_EncryptFinal_ex(ctx, out + n, &done), 1);
    assert_int_equal(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG, out + n), 1);
    EVP_CIPHER_CTX_free(ctx);
}

/* One more record, of that type. */
static void forge(unsigned char type, const char *bytes, size_t n)
{
    unsigned char *out = (unsigned char *)client.out + client.n, nonce[IV], plain[64];
    size_t extra = client.old ? 8 : 0, inner = client.old ? n : n + 1;
    assert_true(n < sizeof plain && client.n + 128 < sizeof client.out);
    memcpy(out, (unsigned char[]){client.old ? type : DATA, 3, 3}, 3);
    put_number(out + 3, extra + inner + TAG, 2);
    memcpy(plain, bytes, n);
    plain[n] = type;
    memcpy(nonce, client.iv, IV);
    if (client.old) {
        unsigned char with[13];
        put_number(nonce + 4, client.seq, 8);
        memcpy(out + 5, nonce + 4, 8);
        put_number(with, client.seq, 8);
        memcpy(with + 8, out, 3);
        put_number(with + 11, inner, 2);
        seal(nonce, with, sizeof with, plain, inner, out + 5 + 8);
    } else {
        for (size_t i = 0; i < 8; i++) {
            nonce[4 + i] ^= (unsigned char)(client.seq >> (56 - 8 * i));
        }
        seal(nonce, out, 5, plain, inner, out + 5);
    }
    client.seq++;
    client.n += 5 + extra + inner + TAG;
}

static void renew_keys(const char *message)
{
    unsigned char next[SECRET];
    forge(HANDSHAKE, message, sizeof key_update);
    expand("traffic upd", next, SECRET);
    memcpy(client.secret, next, SECRET);
    take_keys();
}

static void client_open(bool old)
{
    memset(&client, 0, sizeof client);
    client.old = old;
    client.ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_keylog_callback(client.ctx, on_secret);
    assert_int_equal(SSL_CTX_set_ciphersuites(client.ctx, "TLS_AES_128_GCM_SHA256"), 1);
    assert_int_equal(SSL_CTX_set_cipher_list(client.ctx, "ECDHE-ECDSA-AES128-GCM-SHA256"), 1);
    assert_int_equal(
        SSL_CTX_set_max_proto_version(client.ctx, old ? TLS1_2_VERSION : TLS1_3_VERSION), 1);
    client.ssl = SSL_new(client.ctx);
    SSL_set_bio(client.ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(client.ssl);
}

static void client_close(void)
{
    SSL_free(client.ssl);
    SSL_CTX_free(client.ctx);
}

/* The other side, by itself and behind a transport. */
static struct tls_ctx *ctx;
static struct tls_room *room;
static struct tls *tls;

static void load(void)
{
    struct tls_problem problem;
    struct tls_settings s = {
        .side = TLS_ACCEPTS, .cert_file = cert("server.crt"), .key_file = cert("server.key")};
    ctx = tls_ctx_new(&s, &problem);
    assert_non_null(ctx);
}

static void agree(bool old)
{
    static char bytes[1 << 16];
    load();
    room = tls_room_new();
    tls = tls_new(ctx, room, NULL);
    client_open(old);
    int err = -EAGAIN, client_done = 0;
    while (err != 0 || client_done != 1) {
        client_done = SSL_do_handshake(client.ssl);
        int n = BIO_read(SSL_get_wbio(client.ssl), bytes, sizeof bytes);
        tls_put(tls, slice_of(bytes, n > 0 ? (size_t)n : 0));
        err = tls_handshake(tls);
        assert_true(err == 0 || err == -EAGAIN);
        struct slice out = tls_out(tls);
        assert_int_equal(BIO_write(SSL_get_rbio(client.ssl), out.p, (int)out.n), out.n);
        tls_sent(tls, out.n);
        tls_settle(tls);
    }
    if (old) {
        take_old_keys();
    }
}

static void part(void)
{
    tls_free(&tls);
    tls_room_free(&room);
    tls_ctx_free(&ctx);
    client_close();
}

/* All that was forged arrives. */
static ssize_t hear(char *to, size_t n)
{
    static char bytes[sizeof client.out];
    memcpy(bytes, client.out, client.n);
    tls_put(tls, slice_of(bytes, client.n));
    client.n = 0;
    ssize_t got = tls_read(tls, to, n);
    tls_settle(tls);
    return got;
}

static ssize_t say(const char *words)
{
    struct iovec iov = {.iov_len = strlen(words)};
    memcpy(&iov.iov_base, &words, sizeof words);
    ssize_t n = tls_write(tls, &iov, 1, 0);
    tls_settle(tls);
    return n;
}

/* limit: TLS_TALK_MAX. New keys are a matter of now and then: each costs as much as a request. */
static void test_keys_renewed_for_ever(void **state)
{
    (void)state;
    char got[16];
    agree(false);
    for (int round = 0; round < 3; round++) {
        for (unsigned i = 0; i < TLS_TALK_MAX; i++) {
            renew_keys(i % 2 == 0 ? key_update : key_update_both);
        }
        forge(DATA, "hello", 5);
        assert_int_equal(hear(got, sizeof got), 5);
        tls_sent(tls, tls_out(tls).n);
        assert_int_equal(say("x"), 1);
        tls_sent(tls, tls_out(tls).n);
    }
    for (unsigned i = 0; i <= TLS_TALK_MAX; i++) {
        renew_keys(key_update);
    }
    forge(DATA, "hello", 5);
    assert_int_equal(hear(got, sizeof got), -EPROTO);
    assert_non_null(strstr(tls_trouble(tls), "and no data"));
    part();
}

/* Nor is much of it done at once: others have their turn in between. */
static void test_keys_renewed_before_each_word(void **state)
{
    (void)state;
    char got[64];
    agree(false);
    for (int round = 0; round < 8; round++) {
        for (unsigned i = 0; i < TLS_TALK_MAX; i++) {
            renew_keys(key_update);
        }
        forge(DATA, "hello", 5);
    }
    assert_int_equal(hear(got, sizeof got), 5);
    for (int round = 1; round < 8; round++) {
        assert_true(tls_pending(tls));
        assert_int_equal(tls_read(tls, got, sizeof got), 5);
        tls_settle(tls);
    }
    assert_false(tls_pending(tls));
    part();
}

/* limit: TLS_ANSWERS_MAX. Whoever wants the handshake anew, and does not read that there is none,
 * does not fill the memory with that. */
static void test_renegotiation_for_ever(void **state)
{
    (void)state;
    char got[16];
    agree(true);
    ssize_t n = 0;
    for (unsigned i = 0; i < 1000 && n >= 0; i++) {
        forge(HANDSHAKE, client_hello, sizeof client_hello);
        forge(DATA, "\r\n", 2);
        n = hear(got, sizeof got);
        assert_true(n == 2 || n == -EPROTO);
        assert_true(tls_out(tls).n <= TLS_ANSWERS_MAX + 256);
    }
    assert_int_equal(n, -EPROTO);
    assert_non_null(strstr(tls_trouble(tls), "and reads no answer"));
    part();
    agree(true); /* whoever reads may go on */
    for (unsigned i = 0; i < 1000; i++) {
        forge(HANDSHAKE, client_hello, sizeof client_hello);
        forge(DATA, "\r\n", 2);
        assert_int_equal(hear(got, sizeof got), 2);
        tls_sent(tls, tls_out(tls).n);
    }
    part();
}

/* Before its rest has come nothing can be said; then all can. */
static void test_message_in_pieces(void **state)
{
    (void)state;
    char got[16];
    agree(false);
    forge(HANDSHAKE, key_update, sizeof key_update - 1);
    assert_int_equal(hear(got, sizeof got), -EAGAIN);
    assert_int_equal(say("answer"), 0);
    assert_int_equal(tls_out(tls).n, 0);
    assert_true(tls_starved(tls));
    forge(HANDSHAKE, key_update + sizeof key_update - 1, 1);
    assert_int_equal(hear(got, sizeof got), -EAGAIN);
    assert_int_equal(say("answer"), 6);
    assert_false(tls_starved(tls));
    tls_sent(tls, tls_out(tls).n);
    /* An end before its rest is none. */
    forge(HANDSHAKE, key_update, sizeof key_update - 1);
    forge(ALERT, close_notify, sizeof close_notify);
    assert_int_equal(hear(got, sizeof got), -EPROTO);
    assert_int_equal(say("answer"), -EPROTO);
    part();
}

/* The same behind a transport: who wants to write is told when it is time, and the loop sleeps. */
static struct owner {
    struct loop *loop;
    struct transport *t;
    struct wheel_timer timer;
    size_t turns, got;
    int writable;
    bool over;
} owner;

static void on_readable(void *of)
{
    char got[64];
    (void)of;
    ssize_t n = transport_read(owner.t, got, sizeof got);
    assert_true(n > 0 || n == -EAGAIN);
    owner.got += n > 0 ? (size_t)n : 0;
    loop_stop(owner.loop);
}

static ssize_t answer(void)
{
    char words[] = "answer";
    struct iovec iov = {words, 6};
    return transport_write(owner.t, &iov, 1);
}

static void on_writable(void *of)
{
    (void)of;
    owner.writable++;
    loop_stop(owner.loop);
    assert_int_equal(answer(), 6);
}

static void on_hangup(void *of)
{
    (void)of;
    fail_msg("a hang-up");
}

static void on_turn(void *of)
{
    (void)of;
    owner.turns++;
}

static void on_time(struct wheel_timer *timer)
{
    (void)timer;
    owner.over = true;
    loop_stop(owner.loop);
}

static void wait_ms(uint64_t ms)
{
    owner.over = false;
    loop_arm(owner.loop, &owner.timer, ms, on_time);
    while (!owner.over) {
        loop_run(owner.loop);
    }
}

static void send_forged(int fd)
{
    assert_int_equal(write(fd, client.out, client.n), client.n);
    client.n = 0;
}

static void shake_over(int fd)
{
    char bytes[1 << 14];
    for (int done = 0; done != 1 || owner.turns < 8;) {
        done = SSL_do_handshake(client.ssl);
        int n = BIO_read(SSL_get_wbio(client.ssl), bytes, sizeof bytes);
        if (n > 0) {
            assert_int_equal(write(fd, bytes, (size_t)n), n);
        }
        wait_ms(5);
        ssize_t came = read(fd, bytes, sizeof bytes);
        if (came > 0) {
            assert_int_equal(BIO_write(SSL_get_rbio(client.ssl), bytes, (int)came), came);
        }
    }
}

static void test_nobody_spins(void **state)
{
    (void)state;
    static const struct transport_events events = {NULL, on_readable, on_writable, on_hangup};
    int fds[2];
    load();
    owner = (struct owner){.loop = loop_new(NULL, on_turn)};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    owner.t = transport_accept(owner.loop, fds[0], &events, NULL);
    transport_secure_accepted(owner.t, ctx, 10000);
    client_open(false);
    shake_over(fds[1]);
    forge(DATA, "hello", 5);
    forge(HANDSHAKE, key_update, sizeof key_update - 1);
    send_forged(fds[1]);
    while (owner.got < 5) {
        loop_run(owner.loop);
    }
    assert_int_equal(answer(), 0);
    size_t before = owner.turns;
    wait_ms(100);
    assert_true(owner.turns - before < 10);
    assert_int_equal(owner.writable, 0);
    forge(HANDSHAKE, key_update + sizeof key_update - 1, 1);
    send_forged(fds[1]);
    while (owner.writable == 0) {
        loop_run(owner.loop);
    }
    transport_close(&owner.t);
    close(fds[1]);
    loop_free(&owner.loop);
    tls_ctx_free(&ctx);
    client_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_renewed_for_ever),
        cmocka_unit_test(test_keys_renewed_before_each_word),
        cmocka_unit_test(test_renegotiation_for_ever),
        cmocka_unit_test(test_message_in_pieces),
        cmocka_unit_test(test_nobody_spins),
    };
    return cmocka_run_group_tests(tests, certs_make, certs_remove);
}
