/*
 * The carrier in user space: UDP sockets (RFC 6951; rdm_udp.c) under the stack behind net/rdm_stack.h, and its clock.
 *
 * The stack is one for the process, and so is the lock. Packets for any handle are sent as they come out of the stack, in batches; what
 * another handle's packet or the clock brought for a handle is told to it by its ready descriptor. A few lines over 600: all of it is
 * done with that lock held, on one table of handles.
 */
#include "net/rdm_user.h"
#include "net/rdm.h"
#include "net/rdm_paths.h"
#include "net/rdm_stack.h"
#include "net/rdm_udp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define IN_ROUNDS 8   /* batches in a row, before the caller has his turn */
#define PACKET_MIN 16 /* a common header and a chunk's */
#define TICK_FAST_NS (10 * CHIME_MSEC)
#define TICK_SLOW_NS (250 * CHIME_MSEC) /* nothing is under way: only heartbeats and ends of idle associations */
#define BUSY_NS CHIME_SEC
#define SWEEP_NS CHIME_SEC
#define CHECK_NS (100 * CHIME_MSEC) /* how often it is asked whether all is acknowledged, where that was not said */
#define CHUNK_COOKIE_ECHO 10
/*
 * Where much is lost, waits grow with every loss and shrink only when something new gets through. A low ceiling costs long paths
 * nothing: libusrsctp sends nothing again before the round trip that it measured has passed, whatever this says.
 */
#define RTO_MAX_MS 100
#define TAKE_MAX (CHIME_RDM_MAX + 65536)

struct user {
	struct chime_rdm *r;
	struct user *next; /* in all */
	uint64_t salt;
	struct rdm_stack *stack;
	struct rdm_udp udp;
	int timer_fd;
	int64_t period_ns; /* as the timer is set */
	int64_t busy_ns;   /* when something last came or went */
	int64_t checked_ns, swept_ns;
	struct strangers strangers;
	/* Whose packet is being looked at, or with whom an association is begun: not in the table yet. */
	struct rdm_path current;
	unsigned char *message; /* being taken; TAKE_MAX */
	size_t message_len;
	bool message_broken; /* too long: its rest is thrown away */
};

static pthread_mutex_t stack_lock = PTHREAD_MUTEX_INITIALIZER;
static struct user *all;
static bool torn; /* the stack is a copy of one that another thread was changing when this process was forked */
static uint64_t last_salt;
static int64_t ticked_ns; /* up to when the stack knows the time */
static chime__rdm_tap_fn *tap;
static void *tap_arg;

static int user_available(void)
{
	return chime__stack_built() ? 0 : CHIME_ESCHEME;
}

/* Of the parent's handles nothing may be called, and a lock that another thread held is held for ever. */
static void forked(void)
{
	if (pthread_mutex_trylock(&stack_lock) == 0) {
		pthread_mutex_unlock(&stack_lock);
	} else {
		torn = true;
		pthread_mutex_init(&stack_lock, NULL);
	}
	all = NULL;
}

static void watch_forks(void)
{
	pthread_atfork(NULL, NULL, forked);
}

/* ---- packets out ---- */

