// Every flag, every pair of flags and the sets of more that clone(2) speaks of, through clone and
// clone3, as root and as an ordinary user: made or refused, and with which error.
#include "../guest/guest.h"
#include <grp.h>
#include <linux/sched.h>

struct flag {
	const char *name;
	uint64_t bit;
};

static const struct flag flags[] = {
	{"VM", CLONE_VM}, {"FS", CLONE_FS}, {"FILES", CLONE_FILES}, {"SIGHAND", CLONE_SIGHAND}, {"PIDFD", CLONE_PIDFD},
	{"PTRACE", CLONE_PTRACE}, {"VFORK", CLONE_VFORK}, {"PARENT", CLONE_PARENT}, {"THREAD", CLONE_THREAD},
	{"NEWNS", CLONE_NEWNS}, {"SYSVSEM", CLONE_SYSVSEM}, {"SETTLS", CLONE_SETTLS},
	{"PARENT_SETTID", CLONE_PARENT_SETTID}, {"CHILD_CLEARTID", CLONE_CHILD_CLEARTID}, {"DETACHED", CLONE_DETACHED},
	{"UNTRACED", CLONE_UNTRACED}, {"CHILD_SETTID", CLONE_CHILD_SETTID}, {"NEWCGROUP", CLONE_NEWCGROUP},
	{"NEWUTS", CLONE_NEWUTS}, {"NEWIPC", CLONE_NEWIPC}, {"NEWUSER", CLONE_NEWUSER}, {"NEWPID", CLONE_NEWPID},
	{"NEWNET", CLONE_NEWNET}, {"NEWTIME", CLONE_NEWTIME}, {"IO", CLONE_IO},
	{"CLEAR_SIGHAND", CLONE_CLEAR_SIGHAND}, {"INTO_CGROUP", CLONE_INTO_CGROUP},
};
#define FLAGS (sizeof flags / sizeof *flags)

static char stack[16384] __attribute__((aligned(64)));
static volatile int ids[4];

// raw makes a call whose child, on whichever stack, ends at once.
static long raw(long nr, long a, long b, long c, long d, long e)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e;
	long r;
	__asm__ volatile(
		"syscall\n\t"
		"test %%rax, %%rax\n\t"
		"jnz 1f\n\t"
		"mov $60, %%eax\n\t"
		"xor %%edi, %%edi\n\t"
		"syscall\n\t"
		"1:"
		: "=a"(r)
		: "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
		: "rcx", "r11", "memory");
	if (r < 0) {
		errno = -r;
		return -1;
	}
	return r;
}

static long by_clone(uint64_t set)
{
	return raw(SYS_clone, set | SIGCHLD, (long)(stack + sizeof stack), (long)&ids[0], (long)&ids[1], (long)&ids[2]);
}

static long by_clone3(uint64_t set)
{
	struct clone_args a = {
		.flags = set, .stack = (uint64_t)stack, .stack_size = sizeof stack, .parent_tid = (uint64_t)&ids[0],
		.child_tid = (uint64_t)&ids[1], .tls = (uint64_t)&ids[2], .pidfd = (uint64_t)&ids[3], .cgroup = 12345,
		.exit_signal = set & (CLONE_THREAD | CLONE_PARENT) ? 0 : SIGCHLD,
	};
	return raw(SYS_clone3, (long)&a, sizeof a, 0, 0, 0);
}

static const char *outcome(long pid, uint64_t set, int fd)
{
	if (pid < 0)
		return errname(errno);
	if (set & CLONE_PIDFD)
		close(fd);
	if (!(set & (CLONE_THREAD | CLONE_PARENT)) && waitpid(pid, NULL, __WALL) != pid)
		return "lost";
	return "made";
}

static void attempt(uint64_t set)
{
	char name[256] = "";
	for (unsigned i = 0; i < FLAGS; i++)
		if (set & flags[i].bit) {
			strcat(name, name[0] ? "+" : "");
			strcat(name, flags[i].name);
		}
	const char *one = "-";
	if (!(set & ~0xffffff00ULL))
		one = outcome(by_clone(set), set, ids[0]);
	say(name, "clone %s, clone3 %s", one, outcome(by_clone3(set), set, ids[3]));
}

