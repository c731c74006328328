// What a file says of itself: modes, owners, umask, access, times, stat and statx,
// extended attributes.
#include "guest.h"
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/xattr.h>

static const char *mode(const char *path)
{
	struct stat st;
	char *p = scratch();
	if (lstat(path, &st))
		return errname(errno);
	snprintf(p, 256, "%o", st.st_mode);
	return p;
}

static void modes(void)
{
	umask(022);
	say("umask", "%03o", umask(027));
	close(open("f", O_CREAT | O_WRONLY, 0666));
	mkdir("d", 0777);
	say("file under umask", "%s", mode("f"));
	say("directory under umask", "%s", mode("d"));
	say("umask masks", "%03o %03o", umask(07777), umask(022));
	say("chmod", "%s %s", ret(chmod("f", 04755)), mode("f"));
	say("fchmod", "%s", ret(fchmod(open("f", O_RDONLY), 0600)));
	say("mode", "%s", mode("f"));
	say("fchmodat", "%s %s", ret(fchmodat(AT_FDCWD, "d", 01777, 0)), mode("d"));
	symlink("f", "s");
	say("chmod through link", "%s %s", ret(chmod("s", 0640)), mode("f"));
	say("mode of link", "%s", mode("s"));
	say("chmod missing", "%s", ret(chmod("none", 0600)));
	chmod("f", 06755);
	int fd = open("f", O_WRONLY);
	say("write by root keeps set-id", "%s %s", ret(write(fd, "x", 1)), mode("f"));
	mkdir("g", 0755);
	chown("g", -1, 77);
	chmod("g", 02755);
	mkdir("g/sub", 0755);
	put("g/file", "");
	struct stat st;
	stat("g/sub", &st);
	say("setgid directory inherited", "%s %d", mode("g/sub"), st.st_gid);
	stat("g/file", &st);
	say("setgid file group", "%s %d", mode("g/file"), st.st_gid);
}

static void owners(void)
{
	put("f", "");
	struct stat st;
	chmod("f", 06755);
	say("chown", "%s", ret(chown("f", 1000, 2000)));
	stat("f", &st);
	say("owner", "%d %d %s", st.st_uid, st.st_gid, mode("f"));
	say("chown -1", "%s", ret(chown("f", -1, -1)));
	say("fchown", "%s", ret(fchown(open("f", O_RDONLY), 1001, -1)));
	stat("f", &st);
	say("owner", "%d %d", st.st_uid, st.st_gid);
	symlink("f", "s");
	say("lchown", "%s", ret(lchown("s", 5, 6)));
	lstat("s", &st);
	say("owner of link", "%d %d", st.st_uid, st.st_gid);
	stat("s", &st);
	say("owner of target", "%d %d", st.st_uid, st.st_gid);
	say("fchownat empty path", "%s", ret(fchownat(open("f", O_PATH), "", 7, 8, AT_EMPTY_PATH)));
	stat("f", &st);
	say("owner", "%d %d", st.st_uid, st.st_gid);
	say("chown missing", "%s", ret(chown("none", 1, 1)));
	// As an ordinary user.
	put("mine", "x");
	chown("mine", 1000, 1000);
	chmod("mine", 04755);
	put("secret", "s");
	chmod("secret", 0600);
	put("readable", "r");
	mkdir("shut", 0700);
	put("shut/f", "");
	mkdir("sticky", 0777);
	chmod("sticky", 01777);
	put("sticky/roots", "");
	chmod(".", 0755);
	if (fork() == 0) {
		if (setgid(1000) || setuid(1000))
			_exit(1);
		say("user chmod own", "%s", ret(chmod("mine", 04711)));
		say("user chmod other's", "%s", ret(chmod("readable", 0777)));
		say("user chown own away", "%s", ret(chown("mine", 1001, -1)));
		say("user chgrp to another", "%s", ret(chown("mine", -1, 55)));
		say("user chgrp to own", "%s %s", ret(chown("mine", -1, 1000)), mode("mine"));
		say("user read secret", "%s", ret(open("secret", O_RDONLY)));
		say("user write readable", "%s", ret(open("readable", O_WRONLY)));
		say("user read readable", "%s", okret(open("readable", O_RDONLY)));
		say("user create", "%s", ret(open("new", O_CREAT | O_WRONLY, 0644)));
		say("user lookup in shut", "%s", ret(access("shut/f", F_OK)));
		say("user list shut", "%s", ret(open("shut", O_RDONLY)));
		say("user create in sticky", "%s", okret(open("sticky/users", O_CREAT | O_WRONLY, 0666)));
		say("user unlink other's in sticky", "%s", ret(unlink("sticky/roots")));
		say("user rename other's in sticky", "%s", ret(rename("sticky/roots", "sticky/x")));
		say("user unlink own in sticky", "%s", ret(unlink("sticky/users")));
		say("user truncate", "%s", ret(truncate("readable", 0)));
		say("user utimes other's", "%s", ret(utimensat(AT_FDCWD, "readable", NULL, 0)));
		say("user mknod device", "%s", ret(mknod("sticky/dev", S_IFCHR | 0600, makedev(1, 3))));
		say("user mknod fifo", "%s", ret(mknod("sticky/fifo", S_IFIFO | 0600, 0)));
		int fd = open("mine", O_WRONLY);
		say("user write clears set-id", "%s", ret(chmod("mine", 06755)));
		say("written", "%s %s", ret(write(fd, "y", 1)), mode("mine"));
		_exit(0);
	}
	wait(NULL);
}

