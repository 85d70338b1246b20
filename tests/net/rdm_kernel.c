/*
 * The kernel's SCTP under chime_rdm, and against libusrsctp over a lossy wire, both ways. For a kernel that has it: tests/vm.
 * The wire is the loopback of a network namespace of the test's own.
 */
#include "rdm_cases.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#define KERNEL "carrier=kernel"

static void need_kernel(void)
{
	int err = chime_rdm_available(CHIME_RDM_KERNEL);
	if (err < 0)
		SKIP("this kernel has no SCTP (%s); tests/vm has one that does", chime_errname(err));
}

static void run(const char *command)
{
	int status = system(command);
	if (status != 0)
		fprintf(stderr, "%s: %d\n", command, status);
	CHECK_EQ(status, 0);
}

/* A namespace whose loopback loses that much, both ways, and whose SCTP has UDP port 9899. */
static void lossy_namespace(int percent)
{
	char command[128];
	if (unshare(CLONE_NEWNET) < 0)
		SKIP("a network namespace needs root");
	run("ip link set lo up");
	run("echo 9899 >/proc/sys/net/sctp/udp_port");
	if (percent == 0)
		return;
	/* whole, because the shell of a small guest would take its own for it, which knows no netem */
	snprintf(command, sizeof command, "/usr/sbin/tc qdisc add dev lo root netem loss %d%% delay 1ms limit 100000",
		 percent);
	run(command);
}

/*
 * Linux 6.1 does not close this port with its namespace: the dead socket is then met by the next namespace whose memory is where that
 * one's was, and the port is in use there (in user-mode Linux, once in five).
 */
static void leave_namespace(void)
{
	run("echo 0 >/proc/sys/net/sctp/udp_port");
}

/* The kernel carries what libusrsctp carries: every size, both families, in order or not. */
TEST_LIMIT(kernel_echoes_every_size_over_ipv4, 60)
{
	need_kernel();
	echo_sizes("rdm://127.0.0.1:0?" KERNEL);
}

TEST_LIMIT(kernel_echoes_every_size_over_ipv6, 60)
{
	need_kernel();
	echo_sizes("rdm://[::1]:0?" KERNEL);
}

TEST_LIMIT(kernel_echoes_every_size_in_order, 60)
{
	need_kernel();
	echo_sizes("sctp+seqpacket://127.0.0.1:0?" KERNEL);
}

TEST_LIMIT(kernel_answers_go_by_the_association_that_asked, 60)
{
	need_kernel();
	answers_stay("rdm://127.0.0.1:0?" KERNEL);
	answers_stay("sctp+seqpacket://[::1]:0?" KERNEL);
}

/* ---- sending and ending: rdm_cases.h ---- */

TEST_LIMIT(kernel_peers_max_is_for_who_sends_too, 60)
{
	need_kernel();
	to_no_more_than_it_may("rdm://127.0.0.1:0?" KERNEL);
}

TEST_LIMIT(kernel_idle_associations_end, 60)
{
	need_kernel();
	idle_is_ended("rdm://127.0.0.1:0?" KERNEL);
}

TEST_LIMIT(kernel_messages_too_long_end_their_association, 60)
{
	need_kernel();
	too_long_ends_its_association("rdm://127.0.0.1:0?sndbuf=4M&rcvbuf=4M&" KERNEL);
}

TEST_LIMIT(kernel_sending_alone_goes_on, 60)
{
	need_kernel();
	sending_alone_goes_on("rdm://127.0.0.1:0?" KERNEL);
}

TEST_LIMIT(kernel_all_end_in_order, 60)
{
	need_kernel();
	all_end_in_order("rdm://127.0.0.1:0?" KERNEL);
}

TEST_LIMIT(kernel_freeing_aborts, 60)
{
	need_kernel();
	freeing_aborts("rdm://127.0.0.1:0?" KERNEL);
}

TEST_LIMIT(kernel_answers_alone_begin_nothing, 60)
{
	need_kernel();
	answers_alone_begin_nothing("rdm://127.0.0.1:0?" KERNEL);
}

TEST_LIMIT(kernel_small_buffers_take_the_longest, 60)
{
	need_kernel();
	small_buffers_take_the_longest("rdm://127.0.0.1:0?sndbuf=1000&rcvbuf=1000&" KERNEL);
}

