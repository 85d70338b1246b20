/*
 * create_connection: every address tried, families in turn, the first to connect wins, nothing left open. Over 600 lines, because
 * the tests share the resolver and the silent listener that stand at its beginning.
 */
#include "net/resolve.h"
#include "net/sock.h"

#include <runner/test.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

/* ---- a resolver whose answers the test gives ---- */

static const char *answers;

static int fake_ask(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
	char list[512], *save, *word;
	(void)host;
	(void)service;
	(void)hints;
	snprintf(list, sizeof(list), "%s", answers);
	for (word = strtok_r(list, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		struct addrinfo numeric = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM };
		if (getaddrinfo(word, NULL, &numeric, out) != 0)
			abort();
		out = &(*out)->ai_next;
	}
	return 0;
}

static void fake_release(struct addrinfo *list)
{
	while (list) { /* each was a list of its own */
		struct addrinfo *next = list->ai_next;
		list->ai_next = NULL;
		freeaddrinfo(list);
		list = next;
	}
}

static void name_means(const char *list)
{
	answers = list;
	chime__resolver = (struct chime__resolver){ fake_ask, fake_release };
}

/* Whether a port is free on the other addresses too that these tests listen on. */
static bool free_elsewhere(const chime_addr *at)
{
	static const char *const hosts[] = { "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.9" };
	for (size_t i = 0; i < sizeof(hosts) / sizeof(*hosts); i++) {
		chime_addr other;
		chime_sock *s;
		CHECK_EQ(chime_addr_ip(&other, AF_INET, hosts[i], chime_addr_port(at)), 0);
		if (chime_addr_equal(&other, at))
			continue;
		if (chime_create_server(&s, AF_INET, hosts[i], chime_addr_port(at), 0, false, false) < 0)
			return false;
		chime_free(&s);
	}
	return true;
}

/* A server on the port or, for 0, on one that other programs have on none of the addresses. */
static chime_sock *serve_on(int family, const char *host, int port, int backlog, chime_addr *at)
{
	chime_sock *l;
	for (int tries = 100;; tries--) {
		CHECK_EQ(chime_create_server(&l, family, host, port, backlog, false, false), 0);
		CHECK_EQ(chime_getsockname(l, at), 0);
		if (port != 0 || tries == 0 || free_elsewhere(at))
			return l;
		chime_free(&l);
	}
}

static chime_sock *listener(int family, const char *host, int port, chime_addr *at)
{
	return serve_on(family, host, port, -1, at);
}

