/* The command line: what is refused, with which words and code, and what help says. */
#include "program.h"

/* Runs the program, which must not ask for a socket, to its end. */
static int run(struct program *p, const char *const *args)
{
	p->no_sockets = true;
	program_start(p, args);
	return program_wait(p);
}
#define RUN(p_, ...) run(p_, (const char *const[]){ __VA_ARGS__, NULL })

/* The version is one line on stdout. */
TEST(version_is_a_line)
{
	struct program p = { 0 };
	CHECK_EQ(RUN(&p, "--version"), 0);
	CHECK_STR(said(&p), "chime 0.1.0\n");
	CHECK_STR(told(&p), "");
	program_forget(&p);
}

/* Help is there for the program and for every verb, in each of its ways, on stdout, with 0. */
TEST(help_is_everywhere)
{
	static const char *const ways[][3] = {
		{ "help" },         { "--help" },       { "help", "sockets" }, { "-h" },         { "help", "serve" },
		{ "help", "talk" }, { "help", "help" }, { "serve", "--help" }, { "talk", "-h" }, { "help", "--help" }
	};
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
		struct program p = { 0 };
		const char *args[4] = { ways[i][0], ways[i][1], ways[i][2], NULL };
		CHECK_EQ(run(&p, args), 0);
		CHECK(strncmp(said(&p), "usage: chime ", 13) == 0);
		CHECK_STR(told(&p), "");
		program_forget(&p);
	}
}

/* No line of help is wider than a terminal, and none fills its last column. */
TEST(help_fits_a_terminal)
{
	static const char *const verbs[] = { "serve", "talk", "sockets", "help", NULL };
	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
		struct program p = { 0 };
		CHECK_EQ(RUN(&p, "help", verbs[i]), 0);
		unsigned lines = 0;
		for (const char *at = said(&p); *at; at += strcspn(at, "\n"), at += *at == '\n', lines++) {
			if (strcspn(at, "\n") > 79)
				fprintf(stderr, "%.*s\n", (int)strcspn(at, "\n"), at);
			CHECK(strcspn(at, "\n") <= 79);
		}
		CHECK(lines > 4);
		program_forget(&p);
	}
}

/* What an endpoint of a server can be told besides is in the help too. */
TEST(help_has_the_settings_of_serving)
{
	struct program p = { 0 };
	CHECK_EQ(RUN(&p, "help", "serve"), 0);
	CHECK(strstr(said(&p), "\n  rate=N ") != NULL);
	CHECK(strstr(said(&p), "\n  idle-timeout=DURATION ") != NULL);
	program_forget(&p);
}

