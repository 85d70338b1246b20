/*
 * net/reader.h - an endpoint's text while it is read: where it went wrong, and what was expected there.
 */
#ifndef NET_READER_H
#define NET_READER_H

#include <chime/endpoint.h>
#include <chime/error.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A text being read; functions below take the piece that they read as a range [p, end) of it. */
struct reader {
	const char *text;
	chime_endpoint *e;
	const struct chime_scheme_info *info;
	struct chime_endpoint_error *error;
};

/* Says what was wrong at p. Returns code. */
CHIME_PRINTF(4, 5)
static inline int reader_bad(struct reader *r, int code, const char *p, const char *fmt, ...)
{
	if (r->error) {
		va_list ap;
		va_start(ap, fmt);
		r->error->at = (size_t)(p - r->text);
		vsnprintf(r->error->message, sizeof r->error->message, fmt, ap);
		va_end(ap);
	}
	return code;
}

/* Bytes of the text as they can stand in a message: printable, and not many. */
struct quote {
	char text[41];
};

static inline struct quote reader_quote(const char *p, size_t len)
{
	struct quote q;
	size_t n = len < sizeof q.text - 1 ? len : sizeof q.text - 1;
	for (size_t i = 0; i < n; i++)
		q.text[i] = p[i] > ' ' && p[i] < 0x7f ? p[i] : '?';
	q.text[n] = 0;
	if (len > n)
		memcpy(q.text + n - 3, "...", 3);
	return q;
}

/* Where the piece [p, end) has c; end if nowhere. */
static inline const char *reader_find(const char *p, const char *end, char c)
{
	const char *at = p < end ? memchr(p, c, (size_t)(end - p)) : NULL;
	return at ? at : end;
}

/* Where the NUL that [p, end) was decoded to comes from: no other text begins with a '%'. */
static inline const char *reader_find_nul(const char *p, const char *end)
{
	return memmem(p, (size_t)(end - p), "%00", 3);
}

/* The options [p, end of text) behind the '?': NAME=VALUE&NAME=VALUE, of endpoints or of the table further, which is for base. */
int chime__reader_options(struct reader *r, const char *p, const struct chime_option *further, void *base);

#endif
