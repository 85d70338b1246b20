/* A unix socket's file: stale ones are replaced, nothing else is; the mode is right from the start; only ours is removed. */
#include "server/path.h"

#include "runner/test.h"

#include <chime/clock.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char why[512];

static chime_addr at(const char *name)
{
	char path[100];
	chime_addr a;
	snprintf(path, sizeof path, "%s/%s", test_dir(), name);
	CHECK_EQ(chime_addr_unix(&a, path, strlen(path)), 0);
	return a;
}

static int unix_socket(int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0);
	return fd;
}

/* A socket file that nobody is behind any more. */
static void leave_stale(const chime_addr *a)
{
	int fd = unix_socket(SOCK_STREAM);
	CHECK_EQ(bind(fd, &a->u.sa, a->len), 0);
	CHECK_EQ(listen(fd, 1), 0);
	close(fd);
	CHECK_EQ(access(a->u.un.sun_path, F_OK), 0);
}

static int try_bind(struct path_claim *claim, int type, const chime_addr *a, int64_t mode, int *fd)
{
	*fd = unix_socket(type);
	why[0] = 0;
	int err = chime__path_bind(claim, *fd, a, mode, why, sizeof why);
	if (err < 0)
		close(*fd);
	return err;
}

/* What a dead server left is replaced, whatever type it was; the new socket answers there. */
TEST(path_replaces_a_stale_socket)
{
	static const int types[] = { SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM };
	chime_addr a = at("s");
	for (unsigned i = 0; i < 3; i++) {
		struct path_claim claim;
		int fd, client = unix_socket(types[i]);
		leave_stale(&a);
		CHECK_EQ(try_bind(&claim, types[i], &a, -1, &fd), 0);
		if (types[i] != SOCK_DGRAM)
			CHECK_EQ(listen(fd, 1), 0);
		CHECK_EQ(connect(client, &a.u.sa, a.len), 0);
		close(client);
		chime__path_remove(&claim, a.u.un.sun_path);
		close(fd);
		CHECK_EQ(access(a.u.un.sun_path, F_OK), -1);
	}
}

/* A living one is never replaced, be it listening, bound only, or of another type; the sentence names its holder. */
TEST(path_never_replaces_a_living_socket)
{
	static const int types[] = { SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM };
	char wanted[600];
	chime_addr a = at("s");
	for (unsigned live = 0; live < 3; live++) {
		int holder = unix_socket(types[live]), fd;
		struct stat before, after;
		struct path_claim claim;
		CHECK_EQ(bind(holder, &a.u.sa, a.len), 0);
		CHECK_EQ(stat(a.u.un.sun_path, &before), 0);
		for (unsigned listening = 0; listening < 2; listening++) {
			if (listening && types[live] != SOCK_DGRAM)
				CHECK_EQ(listen(holder, 1), 0);
			for (unsigned mine = 0; mine < 3; mine++) {
				CHECK_EQ(try_bind(&claim, types[mine], &a, 0600, &fd), -EADDRINUSE);
				snprintf(wanted, sizeof wanted,
					 "bind %s: address in use, held by this process, pid %ld", a.u.un.sun_path,
					 (long)getpid());
				CHECK_STR(why, wanted);
			}
		}
		CHECK_EQ(stat(a.u.un.sun_path, &after), 0);
		CHECK_EQ(after.st_ino, before.st_ino);
		close(holder);
		CHECK_EQ(unlink(a.u.un.sun_path), 0);
	}
}

/* A live listener is not disturbed by being asked: no connection comes in. */
TEST(path_asks_without_disturbing)
{
	chime_addr a = at("s");
	int holder = unix_socket(SOCK_STREAM | SOCK_NONBLOCK), fd;
	struct path_claim claim;
	CHECK_EQ(bind(holder, &a.u.sa, a.len), 0);
	CHECK_EQ(listen(holder, 5), 0);
	CHECK_EQ(try_bind(&claim, SOCK_STREAM, &a, -1, &fd), -EADDRINUSE);
	CHECK_EQ(accept(holder, NULL, NULL), -1);
	CHECK_EQ(errno, EAGAIN);
	close(holder);
}

/* Files that are no sockets stay as they are: plain ones, directories, links (dangling too). */
TEST(path_never_replaces_another_file)
{
	chime_addr a = at("f");
	const char *path = a.u.un.sun_path;
	struct path_claim claim;
	struct stat st;
	int fd = open(path, O_CREAT | O_WRONLY, 0600);
	CHECK_EQ(write(fd, "mine", 4), 4);
	close(fd);
	CHECK_EQ(try_bind(&claim, SOCK_STREAM, &a, -1, &fd), -EEXIST);
	CHECK(strstr(why, "a plain file"));
	CHECK_EQ(stat(path, &st), 0);
	CHECK_EQ(st.st_size, 4);
	CHECK_EQ(unlink(path), 0);
	CHECK_EQ(mkdir(path, 0700), 0);
	CHECK_EQ(try_bind(&claim, SOCK_DGRAM, &a, -1, &fd), -EEXIST);
	CHECK(strstr(why, "a directory"));
	CHECK_EQ(rmdir(path), 0);
	CHECK_EQ(symlink("nowhere", path), 0);
	CHECK_EQ(try_bind(&claim, SOCK_STREAM, &a, -1, &fd), -EEXIST);
	CHECK(strstr(why, "a symbolic link"));
	CHECK_EQ(lstat(path, &st), 0);
	CHECK(S_ISLNK(st.st_mode));
}

