/* Socket options by name: one table, and values as numbers and as text. */
#include <chime/opt.h>

#include "net/newer.h"
#include "net/text.h"

#include <errno.h>
#include <limits.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#define IP4 CHIME_OPT_IP4
#define IP6 CHIME_OPT_IP6
#define IP (IP4 | IP6)
#define ALL (IP | CHIME_OPT_UNIX)
#define STREAM CHIME_OPT_STREAM
#define DGRAM CHIME_OPT_DGRAM
#define ANY (STREAM | DGRAM)

#define GET true, false, false
#define SET true, true, false
#define ROOT true, true, true

#define ROW(level, name, type, min, max, where, access, help)                                                          \
	{                                                                                                              \
#name, level, name, CHIME_OPT_##type, min, max, where, access, help                                    \
	}

static const struct chime_opt table[] = {
	ROW(SOL_SOCKET, SO_ACCEPTCONN, BOOL, 0, 1, ALL | ANY, GET, "whether it listens"),
	ROW(SOL_SOCKET, SO_BINDTODEVICE, TEXT, 0, IFNAMSIZ - 1, IP | ANY, ROOT, "the one interface to use; empty: any"),
	ROW(SOL_SOCKET, SO_BINDTOIFINDEX, INT, 0, INT_MAX, IP | ANY, ROOT, "the same by number; 0: any"),
	ROW(SOL_SOCKET, SO_BROADCAST, BOOL, 0, 1, ALL | ANY, SET, "may send to broadcast addresses"),
	ROW(SOL_SOCKET, SO_BUSY_POLL, INT, 0, INT_MAX, IP | ANY, ROOT, "microseconds to poll the device for data"),
	ROW(SOL_SOCKET, SO_COOKIE, UINT64, 0, 0, ALL | ANY, GET, "the kernel's number of this socket"),
	ROW(SOL_SOCKET, SO_DEBUG, BOOL, 0, 1, ALL | ANY, ROOT, "protocol debugging"),
	ROW(SOL_SOCKET, SO_DOMAIN, INT, 0, 0, ALL | ANY, GET, "the family"),
	ROW(SOL_SOCKET, SO_DONTROUTE, BOOL, 0, 1, ALL | ANY, SET, "only directly connected hosts"),
	ROW(SOL_SOCKET, SO_ERROR, ERROR, 0, 0, ALL | ANY, GET, "the pending error, which reading takes away"),
	ROW(SOL_SOCKET, SO_INCOMING_CPU, INT, -1, INT_MAX, IP | ANY, SET,
	    "the processor that received last; set: prefer it"),
	ROW(SOL_SOCKET, SO_KEEPALIVE, BOOL, 0, 1, ALL | ANY, SET, "ask an idle peer whether it lives"),
	ROW(SOL_SOCKET, SO_LINGER, LINGER, CHIME_FOREVER, INT_MAX / 1000 * CHIME_SEC, ALL | ANY, SET,
	    "how long close waits for data to go"),
	ROW(SOL_SOCKET, SO_MARK, INT, INT_MIN, INT_MAX, ALL | ANY, ROOT,
	    "the mark of its packets for routing and filters"),
	ROW(SOL_SOCKET, SO_MAX_PACING_RATE, UINT64, 1, INT64_MAX, IP | ANY, SET,
	    "bytes a second at most; all ones: no limit"),
	ROW(SOL_SOCKET, SO_NO_CHECK, BOOL, 0, 1, IP | DGRAM, SET, "no UDP checksums"),
	ROW(SOL_SOCKET, SO_OOBINLINE, BOOL, 0, 1, ALL | ANY, SET, "urgent data stays in the stream"),
	ROW(SOL_SOCKET, SO_PASSCRED, BOOL, 0, 1, CHIME_OPT_UNIX | ANY, SET, "tell the sender's credentials"),
	ROW(SOL_SOCKET, SO_PASSSEC, BOOL, 0, 1, CHIME_OPT_UNIX | ANY, SET, "tell the sender's security label"),
	ROW(SOL_SOCKET, SO_PRIORITY, INT, 0, INT_MAX, ALL | ANY, ROOT,
	    "the queueing priority; over 6 takes a capability"),
	ROW(SOL_SOCKET, SO_PROTOCOL, INT, 0, 0, ALL | ANY, GET, "the protocol"),
	ROW(SOL_SOCKET, SO_RCVBUF, INT, 0, INT_MAX, ALL | ANY, SET,
	    "receive buffer in bytes; the kernel doubles what is set"),
	ROW(SOL_SOCKET, SO_RCVLOWAT, INT, 1, INT_MAX, IP | STREAM, SET, "bytes that make it readable"),
	ROW(SOL_SOCKET, SO_RCVTIMEO, DURATION, 0, INT_MAX *CHIME_SEC, ALL | ANY, SET,
	    "the kernel's own limit; chime_set_timeout() is ours"),
	ROW(SOL_SOCKET, SO_REUSEADDR, BOOL, 0, 1, ALL | ANY, SET, "bind in spite of connections that are ending"),
	ROW(SOL_SOCKET, SO_REUSEPORT, BOOL, 0, 1, IP | ANY, SET, "several sockets on one port"),
	ROW(SOL_SOCKET, SO_RXQ_OVFL, BOOL, 0, 1, ALL | DGRAM, SET, "tell the count of dropped messages"),
	ROW(SOL_SOCKET, SO_SELECT_ERR_QUEUE, BOOL, 0, 1, ALL | ANY, SET, "poll says POLLPRI for the error queue"),
	ROW(SOL_SOCKET, SO_SNDBUF, INT, 0, INT_MAX, ALL | ANY, SET,
	    "send buffer in bytes; the kernel doubles what is set"),
	ROW(SOL_SOCKET, SO_SNDTIMEO, DURATION, 0, INT_MAX *CHIME_SEC, ALL | ANY, SET,
	    "the kernel's own limit; chime_set_timeout() is ours"),
	ROW(SOL_SOCKET, SO_TIMESTAMP, BOOL, 0, 1, ALL | ANY, SET, "tell when data came, in microseconds"),
	ROW(SOL_SOCKET, SO_TIMESTAMPNS, BOOL, 0, 1, ALL | ANY, SET, "tell when data came, in nanoseconds"),
	ROW(SOL_SOCKET, SO_TYPE, INT, 0, 0, ALL | ANY, GET, "the type"),
	ROW(SOL_SOCKET, SO_ZEROCOPY, BOOL, 0, 1, IP | ANY, SET, "MSG_ZEROCOPY may be used"),
	ROW(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, BOOL, 0, 1, IP4 | ANY, SET, "bind leaves the port to connect"),
	ROW(IPPROTO_IP, IP_FREEBIND, BOOL, 0, 1, IP4 | ANY, SET, "bind to an address that is not here (yet)"),
	ROW(IPPROTO_IP, IP_MTU_DISCOVER, INT, 0, 5, IP4 | ANY, SET, "path MTU discovery: IP_PMTUDISC_"),
	ROW(IPPROTO_IP, IP_MULTICAST_ALL, BOOL, 0, 1, IP4 | ANY, SET, "all groups joined on this machine"),
	ROW(IPPROTO_IP, IP_MULTICAST_LOOP, BOOL, 0, 1, IP4 | DGRAM, SET, "hear one's own multicasts"),
	ROW(IPPROTO_IP, IP_MULTICAST_TTL, INT, -1, 255, IP4 | DGRAM, SET,
	    "time to live of multicasts; -1: the default"),
	ROW(IPPROTO_IP, IP_PKTINFO, BOOL, 0, 1, IP4 | ANY, SET, "tell destination and interface"),
	ROW(IPPROTO_IP, IP_RECVERR, BOOL, 0, 1, IP4 | ANY, SET, "queue errors of the network"),
	ROW(IPPROTO_IP, IP_RECVOPTS, BOOL, 0, 1, IP4 | ANY, SET, "tell the options of the IP header"),
	ROW(IPPROTO_IP, IP_RECVORIGDSTADDR, BOOL, 0, 1, IP4 | ANY, SET, "tell the destination before any redirection"),
	ROW(IPPROTO_IP, IP_RECVTOS, BOOL, 0, 1, IP4 | ANY, SET, "tell the type of service"),
	ROW(IPPROTO_IP, IP_RECVTTL, BOOL, 0, 1, IP4 | ANY, SET, "tell the time to live"),
	ROW(IPPROTO_IP, IP_TOS, INT, 0, 255, IP4 | ANY, SET, "type of service: DSCP and ECN"),
	ROW(IPPROTO_IP, IP_TRANSPARENT, BOOL, 0, 1, IP4 | ANY, ROOT, "use addresses that are not ours"),
	ROW(IPPROTO_IP, IP_TTL, INT, -1, 255, IP4 | ANY, SET, "time to live; -1: the default"),
	ROW(IPPROTO_IPV6, IPV6_DONTFRAG, BOOL, 0, 1, IP6 | ANY, SET, "never fragment"),
	ROW(IPPROTO_IPV6, IPV6_MTU_DISCOVER, INT, 0, 5, IP6 | ANY, SET, "path MTU discovery: IPV6_PMTUDISC_"),
	ROW(IPPROTO_IPV6, IPV6_MULTICAST_HOPS, INT, -1, 255, IP6 | DGRAM, SET,
	    "hop limit of multicasts; -1: the default"),
	ROW(IPPROTO_IPV6, IPV6_MULTICAST_LOOP, BOOL, 0, 1, IP6 | ANY, SET, "hear one's own multicasts"),
	ROW(IPPROTO_IPV6, IPV6_RECVDSTOPTS, BOOL, 0, 1, IP6 | ANY, SET, "tell the destination options"),
	ROW(IPPROTO_IPV6, IPV6_RECVERR, BOOL, 0, 1, IP6 | ANY, SET, "queue errors of the network"),
	ROW(IPPROTO_IPV6, IPV6_RECVHOPLIMIT, BOOL, 0, 1, IP6 | ANY, SET, "tell the hop limit"),
	ROW(IPPROTO_IPV6, IPV6_RECVHOPOPTS, BOOL, 0, 1, IP6 | ANY, SET, "tell the hop-by-hop options"),
	ROW(IPPROTO_IPV6, IPV6_RECVPATHMTU, BOOL, 0, 1, IP6 | ANY, SET, "tell changes of the path MTU"),
	ROW(IPPROTO_IPV6, IPV6_RECVPKTINFO, BOOL, 0, 1, IP6 | ANY, SET, "tell destination and interface"),
	ROW(IPPROTO_IPV6, IPV6_RECVRTHDR, BOOL, 0, 1, IP6 | ANY, SET, "tell the routing header"),
	ROW(IPPROTO_IPV6, IPV6_RECVTCLASS, BOOL, 0, 1, IP6 | ANY, SET, "tell the traffic class"),
	ROW(IPPROTO_IPV6, IPV6_TCLASS, INT, -1, 255, IP6 | ANY, SET, "traffic class; -1: the default"),
	ROW(IPPROTO_IPV6, IPV6_UNICAST_HOPS, INT, -1, 255, IP6 | ANY, SET, "hop limit; -1: the default"),
	ROW(IPPROTO_IPV6, IPV6_V6ONLY, BOOL, 0, 1, IP6 | ANY, SET, "no IPv4 through this socket"),
	ROW(IPPROTO_TCP, TCP_CONGESTION, TEXT, 1, 15, IP | STREAM, SET, "the congestion control's name"),
	ROW(IPPROTO_TCP, TCP_CORK, BOOL, 0, 1, IP | STREAM, SET, "send full segments only"),
	ROW(IPPROTO_TCP, TCP_DEFER_ACCEPT, SECONDS, 0, INT_MAX *CHIME_SEC, IP | STREAM, SET,
	    "accept once data came, or this late"),
	ROW(IPPROTO_TCP, TCP_FASTOPEN, INT, 0, INT_MAX, IP | STREAM, SET,
	    "connections with data in their SYN that may wait"),
	ROW(IPPROTO_TCP, TCP_FASTOPEN_CONNECT, BOOL, 0, 1, IP | STREAM, SET, "connect sends with the first data"),
	ROW(IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, BOOL, 0, 1, IP | STREAM, SET, "fast open without a cookie"),
	ROW(IPPROTO_TCP, TCP_INQ, BOOL, 0, 1, IP | STREAM, SET, "tell how much is left to read"),
	ROW(IPPROTO_TCP, TCP_KEEPCNT, INT, 1, 127, IP | STREAM, SET, "unanswered probes that end a connection"),
	ROW(IPPROTO_TCP, TCP_KEEPIDLE, SECONDS, CHIME_SEC, 32767 * CHIME_SEC, IP | STREAM, SET,
	    "idle time before the first probe"),
	ROW(IPPROTO_TCP, TCP_KEEPINTVL, SECONDS, CHIME_SEC, 32767 * CHIME_SEC, IP | STREAM, SET, "time between probes"),
	ROW(IPPROTO_TCP, TCP_LINGER2, SECONDS, -CHIME_SEC, 120 * CHIME_SEC, IP | STREAM, SET,
	    "how long FIN-WAIT-2 lasts"),
	ROW(IPPROTO_TCP, TCP_MAXSEG, INT, 0, 32767, IP | STREAM, SET, "the largest segment; 0: the system's"),
	ROW(IPPROTO_TCP, TCP_NODELAY, BOOL, 0, 1, IP | STREAM, SET, "small segments go at once"),
	ROW(IPPROTO_TCP, TCP_NOTSENT_LOWAT, INT, INT_MIN, INT_MAX, IP | STREAM, SET,
	    "unsent bytes below which it is writable"),
	ROW(IPPROTO_TCP, TCP_QUICKACK, BOOL, 0, 1, IP | STREAM, SET, "acknowledge at once"),
	ROW(IPPROTO_TCP, TCP_SAVE_SYN, INT, 0, 2, IP | STREAM, SET, "keep the SYN's headers, 2: the link's too"),
	ROW(IPPROTO_TCP, TCP_SYNCNT, INT, 1, 127, IP | STREAM, SET, "SYNs before connect gives up"),
	ROW(IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, BOOL, 0, 1, IP | STREAM, SET,
	    "no doubling of timeouts for thin streams"),
	ROW(IPPROTO_TCP, TCP_TX_DELAY, INT, 0, INT_MAX, IP | STREAM, SET,
	    "microseconds that each packet waits, for tests"),
	ROW(IPPROTO_TCP, TCP_USER_TIMEOUT, MSEC, 0, INT_MAX *CHIME_MSEC, IP | STREAM, SET,
	    "how long data may stay unacknowledged; 0: the system's"),
	ROW(IPPROTO_TCP, TCP_WINDOW_CLAMP, INT, 0, INT_MAX, IP | STREAM, SET, "the most window to announce"),
	ROW(SOL_UDP, UDP_CORK, BOOL, 0, 1, IP | DGRAM, SET, "gather one datagram"),
	ROW(SOL_UDP, UDP_GRO, BOOL, 0, 1, IP | DGRAM, SET, "receive joined datagrams"),
	ROW(SOL_UDP, UDP_SEGMENT, INT, 0, 65535, IP | DGRAM, SET,
	    "cut what is sent into datagrams of this size; 0: not"),
	{ 0 },
};

