/*
 * A blocking server, one client after the other: what socketserver.TCPServer is in Python. Put your own service in handle().
 * Ends on SIGTERM or SIGINT, when the client that is served has got its answer. usage: one_at_a_time [PORT]   (default 9999)
 */
#include <chime/connect.h>
#include <chime/stamp.h>
#include <chime/stream.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>

#define POLL_INTERVAL (500 * CHIME_MSEC) /* a signal just before the wait is noticed that late */
#define CLIENT_TIMEOUT (60 * CHIME_SEC)  /* a client that says nothing so long is let go */

static volatile sig_atomic_t ended;

static void end(int sig)
{
	(void)sig;
	ended = 1;
}

/* Asked whenever a signal interrupts a call that waits: not 0 ends that call with -EINTR. */
static int interrupted(void *arg)
{
	(void)arg;
	return ended;
}

/* Who may come in. */
static bool verify(const chime_addr *peer)
{
	return chime_addr_is_loopback(peer);
}

/*
 * The service: what comes is answered by the time and itself, as it comes; chime_stream_read_line() would take whole lines.
 * 0 at the client's end, or why it ended before.
 */
static int handle(chime_sock *client)
{
	char chunk[1024], stamp[CHIME_STAMP_MAX];
	chime_stream *stream = NULL;
	ssize_t n = chime_set_timeout(client, CLIENT_TIMEOUT);
	if (n == 0)
		n = chime_stream_new(&stream, client, 0);
	while (n == 0 && !ended && (n = chime_stream_read(stream, chunk, sizeof chunk)) > 0) {
		size_t len = chime_stamp_write(stamp, chime_now_real(), CHIME_STAMP_CTIME, false);
		int err = chime_stream_write(stream, stamp, len, NULL);
		if (err == 0)
			err = chime_stream_write(stream, chunk, (size_t)n, NULL);
		n = err < 0 ? err : chime_stream_flush(stream);
	}
	int err = chime_stream_free(&stream);
	return n < 0 ? (int)n : err;
}

static void serve_one(chime_sock *client, const chime_addr *peer)
{
	char from[CHIME_ADDR_TEXT];
	chime_addr plain = chime_addr_unmap(peer);
	chime_addr_print(&plain, from, sizeof from);
	if (!verify(peer)) {
		fprintf(stderr, "%s: not let in\n", from);
		return;
	}
	int err = handle(client);
	if (err < 0 && err != -EINTR)
		fprintf(stderr, "%s: %s\n", from, chime_strerror(err));
}

/* What went wrong with one connection is no reason to stop serving the others. */
static int serve_forever(chime_sock *server)
{
	chime_set_timeout(server, POLL_INTERVAL);
	while (!ended) {
		chime_sock *client = NULL;
		chime_addr peer;
		int err = chime_accept(server, &client, &peer);
		if (err == CHIME_ETIMEOUT || err == -ECONNABORTED || err == -EPROTO)
			continue;
		if (err < 0)
			return err == -EINTR ? 0 : err;
		serve_one(client, &peer);
		chime_free(&client);
	}
	return 0;
}

int main(int argc, char **argv)
{
	bool six = chime_has_dualstack_ipv6();
	int port = 9999;
	char more;
	chime_sock *server = NULL;
	chime_addr at;
	if (argc > 1 && (sscanf(argv[1], "%5d%c", &port, &more) != 1 || port < 0 || port > 65535)) {
		fprintf(stderr, "usage: one_at_a_time [PORT]\n");
		return 2;
	}
	signal(SIGTERM, end);
	signal(SIGINT, end);
	chime_set_interrupted(interrupted, NULL);
	int err = chime_create_server(&server, six ? AF_INET6 : AF_INET, "", port, -1, false, six);
	if (err == 0)
		err = chime_getsockname(server, &at);
	if (err == 0) {
		printf("port %d\n", chime_addr_port(&at));
		fflush(stdout);
		err = serve_forever(server);
	}
	if (err < 0)
		fprintf(stderr, "one_at_a_time: port %d: %s\n", port, chime_strerror(err));
	chime_free(&server);
	return err < 0;
}
