// Reading and writing: offsets, append, vectors, truncation, holes, descriptors and
// what they share, copying between files.
#include "guest.h"
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

static void offsets(void)
{
	int fd = open("f", O_CREAT | O_RDWR, 0644);
	char b[32] = "";
	say("write", "%s", ret(write(fd, "0123456789", 10)));
	say("pos", "%s", ret(lseek(fd, 0, SEEK_CUR)));
	say("read at end", "%s", ret(read(fd, b, 5)));
	say("set", "%s", ret(lseek(fd, 3, SEEK_SET)));
	say("read", "%s %.4s", ret(read(fd, b, 4)), b);
	say("cur back", "%s", ret(lseek(fd, -5, SEEK_CUR)));
	say("end", "%s", ret(lseek(fd, -1, SEEK_END)));
	say("negative", "%s", ret(lseek(fd, -1, SEEK_SET)));
	say("negative by cur", "%s", ret(lseek(fd, -100, SEEK_CUR)));
	say("overflow", "%s", ret(lseek(fd, 0x7fffffffffffffffL, SEEK_CUR)));
	say("bad whence", "%s", ret(lseek(fd, 0, 99)));
	say("beyond end", "%s", ret(lseek(fd, 20, SEEK_SET)));
	say("read beyond", "%s", ret(read(fd, b, 1)));
	say("write beyond", "%s", ret(write(fd, "Z", 1)));
	memset(b, 'x', sizeof b);
	say("hole is zero", "%s %d %c", ret(pread(fd, b, 32, 0)), b[15], b[20]);
	say("pread keeps pos", "%s", ret(lseek(fd, 0, SEEK_CUR)));
	say("pread negative", "%s", ret(pread(fd, b, 1, -1)));
	say("pwrite", "%s", ret(pwrite(fd, "ab", 2, 0)));
	say("pwrite keeps pos", "%s", ret(lseek(fd, 0, SEEK_CUR)));
	say("pwrite negative", "%s", ret(pwrite(fd, "ab", 2, -1)));
	say("read zero", "%s", ret(read(fd, b, 0)));
	say("bad fd", "%s %s", ret(read(77, b, 1)), ret(write(77, b, 1)));
	say("negative fd", "%s", ret(read(-1, b, 1)));
	int pp[2];
	if (pipe(pp) == 0) {
		say("seek pipe", "%s", ret(lseek(pp[0], 0, SEEK_SET)));
		say("pread pipe", "%s", ret(pread(pp[0], b, 1, 0)));
	}
	say("huge offset write", "%s", ret(pwrite(fd, "a", 1, 0x7fffffffffffffffL)));
	int d = dup(fd);
	lseek(d, 7, SEEK_SET);
	say("dup shares pos", "%s", ret(lseek(fd, 0, SEEK_CUR)));
	int o = open("f", O_RDWR);
	say("open has its own", "%s", ret(lseek(o, 0, SEEK_CUR)));
	if (fork() == 0) {
		lseek(fd, 2, SEEK_SET);
		_exit(0);
	}
	wait(NULL);
	say("fork shares pos", "%s", ret(lseek(fd, 0, SEEK_CUR)));
}

static void appends(void)
{
	int a = open("f", O_CREAT | O_RDWR | O_APPEND, 0644);
	int w = open("f", O_WRONLY);
	say("append", "%s", ret(write(a, "one", 3)));
	lseek(a, 0, SEEK_SET);
	say("append after seek", "%s", ret(write(a, "two", 3)));
	say("pos after", "%s", ret(lseek(a, 0, SEEK_CUR)));
	say("other writes", "%s", ret(write(w, "ONE", 3)));
	say("pwrite appends", "%s", ret(pwrite(a, "three", 5, 0)));
	say("content", "%s", get("f"));
	fcntl(w, F_SETFL, O_APPEND);
	say("append by F_SETFL", "%s", ret(write(w, "!", 1)));
	say("content", "%s", get("f"));
	// Lines of two appending processes never tear.
	int pid = fork();
	int fd = open("log", O_CREAT | O_WRONLY | O_APPEND, 0644);
	for (int i = 0; i < 200; i++)
		if (write(fd, pid ? "parent\n" : "child!\n", 7) != 7)
			_exit(1);
	if (pid == 0)
		_exit(0);
	wait(NULL);
	char *s = (char *)get("log");
	int p = 0, c = 0;
	for (; *s; s += 7)
		if (!strncmp(s, "parent\n", 7))
			p++;
		else if (!strncmp(s, "child!\n", 7))
			c++;
	say("two processes", "%d %d", p, c);
}

