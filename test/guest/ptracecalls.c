// What a tracer sees of calls and single instructions, and how it changes them.
#include "ptrace.h"
#include <linux/audit.h>
#include <pthread.h>

#ifndef PTRACE_SET_SYSCALL_INFO
#define PTRACE_SET_SYSCALL_INFO 0x4212
#endif

// info is struct ptrace_syscall_info, of which C libraries have different ideas.
struct info {
	uint8_t op, pad[3];
	uint32_t arch;
	uint64_t ip, sp;
	union {
		struct {
			uint64_t nr, args[6];
		} entry;
		struct {
			int64_t rval;
			uint8_t is_error;
		} exit;
	};
	uint64_t data;
};

static void calls_getppid(void)
{
	long r = syscall(SYS_getppid);
	_exit(r == 77 ? 1 : r == getppid() ? 2 : r < 0 ? errno : 3);
}

static pid_t begun(void (*fn)(void), long options)
{
	pid_t p = traced_child(fn);
	waits(p);
	trace(PTRACE_SETOPTIONS, p, 0, options);
	return p;
}

// to_entry lets p run until it enters call nr.
static void to_entry(pid_t p, long nr)
{
	struct user_regs_struct r;
	for (;;) {
		trace(PTRACE_SYSCALL, p, 0, 0);
		int st;
		waitpid(p, &st, 0);
		if (!WIFSTOPPED(st)) {
			say("ended early", "%s", status(st));
			return;
		}
		trace(PTRACE_GETREGS, p, 0, &r);
		if ((long)r.orig_rax == nr && (long)r.rax == -ENOSYS)
			return;
	}
}

static void stops(void)
{
	pid_t p = begun(calls_getppid, 0);
	struct user_regs_struct r;
	to_entry(p, SYS_getppid);
	siginfo_t si;
	trace(PTRACE_GETSIGINFO, p, 0, &si);
	say("siginfo at entry", "%d %s", si.si_code, yes(si.si_pid == p));
	trace(PTRACE_GETREGS, p, 0, &r);
	say("rcx r11", "%s %s", yes(r.rcx == r.rip), yes(r.r11 == r.eflags));
	trace(PTRACE_SYSCALL, p, 0, 0);
	say("exit", "%s", waits(p));
	trace(PTRACE_GETREGS, p, 0, &r);
	say("exit", "%lld %s", r.orig_rax, yes((pid_t)r.rax == getpid()));
	say("peekuser", "%ld", ptrace(PTRACE_PEEKUSER, p, offsetof(struct user, regs.orig_rax), 0));
	trace(PTRACE_SYSCALL, p, 0, 0);
	say("next", "%s", waits(p));
	trace(PTRACE_CONT, p, 0, 0);
	say("end", "%s", waits(p));

	p = begun(calls_getppid, PTRACE_O_TRACESYSGOOD);
	trace(PTRACE_SYSCALL, p, 0, 0);
	say("with TRACESYSGOOD", "%s", waits(p));
	trace(PTRACE_GETSIGINFO, p, 0, &si);
	say("siginfo", "%x", si.si_code);
	trace(PTRACE_CONT, p, 0, 0);
	say("end", "%s", waits(p));
	// A signal given at a syscall-stop is one of its own.
	p = begun(calls_getppid, PTRACE_O_TRACESYSGOOD);
	to_entry(p, SYS_getppid);
	trace(PTRACE_CONT, p, 0, SIGUSR1);
	say("given", "%s", waits(p));
	trace(PTRACE_GETSIGINFO, p, 0, &si);
	say("siginfo", "%d %d", si.si_code, si.si_pid);
	trace(PTRACE_CONT, p, 0, SIGUSR1);
	say("end", "%s", waits(p));
	p = begun(calls_getppid, PTRACE_O_TRACESYSGOOD);
	to_entry(p, SYS_getppid);
	kill(p, SIGKILL);
	say("killed there", "%s", waits(p));
}

static void changes(void)
{
	pid_t p = begun(calls_getppid, PTRACE_O_TRACESYSGOOD);
	struct user_regs_struct r;
	to_entry(p, SYS_getppid);
	trace(PTRACE_GETREGS, p, 0, &r);
	r.orig_rax = SYS_getpid;
	trace(PTRACE_SETREGS, p, 0, &r);
	trace(PTRACE_SYSCALL, p, 0, 0);
	waits(p);
	trace(PTRACE_GETREGS, p, 0, &r);
	say("another call", "%lld %s", r.orig_rax, yes((pid_t)r.rax == p));
	r.rax = 77;
	trace(PTRACE_SETREGS, p, 0, &r);
	trace(PTRACE_CONT, p, 0, 0);
	say("another result", "%s", waits(p));

	p = begun(calls_getppid, PTRACE_O_TRACESYSGOOD);
	to_entry(p, SYS_getppid);
	trace(PTRACE_POKEUSER, p, offsetof(struct user, regs.orig_rax), -1);
	trace(PTRACE_POKEUSER, p, offsetof(struct user, regs.rax), -EDOM);
	trace(PTRACE_CONT, p, 0, 0);
	say("no call", "%s", waits(p));
	p = begun(calls_getppid, PTRACE_O_TRACESYSGOOD);
	to_entry(p, SYS_getppid);
	trace(PTRACE_POKEUSER, p, offsetof(struct user, regs.orig_rax), 100000);
	trace(PTRACE_CONT, p, 0, 0);
	say("unknown call", "%s", waits(p));
	p = begun(calls_getppid, PTRACE_O_TRACESYSGOOD);
	to_entry(p, SYS_getppid);
	trace(PTRACE_POKEUSER, p, offsetof(struct user, regs.rax), 5);
	trace(PTRACE_CONT, p, 0, 0);
	say("result at entry", "%s", waits(p));
}

