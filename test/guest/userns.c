// User namespaces: maps of ids and who may write them, ids in and out of a
// namespace, capabilities relative to it, limits.
#include "guest.h"
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/xattr.h>

static const char *ids(void)
{
	uid_t r, e, s;
	gid_t rg, eg, sg;
	char *p = scratch();
	getresuid(&r, &e, &s);
	getresgid(&rg, &eg, &sg);
	snprintf(p, 256, "%d %d %d, %d %d %d", r, e, s, rg, eg, sg);
	return p;
}

static const char *caps(void)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2] = {};
	char *p = scratch();
	syscall(SYS_capget, &h, d);
	unsigned long bounding = 0;
	for (int i = 0; i <= 40; i++)
		bounding |= (unsigned long)(prctl(PR_CAPBSET_READ, i, 0, 0, 0) == 1) << i;
	snprintf(p, 256, "%x%08x %x%08x %x%08x %lx", d[1].effective, d[0].effective, d[1].permitted, d[0].permitted,
		d[1].inheritable, d[0].inheritable, bounding);
	return p;
}

static const char *store(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	if (fd < 0)
		return errname(errno);
	const char *r = ret(write(fd, text, strlen(text)));
	close(fd);
	return r;
}

static void become(int id)
{
	syscall(SYS_setgroups, 0, NULL);
	syscall(SYS_setresgid, id, id, id);
	syscall(SYS_setresuid, id, id, id);
	prctl(PR_SET_DUMPABLE, 1);
}

static void show_maps(const char *who)
{
	char *p = scratch();
	snprintf(p, 256, "%s", get("/proc/self/uid_map"));
	say(who, "uids %s gids %s projects %s setgroups %s", p, strdup(get("/proc/self/gid_map")),
		strdup(get("/proc/self/projid_map")), strdup(get("/proc/self/setgroups")));
}

static void fresh(void)
{
	say("before", "%s", ids());
	show_maps("maps before");
	say("unshare", "%s", ret(unshare(CLONE_NEWUSER)));
	say("ids", "%s", ids());
	say("caps", "%s", caps());
	show_maps("maps");
	say("uid_map", "%s", store("/proc/self/uid_map", "0 0 1\n"));
	say("gid_map", "%s", store("/proc/self/gid_map", "0 0 1\n"));
	say("mapped", "%s", ids());
	show_maps("maps after");
	say("deny", "%s", store("/proc/self/setgroups", "deny\n"));
	gid_t none[] = {7};
	say("setgroups", "%s", ret(setgroups(1, none)));
	none[0] = 0;
	say("setgroups mapped", "%s", ret(setgroups(1, none)));
	say("setuid", "%s", ret(syscall(SYS_setuid, 5)));
	say("setresuid", "%s", ret(syscall(SYS_setresuid, -1, 1, -1)));
	say("setfsuid", "%s", ret(syscall(SYS_setfsuid, 9)));
	say("hostname", "%s", ret(sethostname("x", 1)));
	say("uts", "%s", ret(unshare(CLONE_NEWUTS)));
	say("hostname in its own", "%s", ret(sethostname("x", 1)));
	say("caps", "%s", caps());
}

static void plain_user(void)
{
	become(1000);
	say("uts", "%s", ret(unshare(CLONE_NEWUTS)));
	say("both", "%s", ret(unshare(CLONE_NEWUSER | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET)));
	say("caps", "%s", caps());
	say("gid_map", "%s", store("/proc/self/gid_map", "0 1000 1"));
	say("another's uid", "%s", store("/proc/self/uid_map", "0 0 1"));
	say("more", "%s", store("/proc/self/uid_map", "0 1000 2"));
	say("uid_map", "%s", store("/proc/self/uid_map", "0 1000 1"));
	say("again", "%s", store("/proc/self/uid_map", "0 1000 1"));
	say("allow", "%s", store("/proc/self/setgroups", "allow"));
	say("deny", "%s", store("/proc/self/setgroups", "deny"));
	say("allow again", "%s", store("/proc/self/setgroups", "allow"));
	say("gid_map", "%s", store("/proc/self/gid_map", "0 1000 1"));
	say("projid_map", "%s", store("/proc/self/projid_map", "0 5 10"));
	show_maps("maps");
	say("ids", "%s", ids());
	say("hostname", "%s", ret(sethostname("inside", 6)));
	say("setgroups", "%s", ret(setgroups(0, NULL)));
	say("nested", "%s", ret(unshare(CLONE_NEWUSER)));
	say("nested map", "%s", store("/proc/self/uid_map", "7 0 1"));
	show_maps("nested maps");
	say("ids", "%s", ids());
	say("caps", "%s", caps());
}

