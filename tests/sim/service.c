/* The services: the library's behind a watch, and one that answers later. */
#include "sim/world.h"

#include <chime/error.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct world *here;

/* What a connection keeps. */
struct seat {
	struct client *client;
	chime_conn *conn;
	uint64_t id;
	bool ended, closed;
	/* LATER: what was received and is not sent yet; a hold is open while there is some */
	unsigned char *held;
	size_t held_len;
	bool holding, posted;
	chime_timer timer;
	int64_t due_ns;
};

/* ---- the watch ---- */

static struct client *client_of(chime_conn *conn)
{
	int peer = sim_peer_of(&here->sim, chime_conn_fileno(conn));
	if (peer < 0 || !here->by_peer[peer])
		breach(here, "a connection of nobody, fd %d", chime_conn_fileno(conn));
	return here->by_peer[peer];
}

static int watch_opened(chime_conn *conn, void *state)
{
	struct seat *seat = state;
	struct client *c = client_of(conn);
	if (c->opened)
		breach(here, "client %u is opened twice", c->number);
	*seat = (struct seat){ .client = c, .conn = conn, .id = chime_conn_id(conn) };
	c->opened = true;
	c->id = seat->id;
	for (unsigned i = 0; i < here->clients; i++)
		if (&here->client[i] != c && here->client[i].id == c->id)
			breach(here, "clients %u and %u have the same number, %llu", i, c->number,
			       (unsigned long long)c->id);
	struct sim_view v;
	sim_view(&here->sim, c->peer, &v);
	if (!v.connected)
		breach(here, "client %u is opened, and is not connected", c->number);
	if (often(here, 20)) {
		sim_trace(&here->sim, "client %u: the service says no", c->number);
		c->said_no = c->loose = true;
		here->refusals++;
		return 1;
	}
	here->opens++;
	return 0;
}

static ssize_t later(struct seat *seat, const struct chime_input *in, chime_reply *out);

static ssize_t watch_received(const struct chime_input *in, chime_reply *out)
{
	if (in->state) {
		struct seat *seat = in->state;
		const struct place *p = seat->client->place;
		if (seat->closed || seat->ended)
			breach(here, "client %u: input after %s", seat->client->number,
			       seat->closed ? "closed" : "ended");
		if (p->answers == LATER)
			return later(seat, in, out);
		ssize_t used = p->inner->received(in, out);
		seat->client->partial = used >= 0 && !in->message ? in->len - (size_t)used : 0;
		return used;
	}
	for (unsigned i = 0; i < here->places; i++)
		if (here->place[i].served.config == in->config)
			return here->place[i].inner->received(in, out);
	breach(here, "a datagram for no place");
}

static void watch_ended(chime_conn *conn, void *state)
{
	struct seat *seat = state;
	(void)conn;
	if (seat->ended || seat->closed)
		breach(here, "client %u: ended twice, or after closed", seat->client->number);
	seat->ended = true;
}

/* An end that nobody wanted must have its reason. */
static void check_why(const struct client *c, int why)
{
	const struct chime_server_config *config = &here->server.config;
	int64_t idle_ns = c->place->served.idle_timeout_ns, now_ns = here->sim.mono_ns;
	struct sim_view v;
	sim_view(&here->sim, c->peer, &v);
	int64_t last_ns = v.received_ns > v.answered_ns ? v.received_ns : v.answered_ns;
	if (last_ns < v.accepted_ns)
		last_ns = v.accepted_ns;
	switch (why) {
	case 0:
		if (!c->ended && !here->stopped_ns && !c->loose && !v.shut_ns)
			breach(here, "client %u is closed for no reason", c->number);
		return;
	case CHIME_ETIMEOUT:
		here->limits++;
		if (v.shut_ns)
			return; /* what comes after its end is thrown away, and keeps nothing up */
		if (v.receipt_count && v.receipts[v.receipt_count - 1].over && now_ns - v.received_ns < SLACK_NS)
			return; /* that came after the cancel */
		if (idle_ns != CHIME_FOREVER && now_ns - last_ns >= idle_ns - SLACK_NS)
			return;
		if (config->stall_timeout_ns != CHIME_FOREVER &&
		    now_ns - (v.answered_ns > v.accepted_ns ? v.answered_ns : v.accepted_ns) >=
			    config->stall_timeout_ns - SLACK_NS)
			return;
		if (world_stats(here).queue_ended)
			return;
		break;
	case -ECANCELED:
		if (world_cut(here) || c->loose)
			return;
		break;
	case -ECONNRESET:
	case -EPIPE:
		if (c->reset || sim_was_reset(&here->sim, c->peer))
			return;
		break;
	case -ENOMEM:
		if (v.refused_op)
			return;
		break;
	}
	breach(here, "client %u is ended with %s, and there was no reason", c->number, chime_strerror(why));
}

