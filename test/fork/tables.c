// The largest descriptor table: fs.nr_open, RLIMIT_NOFILE below it, and copies of a table that has become too large.
#include "../guest/guest.h"
#include <sched.h>
#include <sys/resource.h>

#define FILE_NR_OPEN "/proc/sys/fs/nr_open"
#define RAISE 1024

static long knob(void)
{
	char text[32] = {};
	int fd = open(FILE_NR_OPEN, O_RDONLY);
	if (read(fd, text, sizeof text - 1) < 0)
		return -1;
	close(fd);
	return atol(text);
}

static const char *store(const char *text)
{
	int fd = open(FILE_NR_OPEN, O_WRONLY);
	if (fd < 0)
		return errname(errno);
	ssize_t n = write(fd, text, strlen(text));
	const char *r = n < 0 ? errname(errno) : "ok";
	close(fd);
	return r;
}

static const char *set_knob(long n)
{
	char text[32];
	snprintf(text, sizeof text, "%ld\n", n);
	return store(text);
}

static void bounds(void)
{
	long was = knob();
	say("too few", "%s %s", set_knob(63), set_knob(0));
	say("negative", "%s", set_knob(-1));
	say("too many", "%s %s", set_knob(2147483585), set_knob(1L << 31));
	say("no number", "%s", store("many"));
	say("unchanged", "%s", yes(knob() == was));
	if (fork() == 0) {
		if (setuid(1000))
			_exit(1);
		say("a user", "%s", set_knob(was));
		_exit(0);
	}
	wait(NULL);
}

static const char *limit_to(rlim_t soft, rlim_t hard)
{
	struct rlimit r = {soft, hard};
	return ret(setrlimit(RLIMIT_NOFILE, &r));
}

static void limit(void)
{
	long was = knob();
	say("hard limit at it", "%s", limit_to(1024, was));
	say("hard limit past it", "%s", limit_to(1024, was + 1));
	say("soft over hard first", "%s", limit_to(was + 2, was + 1));
	say("raised", "%s", set_knob(was + RAISE));
	say("hard limit past the old", "%s", limit_to(was + RAISE, was + RAISE));
	say("lowered again", "%s", set_knob(was));
	say("descriptor past it", "%s %s", okret(dup2(1, was + 500)), okret(fcntl(1, F_DUPFD, (int)was + 500)));
	say("descriptor below", "%s", okret(fcntl(1, F_DUPFD, (int)was - 1)));
	say("and the next", "%s", okret(fcntl(1, F_DUPFD, (int)was - 1)));
}

static int in_clone(void *arg)
{
	say((const char *)arg, "%s", "ran");
	return 0;
}

// shared makes a child that shares the table, so that there is something to unshare.
static pid_t sharer(void)
{
	static char stack[16384] __attribute__((aligned(16)));
	extern int wait_forever(void *);
	return clone(wait_forever, stack + sizeof stack, CLONE_FILES | SIGCHLD, NULL);
}

int wait_forever(void *arg)
{
	(void)arg;
	for (;;)
		pause();
}

static void copies(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	long was = knob();
	set_knob(was + RAISE);
	limit_to(was + RAISE, was + RAISE);
	say("large descriptor", "%s", okret(dup2(2, was + 64)));
	pid_t other = sharer();
	set_knob(was);
	say("unshare", "%s", ret(unshare(CLONE_FILES)));
	say("unshare more", "%s", ret(unshare(CLONE_FILES | CLONE_NEWUTS)));
	say("fork", "%s", okret(syscall(SYS_fork)));
	pid_t p = clone(in_clone, stack + sizeof stack, CLONE_FILES | SIGCHLD, "clone that shares");
	waitpid(p, NULL, 0);
	say("clone that shares", "%s", okret(p));
	say("clone", "%s", ret(clone(in_clone, stack + sizeof stack, SIGCHLD, "clone")));
	say("close_range, marking", "%s", ret(close_range(was, ~0U, 2 | 4)));
	say("close_range, below", "%s", ret(close_range(500, was, 2)));
	say("still there", "%s", okret(fcntl(was + 64, F_GETFD)));
	say("close_range", "%s", ret(close_range(was, ~0U, 2)));
	say("gone", "%s", okret(fcntl(was + 64, F_GETFD)));
	say("others are there", "%s", okret(fcntl(2, F_GETFD)));
	pid_t child = fork();
	if (child == 0)
		_exit(3);
	int st;
	waitpid(child, &st, 0);
	say("fork again", "%s", status(st));
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
}

static const struct section table[] = {
	{"bounds", bounds}, {"limit", limit}, {"copies", copies},
};

GUEST(table)
