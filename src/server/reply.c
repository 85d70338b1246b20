/* The answer that a service puts together, piece by piece. */
#include "server/reply.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>

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

size_t chime_reply_add_chunks(chime_reply *r, const void *head, size_t head_len, const void *data, size_t len,
			      size_t chunk)
{
	struct iovec stamp = { (void *)(uintptr_t)head, head_len }, *v = r->iov + r->n, *end = r->iov + r->max;
	unsigned char *at = (void *)(uintptr_t)data, *last = at + len;
	size_t heads = 0;
	if (at < last && (const unsigned char *)head + head_len == at && v < end) {
		size_t n = len < chunk ? len : chunk;
		*v++ = (struct iovec){ stamp.iov_base, head_len + n };
		at += n;
		heads++;
	}
	for (; at < last && end - v >= 2; heads++) {
		size_t left = (size_t)(last - at), n = left < chunk ? left : chunk;
		v[0] = stamp;
		v[1] = (struct iovec){ at, n };
		v += 2;
		at += n;
	}
	size_t used = (size_t)(at - (const unsigned char *)data);
	r->n = (unsigned)(v - r->iov);
	r->bytes += used + heads * head_len;
	r->answer |= heads > 0;
	return used;
}

size_t chime_reply_room(const chime_reply *r)
{
	return r->max - r->n;
}

void chime_reply_count(chime_reply *r, unsigned n)
{
	r->count += n;
}
