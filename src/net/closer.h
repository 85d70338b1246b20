/*
 * net/closer.h - closing a connection without waiting, for who may not.
 */
#ifndef NET_CLOSER_H
#define NET_CLOSER_H

#include <stdbool.h>

/*
 * close(2) and shutdown(fd, SHUT_RDWR) of a TIPC connection wait for a peer that has stopped reading, up to 8 s, whatever O_NONBLOCK,
 * SO_LINGER and TIPC_CONN_TIMEOUT say (Linux 6.1). Only a signal ends that earlier. Whether they would now.
 */
bool chime__close_waits(int fd);

/*
 * As close(2): 0 or -errno. Where it waits, as chime__close_waits() said, another thread does it: the descriptor stays open until then.
 * reset: an orderly end is not tried.
 */
int chime__close(int fd, bool reset, bool waits);

/* As shutdown(2): 0 or -errno. Where that would wait, it is left to chime__close(). */
int chime__shutdown(int fd, int how);

/* In a child of fork(2): the threads are the parent's. */
void chime__closer_forked(void);

#endif
