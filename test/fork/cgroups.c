// Where a child is born: in its parent's group or the one asked for, within the pids limit.
#include "../guest/guest.h"
#include "../guest/cgroup.h"
#include <pthread.h>

static void *in_thread(void *arg)
{
	(void)arg;
	char proc[64];
	snprintf(proc, sizeof proc, "/proc/self/task/%ld/cgroup", syscall(SYS_gettid));
	say("thread", "%s", where(proc));
	return NULL;
}

static void binding(void)
{
	begin();
	mkdir(in("a"), 0755);
	mkdir(in("b"), 0755);
	say("before", "%s", where("/proc/self/cgroup"));
	store("a/cgroup.procs", "0");
	int st;
	pid_t pid = fork();
	if (pid == 0) {
		say("child", "%s", where("/proc/self/cgroup"));
		store("b/cgroup.procs", "0");
		if (fork() == 0) {
			say("its child", "%s", where("/proc/self/cgroup"));
			_exit(0);
		}
		wait(NULL);
		_exit(0);
	}
	waitpid(pid, &st, 0);
	say("parent stays", "%s", where("/proc/self/cgroup"));
	pthread_t t;
	pthread_create(&t, NULL, in_thread, NULL);
	pthread_join(t, NULL);
	if ((pid = vfork()) == 0) {
		execl("/proc/self/exe", "cgroups", "where", own, base, NULL);
		_exit(9);
	}
	waitpid(pid, &st, 0);
	say("vforked", "%s", status(st));
	leave_all();
}

// mover moves a process to and fro until it cannot.
static volatile int *stop;

static void mover(pid_t pid)
{
	for (int i = 0; !*stop; i++) {
		attach(i & 1 ? "b/cgroup.procs" : "a/cgroup.procs", pid);
		usleep(50);
	}
	_exit(0);
}

// A forking process is moved all the time: whatever it has forked is in one of the groups, each
// process in one, and when all have ended none is left.
static void migration(void)
{
	begin();
	mkdir(in("a"), 0755);
	mkdir(in("b"), 0755);
	stop = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t forker = fork();
	if (forker == 0) {
		store("a/cgroup.procs", "0");
		pid_t m = fork();
		if (m == 0)
			mover(getppid());
		int lost = 0, st;
		for (int i = 0; i < 200; i++) {
			pid_t pid = fork();
			if (pid == 0) {
				const char *at = where("/proc/self/cgroup");
				_exit(strcmp(at, "/a") && strcmp(at, "/b"));
			}
			waitpid(pid, &st, 0);
			lost += st != 0;
		}
		*stop = 1;
		waitpid(m, &st, 0);
		say("elsewhere", "%d", lost);
		say("in both", "%d", members("a/cgroup.procs") + members("b/cgroup.procs"));
		_exit(0);
	}
	int st;
	waitpid(forker, &st, 0);
	say("forker", "%s", status(st));
	say("left in a", "%s", ret(rmdir(in("a"))));
	say("left in b", "%s", ret(rmdir(in("b"))));
	leave_all();
}

static int in_user(void)
{
	setresgid(1000, 1000, 1000);
	setresuid(1000, 1000, 1000);
	say("user", "%s", is_born(0, open(in("a"), O_RDONLY | O_DIRECTORY)));
	_exit(0);
}

static void into(void)
{
	begin();
	mkdir(in("a"), 0755);
	mkdir(in("gone"), 0755);
	int a = open(in("a"), O_RDONLY | O_DIRECTORY), gone = open(in("gone"), O_RDONLY | O_DIRECTORY);
	rmdir(in("gone"));
	say("into", "%s", is_born(0, a));
	say("by path", "%s", is_born(0, open(in("a"), O_PATH)));
	say("vfork", "%s", is_born(CLONE_VFORK, a));
	say("stays", "%s", where("/proc/self/cgroup"));
	say("no descriptor", "%s", is_born(0, 99));
	say("no group", "%s", is_born(0, open("/tmp", O_RDONLY | O_DIRECTORY)));
	say("a pipe's end", "%s", ({ int p[2]; pipe(p) ? "" : is_born(0, p[0]); }));
	say("a group's file", "%s", is_born(0, open(in("a/cgroup.procs"), O_RDWR)));
	say("removed", "%s", is_born(0, gone));
	say("negative", "%s", is_born(0, -1));
	say("with a bad pair", "%s", is_born(CLONE_SIGHAND, 99));
	say("thread", "%s", is_born(CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, a));
	if (fork() == 0)
		in_user();
	wait(NULL);
	say("left", "%s", ret(rmdir(in("a"))));
	leave_all();
}

static const char *forks(void)
{
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	if (pid < 0)
		return errname(errno);
	waitpid(pid, NULL, 0);
	return "ok";
}

// pids shows a file of the pids controller.
static const char *shows(const char *name)
{
	char *p = scratch();
	snprintf(p, 256, "%.*s", (int)strcspn(get(in(name)), "\n"), get(in(name)));
	return p;
}

static void *sleeps(void *arg)
{
	pause();
	return arg;
}

static void pids(void)
{
	char root[128];
	begin();
	snprintf(root, sizeof root, "%s/cgroup.subtree_control", base);
	put(root, "+pids");
	say("controllers", "%s", shows("cgroup.controllers"));
	say("max", "%s", shows("pids.max"));
	say("on", "%s", store("cgroup.subtree_control", "+pids"));
	mkdir(in("a"), 0755);
	say("below", "%s", shows("a/pids.max"));
	static const char *const bad[] = {"-1", "x", "", "99999999999"};
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		say("text", "'%s' %s", bad[i], store("pids.max", bad[i]));
	}
	say("two", "%s", store("pids.max", "2"));
	pid_t pid = fork();
	if (pid == 0) {
		say("attach", "%s", store("a/cgroup.procs", "0"));
		say("current", "%s", shows("a/pids.current"));
		say("fork", "%s", forks());
		pid_t zombie = fork();
		if (zombie == 0)
			_exit(0);
		siginfo_t si;
		waitid(P_PID, zombie, &si, WEXITED | WNOWAIT);
		say("beside a zombie", "%s", forks());
		say("current", "%s", shows("pids.current"));
		waitpid(zombie, NULL, 0);
		say("reaped", "%s", forks());
		pthread_t t;
		say("thread", "%d", pthread_create(&t, NULL, sleeps, NULL));
		say("beside a thread", "%s", forks());
		say("events", "%s", shows("pids.events"));
		say("of its group", "%s", shows("a/pids.events"));
		say("local", "%s", shows("pids.events.local"));
		say("peak", "%s", shows("pids.peak"));
		store("pids.max", "1");
		say("lowered", "%s", shows("pids.current"));
		say("then", "%s", forks());
		store("pids.max", "max");
		say("max", "%s", forks());
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	say("after", "%s", shows("pids.current"));
	store("pids.max", "0");
	store("cgroup.procs", "0");
	say("moved past the limit", "%s", shows("pids.current"));
	say("fork", "%s", forks());
	leave_all();
	put(root, "-pids");
}

static const struct section table[] = {
	{"I09_group_binding", binding},
	{"I21_migration_takes_both", migration},
	{"L01_into_cgroup", into},
	{"L07_pids_limit", pids},
};

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "where")) {
		strcpy(own, argv[2]);
		strcpy(base, argv[3]);
		say("exec", "%s", where("/proc/self/cgroup"));
		return 0;
	}
	return guest_main(argc, argv, table, sizeof table / sizeof *table);
}
