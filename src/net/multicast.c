/* Groups and broadcast: joined, left, and the settings of what is sent to them. */
#include <chime/multicast.h>
#include <chime/names.h>

#include "net/group.h"
#include "net/sock.h"

#include <errno.h>
#include <string.h>

static int level_of(int family)
{
	return family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
}

static int set(int fd, int level, int name, const void *value, socklen_t len)
{
	return setsockopt(fd, level, name, value, len) < 0 ? -errno : 0;
}

/* ---- by descriptor. A socket of AF_INET6 sends to groups of IPv4 too: it is set for both, as far as it can be. ---- */

int chime__group_change(int fd, const chime_addr *group, const chime_addr *source, unsigned ifindex, bool join)
{
	const chime_addr plain = chime_addr_unmap(group), plain_source = source ? chime_addr_unmap(source) : plain;
	group = &plain;
	source = source ? &plain_source : NULL;
	int family = chime_addr_family(group), level = level_of(family);
	if (!chime_addr_is_multicast(group) || (source && chime_addr_family(source) != family))
		return -EINVAL;
	if (ifindex == 0 && family == AF_INET6)
		ifindex = group->u.in6.sin6_scope_id;
	if (!source) {
		struct group_req req = { .gr_interface = ifindex };
		memcpy(&req.gr_group, &group->u, group->len);
		return set(fd, level, join ? MCAST_JOIN_GROUP : MCAST_LEAVE_GROUP, &req, sizeof req);
	}
	struct group_source_req req = { .gsr_interface = ifindex };
	memcpy(&req.gsr_group, &group->u, group->len);
	memcpy(&req.gsr_source, &source->u, source->len);
	return set(fd, level, join ? MCAST_JOIN_SOURCE_GROUP : MCAST_LEAVE_SOURCE_GROUP, &req, sizeof req);
}

int chime__group_if(int fd, int family, unsigned ifindex)
{
	int index = (int)ifindex;
	struct ip_mreqn req = { .imr_ifindex = index };
	int err = set(fd, IPPROTO_IP, IP_MULTICAST_IF, &req, sizeof req);
	return family == AF_INET6 ? set(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof index) : err;
}

int chime__group_hops(int fd, int family, int hops)
{
	if (hops < -1 || hops > 255)
		return -ERANGE;
	int err = set(fd, IPPROTO_IP, IP_MULTICAST_TTL, &hops, sizeof hops);
	return family == AF_INET6 ? set(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof hops) : err;
}

int chime__group_loop(int fd, int family, bool on)
{
	int value = on, err = set(fd, IPPROTO_IP, IP_MULTICAST_LOOP, &value, sizeof value);
	return family == AF_INET6 ? set(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, &value, sizeof value) : err;
}

/* ---- by an endpoint's settings ---- */

bool chime__sends_to_many(const chime_addr *to, const struct chime_endpoint_settings *settings)
{
	return chime_addr_is_multicast(to) || chime_addr_is_broadcast(to) || settings->broadcast;
}

/* The number of the interface that the settings name; 0 none; -ENODEV and the like. */
static int interface_of(const struct chime_endpoint_settings *settings)
{
	if (!settings->interface[0])
		return 0;
	return chime_if_nametoindex(settings->interface);
}

/* What goes to one address: the hops of every packet; and to use one interface alone. */
static int set_unicast(int fd, int family, const struct chime_endpoint_settings *settings, bool group)
{
	int hops = (int)settings->ttl, err = 0;
	if (hops >= 0)
		err = set(fd, level_of(family), family == AF_INET6 ? IPV6_UNICAST_HOPS : IP_TTL, &hops, sizeof hops);
	if (err == 0 && settings->interface[0] && !group)
		err = set(fd, SOL_SOCKET, SO_BINDTODEVICE, settings->interface, (socklen_t)strlen(settings->interface));
	return err;
}

