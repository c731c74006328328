// Signals between processes and within one: masks, pending sets, queues, siginfo,
// restarts, handler flags, waiting for signals, who may send.
#include "guest.h"
#include <sys/resource.h>

static volatile int caught[65], order[128], norder, lastcode, lastvalue;
static volatile pid_t lastpid;

static void note(int s, siginfo_t *i, void *u)
{
	(void)u;
	caught[s]++;
	if (norder < 128)
		order[norder++] = s;
	lastcode = i->si_code;
	lastpid = i->si_pid;
	lastvalue = i->si_value.sival_int;
}

static void handle(int sig, int flags)
{
	struct sigaction sa = {.sa_sigaction = note, .sa_flags = SA_SIGINFO | flags};
	sigaction(sig, &sa, NULL);
}

static void block(int how, int sig)
{
	sigset_t s;
	sigemptyset(&s);
	if (sig)
		sigaddset(&s, sig);
	sigprocmask(how, &s, NULL);
}

static const char *delivered(void)
{
	char *p = scratch();
	*p = 0;
	for (int i = 0; i < norder && i < 20; i++)
		sprintf(p + strlen(p), "%s%d", i ? " " : "", order[i]);
	norder = 0;
	return p;
}

static void masks(void)
{
	sigset_t s, o;
	handle(SIGUSR1, 0);
	handle(SIGUSR2, 0);
	block(SIG_BLOCK, SIGUSR1);
	raise(SIGUSR1);
	raise(SIGUSR1);
	raise(SIGUSR2);
	say("blocked", "%s", delivered());
	sigpending(&s);
	say("pending", "%s %s", yes(sigismember(&s, SIGUSR1)), yes(sigismember(&s, SIGUSR2)));
	block(SIG_UNBLOCK, SIGUSR1);
	say("once for two", "%s", delivered());
	sigfillset(&s);
	sigprocmask(SIG_SETMASK, &s, NULL);
	sigprocmask(SIG_SETMASK, NULL, &o);
	say("kill and stop cannot be blocked", "%s %s %s", yes(sigismember(&o, SIGKILL)), yes(sigismember(&o, SIGSTOP)), yes(sigismember(&o, SIGTERM)));
	raise(SIGUSR1);
	kill(getpid(), SIGUSR2);
	sigemptyset(&s);
	sigprocmask(SIG_SETMASK, &s, NULL);
	// Each delivery builds its frame before the first handler runs, so the highest runs first.
	say("both", "%s", delivered());
	say("bad how", "%s", ret(sigprocmask(99, &s, NULL)));
	say("bad size", "%s", ret(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &s, NULL, 4)));
	say("bad pointer", "%s", ret(syscall(SYS_rt_sigprocmask, SIG_BLOCK, 8, NULL, 8)));
	// A pending signal that becomes ignored is dropped.
	block(SIG_BLOCK, SIGUSR1);
	raise(SIGUSR1);
	signal(SIGUSR1, SIG_IGN);
	sigpending(&s);
	say("dropped when ignored", "%s", yes(sigismember(&s, SIGUSR1)));
	block(SIG_BLOCK, SIGCHLD);
	raise(SIGCHLD);
	sigpending(&s);
	say("default ignore, blocked", "%s", yes(sigismember(&s, SIGCHLD)));
	signal(SIGCHLD, SIG_DFL);
	sigpending(&s);
	say("dropped by default ignore", "%s", yes(sigismember(&s, SIGCHLD)));
}

static void actions(void)
{
	struct sigaction sa = {.sa_handler = SIG_IGN}, old;
	say("SIGKILL", "%s", ret(sigaction(SIGKILL, &sa, NULL)));
	say("SIGSTOP", "%s", ret(sigaction(SIGSTOP, &sa, NULL)));
	say("query SIGKILL", "%s", ret(sigaction(SIGKILL, NULL, &old)));
	say("signal 0", "%s", ret(sigaction(0, &sa, NULL)));
	say("signal 65", "%s", ret(sigaction(65, &sa, NULL)));
	say("bad size", "%s", ret(syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 4)));
	handle(SIGUSR1, SA_NODEFER | SA_RESTART);
	sigaction(SIGUSR1, NULL, &old);
	say("flags kept", "%s", yes((old.sa_flags & (SA_SIGINFO | SA_NODEFER | SA_RESTART)) == (SA_SIGINFO | SA_NODEFER | SA_RESTART)));
	handle(SIGUSR1, SA_RESETHAND);
	raise(SIGUSR1);
	sigaction(SIGUSR1, NULL, &old);
	say("SA_RESETHAND", "%s %s", delivered(), yes(old.sa_handler == SIG_DFL));
	int fatal[] = {SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGKILL, SIGUSR1, SIGSEGV, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM, SIGSTKFLT, SIGXCPU, SIGXFSZ, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGSYS, SIGRTMIN, SIGRTMAX};
	struct rlimit nocore = {0, 0};
	setrlimit(RLIMIT_CORE, &nocore);
	for (unsigned i = 0; i < sizeof fatal / sizeof *fatal; i++) {
		if (fork() == 0) {
			signal(fatal[i], SIG_DFL);
			kill(getpid(), fatal[i]);
			_exit(1);
		}
		int st;
		wait(&st);
		say("default", "%s %s", signame(fatal[i]), status(st));
	}
	int harmless[] = {SIGCHLD, SIGURG, SIGWINCH, SIGCONT};
	for (unsigned i = 0; i < 4; i++) {
		if (fork() == 0) {
			kill(getpid(), harmless[i]);
			_exit(3);
		}
		int st;
		wait(&st);
		say("default", "%s %s", signame(harmless[i]), status(st));
	}
}