static void accesses(void)
{
	put("f", "");
	chmod("f", 0640);
	mkdir("d", 0755);
	say("F_OK", "%s", ret(access("f", F_OK)));
	say("R_OK|W_OK", "%s", ret(access("f", R_OK | W_OK)));
	say("X_OK as root without x", "%s", ret(access("f", X_OK)));
	chmod("f", 0641);
	say("X_OK as root with x", "%s", ret(access("f", X_OK)));
	say("X_OK directory", "%s", ret(access("d", X_OK)));
	say("missing", "%s", ret(access("none", F_OK)));
	say("through file", "%s", ret(access("f/x", F_OK)));
	say("bad mode", "%s", ret(access("f", 64)));
	if (fork() == 0) {
		if (setresgid(0, 1000, 0) || setresuid(0, 1000, 0))
			_exit(1);
		say("access uses real", "%s", ret(access("f", R_OK)));
		say("faccessat eaccess", "%s", ret(faccessat(AT_FDCWD, "f", R_OK, AT_EACCESS)));
		say("faccessat2 eaccess", "%s", ret(syscall(SYS_faccessat2, AT_FDCWD, "f", R_OK, AT_EACCESS)));
		say("open uses effective", "%s", ret(open("f", O_RDONLY)));
		_exit(0);
	}
	wait(NULL);
	say("faccessat2 bad flag", "%s", ret(syscall(SYS_faccessat2, AT_FDCWD, "f", R_OK, 0x8000)));
	say("faccessat2 empty path", "%s", ret(syscall(SYS_faccessat2, open("f", O_RDONLY), "", R_OK, AT_EMPTY_PATH)));
}

