// Pid namespaces, the choice of numbers, and who may have how many processes.
#include "../guest/guest.h"
#include <sched.h>
#include <sys/resource.h>

#define STACK 65536
static char stack[STACK] __attribute__((aligned(64)));

static int run(void *fn)
{
	((void (*)(void))fn)();
	_exit(0);
}

static const char *ended(pid_t pid)
{
	int st;
	if (pid < 0)
		return errname(errno);
	return waitpid(pid, &st, __WALL) == pid ? status(st) : errname(errno);
}

// inside runs fn as init of a new pid namespace.
static pid_t inside(void (*fn)(void))
{
	return clone(run, stack + STACK, CLONE_NEWPID | SIGCHLD, fn);
}

static void deeper(void)
{
	static char room[STACK] __attribute__((aligned(64)));
	static int depth;
	depth++;
	pid_t p = clone(run, room + STACK, CLONE_NEWPID | SIGCHLD, deeper);
	if (p < 0) {
		say("depth", "%d %s", depth, errname(errno));
		say("my number", "%d, parent %d", getpid(), getppid());
		_exit(depth);
	}
	int st;
	waitpid(p, &st, 0);
	_exit(WEXITSTATUS(st));
}

static void nested(void)
{
	say("deepest", "%s", ended(inside(deeper)));
}

static volatile sig_atomic_t caught;

static void on_signal(int s)
{
	caught = s;
}

static void as_init(void)
{
	say("init", "%d %d", getpid(), getppid());
	signal(SIGUSR1, on_signal);
	static const int list[] = {SIGTERM, SIGKILL, SIGSTOP, SIGSEGV, SIGUSR1};
	pid_t p = fork();
	if (p == 0) {
		say("child", "%d %d", getpid(), getppid());
		for (unsigned i = 0; i < sizeof list / sizeof *list; i++)
			say(signame(list[i]), "%s", ret(kill(1, list[i])));
		_exit(3);
	}
	int end;
	while (waitpid(p, &end, 0) < 0 && errno == EINTR)
		; // the signal comes meanwhile
	say("init caught", "%s", signame(caught));
	say("its child", "%s", status(end));
	// An orphan becomes init's.
	int fds[2];
	if (pipe(fds))
		return;
	p = fork();
	if (p == 0) {
		if (fork() == 0) {
			char c;
			close(fds[1]);
			if (read(fds[0], &c, 1) == 0)
				_exit(getppid() == 1 ? 5 : 6);
			_exit(7);
		}
		_exit(0);
	}
	waitpid(p, NULL, 0);
	close(fds[1]);
	int st = -1;
	say("orphan", "%s", yes(wait(&st) > 0));
	say("it ended", "%s", status(st));
}

static void dies(void)
{
	for (int i = 0; i < 3; i++)
		if (fork() == 0)
			for (;;)
				pause();
	sleep_ms(30);
	_exit(9);
}

static void inits(void)
{
	say("all", "%s", ended(inside(as_init)));
	// With init goes its namespace.
	say("unshare", "%s", ret(unshare(CLONE_NEWPID)));
	pid_t init = fork();
	if (init == 0)
		dies();
	int st;
	waitpid(init, &st, 0);
	say("init", "%s", status(st));
	pid_t p = fork();
	say("fork without init", "%s", p < 0 ? errname(errno) : "made");
}

static void stays(void)
{
	for (;;)
		pause();
}

static void immune(void)
{
	int st = -1;
	pid_t p = inside(stays);
	sleep_ms(20);
	kill(p, SIGTERM);
	sleep_ms(20);
	say("SIGTERM from outside", "%s", ret(waitpid(p, &st, WNOHANG)));
	kill(p, SIGSTOP);
	say("SIGSTOP from outside", "%s", yes(waitpid(p, &st, WUNTRACED) == p && WIFSTOPPED(st)));
	kill(p, SIGCONT);
	kill(p, SIGKILL);
	say("SIGKILL from outside", "%s", ended(p));
}

static pid_t one(void)
{
	pid_t p = fork();
	if (p == 0)
		_exit(0);
	int e = errno;
	if (p > 0)
		waitpid(p, NULL, 0);
	errno = e;
	return p;
}

static void numbers(void)
{
	say("first", "%d", one());
	put("/proc/sys/kernel/ns_last_pid", "4000");
	say("after 4000", "%d", one());
	say("next", "%d", one());
	pid_t zombie = fork();
	if (zombie == 0)
		_exit(0);
	put("/proc/sys/kernel/ns_last_pid", "4002");
	say("past a zombie", "%d", one());
	waitpid(zombie, NULL, 0);
	put("/proc/sys/kernel/ns_last_pid", "4002");
	say("where it was", "%d", one());
	// A group's number stays taken.
	pid_t leader = fork();
	if (leader == 0) {
		pause();
		_exit(0);
	}
	pid_t member = fork();
	if (member == 0) {
		pause();
		_exit(0);
	}
	setpgid(leader, 0);
	setpgid(member, leader);
	kill(leader, SIGKILL);
	waitpid(leader, NULL, 0);
	char text[32];
	snprintf(text, sizeof text, "%d", leader - 1);
	put("/proc/sys/kernel/ns_last_pid", text);
	say("not the group's", "%s", yes(one() != leader));
	kill(member, SIGKILL);
	waitpid(member, NULL, 0);
	put("/proc/sys/kernel/ns_last_pid", text);
	say("the group's", "%s", yes(one() == leader));
}

