/* Opens the sockets of an endpoint: each of its addresses, once for every worker, or nothing at all. */
#include "server/listen.h"

#include "net/group.h"
#include "net/prepare.h"
#include "server/holder.h"

#include <chime/clock.h>
#include <chime/connect.h>
#include <chime/error.h>
#include <chime/kind.h>
#include <chime/service.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RESOLVE_NS (30 * CHIME_SEC) /* a name that nobody knows by then is an error */
#define PORT_TRIES 64               /* ports that the kernel chose and another address of ours could not have */
/* What clients have not read yet stands in the sender's buffer: room for many; the kernel cuts it to wmem_max. */
#define UNIX_SNDBUF (4 << 20)

#ifndef IPV6_MULTICAST_ALL
#define IPV6_MULTICAST_ALL 29 /* glibc has it from 2.29 on in linux/in6.h only */
#endif

struct opening {
	struct listen_set *set;
	const chime_endpoint *e;
	unsigned workers;
	bool dual; /* the one target is IPv6's any address and takes IPv4 too */
	char *why;
	size_t why_size;
};

static int say(const struct opening *o, int err, const char *fmt, ...) CHIME_PRINTF(3, 4);
static int say(const struct opening *o, int err, const char *fmt, ...)
{
	va_list ap;
	if (o->why_size) {
		va_start(ap, fmt);
		vsnprintf(o->why, o->why_size, fmt, ap);
		va_end(ap);
	}
	return err;
}

static bool is_ip(const struct chime_target *t)
{
	return t->family == AF_INET || t->family == AF_INET6;
}

/* What comes to t comes from one to many: the endpoint names a group, or says that it is about broadcast. */
static bool is_many(const struct opening *o, const struct chime_target *t)
{
	return is_ip(t) && t->type == SOCK_DGRAM &&
	       (chime_addr_is_multicast(&t->addr) || chime_addr_is_broadcast(&t->addr) || o->e->set.broadcast);
}

/*
 * Whether the kernel shares out a port among the sockets of one owner (SO_REUSEPORT), so that each worker has its own. What is
 * sent to many it gives to each of them, and raw sockets get all of their protocol: several would answer several times.
 */
static bool has_siblings(const struct opening *o, const struct chime_target *t)
{
	return is_ip(t) && !is_many(o, t) &&
	       (t->protocol == IPPROTO_TCP || t->protocol == IPPROTO_MPTCP || t->type == SOCK_DGRAM);
}

/* ---- words ---- */

static int unprivileged_start(void)
{
	int start = 1024;
	FILE *f = fopen("/proc/sys/net/ipv4/ip_unprivileged_port_start", "re");
	if (f && fscanf(f, "%d", &start) != 1)
		start = 1024;
	if (f)
		fclose(f);
	return start;
}

