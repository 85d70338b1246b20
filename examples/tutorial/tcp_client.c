/* The tutorial's TCP client: a line, its answer, until an empty line or the server's end. usage: tcp_client [PORT] */
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
	chime_addr addr;
	char more;
	char data[SIZE + 1], why[256];
	ssize_t n;

	if ((argc > 1 && sscanf(argv[1], "%5d%c", &port, &more) != 1) ||
	    chime_addr_ip(&addr, AF_INET, HOST, port) < 0) {
		fprintf(stderr, "usage: tcp_client [PORT]\n");
		return 2;
	}
	int err = chime_open(&client, AF_INET, SOCK_STREAM, 0);
	if (err < 0) {
		fprintf(stderr, "tcp_client: %s\n", chime_strerror(err));
		return 1;
	}
	if (chime_connect(client, &addr) < 0) {
		chime_last_error(client, why, sizeof(why));
		fprintf(stderr, "tcp_client: %s\n", why);
		return 1;
	}
	for (;;) {
		printf(">>:");
		fflush(stdout);
		if (!fgets(data, sizeof(data), stdin))
			break;
		data[strcspn(data, "\n")] = 0;
		if (!data[0])
			break;
		if (chime_send(client, data, strlen(data), 0) < 0)
			break;
		n = chime_recv(client, data, SIZE, 0);
		if (n <= 0)
			break;
		printf("%.*s\n", (int)n, data);
	}
	chime_free(&client);
	if (ferror(stdout)) {
		fprintf(stderr, "tcp_client: standard output cannot be written\n");
		return 1;
	}
	return 0;
}
