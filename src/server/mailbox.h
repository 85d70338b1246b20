/*
 * server/mailbox.h - an rdm:// or sctp+seqpacket:// endpoint in a worker: reliable messages from many peers on one handle (chime/rdm.h).
 *
 *   OPEN --drain--> DRAINING --every association has ended--> CLOSED
 *
 * OPEN: receiving. DRAINING: what had come is answered, what was answered is delivered or told, then associations are shut down; what
 * comes still is not answered, who comes is turned away.
 * CLOSED: the handle is gone, no operation is under way. The stack is one for the process: the first worker owns the mailbox.
 *
 * Answers for which a peer has no room wait in a queue, bounded for each peer (server/peers.h). Such a message is never dropped in
 * silence: a peer over its bound, or that takes nothing for too long, loses its association, and so is told.
 */
#ifndef SERVER_MAILBOX_H
#define SERVER_MAILBOX_H

#include "server/worker.h"

enum mailbox_state {
	MAILBOX_OPEN,
	MAILBOX_DRAINING,
	MAILBOX_CLOSED
};

struct mailbox;

/* Opens served's endpoint into served->rdm, with a sentence if it fails. */
int chime__mailbox_open_handle(struct served *served, const struct chime_server_config *config, char *why,
			       size_t why_size);

/* Starts serving served->rdm, which is the mailbox's from here on, and puts it into w->mailboxes. -errno. */
int chime__mailbox_open(struct chime_worker *w, struct served *served);
void chime__mailbox_drain(struct mailbox *m);
/* Ends at once: associations are aborted, and counted. */
void chime__mailbox_cut(struct mailbox *m);
/* Gives back those that are CLOSED. */
void chime__mailbox_free_gone(struct chime_worker *w);
/* The next in w->mailboxes. */
struct mailbox *chime__mailbox_next(struct mailbox *m);

/* chime_conn_sendto(): to a peer with an association. */
int chime__mailbox_sendto(struct mailbox *m, const void *buf, size_t len, const chime_addr *to);

#endif
