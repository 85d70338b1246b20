/* A datagram socket's answers on their way: sent in batches, or waiting by peer until there is room. */
#include "server/outbox.h"

#include "fault.h"

#include <errno.h>
#include <string.h>

#define PUMP_ROUNDS 16 /* batches in a row, before others have their turn */

static struct loop *loop_of(struct outbox *o)
{
	return &o->worker->loop;
}

static struct chime_server_stats *stats_of(struct outbox *o)
{
	return &o->worker->stats;
}

/* queued_bytes follows what the queue costs. */
static void count_queue(struct outbox *o, size_t before)
{
	if (o->peers.cost > before)
		stat_add(&stats_of(o)->queued_bytes, o->peers.cost - before);
	else
		stat_sub(&stats_of(o)->queued_bytes, before - o->peers.cost);
}

static void queue(struct outbox *o, const struct op_msg *m, size_t len, unsigned answers, bool front)
{
	size_t before = o->peers.cost;
	int err = chime__peers_add(&o->peers, m, len, answers, front, loop_of(o)->now_ns);
	count_queue(o, before);
	if (err < 0)
		chime__drop(o->drops, DROP_QUEUE, 1, &m->peer, err);
}

/* The i-th of out is over: it was sent, or dropped. */
static void end_out(struct outbox *o, unsigned i, bool sent)
{
	struct held *h = &o->held[i];
	if (sent) {
		stat_add(&stats_of(o)->answers, h->answers);
		stat_add(&stats_of(o)->sent_bytes, h->len);
		if (o->returns)
			chime__returns_sent(o->returns, &o->out[i], h->len);
	}
	if (h->waiting) {
		size_t before = o->peers.cost;
		chime__peers_done(&o->peers, h->waiting, sent ? loop_of(o)->now_ns : 0);
		count_queue(o, before);
	} else if (o->kept) {
		buf_unref(h->buf);
	}
}

/* What stands in out from at on for that peer (NULL: for all) goes to the queue, in order; the rest moves up. */
static void wait_out(struct outbox *o, const chime_addr *peer)
{
	unsigned kept = o->at;
	uint32_t moved = 0; /* a bit for each */
	for (unsigned i = o->at; i < o->n; i++)
		if (!peer || (o->out[i].peer.len == peer->len && !memcmp(&o->out[i].peer.u, &peer->u, peer->len)))
			moved |= 1u << i;
	/* To the front of the queue, the last one first: what came while they were being sent waits there already. */
	for (unsigned i = o->n; i-- > o->at;) {
		if (!(moved & 1u << i))
			continue;
		if (o->held[i].waiting) {
			chime__peers_back(&o->peers, o->held[i].waiting);
			continue;
		}
		queue(o, &o->out[i], o->held[i].len, o->held[i].answers, !FAULT(REORDERED));
		if (o->kept)
			buf_unref(o->held[i].buf);
	}
	for (unsigned i = o->at; i < o->n; i++)
		if (!(moved & 1u << i)) {
			o->out[kept] = o->out[i];
			o->held[kept++] = o->held[i];
		}
	o->n = kept;
}

/* Acts on what the send operation said about out. */
static void settle(struct outbox *o, int res)
{
	if (res > 0) {
		for (int i = 0; i < res; i++)
			end_out(o, o->at++, true);
	} else if (res == -EAGAIN && o->ip) {
		wait_out(o, NULL);
		chime__peers_unstick(&o->peers); /* the socket had no room, whoever the peer */
		o->blocked = true;
	} else if (res == -EAGAIN) {
		chime_addr peer = o->out[o->at].peer; /* out moves */
		wait_out(o, &peer);
		chime__peers_stick(&o->peers, &peer);
	} else {
		chime__drop(o->drops, res == -EMSGSIZE ? DROP_LONG : DROP_SEND, 1, &o->out[o->at].peer, res);
		end_out(o, o->at++, false);
		while (FAULT(BATCH_DROPPED) && o->at < o->n)
			end_out(o, o->at++, false);
	}
}

static void keep_bufs(struct outbox *o)
{
	if (o->kept)
		return;
	o->kept = true;
	for (unsigned i = o->at; i < o->n; i++)
		if (!o->held[i].waiting)
			buf_ref(o->held[i].buf);
}

/* Sends out, until it is empty or an operation is under way. */
static void flush(struct outbox *o)
{
	while (o->at < o->n) {
		o->send.flags = (o->send.flags & OP_BARE) | (o->blocked ? OP_WAIT_FIRST : OP_NOWAIT);
		o->send.u.msgs = &o->out[o->at];
		o->send.n = (uint16_t)(o->n - o->at);
		o->blocked = false;
		int res = op_submit(loop_of(o), &o->send);
		if (res == 0) {
			keep_bufs(o);
			return;
		}
		settle(o, res == 1 ? o->send.res : res);
	}
	o->at = o->n = 0;
	o->kept = false;
}

static void on_retry(chime_timer *t, void *arg);

static void retry_soon(struct outbox *o)
{
	if (!timer_running(&o->retry))
		chime__timer_start(&loop_of(o)->timers, &o->retry, loop_of(o)->now_ns + OUTBOX_RETRY_NS, on_retry, o);
}

