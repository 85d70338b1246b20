/*
 * log_line.h - one thing to be told, as a value that needs nothing else, and its forms: words, key=value text, JSON.
 */
#ifndef CMD_LOG_LINE_H
#define CMD_LOG_LINE_H

#include <chime/server.h>

enum log_kind {
	LOG_EVENT,
	LOG_READY,
	LOG_TOTALS,
	LOG_WORDS,     /* stdout: .msg */
	LOG_CONNECTED, /* stdout: .peer, or with a .count above 1 how many more */
};

struct log_record {
	enum log_kind kind;
	enum chime_log_level level;
	int64_t time_ns; /* CLOCK_REALTIME */
	uint64_t conn, count;
	int err;
	chime_addr peer; /* length 0: none */
	char event[16], op[16];
	char service[32];
	char endpoint[288];
	char msg[320];
	struct chime_server_stats stats;
	uint64_t lost_lines; /* totals: lines of the log that were dropped */
};

/* A line never needs more, newline included; a pipe takes it in one piece (PIPE_BUF). */
#define LOG_LINE_MAX 4096

/* Writes the line, with its newline, cut where it is too long. Its length. */
size_t log_line_text(const struct log_record *r, char out[LOG_LINE_MAX]);
size_t log_line_json(const struct log_record *r, char out[LOG_LINE_MAX]);
size_t log_line_words(const struct log_record *r, char out[LOG_LINE_MAX]);

const char *log_level_name(enum chime_log_level level);

#endif
