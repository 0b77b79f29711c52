#ifndef VEDETTE_TESTS_CROSSTALK_VALUE_H
#define VEDETTE_TESTS_CROSSTALK_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Values that tell whose they are: the number of a session, a database and a serial number, and
 * then bytes that follow from these. */

enum { VALUE_HEAD = 28 };

/* Bytes that grow. */
struct text {
    char *data;
    size_t size, capacity;
};

void text_add(struct text *t, const char *data, size_t size);
void text_free(struct text *t);

/* A number that looks like chance, and is the same for the same x. */
uint64_t mix(uint64_t x);

size_t value_size(uint64_t life, uint32_t serial);

/* Its first bytes, of which there is room for one more at `out`; returns VALUE_HEAD. */
size_t value_head(char *out, uint64_t life, uint8_t db, uint32_t serial);

/* All behind them. */
const char *value_rest(uint64_t life, uint8_t db, uint32_t serial);

/* Whether `size` bytes are the first of that value as a bulk string. */
bool value_begins(uint64_t life, uint8_t db, uint32_t serial, const char *data, size_t size);

/* Whether they are all of it. */
bool value_is(uint64_t life, uint8_t db, uint32_t serial, const char *data, size_t size);

/* The serial number that a bulk string claims to have; 0: it is no value. */
uint32_t value_serial(const char *data, size_t size);

enum { FRAME_PART = 0, FRAME_BAD = -1 };

/* The length of the reply that begins there, or one of the above. */
long frame_length(const char *data, size_t size);

#endif
