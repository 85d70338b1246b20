/*
 * server/envelope.h - what is around a message on a raw socket: the IP header that IPv4 hands over, ICMP's own. Taken off what comes,
 * put around what is answered.
 */
#ifndef SERVER_ENVELOPE_H
#define SERVER_ENVELOPE_H

#include "loop/backend.h"
#include "server/reply.h"

#include <chime/raw.h>

struct envelope {
	bool raw;                /* there is one at all */
	bool icmp;               /* echo requests are answered by echo replies */
	int family;              /* of the socket */
	struct chime_icmp asked; /* the request that was opened last */
};

/*
 * If there is one, takes it off: .data and .len of m become what is inside. 0; -EAGAIN: not a request, and nothing is wrong with it; chime/raw.h's
 * codes: it is broken.
 */
int chime__envelope_open(struct envelope *e, struct op_msg *m);

/* Makes a reply to m ready to be added to: with room for what goes in front. */
void chime__envelope_begin(const struct envelope *e, const struct op_msg *m, struct chime_reply *r);
/* If it is an echo reply: it was added to, puts it into its envelope. */
void chime__envelope_end(const struct envelope *e, const struct op_msg *m, struct chime_reply *r);

/* Whether this machine's kernel answers echo requests of that family too, whoever else does. */
bool chime__kernel_echoes(int family);

#endif
