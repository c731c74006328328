// System V semaphores: semget, semop, semtimedop, semctl, SEM_UNDO.
#include "guest.h"
#include <sched.h>
#include <sys/ipc.h>
#include <sys/sem.h>

union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
	struct seminfo *info;
};

static int fresh(int n)
{
	return semget(IPC_PRIVATE, n, IPC_CREAT | 0600);
}

static long drop(int id)
{
	return semctl(id, 0, IPC_RMID);
}

static long op(int id, int num, int by, int flags)
{
	struct sembuf s = {num, by, flags};
	return semop(id, &s, 1);
}

static long value(int id, int num)
{
	return semctl(id, num, GETVAL);
}

static long set(int id, int num, int v)
{
	return semctl(id, num, SETVAL, (union semun){.val = v});
}

static void creation(void)
{
	key_t key = 0x53520000 + (getpid() & 0xffff);
	say("none", "%s", ret(semget(key, 1, 0600)));
	int id = semget(key, 3, IPC_CREAT | IPC_EXCL | 0640);
	say("made", "%s", okret(id));
	say("again", "%s", yes(semget(key, 3, IPC_CREAT | 0600) == id));
	say("fewer", "%s", yes(semget(key, 2, 0) == id));
	say("more", "%s", ret(semget(key, 4, 0)));
	say("exclusive", "%s", ret(semget(key, 3, IPC_CREAT | IPC_EXCL | 0600)));
	say("empty set", "%s", ret(semget(IPC_PRIVATE, 0, IPC_CREAT | 0600)));
	say("negative", "%s", ret(semget(IPC_PRIVATE, -1, IPC_CREAT | 0600)));
	say("too many", "%s", ret(semget(IPC_PRIVATE, 40000, IPC_CREAT | 0600)));
	struct semid_ds ds;
	say("stat", "%s", ret(semctl(id, 0, IPC_STAT, (union semun){.buf = &ds})));
	say("mode", "%o", ds.sem_perm.mode);
	say("count", "%lu", ds.sem_nsems);
	say("key", "%s", yes(ds.sem_perm.__key == key));
	say("owner", "%s", yes(ds.sem_perm.uid == geteuid() && ds.sem_perm.cgid == getegid()));
	say("times", "%s", yes(ds.sem_otime == 0 && ds.sem_ctime != 0 && labs(ds.sem_ctime - time(NULL)) < 5));
	ds.sem_perm.mode = 0444;
	say("change", "%s", ret(semctl(id, 0, IPC_SET, (union semun){.buf = &ds})));
	semctl(id, 0, IPC_STAT, (union semun){.buf = &ds});
	say("new mode", "%o", ds.sem_perm.mode);
	say("remove", "%s", ret(drop(id)));
	say("twice", "%s", ret(drop(id)));
	say("gone", "%s", ret(semctl(id, 0, IPC_STAT, (union semun){.buf = &ds})));
	say("gone too", "%s", ret(op(id, 0, 1, 0)));
	say("no such command", "%s", ret(semctl(id, 0, 77)));
	say("bad id", "%s", ret(semctl(-1, 0, GETVAL)));
	say("by key", "%s", ret(semget(key, 1, 0)));
}

