// seccomp(2): which filters are taken, what each action does, and who gets them.
#include "ptrace.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/resource.h>

#define PROG(...) \
	(struct sock_fprog){sizeof((struct sock_filter[]){__VA_ARGS__}) / sizeof(struct sock_filter), (struct sock_filter[]){__VA_ARGS__}}
#define NR BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))
#define RET(v) BPF_STMT(BPF_RET | BPF_K, v)
// ON answers the call nr, UNLESS it is not that.
#define ON(nr, v) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), RET(v)

static long install(int flags, struct sock_fprog p)
{
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &p);
}

static void prepare(void)
{
	struct rlimit none = {0, 0};
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

// answers installs a filter that answers getppid with v.
static void answers(unsigned v)
{
	prepare();
	install(0, PROG(NR, ON(SYS_getppid, v), RET(SECCOMP_RET_ALLOW)));
}

static const char *tried(struct sock_fprog p)
{
	int fd[2];
	static char text[64];
	if (pipe(fd))
		return "no pipe";
	pid_t c = fork();
	if (c == 0) {
		prepare();
		const char *r = ret(install(0, p));
		_exit(write(fd[1], r, strlen(r) + 1) < 0);
	}
	close(fd[1]);
	if (read(fd[0], text, sizeof text) <= 0)
		snprintf(text, sizeof text, "nothing");
	close(fd[0]);
	waitpid(c, NULL, 0);
	return text;
}

static void checks(void)
{
	say("return", "%s", tried(PROG(RET(SECCOMP_RET_ALLOW))));
	say("return A", "%s", tried(PROG(BPF_STMT(BPF_LD | BPF_IMM, SECCOMP_RET_ALLOW), BPF_STMT(BPF_RET | BPF_A, 0))));
	say("no return", "%s", tried(PROG(NR)));
	say("return X", "%s", tried(PROG(BPF_STMT(BPF_RET | BPF_X, 0))));
	say("nothing", "%s", tried((struct sock_fprog){0, NULL}));
	say("nowhere", "%s", tried((struct sock_fprog){2, (void *)16}));
	static struct sock_filter many[5000];
	for (int i = 0; i < 5000; i++)
		many[i] = (struct sock_filter)RET(SECCOMP_RET_ALLOW);
	say("4096", "%s", tried((struct sock_fprog){4096, many}));
	say("4097", "%s", tried((struct sock_fprog){4097, many}));
	say("load behind the data", "%s", tried(PROG(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 64), RET(0))));
	say("load of the last word", "%s", tried(PROG(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 60), RET(SECCOMP_RET_ALLOW))));
	say("unaligned load", "%s", tried(PROG(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 2), RET(0))));
	say("load of a byte", "%s", tried(PROG(BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), RET(0))));
	say("indirect load", "%s", tried(PROG(BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0), RET(0))));
	say("jump out", "%s", tried(PROG(BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0), RET(0))));
	say("jump within", "%s", tried(PROG(BPF_JUMP(BPF_JMP | BPF_JA, 0, 0, 0), RET(SECCOMP_RET_ALLOW))));
	say("far jump", "%s", tried(PROG(BPF_JUMP(BPF_JMP | BPF_JA, 0xffffffff, 0, 0), RET(0))));
	say("branch out", "%s", tried(PROG(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), RET(0))));
	say("division by 0", "%s", tried(PROG(BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), RET(0))));
	say("modulo", "%s", tried(PROG(BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 3), RET(0))));
	say("shift by 32", "%s", tried(PROG(BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 32), RET(0))));
	say("scratch 16", "%s", tried(PROG(BPF_STMT(BPF_ST, 16), RET(0))));
	say("read before write", "%s", tried(PROG(BPF_STMT(BPF_LD | BPF_MEM, 3), RET(0))));
	say("written on one way", "%s",
	    tried(PROG(NR, BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 1), BPF_STMT(BPF_ST, 3), BPF_STMT(BPF_LD | BPF_MEM, 3),
		       RET(SECCOMP_RET_ALLOW))));
	say("unknown code", "%s", tried(PROG({0xffff, 0, 0, 0}, RET(0))));
	say("length and arithmetic", "%s",
	    tried(PROG(BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0), BPF_STMT(BPF_MISC | BPF_TAX, 0),
		       BPF_STMT(BPF_LD | BPF_IMM, 1000), BPF_STMT(BPF_ALU | BPF_DIV | BPF_X, 0), BPF_STMT(BPF_ALU | BPF_NEG, 0),
		       BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, -15, 0, 1), RET(SECCOMP_RET_ALLOW), RET(SECCOMP_RET_KILL_PROCESS))));
}

