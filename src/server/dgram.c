/* A datagram socket in a worker: what comes in is judged, answered in place, and sent in batches. */
#include "server/dgram.h"

#include "fault.h"
#include "server/peers.h"
#include "server/reply.h"
#include "server/steer.h"

#include <chime/error.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define UDP_MAX_V4 65507                    /* 65535 less the headers of IPv4 and UDP */
#define UDP_MAX_V6 65527                    /* IPv6's length does not count its own header */
#define UNIX_MAX (CHIME_MESSAGE_MAX + 4096) /* what listen.c makes room for */
#define PUMP_ROUNDS 16                      /* batches in a row, before others have their turn */
#define RETRY_NS TIMER_TICK_NS              /* for peers that are stuck, and receiving that failed */

/* Why datagrams are dropped: each has its counter, and its line in the log once a second. */
enum drop {
	DROP_SOURCE,
	DROP_MANY,
	DROP_NAMELESS,
	DROP_LOOP,
	DROP_RATE,
	DROP_LONG,
	DROP_QUEUE,
	DROP_SEND,
	DROP_STALL,
	DROP_SERVICE,
	DROP_RECV, /* no datagram: receiving failed */
	DROPS
};

#define COUNTER(name) offsetof(struct chime_server_stats, name)

static const struct {
	size_t counter;
	enum chime_log_level level;
	const char *op, *msg;
} drops[DROPS] = {
	[DROP_SOURCE] = { COUNTER(dropped_source), CHIME_LOG_INFO, "recv", "its source is no client's: not answered" },
	[DROP_MANY] = { COUNTER(dropped_source), CHIME_LOG_INFO, "recv",
			"it was sent to a broadcast or multicast address: not answered" },
	[DROP_NAMELESS] = { COUNTER(dropped_source), CHIME_LOG_INFO, "recv",
			    "the sender has no name that an answer could go to" },
	[DROP_LOOP] = { COUNTER(dropped_loop), CHIME_LOG_WARN, "recv",
			"an answer of a server like this one: not answered" },
	[DROP_RATE] = { COUNTER(dropped_rate), CHIME_LOG_INFO, "recv", "over the rate: not answered" },
	[DROP_LONG] = { COUNTER(dropped_long), CHIME_LOG_WARN, "recv", "too long to receive or to answer" },
	[DROP_QUEUE] = { COUNTER(dropped_queue), CHIME_LOG_WARN, "send", "the queue is full: answer dropped" },
	[DROP_SEND] = { COUNTER(dropped_queue), CHIME_LOG_INFO, "send", "answer dropped" },
	[DROP_STALL] = { COUNTER(dropped_queue), CHIME_LOG_WARN, "send",
			 "the peer took nothing for too long: answers dropped" },
	[DROP_SERVICE] = { COUNTER(errors), CHIME_LOG_WARN, "recv", "the service failed on it: not answered" },
	[DROP_RECV] = { COUNTER(errors), CHIME_LOG_ERROR, "recv", "receiving failed, and is tried again" },
};

/* What becomes of a message of d->out when it is sent or not. */
struct held {
	struct waiting *waiting; /* it comes from the queue, else from a receive buffer: */
	struct buf *buf;         /* referenced while .out_kept */
	unsigned answers;
	size_t len;
};

struct dgram {
	struct chime_conn base;
	struct dgram *next;
	struct op recv, send;
	struct chime_timer retry;
	struct loop_task later;
	bool pumping;   /* later is to run */
	bool ip;        /* judged by the guard; the kernel tells when there is room again */
	bool v6;        /* IPv4 peers are mapped */
	bool blocked;   /* the socket had no room when last tried: wait for it first */
	bool read_done; /* draining: nothing more is read */
	bool out_kept;
	uint64_t drained; /* messages read while draining */
	struct guard guard;
	const struct op_msg *current; /* the message that the service is looking at */

	struct op_msg out[OP_MSGS]; /* being sent: from out_at on; empty between calls unless send is running */
	struct held held[OP_MSGS];
	unsigned out_at, out_n;
	struct peers peers; /* what waits */

	int64_t told_ns[DROPS]; /* when the last line was logged */
	uint64_t untold[DROPS];
};

static struct loop *loop_of(struct dgram *d)
{
	return &d->base.worker->loop;
}

