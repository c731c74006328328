// Programs that misbehave, each in a section of its own that ends as it may. A section
// prints only what is the same on every Linux; what depends on how the host's kernel is built
// (vsyscall, int 0x80) is not printed at all.
#include "../guest/guest.h"
#include <sys/uio.h>

static void jump_to_zero(void)
{
	((void (*volatile)(void))0)();
}

static void jump_to_kernel(void)
{
	((void (*volatile)(void))0xffffffff81000000UL)();
}

static void jump_noncanonical(void)
{
	asm volatile("movabs $0x8000000000000000, %%rax\njmp *%%rax" ::: "rax");
}

static int deep(int n)
{
	volatile char pad[10000];
	pad[0] = n;
	return n < 0 ? 0 : deep(n + 1) + pad[0];
}

static void stack_overflow(void)
{
	deep(0);
}

static void no_stack(void)
{
	asm volatile("xor %%esp, %%esp\npush %%rax" ::: "memory");
}

static void call_without_stack(void)
{
	// The call itself needs no stack; the fault comes after.
	asm volatile("xor %%esp, %%esp\nmov $39, %%eax\nsyscall\npush %%rax" ::: "memory", "rax", "rcx", "r11");
}

static void signal_without_stack(void)
{
	signal(SIGUSR1, SIG_IGN);
	struct sigaction sa = {.sa_handler = (void (*)(int))0xdead};
	sigaction(SIGUSR1, &sa, NULL);
	asm volatile("mov %0, %%edi\nmov $10, %%esi\nmov $62, %%eax\nxor %%esp, %%esp\nsyscall\nhlt" ::"r"(getpid()) : "memory", "rax", "rdi", "rsi", "rcx", "r11");
}

static void handler_nowhere(void)
{
	struct sigaction sa = {.sa_handler = (void (*)(int))0xffffffff80000000UL};
	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
}

static void handler_faults(void)
{
	// The handler of the fault faults, each time deeper, until the stack ends.
	struct sigaction sa = {.sa_handler = (void (*)(int))16, .sa_flags = SA_NODEFER};
	sigaction(SIGSEGV, &sa, NULL);
	raise(SIGSEGV);
}

static void privileged(void)
{
	asm volatile("hlt");
}

static void unknown_calls(void)
{
	long n[] = {-1, -2, 400, 500, 512, 547, 1000, 0x40000000, 0x40000000 + 39, 0x7fffffff, 0x80000000L, 0x100000000L, -4096, (long)0x8000000000000000UL};
	for (unsigned i = 0; i < sizeof n / sizeof *n; i++) {
		long r;
		asm volatile("syscall" : "=a"(r) : "0"(n[i]), "D"(0L), "S"(0L), "d"(0L) : "rcx", "r11", "memory");
		say("call", "%lx %s", n[i], r == -ENOSYS ? "ENOSYS" : "something else");
	}
}

static void vsyscalls(void)
{
	unsigned long entries[] = {0xffffffffff600000UL, 0xffffffffff600400UL, 0xffffffffff600800UL, 0xffffffffff600005UL, 0xffffffffff601000UL};
	for (int i = 0; i < 5; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			struct timeval tv[2] = {{0}};
			alarm(5);
			((long (*)(void *, void *))entries[i])(tv, i == 1 ? NULL : tv + 1);
			_exit(0);
		}
		int st;
		waitpid(pid, &st, 0);
		// The last two are no entries, whatever the host's kernel offers.
		if (i > 2)
			say("no entry", "%s", status(st));
	}
	catch_faults();
	if (sigsetjmp(fault_env, 1) == 0) {
		long t = ((long (*)(long *))0xffffffffff600400UL)(NULL);
		if (labs(t - time(NULL)) > 2)
			say("time by vsyscall", "%s", "wrong");
	}
	if (sigsetjmp(fault_env, 1) == 0) {
		((long (*)(void *, void *))0xffffffffff600000UL)((void *)8, NULL);
	}
	// Reading the page is refused or shows its code; a write never works.
	const char *w = FAULT((void *)0xffffffffff600000UL, *(volatile char *)0xffffffffff600000UL = 1);
	say("write", "%.7s", w);
}

