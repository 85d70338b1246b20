/* libusrsctp behind the seam. The only file that knows it. */
#include "net/rdm_stack.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <usrsctp.h>

#define PORT_TRIES 64
#define PORT_FIRST 49152u
/* Of a packet, the UDP and IP headers not among it: what IPv6 carries everywhere (1280), for no path is asked for more. */
#define MTU (1280 - 40 - 8)
#define SACK_DELAY_MS 10
#define MEASURE_FROM_MS 80 /* a round trip that may have a lost first packet in it */
#define MEASURES 24

struct rdm_stack {
	struct socket *so;
	rdm_stack_stirred_fn *stirred;
	void *owner;
	uint16_t port;
	bool ordered;
};

static rdm_stack_output_fn *output_fn;

bool chime__stack_built(void)
{
	return true;
}

static int on_output(void *path, void *packet, size_t len, uint8_t tos, uint8_t set_df)
{
	(void)tos;
	(void)set_df;
	output_fn((uint64_t)(uintptr_t)path, packet, len);
	return 0; /* what could not be sent is loss, which the stack is for */
}

static void on_stirred(struct socket *so, void *arg, int flag)
{
	struct rdm_stack *s = arg;
	(void)so;
	(void)flag;
	s->stirred(s->owner);
}

int chime__stack_init(rdm_stack_output_fn *output)
{
	static bool done;
	sigset_t all, before;
	if (done)
		return 0;
	done = true;
	output_fn = output;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* for the thread that is started here */
	usrsctp_init_nothreads(0, on_output, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	/* Less to be attacked: what messages need not is off. */
	usrsctp_sysctl_set_sctp_ecn_enable(0);
	usrsctp_sysctl_set_sctp_pr_enable(0);
	usrsctp_sysctl_set_sctp_asconf_enable(0);
	usrsctp_sysctl_set_sctp_auth_enable(0);
	usrsctp_sysctl_set_sctp_auto_asconf(0);
	usrsctp_sysctl_set_sctp_reconfig_enable(0);
	usrsctp_sysctl_set_sctp_nrsack_enable(0);
	usrsctp_sysctl_set_sctp_pktdrop_enable(0);
	/* An orderly end lasts until the peer has sent what it had: who ends it earlier has limits of his own (give_up_ns, close). */
	usrsctp_sysctl_set_sctp_shutdown_guard_time_default(3600); /* the longest give_up_ns */
	return 0;
}

static struct sockaddr_conn conn_of(uint64_t path, uint16_t port)
{
	struct sockaddr_conn c = { 0 };
	c.sconn_family = AF_CONN;
	c.sconn_port = htons(port);
	c.sconn_addr = (void *)(uintptr_t)path;
	return c;
}

/* ---- a socket ---- */

static int set(struct socket *so, int level, int name, const void *value, size_t len)
{
	return usrsctp_setsockopt(so, level, name, value, (socklen_t)len) < 0 ? -errno : 0;
}

static int set_times(struct socket *so, const struct rdm_stack_config *c)
{
	struct sctp_rtoinfo rto = { .srto_initial = c->init_ms, .srto_max = c->rto_max_ms, .srto_min = c->rto_min_ms };
	struct sctp_assocparams params = { .sasoc_asocmaxrxt = (uint16_t)c->tries };
	struct sctp_initmsg init = { .sinit_num_ostreams = 1,
				     .sinit_max_instreams = 1,
				     .sinit_max_attempts = (uint16_t)c->init_tries,
				     .sinit_max_init_timeo = (uint16_t)c->init_max_ms };
	struct sctp_paddrparams path = { .spp_pathmtu = MTU,
					 .spp_flags = SPP_PMTUD_DISABLE | SPP_HB_ENABLE,
					 .spp_hbinterval = 30000,
					 .spp_pathmaxrxt = (uint16_t)c->tries };
	struct sctp_sack_info sack = { .sack_delay = SACK_DELAY_MS, .sack_freq = 2 };
	uint32_t idle = c->idle_s;
	int err = set(so, IPPROTO_SCTP, SCTP_RTOINFO, &rto, sizeof rto);
	if (err == 0)
		err = set(so, IPPROTO_SCTP, SCTP_ASSOCINFO, &params, sizeof params);
	if (err == 0)
		err = set(so, IPPROTO_SCTP, SCTP_INITMSG, &init, sizeof init);
	if (err == 0)
		err = set(so, IPPROTO_SCTP, SCTP_PEER_ADDR_PARAMS, &path, sizeof path);
	if (err == 0)
		err = set(so, IPPROTO_SCTP, SCTP_DELAYED_SACK, &sack, sizeof sack);
	if (err == 0 && idle)
		err = set(so, IPPROTO_SCTP, SCTP_AUTOCLOSE, &idle, sizeof idle);
	return err;
}

static int set_messages(struct socket *so, const struct rdm_stack_config *c)
{
	static const uint16_t wanted[] = { SCTP_ASSOC_CHANGE, SCTP_SEND_FAILED_EVENT, SCTP_SENDER_DRY_EVENT,
					   SCTP_PARTIAL_DELIVERY_EVENT };
	const uint32_t none = 0, longest = (uint32_t)c->longest;
	const int one = 1;
	int err = usrsctp_set_non_blocking(so, 1) < 0 ? -errno : 0;
	if (err == 0)
		err = set(so, SOL_SOCKET, SO_SNDBUF, &c->sndbuf, sizeof c->sndbuf);
	if (err == 0)
		err = set(so, SOL_SOCKET, SO_RCVBUF, &c->rcvbuf, sizeof c->rcvbuf);
	if (err == 0)
		err = set(so, IPPROTO_SCTP, SCTP_NODELAY, &one, sizeof one);
	if (err == 0)
		err = set(so, IPPROTO_SCTP, SCTP_RECVRCVINFO, &one, sizeof one);
	if (err == 0) /* one message at a time, and in pieces only those that are too long anyway */
		err = set(so, IPPROTO_SCTP, SCTP_FRAGMENT_INTERLEAVE, &none, sizeof none);
	if (err == 0)
		err = set(so, IPPROTO_SCTP, SCTP_PARTIAL_DELIVERY_POINT, &longest, sizeof longest);
	for (size_t i = 0; err == 0 && i < sizeof wanted / sizeof *wanted; i++) {
		struct sctp_event e = { .se_assoc_id = SCTP_FUTURE_ASSOC, .se_type = wanted[i], .se_on = 1 };
		err = set(so, IPPROTO_SCTP, SCTP_EVENT, &e, sizeof e);
	}
	return err;
}

static int bind_port(struct rdm_stack *s, uint16_t port)
{
	for (unsigned i = 0;; i++) {
		uint32_t random = 0;
		if (!port && getrandom(&random, sizeof random, 0) < 0)
			return -errno;
		s->port = port ? port : (uint16_t)(PORT_FIRST + random % (65536 - PORT_FIRST));
		struct sockaddr_conn at = conn_of(0, s->port);
		if (usrsctp_bind(s->so, (struct sockaddr *)&at, sizeof at) == 0)
			return usrsctp_listen(s->so, 1) < 0 ? -errno : 0;
		if (port || errno != EADDRINUSE || i == PORT_TRIES)
			return -errno;
	}
}

int chime__stack_open(struct rdm_stack **out, const struct rdm_stack_config *config)
{
	struct rdm_stack *s = calloc(1, sizeof *s);
	*out = NULL;
	if (!s)
		return -ENOMEM;
	*s = (struct rdm_stack){ .stirred = config->stirred, .owner = config->owner, .ordered = config->ordered };
	s->so = usrsctp_socket(AF_CONN, SOCK_SEQPACKET, IPPROTO_SCTP, NULL, NULL, 0, NULL);
	int err = s->so ? 0 : -errno;
	if (err == 0)
		err = set_times(s->so, config);
	if (err == 0)
		err = set_messages(s->so, config);
	if (err == 0)
		err = bind_port(s, config->port);
	if (err == 0 && usrsctp_set_upcall(s->so, on_stirred, s) < 0)
		err = -errno;
	if (err < 0) {
		chime__stack_close(s);
		return err;
	}
	*out = s;
	return 0;
}

void chime__stack_close(struct rdm_stack *s)
{
	struct linger now = { 1, 0 };
	if (!s)
		return;
	if (s->so) {
		usrsctp_set_upcall(s->so, NULL, NULL);
		(void)set(s->so, SOL_SOCKET, SO_LINGER, &now, sizeof now);
		usrsctp_close(s->so);
	}
	free(s);
}

uint16_t chime__stack_port(const struct rdm_stack *s)
{
	return s->port;
}

/* ---- packets and time ---- */

void chime__stack_know(uint64_t path)
{
	usrsctp_register_address((void *)(uintptr_t)path);
}

void chime__stack_forget(uint64_t path)
{
	usrsctp_deregister_address((void *)(uintptr_t)path);
}

void chime__stack_input(uint64_t path, const void *packet, size_t len)
{
	usrsctp_conninput((void *)(uintptr_t)path, packet, len, 0);
}

void chime__stack_tick(unsigned elapsed_ms)
{
	usrsctp_handle_timers(elapsed_ms);
}

uint32_t chime__stack_checksum(void *packet, size_t len)
{
	return usrsctp_crc32c(packet, len);
}

/* ---- associations and messages ---- */

uint32_t chime__stack_assoc(struct rdm_stack *s, uint64_t path, uint16_t port)
{
	struct sockaddr_conn c = conn_of(path, port);
	return usrsctp_getassocid(s->so, (struct sockaddr *)&c);
}

int chime__stack_connect(struct rdm_stack *s, uint64_t path, uint16_t port)
{
	struct sockaddr_conn c = conn_of(path, port);
	if (usrsctp_connect(s->so, (struct sockaddr *)&c, sizeof c) == 0 || errno == EINPROGRESS || errno == EALREADY)
		return 0;
	return -errno;
}

/*
 * libusrsctp takes the time from the first INIT to the answer for a round trip, however many were lost in between, and sends nothing
 * again before three times that has passed, whatever the limit says. Heartbeats bring the figure down.
 */
void chime__stack_measure(struct rdm_stack *s, uint64_t path, uint16_t port, uint32_t assoc)
{
	struct sockaddr_conn c = conn_of(path, port);
	struct sctp_paddrparams demand = { .spp_assoc_id = assoc, .spp_flags = SPP_HB_DEMAND };
	struct sctp_status status = { .sstat_assoc_id = assoc };
	socklen_t len = sizeof status;
	if (usrsctp_getsockopt(s->so, IPPROTO_SCTP, SCTP_STATUS, &status, &len) < 0 ||
	    status.sstat_primary.spinfo_srtt < MEASURE_FROM_MS)
		return;
	memcpy(&demand.spp_address, &c, sizeof c);
	for (unsigned i = 0; i < MEASURES; i++)
		(void)set(s->so, IPPROTO_SCTP, SCTP_PEER_ADDR_PARAMS, &demand, sizeof demand);
}

static int send_flags(struct rdm_stack *s, uint64_t path, uint16_t port, const void *bytes, size_t len, uint32_t id,
		      unsigned flags)
{
	struct sockaddr_conn c = conn_of(path, port);
	struct sctp_sndinfo info = { .snd_flags = (uint16_t)flags, .snd_context = id };
	if (usrsctp_sendv(s->so, bytes, len, (struct sockaddr *)&c, 1, &info, sizeof info, SCTP_SENDV_SNDINFO, 0) < 0)
		return -errno;
	return 0;
}

int chime__stack_send(struct rdm_stack *s, uint64_t path, uint16_t port, const void *bytes, size_t len, uint32_t id,
		      bool first)
{
	unsigned flags = (s->ordered ? 0u : SCTP_UNORDERED) | (first ? SCTP_SACK_IMMEDIATELY : 0u);
	return send_flags(s, path, port, bytes, len, id, flags);
}

/* An end takes no room, and yet libusrsctp asks for some: where as many chunks are under way as there may be, it would say EAGAIN. */
int chime__stack_end(struct rdm_stack *s, uint64_t path, uint16_t port, bool abort)
{
	uint32_t most = usrsctp_sysctl_get_sctp_max_chunks_on_queue();
	usrsctp_sysctl_set_sctp_max_chunks_on_queue(UINT32_MAX);
	int err = send_flags(s, path, port, "", 0, 0, abort ? SCTP_ABORT : SCTP_EOF);
	usrsctp_sysctl_set_sctp_max_chunks_on_queue(most);
	return err;
}

bool chime__stack_dry(struct rdm_stack *s, uint32_t assoc)
{
	struct sctp_status status = { .sstat_assoc_id = assoc };
	socklen_t len = sizeof status;
	if (usrsctp_getsockopt(s->so, IPPROTO_SCTP, SCTP_STATUS, &status, &len) < 0)
		return true; /* it is gone: what it had is reported */
	/* Until it is up, what is to be sent is not counted. (sstat_penddata is of what was received.) */
	return status.sstat_state != SCTP_COOKIE_WAIT && status.sstat_state != SCTP_COOKIE_ECHOED &&
	       status.sstat_unackdata == 0;
}

/* ---- what came ---- */

static void read_change(const struct sctp_assoc_change *c, size_t len, struct rdm_stack_event *ev)
{
	bool by_peer = len > sizeof *c; /* its ABORT stands behind */
	ev->assoc = c->sac_assoc_id;
	switch (c->sac_state) {
	case SCTP_COMM_UP:
		ev->kind = STACK_UP;
		break;
	case SCTP_RESTART:
		ev->kind = STACK_RESTARTED;
		ev->why = -ECONNRESET;
		break;
	case SCTP_SHUTDOWN_COMP:
		ev->kind = STACK_DOWN;
		break;
	case SCTP_CANT_STR_ASSOC:
		ev->kind = STACK_DOWN;
		ev->why = by_peer ? -ECONNREFUSED : -ETIMEDOUT;
		break;
	case SCTP_COMM_LOST:
		ev->kind = STACK_DOWN;
		ev->why = by_peer ? -ECONNRESET : -ETIMEDOUT;
		break;
	}
}

static void read_notification(const void *bytes, size_t len, struct rdm_stack_event *ev)
{
	union sctp_notification n = { .sn_header.sn_type = 0 };
	memcpy(&n, bytes, len < sizeof n ? len : sizeof n);
	ev->kind = STACK_OTHER;
	switch (n.sn_header.sn_type) {
	case SCTP_ASSOC_CHANGE:
		read_change(&n.sn_assoc_change, len, ev);
		break;
	case SCTP_SEND_FAILED_EVENT:
		ev->kind = STACK_FAILED;
		ev->assoc = n.sn_send_failed_event.ssfe_assoc_id;
		ev->id = n.sn_send_failed_event.ssfe_info.snd_context;
		break;
	case SCTP_SENDER_DRY_EVENT:
		ev->kind = STACK_DRY;
		ev->assoc = n.sn_sender_dry_event.sender_dry_assoc_id;
		break;
	case SCTP_PARTIAL_DELIVERY_EVENT:
		ev->kind = STACK_BROKEN;
		ev->assoc = n.sn_pdapi_event.pdapi_assoc_id;
		break;
	}
}

void chime__stack_take(struct rdm_stack *s, void *buf, size_t size, struct rdm_stack_event *ev)
{
	struct sockaddr_conn from = { 0 };
	struct sctp_rcvinfo info = { 0 };
	unsigned info_type = 0;
	int flags = 0;
	ssize_t n = -1;
	*ev = (struct rdm_stack_event){ .kind = STACK_NOTHING };
	for (int i = 0; i < 4; i++) { /* an error of an association that is over may stand in front */
		socklen_t from_len = sizeof from, info_len = sizeof info;
		flags = 0;
		n = usrsctp_recvv(s->so, buf, size, (struct sockaddr *)&from, &from_len, &info, &info_len, &info_type,
				  &flags);
		if (n >= 0 || errno == EAGAIN)
			break;
	}
	if (n <= 0) /* nothing is there: there are no empty messages, and no end */
		return;
	ev->path = (uint64_t)(uintptr_t)from.sconn_addr;
	ev->port = ntohs(from.sconn_port);
	if (flags & MSG_NOTIFICATION) {
		read_notification(buf, (size_t)n, ev);
		return;
	}
	ev->kind = STACK_MESSAGE;
	ev->assoc = info_type == SCTP_RECVV_RCVINFO ? info.rcv_assoc_id : 0;
	ev->len = (size_t)n;
	ev->whole = flags & MSG_EOR;
}
