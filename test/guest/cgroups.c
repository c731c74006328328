// Control groups: files, moving, limits of the tree, kill and freeze, who may.
#include "guest.h"
#include "cgroup.h"
#include <poll.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/ptrace.h>

static void pauses(void)
{
	for (;;)
		pause();
}

static pid_t sleeper(void)
{
	pid_t pid = fork();
	if (pid == 0)
		pauses();
	return pid;
}

static void ends(pid_t pid)
{
	int st;
	kill(pid, SIGKILL);
	waitpid(pid, &st, 0);
}

static void files(void)
{
	begin();
	static const char *const names[] = {
		"cgroup.controllers", "cgroup.events", "cgroup.freeze", "cgroup.kill", "cgroup.max.depth", "cgroup.max.descendants",
		"cgroup.procs", "cgroup.stat", "cgroup.subtree_control", "cgroup.threads", "cgroup.type",
	};
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		struct stat st;
		char path[128];
		say(names[i], "%s", stat(in(names[i]), &st) ? errname(errno) : "there");
		say("mode", "%o", st.st_mode);
		snprintf(path, sizeof path, "%s/%s", base, names[i]);
		say("in the root", "%s", access(path, F_OK) ? errname(errno) : "there");
	}
	say("type", "%s", get(in("cgroup.type")));
	say("events", "%s", get(in("cgroup.events")));
	say("max", "%s", get(in("cgroup.max.depth")));
	say("freeze", "%s", get(in("cgroup.freeze")));
	say("procs", "%s", get(in("cgroup.procs")));
	say("read kill", "%s", ret(open(in("cgroup.kill"), O_RDONLY) < 0 ? -1 : 0));
	say("a file's name", "%s", ret(mkdir(in("cgroup.procs"), 0755)));
	say("two lines", "%s", ret(mkdir(in("a\nb"), 0755)));
	say("make", "%s", ret(mkdir(in("a"), 0700)));
	say("again", "%s", ret(mkdir(in("a"), 0755)));
	say("unlink", "%s", ret(unlink(in("cgroup.procs"))));
	say("rmdir file", "%s", ret(rmdir(in("cgroup.procs"))));
	struct stat st;
	stat(own, &st);
	say("links", "%d", (int)st.st_nlink);
	stat(in("a"), &st);
	say("mode of a", "%o", st.st_mode);
	say("stat", "%.18s", get(in("cgroup.stat")));
	int fd = open(in("a/cgroup.type"), O_RDONLY), dir = open(in("a"), O_RDONLY | O_DIRECTORY);
	char buf[16];
	say("remove", "%s", ret(rmdir(in("a"))));
	say("read of removed", "%s", ret(read(fd, buf, sizeof buf)));
	say("open in removed", "%s", ret(openat(dir, "cgroup.type", O_RDONLY)));
	say("make in removed", "%s", ret(mkdirat(dir, "b", 0755)));
	leave_all();
	say("left", "%s", access(own, F_OK) ? errname(errno) : "there");
}

static void moving(void)
{
	begin();
	mkdir(in("a"), 0755);
	mkdir(in("b"), 0755);
	pid_t pid = sleeper();
	char proc[64];
	snprintf(proc, sizeof proc, "/proc/%d/cgroup", pid);
	say("attach", "%s", attach("a/cgroup.procs", pid));
	say("is in", "%s", where(proc));
	say("members", "%d", members("a/cgroup.procs"));
	say("threads", "%d", members("a/cgroup.threads"));
	say("of the parent", "%d", members("cgroup.procs"));
	say("rmdir", "%s", ret(rmdir(in("a"))));
	say("events", "%s", get(in("a/cgroup.events")));
	say("of the parent", "%s", get(in("cgroup.events")));
	say("other", "%s", attach("b/cgroup.procs", pid));
	say("is in", "%s", where(proc));
	say("thread to the same", "%s", attach("b/cgroup.threads", pid));
	say("thread elsewhere", "%s", attach("a/cgroup.threads", pid));
	static const char *const bad[] = {"", "x", "-1", "99999999", "1 2", "0x"};
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		say("text", "'%s' %s", bad[i], store("a/cgroup.procs", bad[i]));
	}
	say("self", "%s", store("a/cgroup.procs", "0\n"));
	say("self is in", "%s", where("/proc/self/cgroup"));
	kill(pid, SIGKILL);
	siginfo_t si;
	waitid(P_PID, pid, &si, WEXITED | WNOWAIT);
	say("zombie's", "%s", where(proc));
	say("members with a zombie", "%d", members("b/cgroup.procs"));
	say("move a zombie", "%s", attach("a/cgroup.procs", pid));
	say("rmdir under a zombie", "%s", ret(rmdir(in("b"))));
	say("zombie's", "%s", where(proc));
	waitpid(pid, NULL, 0);
	leave_all();
}