static void queues(void)
{
	int rt = SIGRTMIN;
	handle(rt, 0);
	handle(rt + 1, 0);
	handle(rt + 3, 0);
	block(SIG_BLOCK, rt);
	union sigval v;
	for (int i = 1; i <= 3; i++) {
		v.sival_int = i * 11;
		say("sigqueue", "%s", ret(sigqueue(getpid(), rt, v)));
	}
	siginfo_t si;
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, rt);
	for (int i = 0; i < 2; i++)
		say("sigwaitinfo", "%s value %d code %d %s", yes(sigwaitinfo(&s, &si) == rt), si.si_value.sival_int, si.si_code, yes(si.si_pid == getpid() && si.si_uid == getuid()));
	block(SIG_UNBLOCK, rt);
	say("last delivered", "%d value %d code %d", caught[rt], lastvalue, lastcode);
	norder = 0;
	// Real-time signals: lowest number first, each as often as sent.
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	kill(getpid(), rt + 3);
	kill(getpid(), rt + 1);
	kill(getpid(), rt + 1);
	kill(getpid(), rt);
	sigset_t want;
	sigemptyset(&want);
	sigaddset(&want, rt);
	sigaddset(&want, rt + 1);
	sigaddset(&want, rt + 3);
	struct timespec zero = {0, 0};
	int got[5];
	for (int i = 0; i < 5; i++)
		got[i] = sigtimedwait(&want, &si, &zero);
	say("order", "%d %d %d %d %s", got[0] - rt, got[1] - rt, got[2] - rt, got[3] - rt, ret(got[4]));
	say("kill's code", "%d", si.si_code);
	struct timespec ms = {0, 30 * MS};
	int64_t t = now_ms();
	say("timed wait", "%s", ret(sigtimedwait(&want, &si, &ms)));
	say("it waited", "%s", yes(now_ms() - t >= 30));
	ms.tv_nsec = 1000000000;
	say("bad time", "%s", ret(sigtimedwait(&want, &si, &ms)));
	pid_t me = getpid();
	if (fork() == 0) {
		sleep_ms(30);
		v.sival_int = 77;
		sigqueue(me, rt + 1, v);
		_exit(0);
	}
	say("from child", "%s value %d", yes(sigwaitinfo(&want, &si) == rt + 1), si.si_value.sival_int);
	wait(NULL);
	// Another signal interrupts the wait.
	sigemptyset(&s);
	sigprocmask(SIG_SETMASK, &s, NULL);
	handle(SIGALRM, SA_RESTART);
	sigemptyset(&want);
	sigaddset(&want, rt + 2);
	say("interrupted", "%s", ret(UNDER_ALARM(30000, sigwaitinfo(&want, &si))));
	struct rlimit r = {5, 5};
	setrlimit(RLIMIT_SIGPENDING, &r);
	block(SIG_BLOCK, rt);
	int n = 0;
	while (n < 100 && sigqueue(getpid(), rt, v) == 0)
		n++;
	say("queue limit", "%s %s", ret(n == 100 ? 0 : -1), yes(n <= 5));
	say("kill still works", "%s", ret(kill(getpid(), SIGURG)));
}

