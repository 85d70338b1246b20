/* From a name to a connected socket: Happy Eyeballs (RFC 8305) over all the addresses that the name stands for. */
#include "net/group.h"
#include "net/lookup.h"
#include "net/prepare.h"
#include "net/sock.h"

#include <chime/connect.h>
#include <chime/kind.h>

#include <assert.h>
#include <errno.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ATTEMPT_DELAY_MIN (10 * CHIME_MSEC)

struct race {
	struct chime_connect_config config;
	const struct chime_endpoint_settings *set; /* NULL: as the system does */
	int scheme;                                /* enum chime_scheme, -1 */
	int64_t deadline;                          /* CHIME_FOREVER: none */
	struct chime_target targets[CHIME_TARGETS];
	int n, next;  /* targets; the first that was not tried */
	int err;      /* of the attempt that failed last */
	bool unbound; /* that one failed at binding to config.bind */
	size_t why_used;
	int running; /* attempts under way: */
	struct pollfd poll[CHIME_TARGETS];
	int target[CHIME_TARGETS];
};

static void why_add(struct race *r, const char *text)
{
	char *to = r->config.why;
	size_t size = r->config.why_size;
	if (!to || r->why_used >= size)
		return;
	int n = snprintf(to + r->why_used, size - r->why_used, "%s", text);
	r->why_used += n > 0 ? (size_t)n : 0;
}

/*
 * Whether the target is vsock's own machine. Bound to it, a socket connects there or, without the module vsock_loopback, not at
 * all; unbound it would then ask the hypervisor for it.
 */
static bool stays_here(const struct chime_target *t)
{
	struct sockaddr_vm vm;
	if (t->family != AF_VSOCK)
		return false;
	memcpy(&vm, &t->addr.u, sizeof(vm));
	return vm.svm_cid == VMADDR_CID_LOCAL;
}

/* What is lacking in this kernel is told with what would bring it. */
static void why_tried(struct race *r, int target, int err)
{
	const struct chime_target *t = &r->targets[target];
	bool lacking = err == -EAFNOSUPPORT || err == -EPROTONOSUPPORT || err == -ESOCKTNOSUPPORT ||
		       err == -ENOPROTOOPT || (err == -EADDRNOTAVAIL && t->family == AF_RDS);
	const struct chime_kind *kind = lacking ? chime_kind_find(t->family, t->type, t->protocol) : NULL;
	char text[CHIME_ADDR_TEXT];
	chime_addr_print(&t->addr, text, sizeof(text));
	if (r->why_used > 0)
		why_add(r, "; ");
	why_add(r, text);
	why_add(r, ": ");
	if (r->unbound) {
		chime_addr_print(r->config.bind, text, sizeof(text));
		why_add(r, "bind ");
		why_add(r, text);
		why_add(r, ": ");
	}
	why_add(r, chime_strerror(err));
	if (kind && chime_kind_try(kind, text, sizeof(text)) < 0 && strchr(text, ';'))
		why_add(r, strchr(text, ';'));
	if (err == -EADDRNOTAVAIL && stays_here(t))
		why_add(r, "; the kernel module vsock_loopback brings it (modprobe vsock_loopback)");
	if ((err == -EPERM || err == -EACCES) && r->targets[target].type == SOCK_RAW)
		why_add(r, ", raw sockets need CAP_NET_RAW or root");
	if ((err == -EPERM || err == -EACCES) && r->scheme == CHIME_ICMP)
		why_add(r, ", or a group within net.ipv4.ping_group_range");
	if (err == -EACCES && r->set && !r->set->broadcast && r->targets[target].type == SOCK_DGRAM &&
	    r->scheme != CHIME_ICMP)
		why_add(r, ", a broadcast address is sent to with broadcast=yes alone");
}

static int race_config(struct race *r, const struct chime_connect_config *config)
{
	static const struct chime_connect_config defaults = CHIME_CONNECT_CONFIG_INIT;
	memset(r, 0, sizeof(*r));
	r->scheme = -1;
	r->config = defaults;
	if (config) {
		if (config->size < sizeof(*config))
			return -EINVAL;
		r->config = *config;
	}
	if (r->config.why && r->config.why_size > 0)
		r->config.why[0] = 0;
	int64_t timeout_ns = r->config.timeout_ns, delay = r->config.attempt_delay_ns;
	if (timeout_ns == 0 || timeout_ns < CHIME_FOREVER || delay < 0)
		return -EINVAL;
	if (delay == 0)
		r->config.attempt_delay_ns = CHIME_ATTEMPT_DELAY;
	else if (delay < ATTEMPT_DELAY_MIN)
		r->config.attempt_delay_ns = ATTEMPT_DELAY_MIN;
	r->deadline = timeout_ns < 0 ? CHIME_FOREVER : chime__deadline_after(timeout_ns);
	return 0;
}

