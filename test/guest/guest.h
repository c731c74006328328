// What every guest program shares: a report of lines "name: result" and a table
// of sections. A report must be the same on every Linux, so no line shows a
// process id, an address or a time.
//
// A program run with no argument runs every section in a child of its own; with
// --list it prints their names; with names it runs those in itself.
#ifndef GUEST_H
#define GUEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAYBE __attribute__((unused))
#define PAGE 4096UL
#define MS 1000000L

struct section {
	const char *name;
	void (*run)(void);
};

// say_line writes one line of the report with a single write, so that processes
// that share the output never tear each other's lines.
static MAYBE void __attribute__((format(printf, 2, 3))) say_line(const char *name, const char *fmt, ...)
{
	char line[1024];
	int n = snprintf(line, sizeof line, "%s: ", name);
	va_list ap;
	va_start(ap, fmt);
	n += vsnprintf(line + n, sizeof line - n - 1, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof line - 2)
		n = sizeof line - 2;
	line[n++] = '\n';
	int e = errno;
	if (write(1, line, n) != n)
		_exit(99);
	errno = e;
}

// say is say_line with its first value made before the others, so that
// say("x", "%s %d", ret(call(&n)), n) shows what the call left in n.
#define say(name, fmt, first, ...) \
	({ \
		__auto_type first_ = (first); \
		say_line(name, fmt, first_, ##__VA_ARGS__); \
	})

// scratch returns one of a few static buffers in turn, for text put in a report.
static MAYBE char *scratch(void)
{
	static __thread char buf[16][256];
	static __thread int next;
	return buf[next++ & 15];
}

static MAYBE const char *errname(int e)
{
	const char *n = strerrorname_np(e);
	return e == 0 ? "0" : n ? n : "E?";
}

// ret shows a call's result: its number, or the error's name.
static MAYBE const char *ret(long r)
{
	int e = errno;
	char *p = scratch();
	if (r == -1)
		snprintf(p, 256, "%s", errname(e));
	else
		snprintf(p, 256, "%ld", r);
	return p;
}

// okret is ret for results that differ from run to run (descriptors, addresses).
static MAYBE const char *okret(long r)
{
	return r == -1 ? errname(errno) : "ok";
}

static MAYBE const char *yes(int v)
{
	return v ? "yes" : "no";
}

static MAYBE const char *signame(int s)
{
	char *p = scratch();
	const char *n = s > 0 && s < 32 ? sigabbrev_np(s) : NULL;
	if (n)
		snprintf(p, 256, "SIG%s", n);
	else
		snprintf(p, 256, "signal %d", s);
	return p;
}

// status shows what wait told of a child.
static MAYBE const char *status(int st)
{
	char *p = scratch();
	if (WIFEXITED(st))
		snprintf(p, 256, "exit %d", WEXITSTATUS(st));
	else if (WIFSIGNALED(st))
		snprintf(p, 256, "killed by %s", signame(WTERMSIG(st)));
	else if (WIFSTOPPED(st))
		snprintf(p, 256, "stopped by %s", signame(WSTOPSIG(st)));
	else if (WIFCONTINUED(st))
		snprintf(p, 256, "continued");
	else
		snprintf(p, 256, "status 0x%x", st);
	return p;
}

// child runs fn in a forked child and returns the status wait4 gave.
static MAYBE int child(void (*fn)(void))
{
	pid_t pid = fork();
	if (pid == 0) {
		fn();
		_exit(0);
	}
	int st = -1;
	while (waitpid(pid, &st, 0) == -1 && errno == EINTR)
		;
	return st;
}

static MAYBE void sleep_ms(long ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * MS};
	while (nanosleep(&t, &t) == -1 && errno == EINTR)
		;
}

static MAYBE int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000L + t.tv_nsec / MS;
}

// has_line tells whether a line of a file of any length begins with text.
static MAYBE int has_line(const char *path, const char *text)
{
	char line[512];
	int found = 0;
	FILE *f = fopen(path, "r");
	while (f && !found && fgets(line, sizeof line, f))
		found = !strncmp(line, text, strlen(text));
	if (f)
		fclose(f);
	return found;
}

// state_of is the state of a process or thread as in proc(5), 0 if it is gone.
static MAYBE char state_of(pid_t pid)
{
	char path[64], text[512];
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	char *end = strrchr(text, ')');
	return end ? end[2] : 0;
}

