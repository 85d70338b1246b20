/* Reads an endpoint: service, scheme, the place in the scheme's own form, options. The grammar: chime-endpoint(7). */
#include "net/reader.h"
#include "net/scheme.h"
#include "net/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_upper(char c)
{
	return c >= 'A' && c <= 'Z';
}

static bool all_digits(const char *p, const char *end)
{
	while (p < end && is_digit(*p))
		p++;
	return p == end;
}

static int read_number(struct reader *r, const char *p, const char *end, uint32_t max, const char *what, uint32_t *out)
{
	uint64_t n = 0;
	int err = chime__number(p, (size_t)(end - p), max, &n);
	*out = 0;
	if (err < 0)
		return reader_bad(r, err, p, "expected %s from 0 to %u", what, max);
	*out = (uint32_t)n;
	return 0;
}

/* ---- the service ---- */

/* The length of what stands before an '=' before the first ':' and looks like a word; -1 where nothing does. */
static ssize_t service_len(const char *text)
{
	size_t len = 0;
	while (is_lower(text[len]) || is_upper(text[len]) || is_digit(text[len]) || text[len] == '-' ||
	       text[len] == '_' || text[len] == '+')
		len++;
	return text[len] == '=' ? (ssize_t)len : -1;
}

static bool service_valid(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!is_lower(text[i]) && !is_digit(text[i]))
			return false;
	return len > 0 && len < sizeof((chime_endpoint *)0)->service;
}

size_t chime_endpoint_service(const char *text, char *buf, size_t size)
{
	ssize_t len = service_len(text);
	struct text t;
	chime__text_init(&t, buf, size);
	if (len > 0 && service_valid(text, (size_t)len))
		chime__text_bytes(&t, text, (size_t)len);
	return chime__text_end(&t);
}

static int read_service(struct reader *r, const char **p)
{
	ssize_t len = service_len(*p);
	if (len < 0)
		return 0;
	if (len >= (ssize_t)sizeof r->e->service)
		return reader_bad(r, -ENAMETOOLONG, *p, "expected a service's name of at most %zu bytes before the '='",
				  sizeof r->e->service - 1);
	if (!service_valid(*p, (size_t)len))
		return reader_bad(r, CHIME_ESYNTAX, *p,
				  "expected a service's name, lower-case letters and digits, before the '='");
	memcpy(r->e->service, *p, (size_t)len);
	*p += len + 1;
	return 0;
}

/* ---- the scheme ---- */

/* The text has no scheme: show it with the one that it probably means, if that is an endpoint then. */
static int no_scheme(struct reader *r, const char *p)
{
	size_t len = strlen(p), body = strcspn(p, "?");
	bool whole = len > 0 && len < 100;
	const char *example = NULL;

	for (size_t i = 0; i < len && whole; i++)
		whole = p[i] > ' ' && p[i] < 0x7f;
	const char *colon = whole ? memrchr(p, ':', body) : NULL;
	if (!whole)
		example = NULL;
	else if (strchr("/.@", *p))
		example = "unix:%s";
	else if (colon && colon + 1 < p + body && all_digits(colon + 1, p + body))
		example = "tcp://%s";
	else if (!colon && all_digits(p, p + body))
		example = "tcp://:%s";
	else if (len == body && !colon && !strpbrk(p, "/@="))
		example = "tcp://%s:9999";

	char shown[128] = "";
	struct text t;
	if (example) {
		chime_endpoint meant;
		const char *place = strchr(example, '%');
		chime__text_init(&t, shown, sizeof shown);
		chime__text_bytes(&t, example, (size_t)(place - example));
		chime__text_str(&t, p);
		chime__text_str(&t, place + 2);
		chime__text_end(&t);
		if (chime_endpoint_parse(&meant, shown, NULL, NULL, NULL) < 0)
			*shown = 0;
	}
	return reader_bad(r, CHIME_ESYNTAX, p, "expected a scheme, such as %s",
			  *shown ? shown : "tcp://127.0.0.1:9999");
}

static int unknown_scheme(struct reader *r, const char *p, size_t len)
{
	const char *guess = chime__scheme_guess(p, len);
	char names[224];
	struct text t;
	if (guess)
		return reader_bad(r, CHIME_ESYNTAX, p, "unknown scheme \"%s\": perhaps %s", reader_quote(p, len).text,
				  guess);
	chime__text_init(&t, names, sizeof names);
	for (int i = 0; i < CHIME_SCHEMES; i++) {
		chime__text_str(&t, " ");
		chime__text_str(&t, chime_scheme_info((enum chime_scheme)i)->name);
	}
	chime__text_end(&t);
	return reader_bad(r, CHIME_ESYNTAX, p, "expected a scheme:%s", names);
}