static void formats(void)
{
	static const char *const bad[] = {
		"\n", "0", "0 0", "0 0 0", "a 0 1", "0 0 1 1", "0 0 1\n\n", "-1 0 1", "0 4294967295 1", "0 0 4294967295",
		"4294967290 0 10", "0 4294967290 10", "0 0 10\n5 20 3", "0 0 10\n20 5 3", " 0  0\t1 ", "0x10 010 1\n", "0 0 5\n10 10 5\n",
	};
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		int pipes[2];
		if (pipe(pipes))
			return;
		if (fork() == 0) {
			char *name = scratch();
			snprintf(name, 256, "form %u", i);
			unshare(CLONE_NEWUSER);
			int fd = open("/proc/self/uid_map", O_RDWR);
			say(name, "%s, %s", ret(write(fd, bad[i], strlen(bad[i]))), get("/proc/self/uid_map"));
			_exit(0);
		}
		wait(NULL);
	}
	unshare(CLONE_NEWUSER);
	char big[5000];
	memset(big, ' ', sizeof big);
	memcpy(big, "0 0 1", 5);
	int fd = open("/proc/self/uid_map", O_RDWR);
	say("page", "%s", ret(write(fd, big, 4096)));
	lseek(fd, 1, SEEK_SET);
	say("behind", "%s", ret(write(fd, "0 0 1", 5)));
	lseek(fd, 0, SEEK_SET);
	int g = open("/proc/self/setgroups", O_RDWR);
	say("setgroups long", "%s", ret(write(g, "deny    ", 8)));
	say("setgroups nonsense", "%s", ret(write(g, "denied", 6)));
	say("setgroups space", "%s", ret(write(g, "deny  \n", 7)));
	char *p = big;
	for (int i = 0; i < 341; i++)
		p += sprintf(p, "%d %d 1\n", 2 * i, 2 * i);
	say("lines", "%s", ret(write(fd, big, p - big)));
	p = big;
	for (int i = 0; i < 340; i++)
		p += sprintf(p, "%d %d 1\n", 2 * i, 2 * i);
	say("fewer", "%s", ret(write(fd, big, p - big)));
}

// by_parent has the maps written from outside.
static void by_parent(void)
{
	int up[2], down[2];
	char path[64], c;
	if (pipe(up) || pipe(down))
		return;
	pid_t pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) {
		if (write(up[1], "x", 1) != 1 || read(down[0], &c, 1) != 1)
			_exit(1);
		say("child", "%s", ids());
		say("setresuid", "%s", ret(syscall(SYS_setresuid, 1, 2, 3)));
		say("setresgid", "%s", ret(syscall(SYS_setresgid, 10, 11, 12)));
		say("child", "%s", ids());
		say("caps", "%s", caps());
		if (write(up[1], "x", 1) != 1 || read(down[0], &c, 1) != 1)
			_exit(1);
		_exit(3);
	}
	if (read(up[0], &c, 1) != 1)
		return;
	snprintf(path, sizeof path, "/proc/%d/uid_map", pid);
	say("map", "%s", store(path, "0 1000 10\n100 200 5"));
	say("read", "%s", get(path));
	snprintf(path, sizeof path, "/proc/%d/gid_map", pid);
	say("map", "%s", store(path, "10 2000 10"));
	if (write(down[1], "x", 1) != 1 || read(up[0], &c, 1) != 1)
		return;
	snprintf(path, sizeof path, "/proc/%d/status", pid);
	char *s = strdup(get(path));
	char *u = strstr(s, "Uid:");
	say("status", "%.*s", (int)(strstr(u, "FDSize") - u), u);
	struct stat st;
	snprintf(path, sizeof path, "/proc/%d", pid);
	say("owner", "%s %d %d", ret(stat(path, &st)), st.st_uid, st.st_gid);
	if (write(down[1], "x", 1) != 1)
		return;
	siginfo_t si = {};
	say("wait", "%s uid %d status %d", ret(waitid(P_PID, pid, &si, WEXITED)), si.si_uid, si.si_status);
}

