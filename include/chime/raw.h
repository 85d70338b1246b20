/*
 * chime/raw.h - headers for raw sockets (raw(7), icmp(7)): IPv4, ICMP, ICMPv6 and IGMP built, parsed and checked.
 *
 * Nothing here allocates, waits or keeps anything. Parsing never reads past the len bytes that it is given; what it finds is a
 * value, with views (pointers) into the caller's bytes, which need no alignment. Numbers are in host order; IPv4 and IPv6
 * addresses are struct in_addr and in6_addr, in network order as everywhere.
 *
 * A parser's codes say what is wrong, the first of these that is:
 *   CHIME_ESHORT     the bytes end before the header does, or before what it says it carries
 *   CHIME_EVERSION   not of that protocol's version
 *   CHIME_ELENGTH    a length within the header contradicts itself or the others
 *   CHIME_ECHECKSUM  the checksum is another; *out is filled all the same, for who wants to look at it
 * Builders return the bytes written; -ENOBUFS: buf is too small; -EMSGSIZE: more than the protocol can say; -EINVAL: a field that
 * it has no room for. On failure nothing is to be sent of buf. A payload or source list may lie in buf already, at any place.
 */
#ifndef CHIME_RAW_H
#define CHIME_RAW_H

#include <chime/base.h>
#include <netinet/in.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the internet checksum, RFC 1071 ---- */

/*
 * The checksum of the bytes, as a number in host order: written big-endian into a header whose checksum field was 0 while
 * it was counted, it makes the sum over all come out as 0. Over bytes with a right checksum in them: 0.
 */
CHIME_API uint16_t chime_checksum(const void *bytes, size_t len);

/*
 * The same over several pieces: begin with 0 (or a pseudo header), add each piece, end. Every piece but the last has an even
 * length. Any number of pieces.
 */
CHIME_API uint32_t chime_checksum_add(uint32_t sum, const void *bytes, size_t len);
CHIME_API uint16_t chime_checksum_end(uint32_t sum);

/* The pseudo header of TCP and UDP (RFC 768, 9293) and, over IPv6, of ICMPv6 too (RFC 8200 8.1): what a sum begins with. */
CHIME_API uint32_t chime_checksum_ipv4(struct in_addr from, struct in_addr to, uint8_t protocol, uint16_t len);
CHIME_API uint32_t chime_checksum_ipv6(const struct in6_addr *from, const struct in6_addr *to, uint8_t protocol,
				       uint32_t len);

/* ---- IPv4, RFC 791 ---- */

#define CHIME_IPV4_HEADER 20 /* without options; with them at most 60 */
#define CHIME_IPV4_OPTIONS 40

struct chime_ipv4 {
	uint8_t tos, ttl, protocol;
	bool dont_fragment, more_fragments;
	uint16_t id;
	uint16_t fragment; /* where this fragment begins, in bytes: a multiple of 8, at most 65528 */
	struct in_addr from, to;
	const void *options; /* as they stand in the header, padding included; build: padded with zeros to 4 */
	size_t options_len;
	const void *payload;
	size_t payload_len; /* parsed: as the header says, or what is there of it (CHIME_ESHORT) */
	/* parsed only; building computes them */
	size_t header_len; /* 20 to 60; 0: the header itself is not to be used */
	uint16_t total_len, checksum;
};

/*
 * Bytes behind the total length (padding of Ethernet) are left out. CHIME_ESHORT with .header_len set: the header is
 * whole and right, the payload cut, as in the part of a packet that an ICMP error quotes.
 */
CHIME_API int chime_ipv4_parse(struct chime_ipv4 *out, const void *bytes, size_t len);

/*
 * Header and payload, checksum and total length put in: for a socket with IP_HDRINCL, or of IPPROTO_RAW. The kernel then fills in,
 * on IPv4 (raw(7)): total length and checksum always; the id where it is 0; the source where it is 0.0.0.0. It does not
 * fragment what you made: longer than the interface's MTU is -EMSGSIZE from sending.
 */
CHIME_API ssize_t chime_ipv4_build(const struct chime_ipv4 *h, void *buf, size_t size);

/* One option. Zero it, then ask for the next; .next is where the one behind it begins. */
struct chime_ipv4_option {
	uint8_t type;     /* with the copied flag and class: IPOPT_RR is 7 */
	const void *data; /* behind type and length; NULL for the one-byte options */
	size_t len;
	size_t next;
};
/* 1: *o is the next option; 0: there are no more; CHIME_ELENGTH: a length leads out of the header. No-ops (type 1) are told. */
CHIME_API int chime_ipv4_option_next(const struct chime_ipv4 *h, struct chime_ipv4_option *o);
/*
 * Appends an option to the used bytes of buf, which becomes .options. data is ignored for type 0 and 1, which have none.
 * The new length; -ENOBUFS: over size or 40.
 */
CHIME_API ssize_t chime_ipv4_option_add(void *buf, size_t size, size_t used, uint8_t type, const void *data,
					size_t len);

/* ---- ICMP, RFC 792, and ICMPv6, RFC 4443 ---- */

#define CHIME_ICMP_HEADER 8

struct chime_icmp {
	uint8_t type, code;
	/* Echo: as named. Of other types the two halves of the header's second word: the MTU of "fragmentation needed" is .seq. */
	uint16_t id, seq;
	const void *payload; /* of an error: what could be quoted of the packet it is about */
	size_t payload_len;
	uint16_t checksum; /* parsed only; building computes it */
};

