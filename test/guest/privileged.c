// Instructions that only a kernel may execute, and others that look at the processor's state: which signal each
// gives, where, and with what code. Flags, selectors and addresses that no sane program has.
#include "guest.h"
#include <ucontext.h>

static unsigned char *text;      // where the instructions are put
static unsigned char stack[8 * PAGE];
static sigjmp_buf back;
static volatile int signo, code;
static volatile long at, where;

static void note(int s, siginfo_t *i, void *u)
{
	ucontext_t *uc = u;
	signo = s;
	code = i->si_code;
	at = uc->uc_mcontext.gregs[REG_RIP] - (long)text;
	where = (long)i->si_addr;
	uc->uc_mcontext.gregs[REG_EFL] &= ~0x44500L; // AC NT DF TF
	siglongjmp(back, 1);
}

static void begin(void)
{
	static const int sigs[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
	stack_t alt = {.ss_sp = stack, .ss_size = sizeof stack};
	sigaltstack(&alt, NULL);
	for (size_t i = 0; i < sizeof sigs / sizeof *sigs; i++) {
		struct sigaction sa = {.sa_sigaction = note, .sa_flags = SA_SIGINFO | SA_ONSTACK};
		sigaction(sigs[i], &sa, NULL);
	}
	text = mmap((void *)0x10000000, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

// run executes len bytes of code with rax and rbx, followed by ud2, and reports how that ended. An address is
// shown as zero, as the instruction's own, or as the value of rbx, which need not be the same everywhere.
static void run(const char *name, const void *bytes, size_t len, unsigned long rax, unsigned long rbx)
{
	const volatile unsigned long value = rbx;
	memset(text, 0x0b, 64);
	memcpy(text, bytes, len);
	text[len] = 0x0f;
	text[len + 1] = 0x0b;
	if (!sigsetjmp(back, 1))
		asm volatile("call *%2" : "+a"(rax), "+b"(rbx) : "r"(text) : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory");
	// Selectors and flags that stayed behind are the program's no more.
	asm volatile("mov %0, %%ds\nmov %0, %%es\nmov %1, %%ss\npushf\nandl $~0x44500, (%%rsp)\npopf" ::"r"(0), "r"(0x2b) : "memory", "cc");
	if (signo == SIGILL && at == (long)len)
		say_line(name, "runs");
	else
		say_line(name, "%s code %d at +%ld addr %s", signame(signo), code, at >= 0 && at < 64 ? at : -1,
			 where == 0 ? "zero" : where == at + (long)text ? "own" : (unsigned long)where == value ? "rbx" : "other");
	signo = 0;
}

#define RUN(name, rax, rbx, ...) \
	do { \
		static const unsigned char b_[] = {__VA_ARGS__}; \
		run(name, b_, sizeof b_, rax, rbx); \
	} while (0)

static void privileged(void)
{
	begin();
	RUN("hlt", 0, 0, 0xf4);
	RUN("cli", 0, 0, 0xfa);
	RUN("sti", 0, 0, 0xfb);
	RUN("in imm", 0, 0, 0xe4, 0x10);
	RUN("in dx", 0, 0, 0x66, 0xba, 0x80, 0x00, 0xec);
	RUN("out imm", 0, 0, 0xe6, 0x10);
	RUN("out 32", 0, 0, 0xe7, 0x10);
	RUN("out dx", 0, 0, 0x66, 0xba, 0x10, 0x00, 0xee);
	RUN("insb", 0, 0, 0x66, 0xba, 0x10, 0x00, 0x6c);
	RUN("rep outsb", 0, 0, 0x66, 0xba, 0x10, 0x00, 0xf3, 0x6e);
	RUN("rdmsr", 0, 0, 0x0f, 0x32);
	RUN("wrmsr", 0, 0, 0x0f, 0x30);
	RUN("read cr0", 0, 0, 0x0f, 0x20, 0xc0);
	RUN("read cr3", 0, 0, 0x0f, 0x20, 0xd8);
	RUN("write cr3", 0, 0, 0x0f, 0x22, 0xd8);
	RUN("write cr4", 0, 0, 0x0f, 0x22, 0xe0);
	RUN("read dr7", 0, 0, 0x0f, 0x21, 0xf8);
	RUN("write dr0", 0, 0, 0x0f, 0x23, 0xc0);
	RUN("lgdt", 0, 0x10000800, 0x0f, 0x01, 0x13);
	RUN("lidt", 0, 0x10000800, 0x0f, 0x01, 0x1b);
	RUN("ltr", 0x40, 0, 0x0f, 0x00, 0xd8);
	RUN("lldt", 0, 0, 0x0f, 0x00, 0xd0);
	RUN("lmsw", 0, 0, 0x0f, 0x01, 0xf0);
	RUN("clts", 0, 0, 0x0f, 0x06);
	RUN("invd", 0, 0, 0x0f, 0x08);
	RUN("wbinvd", 0, 0, 0x0f, 0x09);
	RUN("invlpg", 0, 0x10000800, 0x0f, 0x01, 0x3b);
	RUN("swapgs", 0, 0, 0x0f, 0x01, 0xf8);
	RUN("xsetbv", 0, 0, 0x31, 0xc9, 0x31, 0xd2, 0x0f, 0x01, 0xd1);
	RUN("rdpmc", 0, 0, 0x31, 0xc9, 0x0f, 0x33);
	RUN("sysret", 0, 0, 0x48, 0x0f, 0x07);
	RUN("sysexit", 0, 0, 0x48, 0x0f, 0x35);
	RUN("iret", 0, 0, 0x6a, 0x00, 0x6a, 0x00, 0x6a, 0x00, 0x6a, 0x00, 0x6a, 0x00, 0x48, 0xcf);
	RUN("ud2", 0, 0, 0x0f, 0x0b, 0x90);
	RUN("ud1", 0, 0, 0x0f, 0xb9, 0xc0);
	RUN("no opcode", 0, 0, 0x06);
	RUN("rsm", 0, 0, 0x0f, 0xaa);
	RUN("cpuid", 0, 0, 0x0f, 0xa2);
	RUN("rdtsc", 0, 0, 0x0f, 0x31);
	RUN("xgetbv", 0, 0, 0x31, 0xc9, 0x0f, 0x01, 0xd0);
	RUN("lar", 0, 0, 0x0f, 0x02, 0xc0);
	RUN("verr", 0, 0, 0x0f, 0x00, 0xe0);
	RUN("cmpxchg8b lock", 0, 0, 0xf0, 0x0f, 0xc7, 0xc8);
}

// Instructions of hypervisors and of code that expects another kernel.
static void monitors(void)
{
	begin();
	RUN("vmcall", 0, 0, 0x0f, 0x01, 0xc1);
	RUN("vmcall with a known number", 1, 0, 0x0f, 0x01, 0xc1);
	RUN("vmmcall", 0, 0, 0x0f, 0x01, 0xd9);
	RUN("vmlaunch", 0, 0, 0x0f, 0x01, 0xc2);
	RUN("vmresume", 0, 0, 0x0f, 0x01, 0xc3);
	RUN("vmxoff", 0, 0, 0x0f, 0x01, 0xc4);
	RUN("vmread", 0, 0, 0x0f, 0x78, 0xc0);
	RUN("vmwrite", 0, 0, 0x0f, 0x79, 0xc0);
	RUN("vmptrld", 0, 0x10000800, 0x0f, 0xc7, 0x33);
	RUN("vmxon", 0, 0x10000800, 0xf3, 0x0f, 0xc7, 0x33);
	RUN("vmfunc", 0, 0, 0x0f, 0x01, 0xd4);
	RUN("vmrun", 0, 0, 0x0f, 0x01, 0xd8);
	RUN("vmload", 0, 0, 0x0f, 0x01, 0xda);
	RUN("vmsave", 0, 0, 0x0f, 0x01, 0xdb);
	RUN("stgi", 0, 0, 0x0f, 0x01, 0xdc);
	RUN("clgi", 0, 0, 0x0f, 0x01, 0xdd);
	RUN("skinit", 0, 0, 0x0f, 0x01, 0xde);
	RUN("invlpga", 0, 0, 0x0f, 0x01, 0xdf);
	RUN("encls", 0, 0, 0x0f, 0x01, 0xcf);
	RUN("getsec", 0, 0, 0x0f, 0x37);
	RUN("monitor", 0, 0, 0x48, 0x8d, 0x44, 0x24, 0xf0, 0x31, 0xc9, 0x31, 0xd2, 0x0f, 0x01, 0xc8);
	RUN("mwait", 0, 0, 0x31, 0xc9, 0x0f, 0x01, 0xc9);
	RUN("clac", 0, 0, 0x0f, 0x01, 0xca);
	RUN("stac", 0, 0, 0x0f, 0x01, 0xcb);
	RUN("invpcid", 0, 0x10000800, 0x66, 0x0f, 0x38, 0x82, 0x03);
	RUN("xsaves", 0, 0x10000800, 0x0f, 0xc7, 0x2b);
	RUN("xrstors", 0, 0x10000800, 0x0f, 0xc7, 0x1b);
	RUN("read cr2", 0, 0, 0x0f, 0x20, 0xd0);
	RUN("write cr0", 0, 0, 0x0f, 0x22, 0xc0);
	RUN("read cr8", 0, 0, 0x44, 0x0f, 0x20, 0xc0);
	RUN("write cr8", 0, 0, 0x44, 0x0f, 0x22, 0xc0);
	RUN("into", 0, 0, 0xce);
	RUN("far jump with an address in it", 0, 0, 0xea, 0, 0, 0, 0x10, 0x33, 0);
	RUN("far call with an address in it", 0, 0, 0x9a, 0, 0, 0, 0x10, 0x33, 0);
}

// Far jumps and calls through memory, with a selector from a list, to the code's own end.
static void far(void)
{
	static const unsigned short list[] = {0, 3, 8, 0x10, 0x13, 0x18, 0x28, 0x2b, 0x30, 0x33, 0x40, 0x43, 0x7b, 0xfff8};
	begin();
	for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
		char name[32];
		// At text + 0x100: where the four bytes of the jump or call end, and the selector.
		memcpy(text + 0x100, "\x02\x00\x00\x10", 4);
		memcpy(text + 0x104, &list[i], 2);
		snprintf(name, sizeof name, "far jump to %#x", list[i]);
		run(name, "\xff\x2b", 2, 0, 0x10000100);
		snprintf(name, sizeof name, "far call to %#x", list[i]);
		run(name, "\xff\x1b", 2, 0, 0x10000100);
		memcpy(text + 0x100, "\x00\x00\x00\x00\x00\x80\x00\x00", 8);
		memcpy(text + 0x108, &list[i], 2);
		snprintf(name, sizeof name, "far jump too far to %#x", list[i]);
		run(name, "\x48\xff\x2b", 3, 0, 0x10000100);
	}
}

static void interrupts(void)
{
	begin();
	for (int n = 0; n < 256; n++) {
		char name[16];
		unsigned char b[] = {0xcd, n};
		if (n == 0x80)
			continue; // a system call of the 32-bit ABI
		snprintf(name, sizeof name, "int %#x", n);
		run(name, b, 2, 0, 0);
	}
	RUN("int3", 0, 0, 0xcc);
	RUN("int1", 0, 0, 0xf1);
}

static void selectors(void)
{
	static const unsigned short list[] = {0, 3, 4, 7, 8, 0x10, 0x18, 0x20, 0x23, 0x28, 0x2b, 0x33, 0x40, 0x43, 0xfff8, 0xffff};
	begin();
	for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
		char name[32];
		snprintf(name, sizeof name, "ds %#x", list[i]);
		run(name, "\x8e\xd8", 2, list[i], 0);
		snprintf(name, sizeof name, "es %#x", list[i]);
		run(name, "\x8e\xc0", 2, list[i], 0);
		snprintf(name, sizeof name, "gs %#x", list[i]);
		run(name, "\x8e\xe8", 2, list[i], 0);
		snprintf(name, sizeof name, "ss %#x", list[i]);
		run(name, "\x8e\xd0", 2, list[i], 0);
		snprintf(name, sizeof name, "lret to cs %#x", list[i]);
		if ((list[i] & ~3) != 0x20) // 32-bit code has its own tests
			run(name, "\x50\x68\x08\x00\x00\x10\x48\xcb", 8, list[i], 0);
	}
	RUN("mov ss then int3", 0x2b, 0, 0x8e, 0xd0, 0xcc);
	RUN("mov ss then int 1", 0x2b, 0, 0x8e, 0xd0, 0xcd, 0x01);
}

static void addresses(void)
{
	static const unsigned long list[] = {
		0x800000000000, 0x7ffffffff000, 0x8000000000000000, 0xffff7fffffffffff, 0xffff800000000000,
		0xffff880000000000, 0xffffffff7ffff000, 0xffffffff80000000, 0xffffffffff000000, 0xfffffffffffff000,
	};
	begin();
	for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
		char name[64];
		snprintf(name, sizeof name, "load %#lx", list[i]);
		run(name, "\x48\x8b\x03", 3, 0, list[i]);
		snprintf(name, sizeof name, "store %#lx", list[i]);
		run(name, "\x48\x89\x03", 3, 0, list[i]);
		snprintf(name, sizeof name, "jump %#lx", list[i]);
		run(name, "\xff\xe3", 2, 0, list[i]);
		snprintf(name, sizeof name, "push at %#lx", list[i]);
		run(name, "\x48\x89\xdc\x50", 4, 0, list[i]);
		snprintf(name, sizeof name, "call at %#lx", list[i]);
		run(name, "\x48\x89\xdc\xff\xd0", 5, 0, list[i]);
		snprintf(name, sizeof name, "ret to %#lx", list[i]);
		run(name, "\x53\xc3", 2, 0, list[i]);
	}
}

static void flags(void)
{
	begin();
	// pushf; orl $bit, (%rsp); popf; what follows
	RUN("step", 0, 0, 0x9c, 0x80, 0x4c, 0x24, 0x01, 0x01, 0x9d, 0x90, 0x90);
	RUN("step over getpid", 39, 0, 0x9c, 0x80, 0x4c, 0x24, 0x01, 0x01, 0x9d, 0x0f, 0x05, 0x90, 0x90);
	RUN("step over mov ss and getpid", 39, 0x2b, 0x9c, 0x80, 0x4c, 0x24, 0x01, 0x01, 0x9d, 0x8e, 0xd3, 0x0f, 0x05, 0x90, 0x90);
	RUN("step onto int3", 0, 0, 0x9c, 0x80, 0x4c, 0x24, 0x01, 0x01, 0x9d, 0xcc, 0x90);
	RUN("step onto ud2", 0, 0, 0x9c, 0x80, 0x4c, 0x24, 0x01, 0x01, 0x9d, 0x0f, 0x0b);
	RUN("step onto a fault", 0, 0, 0x9c, 0x80, 0x4c, 0x24, 0x01, 0x01, 0x9d, 0x48, 0x8b, 0x03);
	RUN("getpid with direction and alignment flags", 39, 0, 0x9c, 0x81, 0x0c, 0x24, 0x00, 0x04, 0x04, 0x00, 0x9d, 0x0f, 0x05);
	RUN("alignment", 0, 0x10000801, 0x9c, 0x81, 0x0c, 0x24, 0x00, 0x00, 0x04, 0x00, 0x9d, 0x48, 0x8b, 0x03);
	RUN("step over int 0x80", 20, 0, 0x9c, 0x80, 0x4c, 0x24, 0x01, 0x01, 0x9d, 0xcd, 0x80, 0x90, 0x90);
	RUN("step onto hlt", 0, 0, 0x9c, 0x80, 0x4c, 0x24, 0x01, 0x01, 0x9d, 0xf4);
	RUN("resume flag", 39, 0, 0x9c, 0x81, 0x0c, 0x24, 0x00, 0x00, 0x01, 0x00, 0x9d, 0x0f, 0x05);
	// mov %rbx, %rsp; what follows
	RUN("getpid with a stack not canonical", 39, 0x8000000000000000, 0x49, 0x89, 0xe0, 0x48, 0x89, 0xdc, 0x0f, 0x05, 0x4c, 0x89, 0xc4);
	RUN("getpid with a stack of the kernel's", 39, 0xffffffff80010800, 0x49, 0x89, 0xe0, 0x48, 0x89, 0xdc, 0x0f, 0x05, 0x4c, 0x89, 0xc4);
	RUN("int3 with a stack of the kernel's", 0, 0xffffffff80010800, 0x48, 0x89, 0xdc, 0xcc);
	RUN("nested task flag", 39, 0, 0x9c, 0x81, 0x0c, 0x24, 0x00, 0x40, 0x00, 0x00, 0x9d, 0x0f, 0x05);
	unsigned long f;
	// Privilege and interrupts cannot be changed.
	asm volatile("pushf\norl $0x3000, (%%rsp)\nandl $~0x200, (%%rsp)\npopf\npushf\npop %0" : "=r"(f));
	say("privilege level of ports and interrupt flag", "%lx", f & 0x3200);
}

static const struct section table[] = {
	{"privileged", privileged}, {"monitors", monitors}, {"far", far}, {"interrupts", interrupts}, {"selectors", selectors}, {"addresses", addresses}, {"flags", flags},
};

GUEST(table)
