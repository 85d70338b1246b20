/* What a client does: connects, writes, reads, ends, each when its plan says so. */
#include "sim/world.h"

#include <stdio.h>
#include <stdlib.h>

#define MESSAGE_MAX 4000

void client_plan(struct world *w, struct client *c)
{
	static const int64_t thinks[] = {
		0, CHIME_USEC, 100 * CHIME_USEC, CHIME_MSEC, 20 * CHIME_MSEC, 300 * CHIME_MSEC
	};
	c->world = w;
	c->number = (unsigned)(c - w->client);
	c->place = &w->place[pick(w, w->places)];
	c->peer = -1;
	c->think_ns = thinks[pick(w, 6)];
	c->pause_ns = often(w, 150) ? (int64_t)pick(w, 30) * CHIME_SEC : 0;
	c->write_max = often(w, 300) ? 1 + pick(w, 20) : often(w, 500) ? 1 + pick(w, 3000) : 1 + pick(w, 30000);
	c->reader = often(w, 700) ? PROMPT : often(w, 600) ? SLOW : STUCK;
	c->sip = often(w, 500) ? 800 : 60;
	c->ending = often(w, 450) ? HALF_CLOSE : often(w, 600) ? STAY : often(w, 600) ? RESET : LEAVE;
	c->to_send = often(w, 100) ? 0 : often(w, 400) ? pick(w, 200) : often(w, 900) ? pick(w, 6000) : pick(w, 120000);
	if (c->reader == SLOW && c->sip == 60 && c->to_send > 2000)
		c->to_send = 2000;
	if (c->write_max < 20 && c->to_send > 600)
		c->to_send = 600;
	if (c->place->type != SOCK_STREAM) {
		c->to_send = pick(w, 60);
		c->lens = calloc(c->to_send + 1, sizeof *c->lens);
		if (c->place->type == SOCK_DGRAM)
			c->ending = often(w, 800) ? STAY : LEAVE;
	}
	do
		c->port = (unsigned)pick(w, w->worker_count);
	while (c->place->listeners[c->port] < 0);
	c->called = c->place->type != SOCK_DGRAM && often(w, 120);
	c->write_ns = w->sim.mono_ns + (int64_t)pick(w, (uint64_t)(often(w, 500) ? CHIME_MSEC : 2 * CHIME_SEC));
	c->read_ns = 0;
	c->last_ns = w->sim.mono_ns;
	if (c->reader != PROMPT || c->pause_ns || c->place->answers == LATER || c->ending == LEAVE)
		w->all_prompt = false;
}

static void client_connect(struct client *c)
{
	struct world *w = c->world;
	if (c->place->type == SOCK_DGRAM) {
		char text[64];
		chime_addr at;
		bool bad = !c->place->unix_dgram && often(w, 100); /* a port that nobody is answered on */
		snprintf(text, sizeof text, c->place->unix_dgram ? "/%u" : "127.0.0.1:%u",
			 (bad ? 7 : 50000) + c->number);
		if (chime_addr_parse(&at, text) < 0)
			breach(w, "no address: %s", text);
		c->peer = sim_peer_at(&w->sim, &at, 1 + (unsigned)pick(w, 6));
	} else {
		c->peer = c->called ? place_call(c) : sim_connect(&w->sim, c->place->listeners[c->port]);
		if (c->peer < 0)
			c->peer = -2;
	}
	if (c->peer < 0)
		return;
	w->by_peer[c->peer] = c;
	sim_trace(&w->sim, "client %u is peer %d", c->number, c->peer);
}

/* How long a message is: seldom longer than is received or answered, or nothing. */
static size_t message_len(struct client *c)
{
	struct world *w = c->world;
	if (often(w, 5)) /* at the limits */
		return c->place->type == SOCK_DGRAM && !c->place->unix_dgram ? 65507 - pick(w, 60)
									     : CHIME_MESSAGE_MAX - 50 + pick(w, 100);
	return often(w, 100) ? 0 : often(w, 100) ? pick(w, 5) : 5 + pick(w, often(w, 100) ? MESSAGE_MAX : 200);
}

static void message_write(struct client *c)
{
	static unsigned char bytes[CHIME_MESSAGE_MAX + 100];
	struct world *w = c->world;
	size_t len = message_len(c);
	int fd = c->place->listeners[c->port];
	bool lost = false, many = false;
	message_fill(c, c->written, len, bytes);
	if (c->place->type == SOCK_SEQPACKET) {
		sim_write(&w->sim, c->peer, bytes, len);
	} else if (!c->place->unix_dgram && chime_addr_is_any(&c->place->sock.addr) && often(w, 60)) {
		many = true;
		lost = !sim_send_to_many(&w->sim, c->peer, fd, bytes, len);
	} else {
		lost = !sim_sendto(&w->sim, c->peer, fd, bytes, len);
	}
	if (lost) {
		c->to_send--; /* the number is the next one's */
		return;
	}
	c->lens[c->written++] = (uint32_t)len | (many || len > CHIME_MESSAGE_MAX ? SILENT : 0);
}

