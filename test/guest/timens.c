// Time namespaces: offsets and who may set them, the clocks of children, of
// programs and of those who enter, sleeps and timers on them.
#include "guest.h"
#include <linux/futex.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/sysinfo.h>
#include <sys/timerfd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

struct clone3_args {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

static const char *self;

static int64_t seconds(clockid_t c)
{
	struct timespec t;
	clock_gettime(c, &t);
	return t.tv_sec;
}

static int64_t by_call(clockid_t c)
{
	struct timespec t;
	syscall(SYS_clock_gettime, c, &t);
	return t.tv_sec;
}

static int64_t base[2];

static void start(void)
{
	base[0] = seconds(CLOCK_MONOTONIC);
	base[1] = seconds(CLOCK_BOOTTIME);
}

// near shows how far a clock went since start, in steps of 50 s.
static int near(clockid_t c, int64_t now)
{
	int64_t d = now - base[c == CLOCK_BOOTTIME];
	return (d + (d < 0 ? -25 : 25)) / 50 * 50;
}

static void clocks(const char *who)
{
	struct sysinfo si;
	sysinfo(&si);
	double up = atof(get("/proc/uptime"));
	say(who, "%d %d by call %d %d uptime %d %d", near(CLOCK_MONOTONIC, seconds(CLOCK_MONOTONIC)),
		near(CLOCK_BOOTTIME, seconds(CLOCK_BOOTTIME)), near(CLOCK_MONOTONIC, by_call(CLOCK_MONOTONIC)),
		near(CLOCK_BOOTTIME, by_call(CLOCK_BOOTTIME)), near(CLOCK_BOOTTIME, si.uptime), near(CLOCK_BOOTTIME, up));
}

static const char *store(const char *text)
{
	int fd = open("/proc/self/timens_offsets", O_WRONLY);
	if (fd < 0)
		return errname(errno);
	const char *r = ret(write(fd, text, strlen(text)));
	close(fd);
	return r;
}

static void offsets(void)
{
	say("initial", "%s", get("/proc/self/timens_offsets"));
	say("set initial", "%s", store("monotonic 1 0"));
	say("unshare", "%s", ret(unshare(CLONE_NEWTIME)));
	say("fresh", "%s", get("/proc/self/timens_offsets"));
	static const char *const bad[] = {
		"monotonic", "monotonic 1", "monotonic 1 1000000000", "realtime 1 0", "monotonic x 0", "2 1 0",
		"monotonic -100000000 0", "monotonic 9223372037 0", "monotonic 5000000000 0", "boottime 1 -1",
	};
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
		say("bad", "%u %s", i, store(bad[i]));
	say("set", "%s", store("monotonic 86400 5\nboottime 1000 0\n"));
	say("set", "%s", get("/proc/self/timens_offsets"));
	say("by number", "%s", store("7 -1 500000000"));
	say("set", "%s", get("/proc/self/timens_offsets"));
	char a[64], b[64];
	memset(a, 0, sizeof a);
	memset(b, 0, sizeof b);
	if (readlink("/proc/self/ns/time", a, sizeof a - 1) > 0 && readlink("/proc/self/ns/time_for_children", b, sizeof b - 1) > 0)
		say("differ", "%s", yes(strcmp(a, b)));
	if (fork() == 0) {
		say("fixed", "%s", store("monotonic 1 0"));
		_exit(0);
	}
	wait(NULL);
	say("fixed outside too", "%s", store("monotonic 1 0"));
	syscall(SYS_setresuid, 1000, 1000, 1000);
	say("plain user", "%s", ret(unshare(CLONE_NEWTIME)));
}

static void children(void)
{
	start();
	unshare(CLONE_NEWTIME);
	store("monotonic 1000 0\nboottime 5000 0");
	clocks("own");
	if (fork() == 0) {
		clocks("child");
		if (fork() == 0) {
			clocks("grandchild");
			_exit(0);
		}
		wait(NULL);
		unshare(CLONE_NEWTIME);
		say("inherits", "%s", get("/proc/self/timens_offsets"));
		store("monotonic -100 0");
		if (fork() == 0) {
			clocks("in another");
			_exit(0);
		}
		wait(NULL);
		_exit(0);
	}
	wait(NULL);
	pid_t pid = vfork();
	if (pid == 0) {
		char m[32], b[32];
		snprintf(m, sizeof m, "%ld", base[0]);
		snprintf(b, sizeof b, "%ld", base[1]);
		execl(self, self, "clocks", m, b, NULL);
		_exit(1);
	}
	wait(NULL);
	clocks("own");
	struct clone3_args a = {.flags = CLONE_NEWTIME, .exit_signal = SIGCHLD};
	pid = syscall(SYS_clone3, &a, sizeof a);
	if (pid == 0)
		_exit(0);
	say("clone3", "%s", okret(pid));
	waitpid(pid, NULL, 0);
}

static void enter(void)
{
	start();
	int up[2];
	char c, path[64];
	unshare(CLONE_NEWTIME);
	store("monotonic 700 0\nboottime 700 0");
	int own = open("/proc/self/ns/time", O_RDONLY);
	if (pipe(up))
		return;
	pid_t pid = fork();
	if (pid == 0) {
		if (write(up[1], "x", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	if (read(up[0], &c, 1) != 1)
		return;
	snprintf(path, sizeof path, "/proc/%d/ns/time", pid);
	int fd = open(path, O_RDONLY);
	say("enter", "%s", ret(setns(fd, CLONE_NEWTIME)));
	clocks("inside");
	say("back", "%s", ret(setns(own, 0)));
	clocks("outside");
	kill(pid, SIGKILL);
	wait(NULL);
}

// sleeps: absolute times are the namespace's own, and waits last as long as they should.
static void sleeps(void)
{
	unshare(CLONE_NEWTIME);
	store("monotonic 3000 0\nboottime -2 0");
	if (fork()) {
		wait(NULL);
		return;
	}
	for (int i = 0; i < 2; i++) {
		clockid_t id = i ? CLOCK_BOOTTIME : CLOCK_MONOTONIC;
		struct timespec t, before, after;
		clock_gettime(id, &before);
		t = before;
		if ((t.tv_nsec += 50 * MS) >= 1000 * MS) {
			t.tv_sec++;
			t.tv_nsec -= 1000 * MS;
		}
		int e = clock_nanosleep(id, TIMER_ABSTIME, &t, NULL);
		clock_gettime(id, &after);
		long ms = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / MS;
		say("nanosleep", "%s %s", errname(e), yes(ms >= 50 && ms < 5000));
		int fd = timerfd_create(id, 0);
		struct itimerspec it = {.it_value = t};
		it.it_value.tv_sec += 1;
		say("timerfd", "%s", ret(timerfd_settime(fd, TFD_TIMER_ABSTIME, &it, NULL)));
		uint64_t n = 0;
		say("read", "%s %lu", ret(read(fd, &n, sizeof n)), n);
		clock_gettime(id, &after);
		ms = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / MS;
		say("lasted", "%s", yes(ms >= 1000 && ms < 6000));
		timer_t timer;
		struct sigevent ev = {.sigev_notify = SIGEV_NONE};
		timer_create(id, &ev, &timer);
		it.it_value = after;
		it.it_value.tv_sec += 100;
		timer_settime(timer, TIMER_ABSTIME, &it, NULL);
		timer_gettime(timer, &it);
		say("left", "%s", yes(it.it_value.tv_sec >= 95 && it.it_value.tv_sec <= 100));
	}
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec++;
	int word = 0;
	int64_t before = now_ms();
	say("futex", "%s", ret(syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, 0, &t, NULL, FUTEX_BITSET_MATCH_ANY)));
	int64_t lasted = now_ms() - before;
	say("futex lasted", "%s", yes(lasted > 500 && lasted < 5000));
	_exit(0);
}

static const struct section table[] = {{"offsets", offsets}, {"children", children}, {"enter", enter}, {"sleeps", sleeps}};

int main(int argc, char **argv)
{
	self = realpath("/proc/self/exe", NULL);
	if (argc == 4 && !strcmp(argv[1], "clocks")) {
		base[0] = atol(argv[2]);
		base[1] = atol(argv[3]);
		clocks("program");
		return 0;
	}
	return guest_main(argc, argv, table, sizeof table / sizeof *table);
}
