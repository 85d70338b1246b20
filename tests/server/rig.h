/*
 * server/rig.h - a worker on the simulated network: a server without threads, sockets or a real clock.
 */
#ifndef SERVER_RIG_H
#define SERVER_RIG_H

#include "runner/test.h"

#include "loop/backend/sim.h"
#include "server/acceptor.h"
#include "server/conn.h"
#include "server/server.h"

#include <chime/stamp.h>

struct rig {
	struct sim sim;
	chime_server server;
	struct chime_worker *w;
	struct served served;
	struct listen_sock sock;
	int listener, fds[1];
	chime_addr any;
};

/* What differs from the defaults is set between rig_init() and rig_start(). */
static inline void rig_init(struct rig *r, const char *service)
{
	memset(r, 0, sizeof *r);
	sim_init(&r->sim);
	r->server.config = (struct chime_server_config)CHIME_SERVER_CONFIG_INIT;
	r->server.config.workers = 1;
	r->server.max_conns = 100;
	r->served.service = chime_service_find(service);
	CHECK(r->served.service != NULL);
	r->served.config = test_calloc(1, r->served.service->config_size + 1);
	if (r->served.service->config_default)
		memcpy(r->served.config, r->served.service->config_default, r->served.service->config_size);
	r->served.idle_timeout_ns = CHIME_FOREVER;
	r->sock = (struct listen_sock){ .family = AF_INET, .type = SOCK_STREAM, .fds = r->fds };
}

static inline void rig_start(struct rig *r)
{
	r->w = test_calloc(1, sizeof *r->w);
	CHECK_EQ(chime__worker_init(r->w, &r->server, &r->server.config, 0, &chime__backend_sim, &r->sim), 0);
	r->listener = r->fds[0] = sim_listen(&r->sim, SOCK_STREAM, NULL);
	CHECK_EQ(chime__acceptor_open(r->w, &r->served, &r->sock), 0);
}

/* Turns until nothing happens any more, without letting time pass. 0: all has ended. */
static inline int rig_turns(struct rig *r)
{
	int more = 1;
	for (int i = 0; i < 200 && more > 0; i++) {
		more = chime__worker_turn(r->w, 0);
	}
	CHECK(more >= 0);
	return more;
}

/* Lets time pass in small steps, the server turning meanwhile. */
static inline void rig_pass(struct rig *r, int64_t ns)
{
	int64_t until = r->sim.mono_ns + ns;
	while (r->sim.mono_ns < until) {
		int64_t left = until - r->sim.mono_ns;
		sim_pass(&r->sim, left < 50 * CHIME_MSEC ? left : 50 * CHIME_MSEC);
		rig_turns(r);
	}
}

static inline void rig_stop(struct rig *r)
{
	r->server.stops++;
}

/* A peer whose connection has been accepted. */
static inline int rig_peer(struct rig *r)
{
	int peer = sim_connect(&r->sim, r->listener);
	rig_turns(r);
	return peer;
}

/* Starts, with a peer that takes window bytes at a time, and the next ones when it has read. */
static inline int rig_start_narrow(struct rig *r, size_t window)
{
	rig_start(r);
	r->sim.window = window;
	return rig_peer(r);
}

/* All must have ended; nothing may be left. */
static inline void rig_fini(struct rig *r)
{
	CHECK_EQ(r->w->conns, 0);
	CHECK_EQ(r->w->stats.open, 0);
	CHECK_EQ(r->w->stats.queued_bytes, 0);
	CHECK_EQ(r->server.open_conns, 0);
	CHECK_EQ(r->sim.opened, r->sim.closed);
	chime__worker_fini(r->w);
	sim_fini(&r->sim);
	test_free(r->w);
	test_free(r->served.config);
}

/* Drains and ends. */
static inline void rig_end(struct rig *r)
{
	rig_stop(r);
	rig_turns(r);
	rig_stop(r);
	CHECK_EQ(rig_turns(r), 0);
	rig_fini(r);
}

#endif