const struct chime_opt *chime_opt_table(void)
{
	return table;
}

const struct chime_opt *chime_opt_find(const char *name)
{
	for (const struct chime_opt *o = table; o->name; o++)
		if (!strcmp(o->name, name))
			return o;
	return NULL;
}

const struct chime_opt *chime_opt_find_number(int level, int option)
{
	for (const struct chime_opt *o = table; o->name; o++)
		if (o->level == level && o->option == option)
			return o;
	return NULL;
}

const char *chime_opt_level_name(int level)
{
	switch (level) {
	case SOL_SOCKET:
		return "SOL_SOCKET";
	case IPPROTO_IP:
		return "IPPROTO_IP";
	case IPPROTO_IPV6:
		return "IPPROTO_IPV6";
	case IPPROTO_TCP:
		return "IPPROTO_TCP";
	case SOL_UDP:
		return "IPPROTO_UDP";
	default:
		return NULL;
	}
}

/* ---- as numbers ---- */

#define ALL_ONES (-1) /* 64 bits: no limit */

static int64_t unit_of(const struct chime_opt *o)
{
	return o->type == CHIME_OPT_MSEC ? CHIME_MSEC : o->type == CHIME_OPT_SECONDS ? CHIME_SEC : 1;
}

int chime_opt_get(chime_sock *s, const struct chime_opt *o, int64_t *value)
{
	struct linger linger = { 0, 0 };
	struct timeval tv = { 0, 0 };
	int64_t wide = 0;
	int number = 0, err;
	socklen_t len;
	if (!o->get || o->type == CHIME_OPT_TEXT)
		return -EOPNOTSUPP;
	switch (o->type) {
	case CHIME_OPT_UINT64:
		len = sizeof wide;
		err = chime_getsockopt(s, o->level, o->option, &wide, &len);
		break;
	case CHIME_OPT_DURATION:
		len = sizeof tv;
		err = chime_getsockopt(s, o->level, o->option, &tv, &len);
		wide = (int64_t)tv.tv_sec * CHIME_SEC + (int64_t)tv.tv_usec * CHIME_USEC;
		break;
	case CHIME_OPT_LINGER:
		len = sizeof linger;
		err = chime_getsockopt(s, o->level, o->option, &linger, &len);
		wide = linger.l_onoff ? linger.l_linger * CHIME_SEC : CHIME_FOREVER;
		break;
	default:
		err = chime_getsockopt_int(s, o->level, o->option, &number);
		/* TCP answers some flags with their bit in a set. */
		wide = o->type == CHIME_OPT_BOOL ? number != 0 : number * unit_of(o);
		break;
	}
	if (err == 0)
		*value = wide;
	return err;
}

