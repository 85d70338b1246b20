/*
 * server/reply.h - the answer that a service puts together: pieces in the iovecs of the buffer that the input came in.
 */
#ifndef SERVER_REPLY_H
#define SERVER_REPLY_H

#include <chime/service.h>

#include <sys/uio.h>

struct chime_reply {
	struct iovec *iov; /* [max], borrowed */
	unsigned n, max;
	size_t bytes;           /* the sum of all pieces */
	unsigned count;         /* what chime_reply_count() was told */
	bool answer;            /* a piece was added, be it an empty one */
	unsigned char *scratch; /* borrowed, for small texts of the engine's own; lives as long as iov */
	size_t scratch_left;
};

/* scratch may be NULL with 0. */
static inline void reply_init(struct chime_reply *r, struct iovec *iov, unsigned max, unsigned char *scratch,
			      size_t scratch_left)
{
	*r = (struct chime_reply){ .iov = iov, .max = max, .scratch = scratch, .scratch_left = scratch_left };
}

/* How many answers it counts for. */
static inline unsigned reply_answers(const struct chime_reply *r)
{
	return r->count ? r->count : r->answer;
}

#endif
