// Mounts by descriptors: fsopen(2) and its like, open_tree, move_mount, mount_setattr.
#include "mounts.h"

#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

struct attr {
	uint64_t set, clear, propagation, userns;
};

static long cfg(int fd, unsigned cmd, const char *key, const void *value, int aux)
{
	return syscall(SYS_fsconfig, fd, cmd, key, value, aux);
}

static const char *message(int fd)
{
	char *p = scratch();
	ssize_t n = read(fd, p, 250);
	if (n < 0)
		return errname(errno);
	p[n] = 0;
	return p;
}

static long set_attr(int dir, const char *path, unsigned flags, uint64_t set, uint64_t clear, uint64_t kind)
{
	struct attr a = {set, clear, kind, 0};
	return syscall(SYS_mount_setattr, dir, path, flags, &a, sizeof a);
}

static long move(int from, const char *name, int to, const char *at, unsigned flags)
{
	return syscall(SYS_move_mount, from, name, to, at, flags);
}

static long tree(int dir, const char *path, unsigned flags)
{
	return syscall(SYS_open_tree, dir, path, flags);
}

#define HERE AT_FDCWD
#define CLONE 1U
#define F_EMPTY 4U
#define T_EMPTY 0x40U

static void opening(void)
{
	say("unknown type", "%s", ret(syscall(SYS_fsopen, "nosuchfs", 0)));
	say("bad flags", "%s", ret(syscall(SYS_fsopen, "tmpfs", 2)));
	say("bad name", "%s", ret(syscall(SYS_fsopen, NULL, 0)));
	int fd = syscall(SYS_fsopen, "tmpfs", 1);
	say("opened", "%s %d", okret(fd), fcntl(fd, F_GETFD));
	say("nothing to read", "%s", message(fd));
	say("write", "%s", ret(write(fd, "x", 1)));
	say("early fsmount", "%s", ret(syscall(SYS_fsmount, fd, 0, 0)));
	say("bad attributes", "%s %s", ret(syscall(SYS_fsmount, fd, 0, 0x100)), ret(syscall(SYS_fsmount, fd, 0, 0x30)));
	say("not a context", "%s %s", ret(syscall(SYS_fsmount, 1, 0, 0)), ret(syscall(SYS_fsmount, 77, 0, 0)));
	if (fork() == 0) {
		if (setuid(1000))
			_exit(1);
		say("a user", "%s %s", ret(syscall(SYS_fsopen, "tmpfs", 0)), ret(syscall(SYS_fsmount, fd, 0, 0)));
		say("a user creates", "%s", ret(cfg(fd, 6, NULL, NULL, 0)));
		_exit(0);
	}
	wait(NULL);
}