static void vectors(void)
{
	int fd = open("f", O_CREAT | O_RDWR, 0644);
	char a[5] = "", b[5] = "", c[5] = "";
	struct iovec w[3] = {{"abc", 3}, {"", 0}, {"defgh", 5}};
	say("writev", "%s", ret(writev(fd, w, 3)));
	lseek(fd, 0, SEEK_SET);
	struct iovec r[3] = {{a, 2}, {b, 4}, {c, 4}};
	say("readv", "%s %s %s %s", ret(readv(fd, r, 3)), a, b, c);
	say("pwritev", "%s", ret(pwritev(fd, w, 3, 4)));
	say("preadv", "%s", ret(preadv(fd, r, 3, 3)));
	say("got", "%.2s %.4s %.4s", a, b, c);
	say("pwritev2 append", "%s", ret(pwritev2(fd, w, 1, 0, RWF_APPEND)));
	say("pwritev2 bad flag", "%s", ret(pwritev2(fd, w, 1, 0, 0x40000000)));
	say("preadv2 at position", "%s", ret(preadv2(fd, r, 1, -1, 0)));
	say("negative count", "%s", ret(syscall(SYS_readv, fd, r, -1)));
	w[0].iov_len = w[2].iov_len = 1UL << 62;
	say("sum too large", "%s", ret(writev(fd, w, 3)));
	say("content", "%s", get("f"));
}

static void truncation(void)
{
	put("f", "0123456789");
	struct stat st;
	int fd = open("f", O_RDWR);
	say("shorter", "%s", ret(ftruncate(fd, 4)));
	say("content", "%s", get("f"));
	say("longer", "%s", ret(truncate("f", 8)));
	char b[9] = "xxxxxxxx";
	say("zero filled", "%s %d %d", ret(pread(fd, b, 8, 0)), b[4], b[7]);
	say("negative", "%s", ret(ftruncate(fd, -1)));
	int ro = open("f", O_RDONLY);
	say("read-only", "%s", ret(ftruncate(ro, 1)));
	mkdir("d", 0755);
	say("directory", "%s", ret(truncate("d", 1)));
	say("missing", "%s", ret(truncate("none", 1)));
	int pp[2];
	if (pipe(pp) == 0)
		say("pipe", "%s", ret(ftruncate(pp[1], 1)));
	say("big", "%s", ret(ftruncate(fd, 1L << 32)));
	fstat(fd, &st);
	say("size, few blocks", "%ld %s", (long)st.st_size, yes(st.st_blocks < 100));
	say("read in hole", "%s", ret(pread(fd, b, 8, 1L << 31)));
	ftruncate(fd, 0);
	signal(SIGXFSZ, SIG_IGN);
	struct rlimit r = {1 << 20, 1 << 20};
	setrlimit(RLIMIT_FSIZE, &r);
	say("limit truncate", "%s", ret(ftruncate(fd, (1 << 20) + 1)));
	char big[300];
	memset(big, 'L', sizeof big);
	say("limit partial write", "%s", ret(pwrite(fd, big, 300, (1 << 20) - 100)));
	lseek(fd, 1 << 20, SEEK_SET);
	say("limit write", "%s", ret(write(fd, big, 1)));
	say("limit within", "%s", ret(pwrite(fd, big, 10, 50)));
	signal(SIGXFSZ, SIG_DFL);
	if (fork() == 0)
		_exit(write(fd, big, 1) == -1);
	int s;
	wait(&s);
	say("limit signal", "%s", status(s));
}

