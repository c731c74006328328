// ptrace(2): how a tracer takes a process, what it sees of its calls, signals and stops, and
// what it can change.
#include "ptrace.h"

static void nothing(void)
{
}

static void traceme(void)
{
	pid_t p = fork();
	if (p == 0) {
		long a = trace(PTRACE_TRACEME, 0, 0, 0);
		long b = trace(PTRACE_TRACEME, 0, 0, 0);
		_exit(a == 0 && b == -1 && errno == EPERM ? 3 : 4);
	}
	say("traceme twice", "%s", waits(p));
	p = traced_child(nothing);
	say("raise", "%s", waits(p));
	say("cont 0", "%s", ret(trace(PTRACE_CONT, p, 0, 0)));
	say("end", "%s", waits(p));
	p = traced_child(nothing);
	waits(p);
	say("bad signal", "%s", ret(trace(PTRACE_CONT, p, 0, 65)));
	say("kill by signal", "%s", ret(trace(PTRACE_CONT, p, 0, SIGTERM)));
	say("killed", "%s", waits(p));
	say("gone", "%s", ret(trace(PTRACE_CONT, p, 0, 0)));
	p = traced_child(nothing);
	waits(p);
	say("PTRACE_KILL", "%s", ret(trace(PTRACE_KILL, p, 0, 0)));
	say("killed", "%s", waits(p));
	p = traced_child(nothing);
	waits(p);
	say("kill in a stop", "%s", ret(kill(p, SIGKILL)));
	say("killed", "%s", waits(p));
	p = traced_child(nothing);
	siginfo_t si = {0};
	waitid(P_PID, p, &si, WSTOPPED | WNOWAIT);
	say("waitid", "%d %d", si.si_code, si.si_status);
	memset(&si, 0, sizeof si);
	waitid(P_PID, p, &si, WEXITED);
	say("waitid without WSTOPPED", "%d %d", si.si_code, si.si_status);
	memset(&si, 0, sizeof si);
	say("once only", "%s", ret(waitid(P_PID, p, &si, WSTOPPED | WNOHANG)));
	say("nothing", "%d", si.si_code);
	say("unknown request", "%s", ret(trace(9999, p, 0, 0)));
	say("detach", "%s", ret(trace(PTRACE_DETACH, p, 0, 0)));
	say("end", "%s", waits(p));
	say("no process", "%s", ret(trace(PTRACE_ATTACH, 999999, 0, 0)));
	say("itself", "%s", ret(trace(PTRACE_ATTACH, getpid(), 0, 0)));
	say("not traced", "%s", ret(trace(PTRACE_CONT, getppid(), 0, 0)));
}

static void attach(void)
{
	pid_t p = fork();
	if (p == 0)
		sleeps();
	say("attach", "%s", ret(trace(PTRACE_ATTACH, p, 0, 0)));
	say("stops", "%s", waits(p));
	siginfo_t si = {0};
	say("siginfo", "%s", ret(trace(PTRACE_GETSIGINFO, p, 0, &si)));
	say("siginfo is", "%d %d %d", si.si_signo, si.si_code, si.si_pid);
	say("attach twice", "%s", ret(trace(PTRACE_ATTACH, p, 0, 0)));
	say("cont", "%s", ret(trace(PTRACE_CONT, p, 0, 0)));
	say("running", "%s", ret(trace(PTRACE_CONT, p, 0, 0)));
	kill(p, SIGUSR1);
	say("signal", "%s", waits(p));
	trace(PTRACE_GETSIGINFO, p, 0, &si);
	say("siginfo is", "%d %d %s", si.si_signo, si.si_code, yes(si.si_pid == getpid()));
	say("dropped", "%s", ret(trace(PTRACE_CONT, p, 0, 0)));
	kill(p, SIGCHLD);
	say("an ignored signal", "%s", waits(p));
	say("detach with a signal", "%s", ret(trace(PTRACE_DETACH, p, 0, SIGUSR2)));
	say("end", "%s", waits(p));

	// A process stopped already.
	p = fork();
	if (p == 0)
		sleeps();
	kill(p, SIGSTOP);
	int st;
	waitpid(p, &st, WUNTRACED);
	say("stopped", "%s", stop(st));
	say("attach", "%s", ret(trace(PTRACE_ATTACH, p, 0, 0)));
	say("stop", "%s", waits(p));
	say("siginfo", "%s", ret(trace(PTRACE_GETSIGINFO, p, 0, &si)));
	say("cont", "%s", ret(trace(PTRACE_CONT, p, 0, 0)));
	say("next", "%s", waits(p));
	say("siginfo", "%s", ret(trace(PTRACE_GETSIGINFO, p, 0, &si)));
	say("detach", "%s", ret(trace(PTRACE_DETACH, p, 0, 0)));
	comes_to(p, 'T');
	say("state", "%.8s", procline(p, "State:"));
	kill(p, SIGKILL);
	say("end", "%s", waits(p));
}

