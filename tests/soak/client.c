/* What a client does, each kind in its way. */
#include "soak/soak.h"

#include <chime/base.h>
#include <chime/clock.h>
#include <chime/service.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LATE_NS patience(20 * CHIME_SEC)      /* nothing comes for so long: it never will */
#define DGRAM_LATE_NS patience(5 * CHIME_SEC) /* of datagrams: it is lost */

const char *const role_names[ROLES] = { "lockstep", "bulk", "half-close", "reset",    "idle",
					"churn",    "mute", "lines",      "binary",   "seqpacket",
					"seq-long", "udp",  "unix-dgram", "bad-dgram" };

/* How many of a hundred clients are of each kind. */
static const unsigned char shares[ROLES] = { 14, 8, 10, 10, 6, 14, 5, 8, 7, 6, 2, 4, 4, 2 };

static bool messages(const struct client *c)
{
	return c->place->type != SOCK_STREAM;
}

/* ---- beginning ---- */

static void make_plan(struct client *c, int64_t now_ns)
{
	static const enum where streams[] = { TCP, TCP, TCP_CTIME, UNIX_STREAM, TCP_ECHO };
	unsigned n = (unsigned)pick(100);
	while (n >= shares[c->role])
		n -= shares[c->role++];
	enum where where = streams[pick(5)];
	c->goal = 1 + pick(pick(4) ? 3000 : 60000);
	c->write_max = 1 + (size_t)pick(pick(3) ? 4000 : 40);
	c->think_ns = pick(2) ? 0 : (int64_t)pick(20) * CHIME_MSEC;
	c->lockstep = pick(2);
	c->half_close = pick(2);
	switch (c->role) {
	case LOCKSTEP:
		c->lockstep = true;
		break;
	case BULK:
		c->goal = 100000 + pick(2000000);
		c->write_max = 65536;
		c->think_ns = 0;
		c->lockstep = false;
		break;
	case HALF_CLOSE:
		c->lockstep = false;
		c->half_close = true;
		break;
	case RESET:
		c->reset = true;
		c->reset_at = pick(c->goal);
		break;
	case IDLE:
		c->next_ns = now_ns + (int64_t)pick(30) * CHIME_SEC;
		c->goal = 1 + pick(20);
		break;
	case CHURN:
		c->goal = c->write_max = 1 + (size_t)pick(30);
		c->think_ns = 0;
		break;
	case MUTE:
		c->goal = 1000000 + pick(3000000);
		c->write_max = 65536;
		c->think_ns = 0;
		c->lockstep = false;
		c->read_from_ns = now_ns + (int64_t)pick(3000) * CHIME_MSEC;
		c->reset = pick(3) == 0;
		c->reset_at = c->goal / 2;
		break;
	case LINES:
		where = TCP_LINES;
		c->lockstep = false;
		c->half_close = true; /* else the tail is never answered */
		break;
	case BINARY:
		where = TCP_ECHO;
		break;
	case SEQPACKET:
	case SEQ_LONG:
		where = UNIX_SEQ;
		break;
	case DATAGRAM:
		where = UDP;
		break;
	default:
		where = UNIX_DGRAM;
		break;
	}
	c->place = &places[where];
	if (messages(c))
		c->goal = 1 + pick(300);
}

static void client_connect(struct client *c)
{
	const struct place *p = c->place;
	c->fd = socket(p->at.ss_family, p->type | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		fail(c, "no socket: %s", strerror(errno));
	if (p->type != SOCK_STREAM) {
		int room = CHIME_MESSAGE_MAX + 8192;
		setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
	}
	if (p->type == SOCK_DGRAM && p->at.ss_family == AF_UNIX) { /* a name, to be answered */
		struct sockaddr_un un = { .sun_family = AF_UNIX };
		if (bind(c->fd, (struct sockaddr *)&un, sizeof(sa_family_t)) < 0)
			fail(c, "bind: %s", strerror(errno));
	}
	if (connect(c->fd, (const struct sockaddr *)&p->at, p->at_len) < 0)
		fail(c, "connect: %s", strerror(errno));
}

void client_begin(struct client *c)
{
	int64_t now_ns = mono_ns();
	memset(c, 0, sizeof *c);
	c->seed = (uint32_t)pick(UINT32_MAX);
	c->next_ns = c->began_ns = c->moved_ns = now_ns;
	make_plan(c, now_ns);
	client_connect(c);
	counts.began[c->role]++;
	counts.clients++;
}

static void client_finish(struct client *c, bool reset)
{
	struct linger now = { 1, 0 };
	if (reset)
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	close(c->fd);
	c->fd = -1;
}

/* ---- writing ---- */

/* Whether all of it is answered, as far as it will be. */
static bool answered(const struct client *c)
{
	if (!messages(c))
		return c->back == c->written;
	for (unsigned i = 0; i < c->message_count; i++)
		if (!c->messages[i].silent)
			return false;
	return true;
}

static bool wants_to_write(const struct client *c)
{
	if (c->shut || c->written == c->goal)
		return false;
	if (messages(c))
		return c->message_count < OUTSTANDING && (!c->lockstep || answered(c));
	return !c->lockstep || c->back == c->written;
}

static void make_message(struct client *c, struct message *m)
{
	*m = (struct message){ .number = (uint32_t)c->written };
	m->len = (uint32_t)(pick(20) ? 6 + pick(300) : pick(2) ? 6 + pick(30000) : 0);
	if (c->role == SEQ_LONG && pick(4) == 0) { /* longer than is received, or than can be answered */
		m->len = CHIME_MESSAGE_MAX + 1 + (uint32_t)pick(2000);
		m->silent = true;
	} else if (c->role == BAD_DATAGRAM && pick(3) == 0) {
		m->len = pick(2) ? CHIME_MESSAGE_MAX + 1 + (uint32_t)pick(2000) : 100;
		m->silent = m->len > 100;
	}
	if (c->place->type == SOCK_DGRAM && m->len == 0)
		m->len = 6; /* nothing tells one empty datagram from another that was lost */
}

static void write_message(struct client *c, int64_t now_ns)
{
	static unsigned char bytes[CHIME_MESSAGE_MAX + 4096];
	struct message *m = &c->messages[c->message_count];
	make_message(c, m);
	message_fill(c, m, bytes);
	m->at_ns = real_ns();
	ssize_t n = send(c->fd, bytes, m->len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == ENOBUFS)) {
		c->next_ns = now_ns + CHIME_MSEC;
		return;
	}
	if (n != (ssize_t)m->len)
		fail(c, "send of %u bytes: %s", m->len, strerror(errno));
	c->message_count++;
	c->written++;
	c->moved_ns = now_ns;
	counts.messages++;
	c->next_ns = now_ns + (ending ? 0 : c->think_ns);
}

