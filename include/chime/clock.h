/*
 * chime/clock.h - time is int64_t nanoseconds everywhere in libchime.
 */
#ifndef CHIME_CLOCK_H
#define CHIME_CLOCK_H

#include <chime/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CHIME_FOREVER ((int64_t)-1) /* as a limit: none */

#define CHIME_USEC ((int64_t)1000)
#define CHIME_MSEC (1000 * CHIME_USEC)
#define CHIME_SEC (1000 * CHIME_MSEC)
#define CHIME_MIN (60 * CHIME_SEC)
#define CHIME_HOUR (60 * CHIME_MIN)

/* CLOCK_MONOTONIC, which limits are counted in; clock_gettime(2). */
CHIME_API int64_t chime_now_mono(void);

/* CLOCK_REALTIME, which stamps are made of: nanoseconds since 1970-01-01 UTC; never the coarse clock. */
CHIME_API int64_t chime_now_real(void);

/*
 * Reads a duration: a decimal number, with a fraction if wanted, and a unit: ns us ms s m h, none means
 * seconds ("0.5", "250ms", "1h"); "forever" is CHIME_FOREVER. Rounded to the nearest nanosecond, a half upwards.
 * No sign, no blank, a digit on both sides of the point.
 * 0, or CHIME_ESYNTAX (not of this form), or -ERANGE (over 292 years); on failure *out_ns stays as it was.
 */
CHIME_API int chime_duration_parse(const char *text, int64_t *out_ns);

/*
 * Prints it in the shortest form, with its unit, that chime_duration_parse() reads back to the same value ("250ms",
 * "90m"). Negative values, as limits, are "forever".
 * Always NUL-terminated. Returns the length that the text has, as snprintf(3) does.
 */
CHIME_API size_t chime_duration_print(int64_t ns, char *buf, size_t size);

#ifdef __cplusplus
}
#endif

#endif
