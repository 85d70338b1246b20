/*
 * Many clients of every kind against one real server: chime serve, on either backend.
 *
 *     soak [--duration 30s] [--backend epoll] [--workers 1] [--clients 100] [--seed N]
 *
 * Every answer is checked. Once warm, the server's memory must stay flat; when all clients have gone, it must have no more
 * descriptors than at the start, no connection and nothing queued; and SIGTERM must end it with 0.
 */
#include "soak/soak.h"

#include <chime/clock.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLIENTS_MAX 1000
#define SAMPLES_MAX 100000
#define RSS_MORE 1.05     /* how much more memory the end may have than when it was warm, */
#define RSS_SLACK_KB 2048 /* and this for how allocators are, */
#define RSS_COLD_KB 16384 /* or this in a short run, which is never quite warm */

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || __has_feature(address_sanitizer)
#define FLAT false /* sanitizers keep what was freed */
#else
#define FLAT true
#endif

struct place places[PLACES] = {
	[TCP] = { "tcp://127.0.0.1:0?format=unixns", SOCK_STREAM, CHIME_STAMP_UNIXNS, false, false, { 0 }, 0 },
	[TCP_CTIME] = { "tcp://127.0.0.1:0", SOCK_STREAM, CHIME_STAMP_CTIME, false, false, { 0 }, 0 },
	[TCP_LINES] = { "tcp://127.0.0.1:0?frame=line&format=unixns",
			SOCK_STREAM,
			CHIME_STAMP_UNIXNS,
			false,
			true,
			{ 0 },
			0 },
	[TCP_ECHO] = { "echo=tcp://127.0.0.1:0", SOCK_STREAM, CHIME_STAMP_CTIME, true, false, { 0 }, 0 },
	[UNIX_STREAM] = { "unix:@soak-%d-s?format=unixns", SOCK_STREAM, CHIME_STAMP_UNIXNS, false, false, { 0 }, 0 },
	[UNIX_SEQ] = { "unix+seqpacket:@soak-%d-q?format=unixns",
		       SOCK_SEQPACKET,
		       CHIME_STAMP_UNIXNS,
		       false,
		       false,
		       { 0 },
		       0 },
	[UNIX_DGRAM] = { "unix+dgram:@soak-%d-d?format=unixns",
			 SOCK_DGRAM,
			 CHIME_STAMP_UNIXNS,
			 false,
			 false,
			 { 0 },
			 0 },
	[UDP] = { "udp://127.0.0.1:0?format=unixns&rate=0", SOCK_DGRAM, CHIME_STAMP_UNIXNS, false, false, { 0 }, 0 },
};
struct counts counts;
bool ending;

static struct options {
	int64_t duration_ns;
	const char *backend, *workers, *program;
	unsigned clients;
	uint64_t seed;
} options = { 30 * CHIME_SEC, "epoll", "1", CHIME_PROGRAM, 100, 0 };

static uint64_t random_state;
static struct client *clients;
static pid_t server;
static int server_says;
static char said[65536]; /* what it has said that was not looked at */
static size_t said_len;

int64_t mono_ns(void)
{
	return chime_now_mono();
}

int64_t real_ns(void)
{
	return chime_now_real();
}

uint64_t pick(uint64_t limit)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return limit ? (z ^ (z >> 31)) % limit : 0;
}

void fail(const struct client *c, const char *fmt, ...)
{
	va_list ap;
	printf("FAILED (--backend %s --workers %s --seed %llu): ", options.backend, options.workers,
	       (unsigned long long)options.seed);
	if (c)
		printf("client %u, %s, %s: ", (unsigned)(c - clients), role_names[c->role], c->place->endpoint);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	if (server > 0)
		kill(server, SIGKILL);
	_exit(1);
}

/* ---- the server ---- */

static void start_server(void)
{
	char names[PLACES][100];
	const char *argv[PLACES + 10] = { "chime",     "serve",         "--quiet",   "--utc",
					  "--backend", options.backend, "--workers", options.workers };
	int pipes[2];
	for (unsigned i = 0; i < PLACES; i++) {
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(names[i], sizeof names[i], places[i].endpoint, (int)getpid());
		argv[8 + i] = names[i];
	}
	if (pipe2(pipes, O_CLOEXEC) < 0)
		fail(NULL, "pipe: %s", strerror(errno));
	server = fork();
	if (server == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(pipes[1], 2);
		execv(options.program, (char **)(uintptr_t)argv);
		_exit(127);
	}
	close(pipes[1]);
	server_says = pipes[0];
}