static void proc(void)
{
	pid_t p = traced_child(nothing);
	waits(p);
	say("state", "%s", procline(p, "State:"));
	char want[32];
	snprintf(want, sizeof want, "TracerPid:\t%d", getpid());
	say("tracer", "%s", yes(!strcmp(procline(p, "TracerPid:"), want)));
	trace(PTRACE_DETACH, p, 0, SIGKILL);
	waits(p);
	say("own tracer", "%s", procline(getpid(), "TracerPid:"));
}

static volatile long word = 0x1122334455667788;
static long pair[2] = {1, 2};

static void exits_with_word(void)
{
	_exit(word == 0x5a5a ? 21 : 22);
}

static void memory(void)
{
	pid_t p = traced_child(exits_with_word);
	waits(p);
	long v = 0;
	say("peek", "%s %lx", ret(syscall(SYS_ptrace, PTRACE_PEEKDATA, p, &word, &v)), v);
	say("peek nowhere", "%s", ret(syscall(SYS_ptrace, PTRACE_PEEKDATA, p, 16, &v)));
	say("peek to nowhere", "%s", ret(syscall(SYS_ptrace, PTRACE_PEEKDATA, p, &word, 16)));
	say("peek unaligned", "%s %lx", ret(syscall(SYS_ptrace, PTRACE_PEEKTEXT, p, (char *)pair + 4, &v)), v);
	say("poke", "%s", ret(trace(PTRACE_POKEDATA, p, &word, 0x5a5a)));
	say("poke nowhere", "%s", ret(trace(PTRACE_POKEDATA, p, 16, 1)));
	long text = ptrace(PTRACE_PEEKTEXT, p, memory, 0);
	say("text", "%s", yes(text == *(long *)memory));
	say("poke text", "%s", ret(trace(PTRACE_POKETEXT, p, memory, text ^ 0xff)));
	say("changed", "%s", yes(ptrace(PTRACE_PEEKTEXT, p, memory, 0) == (text ^ 0xff)));
	say("own text", "%s", yes(text == *(long *)memory));
	struct iovec l = {&v, 8}, r = {(void *)&word, 8};
	say("process_vm_readv", "%s %lx", ret(process_vm_readv(p, &l, 1, &r, 1, 0)), v);
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/mem", p);
	int fd = open(path, O_RDWR);
	v = 0x77;
	say("mem", "%s", ret(pwrite(fd, &v, 8, (off_t)(long)&pair[1])));
	say("mem is", "%lx", ptrace(PTRACE_PEEKDATA, p, &pair[1], 0));
	close(fd);
	trace(PTRACE_CONT, p, 0, 0);
	say("end", "%s", waits(p));
}

static void exits_with_rbx(void)
{
	long v;
	__asm__ volatile("mov $5, %%rbx; int3; mov %%rbx, %0" : "=r"(v) : : "rbx");
	_exit(v);
}

