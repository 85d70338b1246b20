/*
 * net/rdm_user.h - the carrier in user space without its sockets: packets by hand, for whoever tests the boundary.
 */
#ifndef NET_RDM_USER_H
#define NET_RDM_USER_H

#include <chime/rdm.h>

/* A packet came from that UDP address, at that time (monotonic). What came of it is in the handle's queue. */
void chime__rdm_user_packet(chime_rdm *r, const chime_addr *wire, const void *packet, size_t len, int64_t now_ns);

/* Puts the checksum into a packet whose checksum field is 0. */
void chime__rdm_user_sign(void *packet, size_t len);

/* Packets go to fn instead of to the sockets; NULL: to the sockets. */
typedef void chime__rdm_tap_fn(void *arg, chime_rdm *r, const chime_addr *wire, const void *packet, size_t len);
void chime__rdm_user_tap(chime__rdm_tap_fn *fn, void *arg);

#endif
