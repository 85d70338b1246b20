/*
 * loop/backend.h - the one table between the engine and the system.
 *
 * Operations are completion-shaped: one is handed over with submit(), its result comes back through op->done, called inside
 * wait() (never inside submit or cancel). A reading operation (accept, receive) is multishot: it reports many results with ev->more
 * true and a last one with more false; every other reports once, with more false. After its last report an operation
 * is its owner's again.
 *
 * An operation that the system took at once need not wait for its report: submit() then returns 1, the result is in op->res
 * and done is not called. Only OP_SEND and OP_SEND_MSGS end so, and not on every backend (epoll: yes).
 *
 * After cancel() accepting and receiving from a stream may still report what the system had taken for it already, before it ends:
 * those bytes are the owner's. OP_SEND without OP_WAIT_FIRST may report -EAGAIN (uring: so that no received buffer waits for a peer).
 *
 * At most one reading (accept, receive) and one writing (send, connect) operation at a time for a descriptor.
 */
#ifndef LOOP_BACKEND_H
#define LOOP_BACKEND_H

#include "loop/buf.h"

#include <chime/addr.h>

struct loop;
struct op;

enum op_kind {
	OP_ACCEPT,    /* res: the new descriptor (close-on-exec, non-blocking); ev->peer */
	OP_RECV,      /* res: bytes in ev->buf, 0 at the end (the last report), or an error (the last report) */
	OP_RECV_MSG,  /* on a seqpacket connection: one message a report in ev->buf; the end is res 0 and ev->end */
	OP_RECV_MSGS, /* on a datagram socket: res messages in ev->msgs */
	OP_POLL, /* on any descriptor: res 1, a report for each time it is found readable; what there is, is left alone */
	OP_SEND, /* .iov, .n: res bytes were taken, perhaps fewer than there are; message sockets: the whole message */
	OP_SEND_MSGS, /* .msgs, .n: res messages were taken (at least 1), or the error of the first */
	OP_CONNECT,   /* .to: res 0, or the error */
};

enum op_flag {
	OP_WAIT_FIRST = 1, /* send: it would block now as the owner knows; wait for room before trying */
	OP_EXCLUSIVE = 2,  /* accept: the listener is shared by workers, wake one of them (EPOLLEXCLUSIVE) */
	OP_NOWAIT = 4,     /* accept, receive: report what is there now, then end with -EAGAIN; send: end so if it would
			      block, and where caps.inline_send at once: submit() returns 1 */
	OP_PIECES =
		64, /* send on a stream: SCTP takes what one call has as a whole or not at all, so in pieces that it takes */
	OP_RETURNS = 32, /* receive messages: those of our own that could not be delivered are wanted (TIPC) */
	OP_BARE = 16,    /* send messages: the socket (RDS) knows no flags: each in a call of its own, without any */
	OP_PKTINFO = 8,  /* receive messages: the local address is wanted (set IP_PKTINFO, IPV6_RECVPKTINFO before) */
};

/* A message of a datagram socket, received or to be sent. */
struct op_msg {
	struct buf *buf;     /* received: holds data; the owner may buf_ref() it. Sending: not looked at */
	unsigned char *data; /* received */
	size_t len;
	bool truncated;    /* received: it was longer than CHIME_MESSAGE_MAX */
	int returned;      /* received: it is ours, and comes back from .peer: why, negative. .data may lack its end */
	bool to_many;      /* received: by a broadcast or multicast address (known where OP_PKTINFO is set) */
	chime_addr peer;   /* from, or to (length 0: the connected peer) */
	chime_addr local;  /* the address it came to, length 0 unknown; sending: the source address, with local_if */
	unsigned local_if; /* interface number, 0 any */
	struct iovec *iov; /* sending: its pieces */
	int n;
};
#define OP_MSGS 32 /* the most in one report or submission */

/* One report. Valid while done runs; buf (and each msg's) stays only if it is referenced. */
struct op_event {
	int res;                /* a count, a descriptor, 0, or -errno; -ECANCELED after cancel() */
	bool more;              /* further reports will come */
	bool end;               /* OP_RECV_MSG: the peer ended, this is not an empty message */
	bool truncated;         /* OP_RECV_MSG: the message was longer than CHIME_MESSAGE_MAX */
	struct buf *buf;        /* OP_RECV, OP_RECV_MSG: data of res bytes is at buf->data */
	const chime_addr *peer; /* OP_ACCEPT */
	struct op_msg *msgs;    /* OP_RECV_MSGS */
};

typedef void op_done_fn(struct loop *lp, struct op *op, const struct op_event *ev);

struct op {
	op_done_fn *done;
	struct op *next; /* the backend's, from submit to the last report */
	int fd;
	int res;          /* where submit() returned 1 */
	uint8_t kind;     /* enum op_kind */
	uint8_t flags;    /* enum op_flag */
	uint8_t state;    /* the backend's; 0 while it is the owner's */
	uint8_t prepared; /* the backend's, for the descriptor's life: 0 before the first submit */
	uint8_t bulk;     /* the backend's, for the descriptor's life: the last receive brought much */
	uint16_t n;
	union {
		struct iovec *iov;    /* kept until the last report, as is what it points at */
		struct op_msg *msgs;  /* the same */
		const chime_addr *to; /* the same */
	} u;
};

struct backend_caps {
	bool inline_send; /* submit() may return 1 */
	bool shared_bufs; /* received buffers come from a pool that a few can drain: copy what waits long out of it */
};

struct backend {
	const char *name;                        /* "epoll", "script"; shown in the log */
	int (*probe)(struct backend_caps *caps); /* 0, or -errno for why not */
	int (*open)(struct loop *lp, void *arg); /* makes lp->impl; arg: for backends that tests make */
	void (*shut)(struct loop *lp);           /* gives it back; no operation may be under way */
	int (*submit)(struct loop *lp,
		      struct op *op); /* 0 taken: ends in wait(); 1 ended: op->res; -errno: not taken */
	void (*cancel)(struct loop *lp, struct op *op); /* op still ends once, in wait(): its result or -ECANCELED */
	/* Who is in bulk has his turn behind the others, and in one wait all of them together get so many bytes (loop/backend/ready.h). */
	int (*wait)(struct loop *lp,
		    int64_t timeout_ns); /* sets lp->now_ns, runs completions: their number or -errno; -1: no limit */
	void (*wake)(struct loop *lp);   /* ends a wait(), now or the next; any thread */
	int (*socket)(struct loop *lp, int family,
		      int type); /* one to connect: its descriptor (close-on-exec, non-blocking) or -errno */
	int (*close)(struct loop *lp, int fd,
		     bool reset); /* no operation may be under way on it; reset: RST where there is one */
	int (*shutdown)(struct loop *lp, int fd, int how);
	/* Whether a receive (out: a send) on fd would find something (room) now: what its operation may not have reported yet, after
	 * a stall of this thread above all. An end counts as something. */
	bool (*ready)(struct loop *lp, int fd, bool out);
	int64_t (*mono)(struct loop *lp); /* the clocks: CLOCK_MONOTONIC and CLOCK_REALTIME, or a simulation's */
	int64_t (*real)(struct loop *lp);
};

extern const struct backend chime__backend_epoll;
extern const struct backend chime__backend_uring;

#endif
