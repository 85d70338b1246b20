/* Who holds an address: the process that bound it, by pid and name, as far as /proc shows it. */
#include "server/holder.h"

#include "runner/test.h"

#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* A child of that name with a socket bound to *at, which becomes the address got; it ends when the pipe closes. */
struct child {
	pid_t pid;
	int hold;
};

static struct child hold(chime_addr *at, int type, const char *name)
{
	int up[2], down[2];
	CHECK_EQ(pipe(up), 0);
	CHECK_EQ(pipe(down), 0);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		char c;
		int fd = socket(at->u.sa.sa_family, type, 0);
		close(down[1]);
		prctl(PR_SET_NAME, name);
		if (bind(fd, &at->u.sa, at->len) < 0 || (type != SOCK_DGRAM && listen(fd, 5) < 0))
			_exit(1);
		at->len = sizeof at->u;
		getsockname(fd, &at->u.sa, &at->len);
		(void)!write(up[1], at, sizeof *at);
		(void)!read(down[0], &c, 1);
		_exit(0);
	}
	close(up[1]);
	close(down[0]);
	CHECK_EQ(read(up[0], at, sizeof *at), sizeof *at);
	close(up[0]);
	return (struct child){ pid, down[1] };
}

static void let_go(struct child c)
{
	close(c.hold);
	CHECK_EQ(waitpid(c.pid, NULL, 0), c.pid);
}

static void found_by_ip(int family, const char *host, int type)
{
	chime_addr at;
	struct holder h;
	char text[128], wanted[128];
	CHECK_EQ(chime_addr_ip(&at, family, host, 0), 0);
	struct child c = hold(&at, type, "holding it");
	chime__holder_of_ip(&h, type, 0, &at);
	CHECK_EQ(h.pid, c.pid);
	CHECK_STR(h.name, "holding it");
	CHECK(h.has_uid);
	CHECK_EQ(h.uid, getuid());
	chime__holder_print(&h, text, sizeof text);
	snprintf(wanted, sizeof wanted, "held by pid %ld (holding it)", (long)c.pid);
	CHECK_STR(text, wanted);
	let_go(c);
}

/* Listeners of TCP and sockets of UDP are found, on both families, any and loopback addresses. */
TEST(holder_of_ip_is_the_process_that_bound_it)
{
	found_by_ip(AF_INET, "127.0.0.1", SOCK_STREAM);
	found_by_ip(AF_INET, "", SOCK_STREAM);
	found_by_ip(AF_INET6, "::1", SOCK_STREAM);
	found_by_ip(AF_INET6, "", SOCK_STREAM);
	found_by_ip(AF_INET, "127.0.0.1", SOCK_DGRAM);
	found_by_ip(AF_INET6, "::1", SOCK_DGRAM);
}

/* An any address collides with a specific one, and IPv6's with IPv4's; two specific ones of different address do not. */
TEST(holder_of_ip_sees_collisions_across_addresses)
{
	chime_addr at, other;
	struct holder h;
	CHECK_EQ(chime_addr_ip(&at, AF_INET, "127.0.0.1", 0), 0);
	struct child c = hold(&at, SOCK_STREAM, "narrow");
	int port = chime_addr_port(&at);
	CHECK_EQ(chime_addr_ip(&other, AF_INET, "", port), 0);
	chime__holder_of_ip(&h, SOCK_STREAM, 0, &other);
	CHECK_EQ(h.pid, c.pid);
	CHECK_EQ(chime_addr_ip(&other, AF_INET6, "", port), 0);
	chime__holder_of_ip(&h, SOCK_STREAM, 0, &other);
	CHECK_EQ(h.pid, c.pid);
	CHECK_EQ(chime_addr_ip(&other, AF_INET, "127.0.0.2", port), 0);
	chime__holder_of_ip(&h, SOCK_STREAM, 0, &other);
	CHECK_EQ(h.pid, 0);
	chime__holder_of_ip(&h, SOCK_DGRAM, 0, &at);
	CHECK_EQ(h.pid, 0);
	let_go(c);
}

/* A process whose descriptors we may not see is named by its user; a name's odd bytes are not passed on. */
TEST(holder_not_visible_is_said_so)
{
	chime_addr at;
	struct holder h;
	char text[128], wanted[128];
	if (geteuid() != 0)
		SKIP("needs root to become another user");
	CHECK_EQ(chime_addr_ip(&at, AF_INET, "127.0.0.1", 0), 0);
	struct child c = hold(&at, SOCK_STREAM, "a\033[1m");
	chime__holder_of_ip(&h, SOCK_STREAM, 0, &at);
	CHECK_STR(h.name, "a?[1m");
	CHECK_EQ(seteuid(65534), 0);
	chime__holder_of_ip(&h, SOCK_STREAM, 0, &at);
	CHECK_EQ(seteuid(0), 0);
	CHECK_EQ(h.pid, 0);
	chime__holder_print(&h, text, sizeof text);
	snprintf(wanted, sizeof wanted, "holder not visible, a process of user %u", (unsigned)getuid());
	CHECK_STR(text, wanted);
	let_go(c);
	chime__holder_of_ip(&h, SOCK_STREAM, 0, &at);
	chime__holder_print(&h, text, sizeof text);
	CHECK_STR(text, "holder not visible");
}

/* Our own process is named as such: two endpoints of one command want the same port. */
TEST(holder_may_be_this_process)
{
	chime_addr at;
	struct holder h;
	char text[128];
	CHECK_EQ(chime_addr_ip(&at, AF_INET, "127.0.0.1", 0), 0);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK_EQ(bind(fd, &at.u.sa, at.len), 0);
	at.len = sizeof at.u;
	CHECK_EQ(getsockname(fd, &at.u.sa, &at.len), 0);
	chime__holder_of_ip(&h, SOCK_DGRAM, 0, &at);
	CHECK_EQ(h.pid, getpid());
	chime__holder_print(&h, text, sizeof text);
	CHECK(strstr(text, "this process"));
	close(fd);
}

/* Unix sockets are found by path, also when it was bound under another spelling, and by abstract name. */
TEST(holder_of_unix_is_found_by_path_and_name)
{
	chime_addr at, spelled;
	struct holder h;
	char path[100], odd[100];
	snprintf(path, sizeof path, "%s/s", test_dir());
	snprintf(odd, sizeof odd, "%s/./s", test_dir());
	CHECK_EQ(chime_addr_unix(&at, odd, strlen(odd)), 0);
	CHECK_EQ(chime_addr_unix(&spelled, path, strlen(path)), 0);
	struct child c = hold(&at, SOCK_DGRAM, "dgram");
	chime__holder_of_unix(&h, &spelled);
	CHECK_EQ(h.pid, c.pid);
	CHECK_STR(h.name, "dgram");
	let_go(c);
	chime__holder_of_unix(&h, &spelled);
	CHECK_EQ(h.pid, 0);

	char name[40];
	name[0] = 0;
	int len = snprintf(name + 1, sizeof name - 1, "chime-test-holder-%ld", (long)getpid());
	CHECK_EQ(chime_addr_unix(&at, name, (size_t)len + 1), 0);
	spelled = at;
	c = hold(&at, SOCK_SEQPACKET, "seq");
	chime__holder_of_unix(&h, &spelled);
	CHECK_EQ(h.pid, c.pid);
	let_go(c);
}

TEST_MAIN()