static void configuring(void)
{
	int fd = syscall(SYS_fsopen, "tmpfs", 0);
	say("unknown command", "%s", ret(cfg(fd, 20, NULL, NULL, 0)));
	say("no descriptor", "%s %s", ret(cfg(-1, 0, "ro", NULL, 0)), ret(cfg(77, 0, "ro", NULL, 0)));
	say("other file", "%s", ret(cfg(1, 0, "ro", NULL, 0)));
	say("arguments", "%s %s %s %s", ret(cfg(fd, 0, "ro", "x", 0)), ret(cfg(fd, 1, "size", NULL, 0)), ret(cfg(fd, 0, NULL, NULL, 0)), ret(cfg(fd, 6, "x", NULL, 0)));
	say("more arguments", "%s %s %s", ret(cfg(fd, 0, "ro", NULL, 1)), ret(cfg(fd, 2, "x", "y", 0)), ret(cfg(fd, 5, "x", NULL, -2)));
	say("unknown flag", "%s", ret(cfg(fd, 0, "nosuch", NULL, 0)));
	say("unknown string", "%s", ret(cfg(fd, 1, "nosuch", "x", 0)));
	say("bad pointer", "%s %s", ret(cfg(fd, 0, (char *)8, NULL, 0)), ret(cfg(fd, 1, "size", (char *)8, 0)));
	say("flag", "%s", ret(cfg(fd, 0, "ro", NULL, 0)));
	say("flags", "%s %s %s", ret(cfg(fd, 0, "rw", NULL, 0)), ret(cfg(fd, 0, "sync", NULL, 0)), ret(cfg(fd, 0, "noatime", NULL, 0)));
	say("source", "%s %s", ret(cfg(fd, 1, "source", "from", 0)), ret(cfg(fd, 1, "source", "more", 0)));
	say("strings", "%s %s", ret(cfg(fd, 1, "size", "1m", 0)), ret(cfg(fd, 1, "mode", "0700", 0)));
	say("bad value", "%s %s", ret(cfg(fd, 1, "size", "many", 0)), ret(cfg(fd, 1, "mode", "9", 0)));
	say("reconfigure", "%s", ret(cfg(fd, 7, NULL, NULL, 0)));
	say("create", "%s", ret(cfg(fd, 6, NULL, NULL, 0)));
	say("again", "%s", ret(cfg(fd, 6, NULL, NULL, 0)));
	say("too late", "%s", ret(cfg(fd, 1, "size", "1m", 0)));
	char key[300];
	memset(key, 'k', sizeof key);
	key[255] = 0;
	fd = syscall(SYS_fsopen, "tmpfs", 0);
	say("longest key", "%s", ret(cfg(fd, 0, key, NULL, 0)));
	key[255] = 'k';
	key[299] = 0;
	say("too long", "%s %s", ret(cfg(fd, 0, key, NULL, 0)), ret(cfg(fd, 1, "size", key, 0)));
	fd = syscall(SYS_fsopen, "tmpfs", 0);
	cfg(fd, 1, "nosuch", "x", 0);
	char two[2];
	say("short read", "%s", ret(read(fd, two, 2)));
	say("message", "%s", message(fd));
	say("and none", "%s", message(fd));
}

static int make_tmpfs(unsigned attributes)
{
	int fd = syscall(SYS_fsopen, "tmpfs", 0);
	if (cfg(fd, 1, "source", "made", 0) || cfg(fd, 6, NULL, NULL, 0))
		return -1;
	int mnt = syscall(SYS_fsmount, fd, 0, attributes);
	close(fd);
	return mnt;
}

static void mounting(void)
{
	own_place();
	dirs("a b");
	close(open("file", O_CREAT | O_WRONLY, 0644));
	int fd = syscall(SYS_fsopen, "tmpfs", 0);
	cfg(fd, 0, "ro", NULL, 0);
	say("create", "%s", ret(cfg(fd, 6, NULL, NULL, 0)));
	int mnt = syscall(SYS_fsmount, fd, 1, 2 | 4);
	say("mount", "%s %d %x", okret(mnt), fcntl(mnt, F_GETFD), (unsigned)fcntl(mnt, F_GETFL) & O_PATH);
	say("again", "%s", ret(syscall(SYS_fsmount, fd, 0, 0)));
	say("on a file", "%s", ret(move(mnt, "", HERE, "file", F_EMPTY)));
	say("without a name", "%s", ret(move(mnt, "", HERE, "a", 0)));
	say("bad flags", "%s %s", ret(move(mnt, "", HERE, "a", 0x1000)), ret(move(mnt, "", HERE, "a", 0x304)));
	say("moved", "%s", ret(move(mnt, "", HERE, "a", F_EMPTY)));
	show_mounts("moved");
	say("read-only", "%s %s", ret(mkdir("a/x", 0755)), ret(openat(mnt, "x", O_CREAT | O_WRONLY, 0644)));
	say("moved on", "%s", ret(move(mnt, "", HERE, "b", F_EMPTY)));
	show_mounts("moved on");
	say("rw", "%s", ret(cfg(fd, 0, "rw", NULL, 0)));
	say("reconfigure", "%s", ret(cfg(fd, 7, NULL, NULL, 0)));
	show_mounts("reconfigured");
	int pick = syscall(SYS_fspick, HERE, "b", 1);
	say("pick", "%s", okret(pick));
	say("pick nothing", "%s %s %s", ret(syscall(SYS_fspick, HERE, "a", 0)), ret(syscall(SYS_fspick, HERE, "none", 0)), ret(syscall(SYS_fspick, HERE, "b", 16)));
	say("pick empty", "%s", okret(syscall(SYS_fspick, mnt, "", 8)));
	say("create picked", "%s", ret(cfg(pick, 6, NULL, NULL, 0)));
	say("ro", "%s %s", ret(cfg(pick, 0, "ro", NULL, 0)), ret(cfg(pick, 7, NULL, NULL, 0)));
	show_mounts("picked");
	say("umount", "%s", ret(umount2("b", MNT_DETACH)));
	int lost = make_tmpfs(0);
	say("in a detached one", "%s", ret(mkdirat(lost, "d", 0755)));
	int in = openat(lost, "d", O_PATH);
	say("mount in it", "%s", ret(move(make_tmpfs(1), "", in, "", F_EMPTY | T_EMPTY)));
	close(lost);
	say("closed", "%s", ret(move(lost, "", HERE, "a", F_EMPTY)));
	lost = make_tmpfs(0);
	mkdirat(lost, "d", 0755);
	in = openat(lost, "d", O_PATH);
	move(make_tmpfs(8), "", in, "", F_EMPTY | T_EMPTY);
	close(in);
	say("not its root", "%s", ret(move(lost, "d", HERE, "a", 0)));
	say("both", "%s", ret(move(lost, "", HERE, "a", F_EMPTY)));
	show_mounts("both");
	leave_place();
}

