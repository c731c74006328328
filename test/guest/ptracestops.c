// Group-stops and PTRACE_EVENT_STOP of seized and of attached threads, and threads under trace.
#include "ptrace.h"
#include <pthread.h>

// info shows the siginfo of a stop.
static const char *info(pid_t p)
{
	char *s = scratch();
	siginfo_t si = {0};
	if (trace(PTRACE_GETSIGINFO, p, 0, &si) == -1)
		return errname(errno);
	snprintf(s, 256, "%d %x", si.si_signo, si.si_code);
	return s;
}

static pid_t sleeper(void)
{
	pid_t p = fork();
	if (p == 0)
		sleeps();
	asleep(p);
	return p;
}

static void seize(void)
{
	pid_t p = sleeper();
	say("unknown option", "%s", ret(trace(PTRACE_SEIZE, p, 0, 1 << 30)));
	say("address", "%s", ret(trace(PTRACE_SEIZE, p, 1, 0)));
	say("seize", "%s", ret(trace(PTRACE_SEIZE, p, 0, PTRACE_O_TRACESYSGOOD)));
	say("runs on", "%s", waits_not(p));
	say("cont while it runs", "%s", ret(trace(PTRACE_CONT, p, 0, 0)));
	say("interrupt", "%s", ret(trace(PTRACE_INTERRUPT, p, 0, 0)));
	say("stop", "%s %s", waits(p), info(p));
	say("message", "%lu", message(p));
	say("interrupt in a stop", "%s", ret(trace(PTRACE_INTERRUPT, p, 0, 0)));
	say("cont", "%s", ret(trace(PTRACE_CONT, p, 0, 0)));
	say("again", "%s %s", waits(p), info(p));
	say("listen without group-stop", "%s", ret(trace(PTRACE_LISTEN, p, 0, 0)));
	say("interrupt while listening", "%s", ret(trace(PTRACE_INTERRUPT, p, 0, 0)));
	say("stop", "%s", waits(p));
	trace(PTRACE_CONT, p, 0, 0);
	kill(p, SIGSTOP);
	say("SIGSTOP", "%s %s", waits(p), info(p));
	say("listen in signal stop", "%s", ret(trace(PTRACE_LISTEN, p, 0, 0)));
	trace(PTRACE_CONT, p, 0, SIGSTOP);
	say("group-stop", "%s %s", waits(p), info(p));
	say("listen", "%s", ret(trace(PTRACE_LISTEN, p, 0, 0)));
	say("requests", "%s", ret(trace(PTRACE_CONT, p, 0, 0)));
	say("still", "%s", waits_not(p));
	kill(p, SIGCONT);
	say("SIGCONT", "%s %s", waits(p), info(p));
	trace(PTRACE_CONT, p, 0, 0);
	say("its signal", "%s %s", waits(p), info(p));
	trace(PTRACE_CONT, p, 0, SIGCONT);
	say("runs", "%s", waits_not(p));
	kill(p, SIGCONT);
	say("SIGCONT while it runs", "%s %s", waits(p), info(p));
	trace(PTRACE_CONT, p, 0, 0);
	say("then", "%s", waits(p));
	say("detach", "%s", ret(trace(PTRACE_DETACH, p, 0, 0)));
	say("detached", "%s", waits_not(p));
	kill(p, SIGKILL);
	say("end", "%s", waits(p));
}

static void attached(void)
{
	pid_t p = sleeper();
	trace(PTRACE_ATTACH, p, 0, 0);
	waits(p);
	say("interrupt", "%s", ret(trace(PTRACE_INTERRUPT, p, 0, 0)));
	say("listen", "%s", ret(trace(PTRACE_LISTEN, p, 0, 0)));
	trace(PTRACE_CONT, p, 0, SIGSTOP);
	say("group-stop", "%s %s", waits(p), info(p));
	kill(p, SIGCONT);
	say("SIGCONT does not end it", "%s", waits_not(p));
	trace(PTRACE_CONT, p, 0, 0);
	say("but is delivered", "%s", waits(p));
	trace(PTRACE_CONT, p, 0, SIGCONT);
	kill(p, SIGTSTP);
	say("SIGTSTP", "%s", waits(p));
	trace(PTRACE_CONT, p, 0, SIGTSTP);
	kill(p, SIGKILL);
	while (waitpid(p, NULL, __WALL) == p)
		;
	// A stopped process that the tracer lets run although it is stopped, and a second stop.
	p = sleeper();
	trace(PTRACE_ATTACH, p, 0, 0);
	waits(p);
	trace(PTRACE_CONT, p, 0, SIGSTOP);
	waits(p);
	trace(PTRACE_CONT, p, 0, 0);
	say("runs", "%s", waits_not(p));
	kill(p, SIGSTOP);
	say("SIGSTOP", "%s", waits(p));
	trace(PTRACE_CONT, p, 0, SIGSTOP);
	say("group-stop", "%s", waits(p));
	say("detach", "%s", ret(trace(PTRACE_DETACH, p, 0, 0)));
	comes_to(p, 'T');
	say("stays stopped", "%s", procline(p, "State:"));
	kill(p, SIGCONT);
	asleep(p);
	say("goes on", "%s", procline(p, "State:"));
	kill(p, SIGKILL);
	waits(p);
	// SEIZE of a stopped process.
	p = sleeper();
	kill(p, SIGSTOP);
	int st;
	waitpid(p, &st, WUNTRACED);
	say("seize", "%s", ret(trace(PTRACE_SEIZE, p, 0, 0)));
	say("stop", "%s %s", waits(p), info(p));
	kill(p, SIGKILL);
	say("end", "%s", waits(p));
}

