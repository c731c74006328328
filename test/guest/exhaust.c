// Everything until it is refused: descriptors, mappings, threads, processes, nested
// directories, pipes, queued signals, waiters. What matters is the refusal's name, that the
// program gets room again, and that the kernel lives on.
#include "guest.h"
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/resource.h>

static void limit(int which, rlim_t n)
{
	struct rlimit r;
	getrlimit(which, &r); // not everybody may raise it
	r.rlim_max = r.rlim_max < n ? r.rlim_max : n;
	r.rlim_cur = r.rlim_max;
	if (setrlimit(which, &r))
		say("setrlimit", "%s", errname(errno));
}

static void descriptors(void)
{
	limit(RLIMIT_NOFILE, 10000);
	int n = 0, fd, last = 0;
	while ((fd = open("/dev/null", O_RDONLY)) >= 0) {
		last = fd;
		n++;
	}
	say("open", "%s at %d", errname(errno), last);
	int p[2];
	say("pipe", "%s", ret(pipe(p)));
	say("epoll", "%s", ret(epoll_create1(0)));
	say("close all", "%s", ret(syscall(SYS_close_range, 3, ~0U, 0)));
	say("again", "%s", ret(open("/dev/null", O_RDONLY)));
	n = 0;
	while (pipe(p) == 0)
		n++;
	say("pipes", "%s %d", errname(errno), n);
}

static void mappings(void)
{
	const size_t pages = 140000;
	char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		say("mmap", "%s", errname(errno));
		return;
	}
	size_t i = 0;
	long r = 0;
	for (; i < pages && (r = mprotect(p + i * PAGE, PAGE, PROT_READ)) == 0; i += 2)
		;
	say("mprotect", "%s", ret(r));
	say("many were made", "%s", yes(i > 20000));
	say("whole again", "%s", ret(munmap(p, pages * PAGE)));
	say("room", "%s", yes(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED));
	// Touching every other page of a large area, then forking with it.
	p = mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (i = 0; i < (64 << 20); i += 2 * PAGE)
		p[i] = 1;
	int bad = 0;
	for (int k = 0; k < 5; k++) {
		pid_t pid = fork();
		if (pid == 0) {
			for (i = 0; i < (64 << 20); i += 64 * PAGE)
				p[i]++;
			_exit(p[0] != 2);
		}
		int st;
		waitpid(pid, &st, 0);
		bad += st != 0;
	}
	say("forks with 64 MiB", "%d bad", bad);
}

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void *behind_gate(void *a)
{
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
	return a;
}

static void threads(void)
{
	static pthread_t t[2000];
	pthread_attr_t a;
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, 64 << 10);
	pthread_mutex_lock(&gate);
	int n = 0, r = 0;
	while (n < 2000 && (r = pthread_create(&t[n], &a, behind_gate, NULL)) == 0)
		n++;
	say("threads", "%d %s", n, errname(r));
	pthread_mutex_unlock(&gate);
	for (int i = 0; i < n; i++)
		pthread_join(t[i], NULL);
	say("joined", "%d", n);
}

static void processes(void)
{
	if (fork() == 0) {
		setpgid(0, 0);
		if (setgid(54322) || setuid(54322))
			_exit(1);
		limit(RLIMIT_NPROC, 150);
		// Every child forks too, until all are refused for a while, and the first one in any case.
		int64_t end = now_ms() + 700;
		signal(SIGTERM, SIG_IGN);
		pid_t top = getpid();
		int refused = 0;
		while (now_ms() < end || (!refused && getpid() == top)) {
			pid_t p = fork();
			if (p == 0)
				signal(SIGTERM, SIG_DFL);
			else if (p < 0) {
				refused = errno;
				sleep_ms(5);
			}
		}
		if (getpid() != top)
			for (;;)
				pause();
		say("bomb", "%s", errname(refused));
		do
			kill(0, SIGTERM);
		while (waitpid(-1, NULL, WNOHANG) > 0 || (errno != ECHILD && (sleep_ms(10), 1)));
		pid_t p = -1;
		for (int i = 0; p < 0 && i < 500; i++) {
			kill(0, SIGTERM);
			sleep_ms(10);
			p = fork();
		}
		if (p == 0)
			_exit(0);
		say("room again", "%s", yes(p > 0));
		_exit(0);
	}
	int st;
	wait(&st);
	say("bomber", "%s", status(st));
	// Zombies, then all reaped.
	int n = 0;
	for (int i = 0; i < 500; i++)
		if (fork() == 0)
			_exit(0);
	while (wait(NULL) > 0)
		n++;
	say("zombies", "%d", n);
}

