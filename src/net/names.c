/* Names of hosts, forth and back. */
#include "net/lookup.h"
#include "net/resolve.h"
#include "net/sock.h"
#include "net/text.h"

#include <chime/names.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int64_t deadline_of(int64_t timeout_ns)
{
	return timeout_ns < 0 ? CHIME_FOREVER : chime__deadline_after(timeout_ns);
}

static bool bad_limit(int64_t timeout_ns)
{
	return timeout_ns < CHIME_FOREVER || timeout_ns == 0;
}

/* ---- getaddrinfo ---- */

/* The answer as one piece of memory. */
static int pack_list(const struct addrinfo *list, struct chime_addrinfo **out)
{
	const char *canonical = list ? list->ai_canonname : NULL;
	size_t n = 0, name = canonical ? strlen(canonical) + 1 : 0;
	for (const struct addrinfo *ai = list; ai; ai = ai->ai_next)
		n++;
	struct chime_addrinfo *a = calloc(1, sizeof *a + n * sizeof a->at[0] + name);
	if (!a)
		return -ENOMEM;
	struct chime_target *at = (struct chime_target *)(a + 1);
	for (const struct addrinfo *ai = list; ai; ai = ai->ai_next) {
		struct chime_target *t = &at[a->count];
		*t = (struct chime_target){ ai->ai_family, ai->ai_socktype, ai->ai_protocol, chime_addr_none() };
		if (chime_addr_from(&t->addr, ai->ai_addr, ai->ai_addrlen) == 0)
			a->count++;
	}
	a->at = at;
	if (canonical)
		a->canonical = memcpy(at + n, canonical, name);
	*out = a;
	return 0;
}

int chime_getaddrinfo(const char *host, const char *service, int family, int type, int protocol, int flags,
		      int64_t timeout_ns, struct chime_addrinfo **out)
{
	struct addrinfo hints = {
		.ai_family = family, .ai_socktype = type, .ai_protocol = protocol, .ai_flags = flags
	};
	struct addrinfo *list = NULL;
	*out = NULL;
	if (bad_limit(timeout_ns))
		return -EINVAL;
	int err = chime__look_up(host, service, &hints, deadline_of(timeout_ns), &list);
	if (err < 0)
		return err;
	err = pack_list(list, out);
	chime__resolver.release(list);
	return err;
}

void chime_addrinfo_free(struct chime_addrinfo **list)
{
	if (list) {
		free(*list);
		*list = NULL;
	}
}

int chime_gethostbyname(const char *name, int64_t timeout_ns, chime_addr *out)
{
	struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *list = NULL;
	if (bad_limit(timeout_ns))
		return -EINVAL;
	if (strcmp(name, "<broadcast>") == 0)
		name = "255.255.255.255";
	int err = chime_addr_ip(out, AF_INET, name, 0);
	if (err != CHIME_ESYNTAX)
		return err;
	err = chime__look_up(name, NULL, &hints, deadline_of(timeout_ns), &list);
	if (err < 0)
		return err;
	err = chime_addr_from(out, list->ai_addr, list->ai_addrlen);
	chime__resolver.release(list);
	return err;
}

/* ---- getnameinfo ---- */

struct naming {
	struct chime__lookup l;
	chime_addr addr;
	int flags;
	bool wants_host, wants_service;
	char host[NI_MAXHOST], service[NI_MAXSERV];
};

static int naming_run(struct chime__lookup *l)
{
	struct naming *n = (struct naming *)l;
	/* A size of 0 says that this half is not wanted. */
	int eai = getnameinfo(&n->addr.u.sa, n->addr.len, n->host, n->wants_host ? sizeof n->host : 0, n->service,
			      n->wants_service ? sizeof n->service : 0, n->flags);
	return eai == 0 ? 0 : eai == EAI_SYSTEM ? -(errno ? errno : EIO) : CHIME_EAI(eai);
}

static void naming_drop(struct chime__lookup *l)
{
	free(l);
}

int chime_getnameinfo(const chime_addr *a, int flags, int64_t timeout_ns, char *host, size_t host_size, char *service,
		      size_t service_size)
{
	struct naming here, *n = &here;
	bool waits = host_size > 0 && !(flags & NI_NUMERICHOST);
	if (bad_limit(timeout_ns))
		return -EINVAL;
	if (waits && !(n = malloc(sizeof *n)))
		return -ENOMEM;
	memset(n, 0, sizeof *n);
	n->l.run = naming_run;
	n->l.drop = naming_drop;
	n->addr = *a;
	n->flags = flags;
	n->wants_host = host_size > 0;
	n->wants_service = service_size > 0;
	int err = waits ? chime__lookup_do(&n->l, deadline_of(timeout_ns)) : naming_run(&n->l);
	if (err < 0)
		return err;
	if (host_size > 0)
		err = chime__text_copy(host, host_size, n->host);
	if (err == 0 && service_size > 0)
		err = chime__text_copy(service, service_size, n->service);
	if (waits)
		naming_drop(&n->l);
	return err;
}

/* ---- the older calls ---- */

struct hosting {
	struct chime__lookup l;
	bool by_name;
	chime_addr addr;
	struct hostent entry, *found;
	char *buf; /* of entry */
	char name[];
};

static int herror_code(int h, int err)
{
	if (h == NETDB_INTERNAL)
		return err ? -err : -EIO;
	return CHIME_HOST(h >= HOST_NOT_FOUND && h <= NO_DATA ? h : NO_RECOVERY);
}

