/*
 * The carrier in user space: UDP sockets of ours (RFC 6951) under the stack behind net/rdm_stack.h, and its clock.
 *
 * The stack is one for the process, and so is the lock. Packets for any handle are sent as they come out of the stack, in batches; what
 * another handle's packet or the clock brought for a handle is told to it by its ready descriptor.
 */
#include "net/rdm_user.h"
#include "net/rdm.h"
#include "net/rdm_paths.h"
#include "net/rdm_stack.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define IN_BATCH 16
#define IN_ROUNDS 8 /* batches in a row, before the caller has his turn */
#define OUT_BATCH 32
#define OUT_BYTES 2048 /* longer ones go alone: the stack makes none */
#define PACKET_MAX 65536
#define PACKET_MIN 16 /* a common header and a chunk's */
#define TICK_FAST_NS (10 * CHIME_MSEC)
#define TICK_SLOW_NS (250 * CHIME_MSEC) /* nothing is under way: only heartbeats and ends of idle associations */
#define BUSY_NS CHIME_SEC
#define SWEEP_NS CHIME_SEC
#define CHECK_NS (100 * CHIME_MSEC) /* how often it is asked whether all is acknowledged, where that was not said */
#define UDP_BUFFER (4 << 20)        /* asked for; the kernel cuts it to rmem_max and wmem_max */
#define CHUNK_COOKIE_ECHO 10
/*
 * Where much is lost, waits grow with every loss and shrink only when something new gets through. A low ceiling costs long paths
 * nothing: libusrsctp sends nothing again before the round trip that it measured has passed, whatever this says.
 */
#define RTO_MAX_MS 100
#define TAKE_MAX (CHIME_RDM_MAX + 65536)

/* Whose packet is being looked at, or with whom an association is begun: not in the table yet. */
struct path {
	uint64_t number;
	chime_addr wire, local;
	unsigned char socket;
};

struct out_packet {
	chime_addr wire, local;
	unsigned char socket;
	size_t len;
	unsigned char bytes[OUT_BYTES];
};

struct user {
	struct chime_rdm *r;
	struct user *next; /* in all */
	uint64_t salt;
	struct rdm_stack *stack;
	int socks[RDM_LOCALS];
	bool v6[RDM_LOCALS], any[RDM_LOCALS];
	unsigned sock_count;
	int timer_fd;
	int64_t period_ns; /* as the timer is set */
	int64_t busy_ns;   /* when something last came or went */
	int64_t checked_ns, swept_ns;
	struct strangers strangers;
	struct path current;
	unsigned out_count;
	struct out_packet out[OUT_BATCH];
	unsigned char *in;      /* IN_BATCH packets */
	unsigned char *message; /* being taken; TAKE_MAX */
	size_t message_len;
	bool message_broken; /* too long: its rest is thrown away */
};

static pthread_mutex_t stack_lock = PTHREAD_MUTEX_INITIALIZER;
static struct user *all;
static uint64_t last_salt;
static int64_t ticked_ns; /* up to when the stack knows the time */
static chime__rdm_tap_fn *tap;
static void *tap_arg;

static int user_available(void)
{
	return chime__stack_built() ? 0 : CHIME_ESCHEME;
}

/* ---- packets out ---- */

