// Opening and names: open's flags and errors, directories, rename, links, symbolic
// links and their loops, unlinking what is open.
#include "guest.h"
#include <dirent.h>
#include <limits.h>
#include <sys/sysmacros.h>

static void try_open(const char *name, const char *path, int flags)
{
	int fd = open(path, flags, 0644);
	say(name, "%s", okret(fd));
	if (fd >= 0)
		close(fd);
}

static void open_flags(void)
{
	put("f", "text");
	mkdir("d", 0755);
	symlink("f", "l");
	symlink("gone", "dangling");
	enum { CREATED_QUERY = 1028 };
	say("not made here", "%s", ret(fcntl(open("f", O_CREAT | O_RDONLY, 0600), CREATED_QUERY)));
	say("made here", "%s", ret(fcntl(open("fresh", O_CREAT | O_RDONLY, 0600), CREATED_QUERY)));
	say("made before", "%s", ret(fcntl(open("fresh", O_RDONLY), CREATED_QUERY)));
	say("unnamed", "%s", ret(fcntl(open(".", O_TMPFILE | O_RDWR, 0600), CREATED_QUERY)));
	try_open("missing", "none", O_RDONLY);
	try_open("missing directory", "none/x", O_CREAT | O_WRONLY);
	try_open("file as directory", "f/x", O_RDONLY);
	try_open("trailing slash", "f/", O_RDONLY);
	try_open("create trailing slash", "new/", O_CREAT | O_WRONLY);
	try_open("O_DIRECTORY on file", "f", O_DIRECTORY);
	try_open("O_DIRECTORY on directory", "d", O_DIRECTORY);
	try_open("directory for writing", "d", O_WRONLY);
	try_open("directory read-write", "d", O_RDWR);
	try_open("directory O_CREAT", "d", O_CREAT | O_RDONLY);
	try_open("O_CREAT|O_DIRECTORY", "nd", O_CREAT | O_DIRECTORY);
	try_open("O_EXCL existing", "f", O_CREAT | O_EXCL | O_WRONLY);
	try_open("O_EXCL link", "l", O_CREAT | O_EXCL | O_WRONLY);
	try_open("O_EXCL dangling", "dangling", O_CREAT | O_EXCL | O_WRONLY);
	try_open("O_NOFOLLOW link", "l", O_NOFOLLOW);
	try_open("O_NOFOLLOW|O_PATH link", "l", O_NOFOLLOW | O_PATH);
	try_open("dangling", "dangling", O_RDONLY);
	try_open("dangling create", "dangling", O_CREAT | O_WRONLY);
	say("created through link", "%s", ret(access("gone", F_OK)));
	try_open("empty", "", O_RDONLY);
	try_open("dot", ".", O_RDONLY);
	try_open("long way", "d/../d/./../f", O_RDONLY);
	try_open("dotdot of root", "/../../..", O_RDONLY);
	try_open("O_TRUNC", "f", O_TRUNC | O_RDWR);
	say("truncated", "\"%s\"", get("f"));
	try_open("O_TMPFILE", ".", O_TMPFILE | O_RDWR);
	try_open("O_TMPFILE read-only", ".", O_TMPFILE | O_RDONLY);
	char name[400];
	memset(name, 'n', sizeof name);
	name[255] = 0;
	try_open("255 letters", name, O_CREAT | O_WRONLY);
	name[255] = 'n';
	name[256] = 0;
	try_open("256 letters", name, O_CREAT | O_WRONLY);
	char path[PATH_MAX + 1];
	memset(path, '/', sizeof path);
	path[0] = '.';
	path[PATH_MAX - 2] = 'f';
	path[PATH_MAX - 1] = 0;
	try_open("path of 4095", path, O_RDONLY);
	path[PATH_MAX - 1] = 'f';
	path[PATH_MAX] = 0;
	try_open("path of 4096", path, O_RDONLY);
	int fd = open("f", O_RDONLY);
	say("write on read-only", "%s", ret(write(fd, "x", 1)));
	int wo = open("f", O_WRONLY);
	char c;
	say("read on write-only", "%s", ret(read(wo, &c, 1)));
	int none = open("f", 3);
	say("access mode 3", "%s", okret(none));
	say("read on mode 3", "%s", ret(read(none, &c, 1)));
	int dir = open("d", O_RDONLY);
	say("read a directory", "%s", ret(read(dir, &c, 1)));
	int op = open("f", O_PATH);
	say("read on O_PATH", "%s", ret(read(op, &c, 1)));
	say("fchmod on O_PATH", "%s", ret(fchmod(op, 0600)));
	struct stat st;
	say("fstat on O_PATH", "%s", ret(fstat(op, &st)));
	say("flags of O_PATH", "%o", fcntl(op, F_GETFL));
	say("flags", "%o", fcntl(open("f", O_RDWR | O_APPEND | O_NONBLOCK | O_CLOEXEC), F_GETFL));
	say("lowest fd", "%s", yes((close(fd), open("f", O_RDONLY)) == fd));
	say("closed", "%s", ret(close(999)));
}

