/*
 * What a server's process has used of the processor: the same figure for every load.
 */
#ifndef BENCH_SERVER_CPU_H
#define BENCH_SERVER_CPU_H

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* From the scheduler, over all threads of a process: its time on a core, and its time waiting for one that others had. */
static inline int64_t run_and_wait(int pid, int64_t *wait_ns)
{
	char path[64];
	int64_t sum = 0;
	*wait_ns = 0;
	snprintf(path, sizeof path, "/proc/%d/task", pid);
	DIR *d = opendir(path);
	for (struct dirent *e; d && (e = readdir(d));) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "/proc/%d/task/%.20s/schedstat", pid, e->d_name);
		FILE *f = fopen(path, "r");
		long long ns = 0, waited = 0;
		if (f && fscanf(f, "%lld %lld", &ns, &waited) == 2) {
			sum += ns;
			*wait_ns += waited;
		}
		if (f)
			fclose(f);
	}
	if (d)
		closedir(d);
	return sum;
}

/* The CPU time of all threads of a process; and its user and system ticks. */
static inline int64_t server_cpu(int pid, uint64_t *user, uint64_t *system)
{
	char path[64], text[1024];
	int64_t waited, sum = run_and_wait(pid, &waited);
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	FILE *f = fopen(path, "r");
	size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
	text[n] = 0;
	if (f)
		fclose(f);
	char *p = strrchr(text, ')');
	unsigned long long u = 0, s = 0;
	if (p)
		sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &u, &s);
	*user = u;
	*system = s;
	return sum;
}

#endif
