#include "tests/crosstalk/value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAD_SIZE = 1 << 18, PAD_STARTS = 50000, VALUE_MAX = 200 * 1024 };

void text_add(struct text *t, const char *data, size_t size)
{
    if (t->size + size > t->capacity) {
        t->capacity = (t->size + size) * 2;
        t->data = realloc(t->data, t->capacity);
        if (t->data == NULL) {
            abort();
        }
    }
    if (size > 0) {
        memcpy(t->data + t->size, data, size);
    }
    t->size += size;
}

void text_free(struct text *t)
{
    free(t->data);
    *t = (struct text){0};
}

uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* What values are filled up with: no piece of it is like another, nor a quote or a backslash. */
static const char *padding(void)
{
    static const char letters[] =
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
    static char *pad;
    if (pad == NULL) {
        pad = malloc(PAD_SIZE);
        for (size_t i = 0; pad != NULL && i < PAD_SIZE; i++) {
            pad[i] = letters[mix(i) & 63u];
        }
        if (pad == NULL) {
            abort();
        }
    }
    return pad;
}

/* Most are small, some are too large for a shared connection, or come in many pieces. */
size_t value_size(uint64_t life, uint32_t serial)
{
    uint64_t h = mix(life * 31 + serial), in = h >> 32;
    uint32_t kind = (uint32_t)(h % 1000);
    if (kind < 900) {
        return VALUE_HEAD + in % 170;
    }
    if (kind < 985) {
        return 200 + in % 8000;
    }
    return kind < 997 ? 8000 + in % 60000 : 60000 + in % (VALUE_MAX - 60000 + 1);
}

size_t value_head(char *out, uint64_t life, uint8_t db, uint32_t serial)
{
    return (size_t)snprintf(out, VALUE_HEAD + 1, "%016llx.%u.%08x;", (unsigned long long)life,
                            db & 7u, serial);
}

const char *value_rest(uint64_t life, uint8_t db, uint32_t serial)
{
    return padding() + mix(life * 1000003 + serial * 8ull + db) % PAD_STARTS;
}

bool value_begins(uint64_t life, uint8_t db, uint32_t serial, const char *data, size_t size)
{
    char head[32 + VALUE_HEAD + 1];
    size_t length = value_size(life, serial);
    size_t n = (size_t)snprintf(head, sizeof(head), "$%zu\r\n", length);
    n += value_head(head + n, life, db, serial);
    size_t at = size < n ? size : n;
    if (memcmp(data, head, at) != 0) {
        return false;
    }
    size_t rest = size - at, body = length - VALUE_HEAD;
    size_t take = rest < body ? rest : body;
    if (memcmp(data + at, value_rest(life, db, serial), take) != 0) {
        return false;
    }
    return rest <= body || (rest - body <= 2 && memcmp(data + at + take, "\r\n", rest - body) == 0);
}

static size_t value_bulk_size(uint64_t life, uint32_t serial)
{
    char head[32];
    size_t size = value_size(life, serial);
    return (size_t)snprintf(head, sizeof(head), "$%zu\r\n", size) + size + 2;
}

bool value_is(uint64_t life, uint8_t db, uint32_t serial, const char *data, size_t size)
{
    return size == value_bulk_size(life, serial) && value_begins(life, db, serial, data, size);
}

uint32_t value_serial(const char *data, size_t size)
{
    const char *end = memchr(data, '\n', size);
    if (end == NULL || (size_t)(end + 1 - data) + VALUE_HEAD > size) {
        return 0;
    }
    return (uint32_t)strtoul(end + 1 + 19, NULL, 16);
}

static const char *line_end(const char *at, const char *end)
{
    const char *cr = memchr(at, '\r', (size_t)(end - at));
    return cr != NULL && cr + 1 < end ? cr : NULL;
}

long frame_length(const char *data, size_t size)
{
    const char *at = data, *end = data + size;
    for (long todo = 1; todo > 0; todo--) {
        const char *cr = at < end ? line_end(at, end) : NULL;
        if (cr == NULL) {
            return FRAME_PART;
        }
        if (cr[1] != '\n') {
            return FRAME_BAD;
        }
        char kind = *at;
        long count = strtol(at + 1, NULL, 10);
        at = cr + 2;
        if (strchr("+-:_", kind) != NULL && kind != '\0') {
            continue;
        }
        if (kind == '$') {
            if (count >= 0 && end - at < count + 2) {
                return FRAME_PART;
            }
            at += count >= 0 ? count + 2 : 0;
        } else if (kind == '*' || kind == '%') {
            todo += count > 0 ? count * (kind == '%' ? 2 : 1) : 0;
        } else {
            return FRAME_BAD; /* nobody asked for pushes */
        }
    }
    return at - data;
}
