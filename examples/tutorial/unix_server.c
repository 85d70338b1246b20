/*
 * The tutorial's server on a unix socket, a path or an abstract name. usage: unix_server [./PATH | @NAME]
 * The file of a path stays when the server has ended, and is "in use" until somebody removes it.
 */
#include <chime/sock.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ADDRESS "@chime-tutorial" /* abstract: no file, and nothing to remove */
#define SIZE 1024
#define STAMP 24 /* ctime() without its newline */

static void or_die(chime_sock *s, int err)
{
	char why[256];
	if (err >= 0)
		return;
	chime_last_error(s, why, sizeof(why));
	fprintf(stderr, "unix_server: %s%s\n", why,
		err == -EADDRINUSE ? ": a file that a server left has to be removed" : "");
	exit(1);
}

int main(int argc, char **argv)
{
	chime_sock *server, *client;
	chime_addr addr;
	char text[CHIME_ADDR_TEXT], answer[STAMP + SIZE];
	ssize_t n;

	if (chime_addr_parse(&addr, argc > 1 ? argv[1] : ADDRESS) < 0 || chime_addr_family(&addr) != AF_UNIX) {
		fprintf(stderr, "usage: unix_server [./PATH | @NAME]\n");
		return 2;
	}
	int err = chime_open(&server, AF_UNIX, SOCK_STREAM, 0);
	if (err < 0) {
		fprintf(stderr, "unix_server: %s\n", chime_strerror(err));
		return 1;
	}
	or_die(server, chime_bind(server, &addr));
	or_die(server, chime_listen(server, 5));

	setvbuf(stdout, NULL, _IOLBF, 0);
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
