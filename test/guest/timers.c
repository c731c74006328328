// Clocks and timers: monotonicity, sleeps to a deadline, resolutions, the vDSO
// against the call, interval timers, alarm, timerfd and POSIX timers.
#include "guest.h"
#include <sys/auxv.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/timex.h>
#include <sys/times.h>
#include <sys/resource.h>

static int64_t ns(clockid_t c)
{
	struct timespec t;
	return clock_gettime(c, &t) ? -1 : t.tv_sec * 1000000000L + t.tv_nsec;
}

static int64_t rawns(clockid_t c)
{
	struct timespec t;
	return syscall(SYS_clock_gettime, c, &t) ? -1 : t.tv_sec * 1000000000L + t.tv_nsec;
}

// between reads a clock, and the monotonic one before and after it.
static int64_t between(clockid_t c, int64_t *monotonic)
{
	monotonic[0] = ns(CLOCK_MONOTONIC);
	int64_t t = ns(c);
	monotonic[1] = ns(CLOCK_MONOTONIC);
	return t;
}

static void clocks(void)
{
	struct {
		const char *name;
		clockid_t id;
	} all[] = {{"realtime", CLOCK_REALTIME}, {"monotonic", CLOCK_MONOTONIC}, {"boottime", CLOCK_BOOTTIME}, {"raw", CLOCK_MONOTONIC_RAW}, {"realtime coarse", CLOCK_REALTIME_COARSE}, {"monotonic coarse", CLOCK_MONOTONIC_COARSE}, {"process cpu", CLOCK_PROCESS_CPUTIME_ID}, {"thread cpu", CLOCK_THREAD_CPUTIME_ID}, {"tai", CLOCK_TAI}};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		int64_t last = 0, bad = 0;
		for (int k = 0; k < 20000; k++) {
			int64_t t = ns(all[i].id);
			bad += t < last;
			last = t;
		}
		say(all[i].name, "backwards %ld", (long)bad);
		// A reading by the call lies between two readings by the library.
		int out = 0;
		for (int k = 0; k < 200; k++) {
			int64_t a = ns(all[i].id), b = rawns(all[i].id), c = ns(all[i].id);
			out += b < a || b > c;
		}
		say(all[i].name, "call out of order %d", out);
		struct timespec r;
		say(all[i].name, "resolution %s %s", ret(clock_getres(all[i].id, &r)), yes(r.tv_sec == 0 && r.tv_nsec > 0 && r.tv_nsec <= 10 * MS));
	}
	struct timespec t;
	say("bad clock", "%s", ret(clock_gettime(99, &t)));
	say("bad pointer", "%s", ret(syscall(SYS_clock_gettime, CLOCK_REALTIME, 8)));
	say("getres null", "%s", ret(clock_getres(CLOCK_MONOTONIC, NULL)));
	say("fine resolution", "%s", (clock_getres(CLOCK_MONOTONIC, &t), ret(t.tv_nsec)));
	struct timeval v;
	gettimeofday(&v, NULL);
	say("gettimeofday agrees", "%s", yes(llabs(v.tv_sec * 1000000L + v.tv_usec - ns(CLOCK_REALTIME) / 1000) < 100000));
	say("time agrees", "%s", yes(labs(time(NULL) - v.tv_sec) <= 1));
	say("boottime not before monotonic", "%s", yes(ns(CLOCK_BOOTTIME) >= ns(CLOCK_MONOTONIC) - 1000000));
	int64_t m0[2], m1[2], r0 = between(CLOCK_REALTIME, m0);
	sleep_ms(100);
	int64_t dr = between(CLOCK_REALTIME, m1) - r0;
	say("clocks advance alike", "%s", yes(m1[0] - m0[1] >= 100 * MS && dr > m1[0] - m0[1] - 5 * MS && dr < m1[1] - m0[0] + 5 * MS));
	say("vdso in auxv", "%s", yes(getauxval(AT_SYSINFO_EHDR) != 0));
	unsigned cpu = 999, node = 999;
	say("getcpu", "%s", ret(syscall(SYS_getcpu, &cpu, &node, NULL)));
	if (fork() == 0) {
		if (setuid(1))
			_exit(1);
		say("clock_settime as nobody", "%s", ret(clock_settime(CLOCK_REALTIME, &t)));
		_exit(0);
	}
	wait(NULL);
}

