/*
 * loop/backend/sim_sock.h - the sockets of the simulated network: what they hold, and what can be done on them now.
 */
#ifndef LOOP_BACKEND_SIM_SOCK_H
#define LOOP_BACKEND_SIM_SOCK_H

#include "loop/backend/sim.h"

/* Bytes in order; on message sockets with the length of each message, and of datagrams the peer. */
struct sim_queue {
	unsigned char *data;
	size_t at, len, room;
	struct sim_message {
		size_t len;
		int peer;
		bool to_many;
	} * messages;
	unsigned message_at, message_count, message_room;
};

enum sim_kind {
	SIM_LISTENER,
	SIM_CONN,
	SIM_DGRAM,
	SIM_NEW,   /* to be connected */
	SIM_PEER,  /* a datagram peer: no socket of the server's */
	SIM_PLACE, /* the same: where peers can be connected to */
};

/* One place of a socket for an operation. */
struct sim_place {
	struct op *op;
	const struct loop *loop; /* whose it is */
	struct op seen;          /* as it was submitted */
	uint64_t sum;            /* of what is to be sent */
	bool ending;             /* cancel() was called */
	int64_t at_ns;           /* no result before */
};

struct sim_sock {
	enum sim_kind kind;
	int type, number, fd;
	chime_addr addr;
	bool closed, peer_ended, reset, shut, was_reset;
	struct sim_sock *shared; /* SIM_LISTENER: where what follows is, if not here */
	unsigned sharers;
	int *backlog; /* SIM_LISTENER: who waits to be accepted; SIM_PLACE: who was connected to it */
	unsigned queued, backlog_room;
	struct sim_queue in, out; /* from the peer; to it */
	struct sim_place read, write;
	unsigned room;         /* SIM_PEER: messages */
	int64_t full_until_ns; /* SIM_DGRAM */
	struct sim_view view;
	struct sim_receipt *receipts;
	unsigned receipt_room;
};

static inline struct sim_sock *sim_backlog(struct sim_sock *s)
{
	return s->shared ? s->shared : s;
}
/* op->state. */
enum sim_op_state {
	SIM_OWNED,
	SIM_WAITING
};

/* Whether it reads (accepts, receives); its place in its socket; what it is called. */
bool sim_reads(const struct op *op);
struct sim_place *sim_place_of(struct sim_sock *s, const struct op *op);
const char *sim_name_of(const struct op *op);
/* The socket that it may be submitted to now; else a breach. */
struct sim_sock *sim_check_submit(struct sim *sim, const struct op *op);
/* Of all that must stay as it is until the last report; and that it did, or a breach. */
uint64_t sim_sum_of(const struct op *op);
void sim_check_untouched(struct sim *sim, const struct sim_place *place);

void sim_get(struct sim_queue *q, void *to, size_t len);
/* The next message's length and sender; there must be one. */
const struct sim_message *sim_first(const struct sim_queue *q);
/* After sim_get() of its bytes. */
void sim_message_gone(struct sim_queue *q);

struct sim_sock *sim_new_sock(struct sim *sim, enum sim_kind kind, int type);
int sim_new_fd(struct sim *sim, struct sim_sock *s);
/* Perhaps the next result in that place comes later. */
void sim_delay(struct sim *sim, struct sim_place *place);

/* What a write operation would report now: bytes or messages that it took, or an error. */
int sim_send(struct sim *sim, struct sim_sock *s, const struct op *op);
/* Connects s as op says: 0 or the error. */
int sim_reach(struct sim *sim, struct sim_sock *s, const struct op *op);
/* Whether there is something to report other than -EAGAIN. */
bool sim_can_read(const struct sim *sim, const struct sim_sock *s);
bool sim_can_write(const struct sim *sim, const struct sim_sock *s);

#endif