/* A listener that answers no one: its queue is full, so what asks to connect is dropped in silence. */
static void black_hole(chime_sock *held[2], const char *host, int port)
{
	chime_addr at;
	CHECK_EQ(chime_addr_ip(&at, AF_UNSPEC, host, port), 0);
	held[0] = serve_on(chime_addr_family(&at), host, port, 0, &at);
	CHECK_EQ(chime_open(&held[1], chime_addr_family(&at), SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_connect(held[1], &at), 0);
	struct pollfd full = { chime_fileno(held[0]), POLLIN, 0 };
	CHECK_EQ(poll(&full, 1, 50000), 1); /* who has connected may still be on his way into the queue */
}

static void peer_is(chime_sock *s, const chime_addr *at)
{
	chime_addr peer;
	char got[CHIME_ADDR_TEXT], want[CHIME_ADDR_TEXT];
	CHECK_EQ(chime_getpeername(s, &peer), 0);
	chime_addr_print(&peer, got, sizeof(got));
	chime_addr_print(at, want, sizeof(want));
	CHECK_STR(got, want);
}

/* ---- tests ---- */

/* The winner is an ordinary handle: blocking, or with the default timeout; its peer is who was asked for. */
TEST(connection_is_an_ordinary_handle)
{
	chime_addr at;
	chime_sock *l = listener(AF_INET, "127.0.0.1", 0, &at), *s;
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	config.timeout_ns = 60 * CHIME_SEC;
	CHECK_EQ(chime_create_connection(&s, "127.0.0.1", chime_addr_port(&at), &config), 0);
	CHECK_EQ(chime_timeout(s), CHIME_FOREVER);
	CHECK_EQ(fcntl(chime_fileno(s), F_GETFL) & O_NONBLOCK, 0);
	CHECK_EQ(chime_inheritable(s), 0);
	CHECK_EQ(chime_family(s), AF_INET);
	peer_is(s, &at);
	chime_free(&s);
	chime_set_default_timeout(2 * CHIME_SEC);
	CHECK_EQ(chime_create_connection(&s, NULL, chime_addr_port(&at), NULL),
		 0); /* ::1 refuses, 127.0.0.1 does not */
	CHECK_EQ(chime_timeout(s), 2 * CHIME_SEC);
	CHECK(fcntl(chime_fileno(s), F_GETFL) & O_NONBLOCK);
	peer_is(s, &at);
	chime_free(&s);
	chime_free(&l);
}

/* Every address that refuses is passed over at once, long before the delay between attempts. */
TEST(refused_addresses_are_passed_over_at_once)
{
	chime_addr at;
	chime_sock *l = listener(AF_INET, "127.0.0.9", 0, &at), *s;
	char why[256] = "old";
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	config.attempt_delay_ns = 100 * CHIME_SEC;
	config.why = why;
	config.why_size = sizeof(why);
	name_means("127.0.0.2 127.0.0.3 127.0.0.4 127.0.0.9");
	int64_t start = test_now();
	CHECK_EQ(chime_create_connection(&s, "name.test", chime_addr_port(&at), &config), 0);
	CHECK_IN(test_now() - start, 0, 50 * CHIME_SEC);
	CHECK_STR(why, ""); /* in the end nothing was wrong */
	peer_is(s, &at);
	chime_free(&s);
	chime_free(&l);
}

/* When all fail: the last error, and a sentence that names each address with its own. */
TEST(all_failing_names_every_address)
{
	chime_addr at;
	chime_sock *l = listener(AF_INET, "127.0.0.1", 0, &at), *s;
	int port = chime_addr_port(&at);
	char why[512] = "old", want[512], tiny[8];
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	config.why = why;
	config.why_size = sizeof(why);
	chime_free(&l);
	name_means("127.0.0.2 127.0.0.3");
	CHECK_EQ(chime_create_connection(&s, "name.test", port, &config), -ECONNREFUSED);
	CHECK_PTR(s, NULL);
	snprintf(want, sizeof(want), "127.0.0.2:%d: %s; 127.0.0.3:%d: %s", port, chime_strerror(-ECONNREFUSED), port,
		 chime_strerror(-ECONNREFUSED));
	CHECK_STR(why, want);
	config.why = tiny;
	config.why_size = sizeof(tiny);
	CHECK_EQ(chime_create_connection(&s, "name.test", port, &config), -ECONNREFUSED);
	CHECK_STR(tiny, "127.0.0");
}

/* Of different errors it is the last address's. */
TEST(last_error_counts)
{
	chime_addr at, everyone;
	chime_sock *l = listener(AF_INET, "127.0.0.1", 0, &at), *s;
	int port = chime_addr_port(&at);
	chime_free(&l);
	CHECK_EQ(chime_addr_ip(&everyone, AF_INET, "255.255.255.255", port), 0);
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
	int other = chime_connect(s, &everyone);
	chime_free(&s);
	CHECK(other < 0);
	CHECK_NE(other, -ECONNREFUSED);
	name_means("127.0.0.2 255.255.255.255");
	CHECK_EQ(chime_create_connection(&s, "name.test", port, NULL), other);
	name_means("255.255.255.255 127.0.0.2");
	CHECK_EQ(chime_create_connection(&s, "name.test", port, NULL), -ECONNREFUSED);
}

/* A connection to name.test never takes less time, and no more at the best of many tries: the machine may be busy. Its peer is at. */
static void connecting_takes(const chime_addr *at, int64_t attempt_delay_ns, int64_t low_ns, int64_t high_ns)
{
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	int64_t best = INT64_MAX;
	config.attempt_delay_ns = attempt_delay_ns;
	for (int64_t until = test_now() + 15 * CHIME_SEC; best > high_ns && test_now() < until;) {
		chime_sock *s;
		int64_t start = test_now();
		CHECK_EQ(chime_create_connection(&s, "name.test", chime_addr_port(at), &config), 0);
		int64_t took = test_now() - start;
		if (took < best)
			best = took;
		peer_is(s, at);
		chime_free(&s);
	}
	CHECK_IN(best, low_ns, high_ns);
}

/* An address that does not answer delays the next by the attempt delay and no more; its attempt is dropped at the end. */
TEST(silent_address_costs_one_delay)
{
	chime_addr at;
	chime_sock *l = listener(AF_INET, "127.0.0.9", 0, &at), *hole[2];
	black_hole(hole, "127.0.0.2", chime_addr_port(&at));
	name_means("127.0.0.2 127.0.0.9");
	connecting_takes(&at, 0, 250 * CHIME_MSEC, 900 * CHIME_MSEC); /* a SYN is sent again after 1 s */
	connecting_takes(&at, 50 * CHIME_MSEC, 50 * CHIME_MSEC, 200 * CHIME_MSEC);
	connecting_takes(&at, 1, 10 * CHIME_MSEC, 200 * CHIME_MSEC); /* the least there is */
	chime_free(&l);
	chime_free(&hole[0]);
	chime_free(&hole[1]);
}

/* A failure while another attempt is silent brings the next at once: one delay in all, not two. */
TEST(failure_beside_a_silent_address_brings_the_next)
{
	chime_addr at;
	chime_sock *l = listener(AF_INET, "127.0.0.9", 0, &at), *hole[2];
	black_hole(hole, "127.0.0.2", chime_addr_port(&at));
	name_means("127.0.0.2 127.0.0.3 127.0.0.9"); /* silent, refused, served */
	connecting_takes(&at, 300 * CHIME_MSEC, 300 * CHIME_MSEC, 550 * CHIME_MSEC);
	name_means("127.0.0.2 255.255.255.255 127.0.0.9"); /* the second fails inside connect(2) */
	connecting_takes(&at, 300 * CHIME_MSEC, 300 * CHIME_MSEC, 550 * CHIME_MSEC);
	chime_free(&l);
	chime_free(&hole[0]);
	chime_free(&hole[1]);
}

/* The limit of all is kept though the next attempt would begin later. */
TEST(limit_before_the_next_attempt)
{
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	chime_addr at;
	chime_sock *l = listener(AF_INET, "127.0.0.9", 0, &at), *hole[2], *s;
	black_hole(hole, "127.0.0.2", chime_addr_port(&at));
	name_means("127.0.0.2 127.0.0.9");
	config.timeout_ns = 30 * CHIME_MSEC;
	config.attempt_delay_ns = 50 * CHIME_SEC;
	CHECK_EQ(chime_create_connection(&s, "name.test", chime_addr_port(&at), &config), CHIME_ETIMEOUT);
	CHECK_PTR(s, NULL);
	chime_free(&l);
	chime_free(&hole[0]);
	chime_free(&hole[1]);
}

/* Waits until an attempt to connect to that address is under way; false if there was none for long. */
static bool attempt_begun(const char *host, int port)
{
	/* The kernel's order of bytes need not be this program's: tests of other machines run on this one's. */
	char to[16], turned[16], line[256];
	struct in_addr at;
	inet_pton(AF_INET, host, &at);
	snprintf(to, sizeof to, "%08X:%04X", at.s_addr, port);
	snprintf(turned, sizeof turned, "%08X:%04X", __builtin_bswap32(at.s_addr), port);
	for (int64_t until = test_now() + 50 * CHIME_SEC; test_now() < until; usleep(1000)) {
		char remote[16];
		unsigned state;
		bool begun = false;
		FILE *f = fopen("/proc/net/tcp", "re");
		while (f && fgets(line, sizeof line, f))
			if (sscanf(line, " %*s %*s %15s %x", remote, &state) == 2 &&
			    (strcmp(remote, to) == 0 || strcmp(remote, turned) == 0))
				begun |= state == TCP_SYN_SENT;
		if (f)
			fclose(f);
		if (begun)
			return true;
	}
	return false;
}

struct closer {
	chime_sock *hole[2];
	int port;
};

static void *close_once_attempted(void *arg)
{
	struct closer *c = arg;
	CHECK(attempt_begun("127.0.0.2", c->port));
	chime_close(c->hole[0]);
	chime_close(c->hole[1]);
	return NULL;
}

/* So does one that comes late: refused when the SYN is sent again, after a second, not after the delay of ninety. */
TEST(late_failure_brings_the_next)
{
	chime_addr at;
	chime_sock *l = listener(AF_INET, "127.0.0.9", 0, &at), *s;
	pthread_t thread;
	struct closer closer = { .port = chime_addr_port(&at) };
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	config.attempt_delay_ns = 90 * CHIME_SEC;
	black_hole(closer.hole, "127.0.0.2", closer.port);
	name_means("127.0.0.2 127.0.0.9");
	CHECK_EQ(pthread_create(&thread, NULL, close_once_attempted, &closer), 0);
	int64_t start = test_now();
	CHECK_EQ(chime_create_connection(&s, "name.test", chime_addr_port(&at), &config), 0);
	CHECK_IN(test_now() - start, 0, 80 * CHIME_SEC);
	pthread_join(thread, NULL);
	peer_is(s, &at);
	chime_free(&s);
	chime_free(&l);
	chime_free(&closer.hole[0]);
	chime_free(&closer.hole[1]);
}

static void *close_both_once_attempted(void *arg)
{
	struct closer *c = arg;
	CHECK(attempt_begun("127.0.0.3", c[1].port));
	for (int i = 0; i < 4; i++)
		chime_close(c[i / 2].hole[i % 2]);
	return NULL;
}

/* Attempts that fail late, one after the other, are told each with its own address. */
TEST(late_failures_are_told_of_their_addresses)
{
	chime_addr at;
	chime_sock *l = listener(AF_INET, "127.0.0.9", 0, &at), *s;
	pthread_t thread;
	struct closer closer[2] = { { .port = chime_addr_port(&at) }, { .port = chime_addr_port(&at) } };
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	char why[512], want[512];
	config.why = why;
	config.why_size = sizeof why;
	config.attempt_delay_ns = 200 * CHIME_MSEC;
	black_hole(closer[0].hole, "127.0.0.2", closer[0].port);
	black_hole(closer[1].hole, "127.0.0.3", closer[1].port);
	name_means("127.0.0.2 127.0.0.3");
	CHECK_EQ(pthread_create(&thread, NULL, close_both_once_attempted, closer), 0);
	CHECK_EQ(chime_create_connection(&s, "name.test", chime_addr_port(&at), &config), -ECONNREFUSED);
	pthread_join(thread, NULL);
	for (int i = 2; i < 4; i++) {
		snprintf(want, sizeof want, "127.0.0.%d:%d: connection refused", i, closer[0].port);
		if (!strstr(why, want))
			CHECK_STR(why, want);
	}
	for (int i = 0; i < 4; i++)
		chime_free(&closer[i / 2].hole[i % 2]);
	chime_free(&l);
}

/* An earlier attempt that answers late still wins over a later one that never does. */
TEST(late_first_address_still_wins)
{
	chime_addr at;
	chime_sock *hole[2], *other[2], *s, *a;
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	config.timeout_ns = 60 * CHIME_SEC;
	config.attempt_delay_ns = 20 * CHIME_MSEC;
	black_hole(hole, "127.0.0.2", 0);
	CHECK_EQ(chime_getsockname(hole[0], &at), 0);
	black_hole(other, "127.0.0.3", chime_addr_port(&at));
	name_means("127.0.0.2 127.0.0.3");
	pid_t pid = fork();
	if (pid == 0) {
		chime_sock *one;
		CHECK(attempt_begun("127.0.0.3", chime_addr_port(&at)));
		_exit(chime_accept(hole[0], &one, NULL) != 0);
	}
	CHECK_EQ(chime_create_connection(&s, "name.test", chime_addr_port(&at), &config), 0);
	peer_is(s, &at);
	CHECK_EQ(chime_accept(hole[0], &a, NULL), 0);
	kill(pid, SIGKILL);
	chime_free(&a);
	chime_free(&s);
	for (int i = 0; i < 2; i++) {
		chime_free(&hole[i]);
		chime_free(&other[i]);
	}
}

/* The limit is for all addresses together, and nothing is left of the attempts. */
TEST(limit_is_for_all_addresses)
{
	chime_addr at;
	chime_sock *hole[2], *s;
	char why[256];
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	config.timeout_ns = 500 * CHIME_MSEC;
	config.attempt_delay_ns = 20 * CHIME_MSEC;
	config.why = why;
	config.why_size = sizeof(why);
	black_hole(hole, "127.0.0.2", 0);
	CHECK_EQ(chime_getsockname(hole[0], &at), 0);
	name_means("127.0.0.2 127.0.0.3 127.0.0.2");
	int64_t start = test_now();
	CHECK_EQ(chime_create_connection(&s, "name.test", chime_addr_port(&at), &config), CHIME_ETIMEOUT);
	CHECK_IN(test_now() - start, 500 * CHIME_MSEC, 50 * CHIME_SEC);
	CHECK_PTR(s, NULL);
	CHECK(strstr(why, "127.0.0.3"));
	CHECK(strstr(why, chime_strerror(-ECONNREFUSED)));
	CHECK(strstr(why, chime_strerror(CHIME_ETIMEOUT)));
	chime_free(&hole[0]);
	chime_free(&hole[1]);
}

/* IPv6 and IPv4 are tried in turn, whatever order each came in. */
TEST(families_take_turns)
{
	char why[1024];
	const char *order[] = { "[::1]", "127.0.0.2", "[::ffff:127.0.0.5]", "127.0.0.3", "127.0.0.4" };
	chime_sock *s, *l;
	chime_addr at;
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	config.why = why;
	config.why_size = sizeof(why);
	int err = chime_create_server(&l, AF_INET6, "::1", 0, -1, false, false);
	if (err < 0)
		SKIP("no IPv6 here: %s", chime_strerror(err));
	CHECK_EQ(chime_getsockname(l, &at), 0);
	chime_free(&l);
	name_means("::1 ::ffff:127.0.0.5 127.0.0.2 127.0.0.3 127.0.0.4");
	CHECK(chime_create_connection(&s, "name.test", chime_addr_port(&at), &config) < 0);
	const char *from = why;
	for (int i = 0; i < 5; i++) {
		print_message("%s in %s\n", order[i], from);
		from = strstr(from, order[i]);
		CHECK(from);
	}
}

/* IPv6 first and broken: IPv4 is connected after one delay. */
TEST(broken_ipv6_costs_one_delay)
{
	chime_addr at;
	chime_sock *l = listener(AF_INET, "127.0.0.1", 0, &at), *hole[2];
	if (!chime_has_dualstack_ipv6())
		SKIP("no IPv6 here");
	black_hole(hole, "::1", chime_addr_port(&at));
	name_means("::1 127.0.0.1");
	connecting_takes(&at, 0, 250 * CHIME_MSEC, 900 * CHIME_MSEC);
	chime_free(&l);
	chime_free(&hole[0]);
	chime_free(&hole[1]);
}

/* A network that takes everything and answers nothing, in a namespace of our own: the limit is kept. */
TEST(network_that_answers_nothing)
{
	chime_sock *s;
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	config.timeout_ns = 400 * CHIME_MSEC;
	if (unshare(CLONE_NEWNET) < 0)
		SKIP("no network namespace of our own: %s", chime_strerror(-errno));
	if (system("ip link set lo up && ip link add hole type veth peer name end && ip link set hole up && "
		   "ip link set end up && ip addr add 192.0.2.1/24 dev hole && ip -6 addr add 2001:db8::1/64 dev hole "
		   "nodad && "
		   "ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:01 dev hole && "
		   "ip -6 neigh add 2001:db8::9 lladdr 02:00:00:00:00:01 dev hole") != 0)
		SKIP("ip-link(8) could not make a pair of interfaces");
	name_means("2001:db8::9 192.0.2.9");
	int64_t start = test_now();
	CHECK_EQ(chime_create_connection(&s, "name.test", 9, &config), CHIME_ETIMEOUT);
	CHECK_IN(test_now() - start, 400 * CHIME_MSEC, 50 * CHIME_SEC);
	CHECK_PTR(s, NULL);
}

/* The local address: used where its family fits, other families left out; none left is an error. */
TEST(bind_chooses_the_family)
{
	chime_addr at, from, own;
	chime_sock *l = listener(AF_INET, "127.0.0.1", 0, &at), *s;
	char why[256];
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	CHECK_EQ(chime_addr_ip(&from, AF_INET, "127.0.0.77", 0), 0);
	config.bind = &from;
	name_means("::1 127.0.0.1");
	CHECK_EQ(chime_create_connection(&s, "name.test", chime_addr_port(&at), &config), 0);
	CHECK_EQ(chime_getsockname(s, &own), 0);
	CHECK_EQ(chime_addr_set_port(&own, 0), 0);
	CHECK(chime_addr_equal(&own, &from));
	chime_free(&s);
	name_means("::1");
	config.why = why;
	config.why_size = sizeof(why);
	CHECK_EQ(chime_create_connection(&s, "name.test", chime_addr_port(&at), &config), -EAFNOSUPPORT);
	CHECK(strstr(why, "127.0.0.77"));
	CHECK_EQ(chime_addr_ip(&from, AF_INET, "192.0.2.1", 0), 0);
	CHECK_EQ(chime_create_connection(&s, "127.0.0.1", chime_addr_port(&at), &config), -EADDRNOTAVAIL);
	CHECK(strstr(why, ": bind 192.0.2.1:0: ") != NULL);
	chime_free(&l);
}

/* A configuration that says nothing sensible is refused before anything is asked. */
TEST(bad_configurations_are_refused)
{
	chime_sock *s;
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	config.timeout_ns = 0;
	char why[16] = "of another call";
	config.why = why;
	config.why_size = sizeof why;
	CHECK_EQ(chime_create_connection(&s, "127.0.0.1", 1, &config), -EINVAL);
	CHECK_STR(why, "");
	config.timeout_ns = -7;
	CHECK_EQ(chime_create_connection(&s, "127.0.0.1", 1, &config), -EINVAL);
	config.timeout_ns = CHIME_SEC;
	config.size = 4;
	CHECK_EQ(chime_create_connection(&s, "127.0.0.1", 1, &config), -EINVAL);
	config.size = sizeof(config);
	config.attempt_delay_ns = -1;
	CHECK_EQ(chime_create_connection(&s, "127.0.0.1", 1, &config), -EINVAL);
}

static void on_alarm(int signo)
{
	(void)signo;
}

static int third_stops(void *arg)
{
	return ++*(int *)arg == 3;
}

/* Signals do not disturb the race; the hook may end it, and then no attempt is left open. */
TEST(signals_and_the_race)
{
	chime_addr at;
	chime_sock *hole[2], *s;
	int asked = 0;
	struct sigaction sa = { .sa_handler = on_alarm };
	struct itimerval each = { { 0, 10000 }, { 0, 10000 } };
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	config.timeout_ns = 100 * CHIME_MSEC;
	black_hole(hole, "127.0.0.2", 0);
	CHECK_EQ(chime_getsockname(hole[0], &at), 0);
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &each, NULL);
	int64_t start = test_now();
	CHECK_EQ(chime_create_connection(&s, "127.0.0.2", chime_addr_port(&at), &config), CHIME_ETIMEOUT);
	CHECK_IN(test_now() - start, 100 * CHIME_MSEC, 50 * CHIME_SEC);
	chime_set_interrupted(third_stops, &asked);
	config.timeout_ns = CHIME_FOREVER;
	CHECK_EQ(chime_create_connection(&s, "127.0.0.2", chime_addr_port(&at), &config), -EINTR);
	CHECK_EQ(asked, 3);
	each = (struct itimerval){ { 0, 0 }, { 0, 0 } };
	setitimer(ITIMER_REAL, &each, NULL);
	chime_free(&hole[0]);
	chime_free(&hole[1]);
}

