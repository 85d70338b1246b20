/*
 * server/drops.h - what a datagram socket does not answer: each reason has its counter, and a line in the log once a second, which
 * says how many there were.
 */
#ifndef SERVER_DROPS_H
#define SERVER_DROPS_H

#include "server/worker.h"

enum drop {
	DROP_SOURCE,
	DROP_MANY,
	DROP_NAMELESS,
	DROP_LOOP,
	DROP_ANSWER, /* ip://: what comes there by nature */
	DROP_RATE,
	DROP_LONG,
	DROP_BROKEN,
	DROP_QUEUE,
	DROP_SEND,
	DROP_STALL,
	DROP_SERVICE,
	DROP_RECV, /* no datagram: receiving failed */
	DROPS
};

struct drops {
	struct chime_worker *worker;
	const chime_endpoint *endpoint; /* for the log */
	int64_t told_ns[DROPS];         /* when the last line was logged */
	uint64_t untold[DROPS];
};

/* n datagrams (for DROP_RECV: attempts) are dropped. peer: whose, or NULL. err: why, negative, or 0. */
void chime__drop(struct drops *d, enum drop kind, uint64_t n, const chime_addr *peer, int err);
/* Logs what has not been told yet: at the end. */
void chime__drops_tell_rest(struct drops *d);

#endif
