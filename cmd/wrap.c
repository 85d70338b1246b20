/* Text on a page. */
#include "wrap.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define WIDTH 79 /* the last column is left free: some terminals begin a new line there */

void wrap(const char *text, size_t indent)
{
	size_t at = indent;
	for (bool first = true; *text; first = false) {
		size_t word = strcspn(text, " ");
		if (!first && at + 1 + word > WIDTH) {
			printf("\n%*s", (int)indent, "");
			at = indent;
		} else if (!first) {
			putchar(' ');
			at++;
		}
		printf("%.*s", (int)word, text);
		at += word;
		text += word;
		text += strspn(text, " ");
	}
	putchar('\n');
}