/* What is wrong with the directory is said: it is missing, no directory, or not writable. */
TEST(path_says_what_its_directory_lacks)
{
	chime_addr a = at("none/s");
	struct path_claim claim;
	char wanted[600], dir[100];
	int fd;
	CHECK_EQ(try_bind(&claim, SOCK_STREAM, &a, -1, &fd), -ENOENT);
	snprintf(wanted, sizeof wanted, "bind %s: the directory %s/none does not exist", a.u.un.sun_path, test_dir());
	CHECK_STR(why, wanted);
	snprintf(dir, sizeof dir, "%s/none", test_dir());
	close(open(dir, O_CREAT | O_WRONLY, 0600));
	CHECK_EQ(try_bind(&claim, SOCK_STREAM, &a, -1, &fd), -ENOTDIR);
	CHECK(strstr(why, "is not a directory"));
	if (geteuid() != 0)
		SKIP("needs root to become another user");
	CHECK_EQ(unlink(dir), 0);
	CHECK_EQ(mkdir(dir, 0755), 0);
	CHECK_EQ(chmod(test_dir(), 0755), 0);
	CHECK_EQ(seteuid(65534), 0);
	CHECK_EQ(try_bind(&claim, SOCK_STREAM, &a, -1, &fd), -EACCES);
	CHECK_EQ(seteuid(0), 0);
	snprintf(wanted, sizeof wanted, "bind %s: permission denied, the directory %s is not writable for user 65534",
		 a.u.un.sun_path, dir);
	CHECK_STR(why, wanted);
}

/* The file has exactly the mode that was asked for, whatever the umask; without one, what the umask leaves. */
TEST(path_sets_the_mode_in_spite_of_the_umask)
{
	static const int umasks[] = { 0, 022, 077, 0777 };
	static const int modes[] = { 0600, 0660, 0666, 0777, 0 };
	static const int types[] = { SOCK_STREAM, SOCK_DGRAM };
	chime_addr a = at("m");
	struct path_claim claim;
	struct stat st;
	int fd;
	for (unsigned u = 0; u < 4; u++)
		for (unsigned m = 0; m < 5; m++)
			for (unsigned t = 0; t < 2; t++) {
				umask((mode_t)umasks[u]);
				CHECK_EQ(try_bind(&claim, types[t], &a, modes[m], &fd), 0);
				CHECK_EQ(stat(a.u.un.sun_path, &st), 0);
				CHECK_EQ(st.st_mode & 07777, modes[m]);
				chime__path_remove(&claim, a.u.un.sun_path);
				close(fd);
			}
	umask(027);
	CHECK_EQ(try_bind(&claim, SOCK_STREAM, &a, -1, &fd), 0);
	CHECK_EQ(stat(a.u.un.sun_path, &st), 0);
	CHECK_EQ(st.st_mode & 07777, 0750);
	chime__path_remove(&claim, a.u.un.sun_path);
	close(fd);
}

/* bind(2) alone never makes the file more open than the mode asked for: what this kernel does with the descriptor's mode. */
TEST(path_has_no_moment_of_too_many_permissions)
{
	chime_addr a = at("m");
	struct stat st;
	int fd = unix_socket(SOCK_DGRAM);
	umask(0);
	CHECK_EQ(fchmod(fd, 0600), 0);
	CHECK_EQ(bind(fd, &a.u.sa, a.len), 0);
	CHECK_EQ(stat(a.u.un.sun_path, &st), 0);
	CHECK_EQ(st.st_mode & 07777, 0600);
	close(fd);
}

/* A file that somebody put in the place of ours stays, even where the file system would give it our inode number. */
TEST(path_removes_only_its_own_file)
{
	chime_addr a = at("s");
	struct path_claim claim;
	struct stat st;
	int fd, other = unix_socket(SOCK_STREAM);
	CHECK_EQ(try_bind(&claim, SOCK_STREAM, &a, -1, &fd), 0);
	close(fd); /* the socket lets go of its inode: only the claim still holds it */
	CHECK_EQ(unlink(a.u.un.sun_path), 0);
	CHECK_EQ(bind(other, &a.u.sa, a.len), 0);
	CHECK_EQ(stat(a.u.un.sun_path, &st), 0);
	CHECK(st.st_ino != claim.ino || st.st_dev != claim.dev);
	chime__path_remove(&claim, a.u.un.sun_path);
	CHECK_EQ(access(a.u.un.sun_path, F_OK), 0);
	close(other);
	CHECK_EQ(claim.pin, -1);
}