/* ---- endpoints ---- */

static int connect_text(chime_sock **s, const char *text, const struct chime_connect_config *config)
{
	chime_endpoint e;
	CHECK_EQ(chime_endpoint_parse(&e, text, NULL, NULL, NULL), 0);
	return chime_connect_endpoint(s, &e, config);
}

static void answer_on(int type, const char *scheme)
{
	chime_sock *l, *s, *a;
	chime_addr at, from;
	char text[256], got[8];
	snprintf(text, sizeof(text), "%s/%s", test_dir(), scheme);
	CHECK_EQ(chime_addr_unix(&at, text, strlen(text)), 0);
	snprintf(text, sizeof(text), "%s:%s/%s", scheme, test_dir(), scheme);
	CHECK_EQ(chime_open(&l, AF_UNIX, type, 0), 0);
	CHECK_EQ(chime_bind(l, &at), 0);
	if (type != SOCK_DGRAM)
		CHECK_EQ(chime_listen(l, 1), 0);
	CHECK_EQ(connect_text(&s, text, NULL), 0);
	CHECK_EQ(chime_type(s), type);
	CHECK_EQ(chime_timeout(s), CHIME_FOREVER);
	CHECK_EQ(fcntl(chime_fileno(s), F_GETFL) & O_NONBLOCK, 0);
	CHECK_EQ(chime_inheritable(s), 0);
	CHECK_EQ(chime_send(s, "ping", 4, 0), 4);
	if (type == SOCK_DGRAM) {
		CHECK_EQ(chime_recvfrom(l, got, sizeof(got), 0, &from), 4);
		CHECK(from.len > sizeof(sa_family_t)); /* it has a name, so answers find it */
		CHECK_EQ(chime_sendto(l, "pong", 4, 0, &from), 4);
	} else {
		CHECK_EQ(chime_accept(l, &a, NULL), 0);
		CHECK_EQ(chime_recv(a, got, sizeof(got), 0), 4);
		CHECK_EQ(chime_send(a, "pong", 4, 0), 4);
		chime_free(&a);
	}
	CHECK_EQ(chime_recv(s, got, sizeof(got), 0), 4);
	CHECK_MEM(got, "pong", 4);
	chime_free(&s);
	chime_free(&l);
}

