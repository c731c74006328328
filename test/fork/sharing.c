// What a child shares with its parent or has a copy of: signal actions, descriptors, directory
// and umask, limits, memory.
#include "../guest/guest.h"
#include <sched.h>
#include <sys/resource.h>

#define STACK 65536
static char stack[STACK] __attribute__((aligned(64)));

// clones runs fn in a child made with the given flags, and waits for it.
static const char *clones(int (*fn)(void *), int flags)
{
	int st;
	pid_t pid = clone(fn, stack + STACK, flags | SIGCHLD, NULL);
	if (pid < 0)
		return errname(errno);
	return waitpid(pid, &st, __WALL) == pid ? status(st) : errname(errno);
}

static void handler(int s)
{
	(void)s;
}

static int sets_action(void *arg)
{
	(void)arg;
	struct sigaction a, b = {.sa_handler = SIG_IGN};
	sigaction(SIGUSR2, NULL, &a);
	sigaction(SIGUSR1, &b, NULL);
	_exit(a.sa_handler == handler ? 1 : a.sa_handler == SIG_DFL ? 2 : 3);
}

static const char *action(int sig)
{
	struct sigaction a;
	sigaction(sig, NULL, &a);
	return a.sa_handler == SIG_IGN ? "ignored" : a.sa_handler == SIG_DFL ? "default" : "caught";
}

static void actions(void)
{
	static const int flags[] = {0, CLONE_VM, CLONE_VM | CLONE_SIGHAND};
	for (unsigned i = 0; i < sizeof flags / sizeof *flags; i++) {
		signal(SIGUSR1, SIG_DFL);
		signal(SIGUSR2, handler);
		say("child sees", "%s", clones(sets_action, flags[i]));
		say("parent sees", "%s", action(SIGUSR1));
	}
}

static int opens(void *arg)
{
	(void)arg;
	_exit(dup2(1, 70) == 70 && !close(71) ? 0 : 1);
}

static void descriptors(void)
{
	for (int i = 0; i < 2; i++) {
		dup2(1, 71);
		close(70);
		say("child", "%s", clones(opens, i ? CLONE_FILES : 0));
		say("opened by it", "%s", okret(fcntl(70, F_GETFD)));
		say("closed by it", "%s", okret(fcntl(71, F_GETFD)));
	}
	// The position in an open file is common to both in any case.
	put("file", "0123456789");
	int fd = open("file", O_RDONLY);
	if (fork() == 0) {
		lseek(fd, 7, SEEK_SET);
		_exit(0);
	}
	wait(NULL);
	say("position", "%ld", lseek(fd, 0, SEEK_CUR));
}

static int moves(void *arg)
{
	(void)arg;
	umask(0555);
	_exit(chdir("/proc"));
}

static void directory(void)
{
	for (int i = 0; i < 2; i++) {
		umask(022);
		say("child", "%s", clones(moves, i ? CLONE_FS : 0));
		say("umask", "%o", umask(022));
		say("moved", "%s", yes(access("self/stat", F_OK) == 0));
	}
}

static int limits_itself(void *arg)
{
	(void)arg;
	struct rlimit r;
	getrlimit(RLIMIT_NOFILE, &r);
	int seen = r.rlim_cur == 99;
	r.rlim_cur = 50;
	_exit(setrlimit(RLIMIT_NOFILE, &r) ? 9 : seen);
}

static void limits(void)
{
	struct rlimit r;
	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = 99;
	setrlimit(RLIMIT_NOFILE, &r);
	static const int flags[] = {0, CLONE_VM, CLONE_VM | CLONE_SIGHAND | CLONE_FILES | CLONE_FS};
	for (unsigned i = 0; i < sizeof flags / sizeof *flags; i++) {
		say("child", "%s", clones(limits_itself, flags[i]));
		getrlimit(RLIMIT_NOFILE, &r);
		say("parent's limit", "%ld", (long)r.rlim_cur);
	}
	// The parent's change does not reach a child that exists.
	int p[2];
	if (pipe(p))
		return;
	pid_t pid = fork();
	if (pid == 0) {
		char c;
		if (read(p[0], &c, 1) != 1)
			_exit(9);
		getrlimit(RLIMIT_NOFILE, &r);
		_exit(r.rlim_cur);
	}
	r.rlim_cur = 60;
	setrlimit(RLIMIT_NOFILE, &r);
	if (write(p[1], "x", 1) != 1)
		return;
	int st;
	waitpid(pid, &st, 0);
	say("child's limit", "%s", status(st));
}

static volatile int word;
static volatile char *page;

static int writes(void *arg)
{
	(void)arg;
	word = 2;
	page[0] = 2;
	munmap((void *)page, PAGE);
	_exit(0);
}

static void memory(void)
{
	catch_faults();
	for (volatile int i = 0; i < 2; i++) {
		word = 1;
		page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		page[0] = 1;
		say("child", "%s", clones(writes, i ? CLONE_VM : 0));
		say("word", "%d", word);
		say("page", "%s", FAULT(page, say("holds", "%d", page[0])));
	}
	volatile int *common = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (fork() == 0) {
		*common = 7;
		_exit(0);
	}
	wait(NULL);
	say("shared mapping", "%d", *common);
}

static const struct section table[] = {
	{"N05_signal_actions", actions},
	{"N06_descriptor_table", descriptors},
	{"N07_directory_and_umask", directory},
	{"N08_limits", limits},
	{"N09_address_space", memory},
};
GUEST(table)
