/*
 * A load generator for stamp servers: connections that are opened, asked once and closed, so many of them under way at a time.
 *
 *     churn tcp:PORT UNDER_WAY SIZE SECONDS [SERVER_PID]
 *
 * Each answer is checked. Source addresses take turns (127.0.1.1 and following): the closing side, ours, keeps a port for a minute,
 * and one address has not enough of them. Nothing is reset: the end is sent when the answer is there, with nothing unread.
 * One line of name=value; exit 1 if anything was wrong.
 */
#include "server_cpu.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	STAMP = 24,
	REQUEST_MAX = 1000, /* in one chunk, whatever the server reads at once */
	SOURCES = 200,
	UNDER_WAY_MAX = 4096
};

struct conn {
	int fd;
	size_t have;
	int64_t since_ns;
};

static struct conn conns[UNDER_WAY_MAX];
static struct sockaddr_in server = { .sin_family = AF_INET };
static char request[REQUEST_MAX], answer[STAMP + REQUEST_MAX];
static size_t size;
static int ep;
static uint64_t opened, done, errors;
static const char *first_error;

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void wrong(const char *what)
{
	if (errors++ == 0)
		first_error = what;
}

/* On loopback connecting ends within the call, or fails. */
static void open_next(struct conn *c)
{
	struct sockaddr_in from = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(0x7f000101 + (uint32_t)(opened % SOURCES)) };
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };
	int one = 1;
	opened++;
	c->have = 0;
	c->since_ns = now_ns();
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd >= 0)
		setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
	if (c->fd < 0 || bind(c->fd, (struct sockaddr *)&from, sizeof from) < 0 ||
	    connect(c->fd, (struct sockaddr *)&server, sizeof server) < 0 ||
	    send(c->fd, request, size, MSG_NOSIGNAL) != (ssize_t)size || epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e) < 0) {
		wrong(strerror(errno));
		if (c->fd >= 0)
			close(c->fd);
		c->fd = -1;
	}
}

/* Whether the connection has had its answer, or will never have it. */
static int on_event(struct conn *c)
{
	ssize_t n = recv(c->fd, answer, sizeof answer, MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0) {
		wrong(n == 0 ? "the server closed" : strerror(errno));
	} else {
		/* The stamp may come alone: what is behind it is compared where it falls. */
		for (ssize_t i = 0; i < n; i++)
			if (c->have + (size_t)i >= STAMP && answer[i] != request[c->have + (size_t)i - STAMP])
				wrong("not the bytes that were sent");
		c->have += (size_t)n;
		if (c->have < STAMP + size)
			return 0;
		done++;
	}
	close(c->fd);
	c->fd = -1;
	return 1;
}

static int longer(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	struct epoll_event events[512];
	static int64_t took[1 << 20];
	size_t taken = 0;
	unsigned under_way = argc > 2 ? (unsigned)atoi(argv[2]) : 0;
	size = argc > 3 ? (size_t)atoi(argv[3]) : 0;
	if (argc < 5 || strncmp(argv[1], "tcp:", 4) || !under_way || under_way > UNDER_WAY_MAX || !size ||
	    size > REQUEST_MAX) {
		fprintf(stderr, "usage: churn tcp:PORT UNDER_WAY SIZE SECONDS [SERVER_PID]\n");
		return 2;
	}
	int64_t length_ns = (int64_t)(atof(argv[4]) * 1e9);
	int pid = argc > 5 ? atoi(argv[5]) : 0;
	server.sin_port = htons((uint16_t)atoi(argv[1] + 4));
	server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (size_t i = 0; i < size; i++)
		request[i] = (char)('a' + i % 26);
	ep = epoll_create1(EPOLL_CLOEXEC);
	int64_t start = now_ns(), from = 0, end = 0, cpu = 0;
	uint64_t before = 0, user, system;
	for (unsigned i = 0; i < under_way; i++)
		open_next(&conns[i]);
	while (errors < 100) {
		int64_t now = now_ns();
		if (!from && now >= start + length_ns / 5) {
			from = now;
			before = done;
			cpu = pid ? server_cpu(pid, &user, &system) : 0;
		}
		if (from && now >= from + length_ns) {
			end = now;
			break;
		}
		int n = epoll_wait(ep, events, 512, 50);
		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;
			if (!on_event(c))
				continue;
			if (from && taken < sizeof took / sizeof *took)
				took[taken++] = now_ns() - c->since_ns;
			open_next(c);
		}
	}
	cpu = pid ? server_cpu(pid, &user, &system) - cpu : 0;
	uint64_t count = done - before;
	double seconds = end ? (double)(end - from) / 1e9 : 1;
	/* Those under way have their answers too before the end: nothing is reset. */
	for (unsigned i = 0; i < under_way; i++)
		while (conns[i].fd >= 0 && !on_event(&conns[i]) && now_ns() < end + 5000000000ll)
			epoll_wait(ep, events, 1, 1);
	qsort(took, taken, sizeof *took, longer);
	printf("rate=%.0f answers=%llu seconds=%.3f p50_us=%.1f p99_us=%.1f errors=%llu", (double)count / seconds,
	       (unsigned long long)count, seconds, taken ? (double)took[taken / 2] / 1e3 : 0,
	       taken ? (double)took[taken * 99 / 100] / 1e3 : 0, (unsigned long long)errors);
	if (pid && count)
		printf(" cpu_ns=%.0f", (double)cpu / (double)count);
	printf("\n");
	if (errors)
		fprintf(stderr, "churn: %s\n", first_error);
	return errors != 0;
}
