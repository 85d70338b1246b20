/*
 * program.h - the program under test as a child, behind pipes or a terminal. For the tests in this folder.
 */
#ifndef TESTS_CMD_PROGRAM_H
#define TESTS_CMD_PROGRAM_H

#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

/* What a descriptor gave so far, NUL-terminated. */
struct capture {
	char *bytes;
	size_t len, room;
};

struct program {
	pid_t pid;
	int in, out, err;          /* our ends; a terminal is .in and .out, .err is -1 */
	struct capture said, told; /* of out and err */
	bool no_sockets;           /* set before starting: the program is killed if it asks for a socket */
	const char *says_to;       /* set before starting: a file instead of .out; "": its standard output is closed */
};

#define PROGRAM_LIMIT (50 * 1000000000LL)
#define UNUSED __attribute__((unused))

/* socket(2) kills. */
static UNUSED void forbid_sockets(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
#ifdef SYS_socketcall /* where all socket calls are one */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socketcall, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
#endif
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { sizeof code / sizeof *code, code };
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

static UNUSED _Noreturn void program_exec(struct program *p, const char *const *args)
{
	char *argv[32] = { (char *)"chime" };
	sigset_t none;
	for (int i = 0; i < 30 && args[i]; i++)
		argv[i + 1] = (char *)args[i];
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (p->no_sockets)
		forbid_sockets();
	execv(CHIME_PROGRAM, argv);
	_exit(127);
}

static UNUSED void pipe_on_exec_closed(int fds[2])
{
	CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
}

/* Behind three pipes. args ends with NULL. */
static UNUSED void program_start(struct program *p, const char *const *args)
{
	int in[2], out[2], err[2];
	pipe_on_exec_closed(in);
	pipe_on_exec_closed(out);
	pipe_on_exec_closed(err);
	p->pid = fork();
	CHECK(p->pid >= 0);
	if (p->pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		dup2(err[1], 2);
		if (p->says_to)
			close(1);
		if (p->says_to && *p->says_to)
			open(p->says_to, O_WRONLY);
		program_exec(p, args);
	}
	close(in[0]);
	close(out[1]);
	close(err[1]);
	p->in = in[1];
	p->out = out[0];
	p->err = err[0];
}
#define START(p_, ...) program_start(p_, (const char *const[]){ __VA_ARGS__, NULL })

/* On a terminal of its own, 80 columns wide. */
static UNUSED void program_start_terminal(struct program *p, const char *const *args)
{
	struct winsize size = { .ws_row = 24, .ws_col = 80 };
	int master;
	p->pid = forkpty(&master, NULL, NULL, &size);
	CHECK(p->pid >= 0);
	if (p->pid == 0) {
		setenv("TERM", "xterm", 1);
		setenv("LC_ALL", "C.UTF-8", 1);
		setenv("HOME", "/nonexistent", 1);
		program_exec(p, args);
	}
	p->in = p->out = master;
	p->err = -1;
}
#define START_TERMINAL(p_, ...) program_start_terminal(p_, (const char *const[]){ __VA_ARGS__, NULL })

/* Takes what fd has; false at its end. */
static UNUSED bool capture_more(struct capture *c, int fd)
{
	if (c->room < c->len + 65537) {
		c->room = c->room * 2 + 65537;
		c->bytes = realloc(c->bytes, c->room);
		CHECK(c->bytes != NULL);
	}
	ssize_t n = read(fd, c->bytes + c->len, 65536);
	c->len += n > 0 ? (size_t)n : 0;
	c->bytes[c->len] = 0;
	return n > 0;
}

/* Waits for what the program says or tells, at most until the deadline. false: both ended, or too late. */
static UNUSED bool program_listen(struct program *p, int64_t deadline)
{
	for (;;) {
		struct pollfd f[2] = { { p->out, POLLIN, 0 }, { p->err, POLLIN, 0 } };
		int64_t left = (deadline - test_now()) / 1000000;
		if (p->out < 0 && p->err < 0)
			return false;
		if (left <= 0 || poll(f, 2, (int)left) <= 0)
			return false;
		bool more = false;
		if (f[0].revents && !(more = capture_more(&p->said, p->out))) {
			close(p->out);
			if (p->in == p->out)
				p->in = -1;
			p->out = -1;
		}
		if (f[1].revents) {
			if (capture_more(&p->told, p->err)) {
				more = true;
			} else {
				close(p->err);
				p->err = -1;
			}
		}
		if (more)
			return true;
	}
}

static UNUSED const char *capture_find(const struct capture *c, size_t from, const char *text)
{
	return c->len > from ? memmem(c->bytes + from, c->len - from, text, strlen(text)) : NULL;
}

/* Waits until the capture has the text at or behind from. Where it ends. */
static UNUSED size_t program_expect(struct program *p, const struct capture *c, size_t from, const char *text)
{
	int64_t deadline = test_now() + PROGRAM_LIMIT;
	const char *at;
	while (!(at = capture_find(c, from, text)))
		if (!program_listen(p, deadline)) {
			fprintf(stderr, "expected \"%s\"\n--- stdout:\n%s\n--- stderr:\n%s\n", text,
				p->said.len ? p->said.bytes : "", p->told.len ? p->told.bytes : "");
			CHECK(!"said in time");
		}
	return (size_t)(at - c->bytes) + strlen(text);
}

static UNUSED void program_say(struct program *p, const void *bytes, size_t len)
{
	const char *from = bytes;
	while (len) {
		ssize_t n = write(p->in, from, len);
		CHECK(n > 0);
		from += n;
		len -= (size_t)n;
	}
}
static UNUSED void program_type(struct program *p, const char *text)
{
	program_say(p, text, strlen(text));
}

static UNUSED void program_end_input(struct program *p)
{
	close(p->in);
	p->in = -1;
}

/* Listens until it ends. The exit code, or 128 + the signal that ended it; the captures stay. */
static UNUSED int program_wait(struct program *p)
{
	int64_t deadline = test_now() + PROGRAM_LIMIT;
	int status = 0;
	if (p->in >= 0 && p->in != p->out)
		program_end_input(p);
	while (program_listen(p, deadline))
		;
	if (test_now() >= deadline) {
		fprintf(stderr, "the program does not end\n--- stdout:\n%s\n--- stderr:\n%s\n",
			p->said.len ? p->said.bytes : "", p->told.len ? p->told.bytes : "");
		kill(p->pid, SIGKILL);
	}
	CHECK_EQ(waitpid(p->pid, &status, 0), p->pid);
	if (p->out >= 0)
		close(p->out);
	if (p->err >= 0)
		close(p->err);
	p->in = p->out = p->err = -1;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static UNUSED void program_forget(struct program *p)
{
	free(p->said.bytes);
	free(p->told.bytes);
	*p = (struct program){ .in = -1, .out = -1, .err = -1 };
}

static UNUSED const char *said(const struct program *p)
{
	return p->said.len ? p->said.bytes : "";
}
static UNUSED const char *told(const struct program *p)
{
	return p->told.len ? p->told.bytes : "";
}

/* scheme and a path of this test's own: a fixed name would be shared with whoever runs the same test. */
static UNUSED const char *own(const char *scheme)
{
	static char endpoints[8][160];
	static unsigned n;
	char *e = endpoints[n % 8];
	snprintf(e, sizeof endpoints[0], "%s:%s/s%u", scheme, test_dir(), n);
	n++;
	return e;
}

/* The n-th ready line's endpoint, from 0, once it is there. */
static UNUSED void server_endpoint(struct program *p, unsigned n, char out[256])
{
	size_t at = 0;
	for (unsigned i = 0; i <= n; i++)
		at = program_expect(p, &p->told, at, "listening ");
	size_t end = program_expect(p, &p->told, at, "\n");
	const char *endpoint = strchr(p->told.bytes + at, ' ') + 1;
	snprintf(out, 256, "%.*s", (int)(p->told.bytes + end - 1 - endpoint), endpoint);
}

/* chime serve on one endpoint; where it is, without the query. */
static UNUSED void serve(struct program *p, const char *endpoint, char out[256])
{
	START(p, "serve", endpoint);
	server_endpoint(p, 0, out);
	out[strcspn(out, "?")] = 0;
	program_expect(p, &p->said, 0, "waiting for connection...");
}

/* Ends a server that serves well: by SIGTERM, with 0. */
static UNUSED void server_end(struct program *p)
{
	kill(p->pid, SIGTERM);
	int code = program_wait(p);
	if (code)
		fprintf(stderr, "%s", told(p));
	CHECK_EQ(code, 0);
	program_forget(p);
}

#endif
