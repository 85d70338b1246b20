/* Who allocates: the calls whose headers say so, and no other. The allocator's functions are ours here, and count. */
#include <chime/connect.h>
#include <chime/errqueue.h>
#include <chime/kind.h>
#include <chime/names.h>
#include <chime/opt.h>
#include <chime/stamp.h>
#include <chime/stream.h>
#include <runner/test.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

/* volatile: an optimizer knows what malloc(3) does, and that it looks at neither. */
static _Thread_local volatile bool armed;
static _Thread_local volatile unsigned count;

#ifndef SANITIZED
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

void *malloc(size_t size)
{
	count += armed;
	return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	count += armed;
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	count += armed;
	return __libc_realloc(p, size);
}
#endif

static void check_counter(void)
{
#ifdef SANITIZED
	SKIP("the sanitizer has an allocator of its own");
#endif
	armed = true;
	void *volatile p = malloc(10);
	armed = false;
	free(p);
	CHECK_EQ(count, 1);
	count = 0;
}

static void told(const char *call)
{
	armed = false;
	if (count)
		fprintf(stderr, "%s allocated %u times\n", call, count);
	CHECK_EQ(count, 0);
}

/* The expression is run with the counter on. It must succeed. */
#define FREE_OF_IT(expr_)                                                                                              \
	do {                                                                                                           \
		armed = true;                                                                                          \
		long long got_ = (long long)(expr_);                                                                   \
		told(#expr_);                                                                                          \
		if (got_ < 0)                                                                                          \
			fprintf(stderr, "%s gave %lld\n", #expr_, got_);                                               \
		CHECK(got_ >= 0);                                                                                      \
	} while (0)
/* It may fail, for it shall be tried where it does. */
#define FREE_IN_FAILURE(expr_)                                                                                         \
	do {                                                                                                           \
		armed = true;                                                                                          \
		long long got_ = (long long)(expr_);                                                                   \
		told(#expr_);                                                                                          \
		CHECK(got_ < 0);                                                                                       \
	} while (0)

static void pair_of(chime_sock *p[2], int type, int64_t limit)
{
	CHECK_EQ(chime_socketpair(p, AF_UNIX, type, 0), 0);
	CHECK_EQ(chime_set_timeout(p[0], limit), 0);
	CHECK_EQ(chime_set_timeout(p[1], limit), 0);
}

static void free_pair(chime_sock *p[2])
{
	chime_free(&p[0]);
	chime_free(&p[1]);
}

static void each_stream_call(int64_t limit)
{
	char b[256] = "hello", text[64];
	size_t got;
	int fds[2] = { 0, 1 };
	size_t n = 2;
	chime_sock *p[2];
	struct iovec iov[2] = { { b, 2 }, { b + 2, 3 } };
	struct chime_msg m = { .control = { text, sizeof text, 0 } };
	pair_of(p, SOCK_STREAM, limit);
	FREE_OF_IT(chime_send(p[0], b, 5, 0));
	FREE_OF_IT(chime_recv(p[1], b, 5, 0));
	FREE_OF_IT(chime_sendall(p[0], b, 5, 0, &got));
	FREE_OF_IT(chime_recv_exact(p[1], b, 5, 0, &got));
	FREE_OF_IT(chime_sendmsg(p[0], iov, 2, 0, NULL));
	FREE_OF_IT(chime_recvmsg(p[1], b, 5, 0, &m));
	FREE_OF_IT(chime_sendmsg(p[0], iov, 2, 0, NULL));
	FREE_OF_IT(chime_recvmsg_into(p[1], iov, 2, 0, NULL));
	FREE_OF_IT(chime_send_fds(p[0], b, 5, fds, 2, 0, NULL));
	FREE_OF_IT(chime_recv_fds(p[1], b, 5, fds, &n, 0, NULL, NULL));
	CHECK_EQ(n, 2);
	close(fds[0]);
	close(fds[1]);
	if (limit != 0) {
		int file = memfd_create("alloc", MFD_CLOEXEC);
		CHECK_EQ(write(file, b, 5), 5);
		FREE_OF_IT(chime_sendfile(p[0], file, 0, -1, NULL));
		FREE_OF_IT(chime_recv(p[1], b, 5, 0));
		close(file);
	}
	FREE_OF_IT(chime_shutdown(p[0], SHUT_WR));
	FREE_OF_IT(chime_recv(p[1], b, 5, 0));
	free_pair(p);
}

/* Streams: no call on data allocates, in any of the three modes. */
TEST(stream_calls)
{
	check_counter();
	each_stream_call(CHIME_FOREVER);
	each_stream_call(0);
	each_stream_call(5 * CHIME_SEC);
}

static void each_datagram_call(int64_t limit)
{
	char b[2][3000] = { "one", "two" };
	chime_sock *p[2];
	chime_addr at, from;
	struct chime_stamps stamps;
	size_t size;
	struct iovec iov[2] = { { b[0], 3 }, { b[1], 3 } };
	struct chime_packet many[2] = { { .iov = &iov[0], .iovs = 1 }, { .iov = &iov[1], .iovs = 1 } };
	CHECK_EQ(chime_addr_ip(&at, AF_INET, "127.0.0.1", 0), 0);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(chime_open(&p[i], AF_INET, SOCK_DGRAM, 0), 0);
		FREE_OF_IT(chime_bind(p[i], &at));
		FREE_OF_IT(chime_set_timeout(p[i], limit));
	}
	FREE_OF_IT(chime_getsockname(p[1], &at));
	FREE_OF_IT(chime_sendto(p[0], b[0], 3, 0, &at));
	FREE_OF_IT(chime_recvfrom(p[1], b[1], 3, 0, &from));
	FREE_OF_IT(chime_connect(p[0], &at));
	FREE_OF_IT(chime_getpeername(p[0], &from));
	FREE_OF_IT(chime_send_many(p[0], many, 2, 0));
	FREE_OF_IT(chime_recv_many(p[1], many, 2, 0));
	if (chime_timestamping(p[1], CHIME_STAMP_RX) == 0) {
		FREE_OF_IT(chime_timestamping(p[0], CHIME_STAMP_TX));
		FREE_OF_IT(chime_send(p[0], "x", 1, 0));
		FREE_OF_IT(chime_recv_stamped(p[1], b[0], 10, 0, &stamps, &from));
		struct chime_queued q;
		if (limit != 0)
			FREE_OF_IT(chime_recv_queued(p[0], &q, 0));
	}
	FREE_OF_IT(chime_send_segments(p[0], b[0], 3000, 1000, 0, NULL));
	FREE_OF_IT(chime_set_gro(p[1], true));
	FREE_OF_IT(chime_recv_segments(p[1], b[0], sizeof b, &size, 0, &from));
	free_pair(p);
}

/* Datagrams: addresses, many at once, segments, stamps. */
TEST(datagram_calls)
{
	check_counter();
	each_datagram_call(CHIME_FOREVER);
	each_datagram_call(0);
	each_datagram_call(5 * CHIME_SEC);
}

/* A call that waits in vain, its sentence, and an error of the system: nothing is allocated for any of it. */
TEST(waits_and_failures)
{
	char b[8], why[200];
	chime_sock *p[2], *s, *out;
	chime_addr at;
	check_counter();
	pair_of(p, SOCK_STREAM, 10 * CHIME_MSEC);
	FREE_IN_FAILURE(chime_recv(p[0], b, sizeof b, 0));
	FREE_IN_FAILURE(chime_recv_exact(p[0], b, sizeof b, 0, NULL));
	FREE_OF_IT(chime_last_error(p[0], why, sizeof why));
	FREE_OF_IT(chime_close(p[1]));
	FREE_IN_FAILURE(chime_send(p[0], b, 1, 0));
	free_pair(p);
	CHECK_EQ(chime_addr_ip(&at, AF_INET, "127.0.0.1", 0), 0);
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
	FREE_OF_IT(chime_bind(s, &at));
	FREE_OF_IT(chime_getsockname(s, &at));
	CHECK_EQ(chime_open(&out, AF_INET, SOCK_STREAM, 0), 0);
	FREE_IN_FAILURE(chime_connect(out, &at));
	chime_free(&out);
	FREE_OF_IT(chime_listen(s, 1));
	FREE_OF_IT(chime_set_timeout(s, 10 * CHIME_MSEC));
	FREE_IN_FAILURE(chime_accept(s, &out, NULL));
	FREE_IN_FAILURE(chime_getpeername(s, &at));
	chime_free(&s);
}

/* Options by number and by name, flags, limits. */
TEST(options)
{
	chime_sock *s;
	char text[64];
	int value;
	int64_t number;
	struct linger linger;
	socklen_t len = sizeof linger;
	check_counter();
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_STREAM, 0), 0);
	FREE_OF_IT(chime_setsockopt_int(s, IPPROTO_TCP, TCP_NODELAY, 1));
	FREE_OF_IT(chime_getsockopt_int(s, IPPROTO_TCP, TCP_NODELAY, &value));
	FREE_OF_IT(chime_getsockopt(s, SOL_SOCKET, SO_LINGER, &linger, &len));
	FREE_OF_IT(chime_setsockopt(s, SOL_SOCKET, SO_LINGER, &linger, len));
	FREE_OF_IT(chime_set_inheritable(s, true));
	FREE_OF_IT(chime_inheritable(s));
	FREE_OF_IT(chime_set_blocking(s, false));
	FREE_OF_IT(chime_set_timeout(s, CHIME_SEC));
	for (const struct chime_opt *o = chime_opt_table(); o->name; o++) {
		armed = true;
		if (chime_opt_get(s, o, &number) == 0)
			chime_opt_set(s, o, number);
		if (chime_opt_get_text(s, o, text, sizeof text) > 0)
			chime_opt_set_text(s, o, text);
		told(o->name);
	}
	chime_free(&s);
}

