/*
 * loop/backend/sim.h - a network in memory with a time of its own, under the same table as the real one.
 *
 * A test is the other side of every connection: it connects, writes, reads, ends and resets by the calls below, and turns the
 * loop in between. Nothing happens but what the test, or the server under test, does: no threads, no kernel, no real clock. Time
 * passes only when a turn has nothing to do (then as far as its limit, or to the next result), and by sim_pass().
 *
 * In calm weather (all zeros) everything goes as the script above it says, in order of descriptors. Else chance has a say, and all
 * chance comes from .random: the same seed and the same calls give the same history.
 *
 * The simulation watches over the table's contract (loop/backend.h): one reading and one writing operation for a descriptor, none
 * after its close, no close with one under way, and what is to be sent stays as it is until the last report. A breach goes to
 * .breach; without one the program is aborted.
 * Not part of the library: the tests link it.
 */
#ifndef LOOP_BACKEND_SIM_H
#define LOOP_BACKEND_SIM_H

#include "loop/loop.h"

#define SIM_SOCKS 256 /* descriptors */

struct sim_sock; /* one socket of the server's side and the peer's end of it */

/* How likely something is, in 1000 times that it could happen; and how much of it. */
struct sim_weather {
	bool shuffle;           /* results come in any order between descriptors, several of one in a row */
	unsigned short_read;    /* a receive delivers a part of what is there */
	unsigned short_write;   /* a send takes a part of what there is room for */
	unsigned delay;         /* a result comes later, at most by delay_ns */
	unsigned late_send;     /* a send that could end at once ends in wait() */
	unsigned first_again;   /* a send that does not wait for room reports -EAGAIN in wait() */
	unsigned over_delivery; /* a cancelled receive or accept reports what is there before it ends */
	unsigned late_cancel;   /* a cancelled operation ends with its result */
	unsigned emfile;        /* accepting ends for want of descriptors, or memory */
	unsigned enobufs;       /* sending a datagram fails for want of memory */
	unsigned no_memory;     /* submit() refuses an operation */
	unsigned full;          /* an IP datagram socket has no room for a moment */
	unsigned slow_connect;  /* connecting takes up to a minute */
	unsigned refuse;        /* connecting is refused, or comes to nothing */
	unsigned clock_step;    /* the real clock jumps before a result, either way, at most by clock_step_ns */
	int64_t delay_ns, clock_step_ns;
	int64_t pace_ns; /* the longest that it takes to come from one result to the next: the clocks do not stand still in a turn */
};

struct sim {
	/* the script: may be changed at any time */
	size_t recv_max;  /* the most one receive delivers; 0: no limit */
	size_t send_max;  /* the most one send takes; 0: no limit */
	size_t window;    /* bytes a peer's side holds before sends block; 64 KiB at first */
	size_t longest;   /* message that can be sent: CHIME_MESSAGE_MAX and a little at first */
	bool inline_send; /* submit() ends sends that can be ended at once */
	int accept_err;   /* what the next accepts report instead of a connection; 0: none */
	int fd_max;       /* descriptors from there on are not given out: -EMFILE */
	struct sim_weather weather;
	uint64_t random; /* where chance is now: the seed, at first */

	void (*trace)(void *arg, const char *line); /* every event; NULL: nobody wants to know */
	void (*breach)(void *arg, const char *what);
	void *arg;

	int64_t mono_ns, real_ns;
	struct sim_sock *fds[SIM_SOCKS]; /* open descriptors, from 3 */
	int fd_top;                      /* above all that were ever open */
	struct sim_sock **socks;         /* [sock_count], by the number that the peers' side knows */
	unsigned sock_count;
	struct buf_pool small, large, huge;
	bool woken;
	unsigned opened, closed; /* descriptors */
	unsigned no_memories;    /* operations that were refused */
	uint64_t events;         /* results, and calls of the peers' side */
	int64_t moved_ns;        /* when the server last received or sent something */
};

extern const struct backend chime__backend_sim; /* open()'s arg: a struct sim */