static int set_int(chime_sock *s, const struct chime_opt *o, int64_t value)
{
	int64_t unit = unit_of(o), n = value / unit + (value % unit > 0);
	if (n < INT_MIN || n > INT_MAX)
		return -ERANGE;
	return chime_setsockopt_int(s, o->level, o->option, (int)n);
}

int chime_opt_set(chime_sock *s, const struct chime_opt *o, int64_t value)
{
	if (!o->set || o->type == CHIME_OPT_TEXT)
		return -EOPNOTSUPP;
	if ((value < o->min || value > o->max) && !(o->type == CHIME_OPT_UINT64 && value == ALL_ONES))
		return -ERANGE;
	if (o->type == CHIME_OPT_UINT64)
		return chime_setsockopt(s, o->level, o->option, &value, sizeof value);
	if (o->type == CHIME_OPT_DURATION) {
		int64_t usec = value / CHIME_USEC + (value % CHIME_USEC > 0);
		struct timeval tv = { .tv_sec = usec / 1000000, .tv_usec = usec % 1000000 };
		return chime_setsockopt(s, o->level, o->option, &tv, sizeof tv);
	}
	if (o->type == CHIME_OPT_LINGER) {
		struct linger l = { value >= 0, value >= 0 ? (int)((value + CHIME_SEC - 1) / CHIME_SEC) : 0 };
		return chime_setsockopt(s, o->level, o->option, &l, sizeof l);
	}
	return set_int(s, o, value);
}

