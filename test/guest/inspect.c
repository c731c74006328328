// Calls by which a process looks at another or at how it is scheduled: process_vm_readv, kcmp,
// scheduling attributes, I/O priorities, the clock's discipline, protection keys.
#include "guest.h"
#include <sched.h>
#include <sys/timex.h>
#include <sys/uio.h>

static long kcmp(pid_t a, pid_t b, int type, long x, long y)
{
	long r = syscall(SYS_kcmp, a, b, type, x, y);
	return r > 0 ? 1 : r;
}

static void memory(void)
{
	static char data[3 * PAGE], got[3 * PAGE];
	int go[2];
	if (pipe(go))
		return;
	char *gap = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect(gap + PAGE, PAGE, PROT_NONE);
	pid_t pid = fork();
	if (pid == 0) {
		memset(data, 'c', sizeof data);
		memset(gap, 'g', PAGE);
		write(go[1], "x", 1);
		pause();
	}
	read(go[0], got, 1);
	struct iovec l[2] = {{got, 10}, {got + 100, 5000}}, r[2] = {{data, 6000}, {data + 2 * PAGE, 10}};
	say("read", "%s %c%c%c", ret(process_vm_readv(pid, l, 2, r, 2, 0)), got[0], got[9], got[5099]);
	r[0] = (struct iovec){gap + PAGE - 100, 200};
	memset(got, 0, sizeof got);
	say("read up to a gap", "%s %d", ret(process_vm_readv(pid, l, 2, r, 1, 0)), got[0]);
	r[0] = (struct iovec){gap + PAGE, 10};
	say("read nothing", "%s", ret(process_vm_readv(pid, l, 2, r, 1, 0)));
	r[0] = (struct iovec){data, 4};
	l[0] = (struct iovec){"abcd", 4};
	say("write", "%s", ret(process_vm_writev(pid, l, 1, r, 1, 0)));
	l[0] = (struct iovec){got, 4};
	process_vm_readv(pid, l, 1, r, 1, 0);
	say("written", "%.4s, own %d", got, data[0]);
	say("flags", "%s", ret(process_vm_readv(pid, l, 1, r, 1, 1)));
	say("none", "%s", ret(process_vm_readv(pid, l, 0, r, 1, 0)));
	say("many", "%s", ret(process_vm_readv(pid, l, 1025, r, 1, 0)));
	say("nobody", "%s", ret(process_vm_readv(999999, l, 1, r, 1, 0)));
	say("vm", "%ld %ld", kcmp(getpid(), pid, 1, 0, 0), kcmp(pid, pid, 1, 0, 0));
	int other = open("/", O_RDONLY), dup1 = dup(other);
	say("file", "%ld", kcmp(getpid(), getpid(), 0, other, dup1));
	say("files differ", "%ld", kcmp(getpid(), getpid(), 0, other, go[0]));
	say("inherited", "%ld", kcmp(getpid(), pid, 0, go[0], go[0]));
	say("no file", "%s", ret(kcmp(getpid(), pid, 0, 900, 900)));
	say("nothing of either", "%ld %ld", kcmp(getpid(), pid, 5, 0, 0), kcmp(getpid(), pid, 6, 0, 0));
	pid_t sharer = syscall(SYS_clone, CLONE_SYSVSEM | CLONE_IO | SIGCHLD, 0, 0, 0, 0);
	if (sharer == 0) {
		pause();
		_exit(0);
	}
	say("shared", "%ld %ld", kcmp(getpid(), sharer, 5, 0, 0), kcmp(getpid(), sharer, 6, 0, 0));
	say("adjustments of one only", "%s", yes(kcmp(pid, sharer, 6, 0, 0) != 0));
	kill(sharer, SIGKILL);
	waitpid(sharer, NULL, 0);
	void *head = &head, *theirs = NULL;
	size_t size = 0;
	syscall(SYS_set_robust_list, NULL, 24);
	say("own robust list", "%s %d %zu", ret(syscall(SYS_get_robust_list, 0, &head, &size)), head == NULL, size);
	say("child's robust list", "%s %d", ret(syscall(SYS_get_robust_list, pid, &theirs, &size)), theirs == NULL);
	say("nobody's robust list", "%s", ret(syscall(SYS_get_robust_list, 999999, &theirs, &size)));
	say("robust list to nowhere", "%s", ret(syscall(SYS_get_robust_list, 0, NULL, &size)));
	say("no kind", "%s", ret(kcmp(getpid(), pid, 99, 0, 0)));
	kill(pid, SIGKILL);
	wait(NULL);
}

