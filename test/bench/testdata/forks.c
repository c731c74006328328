// What forks cost, in parts, so that nothing is merely moved: each line is "name ns", a median.
//
//	forks touched MIB   a fork with so much memory touched again before each: the fork until the parent
//	                    goes on, the child's exit with the parent's wait, and the touches that follow
//	forks cold MIB      that fork alone with other memory read in between, so that the processor's caches hold nothing of the
//	                    kernel's: what touching much does to any fork, whatever it has to copy
//	forks children N    N children that sleep, all at once: the creation of one, and its end with the wait
//	forks cow           a page written to while a child has it too
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define MOST 64

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

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

static void print(const char *name, int64_t *values, int n)
{
	qsort(values, n, sizeof *values, by_value);
	printf("%s %ld\n", name, (long)values[n / 2]);
}

static volatile char *memory(size_t size)
{
	char *m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(m != MAP_FAILED, "mmap");
	return m;
}

static int64_t touch(volatile char *m, size_t size)
{
	int64_t t = now();
	for (size_t i = 0; i < size; i += PAGE)
		m[i]++;
	return now() - t;
}

static void reap(pid_t p)
{
	int st;
	must(waitpid(p, &st, 0) == p && st == 0, "wait");
}

// spoil reads much memory that a fork has nothing to do with.
static void spoil(void)
{
	const size_t size = 64 << 20;
	static volatile char *m;
	if (!m) {
		m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		must(m != MAP_FAILED, "mmap");
		touch(m, size);
	}
	for (size_t i = 0; i < size; i += 64)
		(void)m[i];
}

static void touched(size_t mib, int cold)
{
	static int64_t forked[MOST], ended[MOST], touches[MOST];
	size_t size = mib << 20;
	int rounds = mib >= 256 ? 5 : mib >= 16 ? 21 : 51;
	volatile char *m = memory(size);
	touch(m, size);
	for (int i = -1; i < rounds; i++) {
		if (cold)
			spoil();
		int64_t t0 = now();
		pid_t p = fork();
		if (p == 0)
			_exit(0);
		must(p > 0, "fork");
		int64_t t1 = now();
		reap(p);
		int64_t t2 = now();
		int64_t t = touch(m, size);
		if (i < 0)
			continue;
		forked[i] = t1 - t0;
		ended[i] = t2 - t1;
		touches[i] = t;
	}
	print("fork", forked, rounds);
	if (cold)
		return;
	print("end", ended, rounds);
	print("touch", touches, rounds);
}

static void children(int n)
{
	int p[2];
	char c;
	must(pipe(p) == 0, "pipe");
	int64_t t0 = now();
	for (int i = 0; i < n; i++) {
		pid_t pid = fork();
		must(pid >= 0, "fork");
		if (pid == 0) {
			close(p[1]);
			_exit(read(p[0], &c, 1) != 0);
		}
	}
	int64_t create = (now() - t0) / n;
	usleep(100000);
	t0 = now();
	close(p[1]);
	for (int i = 0; i < n; i++) {
		int st;
		must(wait(&st) > 0 && st == 0, "wait");
	}
	int64_t end = (now() - t0) / n;
	print("create", &create, 1);
	print("end", &end, 1);
}

static void cow(void)
{
	static int64_t page[MOST];
	const size_t size = 8 << 20;
	volatile char *m = memory(size);
	touch(m, size);
	const int rounds = 9;
	for (int i = 0; i < rounds; i++) {
		pid_t p = fork();
		must(p >= 0, "fork");
		if (p == 0)
			for (;;)
				pause();
		page[i] = touch(m, size) / (size / PAGE);
		kill(p, SIGKILL);
		waitpid(p, NULL, 0);
	}
	print("page", page, rounds);
}

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "touched"))
		touched(atol(argv[2]), 0);
	else if (argc > 2 && !strcmp(argv[1], "cold"))
		touched(atol(argv[2]), 1);
	else if (argc > 2 && !strcmp(argv[1], "children"))
		children(atoi(argv[2]));
	else if (argc > 1 && !strcmp(argv[1], "cow"))
		cow();
	else
		return 2;
	return 0;
}