/* ---- as text ---- */

static ssize_t get_letters(chime_sock *s, const struct chime_opt *o, char *buf, size_t size)
{
	char room[256] = "";
	socklen_t len = sizeof room - 1;
	int err = chime_getsockopt(s, o->level, o->option, room, &len);
	if (err < 0)
		return err;
	room[len < sizeof room ? len : sizeof room - 1] = 0;
	return snprintf(buf, size, "%s", room);
}

ssize_t chime_opt_get_text(chime_sock *s, const struct chime_opt *o, char *buf, size_t size)
{
	int64_t value = 0;
	if (!o->get)
		return -EOPNOTSUPP;
	if (o->type == CHIME_OPT_TEXT)
		return get_letters(s, o, buf, size);
	int err = chime_opt_get(s, o, &value);
	if (err < 0)
		return err;
	switch (o->type) {
	case CHIME_OPT_BOOL:
		return snprintf(buf, size, "%s", value ? "yes" : "no");
	case CHIME_OPT_ERROR:
		return snprintf(buf, size, "%s", chime_errname(-(int)value));
	case CHIME_OPT_UINT64:
		return snprintf(buf, size, "%llu", (unsigned long long)value);
	case CHIME_OPT_LINGER:
		if (value < 0)
			return snprintf(buf, size, "off");
		return (ssize_t)chime_duration_print(value, buf, size);
	case CHIME_OPT_DURATION:
	case CHIME_OPT_MSEC:
	case CHIME_OPT_SECONDS:
		if (value < 0)
			return snprintf(buf, size, "%lld", (long long)(value / unit_of(o)));
		return (ssize_t)chime_duration_print(value, buf, size);
	default:
		return snprintf(buf, size, "%lld", (long long)value);
	}
}