static void directories(void)
{
	int n = 0, top = open(".", O_RDONLY);
	while (n < 1500 && mkdir("deep-directory-name", 0755) == 0 && chdir("deep-directory-name") == 0)
		n++;
	say("levels", "%d", n);
	static char b[65536];
	say("getcwd short", "%s", ret(syscall(SYS_getcwd, b, 4096)));
	put("at-the-bottom", "x");
	say("bottom", "%s", get("at-the-bottom"));
	unlink("at-the-bottom");
	int up = 0;
	while (up < n && chdir("..") == 0 && rmdir("deep-directory-name") == 0)
		up++;
	say("and back", "%d", up);
	fchdir(top);
	char name[64];
	int made = 0;
	for (int i = 0; i < 3000; i++) {
		snprintf(name, sizeof name, "file-%d", i);
		int fd = open(name, O_CREAT | O_WRONLY, 0600);
		made += fd >= 0;
		close(fd);
	}
	for (int i = 0; i < 3000; i++) {
		snprintf(name, sizeof name, "file-%d", i);
		made -= unlink(name) == 0;
	}
	say("files left", "%d", made);
}

static void pipes(void)
{
	static char big[65536];
	limit(RLIMIT_NOFILE, 2100);
	int n = 0, p[2];
	long bytes = 0;
	while (pipe2(p, O_NONBLOCK) == 0) {
		ssize_t w = write(p[1], big, 4096);
		bytes += w > 0 ? w : 0;
		n++;
	}
	say("pipes", "%d %s", n, errname(errno));
	say("bytes in them", "%ld", bytes);
	syscall(SYS_close_range, 3, ~0U, 0);
	// A chain of epolls, each in the next.
	int e = epoll_create1(0), depth = 0;
	struct epoll_event ev = {EPOLLIN, {.u64 = 0}};
	for (; depth < 100; depth++) {
		int outer = epoll_create1(0);
		if (epoll_ctl(outer, EPOLL_CTL_ADD, e, &ev))
			break;
		e = outer;
	}
	say("epoll nesting", "%d %s", depth, errname(errno));
}

static void signals(void)
{
	sigset_t s;
	sigfillset(&s);
	sigprocmask(SIG_BLOCK, &s, NULL);
	limit(RLIMIT_SIGPENDING, 1000);
	union sigval v = {0};
	int n = 0;
	while (n < 5000 && sigqueue(getpid(), SIGRTMIN, v) == 0)
		n++;
	say("queue", "%s", errname(n < 5000 ? errno : 0));
	int got = 0;
	struct timespec zero = {0, 0};
	while (sigtimedwait(&s, NULL, &zero) > 0)
		got++;
	say("all came", "%s", yes(got == n));
}

static void memory(void)
{
	pid_t p = fork();
	if (p == 0) {
		limit(RLIMIT_AS, 512UL << 20);
		size_t total = 0;
		char *m;
		while ((m = mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) != MAP_FAILED) {
			for (size_t i = 0; i < (8 << 20); i += PAGE)
				m[i] = 1;
			total += 8;
		}
		say("memory", "%s %s", errname(errno), yes(total > 400));
		_exit(0);
	}
	int st;
	waitpid(p, &st, 0);
	say("end", "%s", status(st));
	int bad = 0;
	for (int i = 0; i < 200; i++) {
		char *m = mmap(NULL, 16 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		bad += m == MAP_FAILED;
		m[0] = m[(16 << 20) - 1] = 1;
		munmap(m, 16 << 20);
	}
	say("mapped and unmapped", "%d bad", bad);
}

static const struct section table[] = {
	{"descriptors", descriptors}, {"mappings", mappings}, {"threads", threads}, {"processes", processes},
	{"directories", directories}, {"pipes", pipes}, {"signals", signals}, {"memory", memory},
};

GUEST(table)