static void operations(void)
{
	int id = fresh(3);
	struct sembuf both[] = {{0, 2, 0}, {1, -1, IPC_NOWAIT}};
	say("all or nothing", "%s", ret(semop(id, both, 2)));
	say("first untouched", "%s", ret(value(id, 0)));
	set(id, 1, 1);
	say("now both", "%s", ret(semop(id, both, 2)));
	say("values", "%ld %ld %ld", value(id, 0), value(id, 1), value(id, 2));
	struct sembuf same[] = {{2, 1, 0}, {2, 1, 0}, {2, -2, 0}, {2, 0, 0}};
	say("one semaphore four times", "%s", ret(semop(id, same, 4)));
	say("zero now", "%s", ret(op(id, 1, 0, IPC_NOWAIT)));
	say("not zero", "%s", ret(op(id, 0, 0, IPC_NOWAIT)));
	say("too large", "%s", ret(op(id, 0, 32767, 0)));
	say("set too large", "%s", ret(set(id, 0, 32768)));
	say("set negative", "%s", ret(set(id, 0, -1)));
	say("set", "%s", ret(set(id, 0, 32767)));
	say("no such number", "%s", ret(op(id, 3, 1, 0)));
	say("set no such", "%s", ret(set(id, 3, 1)));
	say("get no such", "%s", ret(value(id, -1)));
	say("no operations", "%s", ret(semop(id, both, 0)));
	static struct sembuf many[501];
	say("too many", "%s", ret(semop(id, many, 501)));
	say("as many as can be", "%s", ret(({ set(id, 0, 0); semop(id, many, 500); })));
	say("bad pointer", "%s", ret(syscall(SYS_semop, id, 8, 1)));
	say("last by us", "%s", yes(semctl(id, 0, GETPID) == getpid()));
	unsigned short all[3] = {7, 8, 9}, got[3] = {0};
	say("set all", "%s", ret(semctl(id, 0, SETALL, (union semun){.array = all})));
	say("get all", "%s %d %d %d", ret(semctl(id, 0, GETALL, (union semun){.array = got})), got[0], got[1], got[2]);
	all[1] = 40000;
	say("set all too large", "%s", ret(semctl(id, 0, SETALL, (union semun){.array = all})));
	struct semid_ds ds;
	semctl(id, 0, IPC_STAT, (union semun){.buf = &ds});
	say("time of use", "%s", yes(ds.sem_otime != 0));
	struct timespec bad = {0, 2000000000}, no = {0, 20 * MS};
	struct sembuf wait = {0, -100, 0};
	say("bad time", "%s", ret(semtimedop(id, &wait, 1, &bad)));
	say("time over", "%s", ret(semtimedop(id, &wait, 1, &no)));
	drop(id);
}

static void on_alarm(int s)
{
	(void)s;
}

static pid_t waiter(int id, int num, int by, const char *name)
{
	pid_t pid = fork();
	if (pid == 0) {
		long r = op(id, num, by, 0);
		say(name, "%s", ret(r));
		_exit(0);
	}
	asleep(pid);
	return pid;
}

static void waiting(void)
{
	int id = fresh(2);
	pid_t a = waiter(id, 0, -1, "first");
	pid_t b = waiter(id, 0, -1, "second");
	say("two wait", "%d %d", semctl(id, 0, GETNCNT), semctl(id, 0, GETZCNT));
	op(id, 0, 1, 0);
	waitpid(a, NULL, 0);
	say("first come", "%d", semctl(id, 0, GETNCNT));
	op(id, 0, 1, 0);
	waitpid(b, NULL, 0);
	say("left", "%ld", value(id, 0));

	// The larger wish stands first in the queue, but does not hold up the smaller one.
	a = waiter(id, 0, -3, "three");
	b = waiter(id, 0, -1, "one");
	op(id, 0, 1, 0);
	waitpid(b, NULL, 0);
	op(id, 0, 3, 0);
	waitpid(a, NULL, 0);

	// Those who wait for zero come first.
	set(id, 1, 1);
	a = waiter(id, 1, 0, "zero");
	say("waits for zero", "%d %d", semctl(id, 1, GETNCNT), semctl(id, 1, GETZCNT));
	long zeroed = set(id, 1, 0);
	waitpid(a, NULL, 0);
	say("set to zero", "%s", ret(zeroed));

	a = waiter(id, 0, -5, "removed");
	drop(id);
	waitpid(a, NULL, 0);

	id = fresh(1);
	struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	sigaction(SIGUSR1, &sa, NULL);
	a = waiter(id, 0, -1, "interrupted");
	kill(a, SIGUSR1);
	waitpid(a, NULL, 0);
	say("nobody waits", "%d", semctl(id, 0, GETNCNT));
	drop(id);
}

static int shared;

static int undo_and_leave(void *arg)
{
	(void)arg;
	op(shared, 0, 5, SEM_UNDO);
	op(shared, 1, -2, SEM_UNDO);
	return 0;
}

