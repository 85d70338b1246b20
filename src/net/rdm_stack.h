/*
 * net/rdm_stack.h - the seam to an SCTP stack in user space: packets in, packets out, ticks; messages out and in, failures told.
 *
 * Behind it is libusrsctp (rdm_usrsctp.c), or nothing (rdm_nostack.c); another stack would fit. A path is a number of ours
 * that stands for a peer's UDP address: it reaches the wire (in cookies), so it is never a pointer.
 * Nothing here locks: all calls, for all sockets, come from under the one lock of rdm_user.c. Nothing waits.
 */
#ifndef NET_RDM_STACK_H
#define NET_RDM_STACK_H

#include <chime/base.h>

struct rdm_stack; /* a one-to-many socket of the stack */

/* A packet is to go to a path. Called inside any of the calls below. */
typedef void rdm_stack_output_fn(uint64_t path, const void *packet, size_t len);
/* There is something to take, or room to send. Called inside any of the calls below: it may call none of them. */
typedef void rdm_stack_stirred_fn(void *owner);

struct rdm_stack_config {
	uint16_t port; /* 0: a free one */
	bool ordered;
	int sndbuf, rcvbuf;
	unsigned rto_min_ms, rto_max_ms, init_ms, init_max_ms;
	unsigned tries; /* in a row without any acknowledgement, before the peer is lost */
	unsigned init_tries;
	unsigned idle_s; /* 0: never */
	size_t longest;  /* message */
	rdm_stack_stirred_fn *stirred;
	void *owner;
};

enum rdm_stack_kind {
	STACK_NOTHING,
	STACK_MESSAGE, /* a piece of one: .len bytes in the buffer; .whole: the last piece */
	STACK_UP,
	STACK_DOWN, /* .why: 0 an orderly end, or an error */
	STACK_RESTARTED,
	STACK_FAILED, /* (a piece of) message .id was not acknowledged; why will be told by STACK_DOWN or STACK_RESTARTED behind it */
	STACK_DRY,    /* everything is acknowledged */
	STACK_BROKEN, /* what was handed over of a message so far is void */
	STACK_OTHER,
};

struct rdm_stack_event {
	enum rdm_stack_kind kind;
	uint64_t path;
	uint16_t port;
	uint32_t assoc;
	size_t len;
	bool whole;
	uint32_t id;
	int why;
};

bool chime__stack_built(void);
/* Once for the process, before all else; again is fine. Starts the stack's one thread. -errno. */
int chime__stack_init(rdm_stack_output_fn *output);

/* -EADDRINUSE: the port is another socket's of this process. */
int chime__stack_open(struct rdm_stack **out, const struct rdm_stack_config *config);
void chime__stack_close(struct rdm_stack *s); /* what is left is aborted */
uint16_t chime__stack_port(const struct rdm_stack *s);

/*
 * The path of an association is made known before it is begun by us, or when a peer has begun it, until it is over. (To the
 * stack it is also the address of ours that the peer writes to.) A path is known once, however many associations it has.
 */
void chime__stack_know(uint64_t path);
void chime__stack_forget(uint64_t path);

void chime__stack_input(uint64_t path, const void *packet, size_t len);
void chime__stack_tick(unsigned elapsed_ms);

/* The association with that path and port, 0 none. */
uint32_t chime__stack_assoc(struct rdm_stack *s, uint64_t path, uint16_t port);
int chime__stack_connect(struct rdm_stack *s, uint64_t path, uint16_t port);
/* The association has come up: if making it took long, its round trip is measured anew. */
void chime__stack_measure(struct rdm_stack *s, uint64_t path, uint16_t port, uint32_t assoc);
/*
 * Takes the message, whole, or -EAGAIN; makes an association if there is none. first: nothing else waits for an acknowledgement, so
 * the peer is asked not to delay it (RFC 7053).
 */
int chime__stack_send(struct rdm_stack *s, uint64_t path, uint16_t port, const void *bytes, size_t len, uint32_t id,
		      bool first);
int chime__stack_end(struct rdm_stack *s, uint64_t path, uint16_t port, bool abort);
/* Whether nothing waits for an acknowledgement. */
bool chime__stack_dry(struct rdm_stack *s, uint32_t assoc);
/* The next thing that came, messages into buf. */
void chime__stack_take(struct rdm_stack *s, void *buf, size_t size, struct rdm_stack_event *ev);

/* The checksum of a packet whose checksum field is 0, for tests that make packets. */
uint32_t chime__stack_checksum(void *packet, size_t len);

#endif
