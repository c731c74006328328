// Mounts that pass on what is mounted on them: peer groups, slaves, copies of namespaces; files of namespaces as mounts.
#include "mounts.h"
#include <poll.h>
#include <sys/epoll.h>
#include <poll.h>

static void types(void)
{
	own_place();
	dirs("a b");
	tmpfs("a");
	mkdir("a/d", 0755);
	say("two kinds", "%s %s", make("a", MS_SHARED | MS_PRIVATE), make("a", MS_SLAVE | MS_UNBINDABLE));
	say("with other flags", "%s %s", make("a", MS_SHARED | MS_NOATIME), make("a", MS_SHARED | MS_MOVE));
	say("not a mount", "%s %s", make("b", MS_SHARED), make("a/d", MS_PRIVATE));
	say("missing", "%s", make("c", MS_SHARED));
	say("shared", "%s", make("a", MS_SHARED | MS_SILENT));
	show_mounts("shared");
	say("slave of nobody", "%s", make("a", MS_SLAVE));
	show_mounts("slave of nobody");
	make("a", MS_SHARED);
	say("bind", "%s", bind("a", "b"));
	show_mounts("peers");
	say("slave", "%s", make("b", MS_SLAVE));
	show_mounts("slave");
	say("shared slave", "%s", make("b", MS_SHARED));
	show_mounts("shared slave");
	say("master leaves", "%s", make("a", MS_PRIVATE));
	show_mounts("master left");
	say("unbindable", "%s", make("a", MS_UNBINDABLE));
	show_mounts("unbindable");
	say("bind of it", "%s", bind("a", "b"));
	say("bindable again", "%s %s", make("a", MS_SHARED), bind("a", "b"));
	show_mounts("bindable again");
	if (fork() == 0) {
		if (setuid(1000))
			_exit(1);
		say("a user", "%s", make("a", MS_PRIVATE));
		_exit(0);
	}
	wait(NULL);
	leave_place();
}

static void passed_on(void)
{
	own_place();
	dirs("a b c d");
	tmpfs("a");
	make("a", MS_SHARED);
	dirs("a/x a/y");
	bind("a", "b");
	bind("a", "c");
	make("c", MS_SLAVE);
	bind("c", "d");
	make("d", MS_SHARED);
	say("on a peer", "%s", tmpfs("b/x"));
	show_mounts("on a peer");
	say("on a slave", "%s", tmpfs("c/y"));
	show_mounts("on a slave");
	say("over what a slave has", "%s", tmpfs("a/y"));
	show_mounts("over what a slave has");
	say("undone", "%s", ret(umount("b/y")));
	show_mounts("undone");
	int fd = open("b/x", O_RDONLY);
	say("busy elsewhere", "%s", ret(umount("a/x")));
	say("lazily", "%s", ret(umount2("a/x", MNT_DETACH)));
	close(fd);
	show_mounts("lazily");
	tmpfs("a/x");
	mkdir("d/x/deep", 0755);
	say("on what a slave received", "%s", tmpfs("c/x/deep"));
	say("umount leaves that", "%s", ret(umount("a/x")));
	show_mounts("umount left that");
	leave_place();
}

static void trees(void)
{
	own_place();
	dirs("a b c e");
	tmpfs("a");
	dirs("a/x a/y a/z");
	tmpfs("a/x");
	tmpfs("a/y");
	make("a/y", MS_UNBINDABLE);
	make("b", MS_SHARED);
	tmpfs("b");
	make("b", MS_SHARED);
	dirs("b/t b/u");
	bind("b", "c");
	say("bind all", "%s", ret(mount("a", "b/t", NULL, MS_BIND | MS_REC, NULL)));
	show_mounts("bound all");
	say("move unbindable", "%s", ret(mount("a", "b/u", NULL, MS_MOVE, NULL)));
	make("a/y", MS_PRIVATE);
	say("move to shared", "%s", ret(mount("a", "b/u", NULL, MS_MOVE, NULL)));
	show_mounts("moved to shared");
	say("move from shared", "%s", ret(mount("b/u", "e", NULL, MS_MOVE, NULL)));
	say("move below itself", "%s", ret(mount("b", "b/t", NULL, MS_MOVE, NULL)));
	say("umount with more", "%s", ret(umount("c/u")));
	say("lazily", "%s", ret(umount2("c/u", MNT_DETACH)));
	show_mounts("lazily");
	say("all private", "%s", make("b", MS_PRIVATE | MS_REC));
	say("all slaves", "%s", make("c", MS_SLAVE | MS_REC));
	show_mounts("all");
	leave_place();
}

