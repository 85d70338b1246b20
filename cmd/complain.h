/*
 * complain.h - what the program says on stderr when it can't go on, and the exit code that goes with it.
 */
#ifndef CMD_COMPLAIN_H
#define CMD_COMPLAIN_H

#include <chime/endpoint.h>

/* "chime VERB: SENTENCE"; verb may be NULL. */
void complain(const char *verb, const char *fmt, ...) CHIME_PRINTF(2, 3);

/* The sentence, then the text with a caret under the byte at .at. Control bytes of the text are shown as \xNN. */
void complain_at(const char *verb, const char *text, const struct chime_endpoint_error *error);

/* Whose fault a code of libchime is: EXIT_PEER, EXIT_USAGE or EXIT_SYSTEM. */
int complain_exit(int err);

#endif
