// Namespaces of each kind: born in by clone, made by unshare, entered by setns; pid namespaces in
// each other and their inits.
#include "../guest/guest.h"
#include <sched.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

#define KINDS 8
static const char *const kinds[KINDS] = {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"};
static const int flags[KINDS] = {
	CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNS, CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWTIME, CLONE_NEWUSER, CLONE_NEWUTS,
};

struct clone3_args {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

static long clones(uint64_t f)
{
	struct clone3_args a = {.flags = f, .exit_signal = SIGCHLD};
	return syscall(SYS_clone3, &a, sizeof a);
}

// look notes which namespaces a process is in; with children set, which its children will be in.
static void look(const char *pid, int children, unsigned long ino[KINDS])
{
	for (int i = 0; i < KINDS; i++) {
		char path[64];
		const char *more = children && (flags[i] == CLONE_NEWPID || flags[i] == CLONE_NEWTIME) ? "_for_children" : "";
		struct stat st = {};
		snprintf(path, sizeof path, "/proc/%s/ns/%s%s", pid, kinds[i], more);
		stat(path, &st);
		ino[i] = st.st_ino;
	}
}

// differing names the kinds that are not the same.
static const char *differing(const unsigned long a[KINDS], const unsigned long b[KINDS])
{
	char *p = scratch();
	*p = 0;
	for (int i = 0; i < KINDS; i++)
		if (a[i] != b[i])
			strcat(strcat(p, *p ? " " : ""), kinds[i]);
	return p;
}

static unsigned long own[KINDS], other[KINDS];

static void born(void)
{
	look("self", 0, own);
	for (int i = 0; i <= KINDS; i++) {
		uint64_t f = i < KINDS ? flags[i] : CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWPID;
		long pid = clones(f);
		if (pid == 0) {
			// The links of a task in a new pid namespace are not below /proc/self.
			pause();
			_exit(0);
		}
		char name[16];
		snprintf(name, sizeof name, "%ld", pid);
		look(name, 0, other);
		say("born in", "%s", differing(own, other));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}

static void unshared(void)
{
	for (int i = 0; i < KINDS; i++)
		if (fork() == 0) {
			look("self", 1, own);
			say(kinds[i], "%s", ret(unshare(flags[i])));
			look("self", 1, other);
			say("differ", "%s", differing(own, other));
			look("self", 0, other);
			say("own differ", "%s", differing(own, other));
			_exit(0);
		} else
			wait(NULL);
	syscall(SYS_setresuid, 1000, 1000, 1000);
	for (int i = 0; i < KINDS; i++)
		say(kinds[i], "%s", ret(flags[i] == CLONE_NEWUSER ? 0 : unshare(flags[i])));
	say("with a user namespace", "%s", ret(unshare(CLONE_NEWUSER | CLONE_NEWUTS | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWTIME)));
}

static void entered(void)
{
	uint64_t all = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWCGROUP;
	long pid = clones(all | CLONE_NEWTIME);
	if (pid == 0) {
		pause();
		_exit(0);
	}
	char name[16], path[64];
	snprintf(name, sizeof name, "%ld", pid);
	look(name, 0, other);
	for (int i = 0; i < KINDS; i++)
		if (fork() == 0) {
			snprintf(path, sizeof path, "/proc/%ld/ns/%s", pid, kinds[i]);
			say(kinds[i], "%s", ret(setns(open(path, O_RDONLY), flags[i])));
			look("self", 1, own);
			say("differ yet", "%s", differing(own, other));
			_exit(0);
		} else
			wait(NULL);
	if (fork() == 0) {
		int fd = syscall(SYS_pidfd_open, pid, 0);
		say("one that is the same", "%s", ret(setns(fd, all | CLONE_NEWUSER)));
		look("self", 1, own);
		say("differ yet", "%s", differing(own, other));
		say("all", "%s", ret(setns(fd, all | CLONE_NEWTIME)));
		look("self", 1, own);
		say("differ yet", "%s", differing(own, other));
		_exit(0);
	} else
		wait(NULL);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

// deeper forks into ever deeper pid namespaces.
static void deeper(int depth)
{
	long pid = clones(CLONE_NEWPID);
	if (pid == 0) {
		deeper(depth + 1);
		_exit(0);
	}
	if (pid < 0) {
		char *s = strdup(get("/proc/self/status")), *n = s ? strstr(s, "NSpid:") : NULL;
		int levels = 0;
		for (; n && *n && *n != '\n'; n++)
			levels += *n == '\t';
		say("depth", "%d %s, own number %d, %d of them seen", depth, errname(errno), getpid(), levels);
		return;
	}
	waitpid(pid, NULL, 0);
}

static void nested(void)
{
	deeper(0);
}

static void ignoring(int s)
{
	(void)s;
}

static void inits(void)
{
	int up[2], down[2];
	char c;
	if (pipe(up) || pipe(down))
		return;
	long pid = clones(CLONE_NEWPID);
	if (pid == 0) {
		signal(SIGUSR1, ignoring);
		say("init", "%d of %d", getpid(), getppid());
		if (fork() == 0) {
			say("parent", "%d", getppid());
			say("term", "%s", ret(kill(1, SIGTERM)));
			say("kill", "%s", ret(kill(1, SIGKILL)));
			say("handled", "%s", ret(kill(1, SIGUSR1)));
			if (fork() == 0) {
				if (read(down[0], &c, 1) != 1)
					_exit(1);
				say("orphan's parent", "%d", getppid());
				if (write(up[1], "x", 1) != 1)
					_exit(1);
				pause();
			}
			_exit(5);
		}
		int st;
		while (wait(&st) < 0)
			;
		say("reaps", "%s", status(st));
		if (write(down[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	if (read(up[0], &c, 1) != 1)
		return;
	kill(pid, SIGTERM);
	sleep_ms(20);
	int st;
	say("alive", "%s", ret(waitpid(pid, &st, WNOHANG)));
	kill(pid, SIGKILL);
	waitpid(pid, &st, 0);
	say("killed from outside", "%s", status(st));
	close(up[1]);
	say("with all that were in it", "%s", ret(read(up[0], &c, 1)));
	unshare(CLONE_NEWPID);
	if (fork() == 0)
		_exit(0);
	wait(NULL);
	say("fork without init", "%s", ret(fork()));
}

static void refused(void)
{
	static const uint64_t bad[] = {
		CLONE_NEWNS | CLONE_FS, CLONE_NEWUSER | CLONE_FS, CLONE_NEWIPC | CLONE_SYSVSEM, CLONE_NEWPID | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM,
		CLONE_NEWUSER | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM,
	};
	look("self", 1, own);
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct clone3_args a = {.flags = bad[i], .exit_signal = bad[i] & CLONE_THREAD ? 0 : SIGCHLD};
		say("refused", "%u %s", i, ret(syscall(SYS_clone3, &a, sizeof a)));
	}
	unshare(CLONE_NEWPID);
	say("a pid namespace twice", "%s", ret(unshare(CLONE_NEWPID)));
	say("in a fork", "%s", ret(clones(CLONE_NEWPID | CLONE_NEWUTS)));
	syscall(SYS_setresuid, 1000, 1000, 1000);
	for (int i = 0; i < KINDS; i++)
		if (flags[i] != CLONE_NEWUSER)
			say(kinds[i], "%s", ret(clones(flags[i])));
	look("self", 1, other);
	own[4] = other[4];
	say("nothing changed", "%s", differing(own, other));
}

static const struct section table[] = {
	{"L01_namespaces", born}, {"L02_namespaces", refused}, {"L04_depth", nested}, {"L04_inits", inits}, {"L10_unshare", unshared},
	{"L10_setns", entered},
};

GUEST(table)
