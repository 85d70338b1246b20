/*
 * help.h - what `chime help`, `chime help VERB` and --help print: all from the tables.
 */
#ifndef CMD_HELP_H
#define CMD_HELP_H

#include "verb.h"

/* The program's, on stdout. */
void help_program(void);
void help_verb(const struct verb *verb);

#endif