struct attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
	uint32_t min, max, more[4];
};

static void scheduling(void)
{
	struct attr a = {0};
	say("get", "%s policy %u flags %lu nice %d", ret(syscall(SYS_sched_getattr, 0, &a, 48, 0)), a.policy, (long)a.flags, a.nice);
	say("small", "%s", ret(syscall(SYS_sched_getattr, 0, &a, 40, 0)));
	say("size", "%u", a.size);
	a = (struct attr){.size = 48, .policy = SCHED_BATCH, .nice = 3, .flags = 1};
	say("set", "%s", ret(syscall(SYS_sched_setattr, 0, &a, 0)));
	syscall(SYS_sched_getattr, 0, &a, 48, 0);
	say("now", "policy %u flags %lu nice %d, %d", a.policy, (long)a.flags, a.nice, sched_getscheduler(0));
	a = (struct attr){.size = sizeof a, .policy = SCHED_OTHER, .nice = 4};
	say("larger", "%s", ret(syscall(SYS_sched_setattr, 0, &a, 0)));
	a.more[1] = 1;
	say("unknown", "%s", ret(syscall(SYS_sched_setattr, 0, &a, 0)));
	a = (struct attr){.size = 48, .policy = 77};
	say("policy", "%s", ret(syscall(SYS_sched_setattr, 0, &a, 0)));
	a = (struct attr){.size = 48, .policy = SCHED_OTHER, .flags = 1 << 20};
	say("flag", "%s", ret(syscall(SYS_sched_setattr, 0, &a, 0)));
	a = (struct attr){.size = 48, .policy = SCHED_OTHER, .priority = 5};
	say("priority", "%s", ret(syscall(SYS_sched_setattr, 0, &a, 0)));

	setpgid(0, 0);
	say("io of a group", "%s", ret(syscall(SYS_ioprio_get, 2, 0)));
	say("io", "%s", ret(syscall(SYS_ioprio_get, 1, 0)));
	say("io set", "%s", ret(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 5)));
	say("io now", "%s", ret(syscall(SYS_ioprio_get, 1, 0)));
	say("io of all", "%s", ret(syscall(SYS_ioprio_get, 2, 0)));
	say("io class", "%s", ret(syscall(SYS_ioprio_set, 1, 0, 5 << 13)));
	say("io none", "%s", ret(syscall(SYS_ioprio_set, 1, 0, 3)));
	say("io who", "%s", ret(syscall(SYS_ioprio_get, 9, 0)));
	say("io nobody", "%s", ret(syscall(SYS_ioprio_get, 1, 999999)));
}

static void clocks(void)
{
	struct timex t = {0};
	int r = adjtimex(&t);
	say("read", "%s tick %ld", yes(r >= 0), t.tick);
	say("time", "%s", yes(labs(t.time.tv_sec - time(NULL)) < 3));
	say("other clock", "%s", ret(syscall(SYS_clock_adjtime, CLOCK_MONOTONIC, &t)));
	say("no clock", "%s", ret(syscall(SYS_clock_adjtime, 99, &t)));
	say("bad address", "%s", ret(syscall(SYS_adjtimex, 8)));
}

static const struct section sections[] = {{"memory", memory}, {"scheduling", scheduling}, {"clocks", clocks}};
GUEST(sections)