static void tree(void)
{
	begin();
	say("depth", "%s", store("cgroup.max.depth", "1"));
	say("one", "%s", ret(mkdir(in("a"), 0755)));
	say("two", "%s", ret(mkdir(in("a/b"), 0755)));
	say("no bound", "%s", store("cgroup.max.depth", "max"));
	say("two", "%s", ret(mkdir(in("a/b"), 0755)));
	say("descendants", "%s", store("cgroup.max.descendants", "2"));
	say("three", "%s", ret(mkdir(in("a/c"), 0755)));
	say("stat", "%.18s", get(in("cgroup.stat")));
	static const char *const bad[] = {"", "x", "-1", "2147483647", "2147483648", "99999999999999999999", "1 2", "0x10"};
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		say("depth", "'%s' %s", bad[i], store("cgroup.max.depth", bad[i]));
	}
	say("depth", "%s", get(in("cgroup.max.depth")));
	say("not empty", "%s", ret(rmdir(in("a"))));
	say("type", "%s", store("cgroup.type", "domain"));
	say("control", "%s", store("cgroup.subtree_control", "+nonsense"));
	say("nothing", "%s", store("cgroup.subtree_control", " "));
	say("rename", "%s", ret(rename(in("a"), in("d"))) ? "done" : "");
	leave_all();
}

static int waits(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLPRI};
	return poll(&p, 1, 60000) == 1 ? p.revents : 0;
}

static void events(void)
{
	begin();
	mkdir(in("a"), 0755);
	char buf[64];
	int fd = open(in("cgroup.events"), O_RDONLY);
	struct pollfd p = {.fd = fd, .events = POLLPRI | POLLIN};
	say("at first", "%#x", poll(&p, 1, 0) ? p.revents : 0);
	pid_t pid = sleeper();
	attach("a/cgroup.procs", pid);
	say("populated", "%#x", waits(fd));
	lseek(fd, 0, SEEK_SET);
	say("read", "%d", (int)read(fd, buf, sizeof buf));
	p.events = POLLPRI;
	say("then", "%#x", poll(&p, 1, 0) ? p.revents : 0);
	ends(pid);
	say("empty", "%#x", waits(fd));
	say("events", "%s", get(in("cgroup.events")));
	leave_all();
}

static void kills(void)
{
	begin();
	mkdir(in("a"), 0755);
	mkdir(in("a/b"), 0755);
	pid_t p = sleeper(), q = sleeper(), r = sleeper();
	attach("a/cgroup.procs", p);
	attach("a/b/cgroup.procs", q);
	attach("cgroup.procs", r);
	static const char *const bad[] = {"", "0", "2", "x"};
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		say("text", "'%s' %s", bad[i], store("a/cgroup.kill", bad[i]));
	}
	say("kill", "%s", store("a/cgroup.kill", "1"));
	int st;
	waitpid(p, &st, 0);
	say("in it", "%s", status(st));
	waitpid(q, &st, 0);
	say("below", "%s", status(st));
	say("above", "%s", ret(waitpid(r, &st, WNOHANG)));
	ends(r);
	leave_all();
}

// counts shows whether a process that counts goes on.
static volatile int *counter;

static int counting(void)
{
	int before = *counter;
	sleep_ms(60);
	return *counter != before;
}

static void leaves(int sig)
{
	(void)sig;
	_exit(5);
}

