/* Pools of receive buffers; the last one back is the next one out. */
#include "loop/buf.h"

#include <assert.h>
#include <stdlib.h>

void chime__buf_pool_init(struct buf_pool *pool, uint32_t room, uint32_t keep)
{
	*pool = (struct buf_pool){ .room = room, .keep = keep };
}

void chime__buf_pool_fini(struct buf_pool *pool)
{
	assert(pool->out == 0);
	while (pool->idle) {
		struct buf *b = pool->idle;
		pool->idle = b->next;
		free(b);
	}
	pool->idles = pool->made = 0;
}

struct buf *chime__buf_get(struct buf_pool *pool)
{
	struct buf *b = pool->idle;
	if (b) {
		pool->idle = b->next;
		pool->idles--;
	} else {
		b = malloc(sizeof *b + pool->room);
		if (!b)
			return NULL;
		b->pool = pool;
		b->room = pool->room;
		pool->made++;
	}
	b->refs = 1;
	b->next = NULL;
	pool->out++;
	return b;
}

void chime__buf_free(struct buf *b)
{
	struct buf_pool *pool = b->pool;
	if (pool->back) {
		pool->back(pool, b);
		return;
	}
	pool->out--;
	if (pool->idles < pool->keep) {
		b->next = pool->idle;
		pool->idle = b;
		pool->idles++;
	} else {
		pool->made--;
		free(b);
	}
}
