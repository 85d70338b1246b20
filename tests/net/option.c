/* Tests of chime/option.h. */
#include "net/edge.h"
#include "runner/test.h"

#include <chime/clock.h>
#include <chime/error.h>
#include <chime/option.h>

#include <errno.h>

struct settings {
	bool flag;
	int64_t count, bytes, offset, mode, wait, limit;
	int choice;
	char name[8 + 1];
	char guard[8];
};

static const char *const colours[] = { "red", "green", "blue", NULL };

#define AT(field) offsetof(struct settings, field)
static const struct chime_option table[] = {
	{ "flag", CHIME_OPTION_BOOL, AT(flag), 0, 0, NULL, false, "yes|no", "" },
	{ "count", CHIME_OPTION_INT, AT(count), 1, 65536, NULL, false, "N", "" },
	{ "bytes", CHIME_OPTION_INT, AT(bytes), 0, INT64_MAX, NULL, true, "BYTES", "" },
	{ "offset", CHIME_OPTION_INT, AT(offset), -10, 10, NULL, false, "N", "" },
	{ "mode", CHIME_OPTION_OCTAL, AT(mode), 0, 0777, NULL, false, "OCTAL", "" },
	{ "wait", CHIME_OPTION_DURATION, AT(wait), CHIME_MSEC, CHIME_FOREVER, NULL, false, "TIME", "" },
	{ "limit", CHIME_OPTION_DURATION, AT(limit), 0, CHIME_HOUR, NULL, false, "TIME", "" },
	{ "choice", CHIME_OPTION_CHOICE, AT(choice), 0, 0, colours, false, "COLOUR", "" },
	{ "name", CHIME_OPTION_TEXT, AT(name), 0, 8, NULL, false, "NAME", "" },
	{ .name = NULL },
};

static struct settings marked(void)
{
	struct settings s;
	memset(&s, 0x55, sizeof s);
	s.flag = false;
	return s;
}

static int set(struct settings *s, const char *name, const char *text, char *why, size_t why_size)
{
	const struct chime_option *o = chime_option_find(table, name, strlen(name));
	fprintf(stderr, "%s=%s\n", name, text);
	CHECK(o != NULL);
	return chime_option_set(o, s, edge_text(text, strlen(text)), why, why_size);
}

/* Every way to say yes and no. */
TEST(option_bool_reads_its_words)
{
	static const struct {
		const char *text;
		bool value;
	} rows[] = { { "yes", true }, { "on", true },   { "true", true },   { "1", true },
		     { "no", false }, { "off", false }, { "false", false }, { "0", false } };
	for (size_t i = 0; i < 8; i++) {
		struct settings s = marked();
		s.flag = !rows[i].value;
		CHECK_EQ(set(&s, "flag", rows[i].text, NULL, 0), 0);
		CHECK_EQ(s.flag, rows[i].value);
	}
}

/* Each type reads its values, the ends of its range among them. */
TEST(option_reads_each_type)
{
	struct settings s = marked();
	CHECK_EQ(set(&s, "count", "1", NULL, 0), 0);
	CHECK_EQ(s.count, 1);
	CHECK_EQ(set(&s, "count", "65536", NULL, 0), 0);
	CHECK_EQ(s.count, 65536);
	CHECK_EQ(set(&s, "bytes", "64k", NULL, 0), 0);
	CHECK_EQ(s.bytes, 65536);
	CHECK_EQ(set(&s, "bytes", "3M", NULL, 0), 0);
	CHECK_EQ(s.bytes, 3 << 20);
	CHECK_EQ(set(&s, "bytes", "8589934591G", NULL, 0), 0);
	CHECK_EQ(s.bytes, INT64_C(8589934591) << 30);
	CHECK_EQ(set(&s, "bytes", "9223372036854775807", NULL, 0), 0);
	CHECK_EQ(s.bytes, INT64_MAX);
	CHECK_EQ(set(&s, "offset", "-10", NULL, 0), 0);
	CHECK_EQ(s.offset, -10);
	CHECK_EQ(set(&s, "offset", "10", NULL, 0), 0);
	CHECK_EQ(s.offset, 10);
	CHECK_EQ(set(&s, "mode", "0660", NULL, 0), 0);
	CHECK_EQ(s.mode, 0660);
	CHECK_EQ(set(&s, "mode", "777", NULL, 0), 0);
	CHECK_EQ(s.mode, 0777);
	CHECK_EQ(set(&s, "mode", "0", NULL, 0), 0);
	CHECK_EQ(s.mode, 0);
	CHECK_EQ(set(&s, "wait", "0.5", NULL, 0), 0);
	CHECK_EQ(s.wait, 500 * CHIME_MSEC);
	CHECK_EQ(set(&s, "wait", "forever", NULL, 0), 0);
	CHECK_EQ(s.wait, CHIME_FOREVER);
	CHECK_EQ(set(&s, "limit", "1h", NULL, 0), 0);
	CHECK_EQ(s.limit, CHIME_HOUR);
	CHECK_EQ(set(&s, "choice", "blue", NULL, 0), 0);
	CHECK_EQ(s.choice, 2);
	CHECK_EQ(set(&s, "name", "12345678", NULL, 0), 0);
	CHECK_STR(s.name, "12345678");
	CHECK_EQ(set(&s, "name", "", NULL, 0), 0);
	CHECK_STR(s.name, "");
	for (size_t i = 0; i < sizeof s.guard; i++)
		CHECK_EQ(s.guard[i], 0x55);
}