/* Reads what it says for at most so long, or until the text is there. Where that begins, or NULL. */
static char *hear(const char *text, int64_t limit_ns)
{
	int64_t end_ns = mono_ns() + limit_ns;
	for (;;) {
		char *at = text ? strstr(said, text) : NULL;
		int64_t left_ns = end_ns - mono_ns();
		struct pollfd p = { server_says, POLLIN, 0 };
		if (at && strchr(at, '\n'))
			return at;
		if (poll(&p, 1, left_ns > 0 ? (int)(left_ns / 1000000) : 0) < 1)
			return NULL;
		if (said_len > sizeof said / 2) { /* the older half has been heard */
			said_len -= sizeof said / 4;
			memmove(said, said + sizeof said / 4, said_len);
		}
		ssize_t n = read(server_says, said + said_len, sizeof said - 1 - said_len);
		if (n <= 0)
			fail(NULL, "the server has gone: %s", said);
		said_len += (size_t)n;
		said[said_len] = 0;
	}
}

/* The n-th ready line says where it is. */
static void find_place(struct place *p, const char *line)
{
	const char *at = strchr(line, '@'), *port = strrchr(line, ':');
	if (at) {
		struct sockaddr_un un = { .sun_family = AF_UNIX };
		size_t len = strcspn(at, "?\n");
		memcpy(un.sun_path, at, len);
		un.sun_path[0] = 0;
		memcpy(&p->at, &un, sizeof un);
		p->at_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
		return;
	}
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)atoi(port + 1)),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	memcpy(&p->at, &in, sizeof in);
	p->at_len = sizeof in;
}

static void wait_ready(void)
{
	for (unsigned i = 0; i < PLACES; i++) {
		char *line = hear("listening ", 60 * CHIME_SEC);
		if (!line)
			fail(NULL, "the server is not ready: %s", said);
		*strchr(line, '\n') = 0;
		find_place(&places[i], line);
		size_t used = (size_t)(line - said) + strlen(line) + 1;
		said_len -= used;
		memmove(said, said + used, said_len + 1);
	}
}

static long memory_kb(void)
{
	char path[64], line[128];
	long kb = -1;
	snprintf(path, sizeof path, "/proc/%d/status", (int)server);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof line, f))
		if (!strncmp(line, "VmRSS:", 6))
			kb = atol(line + 6);
	if (f)
		fclose(f);
	if (kb < 0)
		fail(NULL, "the server has gone: %s", said);
	return kb;
}

