/* Look-ups: order, limits, and that a resolver which never answers leaves nothing behind. */
#include "net/resolve.h"
#include "net/lookup.h"
#include "net/sock.h"

#include <chime/names.h>
#include <runner/test.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static int entries(const char *dir)
{
	int n = 0;
	DIR *d = opendir(dir);
	for (struct dirent *e; d && (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static void *nothing(void *arg)
{
	return arg;
}

/* How many threads there are without ours: thread sanitizers have one of their own, from the first that we start. */
static int other_threads(void)
{
	static int others;
	pthread_t t;
	if (others > 0)
		return others;
	CHECK_EQ(pthread_create(&t, NULL, nothing, NULL), 0);
	pthread_join(t, NULL);
	usleep(1000);
	return others = entries("/proc/self/task");
}

static int our_threads(void)
{
	return entries("/proc/self/task") - other_threads();
}

static void wait_for_threads(int n)
{
	for (int64_t until = test_now() + 60 * CHIME_SEC; our_threads() != n && test_now() < until;)
		usleep(1000);
	CHECK_EQ(our_threads(), n);
}

/* ---- a resolver of our own ---- */

static const char *fake_list = "192.0.2.1";
static _Atomic int asked, waiting, released;
static sem_t go_on;
static _Atomic bool stuck;

static struct addrinfo *fake_entry(const char *text)
{
	struct addrinfo *ai = calloc(1, sizeof(*ai)), hints = { .ai_flags = AI_NUMERICHOST }, *real;
	if (getaddrinfo(text, NULL, &hints, &real) != 0)
		abort();
	ai->ai_family = real->ai_family;
	ai->ai_addrlen = real->ai_addrlen;
	ai->ai_addr = malloc(real->ai_addrlen);
	memcpy(ai->ai_addr, real->ai_addr, real->ai_addrlen);
	freeaddrinfo(real);
	return ai;
}

/* What a program that another thread starts just now would inherit. */
static int inheritable_descriptors(void)
{
	int n = 0;
	for (int fd = 3; fd < 100; fd++) {
		int flags = fcntl(fd, F_GETFD);
		n += flags >= 0 && !(flags & FD_CLOEXEC);
	}
	return n;
}

static _Atomic bool helper_takes_signals;
static _Atomic int inheritable, fails_with, fails_errno;

static int fake_ask(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
	char list[256], *save, *word;
	(void)service;
	(void)hints;
	atomic_fetch_add(&asked, 1);
	inheritable = inheritable_descriptors();
	sigset_t blocked;
	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	helper_takes_signals = !sigismember(&blocked, SIGINT) || !sigismember(&blocked, SIGALRM);
	if (stuck) {
		atomic_fetch_add(&waiting, 1);
		sem_wait(&go_on);
	}
	errno = fails_errno;
	if (fails_with)
		return fails_with;
	if (strcmp(host, "nothing.test") == 0)
		return EAI_NONAME;
	snprintf(list, sizeof(list), "%s", fake_list);
	for (word = strtok_r(list, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		*out = fake_entry(word);
		out = &(*out)->ai_next;
	}
	return 0;
}

static void fake_release(struct addrinfo *list)
{
	atomic_fetch_add(&released, 1);
	while (list) {
		struct addrinfo *next = list->ai_next;
		free(list->ai_addr);
		free(list);
		list = next;
	}
}

static void use_fake(void)
{
	chime__resolver = (struct chime__resolver){ fake_ask, fake_release };
	sem_init(&go_on, 0, 0);
	other_threads();
}

static struct chime_target got[CHIME_TARGETS];

static void check_target(int i, const char *addr)
{
	char text[CHIME_ADDR_TEXT];
	chime_addr_print(&got[i].addr, text, sizeof(text));
	CHECK_STR(text, addr);
}

/* ---- tests ---- */

/* Numeric hosts are never looked up, whatever the limit. */
TEST(numeric_hosts_are_not_looked_up)
{
	use_fake();
	CHECK_EQ(chime_resolve("192.0.2.7", 80, AF_UNSPEC, SOCK_STREAM, IPPROTO_TCP, false, 0, got, 4), 1);
	check_target(0, "192.0.2.7:80");
	CHECK_EQ(got[0].family, AF_INET);
	CHECK_EQ(got[0].type, SOCK_STREAM);
	CHECK_EQ(got[0].protocol, IPPROTO_TCP);
	CHECK_EQ(chime_resolve("2001:db8::1", 80, AF_INET6, SOCK_DGRAM, 0, false, 0, got, 4), 1);
	check_target(0, "[2001:db8::1]:80");
	CHECK_EQ(chime_resolve("::1", 80, AF_INET, SOCK_STREAM, 0, false, 0, got, 4), CHIME_EAI(EAI_ADDRFAMILY));
	CHECK_EQ(atomic_load(&asked), 0);
	CHECK_EQ(our_threads(), 0);
}

/* A port beyond 65535 is an error, never another port. */
TEST(ports_out_of_range_are_refused)
{
	use_fake();
	CHECK_EQ(chime_resolve("127.0.0.1", 65536, AF_UNSPEC, SOCK_STREAM, 0, false, 0, got, 4), -ERANGE);
	CHECK_EQ(chime_resolve("name.test", -1, AF_UNSPEC, SOCK_STREAM, 0, false, 0, got, 4), -ERANGE);
	CHECK_EQ(chime_resolve("name.test", 65536, AF_UNSPEC, SOCK_STREAM, 0, false, CHIME_SEC, got, 4), -ERANGE);
	CHECK_EQ(atomic_load(&asked), 0);
	chime_sock *s;
	CHECK_EQ(chime_create_connection(&s, "127.0.0.1", 70000, NULL), -ERANGE);
	CHECK_PTR(s, NULL);
	CHECK_EQ(chime_create_server(&s, AF_INET, "", 70000, -1, false, false), -ERANGE);
	CHECK_PTR(s, NULL);
}

/* No host: loopback to connect to, any address to serve; six before four. */
TEST(no_host_is_loopback_or_any)
{
	CHECK_EQ(chime_resolve(NULL, 5, AF_UNSPEC, SOCK_STREAM, 0, false, 0, got, 4), 2);
	check_target(0, "[::1]:5");
	check_target(1, "127.0.0.1:5");
	CHECK_EQ(chime_resolve("", 5, AF_UNSPEC, SOCK_STREAM, 0, true, 0, got, 4), 2);
	check_target(0, "[::]:5");
	check_target(1, "0.0.0.0:5");
	CHECK_EQ(chime_resolve("", 5, AF_INET, SOCK_STREAM, 0, true, 0, got, 4), 1);
	check_target(0, "0.0.0.0:5");
	CHECK_EQ(chime_resolve("", 5, AF_UNIX, SOCK_STREAM, 0, true, 0, got, 4), -EAFNOSUPPORT);
	CHECK_EQ(chime_resolve("", 5, AF_INET, SOCK_STREAM, 0, true, 0, got, 0), -EINVAL);
}

/* A name gives its addresses in the resolver's order, once each, at most as many as there is room for. */
TEST(names_give_their_addresses_once)
{
	use_fake();
	fake_list = "2001:db8::1 192.0.2.1 2001:db8::1 192.0.2.2 192.0.2.1";
	CHECK_EQ(chime_resolve("name.test", 443, AF_UNSPEC, SOCK_STREAM, 262, false, CHIME_FOREVER, got, 64), 3);
	check_target(0, "[2001:db8::1]:443");
	check_target(1, "192.0.2.1:443");
	check_target(2, "192.0.2.2:443");
	CHECK_EQ(got[2].protocol, 262);
	CHECK_EQ(chime_resolve("name.test", 443, AF_UNSPEC, SOCK_STREAM, 0, false, 60 * CHIME_SEC, got, 2), 2);
	CHECK_EQ(atomic_load(&asked), 2);
	CHECK_EQ(atomic_load(&released), 2);
	wait_for_threads(0);
}

/* Every code of the resolver's is told as itself, and EAI_SYSTEM as the errno behind it. */
TEST(resolver_codes_are_told_as_they_are)
{
	static const int codes[] = { EAI_BADFLAGS, EAI_NONAME, EAI_AGAIN, EAI_FAIL, EAI_SERVICE, EAI_NODATA };
	struct chime_addrinfo *list;
	use_fake();
	for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
		fails_with = codes[i];
		CHECK_EQ(chime_resolve("name.test", 1, AF_UNSPEC, SOCK_STREAM, 0, false, CHIME_FOREVER, got, 4),
			 CHIME_EAI(codes[i]));
		CHECK_EQ(chime_getaddrinfo("name.test", NULL, 0, 0, 0, 0, CHIME_FOREVER, &list), CHIME_EAI(codes[i]));
		CHECK_PTR(list, NULL);
	}
	fails_with = EAI_SYSTEM;
	fails_errno = EMFILE;
	CHECK_EQ(chime_resolve("name.test", 1, AF_UNSPEC, SOCK_STREAM, 0, false, CHIME_FOREVER, got, 4), -EMFILE);
	fails_errno = 0; /* a resolver that forgot to say it */
	CHECK_EQ(chime_resolve("name.test", 1, AF_UNSPEC, SOCK_STREAM, 0, false, CHIME_FOREVER, got, 4), -EIO);
}

/* Signals are for the application's own threads. */
TEST(helpers_take_no_signals)
{
	use_fake();
	helper_takes_signals = true;
	CHECK_EQ(chime_resolve("name.test", 1, AF_UNSPEC, SOCK_STREAM, 0, false, CHIME_FOREVER, got, 4), 1);
	CHECK(!helper_takes_signals);
}

/* What a parent's threads look up is no child's burden: it has none of them, and may look up as much as anyone. */
TEST(children_begin_without_look_ups)
{
	int status = -1;
#ifdef __SANITIZE_THREAD__
	SKIP("the thread sanitizer lets the child of a process with threads begin none");
#endif
	use_fake();
	stuck = true;
	for (int i = 0; i < RESOLVE_THREADS; i++)
		CHECK_EQ(chime_resolve("name.test", 1, AF_UNSPEC, SOCK_STREAM, 0, false, 0, got, 4), CHIME_ETIMEOUT);
	/* A thread that is only beginning may hold a lock of the sanitizer's, which the child would never get. */
	for (int64_t until = test_now() + 60 * CHIME_SEC; waiting < RESOLVE_THREADS && test_now() < until;)
		usleep(1000);
	CHECK_EQ(waiting, RESOLVE_THREADS);
	pid_t pid = fork();
	if (pid == 0) {
		stuck = false;
		_exit(chime_resolve("name.test", 1, AF_UNSPEC, SOCK_STREAM, 0, false, 30 * CHIME_SEC, got, 4) != 1);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	for (int i = 0; i < RESOLVE_THREADS; i++)
		sem_post(&go_on);
	wait_for_threads(0);
}

/* A program that is started while a name is looked up inherits nothing of the look-up. */
TEST(look_ups_leave_nothing_to_inherit)
{
	use_fake();
	int before = inheritable_descriptors();
	CHECK_EQ(chime_resolve("name.test", 1, AF_UNSPEC, SOCK_STREAM, 0, false, CHIME_FOREVER, got, 4), 1);
	CHECK_EQ(inheritable, before);
}

/* What the resolver says is a code in the range of its own. */
TEST(names_that_are_not_there)
{
	use_fake();
	int err = chime_resolve("nothing.test", 1, AF_UNSPEC, SOCK_STREAM, 0, false, CHIME_FOREVER, got, 4);
	CHECK_EQ(err, CHIME_EAI(EAI_NONAME));
	CHECK(CHIME_IS_EAI(err));
	wait_for_threads(0);
}

/* localhost is known without a network. */
TEST(localhost_is_found)
{
	other_threads();
	int n = chime_resolve("localhost", 7, AF_INET, SOCK_STREAM, 0, false, 60 * CHIME_SEC, got, 4);
	CHECK_EQ(n, 1);
	check_target(0, "127.0.0.1:7");
	wait_for_threads(0);
}

/* A resolver that does not answer costs no more than the limit; its thread ends by itself and leaves nothing. */
TEST(limit_ends_a_look_up_and_nothing_leaks)
{
	int fds = entries("/proc/self/fd");
	use_fake();
	stuck = true;
	for (int i = 0; i < 5; i++) {
		int64_t start = test_now();
		CHECK_EQ(chime_resolve("name.test", 1, AF_UNSPEC, SOCK_STREAM, 0, false, 50 * CHIME_MSEC, got, 4),
			 CHIME_ETIMEOUT);
		CHECK_IN(test_now() - start, 50 * CHIME_MSEC, 50 * CHIME_SEC);
		CHECK_EQ(entries("/proc/self/fd"), fds); /* at once, not only when the thread has gone */
	}
	CHECK_EQ(our_threads(), 5);
	for (int i = 0; i < 5; i++)
		sem_post(&go_on);
	wait_for_threads(0);
	CHECK_EQ(atomic_load(&released), 5); /* the lists that came too late */
	CHECK_EQ(entries("/proc/self/fd"), fds);
}

/* The same with the system's resolver, asking a server that is silent, in namespaces of our own. */
TEST(limit_ends_a_real_look_up)
{
	char conf[128];
	chime_sock *dns;
	chime_addr at;
	snprintf(conf, sizeof(conf), "%s/resolv.conf", test_dir());
	FILE *f = fopen(conf, "w");
	CHECK(f);
	fputs("nameserver 127.0.0.1\noptions timeout:5 attempts:1\n", f);
	fclose(f);
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0)
		SKIP("no namespaces of our own: %s", chime_strerror(-errno));
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(conf, "/etc/resolv.conf", NULL, MS_BIND, NULL) < 0 || system("ip link set lo up") != 0)
		SKIP("could not prepare them: %s", chime_strerror(-errno));
	CHECK_EQ(chime_open(&dns, AF_INET, SOCK_DGRAM, 0), 0);
	CHECK_EQ(chime_addr_ip(&at, AF_INET, "127.0.0.1", 53), 0);
	CHECK_EQ(chime_bind(dns, &at), 0);
	other_threads();
	int64_t start = test_now();
	CHECK_EQ(chime_resolve("silent.test", 1, AF_UNSPEC, SOCK_STREAM, 0, false, 100 * CHIME_MSEC, got, 4),
		 CHIME_ETIMEOUT);
	CHECK_IN(test_now() - start, 100 * CHIME_MSEC, 4900 * CHIME_MSEC);
	CHECK_EQ(chime_set_timeout(dns, 60 * CHIME_SEC), 0);
	CHECK(chime_recv(dns, conf, sizeof(conf), 0) > 12); /* it was asked */
	wait_for_threads(0);
	chime_free(&dns);
}

/* The look-up is inside the limit of create_connection. */
TEST(create_connection_limits_its_look_up)
{
	chime_sock *s;
	char why[256] = "";
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	config.timeout_ns = 60 * CHIME_MSEC;
	config.why = why;
	config.why_size = sizeof(why);
	use_fake();
	stuck = true;
	int64_t start = test_now();
	CHECK_EQ(chime_create_connection(&s, "name.test", 1, &config), CHIME_ETIMEOUT);
	CHECK_IN(test_now() - start, 60 * CHIME_MSEC, 50 * CHIME_SEC);
	CHECK_PTR(s, NULL);
	CHECK(strstr(why, "name.test: "));
	sem_post(&go_on);
	wait_for_threads(0);
}

/* More look-ups than the ceiling are refused, and taken again once the others have ended. */
TEST(look_ups_have_a_ceiling)
{
	use_fake();
	stuck = true;
	for (int i = 0; i < RESOLVE_THREADS; i++)
		CHECK_EQ(chime_resolve("name.test", 1, AF_UNSPEC, SOCK_STREAM, 0, false, 0, got, 4), CHIME_ETIMEOUT);
	for (int i = 0; i < RESOLVE_THREADS; i++) /* a refused one takes no place */
		CHECK_EQ(chime_resolve("name.test", 1, AF_UNSPEC, SOCK_STREAM, 0, false, 0, got, 4), -EAGAIN);
	for (int i = 0; i < RESOLVE_THREADS; i++)
		sem_post(&go_on);
	wait_for_threads(0);
	stuck = false;
	CHECK_EQ(chime_resolve("name.test", 1, AF_UNSPEC, SOCK_STREAM, 0, false, CHIME_FOREVER, got, 4), 1);
	wait_for_threads(0);
}

static volatile sig_atomic_t alarms;

static void on_alarm(int signo)
{
	(void)signo;
	alarms++;
}

static int stop_at_third(void *arg)
{
	return ++*(int *)arg == 3;
}

static void alarm_every(int ms)
{
	struct sigaction sa = { .sa_handler = on_alarm };
	struct itimerval each = { { 0, ms * 1000 }, { 0, ms * 1000 } };
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &each, NULL);
}

/* Signals do not lengthen a look-up, unless the hook ends it; they are never handled in the helper thread. */
TEST(signals_and_look_ups)
{
	int asks = 0, calls = 0;
	use_fake();
	stuck = true;
	alarm_every(10);
	for (; alarms <= 2 && calls < 100; calls++) { /* who does not run for so long gets one signal for many */
		int64_t start = test_now();
		CHECK_EQ(chime_resolve("name.test", 1, AF_UNSPEC, SOCK_STREAM, 0, false, 100 * CHIME_MSEC, got, 4),
			 CHIME_ETIMEOUT);
		CHECK_IN(test_now() - start, 100 * CHIME_MSEC, 50 * CHIME_SEC);
	}
	CHECK(alarms > 2);
	chime_set_interrupted(stop_at_third, &asks);
	CHECK_EQ(chime_resolve("name.test", 1, AF_UNSPEC, SOCK_STREAM, 0, false, CHIME_FOREVER, got, 4), -EINTR);
	CHECK_EQ(asks, 3);
	alarm_every(0);
	chime_set_interrupted(NULL, NULL);
	for (int i = 0; i <= calls; i++)
		sem_post(&go_on);
	wait_for_threads(0);
}

static chime_endpoint endpoint(const char *text)
{
	chime_endpoint e;
	CHECK_EQ(chime_endpoint_parse(&e, text, NULL, NULL, NULL), 0);
	return e;
}

/* Endpoints of every scheme that opens give their targets; no host means what the endpoint syntax says. */
TEST(endpoints_give_targets)
{
	chime_endpoint e = endpoint("udp://:53");
	CHECK_EQ(chime_endpoint_resolve(&e, true, 0, got, 4), 2);
	check_target(0, "127.0.0.1:53");
	check_target(1, "[::1]:53");
	CHECK_EQ(got[0].type, SOCK_DGRAM);
	e = endpoint("udp://*:53");
	CHECK_EQ(chime_endpoint_resolve(&e, true, 0, got, 4), 2);
	check_target(0, "[::]:53");
	e = endpoint("tcp4://:80");
	CHECK_EQ(chime_endpoint_resolve(&e, true, 0, got, 4), 1);
	check_target(0, "0.0.0.0:80");
	CHECK_EQ(chime_endpoint_resolve(&e, false, 0, got, 4), 1);
	check_target(0, "127.0.0.1:80");
	e = endpoint("unix+seqpacket:@name");
	CHECK_EQ(chime_endpoint_resolve(&e, false, 0, got, 4), 1);
	check_target(0, "@name");
	CHECK_EQ(got[0].type, SOCK_SEQPACKET);
	CHECK_EQ(got[0].family, AF_UNIX);
	e.scheme = CHIME_FD;
	CHECK_EQ(chime_endpoint_resolve(&e, false, 0, got, 4), CHIME_ESCHEME);
	for (int scheme = 0; scheme < CHIME_SCHEMES; scheme++) {
		e.scheme = (enum chime_scheme)scheme;
		if (!chime_scheme_info(e.scheme)->opens)
			CHECK_EQ(chime_endpoint_resolve(&e, false, 0, got, 4), CHIME_ESCHEME);
	}
}

/* Raw endpoints have no port; their protocol is the family's, or the one that is written. */
TEST(raw_endpoints_give_their_protocol)
{
	chime_endpoint e = endpoint("icmp://[::1]");
	CHECK_EQ(chime_endpoint_resolve(&e, false, 0, got, 4), 1);
	check_target(0, "[::1]:0");
	CHECK_EQ(got[0].protocol, IPPROTO_ICMPV6);
	e = endpoint("icmp://127.0.0.1");
	CHECK_EQ(chime_endpoint_resolve(&e, false, 0, got, 4), 1);
	CHECK_EQ(got[0].protocol, IPPROTO_ICMP);
	e = endpoint("ip://127.0.0.1/99");
	CHECK_EQ(chime_endpoint_resolve(&e, false, 0, got, 4), 1);
	check_target(0, "127.0.0.1:0");
	CHECK_EQ(got[0].type, SOCK_RAW);
	CHECK_EQ(got[0].protocol, 99);
	e.port = 0;
	CHECK_EQ(chime_endpoint_resolve(&e, false, 0, got, 4), -EPROTONOSUPPORT);
	e.port = IPPROTO_RAW;
	CHECK_EQ(chime_endpoint_resolve(&e, false, 0, got, 4), -EPROTONOSUPPORT);
}

TEST_MAIN()
