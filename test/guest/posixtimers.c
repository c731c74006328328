// POSIX timers and timerfds: ids, errors, what becomes of a signal that is pending
// when its timer changes, overruns, ignored signals, threads, limits.
#include "guest.h"
#include <poll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>

static sigset_t both;
static struct timespec at_once;

static void block_both(void)
{
	sigemptyset(&both);
	sigaddset(&both, SIGRTMIN);
	sigaddset(&both, SIGALRM);
	sigprocmask(SIG_BLOCK, &both, NULL);
}

// The library's timer_t hides the kernel's ids.
static int create(clockid_t c, struct sigevent *ev, int *id)
{
	return syscall(SYS_timer_create, c, ev, id);
}

static int settime(int id, long value, long interval)
{
	struct itimerspec v = {{0, interval}, {0, value}};
	return syscall(SYS_timer_settime, id, 0, &v, NULL);
}

static const char *taken(void)
{
	siginfo_t si;
	return ret(sigtimedwait(&both, &si, &at_once));
}

// fired arms a timer and waits until its signal is pending.
static void fired(int id)
{
	sigset_t s;
	settime(id, MS, 0);
	do {
		sleep_ms(1);
		sigpending(&s);
	} while (!sigismember(&s, SIGRTMIN));
}

static void pending(void)
{
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
	int id = -1;
	block_both();
	say("create", "%s id %d", ret(create(CLOCK_MONOTONIC, &ev, &id)), id);
	fired(id);
	struct itimerspec v = {{0, 0}, {100, 0}}, o;
	say("set anew", "%s %s", ret(syscall(SYS_timer_settime, id, 0, &v, &o)), taken());
	say("old value", "%ld %ld", (long)o.it_value.tv_sec, o.it_value.tv_nsec);
	fired(id);
	say("disarmed", "%s %s", ret(settime(id, 0, 0)), taken());
	fired(id);
	say("deleted", "%s %s", ret(syscall(SYS_timer_delete, id)), taken());
	say("next id", "%s id %d", ret(create(CLOCK_REALTIME, NULL, &id)), id);
	settime(id, 1, MS);
	sleep_ms(30);
	siginfo_t si;
	say("default event", "%s", ret(sigtimedwait(&both, &si, &at_once)));
	say("siginfo", "%d %d %d %s", si.si_code, si.si_timerid, si.si_value.sival_int, yes(si.si_overrun > 5));
	say("same overrun", "%s", yes(syscall(SYS_timer_getoverrun, id) == si.si_overrun));
	settime(id, 0, 0);
	while (sigtimedwait(&both, &si, &at_once) > 0)
		;
	// A timer's signal is pending beside one that somebody sent before it.
	raise(SIGALRM);
	settime(id, 1, 20 * MS);
	sleep_ms(40);
	sigtimedwait(&both, &si, &at_once);
	int first = si.si_code;
	say("sent and timed", "%d %s %d", first, ret(sigtimedwait(&both, &si, &at_once)), si.si_code);
	signal(SIGALRM, SIG_IGN);
	sigprocmask(SIG_UNBLOCK, &both, NULL);
	sleep_ms(60);
	block_both();
	say("ignored", "%s", taken());
	signal(SIGALRM, SIG_DFL);
	sleep_ms(60);
	say("not any more", "%s", taken());
	syscall(SYS_timer_gettime, id, &o);
	say("interval", "%ld", o.it_interval.tv_nsec);
}

