/* A history: the run, and what must hold after every turn and at the end. */
#include "sim/world.h"

#include <chime/error.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TURNS_MAX 2000000         /* clients that wait a minute for a connection look each millisecond */
#define LINGER_NS (5 * CHIME_SEC) /* as in src/server/worker.c */
#define SWEEP_NS CHIME_SEC

uint64_t pick(struct world *w, uint64_t limit)
{
	return sim_random(&w->sim, limit);
}

bool often(struct world *w, unsigned in_1000)
{
	return sim_chance(&w->sim, in_1000);
}

static void on_breach(void *arg, const char *what)
{
	struct world *w = here;
	(void)arg;
	snprintf(w->what, sizeof w->what, "%s", what);
	longjmp(w->out, 1);
}

void breach(struct world *w, const char *fmt, ...)
{
	char what[sizeof w->what];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	sim_trace(&w->sim, "BREACH: %s", what);
	on_breach(w, what);
	abort();
}

static void make(struct world *w, uint64_t seed, void (*line)(void *arg, const char *line), void *arg)
{
	memset(w, 0, sizeof *w);
	sim_init(&w->sim);
	here = w;
	w->seed = seed;
	w->sim.random = seed * 0xd1342543de82ef95u;
	w->sim.trace = line;
	w->sim.breach = on_breach;
	w->sim.arg = arg;
	w->all_prompt = true;
}

/* ---- sums over the workers ---- */

struct chime_server_stats world_stats(const struct world *w)
{
	struct chime_server_stats sum = { 0 };
	uint64_t *to = (uint64_t *)(void *)&sum;
	for (unsigned i = 0; i < w->worker_count; i++)
		for (unsigned k = 0; k < sizeof sum / sizeof *to; k++)
			to[k] += ((const uint64_t *)(const void *)&w->workers[i]->stats)[k];
	return sum;
}

bool world_cut(const struct world *w)
{
	for (unsigned i = 0; i < w->worker_count; i++)
		if (w->workers[i]->cut)
			return true;
	return false;
}

/* ---- what must hold after every turn ---- */

static void check_conn(struct world *w, const struct conn *c, uint64_t *charged, uint64_t *ending)
{
	const struct chime_server_config *config = &w->server.config;
	const struct pending *p = c->pending;
	size_t longest = c->base.message ? CHIME_MESSAGE_MAX + CHIME_STAMP_MAX : CHIME_INPUT_MAX;
	if (!p)
		return;
	*charged += p->charged;
	if (c->base.state >= CONN_CLOSING)
		*ending += p->charged;
	/* Of an answer that did not fit, the rest waits in front of what services send. */
	if (p->blocks_bytes > config->queue_conn_max + 2 * longest)
		breach(w, "%zu bytes are queued for one peer", p->blocks_bytes);
	if (p->rest && p->rest->len > 2 * longest)
		breach(w, "%zu bytes of input are kept", p->rest->len);
}

static bool has_dgram(const struct world *w, unsigned worker)
{
	for (unsigned i = 0; i < w->places; i++)
		if (w->place[i].type == SOCK_DGRAM && w->place[i].listeners[worker] >= 0)
			return true;
	return false;
}

/* How many connections it has. */
static unsigned check_worker(struct world *w, struct chime_worker *k)
{
	uint64_t charged = 0, ending = 0;
	unsigned conns = 0;
	for (unsigned i = 0; i < k->by_id_size; i++)
		for (const struct conn *c = k->by_id[i]; c; c = c->chain, conns++)
			check_conn(w, c, &charged, &ending);
	if (conns != k->conns || k->stats.open != conns)
		breach(w, "%u connections, %u by the table, %llu by the counter", conns, k->conns,
		       (unsigned long long)k->stats.open);
	if (k->stats.queued_bytes < charged)
		breach(w, "%llu bytes are queued, the counter says %llu", (unsigned long long)charged,
		       (unsigned long long)k->stats.queued_bytes);
	if (charged - ending > k->queue_max)
		breach(w, "%llu bytes are queued, over the ceiling of %llu", (unsigned long long)(charged - ending),
		       (unsigned long long)k->queue_max);
	if (!has_dgram(w, k->number) && k->stats.queued_bytes != charged)
		breach(w, "%llu bytes are queued, the counter says %llu", (unsigned long long)charged,
		       (unsigned long long)k->stats.queued_bytes);
	return conns;
}

