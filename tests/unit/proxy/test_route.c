/* Where a request goes: one table, each row a sentence of the contract. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "proxy/base/limits.h"
#include "proxy/route.h"

static const struct command get = {.name = "get", .cls = COMMAND_READ};
static const struct command set = {.name = "set", .cls = COMMAND_WRITE};
static const struct command auth = {.name = "auth", .cls = COMMAND_AUTH};
static const struct command hello = {.name = "hello", .cls = COMMAND_HELLO};
static const struct command sel = {.name = "select", .cls = COMMAND_SELECT};
static const struct command quit = {.name = "quit", .cls = COMMAND_QUIT};
static const struct command reset = {.name = "reset", .cls = COMMAND_RESET};
static const struct command multi = {.name = "multi", .cls = COMMAND_MULTI};
static const struct command exec = {.name = "exec", .cls = COMMAND_EXEC};
static const struct command setname = {.name = "client|setname", .cls = COMMAND_SETNAME};
static const struct command getname = {.name = "client|getname", .cls = COMMAND_GETNAME};
static const struct command wait_for = {.name = "wait", .cls = COMMAND_WAIT};
static const struct command reply = {.name = "client|reply", .cls = COMMAND_REPLY};
static const struct command kill_it = {.name = "script|kill", .cls = COMMAND_KILL};
static const struct command sync_it = {.name = "sync", .cls = COMMAND_RAW};
static const struct command subscribe = {.name = "subscribe", .cls = COMMAND_SUBSCRIBE};
static const struct command monitor = {.name = "monitor", .cls = COMMAND_MONITOR};

/* An idle session with a ready link to a serving primary. */
#define READY .serving = true, .link_open = true, .link_ready = true, .refused = GREET_STEPS

