/*
 * Property: an endpoint that is read prints to a text that is read as the same endpoint, and prints the same again; one that
 * is refused is refused at a place within the text, in printable words. Nothing behind the text's NUL is looked at.
 */
#include "fuzz/fuzz.h"
#include "net/edge.h"

#include <chime/clock.h>
#include <chime/endpoint.h>

static const char *const words[] = { "one", "two", NULL };

struct settings {
	int64_t size, time;
	int choice;
	bool flag;
	char text[64 + 1];
};
#define AT(field) offsetof(struct settings, field)
static const struct chime_option further[] = {
	{ "size", CHIME_OPTION_INT, AT(size), -5, INT64_MAX, NULL, true, "N", "" },
	{ "time", CHIME_OPTION_DURATION, AT(time), 0, CHIME_FOREVER, NULL, false, "TIME", "" },
	{ "choice", CHIME_OPTION_CHOICE, AT(choice), 0, 0, words, false, "WORD", "" },
	{ "flag", CHIME_OPTION_BOOL, AT(flag), 0, 0, NULL, false, "yes|no", "" },
	{ "text", CHIME_OPTION_TEXT, AT(text), 0, 64, NULL, false, "TEXT", "" },
	{ .name = NULL },
};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct settings settings[2];
	struct chime_endpoint_error error = { SIZE_MAX, "" };
	char printed[CHIME_ENDPOINT_TEXT], again[CHIME_ENDPOINT_TEXT], service[32];
	chime_endpoint e, back;

	if (len >= EDGE_ROOM)
		return 0;
	memset(settings, 0, sizeof settings);
	const char *text = edge_text(bytes, len);
	len = strlen(text);
	size_t service_len = chime_endpoint_service(text, service, sizeof service);
	if (chime_endpoint_parse(&e, text, further, &settings[0], &error) < 0) {
		MUST(error.at <= len);
		MUST(*error.message && strlen(error.message) < sizeof error.message);
		for (const char *p = error.message; *p; p++)
			MUST(*p >= ' ' && *p <= '~');
		return 0;
	}
	MUST(strlen(e.service) == service_len && !strcmp(e.service, service));
	size_t n = chime_endpoint_print(&e, printed, sizeof printed);
	MUST(n < sizeof printed && n == strlen(printed));
	MUST(chime_endpoint_parse(&back, edge_text(printed, n), further, &settings[1], &error) == 0);
	MUST(!memcmp(&e, &back, sizeof e));
	MUST(!memcmp(&settings[0], &settings[1], sizeof settings[0]));
	MUST(chime_endpoint_print(&back, again, sizeof again) == n && !strcmp(printed, again));
	return 0;
}
