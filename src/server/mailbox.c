/* Reliable messages in a worker: each is answered at once, or when its peer has room again. */
#include "server/mailbox.h"

#include "server/drops.h"
#include "server/peers.h"
#include "server/reply.h"

#include <chime/rdm.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS 256 /* messages in a row, before others have their turn */
#define RETRY_NS TIMER_TICK_NS
#define PEERS_MAX 1024 /* where the configuration does not say: each costs the stack 14 KiB */
#define QUEUE_BYTES (64u << 20)
#define IOVS 64
#define SCRATCH 512

/* What chime/rdm.h promises in front of a message is enough for a service. */
_Static_assert(CHIME_HEADROOM <= 64, "a stamp fits in front of a message");

struct mailbox {
	struct chime_conn base; /* .fd: a duplicate of the handle's descriptor */
	struct mailbox *next;
	chime_rdm *rdm;
	struct op poll;
	struct chime_timer retry;
	struct drops drops;
	struct peers peers; /* what waits. In .local stands the rest of its struct chime_rdm_peer */
	bool shut;          /* DRAINING: the associations were told to end */
	int64_t shut_ns;    /* ... which they are by then, though some of what waits was not taken */
	const struct chime_rdm_peer *current;
	struct iovec iov[IOVS];
	unsigned char scratch[SCRATCH];
};

static struct loop *loop_of(struct mailbox *m)
{
	return &m->base.worker->loop;
}

static struct chime_server_stats *stats_of(struct mailbox *m)
{
	return &m->base.worker->stats;
}

int chime__mailbox_open_handle(struct served *served, const struct chime_server_config *config, char *why,
			       size_t why_size)
{
	struct chime_rdm_config c = CHIME_RDM_CONFIG_INIT;
	c.timeout_ns = 0;
	c.answers_only = true;
	c.idle_ns = served->idle_timeout_ns;
	if (c.idle_ns != CHIME_FOREVER && c.idle_ns < CHIME_SEC)
		c.idle_ns = CHIME_SEC;
	if (config->stall_timeout_ns >= CHIME_SEC && config->stall_timeout_ns <= CHIME_HOUR)
		c.give_up_ns = config->stall_timeout_ns;
	c.peers_max = config->max_conns && config->max_conns < UINT32_MAX ? (unsigned)config->max_conns : PEERS_MAX;
	c.why = why;
	c.why_size = why_size;
	return chime_rdm_serve(&served->rdm, &served->endpoint, &c);
}

/* Whom a message waits for: by the association that asked alone. */
static chime_addr local_of(const struct chime_rdm_peer *peer)
{
	chime_addr a = chime_addr_none();
	a.len = sizeof a.u.in;
	a.u.in = (struct sockaddr_in){ .sin_family = AF_INET,
				       .sin_port = htons(peer->udp_port),
				       .sin_addr = { peer->assoc } };
	return a;
}

static struct chime_rdm_peer peer_of(const struct peer *p, const struct waiting *w)
{
	return (struct chime_rdm_peer){ p->addr, ntohs(w->local.u.in.sin_port), w->local.u.in.sin_addr.s_addr };
}

/* ---- ending ---- */

static void finish_if_done(struct mailbox *m)
{
	struct chime_rdm_stats stats;
	if (m->base.state != MAILBOX_DRAINING)
		return;
	chime_rdm_stats(m->rdm, &stats);
	if (stats.associations || m->peers.count)
		return;
	if (op_running(&m->poll)) {
		op_cancel(loop_of(m), &m->poll);
		return;
	}
	chime__timer_stop(&loop_of(m)->timers, &m->retry);
	chime__drops_tell_rest(&m->drops);
	loop_of(m)->backend->close(loop_of(m), m->base.fd, false);
	m->base.fd = -1;
	chime_rdm_free(&m->rdm);
	m->base.state = MAILBOX_CLOSED;
}

/*
 * Draining: ends the associations, once nothing waits that could not be sent behind their end; or at last, and then those that take
 * nothing are aborted.
 */
