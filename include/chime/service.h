/*
 * chime/service.h - what a server answers: bytes and a time in, bytes out.
 *
 * A service is a table of functions that the engine calls. All are called in the worker's thread that owns the connection,
 * never two at once for one connection; they must not block. Only .received must be there.
 */
#ifndef CHIME_SERVICE_H
#define CHIME_SERVICE_H

#include <chime/addr.h>
#include <chime/option.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A connection, or, on a datagram endpoint, the socket itself. See chime/server.h for what can be done with it. */
typedef struct chime_conn chime_conn;

/* The bytes in front of input.data that a service may write into (a stamp goes there, and needs no copy). */
#define CHIME_HEADROOM 64
/* The most bytes that may stay unconsumed between two calls, and the most one call on a stream is handed. */
#define CHIME_INPUT_MAX 65536
/* The longest message (datagram, seqpacket) that is answered. */
#define CHIME_MESSAGE_MAX 262144

/* What came in. Everything is valid until .received returns; data, and CHIME_HEADROOM bytes in front of it, until what
 * chime_reply_add() was given of it has been sent. */
struct chime_input {
	unsigned char *data; /* the service may change these bytes, and the CHIME_HEADROOM before them */
	size_t len;
	int64_t time_ns;    /* CLOCK_REALTIME, read after the receive that delivered the last of these bytes */
	bool message;       /* one whole message; else bytes of a stream as they came */
	bool answers_come;  /* ip://: without ports, answers, also our own, come in here like requests; see .marks */
	bool end;           /* stream: the peer sends no more after these; what is not consumed now never will be */
	const void *config; /* the endpoint's configuration of this service (.config_size bytes) */
	void *state;        /* the connection's own .state_size bytes; NULL on datagram endpoints */
	const chime_addr *peer; /* a datagram's sender, for chime_conn_sendto(); NULL on connections */
	chime_conn *conn;
};

/* The answer under construction: a gather list of pieces that are sent together, without a copy. */
typedef struct chime_reply chime_reply;

/*
 * Appends a piece; a message's answer is all its pieces in one message. bytes: within the input (or the headroom), or memory
 * that stays as it is for as long as the connection lives. len 0 is allowed: it makes an empty message an answer.
 * 0, or -ENOBUFS: the list is full. On a stream, return then what was consumed so far, and the call comes again for the rest, with
 * the same time. A message's list has room for at least 8 pieces.
 */
CHIME_API int chime_reply_add(chime_reply *r, const void *bytes, size_t len);

/*
 * Appends data in chunks of so many bytes (the last may be shorter), each with head in front of it: as many as the list has room for.
 * A head that lies directly in front of data is one piece with the first chunk. How many bytes of data were appended.
 */
CHIME_API size_t chime_reply_add_chunks(chime_reply *r, const void *head, size_t head_len, const void *data, size_t len,
					size_t chunk);

/* How many more pieces the list takes now. */
CHIME_API size_t chime_reply_room(const chime_reply *r);

/* Counts n answers for the statistics (a stamp service: one a chunk). Not called: each call that adds pieces counts one. */
CHIME_API void chime_reply_count(chime_reply *r, unsigned n);

typedef struct chime_service {
	size_t size;      /* sizeof(chime_service) */
	const char *name; /* "echo": lower-case letters and digits, at most 31 */
	const char *help; /* one line for people */

	const struct chime_option *options; /* what an endpoint's query may set in the configuration, or NULL */
	size_t config_size;
	const void *config_default; /* config_size bytes, copied for each endpoint; NULL: zeros */

	size_t state_size; /* bytes kept for each connection, zeroed before .opened, aligned for pointers and int64_t */

	/*
	 * Its answers can be told from requests: .received, where in->answers_come, refuses them with -ELOOP. Or it never answers.
	 * Only such a service can be served on ip://, where two servers, or one alone on loopback, would else answer each other
	 * for ever.
	 */
	bool marks;

	/* A connection is there (accepted, or connected: chime_worker_connect()). Non-zero refuses it: closed at once. */
	int (*opened)(chime_conn *c, void *state);

	/*
	 * Bytes or a message came. Returns how many bytes are consumed; what is not is handed over again in front of the next
	 * ones. 0 with nothing added means "more is needed" (with CHIME_INPUT_MAX bytes so kept, the connection ends).
	 * A negative code ends the connection and is logged. Of a message all is consumed, whatever is returned
	 * (negative: not answered, counted). A message for which nothing is added is not answered.
	 */
	ssize_t (*received)(const struct chime_input *in, chime_reply *out);

	/* No more input will come (the peer's end, or draining); all was handed over. The connection closes when all answers are sent and no
	 * chime_conn_hold() is open. */
	void (*ended)(chime_conn *c, void *state);

	/* The last call for this connection, once for each one that .opened accepted. why: 0, or the error that ended it. */
	void (*closed)(chime_conn *c, void *state, int why);
} chime_service;

/* The services that come with the library, by name, or NULL. */
CHIME_API const chime_service *chime_service_find(const char *name);
/* The n-th of them, for lists; NULL after the last. */
CHIME_API const chime_service *chime_service_at(unsigned n);

#ifdef __cplusplus
}
#endif

#endif
