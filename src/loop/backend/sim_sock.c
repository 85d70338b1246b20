/* The sockets of the simulated network, and the peers' side of them. */
#include "loop/backend/sim_sock.h"

#include <chime/service.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define FIRST 3
#define DGRAM_HOLDS 200000                         /* bytes: a datagram socket's receive buffer */
#define UNIX_HOLDS (4 * (size_t)CHIME_MESSAGE_MAX) /* the same, of a unix one */

/* Grows a row of things to hold one more. */
#define MAKE_ROOM(row, count, room)                                                                                    \
	do {                                                                                                           \
		if ((count) == (room)) {                                                                               \
			(room) = (room) ? 2 * (room) : 16;                                                             \
			(row) = realloc((row), (room) * sizeof *(row));                                                \
			assert(row);                                                                                   \
		}                                                                                                      \
	} while (0)

/* ---- queues ---- */

static void put(struct sim_queue *q, const void *bytes, size_t len)
{
	if (q->at + q->len + len > q->room) {
		if (q->at)
			memmove(q->data, q->data + q->at, q->len);
		q->at = 0;
		if (q->len + len > q->room) {
			q->room = 2 * (q->len + len) + 256;
			q->data = realloc(q->data, q->room);
			assert(q->data);
		}
	}
	if (len)
		memcpy(q->data + q->at + q->len, bytes, len);
	q->len += len;
}

/* What was put last is a message. */
static void mark_message(struct sim_queue *q, size_t len, int peer, bool to_many)
{
	if (q->message_at && q->message_at + q->message_count == q->message_room) {
		memmove(q->messages, q->messages + q->message_at, q->message_count * sizeof *q->messages);
		q->message_at = 0;
	}
	MAKE_ROOM(q->messages, q->message_at + q->message_count, q->message_room);
	q->messages[q->message_at + q->message_count++] = (struct sim_message){ len, peer, to_many };
}

void sim_get(struct sim_queue *q, void *to, size_t len)
{
	if (to && len)
		memcpy(to, q->data + q->at, len);
	q->at += len;
	q->len -= len;
	if (q->len == 0)
		q->at = 0;
}

const struct sim_message *sim_first(const struct sim_queue *q)
{
	assert(q->message_count);
	return &q->messages[q->message_at];
}

void sim_message_gone(struct sim_queue *q)
{
	q->message_at++;
	if (--q->message_count == 0)
		q->message_at = 0;
}

static void free_queue(struct sim_queue *q)
{
	free(q->data);
	free(q->messages);
}

/* ---- the network ---- */

void sim_init(struct sim *sim)
{
	*sim = (struct sim){ .window = 65536,
			     .longest = CHIME_MESSAGE_MAX + 4096,
			     .inline_send = true,
			     .fd_max = SIM_SOCKS,
			     .mono_ns = CHIME_HOUR,
			     .real_ns = 1473765080 * CHIME_SEC };
	/* Nothing is kept: a buffer that is used after it was given back is not there any more. */
	chime__buf_pool_init(&sim->small, 2048, 0);
	chime__buf_pool_init(&sim->large, CHIME_INPUT_MAX, 0);
	chime__buf_pool_init(&sim->huge, CHIME_MESSAGE_MAX, 0);
}

void sim_fini(struct sim *sim)
{
	for (unsigned i = 0; i < sim->sock_count; i++) {
		struct sim_sock *s = sim->socks[i];
		free_queue(&s->in);
		free_queue(&s->out);
		free(s->backlog);
		free(s->receipts);
		free(s);
	}
	free(sim->socks);
	chime__buf_pool_fini(&sim->small);
	chime__buf_pool_fini(&sim->large);
	chime__buf_pool_fini(&sim->huge);
}

void sim_pass(struct sim *sim, int64_t ns)
{
	sim->mono_ns += ns;
	sim->real_ns += ns;
}

uint64_t sim_random(struct sim *sim, uint64_t limit)
{
	/* splitmix64 */
	uint64_t z = sim->random += 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return limit ? (z ^ (z >> 31)) % limit : 0;
}

bool sim_chance(struct sim *sim, unsigned in_1000)
{
	return in_1000 && sim_random(sim, 1000) < in_1000;
}

void sim_delay(struct sim *sim, struct sim_place *place)
{
	if (sim_chance(sim, sim->weather.delay))
		place->at_ns = sim->mono_ns + (int64_t)sim_random(sim, (uint64_t)sim->weather.delay_ns + 1);
}