static void freezes(void)
{
	begin();
	mkdir(in("a"), 0755);
	counter = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = fork();
	if (pid == 0)
		for (signal(SIGUSR1, leaves);; sleep_ms(1))
			++*counter;
	pid_t idle = sleeper(), other = sleeper();
	attach("a/cgroup.procs", pid);
	attach("a/cgroup.procs", idle);
	attach("a/cgroup.procs", other);
	char buf[64];
	int fd = open(in("a/cgroup.events"), O_RDONLY);
	say("read", "%d", (int)read(fd, buf, sizeof buf));
	for (int i = 0; i < 500 && !counting(); i++)
		;
	say("before", "%s", yes(*counter > 0));
	static const char *const bad[] = {"", "2", "x"};
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		say("text", "'%s' %s", bad[i], store("a/cgroup.freeze", bad[i]));
	}
	say("freeze", "%s", store("cgroup.freeze", "1"));
	say("told", "%#x", waits(fd));
	say("events", "%s", get(in("a/cgroup.events")));
	say("its own", "%s", get(in("a/cgroup.freeze")));
	say("frozen", "%s", yes(counting()));
	kill(pid, SIGUSR1);
	say("a signal waits", "%s", ret(waitpid(pid, NULL, WNOHANG)));
	kill(idle, SIGKILL);
	int st;
	waitpid(idle, &st, 0);
	say("killed", "%s", status(st));
	kill(other, SIGTERM);
	waitpid(other, &st, 0);
	say("ended", "%s", status(st));
	say("thaw", "%s", store("cgroup.freeze", "0"));
	waitpid(pid, &st, 0);
	say("the signal", "%s", status(st));
	say("a child is born frozen", "%s", store("a/cgroup.freeze", "1"));
	say("empty", "%s", get(in("a/cgroup.events")));
	fd = open(in("a"), O_RDONLY | O_DIRECTORY);
	*counter = 0;
	pid = clone_into(0, fd);
	if (pid == 0) {
		*counter = 1;
		_exit(3);
	}
	sleep_ms(60);
	say("ran", "%d", *counter);
	store("a/cgroup.freeze", "0");
	waitpid(pid, &st, 0);
	say("ends", "%s", status(st));
	leave_all();
}

// until waits for a file's line to be there.
static const char *until(const char *name, const char *line)
{
	for (int i = 0; i < 3000 && !has_line(in(name), line); i++)
		sleep_ms(10);
	return has_line(in(name), line) ? "yes" : "no";
}

// standing freezes those that stand still for other reasons.
static void standing(void)
{
	begin();
	mkdir(in("a"), 0755);
	pid_t stopped = sleeper(), traced = sleeper();
	int st;
	kill(stopped, SIGSTOP);
	waitpid(stopped, &st, WUNTRACED);
	ptrace(PTRACE_ATTACH, traced, 0, 0);
	waitpid(traced, &st, 0);
	attach("a/cgroup.procs", stopped);
	attach("a/cgroup.procs", traced);
	pid_t parent = fork();
	if (parent == 0) {
		store("a/cgroup.procs", "0");
		if (vfork() == 0)
			pauses();
		_exit(0);
	}
	for (int i = 0; i < 3000 && members("a/cgroup.procs") < 4; i++)
		sleep_ms(10);
	say("members", "%d", members("a/cgroup.procs"));
	say("freeze", "%s", store("a/cgroup.freeze", "1"));
	say("all stand", "%s", until("a/cgroup.events", "frozen 1"));
	kill(stopped, SIGCONT);
	sleep_ms(50);
	say("continued", "%s", until("a/cgroup.events", "frozen 1"));
	say("kill", "%s", store("a/cgroup.kill", "1"));
	say("empty", "%s", until("a/cgroup.events", "populated 0"));
	while (wait(NULL) > 0)
		;
	leave_all();
}