static int read_scheme(struct reader *r, const char **p)
{
	const char *name = *p;
	size_t len = 0;
	while (is_lower(name[len]) || is_upper(name[len]) || is_digit(name[len]) || name[len] == '+' ||
	       name[len] == '-' || name[len] == '_')
		len++;
	const char *colon = name + len;
	bool slashes = colon[0] == ':' && colon[1] == '/' && colon[2] == '/';
	bool known = chime__scheme_find(name, len, &r->e->scheme, &r->e->family);
	if (*colon != ':' && known)
		return reader_bad(r, CHIME_ESYNTAX, colon, "expected \":\" after \"%s\", as in tcp://127.0.0.1:9999",
				  reader_quote(name, len).text);
	if (*colon != ':')
		return no_scheme(r, name);
	if (!known) {
		bool place = is_digit(colon[1]) || colon[1] == '*';
		if (len && (slashes || (!place && chime__scheme_guess(name, len))))
			return unknown_scheme(r, name, len);
		return no_scheme(r, name);
	}
	r->info = chime_scheme_info(r->e->scheme);
	if (r->info->family == AF_UNIX) {
		*p = colon + 1;
		return 0;
	}
	if (!slashes)
		return reader_bad(r, CHIME_ESYNTAX, colon + 1, "expected \"//\" after \"%s:\"",
				  reader_quote(name, len).text);
	*p = colon + 3;
	return 0;
}

/* ---- HOST:PORT ---- */

/* Every label is a decimal or 0x number: what inet_aton(3) would take for an address. */
static bool looks_numeric(const char *p, const char *end)
{
	bool any = false;
	while (p < end) {
		const char *dot = reader_find(p, end, '.');
		size_t len = (size_t)(dot - p);
		bool hex = len >= 2 && p[0] == '0' && (p[1] == 'x' || p[1] == 'X');
		size_t digits = strspn(hex ? p + 2 : p, hex ? "0123456789abcdefABCDEF" : "0123456789");
		if (len && (!digits || digits + (hex ? 2 : 0) < len))
			return false;
		any = any || len;
		p = dot < end ? dot + 1 : end;
	}
	return any;
}

/* An address of that family in its numeric form, without a scope. */
static bool is_numeric(int family, const char *p, const char *end)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr any; /* room for either */
	size_t len = (size_t)(end - p);
	if (len >= sizeof text)
		return false;
	memcpy(text, p, len);
	text[len] = 0;
	return inet_pton(family, text, &any) == 1;
}

static int check_name(struct reader *r, const char *p, const char *end)
{
	const char *label = p;
	for (const char *q = p; q < end; q++) {
		bool good = is_lower(*q) || is_upper(*q) || is_digit(*q) || *q == '-' || *q == '_' || *q == '.' ||
			    *q & 0x80;
		if (*q == '%')
			return reader_bad(r, CHIME_ESYNTAX, q,
					  "expected a host without '%%': only [IPv6%%SCOPE] has one");
		if (!good)
			return reader_bad(r, CHIME_ESYNTAX, q, "expected letters, digits, '-', '_' and '.' in a host");
	}
	if (end - p - (end[-1] == '.') > 253)
		return reader_bad(r, -ENAMETOOLONG, p, "expected a host of at most 253 bytes");
	if (looks_numeric(p, end)) {
		if (!is_numeric(AF_INET, p, end))
			return reader_bad(r, CHIME_ESYNTAX, p,
					  "expected an IPv4 address of four numbers from 0 to 255, such as 192.0.2.1");
		if (r->e->family == AF_INET6)
			return reader_bad(r, CHIME_ESYNTAX, p,
					  "expected an IPv6 address or a name: %s6 takes no IPv4 address",
					  r->info->name);
		return 0;
	}
	while (label < end) {
		const char *dot = reader_find(label, end, '.');
		if (dot == label)
			return reader_bad(r, CHIME_ESYNTAX, label,
					  "expected a letter or digit: a part of the host is empty");
		if (dot - label > 63)
			return reader_bad(r, -ENAMETOOLONG, label, "expected parts of at most 63 bytes in a host");
		label = dot < end ? dot + 1 : end;
	}
	return 0;
}

