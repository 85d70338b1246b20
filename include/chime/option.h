/*
 * chime/option.h - a table of named settings: what an endpoint's query, a service's configuration and whoever
 * else reads "name=value" parse with, print help from and check ranges by.
 */
#ifndef CHIME_OPTION_H
#define CHIME_OPTION_H

#include <chime/base.h>

#ifdef __cplusplus
extern "C" {
#endif

enum chime_option_type {
	CHIME_OPTION_BOOL,  /* bool; yes no on off true false 1 0 */
	CHIME_OPTION_INT,   /* int64_t; decimal, min..max; suffixes k M G (1024) if .size is set */
	CHIME_OPTION_OCTAL, /* int64_t; 0660: permission bits, min..max */
	CHIME_OPTION_DURATION, /* int64_t ns; chime_duration_parse(), min..max; max CHIME_FOREVER: no limit, and "forever" */
	CHIME_OPTION_CHOICE, /* int; the index of the word in .choices */
	CHIME_OPTION_TEXT,   /* char[max + 1]; at most max bytes */
};

/* One setting. Tables end with a row whose name is NULL. offset: where in the caller's struct the value goes. */
struct chime_option {
	const char *name;
	enum chime_option_type type;
	size_t offset;
	int64_t min, max;
	const char *const *choices; /* CHOICE: the words, ended by NULL */
	bool size;                  /* INT: takes k M G */
	const char *metavar;        /* "BYTES", "DURATION", for help */
	const char *help;           /* one sentence; the default is part of it */
};

/*
 * Reads text as the value of option o into base + o->offset. On failure nothing is written there and why says, in a
 * sentence fragment, what was expected ("expected a whole number from 1 to 65536"). why may be NULL if why_size is 0.
 * Numbers have no '+', no blanks and (but for OCTAL) no leading zeros; '-' only where min is negative.
 * 0, CHIME_ESYNTAX, -ERANGE.
 */
CHIME_API int chime_option_set(const struct chime_option *o, void *base, const char *text, char *why, size_t why_size);

/* The row of that name, or NULL. table may be NULL (an empty one). */
CHIME_API const struct chime_option *chime_option_find(const struct chime_option *table, const char *name, size_t len);

/* Prints the value that base holds, as chime_option_set() reads it. Returns the length, as snprintf(3). */
CHIME_API size_t chime_option_print(const struct chime_option *o, const void *base, char *buf, size_t size);

#ifdef __cplusplus
}
#endif

#endif
