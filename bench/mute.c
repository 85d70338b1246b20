/*
 * Peers that do not read: so many connections that send whatever the server takes (up to 4 MiB each), and never receive.
 *
 *     mute tcp:PORT CONNECTIONS SECONDS
 *
 * What a server does with them is seen in others' answers. At the end one line: how many bytes it took from them.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	CONNS_MAX = 4096,
	PART = 16384,
	MOST = 4 << 20 /* of a connection: some servers keep without limit what is not read */
};

static double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	static int fds[CONNS_MAX];
	static uint64_t sent[CONNS_MAX];
	static char bytes[PART];
	struct sockaddr_in server = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int count = argc > 2 ? atoi(argv[2]) : 0;
	uint64_t taken = 0;
	if (argc != 4 || strncmp(argv[1], "tcp:", 4) || count < 1 || count > CONNS_MAX) {
		fprintf(stderr, "usage: mute tcp:PORT CONNECTIONS SECONDS\n");
		return 2;
	}
	server.sin_port = htons((uint16_t)atoi(argv[1] + 4));
	memset(bytes, 'm', sizeof bytes);
	for (int i = 0; i < count; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fds[i] < 0 || connect(fds[i], (struct sockaddr *)&server, sizeof server) < 0) {
			perror("connect");
			return 1;
		}
	}
	double end = now_s() + atof(argv[3]);
	while (now_s() < end) {
		uint64_t before = taken;
		for (int i = 0; i < count; i++) {
			ssize_t n = sent[i] < MOST ? send(fds[i], bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
			sent[i] += n > 0 ? (uint64_t)n : 0;
			taken += n > 0 ? (uint64_t)n : 0;
		}
		if (taken == before)
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	printf("taken_bytes=%llu\n", (unsigned long long)taken);
	return 0;
}
