/* Opening an endpoint: all of its addresses for all workers on one port, or nothing and a sentence that says why. */
#include "server/listen.h"

#include "runner/test.h"

#include <chime/connect.h>
#include <chime/error.h>
#include <chime/service.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char why[512];

static chime_endpoint endpoint(const char *text)
{
	chime_endpoint e;
	struct chime_endpoint_error error = { 0 };
	if (chime_endpoint_parse(&e, text, NULL, NULL, &error) < 0) {
		fprintf(stderr, "%s: %s\n", text, error.message);
		CHECK(false);
	}
	return e;
}

static int open_text(struct listen_set *set, const char *text, unsigned workers)
{
	chime_endpoint e = endpoint(text);
	return chime__listen_open(set, &e, workers, why, sizeof why);
}

static void must_open(struct listen_set *set, chime_endpoint *e, unsigned workers)
{
	int err = chime__listen_open(set, e, workers, why, sizeof why);
	if (err < 0)
		fprintf(stderr, "%s\n", why);
	CHECK_EQ(err, 0);
	CHECK_STR(why, "");
}

static int int_option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof value;
	CHECK_EQ(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

static bool connects(const char *host, int port)
{
	chime_addr a;
	CHECK_EQ(chime_addr_ip(&a, AF_UNSPEC, host, port), 0);
	int fd = socket(a.u.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool yes = connect(fd, &a.u.sa, a.len) == 0;
	close(fd);
	return yes;
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	CHECK(fd >= 0);
	CHECK_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

/* A network of this test's own, with a loopback that is up or not. */
static void own_network(bool up)
{
	if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0)
		SKIP("needs root for a network namespace");
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (up)
		CHECK_EQ(ioctl(fd, SIOCSIFFLAGS, &lo), 0);
	close(fd);
}

/* An empty host is every address of both families, by one socket for each worker, all on the port that was got. */
TEST(listen_serves_both_families_on_one_port)
{
	struct listen_set set;
	chime_endpoint e = endpoint("tcp://:0");
	must_open(&set, &e, 3);
	CHECK(e.port > 0);
	CHECK_EQ(set.n, 1);
	CHECK_EQ(set.workers, 3);
	CHECK(!set.socks[0].shared);
	CHECK_EQ(chime_addr_port(&set.socks[0].addr), e.port);
	for (unsigned i = 0; i < 3; i++) {
		int fd = set.socks[0].fds[i];
		chime_addr a = { .len = sizeof a.u };
		CHECK_EQ(getsockname(fd, &a.u.sa, &a.len), 0);
		CHECK_EQ(chime_addr_port(&a), e.port);
		CHECK_EQ(int_option(fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
		CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
		CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		CHECK_EQ(int_option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
		CHECK_EQ(int_option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
		for (unsigned k = 0; k < i; k++)
			CHECK_NE(fd, set.socks[0].fds[k]);
	}
	CHECK(connects("127.0.0.1", e.port));
	CHECK(connects("::1", e.port));
	chime__listen_close(&set);
	CHECK(!connects("127.0.0.1", e.port));
}

/* [::] is IPv6 alone, and a 4 or 6 after the scheme pins the family: the other family's port stays free. */
TEST(listen_keeps_families_apart_where_asked)
{
	static const char *const six[] = { "tcp://[::]:0", "tcp6://:0", "udp6://*:0" };
	for (unsigned i = 0, tries = 0; i < 3;) {
		struct listen_set a, b;
		chime_endpoint e = endpoint(six[i]), four = endpoint(i < 2 ? "tcp4://:0" : "udp4://*:0");
		must_open(&a, &e, 2);
		CHECK_EQ(a.n, 1);
		CHECK_EQ(a.socks[0].family, AF_INET6);
		CHECK_EQ(int_option(a.socks[0].fds[0], IPPROTO_IPV6, IPV6_V6ONLY), 1);
		four.port = e.port;
		int err = chime__listen_open(&b, &four, 2, why, sizeof why);
		if (err == -EADDRINUSE && ++tries < 20) { /* by somebody beside us: another port */
			chime__listen_close(&a);
			continue;
		}
		CHECK_STR(why, "");
		CHECK_EQ(err, 0);
		CHECK_EQ(b.socks[0].family, AF_INET);
		chime__listen_close(&a);
		chime__listen_close(&b);
		i++;
	}
}

/* UDP without a host is the loopback of both families; '*' is every address, and then the local address is told. */
TEST(listen_binds_udp_to_loopback_unless_told)
{
	struct listen_set set;
	chime_endpoint e = endpoint("udp://:0"), any = endpoint("udp://*:0");
	must_open(&set, &e, 2);
	CHECK_EQ(set.n, 2);
	for (unsigned i = 0; i < 2; i++) {
		CHECK(chime_addr_is_loopback(&set.socks[i].addr));
		CHECK_EQ(chime_addr_port(&set.socks[i].addr), e.port);
	}
	CHECK_NE(set.socks[0].family, set.socks[1].family);
	chime__listen_close(&set);
	must_open(&set, &any, 2);
	CHECK_EQ(set.n, 1);
	CHECK(chime_addr_is_any(&set.socks[0].addr));
	CHECK_EQ(int_option(set.socks[0].fds[1], IPPROTO_IPV6, IPV6_RECVPKTINFO), 1);
	CHECK_EQ(int_option(set.socks[0].fds[1], IPPROTO_IPV6, IPV6_V6ONLY), 0);
	chime__listen_close(&set);
}

/* A name serves all its addresses, on one port. */
TEST(listen_serves_all_addresses_of_a_name)
{
	struct listen_set set;
	struct chime_target targets[8];
	chime_endpoint e = endpoint("tcp://localhost:0");
	int n = chime_endpoint_resolve(&e, true, 60 * CHIME_SEC, targets, 8);
	if (n < 1)
		SKIP("localhost has no address here");
	must_open(&set, &e, 2);
	CHECK_EQ(set.n, n);
	for (int i = 0; i < n; i++)
		CHECK_EQ(chime_addr_port(&set.socks[i].addr), e.port);
	chime__listen_close(&set);
}

/* A second server on the port is refused with the holder's pid and name, also where the first has siblings. */
TEST(listen_refuses_a_port_in_use_and_names_the_holder)
{
	static const char *const first[] = { "tcp://127.0.0.1:0", "tcp://:0", "udp://127.0.0.1:0", "udp://*:0" };
	static const char *const second[] = { "tcp://127.0.0.1:%d", "tcp4://:%d", "udp://127.0.0.1:%d", "udp4://*:%d" };
	for (unsigned i = 0; i < 4; i++) {
		struct listen_set a, b;
		chime_endpoint e = endpoint(first[i]);
		char text[64], wanted[200];
		must_open(&a, &e, 3);
		snprintf(text, sizeof text, second[i], e.port);
		pid_t holder = getpid(), pid = fork();
		if (pid == 0) {
			int err = open_text(&b, text, 3);
			CHECK_EQ(err, -EADDRINUSE);
			CHECK_EQ(b.n, 0);
			for (unsigned k = 0; k < 3; k++)
				close(a.socks[0].fds[k]);
			/* The child inherited the sockets: it counts itself as holder. */
			snprintf(wanted, sizeof wanted, "bind %s:%d: address in use, held by ",
				 i % 2 ? "0.0.0.0" : "127.0.0.1", e.port);
			CHECK(!strncmp(why, wanted, strlen(wanted)));
			err = open_text(&b, text, 3);
			CHECK_EQ(err, -EADDRINUSE);
			snprintf(wanted, sizeof wanted, "bind %s:%d: address in use, held by pid %ld (test_server_lis)",
				 i % 2 ? "0.0.0.0" : "127.0.0.1", e.port, (long)holder);
			CHECK_STR(why, wanted);
			_exit(0);
		}
		int status;
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK_EQ(status, 0);
		chime__listen_close(&a);
	}
}

/* With reuseport=yes two servers share the port on purpose; one that did not ask is still refused. */
TEST(listen_shares_a_port_on_purpose)
{
	struct listen_set a, b, c;
	chime_endpoint e = endpoint("tcp://127.0.0.1:0?reuseport=yes"), same;
	must_open(&a, &e, 1);
	same = e;
	must_open(&b, &same, 2);
	same.set.reuseport = false;
	CHECK_EQ(chime__listen_open(&c, &same, 2, why, sizeof why), -EADDRINUSE);
	chime__listen_close(&a);
	chime__listen_close(&b);
}

/* Siblings are one group: datagrams from many sources come to all workers. */
TEST(listen_spreads_over_workers)
{
	struct listen_set set;
	chime_endpoint e = endpoint("udp://127.0.0.1:0");
	unsigned got[4] = { 0 }, sum = 0;
	must_open(&set, &e, 4);
	for (unsigned i = 0; i < 200; i++) {
		int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		CHECK_EQ(sendto(fd, "x", 1, 0, &set.socks[0].addr.u.sa, set.socks[0].addr.len), 1);
		close(fd);
	}
	struct pollfd come[4];
	for (unsigned i = 0; i < 4; i++)
		come[i] = (struct pollfd){ set.socks[0].fds[i], POLLIN, 0 };
	while (sum < 200 && poll(come, 4, 20000) > 0) { /* what was sent may still be on its way */
		char c;
		for (unsigned i = 0; i < 4; i++)
			while (recv(come[i].fd, &c, 1, 0) == 1)
				got[i]++, sum++;
	}
	CHECK_EQ(sum, 200);
	for (unsigned i = 0; i < 4; i++)
		CHECK_IN(got[i], 10, 100);
	chime__listen_close(&set);
}

/* All addresses or none: where one is taken, the others are given back. */
TEST(listen_opens_all_addresses_or_none)
{
	struct listen_set set;
	chime_addr a = { 0 };
	chime_endpoint e = endpoint("udp://:0");
	int holder = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK_EQ(chime_addr_ip(&a, AF_INET, "127.0.0.1", 0), 0);
	CHECK_EQ(bind(holder, &a.u.sa, a.len), 0);
	CHECK_EQ(getsockname(holder, &a.u.sa, &a.len), 0);
	e.port = chime_addr_port(&a);
	CHECK_EQ(chime__listen_open(&set, &e, 2, why, sizeof why), -EADDRINUSE);
	CHECK(strstr(why, "held by this process"));
	CHECK_EQ(set.n, 0);
	close(holder);
	must_open(&set, &e, 2);
	CHECK_EQ(set.n, 2);
	chime__listen_close(&set);
}

/* A port that the kernel chose on one address may be taken on the other: then another is tried, until one fits both. */
TEST(listen_tries_ports_until_one_fits_all_addresses)
{
	own_network(true);
	write_file("/proc/sys/net/ipv4/ip_local_port_range", "50000 50015");
	for (unsigned free_port = 50000; free_port < 50016; free_port += 5) {
		int holders[16];
		struct listen_set set;
		chime_endpoint e = endpoint("udp://:0");
		for (unsigned i = 0; i < 16; i++) {
			chime_addr a;
			CHECK_EQ(chime_addr_ip(&a, AF_INET, "127.0.0.1", 50000 + (int)i), 0);
			holders[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
			if (50000 + i != free_port)
				CHECK_EQ(bind(holders[i], &a.u.sa, a.len), 0);
		}
		int err = chime__listen_open(&set, &e, 2, why, sizeof why);
		/* 64 tries at 1 in 16: it may miss, once in 60 runs; then it says what is in the way. */
		if (err < 0) {
			CHECK_EQ(err, -EADDRINUSE);
			CHECK(strstr(why, "held by this process"));
		} else {
			CHECK_EQ(e.port, free_port);
			CHECK_EQ(chime_addr_port(&set.socks[0].addr), free_port);
			CHECK_EQ(chime_addr_port(&set.socks[1].addr), free_port);
			chime__listen_close(&set);
		}
		for (unsigned i = 0; i < 16; i++)
			close(holders[i]);
	}
}

/* Where there is no IPv6 loopback, IPv4's is served alone. */
TEST(listen_leaves_out_the_family_that_is_not_here)
{
	struct listen_set set;
	chime_endpoint e = endpoint("udp://:0");
	own_network(false);
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	write_file("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
	CHECK_EQ(ioctl(fd, SIOCSIFFLAGS, &lo), 0);
	close(fd);
	must_open(&set, &e, 2);
	CHECK_EQ(set.n, 1);
	CHECK_EQ(set.socks[0].family, AF_INET);
	chime__listen_close(&set);
	e = endpoint("tcp://:0");
	must_open(&set, &e, 2);
	CHECK(connects("127.0.0.1", e.port));
	chime__listen_close(&set);
}

/* A kernel without IPv6: '*' is IPv4's any address, UDP's loopback is IPv4's, and an IPv6 endpoint says what lacks. */
TEST(listen_serves_ipv4_alone_without_ipv6)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_socket, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };
	static const char *const texts[] = { "tcp://:0", "tcp://*:0", "udp://:0", "udp://*:0" };
	struct listen_set set;
#ifdef __NR_socketcall
	SKIP("socket(2) is a socketcall(2) here, whose arguments a filter does not see");
#endif
	if (__BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__ || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		SKIP("no seccomp filter to take IPv6 away with");
	for (unsigned i = 0; i < 4; i++) {
		chime_endpoint e = endpoint(texts[i]);
		must_open(&set, &e, 2);
		CHECK_EQ(set.n, 1);
		CHECK_EQ(set.socks[0].family, AF_INET);
		CHECK_EQ(chime_addr_is_any(&set.socks[0].addr), i != 2);
		CHECK_EQ(chime_addr_port(&set.socks[0].addr), e.port);
		chime__listen_close(&set);
	}
	CHECK_EQ(open_text(&set, "tcp6://:0", 2), -EAFNOSUPPORT);
	CHECK(!strncmp(why, "socket [::]:0: ", 15));
}

/* A privileged port says which privilege lacks; an address that is not ours says so; a link-local one wants its interface. */
TEST(listen_says_what_lacks)
{
	struct listen_set set;
	own_network(true);
	CHECK_EQ(seteuid(65534), 0);
	CHECK_EQ(open_text(&set, "tcp://:80", 1), -EACCES);
	CHECK_EQ(seteuid(0), 0);
	CHECK_STR(why, "bind [::]:80: permission denied, needs CAP_NET_BIND_SERVICE or root");
	CHECK_EQ(open_text(&set, "tcp://192.0.2.1:9999", 1), -EADDRNOTAVAIL);
	CHECK_STR(why, "bind 192.0.2.1:9999: no interface of this machine has that address");
	CHECK_EQ(open_text(&set, "udp://[fe80::1]:9999", 1), -EINVAL);
	CHECK_STR(why, "bind [fe80::1]:9999: a link-local address needs its interface, as in [fe80::1%eth0]");
	CHECK(open_text(&set, "tcp://no-such-name.invalid:9999", 1) < 0);
	CHECK(!strncmp(why, "resolve no-such-name.invalid: ", 30));
}

/* What this release does not serve is refused with a reason, before anything is opened. */
TEST(listen_refuses_schemes_that_are_not_served)
{
	for (unsigned i = 0; i < CHIME_SCHEMES; i++) {
		const struct chime_scheme_info *info = chime_scheme_info((enum chime_scheme)i);
		chime_endpoint e = { .scheme = (enum chime_scheme)i, .port = 0 };
		struct listen_set set;
		if (info->opens)
			continue;
		CHECK_EQ(chime__listen_open(&set, &e, 1, why, sizeof why), CHIME_ESCHEME);
		CHECK(!strncmp(why, info->name, strlen(info->name)));
		CHECK(strlen(why) > strlen(info->name) + 5);
	}
}

/* A name that is no group's cannot be heard from one source alone: it is refused, for everybody would be heard. */
TEST(listen_hears_one_source_of_groups_alone)
{
	struct listen_set set = { 0 };
	CHECK_EQ(open_text(&set, "udp4://localhost:0?source=192.0.2.7", 1), -EINVAL);
	CHECK_STR(why, "source=192.0.2.7: 127.0.0.1:0 is no multicast group");
}

/* A unix listener: each worker has a descriptor of the one socket; the mode is as asked; close removes the file. */
TEST(listen_unix_socket_is_shared_and_removed)
{
	static const char *const schemes[] = { "unix", "unix+seqpacket" };
	for (unsigned i = 0; i < 2; i++) {
		char text[200], path[100];
		struct listen_set set;
		struct stat st;
		snprintf(path, sizeof path, "%s/s", test_dir());
		snprintf(text, sizeof text, "%s:%s?mode=0640", schemes[i], path);
		chime_endpoint e = endpoint(text);
		umask(0777);
		must_open(&set, &e, 3);
		umask(022);
		CHECK_EQ(set.n, 1);
		CHECK(set.socks[0].shared);
		CHECK_STR(set.path, path);
		CHECK_EQ(stat(path, &st), 0);
		CHECK_EQ(st.st_mode & 07777, 0640);
		int client = socket(AF_UNIX, set.socks[0].type | SOCK_CLOEXEC, 0);
		CHECK_EQ(connect(client, &set.socks[0].addr.u.sa, set.socks[0].addr.len), 0);
		/* One worker's end is not the others'. */
		close(set.socks[0].fds[0]);
		set.socks[0].fds[0] = -1;
		int fd = accept(set.socks[0].fds[2], NULL, NULL);
		CHECK(fd >= 0);
		close(fd);
		close(client);
		chime__listen_close(&set);
		CHECK_EQ(stat(path, &st), -1);
	}
}

/* A unix datagram socket is the first worker's alone, and takes the longest message with its stamp. */
TEST(listen_unix_datagrams_keep_their_order)
{
	char text[200];
	struct listen_set set;
	snprintf(text, sizeof text, "unix+dgram:%s/s", test_dir());
	chime_endpoint e = endpoint(text);
	must_open(&set, &e, 3);
	CHECK(set.socks[0].fds[0] >= 0);
	CHECK_EQ(set.socks[0].fds[1], -1);
	CHECK_EQ(set.socks[0].fds[2], -1);
	CHECK_IN(int_option(set.socks[0].fds[0], SOL_SOCKET, SO_SNDBUF), CHIME_MESSAGE_MAX + 36, 1 << 30);
	chime__listen_close(&set);
}

/* A relative path is removed where it was made, wherever the process has gone since. */
TEST(listen_removes_a_relative_path_from_elsewhere)
{
	struct listen_set set;
	struct stat st;
	char path[100];
	CHECK_EQ(chdir(test_dir()), 0);
	chime_endpoint e = endpoint("unix:./s");
	must_open(&set, &e, 1);
	CHECK_EQ(chdir("/"), 0);
	snprintf(path, sizeof path, "%s/s", test_dir());
	CHECK_EQ(stat(path, &st), 0);
	chime__listen_close(&set);
	CHECK_EQ(stat(path, &st), -1);
}

/* An abstract name leaves no file, and one in use is refused with its holder. */
TEST(listen_abstract_name_in_use_is_refused)
{
	char text[100];
	struct listen_set a, b;
	snprintf(text, sizeof text, "unix:@chime-test-listen-%ld", (long)getpid());
	chime_endpoint e = endpoint(text);
	must_open(&a, &e, 2);
	CHECK(a.path == NULL);
	CHECK_EQ(chime__listen_open(&b, &e, 2, why, sizeof why), -EADDRINUSE);
	CHECK(strstr(why, "address in use, held by this process"));
	CHECK(strstr(why, "@chime-test-listen-"));
	chime__listen_close(&a);
	must_open(&b, &e, 2);
	chime__listen_close(&b);
}

/* Out of descriptors in the middle, everything is given back: the descriptors, the port, the file. */
TEST(listen_failing_in_the_middle_leaves_nothing)
{
	struct rlimit limit, few;
	char text[200], path[100];
	struct stat st;
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	snprintf(path, sizeof path, "%s/s", test_dir());
	snprintf(text, sizeof text, "unix:%s", path);
	for (unsigned spare = 1; spare < 12; spare++) {
		struct listen_set set;
		int next = dup(0);
		close(next);
		few = (struct rlimit){ (rlim_t)next + spare, limit.rlim_max };
		CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
		int tcp = open_text(&set, "tcp://127.0.0.1:0", 16);
		CHECK_EQ(set.n, 0);
		int on_disk = open_text(&set, text, 16);
		CHECK_EQ(set.n, 0);
		CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
		CHECK_EQ(tcp, -EMFILE);
		CHECK_EQ(on_disk, -EMFILE);
		CHECK_EQ(stat(path, &st), -1);
	}
}

/* Closing a set that was never opened, or twice, is fine. */
TEST(listen_close_of_nothing_is_fine)
{
	struct listen_set set = { 0 };
	chime__listen_close(&set);
	CHECK_EQ(open_text(&set, "tcp://127.0.0.1:0", 1), 0);
	chime__listen_close(&set);
	chime__listen_close(&set);
}

TEST_MAIN()
