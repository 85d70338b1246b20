/*
 * option.h - reading a verb's command line by its table.
 *
 * --name VALUE, --name=VALUE, -n VALUE, -nVALUE; flags need no value (--name=no takes one back) and may stand together (-qu).
 * Options and operands may be mixed; "--" ends the options; of an option given twice the last counts. --help and -h belong to
 * every verb.
 */
#ifndef CMD_OPTION_H
#define CMD_OPTION_H

#include "verb.h"

/*
 * Puts the values into base and the operands to the front of argv, whose number is returned. Or, when there is nothing more to
 * do (help was asked for and printed, or a fault was told), -1 - the exit code.
 */
int option_read(const struct verb *verb, void *base, int argc, char **argv);
#define OPTION_EXIT(result) (-1 - (result))

/* The letters that differ (inserted, left out, changed, swapped) between two words, up to 9: what a hint is found by. */
unsigned option_distance(const char *a, const char *b);

#endif
