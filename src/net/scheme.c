/* What each scheme is, which options are for it, and which one a misspelt name means. */
#include "net/scheme.h"

#include <chime/clock.h>

#include <linux/tipc.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define LATER(what) "this release does not open it yet: " what

static const struct chime_scheme_info infos[CHIME_SCHEMES] = {
	[CHIME_TCP] = { "tcp", AF_UNSPEC, SOCK_STREAM, IPPROTO_TCP, true, false, true, true, NULL },
	[CHIME_UDP] = { "udp", AF_UNSPEC, SOCK_DGRAM, IPPROTO_UDP, true, true, false, true, NULL },
	[CHIME_UDPLITE] = { "udplite", AF_UNSPEC, SOCK_DGRAM, IPPROTO_UDPLITE, true, true, false, true, NULL },
	[CHIME_MPTCP] = { "mptcp", AF_UNSPEC, SOCK_STREAM, IPPROTO_MPTCP, true, false, true, true, NULL },
	[CHIME_SCTP] = { "sctp", AF_UNSPEC, SOCK_STREAM, IPPROTO_SCTP, true, false, true, true, NULL },
	[CHIME_SCTP_SEQPACKET] = { "sctp+seqpacket", AF_UNSPEC, SOCK_SEQPACKET, IPPROTO_SCTP, true, true, false, true,
				   NULL },
	[CHIME_TLS] = { "tls", AF_UNSPEC, SOCK_STREAM, IPPROTO_TCP, true, false, true, false,
			LATER("TLS comes with a later one; tcp:// is the same without it") },
	[CHIME_UNIX] = { "unix", AF_UNIX, SOCK_STREAM, 0, false, false, true, true, NULL },
	[CHIME_UNIX_DGRAM] = { "unix+dgram", AF_UNIX, SOCK_DGRAM, 0, false, true, false, true, NULL },
	[CHIME_UNIX_SEQPACKET] = { "unix+seqpacket", AF_UNIX, SOCK_SEQPACKET, 0, false, true, true, true, NULL },
	[CHIME_VSOCK] = { "vsock", AF_VSOCK, SOCK_STREAM, 0, false, false, true, true, NULL },
	[CHIME_VSOCK_SEQPACKET] = { "vsock+seqpacket", AF_VSOCK, SOCK_SEQPACKET, 0, false, true, true, true, NULL },
	[CHIME_TIPC] = { "tipc", AF_TIPC, SOCK_STREAM, 0, false, false, true, true, NULL },
	[CHIME_TIPC_RDM] = { "tipc+rdm", AF_TIPC, SOCK_RDM, 0, false, true, false, true, NULL },
	[CHIME_TIPC_SEQPACKET] = { "tipc+seqpacket", AF_TIPC, SOCK_SEQPACKET, 0, false, true, true, true, NULL },
	[CHIME_TIPC_DGRAM] = { "tipc+dgram", AF_TIPC, SOCK_DGRAM, 0, false, true, false, true, NULL },
	[CHIME_RDS] = { "rds", AF_RDS, SOCK_SEQPACKET, 0, true, true, false, true, NULL },
	[CHIME_RDM] = { "rdm", AF_UNSPEC, SOCK_RDM, IPPROTO_SCTP, true, true, false, true, NULL },
	[CHIME_ICMP] = { "icmp", AF_UNSPEC, SOCK_RAW, IPPROTO_ICMP, true, true, false, true, NULL },
	[CHIME_IP] = { "ip", AF_UNSPEC, SOCK_RAW, 0, true, true, false, true, NULL },
	[CHIME_STAMP] = { "stamp", AF_UNSPEC, SOCK_DGRAM, IPPROTO_UDP, true, true, false, false,
			  LATER("RFC 8762 test packets come with a later one; udp:// carries the stamp service") },
	[CHIME_FD] = { "fd", AF_UNSPEC, 0, 0, false, false, false, false,
		       LATER("passed-in descriptors come with a later one") },
};

const struct chime_scheme_info *chime_scheme_info(enum chime_scheme scheme)
{
	return (unsigned)scheme < CHIME_SCHEMES ? &infos[scheme] : NULL;
}

