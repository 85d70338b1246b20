/*
 * What a call of the library costs over the bare system call: 64 bytes through a socketpair, there and back, data always ready.
 * Rounds of the two are interleaved, the ratio of CPU time is taken within each round, and the median over rounds is printed;
 * "bare/bare" is what two identical programs show against each other in the same run. usage: call_overhead [ROUNDS]
 */
#include <chime/sock.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SIZE 64
#define TRIPS 500 /* a slice of less than a millisecond: short against the machine's drift */
#define ROUNDS_MAX 10000

struct pair {
	chime_sock *handle[2];
	int fd[2];
};

static char message[SIZE];

static void die(const char *what)
{
	fprintf(stderr, "call_overhead: %s\n", what);
	exit(1);
}

/* Our own CPU time: what others do on the machine counts less. */
static int64_t now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * CHIME_SEC + ts.tv_nsec;
}

static int64_t bare(const struct pair *p)
{
	int64_t start = now();
	for (int i = 0; i < TRIPS; i++)
		if (send(p->fd[0], message, SIZE, MSG_NOSIGNAL) != SIZE || recv(p->fd[1], message, SIZE, 0) != SIZE)
			die("a bare call failed");
	return now() - start;
}

static int64_t ours(const struct pair *p)
{
	int64_t start = now();
	for (int i = 0; i < TRIPS; i++)
		if (chime_send(p->handle[0], message, SIZE, 0) != SIZE ||
		    chime_recv(p->handle[1], message, SIZE, 0) != SIZE)
			die("a call of the library failed");
	return now() - start;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double ratio[2][ROUNDS_MAX];

static void measure(const char *name, int64_t timeout_ns, int rounds)
{
	struct pair p;
	int64_t bare_ns = 0;
	if (chime_socketpair(p.handle, AF_UNIX, SOCK_STREAM, 0) < 0)
		die("no socketpair");
	for (int i = 0; i < 2; i++) {
		if (chime_set_timeout(p.handle[i], timeout_ns) < 0)
			die("no timeout");
		p.fd[i] = chime_fileno(p.handle[i]);
	}
	for (int r = -10; r < rounds; r++) { /* the first ten warm up */
		int64_t first, library, second;
		if (r % 2) { /* who goes first changes */
			first = bare(&p);
			library = ours(&p);
			second = bare(&p);
		} else {
			second = bare(&p);
			library = ours(&p);
			first = bare(&p);
		}
		if (r < 0)
			continue;
		ratio[0][r] = 2.0 * (double)library / (double)(first + second);
		ratio[1][r] = (double)second / (double)first;
		bare_ns += first;
	}
	for (int k = 0; k < 2; k++)
		qsort(ratio[k], (size_t)rounds, sizeof(double), by_value);
	printf("%-34s %.3f  (quartiles %.3f-%.3f; bare/bare %.3f, %.3f-%.3f; bare %.0f ns a trip)\n", name,
	       ratio[0][rounds / 2], ratio[0][rounds / 4], ratio[0][rounds * 3 / 4], ratio[1][rounds / 2],
	       ratio[1][rounds / 4], ratio[1][rounds * 3 / 4], (double)bare_ns / rounds / TRIPS);
	for (int i = 0; i < 2; i++)
		chime_free(&p.handle[i]);
}

static void *wait_for_end(void *arg)
{
	char c;
	return read(*(int *)arg, &c, 1) < 0 ? arg : NULL;
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 1001, end[2];
	pthread_t other = 0;
	if (rounds < 1 || rounds > ROUNDS_MAX)
		die("rounds: 1 to 10000");
	printf("library over bare calls, socketpair, %d B, send and recv, data ready: CPU time, median of %d rounds\n",
	       SIZE, rounds);
	measure("blocking", CHIME_FOREVER, rounds);
	measure("with a timeout", 10 * CHIME_SEC, rounds);
	if (pipe(end) < 0 || pthread_create(&other, NULL, wait_for_end, &end[0]) != 0)
		die("no thread");
	measure("blocking, two threads alive", CHIME_FOREVER, rounds);
	measure("with a timeout, two threads alive", 10 * CHIME_SEC, rounds);
	close(end[1]);
	pthread_join(other, NULL);
	close(end[0]);
	return 0;
}
