/*
 * net/resolve.h - where look-ups ask, and the limit that the whole of a call shares.
 */
#ifndef NET_RESOLVE_H
#define NET_RESOLVE_H

#include <chime/connect.h>

#include <netdb.h>

/* getaddrinfo(3) and freeaddrinfo(3); tests put a resolver of their own here, before any look-up. */
struct chime__resolver {
	int (*ask)(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out);
	void (*release)(struct addrinfo *list);
};
extern struct chime__resolver chime__resolver;

/* Look-ups under way at once in the process, those that nobody waits for any more included; more are -EAGAIN. */
#define RESOLVE_THREADS 256

/* In a child of fork(2): its parent's look-ups are not its own. */
void chime__resolve_forked(void);

/* What is left until deadline (CHIME_FOREVER: there is none), never below 0. */
int64_t chime__time_left(int64_t deadline);

#endif