/* [p, end) is what stood between brackets. */
static int check_ipv6(struct reader *r, const char *p, const char *end)
{
	const char *scope = reader_find(p, end, '%');

	if (!is_numeric(AF_INET6, p, scope))
		return reader_bad(r, CHIME_ESYNTAX, p, "expected an IPv6 address in the brackets, such as [::1]");
	if (scope < end) {
		scope++;
		if (scope == end)
			return reader_bad(r, CHIME_ESYNTAX, scope, "expected an interface's name or number after '%%'");
		for (const char *q = scope; q < end; q++)
			if (*q <= ' ' || *q >= 0x7f || strchr("/%:[", *q))
				return reader_bad(r, CHIME_ESYNTAX, q,
						  "expected an interface's name or number after '%%'");
		uint64_t n;
		if (all_digits(scope, end) && chime__number(scope, (size_t)(end - scope), UINT32_MAX, &n) < 0)
			return reader_bad(r, -ERANGE, scope, "expected an interface's number from 0 to %u", UINT32_MAX);
		if (!all_digits(scope, end) && end - scope >= IFNAMSIZ)
			return reader_bad(r, -ENAMETOOLONG, scope, "expected an interface's name of at most %d bytes",
					  IFNAMSIZ - 1);
	}
	if (r->e->family == AF_INET)
		return reader_bad(r, CHIME_ESYNTAX, p, "expected an IPv4 address or a name: %s4 takes no IPv6 address",
				  r->info->name);
	return 0;
}

/* Whether an empty host does not mean the same as '*': a datagram service answers on loopback unless told otherwise. */
static bool star_stays(enum chime_scheme scheme)
{
	return scheme == CHIME_UDP || scheme == CHIME_UDPLITE || scheme == CHIME_STAMP || scheme == CHIME_RDS ||
	       scheme == CHIME_ICMP || scheme == CHIME_IP;
}

/* Reads the host of [*p, end), and moves *p behind it. */
static int read_host(struct reader *r, const char **p, const char *end)
{
	const char *host = *p, *host_end;
	int err;

	if (host < end && *host == '[') {
		host_end = reader_find(host, end, ']');
		if (host_end == end)
			return reader_bad(r, CHIME_ESYNTAX, end, "expected a ']' after the IPv6 address");
		host++;
		*p = host_end + 1;
		err = check_ipv6(r, host, host_end);
	} else {
		const char *colon = reader_find(host, end, ':'), *slash = reader_find(host, end, '/');
		host_end = colon < slash ? colon : slash;
		*p = host_end;
		if (reader_find(colon + (colon < end), slash, ':') < slash)
			return reader_bad(r, CHIME_ESYNTAX, host,
					  "expected an IPv6 address in brackets, as in [::1]:80");
		if (host == host_end)
			return 0;
		if (host_end - host == 1 && *host == '*') {
			strcpy(r->e->host, star_stays(r->e->scheme) ? "*" : "");
			return 0;
		}
		err = check_name(r, host, host_end);
	}
	if (err == 0)
		memcpy(r->e->host, host, (size_t)(host_end - host));
	return err;
}

static int read_ip(struct reader *r, const char *p, const char *end)
{
	enum chime_scheme scheme = r->e->scheme;
	const char *what = scheme == CHIME_IP ? "'/' and a protocol's number" : "':' and a port";
	char mark = scheme == CHIME_IP ? '/' : ':';
	uint32_t max = scheme == CHIME_IP ? 255 : 65535, number;
	int err = read_host(r, &p, end);

	if (err < 0)
		return err;
	if (p == end && scheme == CHIME_ICMP)
		return 0;
	if (scheme == CHIME_ICMP)
		return reader_bad(r, CHIME_ESYNTAX, p, "expected the end or '?' after the host: icmp has no ports");
	if (p == end && scheme == CHIME_STAMP) {
		r->e->port = 862;
		return 0;
	}
	if (p == end || *p != mark)
		return reader_bad(r, CHIME_ESYNTAX, p, "expected %s from 0 to %u", what, max);
	p++;
	const char *after = p;
	while (after < end && is_digit(*after))
		after++;
	if (after > p && after < end && *after == '/')
		return reader_bad(r, CHIME_ESYNTAX, after, "expected the end or '?', not '/', after the %s",
				  scheme == CHIME_IP ? "protocol" : "port");
	err = read_number(r, p, end, max, scheme == CHIME_IP ? "a protocol's number" : "a port", &number);
	if (err == 0)
		r->e->port = (int)number;
	return err;
}

/* ---- the other places ---- */

