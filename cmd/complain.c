/* Complaints, with the place marked where it is known, and the exit code of each error. */
#include "complain.h"
#include "verb.h"

#include <chime/error.h>

#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>

void complain(const char *verb, const char *fmt, ...)
{
	char sentence[2048];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(sentence, sizeof sentence, fmt, ap);
	va_end(ap);
	fprintf(stderr, "chime%s%s: %s\n", verb ? " " : "", verb ? verb : "", sentence);
}

/* Prints one character of text as it can be shown. Returns its bytes; *columns is what it takes on a terminal. */
static size_t show(FILE *out, const char *text, size_t len, mbstate_t *state, unsigned *columns)
{
	wchar_t c;
	size_t n = mbrtowc(&c, text, len, state);
	int width = n < (size_t)-2 && n > 0 ? wcwidth(c) : -1;
	if (width < 0) {
		*state = (mbstate_t){ 0 };
		fprintf(out, "\\x%02x", (unsigned char)*text);
		*columns += 4;
		return 1;
	}
	fwrite(text, 1, n, out);
	*columns += (unsigned)width;
	return n;
}

void complain_at(const char *verb, const char *text, const struct chime_endpoint_error *error)
{
	size_t len = strlen(text), at = error->at < len ? error->at : len;
	mbstate_t state = { 0 };
	unsigned columns = 0, caret = 0;
	bool found = false;

	complain(verb, "%s", error->message);
	fputs("  ", stderr);
	for (size_t i = 0; i < len;) {
		if (!found && i >= at) {
			caret = columns;
			found = true;
		}
		i += show(stderr, text + i, len - i, &state, &columns);
	}
	if (!found)
		caret = columns;
	fprintf(stderr, "\n  %*s^\n", (int)caret, "");
}

int complain_exit(int err)
{
	if (CHIME_IS_EAI(err))
		return err == CHIME_EAI(EAI_MEMORY) ? EXIT_SYSTEM : EXIT_PEER;
	switch (err) {
	case 0:
		return EXIT_DONE;
	case -ECONNREFUSED:
	case -ECONNRESET:
	case -ECONNABORTED:
	case -EPIPE:
	case -ETIMEDOUT:
	case -EHOSTUNREACH:
	case -EHOSTDOWN:
	case -ENETUNREACH:
	case -ENETDOWN:
	case -ENOENT: /* a unix socket that is not there: nobody serves under that name */
	case -ENOTCONN:
	case -EMSGSIZE:
	case CHIME_ETIMEOUT:
	case CHIME_EEOF:
		return EXIT_PEER;
	case CHIME_ESYNTAX:
	case -ERANGE:
	case -ENAMETOOLONG:
		return EXIT_USAGE;
	default:
		return EXIT_SYSTEM;
	}
}
