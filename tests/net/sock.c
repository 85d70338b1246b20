/*
 * The socket's calls: what they give, what they leave behind, and Python's rules for them. docs/python-socket.md names its tests rule by
 * rule, so it is kept in one file, though over 600 lines.
 */
#include <chime/connect.h>
#include <chime/errqueue.h>
#include <chime/msg.h>
#include <chime/stream.h>
#include <runner/test.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void tcp_pair(chime_sock **a, chime_sock **b)
{
	chime_sock *l;
	chime_addr at;
	CHECK_EQ(chime_create_server(&l, AF_INET, "127.0.0.1", 0, -1, false, false), 0);
	CHECK_EQ(chime_getsockname(l, &at), 0);
	CHECK_EQ(chime_open(a, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_connect(*a, &at), 0);
	CHECK_EQ(chime_accept(l, b, NULL), 0);
	chime_free(&l);
}

static bool nonblock(const chime_sock *s)
{
	return fcntl(chime_fileno(s), F_GETFL) & O_NONBLOCK;
}

/* A handle says of itself what it was opened with, and starts in blocking mode. */
TEST(sock_knows_what_it_is)
{
	chime_sock *s;
	CHECK_EQ(chime_open(&s, AF_INET6, SOCK_DGRAM, IPPROTO_UDP), 0);
	CHECK_EQ(chime_family(s), AF_INET6);
	CHECK_EQ(chime_type(s), SOCK_DGRAM);
	CHECK_EQ(chime_proto(s), IPPROTO_UDP);
	CHECK_EQ(chime_timeout(s), CHIME_FOREVER);
	CHECK(chime_blocking(s));
	CHECK(chime_fileno(s) >= 0);
	chime_free(&s);
	CHECK_PTR(s, NULL);
}

/* What cannot be opened is an error and no handle. */
TEST(open_refuses_what_there_is_not)
{
	chime_sock *s = (chime_sock *)&s;
	CHECK_EQ(chime_open(&s, 999, SOCK_STREAM, 0), -EAFNOSUPPORT);
	CHECK_PTR(s, NULL);
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), -EINVAL);
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), -EINVAL);
	const struct {
		int family, type, err;
	} pairs[] = { { AF_INET, SOCK_STREAM, -EOPNOTSUPP },
		      { AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, -EINVAL },
		      { AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, -EINVAL } };
	for (int i = 0; i < 3; i++) {
		chime_sock *pair[2] = { (chime_sock *)&s, (chime_sock *)&s };
		CHECK_EQ(chime_socketpair(pair, pairs[i].family, pairs[i].type, 0), pairs[i].err);
		CHECK_PTR(pair[0], NULL);
		CHECK_PTR(pair[1], NULL);
	}
}

/* O_NONBLOCK is on the descriptor exactly when a limit is set, 0 too. */
TEST(nonblock_exactly_with_a_timeout)
{
	chime_sock *s;
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
	CHECK(!nonblock(s));
	CHECK_EQ(chime_set_timeout(s, CHIME_SEC), 0);
	CHECK(nonblock(s));
	CHECK(chime_blocking(s)); /* it waits, if not for ever */
	CHECK_EQ(chime_set_timeout(s, CHIME_FOREVER), 0);
	CHECK(!nonblock(s));
	CHECK_EQ(chime_set_blocking(s, false), 0);
	CHECK(nonblock(s));
	CHECK_EQ(chime_timeout(s), 0);
	CHECK(!chime_blocking(s));
	CHECK_EQ(chime_set_blocking(s, true), 0);
	CHECK(!nonblock(s));
	CHECK_EQ(chime_set_timeout(s, -2), -EINVAL);
	CHECK_EQ(chime_timeout(s), CHIME_FOREVER);
	chime_free(&s);
}

