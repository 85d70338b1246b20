/* The datagram socket of a worker, on a backend that this test plays: what is sent, when it blocks, what it says. */
#include "server/dgram.h"

#include "server/reply.h"

#include "runner/test.h"

#include <chime/server.h>

#include <errno.h>
#include <stdlib.h>

/* ---- a backend that remembers what is sent ---- */

#define SENT_MAX 20000
#define PEERS 8

struct sent {
	chime_addr peer, local;
	size_t len;
	unsigned char bytes[200]; /* the first of them */
};

struct fake {
	int64_t mono, real;
	struct op *recv, *send; /* under way */
	bool recv_cancelled, send_cancelled;
	bool late;                 /* sending ends in wait() only, as on a ring */
	unsigned room;             /* messages that can be taken; then it blocks */
	unsigned most;             /* in one call */
	bool full[PEERS];          /* peers (by port - 50000, or the digit of the path) whose own queue is full */
	int fails[PEERS];          /* peers that sending to gives that error */
	struct op_msg in[OP_MSGS]; /* to be received in the next wait() */
	unsigned in_n;
	int in_err; /* receiving ends so */
	struct buf_pool pool;
	struct sent *sent;
	unsigned sent_n, sends, closes;
	int closed_fd;
};

static struct fake *fake_of(struct loop *lp)
{
	return lp->impl;
}

static int fake_probe(struct backend_caps *caps)
{
	*caps = (struct backend_caps){ .inline_send = true };
	return 0;
}

static int fake_open(struct loop *lp, void *arg)
{
	lp->impl = arg;
	return 0;
}

static void fake_shut(struct loop *lp)
{
	CHECK(!fake_of(lp)->recv);
	CHECK(!fake_of(lp)->send);
}

static unsigned peer_number(const chime_addr *a)
{
	unsigned n = a->u.sa.sa_family == AF_UNIX  ? (unsigned)(a->u.un.sun_path[1] - '0')
		     : chime_addr_port(a) >= 50000 ? (unsigned)(chime_addr_port(a) - 50000)
						   : PEERS;
	return n < PEERS ? n : 0;
}

static int take(struct fake *f, const struct op *op)
{
	int n = 0;
	f->sends++;
	for (; n < op->n && n < (int)f->most; n++) {
		const struct op_msg *m = &op->u.msgs[n];
		unsigned p = peer_number(&m->peer);
		int err = f->fails[p] ? f->fails[p] : f->room == 0 || f->full[p] ? -EAGAIN : 0;
		if (err)
			return n ? n : err;
		f->room--;
		CHECK(f->sent_n < SENT_MAX);
		struct sent *s = &f->sent[f->sent_n++];
		*s = (struct sent){ .peer = m->peer, .local = m->local };
		for (int i = 0; i < m->n; i++) {
			size_t fits =
				sizeof s->bytes - 1 - (s->len < sizeof s->bytes - 1 ? s->len : sizeof s->bytes - 1);
			memcpy(s->bytes + s->len, m->iov[i].iov_base,
			       m->iov[i].iov_len < fits ? m->iov[i].iov_len : fits);
			s->len += m->iov[i].iov_len;
		}
	}
	return n;
}

static int fake_submit(struct loop *lp, struct op *op)
{
	struct fake *f = fake_of(lp);
	CHECK_EQ(op->state, 0);
	if (op->kind == OP_RECV_MSGS) {
		CHECK(!f->recv);
		f->recv = op;
		op->state = 1;
		return 0;
	}
	CHECK_EQ(op->kind, OP_SEND_MSGS);
	CHECK(!f->send);
	CHECK_IN(op->n, 1, OP_MSGS);
	if (!f->late && !(op->flags & OP_WAIT_FIRST)) {
		op->res = take(f, op);
		if (op->res != -EAGAIN || op->flags & OP_NOWAIT)
			return 1;
	}
	f->send = op;
	op->state = 1;
	return 0;
}

static void fake_cancel(struct loop *lp, struct op *op)
{
	struct fake *f = fake_of(lp);
	if (op == f->recv)
		f->recv_cancelled = true;
	if (op == f->send)
		f->send_cancelled = true;
}

static void end_recv(struct loop *lp, int res)
{
	struct fake *f = fake_of(lp);
	struct op *op = f->recv;
	f->recv = NULL;
	f->recv_cancelled = false;
	op->state = 0;
	op->done(lp, op, &(struct op_event){ .res = res });
}

static void fake_receive(struct loop *lp)
{
	struct fake *f = fake_of(lp);
	struct op_msg in[OP_MSGS];
	unsigned n = f->in_n;
	memcpy(in, f->in, sizeof in);
	f->in_n = 0;
	if (n)
		f->recv->done(lp, f->recv, &(struct op_event){ .res = (int)n, .more = true, .msgs = in });
	for (unsigned i = 0; i < n; i++) {
		if (in[i].buf->refs == 1)
			memset(in[i].data, '!', in[i].len); /* whoever did not reference it must not look any more */
		buf_unref(in[i].buf);
	}
	if (f->recv && f->in_err) {
		int err = f->in_err;
		f->in_err = 0;
		end_recv(lp, err);
	} else if (f->recv && f->recv->flags & OP_NOWAIT && !f->recv_cancelled) {
		end_recv(lp, -EAGAIN);
	}
}