static void trees(void)
{
	own_place();
	dirs("a b c");
	tmpfs("a");
	dirs("a/x a/y");
	tmpfs("a/x");
	say("bad flags", "%s %s", ret(tree(HERE, "a", 0x10000)), ret(tree(HERE, "a", 0x8000)));
	int fd = tree(HERE, "a", O_CLOEXEC);
	say("path", "%s %d", okret(fd), fcntl(fd, F_GETFD));
	say("move by it", "%s", ret(move(fd, "", HERE, "b", F_EMPTY)));
	show_mounts("moved");
	fd = tree(HERE, "b", CLONE | 0x8000);
	say("copy", "%s", okret(fd));
	say("in the copy", "%s", okret(openat(fd, "x", O_RDONLY)));
	say("umount it", "%s", ret(umount2("/proc/self/fd/0", MNT_DETACH)));
	say("attributes", "%s", ret(set_attr(fd, "", AT_EMPTY_PATH, 1, 0, 0)));
	say("move", "%s", ret(move(fd, "", HERE, "c", F_EMPTY)));
	show_mounts("copied");
	fd = tree(HERE, "b/y", CLONE);
	say("part", "%s %s", okret(fd), ret(move(fd, "", HERE, "a", F_EMPTY)));
	show_mounts("part");
	fd = tree(HERE, "b", CLONE);
	close(fd);
	make("b", MS_UNBINDABLE);
	say("unbindable", "%s", ret(tree(HERE, "b", CLONE)));
	make("b", MS_SHARED);
	mkdir("b/y/z", 0755);
	fd = tree(HERE, "b", CLONE | 0x8000);
	say("copy of shared", "%s", tmpfs("b/y"));
	say("move", "%s", ret(move(fd, "", HERE, "c", F_EMPTY)));
	show_mounts("shared");
	if (fork() == 0) {
		if (setuid(1000))
			_exit(1);
		say("a user", "%s %s %s", okret(tree(HERE, ".", 0)), ret(tree(HERE, ".", CLONE)), ret(move(HERE, "b", HERE, "a", 0)));
		_exit(0);
	}
	wait(NULL);
	leave_place();
}

static void groups(void)
{
	own_place();
	dirs("a b c");
	tmpfs("a");
	dirs("a/x");
	make("a", MS_SHARED);
	bind("a", "b");
	make("b", MS_PRIVATE);
	say("to a private one", "%s", ret(move(HERE, "a", HERE, "b", 0x100)));
	show_mounts("grouped");
	say("again", "%s", ret(move(HERE, "a", HERE, "b", 0x100)));
	tmpfs("c");
	say("other file system", "%s", ret(move(HERE, "a", HERE, "c", 0x100)));
	say("not a mount", "%s", ret(move(HERE, "a/x", HERE, "c", 0x100)));
	make("a", MS_PRIVATE);
	make("b", MS_PRIVATE);
	say("both private", "%s", ret(move(HERE, "a", HERE, "b", 0x100)));
	tmpfs("c");
	say("beneath", "%s", ret(move(make_tmpfs(8), "", HERE, "c", F_EMPTY | 0x200)));
	show_mounts("beneath");
	say("umount", "%s", ret(umount("c")));
	show_mounts("what was beneath");
	say("beneath nothing", "%s", ret(move(make_tmpfs(0), "", HERE, "c/none", F_EMPTY | 0x200)));
	mkdir("c/d", 0755);
	say("beneath no mount", "%s", ret(move(make_tmpfs(0), "", HERE, "c/d", F_EMPTY | 0x200)));
	leave_place();
}