/* Where the directory cannot be locked, a stale file is not replaced: that would be a race. A free path is taken all the same. */
TEST(path_replaces_nothing_without_the_lock)
{
	chime_addr a = at("s"), b = at("t");
	struct path_claim claim;
	int fd, dir = open(test_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK_EQ(flock(dir, LOCK_EX), 0);
	leave_stale(&a);
	CHECK_EQ(try_bind(&claim, SOCK_STREAM, &a, -1, &fd), -EADDRINUSE);
	CHECK(strstr(why, "cannot be locked"));
	CHECK_EQ(access(a.u.un.sun_path, F_OK), 0);
	CHECK_EQ(try_bind(&claim, SOCK_STREAM, &b, -1, &fd), 0);
	close(dir);
	chime__path_remove(&claim, b.u.un.sun_path);
	close(fd);
}

/* Servers that start at once on a stale path: one has it and is the one found there, all others are refused. */
TEST_LIMIT(path_race_on_a_stale_file_has_one_winner, 60)
{
	enum {
		ROUNDS_MIN = 5, /* in which all have their turn: a second or two on a busy machine */
		ROUNDS = 60,
		SERVERS = 6
	};
	chime_addr a = at("s");
	int64_t since = test_now();
	for (unsigned round = 0; round < ROUNDS_MIN || (round < ROUNDS && test_now() - since < 20 * CHIME_SEC);
	     round++) {
		int go[2], result[2], stay[2];
		pid_t pids[SERVERS];
		unsigned won = 0, refused = 0;
		pid_t winner = 0;
		leave_stale(&a);
		CHECK_EQ(pipe(go), 0);
		CHECK_EQ(pipe(result), 0);
		CHECK_EQ(pipe(stay), 0);
		for (unsigned i = 0; i < SERVERS; i++) {
			pids[i] = fork();
			CHECK(pids[i] >= 0);
			if (pids[i])
				continue;
			struct path_claim claim;
			char c;
			struct {
				pid_t pid;
				int err;
			} said = { getpid(), 0 };
			int fd = unix_socket(SOCK_STREAM);
			close(go[1]);
			close(stay[1]);
			(void)!read(go[0], &c, 1);
			said.err = chime__path_bind(&claim, fd, &a, 0600, why, sizeof why);
			if (said.err == 0 && listen(fd, 5) < 0)
				said.err = -errno;
			(void)!write(result[1], &said, sizeof said);
			(void)!read(stay[0], &c, 1);
			_exit(0);
		}
		close(go[0]);
		close(go[1]);
		for (unsigned i = 0; i < SERVERS; i++) {
			struct {
				pid_t pid;
				int err;
			} said;
			CHECK_EQ(read(result[0], &said, sizeof said), sizeof said);
			won += said.err == 0;
			refused += said.err == -EADDRINUSE;
			if (said.err == 0)
				winner = said.pid;
		}
		CHECK_EQ(won, 1);
		CHECK_EQ(refused, SERVERS - 1);
		struct ucred cred;
		socklen_t len = sizeof cred;
		int client = unix_socket(SOCK_STREAM);
		CHECK_EQ(connect(client, &a.u.sa, a.len), 0);
		CHECK_EQ(getsockopt(client, SOL_SOCKET, SO_PEERCRED, &cred, &len), 0);
		CHECK_EQ(cred.pid, winner);
		close(client);
		close(stay[0]);
		close(stay[1]);
		for (unsigned i = 0; i < SERVERS; i++)
			CHECK_EQ(waitpid(pids[i], NULL, 0), pids[i]);
		close(result[0]);
		close(result[1]);
		CHECK_EQ(unlink(a.u.un.sun_path), 0);
	}
}

/* A user who may see neither the holder's descriptors nor the file is told what can be told. */
TEST(path_of_another_user_is_refused)
{
	chime_addr a = at("s");
	struct path_claim claim;
	int holder = unix_socket(SOCK_STREAM), fd;
	char wanted[64];
	if (geteuid() != 0)
		SKIP("needs root to become another user");
	CHECK_EQ(chmod(test_dir(), 0777), 0);
	CHECK_EQ(bind(holder, &a.u.sa, a.len), 0);
	CHECK_EQ(listen(holder, 1), 0);
	CHECK_EQ(chmod(a.u.un.sun_path, 0666), 0);
	CHECK_EQ(seteuid(65534), 0);
	CHECK_EQ(try_bind(&claim, SOCK_STREAM, &a, -1, &fd), -EADDRINUSE);
	CHECK_EQ(seteuid(0), 0);
	/* The listener itself says its pid. */
	snprintf(wanted, sizeof wanted, "pid %ld", (long)getpid());
	CHECK(strstr(why, wanted));
	CHECK_EQ(chmod(a.u.un.sun_path, 0600), 0);
	CHECK_EQ(seteuid(65534), 0);
	CHECK_EQ(try_bind(&claim, SOCK_STREAM, &a, -1, &fd), -EADDRINUSE);
	CHECK_EQ(seteuid(0), 0);
	CHECK(strstr(why, "may not connect"));
	CHECK_EQ(access(a.u.un.sun_path, F_OK), 0);
	close(holder);
}

TEST_MAIN()