static void restarts(void)
{
	int p[2];
	char c;
	if (pipe(p))
		return;
	handle(SIGALRM, 0);
	say("pause", "%s", ret(UNDER_ALARM(30000, pause())));
	struct timespec t = {40, 0}, rem = {0, 0};
	say("nanosleep", "%s", ret(UNDER_ALARM(30000, nanosleep(&t, &rem))));
	say("time left", "%s", yes(rem.tv_sec >= 20 && rem.tv_sec < 40));
	say("clock_nanosleep", "%s", errname(UNDER_ALARM(30000, clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &rem))));
	say("read", "%s", ret(UNDER_ALARM(30000, read(p[0], &c, 1))));
	pid_t pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	say("wait", "%s", ret(UNDER_ALARM(30000, wait(NULL))));
	handle(SIGALRM, SA_RESTART);
	int64_t t0 = now_ms();
	say("nanosleep despite SA_RESTART", "%s", ret(UNDER_ALARM(30000, nanosleep(&t, &rem))));
	say("it ended early", "%s", yes(now_ms() - t0 < 20000));
	pid_t me = getpid(), helper = fork();
	if (helper == 0) {
		sleep_ms(30);
		kill(me, SIGALRM);
		sleep_ms(30);
		kill(pid, SIGTERM);
		_exit(0);
	}
	int st;
	say("wait restarted", "%s", yes(waitpid(pid, &st, 0) == pid));
	say("its end", "%s", status(st));
	waitpid(helper, NULL, 0);
	// A stop and continue, with no handler, does not disturb a sleep.
	pid = fork();
	if (pid == 0) {
		t = (struct timespec){0, 400 * MS};
		t0 = now_ms();
		int r = nanosleep(&t, NULL);
		_exit(r || now_ms() - t0 < 400);
	}
	asleep(pid);
	kill(pid, SIGSTOP);
	waitpid(pid, &st, WUNTRACED);
	say("sleeper", "%s", status(st));
	kill(pid, SIGCONT);
	waitpid(pid, &st, 0);
	say("slept on", "%s", status(st));
	pid = fork();
	if (pid == 0)
		_exit(read(p[0], &c, 1) != 1);
	asleep(pid);
	kill(pid, SIGSTOP);
	waitpid(pid, &st, WUNTRACED);
	kill(pid, SIGCONT);
	if (write(p[1], "x", 1) != 1)
		return;
	waitpid(pid, &st, 0);
	say("read goes on after a stop", "%s", status(st));
}

static void suspends(void)
{
	sigset_t empty, s;
	sigemptyset(&empty);
	handle(SIGUSR1, 0);
	block(SIG_BLOCK, SIGUSR1);
	raise(SIGUSR1);
	say("before", "%d", caught[SIGUSR1]);
	say("sigsuspend", "%s", ret(sigsuspend(&empty)));
	say("after", "%d", caught[SIGUSR1]);
	sigprocmask(SIG_SETMASK, NULL, &s);
	say("mask back", "%s", yes(sigismember(&s, SIGUSR1)));
	pid_t me = getpid();
	if (fork() == 0) {
		sleep_ms(30);
		kill(me, SIGUSR1);
		_exit(0);
	}
	say("woken", "%s %d", ret(sigsuspend(&empty)), caught[SIGUSR1]);
	wait(NULL);
	sigfillset(&s);
	handle(SIGALRM, 0);
	if (fork() == 0) {
		sleep_ms(30);
		kill(me, SIGALRM);
		_exit(0);
	}
	sigdelset(&s, SIGALRM);
	say("all but one", "%s %d", ret(sigsuspend(&s)), caught[SIGALRM]);
	wait(NULL);
}

static volatile int depth, maxdepth, raised;

static void nest(int s)
{
	if (++depth > maxdepth)
		maxdepth = depth;
	if (raised++ < 4)
		raise(s);
	depth--;
}

static void nest_other(int s)
{
	order[norder++] = s;
	if (s == SIGUSR1)
		raise(SIGUSR2);
	order[norder++] = -s;
}

static sigjmp_buf env;

static void jump(int s)
{
	siglongjmp(env, s);
}

static void handlers(void)
{
	struct sigaction sa = {.sa_handler = nest};
	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
	say("deferred", "%d of %d", maxdepth, raised);
	maxdepth = raised = 0;
	sa.sa_flags = SA_NODEFER;
	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
	say("SA_NODEFER", "%d of %d", maxdepth, raised);
	sa = (struct sigaction){.sa_handler = nest_other};
	sigaction(SIGUSR1, &sa, NULL);
	sigaction(SIGUSR2, &sa, NULL);
	raise(SIGUSR1);
	say("nested", "%s", delivered());
	sigaddset(&sa.sa_mask, SIGUSR2);
	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
	say("masked by sa_mask", "%s", delivered());
	signal(SIGALRM, jump);
	int from = sigsetjmp(env, 1);
	if (from == 0) {
		raise(SIGALRM);
		say("not reached", "%d", 1);
	}
	sigset_t s;
	sigprocmask(SIG_SETMASK, NULL, &s);
	say("siglongjmp", "%d, blocked %s", from, yes(sigismember(&s, SIGALRM)));
	if (fork() == 0) {
		// A fault whose signal is blocked kills, whatever the handler.
		signal(SIGSEGV, jump);
		block(SIG_BLOCK, SIGSEGV);
		*(volatile int *)8 = 1;
		_exit(1);
	}
	int st;
	wait(&st);
	say("blocked fault", "%s", status(st));
	if (fork() == 0) {
		signal(SIGSEGV, SIG_IGN);
		*(volatile int *)8 = 1;
		_exit(1);
	}
	wait(&st);
	say("ignored fault", "%s", status(st));
	if (fork() == 0) {
		signal(SIGABRT, SIG_IGN);
		abort();
	}
	wait(&st);
	say("abort despite ignore", "%s", status(st));
}

