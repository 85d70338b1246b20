/*
 * net/came.h - an address as a system call gave it.
 */
#ifndef NET_CAME_H
#define NET_CAME_H

#include <chime/addr.h>

/*
 * An address of len bytes came, as the kernel counts: 0 is none. Of a unix path of 108 bytes it counts a NUL that has no place, and that
 * it does not take back.
 */
static inline void chime__addr_came(chime_addr *a, socklen_t len)
{
	if (len == 0) {
		*a = chime_addr_none();
		return;
	}
	a->len = len < sizeof a->u ? len : (socklen_t)sizeof a->u;
	if (a->len > sizeof a->u.un && a->u.sa.sa_family == AF_UNIX)
		a->len = sizeof a->u.un;
}

#endif
