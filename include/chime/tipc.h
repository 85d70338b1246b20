/*
 * chime/tipc.h - TIPC's reliable messages: what its receiver had no room for comes back to its sender.
 */
#ifndef CHIME_TIPC_H
#define CHIME_TIPC_H

#include <chime/sock.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Receives a message as chime_recvfrom() does (from may be NULL), or one of the caller's own that was not delivered: then *returned
 * says why, buf has its first 1024 bytes at most, and from who refused it.
 *   -EAGAIN        the receiver's queue is full: send it again, after a while
 *   -ECONNREFUSED  the receiver's socket is gone
 *   -EHOSTUNREACH  its node is, or nobody serves the name
 * On a socket of tipc+rdm (chime_connect_endpoint(), chime_server) messages come back. On others they are lost instead, unless
 * TIPC_DEST_DROPPABLE is set to 0 (linux/tipc.h). What comes back and is not received fills the receive queue: receive before you
 * send. *returned is 0 for a message, and for an error. Results as chime_recv().
 */
CHIME_API ssize_t chime_tipc_recv(chime_sock *s, void *buf, size_t len, chime_addr *from, int *returned);

#ifdef __cplusplus
}
#endif

#endif