static int ask_host(struct hosting *h, size_t size, int *h_err)
{
	const chime_addr *a = &h->addr;
	if (h->by_name)
		return gethostbyname_r(h->name, &h->entry, h->buf, size, &h->found, h_err);
	if (chime_addr_family(a) == AF_INET)
		return gethostbyaddr_r(&a->u.in.sin_addr, 4, AF_INET, &h->entry, h->buf, size, &h->found, h_err);
	return gethostbyaddr_r(&a->u.in6.sin6_addr, 16, AF_INET6, &h->entry, h->buf, size, &h->found, h_err);
}

static int hosting_run(struct chime__lookup *l)
{
	struct hosting *h = (struct hosting *)l;
	for (size_t size = 4096;; size *= 2) {
		int h_err = 0;
		char *more = realloc(h->buf, size);
		if (!more)
			return -ENOMEM;
		h->buf = more;
		int err = ask_host(h, size, &h_err);
		if (err == ERANGE && size < 1 << 20)
			continue;
		if (!h->found)
			return herror_code(h_err, err);
		return 0;
	}
}

static void hosting_drop(struct chime__lookup *l)
{
	free(((struct hosting *)l)->buf);
	free(l);
}

static int pack_host(const struct hostent *e, struct chime_host **out)
{
	size_t aliases = 0, count = 0, text = strlen(e->h_name) + 1;
	while (e->h_aliases && e->h_aliases[aliases])
		text += strlen(e->h_aliases[aliases++]) + 1;
	while (e->h_addr_list && e->h_addr_list[count])
		count++;
	struct chime_host *h = calloc(1, sizeof *h + count * sizeof h->addr[0] + aliases * sizeof h->alias[0] + text);
	if (!h)
		return -ENOMEM;
	chime_addr *addr = (chime_addr *)(h + 1);
	const char **alias = (const char **)(addr + count);
	char *at = (char *)(alias + aliases);
	h->name = strcpy(at, e->h_name);
	at += strlen(at) + 1;
	for (size_t i = 0; i < aliases; i++) {
		alias[i] = strcpy(at, e->h_aliases[i]);
		at += strlen(at) + 1;
	}
	for (size_t i = 0; i < count; i++) {
		chime_addr_ip(&addr[i], e->h_addrtype, "", 0);
		if (e->h_addrtype == AF_INET)
			memcpy(&addr[i].u.in.sin_addr, e->h_addr_list[i], 4);
		else
			memcpy(&addr[i].u.in6.sin6_addr, e->h_addr_list[i], 16);
	}
	*h = (struct chime_host){ h->name, aliases, alias, count, addr };
	*out = h;
	return 0;
}

static int find_host(const char *name, const chime_addr *addr, int64_t deadline, struct chime_host **out)
{
	size_t size = name ? strlen(name) + 1 : 0;
	struct hosting *h = calloc(1, sizeof *h + size);
	if (!h)
		return -ENOMEM;
	h->l.run = hosting_run;
	h->l.drop = hosting_drop;
	h->by_name = name;
	if (name)
		memcpy(h->name, name, size);
	else if (addr)
		h->addr = *addr;
	int err = chime__lookup_do(&h->l, deadline);
	if (err < 0)
		return err;
	err = pack_host(&h->entry, out);
	hosting_drop(&h->l);
	return err;
}

int chime_gethostbyname_ex(const char *name, int64_t timeout_ns, struct chime_host **out)
{
	*out = NULL;
	if (bad_limit(timeout_ns))
		return -EINVAL;
	return find_host(name, NULL, deadline_of(timeout_ns), out);
}

int chime_gethostbyaddr(const char *host, int64_t timeout_ns, struct chime_host **out)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
	int64_t deadline = deadline_of(timeout_ns);
	chime_addr a;
	*out = NULL;
	if (bad_limit(timeout_ns))
		return -EINVAL;
	int err = chime_addr_ip(&a, AF_UNSPEC, host, 0);
	if (err == CHIME_ESYNTAX) {
		err = chime__look_up(host, NULL, &hints, deadline, &list);
		if (err < 0)
			return err;
		err = chime_addr_from(&a, list->ai_addr, list->ai_addrlen);
		chime__resolver.release(list);
	}
	return err < 0 ? err : find_host(NULL, &a, deadline, out);
}

void chime_host_free(struct chime_host **host)
{
	if (host) {
		free(*host);
		*host = NULL;
	}
}

/* ---- this machine ---- */

int chime_gethostname(char *buf, size_t size)
{
	char name[1025];
	if (gethostname(name, sizeof name - 1) < 0)
		return -errno;
	name[sizeof name - 1] = 0;
	return chime__text_copy(buf, size, name);
}

int chime_sethostname(const char *name)
{
	return sethostname(name, strlen(name)) < 0 ? -errno : 0;
}

int chime_getfqdn(const char *name, int64_t timeout_ns, char *buf, size_t size)
{
	char own[1025];
	struct chime_host *host;
	if (!name || !*name || !strcmp(name, "0.0.0.0") || !strcmp(name, "::")) {
		int err = chime_gethostname(own, sizeof own);
		if (err < 0)
			return err;
		name = own;
	}
	int err = chime_gethostbyaddr(name, timeout_ns, &host);
	if (err == CHIME_ETIMEOUT || err == -EINTR || err == -EINVAL || err == -ENOMEM)
		return err;
	if (err < 0)
		return chime__text_copy(buf, size, name);
	const char *full = strchr(host->name, '.') ? host->name : NULL;
	for (size_t i = 0; !full && i < host->aliases; i++)
		full = strchr(host->alias[i], '.') ? host->alias[i] : NULL;
	err = chime__text_copy(buf, size, full ? full : host->name);
	chime_host_free(&host);
	return err;
}
