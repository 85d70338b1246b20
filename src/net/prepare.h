/*
 * net/prepare.h - what a socket of a certain kind is given before it is bound or connected, be it a server's or a client's.
 */
#ifndef NET_PREPARE_H
#define NET_PREPARE_H

#include <chime/endpoint.h>

/* The longest message that TIPC takes. */
#define CHIME__TIPC_MAX 66000

/*
 * Options of the kind itself, by preference: without them the socket still works. SCTP: no waiting for more to send. vsock messages,
 * TIPC and RDS: room for the longest message. TIPC rdm: what cannot be delivered comes back (net/tipc.h).
 */
void chime__prepare_kind(int fd, int family, int type, int protocol);

/* UDP-Lite's coverage, as the endpoint asks for it. 0 or -errno. */
int chime__prepare_coverage(int fd, int protocol, const struct chime_endpoint_settings *set);

/* A raw socket of ICMP or ICMPv6 gets echo requests alone, or echo replies alone. 0 or -errno. */
int chime__prepare_icmp(int fd, int family, bool requests);

#endif
