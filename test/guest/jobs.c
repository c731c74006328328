// Job control, process groups and sessions: stops and continues as seen by waits,
// orphaned groups, setpgid's and setsid's rules, a terminal-less session.
#include "guest.h"
#include <sys/ioctl.h>

static void on_signal(int s)
{
	(void)s;
}

static const char *waited(pid_t pid, int options)
{
	int st;
	pid_t r = waitpid(pid, &st, options);
	return r == pid ? status(st) : r == 0 ? "nothing" : r == -1 ? errname(errno) : "other";
}

static const char *idwaited(pid_t pid, int options)
{
	siginfo_t si;
	memset(&si, 0, sizeof si);
	if (waitid(P_PID, pid, &si, options))
		return errname(errno);
	if (si.si_pid == 0)
		return "nothing";
	char *p = scratch();
	snprintf(p, 256, "%s code %d status %d %s", signame(si.si_signo), si.si_code, si.si_status, yes(si.si_pid == pid));
	return p;
}

static pid_t sleeper(void)
{
	pid_t pid = fork();
	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

static void stops(void)
{
	pid_t p = sleeper();
	say("running", "%s", waited(p, WNOHANG | WUNTRACED | WCONTINUED));
	int sigs[] = {SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};
	setpgid(p, p);
	for (int i = 0; i < 4; i++) {
		kill(p, sigs[i]);
		say("stopped", "%s", waited(p, WUNTRACED));
		say("told once", "%s", waited(p, WUNTRACED | WNOHANG));
		kill(p, SIGCONT);
		say("continued", "%s", waited(p, WCONTINUED));
		say("told once", "%s", waited(p, WCONTINUED | WNOHANG));
	}
	kill(p, SIGSTOP);
	say("waitid", "%s", idwaited(p, WSTOPPED));
	kill(p, SIGCONT);
	say("waitid", "%s", idwaited(p, WCONTINUED));
	kill(p, SIGSTOP);
	say("without WUNTRACED", "%s", waited(p, WNOHANG));
	say("WNOWAIT", "%s", idwaited(p, WSTOPPED | WNOWAIT));
	say("still there", "%s", idwaited(p, WSTOPPED));
	// A stopped process takes no signal but SIGKILL and SIGCONT.
	kill(p, SIGTERM);
	sleep_ms(30);
	say("SIGTERM waits", "%s", waited(p, WNOHANG));
	kill(p, SIGCONT);
	say("then ends it", "%s", waited(p, 0));
	p = sleeper();
	kill(p, SIGSTOP);
	waited(p, WUNTRACED);
	kill(p, SIGKILL);
	say("SIGKILL at once", "%s", waited(p, 0));
	// Stop signals that are pending are dropped by SIGCONT and the other way round.
	p = fork();
	if (p == 0) {
		sigset_t s;
		sigfillset(&s);
		sigprocmask(SIG_SETMASK, &s, NULL);
		raise(SIGTSTP);
		raise(SIGCONT);
		sigpending(&s);
		int a = sigismember(&s, SIGTSTP), b = sigismember(&s, SIGCONT);
		raise(SIGTSTP);
		sigpending(&s);
		_exit(a * 8 + b * 4 + sigismember(&s, SIGTSTP) * 2 + sigismember(&s, SIGCONT));
	}
	say("pending bits", "%s", waited(p, 0));
	p = fork();
	if (p == 0) {
		signal(SIGTSTP, SIG_IGN);
		raise(SIGTSTP);
		_exit(4);
	}
	say("ignored stop", "%s", waited(p, WUNTRACED));
	p = fork();
	if (p == 0) {
		signal(SIGTSTP, on_signal);
		raise(SIGTSTP);
		_exit(5);
	}
	say("caught stop", "%s", waited(p, WUNTRACED));
}

static volatile int chld, chld_code;

static void on_chld(int s, siginfo_t *i, void *u)
{
	(void)s;
	(void)u;
	chld++;
	chld_code = i->si_code;
}

// told waits for a number of signals, and a while for one too many: a wait may be over a moment before its signal arrives.
static void told(int n)
{
	while (chld < n)
		sleep_ms(1);
	sleep_ms(20);
}

static void notices(void)
{
	struct sigaction sa = {.sa_sigaction = on_chld, .sa_flags = SA_SIGINFO | SA_RESTART};
	sigaction(SIGCHLD, &sa, NULL);
	pid_t p = sleeper();
	kill(p, SIGSTOP);
	waited(p, WUNTRACED);
	told(1);
	say("stop", "%d code %d", chld, chld_code);
	kill(p, SIGCONT);
	waited(p, WCONTINUED);
	told(2);
	say("continue", "%d code %d", chld, chld_code);
	sa.sa_flags |= SA_NOCLDSTOP;
	sigaction(SIGCHLD, &sa, NULL);
	kill(p, SIGSTOP);
	waited(p, WUNTRACED);
	sleep_ms(40);
	say("SA_NOCLDSTOP", "%d", chld);
	kill(p, SIGKILL);
	waited(p, 0);
	say("killed", "%d code %d", chld, chld_code);
	p = fork();
	if (p == 0)
		_exit(0);
	waited(p, 0);
	say("exited", "%d code %d", chld, chld_code);
}

static void group_rules(void)
{
	pid_t me = getpid();
	say("own group", "%s", ret(setpgid(0, 0)));
	say("leader", "%s", yes(getpgrp() == me && getpgid(0) == me));
	pid_t a = sleeper(), b = sleeper();
	say("child in group", "%s", yes(getpgid(a) == me));
	say("child to its own", "%s", ret(setpgid(a, 0)));
	say("is leader", "%s", yes(getpgid(a) == a));
	say("join", "%s %s", ret(setpgid(b, a)), yes(getpgid(b) == a));
	say("missing group", "%s", ret(setpgid(b, 1 << 29)));
	say("negative group", "%s", ret(setpgid(b, -1)));
	say("missing process", "%s", ret(setpgid(1 << 29, 0)));
	say("parent", "%s", ret(setpgid(getppid(), 0)));
	kill(-a, SIGTERM);
	say("one", "%s", waited(a, 0));
	say("other", "%s", waited(b, 0));
	say("empty group", "%s", ret(kill(-a, 0)));
	a = sleeper();
	setpgid(a, a);
	b = sleeper();
	say("wait for group", "%s", ret(waitpid(-b, NULL, WNOHANG)));
	kill(a, SIGKILL);
	int st;
	say("wait for that group", "%s", yes(waitpid(-a, &st, 0) == a));
	kill(b, SIGKILL);
	say("wait for own group", "%s", yes(waitpid(0, &st, 0) == b));
	pid_t p = fork();
	if (p == 0) {
		execl("/bin/sleep", "sleep", "5", (char *)0);
		_exit(1);
	}
	runs(p, "sleep");
	say("after exec", "%s", ret(setpgid(p, p)));
	kill(p, SIGKILL);
	waited(p, 0);
	say("getpgid missing", "%s", ret(getpgid(1 << 29)));
	say("getsid missing", "%s", ret(getsid(1 << 29)));
}

static void groups(void)
{
	// In a child: the first process of a sandbox may lead a session.
	say("done", "%s", status(child(group_rules)));
}

static void sessions(void)
{
	pid_t p = fork();
	if (p == 0) {
		setpgid(0, 0);
		say("setsid by leader", "%s", ret(setsid()));
		pid_t q = fork();
		if (q == 0) {
			say("setsid", "%s", yes(setsid() == getpid()));
			say("session and group", "%s", yes(getsid(0) == getpid() && getpgrp() == getpid()));
			say("setsid again", "%s", ret(setsid()));
			say("setpgid as session leader", "%s", ret(setpgid(0, 0)));
			say("open tty", "%s", ret(open("/dev/tty", O_RDWR)));
			pid_t r = sleeper();
			say("child's session", "%s", yes(getsid(r) == getpid()));
			say("child to a group elsewhere", "%s", ret(setpgid(r, getppid())));
			kill(r, SIGKILL);
			waited(r, 0);
			_exit(0);
		}
		say("child", "%s", waited(q, 0));
		_exit(0);
	}
	say("done", "%s", waited(p, 0));
	int pp[2];
	if (pipe(pp))
		return;
	pid_t g;
	say("pipe is no terminal", "%s %s", ret(tcgetpgrp(pp[0])), ret(isatty(pp[0])));
	say("TIOCGPGRP", "%s", ret(ioctl(pp[0], TIOCGPGRP, &g)));
}

// orphans: a group whose last tie to the session ends while a member is stopped
// gets SIGHUP and SIGCONT; in an orphaned group terminal stops are ignored.
static void orphans(void)
{
	int pp[2];
	if (pipe(pp))
		return;
	pid_t p = fork();
	if (p == 0) {
		setsid();
		pid_t mid = fork();
		if (mid == 0) {
			pid_t q = fork();
			if (q == 0) {
				setpgid(0, 0);
				signal(SIGCONT, on_signal);
				raise(SIGSTOP);
				_exit(1);
			}
			setpgid(q, q);
			waited(q, WUNTRACED);
			_exit(0);
		}
		close(pp[1]);
		say("middle", "%s", waited(mid, 0));
		// The stopped one dies of the SIGHUP; its end closes the pipe.
		char c;
		say("orphan ended", "%s", ret(read(pp[0], &c, 1)));
		_exit(0);
	}
	close(pp[1]);
	say("done", "%s", waited(p, 0));
	p = fork();
	if (p == 0) {
		setsid();
		if (fork() == 0) {
			raise(SIGTSTP);
			say("stop ignored in an orphaned group", "%s", "yes");
			_exit(0);
		}
		int st;
		wait(&st);
		raise(SIGTSTP);
		say("also for the leader", "%s", status(st));
		_exit(0);
	}
	say("done", "%s", waited(p, WUNTRACED));
}

static const struct section table[] = {
	{"stops", stops}, {"notices", notices}, {"groups", groups}, {"sessions", sessions},
	{"orphans", orphans},
};

GUEST(table)
