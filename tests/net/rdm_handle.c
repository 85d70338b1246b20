/* A chime_rdm as a handle: what it refuses, what it says of itself, which of several addresses it takes, how it sends and ends. */
#include "net/rdm.h"
#include "net/resolve.h"

#include "edge.h"
#include "rdm_cases.h"

#include <chime/sock.h>

#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

/* ---- opening ---- */

/* Every number of a configuration has its range, whose ends are taken; what is refused leaves no handle, and no sentence of another call. */
TEST(rdm_configurations_have_their_ranges)
{
	const struct chime_rdm_config plain = CHIME_RDM_CONFIG_INIT;
	struct {
		struct chime_rdm_config config;
		bool good;
	} rows[] = {
		{ plain, true },  { plain, true },  { plain, true },  { plain, true },  { plain, true },
		{ plain, false }, { plain, false }, { plain, false }, { plain, false }, { plain, false },
		{ plain, false }, { plain, false }, { plain, false }, { plain, false },
	};
	need_user();
	rows[0].config.give_up_ns = CHIME_SEC;
	rows[1].config.give_up_ns = CHIME_HOUR;
	rows[2].config.idle_ns = CHIME_SEC;
	rows[3].config.idle_ns = INT32_MAX * CHIME_SEC;
	rows[4].config.idle_ns = CHIME_FOREVER;
	rows[5].config.give_up_ns = CHIME_SEC - 1;
	rows[6].config.give_up_ns = CHIME_HOUR + 1;
	rows[7].config.idle_ns = CHIME_SEC - 1;
	rows[8].config.idle_ns = INT32_MAX * CHIME_SEC + 1;
	rows[9].config.idle_ns = -2;
	rows[10].config.peers_max = 0;
	rows[11].config.timeout_ns = -2;
	rows[12].config.size--;
	rows[13].config.size++;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char why[64] = "of another call";
		chime_endpoint e = parse("rdm://127.0.0.1:0?" USER);
		chime_rdm *r = NULL;
		rows[i].config.why = why;
		rows[i].config.why_size = sizeof why;
		print_message("row %zu\n", i);
		CHECK_EQ(chime_rdm_serve(&r, &e, &rows[i].config), rows[i].good ? 0 : -EINVAL);
		CHECK_EQ(r != NULL, rows[i].good);
		CHECK_STR(why, "");
		chime_rdm_free(&r);
		if (rows[i].good)
			continue;
		CHECK_EQ(chime_rdm_connect(&r, &e, &rows[i].config), -EINVAL);
		CHECK_PTR(r, NULL);
	}
}

/* A port that was chosen is written over the 0 that asked for it, and over nothing else. */
TEST(rdm_names_its_udp_port)
{
	static const struct chime_option notes[] = {
		{ "note", CHIME_OPTION_TEXT, 0, 0, 31, NULL, false, "TEXT", "" },
		{ .name = NULL },
	};
	char note[32], want[128];
	chime_endpoint e;
	chime_rdm *r;
	need_user();
	CHECK_EQ(chime_endpoint_parse(&e, "rdm://127.0.0.1:0?note=udp=0&udp=0&carrier=user", notes, note, NULL), 0);
	CHECK_EQ(chime_rdm_serve(&r, &e, NULL), 0);
	CHECK_IN(e.set.udp_port, 1, 65535);
	snprintf(want, sizeof want, "note=udp=0&udp=%d&carrier=user", (int)e.set.udp_port);
	CHECK_STR(e.options, want);
	CHECK_IN(e.port, 1, 65535);
	chime_rdm_free(&r);
}

