/* One thread's share of a server: turns, stops, sweeps, the table of connections. */
#include "server/worker.h"

#include "fault.h"
#include "server/acceptor.h"
#include "server/conn.h"
#include "server/dgram.h"
#include "server/mailbox.h"
#include "server/server.h"

#include <errno.h>
#include <stdlib.h>

#define CHAIN 4 /* connections in a chain of the table, on average, before it grows */
#define SWEEP_NS CHIME_SEC
#define LINGER_NS (5 * CHIME_SEC)         /* how long a peer may take to end after our end */
#define LINGER_IDLE_NS (250 * CHIME_MSEC) /* the same when draining, for one that is idle */

/* ---- limits that the worker keeps ---- */

void chime__worker_timer(struct chime_worker *w, struct chime_timer *t, int64_t after_ns, chime_timer_fn *fn, void *arg)
{
	int64_t at_ns;
	if (__builtin_add_overflow(w->loop.now_ns, after_ns, &at_ns) || at_ns > INT64_MAX - TIMER_TICK_NS)
		at_ns = INT64_MAX - TIMER_TICK_NS; /* never, and not at once */
	chime__timer_start(&w->loop.timers, t, at_ns, fn, arg);
}

bool chime__worker_tell(struct chime_worker *w, enum worker_told kind, uint64_t *count)
{
	w->untold[kind]++;
	if (w->told_ns[kind] && w->loop.now_ns - w->told_ns[kind] < CHIME_SEC)
		return false;
	w->told_ns[kind] = w->loop.now_ns;
	*count = w->untold[kind];
	w->untold[kind] = 0;
	return true;
}

/* Ends a connection whose peer takes nothing, or does not go on. */
static void end_first(struct chime_worker *w, const struct pending_list *list, uint64_t *counter, enum worker_told kind,
		      const char *msg)
{
	struct conn *c = list->first->conn;
	uint64_t count;
	stat_add(counter, 1);
	if (log_wanted(w, CHIME_LOG_WARN) && chime__worker_tell(w, kind, &count)) {
		struct chime_log_event e = { .level = CHIME_LOG_WARN,
					     .event = "stall",
					     .conn = c->id,
					     .op = list == &w->partial ? "recv" : "send",
					     .count = count,
					     .msg = msg };
		log_tell(w, &e);
	}
	chime__conn_end(c, CHIME_ETIMEOUT, true);
}

/* The peer has made room, and the operation has not told yet: who stood still was this thread. Once, until it tells. */
static bool spared(struct chime_worker *w)
{
	struct pending *p = w->stalled.first;
	struct conn *c = p->conn;
	if (p->spared || !op_running(&p->out) || !w->loop.backend->ready(&w->loop, c->base.fd, true))
		return false;
	p->spared = true;
	return chime__pending_list(c, &w->stalled) == 0;
}

static void on_sweep(chime_timer *t, void *arg)
{
	struct chime_worker *w = arg;
	(void)t;
	int64_t now_ns = w->loop.now_ns;
	while (w->stalled.first && w->config->stall_timeout_ns != CHIME_FOREVER &&
	       now_ns - w->stalled.first->since_ns >= w->config->stall_timeout_ns)
		if (!spared(w))
			end_first(w, &w->stalled, &w->stats.stalled_ended, TOLD_STALLED,
				  "the peer takes nothing, ended");
	while (w->lingering.first && now_ns - w->lingering.first->since_ns >= LINGER_NS && !FAULT(LINGER_LONG)) {
		struct conn *c = w->lingering.first->conn;
		chime__conn_end(c, 0, false);
	}
	chime__worker_sweep(w);
}

void chime__worker_sweep(struct chime_worker *w)
{
	if ((w->stalled.first || w->lingering.first) && !timer_running(&w->sweep))
		chime__worker_timer(w, &w->sweep, SWEEP_NS, on_sweep, w);
}

static void on_relieve(struct loop *lp, struct loop_task *task)
{
	struct chime_worker *w = (struct chime_worker *)((char *)task - offsetof(struct chime_worker, relieve));
	(void)lp;
	w->relieving = false;
	while (w->stalled.first && w->stats.queued_bytes > w->queue_max)
		end_first(w, &w->stalled, &w->stats.queue_ended, TOLD_QUEUE,
			  "ceiling of all queues reached, the longest stalled peer ended");
	/* Nobody is stalled, and yet there is too much: halves of lines whose other halves do not come. */
	while (w->partial.first && w->stats.queued_bytes > w->queue_max && !FAULT(HALVES_KEPT))
		end_first(w, &w->partial, &w->stats.queue_ended, TOLD_QUEUE,
			  "ceiling of all queues reached, the peer with the oldest unfinished line ended");
}

