/*
 * chime/stamp.h - the stamp: a time as text, as the service "stamp" puts it in front of each chunk; and how to read it back.
 * Pure functions; any thread.
 */
#ifndef CHIME_STAMP_H
#define CHIME_STAMP_H

#include <chime/base.h>
#include <chime/service.h>

#ifdef __cplusplus
extern "C" {
#endif

enum chime_stamp_format {
	CHIME_STAMP_CTIME, /* "Tue Sep 13 19:11:20 2016"             24 bytes, as ctime(3) in the C locale, no newline */
	CHIME_STAMP_RFC3339, /* "2016-09-13T19:11:20+08:00"            25 bytes; with utc "2016-09-13T11:11:20Z", 20 */
	CHIME_STAMP_RFC3339NS, /* "2016-09-13T19:11:20.123456789+08:00"  35; 30 */
	CHIME_STAMP_UNIX,      /* "1473765080"                           10; 11 before 1970, with a minus */
	CHIME_STAMP_UNIXNS,    /* "1473765080123456789"                  19; 20 before 1970 */
	CHIME_STAMP_FORMATS
};

/* What configures the service "stamp"; its config_default is the tutorial's: 1024, ctime, local time, chunks. */
struct chime_stamp_config {
	int64_t chunk; /* 1..65536 */
	int format;    /* enum chime_stamp_format */
	int frame;     /* 0 chunks as they come, 1 lines */
	bool utc;
};

/* The longest stamp. Always <= CHIME_HEADROOM. */
#define CHIME_STAMP_MAX 36

/*
 * Writes the stamp of time_ns (CLOCK_REALTIME) without a NUL. The zone is that of TZ, as localtime_r(3) takes it. Keeps the
 * text of the last second per thread, so that a stamp in the same second costs a copy.
 * Returns its length. Every time that 64 bits of nanoseconds can say (the years 1677 to 2262) has a stamp; numbers are filled
 * up with zeros in front, so that a format's length does not change from one second to the next.
 */
CHIME_API size_t chime_stamp_write(char out[CHIME_STAMP_MAX], int64_t time_ns, enum chime_stamp_format format,
				   bool utc);

/* "ctime", "rfc3339" ..., NULL for what is no format; the format of a name, -1 where none has it. */
CHIME_API const char *chime_stamp_format_name(enum chime_stamp_format format);
CHIME_API int chime_stamp_format_find(const char *name);

/*
 * Whether the first bytes are a stamp of that format, and what time it says. *utc_known is false where the text carries no zone
 * (ctime): then it was read as local time. *precision_ns: how coarse it is (ctime: one second).
 * A day that does not exist or is not of its name is no stamp.
 * Its length (> 0); 0: not a stamp; -EAGAIN: a beginning of one, len is too short to tell.
 */
CHIME_API int chime_stamp_read(const void *bytes, size_t len, enum chime_stamp_format format, int64_t *time_ns,
			       bool *utc_known, int64_t *precision_ns);

#ifdef __cplusplus
}
#endif

#endif