/* What it is can be asked. */
TEST(rdm_says_what_it_is)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	struct chime_rdm_stats stats;
	struct chime_rdm_event ev;
	chime_addr at;
	chime_endpoint e;
	struct echo s;
	need_user();
	CHECK_EQ(chime_rdm_available(CHIME_RDM_AUTO), 0);
	CHECK_STR(chime_rdm_carrier_name(CHIME_RDM_USER), "libusrsctp over UDP");
	CHECK_STR(
		chime_rdm_carrier_name(CHIME_RDM_AUTO),
		chime_rdm_carrier_name(chime_rdm_available(CHIME_RDM_KERNEL) == 0 ? CHIME_RDM_KERNEL : CHIME_RDM_USER));
	echo_start(&s, "sctp+seqpacket://127.0.0.1:0?" USER, &e);
	CHECK(chime_rdm_ordered(s.r));
	CHECK_EQ(chime_rdm_local(s.r, 0, &at), 0);
	CHECK_EQ(chime_addr_port(&at), e.port);
	CHECK_EQ(chime_rdm_local(s.r, 1, &at), -ENOENT);
	config.timeout_ns = 60 * CHIME_SEC;
	config.answers_only = true; /* for who serves */
	chime_rdm *c = client_of(&e, &config);
	CHECK(chime_rdm_ordered(c));
	CHECK_EQ(chime_rdm_timeout(c), 60 * CHIME_SEC);
	CHECK_EQ(chime_rdm_set_timeout(c, 0), 0);
	CHECK_EQ(chime_rdm_receive(c, &ev), -EAGAIN); /* that it is up was said by connecting */
	CHECK_EQ(chime_rdm_set_timeout(c, 60 * CHIME_SEC), 0);
	CHECK_EQ(chime_rdm_send(c, "x", 1, NULL, NULL), 0);
	CHECK_EQ(next(c, CHIME_RDM_MESSAGE).len, 1);
	chime_rdm_stats(c, &stats);
	CHECK_EQ(stats.associations, 1);
	CHECK_EQ(stats.sent, 1);
	CHECK_EQ(stats.received, 1);
	CHECK_EQ(stats.undelivered, 0);
	CHECK(stats.packets_in >= 2 && stats.packets_out >= 2); /* there and back, twice to be up */
	chime_rdm_free(&c);
	echo_end(&s);
	chime_rdm *r = serve("rdm://127.0.0.1:0?" USER, &e);
	CHECK(!chime_rdm_ordered(r));
	chime_rdm_free(&r);
}

/* IPv4 as IPv6 writes it is IPv4. */
TEST(rdm_takes_ipv4_as_ipv6_writes_it)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	chime_endpoint e;
	chime_addr at;
	struct echo s;
	need_user();
	echo_start(&s, "rdm://[::ffff:127.0.0.1]:0?" USER, &e);
	CHECK_EQ(chime_rdm_local(s.r, 0, &at), 0);
	CHECK_EQ(chime_addr_family(&at), AF_INET);
	config.timeout_ns = 60 * CHIME_SEC;
	chime_rdm *c = client_of(&e, &config);
	CHECK_EQ(chime_rdm_send(c, "x", 1, NULL, NULL), 0);
	CHECK_EQ(next(c, CHIME_RDM_MESSAGE).len, 1);
	chime_rdm_free(&c);
	echo_end(&s);
}

static int udp_at(const char *host, int port)
{
	chime_addr a;
	int one = 1;
	CHECK_EQ(chime_addr_ip(&a, AF_UNSPEC, host, port), 0);
	int fd = socket(chime_addr_family(&a), SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (chime_addr_family(&a) == AF_INET6)
		CHECK_EQ(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one), 0);
	if (bind(fd, &a.u.sa, a.len) == 0)
		return fd;
	int err = -errno;
	close(fd);
	return err;
}

