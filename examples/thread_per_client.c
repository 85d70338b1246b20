/*
 * A blocking server with a thread for each client: what socketserver.ThreadingTCPServer is in Python, with a ceiling on the threads.
 * Put your own service in handle(). On SIGTERM or SIGINT nobody is let in any more, the clients' calls see the end, and
 * every thread is waited for. usage: thread_per_client [PORT]   (default 9999)
 */
#include <chime/connect.h>
#include <chime/stamp.h>
#include <chime/stream.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#define CLIENTS 64                      /* at once; who comes then waits in the listener's queue */
#define CLIENT_TIMEOUT (60 * CHIME_SEC) /* a client that says nothing so long is let go */

static struct client {
	chime_sock *sock; /* NULL: the place is free */
	pthread_t thread;
	bool done; /* the thread only waits to be joined */
} clients[CLIENTS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* over clients and ended */
static pthread_cond_t some_done = PTHREAD_COND_INITIALIZER;
static bool ended;

/*
 * The service: what comes is answered by the time and itself, as it comes; chime_stream_read_line() would take whole lines.
 * 0 at the client's end, or why it ended before.
 */
static int handle(chime_sock *client)
{
	char chunk[1024], stamp[CHIME_STAMP_MAX];
	chime_stream *stream = NULL;
	ssize_t n = chime_set_timeout(client, CLIENT_TIMEOUT);
	if (n == 0)
		n = chime_stream_new(&stream, client, 0);
	while (n == 0 && (n = chime_stream_read(stream, chunk, sizeof chunk)) > 0) {
		size_t len = chime_stamp_write(stamp, chime_now_real(), CHIME_STAMP_CTIME, false);
		int err = chime_stream_write(stream, stamp, len, NULL);
		if (err == 0)
			err = chime_stream_write(stream, chunk, (size_t)n, NULL);
		n = err < 0 ? err : chime_stream_flush(stream);
	}
	int err = chime_stream_free(&stream);
	return n < 0 ? (int)n : err;
}

static void *client_run(void *arg)
{
	struct client *c = arg;
	int err = handle(c->sock);
	if (err < 0)
		fprintf(stderr, "a client: %s\n", chime_strerror(err));
	chime_shutdown(c->sock, SHUT_RDWR); /* it sees its end now, whenever the place is needed again */
	pthread_mutex_lock(&lock);
	c->done = true;
	pthread_cond_signal(&some_done);
	pthread_mutex_unlock(&lock);
	return NULL;
}

static void client_free(struct client *c)
{
	pthread_join(c->thread, NULL);
	chime_free(&c->sock);
	c->done = false;
}

/* A free place; waits for one. NULL: it is over. */
static struct client *place(void)
{
	pthread_mutex_lock(&lock);
	struct client *found = NULL;
	while (!ended && !found) {
		for (int i = 0; i < CLIENTS; i++) {
			if (clients[i].done)
				client_free(&clients[i]);
			if (!clients[i].sock)
				found = &clients[i];
		}
		if (!found)
			pthread_cond_wait(&some_done, &lock);
	}
	pthread_mutex_unlock(&lock);
	return found;
}

/* The thread that accepts, until the listener is closed. */
static void *serve_forever(void *arg)
{
	chime_sock *server = arg;
	struct client *c;
	while ((c = place())) {
		int err = chime_accept(server, &c->sock, NULL);
		if (err == CHIME_ECLOSED)
			break;
		if (err == 0 && (err = -pthread_create(&c->thread, NULL, client_run, c)) < 0)
			chime_free(&c->sock); /* no thread for this one; the next may find one */
		if (err < 0)
			fprintf(stderr, "a client: %s\n", chime_strerror(err));
	}
	return NULL;
}

/* Each sees the end of its input, answers what it has, and is waited for. */
static void end_clients(void)
{
	for (int i = 0; i < CLIENTS; i++)
		if (clients[i].sock)
			chime_shutdown(clients[i].sock, SHUT_RD);
	for (int i = 0; i < CLIENTS; i++)
		if (clients[i].sock)
			client_free(&clients[i]);
}

/* Signals are for this thread: the others were started with them blocked. */
static void wait_for_signal(const sigset_t *set, chime_sock *server)
{
	int sig;
	sigwait(set, &sig);
	pthread_mutex_lock(&lock);
	ended = true;
	pthread_cond_signal(&some_done);
	pthread_mutex_unlock(&lock);
	chime_close(server); /* from any thread: the accept that waits comes back */
}

int main(int argc, char **argv)
{
	bool six = chime_has_dualstack_ipv6();
	int port = 9999;
	char more;
	chime_sock *server = NULL;
	chime_addr at;
	pthread_t acceptor;
	sigset_t set;
	if (argc > 1 && (sscanf(argv[1], "%5d%c", &port, &more) != 1 || port < 0 || port > 65535)) {
		fprintf(stderr, "usage: thread_per_client [PORT]\n");
		return 2;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	int err = chime_create_server(&server, six ? AF_INET6 : AF_INET, "", port, -1, false, six);
	if (err == 0)
		err = chime_getsockname(server, &at);
	if (err == 0)
		err = -pthread_create(&acceptor, NULL, serve_forever, server);
	if (err == 0) {
		printf("port %d\n", chime_addr_port(&at));
		fflush(stdout);
		wait_for_signal(&set, server);
		pthread_join(acceptor, NULL);
		end_clients();
	} else {
		fprintf(stderr, "thread_per_client: port %d: %s\n", port, chime_strerror(err));
	}
	chime_free(&server);
	return err < 0;
}
