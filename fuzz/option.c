/*
 * Property: a value that an option takes prints to a text that the option reads as the same value; one that it refuses changes nothing and
 * has its reason in printable words. For each type of option, the first byte says which; and for the names of socket options, which
 * are found exactly when they are a row's. Nothing behind the text's NUL is looked at.
 */
#include "fuzz/fuzz.h"
#include "net/edge.h"

#include <chime/clock.h>
#include <chime/opt.h>
#include <chime/option.h>

static const char *const words[] = { "one", "two", "three", NULL };

struct settings {
	int64_t number, size, mode, time;
	int choice;
	bool flag;
	char text[32 + 1];
};
#define AT(field) offsetof(struct settings, field)
static const struct chime_option options[] = {
	{ "number", CHIME_OPTION_INT, AT(number), INT64_MIN, INT64_MAX, NULL, false, "N", "" },
	{ "small", CHIME_OPTION_INT, AT(number), -5, 65535, NULL, false, "N", "" },
	{ "size", CHIME_OPTION_INT, AT(size), 1, INT64_MAX, NULL, true, "BYTES", "" },
	{ "mode", CHIME_OPTION_OCTAL, AT(mode), 0, 07777, NULL, false, "MODE", "" },
	{ "time", CHIME_OPTION_DURATION, AT(time), CHIME_MSEC, CHIME_FOREVER, NULL, false, "TIME", "" },
	{ "limit", CHIME_OPTION_DURATION, AT(time), 0, CHIME_HOUR, NULL, false, "TIME", "" },
	{ "choice", CHIME_OPTION_CHOICE, AT(choice), 0, 0, words, false, "WORD", "" },
	{ "flag", CHIME_OPTION_BOOL, AT(flag), 0, 0, NULL, false, "yes|no", "" },
	{ "text", CHIME_OPTION_TEXT, AT(text), 0, 32, NULL, false, "TEXT", "" },
};
#define OPTIONS (sizeof options / sizeof options[0])

static void check_name(const char *text)
{
	const struct chime_opt *found = chime_opt_find(text), *o = chime_opt_table();
	while (o->name && strcmp(o->name, text))
		o++;
	MUST(found == (o->name ? o : NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct settings set, back;
	char why[160] = "", printed[256];
	if (len < 1 || len >= EDGE_ROOM)
		return 0;
	const struct chime_option *o = &options[bytes[0] % OPTIONS];
	const char *text = edge_text(bytes + 1, len - 1);
	memset(&set, 0x55, sizeof set);
	memset(&back, 0x55, sizeof back);
	check_name(text);
	if (chime_option_set(o, &set, text, why, sizeof why) < 0) {
		MUST(!memcmp(&set, &back, sizeof set));
		MUST(*why && strlen(why) < sizeof why);
		for (const char *p = why; *p; p++)
			MUST(*p >= ' ' && *p <= '~');
		return 0;
	}
	size_t n = chime_option_print(o, &set, printed, sizeof printed);
	MUST(n < sizeof printed && n == strlen(printed));
	MUST(chime_option_set(o, &back, edge_text(printed, n), NULL, 0) == 0);
	if (o->type == CHIME_OPTION_TEXT)
		MUST(!strcmp(set.text, back.text));
	else
		MUST(!memcmp(&set, &back, sizeof set));
	return 0;
}
