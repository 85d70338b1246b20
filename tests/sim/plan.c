/* What the seed makes of a history: the server, its endpoints and limits, the weather. */
#include "sim/world.h"

#include <chime/error.h>

#include <stdio.h>
#include <stdlib.h>

/* Seldom, sometimes or mostly. */
static unsigned some(struct world *w)
{
	static const unsigned levels[] = { 0, 10, 100, 500, 900 };
	return levels[pick(w, 5)];
}

void plan_weather(struct world *w)
{
	struct sim *sim = &w->sim;
	struct sim_weather *weather = &sim->weather;
	weather->pace_ns = 1 + (int64_t)pick(w, often(w, 200) ? 300 * CHIME_USEC : 5 * CHIME_USEC);
	weather->delay_ns = 20 * CHIME_MSEC;
	weather->shuffle = often(w, 900);
	weather->short_read = some(w);
	weather->short_write = some(w);
	weather->delay = some(w);
	weather->clock_step = often(w, 300) ? 20 : 0;
	weather->clock_step_ns = often(w, 500) ? 3 * CHIME_SEC : 40 * CHIME_HOUR;
	weather->emfile = often(w, 300) ? 300 : 0;
	weather->enobufs = often(w, 200) ? 50 : 0;
	weather->refuse = often(w, 300) ? 300 : 0;
	weather->slow_connect = often(w, 500) ? 500 : 0;
	weather->full = often(w, 300) ? 200 : 0;
	weather->no_memory = often(w, 100) ? 5 : 0;
	sim->inline_send = often(w, 500);
	weather->late_send = often(w, 300) ? 500 : 0;
	if (often(w, 500)) { /* as on a ring */
		sim->inline_send = false;
		weather->first_again = often(w, 700) ? 200 : 0;
		weather->over_delivery = some(w);
		weather->late_cancel = some(w);
	}
	if (often(w, 100))
		sim->fd_max = 8 + (int)pick(w, 10);
	sim->recv_max = often(w, 300) ? 1 + pick(w, 3000) : 0;
	sim->window = often(w, 400) ? 100 + pick(w, 2000) : 65536;
}

static void make_place(struct world *w, struct place *p)
{
	static const int64_t chunks[] = { 1, 7, 100, 1024, 1024, 4096, 65536 };
	unsigned kind = (unsigned)pick(w, 10);
	p->type = kind < 7 ? SOCK_STREAM : kind < 8 ? SOCK_SEQPACKET : SOCK_DGRAM;
	p->answers = (enum answering)(often(w, 550) ? STAMP : pick(w, 3));
	if (p->type != SOCK_STREAM && p->answers == LATER)
		p->answers = ECHO;
	p->unix_dgram = p->type == SOCK_DGRAM && often(w, 600);
	p->stamp = (struct chime_stamp_config){ .chunk = chunks[pick(w, 7)],
						.format = (int)pick(w, CHIME_STAMP_FORMATS),
						.frame = often(w, 350),
						.utc = often(w, 500) };
	p->long_lines = often(w, 600);
	place_service(p);
	p->served.service = &p->service;
	p->served.config = &p->stamp;
	p->served.set.workers = w->worker_count;
	p->served.idle_timeout_ns = often(w, 700) ? CHIME_FOREVER : (1 + (int64_t)pick(w, 50)) * CHIME_SEC;
	p->served.rate = often(w, 700) ? 0 : 20;
	p->sock = (struct listen_sock){ .family = p->unix_dgram ? AF_UNIX : AF_INET, .type = p->type, .fds = p->fds };
	bool any = p->type == SOCK_DGRAM && often(w, 500);
	char at[32];
	snprintf(at, sizeof at, "192.0.2.1:%u", 1000 + (unsigned)(p - w->place));
	if (chime_addr_parse(&p->sock.addr, p->unix_dgram ? "/server"
					    : any         ? "0.0.0.0:9999"
							  : "127.0.0.1:9999") < 0 ||
	    chime_addr_parse(&p->at, at) < 0)
		breach(w, "no address");
	p->sock.shared = p->unix_dgram || (p->type != SOCK_DGRAM && often(w, 400));
	for (unsigned i = 0; i < w->worker_count; i++) {
		if (i == 0 || !p->sock.shared)
			p->fds[i] = sim_listen(&w->sim, p->type, &p->sock.addr);
		else
			p->fds[i] = p->unix_dgram ? -1 : sim_share(&w->sim, p->fds[0]);
		p->listeners[i] = p->fds[i];
	}
	sim_place(&w->sim, p->type, &p->at);
}

static void on_log(void *arg, const struct chime_log_event *e)
{
	struct world *w = arg;
	sim_trace(&w->sim, "        log %s conn=%llu %s %s", e->event, (unsigned long long)e->conn, e->op ? e->op : "",
		  e->msg ? e->msg : "");
}

void plan_server(struct world *w)
{
	struct chime_server_config *config = &w->server.config;
	*config = (struct chime_server_config)CHIME_SERVER_CONFIG_INIT;
	config->workers = w->worker_count = often(w, 600) ? 1 : 2 + (unsigned)pick(w, WORKERS - 1);
	config->grace_ns = often(w, 800) ? 5 * CHIME_SEC : (int64_t)pick(w, 60) * CHIME_SEC;
	config->stall_timeout_ns = often(w, 300) ? (1 + (int64_t)pick(w, 10)) * CHIME_SEC : 60 * CHIME_SEC;
	config->queue_conn_max = often(w, 300) ? 500 + pick(w, 5000) : 1 << 20;
	config->queue_total_max = often(w, 700)   ? 256u << 20
				  : often(w, 500) ? 20000 + pick(w, 50000)
						  : 1000 + pick(w, 4000);
	if (w->sim.trace) {
		config->log = on_log;
		config->log_arg = w;
		config->log_level = CHIME_LOG_DEBUG;
	}
	w->server.max_conns = often(w, 200) ? 1 + pick(w, 6) : 1000;
	bool shared_bufs = often(w, 500);
	for (unsigned i = 0; i < w->worker_count; i++) {
		struct chime_worker *k = w->workers[i] = calloc(1, sizeof *k);
		if (!k || chime__worker_init(k, &w->server, config, i, &chime__backend_sim, &w->sim) < 0)
			breach(w, "no worker");
		k->loop.caps.shared_bufs = shared_bufs;
	}
	w->places = 1 + (unsigned)pick(w, PLACES);
	for (unsigned i = 0; i < w->places; i++)
		make_place(w, &w->place[i]);
}

void plan_open(struct world *w)
{
	for (unsigned i = 0; i < w->places * w->worker_count; i++) {
		struct place *p = &w->place[i % w->places];
		struct chime_worker *k = w->workers[i / w->places];
		int err = p->type == SOCK_DGRAM ? chime__dgram_open(k, &p->served, &p->sock, NULL, 0)
						: chime__acceptor_open(k, &p->served, &p->sock);
		if (err < 0)
			breach(w, "place %u does not open: %s", i % w->places, chime_strerror(err));
	}
}