/* Where it is there, it is what auto takes. */
TEST(kernel_is_taken_first)
{
	chime_endpoint e;
	need_kernel();
	chime_rdm *r = serve("rdm://127.0.0.1:0", &e);
	CHECK_EQ(chime_rdm_carrier(r), CHIME_RDM_KERNEL);
	CHECK_STR(chime_rdm_carried_by(r), "the kernel's SCTP");
	chime_rdm_free(&r);
}

/* Where nobody serves, connecting is refused; a UDP port that the kernel's SCTP does not have is an error that says what to set. */
TEST(kernel_refusals_are_told)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	char why[256] = "";
	chime_rdm *r = NULL;
	need_kernel();
	config.timeout_ns = 10 * CHIME_SEC;
	config.why = why;
	config.why_size = sizeof why;
	chime_endpoint e = parse("rdm://127.0.0.1:9?" KERNEL);
	CHECK_EQ(chime_rdm_connect(&r, &e, &config), -ECONNREFUSED);
	CHECK(strstr(why, "refused") && strstr(why, "carrier=user"));
	e = parse("rdm://127.0.0.1:9?udp=1234&" KERNEL);
	CHECK(chime_rdm_serve(&r, &e, &config) < 0);
	CHECK(strstr(why, "net.sctp.udp_port=1234"));
	e = parse("rdm://127.0.0.1:9?udp=1234&" KERNEL);
	CHECK_EQ(chime_rdm_connect(&r, &e, &config), -EADDRNOTAVAIL);
	CHECK(strstr(why, "net.sctp.udp_port=1234"));
}

/* '*' serves both families with one socket, and IPv6 alone no IPv4. */
TEST(kernel_serves_the_families_that_were_asked_for)
{
	static const char *const hosts[] = { "127.0.0.1", "::1" };
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	chime_endpoint e, to;
	need_kernel();
	for (int six = 0; six < 2; six++) {
		struct echo s;
		echo_start(&s, six ? "rdm6://*:0?" KERNEL : "rdm://*:0?" KERNEL, &e);
		for (int i = 0; i < 2; i++) {
			chime_rdm *c = NULL;
			to = e;
			to.family = AF_UNSPEC;
			strcpy(to.host, hosts[i]);
			config.timeout_ns = 50 * CHIME_SEC;
			int err = chime_rdm_connect(&c, &to, &config);
			CHECK_EQ(err, six && i == 0 ? -ECONNREFUSED : 0);
			if (err < 0)
				continue;
			CHECK_EQ(chime_rdm_send(c, "x", 1, NULL, NULL), 0);
			CHECK_EQ(next(c, CHIME_RDM_MESSAGE).len, 1);
			chime_rdm_free(&c);
		}
		echo_end(&s);
	}
}

/* Over peers_max nobody new is let in, and it is counted; who is in goes on. */
TEST(kernel_lets_in_no_more_than_it_may)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	struct chime_rdm_stats stats;
	chime_endpoint e;
	struct pair p[2];
	need_kernel();
	config.peers_max = 1;
	config.timeout_ns = 0;
	chime_rdm *r = serve_with("rdm://127.0.0.1:0?" KERNEL, &e, &config);
	for (int i = 0; i < 2; i++) {
		p[i] = (struct pair){ .serves = r };
		p[i].asks = serve_with("rdm://127.0.0.1:0?" KERNEL, &e, &config);
		CHECK_EQ(chime_rdm_local(r, 0, &p[i].to.addr), 0);
		CHECK_EQ(chime_rdm_send(p[i].asks, "x", 1, &p[i].to, NULL), 0);
		if (i == 0)
			CHECK_EQ(pair_next(&p[0], r, CHIME_RDM_MESSAGE).len, 1);
		else
			CHECK_EQ(pair_next(&p[1], p[1].asks, CHIME_RDM_DOWN).why, -ECONNRESET);
	}
	chime_rdm_stats(r, &stats);
	CHECK_EQ(stats.refused, 1);
	CHECK_EQ(stats.associations, 1);
	CHECK_EQ(chime_rdm_send(p[0].asks, "y", 1, &p[0].to, NULL), 0);
	CHECK_EQ(pair_next(&p[0], r, CHIME_RDM_MESSAGE).len, 1);
	chime_rdm_free(&p[0].asks);
	chime_rdm_free(&p[1].asks);
	chime_rdm_free(&r);
}