/* Room for a source address: pktinfo of either family. */
union source {
	struct cmsghdr header;
	unsigned char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

static void set_source(struct msghdr *m, union source *room, const chime_addr *local, bool v6)
{
	if (local->len == 0)
		return;
	memset(room, 0, sizeof *room);
	m->msg_control = room;
	if (v6) {
		struct in6_pktinfo info = { .ipi6_addr = local->u.in6.sin6_addr,
					    .ipi6_ifindex = IN6_IS_ADDR_LINKLOCAL(&local->u.in6.sin6_addr)
								    ? local->u.in6.sin6_scope_id
								    : 0 };
		m->msg_controllen = CMSG_SPACE(sizeof info);
		struct cmsghdr *c = CMSG_FIRSTHDR(m);
		*c = (struct cmsghdr){ .cmsg_level = IPPROTO_IPV6, .cmsg_type = IPV6_PKTINFO };
		c->cmsg_len = CMSG_LEN(sizeof info);
		memcpy(CMSG_DATA(c), &info, sizeof info);
	} else {
		struct in_pktinfo info = { .ipi_spec_dst = local->u.in.sin_addr };
		m->msg_controllen = CMSG_SPACE(sizeof info);
		struct cmsghdr *c = CMSG_FIRSTHDR(m);
		*c = (struct cmsghdr){ .cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO };
		c->cmsg_len = CMSG_LEN(sizeof info);
		memcpy(CMSG_DATA(c), &info, sizeof info);
	}
}

static void prepare(struct user *u, struct msghdr *m, struct iovec *iov, union source *room, struct out_packet *p,
		    void *bytes)
{
	*iov = (struct iovec){ bytes, p->len };
	*m = (struct msghdr){ .msg_iov = iov, .msg_iovlen = 1 };
	if (!u->r->connected) {
		m->msg_name = &p->wire.u;
		m->msg_namelen = p->wire.len;
	}
	set_source(m, room, &p->local, u->v6[p->socket]);
}

/* A packet that the system would not take is loss; that nobody is there is remembered for who connects. */
static void not_sent(struct user *u, int err)
{
	u->r->stats.dropped_packets++;
	if (err == ECONNREFUSED)
		u->r->refused = true;
}

/* The packets [at, to), which all go by one socket. */
static void send_run(struct user *u, unsigned at, unsigned to)
{
	struct mmsghdr m[OUT_BATCH];
	struct iovec iov[OUT_BATCH];
	union source room[OUT_BATCH];
	for (unsigned i = at; i < to; i++)
		prepare(u, &m[i].msg_hdr, &iov[i], &room[i], &u->out[i], u->out[i].bytes);
	bool again = false;
	while (at < to) {
		int n = sendmmsg(u->socks[u->out[at].socket], m + at, to - at, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0) {
			u->r->stats.packets_out += (unsigned)n;
			at += (unsigned)n;
			again = false;
		} else if (n < 0 && errno == EINTR) {
			continue;
		} else if (n < 0 && errno == ECONNREFUSED && !again) {
			again = true; /* told late, of a packet before; telling took it away */
			u->r->refused = true;
		} else {
			not_sent(u, errno);
			at++;
		}
	}
}

static void send_out(struct user *u)
{
	for (unsigned at = 0, to; at < u->out_count; at = to) {
		for (to = at + 1; to < u->out_count && u->out[to].socket == u->out[at].socket;)
			to++;
		send_run(u, at, to);
	}
	u->out_count = 0;
}

static void put_out(struct user *u, const chime_addr *wire, const chime_addr *local, unsigned char socket,
		    const void *packet, size_t len)
{
	if (tap) {
		tap(tap_arg, u->r, wire, packet, len);
		return;
	}
	if (u->out_count == OUT_BATCH || len > OUT_BYTES)
		send_out(u);
	struct out_packet *p = &u->out[u->out_count];
	p->wire = *wire;
	p->local = *local;
	p->socket = socket;
	p->len = len;
	if (len <= OUT_BYTES) {
		memcpy(p->bytes, packet, len);
		u->out_count++;
		return;
	}
	struct msghdr m;
	struct iovec iov;
	union source room;
	prepare(u, &m, &iov, &room, p, (void *)(uintptr_t)packet);
	if (sendmsg(u->socks[socket], &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		not_sent(u, errno);
	else
		u->r->stats.packets_out++;
}

static void on_output(uint64_t number, const void *packet, size_t len)
{
	for (struct user *u = all; u; u = u->next) {
		const struct rdm_assoc *a;
		if (u->current.number == number) {
			put_out(u, &u->current.wire, &u->current.local, u->current.socket, packet, len);
			return;
		}
		if ((a = chime__rdm_find_path(&u->r->assocs, number))) {
			put_out(u, &a->wire, &a->local, a->socket, packet, len);
			return;
		}
	}
	/* Of an association that is over: the peer asks again, and is answered then. */
}

static void on_stirred(void *owner)
{
	struct user *u = owner;
	u->r->stirred = true;
}

/* Sends what came out of the stack, and tells the other handles what came for them. */
static void leave_stack(struct user *of)
{
	for (struct user *u = all; u; u = u->next) {
		if (u->out_count)
			send_out(u);
		if (u != of && u->r->stirred && !u->r->ready) {
			u->r->ready = true;
			eventfd_write(u->r->ready_fd, 1);
		}
	}
}

/* ---- time ---- */

static void tick(int64_t now_ns)
{
	int64_t elapsed_ms = (now_ns - ticked_ns) / CHIME_MSEC;
	if (elapsed_ms < TICK_FAST_NS / CHIME_MSEC)
		return;
	ticked_ns += elapsed_ms * CHIME_MSEC;
	chime__stack_tick(elapsed_ms > 3600000 ? 3600000u : (unsigned)elapsed_ms);
}

static void set_period(struct user *u, int64_t now_ns)
{
	int64_t period_ns = 0;
	if (u->r->assocs.count)
		period_ns = u->r->assocs.unsure || now_ns - u->busy_ns < BUSY_NS ? TICK_FAST_NS : TICK_SLOW_NS;
	if (period_ns == u->period_ns)
		return;
	struct itimerspec t = { { 0, period_ns }, { 0, period_ns } };
	if (timerfd_settime(u->timer_fd, 0, &t, NULL) == 0)
		u->period_ns = period_ns;
}

/* ---- who the peer is ---- */

static struct chime_rdm_peer peer_of(const chime_addr *wire, uint16_t port)
{
	struct chime_rdm_peer p = { chime_addr_unmap(wire), (uint16_t)chime_addr_port(wire) };
	chime_addr_set_port(&p.addr, port);
	return p;
}

static struct rdm_assoc *find(struct user *u, uint64_t path, uint16_t port)
{
	struct rdm_assoc *a = chime__rdm_find_path(&u->r->assocs, path);
	while (a && (a->path != path || chime_addr_port(&a->peer.addr) != port))
		a = a->by_path;
	return a;
}

/* Puts the stack's association into the table. */
static struct rdm_assoc *enter(struct user *u, const struct path *p, uint16_t port, uint32_t id)
{
	struct rdm_assoc a = { .id = id,
			       .path = p->number,
			       .peer = peer_of(&p->wire, port),
			       .wire = p->wire,
			       .local = p->local,
			       .socket = p->socket };
	return chime__rdm_add(&u->r->assocs, &a);
}

static void forget(struct user *u, struct rdm_assoc *a, int why)
{
	uint64_t path = a->path;
	chime__rdm_went_down(u->r, a, a->why ? a->why : why);
	if (!chime__rdm_find_path(&u->r->assocs, path))
		chime__stack_forget(path);
}

/* The peer's UDP address in a form that one of our sockets takes, and its number. */
static int path_to(struct user *u, const struct chime_rdm_peer *to, struct path *p)
{
	uint16_t udp = to->udp_port;
	if (!udp)
		udp = u->r->set.udp_port > 0 ? (uint16_t)u->r->set.udp_port : CHIME_RDM_UDP_PORT;
	*p = (struct path){ .wire = to->addr };
	int family = chime_addr_family(&to->addr);
	unsigned i = 0;
	while (i < u->sock_count && !(family == AF_INET6 && u->v6[i]) && !(family == AF_INET && !u->v6[i]))
		i++;
	if (i == u->sock_count && family == AF_INET) /* one of both families, with IPv4 as it is written there */
		for (i = 0; i < u->sock_count && !u->any[i];)
			i++;
	if (i == u->sock_count)
		return -EAFNOSUPPORT;
	if (family == AF_INET && u->v6[i]) {
		p->wire = chime_addr_none();
		p->wire.len = sizeof p->wire.u.in6;
		p->wire.u.in6.sin6_family = AF_INET6;
		p->wire.u.in6.sin6_addr.s6_addr[10] = p->wire.u.in6.sin6_addr.s6_addr[11] = 0xff;
		memcpy(&p->wire.u.in6.sin6_addr.s6_addr[12], &to->addr.u.in.sin_addr, 4);
	}
	chime_addr_set_port(&p->wire, udp);
	p->socket = (unsigned char)i;
	return chime__path_number(&p->wire, u->salt << 8 | i, &p->number);
}

/* ---- what came, out of the stack ---- */

static void take_message(struct user *u, struct rdm_assoc *a, const struct rdm_stack_event *ev)
{
	u->message_len += ev->len;
	if (u->message_len > CHIME_RDM_MAX && !u->message_broken) {
		u->message_broken = true;
		u->r->stats.dropped_packets++;
		if (a) {
			a->why = -EMSGSIZE;
			(void)chime__stack_end(u->stack, a->path, (uint16_t)chime_addr_port(&a->peer.addr), true);
		}
	}
	if (u->message_broken)
		u->message_len = 0;
	if (!ev->whole)
		return;
	if (a && !u->message_broken)
		(void)chime__rdm_push_message(u->r, &a->peer, u->message, u->message_len);
	u->message_len = 0;
	u->message_broken = false;
}

static bool user_dry(struct chime_rdm *r, const struct rdm_assoc *a)
{
	struct user *u = r->impl;
	return chime__stack_dry(u->stack, a->id);
}

static void take_event(struct user *u, const struct rdm_stack_event *ev)
{
	struct rdm_assoc *a = chime__rdm_find(&u->r->assocs, ev->assoc);
	switch (ev->kind) {
	case STACK_MESSAGE:
		take_message(u, a, ev);
		return;
	case STACK_BROKEN:
		u->message_len = 0;
		u->message_broken = false;
		return;
	case STACK_UP:
		if (a) {
			chime__rdm_came_up(u->r, a);
			chime__stack_measure(u->stack, a->path, (uint16_t)chime_addr_port(&a->peer.addr), a->id);
		}
		return;
	case STACK_RESTARTED:
		if (a)
			chime__rdm_restarted(u->r, a);
		return;
	case STACK_FAILED:
		if (a)
			chime__rdm_failed(u->r, a, ev->id, a->why);
		return;
	case STACK_DRY:
		if (a && user_dry(u->r, a))
			chime__rdm_set_unsure(&u->r->assocs, a, false);
		return;
	case STACK_DOWN:
		if (a)
			forget(u, a, ev->why);
		return;
	default:
		return;
	}
}

static void take_all(struct user *u)
{
	struct rdm_stack_event ev;
	if (!u->r->stirred)
		return;
	while (!rdm_queue_full(u->r)) {
		chime__stack_take(u->stack, u->message + u->message_len, TAKE_MAX - u->message_len, &ev);
		if (ev.kind == STACK_NOTHING) {
			u->r->stirred = false;
			return;
		}
		take_event(u, &ev);
	}
}

/*
 * libusrsctp does not tell of every association that it ends (of one that broke the protocol it may not): what it does not know any
 * more is over, once all that it had to tell is taken.
 */
static void sweep_one(struct chime_rdm *r, struct rdm_assoc *a)
{
	struct user *u = r->impl;
	if (chime__stack_assoc(u->stack, a->path, (uint16_t)chime_addr_port(&a->peer.addr)) != a->id)
		forget(u, a, -ECONNRESET);
}

static void sweep(struct user *u)
{
	u->r->stirred = true;
	take_all(u);
	if (!u->r->stirred)
		chime__rdm_each(u->r, sweep_one);
}

/* ---- packets in ---- */

/*
 * A packet of p. Of a stranger nothing is kept but what the stack keeps once he has come back with his cookie; when
 * there are as many associations as there may be, cookies are not looked at.
 */
static void take_packet(struct user *u, const struct path *p, const unsigned char *packet, size_t len, int64_t now_ns)
{
	if (len < PACKET_MIN || len >= PACKET_MAX || p->wire.len == 0 || chime_addr_port(&p->wire) <= 0) {
		u->r->stats.dropped_packets++;
		return;
	}
	uint16_t port = (uint16_t)(packet[0] << 8 | packet[1]), to = (uint16_t)(packet[2] << 8 | packet[3]);
	struct rdm_assoc *a = find(u, p->number, port);
	bool cookie = packet[12] == CHUNK_COOKIE_ECHO;
	if (to != chime__stack_port(u->stack) || port == 0 || (a && !chime_addr_equal(&a->wire, &p->wire))) {
		u->r->stats.dropped_packets++;
		return;
	}
	if (!a && !chime__strangers_admit(&u->strangers, &p->wire, now_ns)) {
		u->r->stats.dropped_rate++;
		return;
	}
	if (!a && cookie && u->r->assocs.count >= u->r->peers_max) {
		u->r->stats.refused++;
		return;
	}
	u->busy_ns = now_ns;
	u->current = *p;
	chime__stack_input(p->number, packet, len);
	if (!a) {
		uint32_t id = chime__stack_assoc(u->stack, p->number, port);
		bool known = chime__rdm_find_path(&u->r->assocs, p->number);
		if (id && (u->r->assocs.count >= u->r->peers_max || !enter(u, p, port, id))) {
			u->r->stats.refused++;
			(void)chime__stack_end(u->stack, p->number, port, true);
		} else if (id && !known) {
			chime__stack_know(p->number);
		}
	}
	u->current.number = 0;
}

void chime__rdm_user_packet(struct chime_rdm *r, const chime_addr *wire, const void *packet, size_t len, int64_t now_ns)
{
	struct user *u = r->impl;
	struct path p = { .wire = *wire };
	pthread_mutex_lock(&stack_lock);
	tick(now_ns);
	if (chime__path_number(wire, u->salt << 8, &p.number) == 0)
		take_packet(u, &p, packet, len, now_ns);
	take_all(u);
	leave_stack(u);
	pthread_mutex_unlock(&stack_lock);
}

void chime__rdm_user_sign(void *packet, size_t len)
{
	uint32_t sum = chime__stack_checksum(packet, len);
	memcpy((unsigned char *)packet + 8, &sum, sizeof sum);
}

void chime__rdm_user_tap(chime__rdm_tap_fn *fn, void *arg)
{
	tap = fn;
	tap_arg = arg;
}

static chime_addr local_of(struct msghdr *m, bool v6, int port)
{
	chime_addr local = chime_addr_none();
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (v6 && c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;
			memcpy(&info, CMSG_DATA(c), sizeof info);
			local.len = sizeof local.u.in6;
			local.u.in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6,
							     .sin6_addr = info.ipi6_addr,
							     .sin6_scope_id = info.ipi6_ifindex };
		} else if (!v6 && c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;
			memcpy(&info, CMSG_DATA(c), sizeof info);
			local.len = sizeof local.u.in;
			local.u.in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = info.ipi_spec_dst };
		}
	}
	(void)port;
	return local;
}

