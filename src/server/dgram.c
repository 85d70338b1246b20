/* A datagram socket in a worker: what comes in is judged, answered in place, and sent in batches. */
#include "server/dgram.h"

#include "fault.h"
#include "net/prepare.h"
#include "server/envelope.h"
#include "server/outbox.h"
#include "server/steer.h"

#include <chime/error.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define UDP_MAX_V4 65507 /* 65535 less the headers of IPv4 and UDP */
#define UDP_MAX_V6 65527 /* IPv6's length does not count its own header */
#define RAW_MAX_V4 65515 /* IPv4's header alone */
#define RAW_MAX_V6 65535
#define UNIX_MAX (CHIME_MESSAGE_MAX + 4096) /* what listen.c makes room for */
#define AGAIN_NS TIMER_TICK_NS              /* until receiving is tried again, after it failed */

struct dgram {
	struct chime_conn base;
	struct dgram *next;
	struct op recv;
	struct chime_timer again; /* receiving, after it failed */
	bool ip;                  /* judged by the guard */
	bool v6;                  /* IPv4 peers are mapped */
	bool many;                /* what was sent to a group or to broadcast is answered: it was asked for */
	bool read_done;           /* draining: nothing more is read */
	uint64_t drained;         /* messages read while draining */
	struct guard guard;
	struct drops drops;
	struct outbox outbox;
	struct returns returns; /* used where the outbox knows them */
	struct envelope envelope;
	const struct op_msg *current; /* the message that the service is looking at */
};

static struct loop *loop_of(struct dgram *d)
{
	return &d->base.worker->loop;
}

static struct chime_server_stats *stats_of(struct dgram *d)
{
	return &d->base.worker->stats;
}

/* ---- ending ---- */

static void finish_if_done(struct dgram *d)
{
	if (d->base.state != DGRAM_DRAINING || !d->read_done || op_running(&d->recv) || !chime__outbox_idle(&d->outbox))
		return;
	chime__timer_stop(&loop_of(d)->timers, &d->again);
	chime__outbox_stop(&d->outbox);
	chime__drops_tell_rest(&d->drops);
	loop_of(d)->backend->close(loop_of(d), d->base.fd, false);
	d->base.fd = -1;
	d->base.state = DGRAM_CLOSED;
	chime__dgram_gone(d);
}

/* ---- receiving ---- */

static size_t longest(const struct dgram *d, const chime_addr *peer)
{
	if (chime_addr_family(peer) == AF_TIPC)
		return CHIME__TIPC_MAX;
	if (!d->ip)
		return UNIX_MAX;
	if (d->envelope.raw)
		return d->v6 ? RAW_MAX_V6 : RAW_MAX_V4;
	if (chime_addr_family(peer) == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&peer->u.in6.sin6_addr))
		return UDP_MAX_V6;
	return UDP_MAX_V4;
}

/* False: it is not to be answered, and counted. */
static bool judge(struct dgram *d, const struct op_msg *m)
{
	if (m->truncated && !FAULT(CUT_ANSWERED)) {
		chime__drop(&d->drops, DROP_LONG, 1, &m->peer, -EMSGSIZE);
		return false;
	}
	if (!d->ip)
		return true;
	if (m->to_many && !d->many && !FAULT(MANY_ANSWERED)) {
		chime__drop(&d->drops, DROP_MANY, 1, &m->peer, 0);
		return false;
	}
	switch (chime__guard_judge(&d->guard, &m->peer, loop_of(d)->now_ns)) {
	case GUARD_SOURCE:
		chime__drop(&d->drops, DROP_SOURCE, 1, &m->peer, 0);
		return false;
	case GUARD_RATE:
		chime__drop(&d->drops, DROP_RATE, 1, &m->peer, 0);
		return false;
	default:
		return true;
	}
}

static void refused(struct dgram *d, const struct op_msg *m, int err)
{
	bool answers_come = d->envelope.raw && !d->envelope.icmp;
	enum drop kind = err == -ELOOP                               ? answers_come ? DROP_ANSWER : DROP_LOOP
			 : err == -EMSGSIZE || err == CHIME_ETOOLONG ? DROP_LONG
								     : DROP_SERVICE;
	chime__drop(&d->drops, kind, 1, &m->peer, err);
}