static void at_calls(void)
{
	mkdir("d", 0755);
	put("d/f", "in d");
	int d = open("d", O_RDONLY), f = open("d/f", O_RDONLY);
	say("openat", "%s", okret(openat(d, "f", O_RDONLY)));
	say("openat on file", "%s", okret(openat(f, "f", O_RDONLY)));
	say("openat bad fd", "%s", okret(openat(99, "f", O_RDONLY)));
	say("openat absolute ignores fd", "%s", okret(openat(99, "/", O_RDONLY)));
	say("openat dotdot", "%s", okret(openat(d, "../d/f", O_RDONLY)));
	say("mkdirat", "%s", ret(mkdirat(d, "sub", 0700)));
	struct stat st;
	say("fstatat", "%s", ret(fstatat(d, "sub", &st, 0)));
	say("fstatat empty", "%s", ret(fstatat(f, "", &st, AT_EMPTY_PATH)));
	say("fstatat empty no flag", "%s", ret(fstatat(f, "", &st, 0)));
	say("fstatat bad flag", "%s", ret(fstatat(d, "f", &st, 0x40000000)));
	say("unlinkat directory no flag", "%s", ret(unlinkat(d, "sub", 0)));
	say("unlinkat file with flag", "%s", ret(unlinkat(d, "f", AT_REMOVEDIR)));
	say("unlinkat directory", "%s", ret(unlinkat(d, "sub", AT_REMOVEDIR)));
	say("fchdir", "%s", ret(fchdir(d)));
	say("relative now", "%s", okret(open("f", O_RDONLY)));
	say("fchdir file", "%s", ret(fchdir(f)));
	char cwd[PATH_MAX], tiny[2];
	say("getcwd", "%s", getcwd(cwd, sizeof cwd) ? strrchr(cwd, '/') : "null");
	say("getcwd short", "%s", ret(syscall(SYS_getcwd, tiny, 2)));
	say("cwd removed", "%s %s", ret(unlink("f")), ret(rmdir("../d")));
	say("getcwd of removed", "%s", getcwd(cwd, sizeof cwd) ? "ok" : errname(errno));
	say("create in removed", "%s", ret(open("x", O_CREAT | O_WRONLY, 0644)));
	say("dot of removed", "%s", okret(open(".", O_RDONLY)));
	say("dotdot of removed", "%s", okret(open("..", O_RDONLY)));
	say("chdir", "%s", ret(chdir("/")));
	say("chdir missing", "%s", ret(chdir("/nonexistent")));
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list(const char *name, DIR *d)
{
	char *names[400], line[800] = "";
	int n = 0;
	for (struct dirent *e; n < 400 && (e = readdir(d));) {
		char *s = malloc(300);
		snprintf(s, 300, "%s%s", e->d_name, e->d_type == DT_DIR ? "/" : e->d_type == DT_LNK ? "@" : e->d_type == DT_FIFO ? "|" : "");
		names[n++] = s;
	}
	qsort(names, n, sizeof *names, by_name);
	for (int i = 0; i < n && i < 12; i++)
		snprintf(line + strlen(line), sizeof line - strlen(line), " %s", names[i]);
	say(name, "%d%s", n, line);
}

static void directories(void)
{
	say("mkdir", "%s", ret(mkdir("d", 0755)));
	say("mkdir again", "%s", ret(mkdir("d", 0755)));
	say("mkdir trailing slash", "%s", ret(mkdir("d/e/", 0755)));
	say("mkdir missing parent", "%s", ret(mkdir("x/y", 0755)));
	say("rmdir not empty", "%s", ret(rmdir("d")));
	say("rmdir missing", "%s", ret(rmdir("none")));
	say("rmdir dot", "%s", ret(rmdir("d/e/.")));
	say("rmdir dotdot", "%s", ret(rmdir("d/e/..")));
	put("d/f", "");
	symlink("f", "d/l");
	mkfifo("d/p", 0600);
	say("rmdir file", "%s", ret(rmdir("d/f")));
	say("unlink directory", "%s", ret(unlink("d/e")));
	say("unlink slash", "%s", ret(unlink("d/f/")));
	DIR *dir = opendir("d");
	list("names", dir);
	rewinddir(dir);
	put("d/late", "");
	list("names after rewind", dir);
	struct stat st;
	stat("d", &st);
	say("link count", "%ld", (long)st.st_nlink);
	stat("d/e", &st);
	say("link count of empty", "%ld", (long)st.st_nlink);
	char name[32];
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof name, "d/e/%03d", i);
		put(name, "");
	}
	DIR *e = opendir("d/e");
	list("many names", e);
	rewinddir(e);
	// Removing what readdir has shown must neither skip nor repeat the rest.
	int removed = 0;
	for (struct dirent *x; (x = readdir(e));)
		if (x->d_name[0] != '.')
			removed += unlinkat(dirfd(e), x->d_name, 0) == 0;
	say("removed while reading", "%d", removed);
	say("now empty", "%s", ret(rmdir("d/e")));
	char buf[8];
	int fd = open("d", O_RDONLY);
	say("getdents small buffer", "%s", ret(syscall(SYS_getdents64, fd, buf, 8)));
	int ff = open("d/f", O_RDONLY);
	say("getdents on file", "%s", ret(syscall(SYS_getdents64, ff, buf, 8)));
	char big[4096];
	say("getdents bad pointer", "%s", ret(syscall(SYS_getdents64, fd, 8, 4096)));
	while (syscall(SYS_getdents64, fd, big, sizeof big) > 0)
		;
	say("getdents at end", "%s", ret(syscall(SYS_getdents64, fd, big, sizeof big)));
	lseek(fd, 0, SEEK_SET);
	say("getdents after lseek", "%s", yes(syscall(SYS_getdents64, fd, big, sizeof big) > 0));
	int in = open("d", O_RDONLY);
	(void)in;
	mkdir("r", 0755);
	int r = open("r", O_RDONLY);
	rmdir("r");
	say("getdents of removed", "%s", ret(syscall(SYS_getdents64, r, big, sizeof big)));
}