/* One batch. Whether there may be more. */
static bool read_batch(struct user *u, unsigned sock, int64_t now_ns)
{
	struct mmsghdr m[IN_BATCH];
	struct iovec iov[IN_BATCH];
	struct sockaddr_storage from[IN_BATCH];
	union source room[IN_BATCH];
	for (unsigned i = 0; i < IN_BATCH; i++) {
		iov[i] = (struct iovec){ u->in + (size_t)i * PACKET_MAX, PACKET_MAX };
		m[i].msg_hdr = (struct msghdr){ .msg_name = &from[i],
						.msg_namelen = sizeof from[i],
						.msg_iov = &iov[i],
						.msg_iovlen = 1,
						.msg_control = u->any[sock] ? &room[i] : NULL,
						.msg_controllen = u->any[sock] ? sizeof room[i] : 0 };
	}
	int n = recvmmsg(u->socks[sock], m, IN_BATCH, MSG_DONTWAIT, NULL);
	if (n < 0) {
		if (errno == ECONNREFUSED)
			u->r->refused = true;
		return errno != EAGAIN && errno != EBADF;
	}
	for (int i = 0; i < n; i++) {
		struct path p = { .socket = (unsigned char)sock };
		if (chime_addr_from(&p.wire, (struct sockaddr *)&from[i], m[i].msg_hdr.msg_namelen) < 0)
			continue;
		p.local = local_of(&m[i].msg_hdr, u->v6[sock], 0);
		u->r->stats.packets_in++;
		if (chime__path_number(&p.wire, u->salt << 8 | sock, &p.number) == 0)
			take_packet(u, &p, iov[i].iov_base, m[i].msg_len, now_ns);
	}
	return n == IN_BATCH;
}