void sim_init(struct sim *sim);
void sim_fini(struct sim *sim);
void sim_pass(struct sim *sim, int64_t ns);
/* The next number, below limit. */
uint64_t sim_random(struct sim *sim, uint64_t limit);
bool sim_chance(struct sim *sim, unsigned in_1000);
void sim_trace(struct sim *sim, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_breach(struct sim *sim, const char *fmt, ...) __attribute__((format(printf, 2, 3), noreturn));

/* For the server: a listener (SOCK_STREAM, SOCK_SEQPACKET) or a datagram socket; its descriptor. */
int sim_listen(struct sim *sim, int type, const chime_addr *at);

/* The same listener once more: both accept what waits. */
int sim_share(struct sim *sim, int listener);
/* When the next result comes for a loop: now or before, if one is there; INT64_MAX: never by itself. */
int64_t sim_next(const struct sim *sim, const struct loop *lp);

/* ---- the peers' side. A peer has a number, which is no descriptor and is never used twice. ---- */

/* Connects: the connection waits in the listener. -ECONNREFUSED: it is closed. */
int sim_connect(struct sim *sim, int listener);
/* A datagram peer with that address, which takes so many messages before it is full. */
int sim_peer_at(struct sim *sim, const chime_addr *at, unsigned room);
/* A place where peers can be connected to; its number. And who was connected there next: the peer, -EAGAIN: nobody. */
int sim_place(struct sim *sim, int type, const chime_addr *at);
int sim_called(struct sim *sim, int place);
/* From now on who connects there is refused. */
void sim_place_gone(struct sim *sim, int place);
/* Sends; on message sockets one message. */
void sim_write(struct sim *sim, int peer, const void *bytes, size_t len);
/* From a datagram peer to a server's datagram socket. False: lost, the socket holds too much or is closed. */
bool sim_sendto(struct sim *sim, int peer, int fd, const void *bytes, size_t len);
/* The same by a broadcast or multicast address; known to a server that asks for it (OP_PKTINFO). */
bool sim_send_to_many(struct sim *sim, int peer, int fd, const void *bytes, size_t len);
/* The peer's end of stream; and a reset. */
void sim_end(struct sim *sim, int peer);
void sim_reset(struct sim *sim, int peer);
/* Takes what the server has sent, up to max bytes, and so gives it room again. */
size_t sim_read(struct sim *sim, int peer, void *buf, size_t max);
/* Takes one message: its length, or -EAGAIN. */
ssize_t sim_take(struct sim *sim, int peer, void *buf, size_t max);
/* How much there is to read: bytes, and messages. */
size_t sim_readable(const struct sim *sim, int peer);
/* The server has shut down its side (or closed); has closed; and did so with a reset, or with input unread. */
bool sim_ended(const struct sim *sim, int peer);
bool sim_closed(const struct sim *sim, int peer);
bool sim_was_reset(const struct sim *sim, int peer);
/* Bytes, and messages, of the peer's that the server has not received. */
size_t sim_unread(const struct sim *sim, int peer);

/* ---- what a test may know beside ---- */

/* One receive: the bytes (or messages) up to .end of all that the peer sent were delivered, and the real clock was between
 * these two from the receive until its report had been dealt with. */
struct sim_receipt {
	uint64_t end;
	int64_t from_ns, to_ns;
	bool over; /* after cancel(), or while a send was under way: it may be put together with what came before */
};

struct sim_view {
	bool accepted;           /* the server has, or had, a descriptor for it */
	int fd;                  /* -1: none (any more) */
	uint64_t sent, received; /* by the peer; by the server. Bytes or messages */
	uint64_t answered;       /* bytes that the server's sends have put out */
	uint64_t truncated;      /* messages of the received that were too long to be received whole */
	uint64_t to_many; /* of the received, those that came by a broadcast or multicast address, and are told */
	const struct sim_receipt *receipts;
	unsigned receipt_count;
	int64_t accepted_ns, received_ns, answered_ns; /* monotonic: when that was last */
	int64_t send_ns; /* since when the server's send waits without progress; 0: none does */
	int64_t shut_ns; /* when the server shut down its side */
	int64_t closed_ns;
	bool connected;  /* not, or not yet, where the server connects */
	bool refused_op; /* submit() refused an operation on it */
	bool wants;      /* the server is reading from it now */
};
void sim_view(const struct sim *sim, int peer, struct sim_view *out);
/* The peer behind a descriptor, -1: none. */
int sim_peer_of(const struct sim *sim, int fd);

#endif
