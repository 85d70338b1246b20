/*
 * server/steer.h - which worker a datagram or a connection goes to.
 */
#ifndef SERVER_STEER_H
#define SERVER_STEER_H

/*
 * Has the kernel give all datagrams of one source (IPv4 /32, IPv6 /56) to the same of the sockets that share fd's port, so that one
 * worker's guard sees them all and its rate holds for the source, whatever ports it sends from. workers: how many sockets.
 * -errno: then the kernel spreads by address and port.
 */
int chime__steer_by_source(int fd, unsigned workers);

/*
 * Has the kernel give a connection to the n-th of the sockets that share fd's port where its first packet was worked off by
 * core cores[n]. From other cores it is spread. -errno: then the kernel spreads all by address and port.
 */
int chime__steer_by_core(int fd, const int *cores, unsigned workers);

#endif
