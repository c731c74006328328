// setns(2) and the files of namespaces; mount namespaces and what their owners may.
#include "guest.h"
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/utsname.h>

// Newer than some headers.
#define GET_PID_FROM_PIDNS _IOR(NSIO, 6, int)
#define GET_PID_IN_PIDNS _IOR(NSIO, 8, int)
#define GET_TGID_IN_PIDNS _IOR(NSIO, 9, int)

static const char *const kinds[] = {"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"};
static const int flags[] = {CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNS, CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS};
#define KINDS 7

static int ns(pid_t pid, const char *kind)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, kind);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static ino_t ino(int fd)
{
	struct stat st = {};
	fstat(fd, &st);
	return st.st_ino;
}

static const char *hostname(void)
{
	static struct utsname u;
	uname(&u);
	return u.nodename;
}

static void store(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		say("store", "%s %s", path, errname(errno));
	close(fd);
}

static void root_of_own(void)
{
	int uid = getuid(), gid = getgid();
	char map[32];
	say("user namespace", "%s", ret(unshare(CLONE_NEWUSER)));
	store("/proc/self/setgroups", "deny");
	snprintf(map, sizeof map, "0 %d 1", uid);
	store("/proc/self/uid_map", map);
	snprintf(map, sizeof map, "0 %d 1", gid);
	store("/proc/self/gid_map", map);
}

// waiting is a child with namespaces of its own, which waits to be killed.
static pid_t waiting(int fresh)
{
	int up[2], life[2];
	char c;
	if (pipe(up) || pipe(life))
		return -1;
	pid_t pid = syscall(SYS_clone, fresh | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) {
		if (fresh & CLONE_NEWUTS)
			sethostname("child", 5);
		if (write(up[1], "x", 1) != 1)
			_exit(1);
		// A parent that has changed its user cannot kill it, but its end is seen here.
		close(life[1]);
		while (read(life[0], &c, 1) > 0)
			;
		_exit(0);
	}
	close(life[0]);
	if (pid < 0)
		say("clone", "%s", errname(errno));
	else if (read(up[0], &c, 1) != 1)
		say("clone", "%s", "no answer");
	close(up[0]);
	close(up[1]);
	return pid;
}

