/*
 * What the system's functions hardly ever say: here they are the test's own, and say it. Each is what the library calls, for this program
 * is linked with it statically.
 */
#include "net/resolve.h"
#include "net/sock.h"

#include <chime/connect.h>
#include <chime/errqueue.h>
#include <chime/names.h>
#include <runner/test.h>

#include <arpa/inet.h>
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LIMIT (50 * CHIME_SEC)

/* ---- getnameinfo(3) ---- */

static int eai, eai_errno;

int getnameinfo(const struct sockaddr *restrict at, socklen_t len, char *restrict host, socklen_t host_len,
		char *restrict service, socklen_t service_len, int flags)
{
	(void)at, (void)len, (void)host, (void)host_len, (void)service, (void)service_len, (void)flags;
	errno = eai_errno;
	return eai;
}

/* Every code is told as itself, and EAI_SYSTEM as the errno behind it, in the helper's thread and in the caller's own. */
TEST(getnameinfo_codes_are_told_as_they_are)
{
	static const struct {
		int eai, system, want;
	} rows[] = {
		{ EAI_SYSTEM, EMFILE, -EMFILE },
		{ EAI_SYSTEM, 0, -EIO }, /* who forgot to say it */
		{ EAI_AGAIN, EMFILE, CHIME_EAI(EAI_AGAIN) },
		{ EAI_FAIL, 0, CHIME_EAI(EAI_FAIL) },
		{ EAI_OVERFLOW, 0, CHIME_EAI(EAI_OVERFLOW) },
	};
	char host[64] = "old";
	chime_addr a;
	CHECK_EQ(chime_addr_ip(&a, AF_INET, "192.0.2.1", 0), 0);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		eai = rows[i].eai;
		eai_errno = rows[i].system;
		CHECK_EQ(chime_getnameinfo(&a, 0, LIMIT, host, sizeof host, NULL, 0), rows[i].want);
		CHECK_EQ(chime_getnameinfo(&a, NI_NUMERICHOST, LIMIT, host, sizeof host, NULL, 0), rows[i].want);
		CHECK_STR(host, "old");
	}
}

/* ---- gethostbyname_r(3), gethostbyaddr_r(3) ---- */

static int host_err, host_code; /* what they return, and what *h_errno is then */
static size_t host_room;        /* they want so much of it */
static unsigned host_calls;

static int look(struct hostent *entry, char *buf, size_t size, struct hostent **found, int *h_err)
{
	static char *none[] = { NULL };
	host_calls++;
	*found = NULL;
	if (size < host_room) {
		*h_err = NETDB_INTERNAL;
		return ERANGE;
	}
	*h_err = host_code;
	if (host_code == NETDB_SUCCESS && host_err == 0) {
		*entry = (struct hostent){ strcpy(buf, "found.test"), none, AF_INET, 4, none };
		*found = entry;
	}
	return host_err;
}

int gethostbyname_r(const char *restrict name, struct hostent *restrict entry, char *restrict buf, size_t size,
		    struct hostent **restrict found, int *restrict h_err)
{
	(void)name;
	return look(entry, buf, size, found, h_err);
}

int gethostbyaddr_r(const void *restrict addr, socklen_t len, int family, struct hostent *restrict entry,
		    char *restrict buf, size_t size, struct hostent **restrict found, int *restrict h_err)
{
	(void)addr, (void)len, (void)family;
	return look(entry, buf, size, found, h_err);
}

/* Every h_errno is told as itself, one that nobody knows as a failure for good, and NETDB_INTERNAL as the errno that came with it. */
TEST(host_codes_are_told_as_they_are)
{
	static const struct {
		int code, err, want;
	} rows[] = {
		{ HOST_NOT_FOUND, 0, CHIME_HOST(HOST_NOT_FOUND) },
		{ TRY_AGAIN, EAGAIN, CHIME_HOST(TRY_AGAIN) },
		{ NO_RECOVERY, 0, CHIME_HOST(NO_RECOVERY) },
		{ NO_DATA, 0, CHIME_HOST(NO_DATA) },
		{ NO_DATA + 1, 0, CHIME_HOST(NO_RECOVERY) },
		{ NETDB_SUCCESS, ENOENT, CHIME_HOST(NO_RECOVERY) }, /* and yet nothing was found */
		{ NETDB_INTERNAL, EMFILE, -EMFILE },
		{ NETDB_INTERNAL, 0, -EIO },
	};
	struct chime_host *h;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		host_code = rows[i].code;
		host_err = rows[i].err;
		print_message("h_errno %d, %s\n", host_code, strerror(host_err));
		CHECK_EQ(chime_gethostbyname_ex("name.test", LIMIT, &h), rows[i].want);
		CHECK_PTR(h, NULL);
		CHECK_EQ(chime_gethostbyaddr("192.0.2.1", LIMIT, &h), rows[i].want);
		CHECK_EQ(chime_gethostbyaddr("2001:db8::1", LIMIT, &h), rows[i].want);
		CHECK_PTR(h, NULL);
	}
}

