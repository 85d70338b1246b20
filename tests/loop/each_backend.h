/*
 * loop/each_backend.h - a test that runs on every backend of the system: TEST_EACH_BACKEND(name) makes name_epoll and name_uring.
 * Where the kernel does not let us have one, the test is skipped with its reason.
 */
#ifndef LOOP_EACH_BACKEND_H
#define LOOP_EACH_BACKEND_H

#include "runner/test.h"

#include "loop/backend.h"

#include <chime/error.h>

static const struct backend *test_backend;

static inline void use_backend(const struct backend *b)
{
	struct backend_caps caps;
	int err = b->probe(&caps);
	if (err < 0)
		SKIP("backend %s: %s", b->name, chime_strerror(err));
	test_backend = b;
}

#define TEST_EACH_BACKEND(name)                                                                                        \
	static void name(void);                                                                                        \
	TEST_LIMIT(name##_epoll, 30)                                                                                   \
	{                                                                                                              \
		use_backend(&chime__backend_epoll);                                                                    \
		name();                                                                                                \
	}                                                                                                              \
	TEST_LIMIT(name##_uring, 30)                                                                                   \
	{                                                                                                              \
		use_backend(&chime__backend_uring);                                                                    \
		name();                                                                                                \
	}                                                                                                              \
	static void name(void)

#endif