/* A buffered stream allocates when it is made, and nothing later. */
TEST(buffered_streams)
{
	chime_sock *p[2];
	chime_stream *st[2];
	char line[100];
	size_t got;
	check_counter();
	pair_of(p, SOCK_STREAM, 5 * CHIME_SEC);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(chime_stream_new(&st[i], p[i], 256), 0);
	FREE_OF_IT(chime_stream_printf(st[0], "line %d\nmore", 7));
	FREE_OF_IT(chime_stream_write(st[0], "123", 3, &got));
	FREE_OF_IT(chime_stream_flush(st[0]));
	FREE_OF_IT(chime_stream_read_line(st[1], line, sizeof line));
	FREE_OF_IT(chime_stream_read_exact(st[1], line, 4, &got));
	FREE_OF_IT(chime_stream_read(st[1], line, 3));
	for (int i = 0; i < 2; i++)
		FREE_OF_IT(chime_stream_free(&st[i]));
	free_pair(p);
}

/* Texts: addresses, endpoints, durations, stamps, codes; reading and printing them. */
TEST(texts)
{
	static const char *const endpoints[] = { "tcp://[::1]:80?backlog=5", "unix:/tmp/a%20b?mode=0660",
						 "udp://name:9" };
	char text[CHIME_ENDPOINT_TEXT];
	chime_endpoint e;
	chime_addr a;
	int64_t ns;
	struct in_addr in;
	check_counter();
	chime_strerror(-EPERM); /* the first time the C library may read its tables */
	for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++) {
		FREE_OF_IT(chime_endpoint_parse(&e, endpoints[i], NULL, NULL, NULL));
		FREE_OF_IT(chime_endpoint_print(&e, text, sizeof text));
	}
	FREE_OF_IT(chime_addr_parse(&a, "[2001:db8::1]:80"));
	FREE_OF_IT(chime_addr_print(&a, text, sizeof text));
	FREE_OF_IT(chime_addr_unix(&a, "/tmp/x", 6));
	FREE_OF_IT(chime_addr_print(&a, text, sizeof text));
	FREE_OF_IT(chime_duration_parse("1.5h", &ns));
	FREE_OF_IT(chime_duration_print(ns, text, sizeof text));
	FREE_OF_IT(chime_inet_aton("127.1", &in));
	FREE_OF_IT(chime_inet_pton(AF_INET, "127.0.0.1", &in));
	FREE_OF_IT(chime_inet_ntop(AF_INET, &in, 4, text, sizeof text));
	FREE_OF_IT(strlen(chime_strerror(-ECONNREFUSED)));
	FREE_OF_IT(strlen(chime_errname(CHIME_EAI(EAI_NONAME))));
	FREE_OF_IT(chime_stamp_write(text, chime_now_real(), CHIME_STAMP_RFC3339NS, true));
	FREE_OF_IT(chime_gethostname(text, sizeof text));
	FREE_OF_IT(chime_if_nametoindex("lo"));
}

