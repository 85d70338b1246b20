/*
 * usage: test_families [--count N] [--only SCHEME]... | --to ENDPOINT [--count N]
 *
 * Every family of sockets with every type: what this kernel has is served and asked, on both backends: N times (10000) by the
 * library, and by `chime serve` and `chime talk` a tenth of that; of what it has not, its own errno is the proof. Each outcome is a line, which
 * tests/families/table makes docs/families.md of:
 *     ok FAMILY TYPE SCHEME talk|library BACKEND (SECONDS)
 *     not ok FAMILY TYPE SCHEME talk|library BACKEND (SECONDS): WHY
 *     none FAMILY TYPE SCHEME WHAT-THE-KERNEL-SAID
 * --to asks a server that runs already, by the library.
 */
#include "families/ask.h"

#include <chime/error.h>
#include <chime/kind.h>
#include <chime/rdm.h>
#include <chime/server.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAMILY(name) name, #name
#define BEGINS_S 60 /* a server is up by then */
#define ENDS_S 180  /* and one outcome is known by then */

/* What is served of a family and type. An endpoint: behind the scheme, see endpoint_of(). */
static const struct row {
	int family;
	const char *family_name;
	int type;
	const char *type_name;
	const char *scheme, *place;
} rows[] = {
	{ FAMILY(AF_INET), FAMILY(SOCK_STREAM), "tcp4", "://127.0.0.1:0" },
	{ FAMILY(AF_INET), FAMILY(SOCK_STREAM), "mptcp4", "://127.0.0.1:0" },
	{ FAMILY(AF_INET), FAMILY(SOCK_STREAM), "sctp4", "://127.0.0.1:0" },
	{ FAMILY(AF_INET), FAMILY(SOCK_DGRAM), "udp4", "://127.0.0.1:0?rate=0" },
	{ FAMILY(AF_INET), FAMILY(SOCK_DGRAM), "udplite4", "://127.0.0.1:0?rate=0&coverage=8" },
	{ FAMILY(AF_INET), FAMILY(SOCK_RAW), "ip4", "://127.0.0.1/253?rate=0" },
	{ FAMILY(AF_INET), FAMILY(SOCK_RDM), "rdm4", "://127.0.0.1:0?udp=0" },
	{ FAMILY(AF_INET), FAMILY(SOCK_SEQPACKET), "sctp+seqpacket4", "://127.0.0.1:0?udp=0" },
	{ FAMILY(AF_INET6), FAMILY(SOCK_STREAM), "tcp6", "://[::1]:0" },
	{ FAMILY(AF_INET6), FAMILY(SOCK_STREAM), "mptcp6", "://[::1]:0" },
	{ FAMILY(AF_INET6), FAMILY(SOCK_STREAM), "sctp6", "://[::1]:0" },
	{ FAMILY(AF_INET6), FAMILY(SOCK_DGRAM), "udp6", "://[::1]:0?rate=0" },
	{ FAMILY(AF_INET6), FAMILY(SOCK_DGRAM), "udplite6", "://[::1]:0?rate=0&coverage=8" },
	{ FAMILY(AF_INET6), FAMILY(SOCK_RAW), "ip6", "://[::1]/253?rate=0" },
	{ FAMILY(AF_INET6), FAMILY(SOCK_RDM), "rdm6", "://[::1]:0?udp=0" },
	{ FAMILY(AF_INET6), FAMILY(SOCK_SEQPACKET), "sctp+seqpacket6", "://[::1]:0?udp=0" },
	{ FAMILY(AF_UNIX), FAMILY(SOCK_STREAM), "unix", ":$D/s" },
	{ FAMILY(AF_UNIX), FAMILY(SOCK_DGRAM), "unix+dgram", ":$D/s" },
	{ FAMILY(AF_UNIX), FAMILY(SOCK_RAW), NULL, NULL },
	{ FAMILY(AF_UNIX), FAMILY(SOCK_RDM), NULL, NULL },
	{ FAMILY(AF_UNIX), FAMILY(SOCK_SEQPACKET), "unix+seqpacket", ":$D/s" },
	{ FAMILY(AF_VSOCK), FAMILY(SOCK_STREAM), "vsock", "://1:*" },
	{ FAMILY(AF_VSOCK), FAMILY(SOCK_DGRAM), NULL, NULL },
	{ FAMILY(AF_VSOCK), FAMILY(SOCK_RAW), NULL, NULL },
	{ FAMILY(AF_VSOCK), FAMILY(SOCK_RDM), NULL, NULL },
	{ FAMILY(AF_VSOCK), FAMILY(SOCK_SEQPACKET), "vsock+seqpacket", "://1:*" },
	{ FAMILY(AF_TIPC), FAMILY(SOCK_STREAM), "tipc", "://$N:1" },
	{ FAMILY(AF_TIPC), FAMILY(SOCK_DGRAM), "tipc+dgram", "://$N:2" },
	{ FAMILY(AF_TIPC), FAMILY(SOCK_RAW), NULL, NULL },
	{ FAMILY(AF_TIPC), FAMILY(SOCK_RDM), "tipc+rdm", "://$N:3" },
	{ FAMILY(AF_TIPC), FAMILY(SOCK_SEQPACKET), "tipc+seqpacket", "://$N:4" },
	{ FAMILY(AF_RDS), FAMILY(SOCK_STREAM), NULL, NULL },
	{ FAMILY(AF_RDS), FAMILY(SOCK_DGRAM), NULL, NULL },
	{ FAMILY(AF_RDS), FAMILY(SOCK_RAW), NULL, NULL },
	{ FAMILY(AF_RDS), FAMILY(SOCK_RDM), NULL, NULL },
	{ FAMILY(AF_RDS), FAMILY(SOCK_SEQPACKET), "rds", "://127.0.0.1:0" },
};

