// wait4 and waitid: what they tell, their options, usage figures, orphans and who
// inherits them, ignored children, the exit signal.
#include "guest.h"
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static pid_t quits(int code)
{
	pid_t pid = fork();
	if (pid == 0)
		_exit(code);
	return pid;
}

static pid_t stays(void)
{
	pid_t pid = fork();
	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

static const char *info(siginfo_t *si)
{
	char *p = scratch();
	snprintf(p, 256, "%s code %d status %d", signame(si->si_signo), si->si_code, si->si_status);
	return p;
}

static void basics(void)
{
	int st = 0;
	say("no child", "%s", ret(wait(&st)));
	say("no child, WNOHANG", "%s", ret(waitpid(-1, &st, WNOHANG)));
	int codes[] = {0, 1, 127, 128, 255, 256, 511};
	for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++) {
		pid_t p = quits(codes[i]);
		waitpid(p, &st, 0);
		say("exit", "%d: 0x%x", codes[i], st);
	}
	pid_t p = stays();
	say("WNOHANG", "%s", ret(waitpid(p, &st, WNOHANG)));
	kill(p, SIGINT);
	waitpid(p, &st, 0);
	say("killed", "%s 0x%x", status(st), st);
	say("again", "%s", ret(waitpid(p, &st, 0)));
	say("not mine", "%s", ret(waitpid(getppid(), &st, 0)));
	say("bad option", "%s", ret(waitpid(-1, &st, 0x100)));
	say("lowest negative", "%s", ret(waitpid((pid_t)0x80000000, &st, 0)));
	p = quits(4);
	say("null status", "%s", yes(waitpid(p, NULL, 0) == p));
	p = quits(4);
	sleep_ms(20);
	say("bad status pointer", "%s", ret(syscall(SYS_wait4, p, 8, 0, NULL)));
	say("still there after", "%s", yes(waitpid(p, &st, WNOHANG) == p));
	p = quits(4);
	waitid(P_PID, p, NULL, WEXITED | WNOWAIT);
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/stat", p);
	char *t = strrchr(get(path), ')');
	say("zombie in proc", "%.1s", t ? t + 2 : "?");
	say("zombie answers kill", "%s", ret(kill(p, 0)));
	say("getpgid of zombie", "%s", yes(getpgid(p) == getpgrp()));
	waitpid(p, &st, 0);
	say("not in proc", "%s", ret(access(path, F_OK)));
	// Several at once come each once.
	int seen = 0, n = 0;
	for (int i = 0; i < 10; i++)
		quits(i);
	while (wait(&st) > 0) {
		seen |= 1 << WEXITSTATUS(st);
		n++;
	}
	say("ten", "%d %x", n, seen);
}

static void waitids(void)
{
	siginfo_t si;
	pid_t p = quits(300);
	memset(&si, 0, sizeof si);
	say("WNOWAIT", "%s %s", ret(waitid(P_PID, p, &si, WEXITED | WNOWAIT)), info(&si));
	say("pid and uid", "%s %s", yes(si.si_pid == p), yes(si.si_uid == getuid()));
	say("WEXITED", "%s %s", ret(waitid(P_PID, p, &si, WEXITED)), info(&si));
	say("gone", "%s", ret(waitid(P_PID, p, &si, WEXITED)));
	p = stays();
	memset(&si, 0xff, sizeof si);
	say("WNOHANG", "%s pid %d signo %d", ret(waitid(P_ALL, 0, &si, WEXITED | WNOHANG)), si.si_pid, si.si_signo);
	say("no event asked", "%s", ret(waitid(P_ALL, 0, &si, WNOHANG)));
	say("bad option", "%s", ret(waitid(P_ALL, 0, &si, WEXITED | 0x100)));
	say("bad type", "%s", ret(waitid(9, 0, &si, WEXITED)));
	say("P_PID zero", "%s", ret(waitid(P_PID, 0, &si, WEXITED)));
	kill(p, SIGSTOP);
	say("stopped", "%s %s", ret(waitid(P_PID, p, &si, WSTOPPED)), info(&si));
	kill(p, SIGCONT);
	say("continued", "%s %s", ret(waitid(P_ALL, 0, &si, WCONTINUED | WEXITED)), info(&si));
	kill(p, SIGTERM);
	say("killed", "%s %s", ret(waitid(P_ALL, 0, &si, WEXITED)), info(&si));
	p = quits(1);
	say("null info", "%s", ret(waitid(P_PID, p, NULL, WEXITED)));
	p = quits(1);
	say("group", "%s %s", ret(waitid(P_PGID, getpgrp(), &si, WEXITED)), info(&si));
	p = quits(1);
	say("own group by zero", "%s", ret(waitid(P_PGID, 0, &si, WEXITED)));
	struct rusage u;
	memset(&u, 0xff, sizeof u);
	p = quits(1);
	say("rusage", "%s %s", ret(syscall(SYS_waitid, P_PID, p, &si, WEXITED, &u)), yes(u.ru_utime.tv_sec == 0));
	int fd = (p = quits(6), syscall(SYS_pidfd_open, p, 0));
	say("pidfd", "%s", okret(fd));
	if (fd >= 0)
		say("by pidfd", "%s %s", ret(waitid(P_PIDFD, fd, &si, WEXITED)), info(&si));
	waitpid(p, NULL, 0);
}

