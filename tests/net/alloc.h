/*
 * net/alloc.h - counts allocations: the allocator's functions are ours in a test that includes this, once, in its one file.
 *
 *     FREE_OF_IT(chime_send(s, b, 1, 0));      must succeed, and must not allocate
 *     FREE_IN_FAILURE(chime_recv(s, b, 1, 0)); must fail, and must not allocate
 *     FREE_ANYHOW(chime_addr_none());          must not allocate
 */
#ifndef NET_ALLOC_H
#define NET_ALLOC_H

#include <runner/test.h>

#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

/* volatile: an optimizer knows what malloc(3) does, and that it looks at neither. */
static _Thread_local volatile bool armed;
static _Thread_local volatile unsigned count;

#ifndef SANITIZED
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

void *malloc(size_t size)
{
	count += armed;
	return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	count += armed;
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	count += armed;
	return __libc_realloc(p, size);
}
#endif

static void check_counter(void)
{
#ifdef SANITIZED
	SKIP("the sanitizer has an allocator of its own");
#endif
	armed = true;
	void *volatile p = malloc(10);
	armed = false;
	free(p);
	CHECK_EQ(count, 1);
	count = 0;
}

static void told(const char *call)
{
	armed = false;
	if (count)
		fprintf(stderr, "%s allocated %u times\n", call, count);
	CHECK_EQ(count, 0);
}

/* The expression is run with the counter on. It must succeed. */
#define FREE_OF_IT(expr_)                                                                                              \
	do {                                                                                                           \
		armed = true;                                                                                          \
		long long got_ = (long long)(expr_);                                                                   \
		told(#expr_);                                                                                          \
		if (got_ < 0)                                                                                          \
			fprintf(stderr, "%s gave %lld\n", #expr_, got_);                                               \
		CHECK(got_ >= 0);                                                                                      \
	} while (0)
/* It may fail, for it shall be tried where it does. */
#define FREE_IN_FAILURE(expr_)                                                                                         \
	do {                                                                                                           \
		armed = true;                                                                                          \
		long long got_ = (long long)(expr_);                                                                   \
		told(#expr_);                                                                                          \
		CHECK(got_ < 0);                                                                                       \
	} while (0)

/* Whether it succeeds is not asked. */
#define FREE_ANYHOW(expr_)                                                                                             \
	do {                                                                                                           \
		armed = true;                                                                                          \
		(void)(expr_);                                                                                         \
		told(#expr_);                                                                                          \
	} while (0)

#endif
