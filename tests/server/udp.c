/* Datagram endpoints of a whole server: real sockets, real threads, the epoll backend. */
#include "server/live.h"

#include <chime/stamp.h>

#include <arpa/inet.h>
#include <errno.h>
#include <linux/ip.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/un.h>
#include <unistd.h>

#define STAMP 24
#define LIMIT_MS 50000

/* With a grace so long that no end may need it. */
static chime_server *serve(const char *endpoint, unsigned workers)
{
	struct chime_server_config config = live_config(workers);
	config.grace_ns = CHIME_HOUR;
	chime_server *s = live_new(&config, endpoint, NULL);
	live_start(s);
	return s;
}

static int port_of(const chime_server *s, unsigned n)
{
	return chime_server_endpoint(s, n)->port;
}

/* A client's socket, bound to that address, connected to the port at to (NULL: not connected). */
static int client(const char *from, const char *to, int port)
{
	chime_addr a;
	CHECK_EQ(chime_addr_ip(&a, AF_UNSPEC, from, 0), 0);
	int fd = socket(a.u.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0);
	CHECK_EQ(bind(fd, &a.u.sa, a.len), 0);
	if (to) {
		CHECK_EQ(chime_addr_ip(&a, AF_UNSPEC, to, port), 0);
		CHECK_EQ(connect(fd, &a.u.sa, a.len), 0);
	}
	return fd;
}

static bool readable(int fd, int ms)
{
	struct pollfd p = { fd, POLLIN, 0 };
	return poll(&p, 1, ms) == 1;
}

/* Sends it and takes the answer, which must be a stamp and the same bytes. */
static void ask(int fd, const void *bytes, size_t len)
{
	static unsigned char answer[CHIME_MESSAGE_MAX + 100];
	CHECK_EQ(send(fd, bytes, len, 0), (ssize_t)len);
	CHECK(readable(fd, LIMIT_MS));
	ssize_t n = recv(fd, answer, sizeof answer, 0);
	CHECK_EQ(n, (ssize_t)len + STAMP);
	CHECK_MEM(answer + STAMP, bytes, len);
	int64_t time_ns, precision_ns;
	bool utc;
	CHECK_EQ(chime_stamp_read(answer, STAMP, CHIME_STAMP_CTIME, &time_ns, &utc, &precision_ns), STAMP);
	CHECK_IN(time_ns / CHIME_SEC, chime_now_real() / CHIME_SEC - 10, chime_now_real() / CHIME_SEC);
}

/* What is there to be taken, until nothing came for a while after the server has seen all. How many. */
static unsigned take_all(int fd)
{
	static char bytes[70000];
	unsigned n = 0;
	while (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) >= 0)
		n++;
	return n;
}

#define WAIT_FOR(cond)                                                                                                 \
	for (int64_t until_ = test_now() + LIMIT_MS * CHIME_MSEC; !(cond);) {                                          \
		CHECK(test_now() < until_);                                                                            \
		poll(NULL, 0, 1);                                                                                      \
	}

static void own_network(void)
{
	if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0)
		SKIP("needs root for a network namespace");
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_MULTICAST };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK_EQ(ioctl(fd, SIOCSIFFLAGS, &lo), 0);
	close(fd);
}

/* An answer leaves from the address that was asked, whichever of a machine's addresses that is: a connected client gets it. */
TEST(udp_answers_from_the_address_that_was_asked)
{
	static const char *const places[][2] = { { "127.0.0.1", "127.0.0.1" },
						 { "127.0.0.1", "127.0.0.2" },
						 { "127.0.0.3", "127.200.1.1" },
						 { "::1", "::1" } };
	chime_server *s = serve("udp://*:0", 2);
	for (unsigned i = 0; i < 4; i++) {
		int fd = client(places[i][0], places[i][1], port_of(s, 0));
		ask(fd, "i", 1);
		ask(fd, "", 0);
		close(fd);
	}
	live_end(&s);
	s = serve("udp4://*:0", 2);
	int fd = client("127.0.0.1", "127.0.0.2", port_of(s, 0));
	ask(fd, "i", 1);
	close(fd);
	live_end(&s);
}

