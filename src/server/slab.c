/* Memory for many things of one size. */
#include "server/slab.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Under the address sanitizer a piece that was put is as unreadable as freed memory. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, len) ((void)(at), (void)(len))
#define ASAN_UNPOISON_MEMORY_REGION(at, len) ((void)(at), (void)(len))
#endif

#define BLOCK_BYTES 16384

struct slab_block {
	struct slab_block *next;
	unsigned char bytes[];
};

static size_t rounded(size_t size)
{
	return (size + 7) / 8 * 8;
}

static size_t pieces(const struct slab *s)
{
	size_t n = BLOCK_BYTES / s->size;
	return n ? n : 1;
}

static struct slab *of_size(struct slab **list, size_t size)
{
	size = rounded(size);
	for (struct slab *s = *list; s; s = s->next)
		if (s->size == size)
			return s;
	struct slab *s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	s->size = size;
	s->next = *list;
	*list = s;
	return s;
}

static void *fresh_piece(struct slab *s)
{
	if (s->fresh == 0) {
		struct slab_block *b = malloc(sizeof *b + pieces(s) * s->size);
		if (!b)
			return NULL;
		ASAN_POISON_MEMORY_REGION(b->bytes, pieces(s) * s->size);
		b->next = s->blocks;
		s->blocks = b;
		s->fresh = pieces(s);
	}
	return s->blocks->bytes + --s->fresh * s->size;
}

void *chime__slab_get(struct slab **list, size_t size)
{
	struct slab *s = of_size(list, size);
	if (!s)
		return NULL;
	void *piece = s->idle ? s->idle : fresh_piece(s);
	if (!piece)
		return NULL;
	ASAN_UNPOISON_MEMORY_REGION(piece, s->size);
	if (piece == s->idle)
		memcpy(&s->idle, piece, sizeof s->idle);
	return memset(piece, 0, s->size);
}

void chime__slab_put(struct slab **list, void *piece, size_t size)
{
	struct slab *s = of_size(list, size);
	assert(s && s->blocks);
	memcpy(piece, &s->idle, sizeof s->idle);
	s->idle = piece;
	ASAN_POISON_MEMORY_REGION(piece, s->size);
}

void chime__slab_fini(struct slab **list)
{
	while (*list) {
		struct slab *s = *list;
		*list = s->next;
		while (s->blocks) {
			struct slab_block *b = s->blocks;
			s->blocks = b->next;
			ASAN_UNPOISON_MEMORY_REGION(b->bytes, pieces(s) * s->size);
			free(b);
		}
		free(s);
	}
}
