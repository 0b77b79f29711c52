#include "sentinel/command_list.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/limits.h"

/* Where in a command's description its parts stand. */
enum { AT_NAME = 0, AT_FLAGS = 2, AT_SUBCOMMANDS = 9 };

/* The frame is walked where it lies: hiredis takes 7 levels, and the key specifications of
 * sub-commands go deeper. */
struct cursor {
    const char *p, *end;
};

struct value {
    char type;
    struct slice text;
    uint64_t count; /* elements of an array, which follow */
};

struct entry {
    char name[COMMAND_NAME_MAX + 1];
    uint32_t flags;
    struct cursor subs;
    uint64_t sub_count;
};

struct builder {
    struct buf names; /* each with its NUL */
    struct listed *v; /* their names are missing; in the order of names */
    size_t count, room;
};

static bool take_body(struct cursor *c, struct value *v, int64_t n)
{
    v->text = slice_of(c->p, 0);
    if (n < 0) {
        return true;
    }
    if (c->end - c->p < n + 2) {
        return false;
    }
    v->text.n = (size_t)n;
    c->p += n + 2;
    return true;
}

/* The next value; of an array its header. False: there is none, or it is not RESP2. */
static bool take(struct cursor *c, struct value *v)
{
    const char *cr = c->p < c->end ? memchr(c->p, '\r', (size_t)(c->end - c->p)) : NULL;
    int64_t n;
    if (cr == NULL || cr == c->p || c->end - cr < 2) {
        return false;
    }
    *v = (struct value){.type = *c->p, .text = slice_of(c->p + 1, (size_t)(cr - c->p) - 1)};
    c->p = cr + 2;
    switch (v->type) {
    case '+':
    case '-':
    case ':': return true;
    case '$': return slice_to_i64(v->text, -1, COMMANDS_REPLY_MAX, &n) && take_body(c, v, n);
    case '*':
        if (!slice_to_i64(v->text, -1, COMMANDS_REPLY_MAX, &n)) {
            return false;
        }
        v->count = n < 0 ? 0 : (uint64_t)n;
        return true;
    default: return false;
    }
}

/* Passes over so many values with all that is in them. */
static bool skip(struct cursor *c, uint64_t count)
{
    struct value v;
    while (count > 0) {
        if (!take(c, &v)) {
            return false;
        }
        count += v.count - 1;
    }
    return true;
}

static uint32_t flag_of(struct slice word)
{
    static const struct {
        const char *word;
        uint32_t flag;
    } known[] = {{"write", LISTED_WRITE}, {"readonly", LISTED_READONLY},
                 {"pubsub", LISTED_ODD},  {"blocking", LISTED_BLOCKING},
                 {"no_auth", LISTED_ODD}, {"no-auth", LISTED_ODD}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (slice_eq_nocase(word, known[i].word)) {
            return known[i].flag;
        }
    }
    return 0;
}

static bool take_flags(struct cursor *c, uint64_t count, struct entry *e)
{
    bool noscript = false;
    struct value v;
    for (; count > 0; count--) {
        if (!take(c, &v) || !skip(c, v.count)) {
            return false;
        }
        e->flags |= flag_of(v.text);
        noscript = noscript || slice_eq_nocase(v.text, "noscript");
    }
    if (noscript && (e->flags & LISTED_BLOCKING) == 0) {
        e->flags |= LISTED_ODD;
    }
    return true;
}