/* Every unix type: connected, and answers come back, to datagram clients too. */
TEST(endpoints_of_unix)
{
	answer_on(SOCK_STREAM, "unix");
	answer_on(SOCK_DGRAM, "unix+dgram");
	answer_on(SOCK_SEQPACKET, "unix+seqpacket");
}

/* UDP is connected: that nobody is there comes back as an error. */
TEST(endpoints_of_udp_are_connected)
{
	chime_sock *u, *s;
	chime_addr at;
	char text[64];
	CHECK_EQ(chime_open(&u, AF_INET, SOCK_DGRAM, 0), 0);
	CHECK_EQ(chime_addr_ip(&at, AF_INET, "127.0.0.1", 0), 0);
	CHECK_EQ(chime_bind(u, &at), 0);
	CHECK_EQ(chime_getsockname(u, &at), 0);
	chime_free(&u);
	snprintf(text, sizeof(text), "udp://127.0.0.1:%d", chime_addr_port(&at));
	CHECK_EQ(connect_text(&s, text, NULL), 0);
	peer_is(s, &at);
	CHECK_EQ(chime_set_timeout(s, 60 * CHIME_SEC), 0);
	CHECK_EQ(chime_send(s, "x", 1, 0), 1);
	CHECK_EQ(chime_recv(s, text, 1, 0), -ECONNREFUSED);
	chime_free(&s);
}

