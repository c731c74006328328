// Calls with arguments that no one would give. Each call number is tried in a child of its
// own: every argument in turn is one of a list of bad values while the others are likely ones (a third of the
// sets of those, chosen by the seed), then random mixes. A child that is stuck, or that the calls broke, is killed; what counts is that
// the parent is still there at the end.
//
// Usage: fuzz FIRST LAST SEED ROUNDS [USER]. With USER it becomes that user first; without, root's rights are
// used, less what could harm process 1, which is to run on: never do this outside a sandbox.
#include "../guest/guest.h"
#include <sys/resource.h>
#include <sys/time.h>

static char *page;       // followed by nothing
static char *readonly, *none;
static int file, dir, pipes[2];
static uint64_t state;

static uint64_t rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

// bad gives the ith bad value, -1 behind the last.
static int bad(int i, long *v)
{
	const long values[] = {
		0, 1, 3, -1, -2, -100, 7, 4096, 4097, 1 << 20, 0x7fffffff, 0x80000000L, 0xffffffffL, 1L << 32, 1L << 40,
		1L << 46, 0x7fffffffe000L, 0x7ffffffff000L, 0x7fffffffffffL, 0x800000000000L, (long)0x8000000000000000UL,
		0x7fffffffffffffffL, (long)0xffff800000000000UL, (long)0xffffffff81000000UL, (long)0xffffffffff600000UL, -4096, -4095,
		(long)(page + PAGE - 1), (long)(page + PAGE - 4), (long)(page + PAGE - 9), (long)(page + PAGE), (long)(page + 1),
		(long)readonly, (long)(readonly + 3), (long)none, (long)(none - 2), (long)&bad, 999,
	};
	int n = sizeof values / sizeof *values;
	if (i >= n)
		return -1;
	*v = values[i];
	return n;
}

// likely gives values that let a call go on to look at its other arguments.
static void likely(int kind, long *a)
{
	const long sets[][6] = {
		{0, 0, 0, 0, 0, 0},
		{file, (long)page, 64, 0, (long)page, 8},
		{(long)page, (long)page, (long)page, (long)page, (long)page, (long)page},
		{AT_FDCWD, (long)page, 0, (long)page, 0, 0},
		{(long)"f", (long)"g", 0, 0, 0, 0},
		{dir, (long)"f", (long)page, 0, 0, 0},
		{pipes[0], pipes[1], 16, (long)page, 0, 0},
		{1, 1, (long)page, 8, (long)page, 1},
		{0, 8192, 3, 0x22, -1, 0},
	};
	memcpy(a, sets[kind % 9], sizeof sets[0]);
}

static long call(long nr, const long *a)
{
	register long r10 asm("r10") = a[3];
	register long r8 asm("r8") = a[4];
	register long r9 asm("r9") = a[5];
	long r;
	asm volatile("syscall" : "=a"(r) : "0"(nr), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return r;
}

static void tick(int s)
{
	(void)s;
}

// one makes one call; a copy of the process that it may have made ends at once.
static void one(long nr, const long *a)
{
	static long none6[6];
	long pid = call(SYS_getpid, none6), tid = call(SYS_gettid, none6);
	call(nr, a);
	if (call(SYS_getpid, none6) != pid || call(SYS_gettid, none6) != tid)
		call(SYS_exit, none6);
}

static void prepare(void)
{
	page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(page + PAGE, PAGE);
	readonly = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	none = p + PAGE;
	mprotect(none, PAGE, PROT_NONE);
	mkdir("work", 0777);
	if (chdir("work"))
		_exit(90);
	file = open("f", O_CREAT | O_RDWR, 0666);
	dir = open(".", O_RDONLY);
	if (pipe2(pipes, O_NONBLOCK))
		_exit(91);
	// What the calls write goes nowhere.
	int null = open("/dev/null", O_RDWR);
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	setpgid(0, 0);
	struct rlimit r = {1 << 20, 1 << 20};
	setrlimit(RLIMIT_FSIZE, &r);
	signal(SIGXFSZ, SIG_IGN);
}

// guard interrupts calls that wait.
static void guard(void)
{
	struct sigaction sa = {.sa_handler = tick};
	sigaction(SIGALRM, &sa, NULL);
	sigset_t s;
	sigemptyset(&s);
	sigprocmask(SIG_SETMASK, &s, NULL);
	struct itimerval v = {{0, 1000}, {0, 1000}};
	setitimer(ITIMER_REAL, &v, NULL);
}

static void victim(long nr, int rounds, int seed)
{
	long a[6], v;
	int64_t end = now_ms() + 600;
	prepare();
	for (int kind = (nr + seed) % 3; kind < 9 && now_ms() < end; kind += 3) {
		guard();
		for (int arg = 0; arg < 6 && now_ms() < end; arg++)
			for (int i = 0; bad(i, &v) > 0; i++) {
				likely(kind, a);
				a[arg] = v;
				one(nr, a);
			}
	}
	for (int i = 0; i < rounds; i++) {
		int n = bad(0, &v);
		if (i % 50 == 0) {
			guard();
			if (now_ms() > end)
				break;
		}
		likely(rnd() % 9, a);
		for (int arg = 0; arg < 6; arg++)
			if (rnd() % 2) {
				bad(rnd() % n, &v);
				a[arg] = v;
			}
		one(nr, a);
	}
}

// skipped calls end the process as they should, or would kill the fuzzer with everyone else;
// as root also those that reach into process 1 or take the file system away.
static int skipped(long nr, int root)
{
	switch (root ? nr : -1) {
	case SYS_prlimit64: case SYS_ptrace: case SYS_process_vm_writev: case SYS_setpgid: case SYS_sched_setaffinity:
	case SYS_sched_setscheduler: case SYS_sched_setparam: case SYS_sched_setattr: case SYS_mount: case SYS_umount2:
	case SYS_pivot_root: case SYS_setns: case SYS_process_madvise: case SYS_move_mount: case SYS_mount_setattr:
		return 1;
	}
	switch (nr) {
	case SYS_exit: case SYS_exit_group: case SYS_kill: case SYS_tkill: case SYS_tgkill: case SYS_rt_sigqueueinfo:
	case SYS_rt_tgsigqueueinfo: case SYS_reboot: case SYS_pidfd_send_signal: case SYS_vhangup:
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 5)
		return 2;
	if (argc > 5 && (setgid(atoi(argv[5])) || setuid(atoi(argv[5]))))
		return 3;
	int first = atoi(argv[1]), last = atoi(argv[2]), rounds = atoi(argv[4]), stuck = 0, tried = 0;
	for (long nr = first; nr <= last; nr++) {
		if (skipped(nr, argc == 5))
			continue;
		state = strtoull(argv[3], NULL, 0) * 2654435761u + nr * 40503 + 1;
		tried++;
		pid_t pid = fork();
		if (pid == 0) {
			victim(nr, rounds, atoi(argv[3]));
			_exit(0);
		}
		int st, done = 0;
		for (int ms = 0; ms < 3000 && !done; ms += 5) {
			done = waitpid(pid, &st, WNOHANG) == pid;
			if (!done)
				sleep_ms(5);
		}
		if (!done) {
			stuck++;
			kill(pid, SIGKILL);
			waitpid(pid, &st, 0);
			fprintf(stderr, "call %ld took too long\n", nr);
		}
		kill(-pid, SIGKILL);
	}
	say("fuzz", "%d of %d stuck", stuck, tried);
	return 0;
}
