/* Sending, receiving and waiting on a chime_rdm. */
#include "net/rdm.h"
#include "net/sock.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#define RECHECK_NS (50 * CHIME_MSEC)

int chime__rdm_enter(struct chime_rdm *r)
{
	/* In a child the lock may be held for ever, and the stack has no thread. */
	if (r->generation != atomic_load_explicit(&chime__fork_generation, memory_order_relaxed))
		return CHIME_ECLOSED;
	pthread_mutex_lock(r->lock_used);
	if (!atomic_load(&r->closed))
		return 0;
	pthread_mutex_unlock(r->lock_used);
	return CHIME_ECLOSED;
}

void chime__rdm_leave(struct chime_rdm *r)
{
	bool ready = r->first || r->stirred || r->broken;
	if (ready != r->ready) {
		eventfd_t ignored;
		r->ready = ready;
		if (ready)
			eventfd_write(r->ready_fd, 1);
		else
			eventfd_read(r->ready_fd, &ignored);
	}
	pthread_mutex_unlock(r->lock_used);
}

int chime__rdm_wait(struct chime_rdm *r, int fd, int64_t deadline)
{
	struct pollfd p[2] = { { fd, POLLIN, 0 }, { r->wake_fd, POLLIN, 0 } };
	for (;;) {
		int64_t left = deadline == INT64_MAX ? INT64_MAX : deadline - chime_now_mono();
		if (left <= 0)
			return CHIME_ETIMEOUT;
		struct timespec ts = { left / CHIME_SEC, left % CHIME_SEC };
		int n = ppoll(p, 2, left == INT64_MAX ? NULL : &ts, NULL);
		if (atomic_load(&r->closed))
			return CHIME_ECLOSED;
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n < 0) {
			int err = chime__interrupted();
			if (err < 0)
				return err;
		}
	}
}

/* Waits for a call that said -EAGAIN. *deadline is set by the first such wait. 0: try again. */
static int wait_again(struct chime_rdm *r, int fd, int64_t *deadline)
{
	int64_t limit_ns = atomic_load(&r->timeout_ns);
	if (limit_ns == 0)
		return -EAGAIN;
	if (*deadline == 0)
		*deadline = rdm_deadline(limit_ns);
	return chime__rdm_wait(r, fd, *deadline);
}

int chime_rdm_process(chime_rdm *r)
{
	int err = chime__rdm_enter(r);
	if (err < 0)
		return err;
	r->carrier->serve(r);
	chime__rdm_leave(r);
	return 0;
}

/* ---- sending ---- */

/* *waits: it is counted among those that wait for room. */
static int try_send(chime_rdm *r, struct rdm_out *out, bool *waits)
{
	int err = chime__rdm_enter(r);
	if (err < 0)
		return err;
	r->senders -= *waits;
	out->id = r->last_id + 1 ? r->last_id + 1 : 1;
	err = r->carrier->send(r, out);
	if (err == -EAGAIN) {
		r->carrier->serve(r); /* what came may have made room */
		err = r->carrier->send(r, out);
	}
	if (err == 0) {
		r->last_id = out->id;
		r->stats.sent++;
	}
	*waits = err == -EAGAIN;
	r->senders += *waits;
	chime__rdm_leave(r);
	return err;
}

static void wait_no_more(chime_rdm *r)
{
	if (chime__rdm_enter(r) < 0)
		return;
	r->senders--;
	chime__rdm_leave(r);
}

int chime_rdm_send(chime_rdm *r, const void *buf, size_t len, const struct chime_rdm_peer *to, uint32_t *id)
{
	struct rdm_out out = { .bytes = buf, .len = len, .to = to ? to : &r->peer };
	int64_t deadline = 0;
	bool waits = false;
	int err;
	if (!to && !r->connected)
		return -EDESTADDRREQ;
	if (len == 0)
		return -EINVAL;
	if (len > CHIME_RDM_MAX)
		return -EMSGSIZE;
	while ((err = try_send(r, &out, &waits)) == -EAGAIN)
		if ((err = wait_again(r, r->inner_fd, &deadline)) < 0) {
			wait_no_more(r);
			return err;
		}
	if (err == 0 && id)
		*id = out.id;
	return err;
}

