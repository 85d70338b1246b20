/* Names to addresses. */
#include "net/resolve.h"
#include "net/lookup.h"
#include "net/sock.h"

#include <chime/names.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct chime__resolver chime__resolver = { getaddrinfo, freeaddrinfo };

/* What getaddrinfo(3) is asked, and says. */
struct asking {
	struct chime__lookup l;
	struct addrinfo *list;
	struct addrinfo hints;
	const char *host, *service; /* within .text, or NULL */
	char text[];
};

static int asking_run(struct chime__lookup *l)
{
	struct asking *a = (struct asking *)l;
	int eai = chime__resolver.ask(a->host, a->service, &a->hints, &a->list);
	if (eai == 0)
		return 0;
	a->list = NULL;
	return eai == EAI_SYSTEM ? -(errno ? errno : EIO) : CHIME_EAI(eai);
}

static void asking_drop(struct chime__lookup *l)
{
	struct asking *a = (struct asking *)l;
	if (a->list)
		chime__resolver.release(a->list);
	free(a);
}

int chime__look_up(const char *host, const char *service, const struct addrinfo *hints, int64_t deadline,
		   struct addrinfo **list)
{
	size_t host_size = host ? strlen(host) + 1 : 0, service_size = service ? strlen(service) + 1 : 0;
	struct asking *a = calloc(1, sizeof(*a) + host_size + service_size);
	if (!a)
		return -ENOMEM;
	a->l.run = asking_run;
	a->l.drop = asking_drop;
	a->hints = *hints;
	if (host)
		a->host = memcpy(a->text, host, host_size);
	if (service)
		a->service = memcpy(a->text + host_size, service, service_size);
	int err;
	if (host && !(hints->ai_flags & AI_NUMERICHOST)) {
		err = chime__lookup_do(&a->l, deadline);
		if (err < 0)
			return err;
	} else {
		err = asking_run(&a->l); /* no server is asked */
	}
	*list = a->list;
	a->list = NULL;
	asking_drop(&a->l);
	return err;
}

/* ---- targets ---- */

struct targets {
	struct chime_target *out;
	int n, max, type, protocol;
	int socket_family; /* AF_UNSPEC: each address's own */
};

static void add(struct targets *t, const chime_addr *a)
{
	for (int i = 0; i < t->n; i++)
		if (chime_addr_equal(&t->out[i].addr, a))
			return;
	if (t->n < t->max)
		t->out[t->n++] = (struct chime_target){ t->socket_family ? t->socket_family : chime_addr_family(a),
							t->type, t->protocol, *a };
}

/* The any or the loopback addresses: of one family, or of both, six before four or the other way round. */
static int add_plain(struct targets *t, int family, int port, bool any, bool four_first)
{
	int families[2] = { AF_INET6, AF_INET };
	if (four_first)
		families[0] = AF_INET, families[1] = AF_INET6;
	for (int i = 0; i < 2; i++) {
		bool six = families[i] == AF_INET6;
		chime_addr a;
		if (family != AF_UNSPEC && family != families[i])
			continue;
		int err = chime_addr_ip(&a, families[i], any ? "" : six ? "::1" : "127.0.0.1", port);
		if (err < 0)
			return err;
		add(t, &a);
	}
	return t->n;
}

static int resolve_into(struct targets *t, const char *host, int port, int family, int64_t timeout_ns)
{
	/* One answer for each address: socket types and ports are put in by us, for protocols that netdb never heard of. */
	struct addrinfo *list = NULL, hints = { .ai_family = family, .ai_socktype = SOCK_STREAM };
	chime_addr a;
	int64_t deadline = timeout_ns < 0 ? CHIME_FOREVER : chime__deadline_after(timeout_ns);
	int err = chime_addr_ip(&a, family, host, port);
	if (err == 0)
		add(t, &a);
	if (err != CHIME_ESYNTAX)
		return err < 0 ? err : t->n;
	if (family != AF_UNSPEC && chime_addr_ip(&a, AF_UNSPEC, host, port) == 0)
		return CHIME_EAI(EAI_ADDRFAMILY);
	err = chime__look_up(host, NULL, &hints, deadline, &list);
	if (err < 0)
		return err;
	for (const struct addrinfo *ai = list; ai; ai = ai->ai_next)
		if (chime_addr_from(&a, ai->ai_addr, ai->ai_addrlen) == 0 && chime_addr_set_port(&a, port) == 0)
			add(t, &a);
	chime__resolver.release(list);
	return t->n > 0 ? t->n : CHIME_EAI(EAI_NONAME);
}

