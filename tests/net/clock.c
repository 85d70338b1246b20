/* Tests of chime/clock.h. */
#include "net/edge.h"
#include "runner/test.h"

#include <chime/clock.h>
#include <chime/error.h>

#include <errno.h>
#include <inttypes.h>
#include <time.h>

static int64_t read_clock(clockid_t clock)
{
	struct timespec ts;
	clock_gettime(clock, &ts);
	return ts.tv_sec * CHIME_SEC + ts.tv_nsec;
}

/* Each clock is the system's clock of that name, with its full resolution. */
TEST(clock_reads_the_clocks_that_it_names)
{
	unsigned fine = 0;
	for (int i = 0; i < 1000; i++) {
		int64_t before = read_clock(CLOCK_MONOTONIC), now = chime_now_mono();
		CHECK_IN(now, before, read_clock(CLOCK_MONOTONIC));
		before = read_clock(CLOCK_REALTIME);
		now = chime_now_real();
		CHECK_IN(now, before, read_clock(CLOCK_REALTIME));
		fine += now % CHIME_USEC != 0;
	}
	CHECK_IN(fine, 100, 1000);
}

/* A number without a unit is seconds; every unit and fraction is exact. */
TEST(duration_reads_numbers_and_units)
{
	static const struct {
		const char *text;
		int64_t ns;
	} rows[] = {
		{ "0", 0 },
		{ "1", CHIME_SEC },
		{ "0.5", 500 * CHIME_MSEC },
		{ "250ms", 250 * CHIME_MSEC },
		{ "1h", CHIME_HOUR },
		{ "1.5h", 90 * CHIME_MIN },
		{ "2m", 120 * CHIME_SEC },
		{ "7us", 7000 },
		{ "7ns", 7 },
		{ "007s", 7 * CHIME_SEC },
		{ "0.1", 100 * CHIME_MSEC },
		{ "0.000000001", 1 },
		{ "0.0000000005", 1 },
		{ "0.00000000049999999999999999999999999999", 0 },
		{ "0.5ns", 1 },
		{ "1.49999999999999999999ns", 1 },
		{ "0.1h", 6 * CHIME_MIN },
		{ "0.333333333333333333333333m", 20 * CHIME_SEC },
		/* a half of a nanosecond and a hair less, in minutes: 1/120000000000 has no end */
		{ "0.00000000000833333333333333333333333334m", 1 },
		{ "0.00000000000833333333333333333333333333m", 0 },
		{ "9223372036854775807ns", INT64_MAX },
		{ "9223372036.854775807", INT64_MAX },
		{ "9223372036.8547758074999", INT64_MAX },
		{ "2562047h", 2562047 * CHIME_HOUR },
		{ "forever", CHIME_FOREVER },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		int64_t ns = -77;
		fprintf(stderr, "%s\n", rows[i].text);
		CHECK_EQ(chime_duration_parse(edge_text(rows[i].text, strlen(rows[i].text)), &ns), 0);
		CHECK_EQ(ns, rows[i].ns);
	}
}

/* Nothing but the form is read, and a failure leaves the result alone. */
TEST(duration_refuses_what_is_not_of_the_form)
{
	static const char *const bad[] = { "",       " ",        "s",       ".",    ".5",        "1.",        "1.s",
					   "1..2",   "1.2.3",    "-1",      "+1",   " 1",        "1 ",        "1 s",
					   "1S",     "1sec",     "1d",      "1e3",  "0x10",      "1,5",       "1h30m",
					   "ever",   "inf",      "nan",     "-",    "1ms ",      "1\n",       "1.5.s",
					   "foreve", "forevers", "Forever", "-1ns", "\xc2\xb5s", "1\xc2\xb5s" };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		int64_t ns = -77;
		fprintf(stderr, "\"%s\"\n", bad[i]);
		CHECK_EQ(chime_duration_parse(edge_text(bad[i], strlen(bad[i])), &ns), CHIME_ESYNTAX);
		CHECK_EQ(ns, -77);
	}
}

/* What 63 bits cannot hold is told apart from what is no duration. */
TEST(duration_refuses_what_does_not_fit)
{
	static const char *const bad[] = { "9223372036854775808ns",
					   "9223372036.8547758075",
					   "9223372036854775807.5ns",
					   "9223372037",
					   "2562048h",
					   "153722868m",
					   "99999999999999999999999999999999999999999999h",
					   "18446744073709551616ns",
					   "18446744073.709551617" };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		int64_t ns = -77;
		fprintf(stderr, "%s\n", bad[i]);
		CHECK_EQ(chime_duration_parse(bad[i], &ns), -ERANGE);
		CHECK_EQ(ns, -77);
	}
	int64_t ns;
	CHECK_EQ(chime_duration_parse("99999999999999999999999x", &ns), CHIME_ESYNTAX);
}

