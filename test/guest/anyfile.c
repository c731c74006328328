// What every kind of descriptor answers to calls that are about none in particular: generic
// requests of ioctl and fcntl, vectors without bytes, flags that open(2) leaves, statx of mounts.
#include "guest.h"
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/uio.h>

#ifndef FIOQSIZE
#define FIOQSIZE 0x5460
#endif
#define RESOLVE_AT_HAND 0x20 // RESOLVE_CACHED
#define SAME_FILE 1027       // F_DUPFD_QUERY
#define GET_HINT 1035        // F_GET_RW_HINT
#define SET_HINT 1036

static int pair(int kind)
{
	int p[2] = {-1, -1};
	if (kind ? socketpair(AF_UNIX, kind | SOCK_NONBLOCK, 0, p) : pipe2(p, O_NONBLOCK))
		return -1;
	return p[0];
}

static int terminal(int slave)
{
	int m = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
	if (grantpt(m) || unlockpt(m))
		return -1;
	return slave ? open(ptsname(m), O_RDWR | O_NOCTTY | O_NONBLOCK) : m;
}

static int text(int flags)
{
	int fd = open("text", O_RDWR | O_CREAT | O_TRUNC, 0644);
	if (fd < 0 || write(fd, "0123456789", 10) != 10)
		return -1;
	close(fd);
	return open("text", flags);
}

static int in_memory(void)
{
	int fd = memfd_create("m", MFD_ALLOW_SEALING);
	return write(fd, "hello", 5) == 5 && lseek(fd, 2, SEEK_SET) == 2 ? fd : -1;
}

#define KINDS(X) \
	X("file", text(O_RDWR)) X("file to read", text(O_RDONLY)) X("file to write", text(O_WRONLY)) \
	X("directory", open(".", O_RDONLY)) X("place", open(".", O_PATH)) X("memory", in_memory()) \
	X("pipe", pair(0)) X("stream", pair(SOCK_STREAM)) X("datagram", pair(SOCK_DGRAM)) \
	X("eventfd", eventfd(0, EFD_NONBLOCK)) X("epoll", epoll_create1(0)) X("inotify", inotify_init1(IN_NONBLOCK)) \
	X("master", terminal(0)) X("slave", terminal(1)) X("null", open("/dev/null", O_RDWR))

static long ask(int fd, unsigned long request)
{
	long v = 0;
	long r = ioctl(fd, request, &v);
	return r ? r : v;
}

static long watch(int fd, int self)
{
	struct epoll_event e = {.events = EPOLLIN};
	int other = open("/dev/null", O_RDONLY);
	long r = self ? epoll_ctl(fd, EPOLL_CTL_ADD, fd, &e) : epoll_ctl(fd, EPOLL_CTL_ADD, other, &e);
	close(other);
	return r;
}

static long flag(int fd, int one)
{
	int was = fcntl(fd, F_GETFL);
	return was < 0 ? was : fcntl(fd, F_SETFL, was | one);
}