static void holes(void)
{
	int fd = open("f", O_CREAT | O_RDWR, 0644);
	char page[4096];
	memset(page, 'd', sizeof page);
	if (pwrite(fd, page, 4096, 1 << 20) != 4096 || ftruncate(fd, 2 << 20))
		say("setup", "%s", errname(errno));
	say("data from 0", "%s", ret(lseek(fd, 0, SEEK_DATA)));
	say("hole from 0", "%s", ret(lseek(fd, 0, SEEK_HOLE)));
	say("hole after data", "%s", ret(lseek(fd, 1 << 20, SEEK_HOLE)));
	say("data within", "%s", ret(lseek(fd, (1 << 20) + 5, SEEK_DATA)));
	say("no more data", "%s", ret(lseek(fd, (1 << 20) + 4096, SEEK_DATA)));
	say("at end", "%s %s", ret(lseek(fd, 2 << 20, SEEK_DATA)), ret(lseek(fd, 2 << 20, SEEK_HOLE)));
	say("fallocate", "%s", ret(fallocate(fd, 0, 0, 8192)));
	say("fallocate grows", "%s", ret(fallocate(fd, 0, 2 << 20, 4096)));
	struct stat st;
	fstat(fd, &st);
	say("size", "%ld", (long)st.st_size);
	say("keep size", "%s", ret(fallocate(fd, FALLOC_FL_KEEP_SIZE, 3 << 20, 4096)));
	fstat(fd, &st);
	say("size kept", "%ld", (long)st.st_size);
	say("punch", "%s", ret(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 4096)));
	say("punched", "%s %d", ret(pread(fd, page, 1, 1 << 20)), page[0]);
	say("punch alone", "%s", ret(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096)));
	say("zero length", "%s", ret(fallocate(fd, 0, 0, 0)));
	say("negative", "%s", ret(fallocate(fd, 0, -1, 10)));
	int ro = open("f", O_RDONLY);
	say("read-only", "%s", ret(fallocate(ro, 0, 0, 10)));
	say("fsync", "%s %s", ret(fsync(fd)), ret(fdatasync(fd)));
	say("fadvise", "%s", ret(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL)));
	say("fadvise bad", "%s", errname(posix_fadvise(fd, 0, 0, 99)));
}

static void descriptors(void)
{
	int fd = open("f", O_CREAT | O_RDWR, 0644);
	say("dup2 to itself", "%s", yes(dup2(fd, fd) == fd));
	say("dup2", "%s", ret(dup2(fd, 50)));
	say("dup2 closes target", "%s", ret(write(50, "a", 1)));
	say("dup2 bad", "%s", ret(dup2(99, 50)));
	say("dup2 negative", "%s", ret(dup2(fd, -1)));
	say("dup2 over limit", "%s", ret(dup2(fd, 1 << 30)));
	say("dup3 same", "%s", ret(dup3(fd, fd, 0)));
	say("dup3 cloexec", "%s", ret(dup3(fd, 51, O_CLOEXEC)));
	say("its flag", "%s", ret(fcntl(51, F_GETFD)));
	say("dup3 bad flag", "%s", ret(dup3(fd, 52, O_APPEND)));
	say("dup clears flag", "%s", ret(fcntl(dup(51), F_GETFD)));
	say("F_DUPFD", "%s", ret(fcntl(fd, F_DUPFD, 60)));
	say("F_DUPFD next", "%s", ret(fcntl(fd, F_DUPFD, 60)));
	say("F_DUPFD_CLOEXEC", "%s %s", ret(fcntl(fd, F_DUPFD_CLOEXEC, 70)), ret(fcntl(70, F_GETFD)));
	say("F_DUPFD negative", "%s", ret(fcntl(fd, F_DUPFD, -1)));
	say("F_SETFD", "%s %s", ret(fcntl(fd, F_SETFD, FD_CLOEXEC)), ret(fcntl(fd, F_GETFD)));
	say("F_SETFL", "%s", ret(fcntl(fd, F_SETFL, O_NONBLOCK | O_APPEND | O_WRONLY)));
	say("F_GETFL", "%o", fcntl(fd, F_GETFL));
	say("shared by dup", "%o", fcntl(50, F_GETFL));
	say("bad command", "%s", ret(fcntl(fd, 9999)));
	say("bad fd", "%s", ret(fcntl(99, F_GETFD)));
	say("close_range", "%s", ret(syscall(SYS_close_range, 50, 70, 0)));
	say("closed", "%s", ret(fcntl(60, F_GETFD)));
	say("close_range cloexec", "%s", ret(syscall(SYS_close_range, fd, fd, 4)));
	say("close_range reversed", "%s", ret(syscall(SYS_close_range, 9, 8, 0)));
	say("closing twice", "%s %s", ret(close(fd)), ret(close(fd)));
	struct rlimit r = {20, 30};
	setrlimit(RLIMIT_NOFILE, &r);
	int n = 0;
	while ((fd = open("f", O_RDONLY)) >= 0)
		n = fd;
	say("limit", "%s at %d", errname(errno), n);
	say("F_DUPFD limit", "%s", ret(fcntl(0, F_DUPFD, 20)));
	int pp[2];
	say("pipe limit", "%s", ret(pipe(pp)));
	close(10);
	say("pipe limit with one free", "%s", ret(pipe(pp)));
	say("dup limit", "%s %s", ret(dup(0)), ret(dup(0)));
}