/* "bind [::]:80: permission denied, needs CAP_NET_BIND_SERVICE or root" */
static int say_failed(const struct opening *o, const char *op, const struct chime_target *t, int err)
{
	char at[CHIME_ADDR_TEXT], held[256];
	const struct chime_kind *kind;
	struct holder h;
	int port = chime_addr_port(&t->addr);
	chime_addr_print(&t->addr, at, sizeof at);
	switch (err) {
	case -EADDRINUSE:
		if (t->family != AF_UNIX && !has_siblings(o, t) &&
		    !is_many(o, t)) /* no table of the kernel's names them in a form that we read */
			return say(o, err, "%s %s: address in use", op, at);
		if (t->family == AF_UNIX)
			chime__holder_of_unix(&h, &t->addr);
		else
			chime__holder_of_ip(&h, t->type, t->protocol, &t->addr);
		chime__holder_print(&h, held, sizeof held);
		return say(o, err, "%s %s: address in use, %s", op, at, held);
	case -EACCES:
	case -EPERM:
		if (t->family == AF_TIPC)
			return say(o, err, "%s %s: types of TIPC below 64 are its own", op, at);
		if (port > 0 && port < unprivileged_start())
			return say(o, err, "%s %s: permission denied, needs CAP_NET_BIND_SERVICE or root", op, at);
		if (t->type == SOCK_RAW)
			return say(o, err, "%s %s: permission denied, raw sockets need CAP_NET_RAW or root", op, at);
		return say(o, err, "%s %s: %s", op, at, chime_strerror(err));
	case -ENODEV:
		if (o->e->set.interface[0])
			return say(o, err, "%s %s: no interface \"%s\", or the group is not to be had there", op, at,
				   o->e->set.interface);
		return say(o, err, "%s %s: no route says by which interface: name one, as in ?if=eth0", op, at);
	case -EADDRNOTAVAIL:
		if (t->family == AF_VSOCK)
			return say(o, err,
				   "%s %s: this machine has not that CID; for 1 it takes modprobe vsock_loopback", op,
				   at);
		if (t->family == AF_RDS)
			return say(o, err,
				   "%s %s: no interface of this machine has that address, or RDS has no transport "
				   "(modprobe rds_tcp)",
				   op, at);
		return say(o, err, "%s %s: no interface of this machine has that address", op, at);
	case -EINVAL:
		if (t->family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&t->addr.u.in6.sin6_addr) &&
		    !t->addr.u.in6.sin6_scope_id)
			return say(o, err, "%s %s: a link-local address needs its interface, as in [fe80::1%%eth0]", op,
				   at);
		return say(o, err, "%s %s: %s", op, at, chime_strerror(err));
	case -EAFNOSUPPORT:
	case -EPROTONOSUPPORT:
	case -ESOCKTNOSUPPORT:
	case -ENOPROTOOPT:
		kind = chime_kind_find(t->family, t->type, t->protocol);
		if (!kind || chime_kind_try(kind, held, sizeof held) == 0)
			held[0] = 0;
		return say(o, err, "%s %s: this kernel has no %s sockets%s", op, at,
			   chime_scheme_info(o->e->scheme)->name, strchr(held, ';') ? strchr(held, ';') : "");
	default:
		return say(o, err, "%s %s: %s", op, at, chime_strerror(err));
	}
}

/* ---- one socket ---- */

static void set_int(int fd, int level, int name, int64_t value)
{
	int v = (int)value;
	(void)setsockopt(fd, level, name, &v, sizeof v); /* each is a preference: without it the socket still serves */
}

static void set_options(const struct opening *o, int fd, const struct chime_target *t)
{
	const struct chime_endpoint_settings *set = &o->e->set;
	bool any = chime_addr_is_any(&t->addr) || is_many(o, t);
	int64_t sndbuf = set->sndbuf;
	chime__prepare_kind(fd, t->family, t->type, t->protocol);
	(void)chime__prepare_coverage(fd, t->protocol, set);
	if (t->type == SOCK_STREAM)
		set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (t->type == SOCK_STREAM) /* what is sent as urgent is answered in its place too; else that byte is lost */
		set_int(fd, SOL_SOCKET, SO_OOBINLINE, 1);
	if (t->protocol == IPPROTO_TCP || t->protocol == IPPROTO_MPTCP) {
		set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
		set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	}
	bool messages = t->type == SOCK_DGRAM || t->type == SOCK_RAW;
	if (messages && t->family == AF_INET) {
		set_int(fd, IPPROTO_IP, IP_MULTICAST_ALL,
			0); /* one request to a group must not draw every server's answer */
		if (any)
			set_int(fd, IPPROTO_IP, IP_PKTINFO, 1);
	}
	if (messages && t->family == AF_INET6) {
		set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0);
		set_int(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0);
		if (any)
			set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	}
	if (t->family == AF_UNIX && t->type == SOCK_DGRAM && sndbuf < 0)
		sndbuf = UNIX_SNDBUF;
	if (set->rcvbuf >= 0)
		set_int(fd, SOL_SOCKET, SO_RCVBUF, set->rcvbuf);
	if (sndbuf >= 0)
		set_int(fd, SOL_SOCKET, SO_SNDBUF, sndbuf);
}

/* What the endpoint says of interface, hops and groups: unlike buffers, no mere preference. */
static int set_group(const struct opening *o, int fd, const struct chime_target *t)
{
	const char *what;
	if (!is_ip(t) || t->type == SOCK_STREAM)
		return 0;
	if (o->e->set.source[0] && !chime_addr_is_multicast(&t->addr)) { /* a name's: it would let in everybody */
		char at[CHIME_ADDR_TEXT];
		chime_addr_print(&t->addr, at, sizeof at);
		return say(o, -EINVAL, "source=%s: %s is no multicast group", o->e->set.source, at);
	}
	int err = chime__group_settings(fd, &t->addr, &o->e->set, &what);
	if (err == -EPERM)
		return say(o, err, "%s=%s: permission denied, needs CAP_NET_RAW or root", what, o->e->set.interface);
	return err < 0 ? say_failed(o, what, t, err) : 0;
}

