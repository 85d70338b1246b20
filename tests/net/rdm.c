/* chime_rdm by its contract: opening, waiting, sizes, reports of what was not delivered, strangers, ends. */
#include "rdm_echo.h"
#include "relay.h"

#include <chime/sock.h>

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

TEST(rdm_echoes_every_size_over_ipv4)
{
	need_user();
	echo_sizes("rdm://127.0.0.1:0?" USER);
}

TEST(rdm_echoes_every_size_over_ipv6)
{
	need_user();
	echo_sizes("rdm://[::1]:0?" USER);
}

TEST(seqpacket_echoes_every_size)
{
	need_user();
	echo_sizes("sctp+seqpacket://127.0.0.1:0?" USER);
}

/* '*' serves both families with one socket, and answers from the address that was asked. */
TEST(rdm_serves_both_families)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	chime_endpoint e, to;
	struct echo s;
	need_user();
	echo_start(&s, "rdm://*:0?" USER, &e);
	config.timeout_ns = 60 * CHIME_SEC;
	for (int i = 0; i < 3; i++) {
		static const char *const hosts[] = { "127.0.0.1", "::1", "127.0.0.2" };
		to = e;
		strcpy(to.host, hosts[i]);
		chime_rdm *c = client_of(&to, &config);
		CHECK_EQ(chime_rdm_send(c, hosts[i], strlen(hosts[i]), NULL, NULL), 0);
		CHECK_EQ(next(c, CHIME_RDM_MESSAGE).len, strlen(hosts[i]));
		chime_rdm_free(&c);
	}
	echo_end(&s);
}

/* The three modes: 0 says -EAGAIN, a limit CHIME_ETIMEOUT, none waits until another thread closes. */
static void *close_soon(void *arg)
{
	struct chime_rdm_event ev;
	CHECK_EQ(chime_rdm_receive(arg, &ev), CHIME_ECLOSED);
	return NULL;
}

TEST(rdm_waits_in_three_modes)
{
	chime_endpoint e;
	struct chime_rdm_event ev;
	pthread_t thread;
	need_user();
	chime_rdm *r = serve("rdm://127.0.0.1:0?" USER, &e);
	CHECK_EQ(chime_rdm_set_timeout(r, -2), -EINVAL);
	CHECK_EQ(chime_rdm_set_timeout(r, 0), 0);
	CHECK_EQ(chime_rdm_receive(r, &ev), -EAGAIN);
	CHECK_EQ(chime_rdm_send(r, "x", 1, NULL, NULL), -EDESTADDRREQ);
	CHECK_EQ(chime_rdm_set_timeout(r, 30 * CHIME_MSEC), 0);
	int64_t begin = test_now();
	CHECK_EQ(chime_rdm_receive(r, &ev), CHIME_ETIMEOUT);
	CHECK_IN(test_now() - begin, 30 * CHIME_MSEC, 50 * CHIME_SEC);
	CHECK_EQ(chime_rdm_set_timeout(r, CHIME_FOREVER), 0);
	CHECK_EQ(pthread_create(&thread, NULL, close_soon, r), 0);
	CHECK_EQ(chime_rdm_close(r, 0), 0);
	pthread_join(thread, NULL);
	chime_rdm_free(&r);
}

/* Its descriptor is readable when something can be received, and is not when there is nothing. */
TEST(rdm_can_be_polled)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	struct chime_rdm_event ev;
	chime_endpoint e;
	struct echo s;
	need_user();
	echo_start(&s, "rdm://127.0.0.1:0?" USER, &e);
	config.timeout_ns = 60 * CHIME_SEC;
	chime_rdm *c = client_of(&e, &config);
	chime_rdm_set_timeout(c, 0);
	CHECK_EQ(chime_rdm_send(c, "hello", 5, NULL, NULL), 0);
	struct pollfd p = { chime_rdm_fileno(c), POLLIN, 0 };
	int err;
	while ((err = chime_rdm_receive(c, &ev)) == -EAGAIN || ev.kind != CHIME_RDM_MESSAGE)
		CHECK_EQ(poll(&p, 1, 60000), 1);
	CHECK_EQ(err, 0);
	CHECK_MEM(ev.data, "hello", 5);
	chime_rdm_free(&c);
	echo_end(&s);
}