/* bytes: what follows the IPv4 header; all of it, for the checksum goes over all. */
CHIME_API int chime_icmp_parse(struct chime_icmp *out, const void *bytes, size_t len);
CHIME_API ssize_t chime_icmp_build(const struct chime_icmp *h, void *buf, size_t size);

/*
 * The checksum goes over the addresses too. from and to NULL: parsing does not look at it (a raw ICMPv6 socket's kernel
 * has), building leaves it 0 (that kernel puts it in, RFC 3542 3.1).
 */
CHIME_API int chime_icmp6_parse(struct chime_icmp *out, const void *bytes, size_t len, const struct in6_addr *from,
				const struct in6_addr *to);
CHIME_API ssize_t chime_icmp6_build(const struct chime_icmp *h, void *buf, size_t size, const struct in6_addr *from,
				    const struct in6_addr *to);

/* "echo request"; NULL where nobody knows. family: AF_INET or AF_INET6. */
CHIME_API const char *chime_icmp_name(int family, uint8_t type);

/* ---- IGMP, RFC 1112 (v1), 2236 (v2), 3376 (v3) ---- */

enum chime_igmp_type {
	CHIME_IGMP_QUERY = 0x11,
	CHIME_IGMP_V1_REPORT = 0x12,
	CHIME_IGMP_V2_REPORT = 0x16,
	CHIME_IGMP_LEAVE = 0x17,
	CHIME_IGMP_V3_REPORT = 0x22,
};

struct chime_igmp {
	uint8_t type;         /* enum chime_igmp_type; others are parsed as to type, group and checksum */
	uint8_t version;      /* 1, 2, 3; 0: an unknown type. Build: of a query, else not looked at */
	struct in_addr group; /* 0.0.0.0 in general queries; not in v3 reports */
	int64_t max_response_ns; /* v2 and v3 queries. Build: rounded up to what can be said; at most 25.5 s and 3174.4 s */
	/* v3 queries */
	bool suppress;       /* routers do not restart their timers */
	uint8_t robustness;  /* 0 to 7 */
	int64_t interval_ns; /* between queries; at most 31744 s */
	const void *sources; /* addresses, 4 bytes each: chime_igmp_source() */
	unsigned source_count;
	/* v3 reports, parsed only: chime_igmp_report_add() builds them */
	const void *records;
	size_t records_len;
	unsigned record_count;
	uint16_t checksum; /* parsed only; building computes it */
};

/*
 * bytes: what follows the IPv4 header. A v3 report is walked to its end here: CHIME_ESHORT if a record is cut, so that
 * chime_igmp_record_next() cannot fail later.
 */
CHIME_API int chime_igmp_parse(struct chime_igmp *out, const void *bytes, size_t len);
/* Queries of all versions, v1 and v2 reports, leaves; a v3 report without records. */
CHIME_API ssize_t chime_igmp_build(const struct chime_igmp *h, void *buf, size_t size);

enum chime_igmp_change {
	CHIME_IGMP_IS_INCLUDE = 1, /* what is so: only these sources; all but these */
	CHIME_IGMP_IS_EXCLUDE,
	CHIME_IGMP_TO_INCLUDE, /* what became so: with no sources, a leave; and a join */
	CHIME_IGMP_TO_EXCLUDE,
	CHIME_IGMP_ALLOW, /* more sources; fewer */
	CHIME_IGMP_BLOCK,
};

/* A group record of a v3 report. Zero it, then ask for the next. */
struct chime_igmp_record {
	uint8_t type; /* enum chime_igmp_change, or one nobody knows */
	struct in_addr group;
	const void *sources;
	unsigned source_count;
	const void *aux; /* nobody has use for it yet */
	size_t aux_len;
	size_t next;
};
CHIME_API bool chime_igmp_record_next(const struct chime_igmp *h, struct chime_igmp_record *r);
/* The n-th address of a list of sources. n is less than the count. */
CHIME_API struct in_addr chime_igmp_source(const void *sources, unsigned n);

/*
 * Appends a group record to the v3 report of len bytes in buf (len 0: begins one), and counts it and the checksum anew. The new
 * length. sources: count addresses in network order, may be NULL with 0.
 */
CHIME_API ssize_t chime_igmp_report_add(void *buf, size_t size, size_t len, uint8_t type, struct in_addr group,
					const struct in_addr *sources, unsigned count);

/* "v2 report", "query"; of a record "to exclude". NULL where nobody knows. */
CHIME_API const char *chime_igmp_name(uint8_t type);
CHIME_API const char *chime_igmp_change_name(uint8_t type);

/* ---- what a raw socket gives ---- */

/*
 * An AF_INET SOCK_RAW socket receives packets with their IP header; AF_INET6 ones, and ICMP's SOCK_DGRAM, without. Takes it off where
 * it is there: *payload and *payload_len are what follows it, and *ip (may be NULL) the header, .header_len 0 where there is
 * none. The header's checksum is not looked at: the kernel did that, and then may have written itself into options. 0;
 * chime_ipv4_parse()'s other codes.
 */
CHIME_API int chime_raw_payload(int family, int type, const void *bytes, size_t len, struct chime_ipv4 *ip,
				const void **payload, size_t *payload_len);

#ifdef __cplusplus
}
#endif

#endif