/* A peer that is killed in the middle: what it had not acknowledged is told by number. */
TEST_LIMIT(kernel_tells_of_a_peer_that_is_gone, 60)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	chime_endpoint e;
	uint32_t id = 0;
	need_kernel();
	config.timeout_ns = 20 * CHIME_SEC;
	chime_rdm *s = serve("rdm://127.0.0.1:0?" KERNEL, &e);
	chime_rdm *c = client_of(&e, &config);
	CHECK_EQ(chime_rdm_send(c, "fetched by nobody", 17, NULL, NULL), 0);
	CHECK_EQ(chime_rdm_flush(c, 10 * CHIME_SEC), 0);
	chime_rdm_free(&s); /* aborts: data is unread */
	CHECK_EQ(next(c, CHIME_RDM_DOWN).why, -ECONNRESET);
	CHECK_EQ(chime_rdm_send(c, "to nobody", 9, NULL, &id), 0);
	struct chime_rdm_event ev = next(c, CHIME_RDM_UNDELIVERED);
	CHECK_EQ(ev.id, id);
	chime_rdm_free(&c);
}

static atomic_int sender;

static void *send_one(void *arg)
{
	static char big[60000];
	atomic_store(&sender, gettid());
	return (void *)(intptr_t)chime_rdm_send(arg, big, sizeof big, NULL, NULL);
}

/* A sender that waits for room gets it as soon as there is some, though another thread serves the handle meanwhile. */
TEST_LIMIT(kernel_tells_a_sender_of_room, 60)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	chime_endpoint e;
	pthread_t thread;
	void *err;
	need_kernel();
	chime_rdm *s = serve("rdm://127.0.0.1:0?" KERNEL, &e);
	chime_rdm *c = client_of(&e, &config);
	CHECK_EQ(chime_rdm_set_timeout(c, 0), 0);
	for (int full = 0; full < 50; usleep(2000)) /* the peer's buffer, and our own */
		full = send_one(c) == NULL ? 0 : full + 1;
	CHECK_EQ(chime_rdm_set_timeout(c, 20 * CHIME_SEC), 0);
	atomic_store(&sender, 0);
	CHECK_EQ(pthread_create(&thread, NULL, send_one, c), 0);
	for (int seen = 0; seen < 100; usleep(2000)) {
		CHECK_EQ(chime_rdm_process(c), 0);
		seen = atomic_load(&sender) && test_asleep(atomic_load(&sender)) ? seen + 1 : 0;
	}
	for (int i = 0; i < 8; i++)
		next(s, CHIME_RDM_MESSAGE);
	pthread_join(thread, &err);
	CHECK_EQ((intptr_t)err, 0);
	chime_rdm_free(&c);
	chime_rdm_free(&s);
}

/* count numbered messages, a window of them at a time, each echoed once by the other stack. */
static void ask(chime_rdm *c, unsigned count)
{
	unsigned char *seen = calloc(1, count), bytes[600];
	unsigned sent = 0, got = 0;
	while (got < count) {
		struct chime_rdm_event ev;
		while (sent < count && sent - got < 64) {
			memset(bytes, (int)sent, sizeof bytes);
			memcpy(bytes, &sent, sizeof sent);
			CHECK_EQ(chime_rdm_send(c, bytes, sizeof bytes, NULL, NULL), 0);
			sent++;
		}
		CHECK_EQ(chime_rdm_receive(c, &ev), 0);
		CHECK_EQ(ev.kind, CHIME_RDM_MESSAGE);
		unsigned n;
		CHECK_EQ(ev.len, sizeof bytes);
		memcpy(&n, ev.data, sizeof n);
		CHECK(n < count);
		CHECK_EQ(seen[n], 0);
		CHECK_EQ(ev.data[sizeof bytes - 1], n & 0xff);
		seen[n] = 1;
		got++;
	}
	free(seen);
}

