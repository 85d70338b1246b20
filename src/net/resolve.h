/*
 * net/resolve.h - where look-ups ask.
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

/*
 * Asks the resolver, in the helper thread if it may ask a server; host or service may be NULL. *list is the caller's, given back
 * by chime__resolver.release(). 0 or a code.
 */
int chime__look_up(const char *host, const char *service, const struct addrinfo *hints, int64_t deadline,
		   struct addrinfo **list);

#endif