// within runs the attempts of one first flag in a process of its own, whose threads end with it.
static void within(unsigned i)
{
	static const uint64_t bases[] = {
		CLONE_VM | CLONE_SIGHAND, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, CLONE_VM | CLONE_VFORK,
		CLONE_NEWUSER | CLONE_NEWPID, CLONE_NEWUSER | CLONE_NEWNS, CLONE_NEWPID | CLONE_NEWIPC,
	};
	pid_t p = fork();
	if (p == 0) {
		for (unsigned k = i; k < FLAGS; k++)
			attempt(flags[i].bit | flags[k].bit);
		for (unsigned k = 0; k < sizeof bases / sizeof *bases; k++)
			attempt(bases[k] | flags[i].bit);
		_exit(0);
	}
	int st;
	while (waitpid(p, &st, 0) == -1 && errno == EINTR)
		;
	if (st)
		say(flags[i].name, "%s", status(st));
	while (waitpid(-1, NULL, WNOHANG | __WALL) > 0)
		;
}

static void as_root(void)
{
	for (unsigned i = 0; i < FLAGS; i++)
		within(i);
}

static void as_user(void)
{
	if (setgroups(0, NULL) || setgid(1000) || setuid(1000))
		say("user", "%s", errname(errno));
	as_root();
}

static const char *sized(struct clone_args *a, size_t size)
{
	long pid = raw(SYS_clone3, (long)a, size, 0, 0, 0);
	return outcome(pid, 0, -1);
}

// structs gives clone3 structs of all sizes.
static void structs(void)
{
	static char room[3 * PAGE] __attribute__((aligned(4096)));
	struct clone_args *a = (void *)room;
	a->exit_signal = SIGCHLD;
	static const size_t sizes[] = {0, 8, 56, 63, 64, 65, 72, 79, 80, 81, 87, 88, 89, 96, 1000, 4095, 4096, 4097, 8192};
	for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		char name[32];
		snprintf(name, sizeof name, "size %zu", sizes[i]);
		say(name, "%s", sized(a, sizes[i]));
	}
	for (size_t at = 88; at < 4096; at += at < 100 ? 1 : 997) {
		room[at] = 1;
		say("tail", "%s %s", sized(a, 4096), sized(a, at));
		room[at] = 0;
	}
	a->set_tid = 5; // ignored by a struct that ends before it
	say("set_tid without a size", "%s", sized(a, 64));
	say("set_tid without a size", "%s", sized(a, 88));
	a->set_tid = 0;
	struct clone_args *edge = (void *)(mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + PAGE - 64);
	edge->exit_signal = SIGCHLD;
	munmap((char *)edge + 64, PAGE);
	say("at the edge", "%s", sized(edge, 64));
	say("over the edge", "%s", sized(edge, 72));
	say("nowhere", "%s", sized((void *)8, 64));
}

static const char *with(struct clone_args a)
{
	a.exit_signal = a.exit_signal ? a.exit_signal : SIGCHLD;
	return outcome(raw(SYS_clone3, (long)&a, sizeof a, 0, 0, 0), a.flags, -1);
}