/* Every length up to what an answer can carry is answered whole; beyond, it is counted, and the next is answered. */
TEST(udp_answers_every_length_that_fits)
{
	static char bytes[65536];
	static const size_t lens[] = { 0, 1, 23, 24, 1024, 1025, 9000, 65507 - STAMP };
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (char)test_random();
	chime_server *s = serve("udp://:0", 1);
	for (unsigned six = 0; six < 2; six++) {
		int fd = six ? client("::1", "::1", port_of(s, 0)) : client("127.0.0.1", "127.0.0.1", port_of(s, 0));
		for (unsigned i = 0; i < sizeof lens / sizeof *lens; i++)
			ask(fd, bytes, lens[i]);
		if (six)
			ask(fd, bytes, 65527 - STAMP);
		size_t over = (six ? 65527u : 65507u) - STAMP + 1;
		CHECK_EQ(send(fd, bytes, over, 0), (ssize_t)over);
		ask(fd, "next", 4);
		WAIT_FOR(live_stats(s).dropped_long >= six + 1);
		CHECK_EQ(live_stats(s).dropped_long, six + 1);
		close(fd);
	}
	live_end(&s);
}

static uint16_t ip_sum(const void *bytes, size_t len)
{
	const unsigned char *p = bytes;
	uint32_t sum = 0;
	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

/* A datagram from 127.0.0.1:from to 127.0.0.1:to that nobody of that name sent. */
static void forge(int from, int to, const char *text)
{
	struct {
		struct iphdr ip;
		struct udphdr udp;
		char text[64];
	} p = { .ip = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP } };
	size_t len = strlen(text);
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	if (fd < 0)
		SKIP("needs CAP_NET_RAW to forge a source");
	memcpy(p.text, text, len);
	p.ip.saddr = p.ip.daddr = at.sin_addr.s_addr;
	p.ip.tot_len = htons((uint16_t)(sizeof p.ip + sizeof p.udp + len));
	p.ip.check = ip_sum(&p.ip, sizeof p.ip);
	p.udp.source = htons((uint16_t)from);
	p.udp.dest = htons((uint16_t)to);
	p.udp.len = htons((uint16_t)(sizeof p.udp + len)); /* no checksum: IPv4 allows it */
	CHECK_EQ(sendto(fd, &p, sizeof p.ip + sizeof p.udp + len, 0, (struct sockaddr *)&at, sizeof at),
		 (ssize_t)(sizeof p.ip + sizeof p.udp + len));
	close(fd);
}

/* One forged datagram joins two servers that do not know of each other: three messages, then silence. */
TEST(udp_two_servers_joined_by_a_forged_datagram_stop_at_once)
{
	own_network();
	chime_server *a = serve("udp://127.0.0.1:0", 1), *b = serve("udp://127.0.0.1:0", 1);
	forge(port_of(b, 0), port_of(a, 0), "x");
	WAIT_FOR(live_stats(a).dropped_loop + live_stats(b).dropped_loop == 1);
	WAIT_FOR(live_stats(a).answers + live_stats(b).answers >= 2);
	WAIT_FOR(live_stats(a).messages + live_stats(b).messages >= 3); /* counted behind the drop */
	CHECK_EQ(live_stats(a).answers, 1);
	CHECK_EQ(live_stats(b).answers, 1);
	CHECK_EQ(live_stats(a).messages, 2);
	CHECK_EQ(live_stats(b).messages, 1);
	live_end(&a);
	live_end(&b);
}

/* The same with two endpoints of one server, or one with itself: not even the first is answered. */
TEST(udp_one_server_never_answers_itself)
{
	struct chime_server_config config = live_config(2);
	own_network();
	chime_server *s = live_new(&config, "udp://127.0.0.1:0", NULL);
	live_add(s, "echo=udp://127.0.0.1:0", NULL);
	live_start(s);
	forge(port_of(s, 1), port_of(s, 0), "x");
	forge(port_of(s, 0), port_of(s, 1), "x");
	forge(port_of(s, 1), port_of(s, 1), "x");
	forge(7, port_of(s, 0), "x");
	forge(9999, port_of(s, 0), "x");
	WAIT_FOR(live_stats(s).dropped_source == 5);
	CHECK_EQ(live_stats(s).answers, 0);
	live_end(&s);
}