/* An answer that is too long for the room gets more, and one that no room is enough for is given up. */
TEST(long_answers_get_room)
{
	struct chime_host *h;
	host_code = NETDB_SUCCESS;
	host_room = 1 << 19;
	CHECK_EQ(chime_gethostbyname_ex("name.test", LIMIT, &h), 0);
	CHECK_STR(h->name, "found.test");
	CHECK_EQ(h->count, 0);
	chime_host_free(&h);
	host_room = SIZE_MAX;
	host_calls = 0;
	CHECK_EQ(chime_gethostbyname_ex("name.test", LIMIT, &h), -ERANGE);
	CHECK_IN(host_calls, 2, 20);
}

/* ---- recvmsg(2) ---- */

static bool queued; /* something stands in the error queue that says nothing of itself */

ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
	(void)fd;
	if (!queued || !(flags & MSG_ERRQUEUE)) {
		errno = EAGAIN;
		return -1;
	}
	m->msg_namelen = 0;
	m->msg_controllen = 0;
	m->msg_flags = MSG_ERRQUEUE;
	return 1;
}

/* What is queued and says neither stamp nor completion nor error is no such thing, and not taken for the last one. */
TEST(queued_messages_that_say_nothing)
{
	struct chime_queued q;
	chime_sock *s;
	CHECK_EQ(chime_open(&s, AF_INET, SOCK_DGRAM, 0), 0);
	CHECK_EQ(chime_set_timeout(s, 0), 0);
	CHECK_EQ(chime_recv_queued(s, &q, 0), -EAGAIN);
	queued = true;
	CHECK_EQ(chime_recv_queued(s, &q, 0), -EBADMSG);
	CHECK_EQ(chime_set_timeout(s, LIMIT), 0);
	CHECK_EQ(chime_recv_queued(s, &q, 0), -EBADMSG);
	chime_free(&s);
}

/* ---- bind(2) ---- */

static unsigned no_binds; /* so many of the next fail */

int bind(int fd, __CONST_SOCKADDR_ARG at, socklen_t len)
{
	if (no_binds > 0) {
		no_binds--;
		errno = EADDRNOTAVAIL;
		return -1;
	}
	return (int)syscall(SYS_bind, fd, at.__sockaddr__, len);
}

static struct sockaddr_in ends[2];

static int two_addresses(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
	static struct addrinfo list[2];
	(void)host, (void)service, (void)hints;
	for (int i = 0; i < 2; i++) {
		ends[i] = (struct sockaddr_in){ .sin_family = AF_INET,
						.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (unsigned)i) };
		list[i] = (struct addrinfo){ .ai_family = AF_INET,
					     .ai_addrlen = sizeof ends[i],
					     .ai_addr = (struct sockaddr *)&ends[i],
					     .ai_next = i == 0 ? &list[1] : NULL };
	}
	*out = list;
	return 0;
}

static void keep(struct addrinfo *list)
{
	(void)list;
}

/* Each attempt is told with what it failed at: that one could not be bound is not said of the next, which was refused. */
TEST(attempts_are_told_each_by_itself)
{
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	char why[256], want[256];
	chime_addr from, at;
	chime_sock *s, *held;
	chime__resolver = (struct chime__resolver){ two_addresses, keep };
	CHECK_EQ(chime_addr_ip(&from, AF_INET, "127.0.0.1", 0), 0);
	CHECK_EQ(chime_open(&held, AF_INET, SOCK_STREAM, 0), 0); /* its port has nobody who listens */
	CHECK_EQ(chime_addr_ip(&at, AF_INET, "0.0.0.0", 0), 0);
	CHECK_EQ(chime_bind(held, &at), 0);
	CHECK_EQ(chime_getsockname(held, &at), 0);
	config.bind = &from;
	config.why = why;
	config.why_size = sizeof why;
	for (unsigned fails = 0; fails < 3; fails++) {
		const char *word[2] = { "", "" };
		no_binds = fails;
		for (unsigned i = 0; i < fails; i++)
			word[i] = "bind 127.0.0.1:0: ";
		CHECK_EQ(chime_create_connection(&s, "name.test", chime_addr_port(&at), &config),
			 fails == 2 ? -EADDRNOTAVAIL : -ECONNREFUSED);
		snprintf(want, sizeof want, "127.0.0.1:%d: %s%s; 127.0.0.2:%d: %s%s", chime_addr_port(&at), word[0],
			 chime_strerror(fails > 0 ? -EADDRNOTAVAIL : -ECONNREFUSED), chime_addr_port(&at), word[1],
			 chime_strerror(fails > 1 ? -EADDRNOTAVAIL : -ECONNREFUSED));
		CHECK_STR(why, want);
	}
	chime_free(&held);
}

TEST_MAIN()