/* Connecting to it has failed, or was given up. */
static void closed_unconnected(struct client *c, int why)
{
	sim_trace(&here->sim, "client %u: not connected, %s", c->number, chime_strerror(why));
	if (!c->called)
		breach(here, "client %u is closed and never was opened", c->number);
	if (why == -ECANCELED ? !here->stopped_ns : !here->sim.weather.refuse)
		breach(here, "client %u is not connected, %s, and there was no reason", c->number, chime_strerror(why));
	if (why != -ECANCELED && why != -ECONNREFUSED && why != -ETIMEDOUT && why != -EHOSTUNREACH)
		breach(here, "client %u is not connected, %s", c->number, chime_strerror(why));
}

static void watch_closed(chime_conn *conn, void *state, int why)
{
	struct seat *seat = state;
	if (seat->closed)
		breach(here, "client %u is closed twice", seat->client->number);
	seat->closed = true;
	seat->client->closed = true;
	if (!seat->client->opened) {
		closed_unconnected(seat->client, why);
		return;
	}
	seat->client->why = why;
	here->closes++;
	chime_timer_stop(conn->worker, &seat->timer);
	if (why == 0 && seat->holding && !seat->client->reset)
		breach(here, "client %u is closed while a hold is open", seat->client->number);
	free(seat->held);
	seat->held = NULL;
	sim_trace(&here->sim, "client %u: closed, %s", seat->client->number,
		  why ? chime_strerror(why) : "in good order");
	check_why(seat->client, why);
}

/* ---- the one that answers later ---- */

static void send_held(struct seat *seat);

static void on_timer(chime_timer *t, void *arg)
{
	struct seat *seat = arg;
	int64_t late_ns = here->sim.mono_ns - seat->due_ns;
	(void)t;
	if (late_ns < 0 || late_ns > TIMER_TICK_NS + SLACK_NS)
		breach(here, "client %u: a timer runs %lld ms late", seat->client->number,
		       (long long)(late_ns / CHIME_MSEC));
	send_held(seat);
}

static void start_timer(struct seat *seat, int64_t after_ns)
{
	seat->due_ns = seat->conn->worker->loop.now_ns + after_ns;
	chime_timer_start(seat->conn->worker, &seat->timer, after_ns, on_timer, seat);
}

/* The connection may have gone meanwhile: so it is looked up. */
struct post {
	struct loop_task task;
	struct post *next;
	chime_worker *worker;
	uint64_t id;
};
static struct post *posts; /* all that were made for this world */

void service_forget(void)
{
	while (posts) {
		struct post *p = posts;
		posts = p->next;
		free(p);
	}
}

static void on_post(struct loop *lp, struct loop_task *task)
{
	struct post *p = (struct post *)task;
	(void)lp;
	chime_conn *conn = chime_worker_conn(p->worker, p->id);
	if (!conn)
		return;
	struct seat *seat = chime_conn_state(conn);
	seat->posted = false;
	if (!timer_running(&seat->timer))
		send_held(seat);
}

static void post_soon(struct seat *seat)
{
	struct post *p = calloc(1, sizeof *p);
	*p = (struct post){ .task = { .run = on_post }, .next = posts, .worker = seat->conn->worker, .id = seat->id };
	posts = p;
	seat->posted = true;
	if (chime__loop_post_from_any(&p->worker->loop, &p->task) < 0)
		breach(here, "a post is refused while the loop runs");
}

