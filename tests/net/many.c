/* Many messages in one call: each with its own address and what goes beside it, and errors told where they belong. */
#include <chime/msg.h>
#include <runner/test.h>

#include <errno.h>
#include <unistd.h>

#define N 150 /* more than go in one system call */

static chime_sock *from, *to[2];
static chime_addr at[2];

static void begin(void)
{
	CHECK_EQ(chime_open(&from, AF_INET, SOCK_DGRAM, 0), 0);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(chime_open(&to[i], AF_INET, SOCK_DGRAM, 0), 0);
		CHECK_EQ(chime_addr_ip(&at[i], AF_INET, "127.0.0.1", 0), 0);
		CHECK_EQ(chime_bind(to[i], &at[i]), 0);
		CHECK_EQ(chime_getsockname(to[i], &at[i]), 0);
	}
}

static void end(void)
{
	chime_free(&from);
	chime_free(&to[0]);
	chime_free(&to[1]);
}

/* Each goes to its own address, with its own time to live, and each that comes has what it carried and no more. */
TEST(each_has_its_own)
{
	char byte[2] = "a", got[8], room[2][64], in_room[128];
	struct iovec out = { byte, 1 }, in = { got, sizeof got };
	struct chime_packet p[2];
	begin();
	for (int i = 0; i < 2; i++) {
		struct chime_control *c = &p[i].msg.control;
		p[i] = (struct chime_packet){ .iov = &out, .iovs = 1, .msg = { .addr = at[i] } };
		chime_control_init(c, room[i], sizeof room[i]);
		CHECK_EQ(chime_control_add_hops(c, AF_INET, 10 + i), 0);
		CHECK_EQ(chime_setsockopt_int(to[i], IPPROTO_IP, IP_RECVTTL, 1), 0);
	}
	CHECK_EQ(chime_send_many(from, p, 2, 0), 2);
	for (int i = 0; i < 2; i++) {
		struct chime_packet r = { .iov = &in, .iovs = 1, .msg = { .control = { in_room, sizeof in_room, 0 } } };
		struct chime_cmsg m = { 0 };
		int hops = 0;
		CHECK_EQ(chime_recv_many(to[i], &r, 1, 0), 1);
		CHECK_EQ(r.msg.control.len, CMSG_SPACE(sizeof(int)));
		CHECK(chime_control_next(&r.msg.control, &m));
		CHECK(chime_cmsg_hops(&m, &hops));
		CHECK_EQ(hops, 10 + i);
		CHECK(!chime_control_next(&r.msg.control, &m));
		CHECK_EQ(chime_recv(to[i], got, sizeof got, MSG_DONTWAIT), -EAGAIN);
	}
	end();
}

/* One that cannot go stops those behind it: how many went is told, and the next call begins with the error. */
TEST(errors_are_told_by_the_next_call)
{
	static const int bad[] = { 0, 1, 63, 64, 65, 128 }; /* 64: the first of another system call */
	static char byte[] = "a", big[70000];
	static struct chime_packet p[N];
	struct iovec out = { byte, 1 }, too_big = { big, sizeof big };
	begin();
	CHECK_EQ(chime_setsockopt_int(to[0], SOL_SOCKET, SO_RCVBUF, 1 << 20), 0);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		for (int k = 0; k < N; k++)
			p[k] = (struct chime_packet){ .iov = k == bad[i] ? &too_big : &out,
						      .iovs = 1,
						      .msg = { .addr = at[0] } };
		CHECK_EQ(chime_send_many(from, p, N, 0), bad[i] ? bad[i] : -EMSGSIZE);
		CHECK_EQ(chime_send_many(from, p + bad[i], (size_t)(N - bad[i]), 0), -EMSGSIZE);
		for (int k = 0; k < bad[i]; k++)
			CHECK_EQ(chime_recv(to[0], big, sizeof big, 0), 1);
	}
	end();
}

/* Without pieces put together, a datagram is one piece of its own length. */
TEST(a_plain_datagram_is_one_segment)
{
	char got[16];
	size_t size = 77;
	chime_addr who;
	begin();
	CHECK_EQ(chime_sendto(from, "hello", 5, 0, &at[0]), 5);
	CHECK_EQ(chime_recv_segments(to[0], got, sizeof got, &size, 0, &who), 5);
	CHECK_EQ(size, 5);
	CHECK_EQ(chime_recv_segments(to[0], got, sizeof got, &size, MSG_DONTWAIT, &who), -EAGAIN);
	CHECK_EQ(size, 0);
	CHECK_EQ(who.len, 0);
	end();
}

/* Segments go to the address that is given with them. */
TEST(segments_of_an_unconnected_socket)
{
	char got[16];
	begin();
	ssize_t n = chime_send_segments(from, "hello", 5, 3, 0, &at[1]);
	if (n == -EINVAL || n == -EIO)
		SKIP("this kernel has no UDP_SEGMENT: %s", chime_errname((int)n));
	CHECK_EQ(n, 5);
	CHECK_EQ(chime_recv(to[1], got, sizeof got, 0), 3);
	CHECK_EQ(chime_recv(to[1], got + 3, sizeof got - 3, 0), 2);
	CHECK_MEM(got, "hello", 5);
	end();
}

TEST_MAIN()