/* Any address of IPv6 alone leaves IPv4's port to others; and where IPv6's is another's, both are not to be had, rather than one. */
TEST(rdm_serves_the_families_that_were_asked_for)
{
	char text[96];
	chime_endpoint e;
	chime_rdm *r = NULL;
	int four = -EADDRINUSE, six;
	need_user();
	if (!chime_has_dualstack_ipv6())
		SKIP("no IPv6 here");
	for (int i = 0; i < 20 && four == -EADDRINUSE; i++) { /* which somebody else may have by chance */
		chime_rdm_free(&r);
		r = serve("rdm6://*:0?" USER, &e);
		four = udp_at("0.0.0.0", (int)e.set.udp_port);
	}
	CHECK(four >= 0);
	chime_rdm_free(&r);
	six = udp_at("::", (int)e.set.udp_port);
	close(four);
	if (six < 0)
		SKIP("the port is another's meanwhile");
	snprintf(text, sizeof text, "rdm://*:%d?udp=%d&carrier=user", e.port, (int)e.set.udp_port);
	e = parse(text);
	CHECK_EQ(chime_rdm_serve(&r, &e, NULL), -EADDRINUSE);
	CHECK_PTR(r, NULL);
	close(six);
}

/* ---- several addresses ---- */

static const char *const *meant; /* what every name stands for, ended by NULL */

static int ask(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
	(void)host, (void)service, (void)hints;
	for (unsigned i = 0; meant[i]; i++, out = &(*out)->ai_next) {
		struct addrinfo numeric = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM };
		CHECK_EQ(getaddrinfo(meant[i], NULL, &numeric, out), 0);
	}
	return 0;
}

static void release(struct addrinfo *list)
{
	while (list) { /* each was a list of its own */
		struct addrinfo *after = list->ai_next;
		list->ai_next = NULL;
		freeaddrinfo(list);
		list = after;
	}
}

static void names_mean(const char *const *list)
{
	meant = list;
	chime__resolver = (struct chime__resolver){ ask, release };
}

/* An address where nobody answers is given a second, and then the next one has its turn, long before the limit. */
TEST(rdm_tries_the_next_address)
{
	static const char *const list[] = { "127.0.0.2", "127.0.0.1", NULL };
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	struct echo s;
	chime_endpoint e;
	chime_addr at;
	int silent = -EADDRINUSE;
	need_user();
	echo_start(&s, "rdm://127.0.0.1:0?" USER, &e);
	silent = udp_at("127.0.0.2", (int)e.set.udp_port);
	if (silent < 0)
		SKIP("the port is another's on 127.0.0.2");
	names_mean(list);
	strcpy(e.host, "name.test");
	config.timeout_ns = config.give_up_ns = CHIME_HOUR;
	int64_t begin = test_now();
	chime_rdm *c = client_of(&e, &config);
	CHECK_IN(test_now() - begin, CHIME_SEC, 55 * CHIME_SEC);
	CHECK_EQ(chime_rdm_set_timeout(c, 50 * CHIME_SEC), 0);
	CHECK_EQ(chime_rdm_send(c, "x", 1, NULL, NULL), 0);
	struct chime_rdm_event ev = next(c, CHIME_RDM_MESSAGE);
	CHECK_EQ(chime_addr_ip(&at, AF_INET, "127.0.0.1", e.port), 0);
	CHECK(chime_addr_equal(&ev.peer.addr, &at));
	chime_rdm_free(&c);
	echo_end(&s);
	close(silent);
}

/* Where the first address refuses, that is not held against the next. */
TEST(rdm_goes_on_where_it_is_refused)
{
	static const char *const list[] = { "127.0.0.2", "127.0.0.1", NULL };
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	struct echo s;
	chime_endpoint e;
	need_user();
	echo_start(&s, "rdm://127.0.0.1:0?" USER, &e);
	names_mean(list);
	strcpy(e.host, "name.test");
	config.timeout_ns = 50 * CHIME_SEC;
	chime_rdm *c = client_of(&e, &config);
	CHECK_EQ(chime_rdm_send(c, "x", 1, NULL, NULL), 0);
	CHECK_EQ(next(c, CHIME_RDM_MESSAGE).len, 1);
	chime_rdm_free(&c);
	echo_end(&s);
}

static int first_silent;