/* Targets without a look-up, and trying a kind of socket. */
TEST(numeric_targets_and_kinds)
{
	struct chime_target t[4];
	char why[256];
	check_counter();
	FREE_OF_IT(chime_resolve("127.0.0.1", 80, AF_UNSPEC, SOCK_STREAM, IPPROTO_TCP, false, CHIME_SEC, t, 4));
	FREE_OF_IT(chime_resolve("", 80, AF_UNSPEC, SOCK_STREAM, IPPROTO_TCP, true, CHIME_SEC, t, 4));
	FREE_OF_IT(chime_targets_order(t, 2));
	FREE_OF_IT(chime_kind_try(chime_kind_find(AF_UNIX, SOCK_STREAM, 0), why, sizeof why));
}

/* A handle is one allocation, whatever makes it. */
TEST(handles_are_one_allocation)
{
	chime_sock *s, *d, *p[2];
	check_counter();
	armed = true;
	CHECK_EQ(chime_open(&s, AF_UNIX, SOCK_STREAM, 0), 0);
	CHECK_EQ(count, 1);
	CHECK_EQ(chime_dup(s, &d), 0);
	CHECK_EQ(count, 2);
	CHECK_EQ(chime_socketpair(p, AF_UNIX, SOCK_STREAM, 0), 0);
	CHECK_EQ(count, 4);
	armed = false;
	chime_free(&s);
	chime_free(&d);
	free_pair(p);
}

TEST_MAIN()
