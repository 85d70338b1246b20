/*
 * server/live.h - a whole server by its public interface, with real sockets and threads, and who connects to it.
 */
#ifndef SERVER_LIVE_H
#define SERVER_LIVE_H

#include "loop/each_backend.h"

#include <chime/connect.h>
#include <chime/server.h>

/* So many workers on this test's backend, or where it has none on the one that the server chooses. */
static inline struct chime_server_config live_config(unsigned workers)
{
	struct chime_server_config config = CHIME_SERVER_CONFIG_INIT;
	config.workers = workers;
	if (test_backend)
		config.backend = test_backend->name;
	return config;
}

static inline void live_add(chime_server *s, const char *endpoint, const chime_service *service)
{
	struct chime_endpoint_error error = { 0 };
	int err = chime_server_add(s, endpoint, service, NULL, &error);
	if (err < 0)
		print_message("%s: %s\n", endpoint, error.message);
	CHECK_EQ(err, 0);
}

/* A server with one endpoint (service NULL: the one that it names, or stamp), not started yet. */
static inline chime_server *live_new(const struct chime_server_config *config, const char *endpoint,
				     const chime_service *service)
{
	chime_server *s;
	CHECK_EQ(chime_server_new(&s, config), 0);
	live_add(s, endpoint, service);
	return s;
}

static inline void live_start(chime_server *s)
{
	int err = chime_server_start(s);
	if (err < 0)
		print_message("%s\n", chime_server_why(s));
	CHECK_EQ(err, 0);
}

static inline chime_server *live_serve(const char *endpoint, const chime_service *service, unsigned workers)
{
	struct chime_server_config config = live_config(workers);
	chime_server *s = live_new(&config, endpoint, service);
	live_start(s);
	return s;
}

/* A client of endpoint n, which waits at most a minute for anything. */
static inline chime_sock *live_dial(const chime_server *s, unsigned n)
{
	struct chime_connect_config config = CHIME_CONNECT_CONFIG_INIT;
	chime_sock *c = NULL;
	config.timeout_ns = 60 * CHIME_SEC;
	CHECK_EQ(chime_connect_endpoint(&c, chime_server_endpoint(s, n), &config), 0);
	CHECK_EQ(chime_set_timeout(c, 60 * CHIME_SEC), 0);
	return c;
}

static inline struct chime_server_stats live_stats(const chime_server *s)
{
	struct chime_server_stats stats;
	chime_server_stats(s, &stats);
	return stats;
}

/* Stops it and waits for its end: nothing is left of connections nor of answers. */
static inline void live_end(chime_server **s)
{
	chime_server_stop(*s);
	CHECK_EQ(chime_server_wait(*s, 60 * CHIME_SEC), 0);
	CHECK_EQ(live_stats(*s).open, 0);
	CHECK_EQ(live_stats(*s).queued_bytes, 0);
	chime_server_free(s);
	CHECK_PTR(*s, NULL);
}

static inline ssize_t live_echo(const struct chime_input *in, chime_reply *out)
{
	chime_reply_add(out, in->data, in->len);
	return (ssize_t)in->len;
}

static const chime_service live_echo_service = { .size = sizeof(chime_service),
						 .name = "myecho",
						 .received = live_echo };

#endif
