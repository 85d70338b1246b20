/* The other side of the backends' conformance suite: the kernel's sockets, or the simulation's peers. */
#include "loop/world/world.h"

#include <chime/error.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sock_diag.h>
#include <linux/tipc.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define UDP4 65507
#define UDP6 65527
#define TIPC_LONGEST 66000
#define RAW_PROTO                                                                                                      \
	143 /* the first of a hundred that nobody has: a process takes its own, for raw sockets hear each other */

#define STREAMS STREAM, HALF_CLOSE | RESET
#define UDP DATAGRAMS, EMPTY | MANY | ANYWHERE

static const struct kind kinds[] = {
	{ "tcp4", STREAMS, AF_INET, SOCK_STREAM, 0, 0, 0, true, NULL },
	{ "tcp6", STREAMS, AF_INET6, SOCK_STREAM, 0, 0, 0, false, "ipv6" },
	{ "unix", STREAM, HALF_CLOSE, AF_UNIX, SOCK_STREAM, 0, 0, 0, false, NULL },
	{ "mptcp4", STREAMS, AF_INET, SOCK_STREAM, IPPROTO_MPTCP, 0, 0, false, "mptcp" },
	{ "sctp4", STREAM, RESET, AF_INET, SOCK_STREAM, IPPROTO_SCTP, 0, 0, false, "sctp" },
	{ "tipc", STREAM, 0, AF_TIPC, SOCK_STREAM, 0, 0, 0, false, "tipc" },
	{ "unix_seqpacket", MESSAGES, HALF_CLOSE | EMPTY | OVER_LONG, AF_UNIX, SOCK_SEQPACKET, 0, CHIME_MESSAGE_MAX, 0,
	  true, NULL },
	{ "tipc_seqpacket", MESSAGES, 0, AF_TIPC, SOCK_SEQPACKET, 0, TIPC_LONGEST, 0, false, "tipc" },
	{ "udp4", UDP, AF_INET, SOCK_DGRAM, 0, UDP4, 0, true, NULL },
	{ "udp6", UDP, AF_INET6, SOCK_DGRAM, 0, UDP6, 0, false, "ipv6" },
	{ "udplite4", UDP, AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE, UDP4, 0, false, "udplite" },
	{ "unix_dgram", DATAGRAMS, EMPTY | OVER_LONG | FULL_PEER, AF_UNIX, SOCK_DGRAM, 0, CHIME_MESSAGE_MAX, 0, true,
	  NULL },
	{ "raw4", DATAGRAMS, EMPTY, AF_INET, SOCK_RAW, RAW_PROTO, 65535 - 20, 20, false, "the capability NET_RAW" },
	{ "tipc_rdm", DATAGRAMS, 0 /* it drops empty ones */, AF_TIPC, SOCK_RDM, 0, TIPC_LONGEST, 0, false, "tipc" },
};
#define FORMS ((unsigned)(STREAM | MESSAGES | DATAGRAMS))
#define KINDS (sizeof kinds / sizeof *kinds)

static const struct backend *const backends[] = { &chime__backend_epoll, &chime__backend_uring, &chime__backend_sim };

struct loop lp;
const struct kind *kind;
bool simulated, waiting;
static struct sim sim;

/* Unix sockets and TIPC's are there at once. */
static bool by_loopback(void)
{
	return !simulated && (kind->family == AF_INET || kind->family == AF_INET6);
}

static bool of_tcp(void)
{
	return by_loopback() && kind->form == STREAM && kind->proto != IPPROTO_SCTP;
}

/* ---- registering ---- */

