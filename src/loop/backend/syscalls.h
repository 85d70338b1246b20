/*
 * loop/backend/syscalls.h - the system calls behind the operations, as backends need them: never waiting, -errno returned.
 */
#ifndef LOOP_BACKEND_SYSCALLS_H
#define LOOP_BACKEND_SYSCALLS_H

#include "loop/backend.h"

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

/* recv(2) and recvmsg(2). -1 and errno. */
ssize_t chime__recv(int fd, void *buf, size_t len);
ssize_t chime__recvmsg(int fd, struct msghdr *msg);

/* What op (OP_SEND, OP_SEND_MSGS) asks for, once. */
int chime__send_iov(const struct op *op);
int chime__send_msgs(const struct op *op);

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