/* Has the service answer m. */
static void answer(struct dgram *d, struct op_msg *m, int64_t time_ns)
{
	struct chime_reply r;
	int err = d->envelope.raw ? chime__envelope_open(&d->envelope, m) : 0;
	if (err < 0) {
		if (err != -EAGAIN)
			chime__drop(&d->drops, DROP_BROKEN, 1, &m->peer, err);
		return;
	}
	struct chime_input in = { .data = m->data,
				  .len = m->len,
				  .time_ns = time_ns,
				  .message = true,
				  .answers_come = d->envelope.raw && !d->envelope.icmp,
				  .config = d->base.served->config,
				  .peer = &m->peer,
				  .conn = &d->base };
	stat_add(&stats_of(d)->received_bytes, m->len);
	if (!judge(d, m))
		return;
	/* As it is before the service sends something of its own, which goes behind the reply. */
	bool waits = chime__outbox_waits(&d->outbox, &m->peer);
	chime__envelope_begin(&d->envelope, m, &r);
	d->current = m;
	ssize_t used = d->base.served->service->received(&in, &r);
	d->current = NULL;
	if (used < 0) {
		refused(d, m, (int)used);
		return;
	}
	if (!r.answer)
		return;
	if (d->envelope.icmp)
		chime__envelope_end(&d->envelope, m, &r);
	if (m->peer.len <= sizeof(sa_family_t)) {
		chime__drop(&d->drops, DROP_NAMELESS, 1, &m->peer, 0);
		return;
	}
	if (r.bytes > UDP_MAX_V4 && r.bytes > longest(d, &m->peer)) { /* no kind has less */
		chime__drop(&d->drops, DROP_LONG, 1, &m->peer, -EMSGSIZE);
		return;
	}
	chime__outbox_reply(&d->outbox, m, &r, waits);
}

/* An answer of ours was not delivered. */
static void came_back(struct dgram *d, const struct op_msg *m)
{
	int64_t now_ns = loop_of(d)->now_ns, limit_ns = d->base.worker->config->stall_timeout_ns;
	struct iovec whole;
	void *keep;
	int64_t since_ns = chime__returns_came(&d->returns, m, now_ns, &whole, &keep);
	bool stalled = limit_ns > 0 && now_ns - since_ns > limit_ns;
	if (m->returned != -EAGAIN || stalled || !whole.iov_base) {
		chime__drop(&d->drops, stalled ? DROP_STALL : DROP_SEND, 1, &m->peer,
			    m->returned == -EAGAIN ? -ENOBUFS : m->returned);
	} else {
		struct op_msg again = { .peer = m->peer, .iov = &whole, .n = 1 };
		chime__outbox_again(&d->outbox, &again, whole.iov_len);
	}
	free(keep);
}

static void on_again(chime_timer *t, void *arg);

static void again_soon(struct dgram *d)
{
	if (!timer_running(&d->again))
		chime__timer_start(&loop_of(d)->timers, &d->again, loop_of(d)->now_ns + AGAIN_NS, on_again, d);
}

static void read_on(struct dgram *d)
{
	d->recv.flags = (d->recv.flags & (OP_PKTINFO | OP_RETURNS)) | (d->base.state == DGRAM_DRAINING ? OP_NOWAIT : 0);
	int err = op_submit(loop_of(d), &d->recv);
	if (err == 0)
		return;
	chime__drop(&d->drops, DROP_RECV, 1, NULL, err);
	again_soon(d); /* draining too: what waits there is answered, as long as there is time */
}

/* The receive operation is over. */
static void read_ended(struct dgram *d, int res)
{
	bool draining = d->base.state == DGRAM_DRAINING;
	if (draining && (res == -EAGAIN || d->read_done || d->drained > DGRAM_DRAIN)) {
		d->read_done = true;
	} else if (draining) {
		d->drained++; /* an error as well, so that it ends */
		read_on(d);
	} else {
		chime__drop(&d->drops, DROP_RECV, 1, NULL, res);
		again_soon(d); /* at once could be for ever */
	}
}

static void on_received(struct loop *lp, struct op *op, const struct op_event *ev)
{
	struct dgram *d = (struct dgram *)((char *)op - offsetof(struct dgram, recv));
	if (ev->res > 0) {
		int64_t time_ns = lp->backend->real(lp);
		unsigned back = 0;
		for (int i = 0; i < ev->res; i++)
			if (ev->msgs[i].returned) {
				came_back(d, &ev->msgs[i]);
				back++;
			} else {
				answer(d, &ev->msgs[i], time_ns);
			}
		stat_add(&stats_of(d)->messages, (unsigned)ev->res - back);
		chime__outbox_flush(&d->outbox);
		if (d->base.state == DGRAM_DRAINING)
			d->drained += (unsigned)ev->res;
		if (d->drained > DGRAM_DRAIN && ev->more)
			op_cancel(lp, op);
	}
	if (!ev->more)
		read_ended(d, ev->res);
	finish_if_done(d);
}

static void on_again(chime_timer *t, void *arg)
{
	struct dgram *d = arg;
	(void)t;
	if (d->base.state != DGRAM_CLOSED && !d->read_done && !op_running(&d->recv))
		read_on(d);
}

static void on_moved(struct outbox *o)
{
	finish_if_done((struct dgram *)((char *)o - offsetof(struct dgram, outbox)));
}

/* ---- from outside ---- */

/* The socket's own form of an address. */
static chime_addr native(const struct dgram *d, const chime_addr *to)
{
	chime_addr a = *to;
	if (a.u.sa.sa_family != AF_INET)
		return a;
	memset(a.u.in.sin_zero, 0, sizeof a.u.in.sin_zero);
	if (!d->v6)
		return a;
	a.u.in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = to->u.in.sin_port };
	a.u.in6.sin6_addr.s6_addr[10] = a.u.in6.sin6_addr.s6_addr[11] = 0xff;
	memcpy(&a.u.in6.sin6_addr.s6_addr[12], &to->u.in.sin_addr, 4);
	a.len = sizeof a.u.in6;
	return a;
}