/* Sends what waits, as far as it goes now. */
static void pump(struct outbox *o)
{
	for (unsigned round = 0; !op_running(&o->send) && o->peers.ready.first; round++) {
		if (round == PUMP_ROUNDS && !o->ip)
			break;                      /* the timer goes on */
		o->blocked |= round == PUMP_ROUNDS; /* the next turn goes on */
		while (o->n < OP_MSGS) {
			struct waiting *w = chime__peers_take(&o->peers);
			if (!w)
				break;
			o->held[o->n] = (struct held){ .waiting = w, .answers = w->answers, .len = w->len };
			o->out[o->n++] = (struct op_msg){ .peer = w->peer->addr,
							  .local = w->local,
							  .local_if = w->local_if,
							  .iov = &w->iov,
							  .n = 1 };
		}
		flush(o);
	}
	if (!op_running(&o->send) && o->peers.count && !FAULT(NO_RETRY))
		retry_soon(o);
}

static void on_retry(chime_timer *t, void *arg)
{
	struct outbox *o = arg;
	int64_t limit_ns = o->worker->config->stall_timeout_ns;
	(void)t;
	/* First what goes now: it may be this thread that stood still so long, and not the peers. */
	chime__peers_unstick(&o->peers);
	pump(o);
	size_t before = o->peers.cost;
	unsigned n = limit_ns > 0 ? chime__peers_drop(&o->peers, loop_of(o)->now_ns - limit_ns) : 0;
	count_queue(o, before);
	if (n)
		chime__drop(o->drops, DROP_STALL, n, NULL, -ETIMEDOUT);
	o->moved(o);
}

static void on_later(struct loop *lp, struct loop_task *task)
{
	struct outbox *o = (struct outbox *)((char *)task - offsetof(struct outbox, later));
	(void)lp;
	o->pumping = false;
	pump(o);
	o->moved(o);
}

static void on_sent(struct loop *lp, struct op *op, const struct op_event *ev)
{
	struct outbox *o = (struct outbox *)((char *)op - offsetof(struct outbox, send));
	(void)lp;
	if (ev->res == -ECANCELED) {
		while (o->at < o->n)
			settle(o, -ECANCELED);
	} else {
		settle(o, ev->res ? ev->res : -EIO);
	}
	flush(o);
	pump(o);
	o->moved(o);
}

/* ---- from outside ---- */

void chime__outbox_init(struct outbox *o, struct chime_worker *w, struct drops *drops, int fd, uint8_t flags, bool ip,
			size_t max, size_t peer_max, outbox_moved_fn *moved)
{
	o->worker = w;
	o->drops = drops;
	o->moved = moved;
	o->ip = ip;
	o->send = (struct op){ .done = on_sent, .fd = fd, .kind = OP_SEND_MSGS, .flags = flags };
	o->later.run = on_later;
	chime__peers_init(&o->peers, max, peer_max);
}

void chime__outbox_fini(struct outbox *o)
{
	chime__peers_fini(&o->peers);
}

bool chime__outbox_idle(const struct outbox *o)
{
	return !o->pumping && !op_running(&o->send) && !o->peers.count;
}

bool chime__outbox_waits(const struct outbox *o, const chime_addr *peer)
{
	return op_running(&o->send) || (o->ip ? o->peers.count > 0 : chime__peers_has(&o->peers, peer));
}

static void copy_addr(chime_addr *to, const chime_addr *from)
{
	to->len = from->len;
	memcpy(&to->u, &from->u, from->len); /* a whole one is eight times as long */
}

/* A reply to m, from where it was asked. */
static void make_reply(struct op_msg *out, const struct op_msg *m, const struct chime_reply *r)
{
	out->iov = r->iov;
	out->n = (int)r->n;
	copy_addr(&out->peer, &m->peer);
	copy_addr(&out->local, &m->local);
	out->local_if = m->local_if;
}

void chime__outbox_reply(struct outbox *o, const struct op_msg *m, const struct chime_reply *r, bool waits)
{
	if (waits) {
		struct op_msg apart = { 0 };
		make_reply(&apart, m, r);
		queue(o, &apart, r->bytes, reply_answers(r), false);
		return;
	}
	make_reply(&o->out[o->n], m, r);
	o->held[o->n++] = (struct held){ .buf = m->buf, .answers = reply_answers(r), .len = r->bytes };
}

void chime__outbox_flush(struct outbox *o)
{
	if (!op_running(&o->send))
		flush(o);
	pump(o);
}

int chime__outbox_add(struct outbox *o, const struct op_msg *m, size_t len)
{
	size_t before = o->peers.cost;
	int err = chime__peers_add(&o->peers, m, len, 1, false, loop_of(o)->now_ns);
	count_queue(o, before);
	if (err == 0 && !o->pumping) {
		o->pumping = true;
		chime__loop_later(loop_of(o), &o->later);
	}
	return err;
}

void chime__outbox_again(struct outbox *o, const struct op_msg *m, size_t len)
{
	queue(o, m, len, 0, false); /* it was counted as an answer when it was sent */
	chime__peers_stick(&o->peers, &m->peer);
	retry_soon(o);
}

void chime__outbox_cut(struct outbox *o)
{
	size_t before = o->peers.cost;
	if (op_running(&o->send))
		op_cancel(loop_of(o), &o->send);
	unsigned n = chime__peers_drop(&o->peers, INT64_MAX);
	count_queue(o, before);
	if (n)
		chime__drop(o->drops, DROP_SEND, n, NULL, -ECANCELED);
}

void chime__outbox_stop(struct outbox *o)
{
	chime__timer_stop(&loop_of(o)->timers, &o->retry);
}
