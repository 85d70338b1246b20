/* The associations of a chime_rdm, by the stack's number and by the peer's path; and what becomes of them, told to the caller. */
#include "net/rdm.h"

#include <errno.h>
#include <stdlib.h>

static unsigned chain_of(uint64_t key)
{
	return (unsigned)((key * 0x9e3779b97f4a7c15u) >> 32) % RDM_CHAINS;
}

struct rdm_assoc *chime__rdm_find(const struct rdm_assocs *t, uint32_t id)
{
	struct rdm_assoc *a = t->by_id[chain_of(id)];
	while (a && a->id != id)
		a = a->by_id;
	return a;
}

struct rdm_assoc *chime__rdm_find_path(const struct rdm_assocs *t, uint64_t path)
{
	struct rdm_assoc *a = t->by_path[chain_of(path)];
	while (a && a->path != path)
		a = a->by_path;
	return a;
}

struct rdm_assoc *chime__rdm_find_peer(const struct rdm_assocs *t, const struct chime_rdm_peer *peer)
{
	for (unsigned i = 0; i < RDM_CHAINS; i++)
		for (struct rdm_assoc *a = t->by_id[i]; a; a = a->by_id)
			if ((!peer->udp_port || peer->udp_port == a->peer.udp_port) && rdm_is_it(a, peer) &&
			    chime_addr_equal(&a->peer.addr, &peer->addr))
				return a;
	return NULL;
}

static uint32_t next_assoc(struct rdm_assocs *t)
{
	t->last = t->last + 1 ? t->last + 1 : 1;
	return t->last;
}

struct rdm_assoc *chime__rdm_add(struct rdm_assocs *t, const struct rdm_assoc *as)
{
	struct rdm_assoc *a = malloc(sizeof *a);
	if (!a)
		return NULL;
	*a = *as;
	a->by_id = t->by_id[chain_of(a->id)];
	t->by_id[chain_of(a->id)] = a;
	a->by_path = t->by_path[chain_of(a->path)];
	t->by_path[chain_of(a->path)] = a;
	a->unsure = false;
	a->peer.assoc = next_assoc(t);
	t->count++;
	return a;
}

void chime__rdm_drop(struct rdm_assocs *t, struct rdm_assoc *a)
{
	struct rdm_assoc **link = &t->by_id[chain_of(a->id)];
	while (*link != a)
		link = &(*link)->by_id;
	*link = a->by_id;
	link = &t->by_path[chain_of(a->path)];
	while (*link != a)
		link = &(*link)->by_path;
	*link = a->by_path;
	chime__rdm_set_unsure(t, a, false);
	t->count--;
	free(a);
}

struct rdm_assoc *chime__rdm_renumber(struct rdm_assocs *t, struct rdm_assoc *a, uint32_t id)
{
	struct rdm_assoc copy = *a;
	copy.id = id;
	chime__rdm_drop(t, a);
	a = chime__rdm_add(t, &copy);
	if (a) {
		a->peer.assoc = copy.peer.assoc;
		chime__rdm_set_unsure(t, a, copy.unsure);
	}
	return a;
}

void chime__rdm_set_unsure(struct rdm_assocs *t, struct rdm_assoc *a, bool unsure)
{
	if (a->unsure == unsure)
		return;
	a->unsure = unsure;
	if (unsure)
		t->unsure++;
	else
		t->unsure--;
}

void chime__rdm_each(struct chime_rdm *r, void (*fn)(struct chime_rdm *r, struct rdm_assoc *a))
{
	for (unsigned i = 0; i < RDM_CHAINS; i++)
		for (struct rdm_assoc *a = r->assocs.by_id[i], *next; a; a = next) {
			next = a->by_id;
			fn(r, a);
		}
}

static void recheck(struct chime_rdm *r, struct rdm_assoc *a)
{
	if (a->unsure && r->carrier->dry(r, a))
		chime__rdm_set_unsure(&r->assocs, a, false);
}

void chime__rdm_recheck(struct chime_rdm *r)
{
	if (r->assocs.unsure)
		chime__rdm_each(r, recheck);
}

void chime__rdm_assocs_fini(struct rdm_assocs *t)
{
	for (unsigned i = 0; i < RDM_CHAINS; i++)
		while (t->by_id[i])
			chime__rdm_drop(t, t->by_id[i]);
}

/* ---- what becomes of them ---- */

void chime__rdm_came_up(struct chime_rdm *r, struct rdm_assoc *a)
{
	a->up = true;
	a->why = 0;
	(void)chime__rdm_push(r, CHIME_RDM_UP, &a->peer, 0, 0);
}

void chime__rdm_restarted(struct chime_rdm *r, struct rdm_assoc *a)
{
	chime__rdm_set_unsure(&r->assocs, a, false);
	(void)chime__rdm_push(r, CHIME_RDM_RESTARTED, &a->peer, 0, -ECONNRESET);
	a->peer.assoc = next_assoc(&r->assocs);
}

void chime__rdm_failed(struct chime_rdm *r, struct rdm_assoc *a, uint32_t id, int why)
{
	if (id == 0 || id == a->last_failed)
		return;
	a->last_failed = id;
	r->stats.undelivered++;
	(void)chime__rdm_push(r, CHIME_RDM_UNDELIVERED, &a->peer, id, why);
}

void chime__rdm_went_down(struct chime_rdm *r, struct rdm_assoc *a, int why)
{
	/* Only now it is known what its messages failed for. */
	for (struct rdm_item *i = a->last_failed ? r->first : NULL; i; i = i->next)
		if (i->event.kind == CHIME_RDM_UNDELIVERED && i->event.why == 0 && i->event.peer.assoc == a->peer.assoc)
			i->event.why = why ? why : -EPIPE;
	(void)chime__rdm_push(r, CHIME_RDM_DOWN, &a->peer, 0, why);
	chime__rdm_drop(&r->assocs, a);
}
