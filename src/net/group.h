/*
 * net/group.h - groups and how endpoints' settings make a socket of them, by descriptor: what chime/multicast.h does by handle.
 */
#ifndef NET_GROUP_H
#define NET_GROUP_H

#include <chime/endpoint.h>

/* source NULL: from any. 0 or -errno. */
int chime__group_change(int fd, const chime_addr *group, const chime_addr *source, unsigned ifindex, bool join);
int chime__group_if(int fd, int family, unsigned ifindex);
int chime__group_hops(int fd, int family, int hops);
int chime__group_loop(int fd, int family, bool on);

/* 255.255.255.255, or where set->broadcast says that it is meant so. */
bool chime__sends_to_many(const chime_addr *to, const struct chime_endpoint_settings *set);

/*
 * Gives a datagram or raw socket that goes to, or is to be bound to, at what the settings say of interface, hops, loop and broadcast.
 * 0 or -errno; *what (may be NULL): which of them failed, for a sentence.
 */
int chime__group_settings(int fd, const chime_addr *at, const struct chime_endpoint_settings *set, const char **what);

/* Joins the group that a socket is bound to, as the settings say. */
int chime__group_serve(int fd, const chime_addr *group, const struct chime_endpoint_settings *set);

#endif
