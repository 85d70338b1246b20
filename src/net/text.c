/* Text in and out for addresses and endpoints. */
#include "net/text.h"

#include <chime/error.h>

#include <errno.h>
#include <string.h>

void chime__text_init(struct text *t, char *buf, size_t size)
{
	t->buf = buf;
	t->size = size;
	t->len = 0;
}

void chime__text_bytes(struct text *t, const void *bytes, size_t len)
{
	if (t->len + 1 < t->size) {
		size_t room = t->size - 1 - t->len;
		memcpy(t->buf + t->len, bytes, len < room ? len : room);
	}
	t->len += len;
}

void chime__text_str(struct text *t, const char *str)
{
	chime__text_bytes(t, str, strlen(str));
}

void chime__text_number(struct text *t, uint64_t n)
{
	char digits[20];
	size_t at = sizeof digits;
	do {
		digits[--at] = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	chime__text_bytes(t, digits + at, sizeof digits - at);
}

void chime__text_escaped(struct text *t, const void *bytes, size_t len, const char *also)
{
	static const char hex[] = "0123456789ABCDEF";
	const unsigned char *p = bytes;
	for (size_t i = 0; i < len; i++) {
		if (p[i] > ' ' && p[i] != 0x7f && p[i] != '%' && !strchr(also, p[i])) {
			chime__text_bytes(t, p + i, 1);
		} else {
			char code[3] = { '%', hex[p[i] >> 4], hex[p[i] & 15] };
			chime__text_bytes(t, code, 3);
		}
	}
}

size_t chime__text_end(struct text *t)
{
	if (t->size)
		t->buf[t->len < t->size ? t->len : t->size - 1] = 0;
	return t->len;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int chime__percent_decode(const char *text, size_t len, unsigned char *out, size_t max, size_t *out_len)
{
	size_t n = 0;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c == '%') {
			int high = len - i > 2 ? hex_digit(text[i + 1]) : -1;
			int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
			if (low < 0) {
				*out_len = i;
				return CHIME_ESYNTAX;
			}
			c = (unsigned char)(high << 4 | low);
			i += 2;
		}
		if (n < max)
			out[n] = c;
		n++;
	}
	*out_len = n;
	return 0;
}

int chime__number(const char *text, size_t len, uint64_t max, uint64_t *out)
{
	uint64_t n = 0;
	bool over = false;
	if (len == 0 || (len > 1 && text[0] == '0'))
		return CHIME_ESYNTAX;
	for (size_t i = 0; i < len; i++) {
		unsigned digit = (unsigned)(text[i] - '0');
		if (digit > 9)
			return CHIME_ESYNTAX;
		over = over || __builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, digit, &n);
	}
	if (over || n > max)
		return -ERANGE;
	*out = n;
	return 0;
}

int chime__text_copy(char *buf, size_t size, const char *text)
{
	size_t len = strlen(text);
	if (len >= size)
		return -ENAMETOOLONG;
	memcpy(buf, text, len + 1);
	return 0;
}