/* A flood from one address, from many ports at once, gets its rate from the server, not from each worker; another is served. */
TEST(udp_holds_a_flood_and_serves_another)
{
	enum {
		PORTS = 16,
		RATE = 50,
		FLOOD = 4000
	};
	int fds[PORTS];
	unsigned got = 0;
	chime_server *s = serve("udp://*:0?rate=50", 4);
	int good = client("127.0.0.1", "127.0.0.1", port_of(s, 0));
	int64_t start = test_now();
	for (unsigned i = 0; i < PORTS; i++)
		fds[i] = client("127.0.0.66", "127.0.0.1", port_of(s, 0));
	for (unsigned i = 0; i < FLOOD; i++) {
		CHECK_EQ(send(fds[i % PORTS], "flood", 5, 0), 5);
		if (i % 100 == 99) {
			ask(good, "good", 4);
			WAIT_FOR(live_stats(s).messages == i + 1 + (i + 1) / 100); /* no socket's buffer runs over */
		}
	}
	WAIT_FOR(live_stats(s).answers + live_stats(s).dropped_rate == FLOOD + FLOOD / 100);
	int64_t took = test_now() - start;
	unsigned answers = (unsigned)live_stats(s).answers - FLOOD / 100;
	for (int64_t until = test_now() + LIMIT_MS * CHIME_MSEC; got < answers && test_now() < until; poll(NULL, 0, 1))
		for (unsigned i = 0; i < PORTS; i++)
			got += take_all(fds[i]); /* the last may still be on their way */
	CHECK_EQ(got, answers);
	CHECK_IN(got, 2 * RATE, 2 * RATE + RATE * took / CHIME_SEC + 1);
	for (unsigned i = 0; i < PORTS; i++)
		close(fds[i]);
	ask(good, "good", 4);
	close(good);
	live_end(&s);
}

/* Broadcast and multicast requests draw no answer, on sockets for one family and for both: else each would draw all servers'. */
TEST(udp_answers_nothing_sent_to_many)
{
	static const char *const endpoints[] = { "udp://*:0", "udp4://*:0" };
	own_network();
	for (unsigned i = 0; i < 2; i++) {
		chime_server *s = serve(endpoints[i], 1);
		int fd = client("127.0.0.1", NULL, 0), one = 1;
		test_one_processor();
		static const char *const many[] = { "127.255.255.255", "224.0.0.1" };
		struct ip_mreqn via = { .imr_ifindex = 1 };
		CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof one), 0);
		CHECK_EQ(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &via, sizeof via), 0);
		for (unsigned k = 0; k < 2; k++) {
			chime_addr a;
			CHECK_EQ(chime_addr_ip(&a, AF_INET, many[k], port_of(s, 0)), 0);
			CHECK_EQ(sendto(fd, "x", 1, 0, &a.u.sa, a.len), 1);
		}
		if (i == 0) {
			chime_addr a;
			int six = client("::", NULL, 0);
			CHECK_EQ(chime_addr_ip(&a, AF_INET6, "ff02::1%lo", port_of(s, 0)), 0);
			if (sendto(six, "x", 1, 0, &a.u.sa, a.len) < 0)
				fprintf(stderr, "no IPv6 multicast on this loopback: %s\n", strerror(errno));
			close(six);
		}
		int good = client("127.0.0.1", "127.0.0.1", port_of(s, 0));
		ask(good, "i", 1); /* what was sent before it has been seen by now */
		WAIT_FOR(live_stats(s).answers >= 1);
		CHECK_EQ(live_stats(s).answers, 1);
		CHECK(!readable(fd, 0));
		close(good);
		close(fd);
		live_end(&s);
	}
}

/*
 * Waits until all that this thread has sent over the loopback has come. A sending call returns before that: the kernel may leave a
 * part to a thread of its own. It keeps them in order, each processor's, so what is sent last from the same one comes last.
 */
static void wait_for_what_was_sent(void)
{
	int last = client("127.0.0.1", NULL, 0);
	struct sockaddr_in own;
	socklen_t len = sizeof own;
	CHECK_EQ(getsockname(last, (struct sockaddr *)&own, &len), 0);
	CHECK_EQ(sendto(last, "", 1, 0, (struct sockaddr *)&own, len), 1);
	CHECK(readable(last, LIMIT_MS));
	close(last);
}

/* Everything that had come when the end was asked for is answered before the end. */
TEST(udp_drains_what_had_come)
{
	enum {
		ROUNDS = 20,
		SENT = 100
	};
	cpu_set_t one; /* for the server too: it has read next to nothing when the end comes */
	CPU_ZERO(&one);
	CPU_SET((unsigned)sched_getcpu(), &one);
	CHECK_EQ(sched_setaffinity(0, sizeof one, &one), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		chime_server *s = serve("udp://127.0.0.1:0", 2);
		int fd = client("127.0.0.1", "127.0.0.1", port_of(s, 0));
		for (unsigned k = 0; k < SENT; k++)
			CHECK_EQ(send(fd, "x", 1, 0), 1);
		wait_for_what_was_sent();
		chime_server_stop(s);
		CHECK_EQ(chime_server_wait(s, 60 * CHIME_SEC), 0);
		CHECK_EQ(live_stats(s).answers, SENT);
		unsigned got = 0;
		WAIT_FOR((got += take_all(fd)) >= SENT); /* the kernel may still be bringing them */
		CHECK_EQ(got, SENT);
		close(fd);
		chime_server_free(&s);
	}
}