/* Left empty where it is no name. */
static void take_name(const struct value *v, struct entry *e)
{
    if (v->text.n > COMMAND_NAME_MAX) {
        return;
    }
    for (size_t i = 0; i < v->text.n; i++) {
        unsigned char c = (unsigned char)v->text.p[i];
        if (c <= ' ' || c >= 0x7f) {
            e->name[0] = '\0';
            return;
        }
        e->name[i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
    }
}

static bool take_field(struct cursor *c, uint64_t at, struct entry *e)
{
    struct value v;
    if (!take(c, &v)) {
        return false;
    }
    if (at == AT_NAME && v.count == 0) {
        take_name(&v, e);
        return true;
    }
    if (at == AT_FLAGS) {
        return take_flags(c, v.count, e);
    }
    if (at == AT_SUBCOMMANDS && v.count > 0) {
        e->flags |= LISTED_PARENT;
        e->subs = *c;
        e->sub_count = v.count;
    }
    return skip(c, v.count);
}

/* One command's description; anything else leaves it without a name. */
static bool take_command(struct cursor *c, struct entry *e)
{
    struct value v;
    memset(e, 0, sizeof *e);
    if (!take(c, &v)) {
        return false;
    }
    for (uint64_t i = 0; i < v.count; i++) {
        if (!take_field(c, i, e)) {
            return false;
        }
    }
    return true;
}

static bool add(struct builder *b, const struct entry *e)
{
    if (e->flags == 0) {
        return true;
    }
    if (b->count == COMMANDS_MAX) {
        return false;
    }
    if (b->count == b->room) {
        b->room = b->room == 0 ? 256 : b->room * 2;
        b->v = xrealloc(b->v, b->room * sizeof *b->v);
    }
    b->v[b->count++] = (struct listed){.flags = e->flags};
    buf_append(&b->names, slice_of(e->name, strlen(e->name) + 1));
    return true;
}

/* "name|sub" of that parent. */
static bool is_sub(const char *name, const char *parent)
{
    size_t n = strlen(parent);
    return strncmp(name, parent, n) == 0 && name[n] == '|' && name[n + 1] != '\0' &&
           strchr(name + n + 1, '|') == NULL;
}

static bool add_with_subs(struct builder *b, struct entry *e)
{
    struct entry sub;
    if (e->name[0] == '\0' || strchr(e->name, '|') != NULL) {
        return true;
    }
    for (uint64_t i = 0; i < e->sub_count; i++) {
        if (!take_command(&e->subs, &sub) || (is_sub(sub.name, e->name) && !add(b, &sub))) {
            return false;
        }
    }
    return add(b, e);
}

static bool read_all(struct builder *b, struct slice answer)
{
    struct cursor c = {answer.p, answer.p + answer.n};
    struct value v;
    struct entry e;
    if (!take(&c, &v) || v.type != '*' || slice_eq(v.text, slice_str("-1"))) {
        return false;
    }
    for (; v.count > 0; v.count--) {
        if (!take_command(&c, &e) || !add_with_subs(b, &e)) {
            return false;
        }
    }
    return c.p == c.end;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct listed *)a)->name, ((const struct listed *)b)->name);
}

/* Sorted, and what is there twice becomes one that has the flags of both. */
static struct command_list *finish(struct builder *b)
{
    size_t bytes = b->count * sizeof b->v[0];
    struct command_list *list = xcalloc(1, sizeof *list + bytes + buf_len(&b->names));
    atomic_init(&list->refs, 1);
    char *name = (char *)&list->v[b->count];
    if (b->count > 0) {
        memcpy(name, buf_head(&b->names), buf_len(&b->names));
    }
    for (size_t i = 0; i < b->count; i++) {
        list->v[i] = (struct listed){.name = name, .flags = b->v[i].flags};
        name += strlen(name) + 1;
    }
    qsort(list->v, b->count, sizeof list->v[0], by_name);
    for (size_t i = 0; i < b->count; i++) {
        if (list->count > 0 && by_name(&list->v[list->count - 1], &list->v[i]) == 0) {
            list->v[list->count - 1].flags |= list->v[i].flags;
        } else {
            list->v[list->count++] = list->v[i];
        }
    }
    return list;
}

struct command_list *command_list_read(struct slice answer)
{
    struct builder b = {0};
    struct command_list *list = read_all(&b, answer) ? finish(&b) : NULL;
    buf_release(&b.names);
    free(b.v);
    return list;
}

struct command_list *command_list_ref(struct command_list *list)
{
    if (list != NULL) {
        uint32_t before = atomic_fetch_add_explicit(&list->refs, 1, memory_order_relaxed);
        CHECK(before > 0 && before < UINT32_MAX);
    }
    return list;
}

void command_list_unref(struct command_list **list)
{
    struct command_list *left = *list;
    if (left == NULL) {
        return;
    }
    *list = NULL;
    /* The last holder must see everything the others did before they let go. */
    uint32_t before = atomic_fetch_sub_explicit(&left->refs, 1, memory_order_acq_rel);
    CHECK(before > 0);
    if (before == 1) {
        free(left);
    }
}

uint32_t command_list_flags(const struct command_list *list, const char *name)
{
    const struct listed key = {.name = name};
    const struct listed *found =
        list == NULL ? NULL : bsearch(&key, list->v, list->count, sizeof list->v[0], by_name);
    return found == NULL ? 0 : found->flags;
}