static void copying(void)
{
	put("in", "0123456789");
	int in = open("in", O_RDONLY), out = open("out", O_CREAT | O_RDWR, 0644);
	off_t off = 4;
	say("sendfile", "%s", ret(sendfile(out, in, &off, 3)));
	say("offset", "%ld, position %s", (long)off, ret(lseek(in, 0, SEEK_CUR)));
	say("sendfile at position", "%s", ret(sendfile(out, in, NULL, 100)));
	say("content", "%s", get("out"));
	int pp[2];
	if (pipe(pp))
		return;
	off = 0;
	say("sendfile to pipe", "%s", ret(sendfile(pp[1], in, &off, 5)));
	char b[32] = "";
	say("from pipe", "%s %s", ret(read(pp[0], b, 31)), b);
	off = 1;
	say("sendfile from pipe", "%s", ret(sendfile(out, pp[0], &off, 5)));
	say("sendfile to read-only", "%s", ret(sendfile(in, out, NULL, 5)));
}

static int times_change(int fd)
{
	struct timespec old[2] = {{1000, 0}, {2000, 0}};
	struct stat st;
	char b;
	futimens(fd, old);
	if (pread(fd, &b, 1, 0) != 1)
		return -1;
	fstat(fd, &st);
	return st.st_atim.tv_sec != 1000;
}

// access_times of a file in memory, which both keep: by the flags of each open file as they are now.
static void access_times(void)
{
	char path[64];
	snprintf(path, sizeof path, "/dev/shm/guest-%d", getpid());
	int fd = open(path, O_CREAT | O_RDWR, 0600), quiet = open(path, O_RDWR | O_NOATIME);
	say("write", "%s", ret(write(fd, "text", 4)));
	say("as opened", "%d %d", times_change(fd), times_change(quiet));
	say("set", "%s %s", ret(fcntl(fd, F_SETFL, O_NOATIME)), ret(fcntl(quiet, F_SETFL, 0)));
	say("as set", "%d %d", times_change(fd), times_change(quiet));
	say("back", "%s %d", ret(fcntl(fd, F_SETFL, 0)), times_change(fd));
	unlink(path);
}

static const struct section table[] = {
	{"access_times", access_times},
	{"offsets", offsets}, {"appends", appends}, {"vectors", vectors}, {"truncation", truncation},
	{"holes", holes}, {"descriptors", descriptors}, {"copying", copying},
};

GUEST(table)