static void user_serve(struct chime_rdm *r)
{
	struct user *u = r->impl;
	int64_t now_ns = chime_now_mono();
	if (u->period_ns) {
		uint64_t times;
		(void)!read(u->timer_fd, &times, sizeof times); /* quiet until the next one */
	}
	tick(now_ns);
	r->stirred = true; /* looked at in any case: of an association that ended by the clock nothing is said */
	for (unsigned s = 0; s < u->sock_count; s++)
		for (unsigned i = 0; i < IN_ROUNDS && read_batch(u, s, now_ns); i++)
			take_all(u);
	take_all(u);
	if (now_ns - u->checked_ns >= CHECK_NS) {
		u->checked_ns = now_ns;
		chime__rdm_recheck(r);
	}
	if (now_ns - u->swept_ns >= SWEEP_NS && r->assocs.count) {
		u->swept_ns = now_ns;
		sweep(u);
	}
	set_period(u, now_ns);
	leave_stack(u);
}

/* ---- messages ---- */

/* The association with a peer, begun if need be by what begin does. */
static int reach(struct user *u, const struct chime_rdm_peer *to, const struct rdm_out *out)
{
	struct path p;
	int64_t now_ns = chime_now_mono();
	uint16_t port = (uint16_t)chime_addr_port(&to->addr);
	tick(now_ns);
	int err = path_to(u, to, &p);
	if (err < 0)
		return err;
	struct rdm_assoc *a = find(u, p.number, port);
	if (!a && u->r->answers_only)
		return -ENOTCONN;
	if (!a && u->r->assocs.count >= u->r->peers_max)
		return -ENOBUFS;
	bool known = chime__rdm_find_path(&u->r->assocs, p.number);
	if (!known)
		chime__stack_know(p.number);
	u->current = p;
	u->r->refused = false;
	err = out ? chime__stack_send(u->stack, p.number, port, out->bytes, out->len, out->id, !a || !a->unsure)
		  : chime__stack_connect(u->stack, p.number, port);
	u->current.number = 0;
	uint32_t id = a ? a->id : chime__stack_assoc(u->stack, p.number, port);
	if (!a && id)
		a = enter(u, &p, port, id);
	if (!a && !known)
		chime__stack_forget(p.number);
	if (a && err == 0 && out)
		chime__rdm_set_unsure(&u->r->assocs, a, true);
	if (!a && err == 0)
		err = -ENOBUFS;
	u->busy_ns = now_ns;
	set_period(u, now_ns);
	leave_stack(u);
	return err;
}

