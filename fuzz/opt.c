/*
 * Property: a text that a socket option takes is one that it has a text for afterwards, and that text it takes too; one that is not of
 * its type, or out of its range, changes nothing. The first byte says which option, the second which kind of socket; names of congestion
 * controls and interfaces are left out, for the kernel would load modules to find them. Nothing behind the text's NUL is looked at.
 */
#include "fuzz/fuzz.h"
#include "net/edge.h"

#include <chime/error.h>
#include <chime/opt.h>

#include <errno.h>

static unsigned rows(void)
{
	unsigned n = 0;
	while (chime_opt_table()[n].name)
		n++;
	return n;
}

/* Of its kind, fresh, so that no input has to do with the one before. */
static chime_sock *fresh(const struct chime_opt *o, unsigned pick)
{
	static const struct {
		unsigned bit;
		int value;
	} families[] = { { CHIME_OPT_IP4, AF_INET }, { CHIME_OPT_IP6, AF_INET6 }, { CHIME_OPT_UNIX, AF_UNIX } },
	  types[] = { { CHIME_OPT_STREAM, SOCK_STREAM }, { CHIME_OPT_DGRAM, SOCK_DGRAM } };
	unsigned family = pick % 3, type = pick / 3 % 2;
	chime_sock *s = NULL;
	while (!(o->where & families[family].bit))
		family = (family + 1) % 3;
	while (!(o->where & types[type].bit))
		type = (type + 1) % 2;
	return chime_open(&s, families[family].value, types[type].value, 0) < 0 ? NULL : s;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	char before[256], after[256];
	if (len < 2 || len > 200)
		return 0;
	const struct chime_opt *o = &chime_opt_table()[bytes[0] % rows()];
	if (o->type == CHIME_OPT_TEXT)
		return 0;
	chime_sock *s = fresh(o, bytes[1]);
	if (!s)
		return 0;
	ssize_t n = chime_opt_get_text(s, o, before, sizeof before);
	MUST(n < (ssize_t)sizeof before);
	int err = chime_opt_set_text(s, o, edge_text(bytes + 2, len - 2));
	MUST(err <= 0);
	MUST(o->set || err == -EOPNOTSUPP);
	ssize_t m = chime_opt_get_text(s, o, after, sizeof after);
	MUST(m < (ssize_t)sizeof after && (m < 0) == (n < 0));
	if (err == 0 && m >= 0)
		MUST(chime_opt_set_text(s, o, edge_text(after, strlen(after))) == 0);
	else if (n >= 0 && (err == CHIME_ESYNTAX || err == -ERANGE))
		MUST(!strcmp(before, after));
	chime_free(&s);
	return 0;
}
