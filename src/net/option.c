/* Named settings: reading and printing one value by its row of a table. */
#include <chime/clock.h>
#include <chime/error.h>
#include <chime/option.h>

#include "net/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const bool_words[] = { "no", "yes", "off", "on", "false", "true", "0", "1", NULL };

static int find_word(const char *const *words, const char *text)
{
	for (int i = 0; words[i]; i++)
		if (!strcmp(words[i], text))
			return i;
	return -1;
}

static const char suffixes[] = "kMG";

/* A whole number, with a minus where the range has negative ones, with k M G where the option is a size. */
static int read_int(const struct chime_option *o, const char *text, int64_t *out)
{
	size_t len = strlen(text);
	bool minus = o->min < 0 && *text == '-';
	uint64_t n = 0;
	int64_t value;
	unsigned shift = 0;

	if (o->size && len > 1 && strchr(suffixes, text[len - 1]))
		shift = 10 * (unsigned)(strchr(suffixes, text[--len]) - suffixes + 1);
	int err = chime__number(text + minus, len - minus, INT64_MAX, &n);
	if (err < 0)
		return err;
	if (__builtin_mul_overflow((int64_t)n, INT64_C(1) << shift, &value))
		return -ERANGE;
	*out = minus ? -value : value;
	return 0;
}

static int read_octal(const char *text, int64_t *out)
{
	int64_t n = 0;
	if (!*text || text[strspn(text, "01234567")])
		return CHIME_ESYNTAX;
	for (; *text; text++)
		if (__builtin_mul_overflow(n, 8, &n) || __builtin_add_overflow(n, *text - '0', &n))
			return -ERANGE;
	*out = n;
	return 0;
}

static int read_duration(const struct chime_option *o, const char *text, int64_t *out)
{
	int err = chime_duration_parse(text, out);
	if (err == 0 && *out == CHIME_FOREVER && o->max != CHIME_FOREVER)
		return CHIME_ESYNTAX;
	return err;
}

static bool within(const struct chime_option *o, int64_t value)
{
	if (o->type == CHIME_OPTION_DURATION && o->max == CHIME_FOREVER)
		return value == CHIME_FOREVER || value >= o->min;
	return value >= o->min && value <= o->max;
}

/* What was expected, in words. */
static void explain(const struct chime_option *o, char *why, size_t size)
{
	char low[48], high[48];
	struct text t;
	chime__text_init(&t, why, size);
	chime__text_str(&t, "expected ");
	switch (o->type) {
	case CHIME_OPTION_BOOL:
		chime__text_str(&t, "yes or no");
		break;
	case CHIME_OPTION_INT:
		snprintf(low, sizeof low, "%" PRId64, o->min);
		snprintf(high, sizeof high, "%" PRId64, o->max);
		chime__text_str(&t, "a whole number from ");
		chime__text_str(&t, low);
		chime__text_str(&t, " to ");
		chime__text_str(&t, high);
		if (o->size)
			chime__text_str(&t, ", with k, M or G if wanted");
		break;
	case CHIME_OPTION_OCTAL:
		snprintf(low, sizeof low, "0%" PRIo64, (uint64_t)o->min);
		snprintf(high, sizeof high, "0%" PRIo64, (uint64_t)o->max);
		chime__text_str(&t, "an octal number from ");
		chime__text_str(&t, o->min ? low : "0");
		chime__text_str(&t, " to ");
		chime__text_str(&t, high);
		break;
	case CHIME_OPTION_DURATION:
		chime_duration_print(o->min, low, sizeof low);
		chime_duration_print(o->max, high, sizeof high);
		chime__text_str(&t, "a time, such as 250ms or 10s");
		if (o->max == CHIME_FOREVER) {
			chime__text_str(&t, ", of at least ");
			chime__text_str(&t, low);
			chime__text_str(&t, ", or forever");
		} else {
			chime__text_str(&t, ", from ");
			chime__text_str(&t, low);
			chime__text_str(&t, " to ");
			chime__text_str(&t, high);
		}
		break;
	case CHIME_OPTION_CHOICE:
		for (int i = 0; o->choices[i]; i++) {
			if (i)
				chime__text_str(&t, o->choices[i + 1] ? ", " : " or ");
			chime__text_str(&t, o->choices[i]);
		}
		break;
	case CHIME_OPTION_TEXT:
		chime__text_str(&t, "at most ");
		chime__text_number(&t, (uint64_t)o->max);
		chime__text_str(&t, " bytes");
		break;
	}
	chime__text_end(&t);
}

int chime_option_set(const struct chime_option *o, void *base, const char *text, char *why, size_t why_size)
{
	char *place = (char *)base + o->offset;
	int64_t value = 0;
	int word, err = 0;

	switch (o->type) {
	case CHIME_OPTION_BOOL:
		word = find_word(bool_words, text);
		if (word >= 0)
			*(bool *)place = word % 2;
		else
			err = CHIME_ESYNTAX;
		break;
	case CHIME_OPTION_CHOICE:
		word = find_word(o->choices, text);
		if (word >= 0)
			*(int *)place = word;
		else
			err = CHIME_ESYNTAX;
		break;
	case CHIME_OPTION_TEXT:
		if (strlen(text) <= (size_t)o->max)
			strcpy(place, text);
		else
			err = -ERANGE;
		break;
	case CHIME_OPTION_INT:
	case CHIME_OPTION_OCTAL:
	case CHIME_OPTION_DURATION:
		err = o->type == CHIME_OPTION_INT     ? read_int(o, text, &value)
		      : o->type == CHIME_OPTION_OCTAL ? read_octal(text, &value)
						      : read_duration(o, text, &value);
		if (err == 0 && !within(o, value))
			err = -ERANGE;
		if (err == 0)
			*(int64_t *)place = value;
		break;
	}
	if (err < 0)
		explain(o, why, why_size);
	return err;
}

const struct chime_option *chime_option_find(const struct chime_option *table, const char *name, size_t len)
{
	for (const struct chime_option *o = table; o && o->name; o++)
		if (strlen(o->name) == len && !memcmp(o->name, name, len))
			return o;
	return NULL;
}

size_t chime_option_print(const struct chime_option *o, const void *base, char *buf, size_t size)
{
	const char *place = (const char *)base + o->offset;
	char number[32];
	struct text t;

	chime__text_init(&t, buf, size);
	switch (o->type) {
	case CHIME_OPTION_BOOL:
		chime__text_str(&t, bool_words[*(const bool *)place]);
		break;
	case CHIME_OPTION_CHOICE:
		chime__text_str(&t, o->choices[*(const int *)place]);
		break;
	case CHIME_OPTION_TEXT:
		chime__text_str(&t, place);
		break;
	case CHIME_OPTION_INT: {
		int64_t value = *(const int64_t *)place;
		int suffix = -1;
		while (o->size && suffix < 2 && value && value % 1024 == 0) {
			value /= 1024;
			suffix++;
		}
		snprintf(number, sizeof number, "%" PRId64, value);
		chime__text_str(&t, number);
		if (suffix >= 0)
			chime__text_bytes(&t, suffixes + suffix, 1);
		break;
	}
	case CHIME_OPTION_OCTAL:
		snprintf(number, sizeof number, "%04" PRIo64, (uint64_t) * (const int64_t *)place);
		chime__text_str(&t, number);
		break;
	case CHIME_OPTION_DURATION:
		return chime_duration_print(*(const int64_t *)place, buf, size);
	}
	return chime__text_end(&t);
}
