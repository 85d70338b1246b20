/*
 * The yardstick: the stamp service as one thread with epoll and nothing else, as fast as we know how to write it.
 *
 *     bare_epoll [-s] tcp:PORT | unix:PATH | seqpacket:PATH | dgram:PATH | udp:PORT      (port 0: any; the one that was got is printed)
 *
 * Chunks of 1024, ctime in local time. Level-triggered; one receive of up to 64 KiB for many chunks, the clock read behind it, the
 * stamp written in front of the data, one send with the stamp named again for every further chunk. What the peer does not take at
 * once is copied, and the peer is not read from until it has taken that. With -s it looks LOOKS times in vain before it sleeps.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
	CHUNK = 1024,
	STAMP = 24,
	INPUT = 65536,
	PIECES = 2 * (INPUT / CHUNK),
	EVENTS = 512,
	BATCH = 32,
	DATAGRAM = 4096,
	LOOKS = 500 /* some 100 us */
};

/* What a peer has not taken yet. */
struct left {
	size_t at, len;
	unsigned char bytes[];
};

static int ep, listener;
static bool messages, stream_of_ip, sleepless;
static struct left **left; /* by descriptor; NULL: nothing */
static unsigned char input[STAMP + INPUT];
static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
	(void)sig;
	stop = 1;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void write_stamp(unsigned char *out)
{
	static time_t second = -1;
	static char text[32];
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (now.tv_sec != second) {
		second = now.tv_sec;
		ctime_r(&second, text);
	}
	memcpy(out, text, STAMP);
}

static void watch(int fd, int op, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.fd = fd };
	if (epoll_ctl(ep, op, fd, &e) < 0)
		die("epoll_ctl");
}

static void end(int fd)
{
	free(left[fd]);
	left[fd] = NULL;
	close(fd);
}

/* Copies what of the pieces was not sent. */
static void keep_rest(int fd, const struct iovec *iov, int n, size_t sent)
{
	size_t total = 0;
	for (int i = 0; i < n; i++)
		total += iov[i].iov_len;
	struct left *l = malloc(sizeof *l + total - sent);
	if (!l)
		die("malloc");
	l->at = l->len = 0;
	for (int i = 0; i < n; i++) {
		size_t skip = sent < iov[i].iov_len ? sent : iov[i].iov_len;
		memcpy(l->bytes + l->len, (char *)iov[i].iov_base + skip, iov[i].iov_len - skip);
		l->len += iov[i].iov_len - skip;
		sent -= skip;
	}
	left[fd] = l;
	watch(fd, EPOLL_CTL_MOD, EPOLLOUT);
}

static void on_input(int fd)
{
	struct iovec iov[PIECES];
	int n = 1;
	size_t total;
	ssize_t got = recv(fd, input + STAMP, INPUT, 0);
	if (got <= 0) {
		if (got == 0 || (errno != EAGAIN && errno != EINTR))
			end(fd);
		return;
	}
	write_stamp(input);
	size_t first = messages || got < CHUNK ? (size_t)got : CHUNK;
	iov[0] = (struct iovec){ input, STAMP + first };
	total = STAMP + first;
	for (size_t at = first; at < (size_t)got; at += CHUNK) {
		size_t len = (size_t)got - at < CHUNK ? (size_t)got - at : CHUNK;
		iov[n++] = (struct iovec){ input, STAMP };
		iov[n++] = (struct iovec){ input + STAMP + at, len };
		total += STAMP + len;
	}
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = (size_t)n };
	ssize_t sent = n == 1 ? send(fd, input, total, MSG_NOSIGNAL) : sendmsg(fd, &m, MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN)
		end(fd);
	else if (sent < (ssize_t)total)
		keep_rest(fd, iov, n, sent < 0 ? 0 : (size_t)sent);
}

static void on_room(int fd)
{
	struct left *l = left[fd];
	ssize_t sent = send(fd, l->bytes + l->at, l->len - l->at, MSG_NOSIGNAL);
	if (sent < 0) {
		if (errno != EAGAIN)
			end(fd);
		return;
	}
	l->at += (size_t)sent;
	if (l->at < l->len)
		return;
	free(l);
	left[fd] = NULL;
	watch(fd, EPOLL_CTL_MOD, EPOLLIN);
}