static void registers(void)
{
	pid_t p = traced_child(exits_with_rbx);
	waits(p);
	trace(PTRACE_CONT, p, 0, 0);
	say("int3", "%s", waits(p));
	siginfo_t si = {0};
	trace(PTRACE_GETSIGINFO, p, 0, &si);
	say("siginfo", "%d %x", si.si_signo, si.si_code);
	struct user_regs_struct r;
	say("getregs", "%s rbx %llx orig_rax %llx", ret(trace(PTRACE_GETREGS, p, 0, &r)), r.rbx, r.orig_rax);
	say("cs ss", "%llx %llx %llx", r.cs, r.ss, r.eflags & 0x300);
	long v = ptrace(PTRACE_PEEKTEXT, p, (void *)r.rip - 1, 0);
	say("behind", "%lx", v & 0xff);
	say("peekuser", "%s %lx", ret(syscall(SYS_ptrace, PTRACE_PEEKUSER, p, offsetof(struct user, regs.rbx), &v)), v);
	say("unaligned", "%s", ret(syscall(SYS_ptrace, PTRACE_PEEKUSER, p, 3, &v)));
	say("behind all", "%s", ret(syscall(SYS_ptrace, PTRACE_PEEKUSER, p, sizeof(struct user) + 16, &v)));
	say("debug", "%s %lx", ret(syscall(SYS_ptrace, PTRACE_PEEKUSER, p, offsetof(struct user, u_debugreg[7]), &v)), v);
	say("debug status", "%s %lx", ret(syscall(SYS_ptrace, PTRACE_PEEKUSER, p, offsetof(struct user, u_debugreg[6]), &v)), v);
	say("other field", "%s %lx", ret(syscall(SYS_ptrace, PTRACE_PEEKUSER, p, offsetof(struct user, magic), &v)), v);
	say("poke it", "%s", ret(trace(PTRACE_POKEUSER, p, offsetof(struct user, magic), 1)));
	say("pokeuser", "%s", ret(trace(PTRACE_POKEUSER, p, offsetof(struct user, regs.rbx), 9)));
	say("cs 0", "%s", ret(trace(PTRACE_POKEUSER, p, offsetof(struct user, regs.cs), 0)));
	say("ds of ring 0", "%s", ret(trace(PTRACE_POKEUSER, p, offsetof(struct user, regs.ds), 0x18)));
	say("fs_base", "%s", ret(trace(PTRACE_POKEUSER, p, offsetof(struct user, regs.fs_base), 1UL << 48)));
	say("flags", "%s", ret(trace(PTRACE_POKEUSER, p, offsetof(struct user, regs.eflags), ~0x100UL)));
	say("flags are", "%lx", ptrace(PTRACE_PEEKUSER, p, offsetof(struct user, regs.eflags), 0) & ~0x4000L);
	trace(PTRACE_POKEUSER, p, offsetof(struct user, regs.eflags), 0);
	trace(PTRACE_GETREGS, p, 0, &r);
	say("rbx", "%lld", r.rbx);
	r.rbx = 33;
	say("setregs", "%s", ret(trace(PTRACE_SETREGS, p, 0, &r)));
	struct iovec iov = {&r, sizeof r};
	memset(&r, 0, sizeof r);
	say("regset", "%s %zu rbx %lld", ret(trace(PTRACE_GETREGSET, p, NT_PRSTATUS, &iov)), iov.iov_len, r.rbx);
	iov.iov_len = 48;
	r.rbx = 34;
	say("set a part", "%s %zu", ret(trace(PTRACE_SETREGSET, p, NT_PRSTATUS, &iov)), iov.iov_len);
	iov.iov_len = 47;
	say("odd length", "%s", ret(trace(PTRACE_GETREGSET, p, NT_PRSTATUS, &iov)));
	iov.iov_len = 1000;
	say("unknown set", "%s", ret(trace(PTRACE_GETREGSET, p, 0x7777, &iov)));
	trace(PTRACE_CONT, p, 0, 0);
	say("end", "%s", waits(p));
}

static void exits_with_xmm(void)
{
	long v = 3;
	__asm__ volatile("movq %0, %%xmm7; int3; movq %%xmm7, %0" : "+r"(v) : : "xmm7");
	_exit(v);
}

static void floating(void)
{
	pid_t p = traced_child(exits_with_xmm);
	waits(p);
	trace(PTRACE_CONT, p, 0, 0);
	waits(p);
	struct user_fpregs_struct f;
	say("getfpregs", "%s %x %x", ret(trace(PTRACE_GETFPREGS, p, 0, &f)), f.cwd, f.mxcsr);
	say("xmm7", "%d", f.xmm_space[28]);
	f.xmm_space[28] = 44;
	say("setfpregs", "%s", ret(trace(PTRACE_SETFPREGS, p, 0, &f)));
	f.mxcsr = 0xffffffff;
	say("bad mxcsr", "%s", ret(trace(PTRACE_SETFPREGS, p, 0, &f)));
	static char x[65536] __attribute__((aligned(64)));
	struct iovec iov = {x, sizeof x};
	say("xstate", "%s", ret(trace(PTRACE_GETREGSET, p, NT_X86_XSTATE, &iov)));
	size_t whole = iov.iov_len;
	say("xmm7 there", "%d", *(int *)(x + 160 + 7 * 16));
	say("features", "%s", yes((x[464] & 3) == 3));
	*(int *)(x + 160 + 7 * 16) = 45;
	say("set xstate", "%s", ret(trace(PTRACE_SETREGSET, p, NT_X86_XSTATE, &iov)));
	iov.iov_len = 512;
	say("set a part", "%s", ret(trace(PTRACE_SETREGSET, p, NT_X86_XSTATE, &iov)));
	iov.iov_len = whole;
	x[520] = 1;
	say("bad header", "%s", ret(trace(PTRACE_SETREGSET, p, NT_X86_XSTATE, &iov)));
	trace(PTRACE_CONT, p, 0, 0);
	say("end", "%s", waits(p));
}