static const char *program = CHIME_PROGRAM;
static char dir[] = "/tmp/chime-families.XXXXXX";

/* ---- what the kernel has ---- */

/* 0: it has such sockets; else what it said, in *said. */
static int lacks(const struct row *r, const chime_endpoint *e, const char **said)
{
	int type = 0, err = 0;
	socklen_t len = sizeof type;
	const struct chime_kind *kind = NULL;
	for (const struct chime_kind *k = chime_kind_table(); e && k->family_name && !kind; k++)
		if (k->family == r->family && k->scheme == e->scheme && k->type == chime_scheme_info(e->scheme)->type)
			kind = k;
	if (kind) {
		char why[256];
		err = chime_kind_try(kind, why, sizeof why);
		if (err == 0 && why[0]) /* no loopback: it would lead out of this machine */
			err = -EADDRNOTAVAIL;
		*said = chime_errname(err);
		return err;
	}
	int fd = socket(r->family, r->type | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		err = errno;
		*said = chime_errname(-err);
		return -err;
	}
	getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
	close(fd);
	*said = type == SOCK_DGRAM ? "SOCK_DGRAM" : "another type";
	return type == r->type ? 0 : -ESOCKTNOSUPPORT;
}

/* ---- one outcome ---- */

struct trial {
	const struct row *row;
	const char *backend;
	char endpoint[256];
	unsigned count;
};

/* Reliable messages over IP: by the kernel's SCTP, or in UDP; then the port is in the query. */
static bool carried(const struct row *r)
{
	return r->scheme && (!strncmp(r->scheme, "rdm", 3) || !strncmp(r->scheme, "sctp+seqpacket", 14));
}

/* How much of an endpoint that is served is for who talks to it: what stands behind may be the server's own. */
static size_t place_len(const struct row *r, const char *at)
{
	return strcspn(at, carried(r) ? " \n" : "?\n");
}

