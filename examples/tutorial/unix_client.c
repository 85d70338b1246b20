/* The tutorial's client on a unix socket. usage: unix_client [./PATH | @NAME] */
#include <chime/sock.h>
#include <stdio.h>
#include <string.h>

#define ADDRESS "@chime-tutorial"
#define SIZE 1024

int main(int argc, char **argv)
{
	chime_sock *client;
	chime_addr addr;
	char data[SIZE + 1], why[256];
	ssize_t n;

	if (chime_addr_parse(&addr, argc > 1 ? argv[1] : ADDRESS) < 0 || chime_addr_family(&addr) != AF_UNIX) {
		fprintf(stderr, "usage: unix_client [./PATH | @NAME]\n");
		return 2;
	}
	int err = chime_open(&client, AF_UNIX, SOCK_STREAM, 0);
	if (err < 0) {
		fprintf(stderr, "unix_client: %s\n", chime_strerror(err));
		return 1;
	}
	if (chime_connect(client, &addr) < 0) {
		chime_last_error(client, why, sizeof(why));
		fprintf(stderr, "unix_client: %s\n", why);
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
		fprintf(stderr, "unix_client: standard output cannot be written\n");
		return 1;
	}
	return 0;
}