static volatile int handled;

static void counts(int s)
{
	handled = s;
}

static void raises(void)
{
	signal(SIGUSR1, counts);
	signal(SIGUSR2, counts);
	raise(SIGUSR1);
	_exit(handled);
}

static void signals(void)
{
	pid_t p = traced_child(raises);
	waits(p);
	trace(PTRACE_CONT, p, 0, 0);
	say("signal", "%s", waits(p));
	trace(PTRACE_CONT, p, 0, SIGUSR1);
	say("delivered", "%s", waits(p));
	p = traced_child(raises);
	waits(p);
	trace(PTRACE_CONT, p, 0, 0);
	waits(p);
	trace(PTRACE_CONT, p, 0, 0);
	say("suppressed", "%s", waits(p));
	p = traced_child(raises);
	waits(p);
	trace(PTRACE_CONT, p, 0, 0);
	waits(p);
	trace(PTRACE_CONT, p, 0, SIGUSR2);
	say("another", "%s", waits(p));

	p = traced_child(raises);
	waits(p);
	uint64_t mask = 0;
	say("mask", "%s %lx", ret(trace(PTRACE_GETSIGMASK, p, 8, &mask)), mask);
	say("mask size", "%s", ret(trace(PTRACE_GETSIGMASK, p, 4, &mask)));
	mask = ~0UL;
	say("set mask", "%s", ret(trace(PTRACE_SETSIGMASK, p, 8, &mask)));
	trace(PTRACE_GETSIGMASK, p, 8, &mask);
	say("mask is", "%lx", mask);
	mask = 1UL << (SIGUSR2 - 1);
	trace(PTRACE_SETSIGMASK, p, 8, &mask);
	kill(p, SIGUSR2);
	sigqueue(p, SIGUSR2, (union sigval){.sival_int = 5});
	struct __ptrace_peeksiginfo_args a = {0, 0, 4};
	siginfo_t si[4];
	memset(si, 0, sizeof si);
	say("peek own", "%s", ret(trace(PTRACE_PEEKSIGINFO, p, &a, si)));
	a.flags = PTRACE_PEEKSIGINFO_SHARED;
	say("peek shared", "%s %d %d", ret(trace(PTRACE_PEEKSIGINFO, p, &a, si)), si[0].si_signo, si[0].si_code);
	a.nr = -1;
	say("peek -1", "%s", ret(trace(PTRACE_PEEKSIGINFO, p, &a, si)));
	a.nr = 1, a.off = 1;
	say("peek behind", "%s", ret(trace(PTRACE_PEEKSIGINFO, p, &a, si)));
	trace(PTRACE_CONT, p, 0, 0);
	say("next", "%s", waits(p));
	si[0].si_signo = SIGUSR1;
	si[0].si_code = SI_QUEUE;
	say("set siginfo", "%s", ret(trace(PTRACE_SETSIGINFO, p, 0, si)));
	trace(PTRACE_GETSIGINFO, p, 0, &si[1]);
	say("siginfo is", "%d %d", si[1].si_signo, si[1].si_code);
	kill(p, SIGKILL);
	say("end", "%s", waits(p));
}