static void usage(void)
{
	struct rusage u, before, after;
	getrusage(RUSAGE_CHILDREN, &before);
	pid_t p = fork();
	if (p == 0) {
		volatile long x = 0;
		struct timespec t;
		// The host counts pages by processor, and may not see a few.
		static char pages[4 << 20];
		memset(pages, 1, sizeof pages);
		do {
			for (int i = 0; i < 100000; i++)
				x += i;
			clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
		} while (t.tv_sec == 0 && t.tv_nsec < 100 * MS);
		_exit(0);
	}
	int st;
	memset(&u, 0, sizeof u);
	wait4(p, &st, 0, &u);
	long ms = (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
	say("child's time", "%s", yes(ms >= 50 && ms < 5000));
	say("peak memory known", "%s", yes(u.ru_maxrss > 0));
	getrusage(RUSAGE_CHILDREN, &after);
	long d = (after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000 + (after.ru_utime.tv_usec - before.ru_utime.tv_usec) / 1000 + (after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1000 + (after.ru_stime.tv_usec - before.ru_stime.tv_usec) / 1000;
	say("children's sum", "%s", yes(d >= 50));
	p = quits(0);
	say("bad pointer", "%s", ret(syscall(SYS_wait4, p, &st, 0, 8)));
}

static volatile int chld;

static void on_chld(int s)
{
	(void)s;
	chld++;
}

static void ignored(void)
{
	signal(SIGCHLD, SIG_IGN);
	pid_t p = quits(0);
	int st;
	say("ignored", "%s", ret(waitpid(p, &st, 0)));
	p = quits(0);
	pid_t q = stays();
	int64_t t = now_ms();
	if (fork() == 0) {
		sleep_ms(60);
		kill(q, SIGKILL);
		_exit(0);
	}
	say("waits for all", "%s %s", ret(wait(&st)), yes(now_ms() - t >= 60));
	struct sigaction sa = {.sa_handler = on_chld, .sa_flags = SA_NOCLDWAIT};
	sigaction(SIGCHLD, &sa, NULL);
	p = quits(0);
	say("SA_NOCLDWAIT", "%s", ret(waitpid(p, &st, 0)));
	say("but told", "%d", chld);
	signal(SIGCHLD, SIG_DFL);
	p = quits(9);
	say("default", "%s", (waitpid(p, &st, 0), status(st)));
	// Ignoring it takes effect for children that end later, not for zombies.
	p = quits(5);
	waitid(P_PID, p, NULL, WEXITED | WNOWAIT);
	signal(SIGCHLD, SIG_IGN);
	say("zombie before ignoring", "%s", yes(waitpid(p, &st, 0) == p));
}

static void signalled(void)
{
	struct sigaction sa = {.sa_handler = on_chld};
	sigaction(SIGCHLD, &sa, NULL);
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGCHLD);
	sigprocmask(SIG_BLOCK, &s, NULL);
	pid_t p = quits(17);
	siginfo_t si;
	sigwaitinfo(&s, &si);
	say("info", "%s %s %s", info(&si), yes(si.si_pid == p), yes(si.si_uid == getuid()));
	int st;
	waitpid(p, &st, 0);
	p = stays();
	kill(p, SIGUSR1);
	sigwaitinfo(&s, &si);
	say("info", "%s %s", info(&si), yes(si.si_pid == p));
	waitpid(p, &st, 0);
	sigprocmask(SIG_UNBLOCK, &s, NULL);
	p = fork();
	if (p == 0) {
		sleep_ms(20);
		_exit(0);
	}
	say("wait goes first", "%s", yes(waitpid(p, &st, 0) == p));
	say("handler", "%d", chld);
}

static void orphans(void)
{
	int p[2];
	char b[64];
	if (pipe(p))
		return;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	int on = 0;
	say("subreaper", "%s %d", ret(prctl(PR_GET_CHILD_SUBREAPER, &on)), on);
	pid_t mid = fork();
	if (mid == 0) {
		if (fork() == 0) {
			pid_t was = getppid();
			if (write(p[1], "r", 1) != 1)
				_exit(1);
			while (getppid() == was)
				sleep_ms(2);
			pid_t now = getppid();
			if (write(p[1], &now, sizeof now) != sizeof now)
				_exit(1);
			_exit(33);
		}
		_exit(read(p[0], b, 1) != 1);
	}
	int st;
	waitpid(mid, &st, 0);
	pid_t now = 0;
	if (read(p[0], &now, sizeof now) != sizeof now)
		return;
	say("came to the subreaper", "%s", yes(now == getpid()));
	say("reaped", "%s %s", yes(wait(&st) > 0), status(st));
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	// The parent's death sends the signal that was asked for.
	pid_t me = getpid();
	mid = fork();
	if (mid == 0) {
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGUSR2);
			sigset_t s;
			sigemptyset(&s);
			sigaddset(&s, SIGUSR2);
			sigprocmask(SIG_BLOCK, &s, NULL);
			if (write(p[1], "r", 1) != 1)
				_exit(1);
			int sig;
			sigwait(&s, &sig);
			if (write(p[1], "d", 1) != 1)
				_exit(1);
			_exit(0);
		}
		if (read(p[0], b, 1) != 1)
			_exit(1);
		_exit(0);
	}
	waitpid(mid, &st, 0);
	say("parent death signal", "%s %.1s", ret(read(p[0], b, 1)), b);
	say("me", "%s", yes(me == getpid()));
	// A zombie whose parent ends is taken away.
	mid = fork();
	if (mid == 0) {
		pid_t z = quits(0);
		waitid(P_PID, z, NULL, WEXITED | WNOWAIT);
		if (write(p[1], &z, sizeof z) != sizeof z)
			_exit(1);
		_exit(0);
	}
	pid_t z;
	if (read(p[0], &z, sizeof z) != sizeof z)
		return;
	waitpid(mid, &st, 0);
	for (int i = 0; i < 3000 && kill(z, 0) == 0; i++)
		sleep_ms(10);
	say("orphaned zombie", "%s", ret(kill(z, 0)));
}

