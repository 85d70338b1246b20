/*
 * chime/rdm.h - reliable messages over IP: SOCK_RDM (rdm://, in any order) and SOCK_SEQPACKET (sctp+seqpacket://, in order).
 *
 * Linux has no SOCK_RDM on AF_INET: SCTP carries these messages, one-to-many. What carries it is one of two, and can always
 * be asked (chime_rdm_carrier()) and chosen (?carrier=, .carrier); a choice that can't be had is an error, never another carrier:
 *
 *   kernel   the kernel's SCTP (module sctp), as IP protocol 132; in UDP (RFC 6951) where ?udp= is given
 *   user     libusrsctp (optional in a build), always in UDP (RFC 6951) on a socket of ours, port 9899 or ?udp=
 *
 * What is promised. Each message arrives once, whole and unchanged, or its sender is told that it was not acknowledged, by its id.
 * Told so it may have arrived all the same: the word of it was lost. "Arrives" means: at the peer's SCTP, which keeps it for its
 * program; what a program that dies has not taken yet is lost, and nobody is told. Messages to one peer keep their order with
 * sctp+seqpacket, and need not with rdm. They have 1 to CHIME_RDM_MAX bytes: SCTP has no empty ones.
 *
 * Waiting is chime/sock.h's: a handle's limit is CHIME_FOREVER, 0 or nanoseconds, for each call; -EAGAIN, CHIME_ETIMEOUT, -EINTR
 * and CHIME_ECLOSED mean the same. Network and timers are served inside the calls, so a handle must be called now and then: when
 * chime_rdm_fileno() is readable, which it is for timers too. A handle that nobody calls acknowledges nothing.
 *
 * Threads. One thread may receive while another sends; any may close. Of the user's carrier there is one stack a process, which has
 * one thread of its own (all signals blocked); calls on its handles take turns. After fork(2) only the parent may use
 * such handles: in the child every call but chime_rdm_free() says CHIME_ECLOSED, which leaves the parent's as it is. A child
 * may open handles of its own, but of the user's carrier none if another thread was in a call on one at the fork: -EOPNOTSUPP.
 */
#ifndef CHIME_RDM_H
#define CHIME_RDM_H

#include <chime/clock.h>
#include <chime/endpoint.h>
#include <chime/error.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct chime_rdm chime_rdm;

#define CHIME_RDM_MAX (262144 + 4096) /* bytes in a message: CHIME_MESSAGE_MAX, and what an answer puts in front */
#define CHIME_RDM_UDP_PORT 9899       /* IANA's for SCTP in UDP */

/* ---- what carries it ---- */

enum chime_rdm_carrier {
	CHIME_RDM_AUTO, /* the kernel's where it has one, else the user's */
	CHIME_RDM_KERNEL,
	CHIME_RDM_USER,
};

/*
 * Whether it can be had here: 0; of the kernel's: the errno of socket(2) (-EPROTONOSUPPORT, -ESOCKTNOSUPPORT: no module sctp);
 * of the user's: CHIME_ESCHEME, not in this build. CHIME_RDM_AUTO: 0 if either can. Opens and closes a socket; nothing is sent.
 */
CHIME_API int chime_rdm_available(enum chime_rdm_carrier carrier);
/* "the kernel's SCTP", "libusrsctp over UDP"; for AUTO what would be taken, or "nothing: load the module sctp, ...". Static. */
CHIME_API const char *chime_rdm_carrier_name(enum chime_rdm_carrier carrier);

/* ---- opening and ending ---- */

struct chime_rdm_config {
	size_t size;        /* sizeof(struct chime_rdm_config) */
	int64_t timeout_ns; /* the handle's limit from now on, to connect for look-up and connecting too; to serve a name is
				   looked up for 30 s at most */
	const chime_addr *bind; /* connect: the local address, port 0 for any; NULL: the system chooses */
	int64_t give_up_ns;     /* a peer that acknowledges nothing so long is lost, about; 60 s; 1 s to an hour */
	int64_t idle_ns; /* an association on which nothing came or went so long is ended (the next message makes a new one);
				     300 s, CHIME_FOREVER: never; whole seconds */
	unsigned peers_max; /* associations at once; 1024. Over it new peers are not let in, and counted */
	bool answers_only;  /* serve: only to peers with an association is sent; else -ENOTCONN */
	char *why;          /* where the sentence of a failed opening goes, or NULL */
	size_t why_size;
};
#define CHIME_RDM_CONFIG_INIT                                                                                          \
	{                                                                                                              \
		sizeof(struct chime_rdm_config), CHIME_FOREVER, NULL, 60 * CHIME_SEC, 300 * CHIME_SEC, 1024, false,    \
			NULL, 0                                                                                        \
	}

