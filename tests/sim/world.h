/*
 * sim/world.h - one history: a server on the simulated network and its clients, all made from one seed.
 *
 *   plan.c     what the seed makes of it: the server, its endpoints and limits, the weather
 *   world.c    the run, and what must hold after every turn and at the end
 *   client.c   what a client does
 *   oracle.c   what a client may get: every byte it sent, once, in order, with stamps that are true
 *   service.c  the services: the library's behind a watch, and one that answers later
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "loop/backend/sim.h"
#include "server/acceptor.h"
#include "server/conn.h"
#include "server/dgram.h"
#include "server/server.h"

#include <chime/stamp.h>

#include <setjmp.h>

/* The histories that ./check runs are those of the seeds 1 to SEEDS. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || __has_feature(address_sanitizer)
#define SEEDS 300
#else
#define SEEDS 2000
#endif

#define CLIENTS 24
#define PLACES 4
#define WORKERS 3
#define NEVER INT64_MAX
#define SLACK_NS (400 * CHIME_MSEC) /* what delays may add to a limit: results come late, and a turn takes its time */

enum answering {
	STAMP,
	ECHO,
	LATER
};

/* An endpoint. */
struct place {
	struct served served;
	struct listen_sock sock;
	int fds[WORKERS];       /* the workers', while they have them */
	int listeners[WORKERS]; /* the same for ever; -1: that worker has none */
	int type;
	chime_addr at; /* where the server connects to, when it does */
	bool unix_dgram, long_lines;
	enum answering answers;
	struct chime_stamp_config stamp;
	chime_service service;
	const chime_service *inner; /* the library's; NULL: LATER */
};

enum reader {
	PROMPT,
	SLOW,
	STUCK
};

enum ending {
	HALF_CLOSE, /* and reads to the end */
	STAY,
	RESET,
	LEAVE, /* ends its side and reads no more */
};

struct client {
	struct world *world;
	struct place *place;
	unsigned number;
	int peer; /* -1: not connected yet; -2: refused by the network */
	/* the plan */
	uint64_t to_send; /* bytes or messages */
	size_t write_max;
	int64_t think_ns, pause_ns;
	enum reader reader;
	size_t sip; /* SLOW: the most that it reads */
	enum ending ending;
	bool called;   /* the server connects to it */
	unsigned port; /* of a datagram socket shared by the workers: whose it reaches */
	/* where it is in it */
	int64_t write_ns, read_ns; /* when it does something next */
	int64_t last_ns;           /* when it sent something last */
	uint64_t written;
	uint32_t *lens; /* of its messages: those that came to the server; with SILENT: not to be answered */
	bool done_writing, said, ended, reset;
	uint64_t at_stop; /* what it had sent when the server was stopped */
	bool ended_at_stop;
	/* what came back */
	unsigned char tail[CHIME_STAMP_MAX];
	size_t tail_len;
	uint64_t back;     /* bytes, or messages, that were answered */
	uint64_t chunk_at; /* where the chunk began that is coming back */
	int64_t stamp_ns, stamp_precision_ns;
	bool stamped;
	unsigned receipt; /* the one that delivered the last byte of the chunk before */
	/* what its connection's services saw */
	uint64_t id;
	bool opened, closed, said_no;
	bool loose;     /* the service cut it short: what is lost then is no loss */
	size_t partial; /* bytes that the service leaves until more comes */
	int why;
};

#define SILENT 0x80000000u

struct world {
	struct sim sim;
	chime_server server;
	struct chime_worker *workers[WORKERS];
	unsigned worker_count;
	bool ended[WORKERS];
	uint64_t seed;
	struct place place[PLACES];
	unsigned places;
	struct client client[CLIENTS];
	unsigned clients;
	struct client *by_peer[4 * CLIENTS + 2 * PLACES * WORKERS];
	int64_t stop_ns, stop2_ns, stopped_ns; /* the second: at once; 0: not yet */
	bool calm_end;                         /* stopped only when all has been said and answered */
	bool all_prompt;                       /* nobody holds up a drain */
	unsigned opens, closes, limits, refusals;
	uint64_t most_open;
	uint64_t turns, idle_turns;
	int64_t longest_later_ns, said_ns, cut_ns, last_moved_ns;
	jmp_buf out;
	char what[300];
};

/* Runs the history of that seed. NULL: all held; else what did not, and *w is left as it is. line: for each event, or NULL. */
const char *world_run(struct world *w, uint64_t seed, void (*line)(void *arg, const char *line), void *arg);

/* A number below limit; true so often in 1000. */
uint64_t pick(struct world *w, uint64_t limit);
bool often(struct world *w, unsigned in_1000);
/* Something did not hold: does not return. */
void breach(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3), noreturn));

/* The server and its endpoints; then, opened; then how the network is to be. */
void plan_server(struct world *w);
void plan_open(struct world *w);
void plan_weather(struct world *w);

void client_plan(struct world *w, struct client *c);
/* When it does something next, NEVER if not by itself. */
int64_t client_next(const struct client *c);
void client_act(struct client *c);
/* All counters, over all workers; and whether one was cut. */
struct chime_server_stats world_stats(const struct world *w);
bool world_cut(const struct world *w);
/* Has the server connect to the client: the peer's number, or negative. */
int place_call(struct client *c);
/* Connects and writes now, if it has not yet. */
void client_hurry(struct client *c);

/* The i-th byte that a client sends; newlines only where lines are stamped. */
unsigned char payload(const struct client *c, uint64_t i);
size_t message_fill(const struct client *c, uint64_t i, size_t len, unsigned char *to);
/* Bytes, or one message, came back. */
void oracle_bytes(struct client *c, const unsigned char *bytes, size_t len);
void oracle_message(struct client *c, const unsigned char *bytes, size_t len);
/* Nothing more will come back: what has come is whole, and is all that it must be. */
void oracle_end(struct client *c);
/* How much must be back, once nothing is under way any more. */
/* Counts messages that are not answered as if they were, from where it is. */
void oracle_skip(struct client *c);
uint64_t oracle_owed(const struct client *c);

void place_service(struct place *p);
void service_forget(void);
extern struct world *here; /* the one that runs: for services */

#endif