// others shows what a parent that is no tracer sees of a tracee's group-stop.
static void others(void)
{
	pid_t p = sleeper();
	int fd[2], back[2];
	if (pipe(fd) || pipe(back))
		return;
	pid_t tracer = fork();
	if (tracer == 0) {
		int st;
		trace(PTRACE_SEIZE, p, 0, 0);
		if (write(fd[1], "x", 1) != 1)
			_exit(1);
		waitpid(p, &st, __WALL);
		char c = 's';
		if (write(fd[1], &c, 1) != 1 || read(back[0], &c, 1) != 1)
			_exit(1);
		trace(PTRACE_CONT, p, 0, WSTOPSIG(st));
		waitpid(p, &st, __WALL);
		int group = st >> 8 == (SIGSTOP | PTRACE_EVENT_STOP << 8);
		trace(PTRACE_LISTEN, p, 0, 0);
		waitpid(p, &st, __WALL);
		trace(PTRACE_CONT, p, 0, 0);
		waitpid(p, &st, __WALL);
		trace(PTRACE_CONT, p, 0, SIGCONT);
		waitpid(p, &st, __WALL);
		_exit(group && WIFSIGNALED(st) ? 3 : 4);
	}
	char c;
	if (read(fd[0], &c, 1) != 1)
		return;
	kill(p, SIGSTOP);
	int st = 0;
	if (read(fd[0], &c, 1) != 1)
		return;
	say("before the tracer let it stop", "%s", ret(waitpid(p, &st, WUNTRACED | WNOHANG)));
	if (write(back[1], &c, 1) != 1)
		return;
	say("stopped", "%s", yes(waitpid(p, &st, WUNTRACED) == p && WIFSTOPPED(st) && WSTOPSIG(st) == SIGSTOP));
	kill(p, SIGCONT);
	say("continued", "%s", yes(waitpid(p, &st, WCONTINUED) == p && WIFCONTINUED(st)));
	sleep_ms(30);
	kill(p, SIGKILL);
	say("tracer", "%s", waits(tracer));
	say("end", "%s", waits(p));
}

static volatile pid_t tid;

static void *thread(void *arg)
{
	(void)arg;
	tid = syscall(SYS_gettid);
	sleeps();
	return NULL;
}

// brief ends once it is traced.
static void *brief(void *arg)
{
	pid_t me = tid = syscall(SYS_gettid);
	while (!strcmp(procline(me, "TracerPid:"), "TracerPid:\t0"))
		sleep_ms(1);
	return arg;
}

static pid_t with_thread(void *(*fn)(void *), pid_t *second)
{
	int fd[2];
	if (pipe(fd))
		_exit(1);
	pid_t p = fork();
	if (p == 0) {
		pthread_t t;
		pthread_create(&t, NULL, fn, NULL);
		while (!tid)
			sleep_ms(1);
		pid_t n = tid;
		if (write(fd[1], &n, sizeof n) != sizeof n)
			_exit(1);
		sleeps();
	}
	if (read(fd[0], second, sizeof *second) != sizeof *second)
		_exit(1);
	return p;
}

static void threads(void)
{
	pid_t second, p = with_thread(thread, &second);
	say("seize a thread", "%s", ret(trace(PTRACE_SEIZE, second, 0, PTRACE_O_TRACEEXIT)));
	say("leader alone", "%s", ret(trace(PTRACE_INTERRUPT, p, 0, 0)));
	trace(PTRACE_INTERRUPT, second, 0, 0);
	say("stop", "%s", waits(second));
	say("seize the leader", "%s", ret(trace(PTRACE_SEIZE, p, 0, 0)));
	trace(PTRACE_CONT, second, 0, 0);
	kill(p, SIGSTOP);
	int st;
	pid_t first = waitpid(-1, &st, __WALL);
	say("SIGSTOP", "%s", stop(st));
	trace(PTRACE_CONT, first, 0, SIGSTOP);
	say("leader", "%s", waits(p));
	say("thread", "%s", waits(second));
	trace(PTRACE_CONT, p, 0, 0);
	trace(PTRACE_CONT, second, 0, 0);
	say("both run", "%s", waits_not(-1));
	kill(p, SIGTERM);
	first = waitpid(-1, &st, __WALL);
	say("SIGTERM", "%s", stop(st));
	trace(PTRACE_CONT, first, 0, SIGTERM);
	say("thread's exit", "%s %lx", waits(second), message(second));
	say("state", "%s", procline(second, "State:"));
	trace(PTRACE_CONT, second, 0, 0);
	say("thread's end", "%s", waits(second));
	say("leader's end", "%s", waits(p));

	// A traced thread that ends is its tracer's to wait for.
	p = with_thread(brief, &second);
	trace(PTRACE_SEIZE, second, 0, 0);
	say("thread's end", "%s", waits(second));
	say("gone", "%s", ret(waitpid(second, NULL, __WALL)));
	kill(p, SIGKILL);
	say("end", "%s", waits(p));
	// Of two threads, only the one that traces may wait with __WNOTHREAD or make requests.
	p = sleeper();
	trace(PTRACE_SEIZE, p, 0, 0);
	trace(PTRACE_INTERRUPT, p, 0, 0);
	say("own thread", "%s", ret(waitpid(p, &st, __WALL | __WNOTHREAD) == p));
	kill(p, SIGKILL);
	waits(p);
}

static const struct section table[] = {
	{"seize", seize}, {"attached", attached}, {"others", others}, {"threads", threads},
};

GUEST(table)
