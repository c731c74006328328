// Futexes by the bare call: wait and wake, timeouts, bitsets, requeue, wake-op,
// shared between processes, robust lists, priority inheritance.
#include "guest.h"
#include <linux/futex.h>
#include <pthread.h>

static long futex(volatile uint32_t *w, int op, uint32_t v, const struct timespec *t, volatile uint32_t *w2, uint32_t v3)
{
	return syscall(SYS_futex, w, op, v, t, w2, v3);
}

static volatile uint32_t word, word2;
static volatile int woken;
static volatile pid_t waiting[4];
static volatile int begun;

static void *waiter(void *arg)
{
	waiting[__sync_fetch_and_add(&begun, 1)] = syscall(SYS_gettid);
	long r = futex(&word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, (uint32_t)(uintptr_t)arg);
	if (r == 0)
		__sync_fetch_and_add(&woken, 1);
	return NULL;
}

// start begins n waiters on word with the given bits and returns when they wait.
static void start(pthread_t *t, int n, uint32_t bits)
{
	begun = 0;
	memset((void *)waiting, 0, sizeof waiting);
	for (int i = 0; i < n; i++)
		pthread_create(&t[i], NULL, waiter, (void *)(uintptr_t)bits);
	for (int i = 0; i < n; i++) {
		while (!waiting[i])
			sleep_ms(1);
		asleep(waiting[i]);
	}
}

static void waits(void)
{
	struct timespec t = {0, 20 * MS}, bad = {0, 1000000000}, neg = {-1, 0};
	say("value differs", "%s", ret(futex(&word, FUTEX_WAIT, 1, NULL, NULL, 0)));
	int64_t t0 = now_ms();
	say("timeout", "%s", ret(futex(&word, FUTEX_WAIT, 0, &t, NULL, 0)));
	say("it waited", "%s", yes(now_ms() - t0 >= 20));
	say("bad timeout", "%s", ret(futex(&word, FUTEX_WAIT, 0, &bad, NULL, 0)));
	say("negative timeout", "%s", ret(futex(&word, FUTEX_WAIT, 0, &neg, NULL, 0)));
	say("unaligned", "%s", ret(futex((uint32_t *)((char *)&word + 1), FUTEX_WAIT, 0, &t, NULL, 0)));
	say("unmapped", "%s", ret(futex((uint32_t *)8, FUTEX_WAIT, 0, &t, NULL, 0)));
	say("unmapped private", "%s", ret(futex((uint32_t *)8, FUTEX_WAIT_PRIVATE, 0, &t, NULL, 0)));
	say("wake nobody", "%s", ret(futex(&word, FUTEX_WAKE, 1, NULL, NULL, 0)));
	say("wake unaligned", "%s", ret(futex((uint32_t *)((char *)&word + 2), FUTEX_WAKE, 1, NULL, NULL, 0)));
	say("bad operation", "%s", ret(futex(&word, 99, 0, NULL, NULL, 0)));
	say("bitset zero", "%s", ret(futex(&word, FUTEX_WAIT_BITSET, 0, NULL, NULL, 0)));
	say("wake bitset zero", "%s", ret(futex(&word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0)));
	struct timespec abs;
	clock_gettime(CLOCK_MONOTONIC, &abs);
	abs.tv_sec -= 1;
	say("deadline past", "%s", ret(futex(&word, FUTEX_WAIT_BITSET, 0, &abs, NULL, ~0U)));
	clock_gettime(CLOCK_REALTIME, &abs);
	abs.tv_nsec += 30 * MS;
	if (abs.tv_nsec >= 1000000000) {
		abs.tv_sec++;
		abs.tv_nsec -= 1000000000;
	}
	t0 = now_ms();
	say("realtime deadline", "%s", ret(futex(&word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &abs, NULL, ~0U)));
	say("it waited", "%s", yes(now_ms() - t0 >= 25));
	volatile uint32_t *none = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	say("no access", "%s", ret(futex(none, FUTEX_WAIT_PRIVATE, 0, &t, NULL, 0)));
}

static void wakes(void)
{
	pthread_t t[4];
	start(t, 4, ~0U);
	say("wake one", "%s", ret(futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0)));
	say("wake zero", "%s", yes(futex(&word, FUTEX_WAKE_PRIVATE, 0, NULL, NULL, 0) <= 1));
	say("wake rest", "%s", yes(futex(&word, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0) >= 2));
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	say("woken", "%d", woken);
	woken = 0;
	pthread_t a[1], b[1];
	start(a, 1, 1);
	start(b, 1, 2);
	say("other bits", "%s", ret(futex(&word, FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG, 10, NULL, NULL, 4)));
	say("second's bit", "%s", ret(futex(&word, FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG, 10, NULL, NULL, 2)));
	pthread_join(b[0], NULL);
	say("first's bit", "%s", ret(futex(&word, FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG, 10, NULL, NULL, 1)));
	pthread_join(a[0], NULL);
}

