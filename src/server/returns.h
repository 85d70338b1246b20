/*
 * server/returns.h - answers that come back, because their receiver's queue was full (TIPC): what is needed to send them again.
 *
 * A message comes back with its first 1024 bytes alone, so longer ones are kept when they have been sent: the last RETURNS_BYTES of
 * them. And a peer that has refused everything for the stall limit is given up.
 */
#ifndef SERVER_RETURNS_H
#define SERVER_RETURNS_H

#include "loop/backend.h"

#define RETURNS_WHOLE 1023          /* a message of so many bytes is known to have come back whole */
#define RETURNS_BYTES (1u << 20)    /* of longer ones that are kept */
#define RETURNS_PEERS 64            /* who refused lately */
#define RETURNS_PAUSE_NS 1000000000 /* a peer that refused nothing for so long has begun to take */

struct returned_kept;

struct returned_peer {
	chime_addr addr;
	int64_t since_ns, last_ns; /* it refuses since, and refused last */
};

struct returns {
	struct returned_kept *first, **end; /* the oldest first */
	size_t bytes;
	struct returned_peer peers[RETURNS_PEERS];
};

void chime__returns_init(struct returns *r);
void chime__returns_fini(struct returns *r);

/* A message was sent. Without memory it is not kept. */
void chime__returns_sent(struct returns *r, const struct op_msg *m, size_t len);

/*
 * One came back: whole is all of it, if that is known (NULL: it is lost), to be given back by free(*keep) after use. Since when the peer
 * refuses, in nanoseconds.
 */
int64_t chime__returns_came(struct returns *r, const struct op_msg *m, int64_t now_ns, struct iovec *whole,
			    void **keep);

#endif
