// What limits count of a user across user namespaces, and the ABI that children have.
#include "../guest/guest.h"
#include <sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>

// USER is an id that nobody else here has.
#define USER 54341

// stays lives as long as its parent.
static void stays(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0); // it has gone already
	for (;;)
		pause();
}

static void soft(int which, rlim_t n)
{
	struct rlimit r = {n, 20};
	if (setrlimit(which, &r))
		say("setrlimit", "%s", errname(errno));
}

// fresh enters a user namespace where the caller keeps its ids.
static const char *fresh(void)
{
	char uid[64], gid[64];
	snprintf(uid, sizeof uid, "%d %d 1", getuid(), getuid());
	snprintf(gid, sizeof gid, "%d %d 1", getgid(), getgid());
	if (unshare(CLONE_NEWUSER))
		return errname(errno);
	put("/proc/self/uid_map", uid);
	put("/proc/self/setgroups", "deny");
	put("/proc/self/gid_map", gid);
	return "ok";
}

static pid_t kids[32];

// forks makes children until there can be no more.
static int forks(void)
{
	int n = 0;
	pid_t me = getpid();
	while (n < 32 && (kids[n] = fork()) > 0)
		n++;
	if (n < 32 && kids[n] == 0)
		stays(me);
	return n;
}

static void ends(int n)
{
	int e = errno;
	for (int i = 0; i < n; i++) {
		kill(kids[i], SIGKILL);
		waitpid(kids[i], NULL, 0);
	}
	errno = e;
}

static void report(const char *what)
{
	int n = forks();
	ends(n);
	say(what, "%d %s", n, errname(errno));
}

// as_user runs fn in a child that is an ordinary user.
static void as_user(void (*fn)(void))
{
	pid_t p = fork();
	int st;
	if (p == 0) {
		if (setgid(USER) || setuid(USER))
			_exit(99);
		prctl(PR_SET_DUMPABLE, 1);
		fn();
		_exit(0);
	}
	waitpid(p, &st, 0);
	say("all", "%s", status(st));
}

// in_child runs fn in a child that is waited for.
static void in_child(void (*fn)(void))
{
	pid_t p = fork();
	int st;
	if (p == 0) {
		fn();
		_exit(0);
	}
	if (p < 0 || waitpid(p, &st, 0) != p)
		say("child", "%s", errname(errno));
	else if (st)
		say("child", "%s", status(st));
}

static void inner(void)
{
	say("unshare", "%s", fresh());
	report("in a namespace");
	soft(RLIMIT_NPROC, 20);
	report("with a higher limit");
	say("again", "%s", fresh());
	report("in a namespace of that");
	soft(RLIMIT_NPROC, 3);
	report("with a lower limit");
}

static void outer(void)
{
	soft(RLIMIT_NPROC, 6);
	report("outside");
	in_child(inner);
	report("afterwards");
}

static void many(void)
{
	say("unshare", "%s", fresh());
	soft(RLIMIT_NPROC, 20);
	int n = forks();
	say("inside", "%d %s", n, errname(errno));
	kill(getppid(), SIGUSR1);
	stays(getppid());
}

// below fills its limit in a namespace; the processes there count outside.
static void below(void)
{
	sigset_t usr1;
	int s;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, NULL);
	soft(RLIMIT_NPROC, 8);
	pid_t p = fork();
	if (p == 0)
		many();
	sigwait(&usr1, &s);
	say("outside", "%s", ret(fork()));
	soft(RLIMIT_NPROC, 10);
	report("with a higher limit");
	kill(p, SIGKILL);
	while (wait(NULL) > 0)
		;
}

static int child_of_clone(void *arg)
{
	(void)arg;
	report("born in a namespace");
	return 0;
}

static void born(void)
{
	static char stack[65536] __attribute__((aligned(64)));
	soft(RLIMIT_NPROC, 4);
	pid_t p = clone(child_of_clone, stack + sizeof stack, CLONE_NEWUSER | SIGCHLD, NULL);
	int st;
	say("child", "%s", p > 0 && waitpid(p, &st, 0) == p ? status(st) : errname(errno));
	soft(RLIMIT_NPROC, 1);
	say("over the limit", "%s", ret(clone(child_of_clone, stack + sizeof stack, CLONE_NEWUSER | SIGCHLD, NULL)));
}

static void tasks(void)
{
	as_user(outer);
	as_user(below);
	as_user(born);
}

// A root's namespace has no limit but its own.
static void roots(void)
{
	struct rlimit r = {3, 20};
	setrlimit(RLIMIT_NPROC, &r);
	say("unshare", "%s", fresh());
	report("root's namespace");
}

// queue queues signals to itself until there can be no more.
static void queue(const char *what)
{
	sigset_t all;
	int n = 0;
	siginfo_t info;
	struct timespec none = {0};
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	while (n < 64 && sigqueue(getpid(), SIGRTMIN, (union sigval){0}) == 0)
		n++;
	say(what, "%d %s", n, errname(errno));
	while (sigtimedwait(&all, &info, &none) > 0)
		;
}

static void queue_inside(void)
{
	say("unshare", "%s", fresh());
	queue("in a namespace");
	soft(RLIMIT_SIGPENDING, 20);
	queue("with a higher limit");
	soft(RLIMIT_SIGPENDING, 3);
	queue("with a lower limit");
}

static void queue_outside(void)
{
	soft(RLIMIT_SIGPENDING, 5);
	queue("outside");
	in_child(queue_inside);
	for (int i = 0; i < 2; i++)
		sigqueue(getpid(), SIGRTMIN, (union sigval){0});
	in_child(queue_inside);
}

static void signals(void)
{
	as_user(queue_outside);
}

static int shown(void *name)
{
	say(name, "%#x", personality(0xffffffff));
	return 0;
}

static void personalities(void)
{
	static char stack[65536] __attribute__((aligned(64)));
	static const struct { const char *name; int flags; } kinds[] = {
		{"fork", SIGCHLD}, {"vfork", CLONE_VM | CLONE_VFORK | SIGCHLD}, {"sharing", CLONE_VM | CLONE_FS | CLONE_FILES | SIGCHLD},
		{"thread", CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_VFORK},
	};
	say("before", "%#x", personality(ADDR_NO_RANDOMIZE | MMAP_PAGE_ZERO | SHORT_INODE));
	for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		pid_t p = clone(shown, stack + sizeof stack, kinds[i].flags, (void *)kinds[i].name);
		if (p < 0)
			say(kinds[i].name, "%s", errname(errno));
		waitpid(p, NULL, 0);
	}
	pid_t p = fork();
	if (p == 0) {
		personality(ADDR_NO_RANDOMIZE);
		shown("the child's own");
		_exit(0);
	}
	waitpid(p, NULL, 0);
	shown("the parent's");
}

static const struct section table[] = {
	{"N21_personality", personalities},
	{"L07_user_namespaces", tasks},
	{"L07_roots_namespace", roots},
	{"L07_signals_in_user_namespaces", signals},
};
GUEST(table)