/* ---- a service that answers later ---- */

struct later {
	chime_timer timer;
	chime_conn *conn;
	chime_addr peer;
	char text[32];
	size_t len;
};

static void on_later(chime_timer *t, void *arg)
{
	struct later *l = arg;
	(void)t;
	CHECK_EQ(chime_conn_sendto(l->conn, l->text, l->len, &l->peer), 0);
	free(l);
}

static ssize_t answer_later(const struct chime_input *in, chime_reply *out)
{
	struct later *l = calloc(1, sizeof *l);
	(void)out;
	CHECK(l != NULL);
	CHECK(in->message);
	CHECK(in->state == NULL);
	l->conn = in->conn;
	l->peer = *in->peer;
	l->len = in->len < sizeof l->text ? in->len : sizeof l->text;
	memcpy(l->text, in->data, l->len);
	chime_timer_start(chime_conn_worker(in->conn), &l->timer, 20 * CHIME_MSEC, on_later, l);
	return (ssize_t)in->len;
}

static const chime_service later_service = { .size = sizeof(chime_service), .name = "later", .received = answer_later };

/* A service may answer a datagram after its call, on UDP and unix, by the sender's address; it counts as an answer. */
TEST(dgram_service_answers_later)
{
	static char bytes[64];
	char text[160];
	struct chime_server_config config = live_config(2);
	chime_server *s = live_new(&config, "udp://*:0", &later_service);
	snprintf(text, sizeof text, "unix+dgram:%s/s", test_dir());
	live_add(s, text, &later_service);
	live_start(s);
	struct sockaddr_un at = { .sun_family = AF_UNIX }, own = at;
	snprintf(at.sun_path, sizeof at.sun_path, "%s/s", test_dir());
	int fds[3] = { client("127.0.0.1", "127.0.0.1", port_of(s, 0)), client("::1", "::1", port_of(s, 0)),
		       socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) };
	CHECK_EQ(bind(fds[2], (struct sockaddr *)&own, sizeof(sa_family_t)), 0);
	CHECK_EQ(connect(fds[2], (struct sockaddr *)&at, sizeof at), 0);
	for (unsigned i = 0; i < 3; i++) {
		int64_t start = test_now();
		CHECK_EQ(send(fds[i], "later", 5, 0), 5);
		CHECK(readable(fds[i], LIMIT_MS));
		CHECK_EQ(recv(fds[i], bytes, sizeof bytes, 0), 5);
		CHECK_MEM(bytes, "later", 5);
		CHECK_IN(test_now() - start, 20 * CHIME_MSEC, LIMIT_MS * CHIME_MSEC);
		close(fds[i]);
	}
	WAIT_FOR(live_stats(s).answers == 3);
	live_end(&s);
}

/* ---- unix datagrams ---- */

static char path[100];

static chime_server *serve_unix(unsigned workers)
{
	char text[128];
	snprintf(path, sizeof path, "%s/s", test_dir());
	snprintf(text, sizeof text, "unix+dgram:%s", path);
	return serve(text, workers);
}

/* A client of the server on path; named: with an address that the kernel makes up. */
static int unix_client(bool named)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), room = CHIME_MESSAGE_MAX + 8192;
	CHECK(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
	if (named)
		CHECK_EQ(bind(fd, (struct sockaddr *)&at, sizeof(sa_family_t)), 0);
	strcpy(at.sun_path, path);
	CHECK_EQ(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
	return fd;
}

/* Messages up to 256 KiB are answered; a longer one, and one whose sender has no name, are counted. */
TEST(unix_dgram_answers_up_to_256_kib)
{
	static char bytes[CHIME_MESSAGE_MAX + 1];
	chime_server *s = serve_unix(2);
	int fd = unix_client(true), nameless = unix_client(false);
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (char)test_random();
	ask(fd, "i", 1);
	ask(fd, "", 0);
	ask(fd, bytes, CHIME_MESSAGE_MAX);
	CHECK_EQ(send(fd, bytes, CHIME_MESSAGE_MAX + 1, 0), CHIME_MESSAGE_MAX + 1);
	ask(fd, "next", 4);
	WAIT_FOR(live_stats(s).dropped_long >= 1); /* by either worker */
	CHECK_EQ(live_stats(s).dropped_long, 1);
	CHECK_EQ(send(nameless, "x", 1, 0), 1);
	ask(fd, "next", 4);
	WAIT_FOR(live_stats(s).dropped_source >= 1);
	CHECK_EQ(live_stats(s).dropped_source, 1);
	close(fd);
	close(nameless);
	live_end(&s);
}

/* A sender is answered whose path fills its address to the last byte. */
TEST(unix_dgram_answers_a_path_of_108_bytes)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX }, own = at;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK_EQ(chdir(test_dir()), 0);
	chime_server *s = serve_unix(1);
	memset(own.sun_path, 'x', sizeof own.sun_path);
	CHECK_EQ(bind(fd, (struct sockaddr *)&own, sizeof own), 0);
	strcpy(at.sun_path, path);
	CHECK_EQ(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
	ask(fd, "i", 1);
	WAIT_FOR(live_stats(s).answers == 1);
	close(fd);
	live_end(&s);
}

