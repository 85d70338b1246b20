/* The two clocks, and durations as text. */
#include <chime/clock.h>
#include <chime/error.h>

#include "net/text.h"

#include <errno.h>
#include <string.h>
#include <time.h>

static int64_t now(clockid_t clock)
{
	struct timespec ts;
	clock_gettime(clock, &ts);
	return ts.tv_sec * CHIME_SEC + ts.tv_nsec;
}

int64_t chime_now_mono(void)
{
	return now(CLOCK_MONOTONIC);
}

int64_t chime_now_real(void)
{
	return now(CLOCK_REALTIME);
}

/* A unit is factor * 10^zeros nanoseconds: kept apart, so that fractions of any length can be read exactly. */
static const struct unit {
	const char *name;
	unsigned factor, zeros;
	int64_t ns;
} units[] = {
	{ "h", 36, 11, CHIME_HOUR }, { "m", 6, 10, CHIME_MIN },  { "s", 1, 9, CHIME_SEC },
	{ "ms", 1, 6, CHIME_MSEC },  { "us", 1, 3, CHIME_USEC }, { "ns", 1, 0, 1 },
};
#define UNITS (sizeof units / sizeof units[0])
#define SECONDS 2

static const struct unit *find_unit(const char *name)
{
	if (!*name)
		return &units[SECONDS];
	for (size_t i = 0; i < UNITS; i++)
		if (!strcmp(units[i].name, name))
			return &units[i];
	return NULL;
}

static size_t count_digits(const char *p)
{
	return strspn(p, "0123456789");
}

int chime_duration_parse(const char *text, int64_t *out_ns)
{
	const char *whole = text, *fraction = "", *p;
	size_t whole_len = count_digits(whole), fraction_len = 0;
	int64_t ns = 0;
	bool over = false;

	if (!strcmp(text, "forever")) {
		*out_ns = CHIME_FOREVER;
		return 0;
	}
	p = whole + whole_len;
	if (*p == '.') {
		fraction = p + 1;
		fraction_len = count_digits(fraction);
		p = fraction + fraction_len;
		if (fraction_len == 0)
			return CHIME_ESYNTAX;
	}
	const struct unit *unit = find_unit(p);
	if (whole_len == 0 || !unit)
		return CHIME_ESYNTAX;

	/* The digits worth at least factor nanoseconds each, one by one; then what is left, multiplied from its end as on paper. */
	for (size_t i = 0; i < whole_len + unit->zeros; i++) {
		unsigned digit = 0;
		if (i < whole_len)
			digit = (unsigned)(whole[i] - '0');
		else if (i - whole_len < fraction_len)
			digit = (unsigned)(fraction[i - whole_len] - '0');
		over = over || __builtin_mul_overflow(ns, 10, &ns) || __builtin_add_overflow(ns, digit, &ns);
	}
	unsigned carry = 0, tenths = 0;
	for (size_t i = fraction_len; i > unit->zeros; i--) {
		unsigned product = (unsigned)(fraction[i - 1] - '0') * unit->factor + carry;
		tenths = product % 10;
		carry = product / 10;
	}
	carry += tenths >= 5;
	if (over || __builtin_mul_overflow(ns, unit->factor, &ns) || __builtin_add_overflow(ns, carry, &ns))
		return -ERANGE;
	*out_ns = ns;
	return 0;
}

#define DECIMALS 13 /* of an hour are finer than a nanosecond */

/* ns in a unit, rounded to so many decimals. Whether chime_duration_parse() reads the same from it. */
static bool form_in(const struct unit *unit, int64_t ns, unsigned decimals, char *out, size_t size)
{
	int64_t whole = ns / unit->ns, rest = ns % unit->ns, back = 0;
	char digits[DECIMALS + 1];
	struct text t;
	for (unsigned i = 0; i < decimals; i++) {
		rest *= 10;
		digits[i] = (char)('0' + rest / unit->ns);
		rest %= unit->ns;
	}
	bool up = rest >= unit->ns - rest;
	for (unsigned i = decimals; up && i > 0; i--) {
		up = digits[i - 1] == '9';
		digits[i - 1] = (char)(up ? '0' : digits[i - 1] + 1);
	}
	chime__text_init(&t, out, size);
	chime__text_number(&t, (uint64_t)whole + up);
	if (decimals) {
		chime__text_str(&t, ".");
		chime__text_bytes(&t, digits, decimals);
	}
	chime__text_str(&t, unit->name);
	chime__text_end(&t);
	return chime_duration_parse(out, &back) == 0 && back == ns;
}

size_t chime_duration_print(int64_t ns, char *buf, size_t size)
{
	char best[48] = "";
	struct text t;

	if (ns < 0)
		strcpy(best, "forever");
	else if (ns == 0)
		strcpy(best, "0s");
	for (size_t i = 0; ns > 0 && i < UNITS; i++) {
		char form[48];
		unsigned decimals = 0;
		while (decimals <= DECIMALS && !form_in(&units[i], ns, decimals, form, sizeof form))
			decimals++;
		/* as short in a smaller unit: with fewer decimals */
		if (decimals <= DECIMALS && (!*best || strlen(form) <= strlen(best)))
			strcpy(best, form);
	}
	chime__text_init(&t, buf, size);
	chime__text_str(&t, best);
	return chime__text_end(&t);
}