static int quick(void *arg)
{
	_exit((long)arg);
}

static char stack[65536] __attribute__((aligned(64)));

static void exit_signals(void)
{
	int st;
	struct sigaction sa = {.sa_handler = on_chld};
	sigaction(SIGUSR1, &sa, NULL);
	chld = 0;
	pid_t p = clone(quick, stack + sizeof stack, SIGUSR1, (void *)3);
	for (int i = 0; i < 3000 && chld == 0; i++)
		sleep_ms(10);
	say("told by SIGUSR1", "%d", chld);
	say("plain wait", "%s", ret(waitpid(p, &st, WNOHANG)));
	say("__WCLONE", "%s %s", yes(waitpid(p, &st, __WCLONE) == p), status(st));
	p = clone(quick, stack + sizeof stack, 0, (void *)4);
	say("no signal, __WALL", "%s %s", yes(waitpid(p, &st, __WALL) == p), status(st));
	p = quits(5);
	sleep_ms(20);
	say("ordinary child, __WCLONE", "%s", ret(waitpid(p, &st, __WCLONE | WNOHANG)));
	waitpid(p, &st, 0);
	p = clone(quick, stack + sizeof stack, SIGUSR1, (void *)6);
	say("waitid __WALL", "%s", ret(waitid(P_PID, p, &(siginfo_t){0}, WEXITED | __WALL)));
}

static void descriptors(void)
{
	pid_t p = stays();
	int fd = syscall(SYS_pidfd_open, p, 0);
	if (fd < 0) {
		say("pidfd_open", "%s", errname(errno));
		kill(p, SIGKILL);
		return;
	}
	struct pollfd f = {fd, POLLIN, 0};
	say("alive", "%s", ret(poll(&f, 1, 0)));
	say("send", "%s", ret(syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0)));
	say("dead", "%s %x", ret(poll(&f, 1, 60000)), f.revents & POLLIN);
	int st;
	waitpid(p, &st, 0);
	say("reaped", "%s", status(st));
	say("send to the gone", "%s", ret(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0)));
	say("open the gone", "%s", ret(syscall(SYS_pidfd_open, p, 0)));
	say("open zero", "%s", ret(syscall(SYS_pidfd_open, 0, 0)));
	say("bad flag", "%s", ret(syscall(SYS_pidfd_open, getpid(), 1)));
}

static const struct section table[] = {
	{"basics", basics}, {"waitids", waitids}, {"usage", usage}, {"ignored", ignored},
	{"signalled", signalled}, {"orphans", orphans}, {"exit_signals", exit_signals},
	{"pidfds", descriptors},
};

GUEST(table)