/* Sends from a socket that is not connected: only then does the kernel bound what waits unread there. */
static void send_apart(int fd, const char *text)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX }, nobody = { .sun_family = AF_UNSPEC };
	strcpy(at.sun_path, path);
	CHECK_EQ(connect(fd, (struct sockaddr *)&nobody, sizeof(sa_family_t)), 0);
	CHECK_EQ(sendto(fd, text, strlen(text), 0, (struct sockaddr *)&at, sizeof at), (ssize_t)strlen(text));
}

/* A client that does not read for long holds up nobody, and gets every answer in order when it does; meanwhile the server sleeps. */
TEST(unix_dgram_slow_reader_loses_nothing_and_holds_up_nobody)
{
	enum {
		SENT = 1000
	};
	chime_server *s = serve_unix(2);
	int slow = unix_client(true), fast = unix_client(true);
	char text[32], answer[64];
	for (unsigned i = 0; i < SENT; i++) {
		snprintf(text, sizeof text, "%u", i);
		send_apart(slow, text);
		if (i % 50 == 0)
			ask(fast, text, strlen(text));
	}
	WAIT_FOR(live_stats(s).messages == SENT + SENT / 50);
	CHECK(live_stats(s).queued_bytes > 0);
	ask(fast, "still", 5);
	int64_t start = test_now();
	uint64_t turns = live_stats(s).workers_turns;
	WAIT_FOR(live_stats(s).workers_turns >=
		 turns + 20); /* it is tried again, and without spinning: a tick is 8 ms */
	turns = live_stats(s).workers_turns - turns;
	CHECK_IN(turns, 20, (test_now() - start) / (3 * CHIME_MSEC));
	for (unsigned i = 0; i < SENT; i++) {
		CHECK(readable(slow, LIMIT_MS));
		ssize_t n = recv(slow, answer, sizeof answer - 1, 0);
		answer[n > 0 ? n : 0] = 0;
		snprintf(text, sizeof text, "%u", i);
		CHECK_STR(answer + STAMP, text);
	}
	WAIT_FOR(live_stats(s).queued_bytes == 0);
	CHECK_EQ(live_stats(s).dropped_queue, 0);
	close(slow);
	close(fast);
	live_end(&s);
}

/* A client that is gone costs its answers and nothing else; one that never reads holds the end up for the grace at most. */
TEST(unix_dgram_ends_in_spite_of_a_client_that_never_reads)
{
	char text[128];
	struct chime_server_config config = live_config(1);
	config.grace_ns = 300 * CHIME_MSEC;
	snprintf(path, sizeof path, "%s/s", test_dir());
	snprintf(text, sizeof text, "unix+dgram:%s", path);
	chime_server *s = live_new(&config, text, NULL);
	live_start(s);
	int gone = unix_client(true), never = unix_client(true);
	for (unsigned i = 0; i < 500; i++) {
		send_apart(gone, "x");
		send_apart(never, "x");
	}
	WAIT_FOR(live_stats(s).messages == 1000);
	close(gone);
	chime_server_stop(s);
	CHECK_EQ(chime_server_wait(s, 60 * CHIME_SEC), 0);
	struct chime_server_stats stats = live_stats(s);
	CHECK_EQ(stats.answers + stats.dropped_queue, 1000);
	CHECK(stats.dropped_queue > 100);
	CHECK_EQ(stats.queued_bytes, 0);
	close(never);
	chime_server_free(&s);
}

TEST_MAIN()
