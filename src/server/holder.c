/* Who holds an address: the kernel's tables give a socket's inode, and /proc/PID/fd whose descriptor that is. */
#include "server/holder.h"

#include <chime/clock.h>

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINES_MAX 100000 /* of a table; more is not read */
/* Of this thread's work, for all of a search; who is not found by then is not visible. */
#define SEARCH_NS (500 * CHIME_MSEC)

#define GOES_NS CHIME_SEC /* a socket without a process is waited for; it takes some 20 ms */

/* What this thread has worked: a busy machine makes a search longer, and finds no less. */
static int64_t worked_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * CHIME_SEC + ts.tv_nsec;
}

/* ---- the process ---- */

void chime__holder_name(struct holder *h)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%ld/comm", (long)h->pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ssize_t n = read(fd, h->name, sizeof h->name - 1);
	close(fd);
	h->name[n > 0 ? n : 0] = 0;
	h->name[strcspn(h->name, "\n")] = 0;
	for (char *p = h->name; *p; p++)
		if (!isprint((unsigned char)*p))
			*p = '?';
}

static bool has_socket(const char *pid, uint64_t inode)
{
	char path[64], wanted[48], link[48];
	bool found = false;
	snprintf(path, sizeof path, "/proc/%.20s/fd", pid);
	snprintf(wanted, sizeof wanted, "socket:[%" PRIu64 "]", inode);
	DIR *dir = opendir(path);
	if (!dir)
		return false;
	for (struct dirent *e; !found && (e = readdir(dir));) {
		ssize_t n = readlinkat(dirfd(dir), e->d_name, link, sizeof link - 1);
		if (n <= 0)
			continue;
		link[n] = 0;
		found = !strcmp(link, wanted);
	}
	closedir(dir);
	return found;
}

/* Our own process first: it is the likeliest, with many descriptors of many processes in between. */
static void find_process(struct holder *h, uint64_t inode, int64_t deadline_ns)
{
	char self[24];
	snprintf(self, sizeof self, "%ld", (long)getpid());
	if (has_socket(self, inode))
		h->pid = getpid();
	DIR *dir = h->pid ? NULL : opendir("/proc");
	for (struct dirent *e; dir && !h->pid && (e = readdir(dir));) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		if (worked_ns() > deadline_ns)
			break;
		if (has_socket(e->d_name, inode))
			h->pid = (pid_t)atol(e->d_name);
	}
	if (dir)
		closedir(dir);
	if (h->pid)
		chime__holder_name(h);
}

/* ---- IP ---- */

struct ip_line {
	unsigned char addr[16];
	bool v6, any;
	unsigned port, state;
	unsigned uid;
	uint64_t inode;
};

/* "  0: 0100007F:270F 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 12345 ..." (proc(5)) */
static bool read_ip_line(const char *text, bool v6, struct ip_line *out)
{
	char hex[33];
	if (sscanf(text, " %*d: %32[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*x:%*x %*x:%*x %*x %u %*d %" SCNu64, hex,
		   &out->port, &out->state, &out->uid, &out->inode) != 5)
		return false;
	out->v6 = v6;
	out->any = true;
	if (strlen(hex) != (v6 ? 32 : 8))
		return false;
	for (unsigned i = 0; i < (v6 ? 4u : 1u); i++) {
		char word[9];
		snprintf(word, sizeof word, "%.8s", hex + 8 * i);
		uint32_t value = (uint32_t)strtoul(word, NULL, 16); /* printed as it lies in memory */
		memcpy(out->addr + 4 * i, &value, 4);
		out->any = out->any && value == 0;
	}
	return true;
}

static bool conflicts(const struct ip_line *line, const chime_addr *at)
{
	bool v6 = chime_addr_family(at) == AF_INET6;
	if ((int)line->port != chime_addr_port(at))
		return false;
	if (line->any || chime_addr_is_any(at))
		return line->v6 == v6 || (line->v6 ? line->any : chime_addr_is_any(at));
	if (line->v6 != v6)
		return false;
	return v6 ? !memcmp(line->addr, &at->u.in6.sin6_addr, 16) : !memcmp(line->addr, &at->u.in.sin_addr, 4);
}

