/* Answers that wait, by peer. */
#include "server/peers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void chime__peers_init(struct peers *q, size_t max, size_t peer_max)
{
	*q = (struct peers){ .max = max, .peer_max = peer_max };
	if (getrandom(&q->seed, sizeof q->seed, GRND_NONBLOCK) != sizeof q->seed)
		q->seed = (uint64_t)(uintptr_t)q;
}

void chime__peers_fini(struct peers *q)
{
	chime__peers_drop(q, INT64_MAX);
}

static unsigned chain_of(const struct peers *q, const chime_addr *addr)
{
	const unsigned char *bytes = (const unsigned char *)&addr->u;
	uint64_t h = q->seed;
	for (socklen_t i = 0; i < addr->len; i++)
		h = (h ^ bytes[i]) * 0x100000001b3; /* FNV, from a start that nobody knows */
	return (unsigned)(h ^ h >> 32) % PEERS_CHAINS;
}

static struct peer *find(const struct peers *q, const chime_addr *addr)
{
	for (struct peer *p = q->chains[chain_of(q, addr)]; p; p = p->chained)
		if (p->addr.len == addr->len && !memcmp(&p->addr.u, &addr->u, addr->len))
			return p;
	return NULL;
}

bool chime__peers_has(const struct peers *q, const chime_addr *addr)
{
	return q->count && find(q, addr);
}

/* ---- lists ---- */

static struct peer_list *list_of(struct peers *q, const struct peer *p)
{
	return p->stuck ? &q->stuck : &q->ready;
}

static void link_last(struct peer_list *l, struct peer *p)
{
	p->next = NULL;
	p->prev = l->last;
	*(l->last ? &l->last->next : &l->first) = p;
	l->last = p;
}

static void take_off(struct peer_list *l, struct peer *p)
{
	*(p->prev ? &p->prev->next : &l->first) = p->next;
	*(p->next ? &p->next->prev : &l->last) = p->prev;
}

static void set_stuck(struct peers *q, struct peer *p, bool stuck)
{
	if (p->stuck == stuck)
		return;
	if (p->first)
		take_off(list_of(q, p), p);
	p->stuck = stuck;
	if (p->first)
		link_last(list_of(q, p), p);
}

/* ---- peers come with their first message and go with their last ---- */

static struct peer *get_peer(struct peers *q, const chime_addr *addr, int64_t now_ns)
{
	struct peer *p = find(q, addr);
	if (p)
		return p;
	p = calloc(1, sizeof *p);
	if (!p)
		return NULL;
	struct peer **chain = &q->chains[chain_of(q, addr)];
	p->chained = *chain;
	*chain = p;
	p->addr = *addr;
	p->end = &p->first;
	p->since_ns = now_ns;
	q->count++;
	return p;
}

static void put_peer(struct peers *q, struct peer *p)
{
	if (p->first || p->taken)
		return;
	struct peer **link = &q->chains[chain_of(q, &p->addr)];
	while (*link != p)
		link = &(*link)->chained;
	*link = p->chained;
	q->count--;
	free(p);
}

/* ---- messages ---- */

static size_t cost_of(size_t len)
{
	return sizeof(struct waiting) + len;
}

int chime__peers_add(struct peers *q, const struct op_msg *m, size_t len, unsigned answers, bool front, int64_t now_ns)
{
	size_t cost = cost_of(len);
	if (q->cost + cost > q->max)
		return -ENOBUFS;
	struct peer *p = get_peer(q, &m->peer, now_ns);
	if (!p)
		return -ENOMEM;
	bool full = p->cost + cost > q->peer_max;
	struct waiting *w = full ? NULL : malloc(cost);
	if (!w) {
		put_peer(q, p);
		return full ? -ENOBUFS : -ENOMEM;
	}
	*w = (struct waiting){ .peer = p, .local = m->local, .local_if = m->local_if, .answers = answers };
	for (int i = 0; i < m->n; i++) {
		memcpy(w->bytes + w->len, m->iov[i].iov_base, m->iov[i].iov_len);
		w->len += m->iov[i].iov_len;
	}
	w->iov = (struct iovec){ w->bytes, w->len };
	if (!p->first)
		link_last(list_of(q, p), p);
	if (front) {
		w->next = p->first;
		p->first = w;
	} else {
		*p->end = w;
	}
	if (!w->next)
		p->end = &w->next;
	p->cost += cost;
	q->cost += cost;
	return 0;
}

struct waiting *chime__peers_take(struct peers *q)
{
	struct peer *p = q->ready.first;
	if (!p)
		return NULL;
	struct waiting *w = p->first;
	take_off(&q->ready, p);
	p->first = w->next;
	if (p->first)
		link_last(&q->ready, p); /* the others' turn */
	else
		p->end = &p->first;
	p->taken++;
	w->next = NULL;
	return w;
}

void chime__peers_done(struct peers *q, struct waiting *w, int64_t now_ns)
{
	struct peer *p = w->peer;
	p->taken--;
	p->cost -= cost_of(w->len);
	q->cost -= cost_of(w->len);
	if (now_ns)
		p->since_ns = now_ns;
	free(w);
	put_peer(q, p);
}

void chime__peers_back(struct peers *q, struct waiting *w)
{
	struct peer *p = w->peer;
	bool linked = p->first;
	p->taken--;
	w->next = p->first;
	p->first = w;
	if (!linked) {
		p->end = &w->next;
		link_last(list_of(q, p), p);
	}
	set_stuck(q, p, true);
}

void chime__peers_stick(struct peers *q, const chime_addr *addr)
{
	struct peer *p = find(q, addr);
	if (p)
		set_stuck(q, p, true);
}

void chime__peers_unstick(struct peers *q)
{
	while (q->stuck.first)
		set_stuck(q, q->stuck.first, false);
}

static unsigned drop_list(struct peers *q, struct peer_list *l, int64_t since_ns)
{
	unsigned n = 0;
	for (struct peer *p = l->first, *next; p; p = next) {
		next = p->next;
		if (p->since_ns > since_ns)
			continue;
		take_off(l, p);
		while (p->first) {
			struct waiting *w = p->first;
			p->first = w->next;
			p->cost -= cost_of(w->len);
			q->cost -= cost_of(w->len);
			free(w);
			n++;
		}
		p->end = &p->first;
		put_peer(q, p);
	}
	return n;
}

unsigned chime__peers_drop(struct peers *q, int64_t since_ns)
{
	return drop_list(q, &q->ready, since_ns) + drop_list(q, &q->stuck, since_ns);
}
