// Calls that a kernel might answer without being asked, each time by a call at a place that makes
// no other one, and by syscall(3), whose place makes them all: what they say is the same, whatever the program has done to
// its ids meanwhile, and whoever watches its calls.
#include "ptrace.h"
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/time.h>

#define OWN(name, nr) \
	static long __attribute__((noinline)) name(void) \
	{ \
		long r; \
		__asm__ volatile("mov %1, %%eax; syscall" : "=&a"(r) : "i"(nr) : "rcx", "r11", "memory"); \
		return r; \
	}

OWN(own_pid, SYS_getpid)
OWN(own_tid, SYS_gettid)
OWN(own_ppid, SYS_getppid)
OWN(own_uid, SYS_getuid)
OWN(own_euid, SYS_geteuid)
OWN(own_gid, SYS_getgid)
OWN(own_egid, SYS_getegid)

static const struct {
	const char *name;
	long (*own)(void);
	int nr;
} calls[] = {
	{"getpid", own_pid, SYS_getpid}, {"gettid", own_tid, SYS_gettid}, {"getppid", own_ppid, SYS_getppid},
	{"getuid", own_uid, SYS_getuid}, {"geteuid", own_euid, SYS_geteuid}, {"getgid", own_gid, SYS_getgid},
	{"getegid", own_egid, SYS_getegid},
};

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

// warm makes every call so often that it is worth it to be quick.
static void warm(void)
{
	for (int i = 0; i < 200; i++)
		for (int c = 0; c < COUNT(calls); c++)
			calls[c].own();
}

// agree tells whether every call says the same at both places, several times.
static const char *agree(void)
{
	for (int i = 0; i < 3; i++)
		for (int c = 0; c < COUNT(calls); c++) {
			long a = calls[c].own(), b = syscall(calls[c].nr);
			if (a != b) {
				char *p = scratch();
				snprintf(p, 256, "%s says %ld, not %ld", calls[c].name, a, b);
				return p;
			}
		}
	return "agree";
}

// ids are the user's and the group's.
static const char *ids(void)
{
	char *p = scratch();
	snprintf(p, 256, "%ld %ld %ld %ld", own_uid(), own_euid(), own_gid(), own_egid());
	return p;
}

static void grandchild(void)
{
	say("grandchild", "%s", agree());
}

static void in_child(void)
{
	say("child", "%s", agree());
	warm();
	say("child, warm", "%s", agree());
	say("grandchild's end", "%s", status(child(grandchild)));
	say("child, afterwards", "%s", agree());
}

static void forks(void)
{
	warm();
	say("parent", "%s", agree());
	say("child's end", "%s", status(child(in_child)));
	pid_t p = fork();
	if (p == 0)
		_exit(own_pid() == syscall(SYS_getpid) && own_pid() == own_tid() ? 3 : 4);
	int st;
	waitpid(p, &st, 0);
	say("its ids", "%s", status(st));
	say("parent, afterwards", "%s", agree());
}

static long seen_pid, seen_tid;

static int lent(void *arg)
{
	for (int i = 0; i < 100; i++) {
		seen_pid = own_pid();
		seen_tid = own_tid();
	}
	*(const char **)arg = agree();
	return 0;
}

static char stack[65536] __attribute__((aligned(16)));

// vforks share the memory, the call's place with it, and not the ids.
static void vforks(void)
{
	warm();
	long own = own_pid();
	const char *said = "nothing";
	pid_t p = clone(lent, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &said);
	say("child", "%s", said);
	say("its pid", "%s", yes(seen_pid == p && seen_tid == p));
	say("parent", "%s", agree());
	say("its own pid", "%s", yes(own_pid() == own));
	waitpid(p, NULL, 0);
}

static volatile int go_on, wrong, rounds;

static int beside(void *arg)
{
	(void)arg;
	while (go_on) {
		wrong += own_pid() != syscall(SYS_getpid) || own_tid() != syscall(SYS_gettid);
		rounds++;
	}
	return 0;
}

// clones shares its memory with another process that runs at the same time.
static void clones(void)
{
	warm();
	go_on = 1;
	long own = own_pid();
	int bad = 0;
	pid_t p = clone(beside, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL);
	for (int i = 0; i < 2000 || rounds < 100; i++)
		bad += own_pid() != own || own_tid() != own;
	go_on = 0;
	waitpid(p, NULL, 0);
	say("parent", "%d wrong", bad);
	say("child", "%d wrong", wrong);
}

