/*
 * The other yardstick: the stamp service as one thread with io_uring and nothing else, as fast as we know how to write it.
 *
 *     bare_uring tcp:PORT | unix:PATH | seqpacket:PATH      (port 0: any; the one that was got is printed)
 *
 * Chunks of 1024, ctime in local time. One multishot accept, into direct descriptors; one multishot receive a connection, into
 * buffers that the kernel takes from a ring, with room in front where the stamp is written; answers are sent from there, many chunks
 * gathered in one send. Everything of a turn is submitted by the call that waits for the next. What the peer does not take at once
 * is copied, and the peer is not read from until it has taken that, so that it holds none of the shared buffers.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
	CHUNK = 1024,
	STAMP = 24,
	HEAD = 64, /* room for the stamp; the data begins on a cache line */
	INPUT = 32768,
	PIECES = 2 * (INPUT / CHUNK),
	BUFS = 512, /* 64 starve, more gains nothing */
	ENTRIES = 2048,
	NONE = -1
};

/* What an entry was for; the connection's number stands above it in user_data. */
enum what {
	ACCEPT,
	RECV,
	SEND,
	CANCEL,
	CLOSE
};

/* What a peer has not taken yet. */
struct left {
	size_t at, len;
	unsigned char bytes[];
};

struct conn {
	struct left *left;
	int16_t first, last; /* buffers whose answers are to be sent; the first is under way */
	bool receiving, cancelled, sending, over;
};

struct buf {
	struct iovec iov[PIECES];
	struct msghdr msg;
	size_t len, total; /* received; of the answer */
	int16_t next;
	_Alignas(64) unsigned char bytes[HEAD + INPUT];
};

static struct io_uring ring;
static struct io_uring_buf_ring *free_bufs;
static struct buf *bufs;
static struct conn *conns;
static unsigned conn_max;
static unsigned *starved, starved_count; /* connections that found no buffer */
static int listener;
static bool messages;
static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
	(void)sig;
	stop = 1;
}

static void die(const char *what, int err)
{
	fprintf(stderr, "%s: %s\n", what, strerror(err));
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

/* ---- entries ---- */

static struct io_uring_sqe *entry(void)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	if (!sqe) {
		io_uring_submit(&ring);
		sqe = io_uring_get_sqe(&ring);
	}
	if (!sqe)
		die("no entry", EBUSY);
	return sqe;
}

static void mark(struct io_uring_sqe *sqe, unsigned i, enum what what)
{
	io_uring_sqe_set_data64(sqe, (uint64_t)i << 8 | what);
}

static void start_accept(void)
{
	struct io_uring_sqe *sqe = entry();
	io_uring_prep_multishot_accept_direct(sqe, listener, NULL, NULL, 0);
	mark(sqe, 0, ACCEPT);
}

static void start_recv(unsigned i)
{
	struct io_uring_sqe *sqe = entry();
	io_uring_prep_recv_multishot(sqe, (int)i, NULL, 0, 0);
	sqe->flags |= IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
	sqe->buf_group = 0;
	mark(sqe, i, RECV);
	conns[i].receiving = true;
}

static void stop_recv(unsigned i)
{
	struct io_uring_sqe *sqe;
	if (!conns[i].receiving || conns[i].cancelled)
		return;
	conns[i].cancelled = true;
	sqe = entry();
	io_uring_prep_cancel64(sqe, (uint64_t)i << 8 | RECV, 0);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	mark(sqe, i, CANCEL);
}

static void give(int16_t b)
{
	io_uring_buf_ring_add(free_bufs, bufs[b].bytes + HEAD, INPUT, (unsigned short)b, BUFS - 1, 0);
	io_uring_buf_ring_advance(free_bufs, 1);
}

/* ---- sending ---- */

/* Makes the answer of what is in a buffer: the stamp stands in front of the data, and is named again for each further chunk. */
static void answer(struct buf *b)
{
	unsigned char *data = b->bytes + HEAD, *stamp = data - STAMP;
	size_t first = messages || b->len < CHUNK ? b->len : CHUNK;
	int n = 1;
	write_stamp(stamp);
	b->iov[0] = (struct iovec){ stamp, STAMP + first };
	b->total = STAMP + first;
	for (size_t at = first; at < b->len; at += CHUNK) {
		size_t len = b->len - at < CHUNK ? b->len - at : CHUNK;
		b->iov[n++] = (struct iovec){ stamp, STAMP };
		b->iov[n++] = (struct iovec){ data + at, len };
		b->total += STAMP + len;
	}
	b->msg = (struct msghdr){ .msg_iov = b->iov, .msg_iovlen = (size_t)n };
}

