// What a child has from its parent and what it has not, and how a parent waits for the child of a vfork.
#include "../guest/guest.h"
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>

#define STACK 65536
static char stack[STACK] __attribute__((aligned(64)));

static const char *ended(pid_t pid)
{
	int st;
	if (pid < 0)
		return errname(errno);
	return waitpid(pid, &st, __WALL) == pid ? status(st) : errname(errno);
}

static const char *field(const char *file, const char *name)
{
	char *p = scratch();
	const char *text = get(file), *at = strstr(text, name);
	if (!at)
		return "none";
	snprintf(p, 256, "%.*s", (int)strcspn(at, "\n"), at);
	return p;
}

static void nothing(int s)
{
	(void)s;
}

static void shows(void)
{
	sigset_t s;
	sigpending(&s);
	say("pending", "%d", sigismember(&s, SIGUSR2));
	sigprocmask(SIG_BLOCK, NULL, &s);
	say("blocked", "%d", sigismember(&s, SIGUSR2));
	struct itimerval it;
	getitimer(ITIMER_REAL, &it);
	say("timer", "%s", yes(it.it_value.tv_sec || it.it_value.tv_usec));
	struct itimerspec its;
	say("POSIX timer", "%s", ret(syscall(SYS_timer_gettime, 0, &its)));
	int sig = -1;
	prctl(PR_GET_PDEATHSIG, &sig);
	say("death signal", "%d", sig);
	say("subreaper", "%s", (prctl(PR_GET_CHILD_SUBREAPER, &sig), yes(sig)));
	say("no new privileges", "%s", ret(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)));
	say("dumpable", "%s", ret(prctl(PR_GET_DUMPABLE)));
	say("slack", "%s", ret(prctl(PR_GET_TIMERSLACK)));
	say("keep capabilities", "%s", ret(prctl(PR_GET_KEEPCAPS)));
	char name[16] = "";
	prctl(PR_GET_NAME, name);
	say("name", "%s", name);
	say("nice", "%s", ret(getpriority(PRIO_PROCESS, 0)));
	say("policy", "%s", ret(sched_getscheduler(0)));
	say("locked", "%s", field("/proc/self/status", "VmLck"));
	say("oom_score_adj", "%d", atoi(get("/proc/self/oom_score_adj")));
	struct rusage u;
	getrusage(RUSAGE_CHILDREN, &u);
	say("usage of children", "%ld", u.ru_utime.tv_sec + u.ru_utime.tv_usec + u.ru_stime.tv_sec);
	stack_t ss;
	sigaltstack(NULL, &ss);
	say("alternate stack", "%s", ss.ss_flags & SS_DISABLE ? "none" : "some");
	struct flock l = {.l_type = F_WRLCK};
	fcntl(9, F_GETLK, &l);
	say("lock", "%s", l.l_type == F_UNLCK ? "mine or nobody's" : "another's");
	_exit(0);
}

static int shows_too(void *arg)
{
	(void)arg;
	shows();
	return 0;
}

static void inherited(void)
{
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR2);
	sigprocmask(SIG_BLOCK, &s, NULL);
	raise(SIGUSR2);
	struct itimerval it = {.it_value.tv_sec = 1000};
	setitimer(ITIMER_REAL, &it, NULL);
	timer_t timer;
	struct sigevent ev = {.sigev_notify = SIGEV_NONE};
	syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &timer);
	prctl(PR_SET_PDEATHSIG, SIGHUP);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_TIMERSLACK, 77777);
	prctl(PR_SET_KEEPCAPS, 1);
	prctl(PR_SET_NAME, "a name");
	setpriority(PRIO_PROCESS, 0, 3);
	struct sched_param sp = {0};
	sched_setscheduler(0, SCHED_BATCH, &sp);
	put("/proc/self/oom_score_adj", "123");
	static char alt[16384];
	stack_t ss = {.ss_sp = alt, .ss_size = sizeof alt};
	sigaltstack(&ss, NULL);
	mlock(alt, sizeof alt);
	put("locked", "text");
	dup2(open("locked", O_RDWR), 9);
	struct flock l = {.l_type = F_WRLCK};
	say("lock", "%s", ret(fcntl(9, F_SETLK, &l)));
	if (fork() == 0)
		shows();
	wait(NULL);
	say("sharing memory", "%s", ended(clone(shows_too, stack + STACK, CLONE_VM | SIGCHLD, NULL)));
	say("as vfork", "%s", ended(clone(shows_too, stack + STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL)));
}

