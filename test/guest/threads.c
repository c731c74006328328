// Threads: creation, locks, conditions, barriers, thread-local storage, signals to
// one thread, exit and exec of a process that has several, /proc/self/task.
#include "guest.h"
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/prctl.h>

#define N 8

static long counter;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static __thread long local = 5;

static void *add(void *arg)
{
	for (int i = 0; i < 20000; i++) {
		pthread_mutex_lock(&lock);
		counter++;
		pthread_mutex_unlock(&lock);
		local++;
	}
	return (void *)((long)arg * 10 + (local == 20005));
}

static void creation(void)
{
	pthread_t t[N];
	for (long i = 0; i < N; i++)
		pthread_create(&t[i], NULL, add, (void *)i);
	long sum = 0;
	for (int i = 0; i < N; i++) {
		void *r;
		pthread_join(t[i], &r);
		sum += (long)r;
	}
	say("counter", "%ld", counter);
	say("results", "%ld", sum);
	say("own copy of thread-local", "%ld", local);
	int made = 0;
	for (int i = 0; i < 500; i++) {
		pthread_t x;
		void *r;
		if (pthread_create(&x, NULL, (void *(*)(void *))(void *)getpid, NULL) == 0 && pthread_join(x, &r) == 0)
			made += (pid_t)(long)r == getpid();
	}
	say("one after another", "%d", made);
}

static int stage;

static void *stepper(void *arg)
{
	long me = (long)arg;
	pthread_mutex_lock(&lock);
	while (stage != me)
		pthread_cond_wait(&cond, &lock);
	stage++;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&lock);
	return NULL;
}

static pthread_barrier_t barrier;
static int rounds[N];

static void *round_trip(void *arg)
{
	long serial = 0;
	for (int i = 0; i < 50; i++) {
		rounds[(long)arg] = i;
		if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
			serial++;
		for (int k = 0; k < N; k++)
			if (rounds[k] < i)
				serial += 1000000;
		pthread_barrier_wait(&barrier);
	}
	return (void *)serial;
}

static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static long pair[2];
static sem_t sem;

static void *reader(void *arg)
{
	long bad = 0;
	(void)arg;
	for (int i = 0; i < 3000; i++) {
		pthread_rwlock_rdlock(&rw);
		bad += pair[0] != pair[1];
		pthread_rwlock_unlock(&rw);
	}
	sem_post(&sem);
	return (void *)bad;
}

static void locks(void)
{
	pthread_t t[N];
	for (long i = 0; i < N; i++)
		pthread_create(&t[i], NULL, stepper, (void *)i);
	for (int i = 0; i < N; i++)
		pthread_join(t[i], NULL);
	say("in order", "%d", stage);
	pthread_barrier_init(&barrier, NULL, N);
	long serial = 0;
	for (long i = 0; i < N; i++)
		pthread_create(&t[i], NULL, round_trip, (void *)i);
	for (int i = 0; i < N; i++) {
		void *r;
		pthread_join(t[i], &r);
		serial += (long)r;
	}
	say("barrier", "%ld", serial);
	sem_init(&sem, 0, 0);
	for (long i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, reader, NULL);
	for (int i = 0; i < 3000; i++) {
		pthread_rwlock_wrlock(&rw);
		pair[0]++;
		pair[1]++;
		pthread_rwlock_unlock(&rw);
	}
	long bad = 0;
	for (int i = 0; i < 4; i++) {
		void *r;
		sem_wait(&sem);
		pthread_join(t[i], &r);
		bad += (long)r;
	}
	say("torn reads", "%ld", bad);
	struct timespec abs;
	clock_gettime(CLOCK_REALTIME, &abs);
	abs.tv_sec += abs.tv_nsec > 950 * MS;
	abs.tv_nsec = (abs.tv_nsec + 50 * MS) % 1000000000;
	pthread_mutex_lock(&lock);
	say("timed wait", "%s", errname(pthread_cond_timedwait(&cond, &lock, &abs)));
	pthread_mutex_unlock(&lock);
	say("sem_trywait", "%s", ret(sem_trywait(&sem)));
}

static volatile pthread_t handled_by;
static volatile int handled;

static void on_signal(int s)
{
	(void)s;
	handled_by = pthread_self();
	handled++;
}