static void send_first(unsigned i)
{
	struct conn *c = &conns[i];
	struct buf *b = &bufs[c->first];
	struct io_uring_sqe *sqe = entry();
	if (b->msg.msg_iovlen == 1)
		io_uring_prep_send(sqe, (int)i, b->iov[0].iov_base, b->total, MSG_NOSIGNAL | MSG_DONTWAIT);
	else
		io_uring_prep_sendmsg(sqe, (int)i, &b->msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	sqe->flags |= IOSQE_FIXED_FILE;
	mark(sqe, i, SEND);
	c->sending = true;
}

static void send_left(unsigned i)
{
	struct left *l = conns[i].left;
	struct io_uring_sqe *sqe = entry();
	io_uring_prep_send(sqe, (int)i, l->bytes + l->at, l->len - l->at, MSG_NOSIGNAL);
	sqe->flags |= IOSQE_FIXED_FILE;
	mark(sqe, i, SEND);
	conns[i].sending = true;
}

/* Copies what of all the waiting answers was not sent, and gives their buffers back. */
static void keep_rest(struct conn *c, size_t sent)
{
	while (c->first != NONE) {
		struct buf *b = &bufs[c->first];
		struct left *l = c->left;
		size_t have = l ? l->len : 0;
		l = realloc(l, sizeof *l + have + b->total - sent);
		if (!l)
			die("realloc", ENOMEM);
		if (!c->left)
			l->at = 0;
		l->len = have;
		for (size_t k = 0; k < b->msg.msg_iovlen; k++) {
			size_t skip = sent < b->iov[k].iov_len ? sent : b->iov[k].iov_len;
			memcpy(l->bytes + l->len, (char *)b->iov[k].iov_base + skip, b->iov[k].iov_len - skip);
			l->len += b->iov[k].iov_len - skip;
			sent -= skip;
		}
		c->left = l;
		int16_t next = b->next;
		give(c->first);
		c->first = next;
	}
}

/* ---- a connection ---- */

/* When it is over and nothing of it is under way, its number is given back. */
static void settle(unsigned i)
{
	struct conn *c = &conns[i];
	if (!c->over || c->receiving || c->sending || c->first != NONE || c->left)
		return;
	struct io_uring_sqe *sqe = entry();
	io_uring_prep_close_direct(sqe, i);
	mark(sqe, i, CLOSE);
}

/* It broke: nothing more is sent. */
static void give_up(unsigned i)
{
	struct conn *c = &conns[i];
	c->over = true;
	for (int16_t next; c->first != NONE; c->first = next) {
		next = bufs[c->first].next;
		give(c->first);
	}
	free(c->left);
	c->left = NULL;
	stop_recv(i);
}

static void on_accept(int res, unsigned flags)
{
	if (res >= 0) {
		conns[res] = (struct conn){ .first = NONE };
		start_recv((unsigned)res);
	}
	if (!(flags & IORING_CQE_F_MORE))
		start_accept();
}

static void on_recv(unsigned i, int res, unsigned flags)
{
	struct conn *c = &conns[i];
	if (!(flags & IORING_CQE_F_MORE))
		c->receiving = c->cancelled = false;
	if (res > 0) {
		int16_t id = (int16_t)(flags >> IORING_CQE_BUFFER_SHIFT);
		struct buf *b = &bufs[id];
		b->len = (size_t)res;
		b->next = NONE;
		if (c->over) {
			give(id);
		} else {
			answer(b);
			if (c->first == NONE)
				c->first = id;
			else
				bufs[c->last].next = id;
			c->last = id;
			if (c->left)
				keep_rest(c, 0);
			else if (!c->sending)
				send_first(i);
		}
	} else if (res == -ENOBUFS) {
		starved[starved_count++] = i;
		return;
	} else if (res != -ECANCELED) {
		c->over = true; /* the end, or an error; what is to be sent is sent */
	}
	if (!c->receiving && !c->over && !c->left)
		start_recv(i);
	settle(i);
}

static void on_send(unsigned i, int res)
{
	struct conn *c = &conns[i];
	c->sending = false;
	if (res < 0 && res != -EAGAIN) {
		give_up(i);
	} else if (c->left) {
		c->left->at += (size_t)(res < 0 ? 0 : res);
		if (c->left->at == c->left->len) {
			free(c->left);
			c->left = NULL;
			if (!c->over && !c->receiving)
				start_recv(i);
		}
	} else if (c->first != NONE) {
		size_t sent = res < 0 ? 0 : (size_t)res;
		if (sent < bufs[c->first].total) {
			keep_rest(c, sent);
			stop_recv(i);
		} else {
			int16_t next = bufs[c->first].next;
			give(c->first);
			c->first = next;
		}
	}
	if (c->left)
		send_left(i);
	else if (c->first != NONE)
		send_first(i);
	settle(i);
}

/* ---- the turn ---- */

static void on_cqe(const struct io_uring_cqe *cqe)
{
	unsigned i = (unsigned)(cqe->user_data >> 8);
	switch ((enum what)(cqe->user_data & 0xff)) {
	case ACCEPT:
		on_accept(cqe->res, cqe->flags);
		break;
	case RECV:
		on_recv(i, cqe->res, cqe->flags);
		break;
	case SEND:
		on_send(i, cqe->res);
		break;
	case CANCEL:
	case CLOSE:
		break;
	}
}

static void serve(void)
{
	start_accept();
	while (!stop) {
		struct io_uring_cqe *cqe;
		unsigned head, taken = 0;
		io_uring_submit_and_wait(&ring, 1);
		io_uring_for_each_cqe(&ring, head, cqe)
		{
			on_cqe(cqe);
			taken++;
		}
		io_uring_cq_advance(&ring, taken);
		for (unsigned n = starved_count; n; n--) {
			unsigned i = starved[--starved_count];
			if (!conns[i].over && !conns[i].left)
				start_recv(i);
			else
				settle(i);
		}
	}
}

static void open_ring(void)
{
	struct io_uring_params p = { .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
					      IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE,
				     .cq_entries = 16 * ENTRIES };
	int err = io_uring_queue_init_params(ENTRIES, &ring, &p);
	if (err < 0)
		die("io_uring", -err);
	err = io_uring_register_files_sparse(&ring, conn_max);
	if (err < 0)
		die("register files", -err);
	void *memory;
	size_t size = BUFS * sizeof(struct io_uring_buf);
	if (posix_memalign(&memory, 4096, size) || posix_memalign((void **)&bufs, 4096, BUFS * sizeof *bufs))
		die("memory", ENOMEM);
	memset(memory, 0, size);
	free_bufs = memory;
	io_uring_buf_ring_init(free_bufs);
	struct io_uring_buf_reg reg = { .ring_addr = (uintptr_t)memory, .ring_entries = BUFS };
	err = io_uring_register_buf_ring(&ring, &reg, 0);
	if (err < 0)
		die("register buffers", -err);
	for (int16_t b = 0; b < BUFS; b++)
		give(b);
}

static void open_tcp(int port)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof at;
	int one = 1;
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* those accepted have it from there */
	if (bind(listener, (struct sockaddr *)&at, len) < 0)
		die("bind", errno);
	getsockname(listener, (struct sockaddr *)&at, &len);
	printf("listening %d\n", ntohs(at.sin_port));
}

