// Micro-benchmarks. Each one runs for a while to find how many rounds take 0.2 s, then is timed
// five times; "name ns" is printed, the median for one round.
//
// Usage: micro [-n SAMPLES] [NAME...]; --list prints the names. micro -c COUNT NAME does so many rounds and prints nothing.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TARGET 200000000L
#define PAGE 4096

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void must(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		_exit(1);
	}
}

static void do_getpid(long n)
{
	while (n--)
		syscall(SYS_getpid);
}

static void do_lseek(long n)
{
	while (n--)
		syscall(SYS_lseek, -1, 0, 0);
}

static void do_yield(long n)
{
	while (n--)
		sched_yield();
}

static void do_clock(long n)
{
	struct timespec t;
	while (n--)
		clock_gettime(CLOCK_MONOTONIC, &t);
}

static void do_pipe(long n)
{
	int p[2];
	char c = 1;
	must(pipe(p) == 0, "pipe");
	while (n--)
		must(write(p[1], &c, 1) == 1 && read(p[0], &c, 1) == 1, "pipe");
	close(p[0]);
	close(p[1]);
}

static void do_open(long n)
{
	while (n--) {
		int fd = open("/dev/null", O_RDWR);
		must(fd >= 0, "open");
		close(fd);
	}
}

static void do_stat(long n)
{
	struct stat st;
	while (n--)
		must(stat("/etc/passwd", &st) == 0, "stat");
}

static char path[] = "/tmp/micro-XXXXXX";
static char block[PAGE];

static int file(void)
{
	static int fd = -1;
	if (fd < 0) {
		fd = mkstemp(path);
		must(fd >= 0 && unlink(path) == 0, "mkstemp");
		must(pwrite(fd, block, PAGE, 0) == PAGE, "pwrite");
	}
	return fd;
}

static void do_read(long n)
{
	int fd = file();
	while (n--)
		must(pread(fd, block, PAGE, 0) == PAGE, "pread");
}

static void do_write(long n)
{
	int fd = file();
	while (n--)
		must(pwrite(fd, block, PAGE, 0) == PAGE, "pwrite");
}

static void reap(pid_t p)
{
	int st;
	must(p > 0 && waitpid(p, &st, 0) == p && st == 0, "wait");
}

static void do_fork(long n)
{
	while (n--) {
		pid_t p = fork();
		if (p == 0)
			_exit(0);
		reap(p);
	}
}

static void do_vfork(long n)
{
	while (n--) {
		pid_t p = vfork();
		if (p == 0)
			_exit(0);
		reap(p);
	}
}

// do_fork_touched touches 64 MiB again before each fork; only the fork is of interest, but
// touching is part of what a program pays.
static void do_fork_touched(long n)
{
	static char *m;
	const size_t size = 64 << 20;
	if (!m) {
		m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		must(m != MAP_FAILED, "mmap");
	}
	while (n--) {
		for (size_t i = 0; i < size; i += PAGE)
			m[i]++;
		do_fork(1);
	}
}

static char self[4096];

static void do_exec(long n)
{
	while (n--) {
		pid_t p = fork();
		if (p == 0) {
			execl(self, "micro", "--true", (char *)0);
			_exit(1);
		}
		reap(p);
	}
}

static void do_vfork_exec(long n)
{
	while (n--) {
		pid_t p = vfork();
		if (p == 0) {
			execl(self, "micro", "--true", (char *)0);
			_exit(1);
		}
		reap(p);
	}
}

static void do_spawn(long n)
{
	char *argv[] = {"micro", "--true", NULL}, *envp[] = {NULL};
	while (n--) {
		pid_t p;
		must(posix_spawn(&p, self, NULL, NULL, argv, envp) == 0, "posix_spawn");
		reap(p);
	}
}

static void *nothing(void *a)
{
	return a;
}

static void do_thread(long n)
{
	while (n--) {
		pthread_t t;
		must(pthread_create(&t, NULL, nothing, NULL) == 0, "pthread_create");
		pthread_join(t, NULL);
	}
}

static void *calls(void *n)
{
	for (long i = (long)n; i > 0; i--)
		getppid();
	return NULL;
}