struct sim_sock *sim_new_sock(struct sim *sim, enum sim_kind kind, int type)
{
	struct sim_sock *s = calloc(1, sizeof *s);
	assert(s);
	s->kind = kind;
	s->type = type;
	s->number = (int)sim->sock_count;
	s->fd = -1;
	if ((sim->sock_count & (sim->sock_count - 1)) == 0) { /* at every power of 2 */
		sim->socks = realloc(sim->socks, (sim->sock_count ? 2 * sim->sock_count : 1) * sizeof *sim->socks);
		assert(sim->socks);
	}
	sim->socks[sim->sock_count++] = s;
	return s;
}

/* The lowest that is free, as in a kernel: numbers are used again at once. */
int sim_new_fd(struct sim *sim, struct sim_sock *s)
{
	for (int fd = FIRST; fd < sim->fd_max; fd++)
		if (!sim->fds[fd]) {
			sim->fds[fd] = s;
			if (sim->fd_top <= fd)
				sim->fd_top = fd + 1;
			s->fd = fd;
			sim->opened++;
			s->view.accepted = true;
			s->view.accepted_ns = sim->mono_ns;
			return fd;
		}
	return -EMFILE;
}

int sim_listen(struct sim *sim, int type, const chime_addr *at)
{
	struct sim_sock *s = sim_new_sock(sim, type == SOCK_DGRAM ? SIM_DGRAM : SIM_LISTENER, type);
	if (at)
		s->addr = *at;
	int fd = sim_new_fd(sim, s);
	assert(fd >= 0);
	return fd;
}

int sim_share(struct sim *sim, int listener)
{
	struct sim_sock *of = sim_backlog(sim->fds[listener]), *s = sim_new_sock(sim, SIM_LISTENER, of->type);
	s->shared = of;
	of->sharers++;
	int fd = sim_new_fd(sim, s);
	assert(fd >= 0);
	return fd;
}

/* ---- what can be done ---- */

bool sim_can_read(const struct sim *sim, const struct sim_sock *s)
{
	(void)sim;
	if (s->kind == SIM_LISTENER)
		return (s->shared ? s->shared : s)->queued > 0;
	if (s->kind == SIM_DGRAM)
		return s->in.message_count > 0;
	return s->reset || s->in.len || s->in.message_count || s->peer_ended;
}

static size_t room_of(const struct sim *sim, const struct sim_sock *s)
{
	return s->out.len < sim->window ? sim->window - s->out.len : 0;
}

static size_t length_of(const struct iovec *iov, int n)
{
	size_t len = 0;
	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	return len;
}

bool sim_can_write(const struct sim *sim, const struct sim_sock *s)
{
	if (s->kind == SIM_NEW)
		return true;
	if (s->kind == SIM_DGRAM)
		return s->full_until_ns <= sim->mono_ns;
	if (s->reset || s->shut)
		return true;
	size_t room = room_of(sim, s), least = 1;
	if (s->type == SOCK_SEQPACKET && s->out.message_count == 0)
		return true; /* an empty queue takes the longest message */
	if (s->type == SOCK_SEQPACKET && s->write.op)
		least += length_of(s->write.op->u.iov, s->write.op->n);
	return room >= least;
}

/* All of it, or the first max bytes. */
static void put_pieces(struct sim_queue *q, const struct iovec *iov, int n, size_t max, bool message, int peer)
{
	size_t len = 0;
	for (int i = 0; i < n && len < max; i++) {
		size_t part = iov[i].iov_len < max - len ? iov[i].iov_len : max - len;
		put(q, iov[i].iov_base, part);
		len += part;
	}
	if (message)
		mark_message(q, len, peer, false);
}

static struct sim_sock *peer_at(struct sim *sim, const chime_addr *at)
{
	for (unsigned i = 0; i < sim->sock_count; i++)
		if (sim->socks[i]->kind == SIM_PEER && chime_addr_equal(&sim->socks[i]->addr, at))
			return sim->socks[i];
	return NULL;
}

static int send_one(struct sim *sim, struct sim_sock *s, const struct op_msg *m)
{
	struct sim_sock *peer = peer_at(sim, &m->peer);
	bool ip = m->peer.u.sa.sa_family != AF_UNIX;
	if (sim_chance(sim, sim->weather.enobufs))
		return -ENOBUFS;
	if (length_of(m->iov, m->n) > sim->longest)
		return -EMSGSIZE;
	if (!peer && ip)
		return 0; /* it goes out, and nobody is there */
	if (!peer)
		return -ECONNREFUSED;
	if (peer->closed && !ip)
		return -ECONNREFUSED;
	if (!ip && peer->out.message_count >= peer->room)
		return -EAGAIN;
	if (ip && sim_chance(sim, sim->weather.full)) {
		s->full_until_ns = sim->mono_ns + 1 + (int64_t)sim_random(sim, 1000000);
		return -EAGAIN;
	}
	put_pieces(&peer->out, m->iov, m->n, length_of(m->iov, m->n), true, s->number);
	peer->view.answered++;
	sim->moved_ns = sim->mono_ns;
	return 0;
}

