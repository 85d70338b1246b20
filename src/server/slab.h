/*
 * server/slab.h - memory for many things of one size: no header a piece, given back as a whole.
 *
 * A worker's connections lie here: with a million of them, the allocator's own bytes would count.
 */
#ifndef SERVER_SLAB_H
#define SERVER_SLAB_H

#include <stddef.h>

struct slab {
	struct slab *next; /* of another size */
	size_t size;       /* of a piece, rounded up to 8 bytes */
	void *idle;        /* pieces that were given back; each begins with the next */
	struct slab_block *blocks;
	size_t fresh; /* pieces of the first block that were never used */
};

/* A zeroed piece, from the slab of its size in the list, which is made if need be. NULL: no memory. */
void *chime__slab_get(struct slab **list, size_t size);
void chime__slab_put(struct slab **list, void *piece, size_t size);
/* Gives everything back; every piece must have been put. */
void chime__slab_fini(struct slab **list);

#endif
