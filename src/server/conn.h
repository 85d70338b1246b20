/*
 * server/conn.h - one connection: what it reads goes to its service, what the service answers goes to the peer.
 *
 *   CONNECTING --connected--> OPEN --drain--> DRAINING --nothing left to read--> FLUSHING
 *                              `--peer ended, or the service closes-------------> FLUSHING
 *   FLUSHING --all sent, no hold, peer ended--> CLOSING --no operation left--> CLOSED
 *       `-----all sent, no hold---> LINGERING --peer ended, or time--> CLOSING
 *   an error, a reset, a limit, in any state before CLOSING: CLOSING
 *
 *   CONNECTING  the connect operation runs; nothing else does
 *   OPEN        reads, unless something is queued for the peer: who does not read is not read from
 *   DRAINING    the same, but reads only what is there already
 *   FLUSHING    reads no more; what is queued goes out; waits for holds
 *   LINGERING   our side is shut down; input is thrown away, so that no reset overtakes our last answer
 *   CLOSING     operations are cancelled; the descriptor is closed when the last has ended
 *   CLOSED      .closed has run; the memory goes at the end of the turn
 *
 * An idle connection owns this struct and its service's state and nothing else: what is waiting to be sent, or was
 * received and is not consumed, hangs on a struct pending that comes and goes.
 */
#ifndef SERVER_CONN_H
#define SERVER_CONN_H

#include "server/pending.h"
#include "server/worker.h"

enum conn_state {
	CONN_CONNECTING,
	CONN_OPEN,
	CONN_DRAINING,
	CONN_FLUSHING,
	CONN_LINGERING,
	CONN_CLOSING,
	CONN_CLOSED,
	CONN_STATES
};
extern const char *const chime__conn_state_name[CONN_STATES];
extern const uint8_t chime__conn_next[CONN_STATES]; /* bits of the states that may follow */

struct conn {
	struct chime_conn base;
	uint64_t id;
	struct op in;            /* accept's counterpart: receives */
	struct conn *chain;      /* in the worker's table by id; once CLOSED: in its list of the dead */
	struct pending *pending; /* NULL: nothing is */
	union {
		uint32_t holds; /* before CLOSING */
		int why;        /* from then on: what ended it */
	};
};

/* Whether something is on its way to the peer, or waits for it. */
static inline bool pending_out(const struct conn *c)
{
	const struct pending *p = c->pending;
	return p && (p->buf || p->first || op_running(&p->out));
}

struct conn_idle {
	struct chime_timer timer;
	int64_t active_ns; /* when something came or went last */
};

/* Serves an accepted descriptor, which is the connection's from here on, whatever happens. */
void chime__conn_accepted(struct chime_worker *w, const struct served *served, int type, int fd,
			  const chime_addr *peer);

/* One in the worker's table, zeroed but for what is given; its state and what follows are the caller's. NULL: no memory. */
struct conn *chime__conn_new(struct chime_worker *w, const struct served *served, int type, int fd);
/* It is there (OPEN): the service may refuse it, else it is read from. */
void chime__conn_open(struct conn *c, const chime_addr *peer);

/* Begins to end it in good order. */
void chime__conn_drain(struct conn *c);

/* The service wants no more of it: what is queued is sent, then it ends. */
void chime__conn_flush(struct conn *c);

/* Ends it now: what is queued is lost. why: for .closed. reset: the peer shall see that it was cut. */
void chime__conn_end(struct conn *c, int why, bool reset);

/* Looks at the situation and does what is next: called whenever something has changed. */
void chime__conn_settle(struct conn *c);

/* Something came or went. */
static inline void conn_active(struct conn *c)
{
	if (c->base.timed)
		((struct conn_idle *)(c + 1))->active_ns = c->base.worker->loop.now_ns;
}

/* What was sent, or failed (pending.c reports it). */
void chime__conn_sent(struct conn *c, int err);

/* Gives back the memory of those that are CLOSED. */
void chime__conn_reap(struct chime_worker *w);

#endif
