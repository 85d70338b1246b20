/*
 * chime/msg.h - whole messages: gathered and scattered, with ancillary data, descriptors, many at once.
 *
 * These calls wait as chime/sock.h says (the three modes, signals, a close from another thread) and return its codes.
 * Nothing here allocates. Descriptors that arrive are close-on-exec.
 */
#ifndef CHIME_MSG_H
#define CHIME_MSG_H

#include <chime/sock.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- ancillary data: control messages in a buffer of the caller's ---- */

/* The buffer may have any size and any alignment. */
struct chime_control {
	void *buf;
	size_t size; /* room */
	size_t len;  /* bytes that count: built so far, or received */
};

/*
 * The bytes that a control message with len bytes of data takes: without the padding behind it, and with. -EOVERFLOW: more than
 * INT_MAX, which no system call takes. (Python's CMSG_LEN and CMSG_SPACE.)
 */
CHIME_API ssize_t chime_control_len(size_t len);
CHIME_API ssize_t chime_control_space(size_t len);

/* An empty buffer to build in. */
CHIME_API void chime_control_init(struct chime_control *c, void *buf, size_t size);

/* Appends a control message of any level and type. 0; -ENOBUFS: no room, nothing was added; -EOVERFLOW. */
CHIME_API int chime_control_add(struct chime_control *c, int level, int type, const void *data, size_t len);

/* The sender's identity; whoever is not root may only tell the truth (unix(7)). */
struct chime_creds {
	pid_t pid;
	uid_t uid;
	gid_t gid;
};

/* Where a datagram goes or came (ip(7), ipv6(7)); its family is AF_INET or AF_INET6, its port 0. */
struct chime_pktinfo {
	chime_addr to;    /* received: the destination in the header. Not used for sending */
	chime_addr local; /* the local address: that to answer from, or to send from (none: the system chooses) */
	unsigned ifindex; /* 0: any; to send, that of the local address if it has a scope */
};

/* Nanoseconds since 1970 as the kernel read them; 0: no such stamp. */
struct chime_stamps {
	int64_t software_ns;
	int64_t hardware_ns; /* in the time of the network card's own clock */
};

CHIME_API int chime_control_add_fds(struct chime_control *c, const int *fds, size_t n);
CHIME_API int chime_control_add_creds(struct chime_control *c, const struct chime_creds *creds);
/* -EAFNOSUPPORT: the local address is of neither IP family; with none, family says which is meant. */
CHIME_API int chime_control_add_pktinfo(struct chime_control *c, int family, const struct chime_pktinfo *info);
/* TTL or hop limit, and type of service or traffic class. family: AF_INET or AF_INET6, else -EAFNOSUPPORT. */
CHIME_API int chime_control_add_hops(struct chime_control *c, int family, int hops);
CHIME_API int chime_control_add_tos(struct chime_control *c, int family, int tos);
/* UDP: the kernel cuts the message into datagrams of that many bytes (UDP_SEGMENT). */
CHIME_API int chime_control_add_segment(struct chime_control *c, uint16_t bytes);
/* When to send it, in the clock that SO_TXTIME named. */
CHIME_API int chime_control_add_txtime(struct chime_control *c, uint64_t ns);

/* One control message as it stands in a buffer. data is not aligned: copy from it. */
struct chime_cmsg {
	int level, type;
	const void *data;
	size_t len;
	bool cut;    /* its header promises more than the buffer holds; len is what is there */
	size_t next; /* where the next one begins; 0 in a zeroed struct: at the first */
};

/*
 * The next control message: begin with a zeroed *m. Never looks past c->len, whatever stands in the buffer. false: there are no
 * more (or what follows is no control message). A cut one is the last.
 */
CHIME_API bool chime_control_next(const struct chime_control *c, struct chime_cmsg *m);

/* Closes every descriptor in the buffer (SCM_RIGHTS and SCM_PIDFD), for whoever cannot use what he received. */
CHIME_API void chime_control_close_fds(const struct chime_control *c);

/*
 * What a control message says, if it is of that kind and whole: true, and *out is set. Else false, and *out stays.
 */
/* SCM_RIGHTS: the number of descriptors (0: another kind); at most max are stored, the caller owns them all. */
CHIME_API size_t chime_cmsg_fds(const struct chime_cmsg *m, int *fds, size_t max);
CHIME_API bool chime_cmsg_creds(const struct chime_cmsg *m, struct chime_creds *out);
CHIME_API bool chime_cmsg_pktinfo(const struct chime_cmsg *m, struct chime_pktinfo *out);
CHIME_API bool chime_cmsg_hops(const struct chime_cmsg *m, int *out);
CHIME_API bool chime_cmsg_tos(const struct chime_cmsg *m, int *out);
CHIME_API bool chime_cmsg_segment(const struct chime_cmsg *m, int *bytes); /* UDP_GRO: length of each datagram */
/* SO_TIMESTAMP, SO_TIMESTAMPNS and SO_TIMESTAMPING, old and new. */
CHIME_API bool chime_cmsg_stamps(const struct chime_cmsg *m, struct chime_stamps *out);