static void shut_all(struct mailbox *m)
{
	bool late = loop_of(m)->now_ns >= m->shut_ns;
	if (m->base.state != MAILBOX_DRAINING || m->shut || (m->peers.count && !late))
		return;
	m->shut = true;
	for (struct peer *p = m->peers.stuck.first; p; p = p->next) {
		struct chime_rdm_peer peer = peer_of(p, p->first);
		(void)chime_rdm_end(m->rdm, &peer, true);
	}
	(void)chime_rdm_end(m->rdm, NULL, false);
}

/* ---- sending ---- */

static void count_queue(struct mailbox *m, size_t before)
{
	if (m->peers.cost > before)
		stat_add(&stats_of(m)->queued_bytes, m->peers.cost - before);
	else
		stat_sub(&stats_of(m)->queued_bytes, before - m->peers.cost);
}

static void sent(struct mailbox *m, unsigned answers, size_t len)
{
	stat_add(&stats_of(m)->answers, answers);
	stat_add(&stats_of(m)->sent_bytes, len);
}

/* It cannot be told in another way than by the end of its association. */
static void give_up(struct mailbox *m, enum drop kind, const struct chime_rdm_peer *peer, int err)
{
	chime__drop(&m->drops, kind, 1, &peer->addr, err);
	(void)chime_rdm_end(m->rdm, peer, true);
}

static void on_retry(chime_timer *t, void *arg);
static void pump(struct mailbox *m);

static void retry_soon(struct mailbox *m)
{
	if (!timer_running(&m->retry))
		chime__timer_start(&loop_of(m)->timers, &m->retry, loop_of(m)->now_ns + RETRY_NS, on_retry, m);
}

static int wait_behind(struct mailbox *m, const struct chime_rdm_peer *peer, struct iovec *iov, unsigned n, size_t len,
		       unsigned answers)
{
	struct op_msg w = { .peer = peer->addr, .local = local_of(peer), .iov = iov, .n = (int)n };
	size_t before = m->peers.cost;
	int err = chime__peers_add(&m->peers, &w, len, answers, false, loop_of(m)->now_ns);
	if (err == -ENOBUFS) { /* perhaps with answers to an association that is over */
		chime__peers_unstick(&m->peers);
		pump(m);
		before = m->peers.cost;
		err = chime__peers_add(&m->peers, &w, len, answers, false, loop_of(m)->now_ns);
	}
	count_queue(m, before);
	if (err == 0)
		retry_soon(m);
	return err;
}

static int deliver(struct mailbox *m, const struct chime_rdm_peer *peer, struct iovec *iov, unsigned n, size_t len,
		   unsigned answers)
{
	int err = -EAGAIN;
	if (!chime__peers_has(&m->peers, &peer->addr))
		err = chime_rdm_sendv(m->rdm, iov, n, peer, NULL);
	if (err == 0)
		sent(m, answers, len);
	else if (err == -EAGAIN)
		err = wait_behind(m, peer, iov, n, len, answers);
	return err;
}

/* Sends what waits, as far as it goes now. */
static void pump(struct mailbox *m)
{
	struct waiting *w;
	while ((w = chime__peers_take(&m->peers))) {
		struct chime_rdm_peer peer = peer_of(w->peer, w);
		size_t before = m->peers.cost;
		int err = chime_rdm_sendv(m->rdm, &w->iov, 1, &peer, NULL);
		if (err == -EAGAIN) {
			chime__peers_back(&m->peers, w);
			continue;
		}
		if (err == 0)
			sent(m, w->answers, w->len);
		else
			chime__drop(&m->drops, DROP_SEND, 1, &peer.addr, err);
		chime__peers_done(&m->peers, w, err == 0 ? loop_of(m)->now_ns : 0);
		count_queue(m, before);
	}
	if (m->peers.count)
		retry_soon(m);
}

static void stalled(struct mailbox *m, const struct peer *p)
{
	struct chime_rdm_peer peer = peer_of(p, p->first);
	give_up(m, DROP_STALL, &peer, -ETIMEDOUT);
}

static void on_retry(chime_timer *t, void *arg)
{
	struct mailbox *m = arg;
	int64_t limit_ns = m->base.worker->config->stall_timeout_ns;
	(void)t;
	if (m->base.state == MAILBOX_CLOSED)
		return;
	for (const struct peer *p = m->peers.stuck.first; limit_ns > 0 && p; p = p->next)
		if (loop_of(m)->now_ns - p->since_ns >= limit_ns)
			stalled(m, p);
	shut_all(m);
	chime__peers_unstick(&m->peers);
	pump(m);
	shut_all(m);
	finish_if_done(m);
}

