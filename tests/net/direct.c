/* send and receive, by the C library and directly: nobody can tell which. */
#include "net/direct.h"

#include <chime/sock.h>
#include <runner/test.h>

#include <stdlib.h>
#include <string.h>

/* Every outcome of a first try: what went, an end, no room, nothing there, a peer that is gone, and no signal. */
static void outcomes(void)
{
	static char bytes[1 << 16];
	chime_sock *pair[2];
	char got[8];
	ssize_t n, sent = 0;
	CHECK_EQ(chime_socketpair(pair, AF_UNIX, SOCK_STREAM, 0), 0);
	CHECK_EQ(chime_send(pair[0], "abc", 3, 0), 3);
	CHECK_EQ(chime_recv(pair[1], got, sizeof got, MSG_PEEK), 3);
	CHECK_EQ(chime_recv(pair[1], got, sizeof got, 0), 3);
	CHECK_MEM(got, "abc", 3);
	CHECK_EQ(chime_set_timeout(pair[0], 0), 0);
	CHECK_EQ(chime_set_timeout(pair[1], 10 * CHIME_MSEC), 0);
	CHECK_EQ(chime_recv(pair[0], got, sizeof got, 0), -EAGAIN);
	CHECK_EQ(chime_recv(pair[1], got, sizeof got, 0), CHIME_ETIMEOUT);
	while ((n = chime_send(pair[0], bytes, sizeof bytes, 0)) > 0)
		sent += n;
	CHECK_EQ(n, -EAGAIN);
	CHECK(sent > 0);
	CHECK_EQ(chime_recv(pair[1], NULL, 8, 0), -EFAULT);
	for (; sent > 0; sent -= n)
		CHECK_IN(n = chime_recv(pair[1], bytes, sizeof bytes, 0), 1, sent);
	chime_free(&pair[0]);
	CHECK_EQ(chime_recv(pair[1], got, sizeof got, 0), 0);
	CHECK_EQ(chime_send(pair[1], "abc", 3, 0), -EPIPE);
	chime_free(&pair[1]);
}

/* The same by either way. */
TEST(both_ways_have_the_same_outcomes)
{
	bool here = chime__direct;
	outcomes();
	chime__direct = !here;
	outcomes();
	chime__direct = here;
}

/* Who puts himself in front of the C library's functions sees the calls. */
TEST(what_is_preloaded_sees_the_calls)
{
	unsetenv("LD_PRELOAD");
	bool without = chime__direct_wanted();
	setenv("LD_PRELOAD", "", 1);
	CHECK_EQ(chime__direct_wanted(), without);
	setenv("LD_PRELOAD", "libfront.so", 1);
	CHECK_EQ(chime__direct_wanted(), false);
	if (!DIRECT)
		SKIP("in this build, or on this processor, the C library's functions are always taken");
	CHECK_EQ(without, true);
}

TEST_MAIN()