int chime_targets_order(struct chime_target *targets, int n)
{
	struct chime_target sorted[CHIME_TARGETS];
	bool taken[CHIME_TARGETS] = { false };
	if (n < 0 || n > CHIME_TARGETS)
		return -EINVAL;
	int wanted = n > 0 ? targets[0].family : AF_UNSPEC;
	for (int i = 0; i < n; i++) {
		int pick = -1;
		for (int j = 0; j < n; j++) {
			if (taken[j])
				continue;
			if (pick < 0)
				pick = j;
			if (targets[j].family == wanted) {
				pick = j;
				break;
			}
		}
		assert(pick >= 0);
		taken[pick] = true;
		sorted[i] = targets[pick];
		wanted = sorted[i].family == AF_INET6 ? AF_INET : AF_INET6;
	}
	if (n > 0)
		memcpy(targets, sorted, (size_t)n * sizeof(sorted[0]));
	return 0;
}

static int set_int(int fd, int name, int64_t value)
{
	int v = value > INT32_MAX ? INT32_MAX : (int)value;
	return value < 0 || setsockopt(fd, SOL_SOCKET, name, &v, sizeof(v)) == 0 ? 0 : -errno;
}

/* RDS wants the local address first: the one that this machine reaches the target from. Nothing is sent to find it out. */
static int source_of(const struct chime_target *t, chime_addr *out)
{
	int err = 0, fd = socket(chime_addr_family(&t->addr), SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP);
	if (fd < 0)
		return -errno;
	out->len = sizeof out->u;
	if (connect(fd, &t->addr.u.sa, t->addr.len) < 0 || getsockname(fd, &out->u.sa, &out->len) < 0)
		err = -errno;
	else
		chime_addr_set_port(out, 0);
	close(fd);
	return err;
}

/* Datagrams and packets over IP, which the settings of groups are for. */
static bool is_packets(const struct chime_target *t)
{
	return (t->family == AF_INET || t->family == AF_INET6) && (t->type == SOCK_DGRAM || t->type == SOCK_RAW);
}

/* A socket for the target. ICMP's is the datagram one where the kernel lets us have it: it takes no privilege. */
static int target_socket(const struct race *r, struct chime_target *t)
{
	int flags = SOCK_NONBLOCK | SOCK_CLOEXEC, fd;
	if (r->scheme == CHIME_ICMP) {
		fd = socket(t->family, SOCK_DGRAM | flags, t->protocol);
		if (fd >= 0) {
			t->type = SOCK_DGRAM;
			return fd;
		}
	}
	fd = socket(t->family, t->type | flags, t->protocol);
	return fd < 0 ? -errno : fd;
}

/* Whether attempts that are under way together have the same local port: SO_REUSEADDR lets them, until one has won. */
static bool shares_port(const struct race *r)
{
	return r->n > 1 && r->targets[0].type == SOCK_STREAM && r->config.bind && chime_addr_port(r->config.bind) > 0;
}

/* A non-blocking socket for a target, bound and set as the caller wants; its descriptor or -errno. */
static int attempt_socket(struct race *r, struct chime_target *t)
{
	chime_addr source = chime_addr_none();
	const chime_addr autobind = { sizeof(sa_family_t), { .sa = { .sa_family = AF_UNIX } } }, *at = r->config.bind;
	int err = 0, fd = target_socket(r, t);
	if (fd < 0)
		return fd;
	if (r->scheme == CHIME_ICMP && t->type == SOCK_RAW)
		err = chime__prepare_icmp(fd, t->family, false);
	if (err == 0 && r->set && is_packets(t))
		err = chime__group_settings(fd, &t->addr, r->set, NULL);
	if (!at && t->family == AF_UNIX && t->type == SOCK_DGRAM)
		at = &autobind;
	chime__prepare_kind(fd, t->family, t->type, t->protocol);
	if (err == 0 && !at && t->family == AF_RDS) {
		err = source_of(t, &source);
		at = &source;
	} else if (!at && stays_here(t)) {
		chime_addr_vsock(&source, VMADDR_CID_LOCAL, VMADDR_PORT_ANY);
		at = &source;
	}
	if (err == 0 && r->set)
		err = chime__prepare_coverage(fd, t->protocol, r->set);
	if (err == 0 && r->set)
		err = set_int(fd, SO_RCVBUF, r->set->rcvbuf);
	if (err == 0 && r->set)
		err = set_int(fd, SO_SNDBUF, r->set->sndbuf);
	if (err == 0 && shares_port(r))
		err = set_int(fd, SO_REUSEADDR, 1);
	if (err == 0 && at && bind(fd, &at->u.sa, at->len) < 0) {
		err = -errno;
		r->unbound = at == r->config.bind;
	}
	if (err == 0)
		return fd;
	close(fd);
	return err;
}