static void check_server(struct world *w)
{
	unsigned conns = 0;
	for (unsigned i = 0; i < w->worker_count; i++)
		conns += check_worker(w, w->workers[i]);
	if (w->server.open_conns != conns)
		breach(w, "%u connections, %llu by the server's counter", conns,
		       (unsigned long long)w->server.open_conns);
	if (conns > w->server.max_conns)
		breach(w, "%u connections, over the ceiling", conns);
}

/* The limits in time, of one connection. */
static void check_client(struct world *w, const struct client *c)
{
	const struct chime_server_config *config = &w->server.config;
	int64_t now_ns = w->sim.mono_ns, idle_ns = c->called ? CHIME_FOREVER : c->place->served.idle_timeout_ns;
	struct sim_view v;
	if (c->peer < 0 || c->place->type == SOCK_DGRAM)
		return;
	sim_view(&w->sim, c->peer, &v);
	if (v.fd >= 0 && !v.connected && w->stopped_ns && now_ns - w->stopped_ns > SLACK_NS)
		breach(w, "client %u is still being connected, after the stop", c->number);
	if (v.fd < 0 || !v.connected)
		return;
	int64_t last_ns = v.received_ns > v.answered_ns ? v.received_ns : v.answered_ns;
	if (last_ns < v.accepted_ns)
		last_ns = v.accepted_ns;
	if (idle_ns != CHIME_FOREVER && now_ns - last_ns > idle_ns + TIMER_TICK_NS + SLACK_NS)
		breach(w, "client %u is idle for %.3f s and not closed", c->number, (double)(now_ns - last_ns) / 1e9);
	if (v.send_ns && config->stall_timeout_ns != CHIME_FOREVER &&
	    now_ns - v.send_ns > config->stall_timeout_ns + SWEEP_NS + 2 * TIMER_TICK_NS + SLACK_NS)
		breach(w, "client %u takes nothing for %.3f s and is not ended", c->number,
		       (double)(now_ns - v.send_ns) / 1e9);
	if (v.shut_ns && now_ns - v.shut_ns > LINGER_NS + SWEEP_NS + 2 * TIMER_TICK_NS + SLACK_NS)
		breach(w, "client %u lingers for %.3f s", c->number, (double)(now_ns - v.shut_ns) / 1e9);
	if (v.shut_ns && !c->ended && !w->stopped_ns && !c->loose)
		breach(w, "client %u is shut down for no reason", c->number);
	/* Nothing may keep the server from a connection that has something for it and takes what it gets. */
	if (c->ended && c->reader == PROMPT && !c->reset && !w->stopped_ns && c->place->answers != LATER &&
	    now_ns - c->last_ns > 2 * CHIME_SEC && v.accepted && now_ns - v.accepted_ns > 2 * CHIME_SEC &&
	    now_ns - last_ns > 2 * CHIME_SEC && c->done_writing && !sim_readable(&w->sim, c->peer))
		breach(w, "client %u has ended, and is not closed", c->number);
}

static void check(struct world *w)
{
	check_server(w);
	for (unsigned i = 0; i < w->clients; i++)
		check_client(w, &w->client[i]);
	if (w->stopped_ns && w->sim.mono_ns - w->stopped_ns > w->server.config.grace_ns + TIMER_TICK_NS + SLACK_NS)
		breach(w, "draining takes %.3f s, over its grace", (double)(w->sim.mono_ns - w->stopped_ns) / 1e9);
	if (w->server.stops > 1 && w->sim.mono_ns - w->stop2_ns > SLACK_NS)
		breach(w, "the second stop has not ended it");
}

/* ---- the run ---- */

