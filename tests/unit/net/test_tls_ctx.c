/* Contexts: what can be loaded, and in which words what can't. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/net/certs.h"

static struct tls_problem problem;

static struct tls_settings server_settings(void)
{
    return (struct tls_settings){
        .side = TLS_ACCEPTS, .cert_file = cert("server.crt"), .key_file = cert("server.key")};
}

static void good(const struct tls_settings *s)
{
    struct tls_ctx *ctx = tls_ctx_new(s, &problem);
    if (ctx == NULL) {
        fail_msg("%s", problem.text);
    }
    tls_ctx_free(&ctx);
    assert_null(ctx);
}

static void bad(const struct tls_settings *s, enum tls_setting with, const char *words)
{
    problem = (struct tls_problem){0};
    assert_null(tls_ctx_new(s, &problem));
    assert_int_equal(problem.with, with);
    if (strstr(problem.text, words) == NULL) {
        fail_msg("'%s' has no '%s'", problem.text, words);
    }
}

static void test_good_ones(void **state)
{
    (void)state;
    struct tls_settings s = server_settings();
    good(&s);
    s.ca_file = cert("ca.crt");
    s.auth = TLS_AUTH_YES;
    s.min_version = TLS_1_3;
    s.ciphers = "ECDHE+AESGCM";
    s.ciphersuites = "TLS_AES_128_GCM_SHA256";
    s.groups = "X25519:P-256";
    good(&s);
    s = (struct tls_settings){.side = TLS_CONNECTS};
    good(&s);
    s.ca_dir = cert("by-hash");
    good(&s);
}

static void test_files(void **state)
{
    (void)state;
    struct tls_settings s = server_settings();
    s.cert_file = cert("nothing.crt");
    bad(&s, TLS_SET_CERT, "nothing.crt' can't be read: No such file or directory");
    s.cert_file = cert("by-hash");
    bad(&s, TLS_SET_CERT, "by-hash' is a directory");
    s.cert_file = cert("server.ext");
    bad(&s, TLS_SET_CERT, "server.ext' has no certificate that can be used: nothing in PEM");
    s = server_settings();
    s.key_file = cert("client.key");
    bad(&s, TLS_SET_KEY, "client.key' is not that of CN=server,O=Vedette tests in '");
    s.key_file = cert("locked.key");
    bad(&s, TLS_SET_KEY, "locked.key' has no key that can be used: it is encrypted");
    s.key_file = cert("server.crt");
    bad(&s, TLS_SET_KEY, "server.crt' has no key that can be used");
    s = server_settings();
    s.ca_file = cert("server.key");
    bad(&s, TLS_SET_CA_FILE, "server.key' has no certificate that can be used");
    s.ca_file = NULL;
    s.ca_dir = cert("no-such-dir");
    bad(&s, TLS_SET_CA_DIR, "no-such-dir' can't be read: No such file");
    s.ca_dir = certs_dir; /* which has certificates, by their names */
    bad(&s, TLS_SET_CA_DIR, "' has no certificate that is called by its hash: run openssl rehash");
}

static void test_rules(void **state)
{
    (void)state;
    struct tls_settings s = server_settings();
    s.ciphers = "NO-SUCH-CIPHER";
    bad(&s, TLS_SET_CIPHERS, "NO-SUCH-CIPHER");
    s.ciphers = NULL;
    s.ciphersuites = "TLS_NO";
    bad(&s, TLS_SET_CIPHERSUITES, "TLS_NO");
    s.ciphersuites = NULL;
    s.groups = "P-1";
    bad(&s, TLS_SET_GROUPS, "P-1");
}

static void test_expiry(void **state)
{
    (void)state;
    struct tls_expiry found[4];
    struct tls_settings s = server_settings();
    s.ca_file = cert("ca.crt");
    struct tls_ctx *ctx = tls_ctx_new(&s, &problem);
    assert_int_equal(tls_ctx_expiring(ctx, 30, found, 4), 0);
    assert_int_equal(tls_ctx_expiring(ctx, 400, found, 4), 1);
    assert_int_equal(tls_ctx_expiring(ctx, 4000, found, 4), 2);
    assert_int_equal(found[1].with, TLS_SET_CA_FILE);
    assert_int_equal(tls_ctx_expiring(ctx, 4000, found, 1), 1);
    tls_ctx_free(&ctx);
    s.cert_file = cert("soon.crt");
    s.key_file = cert("soon.key");
    ctx = tls_ctx_new(&s, &problem);
    assert_int_equal(tls_ctx_expiring(ctx, 30, found, 4), 1);
    assert_in_range(found[0].days, 4, 5); /* whole ones that are left */
    assert_non_null(
        strstr(found[0].text, "the certificate of CN=soon,O=Vedette tests expires on 2"));
    tls_ctx_free(&ctx);
    s.cert_file = cert("expired.crt");
    s.key_file = cert("expired.key");
    ctx = tls_ctx_new(&s, &problem);
    assert_int_equal(tls_ctx_expiring(ctx, 0, found, 4), 1);
    assert_true(found[0].days < 0);
    assert_non_null(strstr(found[0].text, "has expired on 2"));
    tls_ctx_free(&ctx);
}

/* A change is told once nothing has changed any more since the last look; loading it settles that,
 * and what can't be loaded changes nothing. */
static void test_change_of_files(void **state)
{
    (void)state;
    char *mine = cert_copy("mine.crt"), *key = cert_copy("mine.key");
    cert_put("server.crt", "mine.crt");
    cert_put("server.key", "mine.key");
    struct tls_settings s = {.side = TLS_ACCEPTS, .cert_file = mine, .key_file = key};
    struct tls_ctx *ctx = tls_ctx_new(&s, &problem);
    assert_false(tls_ctx_changed(ctx));
    cert_put("second.crt", "mine.crt");
    assert_false(tls_ctx_changed(ctx));
    assert_true(tls_ctx_changed(ctx));
    assert_false(tls_ctx_reload(ctx, &problem)); /* the key is still the old one */
    assert_non_null(strstr(problem.text, "is not that of CN=second"));
    assert_false(tls_ctx_changed(ctx));
    assert_false(tls_ctx_changed(ctx));
    cert_put("second.key", "mine.key");
    assert_false(tls_ctx_changed(ctx));
    assert_true(tls_ctx_changed(ctx));
    assert_true(tls_ctx_reload(ctx, &problem));
    assert_false(tls_ctx_changed(ctx));
    tls_ctx_free(&ctx);
    free(mine);
    free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_ones),       cmocka_unit_test(test_files),
        cmocka_unit_test(test_rules),           cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_change_of_files),
    };
    return cmocka_run_group_tests(tests, certs_make, certs_remove);
}
