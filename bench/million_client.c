/*
 * Holds very many TCP connections to a stamp server on loopback, asks each once, and waits for the server to end them.
 *
 *     million_client PORT COUNT
 *
 * One line of name=value for each of the three acts: opened, answered, ended. Before the second and the third it waits for
 * a line on stdin, so that whoever started it can look at the server in between. Exit 1 if anything was wrong.
 */
#include <chime/stamp.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	PER_SOURCE = 10000, /* connections from one address; with more the search for a free port slows down */
	FLIGHT = 1000,      /* asked before the first answer is read */
	REPORT = 50000,
	STAMP = 24,
	REQUEST = 8
};
#define SEC 1000000000LL

static int *fds;
static unsigned count, errors;

static int64_t now(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return t.tv_sec * SEC + t.tv_nsec;
}

static void die(const char *what, unsigned i)
{
	fprintf(stderr, "million_client: %s of connection %u: %s\n", what, i, strerror(errno));
	exit(1);
}

static void wrong(const char *what, unsigned i)
{
	if (errors++ < 10)
		fprintf(stderr, "million_client: connection %u: %s\n", i, what);
}

static void progress(const char *act, unsigned done)
{
	if (done % REPORT == 0)
		fprintf(stderr, "# %u %s\n", done, act);
}

static void told(const char *act, unsigned n, int64_t since)
{
	double s = (double)(now(CLOCK_MONOTONIC) - since) / 1e9;
	printf("%s=%u seconds=%.1f per_second=%.0f errors=%u\n", act, n, s, n / s, errors);
	fflush(stdout);
}

static void wait_for_word(void)
{
	char line[64];
	if (!fgets(line, sizeof line, stdin))
		exit(1);
}

static int dial(unsigned i, unsigned port)
{
	const struct sockaddr_in to = { .sin_family = AF_INET,
					.sin_port = htons((uint16_t)port),
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const struct sockaddr_in from = { .sin_family = AF_INET,
					  .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + i / PER_SOURCE) };
	const int yes = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket", i);
	/* the port is chosen by connect, which knows the whole pair of addresses */
	if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes) < 0 ||
	    bind(fd, (const struct sockaddr *)&from, sizeof from) < 0)
		die("bind", i);
	if (connect(fd, (const struct sockaddr *)&to, sizeof to) < 0)
		die("connect", i);
	return fd;
}

static void open_all(unsigned port)
{
	int64_t start = now(CLOCK_MONOTONIC);
	for (unsigned i = 0; i < count; i++) {
		fds[i] = dial(i, port);
		progress("opened", i + 1);
	}
	told("opened", count, start);
}

static void request_of(unsigned i, char out[REQUEST + 1])
{
	snprintf(out, REQUEST + 1, "n%07u", i);
}

/* Whether it is a stamp of a second since then. */
static bool stamp_right(const char *text, int64_t asked_ns)
{
	static char known[STAMP]; /* reading one asks the system for the zone */
	static int64_t known_ns;
	bool utc;
	int64_t precision;
	if (memcmp(text, known, STAMP)) {
		if (chime_stamp_read(text, STAMP, CHIME_STAMP_CTIME, &known_ns, &utc, &precision) != STAMP)
			return false;
		memcpy(known, text, STAMP);
	}
	return known_ns > asked_ns - SEC && known_ns <= now(CLOCK_REALTIME);
}

/* Whether the answer is a true stamp and what was sent. */
static bool answer_right(unsigned i, int64_t asked_ns)
{
	char answer[STAMP + REQUEST], request[REQUEST + 1];
	if (recv(fds[i], answer, sizeof answer, MSG_WAITALL) != (ssize_t)sizeof answer)
		return false;
	request_of(i, request);
	return stamp_right(answer, asked_ns) && !memcmp(answer + STAMP, request, REQUEST);
}

static void ask_all(void)
{
	int64_t start = now(CLOCK_MONOTONIC);
	unsigned right = 0;
	for (unsigned from = 0; from < count; from += FLIGHT) {
		unsigned to = count - from < FLIGHT ? count : from + FLIGHT;
		int64_t asked_ns = now(CLOCK_REALTIME);
		for (unsigned i = from; i < to; i++) {
			char request[REQUEST + 1];
			request_of(i, request);
			if (send(fds[i], request, REQUEST, MSG_NOSIGNAL) != REQUEST)
				die("send", i);
		}
		for (unsigned i = from; i < to; i++) {
			if (answer_right(i, asked_ns))
				right++;
			else
				wrong("no right answer", i);
		}
		progress("answered", to);
	}
	told("answered", right, start);
}

/* The server ends each connection in order: the end and nothing before it. */
static void see_the_end_of_all(void)
{
	int64_t start = now(CLOCK_MONOTONIC);
	unsigned ended = 0;
	for (unsigned i = 0; i < count; i++) {
		char more;
		if (recv(fds[i], &more, 1, 0) == 0)
			ended++;
		else
			wrong("no orderly end", i);
		close(fds[i]);
		progress("ended", i + 1);
	}
	told("ended", ended, start);
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: million_client PORT COUNT\n");
		return 2;
	}
	unsigned port = (unsigned)strtoul(argv[1], NULL, 10);
	count = (unsigned)strtoul(argv[2], NULL, 10);
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	fds = calloc(count + 1, sizeof *fds);
	if (!fds)
		die("memory", count);
	open_all(port);
	wait_for_word();
	ask_all();
	wait_for_word();
	see_the_end_of_all();
	free(fds);
	return errors != 0;
}
