/*
 * loop/backend/sim.h - a network in memory with a time of its own, under the same table as the real one.
 *
 * A test is the other side of every connection: it connects, writes, reads, ends and resets by the calls below, and turns the
 * loop in between. Nothing happens but what the test, or the server under test, does: no threads, no kernel, no real clock. Time
 * passes only when a turn has nothing to do (then as far as its limit) and by sim_pass().
 * Not part of the library: the tests link it.
 */
#ifndef LOOP_BACKEND_SIM_H
#define LOOP_BACKEND_SIM_H

#include "loop/loop.h"

#define SIM_SOCKS 256

struct sim_sock; /* one socket of the server's side */

struct sim {
	/* the script: may be changed at any time */
	size_t recv_max;  /* the most one receive delivers; 0: no limit */
	size_t send_max;  /* the most one send takes; 0: no limit */
	size_t window;    /* bytes a peer's side holds before sends block; 64 KiB at first */
	bool inline_send; /* submit() ends sends that can be ended at once */
	int accept_err;   /* what the next accepts report instead of a connection; 0: none */

	int64_t mono_ns, real_ns;
	struct sim_sock *sock[SIM_SOCKS]; /* by descriptor, from 3 */
	struct op *ending, **ending_end;
	struct buf_pool pool;
	bool woken;
	unsigned opened, closed; /* descriptors */
};

extern const struct backend chime__backend_sim; /* open()'s arg: a struct sim */

void sim_init(struct sim *sim);
void sim_fini(struct sim *sim);
void sim_pass(struct sim *sim, int64_t ns);

/* A listener for the server. */
int sim_listen(struct sim *sim);

/* ---- the peers' side. A peer is known by the descriptor that the server will have for it. ---- */

/* Connects: the connection waits in the listener. */
int sim_connect(struct sim *sim, int listener);
void sim_write(struct sim *sim, int peer, const void *bytes, size_t len);
/* The peer's end of stream; and a reset. */
void sim_end(struct sim *sim, int peer);
void sim_reset(struct sim *sim, int peer);
/* Takes what the server has sent, up to max bytes, and so gives it room again. */
size_t sim_read(struct sim *sim, int peer, void *buf, size_t max);
/* How much there is to read. */
size_t sim_readable(const struct sim *sim, int peer);
/* The server has shut down its side (or closed); has closed; and did so with a reset, or with input unread. */
bool sim_ended(const struct sim *sim, int peer);
bool sim_closed(const struct sim *sim, int peer);
bool sim_was_reset(const struct sim *sim, int peer);
/* Bytes of the peer's that the server has not received. */
size_t sim_unread(const struct sim *sim, int peer);

#endif