static int make_socket(const struct opening *o, const struct chime_target *t)
{
	int only = !o->dual;
	int fd = socket(t->family, t->type | SOCK_NONBLOCK | SOCK_CLOEXEC, t->protocol);
	if (fd < 0)
		return say_failed(o, "socket", t, -errno);
	if (t->family == AF_INET6 && t->type != SOCK_RAW &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) < 0) {
		int err = -errno;
		close(fd);
		return say_failed(o, "setsockopt", t, err);
	}
	set_options(o, fd, t);
	if (o->e->scheme == CHIME_ICMP)
		(void)chime__prepare_icmp(fd, t->family, true); /* else we see to it ourselves */
	int err = set_group(o, fd, t);
	if (err < 0) {
		close(fd);
		return err;
	}
	return fd;
}

static int keep_path(const struct opening *o, const char *path)
{
	char *here = NULL;
	/* Whoever changes directory meanwhile still finds it. */
	if (path[0] != '/' && (here = getcwd(NULL, 0))) {
		if (asprintf(&o->set->path, "%s/%s", here, path) < 0)
			o->set->path = NULL;
	} else {
		o->set->path = strdup(path);
	}
	free(here);
	if (o->set->path)
		return 0;
	chime__path_remove(&o->set->claim, path);
	return say(o, -ENOMEM, "%s", chime_strerror(-ENOMEM));
}

static int bind_to(const struct opening *o, int fd, const struct chime_target *t)
{
	int64_t until_ns = 0;
	while (bind(fd, &t->addr.u.sa, t->addr.len) < 0) {
		int err = -errno;
		struct holder h;
		if (err != -EADDRINUSE || !has_siblings(o, t))
			return err;
		chime__holder_of_ip(&h, t->type, t->protocol, &t->addr);
		if (!chime__holder_goes(&h, &until_ns))
			return err;
	}
	return 0;
}

/* first: of its address. It is bound alone, so that another server's port is not shared by accident. */
static int open_socket(const struct opening *o, const struct chime_target *t, bool first)
{
	bool ip = is_ip(t);
	const char *op = "bind";
	int one = 1, err = 0, fd = make_socket(o, t);
	if (fd < 0)
		return fd;
	if (ip && (!first || o->e->set.reuseport) && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) < 0) {
		op = "setsockopt";
		err = -errno;
	}
	if (err == 0 && t->family == AF_UNIX && t->addr.u.un.sun_path[0] && t->addr.len > sizeof(sa_family_t)) {
		char path[sizeof t->addr.u.un.sun_path + 1];
		size_t len = t->addr.len - offsetof(struct sockaddr_un, sun_path);
		memcpy(path, t->addr.u.un.sun_path, len);
		path[len] = 0;
		err = chime__path_bind(&o->set->claim, fd, &t->addr, o->e->set.mode, o->why, o->why_size);
		if (err == 0)
			err = keep_path(o, path);
		if (err < 0) {
			close(fd);
			return err;
		}
	} else if (err == 0) {
		err = bind_to(o, fd, t);
	}
	/* From here on for siblings, which the kernel asks for when they are bound, and when it listens. */
	if (err == 0 && has_siblings(o, t) && first && o->workers > 1 &&
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) < 0) {
		op = "setsockopt";
		err = -errno;
	}
	if (err == 0 && is_ip(t) && t->type == SOCK_DGRAM && chime_addr_is_multicast(&t->addr)) {
		op = "join";
		err = chime__group_serve(fd, &t->addr, &o->e->set);
	}
	if (err == 0 && chime_scheme_info(o->e->scheme)->connected) {
		op = "listen";
		if (listen(fd, o->e->set.backlog >= 0 ? (int)o->e->set.backlog : SOMAXCONN) < 0)
			err = -errno;
	}
	if (err < 0) {
		close(fd);
		return say_failed(o, op, t, err);
	}
	return fd;
}

/* ---- one address ---- */

