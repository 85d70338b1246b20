/* The services beside the stamp, and the table they are found in. */
#include "answer.h"
#include "runner/test.h"

/* echo gives back what came: a stream's bytes, a message whole, an empty message too. */
TEST(echo_gives_back_what_came)
{
	const chime_service *echo = chime_service_find("echo");
	struct answer a = { 0 };
	unsigned char bytes[5000];
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (unsigned char)test_random();
	for (int message = 0; message < 2; message++) {
		struct chime_input in = { .message = message };
		CHECK_EQ(answer_feed(&a, echo, in, bytes, sizeof bytes, 8), sizeof bytes);
		CHECK_EQ(a.len, sizeof bytes);
		CHECK_EQ(a.count, 1);
		CHECK_MEM(a.bytes, bytes, sizeof bytes);
		answer_free(&a);
		CHECK_EQ(answer_feed(&a, echo, in, bytes, 0, 8), 0);
		CHECK_EQ(a.messages, message); /* no bytes of a stream are nothing, an empty message is one */
		CHECK_EQ(a.len, 0);
		answer_free(&a);
	}
}

/* discard takes everything and says nothing. */
TEST(discard_takes_all_and_says_nothing)
{
	const chime_service *discard = chime_service_find("discard");
	struct answer a = { 0 };
	for (int message = 0; message < 2; message++) {
		CHECK_EQ(answer_feed(&a, discard, (struct chime_input){ .message = message }, "hello", 5, 8), 5);
		CHECK_EQ(a.messages, 0);
		CHECK_EQ(a.count, 0);
		answer_free(&a);
	}
}

/* Services are found by their whole name; the list ends. */
TEST(services_are_found_by_name)
{
	unsigned n = 0;
	for (const chime_service *s; (s = chime_service_at(n)); n++) {
		CHECK_EQ(s->size, sizeof *s);
		CHECK_PTR(chime_service_find(s->name), s);
		CHECK(s->help && s->help[0]);
		CHECK(s->received != NULL);
		for (const struct chime_option *o = s->options; o && o->name; o++)
			CHECK(o->help && o->metavar && o->offset < s->config_size);
	}
	CHECK_EQ(n, 3);
	CHECK_PTR(chime_service_at(n + 1000), NULL);
	CHECK_PTR(chime_service_find("stam"), NULL);
	CHECK_PTR(chime_service_find("stamps"), NULL);
	CHECK_PTR(chime_service_find(""), NULL);
}

TEST_MAIN()