int chime__dgram_sendto(struct dgram *d, const void *buf, size_t len, const chime_addr *to)
{
	struct iovec iov = { (void *)(uintptr_t)buf, len };
	struct op_msg m = { .iov = &iov, .n = 1 };
	if (d->base.state == DGRAM_CLOSED)
		return -EPIPE;
	if (to->len <= sizeof(sa_family_t))
		return -EDESTADDRREQ;
	if (d->envelope.icmp) /* an echo reply that nobody asked for */
		return -EOPNOTSUPP;
	if (d->envelope.raw && chime_addr_family(to) != d->envelope.family)
		return -EAFNOSUPPORT;
	if (len > longest(d, to))
		return -EMSGSIZE;
	m.peer = native(d, to);
	if (d->current && chime_addr_equal(&d->current->peer, &m.peer)) {
		m.local = d->current->local; /* from where it was asked, as an answer */
		m.local_if = d->current->local_if;
	}
	return chime__outbox_add(&d->outbox, &m, len);
}

/* Ours, or what the configuration allows, if that is less. */
static size_t least(size_t ours, uint64_t allowed)
{
	return allowed && allowed < ours ? (size_t)allowed : ours;
}

int chime__dgram_open(struct chime_worker *w, const struct served *served, struct listen_sock *sock,
		      const uint16_t *ports, unsigned port_count)
{
	int64_t total = w->config->datagram_rate_total,
		workers = served->set.workers && !sock->shared ? served->set.workers : 1;
	int fd = sock->fds[w->number];
	if (fd < 0)
		return 0;
	struct dgram *d = calloc(1, sizeof *d);
	if (!d)
		return -ENOMEM;
	d->base = (struct chime_conn){
		.worker = w, .served = served, .fd = fd, .datagram = CONN_DGRAM, .state = DGRAM_OPEN
	};
	d->ip = sock->family == AF_INET || sock->family == AF_INET6;
	d->v6 = sock->family == AF_INET6;
	d->many = sock->many;
	d->envelope = (struct envelope){ .raw = sock->type == SOCK_RAW,
					 .icmp = served->endpoint.scheme == CHIME_ICMP,
					 .family = sock->family };
	d->recv = (struct op){ .done = on_received,
			       .fd = fd,
			       .kind = OP_RECV_MSGS,
			       .flags = d->ip && (sock->many || chime_addr_is_any(&sock->addr)) ? OP_PKTINFO : 0 };
	d->drops = (struct drops){ .worker = w, .endpoint = &served->endpoint };
	chime__outbox_init(&d->outbox, w, &d->drops, fd, sock->family == AF_RDS ? OP_BARE : 0, d->ip,
			   least(DGRAM_QUEUE_BYTES, w->queue_max), least(DGRAM_QUEUE_PEER, w->config->queue_conn_max),
			   on_moved);
	chime__returns_init(&d->returns);
	if (sock->family == AF_TIPC && sock->type == SOCK_RDM) {
		d->recv.flags |= OP_RETURNS;
		d->outbox.returns = &d->returns;
	}
	int err = 0;
	if (d->ip)
		err = chime__guard_init(&d->guard, served->rate, total > 0 ? (total + workers - 1) / workers : 0, ports,
					port_count);
	d->guard.portless = d->envelope.raw;
	if (err == 0)
		err = op_submit(&w->loop, &d->recv);
	if (err < 0) {
		chime__guard_fini(&d->guard);
		free(d);
		return err;
	}
	if (d->ip && served->rate > 0 && workers > 1)
		(void)chime__steer_by_source(fd,
					     (unsigned)workers); /* else the rate is each worker's, for what it sees */
	sock->fds[w->number] = -1;
	d->next = w->dgrams;
	w->dgrams = d;
	return 0;
}

void chime__dgram_drain(struct dgram *d)
{
	if (d->base.state != DGRAM_OPEN)
		return;
	d->base.state = DGRAM_DRAINING;
	if (FAULT(DGRAM_UNREAD))
		d->read_done = true;
	if (op_running(&d->recv))
		op_cancel(loop_of(d), &d->recv); /* and read once more, until nothing is there */
	else
		read_on(d);
	finish_if_done(d);
}

void chime__dgram_cut(struct dgram *d)
{
	if (d->base.state == DGRAM_CLOSED)
		return;
	d->base.state = DGRAM_DRAINING;
	d->read_done = true;
	if (op_running(&d->recv))
		op_cancel(loop_of(d), &d->recv);
	chime__outbox_cut(&d->outbox);
	finish_if_done(d);
}

void chime__dgram_free(struct dgram *d)
{
	struct dgram **link = &d->base.worker->dgrams;
	assert(d->base.state == DGRAM_CLOSED);
	while (*link && *link != d)
		link = &(*link)->next;
	if (*link)
		*link = d->next;
	chime__outbox_fini(&d->outbox);
	chime__returns_fini(&d->returns);
	chime__guard_fini(&d->guard);
	free(d);
}

struct dgram *chime__dgram_next(struct dgram *d)
{
	return d->next;
}
