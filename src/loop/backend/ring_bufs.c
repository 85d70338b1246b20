/* The receive buffers that io_uring picks from. */
#include "loop/backend/ring_bufs.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static void give(struct ring_bufs *r, struct buf *b)
{
	io_uring_buf_ring_add(r->ring, b->data, RING_ROOM, (unsigned short)b->id, RING_BUFS - 1, 0);
	io_uring_buf_ring_advance(r->ring, 1);
	r->free++;
}

static void on_back(struct buf_pool *pool, struct buf *b)
{
	give((struct ring_bufs *)((char *)pool - offsetof(struct ring_bufs, pool)), b);
}

int chime__ring_bufs_init(struct ring_bufs *r, struct io_uring *ring)
{
	size_t size = RING_BUFS * sizeof(struct io_uring_buf);
	void *mem;
	if (posix_memalign(&mem, 4096, size))
		return -ENOMEM;
	r->ring = mem;
	memset(mem, 0, size);
	io_uring_buf_ring_init(r->ring);
	struct io_uring_buf_reg reg = { .ring_addr = (uintptr_t)mem, .ring_entries = RING_BUFS, .bgid = RING_GROUP };
	int err = io_uring_register_buf_ring(ring, &reg, 0);
	if (err < 0)
		return err;
	chime__buf_pool_init(&r->pool, RING_ROOM, RING_BUFS);
	for (unsigned i = 0; i < RING_BUFS; i++) {
		struct buf *b = r->bufs[i] = chime__buf_get(&r->pool);
		if (!b)
			return -ENOMEM;
		b->id = i;
		give(r, b);
	}
	r->pool.back = on_back;
	return 0;
}

void chime__ring_bufs_fini(struct ring_bufs *r)
{
	r->pool.back = NULL;
	for (unsigned i = 0; i < RING_BUFS && r->bufs[i]; i++) {
		assert(r->bufs[i]->refs <= 1);
		r->bufs[i]->refs = 1;
		buf_unref(r->bufs[i]);
	}
	chime__buf_pool_fini(&r->pool);
	free(r->ring);
}
