/* The stamp service on libuv, as one would write it. usage: uv_server [PORT] (0: any, printed). */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <uv.h>

enum {
	CHUNK = 1024,
	STAMP = 24
};

struct answer {
	uv_write_t write;
	char bytes[];
};

static char input[65536];

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	(void)handle;
	(void)suggested;
	*buf = uv_buf_init(input, sizeof input); /* one read at a time, and each is answered before the next */
}

static void on_closed(uv_handle_t *handle)
{
	free(handle);
}

/* After every queued write: closing at once would lose them. */
static void on_shutdown(uv_shutdown_t *shutdown, int status)
{
	(void)status;
	if (!uv_is_closing((uv_handle_t *)shutdown->handle))
		uv_close((uv_handle_t *)shutdown->handle, on_closed);
	free(shutdown);
}

static void on_written(uv_write_t *write, int status)
{
	if (status < 0 && !uv_is_closing((uv_handle_t *)write->handle))
		uv_close((uv_handle_t *)write->handle, on_closed);
	free(write);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	if (n == UV_EOF) {
		uv_shutdown_t *shutdown = malloc(sizeof *shutdown);
		uv_read_stop(stream);
		if (uv_shutdown(shutdown, stream, on_shutdown) < 0) {
			free(shutdown);
			uv_close((uv_handle_t *)stream, on_closed);
		}
		return;
	}
	if (n < 0) {
		if (!uv_is_closing((uv_handle_t *)stream))
			uv_close((uv_handle_t *)stream, on_closed);
		return;
	}
	if (n == 0)
		return;
	char stamp[32];
	time_t now = time(NULL);
	ctime_r(&now, stamp);
	size_t len = (size_t)n, chunks = (len + CHUNK - 1) / CHUNK;
	struct answer *a = malloc(sizeof *a + len + chunks * STAMP);
	char *out = a->bytes;
	for (size_t at = 0; at < len; at += CHUNK) {
		size_t part = len - at < CHUNK ? len - at : CHUNK;
		memcpy(out, stamp, STAMP);
		memcpy(out + STAMP, buf->base + at, part);
		out += STAMP + part;
	}
	uv_buf_t all = uv_buf_init(a->bytes, (unsigned)(out - a->bytes));
	if (uv_write(&a->write, stream, &all, 1, on_written) < 0)
		free(a);
}

static void on_connection(uv_stream_t *listener, int status)
{
	if (status < 0)
		return;
	uv_tcp_t *conn = malloc(sizeof *conn);
	uv_tcp_init(listener->loop, conn);
	if (uv_accept(listener, (uv_stream_t *)conn) < 0) {
		uv_close((uv_handle_t *)conn, on_closed);
		return;
	}
	uv_tcp_nodelay(conn, 1);
	uv_read_start((uv_stream_t *)conn, on_alloc, on_read);
}

int main(int argc, char **argv)
{
	struct sockaddr_in at;
	int len = sizeof at;
	struct rlimit files;
	uv_tcp_t listener;
	signal(SIGPIPE, SIG_IGN); /* a peer that resets is no reason to end */
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	uv_tcp_init(uv_default_loop(), &listener);
	uv_ip4_addr("127.0.0.1", argc > 1 ? atoi(argv[1]) : 9999, &at);
	int err = uv_tcp_bind(&listener, (struct sockaddr *)&at, 0);
	if (err == 0)
		err = uv_listen((uv_stream_t *)&listener, 4096, on_connection);
	if (err < 0) {
		fprintf(stderr, "%s\n", uv_strerror(err));
		return 1;
	}
	uv_tcp_getsockname(&listener, (struct sockaddr *)&at, &len);
	printf("listening %d\n", ntohs(at.sin_port));
	fflush(stdout);
	return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