/* 0, or -errno for why this machine has no such sockets. */
static int missing(const struct kind *k)
{
	int fd = socket(k->family, k->type | SOCK_CLOEXEC, k->proto);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static void skip_missing(void)
{
	const struct kind *k = test_arg();
	SKIP("no sockets of that kind, %s: needs %s", chime_strerror(missing(k)),
	     k->needs ? k->needs : "another kernel");
}

static void add(char *name, const char *file, void (*run)(void), const void *arg)
{
	struct test *t = calloc(1, sizeof *t);
	if (!t || !name)
		abort();
	*t = (struct test){ name, file, run, 30, NULL, arg };
	test_register(t);
}

void world_tell_missing(const char *file)
{
	for (const struct kind *k = kinds; k < kinds + KINDS; k++) {
		char *name;
		if (missing(k))
			add(asprintf(&name, "every_case_%s", k->name) < 0 ? NULL : name, file, skip_missing, k);
	}
}

static void add_case(const char *name, const char *file, void (*run)(void), const struct backend *b,
		     const struct kind *k)
{
	struct setting *s = calloc(1, sizeof *s);
	char *full;
	if (!s)
		abort();
	*s = (struct setting){ b, k };
	add(asprintf(&full, "%s_%s%s%s", name, b->name, k ? "_" : "", k ? k->name : "") < 0 ? NULL : full, file, run,
	    s);
}

void world_register(const char *name, const char *file, void (*run)(void), unsigned forms)
{
	for (unsigned b = 0; b < 3; b++) {
		bool of_sim = backends[b] == &chime__backend_sim;
		if (!forms)
			add_case(name, file, run, backends[b], NULL);
		for (unsigned k = 0; k < KINDS; k++)
			if (kinds[k].form & forms && !(forms & ~FORMS & ~kinds[k].has) &&
			    (of_sim ? kinds[k].sim : !missing(&kinds[k])))
				add_case(name, file, run, backends[b], &kinds[k]);
	}
}

/* ---- the loop ---- */

const struct kind *kind_of_test(void)
{
	return ((const struct setting *)test_arg())->kind;
}

void world_open(void)
{
	const struct setting *s = test_arg();
	struct backend_caps caps;
	int err = s->backend->probe(&caps);
	if (err < 0)
		SKIP("backend %s: %s", s->backend->name, chime_strerror(err));
	kind = s->kind;
	simulated = s->backend == &chime__backend_sim;
	if (kind && kind->form == DATAGRAMS && by_loopback())
		test_one_processor(); /* so that they come in order */
	sim_init(&sim);
	CHECK_EQ(chime__loop_init(&lp, s->backend, &sim), 0);
}

void world_close(void)
{
	chime__loop_fini(&lp);
	CHECK_EQ(sim.opened, sim.closed);
	CHECK_EQ(sim.small.out + sim.large.out + sim.huge.out, 0);
	sim_fini(&sim);
}

void turn(int64_t limit_ns)
{
	waiting = true;
	CHECK_EQ(chime__loop_turn(&lp, limit_ns), 0);
	waiting = false;
}

void turns(int n)
{
	while (n--)
		turn(0);
}

void world_shut(int fd)
{
	CHECK_EQ(lp.backend->close(&lp, fd, false), 0);
}

void world_hoard(bool on)
{
	static struct rlimit before;
	if (simulated) {
		sim.accept_err = on ? -EMFILE : 0;
		return;
	}
	if (!on) {
		CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
		return;
	}
	int next = dup(0); /* the lowest that is free */
	CHECK(next >= 0);
	close(next);
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
	struct rlimit none = { (rlim_t)next, before.rlim_max };
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
}

/* ---- the kernel's sockets ---- */

/* An address of this kind that is free; raw sockets have none but the host's, so each gets another host. */
static void own_address(chime_addr *at, bool any)
{
	static unsigned hosts;
	char host[32];
	if (kind->family == AF_UNIX) {
		CHECK_EQ(chime_addr_unix(at, NULL, 0), 0);
	} else if (kind->family == AF_INET6) {
		CHECK_EQ(chime_addr_ip(at, AF_INET6, any ? "" : "::1", 0), 0);
	} else {
		snprintf(host, sizeof host, "127.%u.%u.%u", kind->type == SOCK_RAW ? 1 + (unsigned)getpid() % 250 : 0,
			 kind->type == SOCK_RAW ? 1 + (unsigned)getpid() / 250 % 250 : 0,
			 kind->type == SOCK_RAW ? ++hosts : 1);
		CHECK_EQ(chime_addr_ip(at, AF_INET, any ? "" : host, 0), 0);
	}
}

static int kernel_socket(void)
{
	int own = kind->type == SOCK_RAW ? (int)getpid() % 100 : 0;
	int fd = socket(kind->family, kind->type | SOCK_CLOEXEC | SOCK_NONBLOCK, kind->proto + own);
	CHECK(fd >= 0);
	if (kind->form != STREAM) {
		int room = 2 * CHIME_MESSAGE_MAX; /* the longest, and longer ones */
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
	}
	return fd;
}

static int kernel_bound(chime_addr *at, bool any)
{
	int fd = kernel_socket(), on = 1;
	if (kind->family != AF_TIPC) { /* there each socket has an address as it is */
		own_address(at, any);
		CHECK_EQ(bind(fd, &at->u.sa, at->len), 0);
	}
	if (any && kind->family == AF_INET)
		CHECK_EQ(setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on), 0);
	if (any && kind->family == AF_INET6)
		CHECK_EQ(setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on), 0);
	at->len = sizeof at->u;
	CHECK_EQ(getsockname(fd, &at->u.sa, &at->len), 0);
	return fd;
}