static void requeues(void)
{
	pthread_t t[4];
	start(t, 4, ~0U);
	say("wrong value", "%s", ret(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)2, &word2, 5)));
	say("wake 1, move 2", "%s", ret(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)2, &word2, 0)));
	while (!woken)
		sleep_ms(1);
	sleep_ms(30);
	say("woken", "%d", woken);
	say("moved", "%s", ret(futex(&word2, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0)));
	say("left", "%s", ret(futex(&word, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0)));
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	say("all", "%d", woken);
	// FUTEX_WAKE_OP: changes the second word, wakes on the first, and on the second if its old value fits.
	woken = 0;
	start(t, 2, ~0U);
	word2 = 5;
	say("wake op", "%s", ret(futex(&word2, FUTEX_WAKE_OP_PRIVATE, 1, (void *)5, &word, FUTEX_OP(FUTEX_OP_ADD, 7, FUTEX_OP_CMP_EQ, 0))));
	say("changed", "%u", word);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	say("woken by op", "%d", woken);
	word = 6;
	say("op without match", "%s", ret(futex(&word2, FUTEX_WAKE_OP_PRIVATE, 1, (void *)5, &word, FUTEX_OP(FUTEX_OP_SET, 1, FUTEX_OP_CMP_GT, 6))));
	say("set", "%u", word);
	say("bad op", "%s", ret(futex(&word2, FUTEX_WAKE_OP_PRIVATE, 1, (void *)5, &word, 7 << 28)));
	word = word2 = 0;
}

static void processes(void)
{
	volatile uint32_t *s = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = fork();
	if (pid == 0) {
		while (*s == 0)
			futex(s, FUTEX_WAIT, 0, NULL, NULL, 0);
		_exit(*s);
	}
	asleep(pid);
	*s = 7;
	say("wake other process", "%s", ret(futex(s, FUTEX_WAKE, 1, NULL, NULL, 0)));
	int st;
	wait(&st);
	say("it saw", "%s", status(st));
	int fd = open("f", O_CREAT | O_RDWR, 0600);
	if (ftruncate(fd, PAGE))
		return;
	volatile uint32_t *m1 = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	pid = fork();
	if (pid == 0) {
		volatile uint32_t *m2 = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, open("f", O_RDWR), 0);
		while (m2[3] == 0)
			futex(m2 + 3, FUTEX_WAIT, 0, NULL, NULL, 0);
		_exit(m2[3]);
	}
	asleep(pid);
	m1[3] = 9;
	say("through a file", "%s", ret(futex(m1 + 3, FUTEX_WAKE, 1, NULL, NULL, 0)));
	wait(&st);
	say("it saw", "%s", status(st));
	say("cut", "%s", ret(ftruncate(fd, 0)));
	say("wake where nothing is", "%s", ret(futex(m1 + 3, FUTEX_WAKE, 1, NULL, NULL, 0)));
	say("private", "%s", ret(futex(m1 + 3, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0)));
	// A private futex of parent and child are two.
	word = 0;
	pid = fork();
	struct timespec t = {0, 60 * MS};
	if (pid == 0)
		_exit(futex(&word, FUTEX_WAIT, 0, &t, NULL, 0) == -1 && errno == ETIMEDOUT ? 3 : 4);
	asleep(pid);
	say("wake on copied page", "%s", ret(futex(&word, FUTEX_WAKE, 1, NULL, NULL, 0)));
	wait(&st);
	say("child", "%s", status(st));
}

static void tick(int s)
{
	(void)s;
}

static void interrupts(void)
{
	struct sigaction sa = {.sa_handler = tick};
	struct timespec t = {40, 0};
	sigaction(SIGALRM, &sa, NULL);
	say("interrupted", "%s", ret(UNDER_ALARM(30000, futex(&word, FUTEX_WAIT, 0, NULL, NULL, 0))));
	say("interrupted with timeout", "%s", ret(UNDER_ALARM(30000, futex(&word, FUTEX_WAIT, 0, &t, NULL, 0))));
	sa.sa_flags = SA_RESTART;
	sigaction(SIGALRM, &sa, NULL);
	int64_t t0 = now_ms();
	say("SA_RESTART with timeout", "%s", ret(UNDER_ALARM(30000, futex(&word, FUTEX_WAIT, 0, &t, NULL, 0))));
	say("it ended early", "%s", yes(now_ms() - t0 < 20000));
}

