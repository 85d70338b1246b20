/*
 * net/rdm.h - the inside of a chime_rdm: what both carriers share, and the table that a carrier is.
 *
 * A carrier never waits and calls back only into this header: what came goes into the handle's queue (rdm_queue.c), which
 * peers there are into its table (rdm_assocs.c). rdm.c opens and ends handles, rdm_io.c does the waiting.
 */
#ifndef NET_RDM_H
#define NET_RDM_H

#include <chime/rdm.h>

#include <pthread.h>
#include <stdatomic.h>

#define RDM_HEADROOM 64 /* in front of a message: CHIME_HEADROOM, which the floor above knows */
#define RDM_QUEUE_BYTES                                                                                                \
	(1u << 20)           /* kept for the caller before the carrier is asked for no more: its window closes then */
#define RDM_BUFFER (1 << 20) /* of the association, where the endpoint says nothing */
#define RDM_RTO_NS (20 * CHIME_MSEC)
/* How often a first packet is repeated. libusrsctp takes the whole of it for a round trip: more would be waited for ever after. */
#define RDM_INIT_MS 100
#define RDM_INIT_MAX_MS 500
#define RDM_LOCALS 8

/* Something that came, until it is handed over. */
struct rdm_item {
	struct rdm_item *next;
	struct chime_rdm_event event;
	unsigned char bytes[]; /* RDM_HEADROOM, and the message */
};

/* An association, up or being made. */
struct rdm_assoc {
	struct rdm_assoc *by_id, *by_path; /* chains */
	uint32_t id;                       /* the stack's */
	uint64_t path;                     /* the user's carrier: what its stack knows the peer's UDP address by */
	struct chime_rdm_peer peer;
	chime_addr wire;      /* the user's carrier: where its packets go, as the UDP socket wants it */
	chime_addr local;     /* ... from which of our addresses, length 0: any */
	unsigned char socket; /* ... and by which socket */
	bool up;
	bool over;            /* the kernel's carrier: to be dropped when its reports are read */
	bool unsure;          /* not everything that was sent is acknowledged, as far as we know */
	uint32_t last_failed; /* fragments of one message fail one by one: it is told once; 0 none */
	int64_t since_ns;     /* the kernel's carrier: since when something may be waited for */
	int why;              /* what its messages fail for, once it is known */
};

#define RDM_CHAINS 1024

struct rdm_assocs {
	struct rdm_assoc *by_id[RDM_CHAINS], *by_path[RDM_CHAINS];
	unsigned count, unsure;
	uint32_t last; /* the .peer.assoc that was given last */
};

struct rdm_carrier;

struct chime_rdm {
	const struct rdm_carrier *carrier;
	void *impl; /* the carrier's */
	bool ordered, serving;
	bool dual;      /* serving: the one address is any, for both families */
	bool connected; /* .peer is whom to send to by default */
	struct chime_rdm_peer peer;
	struct chime_endpoint_settings set;
	int64_t rto_ns, give_up_ns, idle_ns;
	unsigned peers_max;
	bool answers_only;
	char carried_by[64];
	chime_addr locals[RDM_LOCALS];
	unsigned local_count;
	char *why; /* while it is opened */
	size_t why_size;

	pthread_mutex_t lock; /* over all below; the user's carrier has one for all handles: *lock_used */
	pthread_mutex_t *lock_used;
	struct rdm_assocs assocs;
	struct rdm_item *first, **end; /* the queue */
	struct rdm_item *handed;       /* what the caller looks at */
	int broken;                    /* what the next receive says: something could not be kept */
	size_t queued_bytes;
	uint32_t last_id;
	bool ready;       /* .ready_fd is readable */
	unsigned senders; /* calls that wait for room */
	bool stirred;     /* the carrier has something for the queue, and was not asked for it yet */
	bool refused;     /* the system said that nobody is there; the carrier's, for who connects */
	struct chime_rdm_stats stats;

	int inner_fd; /* epoll: the carrier's descriptors */
	int fd;       /* epoll: .inner_fd and .ready_fd */
	int ready_fd; /* eventfd: something is queued */
	int wake_fd;  /* eventfd: closed */
	_Atomic bool closed;
	_Atomic int64_t timeout_ns;
	uint32_t generation; /* chime__fork_generation when it was made */
};

/* One message to be sent, in one piece. */
struct rdm_out {
	const void *bytes;
	size_t len;
	const struct chime_rdm_peer *to;
	uint32_t id;
};