/* The settings of the endpoint are the socket's. */
TEST(endpoints_carry_settings)
{
	chime_addr at;
	chime_sock *l = listener(AF_INET, "127.0.0.1", 0, &at), *s;
	char text[128];
	int value;
	snprintf(text, sizeof(text), "tcp://127.0.0.1:%d?rcvbuf=30000&sndbuf=20000", chime_addr_port(&at));
	CHECK_EQ(connect_text(&s, text, NULL), 0);
	CHECK_EQ(chime_getsockopt_int(s, SOL_SOCKET, SO_RCVBUF, &value), 0);
	CHECK_EQ(value, 60000); /* socket(7): the kernel doubles it */
	CHECK_EQ(chime_getsockopt_int(s, SOL_SOCKET, SO_SNDBUF, &value), 0);
	CHECK_EQ(value, 40000);
	chime_free(&s);
	chime_free(&l);
}

/* Nobody there: the error, its words, and no handle; what cannot be opened is CHIME_ESCHEME, with the reason. */
TEST(endpoints_that_cannot_be_reached)
{
	chime_sock *s;
	chime_endpoint e;
	char text[256], why[512];
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	config.why = why;
	config.why_size = sizeof(why);
	config.timeout_ns = 60 * CHIME_SEC;
	snprintf(text, sizeof(text), "unix:%s/none", test_dir());
	CHECK_EQ(connect_text(&s, text, &config), -ENOENT);
	CHECK_PTR(s, NULL);
	CHECK(strstr(why, "/none: "));
	CHECK_EQ(chime_endpoint_parse(&e, "tcp://127.0.0.1:1", NULL, NULL, NULL), 0);
	for (int scheme = 0; scheme < CHIME_SCHEMES; scheme++) {
		e.scheme = (enum chime_scheme)scheme;
		/* rdm and sctp+seqpacket may be carried by what is no socket. */
		if (!chime_scheme_info(e.scheme)->opens || scheme == CHIME_FD || scheme == CHIME_RDM ||
		    scheme == CHIME_SCTP_SEQPACKET) {
			CHECK_EQ(chime_connect_endpoint(&s, &e, &config), CHIME_ESCHEME);
			CHECK_PTR(s, NULL);
			const char *lacks = chime_scheme_info(e.scheme)->lacks;
			CHECK(strstr(why, lacks ? lacks : "chime_rdm_connect()"));
		}
	}
}