static void renames(void)
{
	put("a", "A");
	put("b", "B");
	mkdir("d", 0755);
	mkdir("d/sub", 0755);
	mkdir("empty", 0755);
	say("file over file", "%s %s", ret(rename("a", "b")), get("b"));
	say("source gone", "%s", ret(access("a", F_OK)));
	say("missing", "%s", ret(rename("none", "x")));
	say("file over directory", "%s", ret(rename("b", "d")));
	say("directory over file", "%s", ret(rename("d", "b")));
	say("directory over full", "%s", ret(rename("empty", "d")));
	say("into itself", "%s", ret(rename("d", "d/sub/x")));
	say("onto its parent", "%s", ret(rename("d/sub", "d")));
	say("directory over empty", "%s", ret(rename("d", "empty")));
	say("tree moved", "%s", ret(access("empty/sub", F_OK)));
	say("dot", "%s", ret(rename("empty/.", "x")));
	say("to dotdot", "%s", ret(rename("b", "empty/..")));
	say("trailing slash file", "%s", ret(rename("b", "y/")));
	say("trailing slash directory", "%s", ret(rename("empty", "y/")));
	link("b", "b2");
	say("same file", "%s", ret(rename("b", "b2")));
	say("both remain", "%s %s", ret(access("b", F_OK)), ret(access("b2", F_OK)));
	say("same name", "%s", ret(rename("b", "b")));
	put("c", "C");
	say("noreplace", "%s", ret(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_NOREPLACE)));
	say("noreplace free", "%s", ret(renameat2(AT_FDCWD, "b", AT_FDCWD, "e", RENAME_NOREPLACE)));
	say("exchange", "%s", ret(renameat2(AT_FDCWD, "c", AT_FDCWD, "y", RENAME_EXCHANGE)));
	say("exchanged", "%s", ret(access("c/sub", F_OK)));
	say("content", "%s", get("y"));
	say("exchange missing", "%s", ret(renameat2(AT_FDCWD, "c", AT_FDCWD, "nope", RENAME_EXCHANGE)));
	say("exchange and noreplace", "%s", ret(renameat2(AT_FDCWD, "c", AT_FDCWD, "y", RENAME_EXCHANGE | RENAME_NOREPLACE)));
	say("bad flag", "%s", ret(renameat2(AT_FDCWD, "c", AT_FDCWD, "y", 64)));
	symlink("e", "s");
	say("link itself moves", "%s", ret(rename("s", "s2")));
	char b[10] = "";
	say("still a link", "%s %s", ret(readlink("s2", b, 9)), b);
	int fd = open("e", O_RDWR);
	rename("y", "e");
	say("open over replaced", "%s", ret(write(fd, "gone", 4)));
	say("replaced content", "%s", get("e"));
	chdir("c/sub");
	say("move above cwd", "%s", ret(rename("../../c", "../../moved")));
	put("here", "h");
	say("cwd followed", "%s", get("../../moved/sub/here"));
}