static void errors(void)
{
	int clocks[] = {0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, -2, -6, 99};
	int id;
	struct itimerspec v = {{0, 0}, {0, 0}};
	for (unsigned i = 0; i < sizeof clocks / sizeof *clocks; i++) {
		char name[32];
		sprintf(name, "clock %d", clocks[i]);
		say(name, "%s, file %s", okret(create(clocks[i], NULL, &id)), okret(timerfd_create(clocks[i], 0)));
	}
	say("get", "%s", ret(syscall(SYS_timer_gettime, 77, &v)));
	say("overrun", "%s", ret(syscall(SYS_timer_getoverrun, 77)));
	say("delete", "%s", ret(syscall(SYS_timer_delete, 77)));
	say("set", "%s", ret(settime(77, 1, 0)));
	say("bad event", "%s", ret(create(1, (void *)8, &id)));
	say("bad id", "%s %s", ret(create(1, NULL, (void *)8)), ret(create(1, NULL, NULL)));
	create(1, NULL, &id);
	say("null setting", "%s", ret(syscall(SYS_timer_settime, id, 0, NULL, NULL)));
	say("bad setting", "%s", ret(syscall(SYS_timer_settime, id, 0, 8, NULL)));
	say("negative", "%s %s", ret(settime(id, -1, 0)), ret(settime(id, 0, 1000000000)));
	say("other flags", "%s", ret(syscall(SYS_timer_settime, id, 0xff0, &v, NULL)));
	for (int n = 0; n < 8; n++) {
		struct sigevent ev = {.sigev_notify = n, .sigev_signo = 10};
		ev._sigev_un._tid = getpid();
		say("notify", "%d %s", n, okret(create(1, &ev, &id)));
	}
	struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = 10};
	ev._sigev_un._tid = getppid();
	say("another's thread", "%s", okret(create(1, &ev, &id)));
	ev = (struct sigevent){.sigev_notify = SIGEV_NONE, .sigev_signo = 999};
	say("silent", "%s", okret(create(1, &ev, &id)));
	settime(id, 30 * MS, 20 * MS);
	sleep_ms(40);
	syscall(SYS_timer_gettime, id, &v);
	say("silent one goes on", "%s", yes(v.it_value.tv_nsec > 0 && v.it_value.tv_nsec <= 20 * MS));
	settime(id, 1, 0);
	sleep_ms(10);
	syscall(SYS_timer_gettime, id, &v);
	say("silent one is over", "%ld", v.it_value.tv_nsec);
	if (fork() == 0) {
		// What all processes of a user have counts: root has more of them than this one.
		if (getuid() == 0 && setuid(54397))
			_exit(1);
		struct rlimit r = {40, 40};
		setrlimit(RLIMIT_SIGPENDING, &r);
		int made = 0;
		while (made < 100 && !create(1, NULL, &id))
			made++;
		say("limit", "%s %s", ret(-1), yes(made > 5 && made < 41));
		_exit(0);
	}
	wait(NULL);
}

static void children(void)
{
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGTERM};
	int id;
	signal(SIGTERM, SIG_IGN);
	create(1, &ev, &id);
	settime(id, 100 * MS, 0);
	struct itimerspec v;
	if (fork() == 0) {
		signal(SIGTERM, SIG_DFL);
		say("in a child", "%s", ret(syscall(SYS_timer_gettime, id, &v)));
		say("its own", "%s id %d", ret(create(1, &ev, &id)), id);
		settime(id, 700 * MS, 0);
		execl("/bin/sleep", "sleep", "0.9", (char *)0);
		_exit(1);
	}
	int st;
	wait(&st);
	say("not kept by exec", "%s", status(st));
}

static void files(void)
{
	int f = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	char b[8], path[64];
	struct itimerspec v = {{1, 0}, {5, 0}};
	struct pollfd p = {f, POLLIN | POLLOUT, 0};
	say("seek", "%s %s", ret(lseek(f, 0, SEEK_CUR)), ret(lseek(f, 5, SEEK_SET)));
	say("pread", "%s %s", ret(pread(f, b, 8, 0)), ret(pwrite(f, b, 8, 0)));
	say("write", "%s", ret(write(f, b, 8)));
	say("poll", "%s %x", ret(poll(&p, 1, 0)), p.revents);
	say("cancel on set", "%s", ret(timerfd_settime(f, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &v, NULL)));
	say("other flags", "%s", ret(timerfd_settime(f, 4, &v, NULL)));
	say("expired", "%s %x", ret(poll(&p, 1, 60000)), p.revents);
	timerfd_settime(f, 0, &v, NULL);
	say("set anew", "%s %s", ret(poll(&p, 1, 0)), ret(read(f, b, 8)));
	sprintf(path, "/proc/self/fd/%d", f);
	char link[64] = "";
	say("link", "%s %s", ret(readlink(path, link, 63)), link);
	say("no timer", "%s %s", ret(timerfd_settime(1, 0, &v, NULL)), ret(timerfd_gettime(1, &v)));
	say("no file", "%s", ret(timerfd_gettime(99, &v)));
	say("bad setting", "%s", ret(timerfd_settime(f, 0, (void *)8, NULL)));
	fcntl(f, F_SETFL, 0);
	v = (struct itimerspec){{0, 0}, {0, 20 * MS}};
	timerfd_settime(f, 0, &v, NULL);
	p.events = POLLIN;
	say("poll waits", "%s", ret(poll(&p, 1, 60000)));
	say("read", "%s", ret(read(f, b, 8)));
}

static const struct section table[] = {
	{"pending", pending}, {"errors", errors}, {"children", children}, {"files", files},
};

GUEST(table)