/* Nothing is under way any more, and nobody has been stopped: who reads has got everything. */
static void check_calm(struct world *w)
{
	bool dgrams_prompt = true;
	uint64_t charged = 0, ending = 0;
	for (unsigned i = 0; i < w->clients; i++) {
		struct client *c = &w->client[i];
		struct sim_view v;
		if (c->peer < 0)
			continue;
		sim_view(&w->sim, c->peer, &v);
		if (c->place->type == SOCK_DGRAM) {
			dgrams_prompt &= c->reader == PROMPT || !c->place->unix_dgram;
			if (sim_unread(&w->sim, sim_peer_of(&w->sim, c->place->listeners[c->port])))
				breach(w, "datagrams wait, and are not read");
			continue;
		}
		if (!v.accepted && !sim_closed(&w->sim, c->peer)) {
			if (w->sim.fd_max == SIM_SOCKS)
				breach(w, "client %u is not accepted", c->number);
			continue;
		}
		if (v.fd < 0 || !v.connected || c->loose || c->reset || c->reader != PROMPT)
			continue;
		oracle_skip(c);
		if (sim_unread(&w->sim, c->peer))
			breach(w, "client %u: %zu bytes wait and are not read", c->number,
			       sim_unread(&w->sim, c->peer));
		if (c->back + c->partial < c->written && !(c->place->type == SOCK_SEQPACKET && w->sim.weather.enobufs))
			breach(w, "client %u has %llu of %llu answers, and no more come", c->number,
			       (unsigned long long)c->back, (unsigned long long)c->written);
		if (c->ended)
			breach(w, "client %u has ended and is not closed", c->number);
	}
	for (unsigned k = 0; k < w->worker_count; k++)
		for (unsigned i = 0; i < w->workers[k]->by_id_size; i++)
			for (const struct conn *c = w->workers[k]->by_id[i]; c; c = c->chain)
				check_conn(w, c, &charged, &ending);
	if (dgrams_prompt && world_stats(w).queued_bytes != charged)
		breach(w, "answers wait, and all peers read");
}

static void stop(struct world *w)
{
	if (w->stopped_ns) {
		sim_trace(&w->sim, "---- stop, at once ----");
	} else {
		if (w->calm_end)
			check_calm(w);
		bool crowd = often(w, 300); /* some come at the last moment */
		for (unsigned i = 0; i < w->clients && crowd; i++)
			client_hurry(&w->client[i]);
		sim_trace(&w->sim, "---- stop ----");
		w->stopped_ns = w->sim.mono_ns;
		if (often(w, 150))
			w->stop2_ns = w->stopped_ns + (int64_t)pick(w, 3 * CHIME_SEC);
		for (unsigned i = 0; i < w->clients; i++) {
			struct client *c = &w->client[i];
			c->at_stop = c->written;
			c->ended_at_stop = c->ended;
		}
	}
	w->server.stops++;
	chime__backend_sim.wake(&w->workers[0]->loop);
}

static bool all_said(const struct world *w)
{
	for (unsigned i = 0; i < w->clients; i++)
		if (!w->client[i].done_writing)
			return false;
	return true;
}

/* Who acts next, and when: of those that are due, any. -1: the stop. */
static int next_one(struct world *w, int64_t *at_ns)
{
	int64_t stop_ns = w->stopped_ns ? (w->server.stops > 1 ? NEVER : w->stop2_ns) : w->stop_ns;
	int who = -1, due = 0;
	*at_ns = stop_ns;
	if (stop_ns <= w->sim.mono_ns)
		return -1;
	for (unsigned i = 0; i < w->clients; i++) {
		int64_t next_ns = client_next(&w->client[i]);
		if (next_ns <= w->sim.mono_ns ? pick(w, (uint64_t)++due) == 0 : due == 0 && next_ns < *at_ns) {
			who = (int)i;
			*at_ns = next_ns;
		}
	}
	return who;
}

/* When a worker has something to do: now or before, or later by itself. */
static int64_t worker_next(struct world *w, struct chime_worker *k)
{
	int64_t now_ns = w->sim.mono_ns, next_ns = sim_next(&w->sim, &k->loop);
	if (k->loop.posted || k->loop.later || w->server.stops != k->stops)
		return now_ns;
	if (k->loop.timers.count) {
		int64_t timer_ns = now_ns + chime__timer_next(&k->loop.timers, now_ns);
		if (timer_ns < next_ns)
			next_ns = timer_ns;
	}
	return next_ns;
}

/* One of the workers that have something to do has a turn; if none has, time passes. Whether the server goes on. */
static bool turn_any(struct world *w, int64_t limit_ns)
{
	int64_t until_ns = w->sim.mono_ns + limit_ns;
	unsigned who = WORKERS, due = 0, alive = 0;
	for (unsigned i = 0; i < w->worker_count; i++) {
		if (w->ended[i])
			continue;
		alive++;
		int64_t next_ns = worker_next(w, w->workers[i]);
		if (next_ns <= w->sim.mono_ns) {
			if (pick(w, ++due) == 0)
				who = i;
		} else if (next_ns < until_ns) {
			until_ns = next_ns;
		}
	}
	if (who == WORKERS) {
		if (alive && until_ns > w->sim.mono_ns)
			sim_pass(&w->sim, until_ns - w->sim.mono_ns);
		return alive;
	}
	w->workers[who]->loop.now_ns = w->sim.mono_ns; /* it has slept in a wait until now, not between two of them */
	int more = chime__worker_turn(w->workers[who], 0);
	if (more < 0)
		breach(w, "the loop is broken: %s", chime_strerror(more));
	w->ended[who] = !more;
	return more || alive > 1;
}