int chime_rdm_sendv(chime_rdm *r, const struct iovec *iov, size_t iovs, const struct chime_rdm_peer *to, uint32_t *id)
{
	size_t len = 0, at = 0;
	bool joined = true; /* the pieces stand behind each other in memory */
	for (size_t i = 0; i < iovs; i++) {
		if (iov[i].iov_len > CHIME_RDM_MAX - len)
			return -EMSGSIZE;
		if (iov[i].iov_len && len)
			joined &= (char *)iov[i].iov_base == (char *)iov[0].iov_base + len;
		len += iov[i].iov_len;
	}
	if (iovs == 0 || (joined && iov[0].iov_len))
		return chime_rdm_send(r, iovs ? iov[0].iov_base : NULL, len, to, id);
	unsigned char *bytes = malloc(len ? len : 1);
	if (!bytes)
		return -ENOMEM;
	for (size_t i = 0; i < iovs; at += iov[i++].iov_len)
		if (iov[i].iov_len)
			memcpy(bytes + at, iov[i].iov_base, iov[i].iov_len);
	int err = chime_rdm_send(r, bytes, len, to, id);
	free(bytes);
	return err;
}

/* ---- receiving ---- */

static int try_receive(chime_rdm *r, struct chime_rdm_event *event)
{
	int err = chime__rdm_enter(r);
	if (err < 0)
		return err;
	free(r->handed);
	r->handed = chime__rdm_pop(r);
	if (!r->handed) {
		r->carrier->serve(r);
		r->handed = chime__rdm_pop(r);
	}
	if (r->handed) {
		*event = r->handed->event;
		r->stats.received += event->kind == CHIME_RDM_MESSAGE;
		if (event->kind == CHIME_RDM_UNDELIVERED && event->why == 0)
			event->why = -ECONNRESET;
	} else {
		err = r->broken ? r->broken : -EAGAIN;
		r->broken = 0;
	}
	chime__rdm_leave(r);
	return err;
}

int chime_rdm_receive(chime_rdm *r, struct chime_rdm_event *event)
{
	int64_t deadline = 0;
	int err;
	while ((err = try_receive(r, event)) == -EAGAIN)
		if ((err = wait_again(r, r->fd, &deadline)) < 0)
			return err;
	return err;
}

int chime_rdm_flush(chime_rdm *r, int64_t timeout_ns)
{
	int64_t deadline = rdm_deadline(timeout_ns);
	for (;;) {
		int err = chime__rdm_enter(r);
		if (err < 0)
			return err;
		r->carrier->serve(r);
		chime__rdm_recheck(r);
		unsigned unsure = r->assocs.unsure;
		chime__rdm_leave(r);
		if (unsure == 0)
			return 0;
		int64_t soon = rdm_deadline(RECHECK_NS);
		err = chime__rdm_wait(r, r->inner_fd, soon < deadline ? soon : deadline);
		if (err < 0 && (err != CHIME_ETIMEOUT || soon >= deadline))
			return err;
	}
}

void chime__rdm_end_one(struct chime_rdm *r, struct rdm_assoc *a)
{
	(void)r->carrier->end(r, a, false);
}

static void abort_one(struct chime_rdm *r, struct rdm_assoc *a)
{
	(void)r->carrier->end(r, a, true);
}

int chime_rdm_end(chime_rdm *r, const struct chime_rdm_peer *peer, bool abort)
{
	int err = chime__rdm_enter(r);
	if (err < 0)
		return err;
	if (peer) {
		struct rdm_assoc *a = chime__rdm_find_peer(&r->assocs, peer);
		err = a ? r->carrier->end(r, a, abort) : -ENOTCONN;
	} else {
		err = r->assocs.count ? 0 : -ENOTCONN;
		chime__rdm_each(r, abort ? abort_one : chime__rdm_end_one);
	}
	chime__rdm_leave(r);
	return err;
}