static int user_connect(struct chime_rdm *r, const struct chime_rdm_peer *to)
{
	return reach(r->impl, to, NULL);
}

static int user_send(struct chime_rdm *r, const struct rdm_out *out)
{
	return reach(r->impl, out->to, out);
}

static int user_end(struct chime_rdm *r, struct rdm_assoc *a, bool abort)
{
	struct user *u = r->impl;
	if (abort && !a->why)
		a->why = -ECONNABORTED;
	int err = chime__stack_end(u->stack, a->path, (uint16_t)chime_addr_port(&a->peer.addr), abort);
	if (err < 0 && abort)
		sweep_one(r, a);
	u->busy_ns = chime_now_mono();
	set_period(u, u->busy_ns);
	leave_stack(u);
	return err;
}

/* ---- opening ---- */

static int watch(struct chime_rdm *r, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN };
	return epoll_ctl(r->inner_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

static int open_udp(struct user *u, const chime_addr *at, int *udp_port, bool dual)
{
	struct chime_rdm *r = u->r;
	chime_addr a = *at;
	char text[CHIME_ADDR_TEXT];
	int one = 1, only = !dual, size = UDP_BUFFER, family = chime_addr_family(at), err = 0;
	int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);
	if (fd < 0)
		return chime__rdm_say(r, -errno, "socket: %s", chime_strerror(-errno));
	unsigned i = u->sock_count++;
	u->socks[i] = fd;
	u->v6[i] = family == AF_INET6;
	u->any[i] = chime_addr_is_any(at);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	if (u->v6[i] && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) < 0)
		err = -errno;
	if (u->any[i])
		(void)setsockopt(fd, u->v6[i] ? IPPROTO_IPV6 : IPPROTO_IP, u->v6[i] ? IPV6_RECVPKTINFO : IP_PKTINFO,
				 &one, sizeof one);
	chime_addr_set_port(&a, *udp_port);
	if (err == 0 && bind(fd, &a.u.sa, a.len) < 0)
		err = -errno;
	a.len = sizeof a.u;
	if (err == 0 && getsockname(fd, &a.u.sa, &a.len) < 0)
		err = -errno;
	if (err == 0)
		err = watch(r, fd);
	if (err < 0) {
		chime_addr_print(&a, text, sizeof text);
		return chime__rdm_say(r, err, "bind UDP %s: %s%s", text, chime_strerror(err),
				      err == -EADDRINUSE ? "; ?udp= chooses another" : "");
	}
	*udp_port = chime_addr_port(&a);
	return 0;
}

