/* The stamp service on libevent's bufferevents, as one would write it. usage: event_server [PORT] (0: any, printed). */
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum {
	CHUNK = 1024,
	STAMP = 24
};

static void on_read(struct bufferevent *bev, void *arg)
{
	struct evbuffer *in = bufferevent_get_input(bev), *out = bufferevent_get_output(bev);
	char stamp[32];
	time_t now = time(NULL);
	(void)arg;
	ctime_r(&now, stamp);
	while (evbuffer_get_length(in)) {
		evbuffer_add(out, stamp, STAMP);
		evbuffer_remove_buffer(in, out, CHUNK);
	}
}

static void on_drained(struct bufferevent *bev, void *arg)
{
	(void)arg;
	bufferevent_free(bev);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	(void)arg;
	if ((what & BEV_EVENT_EOF) && evbuffer_get_length(bufferevent_get_output(bev))) {
		/* Freeing at once would lose what is not yet written. */
		bufferevent_disable(bev, EV_READ);
		bufferevent_setcb(bev, NULL, on_drained, on_event, NULL);
		return;
	}
	bufferevent_free(bev);
}

static void on_connection(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *peer, int len,
			  void *arg)
{
	int one = 1;
	(void)peer;
	(void)len;
	(void)arg;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	struct bufferevent *bev = bufferevent_socket_new(evconnlistener_get_base(listener), fd, BEV_OPT_CLOSE_ON_FREE);
	bufferevent_setcb(bev, on_read, NULL, on_event, NULL);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof at;
	struct rlimit files;
	signal(SIGPIPE, SIG_IGN); /* a peer that resets is no reason to end */
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	at.sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 9999));
	struct event_base *base = event_base_new();
	struct evconnlistener *listener =
		evconnlistener_new_bind(base, on_connection, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE, 4096,
					(struct sockaddr *)&at, sizeof at);
	if (!listener) {
		perror("bind");
		return 1;
	}
	getsockname(evconnlistener_get_fd(listener), (struct sockaddr *)&at, &len);
	printf("listening %d\n", ntohs(at.sin_port));
	fflush(stdout);
	return event_base_dispatch(base);
}