// in_copy runs fn in a copy of the mount namespace that knows its parent's steps by the pipe.
static void namespaces_with(int flags, const char *name)
{
	int go[2], done[2];
	char c = 0;
	own_place();
	dirs("a b");
	tmpfs("a");
	make("a", MS_SHARED);
	dirs("a/x a/y");
	if (pipe(go) || pipe(done))
		_exit(1);
	pid_t p = fork();
	if (p == 0) {
		say("copy", "%s", ret(unshare(flags)));
		if (write(done[1], &c, 1) != 1 || read(go[0], &c, 1) != 1)
			_exit(1);
		show_mounts("in the copy");
		if (flags == CLONE_NEWNS)
			say("mount there", "%s", tmpfs("a/y"));
		else
			say("umount locked", "%s %s", ret(umount2("a/x", MNT_DETACH)), ret(umount2("a", MNT_DETACH)));
		if (write(done[1], &c, 1) != 1 || read(go[0], &c, 1) != 1)
			_exit(1);
		show_mounts("in the copy, later");
		_exit(0);
	}
	if (read(done[0], &c, 1) != 1)
		_exit(1);
	say("mount in the old one", "%s", ret(mount("x", "a/x", "tmpfs", MS_NODEV, NULL)));
	if (write(go[1], &c, 1) != 1 || read(done[0], &c, 1) != 1)
		_exit(1);
	show_mounts(name);
	say("umount in the old one", "%s", ret(umount("a/x")));
	if (write(go[1], &c, 1) != 1)
		_exit(1);
	waitpid(p, NULL, 0);
	show_mounts("at the end");
	leave_place();
}

static void copies(void)
{
	namespaces_with(CLONE_NEWNS, "after a mount in the copy");
}

static void user_copies(void)
{
	namespaces_with(CLONE_NEWNS | CLONE_NEWUSER, "after the copy's part");
}

static void pivots(void)
{
	if (unshare(CLONE_NEWNS))
		_exit(1);
	dirs("a b");
	tmpfs("a");
	dirs("a/old a/new");
	tmpfs("a/new");
	mkdir("a/new/old", 0755);
	make("a", MS_SHARED);
	if (chroot("a") || chdir("/"))
		_exit(1);
	say("new on shared", "%s", ret(syscall(SYS_pivot_root, "new", "new/old")));
	mount(NULL, "/", NULL, MS_PRIVATE, NULL);
	mount(NULL, "/new", NULL, MS_SHARED, NULL);
	say("old on shared", "%s", ret(syscall(SYS_pivot_root, "new", "new/old")));
	mount(NULL, "/new", NULL, MS_PRIVATE, NULL);
	say("private", "%s", ret(syscall(SYS_pivot_root, "new", "new/old")));
	_exit(0);
}

static void pivot_root(void)
{
	own_place();
	if (fork() == 0)
		pivots();
	wait(NULL);
	leave_place();
}

static ino_t ino(const char *path)
{
	struct stat st = {};
	return stat(path, &st) ? 0 : st.st_ino;
}

static void touch(const char *path)
{
	close(open(path, O_CREAT | O_WRONLY, 0644));
}

