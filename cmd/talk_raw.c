/* --raw: bytes pass as they are, both ways at once, until the server closes. */
#include "complain.h"
#include "talk.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOM (256u << 10)  /* for each direction */
#define INPUT_PAUSE_MS 200 /* after the server's end, an input that pauses so long is not waited for */

/* One direction: what was read and is not yet written. */
struct flow {
	char bytes[ROOM];
	size_t first, used;
	bool ended; /* nothing more will be read */
};

static struct flow up, down;
static bool output_blocks; /* it is no plain file */

static size_t flow_room(const struct flow *f)
{
	return ROOM - f->first - f->used;
}

static void flow_took(struct flow *f, size_t n)
{
	f->first += n;
	f->used -= n;
	if (!f->used)
		f->first = 0;
}

/* Standard input into up. false: told what failed. */
static bool read_input(void)
{
	ssize_t n = read(STDIN_FILENO, up.bytes + up.first + up.used, flow_room(&up));
	if (n > 0)
		up.used += (size_t)n;
	else if (n == 0)
		up.ended = true;
	else if (errno != EINTR && errno != EAGAIN) {
		complain("talk", "reading standard input: %s", chime_strerror(-errno));
		return false;
	}
	return true;
}

static bool write_output(void)
{
	/* a pipe that poll(2) calls writable takes so much without blocking, and blocking would stop the other direction */
	size_t most = output_blocks && down.used > PIPE_BUF ? PIPE_BUF : down.used;
	ssize_t n = write(STDOUT_FILENO, down.bytes + down.first, most);
	if (n < 0 && errno != EINTR && errno != EAGAIN) {
		complain("talk", "writing to standard output: %s", chime_strerror(-errno));
		return false;
	}
	if (n > 0)
		flow_took(&down, (size_t)n);
	return true;
}

/* The server's bytes into down. 0, or the error that ended them. */
static int receive(struct talk *t)
{
	ssize_t n = chime_recv(t->sock, down.bytes + down.first + down.used, flow_room(&down), 0);
	if (n == -EAGAIN || n == -EINTR)
		return 0;
	if (n > 0)
		down.used += (size_t)n;
	else
		down.ended = true;
	return n < 0 ? (int)n : 0;
}

/* up to the server. 0, or the error. */
static int send_up(struct talk *t)
{
	ssize_t n = talk_wire_send(t, up.bytes + up.first, up.used);
	if (n == -EAGAIN || n == -EINTR)
		return 0;
	if (n < 0)
		return (int)n;
	flow_took(&up, (size_t)n);
	return 0;
}

/* Sends all of up, as long as the server takes it. 0, or why it is lost. */
static int send_all_up(struct talk *t, int64_t end)
{
	int lost = 0;
	while (up.used && !lost) {
		struct pollfd p = { t->fd, POLLOUT, 0 };
		if (poll(&p, 1, 100) > 0)
			lost = send_up(t);
		else if (chime_now_mono() >= end)
			lost = CHIME_ETIMEOUT;
	}
	return lost;
}

/*
 * The server sends no more. It may have closed its own direction alone, so what there is of standard input is still sent; an
 * input that pauses is not waited for, since the server may as well be gone. What it does not take is lost, and that is said.
 */
static int close_up(struct talk *t, int lost)
{
	int64_t limit = t->opts.timeout_ns == CHIME_FOREVER ? 5 * CHIME_SEC : t->opts.timeout_ns;
	bool half_closed = up.ended && !up.used;
	if (!lost)
		lost = send_all_up(t, chime_now_mono() + limit);
	while (!lost && !up.ended) {
		struct pollfd p = { STDIN_FILENO, POLLIN, 0 };
		if (poll(&p, 1, isatty(STDIN_FILENO) ? 0 : INPUT_PAUSE_MS) <= 0)
			break;
		if (!read_input())
			return EXIT_SYSTEM;
		lost = send_all_up(t, chime_now_mono() + limit);
	}
	if (!lost && up.ended && !half_closed)
		chime_shutdown(t->sock, SHUT_WR);
	if (!up.used && !lost)
		return EXIT_DONE;
	complain("talk", "%s %s", t->name,
		 lost == -ECONNRESET && !up.used ? "reset the connection"
						 : "closed the connection before it had taken all of the input");
	return EXIT_PEER;
}

/* Whether the end of our direction leaves the server's open. SCTP and TIPC end both: what was not yet answered never would be. */
static bool has_halves(const struct talk *t)
{
	return t->to.scheme != CHIME_SCTP && t->scheme->family != AF_TIPC;
}

/* How long the server may say nothing when we have said all and cannot tell it, in milliseconds; -1 for ever. */
static int quiet_ms(const struct talk *t)
{
	int64_t ms = t->opts.timeout_ns / CHIME_MSEC;
	return t->opts.timeout_ns == CHIME_FOREVER || ms > INT_MAX ? -1 : (int)ms;
}

int talk_raw(struct talk *t)
{
	bool half_closed = false, halves = has_halves(t);
	struct stat st;
	output_blocks = fstat(STDOUT_FILENO, &st) < 0 || !S_ISREG(st.st_mode);
	int lost = 0; /* why the server takes nothing more */
	while (!down.ended || down.used) {
		struct pollfd p[3] = {
			{ !up.ended && flow_room(&up) && !down.ended && !lost ? STDIN_FILENO : -1, POLLIN, 0 },
			{ t->fd, 0, 0 },
			{ down.used ? STDOUT_FILENO : -1, POLLOUT, 0 },
		};
		if (!down.ended && flow_room(&down))
			p[1].events |= POLLIN;
		if (up.used && !lost && !down.ended)
			p[1].events |= POLLOUT;
		if (!p[1].events)
			p[1].fd = -1;
		int n = poll(p, 3, !halves && up.ended && !up.used ? quiet_ms(t) : -1);
		if (n < 0 && errno != EINTR) {
			complain("talk", "poll: %s", chime_strerror(-errno));
			return EXIT_SYSTEM;
		}
		if (n == 0)
			break;
		if (p[0].revents && !read_input())
			return EXIT_SYSTEM;
		if (p[1].revents & ~POLLOUT && p[1].events & POLLIN) {
			int err = receive(t);
			if (err < 0)
				lost = err;
		}
		if (p[1].revents & POLLOUT && up.used && !lost)
			lost = send_up(t);
		if (up.ended && !up.used && !half_closed && halves && !lost) {
			half_closed = true;
			chime_shutdown(t->sock, SHUT_WR);
		}
		if (p[2].revents && !write_output())
			return EXIT_SYSTEM;
	}
	return close_up(t, lost);
}