static void set_patience(const struct chime_rdm *r, struct rdm_stack_config *c)
{
	struct rdm_patience p = chime__rdm_patience(r);
	c->rto_min_ms = p.rto_min_ms;
	c->rto_max_ms = p.rto_max_ms;
	c->init_ms = p.init_ms;
	c->init_max_ms = p.init_max_ms;
	c->tries = p.tries;
	c->init_tries = p.init_tries;
}

static int open_stack(struct user *u, uint16_t port)
{
	struct chime_rdm *r = u->r;
	struct rdm_stack_config c = { .port = port,
				      .ordered = r->ordered,
				      .sndbuf = r->set.sndbuf >= 0 ? (int)r->set.sndbuf : RDM_BUFFER,
				      .rcvbuf = r->set.rcvbuf >= 0 ? (int)r->set.rcvbuf : RDM_BUFFER,
				      .longest = CHIME_RDM_MAX,
				      .stirred = on_stirred,
				      .owner = u };
	if (c.sndbuf < 2 * CHIME_RDM_MAX)
		c.sndbuf = 2 * CHIME_RDM_MAX;
	if (c.rcvbuf < 2 * CHIME_RDM_MAX)
		c.rcvbuf = 2 * CHIME_RDM_MAX;
	if (r->idle_ns != CHIME_FOREVER)
		c.idle_s = (unsigned)(r->idle_ns / CHIME_SEC);
	set_patience(r, &c);
	int err = chime__stack_init(on_output);
	if (err == 0)
		err = chime__stack_open(&u->stack, &c);
	if (err == -EADDRINUSE)
		return chime__rdm_say(r, err, "SCTP port %u: address in use, by another handle of this process", port);
	return err < 0 ? chime__rdm_say(r, err, "libusrsctp: %s", chime_strerror(err)) : 0;
}