// The scratch file belongs to 1234, whom the namespace of root's does not know.
static void files(void)
{
	put("f", "x");
	say("chown", "%s", ret(chown("f", 1234, 1234)));
	chmod("f", 0600);
	put("mine", "x");
	mkdir("d", 0700);
	say("chown", "%s", ret(chown("d", 1234, 0)));
	put("sticky-mine", "");
	unshare(CLONE_NEWUSER);
	store("/proc/self/uid_map", "0 0 1");
	store("/proc/self/gid_map", "0 0 1");
	struct stat st;
	say("stat", "%s %d %d", ret(stat("f", &st)), st.st_uid, st.st_gid);
	say("stat", "%s %d %d", ret(stat("mine", &st)), st.st_uid, st.st_gid);
	say("open", "%s", okret(open("f", O_RDONLY)));
	say("chmod", "%s", ret(chmod("f", 0644)));
	say("chown it", "%s", ret(chown("f", 0, 0)));
	say("chown away", "%s", ret(chown("mine", 1234, -1)));
	say("chown same", "%s", ret(chown("mine", 0, 0)));
	say("utime", "%s", ret(utimensat(AT_FDCWD, "f", (struct timespec[]){{1, 1}, {1, 1}}, 0)));
	say("directory", "%s", okret(open("d", O_RDONLY)));
	say("half known", "%s", ret(chmod("d", 0777)));
	say("mknod", "%s", ret(mknod("null", S_IFCHR | 0666, 0x103)));
	say("fifo", "%s", ret(mknod("fifo", S_IFIFO | 0666, 0)));
	say("trusted", "%s", ret(setxattr("mine", "trusted.x", "1", 1, 0)));
	say("unlink", "%s", ret(unlink("f")));
	say("access", "%s", ret(access("mine", R_OK | W_OK)));
	say("nice", "%s", ret(setpriority(0, 0, -5)));
	struct rlimit l = {1UL << 40, 1UL << 40};
	syscall(SYS_prlimit64, 0, 8, &(struct rlimit){65536, 65536}, NULL);
	say("rlimit", "%s", ret(syscall(SYS_prlimit64, 0, 8, &l, NULL)));
}