static void kind(const char *name, int fd)
{
	struct iovec none = {NULL, 0};
	int other = dup(fd), null = open("/dev/null", O_RDONLY);
	say_line("kind", "%s", name);
	say("FIGETBSZ", "%s", ret(strcmp(name, "slave") ? ask(fd, FIGETBSZ) : 0));
	say("FIOQSIZE", "%s", okret(ask(fd, FIOQSIZE)));
	if (strcmp(name, "epoll"))
		say("FIONREAD", "%s", ret(ask(fd, FIONREAD)));
	say("FIOASYNC off", "%s", ret(ask(fd, FIOASYNC)));
	say("the same", "%s", ret(fcntl(fd, SAME_FILE, other)));
	say("not the same", "%s", ret(fcntl(fd, SAME_FILE, null)));
	say("nothing", "%s", ret(fcntl(fd, SAME_FILE, -1)));
	say("hint", "%s", ret(fcntl(fd, SET_HINT, &(uint64_t){2})));
	say("no hint", "%s", ret(fcntl(fd, SET_HINT, &(uint64_t){6})));
	say("seals", "%s", ret(fcntl(fd, F_ADD_SEALS, 1 << 20)));
	say("readv of nothing", "%s", strcmp(name, "epoll") ? ret(readv(fd, &none, 1)) : "");
	say("writev of nothing", "%s", strcmp(name, "epoll") && strcmp(name, "inotify") ? ret(writev(fd, &none, 1)) : "");
	say("preadv of nothing", "%s", strcmp(name, "epoll") ? ret(preadv(fd, &none, 1, 0)) : "");
	say("preadv before the start", "%s", ret(preadv(fd, &none, 1, -5)));
	say("preadv2 with what is unknown", "%s", !strcmp(name, "epoll") ? "" : okret(preadv2(fd, &(struct iovec){&none, 1}, 1, -1, 1 << 20)));
	say("a wrong vector", "%s", ret(syscall(SYS_readv, fd, &none, -1L)));
	say("direct", "%s", strncmp(name, "file", 4) && strcmp(name, "directory") && strcmp(name, "memory") ? ret(flag(fd, O_DIRECT)) : "");
	say("seek", "%s", ret(strcmp(name, "directory") ? lseek(fd, 1, SEEK_CUR) : 0));
	say("watches another", "%s", ret(watch(fd, 0)));
	say("watches itself", "%s", ret(watch(fd, 1)));
	close(fd);
	close(other);
	close(null);
}

static void kinds(void)
{
#define ONE(name, make) kind(name, make);
	KINDS(ONE)
	char b[8];
	int full = open("/dev/full", O_RDWR), m = terminal(0), random = open("/dev/urandom", O_RDWR);
	say("nothing to a full device", "%s", ret(write(full, b, 0)));
	say("nothing of a terminal", "%s", ret(read(m, b, 0)));
	say("a bad address to a device", "%s", ret(syscall(SYS_write, random, 8L, 8L)));
	say("bytes to a device", "%s", ret(write(random, b, 8)));
	int f = text(O_RDWR);
	say("hinted", "%s", ret(fcntl(f, SET_HINT, &(uint64_t){3})));
	uint64_t hint = 9;
	int again = open("text", O_RDONLY);
	say("the hint is of the inode", "%s %d", ret(fcntl(again, GET_HINT, &hint)), (int)hint);
	say("FIBMAP", "%s", okret(ioctl(in_memory(), FIBMAP, &(int){0})));
}

static void clones(void)
{
	int a = text(O_RDWR), d = open(".", O_RDONLY), m = in_memory(), p = pair(0);
	int ro = open("text", O_RDONLY), app = open("text", O_RDWR | O_APPEND);
	say("no descriptor", "%s", ret(ioctl(a, FICLONE, -1)));
	say("of another file system", "%s", ret(ioctl(a, FICLONE, m)));
	say("a pipe", "%s", ret(ioctl(a, FICLONE, p)));
	say("into a pipe", "%s", ret(ioctl(p, FICLONE, a)));
	say("a directory", "%s", ret(ioctl(a, FICLONE, d)));
	say("into what is only read", "%s", okret(ioctl(ro, FICLONE, a)));
	say("into what appends", "%s", okret(ioctl(app, FICLONE, a)));
	struct file_clone_range r = {.src_fd = m};
	say("a range", "%s", ret(ioctl(a, FICLONERANGE, &r)));
	say("copied from another file system", "%s", ret(copy_file_range(m, NULL, a, NULL, 3, 0)));
	say("copied from a directory", "%s", ret(copy_file_range(d, NULL, a, NULL, 3, 0)));
	say("copied to a directory", "%s", ret(copy_file_range(a, NULL, d, NULL, 3, 0)));
	say("copied from what is written", "%s", ret(copy_file_range(open("text", O_WRONLY), NULL, a, NULL, 3, 0)));
	say("copied from a pipe", "%s", ret(copy_file_range(p, NULL, a, NULL, 3, 0)));
	say("copied", "%s", ret(copy_file_range(ro, NULL, open("other", O_RDWR | O_CREAT, 0600), NULL, 3, 0)));
}

