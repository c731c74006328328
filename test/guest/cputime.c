// Processor time: RLIMIT_CPU and the timers of processor time in programs that
// only compute, alone and with several threads, over fork and exec.
#include "guest.h"
#include <pthread.h>
#include <sys/resource.h>
#include <sys/time.h>

static char self[4096];
static volatile int count, stop;
static volatile int64_t when[16];

static int64_t cpu(clockid_t c)
{
	struct timespec t;
	clock_gettime(c, &t);
	return t.tv_sec * 1000 + t.tv_nsec / MS;
}

static void note(int s)
{
	(void)s;
	if (count < 16)
		when[count] = cpu(CLOCK_PROCESS_CPUTIME_ID);
	count++;
}

// spin computes and makes no system call.
static void spin(void)
{
	volatile long x = 0;
	while (!stop)
		x++;
}

static void *spinner(void *arg)
{
	(void)arg;
	spin();
	return NULL;
}

static int limit_cpu(rlim_t soft, rlim_t hard)
{
	struct rlimit r = {soft, hard};
	return setrlimit(RLIMIT_CPU, &r);
}

static void near(const char *name, int64_t got, int64_t want)
{
	// A host that counts by ticks of its clock is off by as much, and a crowded one
	// lets the handler wait.
	if (got < want * 2 / 3 || got > want * 2 + 2000)
		say(name, "%ld ms", (long)got);
	else
		say(name, "%ld", (long)want);
}

static void stop_at_2(int s)
{
	note(s);
	stop = count == 2;
}

static void soft_limit(void)
{
	signal(SIGXCPU, stop_at_2);
	say("set", "%s", ret(limit_cpu(1, 60)));
	spin();
	near("first", when[0], 1000);
	near("second", when[1], 2000);
	struct rlimit r;
	getrlimit(RLIMIT_CPU, &r);
	say("raised", "%ld of %ld", (long)r.rlim_cur, (long)r.rlim_max);
}

static void kills_hard(void)
{
	signal(SIGXCPU, SIG_IGN);
	limit_cpu(1, 2);
	spin();
}

static void at_once(void)
{
	limit_cpu(0, 60);
	spin();
}

static void in_program(void)
{
	limit_cpu(1, 2);
	if (fork() == 0)
		execl(self, self, "spin", (char *)0);
	int st;
	wait(&st);
	say("inherited", "%s", status(st));
}

static void with_threads(void)
{
	limit_cpu(1, 1);
	pthread_t t;
	for (int i = 0; i < 3; i++)
		pthread_create(&t, NULL, spinner, NULL);
	pause();
}

static void set_later(void)
{
	pthread_t t;
	pthread_create(&t, NULL, spinner, NULL);
	sleep_ms(20);
	limit_cpu(1, 1);
	pause();
}

static void limits(void)
{
	say("hard", "%s", status(child(kills_hard)));
	say("child that execs", "%s", status(child(in_program)));
	say("threads", "%s", status(child(with_threads)));
	say("while another computes", "%s", status(child(set_later)));
	say("zero", "%s", status(child(at_once)));
}

static void stop_now(int s)
{
	note(s);
	stop = 1;
}

static void timers(void)
{
	signal(SIGPROF, stop_at_2);
	signal(SIGVTALRM, stop_now);
	struct itimerval v = {{0, 100000}, {0, 100000}}, o;
	int64_t t0 = cpu(CLOCK_PROCESS_CPUTIME_ID);
	setitimer(ITIMER_PROF, &v, NULL);
	spin();
	near("profiling", when[1] - t0, 200);
	getitimer(ITIMER_PROF, &o);
	say("left", "%s", yes(o.it_value.tv_usec > 0 && o.it_value.tv_usec <= 100000));
	v = (struct itimerval){{0, 0}, {0, 0}};
	setitimer(ITIMER_PROF, &v, NULL);
	count = stop = 0;
	v.it_value.tv_usec = 200000;
	t0 = cpu(CLOCK_PROCESS_CPUTIME_ID);
	setitimer(ITIMER_VIRTUAL, &v, NULL);
	spin();
	near("virtual", when[0] - t0, 200);
	clockid_t c[] = {CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID};
	for (int i = 0; i < 2; i++) {
		struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGVTALRM};
		timer_t id;
		count = stop = 0;
		say("create", "%s", ret(timer_create(c[i], &ev, &id)));
		struct itimerspec s = {{0, 0}, {0, 150 * MS}};
		t0 = cpu(c[i]);
		timer_settime(id, 0, &s, NULL);
		spin();
		near("after", cpu(c[i]) - t0, 150);
	}
	// A sleep on the process's clock ends when another thread has computed for so long.
	stop = 0;
	pthread_t t;
	pthread_create(&t, NULL, spinner, NULL);
	t0 = cpu(CLOCK_PROCESS_CPUTIME_ID);
	struct timespec ts = {0, 200 * MS};
	say("sleep", "%s", errname(clock_nanosleep(CLOCK_PROCESS_CPUTIME_ID, 0, &ts, NULL)));
	near("slept", cpu(CLOCK_PROCESS_CPUTIME_ID) - t0, 200);
	int64_t a = cpu(CLOCK_PROCESS_CPUTIME_ID);
	int64_t end = now_ms() + 10000;
	while (cpu(CLOCK_PROCESS_CPUTIME_ID) - a < 20 && now_ms() < end)
		sleep_ms(10);
	say("clock of a computing thread goes on", "%s", yes(now_ms() < end));
	stop = 1;
	pthread_join(t, NULL);
}

static const struct section table[] = {{"soft_limit", soft_limit}, {"limits", limits}, {"timers", timers}};

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "spin")) {
		alarm(30);
		spin();
	}
	if (!realpath(argv[0], self))
		return 97;
	return guest_main(argc, argv, table, sizeof table / sizeof *table);
}
