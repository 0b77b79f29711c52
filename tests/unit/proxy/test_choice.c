/* Which node answers a read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/base/limits.h"
#include "proxy/choice.h"

#define NODE(n, c)                                                                                 \
    {                                                                                              \
        .id = (n), .caught = (c), .share = 100                                                     \
    }
#define PRIMARY                                                                                    \
    {                                                                                              \
        .id = 0, .caught = UINT64_MAX, .share = 100                                                \
    }
#define NODES_MAX 4
#define NOBODY    99

struct row {
    const char *what;
    struct choice_node nodes[NODES_MAX];
    size_t count;
    struct choice_demand demand;
    enum choice want;
    uint32_t id; /* with CHOICE_NODE */
    bool soon;
};

/* The demand of a session without a home that has seen nothing. */
#define FRESH .demand = {.home = HOME_NONE}

static const struct row rows[] = {
    {"there is none", .count = 0, FRESH, .want = CHOICE_NONE},
    {"the only one", .nodes = {NODE(7, 0)}, .count = 1, FRESH, .want = CHOICE_NODE, .id = 7},
    {"one that has caught up with what is needed", .nodes = {NODE(7, 9), NODE(8, 10)}, .count = 2,
     .demand = {.home = 7, .need = 10, .wrote = 10}, .want = CHOICE_NODE, .id = 8},
    {"none has all that was written", .nodes = {NODE(7, 9), NODE(8, 8)}, .count = 2,
     .demand = {.home = 7, .need = 10, .wrote = 10}, .want = CHOICE_BEHIND},
    {"one has that, but not what was read on the primary", .nodes = {NODE(7, 9), NODE(8, 8)},
     .count = 2, .demand = {.home = 7, .need = 10, .wrote = 9}, .want = CHOICE_SOON},
    {"another than its home must have what that has shown", .nodes = {NODE(7, 9), NODE(8, 9)},
     .count = 2, .demand = {.home = 5, .need = 4, .seen = 10, .wrote = 4}, .want = CHOICE_SOON},
    {"its home has it", .nodes = {NODE(7, 9), NODE(8, 9)}, .count = 2,
     .demand = {.home = 8, .need = 4, .seen = 10, .wrote = 4}, .want = CHOICE_NODE, .id = 8},
    {"hardly more to do is no reason to leave",
     .nodes = {NODE(7, 9), {.id = 8, .caught = 9, .share = 100, .outstanding = 16, .homes = 1}},
     .count = 2, .demand = {.home = 8}, .want = CHOICE_NODE, .id = 8},
    {"much more is",
     .nodes = {NODE(7, 9), {.id = 8, .caught = 9, .share = 100, .outstanding = 17, .homes = 1}},
     .count = 2, .demand = {.home = 8}, .want = CHOICE_NODE, .id = 7},
    {"once the other has caught up with what was seen",
     .nodes = {NODE(7, 9), {.id = 8, .caught = 9, .share = 100, .outstanding = 17, .homes = 1}},
     .count = 2, .demand = {.home = 8, .seen = 10}, .want = CHOICE_NODE, .id = 8, .soon = true},
    {"too many at home there are a reason as well",
     .nodes = {{.id = 7, .caught = 9, .share = 100, .homes = 7},
               {.id = 8, .caught = 9, .share = 100, .homes = 10}},
     .count = 2, .demand = {.home = 8}, .want = CHOICE_NODE, .id = 7},
    {"one more is not",
     .nodes = {{.id = 7, .caught = 9, .share = 100, .homes = 1},
               {.id = 8, .caught = 9, .share = 100, .homes = 2}},
     .count = 2, .demand = {.home = 8}, .want = CHOICE_NODE, .id = 8},
    {"a newcomer goes where the fewest are",
     .nodes = {{.id = 7, .caught = 9, .share = 100, .homes = 5},
               {.id = 8, .caught = 9, .share = 100, .homes = 3}},
     .count = 2, FRESH, .want = CHOICE_NODE, .id = 8},
    {"for their share",
     .nodes = {{.id = 7, .caught = 9, .share = 100, .homes = 9},
               {.id = 8, .caught = 9, .share = 10, .homes = 1}},
     .count = 2, FRESH, .want = CHOICE_NODE, .id = 7},
    {"which counts for what they have to do, too",
     .nodes = {{.id = 7, .caught = 9, .share = 100, .outstanding = 10, .homes = 9},
               {.id = 8, .caught = 9, .share = 10, .outstanding = 5}},
     .count = 2, FRESH, .want = CHOICE_NODE, .id = 7},
    {"a near one first",
     .nodes = {NODE(7, 9), {.id = 8, .caught = 9, .share = 100, .near = true, .outstanding = 100}},
     .count = 2, .demand = {.home = 7}, .want = CHOICE_NODE, .id = 8},
    {"unless it is too busy: limit: REPLICA_BUSY",
     .nodes = {NODE(7, 9),
               {.id = 8, .caught = 9, .share = 100, .near = true, .outstanding = REPLICA_BUSY}},
     .count = 2, .demand = {.home = 8}, .want = CHOICE_NODE, .id = 7},
    {"or has not caught up",
     .nodes = {NODE(7, 9), {.id = 8, .caught = 8, .share = 100, .near = true}}, .count = 2,
     .demand = {.home = 7, .need = 9, .wrote = 9}, .want = CHOICE_NODE, .id = 7},
    {"the primary in place of a home that has not caught up is for now",
     .nodes = {{.id = 7, .caught = 9, .share = 100, .homes = 1}, PRIMARY}, .count = 2,
     .demand = {.home = 7, .need = 10, .wrote = 9}, .want = CHOICE_NODE, .id = 0, .soon = true},
    {"as long as that lacks what was written it is not waited for",
     .nodes = {{.id = 7, .caught = 9, .share = 100, .homes = 1}, PRIMARY}, .count = 2,
     .demand = {.home = 7, .need = 10, .wrote = 10}, .want = CHOICE_NODE, .id = 0},
    {"the primary is a home as others are", .nodes = {NODE(7, 9), PRIMARY}, .count = 2,
     .demand = {.home = 0, .need = 9, .wrote = 9}, .want = CHOICE_NODE, .id = 0},
};

static void check(const struct row *row, uint32_t turn)
{
    struct chosen chosen = {0};
    enum choice got = choice_make(row->nodes, row->count, &row->demand, &turn, &chosen);
    uint32_t id = got == CHOICE_NODE ? row->nodes[chosen.node].id : NOBODY;
    bool right = got == row->want && (got != CHOICE_NODE || id == row->id);
    if (!right || chosen.soon != row->soon) {
        fail_msg("%s: choice %d, node %u, soon %d", row->what, (int)got, id, chosen.soon);
    }
}

static void chooses(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (uint32_t turn = 0; turn < 3; turn++) { /* whose turn it is must not matter */
            check(&rows[i], turn);
        }
    }
}

/* Those that are as good as each other, by turns. */
static void takes_turns(void **state)
{
    (void)state;
    struct choice_node nodes[] = {NODE(1, 0), NODE(2, 0), NODE(3, 0)};
    struct choice_demand fresh = {.home = HOME_NONE};
    uint32_t turn = 0, count[4] = {0};
    for (unsigned i = 0; i < 30; i++) {
        struct chosen chosen;
        assert_int_equal(choice_make(nodes, ARRAY_LEN(nodes), &fresh, &turn, &chosen), CHOICE_NODE);
        count[nodes[chosen.node].id]++;
    }
    assert_int_equal(count[1], 10);
    assert_int_equal(count[2], 10);
    assert_int_equal(count[3], 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chooses),
        cmocka_unit_test(takes_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