/* Opens t for all workers as the set's next one. The port that the kernel chose goes into *port. */
static int open_target(struct opening *o, struct chime_target t, int *port)
{
	struct listen_sock *s = &o->set->socks[o->set->n];
	bool siblings = has_siblings(o, &t), ports = chime_addr_port(&t.addr) >= 0 && t.type != SOCK_RAW;
	*s = (struct listen_sock){ .family = t.family,
				   .type = t.type,
				   .protocol = t.protocol,
				   .connected = chime_scheme_info(o->e->scheme)->connected,
				   .many = is_many(o, &t),
				   .shared = !siblings };
	s->fds = malloc(o->workers * sizeof *s->fds);
	if (!s->fds)
		return say(o, -ENOMEM, "%s", chime_strerror(-ENOMEM));
	memset(s->fds, -1, o->workers * sizeof *s->fds);
	o->set->n++;
	if (ports && chime_addr_port(&t.addr) == 0)
		chime_addr_set_port(&t.addr, *port);
	s->addr = t.addr;
	for (unsigned i = 0; i < o->workers; i++) {
		int fd = 0;
		if (i == 0 || siblings)
			fd = open_socket(o, &t, i == 0);
		else if (!s->connected)
			break; /* the first worker's alone */
		else if ((fd = fcntl(s->fds[0], F_DUPFD_CLOEXEC, 0)) < 0)
			fd = say_failed(o, "dup", &t, -errno);
		if (fd < 0)
			return fd;
		s->fds[i] = fd;
		if (i > 0 || t.family == AF_TIPC) /* which would say what the socket is called, not what it serves */
			continue;
		s->addr.len = sizeof s->addr.u;
		if (getsockname(fd, &s->addr.u.sa, &s->addr.len) < 0)
			return say_failed(o, "getsockname", &t, -errno);
		if (t.type == SOCK_RAW)
			chime_addr_set_port(&s->addr, 0); /* the kernel puts the protocol there */
		if (ports) {
			*port = chime_addr_port(&s->addr);
			chime_addr_set_port(&t.addr, *port); /* what the siblings bind */
		}
	}
	return 0;
}

static void forget_target(struct listen_set *set)
{
	struct listen_sock *s = &set->socks[--set->n];
	for (unsigned i = 0; i < set->workers; i++)
		if (s->fds[i] >= 0)
			close(s->fds[i]);
	free(s->fds);
}

/* ---- all of them ---- */

/* The port that the kernel chose becomes the endpoint's. */
static void take_vsock_port(const struct listen_set *set, chime_endpoint *e)
{
	struct sockaddr_vm vm;
	if (set->n == 0 || set->socks[0].family != AF_VSOCK)
		return;
	memcpy(&vm, &set->socks[0].addr.u, sizeof vm);
	e->number[1] = vm.svm_port;
}

/* Without ports one socket cannot take both families, and broadcast is IPv4's alone. */
static int split_targets(chime_endpoint *e, bool loopback, struct chime_target *out)
{
	chime_endpoint any = *e;
	any.host[0] = 0;
	if (!loopback)
		strcpy(any.host, "*");
	if (e->set.broadcast)
		any.family = AF_INET;
	return chime_endpoint_resolve(&any, true, 0, out, CHIME_TARGETS);
}

static int any_targets(const chime_endpoint *e, const struct chime_scheme_info *info, bool loopback,
		       struct chime_target *out)
{
	int n = 0;
	for (unsigned i = 0; i < 2; i++) {
		int family = i == 0 ? AF_INET6 : AF_INET;
		const char *host = !loopback ? "" : family == AF_INET6 ? "::1" : "127.0.0.1";
		if (e->family != AF_UNSPEC && e->family != family)
			continue;
		out[n] = (struct chime_target){ info->family ? info->family : family, info->type, info->protocol,
						chime_addr_none() };
		int err = chime_addr_ip(&out[n].addr, family, host, e->port);
		if (err < 0)
			return err;
		n++;
	}
	return n;
}

/* Whether an address may be left out because this machine has none of its kind. */
static bool not_here(const struct chime_target *t, int err)
{
	return err == -EAFNOSUPPORT || (err == -EADDRNOTAVAIL && chime_addr_is_loopback(&t->addr));
}

