/*
 * A load generator for stamp servers: connections that each keep so many messages outstanding, every byte checked.
 *
 *     load [-s] tcp:PORT|unix:PATH|seqpacket:PATH|dgram:PATH|udp:PORT CONNECTIONS SIZE DEPTH SECONDS [SERVER_PID [RATE]]
 *
 * With a rate the loop is open: so many messages a second by a plan that does not wait for answers, at most DEPTH outstanding on a
 * connection, and the time of an answer counts from when the plan said to send. With -s it looks for answers without ever sleeping.
 * What is sent is small letters, so a stamp can be told wherever it stands: "stamp chunk stamp chunk ...". A request counts as
 * answered when its last byte is back. Stamps must be true: between the request's second and now's
 * ("early" counts those of servers that read a coarse clock). With the server's pid its CPU
 * time in the same interval is printed too, and how long each side waited for a core that others had. One line of name=value; exit 1
 * if anything was wrong.
 */
#include "server_cpu.h"

#include <chime/stamp.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
	CHUNK = 1024,
	STAMP = 24,
	PERIOD = 4093,
	WINDOW = 262144, /* the most outstanding bytes of a connection */
	EVENTS = 512,
	FINE = 32, /* steps of the histogram in each doubling */
	OCTAVES = 40
};
#define SEC 1000000000LL
#define COARSE (SEC / 50) /* how far a clock that is only set by ticks, time(2), may be behind: told, not refused */

struct conn {
	int fd;
	uint64_t sent, back; /* messages */
	uint64_t due;        /* those that the plan said to send by now */
	uint64_t at, seen;   /* bytes of them put to the socket, and come back checked */
	uint32_t room;       /* bytes that the chunk being read may still have; 0: a stamp must come */
	bool fresh;          /* a stamp was read, and nothing of its chunk */
	bool blocked;
	uint8_t stamp_have;
	char stamp[STAMP];
	int64_t last_ns;
	int64_t *sent_ns; /* [depth] when each outstanding message went out */
};

static char pattern[PERIOD + WINDOW];
static char input[WINDOW + 65536];
static struct conn *conns;
static unsigned conn_count, depth;
static size_t size;
static double interval_ns; /* between messages of the plan; 0: a closed loop */
static uint64_t planned;   /* messages of the plan that are due */
static int64_t plan_ns;    /* when it began */
static bool messages, datagrams, over, sleepless;
static int ep;
static int64_t real_minus_mono, measured_from;
static uint64_t answers, errors, early, lost, histogram[FINE * OCTAVES];
static const char *first_error;