static pthread_mutex_t *shared_mutex(int type)
{
	pthread_mutex_t *m = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	if (type & 1)
		pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	if (type & 2)
		pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
	say("mutex init", "%s", errname(pthread_mutex_init(m, &a)));
	return m;
}

static void robust(void)
{
	for (int type = 1; type <= 3; type += 2) {
		pthread_mutex_t *m = shared_mutex(type);
		pid_t pid = fork();
		if (pid == 0)
			_exit(pthread_mutex_lock(m));
		int st;
		waitpid(pid, &st, 0);
		say("owner died holding", "%s", status(st));
		say("lock", "%s", errname(pthread_mutex_lock(m)));
		say("consistent", "%s", errname(pthread_mutex_consistent(m)));
		say("unlock", "%s", errname(pthread_mutex_unlock(m)));
		say("lock again", "%s", errname(pthread_mutex_lock(m)));
		pthread_mutex_unlock(m);
		// A waiter is woken by the owner's death.
		pid = fork();
		if (pid == 0) {
			pthread_mutex_lock(m);
			sleep_ms(60);
			kill(getpid(), SIGKILL);
		}
		asleep(pid);
		say("waiter", "%s", errname(pthread_mutex_lock(m)));
		waitpid(pid, &st, 0);
		say("owner", "%s", status(st));
	}
	void *head;
	size_t len;
	say("get list", "%s", ret(syscall(SYS_get_robust_list, 0, &head, &len)));
	say("length", "%ld", (long)len);
	say("set bad length", "%s", ret(syscall(SYS_set_robust_list, head, 5)));
	if (fork() == 0) {
		// A list that runs in a circle must not hold up the exit.
		static struct robust_list_head h;
		static struct robust_list e;
		h.list.next = &e;
		e.next = &e;
		syscall(SYS_set_robust_list, &h, sizeof h);
		_exit(6);
	}
	int st;
	wait(&st);
	say("circular list", "%s", status(st));
	if (fork() == 0) {
		syscall(SYS_set_robust_list, (void *)0xffff880000000000UL, sizeof(struct robust_list_head));
		_exit(6);
	}
	wait(&st);
	say("bad list", "%s", status(st));
}

static volatile int pi_held, pi_tried;

static void *pi_owner(void *m)
{
	pthread_mutex_lock(m);
	pi_held = 1;
	while (!pi_tried)
		sleep_ms(1);
	sleep_ms(60);
	pthread_mutex_unlock(m);
	return NULL;
}

static void inheritance(void)
{
	volatile uint32_t w = 0;
	uint32_t me = syscall(SYS_gettid);
	say("lock", "%s", ret(futex(&w, FUTEX_LOCK_PI, 0, NULL, NULL, 0)));
	say("owner in word", "%s", yes((w & FUTEX_TID_MASK) == me));
	say("lock again", "%s", ret(futex(&w, FUTEX_LOCK_PI, 0, NULL, NULL, 0)));
	say("try again", "%s", ret(futex(&w, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0)));
	say("unlock", "%s", ret(futex(&w, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0)));
	say("word", "%u", w);
	say("unlock free", "%s", ret(futex(&w, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0)));
	w = 1 << 28;
	say("owner is nobody", "%s", ret(futex(&w, FUTEX_LOCK_PI, 0, NULL, NULL, 0)));
	pthread_mutex_t *m = shared_mutex(2);
	pthread_t t;
	pthread_create(&t, NULL, pi_owner, m);
	while (!pi_held)
		sleep_ms(1);
	struct timespec abs;
	clock_gettime(CLOCK_REALTIME, &abs);
	say("timed lock, past", "%s", errname(pthread_mutex_timedlock(m, &abs)));
	pi_tried = 1;
	say("waited lock", "%s", errname(pthread_mutex_lock(m)));
	say("unlock", "%s", errname(pthread_mutex_unlock(m)));
	pthread_join(t, NULL);
}

static const struct section table[] = {
	{"waits", waits}, {"wakes", wakes}, {"requeues", requeues}, {"processes", processes},
	{"interrupts", interrupts}, {"robust", robust}, {"pi", inheritance},
};

GUEST(table)