/* vsock's own machine is never asked outside of it; where this kernel cannot reach it, the module that would is named. */
TEST(vsock_here_stays_here_and_names_its_module)
{
	chime_sock *s;
	char why[256];
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	config.why = why;
	config.why_size = sizeof(why);
	config.timeout_ns = 60 * CHIME_SEC;
	int err = connect_text(&s, "vsock://1:4000000001", &config);
	CHECK_PTR(s, NULL);
	if (err == -ECONNRESET) /* it has vsock_loopback, and nobody listens */
		return;
	CHECK(err == -EADDRNOTAVAIL || err == -EAFNOSUPPORT);
	CHECK(strstr(why, err == -EADDRNOTAVAIL ? "modprobe vsock_loopback" : "modprobe vsock"));
}

/* The order is for callers too: the first one's family first, in turn, each family's own order kept; too many are refused. */
TEST(targets_are_ordered_for_others_too)
{
	static const char *const given[] = { "10.0.0.1", "10.0.0.2", "10.0.0.3", "2001:db8::1", "2001:db8::2" };
	static const char *const wanted[] = { "10.0.0.1:1", "[2001:db8::1]:1", "10.0.0.2:1", "[2001:db8::2]:1",
					      "10.0.0.3:1" };
	struct chime_target t[5];
	for (int i = 0; i < 5; i++) {
		memset(&t[i], 0, sizeof(t[i]));
		CHECK_EQ(chime_addr_ip(&t[i].addr, AF_UNSPEC, given[i], 1), 0);
		t[i].family = chime_addr_family(&t[i].addr);
	}
	CHECK_EQ(chime_targets_order(t, 5), 0);
	for (int i = 0; i < 5; i++) {
		char text[CHIME_ADDR_TEXT];
		chime_addr_print(&t[i].addr, text, sizeof(text));
		CHECK_STR(text, wanted[i]);
	}
	CHECK_EQ(chime_targets_order(t, 0), 0);
	CHECK_EQ(chime_targets_order(t, -1), -EINVAL);
	CHECK_EQ(chime_targets_order(t, CHIME_TARGETS + 1), -EINVAL);
}