/*
 * For talking to one peer: looks e up, tries its addresses one after the other and waits until there is an association. e is an
 * rdm:// or sctp+seqpacket:// endpoint; its query may have carrier=, udp= (the peer's), rto=, rcvbuf=, sndbuf=. config may be NULL.
 * 0; resolver codes; CHIME_ETIMEOUT; -ECONNREFUSED, -ETIMEDOUT, -ENETUNREACH ...; -ESOCKTNOSUPPORT: nothing here carries it, the
 * sentence has both ways out; CHIME_ESCHEME: another scheme.
 */
CHIME_API int chime_rdm_connect(chime_rdm **out, const chime_endpoint *e, const struct chime_rdm_config *config);

/*
 * For being talked to, and for talking to any number of peers: binds every address of e ("*" and "" are any). Port 0, and udp=0,
 * become real ones in *e. -EADDRINUSE: the port is another's (the user's carrier: udp= is a UDP port like any other, and a
 * SCTP port is one handle's in a process); -EADDRNOTAVAIL, -EACCES; as above.
 */
CHIME_API int chime_rdm_serve(chime_rdm **out, chime_endpoint *e, const struct chime_rdm_config *config);

/*
 * Ends: what was sent is delivered, or told to be not (those reports are lost with the handle: chime_rdm_flush() first, to have them),
 * associations are shut down; what is left after timeout_ns (CHIME_FOREVER: none) is aborted. 0; CHIME_ETIMEOUT: something was.
 * timeout_ns 0 aborts at once. Calls that wait in other threads end with CHIME_ECLOSED. May be called twice.
 */
CHIME_API int chime_rdm_close(chime_rdm *r, int64_t timeout_ns);
/* Closes at once if need be and gives the memory back; *r becomes NULL. NULL and a NULL *r are fine. The owner's alone. */
CHIME_API void chime_rdm_free(chime_rdm **r);

/* ---- what it is ---- */

CHIME_API enum chime_rdm_carrier chime_rdm_carrier(const chime_rdm *r); /* never AUTO */
/* "the kernel's SCTP", "the kernel's SCTP in UDP, port 9899", "libusrsctp in UDP, port 9899". The handle's. */
CHIME_API const char *chime_rdm_carried_by(const chime_rdm *r);
CHIME_API bool chime_rdm_ordered(const chime_rdm *r);
/*
 * Readable: a call has something to do or to hand over (chime_rdm_receive(), or chime_rdm_process() for who does not receive). For
 * poll(2) and the like only, POLLIN. Stays the handle's.
 */
CHIME_API int chime_rdm_fileno(const chime_rdm *r);
/* The n-th local address, with the SCTP port; n from 0. -ENOENT behind the last. */
CHIME_API int chime_rdm_local(const chime_rdm *r, unsigned n, chime_addr *out);
CHIME_API int chime_rdm_set_timeout(chime_rdm *r, int64_t timeout_ns); /* -EINVAL */
CHIME_API int64_t chime_rdm_timeout(const chime_rdm *r);

/* ---- messages ---- */

/* Whom one talks to. */
struct chime_rdm_peer {
	chime_addr addr;   /* IP address and SCTP port */
	uint16_t udp_port; /* its UDP port, where SCTP comes in UDP; to be sent to: 0 is the handle's udp= */
	/*
	 * Of an event: which of the handle's associations with the peer, from 1 up. To be sent to: by that one or, when it is over, by
	 * none (-ENOTCONN), so that an answer never comes to a peer that has begun anew; 0 is the one that there is, or a new one.
	 */
	uint32_t assoc;
};

