/* What is done with a descriptor that is ready. */
#include "loop/backend/ready.h"

#include <chime/service.h>
#include <errno.h>
#include <stdlib.h>

#define ACCEPTS 64                           /* connections accepted in a row before others have their turn */
#define STREAM_ROOM (2 * CHIME_INPUT_MAX)    /* what was kept of a stream and what comes fit in one buffer */
#define MESSAGE_ROOM (CHIME_MESSAGE_MAX + 1) /* so that a longer one shows */
#define KEEP_STREAM 64
#define KEEP_MESSAGE (2 * OP_MSGS)

/* What has been asked for on the descriptor of a seqpacket connection: op->prepared. */
enum {
	ROOM = 1,
	CREDENTIALS
};

void chime__ready_init(struct ready *rd, ready_report_fn *report, ready_try_fn *try)
{
	*rd = (struct ready){ .report = report, .try = try };
	rd->row_end = &rd->row;
	rd->ending_end = &rd->ending;
	chime__buf_pool_init(&rd->streams, STREAM_ROOM, KEEP_STREAM);
	chime__buf_pool_init(&rd->messages, MESSAGE_ROOM, KEEP_MESSAGE);
}

void chime__ready_fini(struct ready *rd)
{
	if (rd->batch)
		chime__batch_fini(rd->batch);
	free(rd->batch);
	if (rd->stream)
		buf_unref(rd->stream);
	if (rd->message)
		buf_unref(rd->message);
	chime__buf_pool_fini(&rd->streams);
	chime__buf_pool_fini(&rd->messages);
}

/* Reports a result of an operation that goes on. Whether it does after done has run. */
static bool report_more(struct loop *lp, struct op *op, struct op_event *ev)
{
	ev->more = true;
	op->done(lp, op, ev);
	return op->state == WAITING;
}

/* After an error or nothing: an end to report, or only nothing there now? Whether the operation goes on. */
static bool no_result(struct ready *rd, struct loop *lp, struct op *op, int err)
{
	bool nothing = err == -EAGAIN || err == -EINTR;
	if (!nothing || (err == -EAGAIN && op->flags & OP_NOWAIT))
		return rd->report(lp, op, &(struct op_event){ .res = err }, false);
	return true;
}

__attribute__((noinline)) static bool do_accept(struct ready *rd, struct loop *lp, struct op *op)
{
	for (unsigned i = 0; i < ACCEPTS; i++) {
		chime_addr peer = { .len = sizeof peer.u };
		int fd = accept4(op->fd, &peer.u.sa, &peer.len, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0 && (errno == ECONNABORTED || errno == EINTR || errno == EPROTO || errno == EPERM))
			continue; /* that one connection is gone already: accept(2) */
		if (fd < 0)
			return no_result(rd, lp, op, -errno);
		if (peer.len > sizeof peer.u)
			peer.len = sizeof peer.u;
		if (!report_more(lp, op, &(struct op_event){ .res = fd, .peer = &peer }))
			return false;
	}
	return true;
}

static struct buf *get_buf(struct buf **last, struct buf_pool *pool)
{
	struct buf *b = *last;
	*last = NULL;
	return b ? b : chime__buf_get(pool);
}

static void put_buf(struct buf **last, struct buf *b)
{
	if (b->refs == 1 && !*last)
		*last = b;
	else
		buf_unref(b);
}

/* What a receive brought: n as it returned it. */
static void note(struct ready *rd, struct op *op, ssize_t n)
{
	op->bulk = n >= READY_LEAST;
	rd->spent += n > 0 ? (size_t)n : 0;
}

/* What a receive may bring: all that there is room for, but a first one in a wait() that has had its bytes. */
static size_t most_of(const struct ready *rd, const struct op *op)
{
	if (op->bulk || op->flags & OP_NOWAIT || rd->spent + CHIME_INPUT_MAX <= READY_TURN)
		return CHIME_INPUT_MAX;
	return rd->spent + READY_LEAST < READY_TURN ? READY_TURN - rd->spent : READY_LEAST;
}

static bool do_recv(struct ready *rd, struct loop *lp, struct op *op)
{
	struct buf *b = get_buf(&rd->stream, &rd->streams);
	bool more;
	if (!b)
		return no_result(rd, lp, op, -ENOMEM);
	ssize_t n = recv_now(op->fd, b->data, most_of(rd, op));
	note(rd, op, n);
	if (n > 0)
		more = report_more(lp, op, &(struct op_event){ .res = (int)n, .buf = b });
	else if (n == 0)
		more = rd->report(lp, op, &(struct op_event){ .res = 0, .buf = b }, false);
	else
		more = no_result(rd, lp, op, -errno);
	put_buf(&rd->stream, b);
	return more;
}

