/* Tests of chime/error.h. */
#include "runner/test.h"

#include <chime/error.h>

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>

/* Every errno of the system has its name and a text in plain words; numbers that are none are UNKNOWN. */
TEST(error_knows_every_errno)
{
	unsigned known = 0;
	for (int n = 1; n <= 4095; n++) {
		const char *name = strerrorname_np(n);
		fprintf(stderr, "errno %d\n", n);
		CHECK_STR(chime_errname(-n), name ? name : "UNKNOWN");
		CHECK(strlen(chime_strerror(-n)) > 0);
		if (!name)
			CHECK_STR(chime_strerror(-n), "unknown error");
		known += name != NULL;
	}
	CHECK_IN(known, 130, 4095);
}

/* The words that people read most. */
TEST(error_texts_are_lower_case_words)
{
	CHECK_STR(chime_strerror(-ECONNREFUSED), "connection refused");
	CHECK_STR(chime_strerror(-EACCES), "permission denied");
	CHECK_STR(chime_strerror(-EADDRINUSE), "address already in use");
	CHECK_STR(chime_strerror(-EIO), "input/output error");
	CHECK_STR(chime_strerror(-ERFKILL), "operation not possible due to RF-kill");
	CHECK_STR(chime_strerror(CHIME_ETIMEOUT), "timed out");
	for (int n = 1; n < 134; n++) {
		const char *text = chime_strerror(-n);
		fprintf(stderr, "errno %d: %s\n", n, text);
		CHECK(!isupper((unsigned char)text[0]) || isupper((unsigned char)text[1]));
		CHECK(text[strlen(text) - 1] != '.');
	}
}

/* So has every code of the older look-ups, apart from the resolver's of like meaning; what is none of them is unknown. */
TEST(error_knows_the_older_look_ups_codes)
{
	static const char *const names[] = { "UNKNOWN",     "HOST_NOT_FOUND", "TRY_AGAIN",
					     "NO_RECOVERY", "NO_DATA",        "UNKNOWN" };
	CHECK_EQ(NO_DATA, 4);
	for (int h = 0; h <= 5; h++) {
		CHECK_STR(chime_errname(CHIME_HOST(h)), names[h]);
		CHECK(!CHIME_IS_EAI(CHIME_HOST(h)));
		CHECK_EQ(CHIME_IS_HOST(CHIME_HOST(h)), h > 0);
		CHECK(h == 0 || h == 5 || strcmp(chime_strerror(CHIME_HOST(h)), "unknown error") != 0);
	}
	CHECK(!CHIME_IS_HOST(CHIME_EAI(EAI_NONAME)));
}

/* Every code of the resolver has its name, and a text of its own. */
TEST(error_knows_the_resolvers_codes)
{
	static const struct {
		int eai;
		const char *name;
	} rows[] = {
		{ EAI_BADFLAGS, "EAI_BADFLAGS" },
		{ EAI_NONAME, "EAI_NONAME" },
		{ EAI_AGAIN, "EAI_AGAIN" },
		{ EAI_FAIL, "EAI_FAIL" },
		{ EAI_NODATA, "EAI_NODATA" },
		{ EAI_FAMILY, "EAI_FAMILY" },
		{ EAI_SOCKTYPE, "EAI_SOCKTYPE" },
		{ EAI_SERVICE, "EAI_SERVICE" },
		{ EAI_ADDRFAMILY, "EAI_ADDRFAMILY" },
		{ EAI_MEMORY, "EAI_MEMORY" },
		{ EAI_SYSTEM, "EAI_SYSTEM" },
		{ EAI_OVERFLOW, "EAI_OVERFLOW" },
		{ EAI_INPROGRESS, "EAI_INPROGRESS" },
		{ EAI_CANCELED, "EAI_CANCELED" },
		{ EAI_NOTCANCELED, "EAI_NOTCANCELED" },
		{ EAI_ALLDONE, "EAI_ALLDONE" },
		{ EAI_INTR, "EAI_INTR" },
		{ EAI_IDN_ENCODE, "EAI_IDN_ENCODE" },
	};
	size_t count = sizeof rows / sizeof rows[0];
	for (size_t i = 0; i < count; i++) {
		int code = CHIME_EAI(rows[i].eai);
		CHECK(CHIME_IS_EAI(code));
		CHECK_STR(chime_errname(code), rows[i].name);
		for (size_t j = 0; j < i; j++)
			CHECK(strcmp(chime_strerror(code), chime_strerror(CHIME_EAI(rows[j].eai))) != 0);
	}
}

/* Each of our own codes has its name, and none falls into another's range. */
TEST(error_knows_our_own_codes)
{
	static const struct {
		int code;
		const char *name;
	} rows[] = {
		{ CHIME_ETIMEOUT, "CHIME_ETIMEOUT" }, { CHIME_ESYNTAX, "CHIME_ESYNTAX" },
		{ CHIME_ECLOSED, "CHIME_ECLOSED" },   { CHIME_EEOF, "CHIME_EEOF" },
		{ CHIME_ESCHEME, "CHIME_ESCHEME" },   { CHIME_ETOOLONG, "CHIME_ETOOLONG" },
		{ CHIME_ESHORT, "CHIME_ESHORT" },     { CHIME_EVERSION, "CHIME_EVERSION" },
		{ CHIME_ELENGTH, "CHIME_ELENGTH" },   { CHIME_ECHECKSUM, "CHIME_ECHECKSUM" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		CHECK_STR(chime_errname(rows[i].code), rows[i].name);
		CHECK(strcmp(chime_strerror(rows[i].code), "unknown error") != 0);
		CHECK(!CHIME_IS_EAI(rows[i].code));
	}
}

/* A code that nobody knows has a text too, and so have results that are no errors. */
TEST(error_answers_for_every_number)
{
	static const int unknown[] = { -4095,  -4096,  -19999, -20000, -20013, -20099, -20106, -20200,
				       -20999, -30000, -30999, -39999, -40000, -49999, INT_MIN };
	for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
		fprintf(stderr, "code %d\n", unknown[i]);
		CHECK_STR(chime_errname(unknown[i]), "UNKNOWN");
		CHECK_STR(chime_strerror(unknown[i]), "unknown error");
	}
	CHECK_STR(chime_errname(0), "OK");
	CHECK_STR(chime_strerror(0), "success");
	CHECK_STR(chime_strerror(INT_MAX), "success");
}

static const char *from_handler;
static void handler(int sig)
{
	(void)sig;
	from_handler = chime_strerror(-ECONNRESET);
}

static void *from_thread(void *arg)
{
	(void)arg;
	return (void *)(uintptr_t)chime_strerror(-ECONNRESET);
}

/* The texts are static: the same ones in a signal handler and in another thread. */
TEST(error_texts_are_static)
{
	const char *here = chime_strerror(-ECONNRESET);
	pthread_t thread;
	void *there;
	CHECK_PTR(signal(SIGUSR1, handler), SIG_DFL);
	raise(SIGUSR1);
	CHECK_PTR(from_handler, here);
	CHECK_EQ(pthread_create(&thread, NULL, from_thread, NULL), 0);
	CHECK_EQ(pthread_join(thread, &there), 0);
	CHECK_PTR(there, here);
}

TEST_MAIN()