static void send_cred(int s)
{
	struct iovec v = {"x", 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	say("send", "%s", ret(sendmsg(s, &m, 0)));
}

static void receive_cred(const char *who, int s)
{
	char b[8], control[256];
	struct iovec v = {b, sizeof b};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	const char *r = ret(recvmsg(s, &m, 0));
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	if (!h) {
		say(who, "%s, no credentials", r);
		return;
	}
	struct ucred u;
	memcpy(&u, CMSG_DATA(h), sizeof u);
	say(who, "%s uid %d gid %d", r, u.uid, u.gid);
}

static void sockets(void)
{
	int s[2], on = 1;
	struct ucred u;
	socklen_t n = sizeof u;
	become(1000);
	say("pair", "%s", ret(socketpair(AF_UNIX, SOCK_DGRAM, 0, s)));
	setsockopt(s[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
	setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
	send_cred(s[0]);
	send_cred(s[0]);
	if (fork() == 0) {
		say("unshare", "%s", ret(unshare(CLONE_NEWUSER)));
		say("peer unmapped", "%s %d", ret(getsockopt(s[1], SOL_SOCKET, SO_PEERCRED, &u, &n)), u.uid);
		receive_cred("unmapped", s[1]);
		store("/proc/self/uid_map", "5 1000 1");
		say("peer", "%s %d %d", ret(getsockopt(s[1], SOL_SOCKET, SO_PEERCRED, &u, &n)), u.uid, u.gid);
		receive_cred("mapped", s[1]);
		send_cred(s[1]);
		_exit(0);
	}
	wait(NULL);
	receive_cred("outside", s[0]);
}

static void signals(void)
{
	sigset_t set;
	siginfo_t si;
	int up[2], down[2];
	char c;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	become(1000);
	pid_t outside = getpid();
	if (pipe(up) || pipe(down))
		return;
	pid_t pid = fork();
	if (pid == 0) {
		unshare(CLONE_NEWUSER);
		store("/proc/self/uid_map", "3 1000 1");
		say("kill parent", "%s", ret(kill(outside, SIGUSR1)));
		say("kill init", "%s", ret(kill(1, 0)));
		siginfo_t q = {.si_signo = SIGUSR1, .si_code = SI_QUEUE};
		q.si_uid = 3;
		say("queue", "%s", ret(syscall(SYS_rt_sigqueueinfo, outside, SIGUSR1, &q)));
		if (write(up[1], "x", 1) != 1 || sigwaitinfo(&set, &si) < 0)
			_exit(1);
		say("from outside", "%d code %d uid %d", si.si_signo, si.si_code, si.si_uid);
		if (read(down[0], &c, 1) != 1)
			_exit(1);
		_exit(0);
	}
	if (read(up[0], &c, 1) != 1)
		return;
	sigwaitinfo(&set, &si);
	say("from inside", "%d code %d uid %d", si.si_signo, si.si_code, si.si_uid);
	kill(pid, SIGUSR1);
	if (write(down[1], "x", 1) != 1)
		return;
	sigwaitinfo(&set, &si);
	say("child", "%d code %d uid %d", si.si_signo, si.si_code, si.si_uid);
	wait(NULL);
}

// others: what root of a namespace may do to processes outside and inside.
static void others(void)
{
	int up[2];
	char c, path[64], link[64];
	become(1000);
	if (pipe(up))
		return;
	pid_t pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) {
		store("/proc/self/uid_map", "0 1000 1");
		snprintf(path, sizeof path, "/proc/%d/exe", getppid());
		say("look at parent", "%s", okret(readlink(path, link, sizeof link)));
		snprintf(path, sizeof path, "/proc/%d/root/", getppid());
		say("enter parent", "%s", okret(open(path, O_RDONLY)));
		if (fork() == 0) {
			unshare(CLONE_NEWUSER);
			snprintf(path, sizeof path, "/proc/%d/exe", getppid());
			say("look up", "%s", okret(readlink(path, link, sizeof link)));
			_exit(0);
		}
		wait(NULL);
		if (write(up[1], "x", 1) != 1)
			_exit(1);
		pause();
	}
	if (read(up[0], &c, 1) != 1)
		return;
	snprintf(path, sizeof path, "/proc/%d/exe", pid);
	say("look at child", "%s", okret(readlink(path, link, sizeof link)));
	say("kill", "%s", ret(kill(pid, SIGKILL)));
	int st;
	wait(&st);
	say("child", "%s", status(st));
}

// deeper makes namespaces in each other until it is refused.
static void deeper(int depth)
{
	if (depth > 0)
		store("/proc/self/setgroups", "deny");
	if (depth > 0 && (store("/proc/self/uid_map", "0 0 1")[0] != '5' || store("/proc/self/gid_map", "0 0 1")[0] != '5')) {
		say("maps", "fail at %d", depth);
		return;
	}
	if (unshare(CLONE_NEWUSER)) {
		say("depth", "%d %s", depth, errname(errno));
		return;
	}
	deeper(depth + 1);
}

static void limits(void)
{
	if (fork() == 0) {
		deeper(0);
		_exit(0);
	}
	wait(NULL);
	unshare(CLONE_NEWUSER);
	store("/proc/self/uid_map", "0 0 1");
	store("/proc/self/gid_map", "0 0 1");
	say("inside", "%s", get("/proc/sys/user/max_uts_namespaces"));
	say("set", "%s", store("/proc/sys/user/max_uts_namespaces", "2\n"));
	say("read", "%s", get("/proc/sys/user/max_uts_namespaces"));
	say("negative", "%s", store("/proc/sys/user/max_uts_namespaces", "-1\n"));
	say("first", "%s", ret(unshare(CLONE_NEWUTS)));
	say("replaces it", "%s", ret(unshare(CLONE_NEWUTS)));
	say("replaces it", "%s", ret(unshare(CLONE_NEWUTS)));
	pid_t a = syscall(SYS_clone, CLONE_NEWUTS | SIGCHLD, 0, 0, 0, 0);
	if (a == 0) {
		pause();
		_exit(0);
	}
	say("second", "%s", okret(a));
	say("third", "%s", ret(unshare(CLONE_NEWUTS)));
	say("below", "%s", ret(unshare(CLONE_NEWUSER | CLONE_NEWUTS)));
	say("below alone", "%s", ret(unshare(CLONE_NEWUSER)));
	kill(a, SIGKILL);
	wait(NULL);
	say("from below", "%s", ret(unshare(CLONE_NEWUTS)));
	say("its limit", "%s", get("/proc/sys/user/max_uts_namespaces"));
	say("no root here", "%s", store("/proc/sys/user/max_uts_namespaces", "7\n"));
}

static const char *self;

// program runs the program again under another id of a namespace.
static void program(void)
{
	unshare(CLONE_NEWUSER);
	store("/proc/self/uid_map", "0 0 10");
	store("/proc/self/gid_map", "0 0 10");
	for (int id = 0; id < 3; id += 2)
		if (fork() == 0) {
			syscall(SYS_setresuid, id, id, id);
			say("before exec", "%d %s", id, caps());
			execl(self, self, "after-exec", NULL);
			_exit(1);
		} else
			wait(NULL);
}

static void after_exec(void)
{
	say("after exec", "%s %s", ids(), caps());
}

static void refusals(void)
{
	say("fs", "%s", ret(syscall(SYS_clone, CLONE_NEWUSER | CLONE_FS | SIGCHLD, 0, 0, 0, 0)));
	say("thread", "%s", ret(syscall(SYS_clone, CLONE_NEWUSER | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM, 0, 0, 0, 0)));
	mkdir("root", 0755);
	say("chroot", "%s", ret(chroot("root")));
	say("in a chroot", "%s", ret(unshare(CLONE_NEWUSER)));
	say("unknown", "%s", ret(unshare(0x40)));
	say("signal", "%s", ret(unshare(0x11)));
	say("settls", "%s", ret(unshare(CLONE_SETTLS)));
	say("all shared", "%s", ret(unshare(CLONE_THREAD | CLONE_SIGHAND | CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM)));
}

static const struct section table[] = {
	{"fresh", fresh}, {"plain-user", plain_user}, {"formats", formats}, {"by-parent", by_parent}, {"files", files},
	{"sockets", sockets}, {"signals", signals}, {"others", others}, {"limits", limits}, {"program", program},
	{"refusals", refusals},
};

int main(int argc, char **argv)
{
	self = realpath("/proc/self/exe", NULL);
	if (argc > 1 && !strcmp(argv[1], "after-exec")) {
		after_exec();
		return 0;
	}
	return guest_main(argc, argv, table, sizeof table / sizeof *table);
}
