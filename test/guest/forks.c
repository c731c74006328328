// The ways to make a process or thread: fork, vfork, clone with its flags, clone3;
// what is shared, what is copied, and the identifiers they store.
#include "guest.h"
#include <linux/futex.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define STACK 65536
static char stack[STACK] __attribute__((aligned(64)));
static volatile int shared = 1;
static volatile pid_t tid1, tid2;

static pid_t start(int (*fn)(void *), int flags, void *arg)
{
	return clone(fn, stack + STACK, flags, arg, &tid1, NULL, &tid2);
}

static const char *ended(pid_t pid)
{
	int st;
	if (pid < 0)
		return errname(errno);
	return waitpid(pid, &st, __WALL) == pid ? status(st) : errname(errno);
}

// used_ms is the processor time of the process.
static long used_ms(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
}

static void forks(void)
{
	shared = 1;
	pid_t me = getpid(), p = fork();
	if (p == 0) {
		shared = 2;
		_exit(getppid() == me && getpid() != me && getpid() == syscall(SYS_gettid) ? 3 : 4);
	}
	say("fork", "%s", ended(p));
	say("memory copied", "%d", shared);
	p = fork();
	if (p == 0) {
		for (int i = 0; i < 20; i++) {
			pid_t q = fork();
			if (q) {
				int st;
				waitpid(q, &st, 0);
				_exit(WEXITSTATUS(st) + 1);
			}
		}
		_exit(0);
	}
	say("chain of 20", "%s", ended(p));
	int n = 0;
	for (int i = 0; i < 50; i++)
		if (fork() == 0) {
			sleep_ms(10);
			_exit(1);
		}
	int st;
	while (wait(&st) > 0)
		n += WEXITSTATUS(st);
	say("fifty at once", "%d", n);
	// What fork does not inherit.
	alarm(100);
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	sigprocmask(SIG_BLOCK, &s, NULL);
	raise(SIGUSR1);
	if (fork() == 0) {
		sigset_t pend, mask;
		sigpending(&pend);
		sigprocmask(SIG_BLOCK, NULL, &mask);
		_exit(sigismember(&pend, SIGUSR1) + 2 * sigismember(&mask, SIGUSR1) + 4 * (alarm(0) != 0));
	}
	wait(&st);
	say("pending, mask, alarm", "%s", status(st));
	// A child has not computed for longer than it is there, its parent has.
	while (used_ms() < 200)
		;
	int64_t from = now_ms();
	if (fork() == 0) {
		long used = used_ms();
		_exit(used > now_ms() - from + 10);
	}
	wait(&st);
	say("usage starts afresh", "%s", status(st));
	alarm(0);
}

static void vforks(void)
{
	volatile int order = 0;
	shared = 1;
	pid_t p = vfork();
	if (p == 0) {
		shared = 7;
		order = 1;
		_exit(5);
	}
	say("memory shared", "%d %d", shared, order);
	say("vfork", "%s", ended(p));
	volatile int64_t t = now_ms();
	p = vfork();
	if (p == 0) {
		struct timespec d = {0, 60 * MS};
		syscall(SYS_nanosleep, &d, NULL);
		_exit(0);
	}
	say("parent waited", "%s", yes(now_ms() - t >= 60));
	ended(p);
	int in[2], st;
	if (pipe2(in, O_CLOEXEC))
		return;
	p = vfork();
	if (p == 0) {
		dup2(in[0], 0);
		execl("/bin/cat", "cat", (char *)0);
		_exit(1);
	}
	say("until exec only", "%s", yes(waitpid(p, &st, WNOHANG) == 0));
	close(in[1]);
	say("child", "%s", ended(p));
	p = vfork();
	if (p == 0) {
		execl("/no/such/file", "x", (char *)0);
		_exit(errno == ENOENT ? 6 : 7);
	}
	say("exec failed", "%s", ended(p));
	p = vfork();
	if (p == 0) {
		kill(getpid(), SIGKILL);
		_exit(1);
	}
	say("killed", "%s", ended(p));
	say("after all", "%d", shared);
}

