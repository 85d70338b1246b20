/*
 * wrap.h - text on a page of 80 columns.
 */
#ifndef CMD_WRAP_H
#define CMD_WRAP_H

#include <stddef.h>

/* The words on standard output, in lines: the first goes on where column indent is reached already, the others begin there. */
void wrap(const char *text, size_t indent);

#endif