/* The default timeout is that of every handle made from then on, and of no other. */
TEST(default_timeout_is_for_new_handles)
{
	chime_sock *old, *new, *pair[2];
	CHECK_EQ(chime_default_timeout(), CHIME_FOREVER);
	CHECK_EQ(chime_open(&old, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_set_default_timeout(-5), -EINVAL);
	CHECK_EQ(chime_set_default_timeout(3 * CHIME_SEC), 0);
	CHECK_EQ(chime_open(&new, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_socketpair(pair, AF_UNIX, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_timeout(old), CHIME_FOREVER);
	CHECK_EQ(chime_timeout(new), 3 * CHIME_SEC);
	CHECK(nonblock(new));
	CHECK_EQ(chime_timeout(pair[1]), 3 * CHIME_SEC);
	CHECK(nonblock(pair[1]));
	chime_free(&old);
	chime_free(&new);
	chime_free(&pair[0]);
	chime_free(&pair[1]);
}

/* setblocking of a descriptor that is gone is an error and changes nothing. */
TEST(set_timeout_of_a_bad_descriptor_fails)
{
	chime_sock *s;
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
	close(chime_fileno(s));
	CHECK_EQ(chime_set_timeout(s, 0), -EBADF);
	CHECK_EQ(chime_timeout(s), CHIME_FOREVER);
	CHECK_EQ(chime_close(s), -EBADF);
	chime_free(&s);
}

/* Every descriptor that the library makes is close-on-exec, that of an accepted connection too. */
TEST(descriptors_are_close_on_exec)
{
	chime_sock *l, *c, *a, *d, *pair[2];
	chime_addr at;
	CHECK_EQ(chime_create_server(&l, AF_INET, "127.0.0.1", 0, -1, false, false), 0);
	CHECK_EQ(chime_getsockname(l, &at), 0);
	CHECK_EQ(chime_create_connection(&c, "127.0.0.1", chime_addr_port(&at), NULL), 0);
	CHECK_EQ(chime_accept(l, &a, NULL), 0);
	CHECK_EQ(chime_dup(c, &d), 0);
	CHECK_EQ(chime_socketpair(pair, AF_UNIX, SOCK_DGRAM, 0), 0);
	chime_sock *all[] = { l, c, a, d, pair[0], pair[1] };
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		CHECK_EQ(fcntl(chime_fileno(all[i]), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
		CHECK_EQ(chime_inheritable(all[i]), 0);
		CHECK_EQ(chime_set_inheritable(all[i], true), 0);
		CHECK_EQ(fcntl(chime_fileno(all[i]), F_GETFD) & FD_CLOEXEC, 0);
		CHECK_EQ(chime_inheritable(all[i]), 1);
		CHECK_EQ(chime_set_inheritable(all[i], false), 0);
		CHECK_EQ(chime_inheritable(all[i]), 0);
		chime_free(&all[i]);
	}
}

/* An accepted socket blocks, or has the default timeout, whatever the listener's timeout is. */
TEST(accepted_sockets_do_not_inherit_the_timeout)
{
	chime_sock *l, *c[2], *a;
	chime_addr at;
	CHECK_EQ(chime_create_server(&l, AF_INET, "127.0.0.1", 0, -1, false, false), 0);
	CHECK_EQ(chime_getsockname(l, &at), 0);
	CHECK_EQ(chime_set_timeout(l, 60 * CHIME_SEC), 0);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(chime_create_connection(&c[i], "127.0.0.1", chime_addr_port(&at), NULL), 0);
	CHECK_EQ(chime_accept(l, &a, NULL), 0);
	CHECK_EQ(chime_timeout(a), CHIME_FOREVER);
	CHECK(!nonblock(a));
	chime_free(&a);
	CHECK_EQ(chime_set_timeout(l, CHIME_FOREVER), 0);
	CHECK_EQ(chime_set_default_timeout(7 * CHIME_SEC), 0);
	CHECK_EQ(chime_accept(l, &a, NULL), 0);
	CHECK_EQ(chime_timeout(a), 7 * CHIME_SEC);
	CHECK(nonblock(a));
	chime_free(&a);
	chime_free(&l);
	chime_free(&c[0]);
	chime_free(&c[1]);
}

/* accept() gives the peer's address, which is the address that the peer has. */
TEST(accept_tells_the_peer)
{
	chime_sock *l, *c, *a;
	chime_addr at, peer, own;
	CHECK_EQ(chime_create_server(&l, AF_INET, "127.0.0.1", 0, -1, false, false), 0);
	CHECK_EQ(chime_getsockname(l, &at), 0);
	CHECK_EQ(chime_create_connection(&c, "127.0.0.1", chime_addr_port(&at), NULL), 0);
	CHECK_EQ(chime_accept(l, &a, &peer), 0);
	CHECK_EQ(chime_getsockname(c, &own), 0);
	CHECK(chime_addr_equal(&peer, &own));
	CHECK_EQ(chime_getpeername(a, &peer), 0);
	CHECK(chime_addr_equal(&peer, &own));
	CHECK_EQ(chime_getpeername(c, &peer), 0);
	CHECK(chime_addr_equal(&peer, &at));
	CHECK_EQ(chime_family(a), AF_INET);
	CHECK_EQ(chime_type(a), SOCK_STREAM);
	chime_free(&a);
	chime_free(&c);
	CHECK_EQ(chime_getpeername(l, &peer), -ENOTCONN);
	chime_free(&l);
}

/* accept() on what cannot accept says so at once, in every mode. */
TEST(accept_on_no_listener_fails_at_once)
{
	const int64_t modes[] = { CHIME_FOREVER, 0, CHIME_SEC };
	chime_sock *s, *u, *out;
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_open(&u, AF_INET, SOCK_DGRAM, 0), 0);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(chime_set_timeout(s, modes[i]), 0);
		CHECK_EQ(chime_set_timeout(u, modes[i]), 0);
		CHECK_EQ(chime_accept(s, &out, NULL), -EINVAL);
		CHECK_EQ(chime_accept(u, &out, NULL), -EOPNOTSUPP);
		CHECK_PTR(out, NULL);
	}
	chime_free(&s);
	chime_free(&u);
}

/* An adopted descriptor's family, type and protocol are found out; it is the handle's from then on. */
TEST(from_fd_finds_out_what_it_is)
{
	int fd = socket(AF_INET6, SOCK_STREAM, IPPROTO_TCP), other[2];
	chime_sock *s;
	CHECK_EQ(chime_from_fd(&s, fd), 0);
	CHECK_EQ(chime_fileno(s), fd);
	CHECK_EQ(chime_family(s), AF_INET6);
	CHECK_EQ(chime_type(s), SOCK_STREAM);
	CHECK_EQ(chime_proto(s), IPPROTO_TCP);
	CHECK_EQ(chime_timeout(s), CHIME_FOREVER);
	chime_free(&s);
	CHECK_EQ(fcntl(fd, F_GETFD), -1);
	CHECK_EQ(chime_from_fd(&s, fd), -EBADF);
	CHECK_EQ(chime_from_fd(&s, socket(AF_UNIX, SOCK_SEQPACKET, 0)), 0);
	CHECK_EQ(chime_family(s), AF_UNIX);
	CHECK_EQ(chime_type(s), SOCK_SEQPACKET);
	CHECK_EQ(chime_proto(s), 0);
	chime_free(&s);
	CHECK_EQ(pipe(other), 0);
	CHECK_EQ(chime_from_fd(&s, other[0]), -ENOTSOCK);
	CHECK_PTR(s, NULL);
	CHECK_EQ(close(other[0]), 0);
	CHECK_EQ(close(other[1]), 0);
}

/* Adopted: O_NONBLOCK means timeout 0, unless a default timeout decides. */
TEST(from_fd_takes_over_the_mode)
{
	chime_sock *s;
	CHECK_EQ(chime_from_fd(&s, socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0)), 0);
	CHECK_EQ(chime_timeout(s), 0);
	CHECK(nonblock(s));
	chime_free(&s);
	chime_set_default_timeout(CHIME_SEC);
	CHECK_EQ(chime_from_fd(&s, socket(AF_INET, SOCK_DGRAM, 0)), 0);
	CHECK_EQ(chime_timeout(s), CHIME_SEC);
	CHECK(nonblock(s));
	chime_free(&s);
}

/* A duplicate is a second descriptor of the same socket, with the same timeout, and outlives the first. */
TEST(dup_shares_the_socket)
{
	chime_sock *a, *b, *d, *none;
	char got[8];
	tcp_pair(&a, &b);
	CHECK_EQ(chime_set_timeout(a, 2 * CHIME_SEC), 0);
	CHECK_EQ(chime_dup(a, &d), 0);
	CHECK_NE(chime_fileno(d), chime_fileno(a));
	CHECK_EQ(chime_timeout(d), 2 * CHIME_SEC);
	CHECK_EQ(chime_close(a), 0);
	CHECK_EQ(chime_send(d, "dup", 3, 0), 3);
	CHECK_EQ(chime_recv(b, got, sizeof(got), 0), 3);
	CHECK_EQ(chime_dup(a, &none), CHIME_ECLOSED);
	CHECK_PTR(none, NULL);
	chime_free(&a);
	chime_free(&d);
	chime_free(&b);
}

/* A dup's mode shows on the shared descriptor; the blocking handle beside it waits all the same. */
TEST(dup_with_a_timeout_leaves_the_other_blocking)
{
	chime_sock *a, *b, *d;
	char got[8];
	tcp_pair(&a, &b);
	CHECK_EQ(chime_dup(a, &d), 0);
	CHECK_EQ(chime_set_timeout(d, 30 * CHIME_MSEC), 0);
	CHECK(nonblock(a));
	CHECK_EQ(chime_recv(d, got, 1, 0), CHIME_ETIMEOUT);
	pid_t pid = fork();
	if (pid == 0) {
		for (int seen = 0; seen < 3; usleep(1000)) /* until it waits in the call below */
			seen = test_asleep(getppid()) ? seen + 1 : 0;
		_exit(chime_send(b, "x", 1, 0) != 1);
	}
	CHECK_EQ(chime_recv(a, got, 1, 0), 1);
	waitpid(pid, NULL, 0);
	CHECK_EQ(chime_set_blocking(a, true), 0);
	CHECK(!nonblock(d));
	CHECK_EQ(chime_recv(d, got, 1, 0), CHIME_ETIMEOUT); /* though a dup took O_NONBLOCK away */
	chime_free(&a);
	chime_free(&b);
	chime_free(&d);
}

/* A descriptor without a handle: its copy is close-on-exec and lives on when it is closed; closing twice says so. */
TEST(plain_descriptors_are_copied_and_closed)
{
	int pair[2];
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	int copy = chime_fd_dup(pair[0]);
	CHECK(copy >= 0);
	CHECK_EQ(fcntl(copy, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(chime_fd_close(pair[0]), 0);
	CHECK_EQ(write(copy, "x", 1), 1);
	CHECK_EQ(chime_fd_dup(pair[0]), -EBADF);
	CHECK_EQ(chime_fd_close(pair[0]), -EBADF);
	CHECK_EQ(chime_fd_close(copy), 0);
	CHECK_EQ(chime_fd_close(pair[1]), 0);
}

/* detach() gives the descriptor, open, and closes the handle. */
TEST(detach_gives_the_descriptor_away)
{
	chime_sock *s;
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
	int fd = chime_fileno(s);
	CHECK_EQ(chime_detach(s), fd);
	CHECK_EQ(chime_fileno(s), -1);
	CHECK_EQ(chime_detach(s), CHIME_ECLOSED);
	CHECK_EQ(chime_set_timeout(s, 0), CHIME_ECLOSED);
	CHECK_EQ(chime_close(s), 0);
	chime_free(&s);
	CHECK(fcntl(fd, F_GETFD) >= 0);
	close(fd);
}

/* Every call on a closed handle says CHIME_ECLOSED; closing twice is fine. */
TEST(closed_handles_say_so)
{
	chime_sock *s, *out;
	chime_addr at = chime_addr_none();
	char b[4];
	int value;
	socklen_t len = sizeof(value);
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_close(s), 0);
	CHECK_EQ(chime_close(s), 0);
	CHECK_EQ(chime_fileno(s), -1);
	chime_addr_ip(&at, AF_INET, "127.0.0.1", 1);
	CHECK_EQ(chime_bind(s, &at), CHIME_ECLOSED);
	CHECK_EQ(chime_listen(s, 1), CHIME_ECLOSED);
	CHECK_EQ(chime_accept(s, &out, NULL), CHIME_ECLOSED);
	CHECK_EQ(chime_connect(s, &at), CHIME_ECLOSED);
	CHECK_EQ(chime_connect_ex(s, &at), EBADF);
	CHECK_EQ(chime_shutdown(s, SHUT_RDWR), CHIME_ECLOSED);
	CHECK_EQ(chime_getsockname(s, &at), CHIME_ECLOSED);
	CHECK_EQ(chime_getpeername(s, &at), CHIME_ECLOSED);
	CHECK_EQ(chime_send(s, b, 1, 0), CHIME_ECLOSED);
	CHECK_EQ(chime_sendall(s, b, 1, 0, NULL), CHIME_ECLOSED);
	CHECK_EQ(chime_sendto(s, b, 1, 0, &at), CHIME_ECLOSED);
	CHECK_EQ(chime_recv(s, b, 1, 0), CHIME_ECLOSED);
	CHECK_EQ(chime_recvfrom(s, b, 1, 0, &at), CHIME_ECLOSED);
	CHECK_EQ(chime_recv_exact(s, b, 1, 0, NULL), CHIME_ECLOSED);
	CHECK_EQ(chime_getsockopt_int(s, SOL_SOCKET, SO_TYPE, &value), CHIME_ECLOSED);
	CHECK_EQ(chime_setsockopt_int(s, SOL_SOCKET, SO_REUSEADDR, 1), CHIME_ECLOSED);
	CHECK_EQ(chime_getsockopt(s, SOL_SOCKET, SO_TYPE, &value, &len), CHIME_ECLOSED);
	CHECK_EQ(chime_setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &value, len), CHIME_ECLOSED);
	CHECK_EQ(chime_set_inheritable(s, true), CHIME_ECLOSED);
	CHECK_EQ(chime_inheritable(s), CHIME_ECLOSED);
	CHECK_EQ(chime_dup(s, &out), CHIME_ECLOSED);
	chime_free(&s);
	chime_free(&s);
	chime_free(NULL);
}

/* The last failure is a sentence: what was done, to which address, the cause; before any failure it is empty. */
TEST(last_error_names_act_address_and_cause)
{
	chime_sock *s, *l;
	chime_addr at;
	char text[1024], want[1024], where[CHIME_ADDR_TEXT], cut[6];
	CHECK_EQ(chime_create_server(&l, AF_INET, "127.0.0.1", 0, -1, false, false), 0);
	CHECK_EQ(chime_getsockname(l, &at), 0);
	chime_addr_print(&at, where, sizeof(where));
	chime_free(&l);
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
	strcpy(text, "before");
	CHECK_EQ(chime_last_error(s, text, 0), 0);
	CHECK_STR(text, "before");
	CHECK_EQ(chime_last_error(s, text, sizeof(text)), 0);
	CHECK_STR(text, "");
	CHECK_EQ(chime_connect(s, &at), -ECONNREFUSED);
	snprintf(want, sizeof(want), "connect %s: %s", where, chime_strerror(-ECONNREFUSED));
	CHECK_EQ(chime_last_error(s, text, sizeof(text)), strlen(want));
	CHECK_STR(text, want);
	CHECK_EQ(chime_last_error(s, cut, sizeof(cut)), strlen(want));
	CHECK_STR(cut, "conne");
	CHECK_EQ(chime_getpeername(s, &at), -ENOTCONN);
	snprintf(want, sizeof(want), "getpeername: %s", chime_strerror(-ENOTCONN));
	chime_last_error(s, text, sizeof(text));
	CHECK_STR(text, want);
	CHECK_EQ(chime_set_timeout(s, -3), -EINVAL);
	CHECK_EQ(chime_send(s, "x", 1, 0), -EPIPE);
	CHECK_EQ(chime_close(s), 0);
	CHECK_EQ(chime_send(s, "x", 1, 0), CHIME_ECLOSED);
	snprintf(want, sizeof(want), "send: %s", chime_strerror(CHIME_ECLOSED));
	chime_last_error(s, text, sizeof(text));
	CHECK_STR(text, want);
	chime_free(&s);
}

/* Calls that are given an address name it when they fail, on a closed handle as well. */
TEST(last_error_names_the_address_that_was_given)
{
	static const char *const acts[] = { "bind", "connect", "sendto", "sendmsg" };
	chime_addr at;
	CHECK_EQ(chime_addr_ip(&at, AF_INET, "127.255.255.255", 9), 0);
	for (int closed = 0; closed < 2; closed++)
		for (int i = 0; i < 4; i++) {
			const struct chime_msg m = { .addr = at };
			char text[1024] = "x", want[1024];
			struct iovec iov = { text, 1 };
			chime_sock *s;
			CHECK_EQ(chime_open(&s, AF_INET, SOCK_DGRAM, 0), 0);
			CHECK_EQ(chime_setsockopt_int(s, SOL_SOCKET, SO_BROADCAST, i == 0), 0);
			if (i == 0)
				CHECK_EQ(chime_bind(s, &at), 0);
			if (closed)
				CHECK_EQ(chime_close(s), 0);
			ssize_t n = i == 0   ? chime_bind(s, &at)
				    : i == 1 ? chime_connect(s, &at)
				    : i == 2 ? chime_sendto(s, "x", 1, 0, &at)
					     : chime_sendmsg(s, &iov, 1, 0, &m);
			CHECK_EQ(n, closed ? CHIME_ECLOSED : i == 0 ? -EINVAL : -EACCES);
			snprintf(want, sizeof want, "%s 127.255.255.255:9: %s", acts[i], chime_strerror((int)n));
			chime_last_error(s, text, sizeof text);
			CHECK_STR(text, want);
			chime_free(&s);
		}
}

#define FAILS_AS(name_, call_)                                                                                         \
	do {                                                                                                           \
		char text_[1024] = "";                                                                                 \
		CHECK_EQ(call_, CHIME_ECLOSED);                                                                        \
		chime_last_error(s, text_, sizeof text_);                                                              \
		CHECK_STR(text_, name_ ": the socket is closed");                                                      \
	} while (0)

/* Each call is named by its own name in the sentence of its failure. */
TEST(last_error_names_each_call)
{
	char b[4] = "";
	struct iovec iov = { b, 1 };
	struct chime_msg m = { .flags = 0 };
	struct chime_packet packet = { .iov = &iov, .iovs = 1 };
	struct chime_queued q;
	chime_addr at;
	chime_sock *s, *other;
	int value, fds[1] = { 0 };
	size_t n = 1;
	socklen_t len = sizeof value;
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_close(s), 0);
	FAILS_AS("listen", chime_listen(s, 1));
	FAILS_AS("accept", chime_accept(s, &other, NULL));
	FAILS_AS("shutdown", chime_shutdown(s, SHUT_RDWR));
	FAILS_AS("getsockname", chime_getsockname(s, &at));
	FAILS_AS("getpeername", chime_getpeername(s, &at));
	FAILS_AS("send", chime_send(s, b, 1, 0));
	FAILS_AS("sendall", chime_sendall(s, b, 1, 0, NULL));
	FAILS_AS("recv", chime_recv(s, b, 1, 0));
	FAILS_AS("recvfrom", chime_recvfrom(s, b, 1, 0, NULL));
	FAILS_AS("recv_exact", chime_recv_exact(s, b, 1, 0, NULL));
	FAILS_AS("sendmsg", chime_sendmsg(s, &iov, 1, 0, NULL));
	FAILS_AS("recvmsg", chime_recvmsg(s, b, 1, 0, &m));
	FAILS_AS("recvmsg", chime_recvmsg_into(s, &iov, 1, 0, &m));
	FAILS_AS("send_fds", chime_send_fds(s, b, 1, fds, 1, 0, NULL));
	FAILS_AS("recv_fds", chime_recv_fds(s, b, 1, fds, &n, 0, NULL, NULL));
	FAILS_AS("send_many", chime_send_many(s, &packet, 1, 0));
	FAILS_AS("recv_many", chime_recv_many(s, &packet, 1, 0));
	FAILS_AS("sendfile", chime_sendfile(s, 0, 0, 1, NULL));
	FAILS_AS("recv_queued", chime_recv_queued(s, &q, 0));
	FAILS_AS("timestamping", chime_timestamping(s, CHIME_STAMP_RX));
	FAILS_AS("getsockopt", chime_getsockopt(s, SOL_SOCKET, SO_TYPE, &value, &len));
	FAILS_AS("setsockopt", chime_setsockopt_int(s, SOL_SOCKET, SO_KEEPALIVE, 1));
	FAILS_AS("set_timeout", chime_set_timeout(s, 1));
	FAILS_AS("set_inheritable", chime_set_inheritable(s, true));
	FAILS_AS("inheritable", chime_inheritable(s));
	FAILS_AS("dup", chime_dup(s, &other));
	FAILS_AS("detach", chime_detach(s));
	chime_free(&s);
}