static void choice(void)
{
	say("all", "%s", ended(inside(numbers)));
}

static void wrapping(void)
{
	put("/proc/sys/kernel/pid_max", "320");
	put("/proc/sys/kernel/ns_last_pid", "317");
	for (int i = 0; i < 5; i++)
		say("number", "%d", one());
	int fd = open("/proc/sys/kernel/pid_max", O_WRONLY);
	say("too small", "%s", ret(write(fd, "300", 3)));
	say("too large", "%s", ret(write(fd, "4194305", 7)));
	say("text", "%s", ret(write(fd, "many", 4)));
	fd = open("/proc/sys/kernel/randompid", O_WRONLY);
	static const char *const steps[] = {"-5", "1", "2", "99", "1000", "99999999"};
	for (unsigned i = 0; i < sizeof steps / sizeof *steps; i++) {
		say(steps[i], "%s", ret(pwrite(fd, steps[i], strlen(steps[i]), 0)));
		say("randompid", "%ld", atol(get("/proc/sys/kernel/randompid")));
	}
}

static void wraps(void)
{
	say("all", "%s", ended(inside(wrapping)));
}

static void set(int which, rlim_t n)
{
	struct rlimit r = {n, n};
	if (setrlimit(which, &r))
		say("setrlimit", "%s", errname(errno));
}

// user is an id that nobody else here has.
#define USER 54329

static void counted(void)
{
	if (setgid(USER) || setuid(USER))
		say("user", "%s", errname(errno));
	set(RLIMIT_NPROC, 3);
	pid_t kids[8];
	int n = 0;
	while (n < 8 && (kids[n] = fork()) > 0)
		n++;
	if (n < 8 && kids[n] == 0)
		stays();
	say("children", "%d %s", n, errname(errno));
	say("thread", "%s", ret(clone(run, stack + STACK, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, stays)));
	kill(kids[0], SIGKILL);
	say("a zombie counts no more", "%s", ended(kids[0]));
	say("room", "%s", yes(one() > 0));
	for (int i = 1; i < n; i++)
		kill(kids[i], SIGKILL);
	while (wait(NULL) > 0)
		;
}

static void nproc(void)
{
	say("a user's", "%s", status(child(counted)));
	set(RLIMIT_NPROC, 1);
	say("root past its limit", "%s", yes(one() > 0));
}

static void becomes(void)
{
	set(RLIMIT_NPROC, 1);
	for (int i = 0; i < 2; i++) {
		pid_t p = fork();
		if (p == 0) {
			if (setuid(USER + 1))
				_exit(1);
			stays();
		}
		asleep(p);
	}
	say("setuid over the limit", "%s", ret(setuid(USER + 1)));
	say("exec after it", "%s", (execl("/bin/true", "true", NULL), errname(errno)));
	say("fork", "%s", one() < 0 ? errname(errno) : "made");
	kill(-1, SIGKILL);
	while (wait(NULL) > 0)
		;
}

static void execs(void)
{
	pid_t p = fork();
	if (p == 0) {
		becomes();
		_exit(0);
	}
	say("all", "%s", ended(p));
}

static void full(void)
{
	int n = 0;
	pid_t p;
	while (n < 20 && (p = fork()) > 0)
		n++;
	if (n < 20 && p == 0)
		stays();
	say("children of root", "%d %s", n, errname(errno));
	kill(-1, SIGKILL);
	while (wait(NULL) > 0)
		;
	say("room", "%s", yes(one() > 0));
}

static void last_slot(void)
{
	put("/proc/sys/kernel/threads-max", "20");
	full();
	if (fork() == 0) {
		if (setuid(USER))
			_exit(1);
		int n = 0;
		pid_t p;
		while (n < 30 && (p = fork()) > 0)
			n++;
		if (n < 30 && p == 0)
			stays();
		say("children of a user", "%d %s", n, errname(errno));
		kill(-1, SIGKILL);
		while (wait(NULL) > 0)
			;
		_exit(0);
	}
	wait(NULL);
	int64_t began = now_ms();
	put("/proc/sys/kernel/forkfsleep", "100");
	full();
	say("the refusal took its time", "%s", yes(now_ms() - began >= 100));
}

static const struct section table[] = {
	{"L04_nested_namespaces", nested}, {"L04_init", inits}, {"L04_immune_init", immune},
	{"F06_choice_of_pids", choice}, {"F07_wrapping_and_steps", wraps},
	{"N03_per_user_limit", nproc}, {"L07_checked_again_at_exec", execs},
	{"L07_pids_of_the_sandbox", full}, {"F03_last_slot_is_roots", last_slot},
};
GUEST(table)