static void calls_it(void)
{
	errno = 0;
	long r = syscall(SYS_getppid);
	_exit(r == -1 ? errno : 2);
}

static void caught(int s, siginfo_t *si, void *uc)
{
	ucontext_t *u = uc;
	say("siginfo", "%d %d %d %d %s", s, si->si_code, si->si_errno, si->si_syscall, yes(si->si_arch == AUDIT_ARCH_X86_64));
	say("place", "%s %lld", yes((long long)si->si_call_addr == u->uc_mcontext.gregs[REG_RIP]), u->uc_mcontext.gregs[REG_RAX]);
	u->uc_mcontext.gregs[REG_RAX] = -EDOM;
}

static unsigned verdict;

static void with_verdict(void)
{
	struct sigaction sa = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO};
	sigaction(SIGSYS, &sa, NULL);
	answers(verdict);
	calls_it();
}

static void actions(void)
{
	static const unsigned all[] = {
		SECCOMP_RET_ALLOW, SECCOMP_RET_LOG, SECCOMP_RET_ERRNO | EXDEV, SECCOMP_RET_ERRNO, SECCOMP_RET_TRAP | 99,
		SECCOMP_RET_KILL_THREAD, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_TRACE, SECCOMP_RET_USER_NOTIF, 0x12340000, 0x80000001,
	};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		verdict = all[i];
		char name[32];
		snprintf(name, sizeof name, "%x", verdict);
		say(name, "%s", status(child(with_verdict)));
	}
}

static void installs_twice(void)
{
	prepare();
	install(0, PROG(NR, ON(SYS_getppid, SECCOMP_RET_ERRNO | 5), ON(SYS_getuid, SECCOMP_RET_ERRNO | 6), RET(SECCOMP_RET_ALLOW)));
	install(0, PROG(NR, ON(SYS_getppid, SECCOMP_RET_ERRNO | 9), ON(SYS_getuid, SECCOMP_RET_TRACE), RET(SECCOMP_RET_ALLOW)));
	say("the newer", "%s", ret(syscall(SYS_getppid)));
	say("the stricter", "%s", ret(syscall(SYS_getuid)));
	say("lines", "%s", procline(getpid(), "Seccomp:"));
	say("count", "%s", procline(getpid(), "Seccomp_filters:"));
	say("nnp", "%s", procline(getpid(), "NoNewPrivs:"));
	say("prctl", "%s", ret(prctl(PR_GET_SECCOMP)));
	say("strict now", "%s", ret(prctl(PR_SET_SECCOMP, 1)));
}

static void overfills(void)
{
	prepare();
	static struct sock_filter many[4096];
	for (int i = 0; i < 4096; i++)
		many[i] = (struct sock_filter)RET(SECCOMP_RET_ALLOW);
	int n = 0;
	while (n < 100 && install(0, (struct sock_fprog){4090, many}) == 0)
		n++;
	say("of 4090", "%d %s", n, errname(errno));
	n = 0;
	while (n < 100 && install(0, (struct sock_fprog){1, many}) == 0)
		n++;
	say("of 1", "%d %s", n, errname(errno));
}

static void arguments(void)
{
	uint32_t a;
	for (unsigned i = 0; i < 2; i++)
		say("strict with flags or arguments", "%s", ret(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 1 - i, i ? &a : NULL)));
	say("operation", "%s", ret(syscall(SYS_seccomp, 77, 0, NULL)));
	say("flags", "%s", ret(install(1 << 20, PROG(RET(SECCOMP_RET_ALLOW)))));
	say("no struct", "%s", ret(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL)));
	static const unsigned all[] = {SECCOMP_RET_ALLOW, SECCOMP_RET_LOG, SECCOMP_RET_ERRNO, SECCOMP_RET_TRAP, SECCOMP_RET_TRACE,
				       SECCOMP_RET_KILL_THREAD, SECCOMP_RET_KILL_PROCESS, 0x12340000, 1};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		a = all[i];
		say("available", "%s", ret(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &a)));
	}
	say("with flags", "%s", ret(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 1, &a)));
	say("nowhere", "%s", ret(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, NULL)));
	say("mode", "%s", ret(prctl(PR_SET_SECCOMP, 3)));
	say("now", "%s", ret(prctl(PR_GET_SECCOMP)));
}

static void unprivileged(void)
{
	if (setuid(1000))
		_exit(9);
	say("without no_new_privs", "%s", ret(install(0, PROG(RET(SECCOMP_RET_ALLOW)))));
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	say("with it", "%s", ret(install(0, PROG(RET(SECCOMP_RET_ALLOW)))));
}

