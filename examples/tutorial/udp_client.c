/* The tutorial's client for datagrams: a line, its answer, until an empty line. usage: udp_client [PORT] */
#include <chime/sock.h>
#include <stdio.h>
#include <string.h>

#define HOST "127.0.0.1"
#define PORT 9999
#define SIZE 1024

int main(int argc, char **argv)
{
	int port = PORT;
	chime_sock *client;
	chime_addr addr, from;
	char more;
	char data[SIZE + 1], why[256];
	ssize_t n = 0;

	if ((argc > 1 && sscanf(argv[1], "%5d%c", &port, &more) != 1) ||
	    chime_addr_ip(&addr, AF_INET, HOST, port) < 0) {
		fprintf(stderr, "usage: udp_client [PORT]\n");
		return 2;
	}
	int err = chime_open(&client, AF_INET, SOCK_DGRAM, 0);
	if (err < 0) {
		fprintf(stderr, "udp_client: %s\n", chime_strerror(err));
		return 1;
	}
	chime_set_timeout(client, 5 * CHIME_SEC); /* a datagram can be lost, and then no answer comes */
	for (;;) {
		printf(">>:");
		fflush(stdout);
		if (!fgets(data, sizeof(data), stdin))
			break;
		data[strcspn(data, "\n")] = 0;
		if (!data[0])
			break;
		n = chime_sendto(client, data, strlen(data), 0, &addr);
		if (n >= 0)
			n = chime_recvfrom(client, data, SIZE, 0, &from);
		if (n < 0) {
			chime_last_error(client, why, sizeof(why));
			fprintf(stderr, "udp_client: %s\n", why);
			break;
		}
		printf("%.*s\n", (int)n, data);
	}
	chime_free(&client);
	if (ferror(stdout)) {
		fprintf(stderr, "udp_client: standard output cannot be written\n");
		return 1;
	}
	return n < 0;
}
