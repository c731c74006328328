// What a handler sees and what survives it: the frame's registers, faults' codes,
// the alternate stack, floating-point and vector state, sigreturn with changes.
#include "guest.h"
#include <cpuid.h>
#include <immintrin.h>
#include <ucontext.h>

static volatile int signo, code, hits;
static volatile long detail;
static void *volatile where;

static void skip(int s, siginfo_t *i, void *u)
{
	ucontext_t *uc = u;
	signo = s;
	code = i->si_code;
	where = i->si_addr;
	hits++;
	detail = uc->uc_mcontext.gregs[REG_ERR];
	// The faulting code put where to go on in r10.
	uc->uc_mcontext.gregs[REG_RIP] = uc->uc_mcontext.gregs[REG_R10];
	uc->uc_mcontext.gregs[REG_EFL] &= ~0x100L;
}

static void on(int sig, void (*f)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = {.sa_sigaction = f, .sa_flags = SA_SIGINFO | flags};
	sigaction(sig, &sa, NULL);
}

// TRAP runs one instruction and goes on behind it, also when it faults.
#define TRAP(insn, ...) asm volatile("lea 1f(%%rip), %%r10\n" insn "\n1:" ::__VA_ARGS__ : "r10", "rax", "rdx", "rcx", "memory")

static void report(const char *name)
{
	say(name, "%s code %d", hits ? signame(signo) : "none", hits ? code : 0);
	hits = 0;
}