/* An answer never comes to a peer that has ended the association it asked by. */
TEST_LIMIT(rdm_answers_go_by_the_association_that_asked, 60)
{
	need_user();
	answers_stay("rdm://127.0.0.1:0?" USER);
}

TEST_LIMIT(seqpacket_answers_go_by_the_association_that_asked, 60)
{
	need_user();
	answers_stay("sctp+seqpacket://[::1]:0?" USER);
}

/* Fetches what has come. How many messages. */
static unsigned fetch(struct pair *p)
{
	struct chime_rdm_event ev;
	unsigned n = 0;
	int err;
	while ((err = chime_rdm_receive(p->serves, &ev)) == 0)
		n += ev.kind == CHIME_RDM_MESSAGE;
	CHECK_EQ(err, -EAGAIN);
	CHECK_EQ(chime_rdm_process(p->asks), 0);
	return n;
}

/* A flow that opens the window, until no message is taken though the buffer has room: no chunk more. How many are still to be fetched. */
static unsigned fill(struct pair *p)
{
	static const unsigned char bytes[100];
	unsigned sent = 0, fetched = 0;
	int err = 0;
	need_user();
	pair_open(p, "rdm://127.0.0.1:0?" USER);
	while (err == 0) {
		fetched += fetch(p);
		while (sent - fetched < 8000 && err == 0) {
			err = chime_rdm_send(p->asks, bytes, sizeof bytes, &p->to, NULL);
			sent += err == 0;
		}
	}
	CHECK_EQ(err, -EAGAIN);
	return sent - fetched;
}

/* With as much under way as there may be, an association can be aborted all the same; its peer is told. */
TEST_LIMIT(rdm_aborts_whatever_is_under_way, 60)
{
	struct pair p;
	(void)fill(&p);
	CHECK_EQ(chime_rdm_end(p.asks, &p.to, true), 0);
	CHECK_EQ(pair_next(&p, p.asks, CHIME_RDM_DOWN).why, -ECONNABORTED);
	CHECK_EQ(pair_next(&p, p.serves, CHIME_RDM_DOWN).why, -ECONNRESET);
	pair_close(&p);
}

/* ... and ended in order, behind all of it. */
TEST_LIMIT(rdm_ends_behind_whatever_is_under_way, 60)
{
	struct pair p;
	unsigned sent = fill(&p);
	CHECK_EQ(chime_rdm_end(p.asks, &p.to, false), 0);
	for (unsigned i = 0; i < sent; i++)
		(void)pair_next(&p, p.serves, CHIME_RDM_MESSAGE);
	CHECK_EQ(pair_next(&p, p.serves, CHIME_RDM_DOWN).why, 0);
	CHECK_EQ(pair_next(&p, p.asks, CHIME_RDM_DOWN).why, 0);
	pair_close(&p);
}

/* ---- what was not delivered is told ---- */

/* Where nobody serves, connecting is refused at once. */
TEST(rdm_is_refused_where_nobody_is)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	char why[256], text[96];
	chime_rdm *c = NULL;
	int port;
	need_user();
	close(relay_socket(AF_INET, &port));
	snprintf(text, sizeof text, "rdm://127.0.0.1:9?udp=%d&carrier=user", port);
	chime_endpoint e = parse(text);
	config.timeout_ns = 60 * CHIME_SEC;
	config.why = why;
	config.why_size = sizeof why;
	CHECK_EQ(chime_rdm_connect(&c, &e, &config), -ECONNREFUSED);
	CHECK(strstr(why, "refused"));
	CHECK_PTR(c, NULL);
}