/* Every target once, with one port. -EADDRINUSE with *chosen: another chosen port may do. */
static int open_all(struct opening *o, const struct chime_target *targets, int n, int *port, bool *chosen)
{
	*chosen = false;
	for (int i = 0; i < n; i++) {
		bool given = *port != 0;
		int err = open_target(o, targets[i], port);
		if (err == 0)
			continue;
		if (o->set->n && o->set->socks[o->set->n - 1].fds[0] < 0 && not_here(&targets[i], err) &&
		    (i + 1 < n || o->set->n > 1)) {
			forget_target(o->set);
			continue;
		}
		*chosen = given && i > 0;
		return err;
	}
	return 0;
}

static int open_ip(struct opening *o, chime_endpoint *e, const struct chime_target *targets, int n)
{
	for (unsigned i = 0;; i++) {
		int port = e->port;
		bool chosen;
		int err = open_all(o, targets, n, &port, &chosen);
		if (err == 0) {
			e->port = port; /* of raw schemes it stays what it was */
			return 0;
		}
		if (e->port != 0 || err != -EADDRINUSE || !chosen || i >= PORT_TRIES)
			return err;
		while (o->set->n)
			forget_target(o->set);
	}
}

/* '*' and "": one socket for both families, or IPv4's alone where there is no IPv6. */
static int open_any(struct opening *o, chime_endpoint *e, const struct chime_scheme_info *info)
{
	struct chime_target targets[2];
	int n = any_targets(e, info, false, targets);
	if (n < 0)
		return say(o, n, "%s", chime_strerror(n));
	o->dual = n == 2;
	int err = open_ip(o, e, targets, 1);
	if (err == -EAFNOSUPPORT && o->dual) {
		while (o->set->n)
			forget_target(o->set);
		o->dual = false;
		err = open_ip(o, e, targets + 1, 1);
	}
	return err;
}

static int open_resolved(struct opening *o, chime_endpoint *e, const struct chime_scheme_info *info, bool loopback)
{
	struct chime_target targets[CHIME_TARGETS];
	bool split = info->type == SOCK_RAW || e->set.broadcast;
	bool any = !e->host[0] || !strcmp(e->host, "*");
	int n = any && split ? split_targets(e, loopback, targets)
		: loopback   ? any_targets(e, info, true, targets)
			     : chime_endpoint_resolve(e, true, RESOLVE_NS, targets, CHIME_TARGETS);
	if (n < 0)
		return say(o, n, "resolve %s: %s", e->host, chime_strerror(n));
	return open_ip(o, e, targets, n);
}

int chime__listen_open(struct listen_set *out, chime_endpoint *e, unsigned workers, char *why, size_t why_size)
{
	const struct chime_scheme_info *info = chime_scheme_info(e->scheme);
	struct opening o = { .set = out, .e = e, .workers = workers, .why = why, .why_size = why_size };
	bool any = info->ip && (!e->host[0] || !strcmp(e->host, "*"));
	/* A service without connections answers whoever is named as sender; RDS has no any address. */
	bool raw = info->type == SOCK_RAW;
	bool loopback = any && !e->host[0] && (info->type == SOCK_DGRAM || raw || info->family == AF_RDS);
	int err;
	*out = (struct listen_set){ .workers = workers, .claim.pin = -1 };
	if (why_size)
		why[0] = 0;
	if (!info->opens)
		return say(&o, CHIME_ESCHEME, "%s: %s", info->name,
			   info->lacks ? info->lacks : chime_strerror(CHIME_ESCHEME));
	if (any && !loopback && info->family == AF_RDS)
		return say(&o, -EADDRNOTAVAIL, "%s is bound to one address of this machine: name it in place of '*'",
			   info->name);
	out->socks = calloc(CHIME_TARGETS, sizeof *out->socks);
	if (!out->socks)
		return say(&o, -ENOMEM, "%s", chime_strerror(-ENOMEM));
	if (any && !loopback && !raw && !e->set.broadcast)
		err = open_any(&o, e, info);
	else
		err = open_resolved(&o, e, info, loopback);
	take_vsock_port(out, e);
	if (err < 0)
		chime__listen_close(out);
	else if (why_size)
		why[0] = 0; /* of an address that could be left out */
	return err;
}

void chime__listen_close(struct listen_set *set)
{
	if (set->path)
		chime__path_remove(&set->claim, set->path); /* first: while it is alive nobody takes it for stale */
	while (set->n)
		forget_target(set);
	free(set->socks);
	free(set->path);
	*set = (struct listen_set){ 0 };
}