static void undoing(void)
{
	int id = shared = fresh(2);
	unsigned short start[] = {10, 10};
	semctl(id, 0, SETALL, (union semun){.array = start});
	if (fork() == 0)
		_exit(undo_and_leave(NULL));
	wait(NULL);
	say("undone", "%ld %ld", value(id, 0), value(id, 1));

	// A child of fork has no adjustments of its parent's.
	pid_t pid = fork();
	if (pid == 0) {
		op(id, 0, 3, SEM_UNDO);
		if (fork() == 0)
			_exit(0);
		wait(NULL);
		say("not inherited", "%ld", value(id, 0));
		op(id, 1, 1, SEM_UNDO);
		set(id, 1, 20);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	say("parent's own", "%ld", value(id, 0));
	say("SETVAL forgets", "%ld", value(id, 1));

	// With CLONE_SYSVSEM the last of both undoes.
	static char stack[65536] __attribute__((aligned(16)));
	pid = fork();
	if (pid == 0) {
		op(id, 0, 1, SEM_UNDO);
		pid_t c = clone(undo_and_leave, stack + sizeof stack, CLONE_SYSVSEM | SIGCHLD, NULL);
		waitpid(c, NULL, 0);
		say("shared list", "%ld %ld", value(id, 0), value(id, 1));
		say("unshare", "%s", ret(unshare(CLONE_SYSVSEM)));
		say("unshared", "%ld %ld", value(id, 0), value(id, 1));
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	say("in the end", "%ld %ld", value(id, 0), value(id, 1));

	// An adjustment never makes a value negative.
	pid = fork();
	if (pid == 0) {
		op(id, 0, 5, SEM_UNDO);
		op(id, 0, -12, 0);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	say("not below zero", "%ld", value(id, 0));
	set(id, 1, 0);
	say("adjustment too large", "%s", ret(({ op(id, 1, 32767, SEM_UNDO); op(id, 1, -32767, 0); op(id, 1, 2, SEM_UNDO); })));

	// Undoing lets others go on.
	pid = fork();
	if (pid == 0) {
		set(id, 0, 1);
		op(id, 0, -1, SEM_UNDO);
		sleep_ms(50);
		_exit(0);
	}
	asleep(pid);
	say("waited for the end", "%s", ret(op(id, 0, -1, 0)));
	waitpid(pid, NULL, 0);
	say("removed with adjustments", "%s", ret(({ op(id, 0, 1, SEM_UNDO); drop(id); })));
}

static int id, open_to_all;

static void as_other(void)
{
	if (setgid(12345) || setuid(12345))
		return;
	struct semid_ds ds = {0};
	say("stat", "%s", ret(semctl(id, 0, IPC_STAT, (union semun){.buf = &ds})));
	say("value", "%s", ret(value(id, 0)));
	say("operation", "%s", ret(op(id, 0, 1, 0)));
	say("remove", "%s", ret(drop(id)));
	say("read all", "%s", ret(value(open_to_all, 0)));
	say("wait for zero", "%s", ret(op(open_to_all, 0, 0, 0)));
	say("alter", "%s", ret(op(open_to_all, 0, 1, 0)));
	say("set", "%s", ret(set(open_to_all, 0, 1)));
	say("set all", "%s", ret(semctl(open_to_all, 0, SETALL, (union semun){.array = &(unsigned short){1}})));
	say("change", "%s", ret(semctl(open_to_all, 0, IPC_SET, (union semun){.buf = &ds})));
}

static void rights(void)
{
	id = fresh(1), open_to_all = semget(IPC_PRIVATE, 1, 0644);
	say("child", "%s", status(child(as_other)));
	say("removed", "%s %s", ret(drop(id)), ret(drop(open_to_all)));
}

static void info(void)
{
	struct seminfo i, used;
	say("info", "%s", okret(semctl(0, 0, IPC_INFO, (union semun){.info = &i})));
	say("limits", "%d %d %d %d %d", i.semmni, i.semmns, i.semmsl, i.semopm, i.semvmx);
	say("more", "%d %d %d %d %d", i.semmap, i.semmnu, i.semume, i.semusz, i.semaem);
	int id = fresh(5);
	semctl(0, 0, SEM_INFO, (union semun){.info = &used});
	say("used", "%s %s", yes(used.semusz >= 1), yes(used.semaem >= 5));
	struct semid_ds ds;
	int highest = semctl(0, 0, SEM_INFO, (union semun){.info = &used}), found = 0;
	for (int k = 0; k <= highest; k++)
		if (semctl(k, 0, SEM_STAT, (union semun){.buf = &ds}) == id)
			found = ds.sem_nsems;
	say("by slot", "%d", found);
	say("no slot", "%s", ret(semctl(32767, 0, SEM_STAT, (union semun){.buf = &ds})));
	char line[80];
	snprintf(line, sizeof line, "         0 %10d   600          5 ", id);
	say("in /proc", "%s", yes(has_line("/proc/sysvipc/sem", line)));
	say("knob", "%s", get("/proc/sys/kernel/sem"));
	drop(id);
}

static const struct section sections[] = {
	{"creation", creation}, {"operations", operations}, {"waiting", waiting},
	{"undo", undoing}, {"rights", rights}, {"info", info},
};
GUEST(sections)
