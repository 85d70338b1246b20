/*
 * Prints each IGMP message on an interface with its time: who joins and leaves which group, in all three versions.
 * usage: igmp_watch INTERFACE [-q] [COUNT]      (-q: asks everybody first; COUNT messages, else until ctrl-C)
 *
 * Reports of version 2 go to the group itself, which this machine has not joined: so what is read is the interface
 * (packet(7), with all of its multicasts), and only the query goes out by a raw socket.
 */
#include <chime/errqueue.h>
#include <chime/multicast.h>
#include <chime/names.h>
#include <chime/raw.h>

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *text(struct in_addr a)
{
	static char out[INET_ADDRSTRLEN];
	return inet_ntop(AF_INET, &a, out, sizeof out);
}

static void print_time(int64_t ns)
{
	char clock[32];
	time_t t = (time_t)(ns / CHIME_SEC);
	struct tm tm;
	strftime(clock, sizeof clock, "%F %T", localtime_r(&t, &tm));
	printf("%s.%06d ", clock, (int)(ns % CHIME_SEC / CHIME_USEC));
}

static void print_sources(const char *before, const void *sources, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		printf("%s%s", i ? " " : before, text(chime_igmp_source(sources, i)));
}

/* In words what a record of version 3 says (RFC 3376 4.2.12). */
static void print_record(const struct chime_igmp_record *r)
{
	bool none = r->source_count == 0;
	const char *what = chime_igmp_change_name(r->type);
	if (none && (r->type == CHIME_IGMP_TO_EXCLUDE || r->type == CHIME_IGMP_IS_EXCLUDE))
		what = r->type == CHIME_IGMP_TO_EXCLUDE ? "joins" : "is in";
	else if (none && r->type == CHIME_IGMP_TO_INCLUDE)
		what = "leaves";
	printf(" %s %s", what ? what : "?", text(r->group));
	print_sources(" sources ", r->sources, r->source_count);
}

/* One line for a message: true, if it was one. */
static bool print_message(const unsigned char *packet, size_t len, int64_t at)
{
	struct chime_igmp_record r = { .next = 0 };
	struct chime_ipv4 ip;
	struct chime_igmp h;
	if (chime_ipv4_parse(&ip, packet, len) < 0 || ip.protocol != IPPROTO_IGMP)
		return false;
	int err = chime_igmp_parse(&h, ip.payload, ip.payload_len);
	print_time(at);
	printf("%s", text(ip.from));
	if (err < 0) {
		printf(" %s\n", chime_strerror(err));
		return true;
	}
	const char *what = chime_igmp_name(h.type);
	printf(" %s:", what ? what : "unknown");
	switch (h.type) {
	case CHIME_IGMP_QUERY:
		printf(" version %d", h.version);
		if (h.group.s_addr)
			printf(" group %s", text(h.group));
		print_sources(" sources ", h.sources, h.source_count);
		break;
	case CHIME_IGMP_V3_REPORT:
		for (int n = 0; chime_igmp_record_next(&h, &r); n++) {
			printf("%s", n ? "," : "");
			print_record(&r);
		}
		break;
	default:
		printf(" %s %s", h.type == CHIME_IGMP_LEAVE ? "leaves" : "is in", text(h.group));
		break;
	}
	printf("\n");
	return true;
}

/* Asks all hosts (224.0.0.1) for what they have joined, as a router would. */
static int query(unsigned ifindex)
{
	const unsigned char alert[] = { 148, 4, 0, 0 }; /* RFC 2113: routers look at it */
	struct chime_igmp h = { .type = CHIME_IGMP_QUERY,
				.version = 3,
				.max_response_ns = CHIME_SEC / 10,
				.robustness = 2,
				.interval_ns = 125 * CHIME_SEC };
	unsigned char message[16];
	chime_addr all;
	chime_sock *s;
	ssize_t n = chime_igmp_build(&h, message, sizeof message);
	int err = chime_open(&s, AF_INET, SOCK_RAW, IPPROTO_IGMP);
	if (err == 0)
		err = chime_addr_ip(&all, AF_INET, "224.0.0.1", 0);
	if (err == 0)
		err = chime_set_multicast_if(s, ifindex);
	if (err == 0)
		err = chime_setsockopt(s, IPPROTO_IP, IP_OPTIONS, alert, sizeof alert);
	if (err == 0)
		err = (int)chime_sendto(s, message, (size_t)n, 0, &all);
	chime_free(&s);
	return err < 0 ? err : 0;
}

static int watch(chime_sock **out, unsigned ifindex)
{
	struct packet_mreq all = { .mr_ifindex = (int)ifindex, .mr_type = PACKET_MR_ALLMULTI };
	chime_addr at = { .len = sizeof(struct sockaddr_ll) };
	struct sockaddr_ll ll = { .sll_family = AF_PACKET,
				  .sll_protocol = htons(ETHERTYPE_IP),
				  .sll_ifindex = (int)ifindex };
	memcpy(&at.u, &ll, sizeof ll);
	int err = chime_open(out, AF_PACKET, SOCK_DGRAM, htons(ETHERTYPE_IP));
	if (err == 0)
		err = chime_bind(*out, &at);
	if (err == 0)
		err = chime_setsockopt(*out, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all);
	if (err == 0)
		err = chime_timestamping(*out, CHIME_STAMP_RX);
	return err;
}

int main(int argc, char **argv)
{
	static unsigned char packet[65536];
	bool ask = argc > 2 && !strcmp(argv[2], "-q");
	int left = 0;
	char rest;
	int found = argc > 1 ? chime_if_nametoindex(argv[1]) : -1;
	unsigned ifindex = (unsigned)found;
	chime_sock *s = NULL;
	const char *count = argc > 2 + ask ? argv[2 + ask] : NULL;
	if (found <= 0 || (count && (sscanf(count, "%6d%c", &left, &rest) != 1 || left < 1))) {
		if (argc > 1 && found <= 0)
			fprintf(stderr, "igmp_watch: %s: %s\n", argv[1], chime_strerror(found));
		fprintf(stderr, "usage: igmp_watch INTERFACE [-q] [COUNT]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	int err = watch(&s, ifindex);
	fprintf(stderr, "watching %s\n", argv[1]);
	if (err == 0 && ask)
		err = query(ifindex);
	for (bool more = true; err >= 0 && more;) {
		struct chime_stamps stamps;
		ssize_t n = chime_recv_stamped(s, packet, sizeof packet, 0, &stamps, NULL);
		err = n < 0 ? (int)n : 0;
		if (n > 0 &&
		    print_message(packet, (size_t)n, stamps.software_ns ? stamps.software_ns : chime_now_real()))
			more = --left != 0;
	}
	if (err < 0)
		fprintf(stderr, "%s: %s\n", argv[1], chime_strerror(err));
	chime_free(&s);
	return err < 0 ? 3 : 0;
}