/* A peer who says nothing is waited for up to the limit. */
TEST(rdm_connecting_ends)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	char text[96];
	chime_rdm *c = NULL;
	int port, silent;
	need_user();
	silent = relay_socket(AF_INET, &port);
	snprintf(text, sizeof text, "rdm://127.0.0.1:9?udp=%d&carrier=user", port);
	chime_endpoint e = parse(text);
	config.timeout_ns = 300 * CHIME_MSEC;
	CHECK_EQ(chime_rdm_connect(&c, &e, &config), CHIME_ETIMEOUT);
	close(silent);
}

/* A child that serves on fixed ports until it is killed. */
static pid_t serve_in_child(const char *text, chime_endpoint *e, bool reads)
{
	int fds[2];
	CHECK_EQ(pipe(fds), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct chime_rdm_event ev;
		chime_rdm *r = serve(text, e);
		(void)!write(fds[1], e, sizeof *e);
		chime_rdm_set_timeout(r, CHIME_FOREVER);
		while (reads && chime_rdm_receive(r, &ev) == 0)
			;
		for (;;)
			pause();
	}
	close(fds[1]);
	CHECK_EQ(read(fds[0], e, sizeof *e), sizeof *e);
	close(fds[0]);
	return pid;
}

static void kill_child(pid_t pid)
{
	int status;
	kill(pid, SIGKILL);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
}

/* A peer that is killed and begins anew: what it had not acknowledged is told by number, and the next message reaches the new one. */
TEST_LIMIT(rdm_tells_of_a_peer_killed_and_restarted, 60)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	struct chime_rdm_event ev;
	chime_endpoint e;
	char text[96];
	uint32_t ids[3];
	bool told[3] = { false };
	need_user();
	pid_t pid = serve_in_child("rdm://127.0.0.1:0?" USER, &e, true);
	config.timeout_ns = 60 * CHIME_SEC;
	chime_rdm *c = client_of(&e, &config);
	CHECK_EQ(chime_rdm_send(c, "before", 6, NULL, NULL), 0);
	CHECK_EQ(chime_rdm_flush(c, 60 * CHIME_SEC), 0);
	kill_child(pid);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(chime_rdm_send(c, "lost", 4, NULL, &ids[i]), 0);
	snprintf(text, sizeof text, "rdm://127.0.0.1:%d?udp=%d&carrier=user", e.port, (int)e.set.udp_port);
	pid = serve_in_child(text, &e, true);
	for (int n = 0; n < 3; n++) {
		ev = next(c, CHIME_RDM_UNDELIVERED);
		CHECK_EQ(ev.why, -ECONNRESET);
		CHECK_IN(ev.id, ids[0], ids[2]);
		CHECK(!told[ev.id - ids[0]]);
		told[ev.id - ids[0]] = true;
	}
	ev = next(c, CHIME_RDM_DOWN);
	CHECK_EQ(ev.why, -ECONNRESET);
	CHECK_EQ(chime_rdm_send(c, "again", 5, NULL, NULL), 0);
	CHECK_EQ(chime_rdm_flush(c, 60 * CHIME_SEC), 0);
	CHECK_EQ(chime_rdm_receive(c, &ev), 0);
	CHECK_EQ(ev.kind, CHIME_RDM_UP);
	struct chime_rdm_stats stats;
	chime_rdm_stats(c, &stats);
	CHECK_EQ(stats.undelivered, 3);
	chime_rdm_free(&c);
	kill_child(pid);
}

