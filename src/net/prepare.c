/* Options that some kinds of sockets need to be what their scheme promises. */
#include "net/prepare.h"

#include <errno.h>
#include <linux/sctp.h>
#include <linux/tipc.h>
#include <linux/vm_sockets.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <sys/socket.h>

#define ROOM                                                                                                           \
	(512 << 10) /* for a message of 256 KiB and the stamp in front: RDS takes half of the buffer, vsock all of it */

/* No header has them: udplite(7). */
#define UDPLITE_SENDS 10
#define UDPLITE_TAKES 11
/* linux/icmp.h has it, and clashes with netinet/ip_icmp.h */
#define TYPES_KEPT_OUT 1 /* ICMP_FILTER: a bit for each type */

static int set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof value) < 0 ? -errno : 0;
}

static void make_room(int fd, int name, int forced)
{
	if (set_int(fd, SOL_SOCKET, forced, ROOM) < 0)
		(void)set_int(fd, SOL_SOCKET, name, ROOM);
}

void chime__prepare_kind(int fd, int family, int type, int protocol)
{
	if (protocol == IPPROTO_SCTP) {
		(void)set_int(fd, IPPROTO_SCTP, SCTP_NODELAY, 1);
	} else if (family == AF_VSOCK && type == SOCK_SEQPACKET) {
		/* A message must fit into what the receiver gives credit for. */
		const uint64_t room = ROOM;
		(void)setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_MAX_SIZE, &room, sizeof room);
		(void)setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &room, sizeof room);
	} else if (family == AF_TIPC && type == SOCK_RDM) {
		(void)set_int(fd, SOL_TIPC, TIPC_DEST_DROPPABLE, 0);
	} else if (family == AF_RDS) {
		make_room(fd, SO_SNDBUF, SO_SNDBUFFORCE);
		make_room(fd, SO_RCVBUF, SO_RCVBUFFORCE);
	}
}

int chime__prepare_coverage(int fd, int protocol, const struct chime_endpoint_settings *set)
{
	int err = 0;
	if (protocol != IPPROTO_UDPLITE)
		return 0;
	if (set->coverage >= 0)
		err = set_int(fd, IPPROTO_UDPLITE, UDPLITE_SENDS, (int)set->coverage);
	if (err == 0 && set->min_coverage >= 0)
		err = set_int(fd, IPPROTO_UDPLITE, UDPLITE_TAKES, (int)set->min_coverage);
	return err;
}

int chime__prepare_icmp(int fd, int family, bool requests)
{
	const uint32_t kept_out = ~(1u << (requests ? ICMP_ECHO : ICMP_ECHOREPLY));
	struct icmp6_filter filter;
	if (family == AF_INET)
		return setsockopt(fd, SOL_RAW, TYPES_KEPT_OUT, &kept_out, sizeof kept_out) < 0 ? -errno : 0;
	ICMP6_FILTER_SETBLOCKALL(&filter);
	ICMP6_FILTER_SETPASS(requests ? ICMP6_ECHO_REQUEST : ICMP6_ECHO_REPLY, &filter);
	return setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof filter) < 0 ? -errno : 0;
}