static struct chime_server_stats *stats_of(struct dgram *d)
{
	return &d->base.worker->stats;
}

/* ---- dropping ---- */

static void tell(struct dgram *d, enum drop kind, const chime_addr *peer, int err)
{
	struct chime_log_event e = { .level = drops[kind].level,
				     .event = kind == DROP_RECV ? "error" : "drop",
				     .peer = peer,
				     .endpoint = &d->base.served->endpoint,
				     .op = drops[kind].op,
				     .err = err,
				     .count = d->untold[kind],
				     .msg = drops[kind].msg };
	log_tell(d->base.worker, &e);
	d->untold[kind] = 0;
	d->told_ns[kind] = loop_of(d)->now_ns;
}

static void drop(struct dgram *d, enum drop kind, uint64_t n, const chime_addr *peer, int err)
{
	stat_add((uint64_t *)(void *)((char *)stats_of(d) + drops[kind].counter), n);
	if (!log_wanted(d->base.worker, drops[kind].level))
		return;
	d->untold[kind] += n;
	if (!d->told_ns[kind] || loop_of(d)->now_ns - d->told_ns[kind] >= CHIME_SEC)
		tell(d, kind, peer, err);
}

static void tell_rest(struct dgram *d)
{
	for (unsigned i = 0; i < DROPS; i++)
		if (d->untold[i])
			tell(d, (enum drop)i, NULL, 0);
}

/* ---- ending ---- */

static void finish_if_done(struct dgram *d)
{
	if (d->base.state != DGRAM_DRAINING || !d->read_done || d->pumping || op_running(&d->recv) ||
	    op_running(&d->send) || d->peers.count)
		return;
	chime__timer_stop(&loop_of(d)->timers, &d->retry);
	tell_rest(d);
	loop_of(d)->backend->close(loop_of(d), d->base.fd, false);
	d->base.fd = -1;
	d->base.state = DGRAM_CLOSED;
	chime__dgram_gone(d);
}

/* ---- sending ---- */

/* queued_bytes follows what the queue costs. */
static void count_queue(struct dgram *d, size_t before)
{
	if (d->peers.cost > before)
		stat_add(&stats_of(d)->queued_bytes, d->peers.cost - before);
	else
		stat_sub(&stats_of(d)->queued_bytes, before - d->peers.cost);
}

static void queue(struct dgram *d, const struct op_msg *m, size_t len, unsigned answers, bool front)
{
	size_t before = d->peers.cost;
	int err = chime__peers_add(&d->peers, m, len, answers, front, loop_of(d)->now_ns);
	count_queue(d, before);
	if (err < 0)
		drop(d, DROP_QUEUE, 1, &m->peer, err);
}

/* The i-th of out is over: it was sent, or dropped. */
static void end_out(struct dgram *d, unsigned i, bool sent)
{
	struct held *h = &d->held[i];
	if (sent) {
		stat_add(&stats_of(d)->answers, h->answers);
		stat_add(&stats_of(d)->sent_bytes, h->len);
	}
	if (h->waiting) {
		size_t before = d->peers.cost;
		chime__peers_done(&d->peers, h->waiting, sent ? loop_of(d)->now_ns : 0);
		count_queue(d, before);
	} else if (d->out_kept) {
		buf_unref(h->buf);
	}
}

/* What stands in out from at on for that peer (NULL: for all) goes to the queue, in order; the rest moves up. */
static void wait_out(struct dgram *d, const chime_addr *peer)
{
	unsigned kept = d->out_at;
	uint32_t moved = 0; /* a bit for each */
	for (unsigned i = d->out_at; i < d->out_n; i++)
		if (!peer || (d->out[i].peer.len == peer->len && !memcmp(&d->out[i].peer.u, &peer->u, peer->len)))
			moved |= 1u << i;
	/* To the front of the queue, the last one first: what came while they were being sent waits there already. */
	for (unsigned i = d->out_n; i-- > d->out_at;) {
		if (!(moved & 1u << i))
			continue;
		if (d->held[i].waiting) {
			chime__peers_back(&d->peers, d->held[i].waiting);
			continue;
		}
		queue(d, &d->out[i], d->held[i].len, d->held[i].answers, !FAULT(REORDERED));
		if (d->out_kept)
			buf_unref(d->held[i].buf);
	}
	for (unsigned i = d->out_at; i < d->out_n; i++)
		if (!(moved & 1u << i)) {
			d->out[kept] = d->out[i];
			d->held[kept++] = d->held[i];
		}
	d->out_n = kept;
}