/* A peer that stops answering: the messages are told when it is given up. */
TEST_LIMIT(rdm_tells_of_a_peer_that_stops, 60)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	chime_endpoint e;
	uint32_t id;
	need_user();
	pid_t pid = serve_in_child("rdm://127.0.0.1:0?" USER, &e, true);
	config.timeout_ns = 60 * CHIME_SEC;
	config.give_up_ns = CHIME_SEC;
	chime_rdm *c = client_of(&e, &config);
	CHECK_EQ(chime_rdm_flush(c, 60 * CHIME_SEC), 0);
	kill(pid, SIGSTOP);
	CHECK_EQ(chime_rdm_send(c, "lost", 4, NULL, &id), 0);
	struct chime_rdm_event ev = next(c, CHIME_RDM_UNDELIVERED);
	CHECK_EQ(ev.id, id);
	CHECK_EQ(ev.why, -ETIMEDOUT);
	chime_rdm_free(&c);
	kill_child(pid);
}

/* A receiver that does not fetch closes its window: the sender is told by his calls, and nothing is lost when it is fetched. */
TEST_LIMIT(rdm_tells_of_a_full_window, 60)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	static unsigned char bytes[1000];
	chime_endpoint e;
	unsigned sent = 0, got = 0;
	int err = 0;
	need_user();
	chime_rdm *s = serve("rdm://127.0.0.1:0?" USER, &e);
	chime_rdm_set_timeout(s, 0);
	config.timeout_ns = 0;
	e = parse("rdm://127.0.0.1:0?" USER);
	chime_rdm *c = serve_with("rdm://127.0.0.1:0?" USER, &e, &config);
	struct chime_rdm_peer to = { .addr = { 0 } };
	CHECK_EQ(chime_rdm_local(s, 0, &to.addr), 0);
	const char *by = strrchr(chime_rdm_carried_by(s), ' ');
	to.udp_port = (uint16_t)atoi(by + 1);
	/* Served, but not fetched: until nothing more is taken for three hundred turns. */
	for (unsigned refused = 0; refused < 300;) {
		memcpy(bytes, &sent, sizeof sent);
		err = chime_rdm_send(c, bytes, sizeof bytes, &to, NULL);
		CHECK(err == 0 || err == -EAGAIN);
		refused = err ? refused + 1 : 0;
		sent += !err;
		if (err)
			poll(NULL, 0, 1);
		CHECK_EQ(chime_rdm_process(s), 0);
		CHECK(sent < 100000);
	}
	CHECK_IN(sent, 1000, 10000); /* two buffers and a queue of 1 MiB */
	chime_rdm_set_timeout(c, 20 * CHIME_MSEC);
	CHECK_EQ(chime_rdm_send(c, bytes, sizeof bytes, &to, NULL), CHIME_ETIMEOUT);
	chime_rdm_set_timeout(c, 0);
	for (int64_t end = test_now() + 50 * CHIME_SEC; got < sent && test_now() < end;) {
		struct chime_rdm_event ev;
		CHECK_EQ(chime_rdm_process(c), 0);
		while (chime_rdm_receive(s, &ev) == 0)
			got += ev.kind == CHIME_RDM_MESSAGE;
	}
	CHECK_EQ(got, sent);
	chime_rdm_free(&c);
	chime_rdm_free(&s);
}

/* ---- strangers ---- */

struct tapped {
	unsigned packets;
	size_t bytes;
};

static void on_packet(void *arg, chime_rdm *r, const chime_addr *wire, const void *packet, size_t len)
{
	struct tapped *t = arg;
	(void)r;
	(void)wire;
	(void)packet;
	t->packets++;
	t->bytes += len;
}