static const char *kept(int fd)
{
	char *p = scratch();
	if (fd < 0)
		return errname(errno);
	snprintf(p, 256, "%#o", fcntl(fd, F_GETFL));
	close(fd);
	return p;
}

static void flags(void)
{
	close(text(O_RDONLY));
	say("nofollow", "%s", kept(open("text", O_RDONLY | O_NOFOLLOW)));
	say("place", "%s", kept(open("text", O_PATH | O_NOFOLLOW | O_CLOEXEC | O_DIRECT)));
	say("directory", "%s", kept(open(".", O_DIRECTORY | O_NOFOLLOW | O_EXCL | O_NOCTTY)));
	say("unnamed", "%s", kept(open(".", O_TMPFILE | O_RDWR, 0600)));
	say("unnamed for good", "%s", kept(open(".", O_TMPFILE | O_WRONLY | O_EXCL | O_APPEND, 0600)));
	say("made", "%s", kept(open("new", O_CREAT | O_EXCL | O_RDWR | O_TRUNC | O_SYNC, 0600)));
	say("memory", "%s", kept(memfd_create("m", 0)));
	struct {
		const char *name;
		struct open_how how;
	} t[] = {
		{"made at hand", {O_CREAT | O_RDWR, 0600, RESOLVE_AT_HAND}},
		{"cut at hand", {O_TRUNC | O_RDWR, 0, RESOLVE_AT_HAND}},
		{"unnamed at hand", {O_TMPFILE | O_RDWR, 0600, RESOLVE_AT_HAND}},
		{"place at hand", {O_PATH, 0, RESOLVE_AT_HAND}},
	};
	for (unsigned i = 0; i < sizeof t / sizeof *t; i++)
		say(t[i].name, "%s", okret(syscall(SYS_openat2, AT_FDCWD, i == 2 ? "." : "text", &t[i].how, sizeof t[i].how)));
}

// listed tells whether a line of mountinfo begins with the number of a mount and is of that place.
static int listed(uint64_t id, const char *place)
{
	char line[512], at[256];
	unsigned long n;
	int found = 0;
	FILE *f = fopen("/proc/self/mountinfo", "r");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "%lu %*s %*s %*s %255s", &n, at) == 2 && n == id && !strcmp(at, place))
			found = 1;
	if (f)
		fclose(f);
	return found;
}

static void numbers(void)
{
	struct statx x, y;
	say("proc", "%s", ret(statx(AT_FDCWD, "/proc", 0, STATX_MNT_ID, &x)));
	say("has a number", "%s", yes(x.stx_mask & STATX_MNT_ID));
	say("which is listed", "%s", yes(listed(x.stx_mnt_id, "/proc")));
	say("is the root of a mount", "%s %s", yes(x.stx_attributes & STATX_ATTR_MOUNT_ROOT), yes(x.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT));
	say("in it", "%s", ret(statx(AT_FDCWD, "/proc/self/status", 0, 0, &y)));
	say("same number, unasked", "%s %s", yes(y.stx_mask & STATX_MNT_ID), yes(x.stx_mnt_id == y.stx_mnt_id));
	say("is no root", "%s", yes(y.stx_attributes & STATX_ATTR_MOUNT_ROOT));
	int fd = open("/proc/self/status", O_RDONLY);
	say("by descriptor", "%s %s", ret(statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &y)), yes(x.stx_mnt_id == y.stx_mnt_id));
	say("unique", "%s", ret(statx(AT_FDCWD, "/proc", 0, 0x4000, &y)));
	say("instead", "%s", yes((y.stx_mask & (STATX_MNT_ID | 0x4000)) == 0x4000));
	say("a pipe", "%s %s", ret(statx(pair(0), "", AT_EMPTY_PATH, 0, &y)), yes(y.stx_mask & STATX_MNT_ID));
}

static const struct section sections[] = {
	{"kinds", kinds}, {"clones", clones}, {"flags", flags}, {"numbers", numbers},
};
GUEST(sections)