/* Acts on what the send operation said about out. */
static void settle(struct dgram *d, int res)
{
	if (res > 0) {
		for (int i = 0; i < res; i++)
			end_out(d, d->out_at++, true);
	} else if (res == -EAGAIN && d->ip) {
		wait_out(d, NULL);
		chime__peers_unstick(&d->peers); /* the socket had no room, whoever the peer */
		d->blocked = true;
	} else if (res == -EAGAIN) {
		chime_addr peer = d->out[d->out_at].peer; /* out moves */
		wait_out(d, &peer);
		chime__peers_stick(&d->peers, &peer);
	} else {
		drop(d, res == -EMSGSIZE ? DROP_LONG : DROP_SEND, 1, &d->out[d->out_at].peer, res);
		end_out(d, d->out_at++, false);
	}
}

static void keep_bufs(struct dgram *d)
{
	if (d->out_kept)
		return;
	d->out_kept = true;
	for (unsigned i = d->out_at; i < d->out_n; i++)
		if (!d->held[i].waiting)
			buf_ref(d->held[i].buf);
}

/* Sends out, until it is empty or an operation is under way. */
static void flush(struct dgram *d)
{
	while (d->out_at < d->out_n) {
		d->send.flags = d->blocked ? OP_WAIT_FIRST : OP_NOWAIT;
		d->send.u.msgs = &d->out[d->out_at];
		d->send.n = (uint16_t)(d->out_n - d->out_at);
		d->blocked = false;
		int res = op_submit(loop_of(d), &d->send);
		if (res == 0) {
			keep_bufs(d);
			return;
		}
		settle(d, res == 1 ? d->send.res : res);
	}
	d->out_at = d->out_n = 0;
	d->out_kept = false;
}

static void on_retry(chime_timer *t, void *arg);

static void retry_soon(struct dgram *d)
{
	if (!timer_running(&d->retry))
		chime__timer_start(&loop_of(d)->timers, &d->retry, loop_of(d)->now_ns + RETRY_NS, on_retry, d);
}

/* Sends what waits, as far as it goes now. */
static void pump(struct dgram *d)
{
	for (unsigned round = 0; !op_running(&d->send) && d->peers.ready.first; round++) {
		if (round == PUMP_ROUNDS && !d->ip)
			break;                      /* the timer goes on */
		d->blocked |= round == PUMP_ROUNDS; /* the next turn goes on */
		while (d->out_n < OP_MSGS) {
			struct waiting *w = chime__peers_take(&d->peers);
			if (!w)
				break;
			d->held[d->out_n] = (struct held){ .waiting = w, .answers = w->answers, .len = w->len };
			d->out[d->out_n++] = (struct op_msg){ .peer = w->peer->addr,
							      .local = w->local,
							      .local_if = w->local_if,
							      .iov = &w->iov,
							      .n = 1 };
		}
		flush(d);
	}
	if (!op_running(&d->send) && d->peers.count && !FAULT(NO_RETRY))
		retry_soon(d);
}

static void on_sent(struct loop *lp, struct op *op, const struct op_event *ev)
{
	struct dgram *d = (struct dgram *)((char *)op - offsetof(struct dgram, send));
	(void)lp;
	if (ev->res == -ECANCELED) {
		while (d->out_at < d->out_n)
			settle(d, -ECANCELED);
	} else {
		settle(d, ev->res ? ev->res : -EIO);
	}
	flush(d);
	pump(d);
	finish_if_done(d);
}

/* ---- receiving ---- */

static size_t longest(const struct dgram *d, const chime_addr *peer)
{
	if (!d->ip)
		return UNIX_MAX;
	if (chime_addr_family(peer) == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&peer->u.in6.sin6_addr))
		return UDP_MAX_V6;
	return UDP_MAX_V4;
}