// values gives the fields of the struct values that are refused, and some that are not.
static void values(void)
{
	pid_t tids[40] = {0};
	uint64_t low = (uint64_t)stack, t = (uint64_t)tids;
	signal(64, SIG_IGN);
	say("stack", "%s", with((struct clone_args){.stack = low, .stack_size = sizeof stack}));
	say("stack without size", "%s", with((struct clone_args){.stack = low}));
	say("size without stack", "%s", with((struct clone_args){.stack_size = 4096}));
	say("stack that wraps", "%s", with((struct clone_args){.stack = -4096UL, .stack_size = 8192}));
	say("stack of the kernel", "%s", with((struct clone_args){.stack = 1UL << 63, .stack_size = 8192}));
	say("stack up to the top", "%s", with((struct clone_args){.stack = 0x7fffffffe000, .stack_size = 8192}));
	say("exit signal 64", "%s", with((struct clone_args){.exit_signal = 64}));
	say("exit signal 65", "%s", with((struct clone_args){.exit_signal = 65}));
	say("exit signal 256+SIGCHLD", "%s", with((struct clone_args){.exit_signal = 256 + SIGCHLD}));
	say("signal in flags", "%s", with((struct clone_args){.flags = SIGCHLD}));
	say("unknown flag", "%s", with((struct clone_args){.flags = 1ULL << 40}));
	say("parent's signal", "%s", with((struct clone_args){.flags = CLONE_PARENT}));
	say("thread with a signal", "%s", with((struct clone_args){.flags = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, .stack = low, .stack_size = 8192}));
	say("TLS of the kernel", "%s", with((struct clone_args){.flags = CLONE_SETTLS, .tls = 1UL << 47}));
	say("TLS nowhere", "%s", with((struct clone_args){.flags = CLONE_SETTLS, .tls = 1UL << 60}));
	say("pidfd nowhere", "%s", with((struct clone_args){.flags = CLONE_PIDFD, .pidfd = 8}));
	say("parent_tid nowhere", "%s", with((struct clone_args){.flags = CLONE_PARENT_SETTID, .parent_tid = 8}));
	say("child_tid nowhere", "%s", with((struct clone_args){.flags = CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID, .child_tid = 8}));
	say("cgroup too large", "%s", with((struct clone_args){.flags = CLONE_INTO_CGROUP, .cgroup = 1ULL << 31}));
	say("cgroup without flag", "%s", with((struct clone_args){.cgroup = 77}));
	say("set_tid nowhere", "%s", with((struct clone_args){.set_tid = 8, .set_tid_size = 1}));
	say("too many tids", "%s", with((struct clone_args){.set_tid = t, .set_tid_size = 33}));
	say("more tids than levels", "%s", with((struct clone_args){.set_tid = t, .set_tid_size = 32}));
	say("tids without size", "%s", with((struct clone_args){.set_tid = t}));
	say("size without tids", "%s", with((struct clone_args){.set_tid_size = 1}));
	say("tid 0", "%s", with((struct clone_args){.set_tid = t, .set_tid_size = 1}));
	tids[0] = -3;
	say("negative tid", "%s", with((struct clone_args){.set_tid = t, .set_tid_size = 1}));
	tids[0] = 1 << 22;
	say("tid over the maximum", "%s", with((struct clone_args){.set_tid = t, .set_tid_size = 1}));
	tids[0] = getpid();
	say("tid in use", "%s", with((struct clone_args){.set_tid = t, .set_tid_size = 1}));
	tids[0] = 2;
	say("tid 2 of a new namespace", "%s", with((struct clone_args){.flags = CLONE_NEWPID, .set_tid = t, .set_tid_size = 1}));
	tids[0] = 1;
	say("tid 1 of a new namespace", "%s", with((struct clone_args){.flags = CLONE_NEWPID, .set_tid = t, .set_tid_size = 1}));
	tids[0] = 1, tids[1] = 7777;
	struct clone_args both = {.flags = CLONE_NEWPID, .set_tid = t, .set_tid_size = 2, .exit_signal = SIGCHLD};
	long pid = raw(SYS_clone3, (long)&both, sizeof both, 0, 0, 0);
	say("tids in two namespaces", "%ld %s", pid, outcome(pid, 0, -1));
	if (setgid(1000) || setuid(1000))
		return;
	tids[0] = 7778;
	say("tid of a user", "%s", with((struct clone_args){.set_tid = t, .set_tid_size = 1}));
}

static void on_signal(int s)
{
	say("came", "%s", signame(s));
}

// signals gives clone(2) exit signals that are none: it takes them all.
static void signals(void)
{
	signal(SIGUSR1, on_signal);
	static const int list[] = {0, SIGCHLD, SIGUSR1, 64, 65, 100, 255};
	for (unsigned i = 0; i < sizeof list / sizeof *list; i++) {
		if (list[i] == 64)
			signal(64, SIG_IGN);
		long pid = raw(SYS_clone, list[i], 0, 0, 0, 0);
		int st = -1;
		say("waited for", "%s", yes(waitpid(pid, &st, __WALL) == pid));
		say("ended", "%s", status(st));
	}
}

static const struct section table[] = {
	{"L01_flags_as_root", as_root},
	{"L02_flags_as_user", as_user},
	{"L02_exit_signals", signals},
	{"L03_sizes", structs},
	{"L03_values", values},
};
GUEST(table)
