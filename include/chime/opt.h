/*
 * chime/opt.h - socket options by name: what type a value has, its range, and the value as text.
 */
#ifndef CHIME_OPT_H
#define CHIME_OPT_H

#include <chime/sock.h>

#ifdef __cplusplus
extern "C" {
#endif

enum chime_opt_type {
	CHIME_OPT_BOOL, /* an int, 0 or 1; text: yes, no (and on off true false 1 0) */
	CHIME_OPT_INT,  /* an int, min..max */
	CHIME_OPT_UINT64, /* 64 bits: SO_MAX_PACING_RATE, SO_COOKIE; -1 as a typed value: all ones, no limit, whatever min says */
	CHIME_OPT_DURATION, /* struct timeval; text and typed value: a duration, 0 or "0s" is no limit */
	CHIME_OPT_LINGER, /* struct linger; text: "off" or a duration, of which whole seconds count; typed: CHIME_FOREVER is off */
	CHIME_OPT_MSEC,    /* an int of milliseconds; a duration */
	CHIME_OPT_SECONDS, /* an int of seconds; a duration */
	CHIME_OPT_TEXT,    /* letters: SO_BINDTODEVICE, TCP_CONGESTION; at most max bytes */
	CHIME_OPT_ERROR,   /* an int that is an errno; text: its name */
};

/* Which sockets have it. */
enum {
	CHIME_OPT_IP4 = 1,    /* AF_INET */
	CHIME_OPT_IP6 = 2,    /* AF_INET6 */
	CHIME_OPT_UNIX = 4,   /* AF_UNIX */
	CHIME_OPT_STREAM = 8, /* SOCK_STREAM: TCP for IP */
	CHIME_OPT_DGRAM = 16, /* SOCK_DGRAM: UDP for IP */
};

struct chime_opt {
	const char *name; /* "SO_RCVBUF", as in the system's headers */
	int level, option;
	enum chime_opt_type type;
	int64_t min, max; /* of what is set, in the typed value's unit */
	unsigned where;   /* families and types: at least one of each */
	bool get, set;    /* can be read, written */
	bool privileged;  /* setting may take a capability (-EPERM) */
	const char *help; /* one sentence */
};

/* The whole table, ended by a row whose name is NULL. */
CHIME_API const struct chime_opt *chime_opt_table(void);
/* The row of a name, or of a level and number (getsockopt(2)'s), or NULL. */
CHIME_API const struct chime_opt *chime_opt_find(const char *name);
CHIME_API const struct chime_opt *chime_opt_find_number(int level, int option);
/* "SOL_SOCKET", "IPPROTO_TCP" ...; NULL for a level that no row has. */
CHIME_API const char *chime_opt_level_name(int level);

/*
 * The value as a number: flags, counts, and times in nanoseconds. -EOPNOTSUPP: the option is a text, or cannot be read or written;
 * -ERANGE: not within min..max; else what getsockopt(2) says. Never waits. A time that is set is rounded up to the option's unit.
 */
CHIME_API int chime_opt_get(chime_sock *s, const struct chime_opt *o, int64_t *value);
CHIME_API int chime_opt_set(chime_sock *s, const struct chime_opt *o, int64_t value);

/* The value as text. Returns its length, as snprintf(3), or an error. What it gives, chime_opt_set_text() reads. */
CHIME_API ssize_t chime_opt_get_text(chime_sock *s, const struct chime_opt *o, char *buf, size_t size);
/* CHIME_ESYNTAX: not a value of that type; -ERANGE. */
CHIME_API int chime_opt_set_text(chime_sock *s, const struct chime_opt *o, const char *text);

#ifdef __cplusplus
}
#endif

#endif