static int fake_wait(struct loop *lp, int64_t timeout_ns)
{
	struct fake *f = fake_of(lp);
	(void)timeout_ns;
	lp->now_ns = f->mono;
	if (f->recv_cancelled)
		end_recv(lp, -ECANCELED);
	if (f->send) {
		struct op *op = f->send;
		int res = f->send_cancelled ? -ECANCELED : take(f, op);
		if (res != -EAGAIN || op->flags & OP_NOWAIT) {
			f->send = NULL;
			f->send_cancelled = false;
			op->state = 0;
			op->done(lp, op, &(struct op_event){ .res = res });
		}
	}
	if (f->recv)
		fake_receive(lp);
	return 1;
}

static void fake_wake(struct loop *lp)
{
	(void)lp;
}

static int fake_close(struct loop *lp, int fd, bool reset)
{
	(void)reset;
	CHECK(!fake_of(lp)->recv);
	CHECK(!fake_of(lp)->send);
	fake_of(lp)->closes++;
	fake_of(lp)->closed_fd = fd;
	return 0;
}

static int64_t fake_mono(struct loop *lp)
{
	return fake_of(lp)->mono;
}

static int64_t fake_real(struct loop *lp)
{
	return fake_of(lp)->real++;
}

static const struct backend fake_backend = { .name = "fake",
					     .probe = fake_probe,
					     .open = fake_open,
					     .shut = fake_shut,
					     .submit = fake_submit,
					     .cancel = fake_cancel,
					     .wait = fake_wait,
					     .wake = fake_wake,
					     .close = fake_close,
					     .mono = fake_mono,
					     .real = fake_real };

/* ---- a worker with one datagram socket ---- */

struct rig {
	struct fake fake;
	struct chime_worker w;
	struct chime_server_config config;
	struct served served;
	struct listen_sock sock;
	int fd;
	unsigned gone;
	unsigned lines; /* logged */
	uint64_t told;  /* the sum of their counts */
};

static struct rig *rigs[2]; /* for chime__dgram_gone() */

void chime__dgram_gone(struct dgram *d)
{
	for (unsigned i = 0; i < 2; i++)
		if (rigs[i] && ((struct chime_conn *)d)->worker == &rigs[i]->w)
			rigs[i]->gone++;
}

static ssize_t echo(const struct chime_input *in, chime_reply *out)
{
	chime_reply_add(out, in->data, in->len);
	return (ssize_t)in->len;
}

static const chime_service echo_service = { .size = sizeof(chime_service), .name = "echo", .received = echo };

static void on_log(void *arg, const struct chime_log_event *e)
{
	struct rig *r = arg;
	r->lines++;
	r->told += e->count;
}

/* conn_max, total_max: the configuration's ceilings on what is queued; 0: as they are. */
static struct rig *rig_with(const char *local, const chime_service *service, const uint16_t *ports, unsigned port_count,
			    uint64_t conn_max, uint64_t total_max)
{
	struct rig *r = calloc(1, sizeof *r);
	CHECK(r != NULL);
	rigs[rigs[0] != NULL] = r;
	r->config = (struct chime_server_config)CHIME_SERVER_CONFIG_INIT;
	r->config.log = on_log;
	r->config.log_arg = r;
	r->w.config = &r->config;
	if (conn_max)
		r->config.queue_conn_max = conn_max;
	r->w.queue_max = total_max;
	r->fake.mono = 10 * CHIME_SEC;
	r->fake.real = 1473765080 * CHIME_SEC;
	r->fake.room = r->fake.most = SENT_MAX;
	r->fake.sent = calloc(SENT_MAX, sizeof *r->fake.sent);
	chime__buf_pool_init(&r->fake.pool, CHIME_MESSAGE_MAX, 64);
	CHECK_EQ(chime__loop_init(&r->w.loop, &fake_backend, &r->fake), 0);
	r->served.service = service;
	r->served.config = (void *)(uintptr_t)service->config_default;
	r->served.rate = 10000;
	r->served.set.workers = 1;
	r->fd = 7;
	CHECK_EQ(chime_addr_parse(&r->sock.addr, local), 0);
	r->sock.family = r->sock.addr.u.sa.sa_family;
	r->sock.type = SOCK_DGRAM;
	r->sock.fds = &r->fd;
	CHECK_EQ(chime__dgram_open(&r->w, &r->served, &r->sock, ports, port_count), 0);
	CHECK_EQ(r->fd, -1);
	CHECK(r->w.dgrams != NULL);
	return r;
}

static struct rig *rig_new(const char *local, const chime_service *service, const uint16_t *ports, unsigned port_count)
{
	return rig_with(local, service, ports, port_count, 0, 0);
}

static void turn(struct rig *r)
{
	CHECK_EQ(chime__loop_turn(&r->w.loop, 0), 0);
}

/* Ends it as a worker does, and checks that nothing is left. */
static void rig_free(struct rig *r)
{
	if (!r->gone) {
		chime__dgram_cut(r->w.dgrams);
		for (unsigned i = 0; i < 5 && !r->gone; i++)
			turn(r);
	}
	CHECK_EQ(r->gone, 1);
	CHECK_EQ(r->fake.closes, 1);
	CHECK_EQ(r->fake.closed_fd, 7);
	CHECK_EQ(r->w.stats.queued_bytes, 0);
	chime__dgram_free(r->w.dgrams);
	CHECK(r->w.dgrams == NULL);
	CHECK_EQ(r->w.loop.timers.count, 0);
	chime__loop_fini(&r->w.loop);
	CHECK_EQ(r->fake.pool.out, 0);
	chime__buf_pool_fini(&r->fake.pool);
	free(r->fake.sent);
	if (rigs[0] == r)
		rigs[0] = rigs[1];
	rigs[1] = NULL;
	free(r);
}

