/*
 * chime/server.h - the evented server engine: endpoints in, a service on them, a thread for each core.
 *
 *     chime_server *s;
 *     struct chime_server_config config = CHIME_SERVER_CONFIG_INIT;
 *     chime_server_new(&s, &config);
 *     chime_server_add(s, "tcp://:9999", &service, NULL, NULL);
 *     chime_server_start(s);                 // opens all endpoints or none; workers run from here on
 *     ...                                    // until a signal, say
 *     chime_server_stop(s);                  // drains
 *     chime_server_wait(s, CHIME_FOREVER);
 *     chime_server_free(&s);
 *
 * Whether a call is for any thread or for the worker's own (inside a callback) is said at each.
 */
#ifndef CHIME_SERVER_H
#define CHIME_SERVER_H

#include <chime/clock.h>
#include <chime/endpoint.h>
#include <chime/error.h>
#include <chime/service.h>
#include <chime/timer.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct chime_server chime_server;
typedef struct chime_worker chime_worker; /* one thread with its loop, listeners, connections, timers */

enum chime_log_level {
	CHIME_LOG_ERROR,
	CHIME_LOG_WARN,
	CHIME_LOG_INFO,
	CHIME_LOG_DEBUG
};

/* One thing that happened. Pointers are valid during the call. */
struct chime_log_event {
	enum chime_log_level level;
	const char *event;      /* "open" "close" "refuse" "stall" "idle" "emfile" "drop" "error" "note" "trace" */
	uint64_t conn;          /* connection id, 0 none */
	const chime_addr *peer; /* NULL none */
	const chime_endpoint *endpoint; /* NULL none */
	const char *op;                 /* "accept" "recv" "send" ..., NULL */
	int err;                        /* 0 or a code */
	uint64_t count;                 /* how many such things, where several are told in one line; else 1 */
	const char *msg;                /* a sentence, or NULL */
};

/* Called from workers' threads, several at once; must not block. */
typedef void chime_log_fn(void *arg, const struct chime_log_event *event);

struct chime_server_config {
	size_t size;             /* sizeof(struct chime_server_config) */
	unsigned workers;        /* 0: one for each core of the affinity mask; at most 256 */
	const char *backend;     /* "auto", "epoll", "uring"; NULL is "auto" */
	uint64_t max_conns;      /* connections at once; 0: what the descriptor limit allows */
	int64_t idle_timeout_ns; /* a connection on which nothing came or went so long is closed; CHIME_FOREVER: never */
	int64_t stall_timeout_ns; /* a connection whose peer takes nothing of what is to be sent so long is ended; 60 s */
	int64_t grace_ns;         /* how long draining may take; 5 s */
	int64_t spin_ns; /* how long a worker looks for work before it sleeps: halves the round trip of a few busy
					connections, burns CPU while they are; adaptive. 0: not at all; at most 10 ms */
	uint64_t queue_conn_max; /* bytes queued for one peer, each message a few more than it has; 1 MiB */
	/* Bytes queued for all; 256 MiB. Over it the longest-stalled peer is ended; where nobody is stalled, the one whose unfinished
	 * line is oldest. */
	uint64_t queue_total_max;
	int64_t datagram_rate; /* answers a second to one source (IPv4 /32, IPv6 /56) by UDP; 10000; 0: no limit */
	int64_t datagram_rate_total; /* answers a second to all unproven sources; 0: no limit */
	chime_log_fn *log;           /* NULL: silence */
	void *log_arg;
	enum chime_log_level log_level; /* what is not wanted is not put together */
	int64_t backlog; /* at most INT_MAX: listen(2) for endpoints that set none; 0: as the system does */
	bool pin; /* each worker has a core of its own, and the TCP connections that come in on it; no more workers than cores */
};
/* Every field, in order: C++ compilers want it so. */
#define CHIME_SERVER_CONFIG_INIT                                                                                       \
	{                                                                                                              \
		.size = sizeof(struct chime_server_config), .workers = 0, .backend = NULL, .max_conns = 0,             \
		.idle_timeout_ns = CHIME_FOREVER, .stall_timeout_ns = 60 * CHIME_SEC, .grace_ns = 5 * CHIME_SEC,       \
		.spin_ns = 0, .queue_conn_max = 1u << 20, .queue_total_max = 256u << 20, .datagram_rate = 10000,       \
		.datagram_rate_total = 0, .log = NULL, .log_arg = NULL, .log_level = CHIME_LOG_INFO, .backlog = 0,     \
		.pin = false,                                                                                          \
	}

/* ---- a server's life: one thread, but for stop ---- */

