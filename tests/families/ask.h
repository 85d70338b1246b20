/*
 * families/ask.h - the two ways in which the tests of families talk to a server: by libchime, and by `chime talk`.
 */
#ifndef FAMILIES_ASK_H
#define FAMILIES_ASK_H

#include <stdbool.h>
#include <stddef.h>

/* What went wrong, a sentence. */
struct trouble {
	char why[512];
};
bool trouble(struct trouble *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * Asks the server at that endpoint count times, each time something else, and looks at the answers: on a stream one after the
 * other; messages, several at a time, each of which must be answered just once. False: t says what was wrong.
 */
bool ask_by_library(const char *endpoint, unsigned count, struct trouble *t);

/* The same by `chime talk` in a pipe, a line at a time. dir: for its input and output. */
bool ask_by_talk(const char *program, const char *endpoint, unsigned count, const char *dir, struct trouble *t);

#endif
