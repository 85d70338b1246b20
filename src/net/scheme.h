/*
 * net/scheme.h - the schemes of endpoints: found by name, or guessed from a misspelt one.
 */
#ifndef NET_SCHEME_H
#define NET_SCHEME_H

#include <chime/endpoint.h>

/* The scheme of that name, and the family that a 4 or 6 at its end pins (else AF_UNSPEC). */
bool chime__scheme_find(const char *name, size_t len, enum chime_scheme *scheme, int *family);

/* The name that was probably meant, or NULL. */
const char *chime__scheme_guess(const char *name, size_t len);

/* Whether the row of chime_endpoint_options() is for the scheme; where not, *whose names those that it is for. */
bool chime__scheme_takes(enum chime_scheme scheme, const struct chime_option *option, const char **whose);

#endif
