// Flags of files that chattr(1) sets: what they forbid, to root too, and who may set them. In memory: disks know more flags.
#include "guest.h"
#include <linux/fs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <sys/xattr.h>

#ifndef RWF_NOAPPEND
#define RWF_NOAPPEND 0x20
#endif

#define KEPT (FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL | FS_NOATIME_FL)

static const char *get_flags(int fd)
{
	int flags = 0;
	char *p = scratch();
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags))
		return errname(errno);
	snprintf(p, 256, "%x", flags & KEPT);
	return p;
}

// set_flags changes those in KEPT, and leaves what the file system says of others.
static int set_flags(int fd, int kept)
{
	int flags = 0;
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags))
		return -1;
	flags = (flags & ~KEPT) | kept;
	return ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

static int try_open(const char *path, int flags)
{
	int fd = open(path, flags, 0600);
	if (fd >= 0)
		close(fd);
	return fd < 0 ? -1 : 0;
}

static const char *attributes(const char *path)
{
	struct statx s;
	char *p = scratch();
	statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &s);
	snprintf(p, 256, "%llx", (unsigned long long)s.stx_attributes & s.stx_attributes_mask & 0x70);
	return p;
}

// forbidden tries what flags can forbid with the file f and in the directory d.
static void forbidden(const char *what)
{
	struct timespec past[2] = {{1, 0}, {1, 0}};
	say("flags", "%s %s", what, attributes("d/f"));
	say("open", "%s %s %s %s", ret(try_open("d/f", O_RDONLY)), ret(try_open("d/f", O_WRONLY)), ret(try_open("d/f", O_WRONLY | O_APPEND)),
	    ret(try_open("d/f", O_WRONLY | O_APPEND | O_TRUNC)));
	say("access", "%s", ret(access("d/f", W_OK)));
	say("truncate", "%s", ret(truncate("d/f", 1)));
	say("mode", "%s", ret(chmod("d/f", 0640)));
	say("owner", "%s", ret(chown("d/f", 0, 0)));
	say("times", "%s %s", ret(utimensat(AT_FDCWD, "d/f", past, 0)), ret(utimensat(AT_FDCWD, "d/f", NULL, 0)));
	say("attribute", "%s", ret(setxattr("d/f", "user.a", "x", 1, 0)));
	say("link", "%s", ret(link("d/f", "d/l")));
	say("new", "%s %s", ret(try_open("d/new", O_CREAT | O_WRONLY)), ret(mkdir("d/sub", 0700)));
	say("move", "%s", ret(rename("d/f", "d/g")));
	rename("d/g", "d/f");
	say("move out", "%s", ret(rename("d/l", "l")));
	say("replace", "%s", ret(rename("other", "d/f")));
	say("remove", "%s %s", ret(unlink("d/f")), ret(rmdir("d/sub")));
	say("move the directory", "%s", ret(rename("d", "e")));
	rename("e", "d");
}

static void renew(void)
{
	mkdir("d", 0700);
	put("d/f", "text");
	put("other", "text");
	unlink("l");
	unlink("d/l");
	unlink("d/g");
	unlink("d/new");
	rmdir("d/sub");
}

static void each(void)
{
	static const struct {
		const char *what;
		int file, dir;
	} all[] = {
		{"none", 0, 0}, {"immutable file", FS_IMMUTABLE_FL, 0}, {"file to append", FS_APPEND_FL, 0},
		{"immutable directory", 0, FS_IMMUTABLE_FL}, {"directory to append", 0, FS_APPEND_FL}, {"both", FS_IMMUTABLE_FL, FS_APPEND_FL},
		{"others", FS_NODUMP_FL | FS_NOATIME_FL, FS_NODUMP_FL},
	};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		renew();
		int f = open("d/f", O_RDWR), d = open("d", O_RDONLY);
		say("set", "%s %s", ret(set_flags(f, all[i].file)), ret(set_flags(d, all[i].dir)));
		say("get", "%s %s", get_flags(f), get_flags(d));
		forbidden(all[i].what);
		say("open file", "%s %s", ret(ftruncate(f, 2)), ret(fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1)));
		int other = open("from", O_RDWR | O_CREAT | O_TRUNC, 0600);
		(void)!write(other, "text", 4);
		off_t start = 0, to = 0;
		say("copy", "%s", ret(copy_file_range(other, &start, f, &to, 4, 0)));
		close(other);
		say("append", "%s", ret(fcntl(f, F_SETFL, O_APPEND)));
		int end = open("d/f", O_WRONLY | O_APPEND);
		struct iovec v = {"new", 3};
		say("not append", "%s %s", ret(pwritev2(end, &v, 1, 0, RWF_NOAPPEND)), ret(pwritev2(f, &v, 1, 0, RWF_NOAPPEND)));
		close(end);
		say("shared", "%s", okret((long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED, f, 0)));
		set_flags(f, 0);
		set_flags(d, 0);
		close(f);
		close(d);
	}
	renew();
}

// rights: who may set flags, of what, and what is inherited.
static void rights(void)
{
	renew();
	int f = open("d/f", O_RDWR), d = open("d", O_RDONLY), path = open("d", O_PATH), flags = FS_SECRM_FL | FS_UNRM_FL, p[2];
	say("unknown", "%s", ret(ioctl(f, FS_IOC_SETFLAGS, &flags)));
	say("path", "%s", get_flags(path));
	say("bad pointer", "%s %s", ret(ioctl(f, FS_IOC_GETFLAGS, 8)), ret(ioctl(f, FS_IOC_SETFLAGS, 8)));
	say("pipe", "%s", pipe(p) ? "" : get_flags(p[0]));
	say("device", "%s", get_flags(open("/dev/null", O_RDONLY)));
	say("inherited", "%s", ret(set_flags(d, FS_NODUMP_FL)));
	mkdir("d/sub", 0700);
	say("by a directory", "%s", get_flags(open("d/sub", O_RDONLY)));
	chmod("d", 0777);
	if (fork() == 0) {
		(void)!setresuid(1000, 1000, 1000);
		say("other's", "%s", ret(set_flags(f, FS_NODUMP_FL)));
		int own = open("d/own", O_CREAT | O_RDWR, 0600);
		say("own", "%s %s", ret(set_flags(own, FS_NOATIME_FL)), get_flags(own));
		say("own, immutable", "%s", ret(set_flags(own, FS_IMMUTABLE_FL)));
		_exit(0);
	}
	wait(NULL);
	unlink("d/own");
	set_flags(d, 0);
	rmdir("d/sub");
}

// in_memory goes where no disk is.
static int in_memory(void)
{
	unshare(CLONE_NEWNS);
	mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
	mkdir("m", 0700);
	say("mount", "%s", ret(mount("none", "m", "tmpfs", 0, NULL)));
	chmod("m", 0777);
	chmod(".", 0777);
	return chdir("m") == 0;
}

static void forbids(void)
{
	if (in_memory())
		each();
}

static void allows(void)
{
	if (in_memory())
		rights();
}

static const struct section table[] = {{"forbids", forbids}, {"allows", allows}};
GUEST(table)