static int once_it_was_asked(void *arg)
{
	char b;
	(void)arg;
	return recv(first_silent, &b, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static void on_alarm(int sig)
{
	(void)sig;
}

/* Who interrupts the attempt at one address interrupts all of it. */
TEST(rdm_connecting_is_interrupted)
{
	static const char *const list[] = { "127.0.0.2", "127.0.0.3", NULL };
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	struct itimerval often = { { 0, 10000 }, { 0, 10000 } };
	struct sigaction action = { .sa_handler = on_alarm };
	char text[96], b;
	chime_rdm *c;
	need_user();
	first_silent = udp_at("127.0.0.2", 0);
	CHECK(first_silent >= 0);
	chime_addr at = { .len = sizeof at.u };
	CHECK_EQ(getsockname(first_silent, &at.u.sa, &at.len), 0);
	int second = udp_at("127.0.0.3", chime_addr_port(&at));
	if (second < 0)
		SKIP("the port is another's on 127.0.0.3");
	names_mean(list);
	snprintf(text, sizeof text, "rdm://name.test:9?udp=%d&carrier=user", chime_addr_port(&at));
	chime_endpoint e = parse(text);
	chime_set_interrupted(once_it_was_asked, NULL);
	CHECK_EQ(sigaction(SIGALRM, &action, NULL), 0);
	CHECK_EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
	config.timeout_ns = 50 * CHIME_SEC;
	CHECK_EQ(chime_rdm_connect(&c, &e, &config), -EINTR);
	CHECK_EQ(setitimer(ITIMER_REAL, &(struct itimerval){ { 0, 0 }, { 0, 0 } }, NULL), 0);
	CHECK_EQ(recv(second, &b, 1, MSG_PEEK | MSG_DONTWAIT), -1); /* it was never asked */
	close(first_silent);
	close(second);
}

/* A peer that says nothing is given up after as long as was said, though the limit is none. */
TEST(rdm_connecting_is_given_up)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	char text[96], why[256];
	chime_rdm *c;
	need_user();
	int silent = udp_at("127.0.0.1", 0);
	chime_addr at = { .len = sizeof at.u };
	CHECK_EQ(getsockname(silent, &at.u.sa, &at.len), 0);
	snprintf(text, sizeof text, "rdm://127.0.0.1:9?udp=%d&carrier=user", chime_addr_port(&at));
	chime_endpoint e = parse(text);
	config.give_up_ns = CHIME_SEC;
	config.why = why;
	config.why_size = sizeof why;
	CHECK_EQ(chime_rdm_connect(&c, &e, &config), -ETIMEDOUT);
	CHECK(strstr(why, chime_strerror(-ETIMEDOUT)));
	close(silent);
}

/* The local address and port that were asked for are those that are sent from. */
TEST(rdm_connects_from_where_it_is_told)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	chime_endpoint e;
	chime_addr from, at;
	chime_rdm *c = NULL;
	struct echo s;
	int err = -EADDRINUSE;
	need_user();
	echo_start(&s, "rdm://127.0.0.1:0?" USER, &e);
	config.timeout_ns = 50 * CHIME_SEC;
	config.bind = &from;
	for (int i = 0; i < 20 && err == -EADDRINUSE; i++) { /* somebody else may be faster */
		int held = udp_at("127.0.0.5", 0);
		from.len = sizeof from.u;
		CHECK_EQ(getsockname(held, &from.u.sa, &from.len), 0);
		close(held);
		err = chime_rdm_connect(&c, &e, &config);
	}
	CHECK_EQ(err, 0);
	CHECK_EQ(chime_rdm_local(c, 0, &at), 0);
	CHECK_EQ(at.u.in.sin_addr.s_addr, from.u.in.sin_addr.s_addr);
	CHECK_EQ(udp_at("127.0.0.5", chime_addr_port(&from)), -EADDRINUSE);
	chime_rdm_free(&c);
	echo_end(&s);
}

