/* Urgent data (MSG_OOB): it is waited for, and not the other data that lies before it. */
#include "net/stuck.h"

#include <netinet/in.h>

#define ORDINARY 40000 /* more than the receiver has room for, less than an urgent pointer reaches */

#ifdef SYS_ppoll_time64 /* where a long has 32 bits */
#define PPOLL SYS_ppoll_time64
#else
#define PPOLL SYS_ppoll
#endif

static char got[ORDINARY];
static size_t in_front = ORDINARY; /* of the urgent byte, not yet read */
static _Atomic int polls, polls_for_nothing;

/* Counts the waits, and those for something that is there already. */
int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *limit, const sigset_t *mask)
{
	struct timespec left = limit ? *limit : (struct timespec){ 0, 0 };
	polls++;
	polls_for_nothing += poll(fds, n, 0) > 0;
	return (int)syscall(PPOLL, fds, n, limit ? &left : NULL, mask, 8);
}

/* A connection where s knows that urgent data is under way, and what comes before it fills the room there is. */
static void make_urgent_to_come(struct stuck *k)
{
	static char ordinary[ORDINARY];
	chime_sock *l;
	ssize_t n;
	CHECK_EQ(chime_create_server(&l, AF_INET, "127.0.0.1", 0, -1, false, false), 0);
	CHECK_EQ(chime_getsockname(l, &k->at), 0);
	CHECK_EQ(chime_open(&k->s, AF_INET, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_setsockopt_int(k->s, SOL_SOCKET, SO_RCVBUF, 4096), 0);
	CHECK_EQ(chime_connect(k->s, &k->at), 0);
	CHECK_EQ(chime_accept(l, &k->peer, NULL), 0);
	chime_free(&l);
	CHECK_EQ(chime_setsockopt_int(k->peer, SOL_SOCKET, SO_SNDBUF, 8 * ORDINARY), 0);
	CHECK_EQ(chime_send(k->peer, ordinary, ORDINARY, MSG_DONTWAIT), ORDINARY);
	CHECK_EQ(chime_send(k->peer, "!", 1, MSG_OOB | MSG_DONTWAIT), 1);
	/* Bit by bit, until a segment tells of it. */
	while ((n = chime_recv(k->s, k->buf, 1, MSG_OOB | MSG_DONTWAIT)) == -EINVAL) {
		CHECK((n = chime_recv(k->s, got, 500, 0)) > 0);
		in_front -= (size_t)n;
	}
	CHECK_EQ(n, -EAGAIN);
	CHECK_IN(in_front, 1, ORDINARY);
	struct pollfd p = { chime_fileno(k->s), POLLIN, 0 };
	CHECK_EQ(poll(&p, 1, 60000), 1); /* there is ordinary data in front */
}

static ssize_t recv_urgent(struct stuck *k)
{
	char b;
	ssize_t n = chime_recv(k->s, &b, 1, MSG_OOB);
	return n == 1 && b != '!' ? -99 : n;
}

/* Ordinary data that lies before the urgent does not end the wait, nor begin it again and again. */
TEST(urgent_data_alone_is_waited_for)
{
	struct stuck k = { 0 };
	make_urgent_to_come(&k);
	CHECK_EQ(chime_set_timeout(k.s, 20 * CHIME_MSEC), 0);
	polls = polls_for_nothing = 0;
	CHECK_EQ(recv_urgent(&k), CHIME_ETIMEOUT);
	CHECK_EQ(polls, 1);
	CHECK_EQ(polls_for_nothing, 0);
	CHECK_EQ(chime_set_timeout(k.s, 0), 0);
	CHECK_EQ(recv_urgent(&k), -EAGAIN);
	stuck_free(&k);
}

/* It ends the wait when it comes, while another thread reads what lies before it. */
TEST(urgent_data_ends_the_wait)
{
	const struct stuck_call urgent = { "recv of urgent data", NULL, recv_urgent, NULL, 1, -EAGAIN };
	struct stuck k = { 0 };
	struct stuck_thread t;
	make_urgent_to_come(&k);
	stuck_thread_start(&t, &urgent, &k);
	/* Whoever reads beyond it has thrown it away. */
	CHECK_EQ(chime_recv_exact(k.s, got, in_front, 0, NULL), 0);
	CHECK_EQ(stuck_thread_end(&t), 1);
	stuck_free(&k);
}

static ssize_t send_urgent(struct stuck *k)
{
	return chime_send(k->s, "!", 1, MSG_OOB);
}

/* Sending it waits for room, as sending anything does. */
TEST(urgent_data_waits_for_room)
{
	const struct stuck_call urgent = { "send of urgent data", NULL, send_urgent, NULL, 1, -EAGAIN };
	struct tcp_info info = { 0 };
	socklen_t len = sizeof info;
	struct stuck k = { 0 };
	struct stuck_thread t;
	stuck_make_tcp(&k);
	CHECK_EQ(chime_setsockopt_int(k.s, SOL_SOCKET, SO_SNDBUF, 4096), 0);
	/* TCP moves what was sent on for a while: until it has begun to ask the peer whether there is room at last. */
	for (; info.tcpi_unacked || !info.tcpi_backoff; usleep(1000)) {
		stuck_fill(&k);
		if (getsockopt(chime_fileno(k.s), IPPROTO_TCP, TCP_INFO, &info, &len) < 0 || len < sizeof info / 2)
			SKIP("nobody tells here when a connection is full");
	}
	stuck_thread_start(&t, &urgent, &k);
	CHECK(!atomic_load(&t.over));
	while (!atomic_load(&t.over))
		stuck_drain(&k);
	CHECK_EQ(stuck_thread_end(&t), 1);
	stuck_free(&k);
}

TEST_MAIN()
