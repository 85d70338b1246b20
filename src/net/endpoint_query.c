/* An endpoint's options: read, checked against their tables, stored, and written down in their plain form. */
#include "net/reader.h"
#include "net/scheme.h"
#include "net/text.h"

#include <errno.h>
#include <stdio.h>

struct query {
	const struct chime_option *further;
	void *base;
	struct text out; /* e->options */
};

static int unknown_option(struct reader *r, const struct query *q, const char *p, size_t len)
{
	const struct chime_option *tables[2] = { chime_endpoint_options(), q->further };
	char names[112];
	const char *whose;
	struct text t;

	chime__text_init(&t, names, sizeof names);
	for (int i = 0; i < 2; i++)
		for (const struct chime_option *o = tables[i]; o && o->name; o++) {
			if (i == 0 && !chime__scheme_takes(r->e->scheme, o, &whose))
				continue;
			chime__text_str(&t, t.len ? ", " : "");
			chime__text_str(&t, o->name);
		}
	chime__text_end(&t);
	if (t.len >= sizeof names)
		memcpy(names + sizeof names - 4, "...", 4);
	return reader_bad(r, CHIME_ESYNTAX, p, "unknown option \"%s\": expected %s", reader_quote(p, len).text,
			  t.len ? names : "none");
}

/* Whether the options read so far have one of that name. */
static bool given(const struct reader *r, const char *name, size_t len)
{
	for (const char *p = r->e->options; *p; p += strcspn(p, "&"), p += *p == '&')
		if (!strncmp(p, name, len) && p[len] == '=')
			return true;
	return false;
}

/* Whether the host is no group, as far as can be known without asking the system: a name may be one's. */
static bool no_group(const chime_endpoint *e)
{
	char host[sizeof e->host];
	chime_addr a;
	snprintf(host, sizeof host, "%.*s", (int)strcspn(e->host, "%"),
		 e->host); /* a scope is an interface to look for */
	if (host[0] == 0 || !strcmp(host, "*"))
		return true;
	return chime_addr_ip(&a, AF_UNSPEC, host, 0) == 0 && !chime_addr_is_multicast(&a);
}

static bool is_for_groups(const struct chime_option *o)
{
	return o->offset == offsetof(struct chime_endpoint_settings, source) ||
	       o->offset == offsetof(struct chime_endpoint_settings, loop);
}

/* [p, end) is NAME=VALUE. */
static int read_option(struct reader *r, struct query *q, const char *p, const char *end)
{
	const char *equals = reader_find(p, end, '='), *text = equals + 1, *whose;
	size_t name_len = (size_t)(equals - p), value_len;
	char value[sizeof r->e->options], why[144];
	const struct chime_option *own, *o;
	void *base = &r->e->set;
	chime_addr source;
	int err;

	if (name_len == 0)
		return reader_bad(r, CHIME_ESYNTAX, p, "expected an option, NAME=VALUE");
	own = chime_option_find(chime_endpoint_options(), p, name_len);
	o = own;
	if (!o) {
		o = chime_option_find(q->further, p, name_len);
		base = q->base;
	}
	if (!o)
		return unknown_option(r, q, p, name_len);
	if (own && !chime__scheme_takes(r->e->scheme, own, &whose))
		return reader_bad(r, CHIME_ESYNTAX, p, "expected no %s: it is for %s", o->name, whose);
	if (own && own->offset == offsetof(struct chime_endpoint_settings, mode) && r->e->path[0] == 0)
		return reader_bad(r, CHIME_ESYNTAX, p, "expected no mode: an abstract name has no file");
	if (own && is_for_groups(own) && no_group(r->e))
		return reader_bad(r, CHIME_ESYNTAX, p, "expected no %s: the host is no multicast group", o->name);
	if (equals == end)
		return reader_bad(r, CHIME_ESYNTAX, end, "expected '=' and a value after \"%s\"", o->name);
	if (given(r, p, name_len))
		return reader_bad(r, CHIME_ESYNTAX, p, "expected %s once", o->name);
	if (chime__percent_decode(text, (size_t)(end - text), (unsigned char *)value, sizeof value - 1, &value_len) < 0)
		return reader_bad(r, CHIME_ESYNTAX, text + value_len, "expected two hexadecimal digits after '%%'");
	if (value_len > sizeof value - 1)
		return reader_bad(r, -ENAMETOOLONG, text, "%s: expected at most %zu bytes", o->name, sizeof value - 1);
	if (memchr(value, 0, value_len))
		return reader_bad(r, CHIME_ESYNTAX, reader_find_nul(text, end), "%s: expected a value without %%00",
				  o->name);
	value[value_len] = 0;
	err = chime_option_set(o, base, value, why, sizeof why);
	if (err < 0)
		return reader_bad(r, err, text, "%s: %s", o->name, why);

	if (own && own->offset == offsetof(struct chime_endpoint_settings, source) &&
	    chime_addr_ip(&source, AF_UNSPEC, value, 0) < 0)
		return reader_bad(r, CHIME_ESYNTAX, text, "source: expected a numeric address, such as 192.0.2.1");

	if (own)
		chime_option_print(own, base, value, sizeof value);
	chime__text_str(&q->out, q->out.len ? "&" : "");
	chime__text_bytes(&q->out, p, name_len);
	chime__text_str(&q->out, "=");
	chime__text_escaped(&q->out, value, strlen(value), "&?#");
	if (chime__text_end(&q->out) >= sizeof r->e->options)
		return reader_bad(r, -ENAMETOOLONG, p, "expected options of at most %zu bytes in all",
				  sizeof r->e->options - 1);
	return 0;
}

int chime__reader_options(struct reader *r, const char *p, const struct chime_option *further, void *base)
{
	struct query q = { .further = further, .base = base };
	const char *end = p + strlen(p);
	chime__text_init(&q.out, r->e->options, sizeof r->e->options);
	for (;;) {
		const char *stop = reader_find(p, end, '&');
		int err = read_option(r, &q, p, stop);
		if (err < 0 || stop == end)
			return err;
		p = stop + 1;
	}
}