static void links(void)
{
	put("f", "one");
	struct stat st;
	say("link", "%s", ret(link("f", "g")));
	stat("f", &st);
	say("count", "%ld", (long)st.st_nlink);
	put("g", "two");
	say("same content", "%s", get("f"));
	say("existing", "%s", ret(link("f", "g")));
	say("missing", "%s", ret(link("none", "h")));
	mkdir("d", 0755);
	say("directory", "%s", ret(link("d", "e")));
	symlink("f", "s");
	say("of symlink", "%s", ret(link("s", "s2")));
	lstat("s2", &st);
	say("is symlink", "%s", yes(S_ISLNK(st.st_mode)));
	say("follow", "%s", ret(linkat(AT_FDCWD, "s", AT_FDCWD, "h", AT_SYMLINK_FOLLOW)));
	lstat("h", &st);
	say("followed is file", "%s %ld", yes(S_ISREG(st.st_mode)), (long)st.st_nlink);
	int fd = open("f", O_RDWR);
	unlink("f");
	unlink("g");
	unlink("h");
	fstat(fd, &st);
	say("count when unlinked", "%ld", (long)st.st_nlink);
	say("still writable", "%s", ret(pwrite(fd, "NEW", 3, 0)));
	char b[8] = "";
	say("still readable", "%s %s", ret(pread(fd, b, 7, 0)), b);
	char p[64];
	snprintf(p, sizeof p, "/proc/self/fd/%d", fd);
	say("open through proc", "%s", okret(open(p, O_RDONLY)));
	say("link unlinked", "%s", ret(linkat(AT_FDCWD, p, AT_FDCWD, "again", AT_SYMLINK_FOLLOW)));
	int t = open(".", O_TMPFILE | O_RDWR, 0600);
	snprintf(p, sizeof p, "/proc/self/fd/%d", t);
	if (t < 0 || write(t, "tmp", 3) != 3)
		say("tmpfile", "%s", errname(errno));
	say("link tmpfile", "%s", ret(linkat(AT_FDCWD, p, AT_FDCWD, "born", AT_SYMLINK_FOLLOW)));
	say("tmpfile content", "%s", get("born"));
}