static int sets_shared(void *arg)
{
	shared = (int)(long)arg;
	_exit(0);
}

static int opens(void *arg)
{
	(void)arg;
	_exit(dup2(1, 77) == 77 ? 0 : 1);
}

static int changes_dir(void *arg)
{
	(void)arg;
	umask(0555);
	_exit(chdir("/"));
}

static void handler(int s)
{
	(void)s;
}

static int acts(void *arg)
{
	(void)arg;
	signal(SIGUSR2, handler);
	_exit(0);
}

static int parent_of(void *arg)
{
	_exit(getppid() == *(pid_t *)arg ? 1 : 2);
}

static int makes_sibling(void *arg)
{
	static char second[STACK] __attribute__((aligned(64)));
	pid_t p = clone(parent_of, second + STACK, CLONE_PARENT | SIGCHLD, arg);
	_exit(p > 0 && waitpid(p, NULL, WNOHANG) == -1 && errno == ECHILD ? 0 : 1);
}

static void clones(void)
{
	shared = 1;
	say("plain", "%s %d", ended(start(sets_shared, SIGCHLD, (void *)5)), shared);
	say("CLONE_VM", "%s %d", ended(start(sets_shared, CLONE_VM | SIGCHLD, (void *)6)), shared);
	say("CLONE_VFORK", "%s", ended(start(sets_shared, CLONE_VM | CLONE_VFORK | SIGCHLD, (void *)7)));
	say("no CLONE_FILES", "%s %s", ended(start(opens, SIGCHLD, NULL)), ret(fcntl(77, F_GETFD)));
	say("CLONE_FILES", "%s %s", ended(start(opens, CLONE_FILES | SIGCHLD, NULL)), ret(fcntl(77, F_GETFD)));
	char a[4096], b[4096];
	umask(022);
	if (!getcwd(a, sizeof a))
		return;
	say("no CLONE_FS", "%s %s", ended(start(changes_dir, SIGCHLD, NULL)), yes(!strcmp(getcwd(b, sizeof b), a)));
	say("CLONE_FS", "%s %s %03o", ended(start(changes_dir, CLONE_FS | SIGCHLD, NULL)), getcwd(b, sizeof b), umask(022));
	chdir(a);
	struct sigaction sa;
	say("no CLONE_SIGHAND", "%s", ended(start(acts, CLONE_VM | SIGCHLD, NULL)));
	sigaction(SIGUSR2, NULL, &sa);
	say("own actions", "%s", yes(sa.sa_handler == SIG_DFL));
	say("CLONE_SIGHAND", "%s", ended(start(acts, CLONE_VM | CLONE_SIGHAND | SIGCHLD, NULL)));
	sigaction(SIGUSR2, NULL, &sa);
	say("same actions", "%s", yes(sa.sa_handler == handler));
	say("CLONE_SIGHAND without CLONE_VM", "%s", ended(start(acts, CLONE_SIGHAND | SIGCHLD, NULL)));
	say("CLONE_THREAD without SIGHAND", "%s", ended(start(acts, CLONE_THREAD | CLONE_VM | SIGCHLD, NULL)));
	say("CLONE_FS with NEWNS", "%s", ended(start(acts, CLONE_FS | CLONE_NEWNS | SIGCHLD, NULL)));
	pid_t me = getpid(), p = start(makes_sibling, SIGCHLD, &me);
	say("CLONE_PARENT, maker", "%s", ended(p));
	int st;
	say("CLONE_PARENT, sibling", "%s %s", yes(wait(&st) > 0), status(st));
}

static int writes_tid(void *arg)
{
	(void)arg;
	_exit(tid2 == syscall(SYS_gettid) ? 0 : 1);
}

// waits_for is a thread that ends a little after the word is set.
static int waits_for(void *word)
{
	struct timespec t = {0, 5 * MS};
	do
		syscall(SYS_nanosleep, &t, NULL);
	while (!*(volatile int *)word);
	syscall(SYS_exit, 0);
	return 0;
}