/* Something to be received in the next turn. from: an address as text, "" none. */
static struct op_msg *arrive(struct rig *r, const char *from, const void *bytes, size_t len)
{
	struct op_msg *m = &r->fake.in[r->fake.in_n++];
	CHECK(r->fake.in_n <= OP_MSGS);
	*m = (struct op_msg){ .buf = chime__buf_get(&r->fake.pool), .len = len };
	CHECK(m->buf != NULL);
	m->data = m->buf->data;
	if (bytes)
		memcpy(m->data, bytes, len);
	if (from[0])
		CHECK_EQ(chime_addr_parse(&m->peer, from), 0);
	return m;
}

static void arrive_text(struct rig *r, const char *from, const char *text)
{
	arrive(r, from, text, strlen(text));
}

static void check_sent(struct rig *r, unsigned n, const char *to, const char *text)
{
	char peer[CHIME_ADDR_TEXT];
	CHECK(n < r->fake.sent_n);
	chime_addr_print(&r->fake.sent[n].peer, peer, sizeof peer);
	CHECK_STR(peer, to);
	CHECK_STR((char *)r->fake.sent[n].bytes, text);
}

/* ---- answering ---- */

/* Each message is answered to its sender, from the address it came to, in order; an empty one too. */
TEST(dgram_answers_each_message_from_where_it_was_asked)
{
	struct rig *r = rig_new("127.0.0.1:40000", &echo_service, NULL, 0);
	chime_addr local;
	CHECK_EQ(chime_addr_parse(&local, "192.0.2.7:0"), 0);
	arrive(r, "127.0.0.1:50001", "one", 3)->local = local;
	arrive_text(r, "127.0.0.1:50002", "two");
	arrive_text(r, "127.0.0.1:50001", "");
	turn(r);
	CHECK_EQ(r->fake.sent_n, 3);
	CHECK_EQ(r->fake.sends, 1);
	check_sent(r, 0, "127.0.0.1:50001", "one");
	CHECK(chime_addr_equal(&r->fake.sent[0].local, &local));
	check_sent(r, 1, "127.0.0.1:50002", "two");
	CHECK_EQ(r->fake.sent[1].local.len, 0);
	check_sent(r, 2, "127.0.0.1:50001", "");
	CHECK_EQ(r->w.stats.messages, 3);
	CHECK_EQ(r->w.stats.answers, 3);
	CHECK_EQ(r->w.stats.received_bytes, 6);
	CHECK_EQ(r->w.stats.sent_bytes, 6);
	rig_free(r);
}

/* The stamp is of the time after the batch was received, one reading for all of it; a bare one for an empty message. */
TEST(dgram_stamps_a_batch_with_one_reading)
{
	struct rig *r = rig_new("127.0.0.1:40000", chime_service_find("stamp"), NULL, 0);
	setenv("TZ", "UTC", 1);
	arrive_text(r, "127.0.0.1:50001", "i");
	arrive_text(r, "127.0.0.1:50001", "");
	int64_t before = r->fake.real;
	turn(r);
	CHECK_EQ(r->fake.real, before + 1);
	check_sent(r, 0, "127.0.0.1:50001", "Tue Sep 13 11:11:20 2016i");
	check_sent(r, 1, "127.0.0.1:50001", "Tue Sep 13 11:11:20 2016");
	rig_free(r);
}

/* What the guard refuses is not answered, counted, and told in a line a second; on unix nobody is refused. */
TEST(dgram_answers_only_whom_the_guard_allows)
{
	static const uint16_t ports[] = { 40000 };
	struct rig *r = rig_new("127.0.0.1:40000", &echo_service, ports, 1);
	arrive_text(r, "127.0.0.1:7", "x");
	arrive_text(r, "127.0.0.1:40000", "x");
	arrive_text(r, "127.0.0.1:9999", "x");
	arrive_text(r, "127.0.0.1:50001", "x");
	turn(r);
	CHECK_EQ(r->fake.sent_n, 1);
	CHECK_EQ(r->w.stats.dropped_source, 3);
	CHECK_EQ(r->lines, 1);
	CHECK_EQ(r->told, 1);
	r->fake.mono += CHIME_SEC;
	arrive_text(r, "127.0.0.1:9999", "x");
	turn(r);
	CHECK_EQ(r->lines, 2);
	CHECK_EQ(r->told, 4); /* what was not told then is in the next line */
	rig_free(r);
	r = rig_new("/s", &echo_service, ports, 1);
	arrive_text(r, "/1", "x");
	turn(r);
	CHECK_EQ(r->fake.sent_n, 1);
	rig_free(r);
}