static void hold_more(struct seat *seat, const unsigned char *bytes, size_t len)
{
	if (len == 0)
		return;
	seat->held = realloc(seat->held, seat->held_len + len);
	memcpy(seat->held + seat->held_len, bytes, len);
	seat->held_len += len;
	if (!seat->holding)
		chime_conn_hold(seat->conn);
	seat->holding = true;
	if (seat->posted || timer_running(&seat->timer))
		return;
	if (often(here, 400)) {
		post_soon(seat);
		return;
	}
	int64_t after_ns = (int64_t)pick(here, often(here, 50)    ? 45 * CHIME_SEC
					       : often(here, 300) ? CHIME_SEC
								  : 5 * CHIME_MSEC);
	if (after_ns > here->longest_later_ns)
		here->longest_later_ns = after_ns;
	start_timer(seat, after_ns);
}

/* Sends what is held, in pieces. What does not fit into the queue is tried again. */
static void send_held(struct seat *seat)
{
	size_t at = 0;
	while (at < seat->held_len && !seat->closed) {
		size_t left = seat->held_len - at,
		       n = 1 + pick(here, left < 400 ? left : 400); /* the least queue takes that */
		int err = chime_conn_send(seat->conn, seat->held + at, n);
		if (seat->closed)
			return;
		if (err == -ENOBUFS || err == -ENOMEM)
			break;
		if (err == -EPIPE && seat->conn->state >= CONN_CLOSING)
			return; /* it is ending: closed comes when its operations have ended */
		if (err < 0)
			breach(here, "client %u: sending later fails, %s", seat->client->number, chime_strerror(err));
		at += n;
	}
	if (seat->closed)
		return;
	memmove(seat->held, seat->held + at, seat->held_len - at);
	seat->held_len -= at;
	if (seat->held_len) {
		start_timer(seat, 100 * CHIME_MSEC);
		return;
	}
	seat->holding = false;
	if (often(here, 20)) {
		sim_trace(&here->sim, "client %u: the service closes", seat->client->number);
		seat->client->loose = true;
		if (often(here, 500))
			chime_conn_close(seat->conn);
		else
			chime_conn_abort(seat->conn);
	}
	if (!seat->closed)
		chime_conn_release(seat->conn);
}

static ssize_t later(struct seat *seat, const struct chime_input *in, chime_reply *out)
{
	size_t len = in->len;
	seat->client->partial = 0;
	if (len && len < 500 && !in->end && often(here, 100)) {
		seat->client->partial = len;
		return 0; /* more is needed */
	}
	if (len > 1 && often(here, 200))
		len = 1 + pick(here, len); /* the rest comes again at once */
	if (seat->held_len || often(here, 500)) {
		hold_more(seat, in->data, len);
		if (often(here, 100))
			chime_reply_add(out, "", 0);
		return (ssize_t)len;
	}
	size_t now = pick(here, len + 1);
	if (now && chime_reply_add(out, in->data, now) < 0)
		breach(here, "no room for a piece");
	if (now < len) {
		int err = chime_conn_send(in->conn, in->data + now, len - now);
		if (err < 0 && err != -ENOBUFS)
			breach(here, "client %u: sending behind the reply fails, %s", seat->client->number,
			       chime_strerror(err));
		if (err < 0)
			hold_more(seat, in->data + now, len - now);
	}
	return (ssize_t)len;
}

int place_call(struct client *c)
{
	struct seat seat = { .client = c };
	struct place *p = c->place;
	chime_worker *k = here->workers[pick(here, here->worker_count)];
	chime_conn *conn;
	if (here->ended[k->number] || k->draining)
		return -ECANCELED;
	c->called = true;
	int err = chime_worker_connect(k, &p->service, &p->stamp, &p->at, p->type, &seat, sizeof seat, &conn);
	return err < 0 ? err : sim_peer_of(&here->sim, chime_conn_fileno(conn));
}

void place_service(struct place *p)
{
	p->inner = chime_service_find(p->answers == STAMP ? "stamp" : "echo");
	p->service = *p->inner;
	p->service.name = p->answers == STAMP ? "stamp" : p->answers == ECHO ? "echo" : "later";
	p->service.state_size = sizeof(struct seat);
	p->service.opened = watch_opened;
	p->service.received = watch_received;
	p->service.ended = watch_ended;
	p->service.closed = watch_closed;
}
