/*
 * service/answer.h - calls a service as the engine does, with a list of pieces as long as wanted, and keeps what it answered.
 */
#ifndef SERVICE_ANSWER_H
#define SERVICE_ANSWER_H

#include "server/reply.h"

#include <stdlib.h>
#include <string.h>

struct answer {
	unsigned char *bytes;
	size_t len;
	unsigned count;    /* answers counted */
	unsigned messages; /* calls that answered at all */
	unsigned calls;
};

static inline void answer_free(struct answer *a)
{
	free(a->bytes);
	*a = (struct answer){ 0 };
}

/*
 * Hands data over (a copy, behind a headroom) until nothing more is consumed. pieces: what the list has room for. in gives
 * what else an input has. How much was consumed, or the service's error.
 */
static inline ssize_t answer_feed(struct answer *a, const chime_service *service, struct chime_input in,
				  const void *data, size_t len, unsigned pieces)
{
	unsigned char *copy = malloc(CHIME_HEADROOM + len + 1);
	struct iovec *iov = calloc(pieces, sizeof *iov);
	size_t used = 0;
	ssize_t n;
	if (len)
		memcpy(copy + CHIME_HEADROOM, data, len);
	if (!in.config)
		in.config = service->config_default;
	do {
		struct chime_reply reply;
		reply_init(&reply, iov, pieces, NULL, 0);
		in.data = copy + CHIME_HEADROOM + used;
		in.len = len - used;
		n = service->received(&in, &reply);
		a->calls++;
		a->bytes = realloc(a->bytes, a->len + reply.bytes + 1);
		for (unsigned i = 0; i < reply.n; i++) {
			memcpy(a->bytes + a->len, reply.iov[i].iov_base, reply.iov[i].iov_len);
			a->len += reply.iov[i].iov_len;
		}
		a->count += reply_answers(&reply);
		a->messages += reply.answer;
		if (n > 0)
			used += (size_t)n;
	} while (n > 0 && used < len && !in.message);
	free(iov);
	free(copy);
	return n < 0 ? n : (ssize_t)used;
}

#endif