int world_listener(chime_addr *at)
{
	if (simulated) {
		own_address(at, false);
		return sim_listen(&sim, kind->type, at);
	}
	int fd = kernel_bound(at, false);
	CHECK_EQ(listen(fd, 64), 0);
	return fd;
}

int world_bound(chime_addr *at, bool any)
{
	if (!simulated)
		return kernel_bound(at, any);
	own_address(at, any);
	return sim_listen(&sim, kind->type, at);
}

int world_socket(void)
{
	if (!simulated && kind->proto)
		return kernel_socket();
	int fd = lp.backend->socket(&lp, kind->family, kind->type);
	CHECK(fd >= 0);
	return fd;
}

int world_dial(int listener, const chime_addr *at)
{
	if (simulated)
		return sim_connect(&sim, listener);
	int fd = kernel_socket();
	if (kind->family == AF_TIPC) { /* connected is who was accepted */
		CHECK_EQ(connect(fd, &at->u.sa, at->len), -1);
		CHECK_EQ(errno, EINPROGRESS);
		return fd;
	}
	/* not blocking: what io_uring is told meanwhile begins a call anew that waits, and SCTP has no second connect(2) */
	if (connect(fd, &at->u.sa, at->len) < 0) {
		struct pollfd p = { fd, POLLOUT, 0 };
		int err = errno;
		socklen_t len = sizeof err;
		CHECK_EQ(err, EINPROGRESS);
		CHECK_EQ(poll(&p, 1, 50000), 1);
		CHECK_EQ(getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len), 0);
		CHECK_EQ(err, 0);
	}
	return fd;
}

struct accepting {
	struct op op;
	int fd;
	bool ended;
};

static void on_accepted(struct loop *l, struct op *op, const struct op_event *ev)
{
	struct accepting *a = (struct accepting *)op;
	CHECK_PTR(l, &lp);
	if (ev->res >= 0)
		a->fd = ev->res;
	a->ended = !ev->more;
}

void world_pair(int *fd, int *peer)
{
	chime_addr at;
	int l = world_listener(&at);
	struct accepting a = { .op = { .done = on_accepted, .fd = l, .kind = OP_ACCEPT }, .fd = -1 };
	CHECK_EQ(op_submit(&lp, &a.op), 0);
	*peer = world_dial(l, &at);
	TURN_UNTIL(a.fd >= 0);
	op_cancel(&lp, &a.op);
	TURN_UNTIL(a.ended);
	*fd = a.fd;
	world_shut(l);
}

int world_place(chime_addr *at)
{
	if (!simulated)
		return world_listener(at);
	own_address(at, false);
	return sim_place(&sim, kind->type, at);
}

int world_called(int place)
{
	if (simulated)
		return sim_called(&sim, place);
	int fd = accept4(place, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

void world_place_gone(int place)
{
	if (!simulated)
		close(place);
	else
		sim_place_gone(&sim, place);
}

int world_peer(chime_addr *at)
{
	if (!simulated)
		return kernel_bound(at, false);
	char text[32];
	snprintf(text, sizeof text, kind->family == AF_UNIX ? "/%u" : "127.0.0.1:%u", 50000 + sim.sock_count);
	CHECK_EQ(chime_addr_parse(at, text), 0);
	return sim_peer_at(&sim, at, 10);
}

/* ---- what goes to and fro ---- */

void world_narrow(int fd, int peer)
{
	int room = 16384;
	if (kind->family == AF_TIPC || kind->proto == IPPROTO_SCTP)
		return; /* they count messages, and refuse what is longer than the room */
	if (simulated) {
		sim.window = (size_t)room;
		return;
	}
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
	setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
}

void world_put(int peer, const void *bytes, size_t len)
{
	if (simulated)
		sim_write(&sim, peer, bytes, len);
	else
		CHECK_EQ(send(peer, bytes, len, MSG_NOSIGNAL), len);
}

void world_put_to(int peer, int fd, const chime_addr *to, const void *bytes, size_t len)
{
	if (simulated)
		CHECK(sim_sendto(&sim, peer, fd, bytes, len));
	else
		CHECK_EQ(sendto(peer, bytes, len, 0, &to->u.sa, to->len), len);
}

void world_put_to_many(int peer, int fd, int port, const void *bytes, size_t len)
{
	chime_addr to;
	int on = 1;
	if (simulated) {
		CHECK(sim_send_to_many(&sim, peer, fd, bytes, len));
		return;
	}
	if (kind->family == AF_INET) {
		CHECK_EQ(setsockopt(peer, SOL_SOCKET, SO_BROADCAST, &on, sizeof on), 0);
		CHECK_EQ(chime_addr_ip(&to, AF_INET, "127.255.255.255", port), 0);
	} else {
		CHECK_EQ(chime_addr_ip(&to, AF_INET6, "ff02::1%lo", port), 0);
	}
	ssize_t n = sendto(peer, bytes, len, 0, &to.u.sa, to.len);
	if (n < 0 && kind->family == AF_INET6)
		SKIP("no IPv6 multicast on this loopback: %s", chime_strerror(-errno));
	CHECK_EQ(n, len);
}

int64_t world_unread(int fd)
{
	uint32_t memory[SK_MEMINFO_VARS] = { 0 };
	socklen_t len = sizeof memory;
	int bytes = 0;
	if (!by_loopback())
		return -1;
	if (of_tcp()) { /* it may put what comes where it has memory left */
		CHECK_EQ(ioctl(fd, FIONREAD, &bytes), 0);
		return bytes;
	}
	return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &len) < 0 ? -1 : (int64_t)memory[SK_MEMINFO_RMEM_ALLOC];
}

/* false: nobody tells. */
static bool tcp_tells(int fd, struct tcp_info *info)
{
	socklen_t len = sizeof *info;
	memset(info, 0, sizeof *info);
	return of_tcp() && getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len) == 0 && len >= sizeof *info / 2;
}

