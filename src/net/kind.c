/* Which kinds of sockets there are, in a table, and which of them this kernel gives us, by trying. */
#include <chime/error.h>
#include <chime/kind.h>

#include <errno.h>
#include <linux/can.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/tipc.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define KIND(family_, type_, protocol_, name_, scheme_)                                                                \
	.family = AF_##family_, .type = SOCK_##type_, .protocol = protocol_, .family_name = "AF_" #family_,            \
	.type_name = "SOCK_" #type_, .protocol_name = name_, .scheme = scheme_
#define NO_SCHEME CHIME_SCHEMES

#define RELIABLE_BYTES .reliable = true, .ordered = true
#define RELIABLE_MESSAGES .reliable = true, .ordered = true, .messages = true
#define UNORDERED_MESSAGES .reliable = true, .messages = true
#define MESSAGES .messages = true
#define ORDERED_MESSAGES .ordered = true, .messages = true

#define RDM_REMARK "no Linux has it; SCTP with unordered delivery promises the same"
#define RAW_REMARK "whole packets, as they come"

/* The kinds that both IP families have. */
#define IP_KINDS(family_, icmp_)                                                                                       \
	{ KIND(family_, STREAM, IPPROTO_TCP, "TCP", CHIME_TCP), RELIABLE_BYTES },                                      \
		{ KIND(family_, STREAM, IPPROTO_MPTCP, "MPTCP", CHIME_MPTCP), RELIABLE_BYTES },                        \
		{ KIND(family_, STREAM, IPPROTO_SCTP, "SCTP", CHIME_SCTP), RELIABLE_BYTES, .module = "sctp" },         \
		{ KIND(family_, DGRAM, IPPROTO_UDP, "UDP", CHIME_UDP), MESSAGES },                                     \
		{ KIND(family_, DGRAM, IPPROTO_UDPLITE, "UDP-Lite", CHIME_UDPLITE), MESSAGES,                          \
		  .remark = "the checksum may cover a part alone" },                                                   \
		{ KIND(family_, DGRAM, icmp_, "ICMP", CHIME_ICMP), MESSAGES, .remark = "echo requests alone" },        \
		{ KIND(family_, SEQPACKET, IPPROTO_SCTP, "SCTP", CHIME_SCTP_SEQPACKET), RELIABLE_MESSAGES,             \
		  .module = "sctp" },                                                                                  \
		{ KIND(family_, RDM, 0, "", CHIME_RDM), UNORDERED_MESSAGES, .remark = RDM_REMARK },                    \
		{ KIND(family_, RAW, icmp_, "ICMP", CHIME_ICMP), MESSAGES, .remark = RAW_REMARK },                     \
	{                                                                                                              \
		KIND(family_, RAW, IPPROTO_RAW, "any", CHIME_IP), MESSAGES, .remark = RAW_REMARK                       \
	}

static const struct chime_kind kinds[] = {
	IP_KINDS(INET, IPPROTO_ICMP),
	IP_KINDS(INET6, IPPROTO_ICMPV6),
	{ KIND(UNIX, STREAM, 0, "", CHIME_UNIX), RELIABLE_BYTES },
	{ KIND(UNIX, DGRAM, 0, "", CHIME_UNIX_DGRAM), RELIABLE_MESSAGES, .remark = "what SOCK_RDM promises, and more" },
	{ KIND(UNIX, SEQPACKET, 0, "", CHIME_UNIX_SEQPACKET), RELIABLE_MESSAGES },
	{ KIND(VSOCK, STREAM, 0, "", CHIME_VSOCK), RELIABLE_BYTES, .module = "vsock" },
	{ KIND(VSOCK, SEQPACKET, 0, "", CHIME_VSOCK_SEQPACKET), RELIABLE_MESSAGES, .module = "vsock" },
	{ KIND(VSOCK, DGRAM, 0, "", NO_SCHEME), MESSAGES, .module = "vmw_vsock_vmci_transport",
	  .remark = "guests of VMware alone" },
	{ KIND(TIPC, STREAM, 0, "", CHIME_TIPC), RELIABLE_BYTES, .module = "tipc" },
	{ KIND(TIPC, SEQPACKET, 0, "", CHIME_TIPC_SEQPACKET), RELIABLE_MESSAGES, .module = "tipc" },
	{ KIND(TIPC, RDM, 0, "", CHIME_TIPC_RDM), RELIABLE_MESSAGES, .module = "tipc",
	  .remark = "while the link holds, and the receiver's queue has room" },
	{ KIND(TIPC, DGRAM, 0, "", CHIME_TIPC_DGRAM), MESSAGES, .module = "tipc" },
	{ KIND(RDS, SEQPACKET, 0, "", CHIME_RDS), RELIABLE_MESSAGES, .module = "rds_tcp" },
	{ KIND(PACKET, RAW, 0, "", NO_SCHEME), MESSAGES, .module = "af_packet",
	  .remark = "frames with their link headers" },
	{ KIND(PACKET, DGRAM, 0, "", NO_SCHEME), MESSAGES, .module = "af_packet",
	  .remark = "frames without their link headers" },
	{ KIND(NETLINK, RAW, NETLINK_ROUTE, "ROUTE", NO_SCHEME), ORDERED_MESSAGES,
	  .remark = "lost when the buffer is full, which is told" },
	{ KIND(CAN, RAW, CAN_RAW, "CAN_RAW", NO_SCHEME), MESSAGES, .module = "can_raw" },
	{ KIND(ALG, SEQPACKET, 0, "", NO_SCHEME), RELIABLE_MESSAGES, .module = "af_alg",
	  .remark = "the kernel's ciphers and digests" },
	{ KIND(BLUETOOTH, SEQPACKET, 0, "L2CAP", NO_SCHEME), RELIABLE_MESSAGES, .module = "bluetooth" },
	{ KIND(QIPCRTR, DGRAM, 0, "", NO_SCHEME), MESSAGES, .module = "qrtr" },
	{ .family_name = NULL },
};

