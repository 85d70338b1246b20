/* Stamps read back: chime_stamp_read. */
#include "runner/test.h"

#include <chime/clock.h>
#include <chime/stamp.h>

#include <errno.h>
#include <stdlib.h>

#define TUTORIAL (1473765080 * CHIME_SEC)

static int64_t time_ns, precision_ns;
static bool utc_known;

static int read_text(const char *s, enum chime_stamp_format format)
{
	return chime_stamp_read(s, strlen(s), format, &time_ns, &utc_known, &precision_ns);
}

/* What is written is read back: the time to the format's precision, in local time and in UTC, whatever stands behind it. */
TEST(reads_what_was_written)
{
	setenv("TZ", "Asia/Kolkata", 1);
	for (int i = 0; i < 100000; i++) {
		enum chime_stamp_format format = test_random() % CHIME_STAMP_FORMATS;
		int64_t t = (int64_t)(test_random() % (4000000000u * (uint64_t)CHIME_SEC)) - 500000000 * CHIME_SEC;
		bool utc = format != CHIME_STAMP_CTIME && test_random() % 2;
		char s[CHIME_STAMP_MAX + 8];
		memset(s, "9 Zx"[test_random() % 4], sizeof s);
		size_t n = chime_stamp_write(s, t, format, utc);
		CHECK_EQ(chime_stamp_read(s, sizeof s, format, &time_ns, &utc_known, &precision_ns), n);
		CHECK_EQ(utc_known, format != CHIME_STAMP_CTIME);
		CHECK_EQ(precision_ns, format == CHIME_STAMP_RFC3339NS || format == CHIME_STAMP_UNIXNS ? 1 : CHIME_SEC);
		if (format == CHIME_STAMP_UNIX && t < 0 && t % CHIME_SEC)
			CHECK_IN(t - time_ns, 0, CHIME_SEC - 1);
		else
			CHECK_IN(t - time_ns, 0, precision_ns - 1);
	}
}

/* Of every stamp each true beginning says "more is needed", and the whole is told from its beginnings. */
TEST(a_beginning_is_told_from_a_stamp)
{
	setenv("TZ", "Asia/Kolkata", 1);
	for (int format = 0; format < CHIME_STAMP_FORMATS; format++)
		for (int utc = 0; utc < 2; utc++) {
			char s[CHIME_STAMP_MAX];
			int n = (int)chime_stamp_write(s, TUTORIAL + 5, format, utc);
			for (int len = 0; len < n; len++) {
				char *exact = malloc((size_t)len + 1); /* an address sanitizer sees a byte too far */
				exact = realloc(exact, len ? (size_t)len : 1);
				memcpy(exact, s, (size_t)len);
				CHECK_EQ(chime_stamp_read(exact, (size_t)len, format, &time_ns, &utc_known,
							  &precision_ns),
					 -EAGAIN);
				free(exact);
			}
			CHECK_EQ(chime_stamp_read(s, (size_t)n, format, &time_ns, &utc_known, &precision_ns), n);
		}
}

/* Offsets are taken off; a minus and a half hour count. */
TEST(reads_offsets)
{
	CHECK_EQ(read_text("2016-09-13T19:11:20+08:00x", CHIME_STAMP_RFC3339), 25);
	CHECK_EQ(time_ns, TUTORIAL);
	CHECK_EQ(read_text("2016-09-13T07:41:20-03:30", CHIME_STAMP_RFC3339), 25);
	CHECK_EQ(time_ns, TUTORIAL);
	CHECK_EQ(read_text("2016-09-13T11:11:20.000000007Z", CHIME_STAMP_RFC3339NS), 30);
	CHECK_EQ(time_ns, TUTORIAL + 7);
	CHECK_EQ(read_text("-0000000000000000001", CHIME_STAMP_UNIXNS), 20);
	CHECK_EQ(time_ns, -1);
}

