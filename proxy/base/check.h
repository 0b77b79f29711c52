/* Assertions that stay on in release. Assert our own bugs only: nothing that a peer, a file or the
 * kernel can cause may ever trip one. */
#ifndef VEDETTE_BASE_CHECK_H
#define VEDETTE_BASE_CHECK_H

#include <stddef.h>
#include <stdint.h>

#define NODISCARD              __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* Logs the failed expression with its place to stderr and aborts. Never returns. */
_Noreturn void check_failed(const char *expr, const char *file, int line);

#define CHECK(expr)      ((expr) ? (void)0 : check_failed(#expr, __FILE__, __LINE__))
#define UNREACHABLE(why) check_failed("unreachable: " why, __FILE__, __LINE__)

/* Long-lived structs begin with `uint32_t magic`; it is set at birth, cleared at death, and checked
 * wherever a void pointer becomes a type. */
#define CHECK_MAGIC(ptr, value) CHECK((ptr) != NULL && (ptr)->magic == (value))

#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define ARRAY_LEN(a)                    (sizeof(a) / sizeof((a)[0]))

/* Allocation that never returns NULL: a proxy without memory for its own small objects can't keep
 * any promise, so it stops and is restarted. Zero-filled. Release with free(). */
void *xcalloc(size_t count, size_t size) NODISCARD;
/* As realloc(3), but aborts when there is no memory. */
void *xrealloc(void *ptr, size_t size) NODISCARD;
/* A copy of the NUL-terminated string s (not NULL). Release with free(). */
char *xstrdup(const char *s) NODISCARD;

/* Overwrites n bytes at ptr in a way the compiler may not remove; for secrets. */
void secure_wipe(void *ptr, size_t n);

#endif