static void reset(void)
{
	struct sched_param sp = {0};
	say("policy", "%s", ret(sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &sp)));
	setpriority(PRIO_PROCESS, 0, -5);
	if (fork() == 0) {
		say("child's policy", "%s", ret(sched_getscheduler(0)));
		errno = 0;
		say("child's nice", "%s", ret(getpriority(PRIO_PROCESS, 0)));
		_exit(0);
	}
	wait(NULL);
}

static void advised(void)
{
	char *p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(p, 7, 3 * PAGE);
	madvise(p, PAGE, MADV_DONTFORK);
	madvise(p + PAGE, PAGE, MADV_WIPEONFORK);
	catch_faults();
	if (fork() == 0) {
		say("left out", "%s", FAULT(p, (void)*(volatile char *)p));
		say("wiped", "%d", p[PAGE]);
		say("copied", "%d", p[2 * PAGE]);
		if (fork() == 0) {
			say("wiped again", "%d", p[PAGE]);
			_exit(0);
		}
		wait(NULL);
		_exit(0);
	}
	wait(NULL);
	say("parent's", "%d %d %d", p[0], p[PAGE], p[2 * PAGE]);
}

static void cores(void)
{
	say("write", "%s", (put("/proc/self/coredump_filter", "0x3f"), "done"));
	if (fork() == 0) {
		say("child", "%.8s", get("/proc/self/coredump_filter"));
		struct rlimit r = {0, 0};
		setrlimit(RLIMIT_CORE, &r);
		if (fork() == 0) {
			getrlimit(RLIMIT_CORE, &r);
			say("grandchild's limit", "%ld", (long)r.rlim_cur);
			_exit(0);
		}
		wait(NULL);
		_exit(0);
	}
	wait(NULL);
}

static void arguments(void)
{
	static char was[4096], is[4096];
	int fd = open("/proc/self/cmdline", O_RDONLY);
	ssize_t n = read(fd, was, sizeof was);
	if (fork() == 0) {
		fd = open("/proc/self/cmdline", O_RDONLY);
		say("same arguments", "%s", yes(read(fd, is, sizeof is) == n && !memcmp(was, is, n)));
		char a[256] = "", b[256] = "";
		say("same program", "%s", yes(readlink("/proc/self/exe", a, 255) > 0 && readlink("/proc/self/exe", b, 255) > 0 && !strcmp(a, b)));
		_exit(0);
	}
	wait(NULL);
}

