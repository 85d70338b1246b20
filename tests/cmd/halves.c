/* chime talk --raw where a connection has no half-close: SCTP and TIPC. They need their modules: tests/vm runs this. */
#include "program.h"

#include <netinet/in.h>
#include <stdio.h>

static void raw_has_its_answers(int family, int protocol, const char *endpoint, const char *needs)
{
	struct program server = { 0 }, p = { 0 };
	char at[256];
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, protocol);
	if (fd < 0)
		SKIP("no such sockets, %s: needs %s", strerror(errno), needs);
	close(fd);
	serve(&server, endpoint, at);
	START(&p, "talk", "--raw", "--timeout", "5s", at);
	program_type(&p, "hello");
	program_end_input(&p);
	CHECK_EQ(program_wait(&p), 0);
	CHECK_EQ(p.said.len, 24 + 5);
	CHECK_STR(said(&p) + 24, "hello");
	program_forget(&p);
	server_end(&server);
}

/* Input that has ended ends not the conversation before the answers are there. */
TEST(raw_waits_for_answers_on_sctp)
{
	raw_has_its_answers(AF_INET, IPPROTO_SCTP, "sctp://127.0.0.1:0", "sctp");
}

TEST(raw_waits_for_answers_on_tipc)
{
	raw_has_its_answers(AF_TIPC, 0, "tipc://700001:1", "tipc");
}

/* Answers of many times the socket's buffer, which SCTP never takes at once. */
TEST(raw_has_long_answers_on_sctp)
{
	struct program server = { 0 }, p = { 0 };
	static char line[40000];
	char at[256];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_SCTP);
	if (fd < 0)
		SKIP("no such sockets, %s: needs sctp", strerror(errno));
	close(fd);
	memset(line, 'x', sizeof line);
	serve(&server, "sctp://127.0.0.1:0?chunk=1", at);
	START(&p, "talk", "--raw", "--timeout", "5s", at);
	program_say(&p, line, sizeof line);
	program_end_input(&p);
	CHECK_EQ(program_wait(&p), 0);
	CHECK_EQ(p.said.len, 25 * sizeof line);
	for (size_t i = 0; i < sizeof line; i++)
		CHECK_EQ(said(&p)[25 * i + 24], 'x');
	program_forget(&p);
	server_end(&server);
}

TEST_MAIN()