/* A flood from one source is held at its bucket while another source gets every answer. */
TEST(dgram_holds_a_flood_and_serves_another)
{
	struct rig *r = rig_new("127.0.0.1:40000", &echo_service, NULL, 0);
	unsigned flood = 0, good = 0;
	for (unsigned ms = 0; ms < 1000; ms++) {
		r->fake.mono += CHIME_MSEC;
		for (unsigned i = 0; i < 31 && ms < 990; i++)
			arrive_text(r, "192.0.2.66:50001", "flood");
		arrive_text(r, "198.51.100.1:50002", "good");
		turn(r);
		if (r->fake.sent_n > SENT_MAX - 100) {
			for (unsigned i = 0; i < r->fake.sent_n; i++)
				*(r->fake.sent[i].bytes[0] == 'g' ? &good : &flood) += 1;
			r->fake.sent_n = 0;
			r->fake.room = SENT_MAX;
		}
	}
	for (unsigned i = 0; i < r->fake.sent_n; i++)
		*(r->fake.sent[i].bytes[0] == 'g' ? &good : &flood) += 1;
	CHECK_EQ(good, 1000);
	CHECK_IN(flood, 29800, 30000); /* 2 s of 10000 at once, and 1 s of it */
	CHECK_EQ(r->w.stats.dropped_rate, 31 * 990 - flood);
	rig_free(r);
}

/* Moves what from sent since *seen to be received by to, from the address given. */
static unsigned carry(struct rig *from, unsigned *seen, struct rig *to, const char *as)
{
	unsigned n = 0;
	for (; *seen < from->fake.sent_n; (*seen)++, n++)
		arrive(to, as, from->fake.sent[*seen].bytes, from->fake.sent[*seen].len);
	return n;
}

/* One forged datagram joins two stamp servers: the third message of their talk is the last, and it is counted. */
TEST(dgram_two_servers_joined_by_a_forged_datagram_stop_at_once)
{
	struct rig *a = rig_new("127.0.0.1:40001", chime_service_find("stamp"), NULL, 0);
	struct rig *b = rig_new("127.0.0.1:40002", chime_service_find("stamp"), NULL, 0);
	unsigned from_a = 0, from_b = 0, carried = 0;
	arrive_text(a, "127.0.0.1:40002", "x");
	for (unsigned i = 0; i < 50; i++) {
		turn(a);
		carried += carry(a, &from_a, b, "127.0.0.1:40001");
		turn(b);
		carried += carry(b, &from_b, a, "127.0.0.1:40002");
	}
	CHECK_EQ(carried, 2); /* stamp x, stamp stamp x */
	CHECK_EQ(a->w.stats.dropped_loop, 1);
	rig_free(b);
	rig_free(a);
	/* On the default ports not even the first is answered. */
	a = rig_new("127.0.0.1:9999", chime_service_find("stamp"), NULL, 0);
	arrive_text(a, "192.0.2.1:9999", "x");
	turn(a);
	CHECK_EQ(a->fake.sent_n, 0);
	CHECK_EQ(a->w.stats.dropped_source, 1);
	rig_free(a);
}

static ssize_t moody(const struct chime_input *in, chime_reply *out)
{
	switch (in->len ? in->data[0] : 0) {
	case 'l':
		return -ELOOP;
	case 'e':
		return -EIO;
	case 'b':
		return -EMSGSIZE;
	case 's':
		return (ssize_t)in->len; /* silent */
	default:
		chime_reply_add(out, in->data, in->len);
		chime_reply_count(out, 3);
		return 0; /* of a message all is consumed whatever is returned */
	}
}

static const chime_service moody_service = { .size = sizeof(chime_service), .name = "moody", .received = moody };

/* What a service refuses is counted by its reason, and what it says nothing to is not answered. */
TEST(dgram_counts_what_a_service_refuses)
{
	struct rig *r = rig_new("127.0.0.1:40000", &moody_service, NULL, 0);
	static const char *const texts[] = { "loop", "loop", "error", "big", "silent", "fine" };
	for (unsigned i = 0; i < 6; i++)
		arrive_text(r, "127.0.0.1:50001", texts[i]);
	turn(r);
	CHECK_EQ(r->fake.sent_n, 1);
	check_sent(r, 0, "127.0.0.1:50001", "fine");
	CHECK_EQ(r->w.stats.dropped_loop, 2);
	CHECK_EQ(r->w.stats.errors, 1);
	CHECK_EQ(r->w.stats.dropped_long, 1);
	CHECK_EQ(r->w.stats.answers, 3);
	CHECK_EQ(r->w.stats.messages, 6);
	rig_free(r);
}

/* Messages too long to receive, and answers too long for UDP over IPv4, over IPv6, are counted and not sent; one byte less is. */
TEST(dgram_counts_what_is_too_long)
{
	struct rig *r = rig_new("[::]:40000", &echo_service, NULL, 0);
	arrive(r, "[::1]:50001", NULL, 100)->truncated = true;
	arrive(r, "[::ffff:127.0.0.1]:50001", NULL, 65508);
	arrive(r, "[::1]:50001", NULL, 65528);
	turn(r);
	CHECK_EQ(r->fake.sent_n, 0);
	CHECK_EQ(r->w.stats.dropped_long, 3);
	arrive(r, "[::ffff:127.0.0.1]:50001", NULL, 65507);
	arrive(r, "[::1]:50001", NULL, 65527);
	turn(r);
	CHECK_EQ(r->fake.sent_n, 2);
	CHECK_EQ(r->fake.sent[0].len, 65507);
	CHECK_EQ(r->fake.sent[1].len, 65527);
	rig_free(r);
	r = rig_new("/s", &echo_service, NULL, 0);
	arrive(r, "/1", NULL, CHIME_MESSAGE_MAX);
	r->fake.fails[2] = -EMSGSIZE;
	arrive(r, "/2", NULL, CHIME_MESSAGE_MAX);
	turn(r);
	CHECK_EQ(r->fake.sent_n, 1);
	CHECK_EQ(r->w.stats.dropped_long, 1);
	rig_free(r);
}