static void sending(void)
{
	handle(SIGUSR1, 0);
	pid_t me = getpid();
	kill(me, SIGUSR1);
	say("kill code", "%d %s", lastcode, yes(lastpid == me));
	raise(SIGUSR1);
	say("raise code", "%d %s", lastcode, yes(lastpid == me));
	syscall(SYS_tgkill, me, syscall(SYS_gettid), SIGUSR1);
	say("tgkill code", "%d", lastcode);
	say("tgkill wrong group", "%s", ret(syscall(SYS_tgkill, 1 << 29, me, 0)));
	say("tgkill zero", "%s", ret(syscall(SYS_tgkill, 0, me, 0)));
	say("kill 0", "%s", ret(kill(me, 0)));
	say("bad signal", "%s %s", ret(kill(me, 65)), ret(kill(me, -1)));
	say("nobody there", "%s", ret(kill(1 << 29, 0)));
	say("no such group", "%s", ret(kill(-(1 << 29), 0)));
	siginfo_t si = {.si_signo = SIGUSR1, .si_code = SI_QUEUE};
	si.si_value.sival_int = 5;
	say("rt_sigqueueinfo", "%s %d", ret(syscall(SYS_rt_sigqueueinfo, me, SIGUSR1, &si)), lastvalue);
	pid_t other = fork();
	if (other == 0) {
		pause();
		_exit(0);
	}
	si.si_code = SI_USER;
	say("forged code to another", "%s", ret(syscall(SYS_rt_sigqueueinfo, other, SIGUSR1, &si)));
	if (fork() == 0) {
		if (setuid(1234))
			_exit(1);
		say("not permitted", "%s", ret(kill(other, SIGTERM)));
		say("not permitted to probe", "%s", ret(kill(other, 0)));
		_exit(0);
	}
	int st;
	wait(&st);
	say("SIGTERM", "%s", ret(kill(other, SIGTERM)));
	sleep_ms(30);
	say("to a zombie", "%s", ret(kill(other, SIGTERM)));
	wait(&st);
	say("reaped", "%s", status(st));
	say("gone", "%s", ret(kill(other, 0)));
	other = fork();
	if (other == 0) {
		setpgid(0, 0);
		for (int i = 0; i < 3; i++)
			if (fork() == 0)
				pause();
		pause();
	}
	setpgid(other, other);
	sleep_ms(40);
	say("kill group", "%s", ret(kill(-other, SIGINT)));
	wait(&st);
	say("leader", "%s", status(st));
}

static volatile int *seen;

static void spin(void)
{
	while (!*seen)
		;
}

static void spin_in_handler(int sig)
{
	(void)sig;
	spin();
}

// woken: who is told to go on counts as running from then on, and not only once it has a processor.
static void woken(void)
{
	enum { SIGNALLED, READS, STOPPED, KINDS };
	static const char *const names[] = {"signalled", "reads", "stopped"};
	seen = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	signal(SIGUSR1, spin_in_handler);
	for (int kind = 0; kind < KINDS; kind++) {
		int states[128] = {0}, p[2], tries = 50;
		for (int i = 0; i < tries; i++) {
			*seen = 0;
			pid_t pid = pipe(p) ? -1 : fork();
			if (pid == 0) {
				char c;
				if (kind == SIGNALLED)
					pause();
				else if (kind == READS)
					(void)!read(p[0], &c, 1);
				else
					raise(SIGSTOP);
				spin();
				_exit(0);
			}
			comes_to(pid, kind == STOPPED ? 'T' : 'S');
			if (kind == READS)
				(void)!write(p[1], "x", 1);
			else
				kill(pid, kind == SIGNALLED ? SIGUSR1 : SIGCONT);
			states[(int)state_of(pid)]++;
			*seen = 1;
			waitpid(pid, NULL, 0);
			close(p[0]);
			close(p[1]);
		}
		say(names[kind], "%s %d", yes(states['R'] == tries), states['S'] + states['T']);
	}
}

static const struct section table[] = {
	{"woken", woken}, {"masks", masks}, {"actions", actions}, {"queues", queues}, {"restarts", restarts},
	{"suspends", suspends}, {"handlers", handlers}, {"sending", sending},
};

GUEST(table)
