/* The forms of a log line. */
#include "log_line.h"
#include "json_text.h"

#include <chime/error.h>

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

const char *log_level_name(enum chime_log_level level)
{
	static const char *const names[] = { "error", "warn", "info", "debug" };
	return (unsigned)level < 4 ? names[level] : "debug";
}

/* A line under construction; what does not fit is left out. One byte is kept for the newline. */
struct line {
	char *bytes;
	size_t used;
};

static void CHIME_PRINTF(2, 3) put(struct line *l, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(l->bytes + l->used, LOG_LINE_MAX - 1 - l->used, fmt, ap);
	va_end(ap);
	if (n > 0)
		l->used += (size_t)n < LOG_LINE_MAX - 1 - l->used ? (size_t)n : LOG_LINE_MAX - 2 - l->used;
}

static size_t line_end(struct line *l)
{
	l->bytes[l->used++] = '\n';
	return l->used;
}

/* A value between quotes. */
static void put_quoted(struct line *l, const char *text)
{
	put(l, "\"");
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (*p == '"' || *p == '\\')
			put(l, "\\%c", *p);
		else if (*p < 32 || *p == 127)
			put(l, "\\x%02x", *p);
		else
			put(l, "%c", *p);
	}
	put(l, "\"");
}

static void put_time(char out[40], int64_t time_ns)
{
	time_t seconds = (time_t)(time_ns / CHIME_SEC);
	struct tm tm;
	gmtime_r(&seconds, &tm);
	size_t n = strftime(out, 40, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + n, 40 - n, ".%03dZ", (int)(time_ns % CHIME_SEC / CHIME_MSEC));
}

size_t log_line_text(const struct log_record *r, char out[LOG_LINE_MAX])
{
	struct line l = { out, 0 };
	char text[CHIME_ADDR_TEXT];
	uint64_t value;
	const char *name;

	if (r->kind == LOG_READY) {
		put(&l, "listening %s %s%s%s", r->service, r->endpoint, r->msg[0] ? " by " : "", r->msg);
		return line_end(&l);
	}
	put_time(text, r->time_ns);
	put(&l, "level=%s time=%s event=%s", log_level_name(r->level), text, r->event);
	if (r->kind == LOG_TOTALS) {
		for (unsigned n = 0; (name = chime_server_stat(&r->stats, n, &value)); n++)
			if (value)
				put(&l, " %s=%" PRIu64, name, value);
		if (r->lost_lines)
			put(&l, " lost_lines=%" PRIu64, r->lost_lines);
		return line_end(&l);
	}
	if (r->conn)
		put(&l, " conn=%" PRIu64, r->conn);
	if (r->peer.len) {
		chime_addr_print(&r->peer, text, sizeof text);
		put(&l, " peer=%s", text);
	}
	if (r->endpoint[0])
		put(&l, " endpoint=%s", r->endpoint);
	if (r->op[0])
		put(&l, " op=%s", r->op);
	if (r->err)
		put(&l, " err=%s", chime_errname(r->err));
	if (r->count > 1)
		put(&l, " count=%" PRIu64, r->count);
	if (r->msg[0]) {
		put(&l, " msg=");
		put_quoted(&l, r->msg);
	} else if (r->err) {
		put(&l, " msg=");
		put_quoted(&l, chime_strerror(r->err));
	}
	return line_end(&l);
}

size_t log_line_json(const struct log_record *r, char out[LOG_LINE_MAX])
{
	json_t *j = json_object();
	char text[CHIME_ADDR_TEXT];
	uint64_t value;
	const char *name;

	put_time(text, r->time_ns);
	json_object_set_new(j, "level", json_string(log_level_name(r->level)));
	json_object_set_new(j, "time", json_string(text));
	json_object_set_new(j, "event", json_text(r->kind == LOG_READY ? "listening" : r->event));
	if (r->kind == LOG_TOTALS) {
		for (unsigned n = 0; (name = chime_server_stat(&r->stats, n, &value)); n++)
			if (value)
				json_object_set_new(j, name, json_integer((json_int_t)value));
		if (r->lost_lines)
			json_object_set_new(j, "lost_lines", json_integer((json_int_t)r->lost_lines));
	}
	if (r->conn)
		json_object_set_new(j, "conn", json_integer((json_int_t)r->conn));
	if (r->peer.len) {
		chime_addr_print(&r->peer, text, sizeof text);
		json_object_set_new(j, "peer", json_text(text));
	}
	if (r->service[0])
		json_object_set_new(j, "service", json_text(r->service));
	if (r->endpoint[0])
		json_object_set_new(j, "endpoint", json_text(r->endpoint));
	if (r->op[0])
		json_object_set_new(j, "op", json_text(r->op));
	if (r->err)
		json_object_set_new(j, "err", json_string(chime_errname(r->err)));
	if (r->count > 1)
		json_object_set_new(j, "count", json_integer((json_int_t)r->count));
	if (r->msg[0] || r->err)
		json_object_set_new(j, "msg", json_text(r->msg[0] ? r->msg : chime_strerror(r->err)));
	size_t used = json_dumpb(j, out, LOG_LINE_MAX - 1, JSON_COMPACT);
	json_decref(j);
	if (used >= LOG_LINE_MAX)
		used = 0;
	out[used++] = '\n';
	return used;
}

size_t log_line_words(const struct log_record *r, char out[LOG_LINE_MAX])
{
	struct line l = { out, 0 };
	char text[CHIME_ADDR_TEXT];
	if (r->kind == LOG_CONNECTED && r->count > 1) {
		put(&l, "...connected from: %" PRIu64 " more", r->count);
	} else if (r->kind == LOG_CONNECTED) {
		chime_addr_print(&r->peer, text, sizeof text);
		put(&l, "...connected from: %s", text);
	} else {
		put(&l, "%s", r->msg);
	}
	return line_end(&l);
}
