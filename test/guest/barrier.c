// Barriers between threads by membarrier(2): the store-buffer litmus test, with the
// barrier on one side only.
#include "guest.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/syscall.h>

enum { ROUNDS = 200 };

static volatile int x, y, seen_y, round_open, round_done;

static long barrier(int cmd, unsigned flags) { return syscall(SYS_membarrier, cmd, flags, 0); }

static void *fast_side(void *arg)
{
	for (int i = 1; i <= ROUNDS; i++) {
		while (round_open != i)
			;
		x = 1;
		asm volatile("" ::: "memory");
		seen_y = y;
		round_done = i;
	}
	return arg;
}

static void litmus(void)
{
	say("register", "%s", ret(barrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0)));
	pthread_t t;
	pthread_create(&t, NULL, fast_side, NULL);
	int both = 0, failed = 0;
	for (int i = 1; i <= ROUNDS; i++) {
		x = y = 0;
		__sync_synchronize();
		round_open = i;
		y = 1;
		failed += barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0) != 0;
		int seen_x = x;
		while (round_done != i)
			;
		both += !seen_x && !seen_y;
	}
	pthread_join(t, NULL);
	say("failed", "%d", failed);
	say("neither saw the other", "%d", both);
}

static void errors(void)
{
	say("global", "%s", ret(barrier(MEMBARRIER_CMD_GLOBAL, 0)));
	say("bad flags", "%s", ret(barrier(MEMBARRIER_CMD_GLOBAL, 8)));
	say("bad command", "%s", ret(barrier(3, 0)));
}

enum { CROWD = 150 };

static void *one_of_many(void *arg)
{
	(void)arg;
	long failed = 0;
	for (int i = 0; i < 20; i++)
		failed += barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0) != 0;
	return (void *)failed;
}

// crowd: many threads that wait for each other.
static void crowd(void)
{
	pthread_t threads[CROWD];
	long failed = 0;
	barrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0);
	for (int i = 0; i < CROWD; i++)
		failed += pthread_create(&threads[i], NULL, one_of_many, NULL) != 0;
	for (int i = 0; i < CROWD; i++) {
		void *result;
		pthread_join(threads[i], &result);
		failed += (long)result;
	}
	say("failed", "%ld", failed);
}

static const struct section table[] = {{"litmus", litmus}, {"crowd", crowd}, {"errors", errors}};

GUEST(table)
