/*
 * chime/multicast.h - groups: joined and left, from any source or from one, and how what is sent to them goes.
 *
 * IPv4 and IPv6 alike; an AF_INET6 UDP socket may join groups of both. The group's port is not looked at. Interfaces are numbers
 * (chime_if_nametoindex()); 0: the one that a route to the group leads through, or for IPv6 the group's own scope. None of these
 * calls waits. They return 0, CHIME_ECLOSED or
 *   -EINVAL         not a group, or a source of another family; leaving: never joined so
 *   -ENODEV         no such interface, or no route says which one
 *   -EADDRINUSE     joined already there
 *   -EADDRNOTAVAIL  leaving: not joined there; chime_set_multicast_if() for IPv4: no such interface
 *   -ENOBUFS        more than the system allows: net.ipv4.igmp_max_memberships, igmp_max_msf
 *
 * What a socket that is bound to any address receives is not limited to the groups that it joined, unless IP_MULTICAST_ALL and
 * IPV6_MULTICAST_ALL are off: ip(7). One that is bound to the group receives what is sent to the group alone.
 */
#ifndef CHIME_MULTICAST_H
#define CHIME_MULTICAST_H

#include <chime/sock.h>

#ifdef __cplusplus
extern "C" {
#endif

CHIME_API int chime_join_group(chime_sock *s, const chime_addr *group, unsigned ifindex);
CHIME_API int chime_leave_group(chime_sock *s, const chime_addr *group, unsigned ifindex);

/* Source-specific (RFC 4607): only what source sends. Several sources of a group may be joined, one call each. */
CHIME_API int chime_join_source(chime_sock *s, const chime_addr *group, const chime_addr *source, unsigned ifindex);
CHIME_API int chime_leave_source(chime_sock *s, const chime_addr *group, const chime_addr *source, unsigned ifindex);

/* Where what is sent to a group goes out. 0: as the routes say. */
CHIME_API int chime_set_multicast_if(chime_sock *s, unsigned ifindex);

/*
 * How many networks it may cross: TTL or hop limit, 0 to 255; -1 the default, 1 (this network). 0 should be this machine alone;
 * Linux keeps to that only while this machine has joined the group itself. -ERANGE.
 */
CHIME_API int chime_set_multicast_hops(chime_sock *s, int hops);

/* Whether members on this machine get it too. On at first. */
CHIME_API int chime_set_multicast_loop(chime_sock *s, bool on);

/* Whether it may send to broadcast addresses (IPv4). Off at first: sending to one is -EACCES. */
CHIME_API int chime_set_broadcast(chime_sock *s, bool on);

#ifdef __cplusplus
}
#endif

#endif
