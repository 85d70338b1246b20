/*
 * server/acceptor.h - a listener in a worker.
 *
 * Accepts until drained: then what is queued in the listener is accepted, and the listener is closed.
 * Out of descriptors it pauses for a tenth of a second at a time: the connections wait in the listener, and nothing spins.
 */
#ifndef SERVER_ACCEPTOR_H
#define SERVER_ACCEPTOR_H

#include "server/worker.h"

struct acceptor {
	struct acceptor *next;
	struct chime_worker *worker;
	const struct served *served;
	struct listen_sock *sock;
	struct op op;
	struct chime_timer pause;
	bool draining;
};

/* Starts accepting from sock->fds[w->number]. -errno. */
int chime__acceptor_open(struct chime_worker *w, const struct served *served, struct listen_sock *sock);
/* Accepts what is there, then goes (chime__acceptor_gone() is called by itself). */
void chime__acceptor_drain(struct acceptor *a);
/* Goes at once. */
void chime__acceptor_cut(struct acceptor *a);

#endif