/* connect_ex gives errno as a positive number. */
TEST(connect_ex_gives_errno)
{
	chime_sock *s, *l;
	chime_addr at;
	CHECK_EQ(chime_create_server(&l, AF_INET, "127.0.0.1", 0, -1, false, false), 0);
	CHECK_EQ(chime_getsockname(l, &at), 0);
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_connect_ex(s, &at), 0);
	CHECK_EQ(chime_connect_ex(s, &at), EISCONN);
	chime_free(&s);
	chime_free(&l);
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_connect_ex(s, &at), ECONNREFUSED);
	CHECK(!nonblock(s));
	chime_free(&s);
	/* A listener without room: the limit passes. */
	CHECK_EQ(chime_create_server(&l, AF_INET, "127.0.0.1", 0, 0, false, false), 0);
	CHECK_EQ(chime_getsockname(l, &at), 0);
	chime_sock *first;
	CHECK_EQ(chime_open(&first, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_connect_ex(first, &at), 0);
	struct pollfd full = { chime_fileno(l), POLLIN, 0 };
	CHECK_EQ(poll(&full, 1, 50000), 1);
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_set_timeout(s, 20 * CHIME_MSEC), 0);
	CHECK_EQ(chime_connect_ex(s, &at), EAGAIN);
	chime_free(&s);
	chime_free(&first);
	chime_free(&l);
}

