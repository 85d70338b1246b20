/* The inner tables of a chime_rdm by their word: what is queued, associations and what becomes of them, numbers of paths, the rate of strangers. */
#include "net/rdm.h"
#include "net/rdm_paths.h"

#include "rdm_echo.h"

/* ---- the queue ---- */

/* What could not be kept is told once, behind what could; and a report without a reason gets one. */
TEST(rdm_tells_what_it_could_not_keep)
{
	struct chime_rdm_peer peer = { .assoc = 1 };
	struct chime_rdm_event ev;
	chime_endpoint e;
	need_user();
	chime_rdm *r = serve("rdm://127.0.0.1:0?" USER, &e);
	CHECK_EQ(chime_rdm_set_timeout(r, 0), 0);
	CHECK_EQ(chime__rdm_push(r, CHIME_RDM_UNDELIVERED, &peer, 7, 0), 0);
	CHECK_EQ(chime__rdm_push_message(r, &peer, "abc", 3), 0);
	CHECK_EQ(r->queued_bytes, 2 * sizeof(struct rdm_item) + 3);
	r->broken = -ENOMEM;
	CHECK_EQ(chime_rdm_receive(r, &ev), 0);
	CHECK_EQ(ev.kind, CHIME_RDM_UNDELIVERED);
	CHECK_EQ(ev.id, 7);
	CHECK_EQ(ev.why, -ECONNRESET);
	CHECK_EQ(chime_rdm_receive(r, &ev), 0);
	CHECK_EQ(ev.len, 3);
	CHECK_EQ(r->queued_bytes, 0);
	CHECK_EQ(chime_rdm_receive(r, &ev), -ENOMEM);
	CHECK_EQ(chime_rdm_receive(r, &ev), -EAGAIN);
	CHECK_EQ(chime__rdm_push_message(r, &peer, "d", 1), 0); /* behind an empty queue */
	CHECK_EQ(chime_rdm_receive(r, &ev), 0);
	CHECK_MEM(ev.data, "d", 1);
	chime_rdm_free(&r);
}

/* ---- the table of associations ---- */

static struct rdm_assoc *add(chime_rdm *r, uint32_t id, int port, uint16_t udp)
{
	struct rdm_assoc a = { .id = id, .path = id + 100 };
	CHECK_EQ(chime_addr_ip(&a.peer.addr, AF_INET, "192.0.2.1", port), 0);
	a.peer.udp_port = udp;
	struct rdm_assoc *at = chime__rdm_add(&r->assocs, &a);
	CHECK(at != NULL);
	return at;
}

static void check_popped(chime_rdm *r, enum chime_rdm_kind kind, uint32_t assoc, uint32_t id, int why)
{
	struct rdm_item *i = chime__rdm_pop(r);
	CHECK(i != NULL);
	CHECK_EQ(i->event.kind, kind);
	CHECK_EQ(i->event.peer.assoc, assoc);
	CHECK_EQ(i->event.id, id);
	CHECK_EQ(i->event.why, why);
	free(i);
}

/* Peers are told apart by address, UDP port and, where it is said, association; numbers are given once, and never 0. */
TEST(rdm_finds_whom_is_meant)
{
	chime_rdm *r = calloc(1, sizeof *r);
	CHECK(r != NULL);
	r->end = &r->first;
	struct rdm_assoc *a = add(r, 1, 80, 1000), *b = add(r, 2, 80, 2000), *c = add(r, 3, 81, 1000);
	struct chime_rdm_peer p = b->peer;
	CHECK_EQ(a->peer.assoc, 1);
	CHECK_EQ(b->peer.assoc, 2);
	CHECK_PTR(chime__rdm_find_peer(&r->assocs, &p), b);
	p.assoc = 0;
	CHECK_PTR(chime__rdm_find_peer(&r->assocs, &p), b);
	p.udp_port = 3000;
	CHECK_PTR(chime__rdm_find_peer(&r->assocs, &p), NULL);
	p.udp_port = 0;
	CHECK(chime__rdm_find_peer(&r->assocs, &p) != NULL); /* either */
	p = c->peer;
	CHECK_PTR(chime__rdm_find_peer(&r->assocs, &p), c);
	p.assoc = 1;
	CHECK_PTR(chime__rdm_find_peer(&r->assocs, &p), NULL);
	r->assocs.last = UINT32_MAX;
	CHECK_EQ(add(r, 4, 82, 1)->peer.assoc, 1);
	chime__rdm_set_unsure(&r->assocs, a, true);
	chime__rdm_set_unsure(&r->assocs, a, true);
	CHECK_EQ(r->assocs.unsure, 1);
	a = chime__rdm_renumber(&r->assocs, a, 77);
	CHECK_EQ(a->peer.assoc, 1);
	CHECK_EQ(r->assocs.unsure, 1);
	CHECK_PTR(chime__rdm_find(&r->assocs, 77), a);
	CHECK_PTR(chime__rdm_find(&r->assocs, 1), NULL);
	chime__rdm_drop(&r->assocs, a);
	CHECK_EQ(r->assocs.unsure, 0);
	CHECK_EQ(r->assocs.count, 3);
	chime__rdm_assocs_fini(&r->assocs);
	CHECK_EQ(r->assocs.count, 0);
	free(r);
}