static void done(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void files(void)
{
	for (int i = 0; i < KINDS; i++) {
		char path[64], link[64];
		int fd = ns(getpid(), kinds[i]), again = ns(getpid(), kinds[i]);
		snprintf(path, sizeof path, "/proc/self/ns/%s", kinds[i]);
		ssize_t n = readlink(path, link, sizeof link - 1);
		link[n < 0 ? 0 : n] = 0;
		char want[64];
		snprintf(want, sizeof want, "%s:[%lu]", kinds[i], ino(fd));
		say(kinds[i], "%s link %s same %s type %x", okret(fd), yes(!strcmp(link, want)), yes(ino(fd) == ino(again)),
			ioctl(fd, NS_GET_NSTYPE) ^ flags[i]);
		say("write", "%s", okret(open(path, O_WRONLY)));
		char b;
		say("read", "%s", ret(read(fd, &b, 1)));
		say("parent", "%s", okret(ioctl(fd, NS_GET_PARENT)));
		int owner = ioctl(fd, NS_GET_USERNS);
		say("owner", "%s", okret(owner));
		if (owner >= 0)
			say("owner", "%s", yes(ino(owner) == ino(ns(getpid(), "user"))));
		uid_t u = 7;
		say("owner's uid", "%s %u", ret(ioctl(fd, NS_GET_OWNER_UID, &u)), u);
		say("cloexec", "%d", fcntl(owner, F_GETFD));
		say("unknown", "%s", ret(ioctl(fd, TCGETS, &u)));
		say("enter own", "%s", ret(setns(fd, flags[i])));
		say("another kind", "%s", ret(setns(fd, flags[(i + 1) % KINDS])));
		close(fd);
	}
	say("no such", "%s", ret(setns(-1, 0)));
	say("a file", "%s", ret(setns(open("/", O_RDONLY), 0)));
	say("path", "%s", ret(setns(open("/proc/self/ns/uts", O_PATH), 0)));
}

static void enter(void)
{
	for (int i = 0; i < KINDS; i++) {
		pid_t pid = waiting(flags[i]);
		int own = ns(getpid(), kinds[i]), fd = ns(pid, kinds[i]);
		say(kinds[i], "%s differs %s", okret(fd), yes(ino(own) != ino(fd)));
		if (fork() == 0) {
			const char *name = flags[i] == CLONE_NEWPID ? "pid_for_children" : kinds[i];
			say("enter", "%s", ret(setns(fd, 0)));
			say("is there", "%s", yes(ino(ns(getpid(), name)) == ino(fd)));
			say("again", "%s", ret(setns(fd, 0)));
			say("back", "%s", ret(setns(own, 0)));
			_exit(0);
		}
		wait(NULL);
		done(pid);
		// The file alone keeps it.
		if (fork() == 0) {
			say("enter what its file keeps", "%s", ret(setns(fd, flags[i])));
			pid_t p = fork();
			if (p == 0)
				_exit(0);
			say("fork there", "%s", okret(p));
			_exit(0);
		}
		wait(NULL);
	}
}

static void through_pidfd(void)
{
	pid_t pid = waiting(CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID);
	int fd = syscall(SYS_pidfd_open, pid, 0);
	say("none", "%s", ret(setns(fd, 0)));
	say("not a namespace", "%s", ret(setns(fd, CLONE_NEWUTS | CLONE_VM)));
	say("user", "%s", ret(setns(fd, CLONE_NEWUTS | CLONE_NEWUSER)));
	say("nothing was done", "%s", yes(strcmp(hostname(), "child")));
	say("two", "%s", ret(setns(fd, CLONE_NEWUTS | CLONE_NEWIPC)));
	say("done", "%s", yes(!strcmp(hostname(), "child")));
	say("all", "%s", ret(setns(fd, CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID)));
	for (int i = 0; i < KINDS; i++)
		say(kinds[i], "%s", yes(ino(ns(getpid(), kinds[i])) == ino(ns(pid, kinds[i]))));
	done(pid);
	say("an ended one", "%s", ret(setns(fd, CLONE_NEWUTS)));
}

static void plain_user(void)
{
	pid_t pid = waiting(CLONE_NEWUTS);
	int fd = ns(pid, "uts"), proc = syscall(SYS_pidfd_open, pid, 0), mine;
	syscall(SYS_setresgid, 1000, 1000, 1000);
	syscall(SYS_setresuid, 1000, 1000, 1000);
	prctl(PR_SET_DUMPABLE, 1);
	say("open", "%s", okret(ns(pid, "uts")));
	say("enter", "%s", ret(setns(fd, 0)));
	say("enter by pidfd", "%s", ret(setns(proc, CLONE_NEWUTS)));
	mine = ns(getpid(), "uts");
	int before = ns(getpid(), "user");
	root_of_own();
	say("enter the old", "%s", ret(setns(mine, 0)));
	say("enter the old user namespace", "%s", ret(setns(before, 0)));
	say("own user namespace", "%s", ret(setns(ns(getpid(), "user"), 0)));
	say("parent", "%s", okret(ioctl(ns(getpid(), "user"), NS_GET_PARENT)));
	uid_t u = 7;
	say("owner", "%s %u", ret(ioctl(ns(getpid(), "user"), NS_GET_OWNER_UID, &u)), u);
	pid_t child = waiting(CLONE_NEWUTS | CLONE_NEWUSER);
	say("enter a child's", "%s", ret(setns(ns(child, "uts"), 0)));
	int cfd = syscall(SYS_pidfd_open, child, 0);
	say("both", "%s", ret(setns(cfd, CLONE_NEWUTS | CLONE_NEWUSER)));
	say("hostname", "%s", ret(sethostname("set", 3)));
	done(child);
}

static void pids(void)
{
	pid_t pid = waiting(CLONE_NEWPID);
	int fd = ns(pid, "pid");
	say("enter", "%s", ret(setns(fd, CLONE_NEWPID)));
	say("own", "%s", yes(getpid() != 1));
	say("unshare", "%s", ret(unshare(CLONE_NEWPID)));
	say("thread", "%s", ret(syscall(SYS_clone, CLONE_THREAD | CLONE_VM | CLONE_SIGHAND, 0, 0, 0, 0)));
	if (fork() == 0) {
		say("child", "%d of %d", getpid(), getppid());
		say("up", "%s", okret(ioctl(ns(0, "pid"), NS_GET_PARENT)));
		_exit(0);
	}
	wait(NULL);
	say("number there", "%s", ret(ioctl(fd, GET_PID_IN_PIDNS, pid)));
	say("number here", "%s", yes(ioctl(fd, GET_PID_FROM_PIDNS, 1) == pid));
	say("process there", "%s", ret(ioctl(fd, GET_TGID_IN_PIDNS, pid)));
	say("not there", "%s", ret(ioctl(fd, GET_PID_IN_PIDNS, getpid())));
	say("nobody", "%s", ret(ioctl(fd, GET_PID_FROM_PIDNS, 12345)));
	say("not a pid namespace", "%s", ret(ioctl(ns(getpid(), "uts"), GET_PID_IN_PIDNS, 1)));
	done(pid);
	say("fork into the dead", "%s", ret(fork()));
}

static void mounts(void)
{
	mkdir("d", 0755);
	mkdir("e", 0755);
	int up[2];
	char c;
	if (pipe(up))
		return;
	if (fork() == 0) {
		say("unshare", "%s", ret(unshare(CLONE_NEWNS)));
		say("private", "%s", ret(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)));
		say("mount", "%s", ret(mount("x", "d", "tmpfs", 0, "mode=700,uid=5")));
		struct stat st;
		say("root", "%s %o %d", ret(stat("d", &st)), st.st_mode, st.st_uid);
		put("d/file", "x");
		say("bind", "%s", ret(mount("d", "e", NULL, MS_BIND, NULL)));
		say("through it", "%s", get("e/file"));
		say("unbindable", "%s", ret(mount(NULL, "d", NULL, MS_UNBINDABLE, NULL)));
		say("bind unbindable", "%s", ret(mount("d", "e", NULL, MS_BIND, NULL)));
		say("two kinds", "%s", ret(mount(NULL, "d", NULL, MS_PRIVATE | MS_SLAVE, NULL)));
		say("busy", "%s", ret(umount("d")) );
		say("umount", "%s", ret(umount2("e", MNT_DETACH)));
		if (write(up[1], "x", 1) != 1)
			_exit(1);
		_exit(0);
	}
	if (read(up[0], &c, 1) != 1)
		return;
	wait(NULL);
	say("outside", "%s", get("d/file"));
	say("not mounted", "%s", ret(umount("d")));
}

