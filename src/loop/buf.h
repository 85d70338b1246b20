/*
 * loop/buf.h - receive buffers: the engine owns them, an idle connection has none.
 *
 * A backend takes one from its pool, receives into it and hands it to the operation's owner, who keeps it by buf_ref() for
 * as long as something of it is to be sent. The pool gives out the buffer that came back last: it is still in the cache.
 */
#ifndef LOOP_BUF_H
#define LOOP_BUF_H

#include <stdint.h>
#include <sys/uio.h>

#define BUF_HEADROOM 64 /* == CHIME_HEADROOM */
#define BUF_IOVS 136    /* pieces of an answer: 64 KiB in chunks of 1024 are 127 */
#define BUF_SCRATCH 256 /* for small texts of an answer */

struct buf_pool;

struct buf {
	struct buf *next; /* in the pool's list of free ones */
	struct buf_pool *pool;
	uint32_t refs;
	uint32_t room;              /* bytes of data */
	uint32_t id;                /* its owner's, where the pool has .back */
	struct iovec iov[BUF_IOVS]; /* the answer being sent; free for the buffer's user */
	unsigned char scratch[BUF_SCRATCH];
	unsigned char headroom[BUF_HEADROOM];
	unsigned char data[]; /* directly behind the headroom */
};

struct buf_pool {
	struct buf *idle;
	uint32_t room; /* bytes of data in each */
	uint32_t made; /* buffers that exist */
	uint32_t out;  /* of them, those that are not in the pool */
	uint32_t keep; /* idle ones that are kept; more are given back to the system */
	uint32_t idles;
	/* If set: where a buffer goes that nobody references any more, instead of into the pool. */
	void (*back)(struct buf_pool *pool, struct buf *b);
};

void chime__buf_pool_init(struct buf_pool *pool, uint32_t room, uint32_t keep);
/* All buffers must be back. */
void chime__buf_pool_fini(struct buf_pool *pool);
/* One with refs 1, or NULL: no memory. */
struct buf *chime__buf_get(struct buf_pool *pool);
void chime__buf_free(struct buf *b); /* buf_unref's slow half */

static inline struct buf *buf_ref(struct buf *b)
{
	b->refs++;
	return b;
}

static inline void buf_unref(struct buf *b)
{
	if (--b->refs == 0)
		chime__buf_free(b);
}

#endif
