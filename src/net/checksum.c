/* The internet checksum (RFC 1071): a sum of 16-bit words in ones' complement, eight bytes at a time. */
#include <chime/raw.h>

#include <arpa/inet.h>
#include <string.h>

/* The sum is kept in the machine's own byte order until it ends: turning the sum turns each of its words (RFC 1071 2 (B)). */
static uint32_t fold(uint64_t sum)
{
	sum = (sum >> 32) + (uint32_t)sum;
	sum = (sum >> 32) + (uint32_t)sum;
	return (uint32_t)sum;
}

uint32_t chime_checksum_add(uint32_t sum, const void *bytes, size_t len)
{
	const unsigned char *p = bytes;
	uint64_t a = sum, b = 0;
	/* Two sums of 32-bit words in 64 bits each: neither overflows within 4 G words, and what is longer goes in parts. */
	while (len >= 8) {
		size_t part = len < (size_t)1 << 30 ? len / 8 * 8 : (size_t)1 << 30;
		for (const unsigned char *end = p + part; p < end; p += 8) {
			uint32_t words[2];
			memcpy(words, p, 8);
			a += words[0];
			b += words[1];
		}
		len -= part;
		a = (uint64_t)fold(a) + fold(b);
		b = 0;
	}
	if (len > 0) {
		uint32_t words[2] = { 0, 0 }; /* an odd byte stands in front of a zero (RFC 1071 4.1) */
		memcpy(words, p, len);
		a += (uint64_t)words[0] + words[1];
	}
	return fold(a);
}

uint16_t chime_checksum_end(uint32_t sum)
{
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return (uint16_t)~ntohs((uint16_t)sum);
}

uint16_t chime_checksum(const void *bytes, size_t len)
{
	return chime_checksum_end(chime_checksum_add(0, bytes, len));
}

uint32_t chime_checksum_ipv4(struct in_addr from, struct in_addr to, uint8_t protocol, uint16_t len)
{
	const unsigned char rest[4] = { 0, protocol, (unsigned char)(len >> 8), (unsigned char)len };
	uint32_t sum = chime_checksum_add(0, &from, sizeof from);
	sum = chime_checksum_add(sum, &to, sizeof to);
	return chime_checksum_add(sum, rest, sizeof rest);
}

uint32_t chime_checksum_ipv6(const struct in6_addr *from, const struct in6_addr *to, uint8_t protocol, uint32_t len)
{
	const uint32_t rest[2] = { htonl(len), htonl(protocol) };
	uint32_t sum = chime_checksum_add(0, from, sizeof *from);
	sum = chime_checksum_add(sum, to, sizeof *to);
	return chime_checksum_add(sum, rest, sizeof rest);
}