static const struct {
    const char *what;
    struct route_input in;
    enum route want;
} rows[] = {
    {"a ready link takes it", {.command = &set, READY}, ROUTE_LINK},
    {"behind others too", {.command = &set, READY, .outstanding = 5}, ROUTE_LINK},
    {"up to a bound",
     {.command = &get, READY, .outstanding = SESSION_OUTSTANDING_MAX},
     ROUTE_DRAIN},
    {"of bytes as well", {.command = &get, READY, .outstanding = 1, .full = true}, ROUTE_DRAIN},
    {"no link: open one", {.command = &get, .serving = true, .refused = GREET_STEPS}, ROUTE_OPEN},
    {"a link on its way: wait",
     {.command = &get, .serving = true, .link_open = true, .refused = GREET_STEPS},
     ROUTE_PARK},
    {"no primary: wait", {.command = &get, .refused = GREET_STEPS}, ROUTE_PARK},
    {"holding: wait, though the link is there",
     {.command = &get, .link_open = true, .link_ready = true, .refused = GREET_STEPS},
     ROUTE_PARK},
    {"nothing behind an unanswered SELECT",
     {.command = &get, READY, .outstanding = 1, .asking = true},
     ROUTE_DRAIN},
    {"SELECT waits for what is in flight", {.command = &sel, READY, .outstanding = 1}, ROUTE_DRAIN},
    {"SELECT alone", {.command = &sel, READY}, ROUTE_LINK},
    {"SYNC waits for what is in flight",
     {.command = &sync_it, READY, .raw = true, .outstanding = 1},
     ROUTE_DRAIN},
    {"SYNC alone", {.command = &sync_it, READY, .raw = true}, ROUTE_LINK},
    {"SUBSCRIBE waits for what is in flight",
     {.command = &subscribe, READY, .outstanding = 1, .mixed = true},
     ROUTE_DRAIN},
    {"but not for others of its kind",
     {.command = &subscribe, READY, .outstanding = 1},
     ROUTE_LINK},
    {"SUBSCRIBE alone", {.command = &subscribe, READY}, ROUTE_LINK},
    {"others follow it", {.command = &get, READY, .outstanding = 1}, ROUTE_LINK},
    {"MONITOR waits for what is in flight",
     {.command = &monitor, READY, .outstanding = 1},
     ROUTE_DRAIN},
    {"MONITOR alone", {.command = &monitor, READY}, ROUTE_LINK},
    {"nothing behind an unanswered MONITOR",
     {.command = &get, READY, .outstanding = 1, .listening = true},
     ROUTE_DRAIN},
    {"a flag of the session is set at once",
     {.command = &reply,
      .outstanding = 3,
      .elsewhere = true,
      .flag = true,
      .silent = true,
      .refused = GREET_STEPS},
     ROUTE_LOCAL},
    {"unless that is answered",
     {.command = &reply, READY, .outstanding = 3, .flag = true},
     ROUTE_DRAIN},
    {"nothing behind a command that blocks",
     {.command = &get, READY, .outstanding = 1, .blocking = true},
     ROUTE_DRAIN},
    {"nothing while a refusal is judged",
     {.command = &get, READY, .outstanding = 1, .judging = true},
     ROUTE_DRAIN},
    {"a scout sends one", {.command = &get, READY, .scout = true}, ROUTE_LINK},
    {"and only one", {.command = &get, READY, .scout = true, .outstanding = 1}, ROUTE_DRAIN},
    {"QUIT is ours", {.command = &quit, READY}, ROUTE_LOCAL},
    {"QUIT behind others waits", {.command = &quit, READY, .outstanding = 2}, ROUTE_DRAIN},
    {"QUIT needs no primary", {.command = &quit, .refused = GREET_STEPS}, ROUTE_LOCAL},
    {"RESET is ours", {.command = &reset, READY}, ROUTE_LOCAL},
    {"a lost transaction is answered here",
     {.command = &set, READY, .multi_lost = true},
     ROUTE_LOCAL},
    {"to its EXEC", {.command = &exec, .multi_lost = true, .refused = GREET_STEPS}, ROUTE_LOCAL},
    {"a lost WATCH makes MULTI ours", {.command = &multi, READY, .watch_lost = true}, ROUTE_LOCAL},
    {"but nothing else", {.command = &get, READY, .watch_lost = true}, ROUTE_LINK},
    {"refused credentials: the error",
     {.command = &get, .serving = true, .refused = GREET_AUTH},
     ROUTE_LOCAL},
    {"until AUTH, over a bare link",
     {.command = &auth, .serving = true, .refused = GREET_AUTH},
     ROUTE_OPEN},
    {"which takes it",
     {.command = &auth,
      .serving = true,
      .link_open = true,
      .link_ready = true,
      .bare = true,
      .refused = GREET_AUTH},
     ROUTE_LINK},
    {"or HELLO", {.command = &hello, .serving = true, .refused = GREET_AUTH}, ROUTE_OPEN},
    {"SELECT does not mend it",
     {.command = &sel, .serving = true, .refused = GREET_AUTH},
     ROUTE_LOCAL},
    {"a refused database: SELECT mends it",
     {.command = &sel, .serving = true, .refused = GREET_SELECT},
     ROUTE_OPEN},
    {"behind what is elsewhere nothing goes",
     {.command = &get, READY, .outstanding = 1, .elsewhere = true},
     ROUTE_DRAIN},
    {"a name is ours where links are shared",
     {.command = &setname, .args = 3, READY, .shares = true},
     ROUTE_LOCAL},
    {"and the link's where it has one",
     {.command = &setname, .args = 3, READY, .shares = true, .exclusive = true},
     ROUTE_LINK},
    {"or where it is no name", {.command = &setname, .args = 2, READY, .shares = true}, ROUTE_LINK},
    {"so is to ask for it", {.command = &getname, .args = 2, READY, .shares = true}, ROUTE_LOCAL},
    {"WAIT for writes that another primary had",
     {.command = &wait_for, .args = 3, READY, .writes_lost = true},
     ROUTE_LOCAL},
    {"or for those of this one", {.command = &wait_for, .args = 3, READY}, ROUTE_LINK},
    {"a password is wanted",
     {.command = &get, READY, .shares = true, .needs_auth = true},
     ROUTE_LOCAL},
    {"AUTH gives it", {.command = &auth, READY, .shares = true, .needs_auth = true}, ROUTE_LINK},
    {"a bare link is of no use once mended", {.command = &get, READY, .bare = true}, ROUTE_OPEN},
    {"when what went on it is answered",
     {.command = &get, READY, .bare = true, .outstanding = 1},
     ROUTE_DRAIN},
    {"it will do to end a script", {.command = &kill_it, READY, .bare = true}, ROUTE_LINK},
    {"WAIT waits until it is known whether there is a transaction",
     {.command = &wait_for, .args = 3, READY, .shares = true, .outstanding = 1},
     ROUTE_DRAIN},
    {"and in one is a command like others",
     {.command = &wait_for, .args = 3, READY, .shares = true, .outstanding = 1, .multi = true},
     ROUTE_LINK},
};

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        enum route got = route_decide(&rows[i].in);
        if (got != rows[i].want) {
            fail_msg("%s: got %d, want %d", rows[i].what, (int)got, (int)rows[i].want);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
