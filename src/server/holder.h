/*
 * server/holder.h - who holds an address that we cannot have: looked up in /proc, bounded in time, as far as it can be seen.
 */
#ifndef SERVER_HOLDER_H
#define SERVER_HOLDER_H

#include <chime/addr.h>

struct holder {
	pid_t pid;     /* 0: not visible */
	bool has_uid;  /* .uid is known, be the process visible or not */
	uid_t uid;     /* whose socket it is */
	char name[32]; /* the process's, printable */
};

/* Who keeps at from being bound by a socket of that type (SOCK_STREAM: a listener; SOCK_DGRAM). */
void chime__holder_of_ip(struct holder *out, int type, int protocol, const chime_addr *at);
/* The same for a unix path or abstract name. */
void chime__holder_of_unix(struct holder *out, const chime_addr *at);

/* Fills in .name of .pid. */
void chime__holder_name(struct holder *h);

/*
 * Whether it is worth another try: a socket of this user's that no process has goes in a moment, when what a killed process had under
 * way with io_uring has ended. Sleeps a little if so. *until_ns: 0 before the first call, then this function's.
 */
bool chime__holder_goes(const struct holder *h, int64_t *until_ns);

/* "held by pid 4711 (python3)"; "holder not visible". The length, as snprintf(3). */
size_t chime__holder_print(const struct holder *h, char *buf, size_t size);

#endif
