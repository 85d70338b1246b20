/* Services, protocols and interfaces by name and number; addresses as text. Nothing here waits. */
#include <chime/error.h>
#include <chime/names.h>

#include "net/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <unistd.h>

#define ENTRY 8192 /* room for one entry of a data base with all its aliases */

/* Why a data base has no such entry: what kept it from being read, or that there is none. */
static int not_found(int err, int none)
{
	return err == ERANGE || err == EMFILE || err == ENFILE || err == ENOMEM ? -err : none;
}

int chime_getservbyname(const char *name, const char *protocol)
{
	struct servent entry, *found = NULL;
	char room[ENTRY];
	int err = getservbyname_r(name, protocol, &entry, room, sizeof room, &found);
	if (!found)
		return not_found(err, CHIME_EAI(EAI_SERVICE));
	return ntohs((uint16_t)entry.s_port);
}

int chime_getservbyport(int port, const char *protocol, char *buf, size_t size)
{
	struct servent entry, *found = NULL;
	char room[ENTRY];
	if (port < 0 || port > 65535)
		return -ERANGE;
	int err = getservbyport_r(htons((uint16_t)port), protocol, &entry, room, sizeof room, &found);
	if (!found)
		return not_found(err, CHIME_EAI(EAI_SERVICE));
	return chime__text_copy(buf, size, entry.s_name);
}

int chime_getprotobyname(const char *name)
{
	struct protoent entry, *found = NULL;
	char room[ENTRY];
	int err = getprotobyname_r(name, &entry, room, sizeof room, &found);
	if (!found)
		return not_found(err, CHIME_EAI(EAI_NONAME));
	return entry.p_proto;
}

/* ---- interfaces ---- */

int chime_if_nameindex(struct chime_interface *out, size_t max)
{
	struct if_nameindex *list = if_nameindex();
	size_t n = 0;
	if (!list)
		return -errno;
	for (const struct if_nameindex *i = list; i->if_index != 0 || i->if_name; i++, n++) {
		if (n >= max)
			continue;
		out[n].index = i->if_index;
		strncpy(out[n].name, i->if_name, CHIME_IF_NAME - 1);
		out[n].name[CHIME_IF_NAME - 1] = 0;
	}
	if_freenameindex(list);
	return (int)n;
}

/* Why the C library found no interface. It asks by a socket, and does not tell of the one that it could not open. */
static int no_interface(int none)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	close(fd);
	return none;
}

int chime_if_nametoindex(const char *name)
{
	/* A longer one would be cut, and the interface of the shorter name found. */
	if (strlen(name) >= CHIME_IF_NAME)
		return -ENODEV;
	unsigned index = if_nametoindex(name);
	return index ? (int)index : no_interface(-ENODEV);
}

int chime_if_indextoname(unsigned index, char name[CHIME_IF_NAME])
{
	return if_indextoname(index, name) ? 0 : no_interface(-ENXIO);
}

/* ---- addresses as text ---- */

int chime_inet_aton(const char *text, struct in_addr *out)
{
	if (text[strspn(text, "0123456789abcdefABCDEFxX.")])
		return CHIME_ESYNTAX;
	return inet_aton(text, out) ? 0 : CHIME_ESYNTAX;
}

int chime_inet_pton(int family, const char *text, void *out)
{
	if (family != AF_INET && family != AF_INET6)
		return -EAFNOSUPPORT;
	return inet_pton(family, text, out) == 1 ? 0 : CHIME_ESYNTAX;
}

int chime_inet_ntop(int family, const void *bytes, size_t len, char *buf, size_t size)
{
	if (family != AF_INET && family != AF_INET6)
		return -EAFNOSUPPORT;
	if (len != (family == AF_INET ? 4u : 16u))
		return -EINVAL;
	return inet_ntop(family, bytes, buf, (socklen_t)size) ? 0 : -errno;
}
