/* The counters, summed over the workers. */
#include "server/server.h"

#define COUNTER(name)                                                                                                  \
	{                                                                                                              \
#name, offsetof(struct chime_server_stats, name)                                                       \
	}

static const struct {
	const char *name;
	size_t offset;
} counters[] = {
	COUNTER(accepted),      COUNTER(connected),      COUNTER(open),          COUNTER(refused),
	COUNTER(answers),       COUNTER(received_bytes), COUNTER(sent_bytes),    COUNTER(messages),
	COUNTER(peer_resets),   COUNTER(errors),         COUNTER(idle_closed),   COUNTER(stalled_ended),
	COUNTER(queue_ended),   COUNTER(emfile),         COUNTER(cut),           COUNTER(dropped_source),
	COUNTER(dropped_loop),  COUNTER(dropped_rate),   COUNTER(dropped_long),  COUNTER(dropped_broken),
	COUNTER(dropped_queue), COUNTER(queued_bytes),   COUNTER(workers_turns),
};
#define COUNTERS (sizeof counters / sizeof *counters)

_Static_assert(COUNTERS * sizeof(uint64_t) == sizeof(struct chime_server_stats), "a counter has no name");

void chime_server_stats(const chime_server *s, struct chime_server_stats *out)
{
	*out = (struct chime_server_stats){ 0 };
	unsigned ready = __atomic_load_n(&s->ready, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < ready; i++)
		for (unsigned n = 0; n < COUNTERS; n++) {
			const char *from = (const char *)&s->workers[i].stats + counters[n].offset;
			*(uint64_t *)((char *)out + counters[n].offset) +=
				__atomic_load_n((const uint64_t *)(const void *)from, __ATOMIC_RELAXED);
		}
}

const char *chime_server_stat(const struct chime_server_stats *stats, unsigned n, uint64_t *value)
{
	if (n >= COUNTERS)
		return NULL;
	*value = *(const uint64_t *)(const void *)((const char *)stats + counters[n].offset);
	return counters[n].name;
}