const struct chime_kind *chime_kind_table(void)
{
	return kinds;
}

const struct chime_kind *chime_kind_find(int family, int type, int protocol)
{
	for (const struct chime_kind *k = kinds; k->family_name; k++)
		if (k->family == family && k->type == type && k->protocol == protocol)
			return k;
	/* Every protocol has raw sockets of its own, in one row. */
	if (type == SOCK_RAW && (family == AF_INET || family == AF_INET6) && protocol != IPPROTO_RAW)
		return chime_kind_find(family, type, IPPROTO_RAW);
	return NULL;
}

/* ---- trying ---- */

static bool is_ip(const struct chime_kind *k)
{
	return k->family == AF_INET || k->family == AF_INET6;
}

static int bind_to(int fd, const chime_addr *a)
{
	return bind(fd, &a->u.sa, a->len) == 0 ? 0 : -errno;
}

/* Binds where nobody notices: 0 (perhaps without having bound) or -errno. *no_loopback: only the any address could be had. */
static int try_bind(const struct chime_kind *k, int fd, bool *no_loopback)
{
	chime_addr a = chime_addr_none();
	if (k->family == AF_INET || k->family == AF_RDS) /* RDS has the addresses of IPv4 */
		chime_addr_ip(&a, AF_INET, "127.0.0.1", 0);
	else if (k->family == AF_INET6)
		chime_addr_ip(&a, AF_INET6, "::1", 0);
	else if (k->family == AF_VSOCK)
		chime_addr_vsock(&a, VMADDR_CID_ANY, VMADDR_PORT_ANY);
	int err = a.len ? bind_to(fd, &a) : 0;
	*no_loopback = err == -EADDRNOTAVAIL && is_ip(k);
	if (!*no_loopback)
		return err;
	chime_addr_ip(&a, k->family, "", 0);
	return bind_to(fd, &a);
}

/* Whether vsock reaches this machine itself: asked by binding, for connecting may lead out of it. */
static bool vsock_loops(void)
{
	chime_addr a;
	chime_addr_vsock(&a, 1 /* VMADDR_CID_LOCAL */, VMADDR_PORT_ANY);
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool loops = fd >= 0 && bind(fd, &a.u.sa, a.len) == 0;
	if (fd >= 0)
		close(fd);
	return loops;
}

/* What would help, "" if nothing is known to. */
static void help(const struct chime_kind *k, int err, char *out, size_t size)
{
	out[0] = 0;
	switch (err) {
	case -EPERM:
	case -EACCES:
		if (is_ip(k) && k->type == SOCK_DGRAM)
			snprintf(out, size, "sysctl net.ipv4.ping_group_range says which groups may");
		else if (k->type == SOCK_RAW || k->family == AF_PACKET)
			snprintf(out, size, "it takes root, or CAP_NET_RAW");
		return;
	case -EADDRNOTAVAIL:
		if (k->family == AF_RDS)
			snprintf(out, size, "RDS has no transport (modprobe rds_tcp)");
		return;
	case -ENOPROTOOPT:
		if (k->protocol == IPPROTO_MPTCP)
			snprintf(out, size, "it is switched off (sysctl net.mptcp.enabled=1)");
		return;
	case -EMFILE:
	case -ENFILE:
	case -ENOMEM:
	case -ENOBUFS:
		return;
	default:
		if (k->module)
			snprintf(out, size, "the kernel module %s brings it (modprobe %s)", k->module, k->module);
		else if (k->type == SOCK_RDM)
			snprintf(out, size, "no Linux has it");
	}
}

int chime_kind_try(const struct chime_kind *k, char *why, size_t size)
{
	const char *call = "socket";
	char more[128];
	bool no_loopback = false;
	int err = 0, fd = socket(k->family, k->type | SOCK_CLOEXEC, k->protocol);
	if (size)
		why[0] = 0;
	if (fd < 0) {
		err = -errno;
	} else {
		call = "bind";
		err = try_bind(k, fd, &no_loopback);
		close(fd);
	}
	if (err < 0 && size) {
		help(k, err, more, sizeof more);
		snprintf(why, size, "%s: %s%s%s", call, chime_strerror(err), more[0] ? "; " : "", more);
	} else if (size && no_loopback) {
		snprintf(why, size, "the loopback interface has no %s",
			 k->family == AF_INET ? "127.0.0.1 (ip link set lo up)"
					      : "::1 (ip link set lo up, sysctl net.ipv6.conf.lo.disable_ipv6=0)");
	} else if (size && k->family == AF_VSOCK && !vsock_loops()) {
		snprintf(why, size, "to other machines alone; for this one it takes modprobe vsock_loopback");
	}
	return err;
}