/* Addresses that are tried from one source port share it: one that is silent does not keep it from the next. */
TEST(source_port_is_shared_by_the_attempts)
{
	chime_addr at, from, me;
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	chime_sock *l = listener(AF_INET, "127.0.0.9", 0, &at), *hole[2], *s;
	int on = -1;
	black_hole(hole, "127.0.0.2", chime_addr_port(&at));
	name_means("127.0.0.2 127.0.0.9");
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0); /* whose port is free then */
	CHECK_EQ(chime_addr_ip(&from, AF_INET, "127.0.0.1", 0), 0);
	CHECK_EQ(chime_bind(s, &from), 0);
	CHECK_EQ(chime_getsockname(s, &from), 0);
	chime_free(&s);
	config.timeout_ns = 60 * CHIME_SEC;
	config.attempt_delay_ns = 50 * CHIME_MSEC;
	config.bind = &from;
	CHECK_EQ(chime_create_connection(&s, "name.test", chime_addr_port(&at), &config), 0);
	peer_is(s, &at);
	CHECK_EQ(chime_getsockname(s, &me), 0);
	CHECK(chime_addr_equal(&me, &from));
	CHECK_EQ(chime_getsockopt_int(s, SOL_SOCKET, SO_REUSEADDR, &on), 0);
	CHECK_EQ(on, 0);
	chime_free(&s);
	chime_free(&l);
	chime_free(&hole[0]);
	chime_free(&hole[1]);
}

TEST_MAIN()