static void faults(void)
{
	int sigs[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
	for (int i = 0; i < 5; i++)
		on(sigs[i], skip, SA_NODEFER);
	TRAP("xor %%edx, %%edx\nmov $1, %%eax\nxor %%ecx, %%ecx\ndivl %%ecx");
	report("divide by zero");
	TRAP("mov $0x80000000, %%eax\ncltd\nmov $-1, %%ecx\nidivl %%ecx");
	report("divide overflow");
	TRAP("ud2");
	report("ud2");
	TRAP("hlt");
	report("hlt");
	TRAP("cli");
	report("cli");
	TRAP("in $0x70, %%al");
	report("in");
	TRAP("mov %%cr0, %%rax");
	report("read cr0");
	TRAP("int3");
	report("int3");
	TRAP("int $0x03");
	report("int 3 long form");
	TRAP("int $0x21");
	report("int 0x21");
	TRAP("mov 0, %%rax");
	report("read null");
	TRAP("mov %%rax, 0");
	report("write null");
	// Whether it was a write is what not every platform tells.
	say("error code", "%ld", detail & ~2);
	TRAP("movabs $0x8000000000000000, %%rax\nmov (%%rax), %%rax");
	report("non-canonical");
	TRAP("movaps (%0), %%xmm0", "r"((char *)&detail + 1));
	report("unaligned movaps");
	TRAP("mov $0x123456, %%rax\njmp *%%rax");
	report("jump to nothing");
	say("address", "%lx", (long)where);
	TRAP("mov $0x1000, %%ax\nmov %%ax, %%ds");
	report("bad selector");
	// Single step: the flag traps after the next instruction.
	TRAP("pushf\norl $0x100, (%%rsp)\npopf\nnop");
	report("single step");
	unsigned int mx = 0x1f80 & ~0x200;
	volatile float zero = 0, one = 1;
	asm volatile("lea 1f(%%rip), %%r10\nldmxcsr %0\nmovss %1, %%xmm0\ndivss %2, %%xmm0\n1:" ::"m"(mx), "m"(one), "m"(zero) : "r10", "xmm0");
	report("SSE divide by zero");
	mx = 0x1f80;
	asm volatile("ldmxcsr %0" ::"m"(mx));
}

static volatile long seen[16];

static void regs_seen(int s, siginfo_t *i, void *u)
{
	(void)s;
	(void)i;
	greg_t *g = ((ucontext_t *)u)->uc_mcontext.gregs;
	int r[] = {REG_RBX, REG_R12, REG_R13, REG_R14, REG_R15, REG_R8, REG_R9};
	for (int k = 0; k < 7; k++) {
		seen[k] = g[r[k]];
		g[r[k]] += 100;
	}
	seen[7] = g[REG_CSGSFS] & 0xffff;
	seen[8] = (g[REG_EFL] & 0x1) != 0;
	g[REG_EFL] ^= 0x1;
}

static void registers(void)
{
	on(SIGTRAP, regs_seen, 0);
	long out[7];
	unsigned char carry;
	asm volatile("mov $1, %%rbx\nmov $2, %%r12\nmov $3, %%r13\nmov $4, %%r14\nmov $5, %%r15\nmov $6, %%r8\nmov $7, %%r9\n"
		     "stc\nint3\nsetc %1\n"
		     "mov %%rbx, 0(%0)\nmov %%r12, 8(%0)\nmov %%r13, 16(%0)\nmov %%r14, 24(%0)\nmov %%r15, 32(%0)\nmov %%r8, 40(%0)\nmov %%r9, 48(%0)"
		     : : "D"(out), "m"(carry) : "rbx", "r12", "r13", "r14", "r15", "r8", "r9", "memory", "cc");
	say("seen", "%ld %ld %ld %ld %ld %ld %ld", seen[0], seen[1], seen[2], seen[3], seen[4], seen[5], seen[6]);
	say("changed", "%ld %ld %ld %ld %ld %ld %ld", out[0], out[1], out[2], out[3], out[4], out[5], out[6]);
	say("cs", "%lx", seen[7]);
	say("carry", "seen %ld, now %d", seen[8], carry);
}

static char *alt;
static volatile int inside, flag_inside;

static void on_alt(int s, siginfo_t *i, void *u)
{
	(void)s;
	(void)i;
	char here;
	stack_t ss;
	inside = &here > alt && &here < alt + 65536;
	sigaltstack(NULL, &ss);
	flag_inside = ss.ss_flags;
	detail = sigaltstack(&(stack_t){.ss_sp = alt, .ss_size = 65536}, NULL) == -1 ? errno : 0;
	where = ((ucontext_t *)u)->uc_stack.ss_sp;
}

static void altstack(void)
{
	alt = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t ss = {.ss_sp = alt, .ss_size = 65536}, old;
	say("none yet", "%s", (sigaltstack(NULL, &old), yes(old.ss_flags == SS_DISABLE)));
	say("set", "%s", ret(sigaltstack(&ss, NULL)));
	on(SIGUSR1, on_alt, SA_ONSTACK);
	on(SIGUSR2, on_alt, 0);
	raise(SIGUSR1);
	say("with SA_ONSTACK", "%s flags %d change %s", yes(inside), flag_inside, errname(detail));
	say("recorded in frame", "%s", yes(where == alt));
	raise(SIGUSR2);
	say("without", "%s flags %d", yes(inside), flag_inside);
	ss.ss_size = 1024;
	say("too small", "%s", ret(sigaltstack(&ss, NULL)));
	ss.ss_size = 65536;
	ss.ss_flags = 0x40;
	say("bad flags", "%s", ret(sigaltstack(&ss, NULL)));
	ss.ss_flags = (int)(1U << 31); // SS_AUTODISARM
	say("autodisarm", "%s", ret(sigaltstack(&ss, NULL)));
	raise(SIGUSR1);
	say("disarmed inside", "%s flags %d change %s", yes(inside), flag_inside, errname(detail));
	if (fork() == 0) {
		sigaltstack(NULL, &old);
		_exit(old.ss_sp == alt ? 5 : 6);
	}
	int st;
	wait(&st);
	say("kept by fork", "%s", status(st));
	ss.ss_flags = SS_DISABLE;
	say("disable", "%s", ret(sigaltstack(&ss, NULL)));
	raise(SIGUSR1);
	say("when disabled", "%s", yes(inside));
	if (fork() == 0) {
		// No room for the frame: the process dies of SIGSEGV.
		stack_t bad = {.ss_sp = (void *)PAGE, .ss_size = 65536};
		sigaltstack(&bad, NULL);
		raise(SIGUSR1);
		_exit(1);
	}
	wait(&st);
	say("bad stack", "%s", status(st));
}

static void clobber(int s)
{
	(void)s;
	hits++;
	asm volatile("pxor %%xmm0, %%xmm0\npxor %%xmm7, %%xmm7\npxor %%xmm15, %%xmm15\nfninit\nfldz\nfld1" ::: "xmm0", "xmm7", "xmm15", "st", "st(1)");
	if (__builtin_cpu_supports("avx"))
		asm volatile("vzeroall" ::: "memory");
	unsigned mx = 0x1f80;
	asm volatile("ldmxcsr %0" ::"m"(mx));
}

// vectors loads patterns, runs one system call, and compares what is left.
static const char *vectors(long nr, long a, long b)
{
	char in[8][32] __attribute__((aligned(32))), out[8][32] __attribute__((aligned(32)));
	double dout = 0;
	unsigned mxin = 0x1f80 | 0x6000, mxout = 0;
	unsigned short cwin = 0x0f7f, cwout = 0;
	for (int i = 0; i < 8; i++)
		memset(in[i], 0x11 * (i + 1), 32);
	memset(out, 0, sizeof out);
	long res;
	double pi = 3.25;
	if (__builtin_cpu_supports("avx"))
		asm volatile("fninit\nfldcw %[cwin]\nfldl %[pi]\nldmxcsr %[mxin]\n"
			     "vmovdqa 0(%[in]), %%ymm0\nvmovdqa 32(%[in]), %%ymm1\nvmovdqa 64(%[in]), %%ymm6\nvmovdqa 96(%[in]), %%ymm7\n"
			     "vmovdqa 128(%[in]), %%ymm8\nvmovdqa 160(%[in]), %%ymm13\nvmovdqa 192(%[in]), %%ymm14\nvmovdqa 224(%[in]), %%ymm15\n"
			     "syscall\n"
			     "vmovdqa %%ymm0, 0(%[out])\nvmovdqa %%ymm1, 32(%[out])\nvmovdqa %%ymm6, 64(%[out])\nvmovdqa %%ymm7, 96(%[out])\n"
			     "vmovdqa %%ymm8, 128(%[out])\nvmovdqa %%ymm13, 160(%[out])\nvmovdqa %%ymm14, 192(%[out])\nvmovdqa %%ymm15, 224(%[out])\n"
			     "stmxcsr %[mxout]\nfstcw %[cwout]\nfstpl %[dout]\nfninit\nvzeroupper"
			     : "=a"(res), [mxout] "=m"(mxout), [cwout] "=m"(cwout), [dout] "=m"(dout)
			     : "0"(nr), "D"(a), "S"(b), "d"(0L), [in] "r"(in), [out] "r"(out), [mxin] "m"(mxin), [cwin] "m"(cwin), [pi] "m"(pi)
			     : "rcx", "r11", "memory", "xmm0", "xmm1", "xmm6", "xmm7", "xmm8", "xmm13", "xmm14", "xmm15");
	else
		return "no avx";
	unsigned mx = 0x1f80;
	asm volatile("ldmxcsr %0" ::"m"(mx));
	if (nr == SYS_fork && res == 0)
		_exit(memcmp(in, out, sizeof in) || mxin != mxout || cwin != cwout || dout != pi);
	char *p = scratch();
	snprintf(p, 256, "ymm %s mxcsr %s fcw %s st0 %s", yes(!memcmp(in, out, sizeof in)), yes((mxout & ~0x3f) == (mxin & ~0x3f)), yes(cwin == cwout), yes(dout == pi));
	return p;
}

static void fpu(void)
{
	signal(SIGUSR1, clobber);
	say("call", "%s", vectors(SYS_getppid, 0, 0));
	say("blocking call", "%s", vectors(SYS_nanosleep, (long)&(struct timespec){0, 20 * MS}, 0));
	say("yield", "%s", vectors(SYS_sched_yield, 0, 0));
	say("signal", "%s", vectors(SYS_kill, getpid(), SIGUSR1));
	say("handler ran", "%d", hits);
	say("fork, parent", "%s", vectors(SYS_fork, 0, 0));
	int st;
	wait(&st);
	say("fork, child", "%s", status(st));
	// Two processes that compute at once keep their vectors apart.
	for (int k = 0; k < 2; k++)
		if (fork() == 0) {
			double x = k + 1.5, sum = 0;
			for (int i = 0; i < 2000000; i++)
				sum += x * i;
			for (int i = 0; i < 200; i++) {
				double y = x;
				asm volatile("movsd %0, %%xmm9\nmov $24, %%eax\nsyscall\nmovsd %%xmm9, %0" : "+m"(y)::"rax", "rcx", "r11", "xmm9", "memory");
				if (y != x)
					_exit(1);
			}
			_exit(sum != x * (1999999.0 * 2000000 / 2));
		}
	wait(&st);
	say("one", "%s", status(st));
	wait(&st);
	say("other", "%s", status(st));
}

static void frame_fpu(int s, siginfo_t *i, void *u)
{
	(void)s;
	(void)i;
	ucontext_t *uc = u;
	struct _libc_fpstate *f = uc->uc_mcontext.fpregs;
	// Software-reserved bytes hold FP_XSTATE_MAGIC1 and the sizes.
	uint32_t *sw = (uint32_t *)((char *)f + 464);
	detail = sw[0] == 0x46505853;
	if (detail) {
		uint32_t ext = sw[1];
		detail = *(uint32_t *)((char *)f + ext - 4) == 0x46505845 ? 2 : 1;
	}
	seen[0] = f->_xmm[3].element[0];
	f->_xmm[3].element[0] = 4242;
	seen[1] = f->cwd;
	seen[2] = (uintptr_t)f % 64;
	seen[3] = uc->uc_flags & 1;
}

static void frames(void)
{
	on(SIGTRAP, frame_fpu, 0);
	int v = 1717, w = 0;
	asm volatile("movd %1, %%xmm3\nint3\nmovd %%xmm3, %0" : "=r"(w) : "r"(v) : "xmm3");
	say("xmm3 in frame", "%ld", seen[0]);
	say("xmm3 changed by handler", "%d", w);
	say("fcw", "%lx", seen[1]);
	say("aligned", "%ld", seen[2]);
	say("extended state magic", "%ld", detail);
	say("uc_flags xstate", "%ld", seen[3]);
}

static volatile sig_atomic_t go_on;

static void to_func(int s, siginfo_t *i, void *u)
{
	(void)s;
	(void)i;
	ucontext_t *uc = u;
	uc->uc_mcontext.gregs[REG_RAX] = 12345;
	sigaddset(&uc->uc_sigmask, SIGUSR2);
}

static void sigreturns(void)
{
	on(SIGTRAP, to_func, 0);
	long rax;
	asm volatile("mov $1, %%rax\nint3" : "=a"(rax)::"memory");
	say("changed result", "%ld", rax);
	sigset_t s;
	sigprocmask(SIG_SETMASK, NULL, &s);
	say("changed mask", "%s", yes(sigismember(&s, SIGUSR2)));
	if (fork() == 0) {
		// A sigreturn with no frame below it.
		char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		asm volatile("mov %0, %%rsp\nmov $15, %%eax\nsyscall\nhlt" ::"r"(p + PAGE) : "memory");
	}
	int st;
	wait(&st);
	say("no frame", "%s", status(st));
	if (fork() == 0) {
		char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		memset(p, 0xff, 4 * PAGE);
		asm volatile("mov %0, %%rsp\nmov $15, %%eax\nsyscall\nhlt" ::"r"(p + PAGE) : "memory");
	}
	wait(&st);
	say("frame of ones", "%s", status(st));
	if (fork() == 0) {
		char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		asm volatile("mov %0, %%rsp\nmov $15, %%eax\nsyscall\nhlt" ::"r"(p + PAGE) : "memory");
	}
	wait(&st);
	say("frame of zeros", "%s", status(st));
}

static const struct section table[] = {
	{"faults", faults}, {"registers", registers}, {"altstack", altstack},
	{"fpu", fpu}, {"frames", frames}, {"sigreturns", sigreturns},
};

GUEST(table)
