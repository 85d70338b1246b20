/* What came on a chime_rdm and was not fetched yet: messages and reports, in the order in which they came. */
#include "net/rdm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ITEM_COST sizeof(struct rdm_item)

static void append(struct chime_rdm *r, struct rdm_item *item)
{
	item->next = NULL;
	*r->end = item;
	r->end = &item->next;
	r->queued_bytes += ITEM_COST + item->event.len;
}

int chime__rdm_push_message(struct chime_rdm *r, const struct chime_rdm_peer *peer, const void *bytes, size_t len)
{
	struct rdm_item *item = malloc(sizeof *item + RDM_HEADROOM + len);
	if (!item) {
		r->broken = -ENOMEM;
		return -ENOMEM;
	}
	item->event = (struct chime_rdm_event){
		.kind = CHIME_RDM_MESSAGE, .peer = *peer, .data = item->bytes + RDM_HEADROOM, .len = len
	};
	memcpy(item->event.data, bytes, len);
	append(r, item);
	return 0;
}

int chime__rdm_push(struct chime_rdm *r, enum chime_rdm_kind kind, const struct chime_rdm_peer *peer, uint32_t id,
		    int why)
{
	struct rdm_item *item = malloc(sizeof *item);
	if (!item) {
		r->broken = -ENOMEM;
		return -ENOMEM;
	}
	item->event = (struct chime_rdm_event){ .kind = kind, .peer = *peer, .id = id, .why = why };
	append(r, item);
	return 0;
}

struct rdm_item *chime__rdm_pop(struct chime_rdm *r)
{
	struct rdm_item *item = r->first;
	if (!item)
		return NULL;
	r->first = item->next;
	if (!r->first)
		r->end = &r->first;
	r->queued_bytes -= ITEM_COST + item->event.len;
	return item;
}

void chime__rdm_queue_fini(struct chime_rdm *r)
{
	struct rdm_item *item;
	while ((item = chime__rdm_pop(r)))
		free(item);
	free(r->handed);
	r->handed = NULL;
}
