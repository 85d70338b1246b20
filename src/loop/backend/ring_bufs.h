/*
 * loop/backend/ring_bufs.h - the receive buffers that io_uring picks from: each with the headroom that answers are written into, and back
 * in the kernel's hands as soon as nobody references it.
 */
#ifndef LOOP_BACKEND_RING_BUFS_H
#define LOOP_BACKEND_RING_BUFS_H

#include "loop/buf.h"

#include <liburing.h>

#define RING_BUFS 512  /* a turn's receives; with too few of them, many wait for one (tests/loop/uring.c) */
#define RING_ROOM 8192 /* bytes of each; all of them come before everybody else in one turn (READY_TURN) */
#define RING_GROUP 0   /* of buffers: there is one */

struct ring_bufs {
	struct buf_pool pool;
	struct io_uring_buf_ring *ring;
	struct buf *bufs[RING_BUFS]; /* by their number */
	unsigned free;               /* in the kernel's hands */
};

/* Registers them with the ring. -errno; fini is due all the same. */
int chime__ring_bufs_init(struct ring_bufs *r, struct io_uring *ring);
/* The ring is gone, or was never made; nobody references any of them. */
void chime__ring_bufs_fini(struct ring_bufs *r);
/* The kernel has put bytes into that one: the caller's reference. */
static inline struct buf *ring_bufs_take(struct ring_bufs *r, unsigned number)
{
	struct buf *b = r->bufs[number];
	b->refs = 1;
	r->free--;
	return b;
}

#endif
