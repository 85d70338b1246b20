/*
 * net/rdm_udp.h - the UDP sockets under the carrier in user space, and the packets that wait to go out by them.
 *
 * What is in a packet is not known here; whose it is, is what rdm_user.c makes of where it came from.
 */
#ifndef NET_RDM_UDP_H
#define NET_RDM_UDP_H

#include "net/rdm.h"

#define RDM_UDP_BATCH 32
#define RDM_UDP_BYTES 2048 /* longer ones go alone: the stack makes none */
#define RDM_UDP_PACKET 65536

/* Where packets of an association come from and go to. */
struct rdm_path {
	uint64_t number; /* what the stack knows it by: the caller's */
	chime_addr wire, local;
	unsigned char socket;
};

struct rdm_udp_packet {
	chime_addr wire, local;
	unsigned char socket;
	size_t len;
	unsigned char bytes[RDM_UDP_BYTES];
};

struct rdm_udp {
	struct chime_rdm *r; /* its settings are read; its statistics and .refused are kept */
	int socks[RDM_LOCALS];
	bool v6[RDM_LOCALS], any[RDM_LOCALS];
	unsigned count;
	unsigned out_count;
	struct rdm_udp_packet out[RDM_UDP_BATCH];
	unsigned char *in; /* a batch of packets */
};

/* A packet came; the number of its path is 0. */
typedef void rdm_udp_came_fn(struct chime_rdm *r, struct rdm_path *p, const unsigned char *packet, size_t len,
			     int64_t now_ns);

/*
 * Serving: binds all of addrs. Else one socket, bound to bind_to or any address, connected to addrs[0]. They are in .inner_fd then.
 * -errno with a sentence; to be closed in any case.
 */
int chime__rdm_udp_open(struct rdm_udp *d, const chime_addr *addrs, unsigned n, const chime_addr *bind_to);
void chime__rdm_udp_close(struct rdm_udp *d);

/* The peer's UDP address in a form that one of the sockets takes. -EAFNOSUPPORT: none does. */
int chime__rdm_udp_path(const struct rdm_udp *d, const struct chime_rdm_peer *to, struct rdm_path *p);

/* Keeps the packet for the next flush; a full batch is flushed first. */
void chime__rdm_udp_put(struct rdm_udp *d, const chime_addr *wire, const chime_addr *local, unsigned char socket,
			const void *packet, size_t len);
void chime__rdm_udp_flush(struct rdm_udp *d);

/* One batch. Whether there may be more. */
bool chime__rdm_udp_read(struct rdm_udp *d, unsigned sock, rdm_udp_came_fn *came, int64_t now_ns);

#endif