// comes_to waits until a process or thread is in a state of proc(5), has ended or is gone, and returns the state it is in. What
// another is to have reached is seen this way and not by the time that passed; the program's alarm bounds the wait.
static MAYBE char comes_to(pid_t pid, char want)
{
	for (;; sleep_ms(1)) {
		char state = state_of(pid);
		if (!state || state == want || state == 'Z')
			return state;
	}
}

// asleep waits until one that was just made waits for something.
static MAYBE void asleep(pid_t pid)
{
	comes_to(pid, 'S');
}

// runs waits until a process has gone on to a program of that name, which then waits for something.
static MAYBE void runs(pid_t pid, const char *name)
{
	char path[64], is[64];
	snprintf(path, sizeof path, "/proc/%d/comm", pid);
	snprintf(is, sizeof is, "%s\n", name);
	while (!has_line(path, is))
		sleep_ms(1);
	asleep(pid);
}

// UNDER_ALARM makes a call while an alarm rings every so many microseconds, so that it is met however late it begins.
#define UNDER_ALARM(us, call) \
	({ \
		ualarm(us, us); \
		long r_ = (call); \
		int e_ = errno; \
		ualarm(0, 0); \
		errno = e_; \
		r_; \
	})

static sigjmp_buf fault_env;
static volatile int fault_sig, fault_code;
static void *volatile fault_addr;

static void on_fault(int sig, siginfo_t *si, void *uc)
{
	(void)uc;
	fault_sig = sig;
	fault_code = si->si_code;
	fault_addr = si->si_addr;
	siglongjmp(fault_env, 1);
}

// catch_faults makes FAULT work from now on, on a stack of its own.
static MAYBE void catch_faults(void)
{
	static char stack[65536] __attribute__((aligned(64)));
	stack_t ss = {.ss_sp = stack, .ss_size = sizeof stack};
	sigaltstack(&ss, NULL);
	struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	int sigs[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
	for (unsigned i = 0; i < sizeof sigs / sizeof *sigs; i++)
		sigaction(sigs[i], &sa, NULL);
}

// fault_text shows the last fault, its address relative to base.
static MAYBE const char *fault_text(const volatile void *base)
{
	char *p = scratch();
	const char *code = "?";
	char num[16];
	if (fault_sig == SIGSEGV && fault_code == SEGV_MAPERR)
		code = "MAPERR";
	else if (fault_sig == SIGSEGV && fault_code == SEGV_ACCERR)
		code = "ACCERR";
	else if (fault_sig == SIGBUS && fault_code == BUS_ADRERR)
		code = "ADRERR";
	else {
		snprintf(num, sizeof num, "code %d", fault_code);
		code = num;
	}
	snprintf(p, 256, "%s %s %+ld", signame(fault_sig), code, (long)((char *)fault_addr - (char *)base));
	return p;
}

// FAULT runs a statement and gives "none" or the fault it met.
#define FAULT(base, stmt) (sigsetjmp(fault_env, 1) == 0 ? ({ stmt; (const char *)"none"; }) : fault_text(base))

// put makes a file of the given text.
static MAYBE void put(const char *path, const char *text)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		say("put", "%s", errname(errno));
	close(fd);
}

// get returns a file's text.
static MAYBE const char *get(const char *path)
{
	static char buf[65536];
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		return errname(errno);
	ssize_t n = read(fd, buf, sizeof buf - 1);
	close(fd);
	buf[n < 0 ? 0 : n] = 0;
	return buf;
}

static MAYBE int guest_main(int argc, char **argv, const struct section *s, int n)
{
	alarm(150);
	for (int i = 0; i < n; i++) {
		if (argc == 1) {
			say("section", "%s", s[i].name);
			mkdir(s[i].name, 0755);
			if (chdir(s[i].name))
				return 98;
			int st = child(s[i].run);
			if (st)
				say(s[i].name, "%s", status(st));
			if (chdir(".."))
				return 98;
		} else if (!strcmp(argv[1], "--list")) {
			printf("%s\n", s[i].name);
		} else {
			for (int k = 1; k < argc; k++)
				if (!strcmp(argv[k], s[i].name))
					s[i].run();
		}
	}
	return 0;
}

#define GUEST(table) \
	int main(int argc, char **argv) \
	{ \
		return guest_main(argc, argv, table, sizeof table / sizeof *table); \
	}

#endif