static int read_bool(const char *text, int64_t *out)
{
	static const char *const words[] = { "no", "yes", "off", "on", "false", "true", "0", "1" };
	for (int i = 0; i < 8; i++) {
		if (!strcmp(words[i], text)) {
			*out = i & 1;
			return 0;
		}
	}
	return CHIME_ESYNTAX;
}

static int read_number(const char *text, uint64_t max, int64_t *out)
{
	bool minus = *text == '-';
	uint64_t n;
	int err = chime__number(text + minus, strlen(text + minus), minus ? INT64_MAX : max, &n);
	if (err == 0)
		*out = minus ? -(int64_t)n : (int64_t)n;
	return err;
}

static int read_time(const struct chime_opt *o, const char *text, int64_t *out)
{
	if (o->type == CHIME_OPT_LINGER && !strcmp(text, "off")) {
		*out = CHIME_FOREVER;
		return 0;
	}
	if (*text == '-' && o->type != CHIME_OPT_LINGER) { /* seconds that stand for something, as with TCP_LINGER2 */
		int err = read_number(text, INT64_MAX, out);
		if (err == 0 && __builtin_mul_overflow(*out, unit_of(o), out))
			err = -ERANGE;
		return err;
	}
	int err = chime_duration_parse(text, out);
	return err == 0 && *out == CHIME_FOREVER ? CHIME_ESYNTAX : err;
}

int chime_opt_set_text(chime_sock *s, const struct chime_opt *o, const char *text)
{
	int64_t value = 0;
	int err;
	if (!o->set)
		return -EOPNOTSUPP;
	switch (o->type) {
	case CHIME_OPT_TEXT:
		if ((int64_t)strlen(text) > o->max || (int64_t)strlen(text) < o->min)
			return -ERANGE;
		return chime_setsockopt(s, o->level, o->option, text, (socklen_t)strlen(text));
	case CHIME_OPT_BOOL:
		err = read_bool(text, &value);
		break;
	case CHIME_OPT_DURATION:
	case CHIME_OPT_LINGER:
	case CHIME_OPT_MSEC:
	case CHIME_OPT_SECONDS:
		err = read_time(o, text, &value);
		break;
	default:
		err = read_number(text, o->type == CHIME_OPT_UINT64 ? UINT64_MAX : INT64_MAX, &value);
		break;
	}
	return err < 0 ? err : chime_opt_set(s, o, value);
}