static void *sleeper(void *arg)
{
	*(volatile pid_t *)arg = syscall(SYS_gettid);
	struct timespec t = {100, 0};
	long r = nanosleep(&t, NULL);
	return (void *)(r == -1 ? (long)errno : 0);
}

static void *receiver(void *arg)
{
	sigset_t *s = arg;
	int sig = 0;
	sigwait(s, &sig);
	return (void *)(long)sig;
}

static void signals(void)
{
	pthread_t t[3];
	volatile pid_t tid[3] = {0};
	signal(SIGUSR1, on_signal);
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, sleeper, (void *)&tid[i]);
	for (int i = 0; i < 3; i++) {
		while (!tid[i])
			sleep_ms(1);
		asleep(tid[i]);
	}
	say("to one thread", "%s", errname(pthread_kill(t[1], SIGUSR1)));
	void *r;
	pthread_join(t[1], &r);
	say("it was interrupted", "%s %s", errname((int)(long)r), yes(handled_by == t[1]));
	// A signal for the process goes to a thread that does not block it.
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	sigaddset(&s, SIGUSR2);
	pthread_kill(t[0], SIGUSR1);
	pthread_join(t[0], &r);
	pthread_sigmask(SIG_BLOCK, &s, NULL);
	handled = 0;
	kill(getpid(), SIGUSR1);
	pthread_join(t[2], &r);
	say("to the process", "%d %s %s", handled, errname((int)(long)r), yes(handled_by == t[2]));
	pthread_create(&t[0], NULL, receiver, &s);
	sleep_ms(30);
	kill(getpid(), SIGUSR2);
	pthread_join(t[0], &r);
	say("sigwait in a thread", "%s", signame((long)r));
	// One thread's pending signal is not another's.
	pthread_create(&t[0], NULL, receiver, &s);
	sleep_ms(30);
	pthread_kill(pthread_self(), SIGUSR1);
	sigset_t p;
	sigpending(&p);
	say("pending here", "%s", yes(sigismember(&p, SIGUSR1)));
	pthread_kill(t[0], SIGUSR2);
	pthread_join(t[0], &r);
	say("other got", "%s", signame((long)r));
	say("still pending", "%s", (sigpending(&p), yes(sigismember(&p, SIGUSR1))));
	say("new thread has none", "%s", (pthread_create(&t[0], NULL, receiver, &s), sleep_ms(30), pthread_kill(t[0], SIGUSR2), pthread_join(t[0], &r), signame((long)r)));
}

static void *stays(void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return NULL;
}

static void *spins(void *arg)
{
	volatile long *x = arg;
	for (;;)
		(*x)++;
	return NULL;
}

static void *exits(void *arg)
{
	sleep_ms(30);
	_exit((long)arg);
}

static void *execs(void *arg)
{
	sleep_ms(30);
	execl("/bin/sh", "sh", "-c", arg, (char *)0);
	return NULL;
}

static void *faults(void *arg)
{
	sleep_ms(30);
	*(volatile int *)arg = 1;
	return NULL;
}

static int gate[2] = {-1, -1};

// leaves ends when the first thread has, and the gate is closed.
static void *leaves(void *arg)
{
	char c;
	comes_to(getpid(), 'Z');
	(void)!read(gate[0], &c, 1);
	say("last thread", "%s", (char *)arg);
	return NULL;
}

// several starts threads that block and compute, and one that does what is to be
// seen, and waits in the first thread.
static void several(void *(*f)(void *), void *arg)
{
	static volatile long x;
	pthread_t t;
	for (int i = 0; i < 3; i++)
		pthread_create(&t, NULL, stays, NULL);
	pthread_create(&t, NULL, spins, (void *)&x);
	pthread_create(&t, NULL, f, arg);
	pthread_join(t, NULL);
}

static void first_leaves(void)
{
	pthread_t t;
	pthread_create(&t, NULL, leaves, "ran after the first");
	pthread_exit(NULL);
}

static void exit_from_thread(void)
{
	several(exits, (void *)7L);
}

static void exit_from_first(void)
{
	pthread_t t;
	for (int i = 0; i < 5; i++)
		pthread_create(&t, NULL, stays, NULL);
	_exit(8);
}

