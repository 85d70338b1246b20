/* The tutorial's server for datagrams: each is answered by the time and itself. usage: udp_server [PORT] */
#include <chime/sock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HOST                                                                                                           \
	"127.0.0.1" /* not every address: whoever answers strangers at length can be made to answer the wrong ones */
#define PORT 9999
#define SIZE 1024
#define STAMP 24 /* ctime() without its newline */

static void or_die(chime_sock *s, int err)
{
	char why[256];
	if (err >= 0)
		return;
	chime_last_error(s, why, sizeof(why));
	fprintf(stderr, "udp_server: %s\n", why);
	exit(1);
}

int main(int argc, char **argv)
{
	int port = PORT;
	chime_sock *server;
	chime_addr addr;
	char more;
	char text[CHIME_ADDR_TEXT], answer[STAMP + SIZE];

	if ((argc > 1 && sscanf(argv[1], "%5d%c", &port, &more) != 1) ||
	    chime_addr_ip(&addr, AF_INET, HOST, port) < 0) {
		fprintf(stderr, "usage: udp_server [PORT]\n");
		return 2;
	}
	int err = chime_open(&server, AF_INET, SOCK_DGRAM, 0);
	if (err < 0) {
		fprintf(stderr, "udp_server: %s\n", chime_strerror(err));
		return 1;
	}
	or_die(server, chime_bind(server, &addr));
	setvbuf(stdout, NULL, _IOLBF, 0); /* shown line by line in a pipe too */
	if (port == 0 && chime_getsockname(server, &addr) == 0)
		printf("port %d\n", chime_addr_port(&addr));

	for (;;) {
		printf("waiting for message...\n");
		ssize_t n = chime_recvfrom(server, answer + STAMP, SIZE, 0, &addr);
		or_die(server, (int)n);
		time_t now = time(NULL);
		memcpy(answer, ctime(&now), STAMP);
		if (chime_sendto(server, answer, STAMP + (size_t)n, 0, &addr) < 0)
			continue;
		chime_addr_print(&addr, text, sizeof(text));
		printf("...received from and returned to: %s\n", text);
	}
}
