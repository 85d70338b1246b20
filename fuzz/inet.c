/*
 * Property: a numeric address that is read is what the C library reads from it, and prints to a text that is read as the same; a service,
 * protocol or interface that is not there is an error, whatever its name. Nothing behind the text's NUL is looked at.
 */
#include "fuzz/fuzz.h"
#include "net/edge.h"

#include <chime/error.h>
#include <chime/names.h>

#include <arpa/inet.h>
#include <errno.h>

static void check_aton(const char *text)
{
	struct in_addr ours, theirs;
	if (chime_inet_aton(text, &ours) < 0)
		return;
	MUST(inet_aton(text, &theirs) == 1);
	MUST(ours.s_addr == theirs.s_addr);
}

static void check_pton(int family, size_t size, const char *text)
{
	unsigned char ours[16], theirs[16], back[16];
	char printed[INET6_ADDRSTRLEN];
	int err = chime_inet_pton(family, text, ours);
	MUST((err == 0) == (inet_pton(family, text, theirs) == 1));
	if (err < 0)
		return;
	MUST(!memcmp(ours, theirs, size));
	MUST(chime_inet_ntop(family, ours, size, printed, sizeof printed) == 0);
	MUST(chime_inet_pton(family, edge_text(printed, strlen(printed)), back) == 0);
	MUST(!memcmp(ours, back, size));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	char name[64];
	if (len >= 1000)
		return 0;
	const char *text = edge_text(bytes, len);
	check_aton(text);
	check_pton(AF_INET, 4, text);
	check_pton(AF_INET6, 16, edge_text(bytes, len));
	text = edge_text(bytes, len);
	int port = chime_getservbyname(text, NULL), index = chime_if_nametoindex(text);
	MUST(port < 0 ? port == CHIME_EAI(EAI_SERVICE) || port == -ERANGE : port <= 65535);
	MUST(chime_getprotobyname(text) >= -32768);
	MUST(index > 0 || index == -ENODEV);
	if (port >= 0)
		MUST(chime_getservbyport(port, NULL, name, sizeof name) == 0);
	return 0;
}