/* With limit 0 even a peer at hand is under way first, as the kernel says it; asked again it is connected, then is already. */
TEST(connect_that_does_not_wait_is_under_way)
{
	chime_sock *s, *l;
	chime_addr at, peer;
	CHECK_EQ(chime_create_server(&l, AF_INET, "127.0.0.1", 0, -1, false, false), 0);
	CHECK_EQ(chime_getsockname(l, &at), 0);
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_set_timeout(s, 0), 0);
	CHECK_EQ(chime_connect(s, &at), -EINPROGRESS);
	struct pollfd p = { chime_fileno(s), POLLOUT, 0 };
	CHECK_EQ(poll(&p, 1, 10000), 1);
	CHECK_EQ(chime_getpeername(s, &peer), 0);
	CHECK_EQ(chime_connect(s, &at), 0);
	CHECK_EQ(chime_connect(s, &at), -EISCONN);
	chime_free(&s);
	chime_free(&l);
}

/* A refused connect fails in the mode with a limit too, and not after the limit. */
TEST(connect_refused_with_a_timeout)
{
	chime_sock *s, *l;
	chime_addr at;
	CHECK_EQ(chime_create_server(&l, AF_INET, "127.0.0.1", 0, -1, false, false), 0);
	CHECK_EQ(chime_getsockname(l, &at), 0);
	chime_free(&l);
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_set_timeout(s, 100 * CHIME_SEC), 0);
	int64_t start = test_now();
	CHECK_EQ(chime_connect(s, &at), -ECONNREFUSED);
	CHECK_IN(test_now() - start, 0, 50 * CHIME_SEC);
	chime_free(&s);
}