static int descriptors(void)
{
	char path[64];
	int n = 0;
	snprintf(path, sizeof path, "/proc/%d/fd", (int)server);
	DIR *d = opendir(path);
	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

/* ---- the run ---- */

static long samples[SAMPLES_MAX];
static unsigned sample_count;

/* Each client that is ready or due does something; those that have finished begin as others. How many there are. */
static unsigned step(void)
{
	static struct pollfd polled[CLIENTS_MAX + 1];
	int64_t now_ns = mono_ns(), until_ns = now_ns + 100 * CHIME_MSEC;
	unsigned alive = 0;
	for (unsigned i = 0; i < options.clients; i++) {
		struct client *c = &clients[i];
		int64_t next_ns = INT64_MAX;
		if (c->fd < 0 && !ending)
			client_begin(c);
		alive += c->fd >= 0;
		short events = c->fd < 0 ? 0 : client_wants(c, now_ns, &next_ns);
		polled[i] = (struct pollfd){ events ? c->fd : -1, events, 0 };
		if (next_ns < until_ns)
			until_ns = next_ns;
	}
	polled[options.clients] = (struct pollfd){ server_says, POLLIN, 0 };
	int ms = until_ns > now_ns ? (int)((until_ns - now_ns + 999999) / 1000000) : 0;
	if (poll(polled, options.clients + 1, ms) < 0 && errno != EINTR)
		fail(NULL, "poll: %s", strerror(errno));
	now_ns = mono_ns();
	for (unsigned i = 0; i < options.clients; i++)
		if (clients[i].fd >= 0)
			client_act(&clients[i], polled[i].revents, now_ns);
	if (polled[options.clients].revents)
		hear(NULL, 0);
	return alive;
}

static void run(void)
{
	int64_t end_ns = mono_ns() + options.duration_ns, sample_ns = mono_ns() + CHIME_SEC;
	while (mono_ns() < end_ns) {
		step();
		if (mono_ns() >= sample_ns && sample_count < SAMPLES_MAX) {
			samples[sample_count++] = memory_kb();
			sample_ns += options.duration_ns > CHIME_HOUR ? 10 * CHIME_SEC : CHIME_SEC;
		}
	}
	ending = true;
	end_ns = mono_ns() + patience(90 * CHIME_SEC);
	while (step())
		if (mono_ns() > end_ns)
			fail(NULL, "not all clients come to their end");
}

static long most(unsigned from, unsigned to)
{
	long kb = 0;
	for (unsigned i = from; i < to && i < sample_count; i++)
		if (samples[i] > kb)
			kb = samples[i];
	return kb;
}

/* Warm is the second quarter of the run; the last quarter may not have more. */
static void check_memory(void)
{
	long warm = most(sample_count / 4, sample_count / 2), last = most(sample_count * 3 / 4, sample_count);
	printf("memory: %ld kB warm, %ld kB in the last quarter, %ld kB at the end\n", warm, last, memory_kb());
	long slack = options.duration_ns < 2 * CHIME_MIN ? RSS_COLD_KB : RSS_SLACK_KB;
	printf("the most in each tenth:");
	for (unsigned i = 0; i < 10; i++)
		printf(" %ld", most(sample_count * i / 10, sample_count * (i + 1) / 10));
	putchar('\n');
	if (FLAT && sample_count >= 8 && (double)last > (double)warm * RSS_MORE + (double)slack)
		fail(NULL, "memory grows: %ld kB when warm, %ld kB in the end", warm, last);
}

/* All clients have gone. */
static void check_quiet(int descriptors_at_start)
{
	int64_t end_ns = mono_ns() + 60 * CHIME_SEC;
	while (descriptors() > descriptors_at_start && mono_ns() < end_ns)
		poll(NULL, 0, 10);
	printf("descriptors: %d at the start, %d at the end\n", descriptors_at_start, descriptors());
	if (descriptors() > descriptors_at_start)
		fail(NULL, "descriptors are left");
	hear(NULL, 0);
	said_len = 0;
	said[0] = 0;
	kill(server, SIGUSR1);
	char *totals = hear("event=totals", 60 * CHIME_SEC);
	if (!totals)
		fail(NULL, "no totals: %s", said);
	*strchr(totals, '\n') = 0;
	printf("server: %s\n", totals);
	if (strstr(totals, " open=") || strstr(totals, " queued_bytes="))
		fail(NULL, "connections or queued bytes are left");
}

static void check_end(void)
{
	int status;
	kill(server, SIGTERM);
	if (waitpid(server, &status, 0) != server || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		server = 0;
		fail(NULL, "the server ended with status %#x: %s", (unsigned)status, said);
	}
}

static void report(void)
{
	printf("clients: %llu (", (unsigned long long)counts.clients);
	for (unsigned i = 0; i < ROLES; i++)
		printf("%s%s %llu", i ? ", " : "", role_names[i], (unsigned long long)counts.began[i]);
	printf(")\nwrites: %llu, answered bytes: %llu, stamps checked: %llu, messages and streams answered: %llu\n",
	       (unsigned long long)counts.messages, (unsigned long long)counts.bytes, (unsigned long long)counts.stamps,
	       (unsigned long long)counts.answers);
	printf("not answered as it must be: %llu; datagrams lost: %llu\n", (unsigned long long)counts.silent,
	       (unsigned long long)counts.lost);
	if (counts.lost * 1000 > counts.answers)
		fail(NULL, "more than one datagram in a thousand is lost");
}

static int usage(void)
{
	fprintf(stderr, "usage: soak [--duration TIME] [--backend NAME] [--workers N] [--clients N] [--seed N]\n");
	return 2;
}

int main(int argc, char **argv)
{
	if (getrandom(&options.seed, 4, 0) != 4)
		options.seed = (uint64_t)mono_ns();
	for (int i = 1; i < argc; i += 2) {
		const char *value = argv[i + 1];
		if (!value)
			return usage();
		if (!strcmp(argv[i], "--duration") && chime_duration_parse(value, &options.duration_ns) == 0)
			continue;
		if (!strcmp(argv[i], "--backend"))
			options.backend = value;
		else if (!strcmp(argv[i], "--workers"))
			options.workers = value;
		else if (!strcmp(argv[i], "--program"))
			options.program = value;
		else if (!strcmp(argv[i], "--clients") && atoi(value) > 0 && atoi(value) <= CLIENTS_MAX)
			options.clients = (unsigned)atoi(value);
		else if (!strcmp(argv[i], "--seed"))
			options.seed = strtoull(value, NULL, 0);
		else
			return usage();
	}
	setenv("TZ", "UTC0", 1);
	random_state = options.seed;
	printf("seed %llu, backend %s, workers %s\n", (unsigned long long)options.seed, options.backend,
	       options.workers);
	fflush(stdout);
	clients = calloc(options.clients, sizeof *clients);
	if (!clients)
		return 1;
	for (unsigned i = 0; i < options.clients; i++)
		clients[i].fd = -1;
	start_server();
	wait_ready();
	int before = descriptors();
	run();
	report();
	check_memory();
	check_quiet(before);
	check_end();
	printf("all held\n");
	return 0;
}