/* A unix sender without a name cannot be answered: counted, but its message reaches the service. */
TEST(dgram_counts_senders_without_a_name)
{
	struct rig *r = rig_new("/s", &moody_service, NULL, 0);
	arrive_text(r, "", "x");
	arrive_text(r, "", "silent");
	struct op_msg *m = arrive(r, "", "x", 1);
	m->peer.len = sizeof(sa_family_t);
	m->peer.u.sa.sa_family = AF_UNIX;
	turn(r);
	CHECK_EQ(r->fake.sent_n, 0);
	CHECK_EQ(r->w.stats.dropped_source, 2);
	CHECK_EQ(r->w.stats.messages, 3);
	rig_free(r);
}

/* ---- sending ---- */

/* A call that takes some of a batch is followed by one for the rest: everything once, in order. */
TEST(dgram_sends_the_rest_of_a_batch)
{
	struct rig *r = rig_new("127.0.0.1:40000", &echo_service, NULL, 0);
	char text[8];
	r->fake.most = 3;
	for (unsigned i = 0; i < 10; i++) {
		snprintf(text, sizeof text, "%u", i);
		arrive_text(r, "127.0.0.1:50001", text);
	}
	turn(r);
	CHECK_EQ(r->fake.sent_n, 10);
	CHECK_EQ(r->fake.sends, 4);
	for (unsigned i = 0; i < 10; i++) {
		snprintf(text, sizeof text, "%u", i);
		check_sent(r, i, "127.0.0.1:50001", text);
	}
	rig_free(r);
}

/* Without room, answers wait in order, those of later batches behind them, and go when there is room. */
TEST(dgram_keeps_order_when_the_socket_is_full)
{
	struct rig *r = rig_new("127.0.0.1:40000", &echo_service, NULL, 0);
	char text[8];
	r->fake.room = 2;
	for (unsigned i = 0; i < 9; i++) {
		snprintf(text, sizeof text, "%u", i);
		arrive_text(r, "127.0.0.1:50001", text);
		if (i % 3 == 2)
			turn(r);
	}
	CHECK_EQ(r->fake.sent_n, 2);
	CHECK(r->w.stats.queued_bytes > 0);
	CHECK_EQ(r->w.stats.answers, 2);
	r->fake.room = 1; /* and never more than a few: what waits goes bit by bit */
	turn(r);
	CHECK_EQ(r->fake.sent_n, 3);
	r->fake.room = SENT_MAX;
	turn(r);
	turn(r);
	CHECK_EQ(r->fake.sent_n, 9);
	for (unsigned i = 0; i < 9; i++) {
		snprintf(text, sizeof text, "%u", i);
		check_sent(r, i, "127.0.0.1:50001", text);
	}
	CHECK_EQ(r->w.stats.queued_bytes, 0);
	CHECK_EQ(r->w.stats.answers, 9);
	CHECK_EQ(r->w.stats.dropped_queue, 0);
	rig_free(r);
}

/* An answer that cannot be sent is dropped and counted; the others of its batch go. */
TEST(dgram_drops_only_the_answer_that_fails)
{
	static const int errors[] = { -ECONNREFUSED, -ENETUNREACH, -EPERM, -EHOSTUNREACH, -ENOBUFS, -EINVAL };
	for (unsigned late = 0; late < 2; late++)
		for (unsigned i = 0; i < sizeof errors / sizeof *errors; i++) {
			struct rig *r = rig_new("127.0.0.1:40000", &echo_service, NULL, 0);
			r->fake.late = late;
			r->fake.fails[2] = errors[i];
			arrive_text(r, "127.0.0.1:50001", "a");
			arrive_text(r, "127.0.0.1:50002", "b");
			arrive_text(r, "127.0.0.1:50003", "c");
			arrive_text(r, "127.0.0.1:50002", "d");
			for (unsigned t = 0; t < 8; t++)
				turn(r);
			CHECK_EQ(r->fake.sent_n, 2);
			check_sent(r, 0, "127.0.0.1:50001", "a");
			check_sent(r, 1, "127.0.0.1:50003", "c");
			CHECK_EQ(r->w.stats.dropped_queue, 2);
			CHECK_EQ(r->w.stats.answers, 2);
			rig_free(r);
		}
}

