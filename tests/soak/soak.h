/*
 * soak/soak.h - many clients of every kind against one real server, for as long as is wanted; every answer is checked.
 *
 *   soak.c     the server as a child, the clients' loop, memory and descriptors, the report
 *   client.c   what a client does: connects, writes, reads, ends, each kind in its way
 *   answer.c   what it may get: every byte it sent, once, in order, with a stamp that was read after it was sent
 */
#ifndef SOAK_H
#define SOAK_H

#include <chime/stamp.h>

#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

/* A limit that only a failure reaches; four times as long in the sanitizers' builds, whose answers are late and not lost. */
static inline int64_t patience(int64_t limit_ns)
{
	return getenv("CHIME_TEST_SLOW") ? 4 * limit_ns : limit_ns;
}

enum where {
	TCP,       /* stamps in nanoseconds, chunks */
	TCP_CTIME, /* the default's form */
	TCP_LINES,
	TCP_ECHO,
	UNIX_STREAM,
	UNIX_SEQ,
	UNIX_DGRAM,
	UDP,
	PLACES
};

struct place {
	const char *endpoint;
	int type;
	enum chime_stamp_format format;
	bool echo, lines;
	struct sockaddr_storage at;
	socklen_t at_len;
};
extern struct place places[PLACES];

enum role {
	LOCKSTEP,   /* an answer, the next message */
	BULK,       /* as much as goes */
	HALF_CLOSE, /* writes all, ends its side, reads to the end */
	RESET,      /* resets in the middle */
	IDLE,       /* does nothing for a long time, then a little */
	CHURN,      /* one message a connection */
	MUTE,       /* does not read for a while */
	LINES,      /* in pieces that are no lines */
	BINARY,     /* every byte there is, to echo */
	SEQPACKET,  /* empty ones too */
	SEQ_LONG,   /* longer than is received, among others */
	DATAGRAM,
	UNIX_DATAGRAM,
	BAD_DATAGRAM, /* longer than is received, among others */
	ROLES
};
extern const char *const role_names[ROLES];

#define SENDS 1024 /* remembered: what was sent when */
#define OUTSTANDING 4

struct message {
	uint32_t number, len;
	int64_t at_ns; /* real, before it was sent */
	bool silent;   /* must not be answered */
};

struct client {
	int fd;
	enum role role;
	const struct place *place;
	uint32_t seed;
	/* the plan */
	uint64_t goal; /* bytes, or messages */
	size_t write_max;
	int64_t think_ns, read_from_ns;
	uint64_t reset_at;
	bool lockstep, half_close, reset;
	/* where it is */
	int64_t next_ns, began_ns, moved_ns;
	uint64_t written, back;
	bool shut;
	struct {
		uint64_t end; /* bytes */
		int64_t at_ns;
	} sends[SENDS];
	unsigned send_first, send_count;
	unsigned char tail[CHIME_STAMP_MAX];
	size_t tail_len;
	uint64_t chunk_at;
	int64_t stamp_ns;
	bool stamped;
	struct message messages[OUTSTANDING];
	unsigned message_count;
};

struct counts {
	uint64_t began[ROLES], clients, messages, bytes, stamps, answers, lost, silent;
};
extern struct counts counts;
extern bool ending; /* whoever waits for something of its own accord does not any more */

int64_t mono_ns(void);
int64_t real_ns(void);
/* Says what did not hold, with the seed, and ends the run. c may be NULL. */
_Noreturn void fail(const struct client *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The next of the run's numbers, below limit. */
uint64_t pick(uint64_t limit);

/* Begins as somebody new. */
void client_begin(struct client *c);
/* What to poll for, and when it acts by itself (mono; INT64_MAX: never). */
short client_wants(const struct client *c, int64_t now_ns, int64_t *next_ns);
/* It is that time, or its descriptor is ready. */
void client_act(struct client *c, short ready, int64_t now_ns);

unsigned char payload(const struct client *c, uint64_t i);
void message_fill(const struct client *c, const struct message *m, unsigned char *to);
void answer_bytes(struct client *c, const unsigned char *bytes, size_t len);
void answer_message(struct client *c, const unsigned char *bytes, size_t len);
/* The stream is at its end: what came is whole. */
void answer_end(struct client *c);
/* Bytes up to .written were sent, beginning at that time. */
void answer_sent(struct client *c, int64_t at_ns);

#endif
