// What a tracer learns of forks, execs and exits.
#include "../guest/ptrace.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>

#define STACK 65536
static char stack[STACK] __attribute__((aligned(64)));

static int ends(void *arg)
{
	_exit((int)(long)arg);
}

static void forks(void)
{
	pid_t p = fork();
	if (p == 0)
		_exit(1);
	int st;
	waitpid(p, &st, 0);
	_exit(WEXITSTATUS(st) + 1);
}

static void vforks(void)
{
	pid_t p = vfork();
	if (p == 0)
		_exit(2);
	int st;
	waitpid(p, &st, 0);
	_exit(WEXITSTATUS(st) + 1);
}

static long extra;

static void clones(void)
{
	pid_t p = clone(ends, stack + STACK, extra, (void *)3);
	int st = 0;
	waitpid(p, &st, __WALL);
	_exit(WEXITSTATUS(st) + 1);
}

// begun is a child that is seized or has asked for its tracer, with the given options.
static pid_t begun(void (*fn)(void), long options, int seized)
{
	pid_t p = fork();
	if (p == 0) {
		if (!seized)
			trace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		fn();
	}
	if (seized) {
		int st;
		waitpid(p, &st, WUNTRACED);
		trace(PTRACE_SEIZE, p, 0, options);
		waits(p);
		kill(p, SIGCONT);
		for (int i = 0; i < 2; i++) {
			trace(PTRACE_CONT, p, 0, 0);
			waits(p);
		}
	} else {
		waits(p);
		trace(PTRACE_SETOPTIONS, p, 0, options);
	}
	return p;
}

// follow lets everything that is traced go on, and says each stop of the parent p and of others.
static void follow(const char *what, pid_t p, pid_t *child)
{
	*child = 0;
	say("what", "%s", what);
	trace(PTRACE_CONT, p, 0, 0);
	// The two sides report at any time: each one's reports are kept in order of its own.
	char parent[512] = "", other[512] = "";
	for (;;) {
		int st;
		pid_t q = waitpid(-1, &st, __WALL);
		if (q == -1)
			break;
		char *to = q == p ? parent : other;
		size_t n = strlen(to);
		n += snprintf(to + n, 512 - n, " [%s", stop(st));
		if (!WIFSTOPPED(st)) {
			snprintf(to + n, 512 - n, "]");
			continue;
		}
		int event = st >> 16;
		if (event >= PTRACE_EVENT_FORK && event <= PTRACE_EVENT_CLONE) {
			*child = message(q);
			n += snprintf(to + n, 512 - n, " pid");
		} else if (event == PTRACE_EVENT_VFORK_DONE) {
			n += snprintf(to + n, 512 - n, " %s", yes(message(q) == (unsigned long)*child));
		} else if (event == PTRACE_EVENT_EXIT) {
			n += snprintf(to + n, 512 - n, " %lx", message(q));
		} else if (q != p) {
			struct user_regs_struct r;
			trace(PTRACE_GETREGS, q, 0, &r);
			n += snprintf(to + n, 512 - n, " rax %lld traced %s", r.rax, yes(q == *child || *child == 0));
		}
		snprintf(to + n, 512 - n, "]");
		int sig = event || WSTOPSIG(st) == SIGSTOP ? 0 : WSTOPSIG(st);
		trace(PTRACE_CONT, q, 0, sig == SIGCHLD ? 0 : sig);
	}
	say("parent", "%s", parent);
	say("child", "%s", other);
}

static void events(void)
{
	const long all = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEVFORKDONE;
	static const struct {
		const char *name;
		void (*fn)(void);
		long flags;
	} kinds[] = {
		{"fork", forks, 0}, {"vfork", vforks, 0}, {"clone SIGCHLD", clones, SIGCHLD}, {"clone 0", clones, 0},
		{"clone SIGUSR1", clones, SIGUSR1}, {"clone VFORK", clones, CLONE_VFORK | CLONE_VM | SIGCHLD},
		{"clone UNTRACED", clones, CLONE_UNTRACED | SIGCHLD}, {"clone PTRACE", clones, CLONE_PTRACE | SIGCHLD},
		{"clone UNTRACED PTRACE", clones, CLONE_UNTRACED | CLONE_PTRACE | SIGCHLD},
	};
	for (int seized = 0; seized < 2; seized++)
		for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
			pid_t child;
			char name[64];
			extra = kinds[i].flags;
			snprintf(name, sizeof name, "%s%s", kinds[i].name, seized ? ", seized" : "");
			follow(name, begun(kinds[i].fn, all, seized), &child);
			say("with exit too", "%s", "");
			follow(name, begun(kinds[i].fn, all | PTRACE_O_TRACEEXIT, seized), &child);
			say("without options", "%s", "");
			follow(name, begun(kinds[i].fn, 0, seized), &child);
		}
}

