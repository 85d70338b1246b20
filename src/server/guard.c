/* Who may be answered by datagram: rules on the source's address and port, and a token bucket for each source. */
#include "server/guard.h"

#include "net/siphash.h"

#include <chime/clock.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define WAYS 8
#define SETS (GUARD_BUCKETS / WAYS)
#define BURST_NS (2 * CHIME_SEC) /* a full bucket: what its rate gives in that time */

/* Services that answer whatever comes to their port: ours and theirs would talk to each other for ever. Sorted. */
static const uint16_t repliers[] = {
	1194,  /* OpenVPN: resets */
	1434,  /* MS SQL resolution */
	1645,  /* RADIUS, the old port */
	1701,  /* L2TP */
	1812,  /* RADIUS */
	1900,  /* SSDP */
	2049,  /* NFS; inetd refuses it too */
	2112,  /* irtt */
	3283,  /* Apple Remote Desktop */
	3478,  /* STUN */
	3702,  /* WS-Discovery */
	4500,  /* IKE behind NAT */
	5060,  /* SIP */
	5093,  /* Sentinel licence manager */
	5201,  /* iperf3 */
	5351,  /* NAT-PMP, PCP */
	5353,  /* mDNS */
	5355,  /* LLMNR */
	5683,  /* CoAP */
	9899,  /* SCTP in UDP */
	9999,  /* chime */
	10001, /* Ubiquiti discovery */
	11111, /* sockperf */
	11211, /* memcached */
	27015, /* Source engine queries */
};

static bool has_port(const uint16_t *ports, unsigned n, uint16_t port)
{
	unsigned low = 0;
	while (low < n) {
		unsigned mid = low + (n - low) / 2;
		if (ports[mid] == port)
			return true;
		if (ports[mid] < port)
			low = mid + 1;
		else
			n = mid;
	}
	return false;
}

static bool bad_port(const struct guard *g, uint16_t port)
{
	return port < 1024 || has_port(repliers, sizeof repliers / sizeof *repliers, port) ||
	       has_port(g->served, g->served_count, port);
}

/* The network's part of an address, marked with its family: what has a bucket. False: no unicast source. */
static bool prefix_v4(uint32_t ip, uint64_t *out)
{
	*out = (uint64_t)4 << 56 | ip;
	return ip >> 24 != 0 && ip >> 24 != 255 && ip >> 28 != 14;
}

static bool prefix_v6(const unsigned char ip[16], uint64_t *out)
{
	static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };
	uint64_t net = 0;
	bool zero = true;
	if (!memcmp(ip, mapped, sizeof mapped))
		return prefix_v4((uint32_t)ip[12] << 24 | (uint32_t)ip[13] << 16 | (uint32_t)ip[14] << 8 | ip[15], out);
	for (unsigned i = 0; i < 7; i++)
		net = net << 8 | ip[i];
	for (unsigned i = 0; i < 16; i++)
		zero = zero && ip[i] == 0;
	*out = (uint64_t)6 << 56 | net;
	return !zero && ip[0] != 0xff;
}

/* ---- buckets ---- */

/* GCRA: one number holds level and time. When it will be full again if one more is taken now; 0: it is empty. */
static int64_t taken(int64_t full_at_ns, int64_t rate, int64_t now_ns)
{
	int64_t each_ns = rate < CHIME_SEC ? CHIME_SEC / rate : 1;
	int64_t next = (full_at_ns > now_ns ? full_at_ns : now_ns) + each_ns;
	return next - now_ns > BURST_NS ? 0 : next;
}

/*
 * The bucket of a source: its own, or a free or full one, or that of its set which is nearest to full. The one who gets another's
 * takes over what is missing in it: so a set never gives more than eight buckets can, however many sources come and
 * go, and the emptiest bucket, a flood's, is never the one to go.
 */
static struct guard_bucket *find_bucket(struct guard *g, uint64_t key)
{
	struct guard_bucket *set = &g->buckets[key % SETS * WAYS], *best = set;
	for (unsigned i = 0; i < WAYS; i++) {
		if (set[i].key == key)
			return &set[i];
		if (set[i].full_at_ns < best->full_at_ns)
			best = &set[i];
	}
	return best;
}

static bool within_rates(struct guard *g, uint64_t prefix, int64_t now_ns)
{
	struct guard_bucket *b = NULL;
	int64_t full_at_ns = 0, total_full_at_ns = 0;
	uint64_t key = 0;
	if (g->rate > 0) {
		key = chime__siphash(g->secret, &prefix, 1, 1, 3);
		key += key == 0;
		b = find_bucket(g, key);
		if (!(full_at_ns = taken(b->full_at_ns, g->rate, now_ns)))
			return false;
	}
	if (g->total_rate > 0 && !(total_full_at_ns = taken(g->total_full_at_ns, g->total_rate, now_ns)))
		return false;
	if (b)
		*b = (struct guard_bucket){ key, full_at_ns };
	g->total_full_at_ns = total_full_at_ns;
	return true;
}

/* ---- the guard ---- */

int chime__guard_init(struct guard *g, int64_t rate, int64_t total_rate, const uint16_t *served, unsigned served_count)
{
	*g = (struct guard){ .rate = rate, .total_rate = total_rate, .served = served, .served_count = served_count };
	if (getrandom(g->secret, sizeof g->secret, GRND_NONBLOCK) != sizeof g->secret) {
		/* Early in a boot there may be no randomness yet: what nobody outside can know has to do. */
		g->secret[0] = (uint64_t)chime_now_mono() ^ (uint64_t)(uintptr_t)g;
		g->secret[1] = (uint64_t)chime_now_real();
	}
	if (rate > 0) {
		g->buckets = calloc(GUARD_BUCKETS, sizeof *g->buckets);
		if (!g->buckets)
			return -ENOMEM;
	}
	return 0;
}

void chime__guard_fini(struct guard *g)
{
	free(g->buckets);
	*g = (struct guard){ 0 };
}

enum guard_verdict chime__guard_judge(struct guard *g, const chime_addr *peer, int64_t now_ns)
{
	uint64_t prefix;
	uint16_t port;
	bool unicast;
	switch (peer->len ? peer->u.sa.sa_family : AF_UNSPEC) {
	case AF_INET:
		port = ntohs(peer->u.in.sin_port);
		unicast = prefix_v4(ntohl(peer->u.in.sin_addr.s_addr), &prefix);
		break;
	case AF_INET6:
		port = ntohs(peer->u.in6.sin6_port);
		unicast = prefix_v6(peer->u.in6.sin6_addr.s6_addr, &prefix);
		break;
	default:
		return GUARD_SOURCE;
	}
	if (!unicast || (!g->portless && bad_port(g, port)))
		return GUARD_SOURCE;
	return within_rates(g, prefix, now_ns) ? GUARD_ANSWER : GUARD_RATE;
}