static int64_t clock_ns(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return t.tv_sec * SEC + t.tv_nsec;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void wrong(const char *what)
{
	if (errors++ == 0)
		first_error = what;
}

/* ---- figures ---- */

static unsigned bucket(uint64_t ns)
{
	if (ns < 2 * FINE)
		return (unsigned)ns;
	unsigned shift = (unsigned)(63 - __builtin_clzll(ns)) - 5;
	unsigned i = shift * FINE + (unsigned)(ns >> shift);
	return i < FINE * OCTAVES ? i : FINE * OCTAVES - 1;
}

static double percentile_us(double share)
{
	uint64_t sum = 0, total = 0;
	for (unsigned i = 0; i < FINE * OCTAVES; i++)
		total += histogram[i];
	for (unsigned i = 0; i < FINE * OCTAVES; i++)
		if ((sum += histogram[i]) > (uint64_t)((double)total * share)) {
			unsigned shift = i < 2 * FINE ? 0 : i / FINE - 1;
			return (double)((uint64_t)(i - shift * FINE) << shift) / 1e3;
		}
	return 0;
}

/* ---- checking ---- */

static void check_stamp(const char *text, int64_t sent_ns, int64_t now_ns)
{
	static char known[STAMP];
	static int64_t known_ns;
	if (memcmp(text, known, STAMP)) {
		bool utc;
		int64_t precision;
		if (chime_stamp_read(text, STAMP, CHIME_STAMP_CTIME, &known_ns, &utc, &precision) != STAMP) {
			wrong("not a stamp");
			return;
		}
		memcpy(known, text, STAMP);
	}
	if (known_ns + SEC + COARSE <= sent_ns + real_minus_mono || known_ns > now_ns + real_minus_mono)
		wrong("a stamp that is not of the time of its exchange");
	else if (known_ns + SEC <= sent_ns + real_minus_mono)
		early++;
}

static void answered(struct conn *c, int64_t now_ns)
{
	int64_t took = now_ns - c->sent_ns[c->back++ % depth];
	if (measured_from && now_ns >= measured_from && !over) {
		answers++;
		histogram[bucket((uint64_t)took)]++;
	}
}

static size_t same(const char *a, const char *b, size_t n)
{
	size_t i = 0;
	if (!memcmp(a, b, n))
		return n;
	while (a[i] == b[i])
		i++;
	return i;
}

static void check_stream(struct conn *c, const char *p, size_t n, int64_t now_ns)
{
	while (n) {
		if (c->stamp_have || c->room == 0 || (*p >= 'A' && *p <= 'Z' && !c->fresh)) {
			size_t k = STAMP - (size_t)c->stamp_have;
			if (k > n)
				k = n;
			memcpy(c->stamp + c->stamp_have, p, k);
			c->stamp_have += (uint8_t)k;
			p += k;
			n -= k;
			if (c->stamp_have < STAMP)
				return;
			if (c->back == c->sent) {
				wrong("more came back than was sent");
				return;
			}
			check_stamp(c->stamp, c->sent_ns[c->back % depth], now_ns);
			c->stamp_have = 0;
			c->room = CHUNK;
			c->fresh = true;
			continue;
		}
		size_t k = same(p, pattern + c->seen % PERIOD, n < c->room ? n : c->room);
		if (k == 0 || c->seen + k > c->at) {
			wrong("bytes that were not sent");
			return;
		}
		c->fresh = false;
		c->room -= (uint32_t)k;
		c->seen += k;
		p += k;
		n -= k;
		while (c->seen >= (c->back + 1) * size)
			answered(c, now_ns);
	}
}

static void check_message(struct conn *c, const char *p, size_t n, int64_t now_ns)
{
	if (n != STAMP + size || c->back == c->sent || memcmp(p + STAMP, pattern + c->back * size % PERIOD, size)) {
		wrong("not the message that was sent");
		return;
	}
	check_stamp(p, c->sent_ns[c->back % depth], now_ns);
	c->seen += size;
	answered(c, now_ns);
}

/* ---- the loop ---- */

static void watch(struct conn *c, bool room)
{
	struct epoll_event e = { .events = room ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c };
	c->blocked = room;
	if (epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e) < 0)
		die("epoll_ctl");
}

/* When the plan says to send its n-th message; the connections take turns. */
static int64_t plan_of(uint64_t n)
{
	return plan_ns + (int64_t)((double)n * interval_ns);
}

/* Sends what is allowed to be outstanding. */
static void top_up(struct conn *c, int64_t now_ns)
{
	for (; !over && c->sent < c->back + depth && (interval_ns == 0 || c->sent < c->due); c->sent++)
		c->sent_ns[c->sent % depth] =
			interval_ns == 0 ? now_ns : plan_of(c->sent * conn_count + (uint64_t)(c - conns));
	while (c->at < c->sent * size) {
		size_t len = messages ? size : c->sent * size - c->at;
		ssize_t n = send(c->fd, pattern + c->at % PERIOD, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0) {
			if (errno != EAGAIN)
				wrong("send failed");
			break;
		}
		c->at += (uint64_t)n;
	}
	if (c->blocked != (c->at < c->sent * size))
		watch(c, !c->blocked);
}