int chime__group_settings(int fd, const chime_addr *at, const struct chime_endpoint_settings *settings,
			  const char **what)
{
	int family = chime_addr_family(at), on = 1, err = 0, interface = interface_of(settings);
	bool group = chime_addr_is_multicast(at);
	const char *ignored = NULL, **op = what ? what : &ignored;
	*op = "if";
	if (interface < 0)
		return interface;
	if (group && interface > 0)
		err = chime__group_if(fd, family, (unsigned)interface);
	if (err == 0 && settings->broadcast) {
		*op = "broadcast";
		err = set(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof on);
	}
	if (err == 0 && settings->ttl >= 0) {
		*op = "ttl";
		err = chime__group_hops(fd, family, (int)settings->ttl);
	}
	if (err == 0 && settings->loop >= 0) {
		*op = "loop";
		err = chime__group_loop(fd, family, settings->loop > 0);
	}
	if (err == 0) {
		*op = settings->interface[0] ? "if" : "ttl";
		err = set_unicast(fd, family, settings, group);
	}
	return err;
}

int chime__group_serve(int fd, const chime_addr *group, const struct chime_endpoint_settings *settings)
{
	chime_addr source;
	int interface = interface_of(settings);
	if (interface < 0)
		return interface;
	if (settings->source[0]) {
		int err = chime_addr_ip(&source, chime_addr_family(group), settings->source, 0);
		if (err < 0)
			return err;
	}
	return chime__group_change(fd, group, settings->source[0] ? &source : NULL, (unsigned)interface, true);
}

/* ---- by handle ---- */

static int change(chime_sock *s, const chime_addr *group, const chime_addr *source, unsigned ifindex, bool join)
{
	enum chime__act act = join ? ACT_JOIN_GROUP : ACT_LEAVE_GROUP;
	int fd = chime__sock_enter(s);
	if (fd < 0)
		return chime__sock_failed(s, act, fd, group);
	int err = chime__group_change(fd, group, source, ifindex, join);
	chime__sock_leave(s);
	return err < 0 ? chime__sock_failed(s, act, err, group) : 0;
}

int chime_join_group(chime_sock *s, const chime_addr *group, unsigned ifindex)
{
	return change(s, group, NULL, ifindex, true);
}

int chime_leave_group(chime_sock *s, const chime_addr *group, unsigned ifindex)
{
	return change(s, group, NULL, ifindex, false);
}

int chime_join_source(chime_sock *s, const chime_addr *group, const chime_addr *source, unsigned ifindex)
{
	return change(s, group, source, ifindex, true);
}

int chime_leave_source(chime_sock *s, const chime_addr *group, const chime_addr *source, unsigned ifindex)
{
	return change(s, group, source, ifindex, false);
}

/* Runs one of the calls by descriptor whose failure is told as one of setsockopt's. */
#define BY_HANDLE(call)                                                                                                \
	do {                                                                                                           \
		int fd = chime__sock_enter(s);                                                                         \
		if (fd < 0)                                                                                            \
			return chime__sock_failed(s, ACT_SETSOCKOPT, fd, NULL);                                        \
		int err = call;                                                                                        \
		chime__sock_leave(s);                                                                                  \
		return err < 0 ? chime__sock_failed(s, ACT_SETSOCKOPT, err, NULL) : 0;                                 \
	} while (0)

int chime_set_multicast_if(chime_sock *s, unsigned ifindex)
{
	BY_HANDLE(chime__group_if(fd, s->family, ifindex));
}

int chime_set_multicast_hops(chime_sock *s, int hops)
{
	BY_HANDLE(chime__group_hops(fd, s->family, hops));
}

int chime_set_multicast_loop(chime_sock *s, bool on)
{
	BY_HANDLE(chime__group_loop(fd, s->family, on));
}

int chime_set_broadcast(chime_sock *s, bool on)
{
	return chime_setsockopt_int(s, SOL_SOCKET, SO_BROADCAST, on);
}