static void pivot(void)
{
	unshare(CLONE_NEWNS);
	mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	mkdir("own", 0755); // on whichever mount this is, what follows is not on that of the root
	mount("own", "own", "tmpfs", 0, NULL);
	(void)!chdir("own");
	mkdir("new", 0755);
	mkdir("dir", 0755);
	say("not a mount", "%s", ret(syscall(SYS_pivot_root, "new", "new")));
	mount("x", "new", "tmpfs", 0, NULL);
	mkdir("new/old", 0755);
	mkdir("new/sub", 0755);
	say("outside", "%s", ret(syscall(SYS_pivot_root, "new", "dir")));
	say("itself", "%s", ret(syscall(SYS_pivot_root, "/", "/")));
	put("new/file", "x");
	say("no directory", "%s", ret(syscall(SYS_pivot_root, "new", "new/file")));
	say("missing", "%s", ret(syscall(SYS_pivot_root, "new", "new/nothing")));
	say("pivot", "%s", ret(syscall(SYS_pivot_root, "new", "new/old")));
	say("file", "%s", get("/file"));
	say("old", "%s", okret(access("/old/proc/self", F_OK)));
	say("chdir", "%s", ret(chdir("/")));
	say("umount", "%s", ret(umount2("/old", MNT_DETACH)));
	say("old", "%s", okret(access("/old/proc", F_OK)));
	mkdir("/next", 0755);
	mount("y", "/next", "tmpfs", 0, NULL);
	put("/next/second", "y");
	say("chdir", "%s", ret(chdir("/next")));
	say("onto itself", "%s", ret(syscall(SYS_pivot_root, ".", ".")));
	say("umount", "%s", ret(umount2(".", MNT_DETACH)));
	say("second", "%s", get("/second"));
	say("first", "%s", okret(access("/file", F_OK)));
}

static void less_privileged(void)
{
	unshare(CLONE_NEWNS);
	mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	mkdir("d", 0755);
	mkdir("e", 0755);
	mount("x", "d", "tmpfs", MS_RDONLY | MS_NOEXEC, NULL);
	mount("x", "e", "tmpfs", 0, "uid=1234,mode=755");
	mkdir("e/under", 0755);
	chmod(".", 0777);
	root_of_own();
	say("mount in the old", "%s", ret(mount("x", "e", "tmpfs", 0, NULL)));
	say("umount in the old", "%s", ret(umount("d")));
	say("pivot in the old", "%s", ret(syscall(SYS_pivot_root, "d", "d")));
	say("unshare", "%s", ret(unshare(CLONE_NEWNS)));
	say("umount", "%s", ret(umount("d")));
	say("writable", "%s", ret(mount(NULL, "d", NULL, MS_REMOUNT | MS_BIND, NULL)));
	say("keep flags", "%s", ret(mount(NULL, "d", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOEXEC, NULL)));
	say("bind", "%s", ret(mount(".", "e", NULL, MS_BIND, NULL)));
	say("bind all", "%s", ret(mount(".", "e", NULL, MS_BIND | MS_REC, NULL)));
	say("move", "%s", ret(mount("d", "e", NULL, MS_MOVE, NULL)));
	say("umount own", "%s", ret(umount("e")));
	say("tmpfs", "%s", ret(mount("x", "e", "tmpfs", 0, "uid=5")));
	say("tmpfs", "%s", ret(mount("x", "e", "tmpfs", 0, NULL)));
	struct stat st;
	say("root", "%s %o %d", ret(stat("e", &st)), st.st_mode, st.st_uid);
	say("device", "%s", ret(mknod("e/null", S_IFCHR | 0666, 0x103)));
	say("unknown", "%s", ret(mount("x", "e", "nonsense", 0, NULL)));
	say("over it", "%s", ret(mount("x", "e", "tmpfs", 0, NULL)));
	say("umount", "%s", ret(umount("e")));
	say("umount", "%s", ret(umount("e")));
	say("umount", "%s", ret(umount("e")));
}