static void on_event(struct conn *c)
{
	ssize_t n = recv(c->fd, input, sizeof input, MSG_DONTWAIT);
	int64_t now = clock_ns(CLOCK_MONOTONIC);
	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		wrong(n == 0 ? "the server closed" : "receive failed");
		epoll_ctl(ep, EPOLL_CTL_DEL, c->fd, NULL);
		return;
	}
	if (n > 0) {
		c->last_ns = now;
		if (messages)
			check_message(c, input, (size_t)n, now);
		else
			check_stream(c, input, (size_t)n, now);
	}
	top_up(c, now);
}

/* A datagram may be lost: what is not back within half a second is counted and given up. */
static void give_up(int64_t now_ns)
{
	for (unsigned i = 0; i < conn_count; i++) {
		struct conn *c = &conns[i];
		if (c->sent == c->back || now_ns - c->last_ns < SEC / 2)
			continue;
		lost += c->sent - c->back;
		c->back = c->sent;
		c->seen = c->at;
		c->last_ns = now_ns;
		top_up(c, now_ns);
	}
}

static void follow_plan(void)
{
	int64_t now = clock_ns(CLOCK_MONOTONIC);
	for (; plan_of(planned) <= now; planned++) {
		struct conn *c = &conns[planned % conn_count];
		c->due++;
		if (!c->blocked)
			top_up(c, now);
	}
}

static int wait_for(struct epoll_event *events, int64_t now_ns)
{
	if (interval_ns == 0 || over || sleepless)
		return epoll_wait(ep, events, EVENTS, sleepless ? 0 : 50);
	int64_t left = plan_of(planned) - now_ns;
	struct timespec ts = { 0, left < 0 ? 0 : left < SEC / 20 ? left : SEC / 20 };
	return epoll_pwait2(ep, events, EVENTS, &ts, NULL);
}

static void run_until(int64_t end_ns)
{
	struct epoll_event events[EVENTS];
	int64_t looked = 0;
	for (;;) {
		int64_t now = clock_ns(CLOCK_MONOTONIC);
		if (now >= end_ns || errors > 1000)
			return;
		if (datagrams && now - looked > SEC / 4) {
			give_up(now);
			looked = now;
		}
		int n = wait_for(events, now);
		for (int i = 0; i < n; i++)
			on_event(events[i].data.ptr);
		if (interval_ns > 0 && !over)
			follow_plan();
	}
}

static bool outstanding(void)
{
	for (unsigned i = 0; i < conn_count; i++)
		if (conns[i].sent != conns[i].back)
			return true;
	return false;
}

