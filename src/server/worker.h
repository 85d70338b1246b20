/*
 * server/worker.h - one thread's share of a server: its loop, listeners, connections, counters. Shares nothing that changes.
 */
#ifndef SERVER_WORKER_H
#define SERVER_WORKER_H

#include "loop/loop.h"
#include "server/guard.h"
#include "server/listen.h"
#include "server/pending.h"
#include "server/slab.h"

#include <chime/rdm.h>
#include <chime/server.h>

/* One endpoint as it is served. Never changes once the workers run. */
struct served {
	chime_endpoint endpoint; /* with the real port */
	int asked_port;          /* as it was given, */
	uint32_t asked_number;   /* vsock's: to have it again when opening failed */
	const chime_service *service;
	void *config; /* the service's, .config_size bytes */
	int64_t idle_timeout_ns;
	int64_t rate; /* datagram answers a second to one source */
	struct listen_set set;
	char carrier[64]; /* rdm, sctp+seqpacket: what carries it, once it is open; else "" */
	chime_rdm *rdm;   /* rdm, sctp+seqpacket: instead of .set, until a mailbox has it */
};

enum conn_kind {
	CONN_DGRAM = 1,
	CONN_MAILBOX,
};

/*
 * What every chime_conn begins with, be it a connection (server/conn.h) or a datagram socket (server/dgram.h) or a mailbox
 * (server/mailbox.h).
 */
struct chime_conn {
	struct chime_worker *worker;
	const struct served *served;
	int fd;
	uint8_t datagram; /* enum conn_kind: a struct conn if it is 0 */
	uint8_t state;    /* conn: enum conn_state; dgram: enum dgram_state */
	/* the rest is conn's */
	bool peer_ended : 1;  /* its end of stream was read */
	bool input_ended : 1; /* that, or draining found nothing more: the service gets no more input */
	bool in_call : 1;     /* the service is being called: what it asks for is done afterwards */
	bool served_own : 1;  /* served is its own (an outgoing connection) */
	bool timed : 1;       /* a struct conn_idle lies behind */
	bool busy : 1;        /* DRAINING and later: it was not idle when that began, or has sent since */
	bool reset : 1;       /* CLOSING: with a reset */
	bool owed : 1;        /* .closed will be called */
	bool message : 1;     /* boundaries are kept: seqpacket */
	bool pieces : 1;      /* sends are OP_PIECES: SCTP */
};

struct conn;
struct dgram;
struct mailbox;
struct acceptor;

enum worker_told {
	TOLD_REFUSED,
	TOLD_EMFILE,
	TOLD_STALLED,
	TOLD_QUEUE,
	TOLD_ERROR,
	TOLD_LONG,
	WORKER_TOLD
};

struct chime_worker {
	struct loop loop;
	struct chime_server *server;
	const struct chime_server_config *config;
	unsigned number;
	pthread_t thread;
	struct chime_server_stats stats; /* written by this thread alone (stat_add), read by any */

	struct conn **by_id; /* all connections: a hash table by id, a power of 2 of chains */
	unsigned by_id_size;
	unsigned conns; /* in it */
	bool walking;   /* over it: it must not grow now */
	uint64_t last_id;
	struct slab *slabs; /* connections' memory */
	struct conn *dead;  /* CLOSED, to be freed at the end of the turn */
	struct op *closing; /* of connections in CLOSING without an operation: finished at the end of the turn */
	struct loop_task close_task;
	struct loop_task reap;
	bool reaping;
	struct loop_task relieve;
	bool relieving;

	struct buf_pool kept;          /* for input that was kept and what comes behind it */
	struct pending_list stalled;   /* with something queued: the one longest without progress first */
	struct pending_list lingering; /* the one that began first */
	struct pending_list partial;   /* who keeps input that waits for more: the one longest without any first */
	struct pending *idle_pendings;
	unsigned idle_pending_count;
	uint64_t queue_max; /* this worker's share of the ceiling over all queues */

	struct acceptor *acceptors;
	struct dgram *dgrams;
	struct mailbox *mailboxes;
	struct chime_timer sweep;     /* looks at stalled and lingering ones while there are any */
	struct chime_timer grace;     /* draining: cuts off who is left */
	struct chime_timer idle_end;  /* draining: closes those that were idle and have not ended by themselves */
	int64_t told_ns[WORKER_TOLD]; /* when a line of that kind was logged last: floods are counted */
	uint64_t untold[WORKER_TOLD];
	unsigned stops; /* of the server's, those that were acted on */
	bool draining, cut;
	int result; /* what ended the thread */
};

/* Makes a worker that no thread runs yet. -errno. backend_arg: for backends that tests make. */
int chime__worker_init(struct chime_worker *w, struct chime_server *server, const struct chime_server_config *config,
		       unsigned number, const struct backend *backend, void *backend_arg);
/* Everything must have ended. */
void chime__worker_fini(struct chime_worker *w);
/* One turn; acts on stops. 1: go on; 0: all has ended; negative: the loop is broken. */
int chime__worker_turn(struct chime_worker *w, int64_t limit_ns);
/* Until all has ended. */
void chime__worker_run(struct chime_worker *w);

/* A timer that counts from now. */
void chime__worker_timer(struct chime_worker *w, struct chime_timer *t, int64_t after_ns, chime_timer_fn *fn,
			 void *arg);
/* Sees to it that stalled and lingering connections are looked at. */
void chime__worker_sweep(struct chime_worker *w);
/* Sees to it that the sum of all queues comes under its ceiling. */
void chime__worker_relieve(struct chime_worker *w);
/* A connection comes and goes; false: over the ceiling of the server. Only for those that count. */
bool chime__worker_admit(struct chime_worker *w);
void chime__worker_leave(struct chime_worker *w);
/* In and out of the table by id. -ENOMEM. */
int chime__worker_insert(struct chime_worker *w, struct conn *c);
void chime__worker_remove(struct chime_worker *w, struct conn *c);

/*
 * Whether a line of that kind may be logged: once a second. If so, *count is how many such things there were since the last
 * line, this one included.
 */
bool chime__worker_tell(struct chime_worker *w, enum worker_told kind, uint64_t *count);

/* Counters: one writer, any reader. */
static inline void stat_add(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}
static inline void stat_sub(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter - n, __ATOMIC_RELAXED);
}

/* Whether a line of that level is wanted; then fill in an event and tell. */
static inline bool log_wanted(const struct chime_worker *w, enum chime_log_level level)
{
	return w->config->log && level <= w->config->log_level;
}
static inline void log_tell(const struct chime_worker *w, const struct chime_log_event *event)
{
	w->config->log(w->config->log_arg, event);
}

#endif