static void sockets(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "\0nstest"};
	socklen_t n = sizeof a.sun_family + 7;
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	say("bind", "%s", ret(bind(s, (struct sockaddr *)&a, n)));
	say("listen", "%s", ret(listen(s, 1)));
	say("connect", "%s", ret(connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&a, n)));
	int own = ns(getpid(), "net");
	say("unshare", "%s", ret(unshare(CLONE_NEWNET)));
	int t = socket(AF_UNIX, SOCK_STREAM, 0);
	say("not there", "%s", ret(connect(t, (struct sockaddr *)&a, n)));
	say("free", "%s", ret(bind(t, (struct sockaddr *)&a, n)));
	char *table = strdup(get("/proc/net/unix"));
	int lines = 0;
	for (char *p = table; *p; p++)
		lines += *p == '\n';
	say("table", "%d", lines);
	say("back", "%s", ret(setns(own, CLONE_NEWNET)));
	say("there again", "%s", ret(connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&a, n)));
}

// tags are settings of network namespaces: a new one has the first one's defaults.
static void tags(void)
{
	static const char *const conf[] = {"all", "default", "lo"};
	unshare(CLONE_NEWNET);
	for (int i = 0; i < 3; i++) {
		char path[64], text[2] = {'1' + i, 0}, was[8];
		snprintf(path, sizeof path, "/proc/sys/net/ipv4/conf/%s/tag", conf[i]);
		store(path, text);
		say(conf[i], "%d", atoi(get(path)));
		snprintf(was, sizeof was, "%s", get(path));
		pid_t pid = fork();
		if (pid == 0) {
			unshare(CLONE_NEWNET);
			say("another", "%d", atoi(get(path)));
			store(path, "-9");
			say("its own", "%d", atoi(get(path)));
			store(path, "3000000000");
			_exit(0);
		}
		wait(NULL);
		say("kept", "%s", yes(!strcmp(was, get(path))));
	}
}

// settings are root's of the user namespace that the network namespace belongs to, and of CAP_NET_ADMIN there.
static void settings(void)
{
	static const char *const path[] = {"/proc/sys/net/ipv4/conf/lo/tag", "/proc/sys/net/ipv4/ip_forward",
		"/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/net/ipv4/ping_group_range"};
	for (int i = 0; i < 4; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			unshare(CLONE_NEWNET);
			say("file", "%s", path[i]);
			if (i != 1) // ip_forward is as whoever runs the host wants it
				say("fresh", "%s", get(path[i]));
			store(path[i], "0x10 010");
			say("stored", "%s", get(path[i]));
			store(path[i], "70000");
			say("a big one", "%s", get(path[i]));
			store(path[i], "-3");
			say("negative", "%s", get(path[i]));
			store(path[i], "x");
			say("no number", "%s", get(path[i]));
			pid_t child = fork();
			if (child == 0) {
				setgid(1234);
				setuid(1234);
				say("another user", "%s", ret(open(path[i], O_WRONLY)));
				unshare(CLONE_NEWUSER);
				say("not its namespace", "%s", ret(open(path[i], O_WRONLY)));
				unshare(CLONE_NEWNET);
				say("its namespace", "%s", yes(open(path[i], O_WRONLY) >= 0));
				say("not to run", "%s", ret(access(path[i], X_OK)));
				_exit(0);
			}
			wait(NULL);
			_exit(0);
		}
		wait(NULL);
	}
}

static const struct section table[] = {
	{"settings", settings}, {"tags", tags}, {"files", files}, {"enter", enter}, {"pidfd", through_pidfd}, {"plain-user", plain_user}, {"pids", pids}, {"mounts", mounts},
	{"pivot", pivot}, {"less-privileged", less_privileged}, {"sockets", sockets},
};

GUEST(table)