static void on_listener(void)
{
	for (int i = 0; i < 64; i++) {
		int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		if (stream_of_ip)
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		watch(fd, EPOLL_CTL_ADD, EPOLLIN);
	}
}

static void serve_connections(void)
{
	struct epoll_event events[EVENTS];
	watch(listener, EPOLL_CTL_ADD, EPOLLIN);
	unsigned vain = 0;
	while (!stop) {
		int n = epoll_wait(ep, events, EVENTS, sleepless && vain < LOOKS ? 0 : -1);
		vain = n ? 0 : vain + 1;
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;
			if (fd == listener)
				on_listener();
			else if (left[fd])
				on_room(fd);
			else
				on_input(fd);
		}
	}
}

static void serve_datagrams(void)
{
	static unsigned char bytes[BATCH][STAMP + DATAGRAM];
	static struct sockaddr_storage peers[BATCH];
	struct mmsghdr m[BATCH];
	struct iovec iov[BATCH];
	while (!stop) {
		for (int i = 0; i < BATCH; i++) {
			iov[i] = (struct iovec){ bytes[i] + STAMP, DATAGRAM };
			m[i].msg_hdr = (struct msghdr){ .msg_name = &peers[i],
							.msg_namelen = sizeof peers[i],
							.msg_iov = &iov[i],
							.msg_iovlen = 1 };
		}
		int n = recvmmsg(listener, m, BATCH, MSG_WAITFORONE, NULL);
		if (n <= 0)
			continue;
		write_stamp(bytes[0]);
		for (int i = 0; i < n; i++) {
			memcpy(bytes[i], bytes[0], STAMP);
			iov[i] = (struct iovec){ bytes[i], STAMP + m[i].msg_len };
		}
		for (int done = 0, sent; done < n; done += sent)
			if ((sent = sendmmsg(listener, m + done, (unsigned)(n - done), MSG_NOSIGNAL)) <= 0)
				sent = 1; /* an answer that cannot go is dropped */
	}
}

static void open_ip(int type, int port)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof at;
	int one = 1;
	listener = socket(AF_INET, type | SOCK_CLOEXEC | (type == SOCK_STREAM ? SOCK_NONBLOCK : 0), 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, (struct sockaddr *)&at, len) < 0)
		die("bind");
	getsockname(listener, (struct sockaddr *)&at, &len);
	printf("listening %d\n", ntohs(at.sin_port));
}

static void open_unix(int type, const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	strncpy(at.sun_path, path, sizeof at.sun_path - 1);
	unlink(path);
	listener = socket(AF_UNIX, type | SOCK_CLOEXEC | (type == SOCK_DGRAM ? 0 : SOCK_NONBLOCK), 0);
	if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0)
		die("bind");
	printf("listening %s\n", path);
}

int main(int argc, char **argv)
{
	struct sigaction act = { .sa_handler = on_signal };
	struct rlimit files;
	if (argc > 1 && !strcmp(argv[1], "-s")) {
		sleepless = true;
		argv++;
		argc--;
	}
	const char *at = argc == 2 ? strchr(argv[1], ':') : NULL;
	if (!at) {
		fprintf(stderr,
			"usage: bare_epoll [-s] tcp:PORT | unix:PATH | seqpacket:PATH | dgram:PATH | udp:PORT\n");
		return 2;
	}
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGINT, &act, NULL);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	left = calloc(files.rlim_cur, sizeof *left);
	ep = epoll_create1(EPOLL_CLOEXEC);
	if (!left || ep < 0)
		die("start");
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strncmp(argv[1], "udp:", 4)) {
		open_ip(SOCK_DGRAM, atoi(at + 1));
		serve_datagrams();
		return 0;
	}
	if (!strncmp(argv[1], "dgram:", 6)) {
		open_unix(SOCK_DGRAM, at + 1);
		serve_datagrams();
		return 0;
	}
	stream_of_ip = !strncmp(argv[1], "tcp:", 4);
	messages = !strncmp(argv[1], "seqpacket:", 10);
	if (stream_of_ip)
		open_ip(SOCK_STREAM, atoi(at + 1));
	else
		open_unix(messages ? SOCK_SEQPACKET : SOCK_STREAM, at + 1);
	if (listen(listener, 4096) < 0)
		die("listen");
	serve_connections();
	return 0;
}