/* With two addresses, each peer is answered from the one that it asked, also where both ask in the same moment. */
TEST(rdm_answers_from_where_it_was_asked)
{
	static const char *const list[] = { "127.0.0.1", "127.0.0.2", NULL };
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	unsigned char init[FIRST_PACKET], answer[2048];
	chime_endpoint e;
	chime_addr at;
	chime_rdm *r = NULL;
	int asks[2];
	unsigned answered = 0;
	need_user();
	names_mean(list);
	e = parse("rdm://name.test:0?" USER);
	int err = chime_rdm_serve(&r, &e, &config);
	if (err == -EADDRINUSE)
		SKIP("the port is another's on 127.0.0.2");
	CHECK_EQ(err, 0);
	CHECK_EQ(chime_rdm_local(r, 2, &at), -ENOENT);
	first_packet(init, e.port);
	for (unsigned i = 0; i < 2; i++) { /* connected: what comes from elsewhere they do not get */
		CHECK_EQ(chime_rdm_local(r, i, &at), 0);
		CHECK_EQ(chime_addr_set_port(&at, (int)e.set.udp_port), 0);
		asks[i] = udp_at("127.0.0.1", 0);
		CHECK_EQ(connect(asks[i], &at.u.sa, at.len), 0);
		CHECK_EQ(send(asks[i], init, sizeof init, 0), sizeof init);
	}
	for (int64_t until = test_now() + 50 * CHIME_SEC; answered != 3 && test_now() < until; poll(NULL, 0, 1)) {
		CHECK_EQ(chime_rdm_process(r), 0);
		for (unsigned i = 0; i < 2; i++)
			if (recv(asks[i], answer, sizeof answer, MSG_DONTWAIT) > 0)
				answered |= 1u << i;
	}
	CHECK_EQ(answered, 3);
	close(asks[0]);
	close(asks[1]);
	chime_rdm_free(&r);
}

/* ---- sending ---- */

/* Pieces are one message, wherever they lie: behind each other, apart, overlapping, empty ones among them. */
TEST(rdm_sends_pieces_as_one_message)
{
	static char bytes[] = "abcdefgh";
	const struct {
		struct iovec iov[4];
		size_t n;
		const char *want;
	} rows[] = {
		{ { { bytes, 3 } }, 1, "abc" },
		{ { { bytes, 3 }, { bytes + 3, 2 } }, 2, "abcde" },
		{ { { bytes, 3 }, { bytes + 4, 2 } }, 2, "abcef" },
		{ { { bytes, 3 }, { bytes + 2, 2 } }, 2, "abccd" },
		{ { { bytes + 4, 2 }, { bytes, 2 } }, 2, "efab" },
		{ { { bytes, 0 }, { bytes + 1, 2 } }, 2, "bc" },
		{ { { NULL, 0 }, { bytes + 1, 2 }, { NULL, 0 }, { bytes + 3, 2 } }, 4, "bcde" },
		{ { { bytes, 2 }, { NULL, 0 }, { bytes + 2, 2 } }, 3, "abcd" },
		{ { { bytes, 2 }, { bytes + 6, 0 }, { bytes + 3, 2 } }, 3, "abde" },
	};
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	chime_endpoint e;
	struct echo s;
	uint32_t id = 0;
	need_user();
	echo_start(&s, "sctp+seqpacket://127.0.0.1:0?" USER, &e);
	config.timeout_ns = 60 * CHIME_SEC;
	chime_rdm *c = client_of(&e, &config);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		print_message("%s\n", rows[i].want);
		CHECK_EQ(chime_rdm_sendv(c, rows[i].iov, rows[i].n, NULL, &id), 0);
		CHECK_EQ(id, i + 1);
		struct chime_rdm_event ev = next(c, CHIME_RDM_MESSAGE);
		CHECK_EQ(ev.len, strlen(rows[i].want));
		CHECK_MEM(ev.data, rows[i].want, ev.len);
	}
	CHECK_EQ(chime_rdm_sendv(c, NULL, 0, NULL, NULL), -EINVAL);
	CHECK_EQ(chime_rdm_sendv(c, (struct iovec[]){ { bytes, 0 } }, 1, NULL, NULL), -EINVAL);
	char *much = calloc(1, CHIME_RDM_MAX);
	struct iovec most[2] = { { bytes, 1 }, { much, CHIME_RDM_MAX - 1 } };
	CHECK_EQ(chime_rdm_sendv(c, most, 2, NULL, NULL), 0);
	CHECK_EQ(next(c, CHIME_RDM_MESSAGE).len, CHIME_RDM_MAX);
	most[1].iov_len++;
	CHECK_EQ(chime_rdm_sendv(c, most, 2, NULL, NULL), -EMSGSIZE);
	most[1].iov_len = SIZE_MAX;
	CHECK_EQ(chime_rdm_sendv(c, most, 2, NULL, NULL), -EMSGSIZE);
	free(much);
	c->last_id = UINT32_MAX; /* the numbers turn over, and 0 is none */
	CHECK_EQ(chime_rdm_send(c, "x", 1, NULL, &id), 0);
	CHECK_EQ(id, 1);
	CHECK_EQ(next(c, CHIME_RDM_MESSAGE).len, 1);
	chime_rdm_free(&c);
	echo_end(&s);
}