static void group(void)
{
	setpgid(0, 0);
	pid_t mine = getpgrp(), session = getsid(0);
	int fds[2];
	if (pipe(fds))
		return;
	for (int i = 0; i < 3; i++)
		if (fork() == 0) {
			char ok = getpgrp() == mine && getsid(0) == session;
			if (write(fds[1], &ok, 1) != 1)
				_exit(1);
			pause();
			_exit(0);
		}
	char ok[3] = "";
	for (int i = 0; i < 3; i++)
		if (read(fds[0], ok + i, 1) != 1)
			return;
	say("in my group and session", "%d %d %d", ok[0], ok[1], ok[2]);
	signal(SIGUSR1, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	say("a signal reaches", "%s", ret(kill(0, SIGTERM)));
	int n = 0, st;
	while (waitpid(0, &st, 0) > 0)
		n += WIFEXITED(st) || WTERMSIG(st) == SIGTERM;
	say("all of them", "%d", n);
}

static volatile int reached;

static void grows(int depth)
{
	volatile char room[4096];
	room[0] = depth;
	if (depth)
		grows(depth - 1);
	reached += room[0] != depth;
}

static void lent(void)
{
	long before = (long)sbrk(0);
	volatile int p = vfork();
	if (p == 0) {
		syscall(SYS_brk, before + 0x100000);
		grows(100);
		mmap((void *)0x10000000, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		*(volatile int *)0x10000000 = 77;
		_exit(0);
	}
	say("child", "%s", ended(p));
	say("heap grown by the child", "%s", yes(syscall(SYS_brk, 0) == before + 0x100000));
	say("heap holds", "%d", (*(char *)(before + 0xff000) = 5));
	say("mapped by the child", "%d", *(volatile int *)0x10000000);
	syscall(SYS_brk, before);
}

static volatile int64_t released;

static int asked[2], answered[2];

static void *answers(void *arg)
{
	char c;
	while (read(asked[0], &c, 1) == 1 && write(answered[1], &c, 1) == 1)
		;
	return arg;
}

// caller_alone: another thread of the parent answers the child while the parent waits.
static void caller_alone(void)
{
	pthread_t t;
	if (pipe(asked) || pipe(answered) || pthread_create(&t, NULL, answers, NULL))
		return;
	volatile int p = vfork();
	if (p == 0) {
		char c = 0;
		struct pollfd f = {.fd = answered[0], .events = POLLIN};
		int ran = syscall(SYS_write, asked[1], &c, 1) == 1 && syscall(SYS_poll, &f, 1, 10000) == 1;
		_exit(ran);
	}
	say("others ran", "%s", ended(p));
}

// stuck makes a process, and group, that waits for its vforked child, which is stopped.
static pid_t stuck(void (*on_term)(int))
{
	int fds[2];
	char c = 0;
	if (pipe(fds))
		return -1;
	pid_t parent = fork();
	if (parent == 0) {
		setpgid(0, 0);
		signal(SIGTERM, on_term);
		volatile pid_t p = vfork();
		if (p == 0) {
			syscall(SYS_write, fds[1], &c, 1);
			syscall(SYS_kill, syscall(SYS_getpid), SIGSTOP);
			_exit(3);
		}
		_exit(8);
	}
	say("a child is there", "%s", ret(read(fds[0], &c, 1)));
	return parent;
}

// waits shows how a wait for a vforked child ends.
static void waits(void)
{
	volatile int p;
	for (volatile int how = 0; how < 5; how++) {
		volatile int64_t began = now_ms();
		p = vfork();
		if (p == 0) {
			struct timespec d = {0, 20 * MS};
			syscall(SYS_nanosleep, &d, NULL);
			switch (how) {
			case 0:
				_exit(4);
			case 1:
				syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
				break;
			case 2:
				syscall(SYS_kill, syscall(SYS_getpid), SIGTERM);
				break;
			case 3:
				execl("/bin/true", "true", NULL);
				break;
			case 4:
				*(volatile int *)8 = 1;
			}
			_exit(9);
		}
		int late = now_ms() - began >= 20;
		say("waited", "%s", yes(late));
		say("ended", "%s", ended(p));
	}
	pid_t parent = stuck(nothing);
	kill(parent, SIGTERM);
	sleep_ms(20);
	int st;
	say("still waiting", "%s", ret(waitpid(parent, &st, WNOHANG)));
	kill(parent, SIGSTOP);
	sleep_ms(20);
	say("nor stopped", "%s", ret(waitpid(parent, &st, WNOHANG | WUNTRACED)));
	kill(parent, SIGKILL);
	say("killed", "%s", ended(parent));
	kill(-parent, SIGKILL);
	parent = stuck(SIG_DFL);
	kill(parent, SIGTERM);
	say("a signal that it does not catch", "%s", ended(parent));
	kill(-parent, SIGKILL);
}

static void *reaps(void *arg)
{
	(void)arg;
	int st;
	while (waitpid(-1, &st, __WALL) < 0)
		sleep_ms(1);
	released = 1;
	say("reaped by another thread", "%s", status(st));
	return NULL;
}

// again: the child is gone altogether before the parent looks.
static void again(void)
{
	pthread_t t;
	pthread_create(&t, NULL, reaps, NULL);
	volatile int p = vfork();
	if (p == 0) {
		struct timespec d = {0, 30 * MS};
		syscall(SYS_nanosleep, &d, NULL);
		_exit(6);
	}
	pthread_join(t, NULL);
	say("parent went on", "%s", yes(released));
	say("nothing is left", "%s", ended(p));
}

// born shows a child that is stopped before its first instruction, and that its children would be too.
static void born(void)
{
	int *ran = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	put("/proc/self/stopfork", "1");
	pid_t p = fork();
	if (p == 0) {
		*ran = 1;
		_exit(atoi(get("/proc/self/stopfork")));
	}
	int st;
	waitpid(p, &st, WUNTRACED);
	say("not run", "%s", yes(!*ran));
	say("born", "%s", status(st));
	kill(p, SIGCONT);
	say("continued", "%s", ended(p));
}

static void sequences(void)
{
	static char area[64] __attribute__((aligned(32)));
	say("rseq", "%s", ret(syscall(SYS_rseq, area, 32, 0, 0x53053053)));
	if (fork() == 0) {
		say("in a child", "%s", ret(syscall(SYS_rseq, area, 32, 0, 0x53053053)));
		_exit(0);
	}
	wait(NULL);
}

static const struct section table[] = {
	{"N14_stopfork", born}, {"N23_restartable_sequences", sequences},
	{"N15_inherited_and_not", inherited}, {"N15_reset_on_fork", reset}, {"N16_group_and_session", group},
	{"F13_arguments", arguments}, {"I20_core_settings", cores}, {"L11_advice_on_memory", advised},
	{"I11_vfork_lends_memory", lent}, {"L08_caller_alone", caller_alone}, {"N19_how_the_wait_ends", waits},
	{"I24_child_gone_already", again},
};
GUEST(table)