/* A first packet from each of 50,000 forged sources leaves no association and no memory behind; those over the rate get no answer. */
TEST(rdm_keeps_nothing_of_strangers)
{
	struct chime_rdm_stats stats;
	struct tapped tapped = { 0 };
	chime_endpoint e;
	need_user();
	chime_rdm *r = serve("rdm://127.0.0.1:0?" USER, &e);
	int64_t now = test_now();
	unsigned char init[FIRST_PACKET];
	first_packet(init, e.port);
	chime__rdm_user_tap(on_packet, &tapped);
	for (unsigned i = 0; i < 50000; i++) {
		chime_addr from;
		char host[32];
		snprintf(host, sizeof host, "10.%u.%u.%u", i >> 16 & 255, i >> 8 & 255, i & 255);
		CHECK_EQ(chime_addr_ip(&from, AF_INET, host, 1024 + (int)(i % 60000)), 0);
		chime__rdm_user_packet(r, &from, init, sizeof init, now);
	}
	CHECK(tapped.packets > 10000); /* answered, with a cookie */
	for (unsigned i = 0; i < 5000; i++) {
		chime_addr from;
		CHECK_EQ(chime_addr_ip(&from, AF_INET, "192.0.2.1", 9), 0);
		chime__rdm_user_packet(r, &from, init, sizeof init, now);
	}
	chime__rdm_user_tap(NULL, NULL);
	chime_rdm_stats(r, &stats);
	CHECK_EQ(stats.associations, 0);
	CHECK(stats.dropped_rate >= 4800);
	struct chime_rdm_event ev;
	chime_rdm_set_timeout(r, 0);
	CHECK_EQ(chime_rdm_receive(r, &ev), -EAGAIN);
	chime_rdm_free(&r);
}

/* Over peers_max nobody new is let in, and it is counted; who is in goes on. */
TEST_LIMIT(rdm_lets_in_no_more_than_it_may, 60)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	struct chime_rdm_stats stats;
	chime_endpoint e;
	chime_rdm *c[3] = { NULL };
	need_user();
	config.peers_max = 2;
	struct echo s = { .r = serve_with("rdm://127.0.0.1:0?" USER, &e, &config) };
	CHECK_EQ(pthread_create(&s.thread, NULL, run_echo, &s), 0);
	config.peers_max = 1;
	config.timeout_ns = 60 * CHIME_SEC;
	for (int i = 0; i < 2; i++)
		c[i] = client_of(&e, &config);
	config.timeout_ns = 500 * CHIME_MSEC;
	config.why = NULL;
	config.why_size = 0;
	CHECK_EQ(chime_rdm_connect(&c[2], &e, &config), CHIME_ETIMEOUT);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(chime_rdm_send(c[i], "x", 1, NULL, NULL), 0);
		CHECK_EQ(next(c[i], CHIME_RDM_MESSAGE).len, 1);
		chime_rdm_free(&c[i]);
	}
	chime_rdm_stats(s.r, &stats);
	CHECK(stats.refused > 0);
	echo_end(&s);
}

/* ---- what carries it ---- */

/* A carrier that is asked for and not there is an error that names ways out, never another carrier. */
TEST(rdm_carrier_is_never_another)
{
	static const enum chime_rdm_carrier kinds[] = { CHIME_RDM_KERNEL, CHIME_RDM_USER };
	for (int i = 0; i < 2; i++) {
		struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
		char why[256] = "";
		chime_rdm *r = NULL;
		chime_endpoint e = parse(kinds[i] == CHIME_RDM_KERNEL ? "rdm://127.0.0.1:0?carrier=kernel"
								      : "rdm://127.0.0.1:0?carrier=user&udp=0");
		config.why = why;
		config.why_size = sizeof why;
		int there = chime_rdm_available(kinds[i]), err = chime_rdm_serve(&r, &e, &config);
		CHECK_EQ(err, there);
		if (err == 0) {
			CHECK_EQ(chime_rdm_carrier(r), kinds[i]);
			CHECK(strstr(chime_rdm_carried_by(r), kinds[i] == CHIME_RDM_KERNEL ? "kernel" : "libusrsctp"));
		} else {
			CHECK(strstr(why, "sctp") && strstr(why, "libusrsctp"));
		}
		chime_rdm_free(&r);
	}
	chime_rdm *r;
	chime_endpoint e = parse("udp://127.0.0.1:1");
	CHECK_EQ(chime_rdm_connect(&r, &e, NULL), CHIME_ESCHEME);
}

