/* Datagrams that are not answered: counted by reason, told once a second. */
#include "server/drops.h"

#define COUNTER(name) offsetof(struct chime_server_stats, name)

static const struct {
	size_t counter;
	enum chime_log_level level;
	const char *op, *msg;
} drops[DROPS] = {
	[DROP_SOURCE] = { COUNTER(dropped_source), CHIME_LOG_INFO, "recv", "its source is no client's: not answered" },
	[DROP_MANY] = { COUNTER(dropped_source), CHIME_LOG_INFO, "recv",
			"it was sent to a broadcast or multicast address: not answered" },
	[DROP_NAMELESS] = { COUNTER(dropped_source), CHIME_LOG_INFO, "recv",
			    "the sender has no name that an answer could go to" },
	[DROP_LOOP] = { COUNTER(dropped_loop), CHIME_LOG_WARN, "recv",
			"an answer of a server like this one: not answered" },
	[DROP_ANSWER] = { COUNTER(dropped_loop), CHIME_LOG_DEBUG, "recv",
			  "an answer, ours or another server's: not answered" },
	[DROP_RATE] = { COUNTER(dropped_rate), CHIME_LOG_INFO, "recv", "over the rate: not answered" },
	[DROP_LONG] = { COUNTER(dropped_long), CHIME_LOG_WARN, "recv", "too long to receive or to answer" },
	[DROP_BROKEN] = { COUNTER(dropped_broken), CHIME_LOG_INFO, "recv", "a broken packet: not answered" },
	[DROP_QUEUE] = { COUNTER(dropped_queue), CHIME_LOG_WARN, "send", "the queue is full: answer dropped" },
	[DROP_SEND] = { COUNTER(dropped_queue), CHIME_LOG_INFO, "send", "answer dropped" },
	[DROP_STALL] = { COUNTER(dropped_queue), CHIME_LOG_WARN, "send",
			 "the peer took nothing for too long: answers dropped" },
	[DROP_SERVICE] = { COUNTER(errors), CHIME_LOG_WARN, "recv", "the service failed on it: not answered" },
	[DROP_RECV] = { COUNTER(errors), CHIME_LOG_ERROR, "recv", "receiving failed, and is tried again" },
};

static void tell(struct drops *d, enum drop kind, const chime_addr *peer, int err)
{
	struct chime_log_event e = { .level = drops[kind].level,
				     .event = kind == DROP_RECV ? "error" : "drop",
				     .peer = peer,
				     .endpoint = d->endpoint,
				     .op = drops[kind].op,
				     .err = err,
				     .count = d->untold[kind],
				     .msg = drops[kind].msg };
	log_tell(d->worker, &e);
	d->untold[kind] = 0;
	d->told_ns[kind] = d->worker->loop.now_ns;
}

void chime__drop(struct drops *d, enum drop kind, uint64_t n, const chime_addr *peer, int err)
{
	stat_add((uint64_t *)(void *)((char *)&d->worker->stats + drops[kind].counter), n);
	if (!log_wanted(d->worker, drops[kind].level))
		return;
	d->untold[kind] += n;
	if (!d->told_ns[kind] || d->worker->loop.now_ns - d->told_ns[kind] >= CHIME_SEC)
		tell(d, kind, peer, err);
}

void chime__drops_tell_rest(struct drops *d)
{
	for (unsigned i = 0; i < DROPS; i++)
		if (d->untold[i])
			tell(d, (enum drop)i, NULL, 0);
}
