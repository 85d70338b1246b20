/*
 * Runs a fuzz target without libFuzzer: replay CORPUS [ROUNDS]. Each file of the directory CORPUS, every prefix of it, and
 * ROUNDS (10000) mutations of them from the seed CHIME_TEST_SEED (else a random one, printed).
 */
#include "fuzz/fuzz.h"

#include <dirent.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/random.h>
#include <unistd.h>

#define INPUT_MAX 8192
#define FILES_MAX 1024

static struct input {
	size_t len;
	uint8_t bytes[INPUT_MAX];
} now, *inputs;
static unsigned input_count;
static uint64_t state;

static unsigned below(unsigned n)
{
	/* xorshift64* */
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return n ? (unsigned)((state * 0x2545f4914f6cdd1du) >> 33) % n : 0;
}

/* Shows the input that the target died of, then dies of it. */
static void died(int sig)
{
	static const char hex[] = "0123456789abcdef";
	char text[2 * INPUT_MAX + 1];
	for (size_t i = 0; i < now.len; i++) {
		text[2 * i] = hex[now.bytes[i] >> 4];
		text[2 * i + 1] = hex[now.bytes[i] & 15];
	}
	text[2 * now.len] = '\n';
	ssize_t wrote = write(2, "input: ", 7);
	wrote += write(2, text, 2 * now.len + 1);
	(void)wrote;
	signal(sig, SIG_DFL);
	raise(sig);
}

static void load(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	if (!d) {
		perror(dir);
		exit(1);
	}
	while ((entry = readdir(d)) && input_count < FILES_MAX) {
		char path[4096];
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
		FILE *f = fopen(path, "rb");
		if (!f)
			continue;
		inputs[input_count].len = fread(inputs[input_count].bytes, 1, INPUT_MAX, f);
		fclose(f);
		input_count++;
	}
	closedir(d);
}

static void run(void)
{
	LLVMFuzzerTestOneInput(now.bytes, now.len);
}

/* One small change of now. */
static void mutate(void)
{
	const struct input *other = &inputs[below(input_count)];
	size_t at = below((unsigned)now.len + 1), n;
	switch (below(5)) {
	case 0: /* a byte changed */
		if (at < now.len)
			now.bytes[at] = (uint8_t)below(256);
		break;
	case 1: /* some taken out */
		n = below((unsigned)(now.len - at) + 1);
		memmove(now.bytes + at, now.bytes + at + n, now.len - at - n);
		now.len -= n;
		break;
	case 2: /* one of the marks put in */
		if (now.len < INPUT_MAX) {
			memmove(now.bytes + at + 1, now.bytes + at, now.len - at);
			now.bytes[at] = (uint8_t) ":/?&=%@[]*.+04695"[below(17)];
			now.len++;
		}
		break;
	case 3: /* the rest of another */
		n = below((unsigned)other->len + 1);
		if (at + other->len - n <= INPUT_MAX) {
			memcpy(now.bytes + at, other->bytes + n, other->len - n);
			now.len = at + other->len - n;
		}
		break;
	case 4: /* a piece twice */
		n = below((unsigned)(now.len - at) + 1);
		if (now.len + n <= INPUT_MAX) {
			memmove(now.bytes + at + n, now.bytes + at, now.len - at);
			now.len += n;
		}
		break;
	}
}

int main(int argc, char **argv)
{
	const char *seed = getenv("CHIME_TEST_SEED");
	unsigned rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 10000;
	static const int signals[] = { SIGABRT, SIGSEGV, SIGBUS };

	if (argc < 2) {
		fprintf(stderr, "usage: %s CORPUS [ROUNDS]\n", argv[0]);
		return 2;
	}
	if (seed)
		state = strtoull(seed, NULL, 0);
	else if (getrandom(&state, sizeof state, 0) < 0)
		state = (uint64_t)getpid();
	state |= 1;
	printf("seed: CHIME_TEST_SEED=0x%" PRIx64 "\n", state);
	fflush(stdout);
	for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
		signal(signals[i], died);

	inputs = calloc(FILES_MAX, sizeof *inputs);
	if (!inputs)
		return 1;
	load(argv[1]);
	if (!input_count) {
		fprintf(stderr, "%s: no inputs\n", argv[1]);
		return 1;
	}
	for (unsigned i = 0; i < input_count; i++)
		for (size_t len = 0; len <= inputs[i].len; len++) {
			now = inputs[i];
			now.len = len;
			run();
		}
	for (unsigned i = 0; i < rounds; i++) {
		now = inputs[below(input_count)];
		for (unsigned n = 1 + below(5); n; n--)
			mutate();
		run();
	}
	printf("%u inputs, every prefix of them, %u mutations: held\n", input_count, rounds);
	free(inputs);
	return 0;
}