/* Closing at once says whether something was left, and closing again is no failure. */
TEST(rdm_close_says_what_was_left)
{
	struct pair p;
	need_user();
	pair_open(&p, "rdm://127.0.0.1:0?" USER);
	CHECK_EQ(chime_rdm_send(p.asks, "lost", 4, &p.to, NULL), 0);
	CHECK_EQ(chime_rdm_flush(p.asks, 10 * CHIME_MSEC), CHIME_ETIMEOUT); /* nobody serves the other one */
	CHECK_EQ(chime_rdm_close(p.asks, 0), CHIME_ETIMEOUT);
	CHECK_EQ(chime_rdm_close(p.asks, 0), 0);
	CHECK_EQ(chime_rdm_close(p.asks, CHIME_SEC), 0);
	CHECK_EQ(chime_rdm_close(p.serves, CHIME_SEC), 0); /* which had nobody */
	pair_close(&p);
}

/* Whom nobody can reach from here is said at once. */
TEST(rdm_refuses_whom_it_cannot_send_to)
{
	struct chime_rdm_peer to = { .udp_port = 9 };
	chime_endpoint e;
	need_user();
	chime_rdm *r = serve("rdm://127.0.0.1:0?" USER, &e);
	CHECK_EQ(chime_addr_ip(&to.addr, AF_INET6, "::1", 9), 0);
	CHECK_EQ(chime_rdm_send(r, "x", 1, &to, NULL), -EAFNOSUPPORT);
	chime_rdm_free(&r);
}

/* An association that has ended is answered no more, though its end waits behind a full queue: no new one is begun for that. */
TEST_LIMIT(rdm_answers_nobody_who_has_ended, 60)
{
	static const unsigned char bytes[CHIME_RDM_MAX];
	const int64_t until = test_now() + 50 * CHIME_SEC;
	struct pair p;
	int err;
	need_user();
	pair_open(&p, "rdm://127.0.0.1:0?" USER);
	CHECK_EQ(chime_rdm_send(p.asks, "first", 5, &p.to, NULL), 0);
	struct chime_rdm_peer peer = pair_next(&p, p.serves, CHIME_RDM_MESSAGE).peer;
	(void)pair_next(&p, p.asks, CHIME_RDM_UP); /* its first message may come before it knows */
	while (!rdm_queue_full(p.serves))
		CHECK_EQ(chime__rdm_push_message(p.serves, &peer, bytes, sizeof bytes), 0);
	CHECK_EQ(chime_rdm_end(p.asks, &p.to, true), 0);
	do {
		poll(NULL, 0, 1);
		CHECK_EQ(chime_rdm_process(p.serves), 0);
		err = chime_rdm_send(p.serves, "late", 4, &peer, NULL);
	} while (err == 0 && test_now() < until);
	CHECK_EQ(err, -ENOTCONN);
	peer.assoc = 0; /* whoever it is now */
	CHECK_EQ(chime_rdm_send(p.serves, "anew", 4, &peer, NULL), 0);
	CHECK_EQ(pair_next(&p, p.serves, CHIME_RDM_DOWN).why, -ECONNRESET);
	CHECK_MEM(pair_next(&p, p.asks, CHIME_RDM_MESSAGE).data, "anew", 4);
	CHECK_EQ(chime_rdm_send(p.serves, "late", 4, &peer, NULL), 0);
	CHECK_MEM(pair_next(&p, p.asks, CHIME_RDM_MESSAGE).data, "late", 4);
	pair_close(&p);
}

