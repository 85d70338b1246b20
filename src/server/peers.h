/*
 * server/peers.h - answers that wait to be sent from a datagram socket: a queue for each peer, peers taken in turn.
 *
 * What waits is a copy, bounded in bytes for each peer and for all; what it costs beside its bytes counts too, so that empty messages
 * have a bound. A peer that took nothing is stuck: it is passed over until chime__peers_unstick(). Order holds for each peer.
 */
#ifndef SERVER_PEERS_H
#define SERVER_PEERS_H

#include "loop/backend.h"

#define PEERS_CHAINS 256

struct peer;

struct waiting {
	struct waiting *next;
	struct peer *peer;
	chime_addr local; /* as in struct op_msg */
	unsigned local_if;
	unsigned answers; /* that it counts for */
	size_t len;
	struct iovec iov; /* its bytes */
	unsigned char bytes[];
};

struct peer {
	struct peer *chained;     /* in the hash table */
	struct peer *prev, *next; /* in ready or stuck; linked while something waits */
	chime_addr addr;
	struct waiting *first, **end;
	size_t cost;      /* of what waits and of what is taken */
	unsigned taken;   /* messages that are out of the queue, being sent */
	bool stuck;       /* in which list */
	int64_t since_ns; /* when it took something, or began to wait */
};

struct peer_list {
	struct peer *first, *last;
};

struct peers {
	struct peer *chains[PEERS_CHAINS];
	uint64_t seed;
	struct peer_list ready, stuck;
	unsigned count;
	size_t cost, max, peer_max;
};

void chime__peers_init(struct peers *q, size_t max, size_t peer_max);
/* Nothing may be taken. */
void chime__peers_fini(struct peers *q);

/* Whether something waits for that peer, or is being sent to it from here. */
bool chime__peers_has(const struct peers *q, const chime_addr *addr);
/* Copies a message behind all others to its peer, or in front of them. -ENOBUFS: over a bound; -ENOMEM. */
int chime__peers_add(struct peers *q, const struct op_msg *m, size_t len, unsigned answers, bool front, int64_t now_ns);
/* The next in turn, or NULL. It still counts, until it is done with or put back. */
struct waiting *chime__peers_take(struct peers *q);
/* It was sent (now_ns: when) or dropped (now_ns 0). */
void chime__peers_done(struct peers *q, struct waiting *w, int64_t now_ns);
/* It is the first of its peer again, who is stuck. Several taken of one peer go back in reverse order. */
void chime__peers_back(struct peers *q, struct waiting *w);
/* The peer of that address is stuck. */
void chime__peers_stick(struct peers *q, const chime_addr *addr);
void chime__peers_unstick(struct peers *q);
/* Drops all that waits for peers that took nothing since then (INT64_MAX: everything). How many messages. */
unsigned chime__peers_drop(struct peers *q, int64_t since_ns);

#endif
