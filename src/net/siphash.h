/*
 * net/siphash.h - a keyed hash of words, for tables that strangers fill (SipHash-c-d: Aumasson and Bernstein, 2012).
 *
 * A key of 16 secret bytes from getrandom(2); c rounds a word and d at the end: 2 and 4 as published, 1 and 3 as hash tables use it.
 */
#ifndef NET_SIPHASH_H
#define NET_SIPHASH_H

#include <stdint.h>

static inline uint64_t chime__rotate(uint64_t x, unsigned by)
{
	return x << by | x >> (64 - by);
}

static inline void chime__sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = chime__rotate(v[1], 13) ^ v[0];
	v[0] = chime__rotate(v[0], 32);
	v[2] += v[3];
	v[3] = chime__rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = chime__rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = chime__rotate(v[1], 17) ^ v[2];
	v[2] = chime__rotate(v[2], 32);
}

static inline uint64_t chime__siphash(const uint64_t key[2], const uint64_t *words, unsigned n, unsigned c, unsigned d)
{
	uint64_t v[4] = { key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du, key[0] ^ 0x6c7967656e657261u,
			  key[1] ^ 0x7465646279746573u };
	for (unsigned i = 0; i <= n; i++) {
		uint64_t m = i < n ? words[i] : (uint64_t)n << 59; /* the length in bytes, in the topmost one */
		v[3] ^= m;
		for (unsigned k = 0; k < c; k++)
			chime__sip_round(v);
		v[0] ^= m;
	}
	v[2] ^= 0xff;
	for (unsigned k = 0; k < d; k++)
		chime__sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif
