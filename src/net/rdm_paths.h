/*
 * net/rdm_paths.h - what a stranger's packet costs: a number for its source that need not be kept, and a rate.
 *
 * A path's number is a keyed hash of the addresses. So the answer to a first packet finds its way while that packet is looked at, the
 * same peer has the same number when it comes back with its cookie, and nothing is kept of who does not come back.
 */
#ifndef NET_RDM_PATHS_H
#define NET_RDM_PATHS_H

#include <chime/addr.h>
#include <chime/clock.h>

#define STRANGERS_RATE 100 /* first packets a second of one source (IPv4 /32, IPv6 /56) */
#define STRANGERS_BURST 200
#define STRANGERS_SLOTS 1024 /* sources share them by a keyed hash: fixed memory */

struct strangers {
	int64_t full_at_ns[STRANGERS_SLOTS]; /* when the slot's bucket is full again */
};

/* The number for a peer's UDP address as seen by one of our sockets; salt tells those apart. Never 0. -errno: no randomness. */
int chime__path_number(const chime_addr *wire, uint64_t salt, uint64_t *out);

/* Whether one more packet of that source may be looked at. */
bool chime__strangers_admit(struct strangers *s, const chime_addr *wire, int64_t now_ns);

#endif