/*
 * Sends one message, to may be NULL after chime_rdm_connect(). Waits for room: what is not acknowledged yet may be as much as the
 * send buffer holds (sndbuf=, 1 MiB). An association that is missing is made. *id (may be NULL) is the message's: from 1 up, one of
 * the handle's, until it turns over after 2^32. 0: it is accepted, and it arrives or will be told; nothing else is told then.
 * -EMSGSIZE; -EINVAL (empty); -EDESTADDRREQ (no peer); -EAFNOSUPPORT; -ENOBUFS (associations are at peers_max); -ENOTCONN (to->assoc is
 * over; with .answers_only: there is none); -ENETUNREACH and the like (now or for a message before).
 */
CHIME_API int chime_rdm_send(chime_rdm *r, const void *buf, size_t len, const struct chime_rdm_peer *to, uint32_t *id);
CHIME_API int chime_rdm_sendv(chime_rdm *r, const struct iovec *iov, size_t iovs, const struct chime_rdm_peer *to,
			      uint32_t *id);

enum chime_rdm_kind {
	CHIME_RDM_MESSAGE,
	CHIME_RDM_UNDELIVERED, /* message .id to .peer was not acknowledged; .why: -ECONNRESET (the peer ended it or restarted),
				-ETIMEDOUT (it acknowledged nothing), -ECONNREFUSED (nobody was there), -EPIPE (it shut down) */
	CHIME_RDM_UP,          /* there is an association with .peer */
	CHIME_RDM_DOWN, /* there is none any more; .why as above, -EMSGSIZE (the peer sent more than a message may have), -ECONNABORTED (ended
			   here, chime_rdm_end()), 0: an orderly end. Reports of its messages came before */
	CHIME_RDM_RESTARTED, /* the peer began anew; what it had not acknowledged is told. What comes next has another .peer.assoc */
};

/* What came. data is the handle's: whole, valid until the next receive or close; it may be changed, as may the 64 bytes in
 * front of it (CHIME_HEADROOM: an answer can be built there). */
struct chime_rdm_event {
	enum chime_rdm_kind kind;
	struct chime_rdm_peer peer;
	unsigned char *data; /* CHIME_RDM_MESSAGE */
	size_t len;
	uint32_t id; /* CHIME_RDM_UNDELIVERED */
	int why;
};

/* The next thing that came. Waits. 0; the waiting codes; an error of the local system, after which one may go on. */
CHIME_API int chime_rdm_receive(chime_rdm *r, struct chime_rdm_event *event);

/* Serves network and timers, without waiting. What came is kept for chime_rdm_receive(). 0 or CHIME_ECLOSED. */
CHIME_API int chime_rdm_process(chime_rdm *r);

/* Waits, at most timeout_ns, until everything sent is acknowledged, or its report can be received. 0; CHIME_ETIMEOUT; -EINTR;
 * CHIME_ECLOSED. What comes meanwhile is kept, up to 1 MiB. */
CHIME_API int chime_rdm_flush(chime_rdm *r, int64_t timeout_ns);

/*
 * Ends the association with a peer (NULL: every one): after what was sent is delivered, or (abort) at once. The end is told as
 * CHIME_RDM_DOWN. Never waits. -ENOTCONN; -EINVAL: it is being made, and cannot be aborted.
 */
CHIME_API int chime_rdm_end(chime_rdm *r, const struct chime_rdm_peer *peer, bool abort);

/* ---- counters ---- */

struct chime_rdm_stats {
	uint64_t sent, received;          /* messages accepted from the caller, handed to him */
	uint64_t undelivered;             /* told */
	uint64_t associations;            /* now */
	uint64_t refused;                 /* peers not let in: peers_max */
	uint64_t packets_in, packets_out; /* the user's carrier: UDP datagrams */
	uint64_t dropped_rate;            /* first packets of strangers over their source's rate: 100 a second */
	uint64_t dropped_packets;         /* not SCTP, not for us, or no room to send: the network's loss */
};
CHIME_API void chime_rdm_stats(chime_rdm *r, struct chime_rdm_stats *out);

#ifdef __cplusplus
}
#endif

#endif
