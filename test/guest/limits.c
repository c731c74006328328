// Resource limits: reading and setting, what each refuses, CPU time and processes.
#include "guest.h"
#include <sys/resource.h>

static const char *limit(int which)
{
	struct rlimit r;
	char *p = scratch();
	if (getrlimit(which, &r))
		return errname(errno);
	snprintf(p, 256, "%ld/%ld", (long)r.rlim_cur, (long)r.rlim_max);
	return p;
}

static long set(int which, rlim_t soft, rlim_t hard)
{
	struct rlimit r = {soft, hard};
	return setrlimit(which, &r);
}

static void reading(void)
{
	struct rlimit r;
	for (int i = 0; i < 16; i++)
		say("readable", "%d %s", i, ret(getrlimit(i, &r)));
	say("bad resource", "%s", ret(getrlimit(16, &r)));
	say("bad pointer", "%s", ret(syscall(SYS_getrlimit, RLIMIT_CPU, 8)));
	say("lower", "%s %s", ret(set(RLIMIT_NOFILE, 50, 100)), limit(RLIMIT_NOFILE));
	say("soft up to hard", "%s %s", ret(set(RLIMIT_NOFILE, 100, 100)), limit(RLIMIT_NOFILE));
	say("soft over hard", "%s", ret(set(RLIMIT_NOFILE, 101, 100)));
	struct rlimit n = {60, 70}, o;
	say("prlimit both", "%s %ld %ld", ret(prlimit(0, RLIMIT_NOFILE, &n, &o)), (long)o.rlim_cur, (long)o.rlim_max);
	say("prlimit set", "%s", limit(RLIMIT_NOFILE));
	say("prlimit missing", "%s", ret(prlimit(1 << 29, RLIMIT_NOFILE, NULL, &o)));
	pid_t p = fork();
	if (p == 0) {
		pause();
		_exit(0);
	}
	n = (struct rlimit){11, 12};
	say("prlimit child", "%s", ret(prlimit(p, RLIMIT_NOFILE, &n, NULL)));
	say("child has", "%s %ld", ret(prlimit(p, RLIMIT_NOFILE, NULL, &o)), (long)o.rlim_cur);
	say("parent has", "%s", limit(RLIMIT_NOFILE));
	kill(p, SIGKILL);
	wait(NULL);
	if (fork() == 0) {
		if (setuid(1000))
			_exit(1);
		say("user lowers", "%s", ret(set(RLIMIT_NOFILE, 40, 50)));
		say("user raises", "%s", ret(set(RLIMIT_NOFILE, 40, 60)));
		say("user asks root's", "%s", ret(prlimit(getppid(), RLIMIT_NOFILE, NULL, &o)));
		_exit(0);
	}
	wait(NULL);
}

static void memory(void)
{
	if (fork() == 0) {
		set(RLIMIT_AS, 256 << 20, 256 << 20);
		void *a = mmap(NULL, 512 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		say("address space, too much", "%s", a == MAP_FAILED ? errname(errno) : "ok");
		a = mmap(NULL, 32 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		say("address space, enough", "%s", a == MAP_FAILED ? errname(errno) : "ok");
		say("mremap over", "%s", okret((long)mremap(a, 32 << 20, 300 << 20, MREMAP_MAYMOVE)));
		_exit(0);
	}
	wait(NULL);
	if (fork() == 0) {
		set(RLIMIT_DATA, 32 << 20, 32 << 20);
		char *b = (char *)syscall(SYS_brk, 0);
		say("data by brk", "%s", yes((char *)syscall(SYS_brk, b + (64 << 20)) == b));
		void *a = mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		say("data by mmap", "%s", a == MAP_FAILED ? errname(errno) : "ok");
		a = mmap(NULL, 64 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		say("read-only does not count", "%s", a == MAP_FAILED ? errname(errno) : "ok");
		_exit(0);
	}
	wait(NULL);
	if (fork() == 0) {
		if (setuid(1000))
			_exit(1);
		set(RLIMIT_MEMLOCK, 8192, 8192);
		char *a = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		say("lock within", "%s", ret(mlock(a, 8192)));
		say("lock over", "%s", ret(mlock(a, 1 << 20)));
		set(RLIMIT_MEMLOCK, 0, 0);
		say("lock none", "%s", ret(mlock(a, 4096)));
		_exit(0);
	}
	wait(NULL);
}

static volatile int caught;

static void on_signal(int s)
{
	(void)s;
	caught++;
}

static void cpu(void)
{
	pid_t p = fork();
	if (p == 0) {
		set(RLIMIT_CPU, 1, 2);
		signal(SIGXCPU, on_signal);
		while (!caught)
			;
		_exit(5);
	}
	int st;
	waitpid(p, &st, 0);
	say("soft limit", "%s", status(st));
	p = fork();
	if (p == 0) {
		set(RLIMIT_CPU, 1, 1);
		signal(SIGXCPU, SIG_IGN);
		for (;;)
			;
	}
	waitpid(p, &st, 0);
	say("hard limit", "%s", status(st));
}

static void processes(void)
{
	if (fork() == 0) {
		setpgid(0, 0);
		// An id that no one else here uses.
		if (setgid(54321) || setuid(54321))
			_exit(1);
		set(RLIMIT_NPROC, 5, 5);
		int n = 0;
		pid_t p, children[50];
		while (n < 50 && (p = fork()) > 0)
			children[n++] = p;
		if (n < 50 && p == 0) {
			pause();
			_exit(0);
		}
		say("forks", "%d %s", n, errname(errno));
		signal(SIGTERM, SIG_IGN);
		kill(0, SIGTERM);
		siginfo_t info;
		for (int i = 0; i < n; i++)
			waitid(P_PID, children[i], &info, WEXITED | WNOWAIT);
		say("zombies count", "%s", ret(fork()));
		while (wait(NULL) > 0)
			;
		p = fork();
		if (p == 0)
			_exit(3);
		int st;
		waitpid(p, &st, 0);
		say("room again", "%s", status(st));
		_exit(0);
	}
	wait(NULL);
}

static void others(void)
{
	if (fork() == 0) {
		set(RLIMIT_CORE, 0, 0);
		say("core", "%s", limit(RLIMIT_CORE));
		raise(SIGQUIT);
		_exit(1);
	}
	int st;
	wait(&st);
	say("no core", "%s", yes(WIFSIGNALED(st) && !WCOREDUMP(st)));
	say("nice", "%s", ret(setpriority(PRIO_PROCESS, 0, 5)));
	errno = 0;
	say("niceness", "%s", ret(getpriority(PRIO_PROCESS, 0)));
	if (fork() == 0) {
		if (setuid(1000))
			_exit(1);
		say("user raises priority", "%s", ret(setpriority(PRIO_PROCESS, 0, 0)));
		say("user lowers", "%s", ret(setpriority(PRIO_PROCESS, 0, 9)));
		_exit(0);
	}
	wait(NULL);
	say("bad which", "%s", ret(getpriority(9, 0)));
	say("missing", "%s", ret(getpriority(PRIO_PROCESS, 1 << 29)));
}

static const struct section table[] = {
	{"reading", reading}, {"memory", memory}, {"cpu", cpu}, {"processes", processes}, {"others", others},
};

GUEST(table)