static void connect_all(const char *target)
{
	const char *at = strchr(target, ':') + 1;
	bool ip = !strncmp(target, "tcp:", 4) || !strncmp(target, "udp:", 4);
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	datagrams = !strncmp(target, "udp:", 4) || !strncmp(target, "dgram:", 6);
	messages = datagrams || !strncmp(target, "seqpacket:", 10);
	if (ip)
		in.sin_port = htons((uint16_t)atoi(at));
	else
		strncpy(un.sun_path, at, sizeof un.sun_path - 1);
	int type = datagrams ? SOCK_DGRAM : messages ? SOCK_SEQPACKET : SOCK_STREAM;
	for (unsigned i = 0; i < conn_count; i++) {
		struct conn *c = &conns[i];
		int one = 1;
		c->fd = socket(ip ? AF_INET : AF_UNIX, type | SOCK_CLOEXEC, 0);
		/* A unix datagram socket is answered at an address of its own: any. */
		if (!ip && datagrams && bind(c->fd, (struct sockaddr *)&un, sizeof un.sun_family) < 0)
			die("bind");
		if (c->fd < 0 || connect(c->fd, ip ? (struct sockaddr *)&in : (struct sockaddr *)&un,
					 ip ? sizeof in : sizeof un) < 0)
			die(target);
		if (ip && !datagrams)
			setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };
		if (epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e) < 0)
			die("epoll_ctl");
		c->sent_ns = calloc(depth, sizeof *c->sent_ns);
	}
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "-s")) {
		sleepless = true;
		argv++;
		argc--;
	}
	if (argc < 6 || !strchr(argv[1], ':')) {
		fprintf(stderr, "usage: load [-s] TARGET CONNECTIONS SIZE DEPTH SECONDS [SERVER_PID [RATE]]\n");
		return 2;
	}
	conn_count = (unsigned)atoi(argv[2]);
	size = (size_t)atol(argv[3]);
	depth = (unsigned)atoi(argv[4]);
	int64_t length_ns = (int64_t)(atof(argv[5]) * 1e9);
	int pid = argc > 6 ? atoi(argv[6]) : 0;
	interval_ns = argc > 7 && atof(argv[7]) > 0 ? 1e9 / atof(argv[7]) : 0;
	if (!conn_count || !size || !depth || size * depth > WINDOW || length_ns <= 0) {
		fprintf(stderr, "load: a number is out of range\n");
		return 2;
	}
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	uint64_t random = 88172645463325252u;
	for (size_t i = 0; i < PERIOD; i++) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		pattern[i] = (char)('a' + random % 26);
	}
	for (size_t i = PERIOD; i < sizeof pattern; i++)
		pattern[i] = pattern[i - PERIOD];
	conns = calloc(conn_count, sizeof *conns);
	ep = epoll_create1(EPOLL_CLOEXEC);
	if (!conns || ep < 0)
		die("start");
	real_minus_mono = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC);
	connect_all(argv[1]);

	int64_t start = plan_ns = clock_ns(CLOCK_MONOTONIC);
	for (unsigned i = 0; i < conn_count; i++) {
		conns[i].last_ns = start;
		top_up(&conns[i], clock_ns(CLOCK_MONOTONIC));
	}
	run_until(start + length_ns / 5); /* caches, windows and buffers as they will be */

	uint64_t user[2], system[2];
	int64_t waited[2][2] = { { 0 } }; /* the server's, mine */
	if (pid)
		run_and_wait(pid, &waited[0][0]);
	run_and_wait(getpid(), &waited[0][1]);
	int64_t cpu = pid ? server_cpu(pid, &user[0], &system[0]) : 0;
	measured_from = clock_ns(CLOCK_MONOTONIC);
	run_until(measured_from + length_ns);
	int64_t end = clock_ns(CLOCK_MONOTONIC);
	cpu = pid ? server_cpu(pid, &user[1], &system[1]) - cpu : 0;
	if (pid)
		run_and_wait(pid, &waited[1][0]);
	run_and_wait(getpid(), &waited[1][1]);
	over = true;
	while (outstanding() && !errors && clock_ns(CLOCK_MONOTONIC) < end + 5 * SEC)
		run_until(clock_ns(CLOCK_MONOTONIC) + SEC / 100);
	if (outstanding() && !datagrams)
		wrong("answers that never came");

	double seconds = (double)(end - measured_from) / 1e9;
	printf("rate=%.0f answers=%llu seconds=%.3f p50_us=%.1f p99_us=%.1f errors=%llu early=%llu lost=%llu",
	       (double)answers / seconds, (unsigned long long)answers, seconds, percentile_us(0.5), percentile_us(0.99),
	       (unsigned long long)errors, (unsigned long long)early, (unsigned long long)lost);
	if (pid && answers)
		printf(" cpu_ns=%.0f user_ticks=%llu system_ticks=%llu", (double)cpu / (double)answers,
		       (unsigned long long)(user[1] - user[0]), (unsigned long long)(system[1] - system[0]));
	printf(" server_waited_ms=%.1f load_waited_ms=%.1f\n", (double)(waited[1][0] - waited[0][0]) / 1e6,
	       (double)(waited[1][1] - waited[0][1]) / 1e6);
	if (errors)
		fprintf(stderr, "load: %s\n", first_error);
	return errors != 0;
}