/* What only looks like a stamp is none: wrong names, days that do not exist or are not of that name, numbers out of range. */
TEST(refuses_what_is_no_stamp)
{
	static const char *const ctimes[] = {
		"Wed Sep 13 19:11:20 2016",
		"Tue Sep 31 19:11:20 2016",
		"Tue Sep 13 24:11:20 2016",
		"Tue Sep 13 19:60:20 2016",
		"Tue Sep 13 19:11:60 2016",
		"Tux Sep 13 19:11:20 2016",
		"Tue Sep 13 19.11:20 2016",
		"Tue Sep 06 19:11:20 2016",
		"tue Sep 13 19:11:20 2016",
		"Tue Feb 30 19:11:20 2016",
		"Tue Sep 13 19:11:20 20x6",
		"Mon Jan  1 00:00:00 0001",
		"hello",
		"Tue Sep 13\n",
	};
	static const char *const rfcs[] = {
		"2016-13-13T19:11:20Z", "2016-09-31T19:11:20Z",      "2016-09-13 19:11:20Z",
		"2016-09-13T19:11:20z", "2016-09-13T19:11:20+24:00", "2016-09-13T19:11:20.5Z",
		"2016-09-13T19:11:20*", "9999-09-13T19:11:20Z",      "2016-09-13T19:11:20+08x00",
	};
	for (size_t i = 0; i < sizeof ctimes / sizeof *ctimes; i++)
		CHECK_EQ(read_text(ctimes[i], CHIME_STAMP_CTIME), 0);
	for (size_t i = 0; i < sizeof rfcs / sizeof *rfcs; i++)
		CHECK_EQ(read_text(rfcs[i], CHIME_STAMP_RFC3339), 0);
	CHECK_EQ(read_text("2016-09-13T11:11:20Z", CHIME_STAMP_RFC3339NS), 0);
	CHECK_EQ(read_text("9999999999", CHIME_STAMP_UNIX), 0);
	CHECK_EQ(read_text("9999999999999999999", CHIME_STAMP_UNIXNS), 0);
	CHECK_EQ(read_text("147376508x", CHIME_STAMP_UNIX), 0);
}

/* Random bytes, and stamps with a byte changed, never read past the end and never name a time they do not say. */
TEST(damaged_stamps_are_read_or_refused)
{
	setenv("TZ", "UTC0", 1);
	for (int i = 0; i < 200000; i++) {
		enum chime_stamp_format format = test_random() % CHIME_STAMP_FORMATS;
		char s[CHIME_STAMP_MAX], again[CHIME_STAMP_MAX];
		bool utc = test_random() % 2;
		size_t n = chime_stamp_write(s, (int64_t)(test_random() >> 2), format, utc);
		s[test_random() % n] =
			(char)(test_random() % 3 ? '0' + (char)(test_random() % 10) : (char)test_random());
		char *exact = malloc(n);
		memcpy(exact, s, n);
		int got = chime_stamp_read(exact, n, format, &time_ns, &utc_known, &precision_ns);
		if (got > 0 && (format == CHIME_STAMP_UNIXNS || format == CHIME_STAMP_CTIME)) {
			CHECK_EQ(got, chime_stamp_write(again, time_ns, format, utc));
			CHECK_MEM(again, exact, (size_t)got);
		}
		free(exact);
	}
}

/* Names and numbers of formats belong together. */
TEST(formats_have_names)
{
	CHECK_EQ(chime_stamp_format_find("ctime"), CHIME_STAMP_CTIME);
	CHECK_EQ(chime_stamp_format_find("rfc3339"), CHIME_STAMP_RFC3339);
	CHECK_EQ(chime_stamp_format_find("rfc3339ns"), CHIME_STAMP_RFC3339NS);
	CHECK_EQ(chime_stamp_format_find("unix"), CHIME_STAMP_UNIX);
	CHECK_EQ(chime_stamp_format_find("unixns"), CHIME_STAMP_UNIXNS);
	CHECK_EQ(chime_stamp_format_find("unixn"), -1);
	CHECK_EQ(chime_stamp_format_find(""), -1);
	for (int i = 0; i < CHIME_STAMP_FORMATS; i++)
		CHECK_EQ(chime_stamp_format_find(chime_stamp_format_name(i)), i);
	CHECK_PTR(chime_stamp_format_name(CHIME_STAMP_FORMATS), NULL);
}

TEST_MAIN()
