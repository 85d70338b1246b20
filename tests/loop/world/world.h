/*
 * loop/world/world.h - a case that is written once and runs on every backend with every type of socket that it is for.
 *
 * TEST_EACH_WORLD(name, forms) makes name_epoll_tcp4, name_uring_unix_seqpacket, name_sim_udp4 ... On epoll and io_uring the other
 * side is a socket of the kernel's, on the simulation a peer of loop/backend/sim.h: the calls below are the same for both. What a kernel
 * lacks is skipped once, with the module that would bring it.
 */
#ifndef LOOP_WORLD_H
#define LOOP_WORLD_H

#include "runner/test.h"

#include "loop/backend/sim.h"
#include "loop/loop.h"

#include <chime/service.h>

#include <sys/socket.h>

enum form {
	STREAM = 1,    /* OP_RECV */
	MESSAGES = 2,  /* connected: OP_RECV_MSG */
	DATAGRAMS = 4, /* OP_RECV_MSGS */
	/* what not all kinds have, and some cases are about */
	HALF_CLOSE = 8,
	RESET = 16,      /* seen as one by the other side, whatever is unread */
	EMPTY = 32,      /* messages */
	OVER_LONG = 64,  /* messages that are too long to be received can be sent */
	MANY = 128,      /* broadcast or multicast */
	ANYWHERE = 256,  /* bound to any address, it says which one a message came to */
	FULL_PEER = 512, /* a sender hears of it */
};

struct kind {
	const char *name;
	unsigned form; /* one of the first three */
	unsigned has;  /* some of the others */
	int family, type, proto;
	size_t longest;    /* message */
	size_t header;     /* bytes that the kernel puts in front of what is received */
	bool sim;          /* also on the simulation */
	const char *needs; /* the module, or the privilege */
};

/* What a case runs with. */
struct setting {
	const struct backend *backend;
	const struct kind *kind; /* NULL: the case is of no socket */
};

/* Registers the case for each backend and each kind of one of those forms that has all that is asked for; 0: once for each backend. */
void world_register(const char *name, const char *file, void (*run)(void), unsigned forms);

#define TEST_EACH_WORLD(name, forms)                                                                                   \
	static void name(void);                                                                                        \
	__attribute__((constructor)) static void register_##name(void)                                                 \
	{                                                                                                              \
		world_register(#name, __FILE__, name, forms);                                                          \
	}                                                                                                              \
	static void name(void)

/* In one program of the suite: what this kernel has not is said once, as a skip with the module that would bring it. */
void world_tell_missing(const char *file);
#define WORLD_TELLS_MISSING()                                                                                          \
	__attribute__((constructor)) static void register_missing(void)                                                \
	{                                                                                                              \
		world_tell_missing(__FILE__);                                                                          \
	}

/* ---- the world of the running case ---- */

extern struct loop lp;
extern const struct kind *kind;
extern bool simulated;
extern bool waiting; /* a turn is under way */

/* Before world_open(), which sets kind. */
const struct kind *kind_of_test(void);
void world_open(void);
void world_close(void);
void turn(int64_t limit_ns);
/* Turns in which nothing is expected. */
void turns(int n);
/* The condition is looked at once a turn, and so may be an attempt. */
#define TURN_UNTIL(cond)                                                                                               \
	do {                                                                                                           \
		int64_t end_ = test_now() + 50000000000ll;                                                             \
		bool met_;                                                                                             \
		while (!(met_ = (cond)) && test_now() < end_)                                                          \
			turn(10 * CHIME_MSEC);                                                                         \
		_assert_true(met_, #cond, __FILE__, __LINE__);                                                         \
	} while (0)

/* ---- the engine's side: descriptors ---- */

/* Listens, or, for datagrams, is bound. any: to any address, and tells which one a datagram came to. */
int world_listener(chime_addr *at);
int world_bound(chime_addr *at, bool any);
/* One to connect. */
int world_socket(void);
void world_shut(int fd);
/* Nothing is left to open, until called again with false. */
void world_hoard(bool on);

/* ---- the other side: peers; a number that is a descriptor of the kernel's, or the simulation's ---- */

/* Connects to a listener. */
int world_dial(int listener, const chime_addr *at);
/* A connected pair, accepted by the engine. */
void world_pair(int *fd, int *peer);
/* A place to connect to, and who was connected there; nobody listens at one that has gone. */
int world_place(chime_addr *at);
int world_called(int place);
void world_place_gone(int place);
/* A datagram peer with an address. */
int world_peer(chime_addr *at);

/* Little room for what goes to the peer, and no more of it by itself. */
void world_narrow(int fd, int peer);
void world_put(int peer, const void *bytes, size_t len);
void world_put_to(int peer, int fd, const chime_addr *to, const void *bytes, size_t len);
/* By a broadcast or multicast address. */
void world_put_to_many(int peer, int fd, int port, const void *bytes, size_t len);
/*
 * The kernel brings what was sent over the loopback a little later. These tell what has come: a measure of what lies unread at fd, which
 * grows with all that comes (-1: it is there at once); whether at least n wait at the listener; whether what was sent from fd does not
 * get on: the kernel tries again and again.
 */
int64_t world_unread(int fd);
bool world_waiting(int listener, unsigned n);
bool world_stuck(int fd);
/* Takes what has come, or what comes: some bytes of a stream, one message. */
size_t world_take(int peer, void *buf, size_t max);
/* The same; -1: nothing is there. */
ssize_t world_try(int peer, void *buf, size_t max);
/* A message, which comes from there. */
void world_take_from(int peer, void *buf, size_t max, const chime_addr *from);
void world_take_all(int peer, void *buf, size_t len);
/* Whether the engine's end, or a reset, reaches the peer; what comes before is thrown away. */
bool world_sees_end(int peer);
bool world_sees_reset(int peer);
void world_end(int peer);
void world_reset(int peer);
/* It goes, in good order. */
void world_gone(int peer);

#endif