static void attributes(void)
{
	own_place();
	dirs("a b");
	tmpfs("a");
	mkdir("a/x", 0755);
	tmpfs("a/x");
	struct {
		struct attr a;
		uint64_t more;
	} large = {{1, 0, 0, 0}, 0};
	say("sizes", "%s %s", ret(syscall(SYS_mount_setattr, HERE, "a", 0, &large, 31)), ret(syscall(SYS_mount_setattr, HERE, "a", 0, &large, 4097)));
	say("larger", "%s", ret(syscall(SYS_mount_setattr, HERE, "a", 0, &large, sizeof large)));
	large.more = 1;
	say("larger with more", "%s", ret(syscall(SYS_mount_setattr, HERE, "a", 0, &large, sizeof large)));
	show_mounts("read-only");
	say("bad flags", "%s", ret(set_attr(HERE, "a", 0x10000, 1, 0, 0)));
	say("nothing", "%s", ret(set_attr(HERE, "none", 0, 0, 0, 0)));
	say("missing", "%s", ret(set_attr(HERE, "none", 0, 1, 0, 0)));
	say("not a mount", "%s", ret(set_attr(HERE, "b", 0, 1, 0, 0)));
	say("unknown", "%s %s", ret(set_attr(HERE, "a", 0, 0x100, 0, 0)), ret(set_attr(HERE, "a", 0, 0, 0x100, 0)));
	say("kinds", "%s %s", ret(set_attr(HERE, "a", 0, 0, 0, MS_SHARED | MS_SLAVE)), ret(set_attr(HERE, "a", 0, 0, 0, 1)));
	say("times", "%s %s %s", ret(set_attr(HERE, "a", 0, 0x10, 0, 0)), ret(set_attr(HERE, "a", 0, 0x10, 0x20, 0)), ret(set_attr(HERE, "a", 0, 0x30, 0x70, 0)));
	say("no times", "%s", ret(set_attr(HERE, "a", 0, 0x10, 0x70, 0)));
	show_mounts("noatime");
	say("all", "%s", ret(set_attr(HERE, "a", 0x8000, 2 | 4 | 8 | 0x80 | 0x200000 | 0x20, 1 | 0x70, MS_SHARED)));
	show_mounts("all");
	say("back", "%s", ret(set_attr(HERE, "a", 0x8000, 0, 2 | 4 | 8 | 0x80 | 0x200000 | 0x70, MS_PRIVATE)));
	show_mounts("back");
	say("bad pointer", "%s", ret(syscall(SYS_mount_setattr, HERE, "a", 0, NULL, 32)));
	say("old remounts", "%s %s", ret(mount(NULL, "a", NULL, MS_REMOUNT | MS_BIND | MS_NOATIME, NULL)), ret(mount(NULL, "a", NULL, MS_REMOUNT | MS_BIND | MS_NODEV, NULL)));
	show_mounts("old remounts");
	say("remount", "%s", ret(mount(NULL, "a", NULL, MS_REMOUNT | MS_RDONLY, NULL)));
	show_mounts("remounted");
	if (fork() == 0) {
		if (setuid(1000))
			_exit(1);
		say("a user", "%s", ret(set_attr(HERE, "a", 0, 1, 0, 0)));
		_exit(0);
	}
	wait(NULL);
	leave_place();
}

static const struct section table[] = {
	{"opening", opening}, {"configuring", configuring}, {"mounting", mounting}, {"trees", trees}, {"groups", groups}, {"attributes", attributes},
};

GUEST(table)
