/* What the person, or the pipe, gets to see of an answer. */
#include "talk.h"

#include <stdlib.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

void talk_show(FILE *out, const void *bytes, size_t len)
{
	const char *p = bytes, *end = p + len;
	mbstate_t state = { 0 };
	while (p < end) {
		wchar_t c;
		size_t n = mbrtowc(&c, p, (size_t)(end - p), &state);
		if (n == 0 || n >= (size_t)-2 || (!iswprint((wint_t)c) && c != L'\n' && c != L'\t')) {
			fprintf(out, "\\x%02x", (unsigned char)*p++);
			state = (mbstate_t){ 0 };
			continue;
		}
		fwrite(p, 1, n, out);
		p += n;
	}
}

void talk_say(void *arg, const char *label, const void *bytes, size_t len)
{
	(void)arg;
	fprintf(stderr, "chime talk: %s: ", label);
	talk_show(stderr, bytes, len);
	if (!len || ((const char *)bytes)[len - 1] != '\n')
		fputc('\n', stderr);
}

void talk_show_one(const struct talk *t)
{
	char who[CHIME_ADDR_TEXT];
	chime_addr_print(&t->wire.from, who, sizeof who);
	printf("%s ", who);
	talk_show_answer(t);
}

void talk_show_answer(const struct talk *t)
{
	size_t len = t->answer.len;
	if (len && t->answer.bytes[len - 1] == '\n')
		len--;
	if (isatty(STDOUT_FILENO))
		talk_show(stdout, t->answer.bytes, len);
	else
		fwrite(t->answer.bytes, 1, len, stdout);
	putchar('\n');
	fflush(stdout);
}

const char *talk_silence_hint(const struct talk *t)
{
	return t->scheme->messages || t->opts.newline ? "" : "; one that answers lines takes --newline";
}

/* "+0.3 ms": in the unit, and to the digit, that fits a figure known to about precision_ns. */
static void print_span(char *out, size_t size, const char *sign, int64_t ns, int64_t precision_ns)
{
	if (precision_ns >= CHIME_SEC / 10)
		snprintf(out, size, "%s%.1f s", sign, (double)ns / 1e9);
	else if (precision_ns >= CHIME_MSEC / 10)
		snprintf(out, size, "%s%.1f ms", sign, (double)ns / 1e6);
	else
		snprintf(out, size, "%s%.1f us", sign, (double)ns / 1e3);
}

/*
 * The stamp was taken between sending and receiving, and the time it says may be short of the true one by its precision:
 * the difference of the clocks lies in an interval, of which the middle and the half are shown.
 */
void talk_show_rtt(FILE *out, const struct talk *t, const struct asked *a)
{
	char rtt[40], middle[40], half[40];
	const struct answer *answer = &t->answer;
	print_span(rtt, sizeof rtt, "", a->rtt_ns, a->rtt_ns / 10);
	if (answer->found < 0 || answer->found == ANSWER_ECHO || a->late) {
		fprintf(out, "rtt %s, no stamp to compare clocks by\n", rtt);
		fflush(out);
		return;
	}
	const struct answer_reading *r = &answer->reading[answer->found];
	int64_t least = r->time_ns - a->got_ns, most = r->time_ns + r->precision_ns - a->sent_ns;
	int64_t mid = least + (most - least) / 2;
	int64_t doubt = (most - least) / 2;
	print_span(middle, sizeof middle, mid < 0 ? "-" : "+", llabs(mid), doubt);
	print_span(half, sizeof half, "", doubt, doubt);
	fprintf(out, "rtt %s, server's clock %s +- %s%s%s%s\n", rtt, middle, half,
		r->precision_ns >= CHIME_SEC ? " (whole seconds" : "", r->zone_known ? "" : "; zone taken as ours",
		r->precision_ns >= CHIME_SEC ? ")" : "");
	fflush(out);
}
