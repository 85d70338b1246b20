/*
 * loop/backend/syscalls.h - the system calls behind the operations, as backends need them: never waiting, -errno returned.
 */
#ifndef LOOP_BACKEND_SYSCALLS_H
#define LOOP_BACKEND_SYSCALLS_H

#include "loop/backend.h"

#include <errno.h>
#include <limits.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CONTROL_ROOM 64 /* bytes: packet info */

/* Room for a batch of datagrams; made when the first datagram socket comes. */
struct batch {
	struct mmsghdr hdr[OP_MSGS];
	struct iovec iov[OP_MSGS];
	struct buf *buf[OP_MSGS];
	unsigned ready; /* places that hdr and iov are ready for, but those used since */
	unsigned used;  /* so many, the first ones */
	uint8_t flags;  /* what they are ready for: OP_PKTINFO, OP_RETURNS */
	union {
		char bytes[CONTROL_ROOM];
		struct cmsghdr align;
	} control[OP_MSGS];
	struct op_msg msg[OP_MSGS];
};

/*
 * recv(2) and recvmsg(2). -1 and errno.
 *
 * The C library's own recv(3) and send(3) are cancellation points: in a process with threads that is two locked instructions
 * more each, some two per cent of an answer. Nobody cancels a worker.
 */
static inline ssize_t recv_now(int fd, void *buf, size_t len)
{
	return syscall(SYS_recvfrom, fd, buf, len, MSG_DONTWAIT, NULL, NULL);
}
ssize_t chime__recvmsg(int fd, struct msghdr *msg);

/* What OP_SEND asks for, once. Inlined, like recv_now(): each return from the kernel's long way costs (see send_at_once()). */
static inline int send_iov(const struct op *op)
{
	ssize_t n;
	if (op->n == 1) {
		n = syscall(SYS_sendto, op->fd, op->u.iov->iov_base, op->u.iov->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT,
			    NULL, 0);
	} else {
		struct msghdr msg = { .msg_iov = op->u.iov, .msg_iovlen = op->n };
		n = syscall(SYS_sendmsg, op->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	return n < 0 ? -errno : n > INT_MAX ? INT_MAX : (int)n;
}

/* The same for OP_SEND_MSGS. */
int chime__send_pieces(const struct op *op); /* OP_SEND with OP_PIECES */
int chime__send_msgs(const struct op *op);

/* Whether poll(2) finds something to read on fd, or room (out), or an error. */
bool chime__poll_now(int fd, bool out);

/* One to connect: its descriptor or -errno. */
int chime__socket(int family, int type);

/* Whether the connection that was begun on fd stands. */
int chime__connect_result(int fd);

/*
 * Receives up to OP_MSGS datagrams into buffers from the pool: bt->msg[0 .. result - 1], result > 0. After their owner has looked
 * at them, batch_done() keeps the buffers that nobody has referenced.
 */
int chime__batch_recv(struct batch *bt, struct buf_pool *pool, int fd, uint8_t flags);
void chime__batch_done(struct batch *bt, int n);
/* Gives all buffers back. */
void chime__batch_fini(struct batch *bt);

#endif