/* What recv(2) returns for a message, at most MESSAGE_ROOM; *end: it is 0 for the end, not for an empty message. */
static ssize_t recv_msg(struct op *op, unsigned char *to, bool sure, bool *end)
{
	*end = false;
	if (sure) /* no end, so 0 is a message; and no room for descriptors: those that a peer sends would be ours to close */
		return recv_now(op->fd, to, MESSAGE_ROOM);
	/*
	 * With credentials asked for, and no room for them, a message says that they were cut off (MSG_CTRUNC), which the end of
	 * the connection does not. Only now, because every message costs more with them.
	 */
	if (op->prepared < CREDENTIALS) {
		int on = 1;
		setsockopt(op->fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
		op->prepared = CREDENTIALS;
	}
	struct iovec iov = { to, MESSAGE_ROOM };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n = chime__recvmsg(op->fd, &msg);
	*end = n == 0 && !(msg.msg_flags & MSG_CTRUNC);
	return n;
}

static bool do_recv_msg(struct ready *rd, struct loop *lp, struct op *op, bool sure)
{
	bool end, more;
	if (op->prepared < ROOM) { /* the answer to the longest message must fit into one */
		int room = CHIME_MESSAGE_MAX + 4096;
		setsockopt(op->fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
		op->prepared = ROOM;
	}
	struct buf *b = get_buf(&rd->message, &rd->messages);
	if (!b)
		return no_result(rd, lp, op, -ENOMEM);
	ssize_t n = recv_msg(op, b->data, sure, &end);
	if (n < 0) {
		more = no_result(rd, lp, op, -errno);
	} else if (end) {
		more = rd->report(lp, op, &(struct op_event){ .buf = b, .end = true }, false);
	} else {
		bool truncated = n > CHIME_MESSAGE_MAX;
		note(rd, op, n);
		struct op_event ev = { .res = truncated ? CHIME_MESSAGE_MAX : (int)n,
				       .buf = b,
				       .truncated = truncated };
		more = report_more(lp, op, &ev);
	}
	put_buf(&rd->message, b);
	return more;
}

__attribute__((noinline)) static bool do_recv_msgs(struct ready *rd, struct loop *lp, struct op *op)
{
	if (!rd->batch && !(rd->batch = calloc(1, sizeof *rd->batch)))
		return no_result(rd, lp, op, -ENOMEM);
	int n = chime__batch_recv(rd->batch, &rd->messages, op->fd, op->flags & (OP_PKTINFO | OP_RETURNS));
	if (n < 0)
		return no_result(rd, lp, op, n);
	bool more = rd->report(lp, op, &(struct op_event){ .res = n, .msgs = rd->batch->msg }, true);
	chime__batch_done(rd->batch, n);
	return more;
}

bool chime__ready_read(struct ready *rd, struct loop *lp, struct op *op, bool sure)
{
	switch (op->kind) {
	case OP_RECV:
		return do_recv(rd, lp, op);
	case OP_ACCEPT:
		return do_accept(rd, lp, op);
	case OP_RECV_MSG:
		return do_recv_msg(rd, lp, op, sure);
	case OP_POLL:
		return rd->report(lp, op, &(struct op_event){ .res = 1 }, true);
	default:
		return do_recv_msgs(rd, lp, op);
	}
}

int chime__ready_write(const struct op *op)
{
	for (;;) {
		int res = op->kind == OP_SEND        ? (op->flags & OP_PIECES ? chime__send_pieces(op) : send_iov(op))
			  : op->kind == OP_SEND_MSGS ? chime__send_msgs(op)
						     : chime__connect_result(op->fd);
		if (res != -EINTR)
			return res == -EWOULDBLOCK ? -EAGAIN : res;
	}
}

/* ---- what a wait() has to do with besides ---- */

void chime__ready_end(struct ready *rd, struct op *op, int res)
{
	op->state = ENDING;
	op->res = res;
	op->next = NULL;
	*rd->ending_end = op;
	rd->ending_end = &op->next;
}

void chime__ready_now(struct ready *rd, struct op *op)
{
	op->state = WAITING;
	op->next = rd->now;
	rd->now = op;
}

/* Tries each once; those that go on stay for the next wait. */
static int run_now(struct ready *rd, struct loop *lp)
{
	struct op *list = rd->now;
	int n = 0;
	rd->now = NULL;
	while (list) {
		struct op *op = list;
		list = op->next;
		n++;
		if (op->state == CANCELLED) {
			chime__ready_end(rd, op, -ECANCELED);
			continue;
		}
		rd->trying = op;
		bool more = chime__ready_read(rd, lp, op, false);
		rd->trying = NULL;
		if (more)
			chime__ready_now(rd, op);
	}
	return n;
}

void chime__ready_row(struct ready *rd, struct op *op, bool sure)
{
	op->state = IN_ROW;
	op->res = sure;
	op->next = NULL;
	*rd->row_end = op;
	rd->row_end = &op->next;
}

void chime__ready_unrow(struct ready *rd, struct op *op)
{
	struct op **at = &rd->row;
	while (*at != op)
		at = &(*at)->next;
	*at = op->next;
	if (!*at)
		rd->row_end = at;
}

/* The first at any rate, or who fills the wait() with many small ones would keep them waiting for ever. */
static int run_row(struct ready *rd, struct loop *lp)
{
	int n = 0;
	do {
		struct op *op = rd->row;
		size_t before = rd->spent;
		chime__ready_unrow(rd, op);
		n++;
		if (op->state == CANCELLED) {
			rd->report(lp, op, &(struct op_event){ .res = -ECANCELED }, false);
			continue;
		}
		op->state = WAITING;
		rd->try(lp, op, op->res);
		if (rd->spent < before + READY_LEAST)
			rd->spent = before + READY_LEAST;
	} while (rd->row && rd->spent < READY_TURN);
	return n;
}

int chime__ready_run(struct ready *rd, struct loop *lp)
{
	int n = rd->now ? run_now(rd, lp) : 0;
	if (rd->row)
		n += run_row(rd, lp);
	rd->spent = 0;
	while (rd->ending) {
		struct op *op = rd->ending;
		rd->ending = op->next;
		if (!rd->ending)
			rd->ending_end = &rd->ending;
		op->state = OWNED;
		op->done(lp, op, &(struct op_event){ .res = op->res });
		n++;
	}
	return n;
}
