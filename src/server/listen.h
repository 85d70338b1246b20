/*
 * server/listen.h - the open sockets of one endpoint: all of its addresses, for all workers, or none.
 */
#ifndef SERVER_LISTEN_H
#define SERVER_LISTEN_H

#include "server/path.h"

#include <chime/endpoint.h>

/* One address that an endpoint serves. */
struct listen_sock {
	int family, type, protocol;
	chime_addr addr; /* as bound: with the real port. TIPC: the name that is served */
	bool connected;  /* connections are accepted from it; else messages are received from it */
	bool many;       /* what is sent to a group or to broadcast is to be answered: the endpoint says so */
	bool shared; /* one socket that all workers accept from, each by a duplicate of its own: where the kernel does not share
			out a port among sockets, as it does for TCP and UDP */
	int *fds; /* [workers]; non-blocking, close-on-exec. A shared socket for messages is the first worker's alone, so
			that answers keep their order: -1 in the others */
};

struct listen_set {
	unsigned workers, n;
	struct listen_sock *socks; /* [n] */
	char *path;                /* unix: the file that is ours, removed by close; NULL none */
	struct path_claim claim;   /* which file it is: ours, and not one that somebody put in its place since */
};

/*
 * Opens, binds and (stream, seqpacket) listens. A name serves all its addresses; '*' and "" one dual-stack socket (IPv4 alone where
 * there is no IPv6); udp with an empty host 127.0.0.1 and ::1 (either alone where the other is not there).
 * vsock's port '*' is one that the kernel chooses; rds has no any address: an empty host is 127.0.0.1 and ::1, '*' an error.
 * Port 0: the same port on all addresses, tried again (bounded) when one is taken; e->port becomes it.
 * The first socket of an address is bound without SO_REUSEPORT, which is set afterwards for its siblings, so that
 * a second server is refused (unless e->set.reuseport). SO_REUSEADDR on stream sockets; TCP_NODELAY and SO_KEEPALIVE on tcp
 * listeners (accepted sockets inherit them); packet info on wildcard datagram sockets, which take no
 * multicast; room for messages of CHIME_MESSAGE_MAX on unix datagram sockets.
 * Unix paths: a stale socket file (no socket is bound to it: connect gives ECONNREFUSED) is replaced; a live one is -EADDRINUSE
 * with its holder, any other file -EEXIST; nobody can ever connect with more than the mode that was asked for.
 * On failure nothing stays open or on disk, and why says: what was tried, on which address, the cause in words, and the holder's
 * pid and name (-EADDRINUSE), the privilege that lacks (-EACCES, -EPERM) or the directory that is missing (-ENOENT).
 * 0; resolver codes; -errno; CHIME_ESCHEME.
 */
int chime__listen_open(struct listen_set *out, chime_endpoint *e, unsigned workers, char *why, size_t why_size);

/* Closes what is still open (fds[i] >= 0) and removes our file. Zeroed sets are fine. */
void chime__listen_close(struct listen_set *set);

#endif
