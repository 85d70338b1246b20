/* Numbers for paths (SipHash-2-4 with a key of the process), and the rate of strangers. */
#include "net/rdm_paths.h"

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

static uint64_t rotate(uint64_t x, unsigned n)
{
	return x << n | x >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

static uint64_t sip(const uint64_t *words, unsigned n)
{
	uint64_t v[4] = { key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du, key[0] ^ 0x6c7967656e657261u,
			  key[1] ^ 0x7465646279746573u };
	for (unsigned i = 0; i <= n; i++) {
		uint64_t m = i < n ? words[i] : (uint64_t)n << 59; /* the length in bytes, in the topmost one */
		v[3] ^= m;
		sip_round(v);
		sip_round(v);
		v[0] ^= m;
	}
	v[2] ^= 0xff;
	for (unsigned i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
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
	*out = sip(words, 5);
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
	int64_t *full_at = &s->full_at_ns[sip(words, 3) % STRANGERS_SLOTS];
	if (*full_at < now_ns)
		*full_at = now_ns;
	if (*full_at + cost_ns - now_ns > STRANGERS_BURST * cost_ns)
		return false;
	*full_at += cost_ns;
	return true;
}