/* A turn of the server. Whether it goes on. */
static bool turn(struct world *w, int64_t limit_ns)
{
	uint64_t events = w->sim.events;
	int64_t before_ns = w->sim.mono_ns;
	if (world_cut(w) && !w->cut_ns)
		w->cut_ns = before_ns;
	if (!world_cut(w))
		w->last_moved_ns = w->sim.moved_ns;
	int more;
	if (w->worker_count > 1)
		more = turn_any(w, limit_ns);
	else
		more = chime__worker_turn(w->workers[0], limit_ns);
	if (more < 0)
		breach(w, "the loop is broken: %s", chime_strerror(more));
	bool idle = events == w->sim.events && limit_ns > CHIME_MSEC &&
		    w->sim.mono_ns - before_ns < (w->worker_count > 1 ? 1 : CHIME_MSEC);
	w->idle_turns = idle ? w->idle_turns + 1 : 0;
	if (w->idle_turns > 1000)
		breach(w, "it spins: turns in which nothing happens");
	if (++w->turns > TURNS_MAX)
		breach(w, "it does not end");
	if (more)
		check(w);
	return more;
}

static void run(struct world *w)
{
	bool more = true;
	while (more) {
		int64_t at_ns, now_ns = w->sim.mono_ns;
		if (w->calm_end && all_said(w)) {
			int64_t quiet_ns = w->sim.moved_ns > w->said_ns ? w->sim.moved_ns : w->said_ns;
			w->stop_ns = quiet_ns + 3 * CHIME_SEC + w->longest_later_ns;
		}
		int who = next_one(w, &at_ns);
		if (at_ns > now_ns) {
			more = turn(w, at_ns == NEVER ? 10 * CHIME_SEC : at_ns - now_ns);
			continue;
		}
		if (who < 0)
			stop(w);
		else
			client_act(&w->client[who]);
		if (who >= 0 && w->client[who].write_ns == NEVER && !w->client[who].said) {
			w->client[who].said = true;
			w->said_ns = now_ns;
		}
		if (!often(w, 300))
			more = turn(w, 0);
	}
}

/* ---- what must hold at the end ---- */

static void end_client(struct world *w, struct client *c)
{
	static unsigned char bytes[CHIME_MESSAGE_MAX + 8192];
	struct sim_view v;
	if (c->peer < 0)
		return;
	sim_view(&w->sim, c->peer, &v);
	bool was_reset = sim_was_reset(&w->sim, c->peer);
	if (c->place->type == SOCK_STREAM) {
		for (size_t n; (n = sim_read(&w->sim, c->peer, bytes, sizeof bytes)) > 0;)
			oracle_bytes(c, bytes, n);
	} else {
		for (ssize_t n; (n = sim_take(&w->sim, c->peer, bytes, sizeof bytes)) >= 0;)
			oracle_message(c, bytes, (size_t)n);
	}
	if (c->place->type == SOCK_DGRAM) {
		if (v.received < c->at_stop && !world_cut(w))
			breach(w, "client %u: of %llu datagrams before the stop %llu were read", c->number,
			       (unsigned long long)c->at_stop, (unsigned long long)v.received);
		return;
	}
	if (c->called && !c->opened)
		return; /* refused, or ended before that: watch_closed() has looked at the reason */
	if (!sim_closed(&w->sim, c->peer))
		breach(w, "client %u is not closed at the end", c->number);
	if (c->opened != c->closed && !c->said_no)
		breach(w, "client %u: opened %d, closed %d", c->number, c->opened, c->closed);
	if (!v.accepted) {
		if (!world_cut(w))
			breach(w, "client %u waited in the listener, which was closed", c->number);
		return;
	}
	if (!c->opened) {
		if (!v.refused_op && !(w->cut_ns && v.accepted_ns >= w->cut_ns))
			w->refusals++;
		return;
	}
	if (c->reset || c->loose || c->why != 0)
		return;
	bool late = c->last_ns >= v.closed_ns || (w->stopped_ns && c->written > c->at_stop) ||
		    (v.shut_ns && c->last_ns >= v.shut_ns);
	if (was_reset && !late)
		breach(w, "client %u is reset for no reason", c->number);
	oracle_end(c);
}