bool chime__scheme_find(const char *name, size_t len, enum chime_scheme *scheme, int *family)
{
	for (int pinned = 0; pinned < 2; pinned++) {
		*family = AF_UNSPEC;
		if (pinned) {
			if (len == 0 || (name[len - 1] != '4' && name[len - 1] != '6'))
				return false;
			*family = name[--len] == '4' ? AF_INET : AF_INET6;
		}
		for (int i = 0; i < CHIME_SCHEMES; i++) {
			const struct chime_scheme_info *info = &infos[i];
			if (strlen(info->name) == len && !memcmp(info->name, name, len) && (info->ip || !pinned)) {
				*scheme = (enum chime_scheme)i;
				return true;
			}
		}
	}
	return false;
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* How many letters must be put in, taken out, changed or swapped to make one of the other, case aside. */
static unsigned distance(const char *a, size_t a_len, const char *b)
{
	unsigned rows[3][32]; /* of the table, the last three */
	size_t b_len = strlen(b);
	for (unsigned j = 0; j <= b_len; j++)
		rows[0][j] = j;
	for (unsigned i = 1; i <= a_len; i++) {
		unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			char c = lower(a[i - 1]);
			row[j] = above[j - 1] + (c != b[j - 1]);
			if (above[j] + 1 < row[j])
				row[j] = above[j] + 1;
			if (row[j - 1] + 1 < row[j])
				row[j] = row[j - 1] + 1;
			if (i > 1 && j > 1 && c == b[j - 2] && lower(a[i - 2]) == b[j - 1] &&
			    before[j - 2] + 1 < row[j])
				row[j] = before[j - 2] + 1;
		}
	}
	return rows[a_len % 3][b_len];
}

const char *chime__scheme_guess(const char *name, size_t len)
{
	static const char *const others[][2] = {
		{ "http", "tcp" },
		{ "https", "tls" },
		{ "ssl", "tls" },
		{ "tcps", "tls" },
		{ "unix-dgram", "unix+dgram" },
		{ "unixgram", "unix+dgram" },
		{ "unix+stream", "unix" },
		{ "local", "unix" },
		{ "ping", "icmp" },
	};
	const char *best = NULL;
	unsigned least = len < 4 ? 2 : 3; /* fewer than this many changes are a slip */

	if (len > 20)
		return NULL;
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
		if (distance(name, len, others[i][0]) == 0)
			return others[i][1];
	for (int i = 0; i < CHIME_SCHEMES; i++) {
		unsigned d = distance(name, len, infos[i].name);
		if (d < least && d < strlen(infos[i].name)) {
			least = d;
			best = infos[i].name;
		}
	}
	return best;
}

#define FOR(scheme) (1u << CHIME_##scheme)
#define FOR_UNIX (FOR(UNIX) | FOR(UNIX_DGRAM) | FOR(UNIX_SEQPACKET))
#define FOR_CONNECTED                                                                                                  \
	(FOR(TCP) | FOR(MPTCP) | FOR(SCTP) | FOR(SCTP_SEQPACKET) | FOR(TLS) | FOR(UNIX) | FOR(UNIX_SEQPACKET) |        \
	 FOR(VSOCK) | FOR(VSOCK_SEQPACKET) | FOR(TIPC) | FOR(TIPC_SEQPACKET))
#define FOR_PORTS                                                                                                      \
	(FOR(TCP) | FOR(UDP) | FOR(UDPLITE) | FOR(MPTCP) | FOR(SCTP) | FOR(SCTP_SEQPACKET) | FOR(TLS) | FOR(STAMP))
#define FOR_PACKETS (FOR(UDP) | FOR(UDPLITE) | FOR(ICMP) | FOR(IP))
#define FOR_GROUPS (FOR(UDP) | FOR(UDPLITE))
#define FOR_ENCAPSULATED (FOR(RDM) | FOR(SCTP_SEQPACKET))
#define FOR_OPENED ~FOR(FD)

#define SETTING(field) offsetof(struct chime_endpoint_settings, field)
#define WORDS_UNIX "unix schemes"
#define WORDS_CONNECTED "schemes with connections"
#define WORDS_PORTS "tcp, udp, udplite, mptcp, sctp, sctp+seqpacket, tls and stamp"
#define WORDS_UDPLITE "udplite"
#define WORDS_PACKETS "udp, udplite, icmp and ip"
#define WORDS_GROUPS "udp and udplite"
#define WORDS_ENCAPSULATED "rdm and sctp+seqpacket"
#define WORDS_OPENED "all schemes but fd"

static const char *const no_yes[] = { "no", "yes", NULL };

static const char *const carriers[] = { "auto", "kernel", "user", NULL };