// delegates has a user do things in a group that is his, and in others.
static void delegates(void)
{
	begin();
	mkdir(in("a"), 0755);
	mkdir(in("a/b"), 0755);
	mkdir(in("c"), 0755);
	static const char *const theirs[] = {"a", "a/cgroup.procs", "a/cgroup.subtree_control", "a/b", "a/b/cgroup.procs"};
	for (unsigned i = 0; i < sizeof theirs / sizeof *theirs; i++)
		say("chown", "%s", ret(chown(in(theirs[i]), 1000, 1000)));
	pid_t outside = sleeper(), inside = sleeper();
	attach("a/cgroup.procs", inside);
	pid_t user = fork();
	if (user == 0) {
		attach("a/cgroup.procs", 0);
		setresgid(1000, 1000, 1000);
		setresuid(1000, 1000, 1000);
		say("within", "%s", attach("a/b/cgroup.procs", getpid()));
		say("another's process", "%s", attach("a/b/cgroup.procs", inside));
		say("from outside", "%s", attach("a/b/cgroup.procs", outside));
		say("not his file", "%s", attach("c/cgroup.procs", getpid()));
		say("make", "%s", ret(mkdir(in("a/d"), 0755)));
		say("make elsewhere", "%s", ret(mkdir(in("c/d"), 0755)));
		struct stat st;
		say("his", "%s", stat(in("a/d/cgroup.procs"), &st) ? errname(errno) : st.st_uid == 1000 ? "yes" : "no");
		say("into his", "%s", is_born(0, open(in("a/d"), O_RDONLY | O_DIRECTORY)));
		say("into another", "%s", is_born(0, open(in("c"), O_RDONLY | O_DIRECTORY)));
		say("kill", "%s", store("a/cgroup.kill", "1"));
		_exit(0);
	}
	waitpid(user, NULL, 0);
	ends(inside);
	ends(outside);
	leave_all();
}

static void views(void)
{
	begin();
	mkdir(in("a"), 0755);
	mkdir(in("a/b"), 0755);
	store("a/cgroup.procs", "0");
	char proc[64];
	pid_t pid = sleeper();
	snprintf(proc, sizeof proc, "/proc/%d/cgroup", pid);
	int old = open("/proc/self/ns/cgroup", O_RDONLY);
	struct stat s, t;
	fstat(old, &s);
	say("unshare", "%s", ret(unshare(CLONE_NEWCGROUP)));
	stat("/proc/self/ns/cgroup", &t);
	say("another", "%s", yes(s.st_ino != t.st_ino));
	say("self", "%s", where("/proc/self/cgroup"));
	attach("a/b/cgroup.procs", pid);
	say("below", "%s", where(proc));
	attach("cgroup.procs", pid);
	say("above", "%s", where(proc));
	ends(pid);
	pid = sleeper();
	snprintf(proc, sizeof proc, "/proc/%d/ns/cgroup", pid);
	stat(proc, &s);
	say("inherited", "%s", yes(s.st_ino == t.st_ino));
	int fd = pidfd_open(pid, 0);
	ends(pid);
	mkdir("m", 0755);
	say("private", "%s", ret(unshare(CLONE_NEWNS)));
	mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	say("mount", "%s", ret(mount("none", "m", "cgroup2", 0, NULL)));
	say("the root of it", "%s", get("m/cgroup.type"));
	say("what is in it", "%s", access("m/b", F_OK) ? errname(errno) : "b");
	umount("m");
	say("setns", "%s", ret(setns(old, CLONE_NEWCGROUP)));
	say("of the dead", "%s", ret(setns(fd, CLONE_NEWCGROUP)));
	say("self", "%s", where("/proc/self/cgroup"));
	int st;
	pid = clone_into(CLONE_NEWCGROUP, open(in("a/b"), O_RDONLY | O_DIRECTORY));
	if (pid == 0) {
		say("new namespace, other group", "%s", where("/proc/self/cgroup"));
		_exit(0);
	}
	waitpid(pid, &st, 0);
	say("ends", "%s", status(st));
	leave_all();
}

static const struct section table[] = {
	{"files", files}, {"moving", moving}, {"tree", tree}, {"events", events}, {"kills", kills},
	{"freezes", freezes}, {"standing", standing}, {"delegates", delegates}, {"views", views},
};
GUEST(table)