/* Every datagram that was received is answered, or counted as dropped. */
static void end_datagrams(struct world *w, const struct chime_server_stats *stats)
{
	uint64_t asked = 0, answered = 0, others = 0;
	for (unsigned i = 0; i < w->clients; i++) {
		struct client *c = &w->client[i];
		struct sim_view v;
		if (c->peer < 0 || c->place->type == SOCK_STREAM)
			continue;
		sim_view(&w->sim, c->peer, &v);
		if (c->place->type == SOCK_SEQPACKET) {
			others += v.received; /* the most of them that can have been too long, or failed */
			continue;
		}
		asked += v.received;
		answered += v.answered;
	}
	uint64_t dropped = stats->dropped_source + stats->dropped_loop + stats->dropped_rate + stats->dropped_queue +
			   stats->dropped_long;
	if (asked > answered + dropped || asked + others < answered + dropped)
		breach(w, "%llu datagrams: %llu answers, %llu dropped", (unsigned long long)asked,
		       (unsigned long long)answered, (unsigned long long)dropped);
}

static void end(struct world *w)
{
	struct chime_server_stats sum = world_stats(w), *stats = &sum;
	unsigned conns = 0;
	for (unsigned i = 0; i < w->clients; i++)
		end_client(w, &w->client[i]);
	end_datagrams(w, stats);
	for (unsigned i = 0; i < w->worker_count; i++)
		conns += w->workers[i]->conns;
	if (conns || stats->open || stats->queued_bytes || w->server.open_conns)
		breach(w, "%u connections (%llu, %llu) and %llu bytes are left", conns, (unsigned long long)stats->open,
		       (unsigned long long)w->server.open_conns, (unsigned long long)stats->queued_bytes);
	if (w->sim.opened != w->sim.closed)
		breach(w, "%u descriptors opened, %u closed", w->sim.opened, w->sim.closed);
	if (w->opens != w->closes)
		breach(w, "%u connections opened, %u closed", w->opens, w->closes);
	if (w->limits != stats->idle_closed + stats->stalled_ended + stats->queue_ended)
		breach(w, "%u ended by a limit, counted %llu idle, %llu stalled, %llu queued", w->limits,
		       (unsigned long long)stats->idle_closed, (unsigned long long)stats->stalled_ended,
		       (unsigned long long)stats->queue_ended);
	if (stats->refused != w->refusals)
		breach(w, "%llu refused by the counter, %u were", (unsigned long long)stats->refused, w->refusals);
	int64_t moved_ns = w->last_moved_ns > w->stopped_ns ? w->last_moved_ns : w->stopped_ns;
	if (w->all_prompt && w->server.stops < 2 && w->sim.fd_max == SIM_SOCKS && stats->cut &&
	    w->stopped_ns + w->server.config.grace_ns - moved_ns >= 3 * CHIME_SEC)
		breach(w, "%llu connections are cut, for which nothing was done, and all clients are prompt",
		       (unsigned long long)stats->cut);
	for (unsigned i = 0; i < w->worker_count; i++) {
		chime__worker_fini(w->workers[i]);
		if (w->workers[i]->loop.timers.count)
			breach(w, "%u timers are left", w->workers[i]->loop.timers.count);
	}
	if (w->sim.small.out || w->sim.large.out || w->sim.huge.out)
		breach(w, "%u receive buffers are left", w->sim.small.out + w->sim.large.out + w->sim.huge.out);
}

static void unmake(struct world *w)
{
	service_forget();
	for (unsigned i = 0; i < w->clients; i++)
		free(w->client[i].lens);
	sim_fini(&w->sim);
	for (unsigned i = 0; i < w->worker_count; i++)
		free(w->workers[i]);
}

const char *world_run(struct world *w, uint64_t seed, void (*line)(void *arg, const char *line), void *arg)
{
	make(w, seed, line, arg);
	if (setjmp(w->out))
		return w->what;
	plan_server(w);
	w->clients = 1 + (unsigned)pick(w, often(w, 300) ? 4 : CLIENTS);
	for (unsigned i = 0; i < w->clients; i++)
		client_plan(w, &w->client[i]);
	w->calm_end = often(w, 600);
	w->stop_ns =
		w->calm_end ? NEVER : w->sim.mono_ns + (int64_t)pick(w, often(w, 700) ? CHIME_SEC : 20 * CHIME_SEC);
	w->stop2_ns = NEVER;
	plan_open(w);
	plan_weather(w);
	for (unsigned i = 0; i < w->worker_count; i++)
		w->workers[i]->loop.caps.inline_send = w->sim.inline_send;
	run(w);
	end(w);
	unmake(w);
	return NULL;
}
