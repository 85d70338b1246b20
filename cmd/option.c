/* A verb's command line, read by its table. */
#include "option.h"
#include "complain.h"
#include "help.h"

#include <stdio.h>
#include <string.h>

unsigned option_distance(const char *a, const char *b)
{
	enum {
		MAX = 24
	};
	unsigned d[MAX + 1][MAX + 1];
	size_t la = strlen(a), lb = strlen(b);
	if (la > MAX || lb > MAX)
		return 9;
	for (size_t i = 0; i <= la; i++)
		for (size_t j = 0; j <= lb; j++) {
			unsigned best = (unsigned)(i + j);
			if (i && j) {
				best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
				if (d[i - 1][j] + 1 < best)
					best = d[i - 1][j] + 1;
				if (d[i][j - 1] + 1 < best)
					best = d[i][j - 1] + 1;
				if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
				    d[i - 2][j - 2] + 1 < best)
					best = d[i - 2][j - 2] + 1;
			}
			d[i][j] = best;
		}
	return d[la][lb] < 9 ? d[la][lb] : 9;
}

static const struct verb_option *find_long(const struct verb *verb, const char *name, size_t len)
{
	for (const struct verb_option *o = verb->options; o->value.name; o++)
		if (strlen(o->value.name) == len && !memcmp(o->value.name, name, len))
			return o;
	return NULL;
}

static const struct verb_option *find_letter(const struct verb *verb, char letter)
{
	for (const struct verb_option *o = verb->options; o->value.name; o++)
		if (o->letter && o->letter == letter)
			return o;
	return NULL;
}

static int unknown(const struct verb *verb, const char *name, size_t len)
{
	char word[32];
	const char *nearest = NULL;
	unsigned best = 3;
	snprintf(word, sizeof word, "%.*s", (int)len, name);
	for (const struct verb_option *o = verb->options; o->value.name; o++) {
		unsigned d = option_distance(word, o->value.name);
		if (d < best) {
			best = d;
			nearest = o->value.name;
		}
	}
	if (nearest)
		complain(verb->name, "no option --%.*s; is it --%s?", (int)len, name, nearest);
	else
		complain(verb->name, "no option --%.*s; `chime help %s` lists them", (int)len, name, verb->name);
	return OPTION_EXIT(EXIT_USAGE);
}

/* 0, or OPTION_EXIT. shown: the option as it was written. */
static int set(const struct verb *verb, const struct verb_option *o, void *base, const char *value, const char *shown,
	       int shown_len)
{
	char why[192] = "not understood";
	if (chime_option_set(&o->value, base, value, why, sizeof why) == 0)
		return 0;
	complain(verb->name, "%.*s '%s': %s", shown_len, shown, value, why);
	return OPTION_EXIT(EXIT_USAGE);
}

static int lacking(const struct verb *verb, const char *shown, int shown_len, const struct verb_option *o)
{
	complain(verb->name, "%.*s: expected a value behind it: %s", shown_len, shown, o->value.help);
	return OPTION_EXIT(EXIT_USAGE);
}

/* Help ends the line: what stands behind it would go unread. */
static int help_asked(const struct verb *verb, const char *shown, const char *next)
{
	if (next) {
		complain(verb->name, "'%s' behind %s: expected nothing", next, shown);
		return OPTION_EXIT(EXIT_USAGE);
	}
	help_verb(verb);
	return OPTION_EXIT(EXIT_DONE);
}

/* Reads argv[*i], a long option, and its value, maybe in the next one. */
static int read_long(const struct verb *verb, void *base, int argc, char **argv, int *i)
{
	const char *name = argv[*i] + 2, *equals = strchr(name, '=');
	size_t len = equals ? (size_t)(equals - name) : strlen(name);
	int shown_len = (int)len + 2;
	const struct verb_option *o = find_long(verb, name, len);
	if (!o && len == 4 && !memcmp(name, "help", 4)) {
		if (equals) {
			complain(verb->name, "--help '%s': expected no value", equals + 1);
			return OPTION_EXIT(EXIT_USAGE);
		}
		return help_asked(verb, "--help", *i + 1 < argc ? argv[*i + 1] : NULL);
	}
	if (!o)
		return unknown(verb, name, len);
	if (equals)
		return set(verb, o, base, equals + 1, argv[*i], shown_len);
	if (o->value.type == CHIME_OPTION_BOOL)
		return set(verb, o, base, "yes", argv[*i], shown_len);
	if (*i + 1 >= argc)
		return lacking(verb, argv[*i], shown_len, o);
	++*i;
	return set(verb, o, base, argv[*i], argv[*i - 1], shown_len);
}

/* Reads argv[*i], letters behind one dash. */
static int read_letters(const struct verb *verb, void *base, int argc, char **argv, int *i)
{
	for (const char *p = argv[*i] + 1; *p; p++) {
		const struct verb_option *o = find_letter(verb, *p);
		char shown[3] = { '-', *p, 0 };
		int err;
		if (!o && *p == 'h')
			return help_asked(verb, "-h", p[1] ? p + 1 : *i + 1 < argc ? argv[*i + 1] : NULL);
		if (!o) {
			complain(verb->name, "no option -%c; `chime help %s` lists them", *p, verb->name);
			return OPTION_EXIT(EXIT_USAGE);
		}
		if (o->value.type != CHIME_OPTION_BOOL) {
			if (p[1])
				return set(verb, o, base, p + 1, shown, 2);
			if (*i + 1 >= argc)
				return lacking(verb, shown, 2, o);
			++*i;
			return set(verb, o, base, argv[*i], shown, 2);
		}
		err = set(verb, o, base, "yes", shown, 2);
		if (err)
			return err;
	}
	return 0;
}

int option_read(const struct verb *verb, void *base, int argc, char **argv)
{
	int operands = 0;
	bool only_operands = false;
	for (int i = 0; i < argc; i++) {
		int err = 0;
		if (only_operands || argv[i][0] != '-' || !argv[i][1])
			argv[operands++] = argv[i];
		else if (!strcmp(argv[i], "--"))
			only_operands = true;
		else if (argv[i][1] == '-')
			err = read_long(verb, base, argc, argv, &i);
		else
			err = read_letters(verb, base, argc, argv, &i);
		if (err)
			return err;
	}
	if ((unsigned)operands > verb->operands_max) {
		complain(verb->name, "'%s' is one too many; usage: chime %s [OPTION...] %s", argv[verb->operands_max],
			 verb->name, verb->operands);
		return OPTION_EXIT(EXIT_USAGE);
	}
	return operands;
}
