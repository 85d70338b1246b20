/*
 * server/pending.h - what a connection could not finish at once: bytes for a peer that is not taking them, and
 * input that waits for that, or for the rest of its line.
 */
#ifndef SERVER_PENDING_H
#define SERVER_PENDING_H

#include "loop/loop.h"

#include <chime/server.h>

struct conn;
struct chime_reply;

/* Bytes that wait to be sent. On a message connection: one message. */
struct block {
	struct block *next;
	size_t len, sent, room;
	unsigned char data[];
};

#define PENDING_IOVS 16 /* blocks in one send */

struct pending {
	struct conn *conn;
	struct pending *prev, *next; /* in one of the worker's lists, if listed; in its list of idle ones */
	struct pending_list *listed;
	int64_t since_ns; /* stalled: when the peer last took something; lingering: when it began */

	struct op out;
	bool spared;                    /* stalled, but there was room: until the send that finds it */
	bool full;                      /* the peer had no room for what was tried last: wait for it */
	struct buf *buf;                /* the answer under way lies here; its pieces, buf->iov, are out's */
	struct iovec iov[PENDING_IOVS]; /* out's, when blocks are under way */
	struct block *first, *last;     /* behind what is under way in buf */
	size_t blocks_bytes;            /* in blocks, unsent */
	unsigned blocks;                /* how many: empty messages cost memory too */

	struct block *rest; /* input that is not consumed: sent counts what is */
	int64_t rest_time_ns;
	bool rest_partial; /* the service wants more of it first; else it waits for the peer to take the answers before it */
	size_t charged; /* counted in the worker's sum */
};

/* Oldest first. */
struct pending_list {
	struct pending *first, *last;
};

/*
 * Sends what is left of a service's answer, which lies in b, after sending it at once said res (-EAGAIN: nothing went). 1: all of it
 * has gone; 0: the rest will, chime__conn_sent() tells; negative: the connection is broken, or no memory.
 */
int chime__pending_reply(struct conn *c, struct buf *b, struct chime_reply *r, int res);

/* Queues a copy of the bytes behind all others; chime__pending_pump() sends. -ENOBUFS, -ENOMEM. */
int chime__pending_add(struct conn *c, const void *bytes, size_t len);

/* Sends what is queued. 1: nothing is left; 0: later; negative: broken. */
int chime__pending_pump(struct conn *c);

/*
 * Keeps input for later: in front of what is kept already (it was taken from there), or behind it (it came since; the time
 * is then its). partial: the service wants more of it. -ENOMEM.
 */
int chime__pending_keep(struct conn *c, const unsigned char *data, size_t len, int64_t time_ns, bool partial,
			bool behind);
/* Takes up to max bytes of what is kept. How many. */
size_t chime__pending_take(struct conn *c, unsigned char *to, size_t max);
/* Throws it away, when it was handed over or is not wanted. */
void chime__pending_no_rest(struct conn *c);

/* Puts the connection's pending at the end of a list (as of now), or on none. -ENOMEM. */
int chime__pending_list(struct conn *c, struct pending_list *list);
void chime__pending_unlist(struct pending *p);

/* The connection's pending, made if need be. NULL: no memory. */
struct pending *chime__pending_get(struct conn *c);

/* Gives the pending back if there is nothing left in it. */
void chime__pending_tidy(struct conn *c);
/* Throws everything away (no operation may be under way) and gives it back. */
void chime__pending_drop(struct conn *c);
/* The connection is ending: what waits is not waited for any more. It goes with chime__pending_drop(). */
void chime__pending_abandon(struct pending *p);
/* The idle ones that the worker keeps. */
void chime__pending_fini(struct chime_worker *w);

#endif