/* A message that failed in pieces is told once, with the reason that its own association ended for; who begins anew is another. */
TEST(rdm_tells_each_failure_once)
{
	chime_rdm *r = calloc(1, sizeof *r);
	CHECK(r != NULL);
	r->end = &r->first;
	struct rdm_assoc *a = add(r, 1, 80, 1), *b = add(r, 2, 81, 1), *c = add(r, 3, 82, 1);
	chime__rdm_failed(r, a, 7, 0);
	chime__rdm_failed(r, a, 7, 0); /* another piece of it */
	chime__rdm_failed(r, a, 0, 0); /* no message of ours */
	chime__rdm_failed(r, b, 8, 0);
	chime__rdm_failed(r, c, 9, -EMSGSIZE);
	CHECK_EQ(r->stats.undelivered, 3);
	chime__rdm_went_down(r, a, -ETIMEDOUT);
	chime__rdm_went_down(r, b, 0);
	chime__rdm_set_unsure(&r->assocs, c, true);
	chime__rdm_restarted(r, c);
	CHECK_EQ(r->assocs.unsure, 0);
	CHECK_EQ(c->peer.assoc, 4);
	chime__rdm_went_down(r, c, -ECONNRESET);
	check_popped(r, CHIME_RDM_UNDELIVERED, 1, 7, -ETIMEDOUT);
	check_popped(r, CHIME_RDM_UNDELIVERED, 2, 8, -EPIPE);
	check_popped(r, CHIME_RDM_UNDELIVERED, 3, 9, -EMSGSIZE);
	check_popped(r, CHIME_RDM_DOWN, 1, 0, -ETIMEDOUT);
	check_popped(r, CHIME_RDM_DOWN, 2, 0, 0);
	check_popped(r, CHIME_RDM_RESTARTED, 3, 0, -ECONNRESET);
	check_popped(r, CHIME_RDM_DOWN, 4, 0, -ECONNRESET);
	CHECK_PTR(chime__rdm_pop(r), NULL);
	CHECK_EQ(r->assocs.count, 0);
	free(r);
}

/* ---- paths and strangers ---- */

static uint64_t number_of(const char *host, uint32_t scope, int port, uint64_t salt)
{
	chime_addr a;
	uint64_t n = 0;
	CHECK_EQ(chime_addr_ip(&a, AF_UNSPEC, host, port), 0);
	if (chime_addr_family(&a) == AF_INET6)
		a.u.in6.sin6_scope_id = scope;
	CHECK_EQ(chime__path_number(&a, salt, &n), 0);
	CHECK(n != 0);
	return n;
}

/* Whatever differs of a path makes another number: host, interface, port, and whose socket it is. */
TEST(paths_have_numbers_of_their_own)
{
	const uint64_t n[] = { number_of("fe80::1", 1, 80, 1),  number_of("fe80::2", 1, 80, 1),
			       number_of("fe80::1", 2, 80, 1),  number_of("fe80::1", 1, 81, 1),
			       number_of("fe80::1", 1, 80, 2),  number_of("192.0.2.1", 0, 80, 1),
			       number_of("192.0.2.2", 0, 80, 1) };
	for (size_t i = 0; i < sizeof n / sizeof *n; i++)
		for (size_t k = 0; k < i; k++)
			CHECK(n[i] != n[k]);
	CHECK(number_of("fe80::1", 1, 80, 1) == n[0]);
}

static unsigned admitted(struct strangers *s, const char *host, unsigned asks, int64_t now_ns)
{
	chime_addr a;
	unsigned n = 0;
	CHECK_EQ(chime_addr_ip(&a, AF_UNSPEC, host, 9), 0);
	for (unsigned i = 0; i < asks; i++)
		n += chime__strangers_admit(s, &a, now_ns);
	return n;
}

/* A source has a burst and a rate; of IPv4 it is an address, also as IPv6 writes it, of IPv6 its /56. */
TEST(strangers_have_a_rate)
{
	static struct strangers s;
	const int64_t now = CHIME_HOUR;
	CHECK_EQ(admitted(&s, "192.0.2.1", 1000, now), STRANGERS_BURST);
	CHECK_EQ(admitted(&s, "::ffff:192.0.2.1", 1000, now), 0);
	CHECK_EQ(admitted(&s, "192.0.2.1", 1000, now + CHIME_SEC), STRANGERS_RATE);
	CHECK_EQ(admitted(&s, "192.0.2.1", 1000, now + CHIME_HOUR), STRANGERS_BURST);
	memset(&s, 0, sizeof s);
	CHECK_EQ(admitted(&s, "2001:db8:1:100::1", 150, now), 150);
	CHECK_EQ(admitted(&s, "2001:db8:1:1ff:ffff::9", 1000, now), STRANGERS_BURST - 150);
	/* Sources share slots by chance: of ten others nearly all have one of their own. */
	unsigned whole = 0;
	for (unsigned i = 0; i < 10; i++) {
		char host[64];
		memset(&s, 0, sizeof s);
		(void)admitted(&s, "2001:db8:1:100::1", 1000, now);
		snprintf(host, sizeof host, "2001:db8:1:%x00::1", i + 2);
		whole += admitted(&s, host, 1000, now) == STRANGERS_BURST;
	}
	CHECK_IN(whole, 8, 10);
}

TEST_MAIN()
