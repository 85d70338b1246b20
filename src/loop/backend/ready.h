/*
 * loop/backend/ready.h - what a backend does with a descriptor that is ready, or may be: tries the operation, reports results.
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

struct ready {
	struct buf_pool streams, messages;
	struct batch *batch; /* made when the first datagram socket comes */
	ready_report_fn *report;
};

void chime__ready_init(struct ready *rd, ready_report_fn *report);
void chime__ready_fini(struct ready *rd);

/* Tries a reading operation once (accepting: some times in a row). Whether it goes on. */
bool chime__ready_read(struct ready *rd, struct loop *lp, struct op *op);

/* Tries a writing one: its result, -EAGAIN if it must wait. */
int chime__ready_write(const struct op *op);

#endif
