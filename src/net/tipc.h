/*
 * net/tipc.h - what TIPC says of a message that it could not deliver.
 */
#ifndef NET_TIPC_H
#define NET_TIPC_H

/* TIPC sends back no more than so much of a message. */
#define CHIME__TIPC_RETURNED 1024

/* The data of a control message TIPC_ERRINFO, 4 bytes at least, as an error: -EAGAIN (the receiver's queue is full), -ECONNREFUSED,
 * -EHOSTUNREACH. */
int chime__tipc_error(const void *data);

#endif