static void symlinks(void)
{
	put("f", "target");
	char b[300] = "", name[32], to[32];
	say("symlink", "%s", ret(symlink("f", "s")));
	say("through", "%s", get("s"));
	say("existing", "%s", ret(symlink("f", "s")));
	say("empty target", "%s", ret(symlink("", "z")));
	say("readlink", "%s", ret(readlink("s", b, sizeof b)));
	say("readlink short", "%s", ret(readlink("s", b, 0)));
	say("readlink of file", "%s", ret(readlink("f", b, sizeof b)));
	symlink("longer-than-that", "t");
	say("readlink truncates", "%s", ret(readlink("t", b, 4)));
	struct stat st;
	lstat("t", &st);
	say("lstat size", "%ld %o", (long)st.st_size, st.st_mode);
	symlink("loop", "loop");
	say("loop", "%s", ret(open("loop", O_RDONLY)));
	symlink("b", "a");
	symlink("a", "b");
	say("loop of two", "%s", ret(stat("a", &st)));
	say("lstat of loop", "%s", ret(lstat("a", &st)));
	for (int i = 0; i < 41; i++) {
		snprintf(name, sizeof name, "c%d", i);
		snprintf(to, sizeof to, i ? "c%d" : "f", i - 1);
		symlink(to, name);
	}
	say("40 links", "%s", okret(open("c39", O_RDONLY)));
	say("41 links", "%s", okret(open("c40", O_RDONLY)));
	mkdir("d", 0755);
	symlink("d", "ld");
	say("create in linked directory", "%s", okret(open("ld/new", O_CREAT | O_WRONLY, 0644)));
	say("there", "%s", ret(access("d/new", F_OK)));
	say("rmdir link", "%s", ret(rmdir("ld")));
	say("rmdir link slash", "%s", ret(rmdir("ld/")));
	say("lstat link slash", "%s %s", ret(lstat("ld/", &st)), yes(S_ISDIR(st.st_mode)));
	symlink("../f", "d/up");
	say("relative to its place", "%s", get("d/up"));
	say("unlink link", "%s", ret(unlink("s")));
	say("file remains", "%s", get("f"));
	symlink("/proc/self/cwd/f", "m");
	say("through magic link", "%s", get("m"));
	symlink("f/", "fs");
	say("link with slash to file", "%s", ret(open("fs", O_RDONLY)));
	symlink("nowhere/", "ns");
	say("create through link with slash", "%s", ret(open("ns", O_CREAT | O_WRONLY, 0644)));
}

static void nodes(void)
{
	struct stat st;
	say("mknod regular", "%s", ret(mknod("r", S_IFREG | 0640, 0)));
	stat("r", &st);
	say("mode", "%o %ld", st.st_mode, (long)st.st_size);
	say("mknod fifo", "%s", ret(mknod("p", S_IFIFO | 0600, 0)));
	stat("p", &st);
	say("fifo mode", "%o", st.st_mode);
	say("mknod directory", "%s", ret(mknod("d", S_IFDIR | 0700, 0)));
	say("mknod existing", "%s", ret(mknod("r", S_IFREG | 0640, 0)));
	say("mknod type 0", "%s", ret(mknod("r0", 0644, 0)));
	stat("/dev/null", &st);
	say("null", "%o %d,%d", st.st_mode, major(st.st_rdev), minor(st.st_rdev));
	stat("/dev/zero", &st);
	say("zero", "%o %d,%d", st.st_mode, major(st.st_rdev), minor(st.st_rdev));
	int fd = open("/dev/zero", O_RDWR);
	char b[4096];
	memset(b, 1, sizeof b);
	say("read zero", "%s %d", ret(read(fd, b, sizeof b)), b[4095]);
	say("write zero", "%s", ret(write(fd, b, 100)));
	fd = open("/dev/null", O_RDWR);
	say("read null", "%s", ret(read(fd, b, 10)));
	say("write null", "%s", ret(write(fd, b, 4096)));
	fd = open("/dev/full", O_RDWR);
	say("write full", "%s", ret(write(fd, b, 1)));
	say("read full", "%s", ret(read(fd, b, 10)));
	fd = open("/dev/urandom", O_RDONLY);
	say("read urandom", "%s", ret(read(fd, b, 256)));
	int sum = 0;
	for (int i = 0; i < 256; i++)
		sum |= b[i];
	say("urandom not zero", "%s", yes(sum != 0));
	say("getrandom", "%s", ret(syscall(SYS_getrandom, b, 256, 0)));
	say("getrandom bad flag", "%s", ret(syscall(SYS_getrandom, b, 256, 64)));
	fd = open("/dev/zero", O_RDWR);
	char *z = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	say("map zero", "%s", z == MAP_FAILED ? errname(errno) : (z[5] = 1, "ok"));
}

static const struct section table[] = {
	{"open_flags", open_flags}, {"at_calls", at_calls}, {"directories", directories},
	{"renames", renames}, {"links", links}, {"symlinks", symlinks}, {"nodes", nodes},
};

GUEST(table)