/* What cannot be written is told, with 3: on a full disk, and to a standard output that was closed. */
TEST(lost_output_is_told)
{
	static const char *const places[][2] = { { "/dev/full", "no space left on device" },
						 { "", "bad file descriptor" } };
	static const char *const cases[][3] = {
		{ "--version" }, { "help" }, { "help", "serve" }, { "talk", "--help" }, { "help", "sockets" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		for (size_t k = 0; k < 2; k++) {
			struct program p = { .says_to = places[k][0] };
			const char *args[4] = { cases[i][0], cases[i][1], cases[i][2], NULL };
			CHECK_EQ(run(&p, args), 3);
			CHECK(strstr(told(&p), "writing to standard output: ") != NULL);
			CHECK(strstr(told(&p), places[k][1]) != NULL);
			program_forget(&p);
		}
}

/* A word that is nearly a verb or an option is refused with 2 and the one that was meant. */
TEST(slips_get_a_hint)
{
	static const struct {
		const char *args[3], *hint;
	} cases[] = {
		{ { "sreve" }, "is it serve?" },
		{ { "talks" }, "is it talk?" },
		{ { "xyzzyx" }, "`chime help`" },
		{ { "help", "tlak" }, "is it talk?" },
		{ { "scokets" }, "is it sockets?" },
		{ { "serve", "--quite" }, "is it --quiet?" },
		{ { "talk", "--timeot=3" }, "is it --timeout?" },
		{ { "talk", "--xyzzyxyz" }, "`chime help talk`" },
		{ { "talk", "-x" }, "no option -x" },
		{ { "--quiet" }, "expected a verb" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct program p = { 0 };
		const char *args[4] = { cases[i].args[0], cases[i].args[1], cases[i].args[2], NULL };
		CHECK_EQ(run(&p, args), 2);
		if (!strstr(told(&p), cases[i].hint)) {
			fprintf(stderr, "case %zu: %s", i, told(&p));
			CHECK_STR(told(&p), cases[i].hint);
		}
		CHECK_STR(said(&p), "");
		program_forget(&p);
	}
}

/* What stands behind --version or --help would go unread: it is refused with 2, named, with what was expected; as is one verb too many. */
TEST(version_and_help_stand_alone)
{
	static const struct {
		const char *args[4], *why;
	} cases[] = {
		{ { "--version", "x" }, "chime: 'x' behind --version: expected nothing\n" },
		{ { "-V", "--json" }, "chime: '--json' behind -V: expected nothing\n" },
		{ { "--version", "" }, "chime: '' behind --version: expected nothing\n" },
		{ { "--help", "x" }, "chime: 'x' behind --help: expected nothing\n" },
		{ { "-h", "--" }, "chime: '--' behind -h: expected nothing\n" },
		{ { "--help", "serve" },
		  "chime: 'serve' behind --help: expected nothing; is it `chime help serve`?\n" },
		{ { "--version", "serve" }, "chime: 'serve' behind --version: expected nothing\n" },
		{ { "--version=1" }, "chime: no option --version=1 here; expected a verb first: " },
		{ { "-Vh" }, "chime: no option -Vh here; expected a verb first: " },
		{ { "serve", "--help", "x" }, "chime serve: 'x' behind --help: expected nothing\n" },
		{ { "talk", "--help", "--nonsense" }, "chime talk: '--nonsense' behind --help: expected nothing\n" },
		{ { "talk", "-hx" }, "chime talk: 'x' behind -h: expected nothing\n" },
		{ { "talk", "-h", "tcp://:9" }, "chime talk: 'tcp://:9' behind -h: expected nothing\n" },
		{ { "sockets", "--help", "--json" }, "chime sockets: '--json' behind --help: expected nothing\n" },
		{ { "sockets", "--help=x" }, "chime sockets: --help 'x': expected no value\n" },
		{ { "sockets", "--nonsense", "--help" }, "chime sockets: no option --nonsense; " },
		{ { "help", "--help", "serve" }, "chime help: 'serve' behind --help: expected nothing\n" },
		{ { "help", "serve", "talk" }, "chime help: 'talk' is one too many; usage: chime help " },
		{ { "help", "nonsense", "talk" }, "chime help: 'talk' is one too many; usage: chime help " },
		{ { "help", "--version" }, "chime help: no option --version; " },
		{ { "help", "" }, "chime: no verb ''; " },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct program p = { 0 };
		const char *args[5] = { cases[i].args[0], cases[i].args[1], cases[i].args[2], cases[i].args[3], NULL };
		CHECK_EQ(run(&p, args), 2);
		if (strncmp(told(&p), cases[i].why, strlen(cases[i].why)) != 0)
			CHECK_STR(told(&p), cases[i].why);
		CHECK_STR(said(&p), "");
		program_forget(&p);
	}
}

/* Every option's bad values end with 2, name the option and what was expected, and open nothing. */
TEST_LIMIT(bad_values_are_refused_before_any_socket, 60)
{
	static const struct {
		const char *verb, *option, *values[6];
	} cases[] = {
		{ "serve", "--chunk", { "0", "65537", "x", "", "-1", "1.5" } },
		{ "serve", "--format", { "iso", "", "CTIME" } },
		{ "serve", "--frame", { "lines", "" } },
		{ "serve", "--workers", { "0", "257", "two", "" } },
		{ "serve", "--backend", { "select", "" } },
		{ "serve", "--max-conns", { "0", "-5", "many", "" } },
		{ "serve", "--idle-timeout", { "0", "-1s", "5 s", "soon", "5x", "" } },
		{ "serve", "--grace", { "-1s", "25h", "soon", "forever", "" } },
		{ "serve", "--backlog", { "0", "-1", "x", "" } },
		{ "serve", "--log-level", { "loud", "" } },
		{ "serve", "--log-format", { "xml", "" } },
		{ "talk", "--timeout", { "0", "-1", "5x", "" } },
		{ "sockets", "--timeout", { "0", "-1", "5x", "" } },
		{ "talk", "--bind", { "example.org", "1.2.3", "127.0.0.1:70000", "/tmp/path" } },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		for (size_t k = 0; k < 6 && cases[i].values[k]; k++) {
			struct program p = { 0 };
			int code = RUN(&p, cases[i].verb, cases[i].option, cases[i].values[k], "tcp://127.0.0.1:0");
			if (code != 2 || !strstr(told(&p), cases[i].option) || !strstr(told(&p), "expected"))
				fprintf(stderr, "chime %s %s '%s': %d: %s", cases[i].verb, cases[i].option,
					cases[i].values[k], code, told(&p));
			CHECK_EQ(code, 2);
			CHECK(strstr(told(&p), cases[i].option) != NULL);
			if (strcmp(cases[i].values[k], "/tmp/path"))
				CHECK(strstr(told(&p), "expected") != NULL);
			CHECK_STR(said(&p), "");
			program_forget(&p);
		}
}

/* The guard of these tests bites: with a good endpoint the program is killed at its socket. */
TEST(the_guard_against_sockets_bites)
{
	struct program p = { 0 };
	CHECK_EQ(RUN(&p, "talk", "tcp://127.0.0.1:1"), 128 + SIGSYS);
	program_forget(&p);
}

/* An option that needs a value says so when there is none. */
TEST(lacking_values_are_told)
{
	static const char *const cases[][2] = {
		{ "serve", "--chunk" }, { "serve", "-c" }, { "talk", "--timeout" }, { "talk", "-b" }
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct program p = { 0 };
		CHECK_EQ(RUN(&p, cases[i][0], cases[i][1]), 2);
		CHECK(strstr(told(&p), "expected a value") != NULL);
		program_forget(&p);
	}
}

/* A bad endpoint is shown with a caret under the place, and what was expected. */
TEST(bad_endpoints_are_marked)
{
	static const struct {
		const char *verb, *text;
		size_t at;
	} cases[] = {
		{ "talk", "tcp://127.0.0.1:99999", 16 },
		{ "serve", "tcp://:99999", 7 },
		{ "serve", "tcp://:1?chunk=0", 15 },
		{ "serve", "tcp://:1?chnk=5", 9 },
		{ "talk", "tpc://127.0.0.1:1", 0 },
		{ "talk", "tcp://127.0.0.1", 15 },
		{ "serve", "tcp://:1?rate=5", 9 },
		{ "serve", "udp://:1?utc=yes&idle-timeout=5s", 17 },
		{ "serve", "nosuch=tcp://:1", 0 },
		{ "talk", "echo=tcp://127.0.0.1:1", 0 },
		{ "talk", "unix:", 5 },
		{ "sockets", "unix:", 5 },
		{ "sockets", "echo=tcp://127.0.0.1:1", 0 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct program p = { 0 };
		CHECK_EQ(RUN(&p, cases[i].verb, cases[i].text), 2);
		const char *second = strchr(told(&p), '\n'), *third = second ? strchr(second + 1, '\n') : NULL;
		CHECK(third != NULL);
		if (strncmp(second + 3, cases[i].text, strlen(cases[i].text)) ||
		    (size_t)(strchr(third, '^') - third) != cases[i].at + 3)
			fprintf(stderr, "%s\n%s", cases[i].text, told(&p));
		CHECK_EQ(strncmp(second + 3, cases[i].text, strlen(cases[i].text)), 0);
		CHECK_EQ(strchr(third, '^') - third - 3, cases[i].at);
		CHECK(strlen(told(&p)) > strlen("chime talk: ") + 2 * strlen(cases[i].text));
		program_forget(&p);
	}
}

/* Control bytes of the command line do not reach the terminal raw. */
TEST(control_bytes_in_endpoints_are_escaped)
{
	struct program p = { 0 };
	CHECK_EQ(RUN(&p, "talk", "tcp://\033[2J:x"), 2);
	CHECK(strstr(told(&p), "\\x1b[2J") != NULL);
	CHECK(strchr(told(&p), '\033') == NULL);
	program_forget(&p);
}

/* Options that contradict each other, or that nothing here has a use for, are refused. */
TEST(conflicts_are_refused)
{
	static const char *const cases[][4] = {
		{ "talk", "--raw", "udp://127.0.0.1:1" },
		{ "talk", "--raw", "--rtt", "tcp://127.0.0.1:1" },
		{ "talk", "tcp://127.0.0.1:1", "tcp://127.0.0.1:2" },
		{ "talk", "--bind", "/tmp/x", "tcp://127.0.0.1:1" },
		{ "talk", "--bind", "127.0.0.1", "unix:/tmp/x" },
		{ "talk", "--bind", "::1", "tcp://127.0.0.1:1" },
		{ "talk", "--bind", "127.0.0.1:0", "udp://[::1]:1" },
		{ "talk", "--bind", "127.0.0.1", "tcp6://localhost:1" },
		{ "serve", "--utc", "echo=tcp://127.0.0.1:0" },
		{ "help", "serve", "talk" },
		{ "sockets", "--serve" },
		{ "sockets", "--timeout", "1s" },
		{ "sockets", "--timeout", "5s" }, /* its default */
		{ "serve", "--quiet", "--log-level=debug" },
		{ "serve", "--quiet", "--log-level=info", "unix:/tmp/x" },
		{ "sockets", "--help=yes" },
		{ "sockets", "tcp://127.0.0.1:1", "tcp://127.0.0.1:2" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct program p = { 0 };
		const char *args[5] = { cases[i][0], cases[i][1], cases[i][2], cases[i][3], NULL };
		int code = run(&p, args);
		if (code != 2)
			fprintf(stderr, "%s %s %s: %s", args[0], args[1], args[2], told(&p));
		CHECK_EQ(code, 2);
		program_forget(&p);
	}
}

/* A scheme that this release does not open is the system's no (3), with the reason. */
TEST(closed_schemes_are_3)
{
	static const char *const cases[][2] = { { "talk", "tls://127.0.0.1:1" }, { "serve", "fd://3" } };
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct program p = { 0 };
		CHECK_EQ(RUN(&p, cases[i][0], cases[i][1]), 3);
		CHECK(strlen(told(&p)) > 20);
		program_forget(&p);
	}
}

/* ---- the man pages ---- */

static char *read_page(const char *verb)
{
	char path[512];
	static char page[65536];
	snprintf(path, sizeof path, CHIME_SOURCE_DIR "/man/chime-%s.1", verb);
	FILE *f = fopen(path, "r");
	CHECK(f != NULL);
	page[fread(page, 1, sizeof page - 1, f)] = 0;
	fclose(f);
	return page;
}

static size_t name_length(const char *name)
{
	return strspn(name, "abcdefghijklmnopqrstuvwxyz-");
}

/* Whether the page has an item for --name. */
static bool page_has(const char *page, const char *name, size_t len)
{
	char item[64];
	snprintf(item, sizeof item, "\n.It Fl Fl %.*s", (int)len, name);
	for (const char *at = page; (at = strstr(at, item)); at++)
		if (name_length(at + 11) == len)
			return true;
	return false;
}

/* Whether the help has a line for --name, with that letter if not 0. */
static bool help_has(const char *help, const char *name, size_t len)
{
	char item[64];
	snprintf(item, sizeof item, "--%.*s", (int)len, name);
	for (const char *at = help; (at = strstr(at, item)); at++)
		if (name_length(at + 2) == len)
			return true;
	return false;
}

/* Every option of the tables is in the man page, and every one of the page in the tables. */
TEST(man_pages_know_the_options)
{
	static const char *const verbs[] = { "serve", "talk", "sockets" };
	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
		struct program p = { 0 };
		const char *page = read_page(verbs[i]);
		unsigned options = 0, items = 0;
		CHECK_EQ(RUN(&p, verbs[i], "--help"), 0);
		char *begin = strstr(p.said.bytes, "\noptions:\n"), *end = begin ? strstr(begin, "\n\n") : NULL;
		CHECK(end != NULL);
		*end = 0;
		for (const char *at = begin; (at = strstr(at, "--")); at += 2) {
			if (at[-1] != ' ')
				continue;
			options++;
			if (!page_has(page, at + 2, name_length(at + 2)))
				fprintf(stderr, "chime-%s.1 lacks %.30s\n", verbs[i], at);
			CHECK(page_has(page, at + 2, name_length(at + 2)));
		}
		for (const char *at = page; (at = strstr(at, "\n.It Fl Fl ")); at += 11) {
			items++;
			if (!help_has(begin, at + 11, name_length(at + 11)))
				fprintf(stderr, "chime %s has no %.30s\n", verbs[i], at + 11);
			CHECK(help_has(begin, at + 11, name_length(at + 11)));
		}
		CHECK(options >= 4);
		CHECK_EQ(options, items);
		program_forget(&p);
	}
}

TEST_MAIN()
