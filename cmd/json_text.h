/*
 * json_text.h - texts that may hold bytes of any kind, such as the paths of sockets, as strings of JSON, which are UTF-8.
 */
#ifndef CMD_JSON_TEXT_H
#define CMD_JSON_TEXT_H

#include <jansson.h>

/* Bytes of a text that is no UTF-8 become %XX, which addresses and endpoints are read from as well. NULL: no memory. */
json_t *json_text(const char *text);

#endif