/* -EINVAL (a range above), -ENOMEM, -EPROTONOSUPPORT (backend). */
CHIME_API int chime_server_new(chime_server **out, const struct chime_server_config *config);

/*
 * Adds an endpoint; nothing is opened yet. endpoint: chime-endpoint(7), with or without "SERVICE=" (which must then be the
 * service's name). Its query may set the service's options and the engine's own (rate=, idle-timeout=). service NULL: the
 * one that the text names, else "stamp". config: what the query's values are put over; NULL: the service's default. All are
 * copied; *service must live as long as the server.
 * 0; as chime_endpoint_parse(), with error filled; CHIME_ESCHEME (not served by this release), -EINVAL (a service
 * that does not fit), -ENOENT (no service of that name); -EALREADY (open). error.message is filled for all of them.
 */
CHIME_API int chime_server_add(chime_server *s, const char *endpoint, const chime_service *service, const void *config,
			       struct chime_endpoint_error *error);

/* The engine's own options of an endpoint, rate= and idle-timeout=, for help: each row's help names the schemes it is for. */
CHIME_API const struct chime_option *chime_server_options(void);

/*
 * Opens every endpoint, or none, without serving yet. Port 0 becomes a real one here. Replaces a stale unix socket file, never a
 * live one nor another file. 0, or the first failure; chime_server_why() has the sentence (which endpoint, what, and the
 * holder of a port where it can be known).
 */
CHIME_API int chime_server_open(chime_server *s);

/* Opens if that was not done, and starts the workers' threads (all signals blocked in them). Returns at once. -EALREADY: started. */
CHIME_API int chime_server_start(chime_server *s);

/*
 * Begins draining: what is queued in the listeners is accepted, what was received is answered, everything is closed, at the
 * latest after grace_ns. A second call ends at once. Any thread, and signal handlers, at any
 * time until chime_server_free() begins, so also while chime_server_start() is at work. Returns at once. NULL is fine.
 */
CHIME_API void chime_server_stop(chime_server *s);

/* Waits until all workers have ended: 0; CHIME_ETIMEOUT; the error that ended a worker. */
CHIME_API int chime_server_wait(chime_server *s, int64_t timeout_ns);

/* Stops, waits, gives everything back, removes our unix socket files. NULL is fine. */
CHIME_API void chime_server_free(chime_server **s);

/* The sentence of the last failure of open or start; "" if none. The server's, until the next call. */
CHIME_API const char *chime_server_why(const chime_server *s);

/* The endpoints as they are now: with the port that was got. n from 0; NULL after the last. */
CHIME_API const chime_endpoint *chime_server_endpoint(const chime_server *s, unsigned n);
CHIME_API const char *chime_server_service(const chime_server *s, unsigned n);
/* rdm:// and sctp+seqpacket://, once open: "the kernel's SCTP", "libusrsctp in UDP, port 9899" (chime/rdm.h). NULL for others. */
CHIME_API const char *chime_server_carrier(const chime_server *s, unsigned n);

/* "epoll", and why it was chosen, in a sentence. */
CHIME_API const char *chime_server_backend(const chime_server *s, const char **why);
CHIME_API unsigned chime_server_workers(const chime_server *s);
/* The connection ceiling in force. */
CHIME_API uint64_t chime_server_max_conns(const chime_server *s);

/* ---- counters: any thread, at any time; sums over all workers ---- */

struct chime_server_stats {
	uint64_t accepted;  /* connections accepted and kept */
	uint64_t connected; /* outgoing connections made */
	uint64_t open;      /* connections now */
	uint64_t refused;   /* closed at once: over the ceiling, or .opened said no */
	uint64_t answers;   /* chunks and messages answered */
	uint64_t received_bytes, sent_bytes;
	uint64_t messages;    /* messages received (datagram, seqpacket) */
	uint64_t peer_resets; /* connections that the peer reset */
	uint64_t errors;      /* connections ended by another error; datagrams that a service
							     failed on */
	uint64_t idle_closed, stalled_ended, queue_ended; /* ended: idle; no progress; at the ceiling over all */
	uint64_t emfile;                                  /* times accepting paused for want of descriptors */
	uint64_t cut;                                     /* ended by the grace while draining */
	uint64_t dropped_source; /* datagrams not answered: source port or address (FEATURES: known repliers) */
	uint64_t dropped_loop;   /* datagrams that carried two stamps of ours */
	uint64_t dropped_rate;   /* datagrams over their source's or the total rate */
	uint64_t dropped_long;   /* messages too long to receive or to answer */
	uint64_t dropped_broken; /* raw: packets whose checksum or lengths are wrong */
	uint64_t dropped_queue;  /* answers dropped for a full queue or a send error */
	uint64_t queued_bytes;   /* waiting to be sent, now */
	uint64_t workers_turns;  /* turns of the loops: an idle server's stays as it is */
};
CHIME_API void chime_server_stats(const chime_server *s, struct chime_server_stats *out);

