/* Answers that come back. */
#include "server/returns.h"

#include <stdlib.h>
#include <string.h>

struct returned_kept {
	struct returned_kept *next;
	chime_addr peer;
	size_t len;
	unsigned char bytes[];
};

void chime__returns_init(struct returns *r)
{
	*r = (struct returns){ 0 };
	r->end = &r->first;
}

/* Takes *link out of the list. */
static struct returned_kept *take(struct returns *r, struct returned_kept **link)
{
	struct returned_kept *k = *link;
	*link = k->next;
	if (!k->next)
		r->end = link;
	r->bytes -= k->len;
	return k;
}

void chime__returns_fini(struct returns *r)
{
	while (r->first)
		free(take(r, &r->first));
}

void chime__returns_sent(struct returns *r, const struct op_msg *m, size_t len)
{
	if (len <= RETURNS_WHOLE)
		return;
	while (r->first && r->bytes + len > RETURNS_BYTES)
		free(take(r, &r->first));
	struct returned_kept *k = malloc(sizeof *k + len);
	if (!k)
		return;
	*k = (struct returned_kept){ .peer = m->peer };
	for (int i = 0; i < m->n; i++) {
		memcpy(k->bytes + k->len, m->iov[i].iov_base, m->iov[i].iov_len);
		k->len += m->iov[i].iov_len;
	}
	*r->end = k;
	r->end = &k->next;
	r->bytes += k->len;
}

/* The entry of a peer, or that of the one that refused longest ago, which is forgotten. */
static struct returned_peer *entry_of(struct returns *r, const chime_addr *addr)
{
	struct returned_peer *oldest = &r->peers[0];
	for (unsigned i = 0; i < RETURNS_PEERS; i++) {
		struct returned_peer *p = &r->peers[i];
		if (p->addr.len && chime_addr_equal(&p->addr, addr))
			return p;
		if (p->last_ns < oldest->last_ns)
			oldest = p;
	}
	*oldest = (struct returned_peer){ .addr = *addr };
	return oldest;
}

int64_t chime__returns_came(struct returns *r, const struct op_msg *m, int64_t now_ns, struct iovec *whole, void **keep)
{
	struct returned_peer *p = entry_of(r, &m->peer);
	if (!p->last_ns || now_ns - p->last_ns > RETURNS_PAUSE_NS)
		p->since_ns = now_ns;
	p->last_ns = now_ns;
	*keep = NULL;
	*whole = (struct iovec){ m->data, m->len };
	if (m->len <= RETURNS_WHOLE)
		return p->since_ns;
	*whole = (struct iovec){ NULL, 0 };
	for (struct returned_kept **link = &r->first; *link; link = &(*link)->next)
		if (chime_addr_equal(&(*link)->peer, &m->peer) && (*link)->len >= m->len &&
		    !memcmp((*link)->bytes, m->data, m->len)) {
			struct returned_kept *k = take(r, link);
			*keep = k;
			*whole = (struct iovec){ k->bytes, k->len };
			break;
		}
	return p->since_ns;
}