static int send_messages(struct sim *sim, struct sim_sock *s, const struct op *op)
{
	int most = op->n, n = 0, err = 0;
	if (s->full_until_ns > sim->mono_ns)
		return -EAGAIN;
	if (sim_chance(sim, sim->weather.short_write))
		most = 1 + (int)sim_random(sim, op->n);
	while (n < most && (err = send_one(sim, s, &op->u.msgs[n])) == 0)
		n++;
	return n ? n : err;
}

int sim_send(struct sim *sim, struct sim_sock *s, const struct op *op)
{
	size_t room = room_of(sim, s), len;
	if (s->kind == SIM_DGRAM)
		return send_messages(sim, s, op);
	if (s->reset)
		return -ECONNRESET;
	if (s->shut)
		return -EPIPE;
	len = length_of(op->u.iov, op->n);
	if (s->type == SOCK_SEQPACKET && len > sim->longest)
		return -EMSGSIZE;
	if (s->type == SOCK_SEQPACKET && sim_chance(sim, sim->weather.enobufs))
		return -ENOBUFS;
	if (s->type == SOCK_SEQPACKET ? s->out.message_count && len >= room : room == 0)
		return -EAGAIN;
	if (s->type == SOCK_STREAM) {
		if (sim->send_max && room > sim->send_max)
			room = sim->send_max;
		if (len > room)
			len = room;
		if (len > 1 && sim_chance(sim, sim->weather.short_write))
			len = 1 + (size_t)sim_random(sim, len);
	}
	put_pieces(&s->out, op->u.iov, op->n, len, s->type == SOCK_SEQPACKET, 0);
	s->view.answered += len;
	s->view.answered_ns = sim->moved_ns = sim->mono_ns;
	return (int)len;
}

static void add_waiting(struct sim_sock *l, const struct sim_sock *s)
{
	MAKE_ROOM(l->backlog, l->queued, l->backlog_room);
	l->backlog[l->queued++] = s->number;
}

int sim_reach(struct sim *sim, struct sim_sock *s, const struct op *op)
{
	static const int failures[] = { -ECONNREFUSED, -ETIMEDOUT, -EHOSTUNREACH };
	if (sim_chance(sim, sim->weather.refuse))
		return failures[sim_random(sim, 3)];
	for (unsigned i = 0; i < sim->sock_count; i++) {
		struct sim_sock *place = sim->socks[i];
		if (place->kind != SIM_PLACE || place->closed || place->type != s->type ||
		    !chime_addr_equal(&place->addr, op->u.to))
			continue;
		s->kind = SIM_CONN;
		add_waiting(place, s);
		sim->moved_ns = sim->mono_ns;
		sim_trace(sim, "fd %d is connected to peer %d", s->fd, s->number);
		return 0;
	}
	return -ECONNREFUSED;
}

/* ---- the peers' side ---- */

int sim_place(struct sim *sim, int type, const chime_addr *at)
{
	struct sim_sock *s = sim_new_sock(sim, SIM_PLACE, type);
	s->addr = *at;
	return s->number;
}

void sim_place_gone(struct sim *sim, int place)
{
	sim->socks[place]->closed = true;
}

int sim_called(struct sim *sim, int place)
{
	struct sim_sock *s = sim->socks[place];
	if (!s->queued)
		return -EAGAIN;
	int peer = s->backlog[0];
	memmove(s->backlog, s->backlog + 1, --s->queued * sizeof *s->backlog);
	return peer;
}

int sim_connect(struct sim *sim, int listener)
{
	struct sim_sock *l = sim->fds[listener];
	sim->events++;
	if (!l || l->kind != SIM_LISTENER)
		return -ECONNREFUSED;
	struct sim_sock *s = sim_new_sock(sim, SIM_CONN, l->type);
	add_waiting(sim_backlog(l), s);
	sim_delay(sim, &l->read);
	sim_trace(sim, "peer %d connects", s->number);
	return s->number;
}

int sim_peer_at(struct sim *sim, const chime_addr *at, unsigned room)
{
	struct sim_sock *s = sim_new_sock(sim, SIM_PEER, SOCK_DGRAM);
	s->addr = *at;
	s->room = room;
	return s->number;
}

