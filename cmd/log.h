/*
 * log.h - what `chime serve` says while it serves, without ever making the server wait.
 *
 * Two sinks, stdout (the tutorial's words) and stderr (the log), each a bounded queue and a thread that writes. A sink whose reader
 * does not read fills its queue; further lines are dropped and counted. Of one kind of event at most LOG_LINES_A_SECOND lines
 * are told, and then one that says how many more there were.
 */
#ifndef CMD_LOG_H
#define CMD_LOG_H

#include <chime/server.h>

#define LOG_LINES_A_SECOND 100

struct log;

struct log_config {
	enum chime_log_level level;
	bool json;  /* lines of JSON instead of key=value, on stderr */
	bool quiet; /* nothing on stdout; on stderr warnings, errors and what was asked for */
};

/* Starts the threads; signals must be blocked by now. -ENOMEM, -EAGAIN. */
int log_new(struct log **out, const struct log_config *config);
/* Waits until all is written, while a reader reads, at most limit_ns for one that does not. */
void log_free(struct log **log, int64_t limit_ns);

/* A chime_log_fn; arg is the struct log. Never waits. */
void log_event(void *arg, const struct chime_log_event *event);

/* A line of the program's own. */
void log_note(struct log *log, enum chime_log_level level, const char *event, const char *fmt, ...) CHIME_PRINTF(4, 5);
/* The ready line of an endpoint, which is always told. */
void log_ready(struct log *log, const char *service, const chime_endpoint *endpoint, const char *carrier);
/* A line on stdout. */
void log_words(struct log *log, const char *words);
/* The counters that are not 0, with those of the log itself. asked: also where quiet. */
void log_totals(struct log *log, const struct chime_server_stats *stats, bool asked);

#endif