static uint64_t find_ip(struct holder *h, const char *table, bool v6, bool listeners, const chime_addr *at,
			int64_t deadline_ns)
{
	enum {
		LISTENING = 10
	};
	char text[512];
	uint64_t inode = 0;
	FILE *f = fopen(table, "re");
	if (!f)
		return 0;
	for (unsigned n = 0; !inode && n < LINES_MAX && fgets(text, sizeof text, f); n++) {
		struct ip_line line;
		if (n % 1024 == 1023 && worked_ns() > deadline_ns)
			break;
		if (n == 0 || !read_ip_line(text, v6, &line))
			continue;
		if (listeners && line.state != LISTENING)
			break; /* they stand in front; a million connections may follow */
		if (!conflicts(&line, at))
			continue;
		inode = line.inode;
		h->uid = line.uid;
		h->has_uid = true;
	}
	fclose(f);
	return inode;
}

void chime__holder_of_ip(struct holder *out, int type, int protocol, const chime_addr *at)
{
	bool stream = type == SOCK_STREAM;
	const char *table = stream ? "tcp" : protocol == IPPROTO_UDPLITE ? "udplite" : "udp";
	bool v6 = chime_addr_family(at) == AF_INET6;
	uint64_t inode = 0;
	int64_t deadline_ns = worked_ns() + SEARCH_NS;
	*out = (struct holder){ 0 };
	for (unsigned i = 0; !inode && i < 2; i++, v6 = !v6) { /* its own family's table first */
		char path[32];
		snprintf(path, sizeof path, "/proc/net/%s%s", table, v6 ? "6" : "");
		inode = find_ip(out, path, v6, stream, at, deadline_ns);
	}
	if (inode)
		find_process(out, inode, deadline_ns);
}

/* ---- unix ---- */

/* Whether the table's name is the file: the same text, or, as the holder may have called it otherwise, the same inode. */
static bool same_file(const char *name, const char *path, const struct stat *st)
{
	struct stat other;
	if (!strcmp(name, path))
		return true;
	return name[0] == '/' && st->st_ino && stat(name, &other) == 0 && other.st_ino == st->st_ino &&
	       other.st_dev == st->st_dev;
}

void chime__holder_of_unix(struct holder *out, const chime_addr *at)
{
	char name[sizeof at->u.un.sun_path + 2] = "", text[512];
	size_t len = at->len - offsetof(struct sockaddr_un, sun_path);
	bool abstract = len > 0 && at->u.un.sun_path[0] == 0;
	struct stat st = { 0 };
	uint64_t inode = 0;
	int64_t deadline_ns = worked_ns() + SEARCH_NS;
	*out = (struct holder){ 0 };
	memcpy(name, at->u.un.sun_path, len);
	for (size_t i = 0; abstract && i < len; i++)
		if (name[i] == 0)
			name[i] = '@'; /* as the table prints them */
	if (!abstract && stat(name, &st) == 0) {
		out->uid = st.st_uid;
		out->has_uid = true;
	}
	FILE *f = fopen("/proc/net/unix", "re");
	if (!f)
		return;
	/* Num RefCount Protocol Flags Type St Inode Path */
	for (unsigned n = 0; !inode && n < LINES_MAX && fgets(text, sizeof text, f); n++) {
		uint64_t ino;
		int at_name = 0;
		if (n % 1024 == 1023 && worked_ns() > deadline_ns)
			break;
		text[strcspn(text, "\n")] = 0;
		if (n == 0 || sscanf(text, "%*x: %*x %*x %*x %*x %*x %" SCNu64 " %n", &ino, &at_name) < 1 || !at_name)
			continue;
		if (abstract ? !strcmp(text + at_name, name) : same_file(text + at_name, name, &st))
			inode = ino;
	}
	fclose(f);
	if (inode)
		find_process(out, inode, deadline_ns);
}

bool chime__holder_goes(const struct holder *h, int64_t *until_ns)
{
	int64_t now_ns = chime_now_mono();
	if (h->pid || !h->has_uid || h->uid != geteuid())
		return false;
	if (!*until_ns)
		*until_ns = now_ns + GOES_NS;
	if (now_ns >= *until_ns)
		return false;
	nanosleep(&(struct timespec){ .tv_nsec = 10 * CHIME_MSEC }, NULL);
	return true;
}

size_t chime__holder_print(const struct holder *h, char *buf, size_t size)
{
	int n;
	if (h->pid == getpid())
		n = snprintf(buf, size, "held by this process, pid %ld", (long)h->pid);
	else if (h->pid)
		n = snprintf(buf, size, "held by pid %ld (%s)", (long)h->pid, h->name[0] ? h->name : "?");
	else if (h->has_uid)
		n = snprintf(buf, size, "holder not visible, a process of user %u", (unsigned)h->uid);
	else
		n = snprintf(buf, size, "holder not visible");
	return n < 0 ? 0 : (size_t)n;
}