static void goes_strict(void)
{
	int fd = dup(1);
	syscall(SYS_prctl, PR_SET_SECCOMP, 1);
	if (write(fd, "", 0) == 0)
		syscall(SYS_getppid);
	_exit(1);
}

static void exits_strictly(void)
{
	syscall(SYS_prctl, PR_SET_SECCOMP, 1);
	syscall(SYS_exit, 5);
}

static void filters(void)
{
	say("two filters", "%s", status(child(installs_twice)));
	say("too many", "%s", status(child(overfills)));
	say("arguments", "%s", status(child(arguments)));
	say("strict", "%s", status(child(goes_strict)));
	say("strict, exit", "%s", status(child(exits_strictly)));
}

static void privileges(void)
{
	say("user", "%s", status(child(unprivileged)));
}

static volatile int go, done;
static volatile long seen;

static void *asks(void *arg)
{
	if (arg)
		install(0, PROG(RET(SECCOMP_RET_ALLOW)));
	done++;
	while (!go)
		sleep_ms(1);
	errno = 0;
	seen = syscall(SYS_getppid) == -1 ? errno : 0;
	return NULL;
}

static void syncs(int flags, int other)
{
	pthread_t t;
	prepare();
	pthread_create(&t, NULL, asks, (void *)(long)other);
	while (!done)
		sleep_ms(1);
	long r = install(flags, PROG(NR, ON(SYS_getppid, SECCOMP_RET_ERRNO | 33), RET(SECCOMP_RET_ALLOW)));
	say("result", "%s", r > 0 ? "a thread" : ret(r));
	go = 1;
	pthread_join(t, NULL);
	say("the thread", "%ld", seen);
}

static void plain(void)
{
	syncs(0, 0);
}

static void synced(void)
{
	syncs(SECCOMP_FILTER_FLAG_TSYNC, 0);
}

static void diverged(void)
{
	syncs(SECCOMP_FILTER_FLAG_TSYNC, 1);
}

static void diverged_esrch(void)
{
	syncs(SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH, 1);
}

static void *dies(void *arg)
{
	answers(SECCOMP_RET_KILL_THREAD);
	syscall(SYS_getppid);
	return arg;
}

static void survives(void)
{
	pthread_t t;
	pthread_create(&t, NULL, dies, NULL);
	sleep_ms(50);
	_exit(6);
}

static void threads(void)
{
	say("alone", "%s", status(child(plain)));
	say("TSYNC", "%s", status(child(synced)));
	say("TSYNC of others", "%s", status(child(diverged)));
	say("TSYNC_ESRCH", "%s", status(child(diverged_esrch)));
	say("KILL_THREAD", "%s", status(child(survives)));
}

static void traced(void)
{
	answers(SECCOMP_RET_TRACE | 321);
	calls_it();
}

static void tracer(void)
{
	for (int i = 0; i < 4; i++) {
		pid_t p = traced_child(traced);
		waits(p);
		trace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACESECCOMP);
		trace(PTRACE_CONT, p, 0, 0);
		say("event", "%s %lu", waits(p), message(p));
		struct user_regs_struct r;
		trace(PTRACE_GETREGS, p, 0, &r);
		say("registers", "%lld %lld", r.orig_rax, r.rax);
		struct {
			uint8_t op, pad[87];
		} info;
		say("info", "%ld %d", trace(PTRACE_GET_SYSCALL_INFO, p, sizeof info, &info), info.op);
		if (i == 1) {
			r.orig_rax = -1;
			r.rax = -EDOM;
		} else if (i == 2) {
			r.orig_rax = SYS_getpid;
		}
		trace(PTRACE_SETREGS, p, 0, &r);
		if (i == 3)
			kill(p, SIGKILL);
		else
			trace(PTRACE_CONT, p, 0, 0);
		say("end", "%s", waits(p));
	}
	// A trap, and a kill, as the tracer sees them.
	verdict = SECCOMP_RET_TRAP | 5;
	pid_t p = traced_child(with_verdict);
	waits(p);
	trace(PTRACE_CONT, p, 0, 0);
	say("trap", "%s", waits(p));
	trace(PTRACE_CONT, p, 0, SIGSYS);
	say("end", "%s", waits(p));
	verdict = SECCOMP_RET_KILL_PROCESS;
	p = traced_child(with_verdict);
	waits(p);
	trace(PTRACE_CONT, p, 0, 0);
	say("kill", "%s", waits(p));
}

static const struct section table[] = {
	{"checks", checks}, {"actions", actions}, {"filters", filters}, {"privileges", privileges},
	{"threads", threads}, {"tracer", tracer},
};

GUEST(table)