static void exec_from_thread(void)
{
	pid_t me = getpid();
	static char cmd[200];
	snprintf(cmd, sizeof cmd, "[ $$ = %d ] && echo 'exec: same pid' && ls /proc/self/task | wc -l | xargs echo exec: tasks; exit 9", me);
	several(execs, cmd);
}

static void fault_in_thread(void)
{
	several(faults, (void *)16L);
}

static void killed(void)
{
	several(stays, NULL);
}

static void endings(void)
{
	say("exit by a thread", "%s", status(child(exit_from_thread)));
	say("exit by the first", "%s", status(child(exit_from_first)));
	say("exec by a thread", "%s", status(child(exec_from_thread)));
	say("fault in a thread", "%s", status(child(fault_in_thread)));
	say("first leaves", "%s", status(child(first_leaves)));
	pid_t pid = fork();
	if (pid == 0)
		killed();
	sleep_ms(80);
	kill(pid, SIGTERM);
	int st;
	waitpid(pid, &st, 0);
	say("killed", "%s", status(st));
	// A first thread that left while others run is not yet to be waited for.
	if (pipe(gate))
		return;
	pid = fork();
	if (pid == 0) {
		close(gate[1]);
		first_leaves();
	}
	comes_to(pid, 'Z');
	say("not yet", "%s", ret(waitpid(pid, &st, WNOHANG)));
	close(gate[1]);
	waitpid(pid, &st, 0);
	say("now", "%s", status(st));
}

static void *forks(void *arg)
{
	pid_t pid = fork();
	if (pid == 0) {
		DIR *d = opendir("/proc/self/task");
		int n = 0;
		for (struct dirent *e; (e = readdir(d));)
			n += e->d_name[0] != '.';
		_exit(n == 1 && syscall(SYS_gettid) == getpid() ? 4 : 5);
	}
	int st = 0;
	waitpid(pid, &st, 0);
	*(int *)arg = st;
	return NULL;
}

static void relations(void)
{
	pthread_t t;
	int st = 0;
	pthread_create(&t, NULL, forks, &st);
	pthread_join(t, NULL);
	say("fork from a thread", "%s", status(st));
	// A child of one thread can be waited for by another.
	pid_t pid = fork();
	if (pid == 0)
		_exit(3);
	say("first thread", "%s", (waitpid(pid, &st, 0), status(st)));
	for (int i = 0; i < 4; i++)
		pthread_create(&t, NULL, stays, NULL);
	DIR *d = opendir("/proc/self/task");
	int n = 0;
	for (struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	say("tasks", "%d", n);
	char name[32];
	prctl(PR_SET_NAME, "a-long-name-for-a-thread");
	prctl(PR_GET_NAME, name);
	say("name", "%s", name);
	say("name in proc", "%s", (get("/proc/self/comm"), strtok((char *)get("/proc/self/comm"), "\n")));
	pthread_setname_np(t, "worker");
	pthread_getname_np(t, name, sizeof name);
	say("other's name", "%s", name);
}

static void *unlink_dir(void *arg)
{
	(void)arg;
	return (void *)(long)chdir("sub");
}

static void *own_fs(void *arg)
{
	(void)arg;
	syscall(SYS_unshare, CLONE_FS);
	return (void *)(long)chdir("other");
}

static void shared_state(void)
{
	pthread_t t;
	mkdir("sub", 0755);
	mkdir("sub/other", 0755);
	pthread_create(&t, NULL, unlink_dir, NULL);
	pthread_join(t, NULL);
	char b[4096];
	say("directory is shared", "%s", strrchr(getcwd(b, sizeof b), '/'));
	pthread_create(&t, NULL, own_fs, NULL);
	pthread_join(t, NULL);
	say("unshared", "%s", strrchr(getcwd(b, sizeof b), '/'));
	// What a thread does with descriptors is the process's.
	int fd = open(".", O_RDONLY);
	pthread_create(&t, NULL, (void *(*)(void *))(void *)close, (void *)(long)fd);
	pthread_join(t, NULL);
	say("closed by a thread", "%s", ret(fcntl(fd, F_GETFD)));
}

static const struct section table[] = {
	{"creation", creation}, {"locks", locks}, {"signals", signals}, {"endings", endings},
	{"relations", relations}, {"shared_state", shared_state},
};

GUEST(table)
