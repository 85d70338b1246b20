/* Help, printed from the tables of verbs, options, services and endpoint settings. */
#include "help.h"
#include "wrap.h"

#include <chime/clock.h>
#include <chime/endpoint.h>
#include <chime/server.h>

#include <stdio.h>
#include <string.h>

#define LEFT 26 /* where the second column begins */

/* Prints text in the second column, broken between words; the first line goes on behind used columns. */
static void column(size_t used, const char *text)
{
	if (used + 2 > LEFT) {
		putchar('\n');
		used = 0;
	}
	printf("%*s", (int)(LEFT - used), "");
	wrap(text, LEFT);
}

static const char *kind(const struct chime_option *o)
{
	switch (o->type) {
	case CHIME_OPTION_BOOL:
		return NULL;
	case CHIME_OPTION_OCTAL:
		return "MODE";
	case CHIME_OPTION_DURATION:
		return "TIME";
	case CHIME_OPTION_CHOICE:
		return "WORD";
	case CHIME_OPTION_TEXT:
		return "TEXT";
	case CHIME_OPTION_INT:
		break;
	}
	return o->size ? "BYTES" : "N";
}

/* "one of: a, b, c" or "MIN to MAX", or nothing. */
static void range(const struct chime_option *o, char *out, size_t size)
{
	size_t used = 0;
	char low[32], high[32];
	out[0] = 0;
	if (o->type == CHIME_OPTION_CHOICE && ((o->metavar && strstr(o->metavar, o->choices[0])) ||
					       (strstr(o->help, o->choices[0]) && strstr(o->help, o->choices[1])))) {
		return; /* the words are there already */
	} else if (o->type == CHIME_OPTION_CHOICE) {
		for (unsigned i = 0; o->choices[i] && used < size; i++)
			used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "one of: ", o->choices[i]);
	} else if (o->type == CHIME_OPTION_INT && o->max < INT64_MAX) {
		snprintf(out, size, "%lld to %lld", (long long)o->min, (long long)o->max);
	} else if (o->type == CHIME_OPTION_DURATION) {
		chime_duration_print(o->min, low, sizeof low);
		chime_duration_print(o->max, high, sizeof high);
		if (o->max == CHIME_FOREVER)
			snprintf(out, size, "from %s, or forever", low);
		else
			snprintf(out, size, "%s to %s", low, high);
	}
}

static void print_option(const char *lead, const struct chime_option *o, char between)
{
	char text[512], limits[160];
	const char *metavar = o->metavar ? o->metavar : kind(o);
	int used = metavar && o->type != CHIME_OPTION_BOOL ? printf("%s%s%c%s", lead, o->name, between, metavar)
		   : between == '='                        ? printf("%s%s=yes", lead, o->name)
							   : printf("%s%s", lead, o->name);
	range(o, limits, sizeof limits);
	size_t len = strlen(o->help);
	bool behind = limits[0] && len && o->help[len - 1] == ')'; /* one pair of parentheses is enough */
	snprintf(text, sizeof text, "%.*s%s%s%s", (int)(behind ? len - 1 : len), o->help,
		 behind      ? "; "
		 : limits[0] ? " ("
			     : "",
		 limits, limits[0] ? ")" : "");
	column((size_t)used, text);
}

static void print_options(const struct verb *verb)
{
	puts("\noptions:");
	for (const struct verb_option *o = verb->options; o->value.name; o++) {
		char lead[16] = "      --";
		if (o->letter)
			snprintf(lead, sizeof lead, "  -%c, --", o->letter);
		print_option(lead, &o->value, ' ');
	}
	column((size_t)printf("  -h, --help"), "print this and end");
}

static void print_table(const char *title, const struct chime_option *o)
{
	if (!o || !o->name)
		return;
	printf("\n%s\n", title);
	for (; o->name; o++)
		print_option("  ", o, '=');
}

void help_verb(const struct verb *verb)
{
	printf("usage: chime %s [OPTION...]%s%s\n\n", verb->name, verb->operands[0] ? " " : "", verb->operands);
	wrap(verb->about, 0);
	if (verb->options)
		print_options(verb);
	if (verb == &verb_serve) {
		char title[96];
		puts("\nservices:");
		for (unsigned n = 0; chime_service_at(n); n++)
			column((size_t)printf("  %s", chime_service_at(n)->name), chime_service_at(n)->help);
		for (unsigned n = 0; chime_service_at(n); n++) {
			snprintf(title, sizeof title,
				 "settings of %s, in an endpoint's query:", chime_service_at(n)->name);
			print_table(title, chime_service_at(n)->options);
		}
		print_table("settings of serving, in an endpoint's query:", chime_server_options());
	}
	if (verb == &verb_serve || verb == &verb_talk)
		print_table("settings of sockets, in an endpoint's query (tcp://:9999?backlog=64):",
			    chime_endpoint_options());
	if (verb->examples)
		printf("\nexamples:\n%s", verb->examples);
}

void help_program(void)
{
	puts("usage: chime VERB [OPTION...] [OPERAND...]\n\n"
	     "A server that answers every message with the time, and a client to talk to it.\n\nverbs:");
	for (unsigned n = 0; verb_at(n); n++)
		column((size_t)printf("  %s %s", verb_at(n)->name, verb_at(n)->operands), verb_at(n)->help);
	puts("\noptions:");
	column((size_t)printf("  -h, --help"), "print this and end");
	column((size_t)printf("  -V, --version"), "print the version and end");
	puts("\n`chime help VERB` says more. An endpoint names a socket:\n"
	     "  tcp://HOST:PORT  udp://HOST:PORT  unix:PATH  unix+dgram:PATH  ...");
}