static void children(void)
{
	// The tracer hears of its child's stops by SIGCHLD too.
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGCHLD);
	sigprocmask(SIG_BLOCK, &s, NULL);
	pid_t p = traced_child(nothing);
	siginfo_t si;
	sigwaitinfo(&s, &si);
	say("SIGCHLD", "%d %d %s", si.si_code, si.si_status, yes(si.si_pid == p));
	waits(p);
	trace(PTRACE_CONT, p, 0, 0);
	sigwaitinfo(&s, &si);
	say("SIGCHLD", "%d %d", si.si_code, si.si_status);
	say("end", "%s", waits(p));
	// A tracer that is not the parent sees the end first.
	int up[2], down[2];
	if (pipe(up) || pipe(down))
		return;
	p = fork();
	if (p == 0) {
		char c;
		_exit(read(down[0], &c, 1) == 1 ? 5 : 6);
	}
	pid_t tracer = fork();
	if (tracer == 0) {
		char c = 'x';
		trace(PTRACE_SEIZE, p, 0, 0);
		if (write(up[1], &c, 1) != 1)
			_exit(1);
		siginfo_t i;
		waitid(P_PID, p, &i, WEXITED | WNOWAIT);
		int st = 0;
		if (write(up[1], &c, 1) != 1 || read(down[0], &c, 1) != 1)
			_exit(1);
		waitpid(p, &st, 0);
		_exit(WEXITSTATUS(st));
	}
	char c;
	if (read(up[0], &c, 1) != 1 || write(down[1], &c, 1) != 1)
		return;
	if (read(up[0], &c, 1) != 1)
		return;
	say("before the tracer waited", "%s", ret(waitpid(p, NULL, WNOHANG)));
	if (write(down[1], &c, 1) != 1)
		return;
	say("after", "%s", waits(p));
	say("the tracer saw", "%s", waits(tracer));
	// A tracer that ends lets its tracees go on.
	p = fork();
	if (p == 0) {
		sleep_ms(100);
		_exit(8);
	}
	tracer = fork();
	if (tracer == 0) {
		trace(PTRACE_ATTACH, p, 0, 0);
		waits(p);
		_exit(0);
	}
	say("tracer", "%s", waits(tracer));
	say("tracee", "%s", waits(p));
	p = fork();
	if (p == 0)
		sleeps();
	tracer = fork();
	if (tracer == 0) {
		trace(PTRACE_SEIZE, p, 0, PTRACE_O_EXITKILL);
		_exit(0);
	}
	say("tracer", "%s", waits(tracer));
	say("PTRACE_O_EXITKILL", "%s", waits(p));
}

static void execs(void)
{
	execl("/bin/true", "true", (char *)0);
}

static void exec(void)
{
	pid_t p = traced_child(execs);
	waits(p);
	trace(PTRACE_CONT, p, 0, 0);
	say("exec", "%s", waits(p));
	siginfo_t si = {0};
	trace(PTRACE_GETSIGINFO, p, 0, &si);
	say("siginfo", "%d %s", si.si_code, yes(si.si_pid == p));
	trace(PTRACE_CONT, p, 0, 0);
	say("end", "%s", waits(p));
}

static void access_(void)
{
	pid_t p = fork();
	if (p == 0) {
		prctl(PR_SET_DUMPABLE, 0);
		sleeps();
	}
	asleep(p);
	say("as root", "%s", ret(trace(PTRACE_SEIZE, p, 0, 0)));
	kill(p, SIGKILL);
	waits(p);
	p = fork();
	if (p == 0) {
		if (setgid(1000) || setuid(1000))
			_exit(9);
		pid_t q = fork();
		if (q == 0)
			sleeps();
		say("same user, dumpable 0", "%s", ret(trace(PTRACE_SEIZE, q, 0, 0)));
		kill(q, SIGKILL);
		waitpid(q, NULL, 0);
		prctl(PR_SET_DUMPABLE, 1);
		q = fork();
		if (q == 0)
			sleeps();
		say("same user", "%s", ret(trace(PTRACE_SEIZE, q, 0, 0)));
		kill(q, SIGKILL);
		waitpid(q, NULL, 0);
		say("root's", "%s", ret(trace(PTRACE_SEIZE, getppid(), 0, 0)));
		long v;
		struct iovec l = {&v, 8};
		say("root's memory", "%s", ret(process_vm_readv(getppid(), &l, 1, &l, 1, 0)));
		_exit(0);
	}
	say("user", "%s", waits(p));
}

static const struct section table[] = {
	{"traceme", traceme}, {"attach", attach}, {"proc", proc}, {"memory", memory},
	{"registers", registers}, {"floating", floating}, {"signals", signals},
	{"children", children}, {"exec", exec}, {"access", access_},
};

GUEST(table)