static void cpu_time(void)
{
	int64_t p0 = ns(CLOCK_PROCESS_CPUTIME_ID), m0 = ns(CLOCK_MONOTONIC);
	sleep_ms(100);
	say("sleep costs no time", "%s", yes(ns(CLOCK_PROCESS_CPUTIME_ID) - p0 < 60 * MS));
	p0 = ns(CLOCK_PROCESS_CPUTIME_ID);
	m0 = ns(CLOCK_MONOTONIC);
	volatile long x = 0;
	while (ns(CLOCK_PROCESS_CPUTIME_ID) - p0 < 150 * MS && ns(CLOCK_MONOTONIC) - m0 < 20000 * MS)
		for (int i = 0; i < 10000; i++)
			x += i;
	say("work is counted", "%s", yes(ns(CLOCK_PROCESS_CPUTIME_ID) - p0 >= 150 * MS));
	struct rusage u;
	say("getrusage", "%s", ret(getrusage(RUSAGE_SELF, &u)));
	say("user time", "%s", yes(u.ru_utime.tv_sec * 1000 + u.ru_utime.tv_usec / 1000 + u.ru_stime.tv_sec * 1000 + u.ru_stime.tv_usec / 1000 >= 100));
	say("getrusage thread", "%s", ret(getrusage(RUSAGE_THREAD, &u)));
	say("getrusage bad", "%s", ret(getrusage(7, &u)));
	struct tms t;
	say("times", "%s", yes(times(&t) != -1 && t.tms_utime + t.tms_stime >= 8));
	clockid_t c;
	say("clock of own process", "%s", errname(clock_getcpuclockid(0, &c)));
	say("readable", "%s", yes(ns(c) > 100 * MS));
}

static volatile int ticks;

static void tick(int s)
{
	(void)s;
	ticks++;
}

static void sleeps(void)
{
	struct timespec t = {0, 50 * MS}, bad = {0, 1000000000}, neg = {-1, 0};
	int64_t m = ns(CLOCK_MONOTONIC);
	say("nanosleep", "%s", ret(nanosleep(&t, NULL)));
	say("long enough", "%s", yes(ns(CLOCK_MONOTONIC) - m >= 50 * MS));
	say("bad nanoseconds", "%s", ret(nanosleep(&bad, NULL)));
	say("negative", "%s", ret(nanosleep(&neg, NULL)));
	say("bad pointer", "%s", ret(syscall(SYS_nanosleep, 8, NULL)));
	say("zero", "%s", ret(nanosleep(&(struct timespec){0, 0}, NULL)));
	clockid_t c[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME};
	for (int i = 0; i < 3; i++) {
		int64_t d = ns(c[i]) + 40 * MS;
		t = (struct timespec){d / 1000000000, d % 1000000000};
		say("absolute", "%s", errname(clock_nanosleep(c[i], TIMER_ABSTIME, &t, NULL)));
		say("reached", "%s", yes(ns(c[i]) >= d));
		say("in the past", "%s", errname(clock_nanosleep(c[i], TIMER_ABSTIME, &t, NULL)));
	}
	t = (struct timespec){0, 1000};
	say("thread clock itself", "%s", ret(syscall(SYS_clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, &t, NULL)));
	say("thread clock", "%s", errname(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &t, NULL)));
	say("bad clock", "%s", errname(clock_nanosleep(99, 0, &t, NULL)));
	struct sigaction sa = {.sa_handler = tick};
	sigaction(SIGALRM, &sa, NULL);
	int64_t d = ns(CLOCK_MONOTONIC) + 40000 * MS;
	t = (struct timespec){d / 1000000000, d % 1000000000};
	struct timespec rem = {7, 7};
	say("absolute interrupted", "%s", errname(UNDER_ALARM(30000, clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, &rem))));
	say("no remainder", "%ld %ld", (long)rem.tv_sec, rem.tv_nsec);
}