/* What waits has a bound for each peer and for all, in which small messages cost their keep; the rest is dropped, counted. */
TEST(dgram_queue_is_bounded)
{
	struct rig *r = rig_new("127.0.0.1:40000", &echo_service, NULL, 0);
	r->served.rate = 0;
	r->fake.room = 0;
	for (unsigned i = 0; i < 100; i++) {
		arrive(r, "127.0.0.1:50001", NULL, 60000);
		turn(r);
	}
	CHECK_IN(r->w.stats.queued_bytes, DGRAM_QUEUE_PEER - 61000, DGRAM_QUEUE_PEER);
	CHECK_EQ(r->w.stats.dropped_queue, 100 - DGRAM_QUEUE_PEER / 60300);
	arrive_text(r, "127.0.0.1:50002", "another has its own share");
	turn(r);
	CHECK_EQ(r->w.stats.dropped_queue, 100 - DGRAM_QUEUE_PEER / 60300);
	for (unsigned i = 0; i < 100; i++) {
		char from[32];
		snprintf(from, sizeof from, "127.0.0.1:%u", 50003 + i);
		for (unsigned k = 0; k < 16; k++)
			arrive(r, from, NULL, 60000);
		turn(r);
	}
	CHECK_IN(r->w.stats.queued_bytes, DGRAM_QUEUE_BYTES - 61000, DGRAM_QUEUE_BYTES);
	rig_free(r);
	r = rig_new("127.0.0.1:40000", &echo_service, NULL, 0);
	r->fake.room = 0;
	for (unsigned i = 0; i < 10000; i++) {
		arrive(r, "127.0.0.1:50001", NULL, 0);
		turn(r);
	}
	CHECK_IN(r->w.stats.dropped_queue, 1, 9999);
	CHECK_IN(r->w.stats.queued_bytes, 1, DGRAM_QUEUE_PEER);
	rig_free(r);
}

/* The configuration's ceilings hold where they are lower than the datagram socket's own. */
TEST(dgram_queue_obeys_the_configuration)
{
	struct rig *r = rig_with("127.0.0.1:40000", &echo_service, NULL, 0, 20000, 50000);
	r->fake.room = 0;
	for (unsigned i = 0; i < 8; i++)
		arrive(r, "127.0.0.1:50001", NULL, 9000);
	turn(r);
	CHECK_EQ(r->w.stats.dropped_queue, 6);
	for (unsigned i = 0; i < 8; i++) {
		char from[32];
		snprintf(from, sizeof from, "127.0.0.1:%u", 50002 + i);
		arrive(r, from, NULL, 9000);
	}
	turn(r);
	CHECK_EQ(r->w.stats.dropped_queue, 6 + 5);
	CHECK_IN(r->w.stats.queued_bytes, 5 * 9000, 50000);
	rig_free(r);
}

/* A unix peer whose queue is full is tried again by timer, in order, and holds up nobody else. */
TEST(dgram_unix_peer_that_is_full_waits_alone)
{
	struct rig *r = rig_new("/s", &echo_service, NULL, 0);
	r->fake.full[1] = true;
	arrive_text(r, "/1", "a");
	arrive_text(r, "/2", "b");
	arrive_text(r, "/1", "c");
	turn(r);
	arrive_text(r, "/1", "d");
	arrive_text(r, "/2", "e");
	turn(r);
	CHECK_EQ(r->fake.sent_n, 2);
	check_sent(r, 0, "/2", "b");
	check_sent(r, 1, "/2", "e");
	unsigned sends = r->fake.sends;
	turn(r);
	turn(r);
	CHECK_EQ(r->fake.sends, sends); /* nothing is tried until the timer says so */
	r->fake.mono += 2 * TIMER_TICK_NS;
	turn(r);
	CHECK_EQ(r->fake.sends, sends + 1);
	r->fake.full[1] = false;
	r->fake.mono += 2 * TIMER_TICK_NS;
	turn(r);
	CHECK_EQ(r->fake.sent_n, 5);
	check_sent(r, 2, "/1", "a");
	check_sent(r, 3, "/1", "c");
	check_sent(r, 4, "/1", "d");
	CHECK_EQ(r->w.stats.queued_bytes, 0);
	CHECK_EQ(r->w.loop.timers.count, 0); /* idle again: nothing runs */
	rig_free(r);
}

/* A unix peer that takes nothing for the stall limit loses what waits for it; one that is gone, at once. */
TEST(dgram_unix_peer_that_never_reads_is_given_up)
{
	struct rig *r = rig_new("/s", &echo_service, NULL, 0);
	r->fake.full[1] = r->fake.full[2] = true;
	arrive_text(r, "/1", "a");
	arrive_text(r, "/1", "b");
	arrive_text(r, "/2", "c");
	turn(r);
	r->fake.full[2] = false;
	r->fake.fails[2] = -ECONNREFUSED;
	for (unsigned i = 0; i < 58; i++) {
		r->fake.mono += CHIME_SEC;
		turn(r);
	}
	CHECK_EQ(r->w.stats.dropped_queue, 1);
	CHECK(r->w.stats.queued_bytes > 0);
	for (unsigned i = 0; i < 4; i++) {
		r->fake.mono += CHIME_SEC;
		turn(r);
	}
	CHECK_EQ(r->w.stats.dropped_queue, 3);
	CHECK_EQ(r->w.stats.queued_bytes, 0);
	rig_free(r);
}