/* False: it is not to be answered, and counted. */
static bool judge(struct dgram *d, const struct op_msg *m)
{
	if (m->truncated) {
		drop(d, DROP_LONG, 1, &m->peer, -EMSGSIZE);
		return false;
	}
	if (!d->ip)
		return true;
	if (m->to_many) {
		drop(d, DROP_MANY, 1, &m->peer, 0);
		return false;
	}
	switch (chime__guard_judge(&d->guard, &m->peer, loop_of(d)->now_ns)) {
	case GUARD_SOURCE:
		drop(d, DROP_SOURCE, 1, &m->peer, 0);
		return false;
	case GUARD_RATE:
		drop(d, DROP_RATE, 1, &m->peer, 0);
		return false;
	default:
		return true;
	}
}

static void refused(struct dgram *d, const struct op_msg *m, int err)
{
	enum drop kind = err == -ELOOP                               ? DROP_LOOP
			 : err == -EMSGSIZE || err == CHIME_ETOOLONG ? DROP_LONG
								     : DROP_SERVICE;
	drop(d, kind, 1, &m->peer, err);
}

static void copy_addr(chime_addr *to, const chime_addr *from)
{
	to->len = from->len;
	memcpy(&to->u, &from->u, from->len); /* a whole one is eight times as long */
}

/* To whom, and from which address of ours. */
static void set_reply(struct op_msg *reply, const struct op_msg *m)
{
	copy_addr(&reply->peer, &m->peer);
	copy_addr(&reply->local, &m->local);
	reply->local_if = m->local_if;
}

/* Has the service answer m into out, or into the queue where others wait. */
static void answer(struct dgram *d, const struct op_msg *m, int64_t time_ns)
{
	struct chime_reply r;
	struct chime_input in = { .data = m->data,
				  .len = m->len,
				  .time_ns = time_ns,
				  .message = true,
				  .config = d->base.served->config,
				  .peer = &m->peer,
				  .conn = &d->base };
	stat_add(&stats_of(d)->received_bytes, m->len);
	if (!judge(d, m))
		return;
	/* As it is before the service sends something of its own, which goes behind the reply. */
	bool waits = op_running(&d->send) || (d->ip ? d->peers.count > 0 : chime__peers_has(&d->peers, &m->peer));
	reply_init(&r, m->buf->iov, BUF_IOVS, m->buf->scratch, BUF_SCRATCH);
	d->current = m;
	ssize_t err = d->base.served->service->received(&in, &r);
	d->current = NULL;
	if (err < 0) {
		refused(d, m, (int)err);
		return;
	}
	if (!r.answer)
		return;
	if (m->peer.len <= sizeof(sa_family_t)) {
		drop(d, DROP_NAMELESS, 1, &m->peer, 0);
		return;
	}
	if (r.bytes > longest(d, &m->peer)) {
		drop(d, DROP_LONG, 1, &m->peer, -EMSGSIZE);
		return;
	}
	if (waits) {
		struct op_msg reply = { .iov = r.iov, .n = (int)r.n };
		set_reply(&reply, m);
		queue(d, &reply, r.bytes, reply_answers(&r), false);
		return;
	}
	d->held[d->out_n] = (struct held){ .buf = m->buf, .answers = reply_answers(&r), .len = r.bytes };
	struct op_msg *out = &d->out[d->out_n++];
	out->iov = r.iov;
	out->n = (int)r.n;
	set_reply(out, m);
}

static void read_on(struct dgram *d)
{
	d->recv.flags = (d->recv.flags & OP_PKTINFO) | (d->base.state == DGRAM_DRAINING ? OP_NOWAIT : 0);
	int err = op_submit(loop_of(d), &d->recv);
	if (err == 0)
		return;
	drop(d, DROP_RECV, 1, NULL, err);
	if (d->base.state == DGRAM_DRAINING)
		d->read_done = true;
	else
		retry_soon(d);
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
		drop(d, DROP_RECV, 1, NULL, res);
		retry_soon(d); /* at once could be for ever */
	}
}

static void on_received(struct loop *lp, struct op *op, const struct op_event *ev)
{
	struct dgram *d = (struct dgram *)((char *)op - offsetof(struct dgram, recv));
	if (ev->res > 0) {
		int64_t time_ns = lp->backend->real(lp);
		stat_add(&stats_of(d)->messages, (unsigned)ev->res);
		for (int i = 0; i < ev->res; i++)
			answer(d, &ev->msgs[i], time_ns);
		if (!op_running(&d->send))
			flush(d);
		pump(d);
		if (d->base.state == DGRAM_DRAINING)
			d->drained += (unsigned)ev->res;
		if (d->drained > DGRAM_DRAIN && ev->more)
			op_cancel(lp, op);
	}
	if (!ev->more)
		read_ended(d, ev->res);
	finish_if_done(d);
}

