// What /proc/sentry says of forks, and forks for the event stream to tell of.
#include "../guest/guest.h"
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/times.h>

// count returns the number behind a name in /proc/sentry/forks; with word, the one behind that word in the
// name's line.
static long count(const char *name, const char *word)
{
	char line[256];
	long n = -1;
	FILE *f = fopen("/proc/sentry/forks", "r");
	while (f && fgets(line, sizeof line, f)) {
		size_t len = strlen(name);
		if (strncmp(line, name, len) || line[len] != ' ')
			continue;
		const char *at = word ? strstr(line, word) : line;
		n = at ? atol(at + strlen(word ? word : name)) : -1;
	}
	if (f)
		fclose(f);
	return n;
}

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static char stack[65536] __attribute__((aligned(64)));

static void *thread(void *arg)
{
	return arg;
}

static void vforks(void)
{
	if (vfork() == 0)
		_exit(0);
}

// family makes two forks, three vforks, a thread and two others.
static void family(void)
{
	pthread_t t;
	for (int i = 0; i < 2; i++)
		if (syscall(SYS_fork) == 0)
			_exit(0);
	for (int i = 0; i < 3; i++)
		vforks();
	clone(nothing, stack + sizeof stack, CLONE_VM | CLONE_FS | SIGCHLD, NULL);
	while (wait(NULL) > 0)
		;
	clone(nothing, stack + sizeof stack, CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, NULL);
	while (wait(NULL) > 0)
		;
	pthread_create(&t, NULL, thread, NULL);
	pthread_join(t, NULL);
}

static const char *const kinds[] = {"fork", "vfork", "thread", "other"};

static void counters(void)
{
	long blocked = count("blocked", NULL), shared = count("shared_memory", NULL);
	family();
	say("blocked the parent", "%ld", count("blocked", NULL) - blocked);
	say("shared memory", "%ld", count("shared_memory", NULL) - shared);
}

static void by_kind(void)
{
	long forks[4], data[4], stacks[4];
	for (int i = 0; i < 4; i++) {
		forks[i] = count(kinds[i], NULL);
		data[i] = count(kinds[i], "data_pages");
		stacks[i] = count(kinds[i], "stack_pages");
	}
	family();
	for (int i = 0; i < 4; i++) {
		say(kinds[i], "%ld", count(kinds[i], NULL) - forks[i]);
		say("data pages", "%s", count(kinds[i], "data_pages") > data[i] ? "some" : "none");
		say("stack pages", "%s", count(kinds[i], "stack_pages") > stacks[i] ? "some" : "none");
	}
	long before = count("fork", "data_pages");
	mmap(NULL, 100 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (syscall(SYS_fork) == 0)
		_exit(0);
	wait(NULL);
	long small = count("fork", "data_pages") - before;
	say("at least", "%s", yes(small >= 100));
	say("kernel", "%ld data %ld stack %ld", count("kernel", NULL), count("kernel", "data_pages"), count("kernel", "stack_pages"));
}

static void by_processor(void)
{
	long forks = 0, vforks = 0;
	for (int round = 0; round < 2; round++) {
		char name[16];
		long f = 0, v = 0;
		for (int i = 0; i < 64; i++) {
			snprintf(name, sizeof name, "cpu%d", i);
			long n = count(name, " forks"), m = count(name, " vforks");
			f += n > 0 ? n : 0;
			v += m > 0 ? m : 0;
		}
		if (round == 0)
			family();
		say("round", "%d", round);
		if (round == 1) {
			say("forks", "%ld", f - forks);
			say("vforks", "%ld", v - vforks);
		}
		forks = f, vforks = v;
	}
}

// young shows what a child begins with.
static void young(void)
{
	struct rusage self, kids;
	struct timespec cpu;
	do // for much longer than a child may be kept waiting in a busy host
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
	while (cpu.tv_sec == 0 && cpu.tv_nsec < 300000000);
	if (fork() == 0) {
		getrusage(RUSAGE_CHILDREN, &kids);
		say("of its children", "%ld", kids.ru_utime.tv_sec + kids.ru_utime.tv_usec + kids.ru_minflt);
		getrusage(RUSAGE_SELF, &self);
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
		say("its own", "%s", cpu.tv_sec == 0 && cpu.tv_nsec < 150000000 && self.ru_utime.tv_sec == 0 && self.ru_utime.tv_usec < 150000 ? "little" : "much");
		_exit(0);
	}
	wait(NULL);
}

static void refused(void)
{
	long user = count("refused_user_limit", NULL), table = count("refused_table_full", NULL), all = count("refused_other", NULL);
	put("/proc/sys/kernel/threads-max", "20");
	int n = 0;
	pid_t kids[40];
	while (n < 40) {
		pid_t pid = fork();
		if (pid == 0)
			pause();
		if (pid < 0)
			break;
		kids[n++] = pid;
	}
	say("full", "%s", errname(errno));
	say("some", "%s", yes(n > 10 && n < 20));
	say("again", "%s", ret(fork()));
	for (int i = 0; i < n; i++)
		kill(kids[i], SIGKILL);
	while (wait(NULL) > 0)
		;
	put("/proc/sys/kernel/threads-max", "1000");
	say("table", "%ld", count("refused_table_full", NULL) - table);
	if (fork() == 0) {
		struct rlimit l = {1, 1};
		setrlimit(RLIMIT_NPROC, &l);
		setresuid(1000, 1000, 1000);
		say("user", "%s", ret(fork()));
		_exit(0);
	}
	wait(NULL);
	say("user", "%ld", count("refused_user_limit", NULL) - user);
	say("nonsense", "%s", ret(syscall(SYS_clone, CLONE_THREAD, 0, 0, 0, 0)));
	say("other", "%ld", count("refused_other", NULL) - all);
}

static void probe(void)
{
	family();
	if (fork() == 0)
		kill(getpid(), SIGSEGV);
	wait(NULL);
	if (fork() == 0)
		execl("/bin/true", "true", NULL);
	wait(NULL);
}

static void contract(void)
{
	say("first", "%s", get("/proc/sentry/contract"));
	say("nonsense", "%s", ({ int fd = open("/proc/sentry/contract", O_WRONLY); ret(write(fd, "x", 1)); }));
	put("/proc/sentry/contract", "new fork");
	if (fork() == 0) {
		say("born in", "%s", strstr(get("/proc/sentry/contract"), "contract 1 holder") ? "1" : get("/proc/sentry/contract"));
		if (fork() == 0)
			_exit(0);
		wait(NULL);
		_exit(0);
	}
	wait(NULL);
	put("/proc/sentry/contract", "none");
	if (fork() == 0)
		_exit(0);
	wait(NULL);
	say("last", "%s", get("/proc/sentry/contract"));
}

static const struct section table[] = {
	{"N17_create_probe", probe}, {"N18_counters", counters}, {"N18_usage_of_the_newborn", young}, {"F11_counts_by_kind", by_kind},
	{"I17_counts_by_processor", by_processor}, {"I23_refusals_are_counted", refused}, {"I10_forks_told_to_the_holder", contract},
};
GUEST(table)