/* One stack serves, the other asks, through UDP in the form of RFC 6951; the wire loses both ways. */
static void between(const char *serves, const char *asks, int percent, unsigned count)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	chime_endpoint e, to;
	struct echo s;
	char text[128];
	need_kernel();
	if (chime_rdm_available(CHIME_RDM_USER) < 0)
		SKIP("this build has no libusrsctp");
	lossy_namespace(percent);
	echo_start(&s, serves, &e);
	snprintf(text, sizeof text, asks, e.port);
	to = parse(text);
	config.timeout_ns = 60 * CHIME_SEC;
	chime_rdm *c = client_of(&to, &config);
	CHECK_NE(chime_rdm_carrier(c), chime_rdm_carrier(s.r));
	int64_t begin = test_now();
	ask(c, count);
	fprintf(stderr, "# %s asked %s, %d %% lost each way: %u messages in %.1f s\n", chime_rdm_carried_by(c),
		chime_rdm_carried_by(s.r), percent, count, (double)(test_now() - begin) / 1e9);
	CHECK_EQ(chime_rdm_close(c, 20 * CHIME_SEC), 0);
	chime_rdm_free(&c);
	echo_end(&s);
	leave_namespace();
}

/* Where nobody serves the SCTP port, the kernel's SCTP refuses, and libusrsctp tells it. */
TEST(user_is_refused_by_the_kernel)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	chime_rdm *r = NULL;
	need_kernel();
	need_user();
	lossy_namespace(0);
	config.timeout_ns = 20 * CHIME_SEC;
	chime_endpoint e = parse("rdm://127.0.0.1:7?udp=9899&carrier=user");
	CHECK_EQ(chime_rdm_connect(&r, &e, &config), -ECONNREFUSED);
	leave_namespace();
}

/* The kernel's SCTP has one UDP port: another cannot be served. */
TEST(kernel_serves_the_udp_port_that_it_has)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	char why[256] = "";
	chime_rdm *r = NULL;
	need_kernel();
	lossy_namespace(0);
	config.why = why;
	config.why_size = sizeof why;
	chime_endpoint e = parse("rdm://127.0.0.1:0?udp=1234&" KERNEL);
	CHECK_EQ(chime_rdm_serve(&r, &e, &config), -EADDRNOTAVAIL);
	CHECK(strstr(why, "has UDP port 9899"));
	e = parse("rdm://127.0.0.1:0?udp=9899&" KERNEL);
	CHECK_EQ(chime_rdm_serve(&r, &e, &config), 0);
	CHECK_STR(chime_rdm_carried_by(r), "the kernel's SCTP in UDP, port 9899");
	chime_rdm_free(&r);
	leave_namespace();
}

/* Nothing is lost between our stack and the kernel's, whoever asks, unordered and ordered. */
TEST_LIMIT(user_asks_kernel, 100)
{
	between("rdm://127.0.0.1:0?udp=9899&" KERNEL, "rdm://127.0.0.1:%d?udp=9899&carrier=user", 0, 10000);
}

TEST_LIMIT(kernel_asks_user, 100)
{
	between("rdm://127.0.0.1:0?udp=9898&carrier=user", "rdm://127.0.0.1:%d?udp=9898&" KERNEL, 0, 10000);
}

TEST_LIMIT(user_asks_kernel_with_loss, 100)
{
	between("rdm://127.0.0.1:0?udp=9899&" KERNEL, "rdm://127.0.0.1:%d?udp=9899&carrier=user", 5, 2000);
}

TEST_LIMIT(kernel_asks_user_with_loss, 100)
{
	between("rdm://127.0.0.1:0?udp=9898&carrier=user", "rdm://127.0.0.1:%d?udp=9898&" KERNEL, 5, 2000);
}

TEST_LIMIT(user_asks_kernel_in_order_over_ipv6_with_loss, 100)
{
	between("sctp+seqpacket://[::1]:0?udp=9899&" KERNEL, "sctp+seqpacket://[::1]:%d?udp=9899&carrier=user", 5,
		2000);
}

TEST_LIMIT(kernel_asks_user_in_order_over_ipv6_with_loss, 100)
{
	between("sctp+seqpacket://[::1]:0?udp=9898&carrier=user", "sctp+seqpacket://[::1]:%d?udp=9898&" KERNEL, 5,
		2000);
}

TEST_MAIN()
