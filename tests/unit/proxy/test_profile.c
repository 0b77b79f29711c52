/* Profiles and greetings: what commands make of a profile, what a greeting says and what it makes
 * of the answers, at every split. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/profile.h"

static struct buf name;

static enum profile_form apply(struct profile *p, const char *line)
{
    struct args args;
    assert_int_equal(args_parse(slice_str(line), &args), ARGS_OK);
    enum profile_form form = profile_apply(p, &name, command_lookup(&args), &args);
    args_free(&args);
    return form;
}

static void assert_buf(const struct buf *b, const char *text)
{
    assert_int_equal(buf_len(b), strlen(text));
    assert_memory_equal(buf_len(b) > 0 ? buf_head(b) : "", text, strlen(text));
}

static void test_apply(void **state)
{
    (void)state;
    struct profile p;
    profile_init(&p);
    assert_int_equal(apply(&p, "SELECT 7\r\n"), PROFILE_PLAIN);
    assert_int_equal(p.database, 7);
    assert_int_equal(apply(&p, "SELECT x\r\n"), PROFILE_UNKNOWN);
    assert_int_equal(p.database, 7);
    assert_int_equal(apply(&p, "auth secret\r\n"), PROFILE_PLAIN);
    assert_true(p.authenticated);
    assert_buf(&p.user, "");
    assert_buf(&p.password, "secret");
    assert_int_equal(apply(&p, "AUTH bob pw\r\n"), PROFILE_PLAIN);
    assert_buf(&p.user, "bob");
    assert_int_equal(apply(&p, "HELLO\r\n"), PROFILE_PLAIN);
    assert_int_equal(p.resp, 2);
    assert_int_equal(apply(&p, "HELLO 3 SETNAME app AUTH eve pw2\r\n"), PROFILE_ODD);
    assert_int_equal(p.resp, 3);
    assert_buf(&p.user, "eve");
    assert_buf(&name, "app");
    assert_int_equal(apply(&p, "HELLO 4\r\n"), PROFILE_UNKNOWN);
    assert_int_equal(apply(&p, "HELLO 2 AUTH x\r\n"), PROFILE_UNKNOWN);
    assert_int_equal(apply(&p, "HELLO 2 AUTH a b SETNAME c AUTH d e\r\n"), PROFILE_UNKNOWN);
    assert_int_equal(apply(&p, "HELLO 3 AUTH a b AUTH eve pw2\r\n"), PROFILE_ODD);
    assert_int_equal(apply(&p, "HELLO 3 AUTH eve pw2 SETNAME \"a b\"\r\n"), PROFILE_ODD);
    assert_int_equal(apply(&p, "HELLO 3 AUTH eve pw2 SETNAME app\r\n"), PROFILE_PLAIN);
    assert_int_equal(p.resp, 3);
    assert_int_equal(apply(&p, "CLIENT SETNAME \"\"\r\n"), PROFILE_PLAIN);
    assert_buf(&name, "");
    profile_clear(&p);
    buf_release(&name);
}

static void test_same(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "SELECT 1\r\n",     "AUTH pw\r\n", "AUTH default pw\r\n",    "AUTH bob pw\r\n",
        "AUTH bob pw2\r\n", "HELLO 3\r\n", "HELLO 3 AUTH bob pw\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        for (size_t k = 0; k < ARRAY_LEN(lines); k++) {
            struct profile a, b;
            profile_init(&a);
            profile_init(&b);
            assert_int_equal(apply(&a, lines[i]), PROFILE_PLAIN);
            assert_int_equal(apply(&b, lines[k]), PROFILE_PLAIN);
            assert_int_equal(profile_same(&a, &b), i == k);
            assert_true(i != k || profile_hash(&a) == profile_hash(&b));
            profile_clear(&a);
            profile_clear(&b);
        }
    }
    buf_release(&name);
}

static const struct config_service plain = {0};

static void assert_greets(const struct profile *p, const struct config_service *service,
                          enum greeting_step until, const char *want)
{
    struct greeting g = {0};
    greeting_begin(&g, p, buf_slice(&name), service, until);
    assert_buf(&g.out, want);
    greeting_clear(&g);
}

#define ROLE     "*1\r\n$4\r\nROLE\r\n"
#define AUTH_BOB "*3\r\n$4\r\nAUTH\r\n$3\r\nbob\r\n$2\r\npw\r\n"

static void test_greeting_text(void **state)
{
    (void)state;
    struct profile p;
    profile_init(&p);
    assert_greets(&p, &plain, GREET_STEPS, ROLE);
    struct config_service service = {.password = secret_new("own")};
    assert_greets(&p, &service, GREET_STEPS, "*2\r\n$4\r\nAUTH\r\n$3\r\nown\r\n" ROLE);
    assert_int_equal(apply(&p, "HELLO 3 AUTH bob pw SETNAME me\r\n"), PROFILE_PLAIN);
    assert_int_equal(apply(&p, "SELECT 2\r\n"), PROFILE_PLAIN);
    assert_greets(&p, &service, GREET_STEPS,
                  AUTH_BOB "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"
                           "*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$2\r\nme\r\n"
                           "*2\r\n$6\r\nSELECT\r\n$1\r\n2\r\n" ROLE);
    assert_greets(&p, &plain, GREET_AUTH, ROLE);
    assert_greets(&p, &plain, GREET_HELLO, AUTH_BOB ROLE);
    secret_free(&service.password);
    profile_clear(&p);
    buf_release(&name);
}

static enum greeting_result answer(const char *replies, const char *lines, size_t split,
                                   struct greeting *g)
{
    struct profile p;
    profile_init(&p);
    while (*lines != '\0') {
        const char *end = strchr(lines, '\n') + 1;
        struct args args;
        assert_int_equal(args_parse(slice_of(lines, (size_t)(end - lines)), &args), ARGS_OK);
        assert_int_equal(profile_apply(&p, &name, command_lookup(&args), &args), PROFILE_PLAIN);
        args_free(&args);
        lines = end;
    }
    greeting_begin(g, &p, buf_slice(&name), &plain, GREET_STEPS);
    buf_release(&name);
    profile_clear(&p);
    struct slice all = slice_str(replies);
    enum greeting_result result = GREETING_MORE;
    if (split > 0) {
        result = greeting_feed(g, slice_of(all.p, split));
    }
    return result == GREETING_MORE ? greeting_feed(g, slice_of(all.p + split, all.n - split))
                                   : result;
}

#define MASTER "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"
#define SLAVE  "*5\r\n$5\r\nslave\r\n$1\r\nx\r\n:1\r\n$9\r\nconnected\r\n:1\r\n"

static const struct {
    const char *lines, *replies;
    enum greeting_result want;
    const char *words;
} answers[] = {
    {"", MASTER, GREETING_DONE, ""},
    {"", SLAVE, GREETING_OTHER_ROLE, ""},
    {"", "-NOPERM no\r\n", GREETING_DONE, ""},
    {"", "-NOAUTH Authentication required.\r\n", GREETING_DONE, ""},
    {"", "-BUSY Redis is busy\r\n", GREETING_DONE, ""},
    {"", "-ERR max number of clients reached\r\n", GREETING_REFUSED,
     "ERR max number of clients reached"},
    {"", "hello\r\n", GREETING_BROKEN, ""},
    {"", ">2\r\n+a\r\n+b\r\n" MASTER, GREETING_DONE, ""},
    {"AUTH bob pw\r\n", "+OK\r\n" MASTER, GREETING_DONE, ""},
    {"AUTH bob pw\r\n", "-WRONGPASS no\r\n" MASTER, GREETING_REFUSED, "WRONGPASS no"},
    {"SELECT 3\r\n", "-ERR DB index is out of range\r\n" MASTER, GREETING_REFUSED,
     "ERR DB index is out of range"},
    {"CLIENT SETNAME a\r\n", "-ERR no\r\n" MASTER, GREETING_DONE, ""},
    {"HELLO 3\r\nSELECT 3\r\n", "%1\r\n+a\r\n+b\r\n+OK\r\n" MASTER, GREETING_DONE, ""},
};

static void test_answers_at_every_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        for (size_t split = 0; split < strlen(answers[i].replies); split++) {
            struct greeting g = {0};
            assert_int_equal(answer(answers[i].replies, answers[i].lines, split, &g),
                             answers[i].want);
            assert_buf(&g.words, answers[i].words);
            greeting_clear(&g);
        }
    }
}

static const struct {
    const char *reply;
    int64_t id;
} ids[] = {
    {":77\r\n", 77},
    {":9223372036854775807\r\n", INT64_MAX},
    {":0\r\n", 0},
    {":-1\r\n", 0},
    {"-NOPERM no\r\n", 0},
    {"+OK\r\n", 0},
    {":99999999999999999999\r\n", 0},
    {"-NOAUTH no\r\n", 0},
};

/* Asked last; whatever comes instead of a number is no failure. */
static void test_client_id(void **state)
{
    (void)state;
    struct profile p;
    profile_init(&p);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        struct greeting g = {0};
        greeting_begin(&g, &p, slice_str(""), &plain, GREET_STEPS);
        greeting_ask_id(&g);
        assert_buf(&g.out, ROLE "*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n");
        assert_int_equal(greeting_feed(&g, slice_str(MASTER)), GREETING_MORE);
        assert_int_equal(greeting_feed(&g, slice_str(ids[i].reply)), GREETING_DONE);
        assert_int_equal(g.client_id, ids[i].id);
        greeting_clear(&g);
    }
    profile_clear(&p);
}

