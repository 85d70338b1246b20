/*
 * talk.h - one conversation of `chime talk`: the socket, the line that is asked, what is known of the server.
 */
#ifndef CMD_TALK_H
#define CMD_TALK_H

#include "answer.h"
#include "verb.h"

#include <chime/connect.h>
#include <chime/rdm.h>

#include <stdio.h>

#define TALK_LATE 16 /* unanswered messages that are remembered, to know their answers by */

/* A message whose answer did not come in time. */
struct late {
	unsigned char *line;
	size_t len;
};

struct talk_options {
	int64_t timeout_ns;
	char bind[108];
	bool rtt, newline, raw;
};

/* How a line stands on the wire, and who hears it. */
struct talk_wire {
	bool echo;        /* ICMP: requests and replies */
	bool raw;         /* a SOCK_RAW socket */
	bool heard_by_us; /* what we send to this peer comes to our own socket too, */
	bool own_copy;    /* and of the last line it has not yet */
	bool many;        /* a group or a broadcast address: nobody is connected, everybody may answer */
	bool former;      /* ICMP: the message received last answers not the last request */
	int returned;     /* TIPC: the message received last is ours, and was not delivered: why, negative */
	chime_addr to;    /* many: the group */
	chime_addr from;  /* many: who sent the message received last */
	uint16_t id, seq; /* ICMP: of the last request */
	uint32_t last_id; /* reliable messages: of the last one */
	bool unsure;      /* ... nothing came since it was sent */
};

struct talk {
	struct talk_options opts;
	chime_endpoint to;
	const struct chime_scheme_info *scheme;
	char name[CHIME_ENDPOINT_TEXT]; /* of the endpoint */
	chime_sock *sock;
	chime_rdm *rdm; /* rdm, sctp+seqpacket: instead of sock */
	int fd;         /* of either */
	struct talk_wire wire;
	int signal_fd;                  /* readable: a signal came, for .take_signal; -1 none are taken */
	bool (*take_signal)(void *arg); /* false: it ends us */
	void *take_signal_arg;
	int ended_by; /* the signal that did, 0 */
	struct answer answer;
	bool owed;                   /* stream: the answer to .answer.line did not come in time, but still may */
	struct late late[TALK_LATE]; /* messages */
	unsigned late_count;
};

/* How asking ended. */
enum asked_end {
	ASKED_ANSWERED, /* .answer.bytes is it, whole if that can be known */
	ASKED_TIMEOUT,  /* .answer.bytes is what came of it */
	ASKED_GONE,     /* the server ended the conversation */
	ASKED_FAILED,   /* .err */
	ASKED_SIGNAL,   /* a signal ends us */
};
struct asked {
	enum asked_end end;
	int err;
	int64_t rtt_ns;
	int64_t sent_ns, got_ns; /* CLOCK_REALTIME */
	bool late;               /* the answer to an earlier line is in it */
	unsigned shown;          /* answers from many that were shown when they came */
};

/* ---- talk_wire.c ---- */

/* Connects by reliable messages, where no socket does. */
int talk_wire_connect(struct talk *t, const struct chime_connect_config *config);
/* Ends that: what was sent is delivered, or told to be not. */
void talk_wire_close(struct talk *t);
/* Finds out how lines stand on the wire of a connected socket. 0 or the error. */
int talk_wire_open(struct talk *t);
/* Sends a message, or bytes of a stream: as chime_send(). */
ssize_t talk_wire_send(struct talk *t, const void *bytes, size_t len);
/* Receives a message for us, without what is around it: as chime_recv(). */
ssize_t talk_wire_recv(struct talk *t, void *buf, size_t size);
/* The label of a message, with who sent it where many may. buf is used if need be. */
const char *talk_wire_who(const struct talk *t, const char *label, char *buf, size_t size);
#define TALK_WHO (CHIME_ADDR_TEXT + 128)

/* ---- talk_ask.c ---- */

/* Sends a line and receives its answer, both at once, so that a line of any length is no trouble. */
struct asked talk_ask(struct talk *t, const char *line, size_t len);

/* What came without being asked for, or too late. */
enum heard {
	HEARD_NOTHING,
	HEARD_SAID, /* it was told */
	HEARD_GONE, /* the server ended the conversation */
	HEARD_FAILED
};
/* Takes what the socket holds, without waiting, and tells it by say(). *err: of HEARD_FAILED. */
typedef void talk_say_fn(void *arg, const char *label, const void *bytes, size_t len);
enum heard talk_hear(struct talk *t, talk_say_fn *say, void *arg, int *err);

/* ---- talk_show.c ---- */

/* Bytes for a person's eyes: whole characters as they are, control bytes (but newlines and tabs) and others as \xNN. */
void talk_show(FILE *out, const void *bytes, size_t len);
/* A talk_say_fn: a labelled line on stderr. */
void talk_say(void *arg, const char *label, const void *bytes, size_t len);
/* One answer of many: who, and what. */
void talk_show_one(const struct talk *t);
/* The answer alone, a line: escaped on a terminal, else as it came. A newline at its end is not doubled. */
void talk_show_answer(const struct talk *t);
/* What may help where no answer came, to stand behind that; or nothing. */
const char *talk_silence_hint(const struct talk *t);
/* The line for --rtt. */
void talk_show_rtt(FILE *out, const struct talk *t, const struct asked *a);

/* ---- the three ways to talk; each returns the exit code ---- */

int talk_terminal(struct talk *t);
int talk_pipe(struct talk *t);
int talk_raw(struct talk *t);

#endif
