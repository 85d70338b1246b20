/* What the simulation watches over: the contract of the table, loop/backend.h. */
#include "loop/backend/sim_sock.h"

#include <string.h>
#include <sys/socket.h>

bool sim_reads(const struct op *op)
{
	return op->kind <= OP_POLL;
}

struct sim_place *sim_place_of(struct sim_sock *s, const struct op *op)
{
	return sim_reads(op) ? &s->read : &s->write;
}

const char *sim_name_of(const struct op *op)
{
	static const char *const names[] = {
		[OP_ACCEPT] = "accept", [OP_RECV] = "receive", [OP_RECV_MSG] = "receive", [OP_RECV_MSGS] = "receive",
		[OP_POLL] = "poll",     [OP_SEND] = "send",    [OP_SEND_MSGS] = "send",   [OP_CONNECT] = "connect",
	};
	return names[op->kind];
}

static uint64_t add_bytes(uint64_t sum, const unsigned char *bytes, size_t len)
{
	while (len >= 8) {
		uint64_t word;
		memcpy(&word, bytes, 8);
		sum = (sum ^ word) * 0x9e3779b97f4a7c15u;
		sum ^= sum >> 29;
		bytes += 8;
		len -= 8;
	}
	while (len--)
		sum = (sum ^ *bytes++) * 0x100000001b3u;
	return sum;
}

static uint64_t add_pieces(uint64_t sum, const struct iovec *iov, int n)
{
	sum = add_bytes(sum, (const unsigned char *)iov, (size_t)n * sizeof *iov);
	for (int i = 0; i < n; i++)
		sum = add_bytes(sum, iov[i].iov_base, iov[i].iov_len);
	return sum;
}

/* Over all that must stay as it is until the last report. */
uint64_t sim_sum_of(const struct op *op)
{
	uint64_t sum = 1;
	if (op->kind == OP_SEND)
		return add_pieces(sum, op->u.iov, op->n);
	if (op->kind == OP_SEND_MSGS)
		for (unsigned i = 0; i < op->n; i++)
			sum = add_pieces(sum, op->u.msgs[i].iov, op->u.msgs[i].n);
	return sum;
}

void sim_check_untouched(struct sim *sim, const struct sim_place *place)
{
	const struct op *op = place->op, *seen = &place->seen;
	if (op->fd != seen->fd || op->done != seen->done || op->kind != seen->kind || op->n != seen->n ||
	    op->u.iov != seen->u.iov || op->state != SIM_WAITING)
		sim_breach(sim, "the %s on fd %d was changed while it was under way", sim_name_of(seen), seen->fd);
	if (!sim_reads(op) && place->sum != sim_sum_of(op))
		sim_breach(sim, "what is being sent on fd %d was changed", seen->fd);
}

struct sim_sock *sim_check_submit(struct sim *sim, const struct op *op)
{
	struct sim_sock *s = op->fd >= 0 && op->fd < SIM_SOCKS ? sim->fds[op->fd] : NULL;
	if (!s)
		sim_breach(sim, "a %s on fd %d, which is closed", sim_name_of(op), op->fd);
	if (op->state != SIM_OWNED)
		sim_breach(sim, "a %s on fd %d is submitted while it is under way", sim_name_of(op), op->fd);
	if (sim_place_of(s, op)->op)
		sim_breach(sim, "a second %s on fd %d", sim_name_of(op), op->fd);
	bool fits = op->kind == OP_POLL         ? true
		    : s->kind == SIM_LISTENER   ? op->kind == OP_ACCEPT
		    : s->kind == SIM_NEW        ? op->kind == OP_CONNECT
		    : s->kind == SIM_DGRAM      ? op->kind == OP_RECV_MSGS || op->kind == OP_SEND_MSGS
		    : op->kind == OP_SEND       ? true
		    : s->type == SOCK_SEQPACKET ? op->kind == OP_RECV_MSG
						: op->kind == OP_RECV;
	if (!fits)
		sim_breach(sim, "a %s (kind %u) on fd %d, which is not for that", sim_name_of(op), op->kind, op->fd);
	return s;
}
