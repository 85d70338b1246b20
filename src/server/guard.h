/*
 * server/guard.h - who may be answered by datagram: a service that answers a forged source is a weapon.
 *
 * Rules and their sources: docs/udp-guards.md. Unix datagrams are not judged. One guard a worker and endpoint, one thread.
 */
#ifndef SERVER_GUARD_H
#define SERVER_GUARD_H

#include <chime/addr.h>

#define GUARD_BUCKETS 4096 /* sources remembered at once; fixed memory however many are forged */

enum guard_verdict {
	GUARD_ANSWER,
	GUARD_SOURCE, /* a port below 1024, one we serve, or a known replier; or no unicast source */
	GUARD_RATE,   /* over its source's or the total rate */
};

struct guard_bucket {
	uint64_t key;       /* the prefix, hashed with the guard's secret; 0 free */
	int64_t full_at_ns; /* when it will be full again: holds the level and the time in one number (GCRA) */
};

struct guard {
	uint64_t secret[2];       /* so that nobody can choose sources that share a bucket */
	int64_t rate, total_rate; /* answers a second; 0 no limit */
	int64_t total_full_at_ns;
	const uint16_t *served; /* the UDP ports of this server, sorted */
	unsigned served_count;
	bool portless;                /* raw sockets: sources have no port to be judged */
	struct guard_bucket *buckets; /* GUARD_BUCKETS, in sets of 8; the fullest of a set makes room */
};

/* rate: bucket size is 2 s of it. -ENOMEM. served is borrowed for the guard's life. */
int chime__guard_init(struct guard *g, int64_t rate, int64_t total_rate, const uint16_t *served, unsigned served_count);
void chime__guard_fini(struct guard *g);

/* Judges one datagram from peer and, where it may be answered, takes it from the buckets. now_ns: monotonic. */
enum guard_verdict chime__guard_judge(struct guard *g, const chime_addr *peer, int64_t now_ns);

#endif