static void failed(struct race *r, int target, int err)
{
	r->err = err;
	why_tried(r, target, err);
	r->unbound = false;
}

/* Begins the next attempt. A connected descriptor, -1 under way, or -2: it failed at once. */
static int attempt(struct race *r)
{
	int i = r->next++;
	struct chime_target *t = &r->targets[i];
	int fd = attempt_socket(r, t);
	if (fd < 0) {
		failed(r, i, fd);
		return -2;
	}
	if (r->set && is_packets(t) && t->type == SOCK_DGRAM && chime__sends_to_many(&t->addr, r->set))
		return fd; /* connected it would hear nobody: answers come from everywhere */
	if (connect(fd, &t->addr.u.sa, t->addr.len) == 0)
		return fd;
	if (errno == EINPROGRESS) {
		r->poll[r->running] = (struct pollfd){ fd, POLLOUT, 0 };
		r->target[r->running++] = i;
		return -1;
	}
	failed(r, i, -errno);
	close(fd);
	return -2;
}

static void drop(struct race *r, int k)
{
	r->running--;
	r->poll[k] = r->poll[r->running];
	r->target[k] = r->target[r->running];
}

/* Looks at the attempts that poll called ready: the descriptor of one that connected (*target which), or -1. */
static int harvest(struct race *r, int *target)
{
	for (int k = r->running - 1; k >= 0; k--) {
		int err = 0, fd = r->poll[k].fd;
		socklen_t len = sizeof(err);
		if (!r->poll[k].revents)
			continue;
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
			err = errno;
		*target = r->target[k];
		drop(r, k);
		if (err == 0)
			return fd;
		failed(r, *target, -err);
		close(fd);
	}
	return -1;
}

/* Waits for an attempt to end or for until (CHIME_FOREVER: none). poll's count, or -errno; the hook may end it: -EINTR. */
static int race_wait(struct race *r, int64_t until)
{
	for (;;) {
		int64_t left = chime__time_left(until);
		struct timespec ts = { left / CHIME_SEC, left % CHIME_SEC };
		int n = ppoll(r->poll, (nfds_t)r->running, left == CHIME_FOREVER ? NULL : &ts, NULL);
		if (n >= 0)
			return n;
		if (errno != EINTR)
			return -errno;
		if (chime__interrupted())
			return -EINTR;
	}
}

/* Runs the attempts to the first that connects: its descriptor and *target, or why none did. */
static int race_run(struct race *r, int *target)
{
	int64_t next_at = 0;
	for (;;) {
		if (r->next < r->n && (r->running == 0 || chime__time_left(next_at) == 0)) {
			*target = r->next;
			int fd = attempt(r);
			if (fd >= 0)
				return fd;
			next_at = fd == -1 ? chime__deadline_after(r->config.attempt_delay_ns) : 0;
			continue;
		}
		if (r->running == 0)
			return r->err;
		int64_t until = r->deadline;
		if (r->next < r->n && (until == CHIME_FOREVER || next_at < until))
			until = next_at;
		int n = race_wait(r, until);
		if (n < 0)
			return n;
		if (n == 0 && until == r->deadline)
			return CHIME_ETIMEOUT;
		int running = r->running, fd = n > 0 ? harvest(r, target) : -1;
		if (fd >= 0)
			return fd;
		if (r->running < running)
			next_at = 0; /* one failed: the next at once */
	}
}