/* ---- what stands around ---- */

/*
 * Packets that are shorter than any are dropped and counted, and nothing is read behind them; nor does one come by a handle's UDP port to
 * the SCTP port of another handle.
 */
TEST(rdm_drops_what_is_no_packet_of_its_own)
{
	struct chime_rdm_stats stats;
	unsigned char init[FIRST_PACKET];
	chime_endpoint e, e2;
	chime_addr from;
	need_user();
	chime_rdm *r = serve("rdm://127.0.0.1:0?" USER, &e);
	const unsigned char head[16] = { 0x12, 0x34, (unsigned char)(e.port >> 8), (unsigned char)e.port };
	/* An answer could go there: none is dropped, which would count. */
	CHECK_EQ(chime_addr_ip(&from, AF_INET, "127.0.0.1", 9), 0);
	for (size_t len = 0; len < sizeof head; len++)
		chime__rdm_user_packet(r, &from, edge_bytes(head, len), len, test_now());
	chime_rdm_stats(r, &stats);
	CHECK_EQ(stats.dropped_packets, sizeof head);
	chime_rdm *other = serve("rdm://127.0.0.1:0?" USER, &e2);
	first_packet(init, e2.port);
	chime__rdm_user_packet(r, &from, init, sizeof init, test_now());
	chime_rdm_stats(r, &stats);
	CHECK_EQ(stats.dropped_packets, sizeof head + 1);
	chime_rdm_free(&other);
	chime_rdm_free(&r);
}

/* ---- sending and ending: rdm_cases.h ---- */

TEST_LIMIT(rdm_peers_max_is_for_who_sends_too, 60)
{
	need_user();
	to_no_more_than_it_may("rdm://127.0.0.1:0?" USER);
}

TEST_LIMIT(rdm_idle_associations_end, 60)
{
	need_user();
	idle_is_ended("rdm://127.0.0.1:0?" USER);
}

TEST_LIMIT(rdm_messages_too_long_end_their_association, 60)
{
	need_user();
	too_long_ends_its_association("rdm://127.0.0.1:0?sndbuf=4M&rcvbuf=4M&" USER);
}

TEST_LIMIT(rdm_sending_alone_goes_on, 60)
{
	need_user();
	sending_alone_goes_on("rdm://127.0.0.1:0?" USER);
}

TEST_LIMIT(rdm_all_end_in_order, 60)
{
	need_user();
	all_end_in_order("rdm://127.0.0.1:0?" USER);
}

TEST_LIMIT(rdm_freeing_aborts, 60)
{
	need_user();
	freeing_aborts("rdm://127.0.0.1:0?" USER);
}

TEST_LIMIT(rdm_answers_alone_begin_nothing, 60)
{
	need_user();
	answers_alone_begin_nothing("rdm://127.0.0.1:0?" USER);
}

TEST_LIMIT(rdm_small_buffers_take_the_longest, 60)
{
	need_user();
	small_buffers_take_the_longest("rdm://127.0.0.1:0?sndbuf=1000&rcvbuf=1000&" USER);
}

TEST_MAIN()