/* An IPv6 scope survives bind and getsockname. */
TEST(getsockname_keeps_the_scope)
{
	chime_sock *s;
	chime_addr at, got;
	/* Loopback has no link-local address: ask for a group, which any interface can be bound to. */
	CHECK_EQ(chime_open(&s, AF_INET6, SOCK_DGRAM, 0), 0);
	CHECK_EQ(chime_addr_ip(&at, AF_INET6, "ff02::1%lo", 0), 0);
	CHECK(at.u.in6.sin6_scope_id > 0);
	int err = chime_bind(s, &at);
	if (err == -EADDRNOTAVAIL)
		SKIP("no multicast on lo here: %s", chime_strerror(err));
	CHECK_EQ(err, 0);
	CHECK_EQ(chime_getsockname(s, &got), 0);
	CHECK_EQ(got.u.in6.sin6_scope_id, at.u.in6.sin6_scope_id);
	CHECK(chime_addr_port(&got) > 0);
	chime_free(&s);
}

/* MSG_PEEK looks and leaves. */
TEST(recv_peeks)
{
	chime_sock *p[2];
	char got[8] = "";
	CHECK_EQ(chime_socketpair(p, AF_UNIX, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_send(p[0], "peek", 4, 0), 4);
	CHECK_EQ(chime_recv(p[1], got, 8, MSG_PEEK), 4);
	CHECK_EQ(chime_recvfrom(p[1], got, 8, MSG_PEEK, NULL), 4);
	CHECK_EQ(chime_recv(p[1], got, 8, 0), 4);
	CHECK_MEM(got, "peek", 4);
	CHECK_EQ(chime_recv(p[1], got, 8, MSG_DONTWAIT), -EAGAIN);
	chime_free(&p[0]);
	chime_free(&p[1]);
}

/* Room for no byte is recv(2)'s: it takes a datagram, leaves a stream's data, and would wait for either. */
TEST(room_for_nothing)
{
	static const int types[] = { SOCK_DGRAM, SOCK_STREAM };
	for (int i = 0; i < 2; i++) {
		chime_sock *p[2];
		char got[8];
		CHECK_EQ(chime_socketpair(p, AF_UNIX, types[i], 0), 0);
		if (types[i] == SOCK_DGRAM)
			CHECK_EQ(chime_recv(p[1], got, 0, MSG_DONTWAIT), -EAGAIN);
		CHECK_EQ(chime_send(p[0], "abc", 3, 0), 3);
		CHECK_EQ(chime_recv(p[1], got, 0, 0), 0);
		CHECK_EQ(chime_recv(p[1], got, 8, MSG_DONTWAIT), types[i] == SOCK_DGRAM ? -EAGAIN : 3);
		CHECK_EQ(chime_recv_exact(p[1], got, 0, 0, NULL), 0);
		chime_free(&p[0]);
		chime_free(&p[1]);
	}
}

/* MSG_DONTWAIT never waits, sending or receiving, whatever the timeout. */
TEST(dontwait_never_waits)
{
	const int64_t modes[] = { CHIME_FOREVER, 0, 60 * CHIME_SEC };
	static char big[1 << 20];
	for (int i = 0; i < 3; i++) {
		chime_sock *p[2];
		CHECK_EQ(chime_socketpair(p, AF_UNIX, SOCK_STREAM, 0), 0);
		CHECK_EQ(chime_set_timeout(p[0], modes[i]), 0);
		CHECK_EQ(chime_recv(p[0], big, 1, MSG_DONTWAIT), -EAGAIN);
		CHECK_EQ(chime_recvfrom(p[0], big, 1, MSG_DONTWAIT, NULL), -EAGAIN);
		ssize_t n, all = 0;
		while ((n = chime_send(p[0], big, sizeof(big), MSG_DONTWAIT)) > 0)
			all += n;
		CHECK_EQ(n, -EAGAIN);
		CHECK(all > 0);
		size_t sent = 9;
		CHECK_EQ(chime_sendall(p[0], big, 10, MSG_DONTWAIT, &sent), -EAGAIN);
		CHECK_EQ(sent, 0);
		chime_free(&p[0]);
		chime_free(&p[1]);
	}
}

/* A broken pipe is -EPIPE and never a signal. */
TEST(sigpipe_is_never_raised)
{
	chime_sock *p[2];
	chime_addr nobody = chime_addr_none();
	CHECK_EQ(chime_socketpair(p, AF_UNIX, SOCK_STREAM, 0), 0);
	chime_free(&p[1]);
	CHECK_EQ(chime_send(p[0], "x", 1, 0), -EPIPE);
	CHECK_EQ(chime_sendall(p[0], "x", 1, 0, NULL), -EPIPE);
	CHECK_EQ(chime_sendto(p[0], "x", 1, 0, &nobody), -EPIPE);
	chime_free(&p[0]);
}

/* sendto and recvfrom carry addresses; an empty datagram is a datagram. */
TEST(datagrams_carry_addresses)
{
	chime_sock *a, *b;
	chime_addr at, from, own;
	char got[16];
	test_one_processor();
	CHECK_EQ(chime_open(&a, AF_INET, SOCK_DGRAM, 0), 0);
	CHECK_EQ(chime_open(&b, AF_INET, SOCK_DGRAM, 0), 0);
	CHECK_EQ(chime_addr_ip(&at, AF_INET, "127.0.0.1", 0), 0);
	CHECK_EQ(chime_bind(a, &at), 0);
	CHECK_EQ(chime_bind(b, &at), 0);
	CHECK_EQ(chime_getsockname(a, &at), 0);
	CHECK_EQ(chime_getsockname(b, &own), 0);
	CHECK_EQ(chime_sendto(b, "hello", 5, 0, &at), 5);
	CHECK_EQ(chime_sendto(b, "", 0, 0, &at), 0);
	CHECK_EQ(chime_recvfrom(a, got, sizeof(got), 0, &from), 5);
	CHECK(chime_addr_equal(&from, &own));
	CHECK_EQ(chime_recvfrom(a, got, sizeof(got), 0, &from), 0);
	CHECK(chime_addr_equal(&from, &own));
	CHECK_EQ(chime_sendto(a, got, 5, 0, &from), 5);
	CHECK_EQ(chime_recv(b, got, sizeof(got), 0), 5);
	chime_free(&a);
	chime_free(&b);
}

/* A unix peer without a name is an address of its family without a path. */
TEST(unix_peers_may_be_unnamed)
{
	chime_sock *l, *c, *a;
	chime_addr at, peer;
	char path[128];
	snprintf(path, sizeof(path), "%s/s", test_dir());
	CHECK_EQ(chime_addr_unix(&at, path, strlen(path)), 0);
	CHECK_EQ(chime_open(&l, AF_UNIX, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_bind(l, &at), 0);
	CHECK_EQ(chime_listen(l, 1), 0);
	CHECK_EQ(chime_open(&c, AF_UNIX, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_connect(c, &at), 0);
	CHECK_EQ(chime_accept(l, &a, &peer), 0);
	CHECK_EQ(chime_addr_family(&peer), AF_UNIX);
	CHECK_EQ(peer.len, sizeof(sa_family_t));
	CHECK_EQ(chime_getpeername(c, &peer), 0);
	CHECK(chime_addr_equal(&peer, &at));
	chime_free(&a);
	chime_free(&c);
	chime_free(&l);
}

/* A blocking send on a stream takes everything, as send(2) does; a blocking receive with MSG_WAITALL gets everything. */
TEST(blocking_stream_calls_do_all)
{
	static char big[4 << 20], got[4 << 20];
	chime_sock *a, *b;
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (char)(i * 7 >> 3);
	tcp_pair(&a, &b);
	pid_t pid = fork();
	if (pid == 0)
		_exit(chime_send(a, big, sizeof(big), 0) != (ssize_t)sizeof(big));
	CHECK_EQ(chime_recv(b, got, sizeof(got), MSG_WAITALL), sizeof(got));
	CHECK_MEM(got, big, sizeof(big));
	int status;
	waitpid(pid, &status, 0);
	CHECK_EQ(status, 0);
	CHECK_EQ(chime_send(a, "tail", 4, 0), 4);
	chime_free(&a);
	CHECK_EQ(chime_recv(b, got, 100, MSG_WAITALL), 4);
	CHECK_EQ(chime_recv(b, got, 100, MSG_WAITALL), 0);
	chime_free(&b);
}

/* recv_exact puts pieces together; an early end is CHIME_EEOF and what came is counted. */
TEST(recv_exact_gets_all_or_says_how_much)
{
	chime_sock *a, *b;
	char got[16];
	size_t n = 99;
	tcp_pair(&a, &b);
	pid_t pid = fork();
	if (pid == 0) {
		chime_setsockopt_int(a, IPPROTO_TCP, TCP_NODELAY, 1);
		for (int i = 0; i < 13; i++)
			chime_send(a, &"abcdefghijklm"[i], 1, 0);
		chime_shutdown(a, SHUT_WR);
		_exit(0);
	}
	CHECK_EQ(chime_recv_exact(b, got, 10, 0, &n), 0);
	CHECK_EQ(n, 10);
	CHECK_MEM(got, "abcdefghij", 10);
	CHECK_EQ(chime_recv_exact(b, got, 10, 0, &n), CHIME_EEOF);
	CHECK_EQ(n, 3);
	CHECK_MEM(got, "klm", 3);
	CHECK_EQ(chime_recv_exact(b, got, 0, 0, &n), 0);
	CHECK_EQ(n, 0);
	CHECK_EQ(chime_recv_exact(b, got, 4, MSG_PEEK, NULL), -EINVAL);
	waitpid(pid, NULL, 0);
	chime_free(&a);
	chime_free(&b);
}

/* Options are integers or bytes; NULL with a length is passed as it is. */
TEST(options_take_integers_and_bytes)
{
	chime_sock *s;
	int value = -1;
	struct linger on = { 1, 2 }, got;
	socklen_t len = sizeof(got);
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_getsockopt_int(s, SOL_SOCKET, SO_REUSEADDR, &value), 0);
	CHECK_EQ(value, 0);
	CHECK_EQ(chime_setsockopt_int(s, SOL_SOCKET, SO_REUSEADDR, 1), 0);
	CHECK_EQ(chime_getsockopt_int(s, SOL_SOCKET, SO_REUSEADDR, &value), 0);
	CHECK_EQ(value, 1);
	CHECK_EQ(chime_setsockopt(s, SOL_SOCKET, SO_LINGER, &on, sizeof(on)), 0);
	CHECK_EQ(chime_getsockopt(s, SOL_SOCKET, SO_LINGER, &got, &len), 0);
	CHECK_EQ(len, sizeof(got));
	CHECK_EQ(got.l_linger, 2);
	CHECK_EQ(chime_setsockopt(s, SOL_SOCKET, SO_LINGER, NULL, sizeof(on)), -EFAULT);
	CHECK_EQ(chime_getsockopt_int(s, SOL_SOCKET, 9999, &value), -ENOPROTOOPT);
	chime_free(&s);
}

/* An option that has fewer bytes than an integer leaves nothing of what stood there before. */
TEST(short_options_are_whole_integers)
{
	chime_sock *s;
	int value = 77;
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_DGRAM, 0), 0);
	CHECK_EQ(chime_getsockopt_int(s, IPPROTO_IP, IP_OPTIONS, &value), 0); /* it has none just now */
	CHECK_EQ(value, 0);
	chime_free(&s);
}

