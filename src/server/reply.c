/* The answer that a service puts together, piece by piece. */
#include "server/reply.h"

#include <assert.h>
#include <errno.h>

int chime_reply_add(chime_reply *r, const void *bytes, size_t len)
{
	struct iovec *last = r->n ? &r->iov[r->n - 1] : NULL;
	if (len == 0) {
		r->answer = true;
		return 0;
	}
	if (last && (const unsigned char *)last->iov_base + last->iov_len == bytes) {
		last->iov_len += len; /* a stamp in front of its chunk: one piece */
	} else {
		if (r->n == r->max)
			return -ENOBUFS;
		assert(r->iov);
		r->iov[r->n++] = (struct iovec){ (void *)(uintptr_t)bytes, len };
	}
	r->answer = true;
	r->bytes += len;
	return 0;
}

size_t chime_reply_room(const chime_reply *r)
{
	return r->max - r->n;
}

void chime_reply_count(chime_reply *r, unsigned n)
{
	r->count += n;
}
