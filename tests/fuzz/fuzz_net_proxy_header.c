/* PROXY headers: what is found does not depend on where the stream is cut, and nothing behind a
 * header is taken. The first byte of the input chooses the cuts, the rest is the stream. */
#include <stdint.h>
#include <string.h>

#include "proxy/base/limits.h"
#include "proxy/net/proxy_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct found {
    enum proxy_header_result result;
    size_t used;
    const char *fault;
    struct addr from;
    bool told;
};

/* In pieces of 1 to most bytes, drawn from seed. */
static struct found read_header(struct slice text, size_t most, uint32_t seed)
{
    struct proxy_header h = {0};
    struct found f = {.result = PROXY_HEADER_MORE};
    while (f.result == PROXY_HEADER_MORE && f.used < text.n) {
        seed = seed * 1103515245u + 12345u;
        size_t n = 1 + (seed >> 8) % most, used;
        n = n < text.n - f.used ? n : text.n - f.used;
        f.result = proxy_header_feed(&h, slice_of(text.p + f.used, n), &used);
        CHECK(used > 0 && used <= n && (f.result != PROXY_HEADER_MORE || used == n));
        f.used += used;
    }
    f.fault = h.fault;
    f.told = f.result == PROXY_HEADER_DONE && sockaddr_to_addr(&h.from, &f.from);
    CHECK((f.result == PROXY_HEADER_BAD) == (f.fault != NULL));
    CHECK(f.used <= PROXY_HEADER_MAX);
    return f;
}

static void check_same(const struct found *a, const struct found *b)
{
    CHECK(a->result == b->result && a->used == b->used && a->fault == b->fault);
    CHECK(a->told == b->told && (!a->told || addr_eq(&a->from, &b->from)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    struct slice text = slice_of((const char *)data + 1, size - 1);
    struct found bytewise = read_header(text, 1, 0);
    struct found cut = read_header(text, (size_t)data[0] + 2, data[0]);
    struct found whole = read_header(text, SIZE_MAX, 1u << 31);
    check_same(&bytewise, &cut);
    check_same(&bytewise, &whole);
    return 0;
}