bool world_waiting(int listener, unsigned n)
{
	struct tcp_info info;
	return !tcp_tells(listener, &info) || info.tcpi_unacked >= n; /* of a listener it is this */
}

bool world_stuck(int fd)
{
	struct tcp_info info;
	return !tcp_tells(fd, &info) || info.tcpi_backoff > 0;
}

ssize_t world_try(int peer, void *buf, size_t max)
{
	static unsigned char raw[70000];
	ssize_t n;
	if (simulated && kind->form == STREAM) {
		n = (ssize_t)sim_read(&sim, peer, buf, max);
		return n ? n : -1;
	}
	if (simulated) {
		n = sim_take(&sim, peer, buf, max);
		return n < 0 ? -1 : n;
	}
	if (kind->header == 0)
		return recv(peer, buf, max, 0);
	n = recv(peer, raw, sizeof raw, 0);
	if (n < (ssize_t)kind->header)
		return -1;
	n -= (ssize_t)kind->header;
	memcpy(buf, raw + kind->header, (size_t)n < max ? (size_t)n : max);
	return n;
}

size_t world_take(int peer, void *buf, size_t max)
{
	ssize_t n = -1;
	TURN_UNTIL((n = world_try(peer, buf, max)) >= 0);
	return (size_t)n;
}

void world_take_from(int peer, void *buf, size_t max, const chime_addr *from)
{
	chime_addr a = { .len = sizeof a.u };
	ssize_t n = -1;
	TURN_UNTIL((n = recvfrom(peer, buf, max, 0, &a.u.sa, &a.len)) >= 0);
	CHECK(chime_addr_equal(&a, from));
}

void world_take_all(int peer, void *buf, size_t len)
{
	for (size_t n = 0; n < len;)
		n += world_take(peer, (char *)buf + n, len - n);
}

bool world_sees_end(int peer)
{
	static char sink[70000];
	if (simulated)
		return sim_ended(&sim, peer);
	for (;;) {
		ssize_t n = recv(peer, sink, sizeof sink, 0);
		if (n <= 0)
			return n == 0 || errno == ECONNRESET || errno == EPIPE;
	}
}

bool world_sees_reset(int peer)
{
	static char sink[70000];
	if (simulated)
		return sim_was_reset(&sim, peer);
	while (recv(peer, sink, sizeof sink, 0) > 0)
		continue;
	return errno == ECONNRESET;
}

void world_end(int peer)
{
	if (simulated)
		sim_end(&sim, peer);
	else
		CHECK_EQ(shutdown(peer, kind->family == AF_TIPC ? SHUT_RDWR : SHUT_WR), 0); /* it has no half-close */
}

void world_reset(int peer)
{
	struct linger now = { 1, 0 };
	if (simulated) {
		sim_reset(&sim, peer);
		return;
	}
	setsockopt(peer, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	close(peer);
}

void world_gone(int peer)
{
	if (simulated)
		sim_end(&sim, peer);
	else
		close(peer);
}