static pthread_barrier_t step;

static void *thread(void *arg)
{
	warm();
	const char **said = arg;
	long tid = syscall(SYS_gettid), pid = syscall(SYS_getpid);
	for (int i = 0; i < 20; i++) {
		for (int k = 0; k < 200; k++)
			if (own_tid() != tid || own_pid() != pid)
				*said = "another's id";
		sched_yield();
	}
	pthread_barrier_wait(&step); // main changes its ids now
	pthread_barrier_wait(&step);
	if (!*said)
		*said = agree();
	return NULL;
}

// threads have ids of their own, credentials too: by the call itself, a thread changes only its own.
static void threads(void)
{
	pthread_t t[4];
	const char *said[4] = {0};
	warm();
	pthread_barrier_init(&step, NULL, 5);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, thread, &said[i]);
	pthread_barrier_wait(&step);
	syscall(SYS_setresgid, 11, 12, 13);
	syscall(SYS_setresuid, 21, 22, 23);
	say("one alone", "%s %s", ids(), agree());
	pthread_barrier_wait(&step);
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		say("thread", "%s", said[i]);
	}
}

static void set_ids(void)
{
	static const struct {
		const char *name;
		int nr;
		long a[3];
	} sets[] = {
		{"setfsuid", SYS_setfsuid, {9}}, {"setfsgid", SYS_setfsgid, {9}}, {"setregid", SYS_setregid, {31, 32}},
		{"setresgid", SYS_setresgid, {-1, 33, -1}}, {"setgid", SYS_setgid, {34}},
		{"setreuid", SYS_setreuid, {0, 42}}, {"setresuid", SYS_setresuid, {-1, 0, -1}}, {"setresuid", SYS_setresuid, {43, 44, 0}},
		{"setreuid", SYS_setreuid, {-1, 0}}, {"setuid", SYS_setuid, {45}}, {"setuid", SYS_setuid, {0}},
	};
	warm();
	say("at first", "%s %s", ids(), agree());
	for (int i = 0; i < COUNT(sets); i++) {
		const char *r = ret(syscall(sets[i].nr, sets[i].a[0], sets[i].a[1], sets[i].a[2]));
		say(sets[i].name, "%s: %s %s", r, ids(), agree());
		warm();
		say("warm", "%s %s", ids(), agree());
	}
}

static void *execs(void *arg)
{
	(void)arg;
	warm();
	execl("/proc/self/exe", "answers", "after_exec", NULL);
	say("exec", "%s", errname(errno));
	return NULL;
}

// exec by a thread that is not the first: its id becomes the process's.
static void exec(void)
{
	pthread_t t;
	warm();
	pthread_create(&t, NULL, execs, NULL);
	pthread_join(t, NULL);
}

static void after_exec(void)
{
	say("after exec", "%s", agree());
	warm();
	say("after exec, warm", "%s, first thread: %s", agree(), yes(own_pid() == own_tid()));
}

static void fresh_user(void)
{
	warm();
	int go[2], done[2];
	char c;
	if (pipe(go) || pipe(done))
		return;
	pid_t p = fork();
	if (p == 0) {
		char path[64];
		if (read(go[0], &c, 1) == 1) {
			snprintf(path, sizeof path, "/proc/%d/gid_map", getppid());
			put(path, "7 0 1\n");
			snprintf(path, sizeof path, "/proc/%d/uid_map", getppid());
			put(path, "5 0 1\n");
		}
		_exit(write(done[1], "x", 1) != 1);
	}
	say("unshare", "%s", ret(unshare(CLONE_NEWUSER)));
	say("unmapped", "%s %s", ids(), agree());
	warm();
	say("unmapped, warm", "%s", ids());
	if (write(go[1], "x", 1) == 1 && read(done[0], &c, 1) == 1)
		say("mapped by another", "%s %s", ids(), agree());
	waitpid(p, NULL, 0);
}

static void first_of_all(void)
{
	warm();
	say("first", "%ld %ld %s", own_pid(), own_tid(), agree());
}

static void chosen(void)
{
	int tid = 77;
	struct clone_args a = {.exit_signal = SIGCHLD, .set_tid = (uint64_t)(long)&tid, .set_tid_size = 1};
	long p = syscall(SYS_clone3, &a, sizeof a);
	if (p == 0) {
		say("chosen", "%ld %s", own_pid(), agree());
		warm();
		say("chosen, warm", "%ld %s", own_pid(), agree());
		_exit(0);
	}
	int st = -1;
	waitpid(p, &st, 0);
	say("its end", "%s", status(st));
}

