/*
 * loop/backend/ready.h - what backends over descriptors share: trying an operation on one that is ready, or may be, and
 * the operations that a wait() still has to do with: those that have ended, those that shall be tried without waiting, and those
 * in bulk.
 *
 * Whoever brings much in one receive, and whoever had to wait for room to send, is in bulk: when he is ready he is put in a row, and the row
 * is worked off from its front behind everything else, READY_TURN bytes in a wait(). So a message of anyone else waits for no more
 * than that, be there one in bulk or thousands, and those get the same of what is left. (Over io_uring what the kernel has
 * put into the ring's buffers before the backend knows of the bulk comes first: 4 MiB when all are full.)
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
/* The same: tries an operation whose turn in the row has come. sure: as for chime__ready_read(). */
typedef void ready_try_fn(struct loop *lp, struct op *op, bool sure);

/*
 * Of those in bulk, in one wait(): some 0.5 ms with their answers. And what a receive brings at least that is not the last one in
 * bulk: each in the row is charged that much.
 */
#define READY_TURN (512 * 1024)
#define READY_LEAST 4096

/* op->state, as these backends keep it. */
enum op_state {
	OWNED,     /* its owner's */
	WAITING,   /* for its descriptor, with the kernel, or in ready.now */
	CANCELLED, /* its end is asked for: when its turn in ready.now or .row comes, or from the kernel */
	IN_ROW,    /* stands in ready.row */
	ENDING,    /* stands in ready.ending */
};

struct ready {
	struct buf_pool streams, messages;
	struct buf *stream, *message; /* those received into last, if nobody kept them */
	struct batch *batch;          /* made when the first datagram socket comes */
	ready_report_fn *report;
	ready_try_fn *try;
	struct op *ending, **ending_end; /* over: done runs at the end of wait() */
	struct op *row, **row_end;       /* in bulk and ready: who waits longest first */
	size_t spent;                    /* bytes of this wait() */
	struct op *now;                  /* OP_NOWAIT: tried in the next wait() */
	struct op *trying;               /* the one that is tried by its system call at the moment */
};

void chime__ready_init(struct ready *rd, ready_report_fn *report, ready_try_fn *try);
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

/* An operation whose descriptor is ready is put in the row. */
void chime__ready_row(struct ready *rd, struct op *op, bool sure);

/* It is taken out of the row, and its owner's or the backend's to do with. */
void chime__ready_unrow(struct ready *rd, struct op *op);

/* Whether it is to be put in the row when it is ready, instead of being tried. */
static inline bool ready_in_bulk(const struct op *op)
{
	return op->bulk || op->kind == OP_SEND;
}

/* Whether the next wait() must not sleep. */
static inline bool ready_pending(const struct ready *rd)
{
	return rd->ending || rd->now || rd->row;
}

/* The end of a wait(): tries those of .now once each, then those in the row as far as READY_TURN goes, then reports all that have ended. How many. */
int chime__ready_run(struct ready *rd, struct loop *lp);

static inline bool op_reads(const struct op *op)
{
	return op->kind <= OP_POLL;
}

#endif