static const struct chime_option options[] = {
	{ "mode", CHIME_OPTION_OCTAL, SETTING(mode), 0, 0777, NULL, false, "OCTAL",
	  "permission bits of the socket file, for " WORDS_UNIX " (default: as umask leaves them)" },
	{ "backlog", CHIME_OPTION_INT, SETTING(backlog), 0, INT32_MAX, NULL, false, "N",
	  "connections that may wait to be accepted, for " WORDS_CONNECTED " (default: the command's)" },
	{ "rcvbuf", CHIME_OPTION_INT, SETTING(rcvbuf), 0, INT32_MAX / 2, NULL, true, "BYTES",
	  "receive buffer asked of the system, for " WORDS_OPENED " (default: the system's)" },
	{ "sndbuf", CHIME_OPTION_INT, SETTING(sndbuf), 0, INT32_MAX / 2, NULL, true, "BYTES",
	  "send buffer asked of the system, for " WORDS_OPENED " (default: the system's)" },
	{ "reuseport", CHIME_OPTION_BOOL, SETTING(reuseport), 0, 0, NULL, false, "yes|no",
	  "share the port with other processes, for " WORDS_PORTS " (default: no)" },
	{ "coverage", CHIME_OPTION_INT, SETTING(coverage), 0, 65535, NULL, false, "N",
	  "bytes of each message sent that its checksum covers, header included, 0 all, for " WORDS_UDPLITE
	  " (default: 0)" },
	{ "min-coverage", CHIME_OPTION_INT, SETTING(min_coverage), 0, 65535, NULL, false, "N",
	  "bytes that the checksum of what is received must cover, 0 all, for " WORDS_UDPLITE " (default: any)" },
	{ "udp", CHIME_OPTION_INT, SETTING(udp_port), 0, 65535, NULL, false, "PORT",
	  "UDP port that carries SCTP, for " WORDS_ENCAPSULATED " (default: 9899; the kernel's SCTP: none)" },
	{ "carrier", CHIME_OPTION_CHOICE, SETTING(carrier), 0, 0, carriers, false, "auto|kernel|user",
	  "the kernel's SCTP or libusrsctp, for " WORDS_ENCAPSULATED " (default auto: the kernel's where it has one)" },
	{ "rto", CHIME_OPTION_DURATION, SETTING(rto_ns), CHIME_MSEC, CHIME_MIN, NULL, false, "DURATION",
	  "least wait before sending again, for " WORDS_ENCAPSULATED " (default: 20ms)" },
	{ "if", CHIME_OPTION_TEXT, SETTING(interface), 0, 15, NULL, false, "NAME",
	  "the interface for groups, or else the only one, for " WORDS_PACKETS " (default: as the routes say)" },
	{ "ttl", CHIME_OPTION_INT, SETTING(ttl), 1, 255, NULL, false, "N",
	  "TTL or hop limit of what is sent, for " WORDS_PACKETS " (default: the system's; 1 to groups)" },
	{ "loop", CHIME_OPTION_CHOICE, SETTING(loop), 0, 0, no_yes, false, "yes|no",
	  "members of the group on this machine get what is sent, for " WORDS_GROUPS " (default: yes)" },
	{ "source", CHIME_OPTION_TEXT, SETTING(source), 0, 63, NULL, false, "ADDR",
	  "the one sender to the group that is heard, for " WORDS_GROUPS " (default: any)" },
	{ "broadcast", CHIME_OPTION_BOOL, SETTING(broadcast), 0, 0, NULL, false, "yes|no",
	  "send to IPv4 broadcast addresses, and answer what came to one, for " WORDS_GROUPS " (default: no)" },
	{ .name = NULL },
};

/* Beside each row of options: the schemes that it is for, as bits and in words. */
static const struct {
	uint32_t schemes;
	const char *words;
} takers[] = {
	{ FOR_UNIX, WORDS_UNIX },
	{ FOR_CONNECTED, WORDS_CONNECTED },
	{ FOR_OPENED, WORDS_OPENED },
	{ FOR_OPENED, WORDS_OPENED },
	{ FOR_PORTS, WORDS_PORTS },
	{ FOR(UDPLITE), WORDS_UDPLITE },
	{ FOR(UDPLITE), WORDS_UDPLITE },
	{ FOR_ENCAPSULATED, WORDS_ENCAPSULATED },
	{ FOR_ENCAPSULATED, WORDS_ENCAPSULATED },
	{ FOR_ENCAPSULATED, WORDS_ENCAPSULATED },
	{ FOR_PACKETS, WORDS_PACKETS },
	{ FOR_PACKETS, WORDS_PACKETS },
	{ FOR_GROUPS, WORDS_GROUPS },
	{ FOR_GROUPS, WORDS_GROUPS },
	{ FOR_GROUPS, WORDS_GROUPS },
};

_Static_assert(sizeof options / sizeof options[0] == sizeof takers / sizeof takers[0] + 1, "a taker for each option");
_Static_assert(CHIME_SCHEMES <= 32, "a bit for each scheme");

const struct chime_option *chime_endpoint_options(void)
{
	return options;
}

bool chime__scheme_takes(enum chime_scheme scheme, const struct chime_option *option, const char **whose)
{
	*whose = takers[option - options].words;
	return takers[option - options].schemes >> scheme & 1;
}