/* A UDP port that is another's is an error with a way out. */
TEST(rdm_says_that_a_port_is_taken)
{
	struct chime_rdm_config config = CHIME_RDM_CONFIG_INIT;
	char why[256] = "", text[96];
	chime_endpoint e;
	chime_rdm *second = NULL;
	need_user();
	chime_rdm *r = serve("rdm://127.0.0.1:0?" USER, &e);
	snprintf(text, sizeof text, "rdm://127.0.0.1:%d?udp=%d&carrier=user", e.port == 9 ? 10 : 9,
		 (int)e.set.udp_port);
	config.why = why;
	config.why_size = sizeof why;
	chime_endpoint other = parse(text);
	CHECK_EQ(chime_rdm_serve(&second, &other, &config), -EADDRINUSE);
	CHECK(strstr(why, "udp="));
	snprintf(text, sizeof text, "rdm://127.0.0.1:%d?udp=0&carrier=user", e.port);
	other = parse(text);
	CHECK_EQ(chime_rdm_serve(&second, &other, &config), -EADDRINUSE);
	CHECK(strstr(why, "SCTP port"));
	chime_rdm_free(&r);
}

/* Signals are for the application's own threads: the stack's takes none. */
TEST(rdm_thread_takes_no_signals)
{
	chime_endpoint e;
	unsigned others = 0;
	need_user();
	chime_rdm *r = serve("rdm://127.0.0.1:0?" USER, &e);
	DIR *tasks = opendir("/proc/self/task");
	CHECK(tasks != NULL);
	for (struct dirent *d; (d = readdir(tasks));) {
		char path[300], line[256];
		unsigned long long blocked = 0;
		if (d->d_name[0] == '.' || atoi(d->d_name) == getpid())
			continue;
		snprintf(path, sizeof path, "/proc/self/task/%s/status", d->d_name);
		FILE *f = fopen(path, "re");
		while (f && fgets(line, sizeof line, f))
			if (sscanf(line, "SigBlk: %llx", &blocked) == 1)
				others++;
		if (f)
			fclose(f);
		CHECK(blocked >> (SIGINT - 1) & 1);
		CHECK(blocked >> (SIGALRM - 1) & 1);
		CHECK(blocked >> (SIGUSR1 - 1) & 1);
	}
	closedir(tasks);
	CHECK(others >= 1);
	chime_rdm_free(&r);
}

/*
 * In a child of fork(2) the stack's thread is missing: every call says so, freeing gives back every descriptor, and the child may have
 * a handle of its own. The parent's goes on.
 */
TEST(rdm_is_the_parents_after_fork)
{
	chime_endpoint e;
	need_user();
	chime_rdm *r = serve("rdm://127.0.0.1:0?" USER, &e); /* what the stack keeps is open then */
	chime_rdm_free(&r);
	int first = chime_fd_dup(0);
	CHECK_EQ(chime_fd_close(first), 0);
	r = serve("rdm://127.0.0.1:0?" USER, &e);
	pid_t pid = fork();
	if (pid == 0) {
		struct chime_rdm_event ev;
		chime_rdm *own;
		chime_endpoint any = parse("rdm://127.0.0.1:0?" USER);
		CHECK_EQ(chime_rdm_receive(r, &ev), CHIME_ECLOSED);
		CHECK_EQ(chime_rdm_process(r), CHIME_ECLOSED);
		chime_rdm_free(&r);
		for (int i = 0; i < 6; i++)
			CHECK_EQ(chime_fd_dup(0), first + i);
		for (int i = 0; i < 6; i++)
			CHECK_EQ(chime_fd_close(first + i), 0);
		CHECK_EQ(chime_rdm_serve(&own, &any, NULL), 0);
		CHECK_EQ(chime_rdm_process(own), 0);
		chime_rdm_free(&own);
		_exit(0);
	}
	int status;
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(chime_rdm_process(r), 0);
	chime_rdm_free(&r);
}

TEST_MAIN()
