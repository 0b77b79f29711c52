/* The monotonic clock. */
#ifndef VEDETTE_BASE_CLOCK_H
#define VEDETTE_BASE_CLOCK_H

#include <stdint.h>

/* Microseconds of CLOCK_MONOTONIC. */
uint64_t clock_us(void);
/* Milliseconds of CLOCK_MONOTONIC. */
uint64_t clock_ms(void);

#endif