/* The counters by name, for printing: n from 0; NULL after the last. */
CHIME_API const char *chime_server_stat(const struct chime_server_stats *stats, unsigned n, uint64_t *value);

/* ---- connections: only inside callbacks of the worker that owns them ---- */

CHIME_API uint64_t chime_conn_id(const chime_conn *c); /* never used twice in a server; 0 on datagram endpoints */
CHIME_API chime_worker *chime_conn_worker(chime_conn *c);
CHIME_API void *chime_conn_state(chime_conn *c);
CHIME_API const void *chime_conn_config(const chime_conn *c);
CHIME_API int chime_conn_fileno(const chime_conn *c);
CHIME_API int chime_conn_peer(const chime_conn *c, chime_addr *out);
CHIME_API const chime_endpoint *chime_conn_endpoint(const chime_conn *c); /* NULL for outgoing ones */

/*
 * Queues a copy of the bytes (on seqpacket: one message) behind everything before it; sent as the peer takes them. While something
 * is queued, the peer is not read from. During .received the bytes go out after that call's reply.
 * 0; -ENOBUFS (over queue_conn_max); -EPIPE (ending); -ENOTCONN (not connected yet); -EOPNOTSUPP (a datagram endpoint); -ENOMEM.
 */
CHIME_API int chime_conn_send(chime_conn *c, const void *buf, size_t len);
/* A datagram from a datagram endpoint's socket to a peer. 0; -ENOBUFS; -EMSGSIZE; -EDESTADDRREQ, -EAFNOSUPPORT (the address);
 * -EPIPE (ending); -EOPNOTSUPP on connections and icmp://. */
CHIME_API int chime_conn_sendto(chime_conn *c, const void *buf, size_t len, const chime_addr *to);

/* An answer will come later: the connection stays after the peer's end until each hold is released. Draining waits too. */
CHIME_API void chime_conn_hold(chime_conn *c);
CHIME_API void chime_conn_release(chime_conn *c);

/* Ends it: after what is queued is sent (close), or now, with a reset where there is one (abort). .closed is called later. */
CHIME_API void chime_conn_close(chime_conn *c);
CHIME_API void chime_conn_abort(chime_conn *c);

/* ---- workers ---- */

/*
 * Connects to an address on the worker's own loop; the result has the service's functions. .opened comes when it is connected;
 * if it fails, only .closed comes, with the reason (state zeroed but for what is copied from arg: the first
 * arg_size bytes, at most state_size). Inside callbacks of that worker. type: SOCK_STREAM or SOCK_SEQPACKET, else -EINVAL. 0 (under
 * way); -EMFILE (also: the ceiling of connections); -ECANCELED: the grace is over; -EAFNOSUPPORT ...
 */
CHIME_API int chime_worker_connect(chime_worker *w, const chime_service *service, const void *config,
				   const chime_addr *to, int type, const void *arg, size_t arg_size, chime_conn **out);

/* Runs fn(worker, arg) soon in the thread of worker n. Any thread, from chime_server_open() on. 0; -ENOENT (no such worker); -ECANCELED (ended: fn will
 * not run); -ENOMEM. What was accepted runs, at the latest while the worker ends. */
typedef void chime_post_fn(chime_worker *w, void *arg);
CHIME_API int chime_server_post_from_any(chime_server *s, unsigned worker, chime_post_fn *fn, void *arg);

/* The connection of that id if this worker has it and it still lives, else NULL. Inside callbacks of that worker. */
CHIME_API chime_conn *chime_worker_conn(chime_worker *w, uint64_t id);
CHIME_API chime_server *chime_worker_server(chime_worker *w);
CHIME_API unsigned chime_worker_number(const chime_worker *w);

/*
 * A timer (chime/timer.h) runs once, in its worker's thread, at the first tick (8 ms) after its time. Starting a running one moves
 * it. Must be stopped, or have run, before its memory goes. Draining does not wait for it.
 */
CHIME_API void chime_timer_start(chime_worker *w, chime_timer *t, int64_t after_ns, chime_timer_fn *fn, void *arg);
CHIME_API void chime_timer_stop(chime_worker *w, chime_timer *t);

#ifdef __cplusplus
}
#endif

#endif