static void put_out(struct user *u, const chime_addr *wire, const chime_addr *local, unsigned char socket,
		    const void *packet, size_t len)
{
	if (tap)
		tap(tap_arg, u->r, wire, packet, len);
	else
		chime__rdm_udp_put(&u->udp, wire, local, socket, packet, len);
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
		if (u->udp.out_count)
			chime__rdm_udp_flush(&u->udp);
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
	struct chime_rdm_peer p = { chime_addr_unmap(wire), (uint16_t)chime_addr_port(wire), 0 };
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
static struct rdm_assoc *enter(struct user *u, const struct rdm_path *p, uint16_t port, uint32_t id)
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

static int path_to(struct user *u, const struct chime_rdm_peer *to, struct rdm_path *p)
{
	int err = chime__rdm_udp_path(&u->udp, to, p);
	return err < 0 ? err : chime__path_number(&p->wire, u->salt << 8 | p->socket, &p->number);
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

/* whole: beyond the queue's bound too; the stack's own is no greater. */
static void take(struct user *u, bool whole)
{
	struct rdm_stack_event ev;
	while (whole || !rdm_queue_full(u->r)) {
		chime__stack_take(u->stack, u->message + u->message_len, TAKE_MAX - u->message_len, &ev);
		if (ev.kind == STACK_NOTHING) {
			u->r->stirred = false;
			return;
		}
		take_event(u, &ev);
	}
}

static void take_all(struct user *u)
{
	if (u->r->stirred)
		take(u, false);
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
static void take_packet(struct user *u, const struct rdm_path *p, const unsigned char *packet, size_t len,
			int64_t now_ns)
{
	if (len < PACKET_MIN || len >= RDM_UDP_PACKET || p->wire.len == 0 || chime_addr_port(&p->wire) <= 0) {
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
	uint32_t id = chime__stack_assoc(u->stack, p->number, port);
	if (id && (!a || a->id != id)) { /* the old one may be over, and its end not taken yet */
		bool known = chime__rdm_find_path(&u->r->assocs, p->number);
		if ((!a && u->r->assocs.count >= u->r->peers_max) || !enter(u, p, port, id)) {
			u->r->stats.refused++;
			(void)chime__stack_end(u->stack, p->number, port, true);
		} else if (!known) {
			chime__stack_know(p->number);
		}
	}
	u->current.number = 0;
}

void chime__rdm_user_packet(struct chime_rdm *r, const chime_addr *wire, const void *packet, size_t len, int64_t now_ns)
{
	struct user *u = r->impl;
	struct rdm_path p = { .wire = *wire };
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

static void on_packet(struct chime_rdm *r, struct rdm_path *p, const unsigned char *packet, size_t len, int64_t now_ns)
{
	struct user *u = r->impl;
	if (chime__path_number(&p->wire, u->salt << 8 | p->socket, &p->number) == 0)
		take_packet(u, p, packet, len, now_ns);
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
	for (unsigned s = 0; s < u->udp.count; s++)
		for (unsigned i = 0; i < IN_ROUNDS && chime__rdm_udp_read(&u->udp, s, on_packet, now_ns); i++)
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
	struct rdm_path p;
	int64_t now_ns = chime_now_mono();
	uint16_t port = (uint16_t)chime_addr_port(&to->addr);
	tick(now_ns);
	int err = path_to(u, to, &p);
	if (err < 0)
		return err;
	struct rdm_assoc *a = find(u, p.number, port);
	bool over = a && chime__stack_assoc(u->stack, p.number, port) != a->id; /* its end is not taken yet */
	if (((!a || over) && (u->r->answers_only || to->assoc)) || !rdm_is_it(a, to))
		return -ENOTCONN;
	if (over) {
		take(u, true);
		a = find(u, p.number, port);
	}
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

static void user_leave(struct chime_rdm *r)
{
	struct user *u = r->impl;
	chime__rdm_udp_close(&u->udp);
	if (u->timer_fd >= 0)
		close(u->timer_fd);
	free(u->message);
	free(u);
	r->impl = NULL;
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
	user_leave(r);
}

static int user_open(struct chime_rdm *r, const chime_addr *addrs, unsigned n, const chime_addr *bind_to)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, watch_forks);
	if (torn)
		return chime__rdm_say(r, -EOPNOTSUPP,
				      "libusrsctp was at work in another thread when this process was forked");
	struct user *u = calloc(1, sizeof *u);
	if (!u)
		return -ENOMEM;
	r->impl = u;
	u->r = u->udp.r = r;
	u->salt = ++last_salt;
	u->next = all;
	all = u;
	if (ticked_ns == 0)
		ticked_ns = chime_now_mono();
	u->message = malloc(TAKE_MAX);
	u->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	struct epoll_event ev = { .events = EPOLLIN };
	int err = 0;
	if (u->timer_fd < 0 || epoll_ctl(r->inner_fd, EPOLL_CTL_ADD, u->timer_fd, &ev) < 0)
		err = -errno;
	if (!u->message)
		err = -ENOMEM;
	if (err == 0)
		err = chime__rdm_udp_open(&u->udp, addrs, n, bind_to);
	if (err == 0)
		err = open_stack(u, r->serving ? (uint16_t)chime_addr_port(&addrs[0]) : 0);
	if (err < 0)
		return err;
	r->local_count = 0;
	for (unsigned i = 0; i < u->udp.count; i++) {
		chime_addr *a = &r->locals[r->local_count++];
		a->len = sizeof a->u;
		if (getsockname(u->udp.socks[i], &a->u.sa, &a->len) < 0)
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
	.leave = user_leave,
	.connect = user_connect,
	.send = user_send,
	.serve = user_serve,
	.end = user_end,
	.dry = user_dry,
};
