/*
 * server/worker.h - one thread's share of a server: its loop, listeners, connections, counters. Shares nothing that changes.
 */
#ifndef SERVER_WORKER_H
#define SERVER_WORKER_H

#include "loop/loop.h"
#include "server/guard.h"
#include "server/listen.h"

#include <chime/server.h>

/* One endpoint as it is served. Never changes once the workers run. */
struct served {
	chime_endpoint endpoint; /* with the real port */
	const chime_service *service;
	void *config; /* the service's, .config_size bytes */
	int64_t idle_timeout_ns;
	int64_t rate; /* datagram answers a second to one source */
	struct listen_set set;
};

/*
 * What every chime_conn begins with, be it a connection (server/conn.h) or a datagram socket (server/dgram.h).
 */
struct chime_conn {
	struct chime_worker *worker;
	const struct served *served;
	int fd;
	uint8_t datagram; /* it is a struct dgram */
	uint8_t state;    /* conn: enum conn_state; dgram: enum dgram_state */
	uint8_t reserved[2];
};

struct conn;
struct dgram;
struct acceptor;

/* A list of connections, oldest first. */
struct conn_list {
	struct conn *first, *last;
};

struct chime_worker {
	struct loop loop;
	struct chime_server *server;
	const struct chime_server_config *config;
	unsigned number;
	struct chime_server_stats stats; /* written by this thread alone (stat_add), read by any */

	struct conn_list conns;   /* all of them */
	struct conn_list stalled; /* with something queued, the one longest without progress first */
	struct acceptor *acceptors;
	struct dgram *dgrams;
	uint64_t conn_max; /* this worker's share of the ceilings */
	uint64_t queue_max;
	uint64_t next_id;
	struct conn **by_id; /* hash of connections by id; grows */
	unsigned by_id_size;

	struct chime_timer sweep; /* looks at the stalled ones once a second while there are any */
	struct chime_timer grace;
	bool draining, cut;
	int result; /* what ended the thread */
};

/* Counters: one writer, any reader. */
static inline void stat_add(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}
static inline void stat_sub(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter - n, __ATOMIC_RELAXED);
}

/* Whether a line of that level is wanted; then fill in an event and tell. */
static inline bool log_wanted(const struct chime_worker *w, enum chime_log_level level)
{
	return w->config->log && level <= w->config->log_level;
}
static inline void log_tell(const struct chime_worker *w, const struct chime_log_event *event)
{
	w->config->log(w->config->log_arg, event);
}

#endif