/* shutdown ends one direction: the peer reads the end, and can still send. */
TEST(shutdown_half_closes)
{
	chime_sock *a, *b;
	char got[4];
	tcp_pair(&a, &b);
	CHECK_EQ(chime_shutdown(a, SHUT_WR), 0);
	CHECK_EQ(chime_recv(b, got, sizeof(got), 0), 0);
	CHECK_EQ(chime_send(b, "ok", 2, 0), 2);
	CHECK_EQ(chime_recv(a, got, sizeof(got), 0), 2);
	CHECK_EQ(chime_send(a, "x", 1, 0), -EPIPE);
	chime_free(&a);
	chime_free(&b);
	CHECK_EQ(chime_open(&a, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_shutdown(a, SHUT_RDWR), -ENOTCONN);
	chime_free(&a);
	chime_sock *p[2];
	CHECK_EQ(chime_socketpair(p, AF_UNIX, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_shutdown(p[0], SHUT_RD), 0);
	CHECK_EQ(chime_recv(p[0], got, sizeof(got), 0), 0);
	CHECK_EQ(chime_send(p[1], "x", 1, 0), -EPIPE);
	CHECK_EQ(chime_send(p[0], "ok", 2, 0), 2);
	CHECK_EQ(chime_recv(p[1], got, sizeof(got), 0), 2);
	chime_free(&p[0]);
	chime_free(&p[1]);
}

/* That the peer was gone is no failure of a close. */
TEST(close_does_not_report_a_reset)
{
	chime_sock *a, *b;
	struct linger hard = { 1, 0 };
	tcp_pair(&a, &b);
	CHECK_EQ(chime_setsockopt(a, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
	CHECK_EQ(chime_send(b, "unread", 6, 0), 6);
	CHECK_EQ(chime_close(a), 0);
	struct pollfd gone = { chime_fileno(b), 0, 0 };
	CHECK_EQ(poll(&gone, 1, 50000), 1);
	CHECK_EQ(chime_close(b), 0);
	chime_free(&a);
	chime_free(&b);
}

/* A backlog below 0 is 0, and such a listener still takes a connection. */
TEST(listen_takes_a_negative_backlog)
{
	chime_sock *l, *c, *a;
	chime_addr at;
	CHECK_EQ(chime_open(&l, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_addr_ip(&at, AF_INET, "127.0.0.1", 0), 0);
	CHECK_EQ(chime_bind(l, &at), 0);
	CHECK_EQ(chime_listen(l, -3), 0);
	CHECK_EQ(chime_getsockname(l, &at), 0);
	CHECK_EQ(chime_open(&c, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_connect(c, &at), 0);
	CHECK_EQ(chime_accept(l, &a, NULL), 0);
	chime_free(&a);
	chime_free(&c);
	chime_free(&l);
}

/* What close(2) says is reported, once, and the handle is closed all the same. */
TEST(close_reports_what_close_says)
{
	chime_sock *s;
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(close(chime_fileno(s)), 0);
	CHECK_EQ(chime_close(s), -EBADF);
	CHECK_EQ(chime_fileno(s), -1);
	CHECK_EQ(chime_close(s), 0);
	chime_free(&s);
}

/* A stream that is freed leaves its socket open, and one whose socket was closed can be freed. */
TEST(streams_borrow_their_socket)
{
	chime_sock *p[2];
	chime_stream *st;
	char b[4];
	CHECK_EQ(chime_socketpair(p, AF_UNIX, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_stream_new(&st, p[0], 0), 0);
	CHECK_EQ(chime_stream_free(&st), 0);
	CHECK_EQ(chime_send(p[0], "x", 1, 0), 1);
	CHECK_EQ(chime_recv(p[1], b, sizeof(b), 0), 1);
	CHECK_EQ(chime_stream_new(&st, p[0], 0), 0);
	CHECK_EQ(chime_close(p[0]), 0);
	CHECK_EQ(chime_stream_read(st, b, sizeof(b)), CHIME_ECLOSED);
	CHECK_EQ(chime_stream_write(st, "x", 1, NULL), 0);
	CHECK_EQ(chime_stream_free(&st), CHIME_ECLOSED);
	chime_free(&p[0]);
	chime_free(&p[1]);
}

/* Families without a text form of ours work by their sockaddr: netlink is bound, and says where; packet sockets too. */
TEST(other_families_take_their_sockaddr)
{
	struct sockaddr_nl nl = { .nl_family = AF_NETLINK };
	struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex("lo") };
	chime_addr a, back;
	char text[CHIME_ADDR_TEXT];
	chime_sock *s;
	CHECK_EQ(chime_addr_from(&a, (struct sockaddr *)&nl, sizeof(nl)), 0);
	CHECK_EQ(chime_addr_family(&a), AF_NETLINK);
	CHECK_EQ(chime_open(&s, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), 0);
	CHECK_EQ(chime_bind(s, &a), 0);
	CHECK_EQ(chime_getsockname(s, &back), 0);
	CHECK_EQ(back.len, sizeof(nl));
	memcpy(&nl, &back.u, sizeof(nl));
	CHECK(nl.nl_pid != 0);
	chime_free(&s);
	CHECK_EQ(chime_addr_from(&a, (struct sockaddr *)&ll, sizeof(ll)), 0);
	chime_addr_print(&a, text, sizeof(text));
	CHECK_STR(text, "family 17, 20 bytes");
	if (chime_open(&s, AF_PACKET, SOCK_DGRAM, 0) < 0)
		SKIP("packet sockets take CAP_NET_RAW");
	CHECK_EQ(chime_bind(s, &a), 0);
	CHECK_EQ(chime_getsockname(s, &back), 0);
	CHECK_EQ(back.u.sa.sa_family, AF_PACKET);
	chime_free(&s);
}

/* MSG_TRUNC tells the length of a message, of which recv_exact stores no more than its room, whatever follows. */
TEST(recv_exact_stays_within_its_room)
{
	struct {
		char room[4], behind[100];
	} got;
	chime_sock *p[2];
	size_t n = 0;
	memset(&got, 0x55, sizeof got);
	CHECK_EQ(chime_socketpair(p, AF_UNIX, SOCK_DGRAM, 0), 0);
	CHECK_EQ(chime_send(p[0], "0123456789", 10, 0), 10);
	CHECK_EQ(chime_send(p[0], "abcdefghijklmnopqrst", 20, 0), 20);
	CHECK_EQ(chime_set_timeout(p[1], 0), 0);
	CHECK_EQ(chime_recv_exact(p[1], got.room, sizeof got.room, MSG_TRUNC, &n), 0);
	CHECK_EQ(n, 4);
	CHECK_MEM(got.room, "0123", 4);
	for (size_t i = 0; i < sizeof got.behind; i++)
		CHECK_EQ(got.behind[i], 0x55);
	CHECK_EQ(chime_recv(p[1], got.behind, 20, 0), 20);
	chime_free(&p[0]);
	chime_free(&p[1]);
}

TEST_MAIN()