/* ---- receiving ---- */

static void refused(struct mailbox *m, const struct chime_rdm_peer *peer, int err)
{
	enum drop kind = err == -ELOOP                               ? DROP_LOOP
			 : err == -EMSGSIZE || err == CHIME_ETOOLONG ? DROP_LONG
								     : DROP_SERVICE;
	chime__drop(&m->drops, kind, 1, &peer->addr, err);
}

static void answer(struct mailbox *m, const struct chime_rdm_event *ev)
{
	struct chime_reply r;
	struct chime_input in = { .data = ev->data,
				  .len = ev->len,
				  .time_ns = loop_of(m)->backend->real(loop_of(m)),
				  .message = true,
				  .config = m->base.served->config,
				  .peer = &ev->peer.addr,
				  .conn = &m->base };
	stat_add(&stats_of(m)->messages, 1);
	stat_add(&stats_of(m)->received_bytes, ev->len);
	if (ev->len > CHIME_MESSAGE_MAX) {
		chime__drop(&m->drops, DROP_LONG, 1, &ev->peer.addr, -EMSGSIZE);
		return;
	}
	reply_init(&r, m->iov, IOVS, m->scratch, sizeof m->scratch);
	m->current = &ev->peer;
	ssize_t err = m->base.served->service->received(&in, &r);
	m->current = NULL;
	if (err < 0)
		refused(m, &ev->peer, (int)err);
	if (err < 0 || !r.answer)
		return;
	if (r.bytes > CHIME_RDM_MAX || r.bytes == 0) { /* an empty one cannot be sent */
		chime__drop(&m->drops, DROP_LONG, 1, &ev->peer.addr, -EMSGSIZE);
		return;
	}
	int no = deliver(m, &ev->peer, r.iov, r.n, r.bytes, reply_answers(&r));
	if (no == -ENOTCONN)
		chime__drop(&m->drops, DROP_SEND, 1, &ev->peer.addr, no);
	else if (no < 0)
		give_up(m, DROP_QUEUE, &ev->peer, no);
}

static void tell_peer(struct mailbox *m, const char *event, const struct chime_rdm_event *ev)
{
	struct chime_log_event e = { .level = CHIME_LOG_INFO,
				     .event = event,
				     .peer = &ev->peer.addr,
				     .endpoint = &m->base.served->endpoint,
				     .err = ev->why,
				     .count = 1 };
	if (log_wanted(m->base.worker, CHIME_LOG_INFO))
		log_tell(m->base.worker, &e);
}

static void take(struct mailbox *m, const struct chime_rdm_event *ev)
{
	bool draining = m->base.state == MAILBOX_DRAINING;
	switch (ev->kind) {
	case CHIME_RDM_MESSAGE:
		if (!draining) /* as on a stream: nothing is answered behind our end */
			answer(m, ev);
		return;
	case CHIME_RDM_UNDELIVERED:
		chime__drop(&m->drops, DROP_SEND, 1, &ev->peer.addr, ev->why);
		return;
	case CHIME_RDM_UP:
		stat_add(&stats_of(m)->accepted, 1);
		stat_add(&stats_of(m)->open, 1);
		tell_peer(m, "open", ev);
		if (draining)
			(void)chime_rdm_end(m->rdm, &ev->peer, true);
		return;
	case CHIME_RDM_DOWN:
		if (stats_of(m)->open)
			stat_sub(&stats_of(m)->open, 1);
		if (ev->why == -ECONNRESET)
			stat_add(&stats_of(m)->peer_resets, 1);
		tell_peer(m, "close", ev);
		return;
	case CHIME_RDM_RESTARTED:
		return;
	}
}

/* Fetches what came, a bounded number. Whether there may be more. */
static bool fetch(struct mailbox *m)
{
	struct chime_rdm_event ev;
	unsigned n = 0;
	int err = 0;
	while (n++ < ROUNDS && (err = chime_rdm_receive(m->rdm, &ev)) == 0)
		take(m, &ev);
	if (err < 0 && err != -EAGAIN)
		chime__drop(&m->drops, DROP_RECV, 1, NULL, err);
	return err == 0;
}