/* Whatever blocks, fails to take all, or comes late: each peer gets every answer once and in order. */
static void random_run(const char *local, const char *form, bool late)
{
	struct rig *r = rig_new(local, &echo_service, NULL, 0);
	unsigned next[PEERS] = { 0 }, got[PEERS] = { 0 };
	char from[64], text[32];
	r->served.rate = 0;
	r->fake.late = late;
	/* In the end all goes well, for as long as something waits: a batch a turn needs its time for a long queue. */
	for (unsigned step = 0; step < 3000 || (step < 5000 && r->w.stats.queued_bytes); step++) {
		unsigned n = step < 2500 ? (unsigned)(test_random() % 6) : 0;
		bool calm = step > 2900;
		r->fake.room = calm ? 1000 : (unsigned)(test_random() % 8);
		r->fake.most = calm ? OP_MSGS : 1 + (unsigned)(test_random() % OP_MSGS);
		r->fake.mono += (int64_t)(test_random() % 3) * TIMER_TICK_NS / 2;
		for (unsigned p = 0; p < PEERS; p++)
			r->fake.full[p] = !calm && local[0] == '/' && test_random() % 3 == 0;
		for (unsigned i = 0; i < n; i++) {
			unsigned p = (unsigned)(test_random() % PEERS);
			snprintf(from, sizeof from, form, p);
			snprintf(text, sizeof text, "%u.%u", p, next[p]++);
			arrive_text(r, from, text);
		}
		turn(r);
	}
	for (unsigned i = 0; i < r->fake.sent_n; i++) {
		unsigned p = peer_number(&r->fake.sent[i].peer);
		snprintf(text, sizeof text, "%u.%u", p, got[p]++);
		CHECK_STR((char *)r->fake.sent[i].bytes, text);
	}
	for (unsigned p = 0; p < PEERS; p++)
		CHECK_EQ(got[p], next[p]);
	CHECK_EQ(r->w.stats.dropped_queue, 0);
	CHECK_EQ(r->w.stats.answers, r->w.stats.messages);
	CHECK_EQ(r->w.stats.queued_bytes, 0);
	rig_free(r);
}

TEST(dgram_loses_and_reorders_nothing_of_udp)
{
	random_run("127.0.0.1:40000", "127.0.0.1:5000%u", false);
	random_run("127.0.0.1:40000", "127.0.0.1:5000%u", true);
}

TEST(dgram_loses_and_reorders_nothing_of_unix)
{
	random_run("/s", "/%u", false);
	random_run("/s", "/%u", true);
}

/* ---- what a service sends of its own ---- */

static chime_addr other;

static ssize_t twice(const struct chime_input *in, chime_reply *out)
{
	chime_reply_add(out, "reply", 5);
	CHECK_EQ(chime_conn_sendto(in->conn, "behind", 6, in->peer), 0);
	CHECK_EQ(chime_conn_sendto(in->conn, "other", 5, &other), 0);
	return 0;
}

/* Here in place of src/server/handle.c, which brings the whole server with it. */
int chime_conn_sendto(chime_conn *base, const void *buf, size_t len, const chime_addr *to)
{
	return chime__dgram_sendto((struct dgram *)base, buf, len, to);
}

static const chime_service twice_service = { .size = sizeof(chime_service), .name = "twice", .received = twice };

/* What a service sends goes out in the same turn, behind the reply, from the address that was asked; IPv4 addresses are understood
 * on a socket for both. */
TEST(dgram_sends_a_services_own_behind_the_reply)
{
	struct rig *r = rig_new("[::]:40000", &twice_service, NULL, 0);
	chime_addr local;
	CHECK_EQ(chime_addr_parse(&other, "127.0.0.1:50005"), 0);
	CHECK_EQ(chime_addr_parse(&local, "[::1]:0"), 0);
	arrive(r, "[::1]:50001", "x", 1)->local = local;
	turn(r);
	CHECK_EQ(r->fake.sent_n, 3);
	check_sent(r, 0, "[::1]:50001", "reply");
	check_sent(r, 1, "[::1]:50001", "behind");
	CHECK(chime_addr_equal(&r->fake.sent[1].local, &local));
	check_sent(r, 2, "[::ffff:127.0.0.1]:50005", "other");
	CHECK_EQ(r->fake.sent[2].local.len, 0);
	rig_free(r);
}

/* Sending has its limits: a message's length, the queue, somebody to send to, an end. */
TEST(dgram_sendto_says_what_cannot_be)
{
	struct rig *r = rig_new("127.0.0.1:40000", &echo_service, NULL, 0);
	chime_addr to, none = chime_addr_none();
	char *big = calloc(1, 70000);
	unsigned n = 0;
	CHECK_EQ(chime_addr_parse(&to, "127.0.0.1:50005"), 0);
	CHECK_EQ(chime__dgram_sendto(r->w.dgrams, big, 65508, &to), -EMSGSIZE);
	CHECK_EQ(chime__dgram_sendto(r->w.dgrams, big, 1, &none), -EDESTADDRREQ);
	while (n < 1000 && chime__dgram_sendto(r->w.dgrams, big, 65507, &to) == 0)
		n++;
	CHECK_EQ(n, DGRAM_QUEUE_PEER / 65800);
	CHECK_EQ(chime__dgram_sendto(r->w.dgrams, big, 65507, &to), -ENOBUFS);
	turn(r);
	CHECK_EQ(r->fake.sent_n, n);
	chime__dgram_cut(r->w.dgrams);
	turn(r);
	CHECK_EQ(chime__dgram_sendto(r->w.dgrams, big, 1, &to), -EPIPE);
	free(big);
	rig_free(r);
}

/* ---- ending, and trouble ---- */

