/*
 * loop/backend/ready.h - what backends over descriptors share: trying an operation on one that is ready, or may be, and
 * the operations that a wait() still has to do with: those that have ended, and those that shall be tried without waiting.
 */
#ifndef LOOP_BACKEND_READY_H
#define LOOP_BACKEND_READY_H

#include "loop/backend/syscalls.h"
#include "loop/loop.h"

/*
 * The backend's own: reports one result (ev->more is set from more) and, if it was the last, takes the operation off its
 * descriptor first. Whether the operation goes on after done has run.
 */
typedef bool ready_report_fn(struct loop *lp, struct op *op, struct op_event *ev, bool more);

/* op->state, as these backends keep it. */
enum op_state {
	OWNED,     /* its owner's */
	WAITING,   /* for its descriptor, with the kernel, or in ready.now */
	CANCELLED, /* its end is asked for: when its turn in ready.now comes, or from the kernel */
	ENDING,    /* stands in ready.ending */
};

struct ready {
	struct buf_pool streams, messages;
	struct buf *stream, *message; /* those received into last, if nobody kept them */
	struct batch *batch;          /* made when the first datagram socket comes */
	ready_report_fn *report;
	struct op *ending, **ending_end; /* over: done runs at the end of wait() */
	struct op *now;                  /* OP_NOWAIT: tried in the next wait() */
	struct op *trying;               /* the one that is tried by its system call at the moment */
};

void chime__ready_init(struct ready *rd, ready_report_fn *report);
void chime__ready_fini(struct ready *rd);

/*
 * Tries a reading operation once (accepting: some times in a row). sure: its descriptor was just seen to have input, and not to be
 * at its end. Whether it goes on; OP_RECV then has in op->res how many bytes it was.
 */
bool chime__ready_read(struct ready *rd, struct loop *lp, struct op *op, bool sure);

/* Tries a writing one: its result, -EAGAIN if it must wait. */
int chime__ready_write(const struct op *op);

/* The operation is over with that result; done will run at the end of wait(). */
void chime__ready_end(struct ready *rd, struct op *op, int res);

/* A reading operation with OP_NOWAIT is handed over: it is tried in the next wait(). */
void chime__ready_now(struct ready *rd, struct op *op);

/* Whether the next wait() must not sleep. */
static inline bool ready_pending(const struct ready *rd)
{
	return rd->ending || rd->now;
}

/* The end of a wait(): tries those of .now once each, then reports all that have ended. How many. */
int chime__ready_run(struct ready *rd, struct loop *lp);

static inline bool op_reads(const struct op *op)
{
	return op->kind <= OP_POLL;
}

#endif