static void on_poll(struct loop *lp, struct op *op, const struct op_event *ev)
{
	struct mailbox *m = (struct mailbox *)((char *)op - offsetof(struct mailbox, poll));
	(void)lp;
	if (m->base.state != MAILBOX_CLOSED && ev->res >= 0) {
		(void)fetch(m);
		chime__peers_unstick(&m->peers);
		pump(m);
		shut_all(m);
	}
	if (!ev->more && ev->res < 0 && ev->res != -ECANCELED)
		chime__drop(&m->drops, DROP_RECV, 1, NULL, ev->res);
	finish_if_done(m);
}

/* ---- from outside ---- */

int chime__mailbox_open(struct chime_worker *w, struct served *served)
{
	struct mailbox *m = calloc(1, sizeof *m);
	if (!m)
		return -ENOMEM;
	int fd = fcntl(chime_rdm_fileno(served->rdm), F_DUPFD_CLOEXEC, 0);
	if (fd < 0) {
		free(m);
		return -errno;
	}
	m->base = (struct chime_conn){
		.worker = w, .served = served, .fd = fd, .datagram = CONN_MAILBOX, .state = MAILBOX_OPEN
	};
	m->poll = (struct op){ .done = on_poll, .fd = fd, .kind = OP_POLL };
	m->drops = (struct drops){ .worker = w, .endpoint = &served->endpoint };
	chime__peers_init(&m->peers, w->queue_max < QUEUE_BYTES ? (size_t)w->queue_max : QUEUE_BYTES,
			  w->config->queue_conn_max);
	int err = op_submit(&w->loop, &m->poll);
	if (err < 0) {
		chime__peers_fini(&m->peers);
		close(fd);
		free(m);
		return err;
	}
	m->rdm = served->rdm;
	served->rdm = NULL;
	m->next = w->mailboxes;
	w->mailboxes = m;
	return 0;
}

void chime__mailbox_drain(struct mailbox *m)
{
	if (m->base.state != MAILBOX_OPEN)
		return;
	for (unsigned i = 0; i < 64 && fetch(m); i++)
		;
	pump(m);
	int64_t grace_ns = m->base.worker->config->grace_ns;
	m->base.state = MAILBOX_DRAINING;
	m->shut_ns = grace_ns == CHIME_FOREVER ? INT64_MAX : loop_of(m)->now_ns + grace_ns / 2;
	shut_all(m);
	finish_if_done(m);
}

void chime__mailbox_cut(struct mailbox *m)
{
	struct chime_rdm_stats stats;
	size_t before = m->peers.cost;
	if (m->base.state == MAILBOX_CLOSED)
		return;
	m->base.state = MAILBOX_DRAINING;
	chime_rdm_stats(m->rdm, &stats);
	stat_add(&stats_of(m)->cut, stats.associations);
	unsigned n = chime__peers_drop(&m->peers, INT64_MAX);
	count_queue(m, before);
	if (n)
		chime__drop(&m->drops, DROP_SEND, n, NULL, -ECANCELED);
	(void)chime_rdm_end(m->rdm, NULL, true);
	(void)fetch(m);
	finish_if_done(m);
}

void chime__mailbox_free_gone(struct chime_worker *w)
{
	for (struct mailbox **link = &w->mailboxes; *link;) {
		struct mailbox *m = *link;
		if (m->base.state != MAILBOX_CLOSED) {
			link = &m->next;
			continue;
		}
		*link = m->next;
		chime__peers_fini(&m->peers);
		free(m);
	}
}

struct mailbox *chime__mailbox_next(struct mailbox *m)
{
	return m->next;
}

int chime__mailbox_sendto(struct mailbox *m, const void *buf, size_t len, const chime_addr *to)
{
	struct iovec iov = { (void *)(uintptr_t)buf, len };
	struct chime_rdm_peer peer = { .addr = chime_addr_unmap(to) };
	if (m->base.state == MAILBOX_CLOSED)
		return -EPIPE;
	if (m->current && chime_addr_equal(&m->current->addr, &peer.addr))
		peer = *m->current;
	return deliver(m, &peer, &iov, 1, len, 1);
}