/* What is refused writes nothing, and says what was expected. */
TEST(option_refuses_and_says_what_it_expected)
{
	static const struct {
		const char *name, *text;
		int code;
		const char *why;
	} rows[] = {
		{ "flag", "", CHIME_ESYNTAX, "expected yes or no" },
		{ "flag", "YES", CHIME_ESYNTAX, "expected yes or no" },
		{ "flag", "2", CHIME_ESYNTAX, "expected yes or no" },
		{ "count", "0", -ERANGE, "expected a whole number from 1 to 65536" },
		{ "count", "65537", -ERANGE, "expected a whole number from 1 to 65536" },
		{ "count", "99999999999999999999", -ERANGE, "expected a whole number from 1 to 65536" },
		{ "count", "18446744073709551617", -ERANGE, "expected a whole number from 1 to 65536" },
		{ "count", "184467440737095516160", -ERANGE, "expected a whole number from 1 to 65536" },
		{ "count", "", CHIME_ESYNTAX, "expected a whole number from 1 to 65536" },
		{ "count", "007", CHIME_ESYNTAX, "expected a whole number from 1 to 65536" },
		{ "count", "+1", CHIME_ESYNTAX, "expected a whole number from 1 to 65536" },
		{ "count", "-1", CHIME_ESYNTAX, "expected a whole number from 1 to 65536" },
		{ "count", " 1", CHIME_ESYNTAX, "expected a whole number from 1 to 65536" },
		{ "count", "1 ", CHIME_ESYNTAX, "expected a whole number from 1 to 65536" },
		{ "count", "1k", CHIME_ESYNTAX, "expected a whole number from 1 to 65536" },
		{ "count", "0x10", CHIME_ESYNTAX, "expected a whole number from 1 to 65536" },
		{ "count", "1.5", CHIME_ESYNTAX, "expected a whole number from 1 to 65536" },
		{ "bytes", "k", CHIME_ESYNTAX,
		  "expected a whole number from 0 to 9223372036854775807, with k, M or G if wanted" },
		{ "bytes", "8589934592G", -ERANGE,
		  "expected a whole number from 0 to 9223372036854775807, with k, M or G if wanted" },
		{ "bytes", "17179869185G", -ERANGE,
		  "expected a whole number from 0 to 9223372036854775807, with k, M or G if wanted" },
		{ "bytes", "1kk", CHIME_ESYNTAX,
		  "expected a whole number from 0 to 9223372036854775807, with k, M or G if wanted" },
		{ "bytes", "9223372036854775808", -ERANGE,
		  "expected a whole number from 0 to 9223372036854775807, with k, M or G if wanted" },
		{ "offset", "-11", -ERANGE, "expected a whole number from -10 to 10" },
		{ "offset", "--1", CHIME_ESYNTAX, "expected a whole number from -10 to 10" },
		{ "offset", "-", CHIME_ESYNTAX, "expected a whole number from -10 to 10" },
		{ "mode", "", CHIME_ESYNTAX, "expected an octal number from 0 to 0777" },
		{ "mode", "0668", CHIME_ESYNTAX, "expected an octal number from 0 to 0777" },
		{ "mode", "1000", -ERANGE, "expected an octal number from 0 to 0777" },
		{ "mode", "7777777777777777777777777", -ERANGE, "expected an octal number from 0 to 0777" },
		{ "mode", "4000000000000000000000660", -ERANGE, "expected an octal number from 0 to 0777" },
		{ "mode", "rw", CHIME_ESYNTAX, "expected an octal number from 0 to 0777" },
		{ "wait", "1us", -ERANGE, "expected a time, such as 250ms or 10s, of at least 1ms, or forever" },
		{ "wait", "soon", CHIME_ESYNTAX, "expected a time, such as 250ms or 10s, of at least 1ms, or forever" },
		{ "limit", "forever", CHIME_ESYNTAX, "expected a time, such as 250ms or 10s, from 0s to 1h" },
		{ "limit", "61m", -ERANGE, "expected a time, such as 250ms or 10s, from 0s to 1h" },
		{ "limit", "9999999h", -ERANGE, "expected a time, such as 250ms or 10s, from 0s to 1h" },
		{ "choice", "", CHIME_ESYNTAX, "expected red, green or blue" },
		{ "choice", "Red", CHIME_ESYNTAX, "expected red, green or blue" },
		{ "choice", "0", CHIME_ESYNTAX, "expected red, green or blue" },
		{ "name", "123456789", -ERANGE, "expected at most 8 bytes" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct settings s = marked(), before = s;
		char why[128] = "";
		CHECK_EQ(set(&s, rows[i].name, rows[i].text, why, sizeof why), rows[i].code);
		CHECK_MEM(&s, &before, sizeof s);
		CHECK_STR(why, rows[i].why);
		char small[6];
		CHECK_EQ(set(&s, rows[i].name, rows[i].text, small, sizeof small), rows[i].code);
		CHECK_STR(small, "expec");
		CHECK_EQ(set(&s, rows[i].name, rows[i].text, NULL, 0), rows[i].code);
	}
}

/* A row is found by its whole name alone; an empty table has none. */
TEST(option_find_takes_whole_names)
{
	CHECK_PTR(chime_option_find(table, "count", 5), &table[1]);
	CHECK_PTR(chime_option_find(table, "countdown", 5), &table[1]);
	CHECK_PTR(chime_option_find(table, "coun", 4), NULL);
	CHECK_PTR(chime_option_find(table, "countdown", 9), NULL);
	CHECK_PTR(chime_option_find(table, "Count", 5), NULL);
	CHECK_PTR(chime_option_find(table, "", 0), NULL);
	CHECK_PTR(chime_option_find(NULL, "count", 5), NULL);
}

/* What is printed reads back to the same value. */
TEST(option_prints_what_it_reads)
{
	static const struct {
		const char *name, *given, *printed;
	} rows[] = {
		{ "flag", "true", "yes" },
		{ "flag", "off", "no" },
		{ "count", "1024", "1024" },
		{ "bytes", "65536", "64k" },
		{ "bytes", "1000", "1000" },
		{ "bytes", "1048576", "1M" },
		{ "bytes", "0", "0" },
		{ "bytes", "2048G", "2048G" },
		{ "offset", "-7", "-7" },
		{ "mode", "660", "0660" },
		{ "mode", "7", "0007" },
		{ "wait", "0.250", "250ms" },
		{ "wait", "forever", "forever" },
		{ "limit", "60", "1m" },
		{ "choice", "green", "green" },
		{ "name", "a b%c", "a b%c" },
		{ "name", "", "" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const struct chime_option *o = chime_option_find(table, rows[i].name, strlen(rows[i].name));
		struct settings s = marked(), back;
		char text[32], small[3];
		CHECK_EQ(set(&s, rows[i].name, rows[i].given, NULL, 0), 0);
		CHECK_EQ(chime_option_print(o, &s, text, sizeof text), strlen(rows[i].printed));
		CHECK_STR(text, rows[i].printed);
		CHECK_EQ(chime_option_print(o, &s, small, sizeof small), strlen(rows[i].printed));
		CHECK_EQ(small[strnlen(rows[i].printed, 2)], 0);
		back = s;
		CHECK_EQ(set(&back, rows[i].name, text, NULL, 0), 0);
		CHECK_MEM(&back, &s, sizeof s);
	}
}

TEST_MAIN()