void chime__worker_relieve(struct chime_worker *w)
{
	if (w->stats.queued_bytes <= w->queue_max || w->relieving)
		return;
	w->relieving = true;
	chime__loop_later(&w->loop, &w->relieve);
}

bool chime__worker_admit(struct chime_worker *w)
{
	uint64_t *open = &w->server->open_conns;
	if (FAULT(CEILING_EACH) ? __atomic_add_fetch(open, 1, __ATOMIC_RELAXED) && w->stats.open >= w->server->max_conns
				: __atomic_add_fetch(open, 1, __ATOMIC_RELAXED) > w->server->max_conns) {
		if (!FAULT(CEILING_KEPT))
			__atomic_sub_fetch(open, 1, __ATOMIC_RELAXED);
		return false;
	}
	stat_add(&w->stats.open, 1);
	return true;
}

void chime__worker_leave(struct chime_worker *w)
{
	__atomic_sub_fetch(&w->server->open_conns, 1, __ATOMIC_RELAXED);
	stat_sub(&w->stats.open, 1);
}

/* ---- the table ---- */

static struct conn **chain_of(struct chime_worker *w, uint64_t id)
{
	return &w->by_id[(id * 0x9e3779b97f4a7c15u) >> 32 & (w->by_id_size - 1)];
}

int chime__worker_insert(struct chime_worker *w, struct conn *c)
{
	if (w->conns >= CHAIN * w->by_id_size && !w->walking) {
		unsigned size = w->by_id_size ? 2 * w->by_id_size : 64;
		struct conn **table = calloc(size, sizeof(struct conn *)), **old = w->by_id;
		unsigned old_size = w->by_id_size;
		if (!table && !old)
			return -ENOMEM;
		if (table) {
			w->by_id = table;
			w->by_id_size = size;
			for (unsigned i = 0; i < old_size; i++)
				while (old[i]) {
					struct conn *moved = old[i];
					old[i] = moved->chain;
					moved->chain = *chain_of(w, moved->id);
					*chain_of(w, moved->id) = moved;
				}
			free(old);
		}
	}
	c->chain = *chain_of(w, c->id);
	*chain_of(w, c->id) = c;
	w->conns++;
	return 0;
}

void chime__worker_remove(struct chime_worker *w, struct conn *c)
{
	for (struct conn **link = chain_of(w, c->id); *link; link = &(*link)->chain)
		if (*link == c) {
			*link = c->chain;
			w->conns--;
			return;
		}
}

chime_conn *chime_worker_conn(chime_worker *w, uint64_t id)
{
	if (!w->by_id)
		return NULL;
	for (struct conn *c = *chain_of(w, id); c; c = c->chain)
		if (c->id == id)
			return c->base.state < CONN_CLOSING ? &c->base : NULL;
	return NULL;
}

/* Does it to all connections; those that end meanwhile are not missed, nor done twice. */
static void each_conn(struct chime_worker *w, void (*fn)(struct conn *c))
{
	w->walking = true;
	for (unsigned i = 0; i < w->by_id_size; i++)
		for (struct conn *c = w->by_id[i], *next; c; c = next) {
			next = c->chain;
			fn(c);
		}
	w->walking = false;
}

static void on_reap(struct loop *lp, struct loop_task *task)
{
	(void)lp;
	chime__conn_reap((struct chime_worker *)((char *)task - offsetof(struct chime_worker, reap)));
}

/* ---- ending ---- */

static void cut_conn(struct conn *c)
{
	if (c->base.state < CONN_LINGERING)
		stat_add(&c->base.worker->stats.cut, 1);
	chime__conn_end(c, -ECANCELED, c->base.state < CONN_LINGERING);
}

static void cut(struct chime_worker *w)
{
	w->cut = true;
	for (struct acceptor *a = w->acceptors, *next; a; a = next) {
		next = a->next;
		chime__acceptor_cut(a);
	}
	for (struct dgram *d = w->dgrams, *next; d; d = next) {
		next = chime__dgram_next(d);
		chime__dgram_cut(d);
	}
	for (struct mailbox *m = w->mailboxes; m; m = chime__mailbox_next(m))
		chime__mailbox_cut(m);
	each_conn(w, cut_conn);
}

static void on_grace(chime_timer *t, void *arg)
{
	(void)t;
	cut(arg);
}

static void end_idle(struct conn *c)
{
	if (c->base.state == CONN_LINGERING && !c->base.busy)
		chime__conn_end(c, 0, false);
}

static void on_idle_end(chime_timer *t, void *arg)
{
	(void)t;
	each_conn(arg, end_idle);
}