int chime_resolve(const char *host, int port, int family, int type, int protocol, bool passive, int64_t timeout_ns,
		  struct chime_target *out, int max)
{
	struct targets t = { out, 0, max, type, protocol, AF_UNSPEC };
	if (port < 0 || port > 65535)
		return -ERANGE;
	if (family != AF_UNSPEC && family != AF_INET && family != AF_INET6)
		return -EAFNOSUPPORT;
	if (max < 1 || timeout_ns < CHIME_FOREVER)
		return -EINVAL;
	if (!host || !*host)
		return add_plain(&t, family, port, passive, false);
	return resolve_into(&t, host, port, family, timeout_ns);
}

/* Where the text cannot say it: the protocol of a raw socket, and the interface of an address that needs one. */
static int finish_targets(const chime_endpoint *e, struct chime_target *t, int n)
{
	for (int i = 0; i < n; i++) {
		struct sockaddr_in6 *in6 = &t[i].addr.u.in6;
		if (e->scheme == CHIME_ICMP && t[i].family == AF_INET6)
			t[i].protocol = IPPROTO_ICMPV6;
		if (e->scheme == CHIME_IP)
			t[i].protocol = e->port;
		if (!e->set.interface[0] || chime_addr_family(&t[i].addr) != AF_INET6 || in6->sin6_scope_id)
			continue;
		if (!IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr) && !IN6_IS_ADDR_MULTICAST(&in6->sin6_addr))
			continue;
		int index = chime_if_nametoindex(e->set.interface);
		if (index < 0)
			return index;
		in6->sin6_scope_id = (uint32_t)index;
	}
	return n;
}

static int resolve_ip(const chime_endpoint *e, struct targets *t, bool passive, int64_t timeout_ns)
{
	bool star = strcmp(e->host, "*") == 0, raw = t->type == SOCK_RAW;
	int port = raw ? 0 : e->port;
	/* 0 is no protocol, and a socket of 255 only sends, headers and all: raw(7). */
	if (e->scheme == CHIME_IP && (e->port == 0 || e->port == IPPROTO_RAW))
		return -EPROTONOSUPPORT;
	if (e->host[0] && !star)
		return resolve_into(t, e->host, port, e->family, timeout_ns);
	/* A service that answers without a connection is never on every address unless '*' says so; RDS never is. */
	bool answers = ((t->type == SOCK_DGRAM || raw) && !star) || t->socket_family == AF_RDS;
	return add_plain(t, e->family, port, passive && !answers, passive && answers);
}

int chime_endpoint_resolve(const chime_endpoint *e, bool passive, int64_t timeout_ns, struct chime_target *out, int max)
{
	const struct chime_scheme_info *info = chime_scheme_info(e->scheme);
	struct targets t = { out, 0, max, info->type, info->protocol, info->family };
	chime_addr a;
	int err;
	if (!info->opens || e->scheme == CHIME_FD)
		return CHIME_ESCHEME;
	if (max < 1 || timeout_ns < CHIME_FOREVER)
		return -EINVAL;
	if (info->ip) {
		err = resolve_ip(e, &t, passive, timeout_ns);
		return err < 0 ? err : finish_targets(e, out, err);
	}
	switch (info->family) {
	case AF_UNIX:
		err = chime_addr_unix(&a, e->path, e->path_len);
		break;
	case AF_VSOCK:
		err = chime_addr_vsock(&a, e->number[0], e->number[1]);
		break;
	case AF_TIPC:
		err = chime_addr_tipc(&a, e->number[0], e->number[1]);
		break;
	default:
		return CHIME_ESCHEME;
	}
	if (err < 0)
		return err;
	add(&t, &a);
	return t.n;
}
