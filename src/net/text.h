/*
 * net/text.h - text in and out for addresses and endpoints: strict numbers, percent-coding, and a writer with the manners of
 * snprintf(3): it counts what there is to say and stores what fits.
 */
#ifndef NET_TEXT_H
#define NET_TEXT_H

#include <chime/base.h>

struct text {
	char *buf;
	size_t size; /* of buf, NUL included; 0: only count */
	size_t len;  /* what the whole text has */
};

void chime__text_init(struct text *t, char *buf, size_t size);
void chime__text_bytes(struct text *t, const void *bytes, size_t len);
void chime__text_str(struct text *t, const char *str);
void chime__text_number(struct text *t, uint64_t n);
/* The bytes, with %XX for control bytes, blanks, DEL, '%' and the bytes of also. */
void chime__text_escaped(struct text *t, const void *bytes, size_t len, const char *also);
/* Puts the NUL behind what was stored. Returns the length that the text has. */
size_t chime__text_end(struct text *t);

/*
 * Decodes %XX. At most max bytes are stored; *out_len is what there is, which may be more. CHIME_ESYNTAX: a '%' without two
 * hexadecimal digits, at text + *out_len.
 */
int chime__percent_decode(const char *text, size_t len, unsigned char *out, size_t max, size_t *out_len);

/* Copies a text with its NUL. -ENAMETOOLONG: it does not fit. */
int chime__text_copy(char *buf, size_t size, const char *text);

/* A decimal number, whole: no sign, no blank, no leading zero. 0, CHIME_ESYNTAX, -ERANGE (over max). */
int chime__number(const char *text, size_t len, uint64_t max, uint64_t *out);

#endif