static void execs(void)
{
	execl("/bin/true", "true", (char *)0);
}

static void *execs_here(void *arg)
{
	(void)arg;
	execs();
	return NULL;
}

static void execs_in_thread(void)
{
	pthread_t t;
	pthread_create(&t, NULL, execs_here, NULL);
	sleeps();
}

static void exec_events(void)
{
	pid_t p = begun(execs, PTRACE_O_TRACEEXEC, 0);
	trace(PTRACE_CONT, p, 0, 0);
	say("exec", "%s", waits(p));
	say("message", "%s", yes((pid_t)message(p) == p));
	struct user_regs_struct r;
	trace(PTRACE_GETREGS, p, 0, &r);
	say("registers", "%lld %lld", r.orig_rax, r.rax);
	trace(PTRACE_CONT, p, 0, 0);
	say("end", "%s", waits(p));
	p = begun(execs, 0, 1);
	trace(PTRACE_CONT, p, 0, 0);
	say("seized, not asked for", "%s", waits(p));
	p = begun(execs, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC, 0);
	do {
		trace(PTRACE_SYSCALL, p, 0, 0);
		waits(p);
		trace(PTRACE_GETREGS, p, 0, &r);
	} while (r.orig_rax != SYS_execve);
	trace(PTRACE_SYSCALL, p, 0, 0);
	say("call, then", "%s", waits(p));
	trace(PTRACE_SYSCALL, p, 0, 0);
	say("then", "%s", waits(p));
	trace(PTRACE_GETREGS, p, 0, &r);
	say("registers", "%lld %lld", r.orig_rax, r.rax);
	trace(PTRACE_CONT, p, 0, 0);
	waits(p);
	// By a thread that is not the leader: it takes the leader's id, whose own tracing is over.
	p = begun(execs_in_thread, PTRACE_O_TRACEEXEC | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXIT, 0);
	trace(PTRACE_CONT, p, 0, 0);
	say("clone", "%s", waits(p));
	pid_t second = message(p);
	say("thread", "%s", waits(second));
	trace(PTRACE_CONT, p, 0, 0);
	trace(PTRACE_CONT, second, 0, 0);
	say("leader", "%s", waits(p));
	trace(PTRACE_CONT, p, 0, 0);
	say("exec", "%s", waits(p));
	say("former id", "%s", yes((pid_t)message(p) == second));
	say("thread is gone", "%s", ret(waitpid(second, NULL, __WALL)));
	trace(PTRACE_CONT, p, 0, 0);
	say("exit", "%s", waits(p));
	trace(PTRACE_CONT, p, 0, 0);
	say("end", "%s", waits(p));
}

static void waits_long(void)
{
	sleeps();
}

static void exit_events(void)
{
	pid_t p = begun(forks, PTRACE_O_TRACEEXIT, 0);
	trace(PTRACE_CONT, p, 0, 0);
	waits(p); // SIGCHLD
	trace(PTRACE_CONT, p, 0, 0);
	say("exit", "%s %lx", waits(p), message(p));
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/cmdline", p);
	say("not gone yet", "%s", yes(get(path)[0] != 0));
	say("state", "%s", procline(p, "State:"));
	trace(PTRACE_CONT, p, 0, 0);
	say("end", "%s", waits(p));
	p = begun(waits_long, PTRACE_O_TRACEEXIT, 0);
	kill(p, SIGKILL);
	say("killed", "%s %lx", waits(p), message(p));
	trace(PTRACE_CONT, p, 0, 0);
	say("end", "%s", waits(p));
}

static void L09_events(void)
{
	events();
	exec_events();
	exit_events();
}