static void namespaces(void)
{
	warm();
	int ns = open("/proc/self/ns/pid", O_RDONLY);
	say("unshare", "%s", ret(unshare(CLONE_NEWPID)));
	say("itself", "%s", agree());
	say("end", "%s", status(child(first_of_all)));
	say("setns", "%s", ret(setns(ns, CLONE_NEWPID)));
	say("itself", "%s", agree());
	say("unshare", "%s", ret(unshare(CLONE_NEWPID)));
	pid_t p = fork();
	if (p == 0) {
		warm();
		chosen();
		_exit(0);
	}
	waitpid(p, NULL, 0);
	say("itself", "%s", agree());
}

static void *spins(void *arg)
{
	warm();
	pthread_barrier_wait(&step);
	for (;;) {
		int told = __atomic_load_n(&go_on, __ATOMIC_SEQ_CST);
		long r = own_pid();
		if (told) {
			*(long *)arg = r;
			return NULL;
		}
	}
}

// filtered gives all threads a filter; the one that is told so makes no more calls past it.
static void filtered(void)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 123),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = {COUNT(f), f};
	long other = 0;
	pthread_t t;
	pthread_barrier_init(&step, NULL, 2);
	pthread_create(&t, NULL, spins, &other);
	pthread_barrier_wait(&step);
	warm();
	sleep_ms(20);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	say("filter", "%s", ret(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &p)));
	__atomic_store_n(&go_on, 1, __ATOMIC_SEQ_CST);
	pthread_join(t, NULL);
	say("another thread", "%ld", other);
	say("itself", "%ld %s", own_pid(), ret(syscall(SYS_getpid)));
}

static void asks(void)
{
	for (int i = 0; i < 50; i++)
		own_pid();
}

// traced counts the stops of a tracee's calls, which were made often before.
static void traced(void)
{
	warm();
	pid_t p = fork();
	if (p == 0) {
		warm();
		trace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		asks();
		_exit(7);
	}
	int st, stops = 0;
	waitpid(p, &st, 0);
	trace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACESYSGOOD);
	for (;;) {
		trace(PTRACE_SYSCALL, p, 0, 0);
		if (waitpid(p, &st, 0) != p || WIFEXITED(st))
			break;
		struct user_regs_struct r;
		trace(PTRACE_GETREGS, p, 0, &r);
		stops += r.orig_rax == SYS_getpid;
	}
	say("stops", "%d, %s", stops, status(st));
}

// let_go is traced for a while, and changes its ids meanwhile.
static void let_go(void)
{
	warm();
	pid_t p = fork();
	if (p == 0) {
		warm();
		trace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		warm();
		say("traced", "%s", agree());
		syscall(SYS_setresuid, 51, 52, 53);
		say("traced, changed", "%s %s", ids(), agree());
		raise(SIGSTOP);
		say("let go", "%s %s", ids(), agree());
		warm();
		say("let go, warm", "%s %s", ids(), agree());
		_exit(0);
	}
	say("stop", "%s", waits(p));
	trace(PTRACE_CONT, p, 0, 0);
	say("stop", "%s", waits(p));
	trace(PTRACE_DETACH, p, 0, 0);
	say("end", "%s", waits(p));
}

static volatile int handled;

static void on_alarm(int sig)
{
	(void)sig;
	handled++;
	own_tid();
}

// interrupted gets signals while it does nothing but ask.
static void interrupted(void)
{
	struct sigaction sa = {.sa_handler = on_alarm};
	sigaction(SIGALRM, &sa, NULL);
	struct itimerval t = {{0, 500}, {0, 500}};
	long pid = syscall(SYS_getpid), bad = 0;
	warm();
	setitimer(ITIMER_REAL, &t, NULL);
	while (handled < 100)
		bad += own_pid() != pid;
	say("wrong", "%ld", bad);
}

static const struct section sections[] = {
	{"forks", forks}, {"vforks", vforks}, {"clones", clones}, {"threads", threads}, {"set_ids", set_ids}, {"exec", exec},
	{"after_exec", after_exec}, {"fresh_user", fresh_user}, {"namespaces", namespaces}, {"filtered", filtered},
	{"traced", traced}, {"let_go", let_go}, {"interrupted", interrupted},
};

GUEST(sections)
