/*
 * server/server.h - the inside of a chime_server.
 */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include "server/worker.h"

/* An endpoint's own options beside the service's; read by chime_endpoint_parse() together with them. */
struct served_options {
	int64_t rate;
	int64_t idle_timeout_ns;
};

struct chime_server {
	struct chime_server_config config;
	const struct backend *backend;
	char backend_why[192];
	struct served **served; /* each its own allocation: workers keep pointers */
	unsigned served_count;
	uint16_t *udp_ports; /* sorted: what guards compare sources with */
	unsigned udp_port_count;
	int *cores;                   /* [config.workers]: whose core is which, if they are pinned */
	struct chime_worker *workers; /* [config.workers] once started */
	unsigned ready;               /* workers that were initialised; atomic, for chime_server_stop() */
	unsigned started;             /* of them, those that have a thread */
	bool opened;
	uint64_t max_conns;
	uint64_t open_conns; /* over all workers; atomic */
	unsigned stops;      /* calls of chime_server_stop(); atomic */
	pthread_mutex_t lock;
	pthread_cond_t ended;
	unsigned running; /* under lock */
	char why[512];
};

/* In server/served.c. Closes what is open of it. NULL is fine. */
void chime__served_free(struct served *v);

#endif
