// Dies by SIGABRT in one of two threads, after it has said where a word of its data lies.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static volatile unsigned long words[8192] = {0x1122334455667788};
static pthread_barrier_t ready;

static void *other(void *arg)
{
	pthread_barrier_wait(&ready);
	for (;;)
		pause();
	return arg;
}

int main(int argc, char **argv)
{
	struct rlimit r = {.rlim_cur = argc > 1 ? strtoul(argv[1], NULL, 0) : RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
	pthread_t t;
	if (setrlimit(RLIMIT_CORE, &r) || pthread_barrier_init(&ready, NULL, 2) || pthread_create(&t, NULL, other, NULL))
		return 1;
	words[1] = 0x99;
	pthread_barrier_wait(&ready);
	printf("%p\n", (void *)words);
	fflush(stdout);
	abort();
}