/* Draining reads what is there, answers it, sends what waits, closes, and says so once, in this order. */
TEST(dgram_drains_what_was_received)
{
	for (unsigned late = 0; late < 2; late++) {
		struct rig *r = rig_new("127.0.0.1:40000", &echo_service, NULL, 0);
		r->fake.late = late;
		r->fake.room = 1;
		arrive_text(r, "127.0.0.1:50001", "a");
		arrive_text(r, "127.0.0.1:50001", "b");
		turn(r);
		turn(r);
		chime__dgram_drain(r->w.dgrams);
		arrive_text(r, "127.0.0.1:50001", "c");
		arrive_text(r, "127.0.0.1:50001", "d");
		turn(r);
		turn(r);
		turn(r);
		CHECK_EQ(r->gone, 0); /* b, c and d have no room */
		CHECK_EQ(((struct chime_conn *)r->w.dgrams)->state, DGRAM_DRAINING);
		CHECK_EQ(r->fake.sent_n, 1);
		r->fake.room = SENT_MAX;
		for (unsigned i = 0; i < 8; i++)
			turn(r);
		CHECK_EQ(r->fake.sent_n, 4);
		for (unsigned i = 0; i < 4; i++)
			CHECK_EQ(r->fake.sent[i].bytes[0], "abcd"[i]);
		CHECK_EQ(r->gone, 1);
		CHECK_EQ(((struct chime_conn *)r->w.dgrams)->state, DGRAM_CLOSED);
		CHECK_EQ(r->w.stats.dropped_queue, 0);
		rig_free(r);
	}
}

/* An idle socket is drained in a moment; draining twice is draining once. */
TEST(dgram_drains_an_idle_socket_at_once)
{
	struct rig *r = rig_new("127.0.0.1:40000", &echo_service, NULL, 0);
	turn(r);
	chime__dgram_drain(r->w.dgrams);
	chime__dgram_drain(r->w.dgrams);
	turn(r);
	turn(r);
	CHECK_EQ(r->gone, 1);
	rig_free(r);
}

/* Under a flood the socket is never empty: draining ends all the same, after what can have been there at its start. */
TEST(dgram_drains_in_spite_of_a_flood)
{
	struct rig *r = rig_new("127.0.0.1:40000", &moody_service, NULL, 0);
	unsigned turns = 0;
	chime__dgram_drain(r->w.dgrams);
	while (!r->gone && turns++ < 10000 && r->fake.recv) {
		/* Always more: the fake's NOWAIT receive ends empty, unless something else ends it before. */
		for (unsigned i = 0; i < OP_MSGS; i++)
			arrive_text(r, "127.0.0.1:50001", "silent");
		r->fake.in_err = -EIO;
		turn(r);
	}
	while (!r->gone && turns++ < 10010)
		turn(r);
	CHECK_EQ(r->gone, 1);
	CHECK_IN(turns, DGRAM_DRAIN / (OP_MSGS + 1), DGRAM_DRAIN / OP_MSGS + 5);
	for (unsigned i = 0; i < r->fake.in_n; i++)
		buf_unref(r->fake.in[i].buf);
	rig_free(r);
}

/* A cut ends with what is under way and drops what waits, counted. */
TEST(dgram_cut_drops_and_counts)
{
	for (unsigned late = 0; late < 2; late++) {
		struct rig *r = rig_new("127.0.0.1:40000", &echo_service, NULL, 0);
		r->fake.room = 0;
		r->fake.late = late;
		for (unsigned i = 0; i < 5; i++)
			arrive_text(r, "127.0.0.1:50001", "x");
		turn(r);
		turn(r);
		chime__dgram_drain(r->w.dgrams);
		turn(r);
		turn(r);
		CHECK_EQ(r->gone, 0);
		chime__dgram_cut(r->w.dgrams);
		chime__dgram_cut(r->w.dgrams);
		turn(r);
		turn(r);
		CHECK_EQ(r->gone, 1);
		CHECK_EQ(r->w.stats.dropped_queue, 5);
		CHECK_EQ(r->w.stats.answers, 0);
		rig_free(r);
	}
}

/* A failing receive is counted, told, and begun again a little later, not at once for ever. */
TEST(dgram_receives_again_after_an_error)
{
	struct rig *r = rig_new("127.0.0.1:40000", &echo_service, NULL, 0);
	r->fake.in_err = -ENOMEM;
	turn(r);
	CHECK(!r->fake.recv);
	CHECK_EQ(r->w.stats.errors, 1);
	CHECK_EQ(r->lines, 1);
	r->fake.mono += 2 * TIMER_TICK_NS;
	turn(r);
	CHECK(r->fake.recv != NULL);
	arrive_text(r, "127.0.0.1:50001", "x");
	turn(r);
	CHECK_EQ(r->fake.sent_n, 1);
	rig_free(r);
}

/* A worker without a descriptor of a shared socket serves nothing of it, and that is no error. */
TEST(dgram_of_another_worker_is_none)
{
	struct rig *r = rig_new("/s", &echo_service, NULL, 0);
	struct dgram *only = r->w.dgrams;
	CHECK_EQ(chime__dgram_open(&r->w, &r->served, &r->sock, NULL, 0), 0);
	CHECK_PTR(r->w.dgrams, only);
	CHECK(chime__dgram_next(only) == NULL);
	rig_free(r);
}

TEST_MAIN()
