/*
 * chime/errqueue.h - time stamps of the kernel, and what a socket's error queue tells: transmit stamps, the completions of
 * zero-copy sends, errors of the network.
 *
 * The calls wait as chime/sock.h says and return its codes. Nothing here allocates.
 */
#ifndef CHIME_ERRQUEUE_H
#define CHIME_ERRQUEUE_H

#include <chime/msg.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What to stamp. */
enum {
	CHIME_STAMP_RX = 1,        /* what is received, when the kernel got it */
	CHIME_STAMP_TX = 2,        /* what is sent, when it was handed to the device */
	CHIME_STAMP_TX_SCHED = 4,  /* when it entered the packet scheduler */
	CHIME_STAMP_TX_ACK = 8,    /* TCP: when the peer had acknowledged all of it */
	CHIME_STAMP_HARDWARE = 16, /* by the network card too, where it can (and was told to: SIOCSHWTSTAMP) */
};

/*
 * SO_TIMESTAMPING: has the kernel stamp what the flags say; 0 ends it. Receive stamps come with chime_recv_stamped(), or as a control
 * message (chime_cmsg_stamps()); transmit stamps with chime_recv_queued(), numbered from 0: a number a message on datagram
 * sockets; on streams the offset of the send's last byte. Numbers begin anew when 0 flags became others.
 * The kernel begins in the background: the first messages received may have no stamp yet. Up to Linux 6.1 a stream that has sent
 * something counts from what the peer had not acknowledged then.
 * -EINVAL: other flags; an acknowledgement of what is no TCP; transmit stamps of TCP that is not connected.
 */
CHIME_API int chime_timestamping(chime_sock *s, unsigned flags);

/* Receives with the stamps; zeros where there were none. from may be NULL. On a stream, those of the last byte given. Descriptors that
 * come with it are closed. */
CHIME_API ssize_t chime_recv_stamped(chime_sock *s, void *buf, size_t len, int flags, struct chime_stamps *stamps,
				     chime_addr *from);

enum chime_queued_kind {
	CHIME_QUEUED_STAMP,    /* .stage, .number, .stamps */
	CHIME_QUEUED_ZEROCOPY, /* .number to .last have been sent and their buffers are free; .copied */
	CHIME_QUEUED_ERROR,    /* .error, .origin, .icmp_type, .icmp_code, .info, .offender, .about */
};

struct chime_queued {
	enum chime_queued_kind kind;
	unsigned stage;        /* CHIME_STAMP_TX, _TX_SCHED or _TX_ACK */
	uint32_t number, last; /* which message; wraps round */
	bool copied;           /* the kernel copied after all: zero-copy gained nothing */
	struct chime_stamps stamps;
	int error;  /* -errno */
	int origin; /* SO_EE_ORIGIN_ of linux/errqueue.h */
	int icmp_type, icmp_code;
	uint32_t info;       /* -EMSGSIZE: the path's MTU */
	chime_addr offender; /* the router or host that complains */
	chime_addr about;    /* whom the message was for (datagram sockets) */
};

/*
 * One entry of the error queue, the oldest. Waits for one. 0, or an error; on a close of the peer -EPIPE, rather than for ever.
 * -EOPNOTSUPP: it has no such queue, not being of AF_INET, AF_INET6 (nor SCTP) or AF_PACKET.
 */
CHIME_API int chime_recv_queued(chime_sock *s, struct chime_queued *out, int flags);

/*
 * What one control message of the queue says, for whoever receives it by chime_recvmsg() with MSG_ERRQUEUE: true, and *out is set but for
 * .stamps and .about, which chime_cmsg_stamps() and the message's address tell. Else false, and *out stays.
 */
CHIME_API bool chime_cmsg_queued(const struct chime_cmsg *m, struct chime_queued *out);

/*
 * Sends without copying: buf must stay as it is until chime_recv_queued() has told its number. Exactly one send(2) that took
 * anything is one number, counted from 0. SO_ZEROCOPY must be set; worth it from some 10 KB on. The bytes taken, perhaps fewer
 * than len; -ENOBUFS: too many are under way (read the queue).
 */
CHIME_API ssize_t chime_send_zerocopy(chime_sock *s, const void *buf, size_t len, int flags);

#ifdef __cplusplus
}
#endif

#endif