static bool by_library(const struct trial *c, struct trouble *t)
{
	struct chime_server_config config = CHIME_SERVER_CONFIG_INIT;
	struct chime_endpoint_error error = { 0 };
	char at[CHIME_ENDPOINT_TEXT];
	chime_server *s;
	config.workers = 2;
	config.backend = c->backend;
	if (chime_server_new(&s, &config) < 0)
		return trouble(t, "no server");
	bool good = chime_server_add(s, c->endpoint, NULL, NULL, &error) == 0 || trouble(t, "%s", error.message);
	good = good && (chime_server_start(s) == 0 || trouble(t, "%s", chime_server_why(s)));
	if (good) {
		chime_endpoint_print(chime_server_endpoint(s, 0), at, sizeof at);
		at[place_len(c->row, at)] = 0;
		good = ask_by_library(at, c->count, t);
		chime_server_stop(s);
		int err = chime_server_wait(s, 60 * CHIME_SEC);
		good = good && (err == 0 || trouble(t, "the server's end: %s", chime_strerror(err)));
	}
	chime_server_free(&s);
	return good;
}

/* Starts chime serve; *at is where it serves. Its process, or -1. */
static pid_t start_serve(const struct trial *c, char *at, size_t size, struct trouble *t)
{
	char said[4096] = "";
	size_t got = 0;
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -1;
	pid_t pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(null, 0);
		dup2(null, 1);
		dup2(fds[1], 2);
		execl(program, "chime", "serve", "--quiet", "--backend", c->backend, c->endpoint, (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	struct pollfd p = { fds[0], POLLIN, 0 };
	char *ready = NULL;
	while (!ready && got < sizeof said - 1 && poll(&p, 1, BEGINS_S * 1000) > 0) {
		ssize_t n = read(fds[0], said + got, sizeof said - 1 - got);
		if (n <= 0)
			break;
		got += (size_t)n;
		said[got] = 0;
		ready = strstr(said, "listening stamp ");
		ready = ready && strchr(ready, '\n') ? ready : NULL;
	}
	close(fds[0]);
	if (ready) {
		ready += strlen("listening stamp ");
		snprintf(at, size, "%.*s", (int)place_len(c->row, ready), ready);
		return pid;
	}
	trouble(t, "chime serve does not serve: %s", said);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return -1;
}

static bool by_talk(const struct trial *c, struct trouble *t)
{
	char at[256];
	int status = 0;
	pid_t pid = start_serve(c, at, sizeof at, t);
	if (pid < 0)
		return false;
	bool good = ask_by_talk(program, at, c->count, dir, t);
	kill(pid, SIGTERM);
	waitpid(pid, &status, 0);
	return good && (status == 0 || trouble(t, "chime serve ended with status %#x", (unsigned)status));
}

static bool in_time(bool (*way)(const struct trial *c, struct trouble *t), const struct trial *c, struct trouble *t)
{
	int fds[2], status = 0;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return trouble(t, "pipe: %s", strerror(errno));
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(ENDS_S);
		signal(SIGPIPE, SIG_IGN);
		bool good = way(c, t);
		(void)!write(fds[1], t->why, strlen(t->why));
		_exit(!good);
	}
	close(fds[1]);
	waitpid(pid, &status, 0);
	ssize_t n = read(fds[0], t->why, sizeof t->why - 1);
	t->why[n > 0 ? n : 0] = 0;
	close(fds[0]);
	if (WIFSIGNALED(status))
		return trouble(t, WTERMSIG(status) == SIGALRM ? "not done in time" : "ended by signal %d",
			       WTERMSIG(status));
	return WEXITSTATUS(status) == 0;
}

/* ---- all of them ---- */

struct counts {
	unsigned passed, failed, skipped;
};

/* The row's endpoint: $D is our directory, $N a number that no other run of this program has. */
static void endpoint_of(const struct row *r, char *out, size_t size)
{
	size_t n = (size_t)snprintf(out, size, "%s", r->scheme);
	for (const char *p = r->place; *p && n + 1 < size; p++) {
		if (p[0] == '$' && p[1] == 'D')
			n += (size_t)snprintf(out + n, size - n, "%s", dir), p++;
		else if (p[0] == '$' && p[1] == 'N')
			n += (size_t)snprintf(out + n, size - n, "%ld", 1000 + (long)getpid()), p++;
		else
			out[n++] = *p;
	}
	out[n < size ? n : size - 1] = 0;
}

static void try_ways(const struct row *r, const char *endpoint, unsigned count, struct counts *counts)
{
	static const char *const backends[] = { "epoll", "uring" };
	static const struct {
		const char *name;
		bool (*run)(const struct trial *c, struct trouble *t);
	} ways[] = { { "talk", by_talk }, { "library", by_library } };
	for (unsigned i = 0; i < 4; i++) {
		struct trial c = { .row = r, .backend = backends[i % 2], .count = i / 2 ? count : (count + 9) / 10 };
		struct trouble t = { "" };
		snprintf(c.endpoint, sizeof c.endpoint, "%s", endpoint);
		int64_t start_ns = chime_now_mono();
		bool good = in_time(ways[i / 2].run, &c, &t);
		counts->passed += good;
		counts->failed += !good;
		printf("%sok %s %s %s %s %s (%.1f s)%s%s\n", good ? "" : "not ", r->family_name, r->type_name,
		       r->scheme, ways[i / 2].name, c.backend, (double)(chime_now_mono() - start_ns) / CHIME_SEC,
		       good ? "" : ": ", good ? "" : t.why);
		fflush(stdout);
	}
}

static void try_row(const struct row *r, unsigned count, struct counts *counts)
{
	char endpoint[256] = "";
	const char *said = "";
	chime_endpoint e;
	if (r->scheme) {
		endpoint_of(r, endpoint, sizeof endpoint);
		endpoint[strcspn(endpoint, "?")] = 0; /* what follows may be the server's own */
		if (chime_endpoint_parse(&e, endpoint, NULL, NULL, NULL) < 0 || !chime_scheme_info(e.scheme)->opens) {
			counts->skipped++;
			printf("ok %s # SKIP this release does not open it\n", r->scheme);
			return;
		}
		endpoint_of(r, endpoint, sizeof endpoint);
	}
	int err = carried(r) && chime_rdm_available(CHIME_RDM_AUTO) == 0 ? 0 : lacks(r, r->scheme ? &e : NULL, &said);
	if (err == 0 && r->scheme)
		try_ways(r, endpoint, count, counts);
	else
		printf("none %s %s %s %s\n", r->family_name, r->type_name, r->scheme ? r->scheme : "-", said);
	if (err == 0 && !r->scheme) {
		counts->failed++;
		printf("not ok %s %s: the kernel has it, and no endpoint is such a socket\n", r->family_name,
		       r->type_name);
	}
	fflush(stdout);
}

static int ask_only(const char *endpoint, unsigned count)
{
	struct trouble t = { "" };
	bool good = ask_by_library(endpoint, count, &t);
	printf("%sok %u questions to %s%s%s\n%d passed, %d failed, 0 skipped\n", good ? "" : "not ", count, endpoint,
	       good ? "" : ": ", t.why, good, !good);
	return !good;
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "count", required_argument, NULL, 'c' },
						 { "only", required_argument, NULL, 'o' },
						 { "to", required_argument, NULL, 't' },
						 { NULL, 0, NULL, 0 } };
	const char *only[64] = { NULL }, *to = NULL;
	unsigned count = 10000, onlies = 0;
	struct counts counts = { 0 };
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (c == 'c')
			count = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'o' && onlies < 64)
			only[onlies++] = optarg;
		else if (c == 't')
			to = optarg;
		else
			return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	if (to)
		return ask_only(to, count);
	if (!mkdtemp(dir)) {
		perror(dir);
		return 1;
	}
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		bool wanted = onlies == 0 || !rows[i].scheme;
		for (unsigned k = 0; k < onlies; k++)
			wanted = wanted || (rows[i].scheme && !strcmp(rows[i].scheme, only[k]));
		if (wanted)
			try_row(&rows[i], count, &counts);
	}
	rmdir(dir);
	printf("%u passed, %u failed, %u skipped\n", counts.passed, counts.failed, counts.skipped);
	return counts.failed != 0;
}