static void infos(void)
{
	pid_t p = begun(calls_getppid, PTRACE_O_TRACESYSGOOD);
	struct info i = {0};
	say("size", "%ld", trace(PTRACE_GET_SYSCALL_INFO, p, sizeof i, &i));
	say("none", "%d %s %s", i.op, yes(i.arch == AUDIT_ARCH_X86_64), yes(i.ip != 0 && i.sp != 0));
	to_entry(p, SYS_getppid);
	memset(&i, 0, sizeof i);
	say("size", "%ld", trace(PTRACE_GET_SYSCALL_INFO, p, sizeof i, &i));
	say("entry", "%d %ld", i.op, (long)i.entry.nr);
	memset(&i, 0, sizeof i);
	say("short", "%ld", trace(PTRACE_GET_SYSCALL_INFO, p, 4, &i));
	say("short", "%d %x", i.op, i.arch);
	trace(PTRACE_SYSCALL, p, 0, 0);
	waits(p);
	say("size", "%ld", trace(PTRACE_GET_SYSCALL_INFO, p, sizeof i, &i));
	say("exit", "%d %d %s", i.op, i.exit.is_error, yes(i.exit.rval == getpid()));
	if (i.exit.rval == getpid()) {
		i.exit.rval = 77;
		errno = 0;
		long r = trace(PTRACE_SET_SYSCALL_INFO, p, sizeof i, &i);
		// The host may be too old for it.
		if (r == -1 && errno == EIO)
			trace(PTRACE_POKEUSER, p, offsetof(struct user, regs.rax), 77);
		i.op = 1;
		say("another kind", "%s", yes(trace(PTRACE_SET_SYSCALL_INFO, p, sizeof i, &i) == -1));
	}
	trace(PTRACE_CONT, p, 0, 0);
	say("set", "%s", waits(p));
}

static void emulate(void)
{
	pid_t p = begun(calls_getppid, PTRACE_O_TRACESYSGOOD);
	say("sysemu", "%s", ret(trace(PTRACE_SYSEMU, p, 0, 0)));
	waits(p);
	struct user_regs_struct r;
	for (;;) {
		trace(PTRACE_GETREGS, p, 0, &r);
		if (r.orig_rax == SYS_getppid)
			break;
		// The C library may make calls before.
		trace(PTRACE_SYSEMU, p, 0, 0);
		waits(p);
	}
	say("rax", "%lld", r.rax);
	r.rax = 77;
	trace(PTRACE_SETREGS, p, 0, &r);
	trace(PTRACE_SYSEMU, p, 0, 0);
	say("next", "%s", waits(p));
	trace(PTRACE_GETREGS, p, 0, &r);
	say("exit_group", "%lld %lld", r.orig_rax, r.rdi);
	kill(p, SIGKILL);
	waits(p);
}

static void steps_here(void)
{
	long v = 0;
	__asm__ volatile("int3; mov $1, %%eax; add $2, %%eax; push %%rax; pushf; pop %%rcx; pop %%rax;"
			 "mov $39, %%eax; syscall; mov $4, %%ebx; mov %%rcx, %0"
			 : "=r"(v) : : "rax", "rbx", "rcx", "r11", "memory");
	_exit(5);
}

static long rip_of(pid_t p)
{
	return ptrace(PTRACE_PEEKUSER, p, offsetof(struct user, regs.rip), 0);
}