static void write_bytes(struct client *c, int64_t now_ns)
{
	unsigned char bytes[65536];
	size_t len = 1 + (size_t)pick(c->write_max);
	if (len > c->goal - c->written)
		len = (size_t)(c->goal - c->written);
	for (size_t i = 0; i < len; i++)
		bytes[i] = payload(c, c->written + i);
	int64_t at_ns = real_ns();
	ssize_t n = send(c->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n < 0)
		fail(c, "send: %s", strerror(errno));
	c->written += (uint64_t)n;
	answer_sent(c, at_ns);
	c->moved_ns = now_ns;
	counts.messages++;
	c->next_ns = now_ns + (ending ? 0 : c->think_ns);
}

/* ---- reading ---- */

/* False: it has finished. */
static bool client_read(struct client *c, int64_t now_ns)
{
	static unsigned char bytes[CHIME_MESSAGE_MAX + 4096];
	ssize_t n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return true;
	if (n < 0)
		fail(c, "recv: %s", strerror(errno));
	c->moved_ns = now_ns;
	if (n == 0) {
		if (!c->shut)
			fail(c, "the server ended");
		if (!messages(c))
			answer_end(c);
		client_finish(c, false);
		return false;
	}
	if (messages(c))
		answer_message(c, bytes, (size_t)n);
	else
		answer_bytes(c, bytes, (size_t)n);
	return true;
}

/* ---- what is next ---- */

static void check_late(struct client *c, int64_t now_ns)
{
	bool dgram = c->place->type == SOCK_DGRAM;
	if (answered(c) && !c->shut && c->message_count < OUTSTANDING)
		return;
	if (c->message_count == OUTSTANDING && answered(c)) { /* none of them will be */
		counts.silent += OUTSTANDING;
		c->message_count = 0;
		return;
	}
	if (now_ns - c->moved_ns < (dgram ? DGRAM_LATE_NS : LATE_NS) || now_ns < c->read_from_ns + LATE_NS)
		return;
	if (!dgram)
		fail(c, "no answer for %d s (%llu of %llu)", (int)(LATE_NS / CHIME_SEC), (unsigned long long)c->back,
		     (unsigned long long)c->written);
	for (unsigned i = 0; i < c->message_count; i++)
		*(c->messages[i].silent ? &counts.silent : &counts.lost) += 1;
	c->message_count = 0;
	c->moved_ns = now_ns;
}

short client_wants(const struct client *c, int64_t now_ns, int64_t *next_ns)
{
	short events = 0;
	*next_ns = INT64_MAX;
	if (now_ns >= c->read_from_ns)
		events |= POLLIN;
	else
		*next_ns = c->read_from_ns;
	if (wants_to_write(c)) {
		if (now_ns >= c->next_ns)
			events |= POLLOUT;
		else if (c->next_ns < *next_ns)
			*next_ns = c->next_ns;
	}
	return events;
}

void client_act(struct client *c, short ready, int64_t now_ns)
{
	if (ending) {
		c->read_from_ns = 0;
		if (c->next_ns > now_ns)
			c->next_ns = now_ns;
	}
	if (ready & (POLLIN | POLLHUP | POLLERR) && now_ns >= c->read_from_ns && !client_read(c, now_ns))
		return;
	if (ready & POLLOUT && now_ns >= c->next_ns && wants_to_write(c)) {
		if (messages(c))
			write_message(c, now_ns);
		else
			write_bytes(c, now_ns);
	}
	if (c->reset && c->written >= c->reset_at) {
		client_finish(c, true);
		return;
	}
	check_late(c, now_ns);
	if (c->written < c->goal || c->shut)
		return;
	if (c->place->type == SOCK_STREAM && c->half_close) {
		c->shut = true;
		c->moved_ns = now_ns;
		shutdown(c->fd, SHUT_WR);
	} else if (answered(c)) {
		client_finish(c, false);
	}
}