static void open_unix(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	strncpy(at.sun_path, path, sizeof at.sun_path - 1);
	unlink(path);
	listener = socket(AF_UNIX, (messages ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0)
		die("bind", errno);
	printf("listening %s\n", path);
}

int main(int argc, char **argv)
{
	struct sigaction act = { .sa_handler = on_signal };
	struct rlimit files;
	const char *at = argc == 2 ? strchr(argv[1], ':') : NULL;
	if (!at) {
		fprintf(stderr, "usage: bare_uring tcp:PORT | unix:PATH | seqpacket:PATH\n");
		return 2;
	}
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGINT, &act, NULL);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	conn_max = files.rlim_max < 65536 ? (unsigned)files.rlim_max : 65536;
	conns = calloc(conn_max, sizeof *conns);
	starved = calloc(conn_max, sizeof *starved);
	if (!conns || !starved)
		die("start", ENOMEM);
	setvbuf(stdout, NULL, _IOLBF, 0);
	messages = !strncmp(argv[1], "seqpacket:", 10);
	open_ring();
	if (!strncmp(argv[1], "tcp:", 4))
		open_tcp(atoi(at + 1));
	else
		open_unix(at + 1);
	if (listen(listener, 4096) < 0)
		die("listen", errno);
	serve();
	return 0;
}
