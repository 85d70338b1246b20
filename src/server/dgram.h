/*
 * server/dgram.h - a datagram socket in a worker: receive a batch, judge, answer, send the batch.
 *
 *   OPEN --drain--> DRAINING --nothing left to read, nothing queued--> CLOSED
 *
 * OPEN: receiving. DRAINING: what the socket holds is still read and answered (until it is empty, or DGRAM_DRAIN messages came:
 * under a flood it never is), then the queue is sent. CLOSED: the descriptor is gone, no operation is under way.
 * Answers that would block wait in its outbox (server/outbox.h); what is not answered is counted (server/drops.h).
 */
#ifndef SERVER_DGRAM_H
#define SERVER_DGRAM_H

#include "server/worker.h"

enum dgram_state {
	DGRAM_OPEN,
	DGRAM_DRAINING,
	DGRAM_CLOSED
};

#define DGRAM_DRAIN 65536            /* more than a receive buffer of 50 MB holds */
#define DGRAM_QUEUE_BYTES (4u << 20) /* for one socket, or the worker's ceiling if that is lower */
#define DGRAM_QUEUE_PEER (1u << 20)  /* of them, for one peer, or queue_conn_max */

/*
 * Starts serving the worker's descriptor of sock, which is the dgram's from here on (sock's becomes -1), and puts it into
 * w->dgrams. 0 and nothing where the worker has none. ports: as chime__guard_init(). -errno (the descriptor stays sock's).
 */
int chime__dgram_open(struct chime_worker *w, const struct served *served, struct listen_sock *sock,
		      const uint16_t *ports, unsigned port_count);

/* Drains: chime__dgram_gone() (server/worker.c) is called when it has ended. */
void chime__dgram_drain(struct dgram *d);
/* Ends at once: what is queued is dropped and counted. */
void chime__dgram_cut(struct dgram *d);
/* Takes it out of w->dgrams and gives the memory back, after it was gone. */
void chime__dgram_free(struct dgram *d);

/* chime_conn_sendto() on a datagram endpoint: sent at the end of the turn, or when its turn in the queue comes. */
int chime__dgram_sendto(struct dgram *d, const void *buf, size_t len, const chime_addr *to);

/* w->dgrams is a list through this. */
struct dgram *chime__dgram_next(struct dgram *d);

/* Called by a dgram, once, when it has ended; the worker frees it. In server/worker.c. */
void chime__dgram_gone(struct dgram *d);

#endif