static void drain(struct chime_worker *w)
{
	w->draining = true;
	if (!FAULT(NO_GRACE))
		chime__worker_timer(w, &w->grace, w->config->grace_ns, on_grace, w);
	chime__worker_timer(w, &w->idle_end, LINGER_IDLE_NS, on_idle_end, w);
	for (struct acceptor *a = w->acceptors, *next; a; a = next) {
		next = a->next;
		chime__acceptor_drain(a);
	}
	for (struct dgram *d = w->dgrams, *next; d; d = next) {
		next = chime__dgram_next(d);
		chime__dgram_drain(d);
	}
	for (struct mailbox *m = w->mailboxes; m; m = chime__mailbox_next(m))
		chime__mailbox_drain(m);
	each_conn(w, chime__conn_drain);
}

void chime__dgram_gone(struct dgram *d)
{
	(void)d; /* it stays in the list until the end of the turn: see free_gone() */
}

/* Datagram sockets that have ended give their memory back outside their own calls. */
static void free_gone(struct chime_worker *w)
{
	for (struct dgram *d = w->dgrams, *next; d; d = next) {
		next = chime__dgram_next(d);
		if (((struct chime_conn *)d)->state == DGRAM_CLOSED)
			chime__dgram_free(d);
	}
	chime__mailbox_free_gone(w);
}

static bool all_ended(struct chime_worker *w)
{
	if (w->draining)
		free_gone(w);
	return w->draining && !w->acceptors && !w->dgrams && !w->mailboxes && w->conns == 0 && !w->dead;
}

/* Acts on the server's stops. */
static void mind_stops(struct chime_worker *w)
{
	unsigned stops = __atomic_load_n(&w->server->stops, __ATOMIC_SEQ_CST);
	if (stops == w->stops)
		return;
	if (!w->draining)
		drain(w);
	if (stops > 1 && !w->cut)
		cut(w);
	w->stops = stops;
}

int chime__worker_turn(struct chime_worker *w, int64_t limit_ns)
{
	mind_stops(w); /* those that came before it could be woken */
	int err = chime__loop_turn(&w->loop, all_ended(w) ? 0 : limit_ns);
	if (err < 0)
		return err;
	stat_add(&w->stats.workers_turns, 1);
	mind_stops(w);
	return all_ended(w) ? 0 : 1;
}

void chime__worker_run(struct chime_worker *w)
{
	int more = 1;
	while (more > 0 || (more == 0 && !chime__loop_close(&w->loop)))
		more = chime__worker_turn(w, -1);
	if (more < 0) {
		/* The loop itself is broken: nothing can be waited for any more. */
		w->result = more;
		if (log_wanted(w, CHIME_LOG_ERROR)) {
			struct chime_log_event e = { .level = CHIME_LOG_ERROR,
						     .event = "error",
						     .op = "wait",
						     .err = more,
						     .count = 1,
						     .msg = "a worker ends: its loop is broken" };
			log_tell(w, &e);
		}
	}
}

int chime__worker_init(struct chime_worker *w, struct chime_server *server, const struct chime_server_config *config,
		       unsigned number, const struct backend *backend, void *backend_arg)
{
	*w = (struct chime_worker){ .server = server, .config = config, .number = number, .last_id = number + 1 };
	if (FAULT(SAME_IDS))
		w->last_id = config->workers;
	w->last_id -= config->workers; /* the first connection gets number + 1, then every workers-th */
	w->reap.run = on_reap;
	w->relieve.run = on_relieve;
	w->queue_max = config->queue_total_max / config->workers;
	chime__buf_pool_init(&w->kept, 2 * CHIME_INPUT_MAX, 8);
	int err = chime__loop_init(&w->loop, backend, backend_arg);
	if (err == 0)
		w->loop.spin_ns = config->spin_ns;
	return err;
}

void chime__worker_fini(struct chime_worker *w)
{
	chime__timer_stop(&w->loop.timers, &w->sweep);
	chime__timer_stop(&w->loop.timers, &w->grace);
	chime__timer_stop(&w->loop.timers, &w->idle_end);
	chime__loop_fini(&w->loop);
	chime__conn_reap(w);
	chime__pending_fini(w);
	chime__slab_fini(&w->slabs);
	chime__buf_pool_fini(&w->kept);
	free(w->by_id);
}

/* ---- what services may do with a worker ---- */

void chime_timer_start(chime_worker *w, chime_timer *t, int64_t after_ns, chime_timer_fn *fn, void *arg)
{
	chime__worker_timer(w, t, after_ns, fn, arg);
}

void chime_timer_stop(chime_worker *w, chime_timer *t)
{
	chime__timer_stop(&w->loop.timers, t);
}

chime_server *chime_worker_server(chime_worker *w)
{
	return w->server;
}

unsigned chime_worker_number(const chime_worker *w)
{
	return w->number;
}