static const char *times(const char *path)
{
	struct stat st;
	char *p = scratch();
	lstat(path, &st);
	snprintf(p, 256, "%ld.%ld %ld.%ld", st.st_atim.tv_sec, st.st_atim.tv_nsec, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	return p;
}

static void file_times(void)
{
	put("f", "");
	symlink("f", "s");
	struct timespec t[2] = {{1000, 5}, {2000, 999999999}};
	say("utimensat", "%s %s", ret(utimensat(AT_FDCWD, "f", t, 0)), times("f"));
	say("no name", "%s %s", ret(syscall(SYS_utimes, NULL, NULL)), ret(syscall(SYS_utimensat, AT_FDCWD, NULL, NULL, 0)));
	t[0] = (struct timespec){0, UTIME_OMIT};
	t[1] = (struct timespec){3000, 0};
	say("omit", "%s %s", ret(utimensat(AT_FDCWD, "f", t, 0)), times("f"));
	t[1].tv_nsec = UTIME_OMIT;
	say("omit both", "%s", ret(utimensat(AT_FDCWD, "f", t, 0)));
	t[0].tv_nsec = UTIME_NOW;
	utimensat(AT_FDCWD, "f", t, 0);
	struct stat st;
	stat("f", &st);
	say("now", "%s %ld", yes(labs(st.st_atim.tv_sec - time(NULL)) < 5), st.st_mtim.tv_sec);
	t[0] = (struct timespec){0, 1000000000};
	say("bad nanoseconds", "%s", ret(utimensat(AT_FDCWD, "f", t, 0)));
	t[0] = (struct timespec){-5, 0};
	t[1] = (struct timespec){7, 0};
	say("before the epoch", "%s %s", ret(utimensat(AT_FDCWD, "f", t, 0)), times("f"));
	say("link itself", "%s %s", ret(utimensat(AT_FDCWD, "s", t, AT_SYMLINK_NOFOLLOW)), times("s"));
	int fd = open("f", O_RDWR);
	t[0].tv_sec = 11;
	say("futimens", "%s %s", ret(futimens(fd, t)), times("f"));
	struct timeval v[2] = {{21, 500000}, {22, 0}};
	say("utimes", "%s %s", ret(utimes("f", v)), times("f"));
	v[0].tv_usec = 1000000;
	say("utimes bad", "%s", ret(utimes("f", v)));
	say("write updates", "%s", ret(write(fd, "x", 1)));
	stat("f", &st);
	say("mtime now", "%s", yes(labs(st.st_mtim.tv_sec - time(NULL)) < 5));
	say("ctime now", "%s", yes(labs(st.st_ctim.tv_sec - time(NULL)) < 5));
	mkdir("d", 0755);
	t[0].tv_sec = t[1].tv_sec = 50;
	utimensat(AT_FDCWD, "d", t, 0);
	put("d/new", "");
	stat("d", &st);
	say("create updates directory", "%s", yes(st.st_mtim.tv_sec > 50));
	utimensat(AT_FDCWD, "d", t, 0);
	rename("d/new", "d/other");
	stat("d", &st);
	say("rename updates directory", "%s", yes(st.st_mtim.tv_sec > 50));
	utimensat(AT_FDCWD, "d", t, 0);
	unlink("d/other");
	stat("d", &st);
	say("unlink updates directory", "%s", yes(st.st_mtim.tv_sec > 50));
	utimensat(AT_FDCWD, "f", t, 0);
	chmod("f", 0600);
	stat("f", &st);
	say("chmod leaves mtime", "%s", yes(st.st_mtim.tv_sec == 50));
	say("missing", "%s", ret(utimensat(AT_FDCWD, "none", NULL, 0)));
	say("bad flag", "%s", ret(utimensat(AT_FDCWD, "f", NULL, 0x8000)));
}

static void stats(void)
{
	put("f", "12345");
	chmod("f", 0644);
	symlink("f", "s");
	struct stat a, b;
	stat("f", &a);
	stat("s", &b);
	say("same file", "%s", yes(a.st_ino == b.st_ino && a.st_dev == b.st_dev));
	fstat(open("f", O_RDONLY), &b);
	say("same by fstat", "%s", yes(a.st_ino == b.st_ino && a.st_dev == b.st_dev));
	say("fields", "%o %ld %ld %d", a.st_mode, (long)a.st_nlink, (long)a.st_size, (int)a.st_blksize);
	lstat("s", &b);
	say("link is another", "%s %ld", yes(a.st_ino != b.st_ino), (long)b.st_size);
	ino_t before = a.st_ino;
	rename("f", "g");
	stat("g", &a);
	say("inode kept by rename", "%s", yes(a.st_ino == before));
	put("h", "");
	stat("h", &b);
	say("inodes differ", "%s", yes(a.st_ino != b.st_ino));
	say("missing", "%s", ret(stat("none", &a)));
	say("bad fd", "%s", ret(fstat(99, &a)));
	struct statx x;
	memset(&x, 0xee, sizeof x);
	say("statx", "%s", ret(statx(AT_FDCWD, "g", 0, STATX_BASIC_STATS, &x)));
	say("statx mask", "%s", yes((x.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS));
	say("statx fields", "%o %d %ld", x.stx_mode, x.stx_nlink, (long)x.stx_size);
	say("statx inode", "%s", yes(x.stx_ino == before));
	say("statx nofollow", "%s", ret(statx(AT_FDCWD, "s", AT_SYMLINK_NOFOLLOW, STATX_TYPE, &x)));
	say("statx link", "%s", yes(S_ISLNK(x.stx_mode)));
	say("statx empty path", "%s", ret(statx(open("g", O_PATH), "", AT_EMPTY_PATH, STATX_SIZE, &x)));
	say("statx both syncs", "%s", ret(statx(AT_FDCWD, "g", AT_STATX_SYNC_TYPE, STATX_SIZE, &x)));
	say("statx reserved bit", "%s", ret(statx(AT_FDCWD, "g", 0, STATX__RESERVED, &x)));
	say("statx bad flag", "%s", ret(statx(AT_FDCWD, "g", 0x40000000, STATX_SIZE, &x)));
	int p[2];
	if (pipe(p) == 0) {
		fstat(p[0], &a);
		fstat(p[1], &b);
		say("pipe", "%o %s", a.st_mode, yes(a.st_ino == b.st_ino));
	}
}

static void xattrs(void)
{
	put("f", "");
	symlink("f", "s");
	char b[64] = "";
	say("set", "%s", ret(setxattr("f", "user.one", "value", 5, 0)));
	say("get", "%s %.5s", ret(getxattr("f", "user.one", b, 64)), b);
	say("get size", "%s", ret(getxattr("f", "user.one", NULL, 0)));
	say("get short", "%s", ret(getxattr("f", "user.one", b, 2)));
	say("create existing", "%s", ret(setxattr("f", "user.one", "v", 1, XATTR_CREATE)));
	say("replace missing", "%s", ret(setxattr("f", "user.two", "v", 1, XATTR_REPLACE)));
	say("bad flags", "%s", ret(setxattr("f", "user.two", "v", 1, 8)));
	say("missing", "%s", ret(getxattr("f", "user.two", b, 64)));
	say("no namespace", "%s", ret(setxattr("f", "plain", "v", 1, 0)));
	say("empty value", "%s %s", ret(setxattr("f", "user.empty", "", 0, 0)), ret(getxattr("f", "user.empty", b, 64)));
	say("list size", "%s", ret(listxattr("f", NULL, 0)));
	say("list short", "%s", ret(listxattr("f", b, 3)));
	say("on link", "%s", ret(lsetxattr("s", "user.x", "v", 1, 0)));
	say("remove", "%s %s", ret(removexattr("f", "user.one")), ret(removexattr("f", "user.one")));
	say("by descriptor", "%s", ret(fsetxattr(open("f", O_RDONLY), "user.fd", "q", 1, 0)));
	say("trusted", "%s", ret(setxattr("f", "trusted.t", "v", 1, 0)));
}

static const struct section table[] = {
	{"modes", modes}, {"owners", owners}, {"accesses", accesses}, {"times", file_times},
	{"stats", stats}, {"xattrs", xattrs},
};

GUEST(table)