static void steps(void)
{
	pid_t p = begun(steps_here, PTRACE_O_TRACESYSGOOD);
	trace(PTRACE_CONT, p, 0, 0);
	waits(p);
	long from = rip_of(p);
	siginfo_t si;
	struct user_regs_struct r;
	for (int i = 0; i < 10; i++) {
		trace(PTRACE_SINGLESTEP, p, 0, 0);
		const char *s = waits(p);
		trace(PTRACE_GETSIGINFO, p, 0, &si);
		trace(PTRACE_GETREGS, p, 0, &r);
		say("step", "%s +%lld code %d %s tf %s orig %s", s, r.rip - from, si.si_code,
		    yes(si.si_addr == (void *)r.rip), yes((r.eflags & 0x100) != 0), r.orig_rax == SYS_getpid ? "call" : "-1");
	}
	trace(PTRACE_CONT, p, 0, 0);
	say("end", "%s", waits(p));
	// Stops at calls and a step: the step wins.
	p = begun(steps_here, PTRACE_O_TRACESYSGOOD);
	trace(PTRACE_CONT, p, 0, 0);
	waits(p);
	for (int i = 0; i < 7; i++) {
		trace(PTRACE_SYSEMU_SINGLESTEP, p, 0, 0);
		waits(p);
	}
	trace(PTRACE_SYSEMU_SINGLESTEP, p, 0, 0);
	say("the call", "%s +%ld", waits(p), rip_of(p) - from);
	trace(PTRACE_SYSEMU_SINGLESTEP, p, 0, 0);
	say("behind it", "%s +%ld", waits(p), rip_of(p) - from);
	trace(PTRACE_CONT, p, 0, 0);
	say("end", "%s", waits(p));
}

static volatile sig_atomic_t handled;

static void handler(int s)
{
	handled = s;
}

static void raises(void)
{
	struct sigaction sa = {.sa_handler = handler};
	sigaction(SIGUSR1, &sa, NULL);
	kill(getpid(), SIGUSR1);
	_exit(handled);
}

static void step_to_handler(void)
{
	pid_t p = begun(raises, 0);
	trace(PTRACE_CONT, p, 0, 0);
	say("signal", "%s", waits(p));
	trace(PTRACE_SINGLESTEP, p, 0, SIGUSR1);
	say("handler", "%s", waits(p));
	siginfo_t si;
	trace(PTRACE_GETSIGINFO, p, 0, &si);
	say("at its beginning", "%s code %d", yes(rip_of(p) == (long)handler), si.si_code);
	trace(PTRACE_SINGLESTEP, p, 0, 0);
	say("step", "%s %s", waits(p), yes(rip_of(p) != (long)handler));
	trace(PTRACE_CONT, p, 0, 0);
	say("end", "%s", waits(p));
}

static void interrupted(void)
{
	struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_RESTART};
	sigaction(SIGUSR2, &sa, NULL);
	struct timespec t = {0, 400 * MS};
	int r = nanosleep(&t, NULL);
	_exit(r == 0 ? 10 : errno == EINTR ? 11 : 12);
}

static void restarts(void)
{
	pid_t p = begun(interrupted, PTRACE_O_TRACESYSGOOD);
	to_entry(p, SYS_clock_nanosleep);
	trace(PTRACE_SYSCALL, p, 0, 0);
	asleep(p);
	kill(p, SIGUSR1);
	struct user_regs_struct r;
	say("exit", "%s", waits(p));
	trace(PTRACE_GETREGS, p, 0, &r);
	say("result", "%lld of %s", r.rax, yes(r.orig_rax == SYS_clock_nanosleep));
	trace(PTRACE_SYSCALL, p, 0, 0);
	say("signal", "%s", waits(p));
	trace(PTRACE_GETREGS, p, 0, &r);
	say("result", "%lld of %s", r.rax, yes(r.orig_rax == SYS_clock_nanosleep));
	trace(PTRACE_SYSCALL, p, 0, 0);
	say("again", "%s", waits(p));
	trace(PTRACE_GETREGS, p, 0, &r);
	say("call", "%lld %lld", r.orig_rax, r.rax);
	trace(PTRACE_CONT, p, 0, 0);
	say("slept", "%s", waits(p));
	// Without a call to restart, as debuggers do it.
	p = begun(interrupted, PTRACE_O_TRACESYSGOOD);
	to_entry(p, SYS_clock_nanosleep);
	trace(PTRACE_CONT, p, 0, 0);
	asleep(p);
	kill(p, SIGUSR1);
	waits(p);
	trace(PTRACE_GETREGS, p, 0, &r);
	r.orig_rax = -1;
	r.rax = -EINTR;
	trace(PTRACE_SETREGS, p, 0, &r);
	trace(PTRACE_CONT, p, 0, 0);
	say("not restarted", "%s", waits(p));
	p = begun(interrupted, PTRACE_O_TRACESYSGOOD);
	to_entry(p, SYS_clock_nanosleep);
	trace(PTRACE_CONT, p, 0, 0);
	asleep(p);
	kill(p, SIGUSR2);
	waits(p);
	trace(PTRACE_CONT, p, 0, SIGUSR2);
	say("handled", "%s", waits(p));
}

static const struct section table[] = {
	{"stops", stops}, {"changes", changes}, {"infos", infos}, {"emulate", emulate}, {"steps", steps},
	{"step_to_handler", step_to_handler}, {"restarts", restarts},
};

GUEST(table)
