/*
 * server/outbox.h - a datagram socket's answers on their way: batches are sent from the receive buffers; what would block waits as a
 * copy, bounded in bytes and for each peer (server/peers.h), then is dropped and counted.
 *
 * On IP the kernel tells when the socket has room again, whoever the peer. Elsewhere (unix) it is the peer's own queue that is full,
 * and nothing tells when it has room: such peers wait alone, are tried again by timer, and are given up at the stall limit.
 */
#ifndef SERVER_OUTBOX_H
#define SERVER_OUTBOX_H

#include "server/drops.h"
#include "server/peers.h"
#include "server/reply.h"
#include "server/returns.h"

#define OUTBOX_RETRY_NS TIMER_TICK_NS /* for peers that are stuck */

struct outbox;
/* Something ended: whoever waits for chime__outbox_idle() looks now. Not called from inside the calls below. */
typedef void outbox_moved_fn(struct outbox *o);

/* What becomes of a message of outbox.out when it is sent or not. */
struct held {
	struct waiting *waiting; /* it comes from the queue, else from a receive buffer: */
	struct buf *buf;         /* referenced while .kept */
	unsigned answers;
	size_t len;
};

struct outbox {
	struct chime_worker *worker;
	struct drops *drops;
	outbox_moved_fn *moved;
	struct op send;
	struct chime_timer retry;
	struct loop_task later;
	bool pumping;   /* later is to run */
	bool ip;        /* the kernel tells when there is room again */
	bool blocked;   /* the socket had no room when last tried: wait for it first */
	bool kept;      /* the buffers of out are referenced */
	unsigned at, n; /* being sent: out[at..n); empty between calls unless send is running */
	struct op_msg out[OP_MSGS];
	struct held held[OP_MSGS];
	struct returns *returns; /* where what was sent may come back; else NULL */
	struct peers peers;      /* what waits */
};

/* flags: OP_BARE, or 0. max, peer_max: bytes that may wait, for all and for one peer. drops is borrowed. */
void chime__outbox_init(struct outbox *o, struct chime_worker *w, struct drops *drops, int fd, uint8_t flags, bool ip,
			size_t max, size_t peer_max, outbox_moved_fn *moved);
/* It must be idle. */
void chime__outbox_fini(struct outbox *o);

/* Nothing is under way, nothing waits. */
bool chime__outbox_idle(const struct outbox *o);
/* Whether what goes to that peer now has to wait behind something. */
bool chime__outbox_waits(const struct outbox *o, const chime_addr *peer);
/*
 * The reply to m, which stands in m's receive buffer: sent by the next chime__outbox_flush(), or, if it waits, copied into the queue.
 * At most OP_MSGS between two flushes.
 */
void chime__outbox_reply(struct outbox *o, const struct op_msg *m, const struct chime_reply *r, bool waits);
/* Sends, as far as it goes now. */
void chime__outbox_flush(struct outbox *o);
/* A message that is no reply: copied, sent at the end of the turn or when it is its turn. -ENOBUFS, -ENOMEM. */
int chime__outbox_add(struct outbox *o, const struct op_msg *m, size_t len);
/* An answer came back, because its receiver's queue is full: it waits behind what is there, and is tried again after a while. */
void chime__outbox_again(struct outbox *o, const struct op_msg *m, size_t len);
/* Drops what waits, counted, and ends what is under way. */
void chime__outbox_cut(struct outbox *o);
/* No timer of its runs any more. */
void chime__outbox_stop(struct outbox *o);

#endif