static int open_sockets(struct user *u, const chime_addr *addrs, unsigned n, const chime_addr *bind_to)
{
	struct chime_rdm *r = u->r;
	char text[CHIME_ADDR_TEXT];
	int udp = r->set.udp_port >= 0 ? (int)r->set.udp_port : CHIME_RDM_UDP_PORT, err = 0;
	if (r->serving) {
		for (unsigned i = 0; i < n && err == 0; i++)
			err = open_udp(u, &addrs[i], &udp,
				       n == 1 && chime_addr_family(&addrs[i]) == AF_INET6 && r->dual);
		r->set.udp_port = udp;
		return err;
	}
	chime_addr from = chime_addr_none();
	err = bind_to ? 0 : chime_addr_ip(&from, chime_addr_family(&addrs[0]), "", 0);
	udp = bind_to ? chime_addr_port(bind_to) : 0;
	if (err == 0)
		err = open_udp(u, bind_to ? bind_to : &from, &udp, false);
	if (err < 0)
		return err;
	chime_addr to = addrs[0];
	chime_addr_set_port(&to, r->set.udp_port > 0 ? (int)r->set.udp_port : CHIME_RDM_UDP_PORT);
	u->any[0] = false; /* connected: the system knows by which address */
	if (connect(u->socks[0], &to.u.sa, to.len) == 0)
		return 0;
	err = -errno;
	chime_addr_print(&to, text, sizeof text);
	return chime__rdm_say(r, err, "connect UDP %s: %s", text, chime_strerror(err));
}

