// What fork does with System V objects: adjustments of semaphores and attached segments.
#include "../guest/guest.h"
#include <sched.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/shm.h>

static int sem;

static void up(int by)
{
	struct sembuf s = {0, by, SEM_UNDO};
	semop(sem, &s, 1);
}

static int value(void)
{
	return semctl(sem, 0, GETVAL);
}

static int up_and_exit(void *arg)
{
	(void)arg;
	up(10);
	return 0;
}

static void forked(void)
{
	up(1);
	if (fork() == 0)
		_exit(0);
	wait(NULL);
	say("after a child's end", "%d", value());
}

static void execed(void)
{
	up(1);
	execl("/bin/true", "true", NULL);
}

static void cloned(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	up(1);
	int pid = clone(up_and_exit, stack + sizeof stack, CLONE_SYSVSEM | SIGCHLD, NULL);
	waitpid(pid, NULL, 0);
	say("after a sharer's end", "%d", value());
}

static void vforked(void)
{
	up(1);
	if (vfork() == 0)
		_exit(0);
	wait(NULL);
	say("after a vfork child's end", "%d", value());
}

static void adjustments(void)
{
	sem = semget(IPC_PRIVATE, 1, 0600);
	say("fork", "%s %d", status(child(forked)), value());
	say("exec", "%s %d", status(child(execed)), value());
	say("CLONE_SYSVSEM", "%s %d", status(child(cloned)), value());
	say("vfork", "%s %d", status(child(vforked)), value());
	say("removed", "%s", ret(semctl(sem, 0, IPC_RMID)));
}

static long attached(int id)
{
	struct shmid_ds ds;
	return shmctl(id, IPC_STAT, &ds) ? -1 : (long)ds.shm_nattch;
}

static int id;

static int count_and_exit(void *arg)
{
	(void)arg;
	say("with shared memory", "%ld", attached(id));
	return 0;
}

static void segments(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	id = shmget(IPC_PRIVATE, PAGE, 0600);
	char *at = shmat(id, NULL, 0);
	say("alone", "%ld", attached(id));
	if (fork() == 0) {
		say("fork", "%ld", attached(id));
		at[0]++;
		if (fork() == 0) {
			say("fork again", "%ld", attached(id));
			shmdt(at);
			say("a child detached", "%ld", attached(id));
			_exit(0);
		}
		wait(NULL);
		_exit(0);
	}
	wait(NULL);
	say("all ended", "%ld %d", attached(id), at[0]);
	if (vfork() == 0) {
		say("vfork", "%ld", attached(id));
		_exit(0);
	}
	wait(NULL);
	int pid = clone(count_and_exit, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL);
	waitpid(pid, NULL, 0);
	say("not for children", "%s", ret(madvise(at, PAGE, MADV_DONTFORK)));
	if (fork() == 0) {
		say("MADV_DONTFORK", "%ld", attached(id));
		_exit(0);
	}
	wait(NULL);
	shmctl(id, IPC_RMID, NULL);
	say("removed and attached", "%ld", attached(id));
	say("detached", "%s %ld", ret(shmdt(at)), attached(id));
}

// IO_CLASS makes an I/O priority.
#define IO_CLASS(class, level) ((class) << 13 | (level))

static long io_priority(void)
{
	return syscall(SYS_ioprio_get, 1, 0);
}

static int set_io(void *arg)
{
	(void)arg;
	long had = io_priority();
	return syscall(SYS_ioprio_set, 1, 0, IO_CLASS(2, 7)) ? 99 : (int)(had & 7);
}

static void io_context(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	int st, flags[] = {0, CLONE_IO, CLONE_VM, CLONE_VM | CLONE_IO};
	for (int i = 0; i < 4; i++) {
		syscall(SYS_ioprio_set, 1, 0, IO_CLASS(2, 3));
		int pid = clone(set_io, stack + sizeof stack, flags[i] | SIGCHLD, NULL);
		waitpid(pid, &st, 0);
		say(i & 1 ? "shared" : "copied", "%s %ld", status(st), io_priority() & 7);
	}
}

static const struct section sections[] = {
	{"L11_semaphore_adjustments", adjustments},
	{"L01_io_context", io_context},
	{"I14_shared_memory_segments", segments},
};
GUEST(sections)