static void on_retry(chime_timer *t, void *arg)
{
	struct dgram *d = arg;
	int64_t limit_ns = d->base.worker->config->stall_timeout_ns;
	size_t before = d->peers.cost;
	(void)t;
	if (d->base.state == DGRAM_OPEN && !op_running(&d->recv))
		read_on(d);
	unsigned n = limit_ns > 0 ? chime__peers_drop(&d->peers, loop_of(d)->now_ns - limit_ns) : 0;
	count_queue(d, before);
	if (n)
		drop(d, DROP_STALL, n, NULL, -ETIMEDOUT);
	chime__peers_unstick(&d->peers);
	pump(d);
	finish_if_done(d);
}

/* ---- from outside ---- */

static void on_later(struct loop *lp, struct loop_task *task)
{
	struct dgram *d = (struct dgram *)((char *)task - offsetof(struct dgram, later));
	(void)lp;
	d->pumping = false;
	pump(d);
	finish_if_done(d);
}

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
	size_t before = d->peers.cost;
	if (d->base.state == DGRAM_CLOSED)
		return -EPIPE;
	if (to->len <= sizeof(sa_family_t))
		return -EDESTADDRREQ;
	if (len > longest(d, to))
		return -EMSGSIZE;
	m.peer = native(d, to);
	if (d->current && chime_addr_equal(&d->current->peer, &m.peer)) {
		m.local = d->current->local; /* from where it was asked, as an answer */
		m.local_if = d->current->local_if;
	}
	int err = chime__peers_add(&d->peers, &m, len, 1, false, loop_of(d)->now_ns);
	count_queue(d, before);
	if (err == 0 && !d->pumping) {
		d->pumping = true;
		d->later.run = on_later;
		chime__loop_later(loop_of(d), &d->later);
	}
	return err;
}

/* Ours, or what the configuration allows, if that is less. */
static size_t least(size_t ours, uint64_t allowed)
{
	return allowed && allowed < ours ? (size_t)allowed : ours;
}

int chime__dgram_open(struct chime_worker *w, const struct served *served, struct listen_sock *sock,
		      const uint16_t *ports, unsigned port_count)
{
	int64_t total = w->config->datagram_rate_total, workers = served->set.workers ? served->set.workers : 1;
	int fd = sock->fds[w->number];
	if (fd < 0)
		return 0;
	struct dgram *d = calloc(1, sizeof *d);
	if (!d)
		return -ENOMEM;
	d->base = (struct chime_conn){ .worker = w, .served = served, .fd = fd, .datagram = true, .state = DGRAM_OPEN };
	d->ip = sock->family == AF_INET || sock->family == AF_INET6;
	d->v6 = sock->family == AF_INET6;
	d->recv = (struct op){ .done = on_received,
			       .fd = fd,
			       .kind = OP_RECV_MSGS,
			       .flags = d->ip && chime_addr_is_any(&sock->addr) ? OP_PKTINFO : 0 };
	d->send = (struct op){ .done = on_sent, .fd = fd, .kind = OP_SEND_MSGS };
	chime__peers_init(&d->peers, least(DGRAM_QUEUE_BYTES, w->queue_max),
			  least(DGRAM_QUEUE_PEER, w->config->queue_conn_max));
	int err = 0;
	if (d->ip)
		err = chime__guard_init(&d->guard, served->rate, total > 0 ? (total + workers - 1) / workers : 0, ports,
					port_count);
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
	size_t before = d->peers.cost;
	if (d->base.state == DGRAM_CLOSED)
		return;
	d->base.state = DGRAM_DRAINING;
	d->read_done = true;
	if (op_running(&d->recv))
		op_cancel(loop_of(d), &d->recv);
	if (op_running(&d->send))
		op_cancel(loop_of(d), &d->send);
	unsigned n = chime__peers_drop(&d->peers, INT64_MAX);
	count_queue(d, before);
	if (n)
		drop(d, DROP_SEND, n, NULL, -ECANCELED);
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
	chime__peers_fini(&d->peers);
	chime__guard_fini(&d->guard);
	free(d);
}

struct dgram *chime__dgram_next(struct dgram *d)
{
	return d->next;
}