static void itimers(void)
{
	signal(SIGALRM, tick);
	signal(SIGVTALRM, tick);
	signal(SIGPROF, tick);
	struct itimerval v = {{0, 10000}, {0, 10000}}, o;
	say("set", "%s", ret(setitimer(ITIMER_REAL, &v, NULL)));
	while (ticks < 5)
		pause();
	say("ticks", "%s", yes(ticks >= 5));
	say("get", "%s %ld %s", ret(getitimer(ITIMER_REAL, &o)), (long)o.it_interval.tv_usec, yes(o.it_value.tv_usec <= 10000));
	if (fork() == 0) {
		getitimer(ITIMER_REAL, &o);
		_exit(o.it_value.tv_usec || o.it_interval.tv_usec);
	}
	v = (struct itimerval){{0, 0}, {0, 0}};
	say("stop", "%s", ret(setitimer(ITIMER_REAL, &v, &o)));
	say("old interval", "%ld", (long)o.it_interval.tv_usec);
	int st;
	wait(&st);
	say("not inherited", "%s", status(st));
	v.it_value.tv_usec = 1000000;
	say("bad microseconds", "%s", ret(setitimer(ITIMER_REAL, &v, NULL)));
	say("bad which", "%s", ret(setitimer(9, &v, NULL)));
	int which[] = {ITIMER_VIRTUAL, ITIMER_PROF};
	for (int i = 0; i < 2; i++) {
		ticks = 0;
		v = (struct itimerval){{0, 0}, {0, 30000}};
		setitimer(which[i], &v, NULL);
		int64_t end = ns(CLOCK_MONOTONIC) + 10000 * MS;
		while (!ticks && ns(CLOCK_MONOTONIC) < end)
			;
		say(i ? "profiling" : "virtual", "%d", ticks);
	}
	ticks = 0;
	say("alarm", "%s", ret(alarm(5)));
	say("alarm again", "%s", ret(alarm(1)));
	pause();
	say("rang", "%d, left %s", ticks, ret(alarm(0)));
	v = (struct itimerval){{0, 0}, {0, 40000}};
	setitimer(ITIMER_REAL, &v, NULL);
	if (fork() == 0) {
		execl("/bin/sleep", "sleep", "0", (char *)0);
		_exit(9);
	}
	wait(&st);
	say("child execs without it", "%s", status(st));
	if (fork() == 0) {
		signal(SIGALRM, SIG_DFL);
		setitimer(ITIMER_REAL, &v, NULL);
		execl("/bin/sleep", "sleep", "5", (char *)0);
		_exit(9);
	}
	wait(&st);
	say("kept by exec", "%s", status(st));
}

static void timerfds(void)
{
	int f = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	struct itimerspec v = {{0, 0}, {0, 20 * MS}}, o;
	uint64_t n = 0;
	if (f < 0) {
		say("create", "%s", errname(errno));
		return;
	}
	say("not yet", "%s", ret(read(f, &n, 8)));
	say("set", "%s", ret(timerfd_settime(f, 0, &v, NULL)));
	sleep_ms(40);
	say("once", "%s %ld", ret(read(f, &n, 8)), (long)n);
	say("and gone", "%s", ret(read(f, &n, 8)));
	v.it_interval.tv_nsec = 10 * MS;
	timerfd_settime(f, 0, &v, NULL);
	sleep_ms(100);
	say("several", "%s %s", ret(read(f, &n, 8)), yes(n >= 5));
	say("get", "%s %s", ret(timerfd_gettime(f, &o)), yes(o.it_interval.tv_nsec == 10 * MS && o.it_value.tv_nsec > 0));
	fcntl(f, F_SETFL, 0);
	say("blocking", "%s %s", ret(read(f, &n, 8)), yes(n >= 1));
	say("short", "%s", ret(read(f, &n, 4)));
	say("bad clock", "%s", ret(timerfd_create(99, 0)));
	say("bad flag", "%s", ret(timerfd_create(CLOCK_MONOTONIC, 64)));
	v.it_value.tv_nsec = 1000000000;
	say("bad value", "%s", ret(timerfd_settime(f, 0, &v, NULL)));
}

static void posix_timers(void)
{
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
	ev.sigev_value.sival_int = 99;
	timer_t id;
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &s, NULL);
	int r = timer_create(CLOCK_MONOTONIC, &ev, &id);
	say("create", "%s", ret(r));
	if (r)
		return;
	struct itimerspec v = {{0, 0}, {0, 20 * MS}};
	say("set", "%s", ret(timer_settime(id, 0, &v, NULL)));
	siginfo_t si;
	say("fires", "%s code %d value %d", yes(sigwaitinfo(&s, &si) == SIGRTMIN), si.si_code, si.si_value.sival_int);
	v.it_interval.tv_nsec = 5 * MS;
	timer_settime(id, 0, &v, NULL);
	sleep_ms(100);
	sigwaitinfo(&s, &si);
	say("overruns", "%s", yes(timer_getoverrun(id) >= 5));
	say("delete", "%s", ret(timer_delete(id)));
	ev.sigev_signo = 99;
	say("bad signal", "%s", ret(timer_create(CLOCK_MONOTONIC, &ev, &id)));
}

static const struct section table[] = {
	{"clocks", clocks}, {"cpu_time", cpu_time}, {"sleeps", sleeps}, {"itimers", itimers},
	{"timerfds", timerfds}, {"posix_timers", posix_timers},
};

GUEST(table)