/* vsock CID:PORT, each perhaps '*'; tipc TYPE:INSTANCE. */
static int read_pair(struct reader *r, const char *p, const char *end)
{
	static const char *const words[2][2] = { { "a CID", "a port" }, { "a type", "an instance" } };
	bool vsock = r->info->family == AF_VSOCK;
	for (int i = 0; i < 2; i++) {
		const char *stop = i == 0 ? reader_find(p, end, ':') : end;
		if (i == 0 && stop == end)
			return reader_bad(r, CHIME_ESYNTAX, end, "expected %s", vsock ? "CID:PORT" : "TYPE:INSTANCE");
		if (vsock && stop - p == 1 && *p == '*') {
			r->e->number[i] = UINT32_MAX;
		} else {
			int err = read_number(r, p, stop, UINT32_MAX, words[!vsock][i], &r->e->number[i]);
			if (err < 0)
				return err;
		}
		p = stop + 1;
	}
	return 0;
}

static int read_path(struct reader *r, const char *p, const char *end)
{
	unsigned char *path = r->e->path;
	size_t len, room = sizeof r->e->path - 1;
	bool abstract = p < end && *p == '@';
	const char *start = p + abstract;

	if (start == end)
		return reader_bad(r, CHIME_ESYNTAX, end, "expected a path, or '@' and an abstract name, after \"%s:\"",
				  r->info->name);
	if (chime__percent_decode(start, (size_t)(end - start), path + abstract, room, &len) < 0)
		return reader_bad(r, CHIME_ESYNTAX, start + len, "expected two hexadecimal digits after '%%'");
	if (len > room)
		return reader_bad(r, -ENAMETOOLONG, start, "expected %s of at most %zu bytes, not %zu",
				  abstract ? "an abstract name" : "a path", room, len);
	if (!abstract && memchr(path, 0, len))
		return reader_bad(r, CHIME_ESYNTAX, reader_find_nul(start, end), "expected a path without %%00");
	r->e->path_len = len + abstract;
	return 0;
}

static int read_fd(struct reader *r, const char *p, const char *end)
{
	char *name = r->e->fd_name;
	size_t len, room = sizeof r->e->fd_name - 1;
	uint32_t number;

	if (p == end)
		return reader_bad(r, CHIME_ESYNTAX, end, "expected a descriptor's number or name");
	if (reader_find(p, end, '/') < end)
		return reader_bad(r, CHIME_ESYNTAX, reader_find(p, end, '/'),
				  "expected the end or '?', not '/', after the descriptor");
	if (chime__percent_decode(p, (size_t)(end - p), (unsigned char *)name, room, &len) < 0)
		return reader_bad(r, CHIME_ESYNTAX, p + len, "expected two hexadecimal digits after '%%'");
	if (len > room)
		return reader_bad(r, -ENAMETOOLONG, p, "expected a descriptor's name of at most %zu bytes", room);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)name[i] < ' ' || name[i] == 0x7f || name[i] == ':')
			return reader_bad(r, CHIME_ESYNTAX, p,
					  "expected a descriptor's name without ':' and control bytes");
	bool sign = *name == '-' || *name == '+';
	if (!all_digits(name + sign, name + len) || len == (size_t)sign)
		return 0;
	int err = read_number(r, p, end, INT32_MAX, "a descriptor's number", &number);
	if (err < 0)
		return err;
	memset(name, 0, sizeof r->e->fd_name);
	r->e->fd = (int)number;
	return 0;
}

int chime_endpoint_parse(chime_endpoint *out, const char *text, const struct chime_option *further, void *base,
			 struct chime_endpoint_error *error)
{
	struct reader r = { .text = text, .e = out, .error = error };
	const char *p = text, *end;
	int err;

	memset(out, 0, sizeof *out);
	out->port = -1;
	out->fd = -1;
	out->set.mode = out->set.backlog = out->set.rcvbuf = out->set.sndbuf = out->set.udp_port = -1;
	out->set.coverage = out->set.min_coverage = -1;
	out->set.ttl = out->set.loop = out->set.rto_ns = -1;

	err = read_service(&r, &p);
	if (err == 0)
		err = read_scheme(&r, &p);
	if (err < 0)
		return err;
	end = p + strcspn(p, "?");
	if (r.info->family == AF_UNIX)
		err = read_path(&r, p, end);
	else if (r.info->ip)
		err = read_ip(&r, p, end);
	else if (out->scheme == CHIME_FD)
		err = read_fd(&r, p, end);
	else
		err = read_pair(&r, p, end);
	if (err == 0 && *end == '?')
		err = chime__reader_options(&r, end + 1, further, base);
	return err;
}