static void user_shut(struct chime_rdm *r)
{
	struct user *u = r->impl;
	if (!u)
		return;
	chime__stack_close(u->stack);
	u->stack = NULL;
	leave_stack(u);
	struct user **link = &all;
	while (*link && *link != u)
		link = &(*link)->next;
	if (*link)
		*link = u->next;
	for (unsigned i = 0; i < RDM_CHAINS; i++)
		for (struct rdm_assoc *a = r->assocs.by_id[i]; a; a = a->by_id)
			chime__stack_forget(a->path);
	for (unsigned i = 0; i < u->sock_count; i++)
		close(u->socks[i]);
	if (u->timer_fd >= 0)
		close(u->timer_fd);
	free(u->in);
	free(u->message);
	free(u);
	r->impl = NULL;
}

static int user_open(struct chime_rdm *r, const chime_addr *addrs, unsigned n, const chime_addr *bind_to)
{
	struct user *u = calloc(1, sizeof *u);
	if (!u)
		return -ENOMEM;
	r->impl = u;
	u->r = r;
	u->salt = ++last_salt;
	u->next = all;
	all = u;
	if (ticked_ns == 0)
		ticked_ns = chime_now_mono();
	u->in = malloc((size_t)IN_BATCH * PACKET_MAX);
	u->message = malloc(TAKE_MAX);
	u->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	int err = !u->in || !u->message ? -ENOMEM : u->timer_fd < 0 ? -errno : watch(r, u->timer_fd);
	if (err == 0)
		err = open_sockets(u, addrs, n, bind_to);
	if (err == 0)
		err = open_stack(u, r->serving ? (uint16_t)chime_addr_port(&addrs[0]) : 0);
	if (err < 0)
		return err;
	r->local_count = 0;
	for (unsigned i = 0; i < u->sock_count; i++) {
		chime_addr *a = &r->locals[r->local_count++];
		a->len = sizeof a->u;
		if (getsockname(u->socks[i], &a->u.sa, &a->len) < 0)
			return -errno;
		if (i == 0)
			snprintf(r->carried_by, sizeof r->carried_by, "libusrsctp in UDP, port %d",
				 r->serving            ? chime_addr_port(a)
				 : r->set.udp_port > 0 ? (int)r->set.udp_port
						       : CHIME_RDM_UDP_PORT);
		chime_addr_set_port(a, chime__stack_port(u->stack));
	}
	return 0;
}

const struct rdm_carrier chime__rdm_user = {
	.kind = CHIME_RDM_USER,
	.name = "libusrsctp over UDP",
	.rto_max_ms = RTO_MAX_MS,
	.lock = &stack_lock,
	.available = user_available,
	.open = user_open,
	.shut = user_shut,
	.connect = user_connect,
	.send = user_send,
	.serve = user_serve,
	.end = user_end,
	.dry = user_dry,
};