/* n calls in all, by threads at the same time. */
static void call_by(int threads, long n)
{
	pthread_t t[4];
	for (int i = 0; i < threads; i++)
		must(pthread_create(&t[i], NULL, calls, (void *)(n / threads + 1)) == 0, "pthread_create");
	for (int i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
}

static void do_calls_1(long n) { call_by(1, n); }
static void do_calls_2(long n) { call_by(2, n); }
static void do_calls_4(long n) { call_by(4, n); }

static void do_map(long n)
{
	while (n--) {
		char *m = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		must(m != MAP_FAILED, "mmap");
		for (int i = 0; i < 16; i++)
			m[i * PAGE] = 1;
		munmap(m, 16 * PAGE);
	}
}

static void do_touch(long n)
{
	const long most = 16384;
	while (n > 0) {
		long k = n < most ? n : most;
		char *m = mmap(NULL, k * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		must(m != MAP_FAILED, "mmap");
		for (long i = 0; i < k; i++)
			m[i * PAGE] = 1;
		munmap(m, k * PAGE);
		n -= k;
	}
}

static void do_pingpong(long n)
{
	int a[2], b[2];
	char c = 1;
	must(pipe(a) == 0 && pipe(b) == 0, "pipe");
	pid_t p = fork();
	if (p == 0) {
		close(a[1]);
		while (read(a[0], &c, 1) == 1)
			must(write(b[1], &c, 1) == 1, "write");
		_exit(0);
	}
	close(a[0]);
	while (n--)
		must(write(a[1], &c, 1) == 1 && read(b[0], &c, 1) == 1, "ping");
	close(a[1]);
	reap(p);
	close(b[0]);
	close(b[1]);
}

static const struct {
	const char *name;
	void (*run)(long n);
} table[] = {
	{"getpid", do_getpid}, {"lseek", do_lseek}, {"sched_yield", do_yield}, {"clock_gettime", do_clock}, {"pipe", do_pipe},
	{"open_close", do_open}, {"stat", do_stat}, {"read_4k", do_read}, {"write_4k", do_write}, {"fork", do_fork},
	{"fork_64m", do_fork_touched}, {"vfork", do_vfork}, {"fork_exec", do_exec},
	{"vfork_exec", do_vfork_exec}, {"posix_spawn", do_spawn}, {"thread", do_thread},
	{"calls_1", do_calls_1}, {"calls_2", do_calls_2}, {"calls_4", do_calls_4},
	{"map_64k", do_map}, {"page_touch", do_touch}, {"ping_pong", do_pingpong},
};

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double timed(void (*run)(long), long n)
{
	int64_t t = now();
	run(n);
	return now() - t;
}

// measure returns the median of the samples.
static double measure(void (*run)(long), int samples)
{
	long n = 1;
	double t = timed(run, n);
	for (t = timed(run, n); t < TARGET / 10; t = timed(run, n))
		n = t < TARGET / 1000 ? n * 10 : n * (TARGET / 10 / t) + 1;
	n = n * (TARGET / t) + 1;
	double s[101];
	for (int i = 0; i < samples; i++)
		s[i] = timed(run, n) / n;
	qsort(s, samples, sizeof *s, by_value);
	return s[samples / 2];
}

int main(int argc, char **argv)
{
	int samples = 5, first = 1;
	if (argc > 1 && !strcmp(argv[1], "--true"))
		return 0;
	if (argc > 2 && !strcmp(argv[1], "-n")) {
		samples = atoi(argv[2]);
		first = 3;
	}
	if (samples < 1 || samples > 101)
		return 2;
	must(realpath(argv[0], self) != NULL, argv[0]);
	if (argc == 4 && !strcmp(argv[1], "-c")) {
		for (unsigned i = 0; i < sizeof table / sizeof *table; i++)
			if (!strcmp(argv[3], table[i].name))
				table[i].run(atol(argv[2]));
		return 0;
	}
	for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
		if (argc > 1 && !strcmp(argv[1], "--list")) {
			puts(table[i].name);
			continue;
		}
		int wanted = first >= argc;
		for (int a = first; a < argc; a++)
			wanted |= !strcmp(argv[a], table[i].name);
		if (wanted) {
			printf("%s %.1f\n", table[i].name, measure(table[i].run, samples));
			fflush(stdout);
		}
	}
	return 0;
}