#define WRONG "-WRONGPASS invalid username-password pair or user is disabled.\r\n"

/* During a rotation either of two passwords may be the one. */
static const struct {
    const char *replies;
    enum greeting_result want;
    const char *words;
} of_two[] = {
    {"+OK\r\n+OK\r\n" MASTER, GREETING_DONE, ""},
    {"+OK\r\n" WRONG MASTER, GREETING_DONE, ""},
    {WRONG "+OK\r\n" MASTER, GREETING_DONE, ""},
    {WRONG WRONG "-NOAUTH no\r\n", GREETING_REFUSED,
     "WRONGPASS invalid username-password pair or user is disabled."},
    {"-ERR max number of clients reached\r\n", GREETING_REFUSED,
     "ERR max number of clients reached"},
    {WRONG "-DENIED no\r\n", GREETING_REFUSED, "DENIED no"},
};

static void test_two_passwords(void **state)
{
    (void)state;
    static const char file[] = "/tmp/vedette-test-two-passwords";
    char problem[SECRET_PROBLEM_MAX], user[] = "bob";
    FILE *f = fopen(file, "we");
    assert_non_null(f);
    assert_true(fputs("new\nold\n", f) >= 0);
    assert_int_equal(fclose(f), 0);
    struct config_service service = {.user = user, .password = secret_open(file, problem)};
    assert_int_equal(remove(file), 0);
    assert_non_null(service.password);
    struct profile p;
    profile_init(&p);
    assert_greets(&p, &service, GREET_STEPS,
                  "*3\r\n$4\r\nAUTH\r\n$3\r\nbob\r\n$3\r\nnew\r\n"
                  "*3\r\n$4\r\nAUTH\r\n$3\r\nbob\r\n$3\r\nold\r\n" ROLE);
    for (size_t i = 0; i < ARRAY_LEN(of_two); i++) {
        struct greeting g = {0};
        greeting_begin(&g, &p, slice_str(""), &service, GREET_STEPS);
        assert_int_equal(greeting_feed(&g, slice_str(of_two[i].replies)), of_two[i].want);
        assert_buf(&g.words, of_two[i].words);
        greeting_clear(&g);
    }
    profile_clear(&p);
    secret_free(&service.password);
}

int main(void)
{
    command_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_apply),         cmocka_unit_test(test_same),
        cmocka_unit_test(test_greeting_text), cmocka_unit_test(test_answers_at_every_split),
        cmocka_unit_test(test_client_id),     cmocka_unit_test(test_two_passwords),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
