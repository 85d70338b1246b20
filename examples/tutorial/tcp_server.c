/*
 * The tutorial's TCP server: one client after the other, each chunk answered by the time and itself. usage: tcp_server [PORT]
 * Ended and started again, it may find its port in use for a minute, as the tutorial's does; chime_create_server() knows better.
 */
#include <chime/sock.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HOST ""
#define PORT 9999
#define SIZE 1024
#define STAMP 24 /* ctime() without its newline */

static void or_die(chime_sock *s, int err)
{
	char why[256];
	if (err >= 0)
		return;
	chime_last_error(s, why, sizeof(why));
	fprintf(stderr, "tcp_server: %s%s\n", why,
		err == -EADDRINUSE ? ": for a minute, if a server has just ended there" : "");
	exit(1);
}

int main(int argc, char **argv)
{
	int port = PORT;
	chime_sock *server, *client;
	chime_addr addr;
	char more;
	char text[CHIME_ADDR_TEXT], answer[STAMP + SIZE];
	ssize_t n;

	if ((argc > 1 && sscanf(argv[1], "%5d%c", &port, &more) != 1) ||
	    chime_addr_ip(&addr, AF_INET, HOST, port) < 0) {
		fprintf(stderr, "usage: tcp_server [PORT]\n");
		return 2;
	}
	int err = chime_open(&server, AF_INET, SOCK_STREAM, 0);
	if (err < 0) {
		fprintf(stderr, "tcp_server: %s\n", chime_strerror(err));
		return 1;
	}
	or_die(server, chime_bind(server, &addr));
	or_die(server, chime_listen(server, 5));
	setvbuf(stdout, NULL, _IOLBF, 0); /* shown line by line in a pipe too */
	if (port == 0 && chime_getsockname(server, &addr) == 0)
		printf("port %d\n", chime_addr_port(&addr));

	for (;;) {
		printf("waiting for connection...\n");
		or_die(server, chime_accept(server, &client, &addr));
		chime_addr_print(&addr, text, sizeof(text));
		printf("...connected from: %s\n", text);

		while ((n = chime_recv(client, answer + STAMP, SIZE, 0)) > 0) {
			time_t now = time(NULL);
			memcpy(answer, ctime(&now), STAMP);
			if (chime_send(client, answer, STAMP + (size_t)n, 0) < 0)
				break;
		}
		chime_free(&client);
	}
}
