/* Numbers for paths (SipHash-2-4 with a key of the process), and the rate of strangers. */
#include "net/rdm_paths.h"

#include "net/siphash.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>

static uint64_t key[2];
static int key_err;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

static void make_key(void)
{
	if (getrandom(key, sizeof key, 0) != (ssize_t)sizeof key)
		key_err = -EIO;
}

/* The address as words: 16 bytes, and its scope. */
static void words_of(const chime_addr *a, uint64_t words[3])
{
	words[0] = words[1] = words[2] = 0;
	if (chime_addr_family(a) == AF_INET) {
		memcpy(words, &a->u.in.sin_addr, 4);
	} else {
		memcpy(words, &a->u.in6.sin6_addr, 16);
		words[2] = a->u.in6.sin6_scope_id;
	}
}

int chime__path_number(const chime_addr *wire, uint64_t salt, uint64_t *out)
{
	uint64_t words[5];
	pthread_once(&key_once, make_key);
	words_of(wire, words);
	words[3] = (uint64_t)chime_addr_port(wire) << 16 | (uint64_t)chime_addr_family(wire);
	words[4] = salt;
	*out = chime__siphash(key, words, 5, 2, 4);
	if (sizeof(void *) < sizeof *out)
		*out = (uint32_t)*out; /* what a stack keeps of it */
	if (*out == 0)
		*out = 1;
	return key_err;
}

bool chime__strangers_admit(struct strangers *s, const chime_addr *wire, int64_t now_ns)
{
	const int64_t cost_ns = CHIME_SEC / STRANGERS_RATE;
	uint64_t words[3];
	chime_addr plain = chime_addr_unmap(wire);
	pthread_once(&key_once, make_key);
	words_of(&plain, words);
	if (chime_addr_family(&plain) == AF_INET6) { /* whoever has an address has its /56 */
		unsigned char prefix[8] = { 0 };
		memcpy(prefix, words, 7);
		memcpy(words, prefix, 8);
		words[1] = words[2] = 0;
	}
	int64_t *full_at = &s->full_at_ns[chime__siphash(key, words, 3, 2, 4) % STRANGERS_SLOTS];
	if (*full_at < now_ns)
		*full_at = now_ns;
	if (*full_at + cost_ns - now_ns > STRANGERS_BURST * cost_ns)
		return false;
	*full_at += cost_ns;
	return true;
}