// F14: without the tracer asking, a child is not traced; a traced child's own stream begins with its return of
// 0 from the fork.
static void F14_child_of_traced(void)
{
	int fd[2];
	if (pipe(fd))
		return;
	pid_t p = fork();
	if (p == 0) {
		trace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		pid_t q = fork();
		if (q == 0) {
			const char *line = procline(getpid(), "TracerPid:");
			_exit(write(fd[1], line, strlen(line) + 1) > 0 ? 0 : 1);
		}
		waitpid(q, NULL, 0);
		_exit(0);
	}
	waits(p);
	trace(PTRACE_CONT, p, 0, 0);
	char line[64] = "";
	if (read(fd[0], line, sizeof line) > 0)
		say("child", "%s", line);
	waits(p); // SIGCHLD
	trace(PTRACE_CONT, p, 0, 0);
	say("parent", "%s", waits(p));

	p = begun(forks, PTRACE_O_TRACEFORK | PTRACE_O_TRACESYSGOOD, 0);
	trace(PTRACE_CONT, p, 0, 0);
	waits(p);
	pid_t q = message(p);
	say("the child's first stop", "%s", waits(q));
	struct user_regs_struct r;
	trace(PTRACE_GETREGS, q, 0, &r);
	say("returns", "%lld", r.rax);
	trace(PTRACE_SYSCALL, q, 0, 0);
	say("then", "%s", waits(q));
	trace(PTRACE_GETREGS, q, 0, &r);
	say("at the entry of", "%lld", r.orig_rax);
	trace(PTRACE_CONT, q, 0, 0);
	trace(PTRACE_CONT, p, 0, 0);
	say("child", "%s", waits(q));
	waits(p);
	trace(PTRACE_CONT, p, 0, 0);
	say("parent", "%s", waits(p));
}

// L01: CLONE_PTRACE and CLONE_UNTRACED of a process that nobody traces.
static void L01_clone_ptrace_untraced(void)
{
	static const long flags[] = {CLONE_PTRACE, CLONE_UNTRACED, CLONE_PTRACE | CLONE_UNTRACED};
	for (int i = 0; i < 3; i++) {
		pid_t p = clone(ends, stack + STACK, flags[i] | SIGCHLD, (void *)5);
		say("clone", "%s", waits(p));
	}
}

static long asked(void)
{
	errno = 0;
	return syscall(SYS_getppid) == -1 ? errno : 0;
}

static int asks(void *arg)
{
	(void)arg;
	say("child", "%ld", asked());
	say("child", "%s", procline(getpid(), "NoNewPrivs:"));
	say("child", "%s", procline(getpid(), "Seccomp:"));
	say("child", "%s", procline(getpid(), "Seccomp_filters:"));
	_exit(0);
}

static void *asks_thread(void *arg)
{
	(void)arg;
	return (void *)asked();
}

// L11: filters and no_new_privs go to children, threads and programs.
static void L11_seccomp_and_no_new_privs(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {4, code};
	say("none at first", "%s", procline(getpid(), "Seccomp:"));
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	say("install", "%s", ret(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog)));
	static const long flags[] = {SIGCHLD, SIGCHLD | CLONE_VM, SIGCHLD | CLONE_VM | CLONE_VFORK};
	for (int i = 0; i < 3; i++)
		say("clone", "%s", waits(clone(asks, stack + STACK, flags[i], NULL)));
	pthread_t t;
	void *v;
	pthread_create(&t, NULL, asks_thread, NULL);
	pthread_join(t, &v);
	say("thread", "%ld", (long)v);
	pid_t p = fork();
	if (p == 0) {
		execl("/bin/grep", "grep", "-E", "^(Seccomp|NoNewPrivs|Seccomp_filters):", "/proc/self/status", (char *)0);
		_exit(9);
	}
	say("program", "%s", waits(p));
}

static const struct section table[] = {
	{"L09_events", L09_events}, {"F14_child_of_traced", F14_child_of_traced},
	{"L01_clone_ptrace_untraced", L01_clone_ptrace_untraced},
	{"L11_seccomp_and_no_new_privs", L11_seccomp_and_no_new_privs},
};

GUEST(table)
