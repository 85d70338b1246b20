/* The stamp: a time as text and back, and the service that puts it in front of each chunk. */
#include "service/services.h"

#include "fault.h"

#include <chime/clock.h>
#include <chime/stamp.h>

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <time.h>

_Static_assert(CHIME_STAMP_MAX <= CHIME_HEADROOM, "a stamp fits in front of its chunk");

static const char *const format_names[] = { "ctime", "rfc3339", "rfc3339ns", "unix", "unixns", NULL };
static const char day_names[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
static const char month_names[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
					 "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };

const char *chime_stamp_format_name(enum chime_stamp_format format)
{
	return (unsigned)format < CHIME_STAMP_FORMATS ? format_names[format] : NULL;
}

int chime_stamp_format_find(const char *name)
{
	for (int i = 0; i < CHIME_STAMP_FORMATS; i++)
		if (!strcmp(name, format_names[i]))
			return i;
	return -1;
}

/* ---- writing ---- */

#define CTIME_LEN 24

/* A second as text: what stands before and behind a fraction. */
struct second {
	uint64_t from_ns;           /* when it began */
	uint8_t head_len, tail_len; /* head_len 0: nothing kept yet */
	char head[CTIME_LEN], tail[8];
};

enum kind {
	KIND_CTIME,
	KIND_RFC3339,
	KIND_UNIX,
	KINDS
};

static _Thread_local struct second kept[KINDS][2];

static char *put_number(char *p, uint64_t value, unsigned digits)
{
	for (unsigned i = digits; i-- > 0; value /= 10)
		p[i] = (char)('0' + value % 10);
	return p + digits;
}

static char *put_clock(char *p, const struct tm *tm)
{
	p = put_number(p, (unsigned)tm->tm_hour, 2);
	*p++ = ':';
	p = put_number(p, (unsigned)tm->tm_min, 2);
	*p++ = ':';
	return put_number(p, (unsigned)tm->tm_sec, 2);
}

static void text_ctime(struct second *s, const struct tm *tm)
{
	char *p = s->head;
	memcpy(p, day_names[tm->tm_wday], 3);
	p[3] = ' ';
	memcpy(p + 4, month_names[tm->tm_mon], 3);
	p[7] = ' ';
	put_number(p + 8, (unsigned)tm->tm_mday, 2);
	if (p[8] == '0')
		p[8] = ' ';
	p[10] = ' ';
	put_clock(p + 11, tm);
	p[19] = ' ';
	s->head_len = (uint8_t)(put_number(p + 20, (unsigned)tm->tm_year + 1900, 4) - s->head);
}

static void text_rfc3339(struct second *s, const struct tm *tm, long offset_min, bool utc)
{
	char *p = put_number(s->head, (unsigned)tm->tm_year + 1900, 4);
	*p++ = '-';
	p = put_number(p, (unsigned)tm->tm_mon + 1, 2);
	*p++ = '-';
	p = put_number(p, (unsigned)tm->tm_mday, 2);
	*p++ = 'T';
	s->head_len = (uint8_t)(put_clock(p, tm) - s->head);
	p = s->tail;
	if (utc) {
		*p++ = 'Z';
	} else {
		unsigned minutes = (unsigned)(offset_min < 0 ? -offset_min : offset_min);
		*p++ = offset_min < 0 ? '-' : '+';
		p = put_number(p, minutes / 60, 2);
		*p++ = ':';
		p = put_number(p, minutes % 60, 2);
	}
	s->tail_len = (uint8_t)(p - s->tail);
}

/* Of fixed length, so that a reader knows where the stamp ends and a chunk of digits begins. */
static void text_unix(struct second *s, int64_t sec)
{
	char *p = s->head;
	if (sec < 0)
		*p++ = '-';
	s->head_len = (uint8_t)(put_number(p, (uint64_t)(sec < 0 ? -sec : sec), 10) - s->head);
}

/* Not inlined: it runs once a second. */
__attribute__((noinline)) static void text_make(struct second *s, int64_t sec, enum kind kind, bool utc)
{
	time_t t = (time_t)sec;
	struct tm tm;
	s->from_ns = (uint64_t)sec * CHIME_SEC;
	if (kind == KIND_UNIX) {
		text_unix(s, sec);
		return;
	}
	/* reads TZ at its first call in the process, with glibc and musl alike: no tzset(), which other threads would meet */
	if (utc || !localtime_r(&t, &tm))
		gmtime_r(&t, &tm);
	if (kind == KIND_CTIME) {
		text_ctime(s, &tm);
		return;
	}
	/* Offsets before standard time have seconds, which RFC 3339 cannot say: the date goes with the offset that is written. */
	long offset_min = tm.tm_gmtoff / 60;
	t += offset_min * 60;
	gmtime_r(&t, &tm);
	text_rfc3339(s, &tm, offset_min, utc);
}

/* The second that the time lies in, as text. ns: how much of it is over. */
static inline const struct second *second_of(int64_t time_ns, enum kind kind, bool utc, uint64_t *ns)
{
	struct second *s = &kept[kind][utc];
	*ns = (uint64_t)time_ns - s->from_ns;
	if (*ns >= CHIME_SEC || s->head_len == 0) {
		text_make(s, time_ns / CHIME_SEC - (time_ns % CHIME_SEC < 0), kind, utc);
		*ns = (uint64_t)time_ns - s->from_ns;
	}
	return s;
}

__attribute__((noinline)) static size_t write_other(char *out, int64_t time_ns, enum chime_stamp_format format,
						    bool utc)
{
	uint64_t ns;
	if (format == CHIME_STAMP_UNIXNS && time_ns < 0) {
		*out = '-';
		put_number(out + 1, 0 - (uint64_t)time_ns, 19);
		return 20;
	}
	const struct second *s = second_of(time_ns, format < CHIME_STAMP_UNIX ? KIND_RFC3339 : KIND_UNIX, utc, &ns);
	memcpy(out, s->head, sizeof s->head);
	char *p = out + s->head_len;
	if (format == CHIME_STAMP_RFC3339NS)
		*p++ = '.';
	if (format == CHIME_STAMP_RFC3339NS || format == CHIME_STAMP_UNIXNS)
		p = put_number(p, ns, 9);
	memcpy(p, s->tail, s->tail_len);
	return (size_t)(p + s->tail_len - out);
}

size_t chime_stamp_write(char out[CHIME_STAMP_MAX], int64_t time_ns, enum chime_stamp_format format, bool utc)
{
	uint64_t ns;
	if (format != CHIME_STAMP_CTIME)
		return write_other(out, time_ns, format, utc);
	memcpy(out, second_of(time_ns, KIND_CTIME, utc, &ns)->head, CTIME_LEN);
	return CTIME_LEN;
}

/* ---- reading ---- */

static bool name_begins(const char *s, size_t len, const char names[][4], int count, int *index)
{
	for (*index = 0; *index < count; ++*index)
		if (!memcmp(s, names[*index], len))
			return true;
	return false;
}

/*
 * Whether s begins as shape says: 9 a digit, D a digit or a blank, W and M the name of a day or a month, anything else
 * itself; z an offset from UTC, last. Its length, 0 or -EAGAIN.
 */
static int match(const char *s, size_t len, const char *shape, struct tm *tm)
{
	size_t i = 0;
	for (; *shape; shape++, i++) {
		if (i == len)
			return -EAGAIN;
		char c = s[i];
		bool name = *shape == 'W' || *shape == 'M';
		size_t left = len - i < 3 ? len - i : 3;
		if (name) {
			if (*shape == 'W' ? !name_begins(s + i, left, day_names, 7, &tm->tm_wday)
					  : !name_begins(s + i, left, month_names, 12, &tm->tm_mon))
				return 0;
			if (left < 3)
				return -EAGAIN;
			i += 2;
		} else if (*shape == 'z') {
			if (c == 'Z')
				return (int)i + 1;
			if (c != '+' && c != '-')
				return 0;
			int n = match(s + i + 1, len - i - 1, "99:99", tm);
			return n > 0 ? (int)i + 1 + n : n;
		} else if (*shape == '9' || *shape == 'D') {
			if (!(c >= '0' && c <= '9') && !(*shape == 'D' && c == ' '))
				return 0;
		} else if (c != *shape) {
			return 0;
		}
	}
	return (int)i;
}

static int64_t number(const char *s, unsigned digits)
{
	int64_t value = 0;
	for (unsigned i = 0; i < digits; i++)
		value = value * 10 + (s[i] == ' ' ? 0 : s[i] - '0');
	return value;
}

static void read_clock(const char *s, struct tm *tm)
{
	tm->tm_hour = (int)number(s, 2);
	tm->tm_min = (int)number(s + 3, 2);
	tm->tm_sec = (int)number(s + 6, 2);
}

/* Whether there is such a day with such a name; as_utc: its time, were it in UTC. */
static bool date_exists(const struct tm *tm, time_t *as_utc)
{
	struct tm back = *tm;
	*as_utc = timegm(&back);
	return back.tm_mday == tm->tm_mday && back.tm_mon == tm->tm_mon && back.tm_hour == tm->tm_hour &&
	       back.tm_min == tm->tm_min && back.tm_sec == tm->tm_sec &&
	       (tm->tm_wday < 0 || back.tm_wday == tm->tm_wday);
}

static bool to_ns(int64_t sec, int64_t ns, int64_t *time_ns)
{
	return !__builtin_mul_overflow(sec, CHIME_SEC, time_ns) && !__builtin_add_overflow(*time_ns, ns, time_ns);
}

/* time_ns NULL: only whether it is one. Which time it is asks the zone, and with that, with TZ unset, the file system. */
static int read_ctime(const char *s, size_t len, int64_t *time_ns)
{
	struct tm tm = { 0 };
	time_t t;
	int n = match(s, len, "W M D9 99:99:99 9999", &tm);
	if (n <= 0)
		return n;
	tm.tm_mday = (int)number(s + 8, 2);
	read_clock(s + 11, &tm);
	tm.tm_year = (int)number(s + 20, 4) - 1900;
	if (s[8] == '0' || !date_exists(&tm, &t))
		return 0;
	tm.tm_isdst = -1;
	return !time_ns || to_ns(mktime(&tm), 0, time_ns) ? n : 0;
}

static int read_rfc3339(const char *s, size_t len, bool fraction, int64_t *time_ns)
{
	struct tm tm = { .tm_wday = -1 };
	time_t t;
	int64_t offset = 0;
	int n = match(s, len, fraction ? "9999-99-99T99:99:99.999999999z" : "9999-99-99T99:99:99z", &tm);
	if (n <= 0)
		return n;
	tm.tm_year = (int)number(s, 4) - 1900;
	tm.tm_mon = (int)number(s + 5, 2) - 1;
	tm.tm_mday = (int)number(s + 8, 2);
	read_clock(s + 11, &tm);
	if (s[n - 1] != 'Z') {
		int64_t hours = number(s + n - 5, 2), minutes = number(s + n - 2, 2);
		if (hours > 23 || minutes > 59)
			return 0;
		offset = (hours * 60 + minutes) * 60 * (s[n - 6] == '-' ? -1 : 1);
	}
	if (!date_exists(&tm, &t))
		return 0;
	return to_ns(t - offset, fraction ? number(s + 20, 9) : 0, time_ns) ? n : 0;
}

static int read_unix(const char *s, size_t len, bool ns, int64_t *time_ns)
{
	struct tm tm;
	bool minus = len > 0 && *s == '-';
	int n = match(s + minus, len - minus, ns ? "9999999999999999999" : "9999999999", &tm);
	if (n <= 0)
		return n;
	s += minus;
	int64_t sec = number(s, 10), fraction = ns ? number(s + 10, 9) : 0;
	if (!to_ns(minus ? -sec : sec, minus ? -fraction : fraction, time_ns))
		return 0;
	return n + minus;
}

int chime_stamp_read(const void *bytes, size_t len, enum chime_stamp_format format, int64_t *time_ns, bool *utc_known,
		     int64_t *precision_ns)
{
	bool ns = format == CHIME_STAMP_RFC3339NS || format == CHIME_STAMP_UNIXNS;
	int64_t t = 0;
	int n;
	if (format == CHIME_STAMP_CTIME)
		n = read_ctime(bytes, len, &t);
	else if (format == CHIME_STAMP_RFC3339 || format == CHIME_STAMP_RFC3339NS)
		n = read_rfc3339(bytes, len, ns, &t);
	else
		n = read_unix(bytes, len, ns, &t);
	if (n > 0) {
		*time_ns = t;
		*utc_known = format != CHIME_STAMP_CTIME;
		*precision_ns = ns ? 1 : CHIME_SEC;
	}
	return n;
}

/* ---- the service ---- */

/* Whether so many stamps of ours stand at the beginning, in whatever formats. Bare digits are one only so near to now. */
static bool begins_with_stamps(unsigned count, const unsigned char *bytes, size_t len, int64_t now_ns, int64_t near_ns)
{
	static const char days[] = { 'F', 'M', 'S', 'T', 'W' };
	if (len == 0 || !(bytes[0] <= '9' || memchr(days, bytes[0], sizeof days)))
		return false; /* most often: no digit, no sign, no day */
	for (int format = 0; format < CHIME_STAMP_FORMATS; format++) {
		int64_t t, precision;
		bool utc;
		int n = format == CHIME_STAMP_CTIME
				? read_ctime((const char *)bytes, len, NULL)
				: chime_stamp_read(bytes, len, (enum chime_stamp_format)format, &t, &utc, &precision);
		if (n <= 0)
			continue;
		if (format >= CHIME_STAMP_UNIX && near_ns >= 0 && (t < now_ns - near_ns || t > now_ns + near_ns))
			continue;
		if (count == 1 || begins_with_stamps(count - 1, bytes + n, len - (size_t)n, now_ns, near_ns))
			return true;
	}
	return false;
}

/*
 * Two of us would stamp each other's answers for ever. Only IP can be made to: elsewhere nobody can forge a sender. One stamp is an
 * ordinary message, but for where answers come in by nature: there no clock that is wrong may hide it, so ten digits are one.
 */
static bool is_loop(const struct chime_input *in)
{
	if (!in->peer || in->peer->u.sa.sa_family == AF_UNIX)
		return false;
	return in->answers_come ? begins_with_stamps(1, in->data, in->len, in->time_ns, CHIME_FOREVER)
				: begins_with_stamps(2, in->data, in->len, in->time_ns, 24 * CHIME_HOUR);
}

/* The length of the first line of what is left, 0: it is not complete. */
static size_t line_len(const struct chime_stamp_config *config, const unsigned char *data, size_t left, bool end)
{
	size_t most = (size_t)config->chunk < left ? (size_t)config->chunk : left;
	const unsigned char *newline = memchr(data, '\n', most);
	if (newline)
		return (size_t)(newline - data) + 1;
	return end || most == (size_t)config->chunk ? most : 0;
}

/* Chunks of a stream; the stamp stands in front of the first. */
static ssize_t answer_chunks(const struct chime_input *in, chime_reply *out, unsigned char *stamp, size_t stamp_len)
{
	const struct chime_stamp_config *config = in->config;
	size_t chunk = FAULT(READ_STAMP) ? in->len : (size_t)config->chunk;
	size_t used = chime_reply_add_chunks(out, stamp, stamp_len, in->data, in->len, chunk);
	chime_reply_count(out, (unsigned)((used + chunk - 1) / chunk));
	return (ssize_t)used;
}

/* The same for lines. */
static ssize_t answer_lines(const struct chime_input *in, chime_reply *out, unsigned char *first, size_t stamp_len)
{
	const struct chime_stamp_config *config = in->config;
	size_t used = 0;
	unsigned chunks = 0;
	while (used < in->len && chime_reply_room(out) >= 2) {
		size_t n = line_len(config, in->data + used, in->len - used, in->end);
		if (n == 0)
			break;
		if (used == 0) {
			chime_reply_add(out, first, stamp_len + n);
		} else {
			if (!FAULT(READ_STAMP))
				chime_reply_add(out, first, stamp_len);
			chime_reply_add(out, in->data + used, n);
		}
		used += n;
		chunks++;
	}
	chime_reply_count(out, chunks);
	return (ssize_t)used;
}

static ssize_t stamp_received(const struct chime_input *in, chime_reply *out)
{
	const struct chime_stamp_config *config = in->config;
	char stamp[CHIME_STAMP_MAX];
	if (in->message && is_loop(in))
		return -ELOOP;
	size_t n = chime_stamp_write(stamp, in->time_ns, (enum chime_stamp_format)config->format, config->utc);
	unsigned char *first = in->data - n;
	memcpy(first, stamp, n);
	if (!in->message && config->frame != 0)
		return answer_lines(in, out, first, n);
	if (!in->message && in->len - 1 >= (size_t)config->chunk) /* none or several */
		return answer_chunks(in, out, first, n);
	int err = chime_reply_add(out, first, n + in->len);
	return err < 0 ? err : (ssize_t)in->len;
}

static const char *const frame_names[] = { "chunk", "line", NULL };
#define AT(field) offsetof(struct chime_stamp_config, field)

static const struct chime_option stamp_options[] = {
	{ "chunk", CHIME_OPTION_INT, AT(chunk), 1, 65536, NULL, true, "BYTES",
	  "the most bytes of a stream that one stamp is for (default 1024)" },
	{ "format", CHIME_OPTION_CHOICE, AT(format), 0, 0, format_names, false, "FORMAT",
	  "how the time is written: ctime, rfc3339, rfc3339ns, unix or unixns (default ctime)" },
	{ "frame", CHIME_OPTION_CHOICE, AT(frame), 0, 0, frame_names, false, "FRAME",
	  "what of a stream gets a stamp: each chunk as it comes, or each line (default chunk)" },
	{ "utc", CHIME_OPTION_BOOL, AT(utc), 0, 0, NULL, false, "yes|no",
	  "write the time as UTC instead of local time (default no)" },
	{ NULL, CHIME_OPTION_BOOL, 0, 0, 0, NULL, false, NULL, NULL },
};

static const struct chime_stamp_config stamp_default = { .chunk = 1024 };

const chime_service chime__service_stamp = {
	.size = sizeof(chime_service),
	.name = "stamp",
	.help = "answers each chunk with the time and the chunk",
	.options = stamp_options,
	.config_size = sizeof(struct chime_stamp_config),
	.config_default = &stamp_default,
	.marks = true,
	.received = stamp_received,
};
