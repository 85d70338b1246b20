/*
 * Property: a duration that is read prints to a text, no longer than the one that was given, that is read as the same; so does every
 * number of nanoseconds. One that is refused leaves the value alone. Nothing behind the text's NUL is looked at.
 */
#include "fuzz/fuzz.h"
#include "net/edge.h"

#include <chime/clock.h>

static void check_number(int64_t ns, size_t longest)
{
	char printed[64];
	int64_t back = -77;
	size_t n = chime_duration_print(ns, printed, sizeof printed);
	MUST(n < sizeof printed && n == strlen(printed) && n <= longest);
	MUST(chime_duration_parse(edge_text(printed, n), &back) == 0);
	MUST(back == ns || (ns < 0 && back == CHIME_FOREVER));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	int64_t ns = -77;
	if (len >= EDGE_ROOM)
		return 0;
	const char *text = edge_text(bytes, len);
	size_t text_len = strlen(text);
	if (chime_duration_parse(text, &ns) == 0)
		check_number(ns, text_len + 1); /* a number without a unit is printed with its "s" */
	else
		MUST(ns == -77);
	if (len >= sizeof ns) {
		memcpy(&ns, bytes, sizeof ns);
		check_number(ns, 48);
	}
	return 0;
}
