/*
 * server/path.h - a unix socket's file: taking its path, replacing what a dead server left there, removing it at the end.
 *
 * What a file is, is asked by connecting a datagram socket to it, which disturbs nobody: ECONNREFUSED means that no socket is
 * bound to it any more (stale), EPROTOTYPE or success that one is. Only a stale file is ever removed, and only under a
 * lock (flock(2) on the directory), for between looking and removing another server may have put its own there. Where
 * the directory cannot be locked, nothing is replaced.
 */
#ifndef SERVER_PATH_H
#define SERVER_PATH_H

#include <chime/addr.h>

/* A file that is ours. The descriptor keeps its inode from being used again, so that the numbers stay its own. */
struct path_claim {
	int pin; /* O_PATH on the file, or -1 */
	uint64_t dev, ino;
};

/*
 * Binds the unix socket fd to the path at (not an abstract name). mode: permission bits, -1 for what the umask leaves. The
 * file is made with fewer permissions or the same, never more: the bits that the umask took are added behind it.
 * 0; -EADDRINUSE (alive), -EEXIST (no socket), -ENOENT, -EACCES ...; then why has the sentence.
 */
int chime__path_bind(struct path_claim *out, int fd, const chime_addr *at, int64_t mode, char *why, size_t why_size);

/* Removes the file if it is still the claimed one, and forgets the claim. */
void chime__path_remove(struct path_claim *claim, const char *path);

#endif