/* Any number with any fraction is rounded to the nearest nanosecond, as arithmetic in 128 bits has it. */
TEST(duration_rounds_to_the_nearest)
{
#ifndef __SIZEOF_INT128__
	SKIP("this target has no arithmetic in 128 bits to compare with");
#else
	static const struct {
		const char *name;
		int64_t ns;
	} units[] = { { "", CHIME_SEC }, { "s", CHIME_SEC }, { "ms", CHIME_MSEC }, { "us", CHIME_USEC },
		      { "ns", 1 },       { "m", CHIME_MIN }, { "h", CHIME_HOUR } };
	for (int i = 0; i < 20000; i++) {
		unsigned unit = (unsigned)(test_random() % 7), decimals = 1 + (unsigned)(test_random() % 20);
		unsigned __int128 scale = 1, fraction = 0;
		unsigned whole = (unsigned)(test_random() % 1000);
		char text[64];
		int64_t ns;
		size_t len = (size_t)snprintf(text, sizeof text, "%u.", whole);
		for (unsigned d = 0; d < decimals; d++) {
			unsigned digit = (unsigned)(test_random() % 10);
			text[len++] = (char)('0' + digit);
			fraction = fraction * 10 + digit;
			scale *= 10;
		}
		strcpy(text + len, units[unit].name);
		unsigned __int128 number = (fraction + whole * scale) * (unsigned __int128)units[unit].ns;
		fprintf(stderr, "%s\n", text);
		CHECK_EQ(chime_duration_parse(text, &ns), 0);
		CHECK_EQ(ns, (number + scale / 2) / scale);
	}
#endif
}

static void check_round_trip(int64_t ns)
{
	char text[64];
	int64_t back = -77;
	size_t len = chime_duration_print(ns, text, sizeof text);
	CHECK_EQ(len, strlen(text));
	CHECK_EQ(chime_duration_parse(text, &back), 0);
	fprintf(stderr, "%" PRId64 " is \"%s\"\n", ns, text);
	CHECK_EQ(back, ns);
}

/* What is printed reads back to the same value, whatever it is. */
TEST(duration_prints_what_reads_back_the_same)
{
	check_round_trip(CHIME_FOREVER);
	check_round_trip(INT64_MAX);
	for (int64_t ns = 0; ns < 3000; ns++)
		check_round_trip(ns);
	for (int i = 0; i < 20000; i++) {
		int64_t ns = (int64_t)(test_random() >> (1 + test_random() % 63));
		int64_t round = 1;
		for (unsigned zeros = (unsigned)(test_random() % 16); zeros; zeros--)
			round *= 10;
		check_round_trip(ns);
		check_round_trip(ns - ns % round);
		check_round_trip(ns - ns % CHIME_MIN);
	}
}

/* The shortest form wins; of two as short, the one with fewer decimals. */
TEST(duration_prints_the_shortest_form)
{
	static const struct {
		int64_t ns;
		const char *text;
	} rows[] = {
		{ 0, "0s" },
		{ 1, "1ns" },
		{ 1000, "1us" },
		{ 1500, "1.5us" },
		{ 250 * CHIME_MSEC, "250ms" },
		{ 500 * CHIME_MSEC, "0.5s" },
		{ CHIME_SEC, "1s" },
		{ 1500 * CHIME_MSEC, "1.5s" },
		{ CHIME_MIN, "1m" },
		{ 90 * CHIME_SEC, "90s" },
		{ 90 * CHIME_MIN, "90m" },
		{ CHIME_HOUR, "1h" },
		{ 36 * CHIME_HOUR, "36h" },
		{ 1234567890123, "1234567890123ns" },
		{ CHIME_FOREVER, "forever" },
		{ -5, "forever" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char text[64];
		chime_duration_print(rows[i].ns, text, sizeof text);
		CHECK_STR(text, rows[i].text);
	}
	for (int i = 0; i < 5000; i++) {
		static const char *const units[] = { "ns", "us", "ms", "s", "m", "h" };
		int64_t ns = (int64_t)(test_random() >> (1 + test_random() % 63)), back;
		char text[64], other[80];
		size_t len = chime_duration_print(ns, text, sizeof text);
		/* printf's rounding of long double is near enough to try every shorter form */
		for (int u = 0; u < 6; u++)
			for (int decimals = 0; decimals < 14; decimals++) {
				static const int64_t sizes[] = { 1,         CHIME_USEC, CHIME_MSEC,
								 CHIME_SEC, CHIME_MIN,  CHIME_HOUR };
				size_t n = (size_t)snprintf(other, sizeof other, "%.*Lf%s", decimals,
							    (long double)ns / (long double)sizes[u], units[u]);
				if (n >= len || chime_duration_parse(other, &back) < 0 || back != ns)
					continue;
				fprintf(stderr, "%" PRId64 ": \"%s\" is shorter than \"%s\"\n", ns, other, text);
				CHECK_IN(n, len, sizeof other);
			}
	}
}

/* A buffer too small gets the beginning and its NUL; the length is that of the whole. */
TEST(duration_print_counts_what_does_not_fit)
{
	char buf[8] = "xxxxxxx";
	CHECK_EQ(chime_duration_print(250 * CHIME_MSEC, buf, 4), 5);
	CHECK_STR(buf, "250");
	CHECK_EQ(buf[4], 'x');
	CHECK_EQ(chime_duration_print(250 * CHIME_MSEC, NULL, 0), 5);
	CHECK_EQ(chime_duration_print(250 * CHIME_MSEC, buf, 6), 5);
	CHECK_STR(buf, "250ms");
}

TEST_MAIN()