/* SO_PEERCRED: who connected a unix socket's other end, when it did. -ENOTCONN: nobody did; -ENOPROTOOPT and the like: no unix socket. */
CHIME_API int chime_peer_creds(chime_sock *s, struct chime_creds *out);

/* ---- one message ---- */

/* What goes beside the data. Zero it, set what you need. */
struct chime_msg {
	chime_addr addr;              /* to send to (length 0: the connected peer); from whom (none: not told) */
	struct chime_control control; /* sends .len bytes; receives at most .size bytes and sets .len */
	int flags;                    /* received: MSG_TRUNC MSG_CTRUNC MSG_EOR MSG_OOB MSG_ERRQUEUE */
};

/*
 * recvmsg(2) into one buffer or, in order, into several. Waits for data or the end. The bytes stored; m (may be NULL) has the
 * rest; after an error it has no address, no control data and no flags. MSG_CTRUNC in m->flags: there was more
 * ancillary data than room; descriptors that did not fit are closed, and the last control message may be cut.
 * More than 1024 buffers: -EMSGSIZE. MSG_WAITALL on a stream ends early where ancillary data came.
 */
CHIME_API ssize_t chime_recvmsg(chime_sock *s, void *buf, size_t len, int flags, struct chime_msg *m);
CHIME_API ssize_t chime_recvmsg_into(chime_sock *s, const struct iovec *iov, size_t iovs, int flags,
				     struct chime_msg *m);

/*
 * sendmsg(2) of several buffers as one message. Waits for room. The bytes taken: on a stream perhaps fewer, as with
 * chime_send(); the ancillary data went with the first of them. m may be NULL.
 */
CHIME_API ssize_t chime_sendmsg(chime_sock *s, const struct iovec *iov, size_t iovs, int flags,
				const struct chime_msg *m);

/* ---- descriptors ---- */

#define CHIME_FDS_MAX 253 /* in one message, says the kernel */

/* Sends data (at least a byte on a stream) with n descriptors, which stay the caller's too. -EINVAL: more than CHIME_FDS_MAX. */
CHIME_API ssize_t chime_send_fds(chime_sock *s, const void *buf, size_t len, const int *fds, size_t n, int flags,
				 const chime_addr *to);

/*
 * Receives data and descriptors. *n: in, the room in fds; out, how many were stored, the caller's now. What came beyond the
 * room is closed, and *msg_flags (may be NULL) has MSG_CTRUNC. After an error *n is 0 and nothing is left open. from may be NULL.
 */
CHIME_API ssize_t chime_recv_fds(chime_sock *s, void *buf, size_t len, int *fds, size_t *n, int flags, int *msg_flags,
				 chime_addr *from);

/* ---- many messages in one system call ---- */

struct chime_packet {
	struct iovec *iov;
	size_t iovs;
	struct chime_msg msg;
	size_t bytes; /* out: received, or sent */
};

/*
 * Receives up to n messages: waits for the first, takes what else is there. How many, at least 1 (0 for n == 0); those have
 * .bytes and .msg set. An error behind the first is told by the next call that receives. Once a connection has ended, every message
 * that is asked for "comes", with 0 bytes.
 */
CHIME_API ssize_t chime_recv_many(chime_sock *s, struct chime_packet *p, size_t n, int flags);

/* Sends up to n messages, in order: waits for room for the first, then sends what goes without waiting. How many, at least 1. */
CHIME_API ssize_t chime_send_many(chime_sock *s, struct chime_packet *p, size_t n, int flags);

/*
 * UDP: one call, many datagrams of size bytes (the last may be shorter), cut by the kernel or the card (UDP_SEGMENT); at most
 * 64 of them (newer kernels: 128), 65507 bytes together: -EINVAL, -EMSGSIZE. to may be NULL (connected). The bytes sent: all of them.
 */
CHIME_API ssize_t chime_send_segments(chime_sock *s, const void *buf, size_t len, uint16_t size, int flags,
				      const chime_addr *to);

/*
 * UDP: lets the kernel hand over what came from one peer in one piece (UDP_GRO), and receives such a piece: *size is the length
 * of each datagram in it but the last, which may be shorter; give a buffer of 65535 bytes. from may be NULL.
 */
CHIME_API int chime_set_gro(chime_sock *s, bool on);
CHIME_API ssize_t chime_recv_segments(chime_sock *s, void *buf, size_t len, size_t *size, int flags, chime_addr *from);

/* ---- files ---- */

/*
 * Sends a file from offset on, count bytes of it or (count < 0) all up to its end, over a stream that is not in
 * non-blocking mode, else -EINVAL; the limit is for the whole call. Where sendfile(2) cannot read the file (a pipe), it is
 * read and sent, and waited for within the same limit: then offset must be 0, -ESPIPE, and what was read but not sent is lost.
 * 0 or the error; *sent (may be NULL) counts in either case, and the file's position is then offset + *sent.
 * A file that ends before count bytes is no error; one that is open for writing alone is -EBADF. SIGPIPE is held back meanwhile.
 */
CHIME_API int chime_sendfile(chime_sock *s, int file, int64_t offset, int64_t count, int64_t *sent);

#ifdef __cplusplus
}
#endif

#endif
