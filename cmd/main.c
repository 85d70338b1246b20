/* The program chime: finds the verb and runs it. */
#include "complain.h"
#include "help.h"
#include "option.h"
#include "verb.h"

#include <chime/base.h>
#include <chime/error.h>

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int run_help(const struct verb *verb, int argc, char **argv);

static const struct verb_option no_options[] = { OPT_END };

static const struct verb verb_help = {
	.name = "help",
	.operands = "[VERB]",
	.operands_max = 1,
	.help = "say what the program or a verb can do",
	.about = "Says what the program, or one of its verbs, can do.",
	.options = no_options,
	.run = run_help,
};

static const struct verb *const verbs[] = { &verb_serve, &verb_talk, &verb_sockets, &verb_help, NULL };

const struct verb *verb_at(unsigned n)
{
	return n < sizeof verbs / sizeof *verbs ? verbs[n] : NULL;
}

const struct verb *verb_find(const char *name)
{
	for (unsigned n = 0; verbs[n]; n++)
		if (!strcmp(verbs[n]->name, name))
			return verbs[n];
	return NULL;
}

static int unknown_verb(const char *name)
{
	const char *nearest = NULL;
	unsigned best = 3;
	for (unsigned n = 0; verbs[n]; n++) {
		unsigned d = option_distance(name, verbs[n]->name);
		if (d < best) {
			best = d;
			nearest = verbs[n]->name;
		}
	}
	if (nearest)
		complain(NULL, "no verb '%s'; is it %s?", name, nearest);
	else
		complain(NULL, "no verb '%s'; `chime help` lists them", name);
	return EXIT_USAGE;
}

static int run_help(const struct verb *verb, int argc, char **argv)
{
	int n = option_read(verb, NULL, argc, argv);
	if (n < 0)
		return OPTION_EXIT(n);
	if (n == 0) {
		help_program();
		return EXIT_DONE;
	}
	const struct verb *about = verb_find(argv[0]);
	if (!about)
		return unknown_verb(argv[0]);
	help_verb(about);
	return EXIT_DONE;
}

/*
 * A closed 0, 1 or 2 would be given to the first socket, which then would be written our words into. What is written to a standard
 * output that was closed is lost, and the writer told so, but for a server, which serves all the same.
 */
static void hold_standard_descriptors(bool serving)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			(void)!open("/dev/null", fd == 0 || (fd == 1 && !serving) ? O_RDONLY : O_WRONLY);
}

/* --version and --help stand alone. */
static int not_alone(const char *option, const char *next)
{
	const struct verb *verb = option[1] == 'h' || option[2] == 'h' ? verb_find(next) : NULL;
	if (verb)
		complain(NULL, "'%s' behind %s: expected nothing; is it `chime help %s`?", next, option, verb->name);
	else
		complain(NULL, "'%s' behind %s: expected nothing", next, option);
	return EXIT_USAGE;
}

static int run(int argc, char **argv)
{
	if (argc < 2) {
		complain(NULL, "expected a verb: serve, talk, sockets or help; `chime help` says what they do");
		return EXIT_USAGE;
	}
	const char *word = argv[1];
	bool version = !strcmp(word, "--version") || !strcmp(word, "-V");
	if (version || !strcmp(word, "--help") || !strcmp(word, "-h")) {
		if (argc > 2)
			return not_alone(word, argv[2]);
		if (version)
			printf("chime %s\n", chime_version());
		else
			help_program();
		return EXIT_DONE;
	}
	if (word[0] == '-') {
		complain(NULL, "no option %s here; expected a verb first: chime VERB [OPTION...]", word);
		return EXIT_USAGE;
	}
	const struct verb *verb = verb_find(word);
	return verb ? verb->run(verb, argc - 2, argv + 2) : unknown_verb(word);
}

int main(int argc, char **argv)
{
	hold_standard_descriptors(argc > 1 && !strcmp(argv[1], verb_serve.name));
	setlocale(LC_CTYPE, "");
	tzset(); /* the zone is read before there are threads that could do so at once */
	int code = run(argc, argv);
	const char *lost = fflush(stdout) != 0 ? chime_strerror(-errno) : ferror(stdout) ? "not all of it went" : NULL;
	if (lost && code == EXIT_DONE) {
		complain(NULL, "writing to standard output: %s", lost);
		return EXIT_SYSTEM;
	}
	return code;
}
