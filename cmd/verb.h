/*
 * verb.h - what `chime VERB` is: a row in a table, from which dispatch, parsing and help come.
 */
#ifndef CMD_VERB_H
#define CMD_VERB_H

#include <chime/option.h>

/* How the program ends (chime(1), EXIT STATUS). */
enum {
	EXIT_DONE = 0,
	EXIT_PEER = 1,   /* the peer or the name said no */
	EXIT_USAGE = 2,  /* found before anything was opened */
	EXIT_SYSTEM = 3, /* the local system said no */
};

/* One option of a verb: its long name, type, range and help are .value's; letter 0: it has no short form. */
struct verb_option {
	char letter;
	struct chime_option value;
};

struct verb {
	const char *name;
	const char *operands; /* as the usage line shows them */
	unsigned operands_max;
	const char *help;                  /* one line */
	const char *about;                 /* a paragraph under the usage line */
	const struct verb_option *options; /* ended by a row without a name */
	const char *examples;              /* lines, or NULL */
	int (*run)(const struct verb *verb, int argc, char **argv);
};

/* The n-th verb; NULL after the last. */
const struct verb *verb_at(unsigned n);
const struct verb *verb_find(const char *name);

extern const struct verb verb_serve, verb_talk, verb_sockets;

/* Rows of an option table, in the order: letter, name, the struct they fill, its field, ... */
#define OPT_FLAG(letter_, name_, struct_, field_, help_)                                                               \
	{                                                                                                              \
		letter_,                                                                                               \
		{                                                                                                      \
			.name = name_, .type = CHIME_OPTION_BOOL, .offset = offsetof(struct_, field_), .help = help_   \
		}                                                                                                      \
	}
#define OPT_INT(letter_, name_, struct_, field_, min_, max_, metavar_, help_)                                          \
	{                                                                                                              \
		letter_,                                                                                               \
		{                                                                                                      \
			.name = name_, .type = CHIME_OPTION_INT, .offset = offsetof(struct_, field_), .min = min_,     \
			.max = max_, .metavar = metavar_, .help = help_                                                \
		}                                                                                                      \
	}
/* The same with suffixes k M G. */
#define OPT_SIZE(letter_, name_, struct_, field_, min_, max_, help_)                                                   \
	{                                                                                                              \
		letter_,                                                                                               \
		{                                                                                                      \
			.name = name_, .type = CHIME_OPTION_INT, .offset = offsetof(struct_, field_), .min = min_,     \
			.max = max_, .size = true, .metavar = "BYTES", .help = help_                                   \
		}                                                                                                      \
	}
#define OPT_TIME(letter_, name_, struct_, field_, min_, max_, help_)                                                   \
	{                                                                                                              \
		letter_,                                                                                               \
		{                                                                                                      \
			.name = name_, .type = CHIME_OPTION_DURATION, .offset = offsetof(struct_, field_),             \
			.min = min_, .max = max_, .metavar = "TIME", .help = help_                                     \
		}                                                                                                      \
	}
#define OPT_CHOICE(letter_, name_, struct_, field_, choices_, help_)                                                   \
	{                                                                                                              \
		letter_,                                                                                               \
		{                                                                                                      \
			.name = name_, .type = CHIME_OPTION_CHOICE, .offset = offsetof(struct_, field_),               \
			.choices = choices_, .help = help_                                                             \
		}                                                                                                      \
	}
#define OPT_TEXT(letter_, name_, struct_, field_, max_, metavar_, help_)                                               \
	{                                                                                                              \
		letter_,                                                                                               \
		{                                                                                                      \
			.name = name_, .type = CHIME_OPTION_TEXT, .offset = offsetof(struct_, field_), .max = max_,    \
			.metavar = metavar_, .help = help_                                                             \
		}                                                                                                      \
	}
#define OPT_END                                                                                                        \
	{                                                                                                              \
		0,                                                                                                     \
		{                                                                                                      \
			.name = NULL                                                                                   \
		}                                                                                                      \
	}

#endif