static void identifiers(void)
{
	tid1 = tid2 = 0;
	pid_t p = start(writes_tid, CLONE_PARENT_SETTID | SIGCHLD, NULL);
	say("CLONE_PARENT_SETTID", "%s %d", yes(tid1 == p), tid2);
	ended(p);
	tid1 = tid2 = 0;
	p = start(writes_tid, CLONE_CHILD_SETTID | SIGCHLD, NULL);
	say("CLONE_CHILD_SETTID", "%s %d %d", ended(p), tid1, tid2);
	p = start(writes_tid, CLONE_CHILD_SETTID | CLONE_VM | SIGCHLD, NULL);
	say("... in shared memory", "%s %s", ended(p), yes(tid2 == p));
	// The word is cleared and woken when the thread ends.
	tid2 = 0;
	int seen = 0;
	p = start(waits_for, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID, &seen);
	say("thread", "%s %s", okret(p), yes(tid1 == p));
	while (tid2 == 0)
		;
	say("its word", "%s", yes(tid2 == p));
	seen = 1;
	struct timespec t = {20, 0};
	long woken = syscall(SYS_futex, &tid2, FUTEX_WAIT, p, &t, NULL, 0);
	say("futex wait", "%s", woken && errno == EAGAIN ? ret(0) : ret(woken)); // EAGAIN: it ended before
	say("cleared", "%d", tid2);
	say("thread is not waited for", "%s", ret(waitpid(p, NULL, __WALL)));
	say("set_tid_address", "%s", yes(syscall(SYS_set_tid_address, &tid2) == getpid()));
	say("bad parent pointer", "%s", ended(clone(writes_tid, stack + STACK, CLONE_PARENT_SETTID | SIGCHLD, NULL, (void *)8)));
}

static long clone3(struct clone_args *a, size_t n)
{
	return syscall(SYS_clone3, a, n);
}

// made runs clone3 with the given arguments; the child leaves with 9.
static const char *made(struct clone_args a)
{
	long p = clone3(&a, sizeof a);
	if (p == 0)
		_exit(9);
	return p < 0 ? errname(errno) : ended(p);
}

static void clone3s(void)
{
	say("plain", "%s", made((struct clone_args){.exit_signal = SIGCHLD}));
	say("no exit signal", "%s", made((struct clone_args){0}));
	say("vfork", "%s", made((struct clone_args){.flags = CLONE_VFORK, .exit_signal = SIGCHLD}));
	say("exit signal in flags", "%s", made((struct clone_args){.flags = SIGCHLD}));
	say("exit signal 65", "%s", made((struct clone_args){.exit_signal = 65}));
	say("unknown flag", "%s", made((struct clone_args){.flags = 1UL << 50, .exit_signal = SIGCHLD}));
	say("CLONE_DETACHED", "%s", made((struct clone_args){.flags = 0x00400000, .exit_signal = SIGCHLD}));
	say("stack without size", "%s", made((struct clone_args){.stack = (uintptr_t)stack, .exit_signal = SIGCHLD}));
	say("size without stack", "%s", made((struct clone_args){.stack_size = STACK, .exit_signal = SIGCHLD}));
	say("stack nowhere", "%s", made((struct clone_args){.stack = 0xffff800000000000UL, .stack_size = STACK, .exit_signal = SIGCHLD}));
	say("thread with exit signal", "%s", made((struct clone_args){.flags = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, .exit_signal = SIGCHLD}));
	say("sighand without vm", "%s", made((struct clone_args){.flags = CLONE_SIGHAND, .exit_signal = SIGCHLD}));
	say("clear with sighand", "%s", made((struct clone_args){.flags = CLONE_SIGHAND | CLONE_VM | CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD}));
	say("set_tid size without array", "%s", made((struct clone_args){.set_tid_size = 1, .exit_signal = SIGCHLD}));
	say("set_tid too many", "%s", made((struct clone_args){.set_tid = (uintptr_t)stack, .set_tid_size = 99, .exit_signal = SIGCHLD}));
	struct clone_args a = {.exit_signal = SIGCHLD};
	say("size 63", "%s", ret(clone3(&a, 63)));
	say("size over a page", "%s", ret(clone3(&a, 5000)));
	say("bad pointer", "%s", ret(clone3((void *)8, sizeof a)));
	struct {
		struct clone_args a;
		uint64_t more[2];
	} big = {.a = {.exit_signal = SIGCHLD}};
	long p = clone3(&big.a, sizeof big);
	if (p == 0)
		_exit(8);
	say("longer, zero tail", "%s", ended(p));
	big.more[1] = 1;
	say("longer, set tail", "%s", ret(clone3(&big.a, sizeof big)));
	p = clone3(&a, 64);
	if (p == 0)
		_exit(7);
	say("first version", "%s", ended(p));
	int pidfd = -1;
	a = (struct clone_args){.flags = CLONE_PIDFD, .pidfd = (uintptr_t)&pidfd, .exit_signal = SIGCHLD};
	p = clone3(&a, sizeof a);
	if (p == 0)
		_exit(6);
	say("CLONE_PIDFD", "%s %s", okret(p), ret(fcntl(pidfd, F_GETFD)));
	say("its child", "%s", ended(p));
	signal(SIGUSR1, handler);
	signal(SIGUSR2, SIG_IGN);
	a = (struct clone_args){.flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD};
	p = clone3(&a, sizeof a);
	if (p == 0) {
		struct sigaction x, y;
		sigaction(SIGUSR1, NULL, &x);
		sigaction(SIGUSR2, NULL, &y);
		_exit((x.sa_handler == SIG_DFL) + 2 * (y.sa_handler == SIG_IGN));
	}
	say("CLONE_CLEAR_SIGHAND", "%s", ended(p));
	int tid = 0;
	a = (struct clone_args){.flags = CLONE_PARENT_SETTID, .parent_tid = (uintptr_t)&tid, .exit_signal = SIGCHLD};
	p = clone3(&a, sizeof a);
	if (p == 0)
		_exit(5);
	say("CLONE_PARENT_SETTID", "%s %s", yes(tid == p), ended(p));
}