static void client_write(struct client *c)
{
	struct world *w = c->world;
	unsigned char bytes[32768];
	if (c->place->type == SOCK_STREAM) {
		size_t n = 1 + pick(w, c->write_max);
		if (n > c->to_send - c->written)
			n = c->to_send - c->written;
		for (size_t i = 0; i < n; i++)
			bytes[i] = payload(c, c->written + i);
		sim_write(&w->sim, c->peer, bytes, n);
		c->written += n;
		return;
	}
	for (unsigned burst = often(w, 60) ? 40 : 1; burst && c->written < c->to_send; burst--)
		message_write(c);
}

static void client_end(struct client *c)
{
	if (c->ended || c->reset)
		return;
	c->ended = true;
	sim_end(&c->world->sim, c->peer);
}

static void client_finish(struct client *c)
{
	c->done_writing = true;
	c->write_ns = NEVER;
	if (c->ending == RESET && !c->ended) {
		c->reset = true;
		sim_reset(&c->world->sim, c->peer);
	} else if (c->ending == LEAVE || c->ending == HALF_CLOSE) {
		if (c->ending == LEAVE)
			c->reader = STUCK;
		client_end(c);
	}
}

static void client_step(struct client *c)
{
	struct world *w = c->world;
	if (c->peer == -1)
		client_connect(c);
	if (c->peer == -2) {
		c->done_writing = true;
		c->write_ns = NEVER;
		return;
	}
	bool gone = c->place->type != SOCK_DGRAM && sim_closed(&w->sim, c->peer);
	if (c->called) {
		struct sim_view v;
		sim_view(&w->sim, c->peer, &v);
		if (!v.connected && !gone) { /* it is under way */
			c->write_ns = w->sim.mono_ns + CHIME_MSEC;
			return;
		}
		if (!v.connected) {
			c->done_writing = true;
			c->write_ns = NEVER;
			c->reader = STUCK;
			return;
		}
	}
	if (c->written < c->to_send && !c->ended && (!gone || often(w, 200)))
		client_write(c);
	c->last_ns = w->sim.mono_ns;
	if (c->written == c->to_send || c->ended || gone) {
		client_finish(c);
		return;
	}
	c->write_ns = w->sim.mono_ns + (int64_t)pick(w, (uint64_t)c->think_ns + 1);
	if (c->pause_ns && often(w, 50))
		c->write_ns += c->pause_ns;
}

void client_hurry(struct client *c)
{
	if (c->peer == -1)
		client_step(c);
}

static void client_read(struct client *c)
{
	struct world *w = c->world;
	static unsigned char bytes[CHIME_MESSAGE_MAX + 8192];
	if (c->place->type == SOCK_STREAM) {
		size_t most = c->reader == SLOW ? 1 + pick(w, c->sip) : often(w, 500) ? 65536 : 1 + pick(w, 2000);
		oracle_bytes(c, bytes, sim_read(&w->sim, c->peer, bytes, most));
	} else {
		ssize_t n = 0;
		for (unsigned i = c->reader == SLOW ? 1 : 1 + (unsigned)pick(w, 4); i && n >= 0; i--) {
			n = sim_take(&w->sim, c->peer, bytes, sizeof bytes);
			if (n >= 0)
				oracle_message(c, bytes, (size_t)n);
		}
	}
	c->read_ns = w->sim.mono_ns +
		     (c->reader == SLOW ? (int64_t)pick(w, 200 * CHIME_MSEC) : (int64_t)pick(w, 200 * CHIME_USEC));
	/* The server's end is the client's, when it has read all. */
	if (c->place->type != SOCK_DGRAM && sim_ended(&w->sim, c->peer) && sim_readable(&w->sim, c->peer) == 0)
		client_end(c);
}

static bool reads(const struct client *c)
{
	const struct sim *sim = &c->world->sim;
	if (c->peer < 0 || c->reset || c->reader == STUCK)
		return false;
	if (sim_readable(sim, c->peer))
		return true;
	return c->place->type != SOCK_DGRAM && sim_ended(sim, c->peer) && !c->ended;
}

int64_t client_next(const struct client *c)
{
	int64_t next_ns = c->write_ns;
	if (reads(c) && c->read_ns < next_ns)
		next_ns = c->read_ns;
	return next_ns;
}

void client_act(struct client *c)
{
	if (reads(c) && c->read_ns <= c->write_ns)
		client_read(c);
	else
		client_step(c);
}