static void int80(void)
{
	for (unsigned n = 0; n < 500; n += 7)
		if (fork() == 0) {
			long r;
			alarm(1);
			// Not exit's number, nor a fork's.
			asm volatile("int $0x80" : "=a"(r) : "0"((long)(n == 1 || n == 2 || n == 120 || n == 190 ? 20 : n)), "b"(0L), "c"(0L), "d"(0L), "S"(0L), "D"(0L) : "memory", "r8", "r9", "r10", "r11");
			_exit(0);
		}
	int k = 0;
	while (wait(NULL) > 0)
		k++;
	say("children", "%d", k);
	if (fork() == 0) {
		asm volatile("mov $1, %%eax\nmov $5, %%ebx\nint $0x80\nhlt" ::: "rax", "rbx", "memory");
	}
	wait(NULL);
	if (fork() == 0) {
		asm volatile("sysenter" ::: "memory");
		_exit(0);
	}
	wait(NULL);
}

static void segments(void)
{
	// Whatever a program puts in its segment registers and bases, only it suffers.
	unsigned short sel[] = {0, 1, 3, 0x23, 0x2b, 0x33, 0x3b, 0x7, 0xffff, 0x10, 0x18};
	for (unsigned i = 0; i < sizeof sel / sizeof *sel; i++)
		for (int r = 0; r < 4; r++)
			if (fork() == 0) {
				switch (r) {
				case 0: asm volatile("mov %0, %%ds" ::"r"(sel[i])); break;
				case 1: asm volatile("mov %0, %%es" ::"r"(sel[i])); break;
				case 2: asm volatile("mov %0, %%fs" ::"r"(sel[i])); break;
				case 3: asm volatile("mov %0, %%gs" ::"r"(sel[i])); break;
				}
				syscall(SYS_getpid);
				_exit(0);
			}
	unsigned long bases[] = {0, 8, 0x7fffffffffffUL, 0x800000000000UL, 0xffff800000000000UL, ~0UL};
	for (unsigned i = 0; i < 6; i++)
		for (int op = 0x1001; op <= 0x1002; op++)
			if (fork() == 0) {
				long r;
				asm volatile("syscall" : "=a"(r) : "0"(158L), "D"((long)op), "S"(bases[i]) : "rcx", "r11", "memory");
				asm volatile("syscall" : "=a"(r) : "0"(60L), "D"(r ? 1L : 0L) : "rcx", "r11", "memory");
			}
	int n = 0;
	while (wait(NULL) > 0)
		n++;
	say("children", "%d", n);
	// Flags that change how code runs: trap, nested task, alignment check, direction.
	long flags[] = {0x100, 0x4000, 0x40000, 0x400, 0x200000, 0x3000, 0x10000, 0xffffffff};
	for (unsigned i = 0; i < 8; i++)
		if (fork() == 0) {
			asm volatile("pushf\nor %0, (%%rsp)\npopf\nmov $39, %%eax\nsyscall\nmov $60, %%eax\nxor %%edi, %%edi\nsyscall" ::"r"(flags[i]) : "memory");
		}
	while (wait(NULL) > 0)
		n++;
	say("children", "%d", n);
}

static void unmap_everything(void)
{
	// The program pulls its own ground away.
	syscall(SYS_munmap, 0, 0x7ffffffff000UL);
}

static void protect_everything(void)
{
	syscall(SYS_mprotect, (long)&protect_everything & ~0xfffL, PAGE, PROT_NONE);
}

static void faulting_copies(void)
{
	// A call that faults on its way back: the result goes to a page that is not there.
	struct iovec v = {(void *)8, 100};
	int p[2];
	if (pipe(p) || write(p[1], "abc", 3) != 3)
		return;
	say("readv", "%s", ret(readv(p[0], &v, 1)));
	say("left", "%s", ret(read(p[0], (char[4]){0}, 4)));
}

static const struct section table[] = {
	{"jump_to_zero", jump_to_zero}, {"jump_to_kernel", jump_to_kernel}, {"jump_noncanonical", jump_noncanonical},
	{"stack_overflow", stack_overflow}, {"no_stack", no_stack}, {"call_without_stack", call_without_stack},
	{"signal_without_stack", signal_without_stack}, {"handler_nowhere", handler_nowhere},
	{"handler_faults", handler_faults}, {"privileged", privileged}, {"unknown_calls", unknown_calls},
	{"vsyscalls", vsyscalls}, {"int80", int80}, {"segments", segments},
	{"unmap_everything", unmap_everything}, {"protect_everything", protect_everything},
	{"faulting_copies", faulting_copies},
};

GUEST(table)