static void shares(void)
{
	say("unshare nothing", "%s", ret(unshare(0)));
	say("unshare files", "%s", ret(unshare(CLONE_FILES)));
	say("unshare fs", "%s", ret(unshare(CLONE_FS)));
	say("unshare bad", "%s", ret(unshare(0x40)));
	say("unshare thread, single", "%s", ret(unshare(CLONE_THREAD)));
	say("unshare vm, single", "%s", ret(unshare(CLONE_VM)));
	say("unshare sighand, single", "%s", ret(unshare(CLONE_SIGHAND)));
	struct rlimit r, old;
	getrlimit(RLIMIT_NOFILE, &old);
	if (fork() == 0) {
		r = (struct rlimit){33, 44};
		setrlimit(RLIMIT_NOFILE, &r);
		_exit(0);
	}
	wait(NULL);
	getrlimit(RLIMIT_NOFILE, &r);
	say("limits are the child's own", "%s", yes(r.rlim_cur == old.rlim_cur));
	prctl(PR_SET_PDEATHSIG, SIGUSR1);
	if (fork() == 0) {
		int s = 5;
		prctl(PR_GET_PDEATHSIG, &s);
		_exit(s);
	}
	int st;
	wait(&st);
	say("parent death signal not inherited", "%s", status(st));
	prctl(PR_SET_NAME, "parent-name");
	if (fork() == 0) {
		char n[20];
		prctl(PR_GET_NAME, n);
		_exit(strcmp(n, "parent-name"));
	}
	wait(&st);
	say("name inherited", "%s", status(st));
	say("dumpable", "%s", ret(prctl(PR_GET_DUMPABLE)));
	say("no_new_privs", "%s", ret(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)));
	say("set it", "%s", ret(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)));
	say("it is set", "%s", ret(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)));
	say("prctl bad", "%s", ret(prctl(99999)));
}

static const struct section table[] = {
	{"fork", forks}, {"vfork", vforks}, {"clone", clones}, {"identifiers", identifiers},
	{"clone3", clone3s}, {"shares", shares},
};

GUEST(table)
