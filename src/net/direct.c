/* Whether send and receive go to the system directly. */
#include "net/direct.h"

#include <stdlib.h>

/* There if the program has the sanitizer's runtime, even though the library was built without. */
extern void __asan_init(void) __attribute__((weak));
extern void __tsan_init(void) __attribute__((weak));
extern void __msan_init(void) __attribute__((weak));

bool chime__direct;

bool chime__direct_wanted(void)
{
	const char *preloaded = getenv("LD_PRELOAD");
	return DIRECT && !__asan_init && !__tsan_init && !__msan_init && !(preloaded && preloaded[0]);
}

static __attribute__((constructor)) void choose(void)
{
	chime__direct = chime__direct_wanted();
}