/* Takes out the targets that the local address cannot reach. */
static int keep_bindable(struct race *r)
{
	int kept = 0;
	if (!r->config.bind)
		return 0;
	for (int i = 0; i < r->n; i++)
		if (chime_addr_family(&r->targets[i].addr) == chime_addr_family(r->config.bind))
			r->targets[kept++] = r->targets[i];
	r->n = kept;
	if (kept > 0)
		return 0;
	char text[CHIME_ADDR_TEXT];
	chime_addr_print(r->config.bind, text, sizeof(text));
	why_add(r, "nothing to connect to has the family of the local address ");
	why_add(r, text);
	return -EAFNOSUPPORT;
}

/* The targets are known: connects to one of them. */
static int race_out(struct race *r, chime_sock **out)
{
	int64_t timeout_ns = chime_default_timeout();
	int target = 0, err = keep_bindable(r);
	if (err < 0)
		return err;
	err = chime_targets_order(r->targets, r->n);
	if (err < 0)
		return err;
	int fd = race_run(r, &target);
	for (int k = 0; k < r->running; k++) {
		if (fd < 0)
			why_tried(r, r->target[k], fd);
		close(r->poll[k].fd);
	}
	if (fd < 0)
		return fd;
	const struct chime_target *t = &r->targets[target];
	err = timeout_ns < 0 ? chime__set_nonblock(fd, false) : 0;
	if (err == 0 && shares_port(r))
		err = set_int(fd, SO_REUSEADDR, 0);
	if (err == 0 && !(*out = chime__sock_new(fd, t->family, t->type, t->protocol, timeout_ns)))
		err = -ENOMEM;
	if (err < 0)
		close(fd);
	else if (r->config.why && r->config.why_size > 0)
		r->config.why[0] = 0;
	return err;
}

static int unresolved(struct race *r, const char *name, const char *what, int err)
{
	why_add(r, name);
	why_add(r, ": ");
	why_add(r, what ? what : chime_strerror(err));
	return err;
}

int chime_create_connection(chime_sock **out, const char *host, int port, const struct chime_connect_config *config)
{
	struct race r;
	*out = NULL;
	int err = race_config(&r, config);
	if (err < 0)
		return err;
	int n = chime_resolve(host, port, AF_UNSPEC, SOCK_STREAM, IPPROTO_TCP, false, chime__time_left(r.deadline),
			      r.targets, CHIME_TARGETS);
	if (n < 0)
		return unresolved(&r, host && *host ? host : "localhost", NULL, n);
	r.n = n;
	return race_out(&r, out);
}

/*
 * A place that is no IP address has nothing to race with; chime_connect() also waits for the room that a unix listener
 * lacks, which connect(2) on a non-blocking socket does not.
 */
static int connect_one(struct race *r, chime_sock **out)
{
	struct chime_target *t = &r->targets[0];
	int64_t timeout_ns = chime_default_timeout();
	int err = keep_bindable(r);
	if (err < 0)
		return err;
	int fd = attempt_socket(r, t);
	if (fd < 0) {
		why_tried(r, 0, fd);
		return fd;
	}
	int64_t left = chime__time_left(r->deadline);
	chime_sock *s = chime__sock_new(fd, t->family, t->type, t->protocol, left == 0 ? 1 : left);
	if (!s) {
		close(fd);
		return -ENOMEM;
	}
	err = chime_connect(s, &t->addr);
	if (err < 0)
		why_tried(r, 0, err);
	if (err == 0)
		err = chime_set_timeout(s, timeout_ns);
	if (err < 0)
		chime_free(&s);
	*out = s;
	return err;
}

int chime_connect_endpoint(chime_sock **out, const chime_endpoint *to, const struct chime_connect_config *config)
{
	char text[CHIME_ENDPOINT_TEXT];
	struct race r;
	*out = NULL;
	int err = race_config(&r, config);
	if (err < 0)
		return err;
	if (to->scheme == CHIME_RDM || to->scheme == CHIME_SCTP_SEQPACKET) /* what carries them may be no socket */
		return unresolved(&r, chime_scheme_info(to->scheme)->name,
				  "such endpoints are for chime_rdm_connect() (chime/rdm.h)", CHIME_ESCHEME);
	r.set = &to->set;
	r.scheme = (int)to->scheme;
	int n = chime_endpoint_resolve(to, false, chime__time_left(r.deadline), r.targets, CHIME_TARGETS);
	if (n < 0) {
		chime_endpoint_print(to, text, sizeof(text));
		return unresolved(&r, text, n == CHIME_ESCHEME ? chime_scheme_info(to->scheme)->lacks : NULL, n);
	}
	r.n = n;
	return chime_scheme_info(to->scheme)->ip ? race_out(&r, out) : connect_one(&r, out);
}