void sim_write(struct sim *sim, int peer, const void *bytes, size_t len)
{
	struct sim_sock *s = sim->socks[peer];
	bool message = s->type == SOCK_SEQPACKET;
	assert(!s->peer_ended);
	sim->events++;
	sim_trace(sim, "peer %d writes %zu", peer, len);
	s->view.sent += message ? 1 : len;
	if (s->closed) {
		s->was_reset = true; /* what a kernel says to data for nobody */
	} else if (!s->reset) {
		put(&s->in, bytes, len);
		if (message)
			mark_message(&s->in, len, peer, false);
		sim_delay(sim, &s->read);
	}
}

static bool send_to(struct sim *sim, int peer, int fd, const void *bytes, size_t len, bool to_many)
{
	struct sim_sock *s = sim->fds[fd];
	sim->events++;
	bool lost = !s || s->kind != SIM_DGRAM ||
		    s->in.len + len > (s->addr.u.sa.sa_family == AF_UNIX ? UNIX_HOLDS : DGRAM_HOLDS);
	sim_trace(sim, "peer %d sends %zu%s%s", peer, len, to_many ? " to many" : "", lost ? ", lost" : "");
	if (lost)
		return false;
	put(&s->in, bytes, len);
	mark_message(&s->in, len, peer, to_many);
	sim->socks[peer]->view.sent++;
	sim_delay(sim, &s->read);
	return true;
}

bool sim_sendto(struct sim *sim, int peer, int fd, const void *bytes, size_t len)
{
	return send_to(sim, peer, fd, bytes, len, false);
}

bool sim_send_to_many(struct sim *sim, int peer, int fd, const void *bytes, size_t len)
{
	return send_to(sim, peer, fd, bytes, len, true);
}

void sim_end(struct sim *sim, int peer)
{
	struct sim_sock *s = sim->socks[peer];
	sim->events++;
	sim_trace(sim, "peer %d ends", peer);
	if (s->kind == SIM_PEER)
		s->closed = true;
	s->peer_ended = true;
	sim_delay(sim, &s->read);
}

void sim_reset(struct sim *sim, int peer)
{
	struct sim_sock *s = sim->socks[peer];
	sim->events++;
	sim_trace(sim, "peer %d resets", peer);
	s->reset = true;
	if (sim_random(sim, 2) || !sim->weather.shuffle) { /* what has come already can be read first, or is lost */
		sim_get(&s->in, NULL, s->in.len);
		s->in.message_at = s->in.message_count = 0;
	}
}

size_t sim_read(struct sim *sim, int peer, void *buf, size_t max)
{
	struct sim_sock *s = sim->socks[peer];
	size_t n = s->out.len < max ? s->out.len : max;
	sim_get(&s->out, buf, n);
	if (n) {
		sim->events++;
		sim_trace(sim, "peer %d reads %zu", peer, n);
		sim_delay(sim, &s->write);
	}
	return n;
}

ssize_t sim_take(struct sim *sim, int peer, void *buf, size_t max)
{
	struct sim_sock *s = sim->socks[peer];
	if (s->out.message_count == 0)
		return -EAGAIN;
	size_t len = sim_first(&s->out)->len;
	if (len > max)
		sim_breach(sim, "peer %d: a message of %zu", peer, len);
	sim_get(&s->out, buf, len);
	sim_message_gone(&s->out);
	sim->events++;
	sim_trace(sim, "peer %d takes a message of %zu", peer, len);
	sim_delay(sim, &s->write);
	return (ssize_t)len;
}

size_t sim_readable(const struct sim *sim, int peer)
{
	return sim->socks[peer]->out.len + sim->socks[peer]->out.message_count;
}

bool sim_ended(const struct sim *sim, int peer)
{
	return sim->socks[peer]->shut || sim->socks[peer]->closed;
}

bool sim_closed(const struct sim *sim, int peer)
{
	return sim->socks[peer]->closed;
}

bool sim_was_reset(const struct sim *sim, int peer)
{
	return sim->socks[peer]->was_reset;
}

size_t sim_unread(const struct sim *sim, int peer)
{
	return sim->socks[peer]->in.len + sim->socks[peer]->in.message_count;
}

void sim_view(const struct sim *sim, int peer, struct sim_view *out)
{
	const struct sim_sock *s = sim->socks[peer];
	*out = s->view;
	out->fd = s->fd;
	out->connected = s->kind == SIM_CONN;
	out->receipts = s->receipts;
	out->wants = s->read.op && !s->read.ending;
}

int sim_peer_of(const struct sim *sim, int fd)
{
	return fd >= 0 && fd < SIM_SOCKS && sim->fds[fd] ? sim->fds[fd]->number : -1;
}
