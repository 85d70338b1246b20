/*
 * Property: an address that is read prints to a text that is read as the same address, to the byte. And whatever bytes
 * stand in an address that a system call gave, it can be printed, asked and compared. Nothing behind the text's NUL, or behind
 * those bytes, is looked at.
 */
#include "fuzz/fuzz.h"
#include "net/edge.h"

#include <chime/addr.h>

static void check_text(const char *text)
{
	char printed[CHIME_ADDR_TEXT];
	chime_addr a, back;
	if (chime_addr_parse(&a, text) < 0)
		return;
	size_t n = chime_addr_print(&a, printed, sizeof printed);
	MUST(n < sizeof printed && n == strlen(printed));
	MUST(chime_addr_parse(&back, edge_text(printed, n)) == 0);
	MUST(a.len == back.len && !memcmp(&a.u, &back.u, sizeof a.u));
	MUST(chime_addr_equal(&a, &back));
}

static void check_bytes(const uint8_t *bytes, size_t len)
{
	char printed[CHIME_ADDR_TEXT], again[CHIME_ADDR_TEXT];
	chime_addr a, back;
	if (chime_addr_from(&a, (const struct sockaddr *)(const void *)edge_bytes(bytes, len), (socklen_t)len) < 0)
		return;
	size_t n = chime_addr_print(&a, printed, sizeof printed);
	MUST(n < sizeof printed && n == strlen(printed));
	for (const char *p = printed; *p; p++)
		MUST((unsigned char)*p > ' ' || chime_addr_family(&a) != AF_UNIX);
	MUST(chime_addr_equal(&a, &a));
	chime_addr plain = chime_addr_unmap(&a);
	MUST(chime_addr_is_loopback(&plain) == chime_addr_is_loopback(&a));
	MUST(chime_addr_is_any(&plain) == chime_addr_is_any(&a));
	MUST(chime_addr_port(&plain) == chime_addr_port(&a));
	if (chime_addr_parse(&back, printed) == 0) {
		chime_addr_print(&back, again, sizeof again);
		MUST(!strcmp(printed, again));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	if (len >= EDGE_ROOM)
		return 0;
	check_text(edge_text(bytes, len));
	check_bytes(bytes, len);
	return 0;
}