static void namespace_files(void)
{
	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof one, &one); // Linux tells by numbers which namespace is younger, and each processor has its own
	own_place();
	touch("net");
	touch("uts");
	touch("mnt");
	mkdir("dir", 0755);
	ino_t net = ino("/proc/self/ns/net");
	say("bind", "%s %s", bind("/proc/self/ns/net", "net"), yes(ino("net") == net));
	say("on a directory", "%s", bind("/proc/self/ns/net", "dir"));
	if (fork() == 0) {
		say("own host name", "%s", ret(unshare(CLONE_NEWUTS)));
		say("set", "%s", ret(sethostname("bound", 5)));
		say("bind host name", "%s", bind("/proc/self/ns/uts", "uts"));
		say("leave network", "%s %s", ret(unshare(CLONE_NEWNET)), yes(ino("/proc/self/ns/net") == net));
		int fd = open("net", O_RDONLY);
		say("enter network", "%s %s", ret(setns(fd, CLONE_NEWNET)), yes(ino("/proc/self/ns/net") == net));
		_exit(0);
	}
	wait(NULL);
	char name[64] = "";
	int fd = open("uts", O_RDONLY);
	say("kind", "%s", ret(setns(fd, CLONE_NEWNET)));
	if (fork() == 0) {
		say("enter", "%s %s", ret(setns(fd, CLONE_NEWUTS)), gethostname(name, sizeof name) ? "?" : name);
		_exit(0);
	}
	wait(NULL);
	close(fd);
	say("copy", "%s", bind("uts", "mnt"));
	say("umount", "%s %s", ret(umount("uts")), ret(umount("mnt")));
	say("own mounts", "%s", bind("/proc/self/ns/mnt", "mnt"));
	pid_t p = fork();
	if (p == 0) {
		say("younger", "%s", ret(unshare(CLONE_NEWNS)));
		kill(getpid(), SIGSTOP);
		_exit(0);
	}
	waitpid(p, NULL, WUNTRACED);
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/ns/mnt", p);
	say("younger mounts", "%s", bind(path, "mnt"));
	if (fork() == 0) {
		ino_t was = ino("mnt");
		say("copied without it", "%s %s", ret(unshare(CLONE_NEWNS)), yes(ino("mnt") == was));
		_exit(0);
	}
	while (wait(NULL) != p)
		kill(p, SIGCONT);
	struct stat st;
	say("kind of file", "%o", stat("net", &st) ? 0 : st.st_mode);
	leave_place();
}

static const char *polled(int fd, int ms)
{
	struct pollfd p = {fd, POLLIN | POLLPRI, 0};
	char *b = scratch();
	int n = poll(&p, 1, ms);
	snprintf(b, 256, "%d%s%s%s", n, p.revents & POLLIN ? " IN" : "", p.revents & POLLPRI ? " PRI" : "", p.revents & POLLERR ? " ERR" : "");
	return b;
}

static const char *waited(int ep, int ms)
{
	struct epoll_event e = {0};
	char *b = scratch();
	int n = epoll_wait(ep, &e, 1, ms);
	snprintf(b, 256, "%d %x", n, e.events);
	return b;
}

// changes shows how who watches the table of mounts hears of them.
static void changes(void)
{
	own_place();
	dirs("a b");
	int fd = open("/proc/self/mountinfo", O_RDONLY), ep = epoll_create1(0);
	struct epoll_event e = {EPOLLPRI, {0}};
	say("at first", "%s", polled(fd, 0));
	say("add", "%s", ret(epoll_ctl(ep, EPOLL_CTL_ADD, open("/proc/self/mounts", O_RDONLY), &e)));
	say("watched", "%s", waited(ep, 0));
	tmpfs("a");
	say("mount", "%s, %s, %s", polled(fd, 0), waited(ep, 1000), waited(ep, 0));
	say("told once", "%s", polled(fd, 0));
	say("remount", "%s", ret(mount(NULL, "a", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL)));
	say("flags", "%s, %s", polled(fd, 0), waited(ep, 0));
	say("bind", "%s", ret(mount("a", "b", NULL, MS_BIND, NULL)));
	say("bound", "%s, %s", polled(fd, 0), waited(ep, 0));
	umount("b");
	say("unmounted", "%s, %s", polled(fd, 0), waited(ep, 0));
	if (fork() == 0) {
		if (unshare(CLONE_NEWNS))
			_exit(1);
		umount("a");
		_exit(0);
	}
	wait(NULL);
	say("in another namespace", "%s, %s", polled(fd, 0), waited(ep, 0));
	if (fork() == 0) {
		sleep_ms(50);
		umount("a");
		_exit(0);
	}
	say("while waiting", "%s, %s", waited(ep, 60000), polled(fd, 0));
	wait(NULL);
	leave_place();
}

static const struct section table[] = {
	{"types", types}, {"passed_on", passed_on}, {"trees", trees}, {"copies", copies}, {"user_copies", user_copies},
	{"pivot_root", pivot_root}, {"namespace_files", namespace_files}, {"changes", changes},
};

GUEST(table)