/* All but .available are called with the lock. None waits. */
struct rdm_carrier {
	enum chime_rdm_carrier kind;
	const char *name;
	unsigned rto_max_ms;
	pthread_mutex_t *lock; /* of all handles, where they share a stack; else NULL */
	int (*available)(void);
	/* Binds addrs (serving) or prepares for talking to addrs[0] from bind; sets .locals, .carried_by. -errno with a sentence. */
	int (*open)(struct chime_rdm *r, const chime_addr *addrs, unsigned n, const chime_addr *bind);
	void (*shut)(struct chime_rdm *r); /* aborts what is left; fine after a failed open. With the lock */
	void (*leave)(struct chime_rdm
			      *r); /* in a child of fork(2): gives back what is its own of it, nothing else. Without */
	int (*connect)(struct chime_rdm *r, const struct chime_rdm_peer *to); /* begins an association */
	int (*send)(struct chime_rdm *r, const struct rdm_out *out);
	void (*serve)(struct chime_rdm *r); /* network and timers; fills the queue, up to its bound */
	int (*end)(struct chime_rdm *r, struct rdm_assoc *a, bool abort);
	bool (*dry)(struct chime_rdm *r, const struct rdm_assoc *a); /* nothing waits for an acknowledgement */
};

extern const struct rdm_carrier chime__rdm_kernel, chime__rdm_user;

/* ---- rdm_io.c ---- */

/* Takes the lock, if the handle may be used: 0 or CHIME_ECLOSED. */
int chime__rdm_enter(struct chime_rdm *r);
/* Sees to .ready_fd and gives the lock back. */
void chime__rdm_leave(struct chime_rdm *r);
/* Sleeps until fd (.fd or .inner_fd) has something, without the lock. deadline: monotonic, INT64_MAX none. 0; CHIME_ETIMEOUT; ... */
int chime__rdm_wait(struct chime_rdm *r, int fd, int64_t deadline);
static inline int64_t rdm_deadline(int64_t limit_ns)
{
	int64_t now = limit_ns < 0 ? 0 : chime_now_mono();
	return limit_ns < 0 || limit_ns > INT64_MAX - now ? INT64_MAX : now + limit_ns;
}

/* Ends it after what was sent. */
void chime__rdm_end_one(struct chime_rdm *r, struct rdm_assoc *a);

/* ---- rdm.c ---- */

/* How long one waits, and how often, before a peer is given up: waits double from the least to the most. */
struct rdm_patience {
	unsigned rto_min_ms, rto_max_ms, tries;
	unsigned init_ms, init_max_ms, init_tries;
};
struct rdm_patience chime__rdm_patience(const struct chime_rdm *r);

/* Says why opening failed. Returns code. */
int chime__rdm_say(struct chime_rdm *r, int code, const char *fmt, ...) CHIME_PRINTF(3, 4);

/* ---- rdm_queue.c ---- */

static inline bool rdm_queue_full(const struct chime_rdm *r)
{
	return r->queued_bytes >= RDM_QUEUE_BYTES;
}
/* A message of those pieces came. -ENOMEM. */
int chime__rdm_push_message(struct chime_rdm *r, const struct chime_rdm_peer *peer, const void *bytes, size_t len);
/* Any other thing. -ENOMEM. */
int chime__rdm_push(struct chime_rdm *r, enum chime_rdm_kind kind, const struct chime_rdm_peer *peer, uint32_t id,
		    int why);
/* The next one, or NULL. */
struct rdm_item *chime__rdm_pop(struct chime_rdm *r);
void chime__rdm_queue_fini(struct chime_rdm *r);

/* ---- rdm_assocs.c ---- */

struct rdm_assoc *chime__rdm_find(const struct rdm_assocs *t, uint32_t id);
struct rdm_assoc *chime__rdm_find_path(const struct rdm_assocs *t, uint64_t path);
struct rdm_assoc *chime__rdm_find_peer(const struct rdm_assocs *t, const struct chime_rdm_peer *peer);
/* Whether what is for to goes by a, which may be NULL. */
static inline bool rdm_is_it(const struct rdm_assoc *a, const struct chime_rdm_peer *to)
{
	return to->assoc == 0 || (a && a->peer.assoc == to->assoc);
}
/* A copy of it stands in the table now, with a .peer.assoc of its own. NULL: no memory. */
struct rdm_assoc *chime__rdm_add(struct rdm_assocs *t, const struct rdm_assoc *as);
void chime__rdm_drop(struct rdm_assocs *t, struct rdm_assoc *a);
/* The stack has given it a number. Where it is now; NULL: no memory, it is dropped. */
struct rdm_assoc *chime__rdm_renumber(struct rdm_assocs *t, struct rdm_assoc *a, uint32_t id);
void chime__rdm_set_unsure(struct rdm_assocs *t, struct rdm_assoc *a, bool unsure);
/* Calls fn for each; it may drop the one that it is called with. */
void chime__rdm_each(struct chime_rdm *r, void (*fn)(struct chime_rdm *r, struct rdm_assoc *a));

/* Asks the carrier about each that is unsure: stacks do not always say. */
void chime__rdm_recheck(struct chime_rdm *r);

/* What an association's stack said, told to the caller, and the table kept. */
void chime__rdm_came_up(struct chime_rdm *r, struct rdm_assoc *a);
void chime__rdm_restarted(struct chime_rdm *r, struct rdm_assoc *a);
void chime__rdm_failed(struct chime_rdm *r, struct rdm_assoc *a, uint32_t id, int why);
void chime__rdm_went_down(struct chime_rdm *r, struct rdm_assoc *a, int why);
void chime__rdm_assocs_fini(struct rdm_assocs *t);

#endif
