// Waiting for readiness: poll, select, epoll, eventfd, and their timeouts and masks.
#include "guest.h"
#include <sys/personality.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>

static const char *events(int e)
{
	static const struct {
		int bit;
		const char *name;
	} names[] = {{POLLIN, "IN"}, {POLLPRI, "PRI"}, {POLLOUT, "OUT"}, {POLLERR, "ERR"}, {POLLHUP, "HUP"}, {POLLNVAL, "NVAL"}, {POLLRDNORM, "RDNORM"}, {POLLWRNORM, "WRNORM"}, {POLLRDHUP, "RDHUP"}};
	char *p = scratch();
	*p = 0;
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
		if (e & names[i].bit)
			strcat(strcat(p, *p ? "|" : ""), names[i].name);
	return *p ? p : "0";
}

#define ALL (POLLIN | POLLOUT | POLLPRI | POLLRDNORM | POLLWRNORM | POLLRDHUP)

static void show(const char *name, int fd)
{
	struct pollfd f = {fd, ALL, 0};
	say(name, "%s %s", ret(poll(&f, 1, 0)), events(f.revents));
}

static volatile int caught;

static void on_signal(int s)
{
	(void)s;
	caught++;
}

static void poll_states(void)
{
	int p[2];
	static char big[100000];
	if (pipe2(p, O_NONBLOCK))
		return;
	show("empty read end", p[0]);
	show("empty write end", p[1]);
	if (write(p[1], "x", 1) != 1)
		return;
	show("read end", p[0]);
	while (write(p[1], big, sizeof big) > 0)
		;
	show("full write end", p[1]);
	if (read(p[0], big, 100) != 100)
		return;
	show("a little room", p[1]);
	close(p[0]);
	show("write end without reader", p[1]);
	if (pipe(p) || write(p[1], "x", 1) != 1)
		return;
	close(p[1]);
	show("read end, data, no writer", p[0]);
	if (read(p[0], big, 1) != 1)
		return;
	show("read end without writer", p[0]);
	show("regular file", open("f", O_CREAT | O_RDWR, 0600));
	show("directory", open(".", O_RDONLY));
	show("null", open("/dev/null", O_RDWR));
	show("closed", 99);
	show("negative", -1);
	show("O_PATH", open(".", O_PATH));
	struct pollfd two[3] = {{p[0], POLLIN, 0}, {-5, POLLIN, 7}, {99, POLLIN, 0}};
	say("three", "%s", ret(poll(two, 3, 0)));
	say("their events", "%s %s %s", events(two[0].revents), events(two[1].revents), events(two[2].revents));
	int q[2];
	if (pipe(q))
		return;
	struct pollfd f = {q[0], 0, 0};
	say("no events asked", "%s", ret(poll(&f, 1, 0)));
	close(q[1]);
	say("hangup comes unasked", "%s %s", ret(poll(&f, 1, 0)), events(f.revents));
	say("bad pointer", "%s", ret(syscall(SYS_poll, 8, 1, 0)));
	say("too many", "%s", ret(syscall(SYS_poll, two, 1 << 30, 0)));
}

static void poll_waits(void)
{
	int p[2];
	if (pipe(p))
		return;
	struct pollfd f = {p[0], POLLIN, 0};
	int64_t t = now_ms();
	say("timeout", "%s", ret(poll(&f, 1, 60)));
	say("it took its time", "%s", yes(now_ms() - t >= 60));
	say("nothing to wait for", "%s", ret(poll(NULL, 0, 10)));
	pid_t pid = fork();
	if (pid == 0) {
		sleep_ms(40);
		_exit(write(p[1], "x", 1) != 1);
	}
	say("woken", "%s %s", ret(poll(&f, 1, 60000)), events(f.revents));
	wait(NULL);
	char c;
	if (read(p[0], &c, 1) != 1)
		return;
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	sigaction(SIGALRM, &sa, NULL);
	say("signal despite SA_RESTART", "%s, %s", ret(UNDER_ALARM(40000, poll(&f, 1, 40000))), yes(caught > 0));
	// ppoll opens its mask only while it waits.
	sigset_t block, open;
	sigemptyset(&open);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	sigprocmask(SIG_BLOCK, &block, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	caught = 0;
	raise(SIGUSR1);
	say("blocked", "%d", caught);
	say("ppoll", "%s, %d", ret(ppoll(&f, 1, NULL, &open)), caught);
	raise(SIGUSR1);
	struct timespec zero = {0, 0};
	if (write(p[1], "x", 1) != 1)
		return;
	say("ready wins over signal", "%s", ret(ppoll(&f, 1, &zero, &open)));
	sigprocmask(SIG_SETMASK, NULL, &open);
	say("mask back", "%s", yes(sigismember(&open, SIGUSR1)));
	struct timespec bad = {0, 1000000000};
	say("bad timeout", "%s", ret(ppoll(&f, 1, &bad, NULL)));
}

static void selects(void)
{
	int p[2];
	if (pipe(p))
		return;
	dup2(p[0], 70);
	dup2(p[1], 71);
	fd_set r, w;
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_SET(70, &r);
	FD_SET(71, &w);
	struct timeval t = {0, 0};
	say("writable", "%s %s %s", ret(select(72, &r, &w, NULL, &t)), yes(FD_ISSET(70, &r)), yes(FD_ISSET(71, &w)));
	FD_SET(70, &r);
	if (write(p[1], "x", 1) != 1)
		return;
	say("both", "%s", ret(select(72, &r, &w, NULL, NULL)));
	FD_ZERO(&r);
	FD_SET(70, &r);
	say("below nfds only", "%s", ret(select(70, &r, NULL, NULL, &t)));
	FD_SET(100, &r);
	say("closed", "%s", ret(select(101, &r, NULL, NULL, &t)));
	say("negative nfds", "%s", ret(select(-1, NULL, NULL, NULL, &t)));
	t = (struct timeval){0, 30000};
	say("sleep", "%s left %ld", ret(select(0, NULL, NULL, NULL, &t)), (long)t.tv_usec);
	t = (struct timeval){-1, 0};
	say("negative time", "%s", ret(select(0, NULL, NULL, NULL, &t)));
	t = (struct timeval){0, 2000000};
	FD_ZERO(&r);
	FD_SET(70, &r);
	say("microseconds over", "%s", ret(select(71, &r, NULL, NULL, &t)));
	struct timespec ts = {0, 10000000};
	say("pselect", "%s", ret(pselect(0, NULL, NULL, NULL, &ts, NULL)));
	FD_ZERO(&r);
	FD_ZERO(&w);
	close(p[0]);
	close(70);
	FD_SET(71, &w);
	FD_SET(71, &r);
	fd_set e;
	FD_ZERO(&e);
	FD_SET(71, &e);
	t = (struct timeval){0, 0};
	say("broken pipe", "%s", ret(select(72, &r, &w, &e, &t)));
	say("sets", "%s %s %s", yes(FD_ISSET(71, &r)), yes(FD_ISSET(71, &w)), yes(FD_ISSET(71, &e)));
}

static int add(int ep, int fd, uint32_t ev, uint64_t data)
{
	struct epoll_event e = {ev, {.u64 = data}};
	return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}

static const char *epwait(int ep, int timeout)
{
	struct epoll_event e[8];
	char *p = scratch();
	int n = epoll_wait(ep, e, 8, timeout);
	if (n < 0)
		return errname(errno);
	sprintf(p, "%d", n);
	for (int i = 0; i < n; i++)
		sprintf(p + strlen(p), " %d:%s", (int)e[i].data.u64, events(e[i].events));
	return p;
}

static void epolls(void)
{
	int ep = epoll_create1(EPOLL_CLOEXEC), p[2], q[2];
	if (pipe2(p, O_NONBLOCK) || pipe2(q, O_NONBLOCK))
		return;
	struct epoll_event ev = {EPOLLIN, {.u64 = 3}};
	say("add", "%s", ret(add(ep, p[0], EPOLLIN, 1)));
	say("add again", "%s", ret(add(ep, p[0], EPOLLIN, 1)));
	say("add itself", "%s", ret(add(ep, ep, EPOLLIN, 1)));
	say("add file", "%s", ret(add(ep, open("f", O_CREAT | O_RDWR, 0600), EPOLLIN, 1)));
	say("add bad", "%s", ret(add(ep, 99, EPOLLIN, 1)));
	say("modify missing", "%s", ret(epoll_ctl(ep, EPOLL_CTL_MOD, q[0], &ev)));
	say("delete missing", "%s", ret(epoll_ctl(ep, EPOLL_CTL_DEL, q[0], NULL)));
	say("bad operation", "%s", ret(epoll_ctl(ep, 9, q[0], &ev)));
	say("not an epoll", "%s", ret(add(p[0], p[1], EPOLLIN, 1)));
	say("empty", "%s", epwait(ep, 0));
	if (write(p[1], "x", 1) != 1)
		return;
	say("ready", "%s", epwait(ep, 1000));
	say("level stays", "%s", epwait(ep, 0));
	epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &ev);
	say("modified data", "%s", epwait(ep, 0));
	say("edge", "%s", ret(add(ep, q[0], EPOLLIN | EPOLLET, 5)));
	epoll_ctl(ep, EPOLL_CTL_DEL, p[0], NULL);
	if (write(q[1], "a", 1) != 1)
		return;
	say("edge once", "%s", epwait(ep, 0));
	say("not twice", "%s", epwait(ep, 0));
	if (write(q[1], "b", 1) != 1)
		return;
	say("new data, new edge", "%s", epwait(ep, 0));
	ev = (struct epoll_event){EPOLLIN | EPOLLONESHOT, {.u64 = 6}};
	epoll_ctl(ep, EPOLL_CTL_MOD, q[0], &ev);
	say("oneshot", "%s", epwait(ep, 0));
	say("disarmed", "%s", epwait(ep, 0));
	epoll_ctl(ep, EPOLL_CTL_MOD, q[0], &ev);
	say("rearmed", "%s", epwait(ep, 0));
	ev.events = EPOLLIN;
	epoll_ctl(ep, EPOLL_CTL_MOD, q[0], &ev);
	close(q[1]);
	say("hangup", "%s", epwait(ep, 0));
	int d = dup(q[0]);
	close(q[0]);
	say("closed but duplicated", "%s", epwait(ep, 0));
	close(d);
	say("all closed", "%s", epwait(ep, 0));
	struct epoll_event e;
	say("max zero", "%s", ret(epoll_wait(ep, &e, 0, 0)));
	say("wait on pipe", "%s", ret(epoll_wait(p[0], &e, 1, 0)));
	int outer = epoll_create(1);
	say("nest", "%s", ret(add(outer, ep, EPOLLIN, 8)));
	add(ep, p[0], EPOLLIN, 9);
	say("nested ready", "%s", epwait(outer, 0));
	say("loop", "%s", ret(add(ep, outer, EPOLLIN, 8)));
	say("epoll_create zero", "%s", ret(epoll_create(0)));
	say("epoll_create1 bad", "%s", ret(epoll_create1(1)));
	char c;
	if (read(p[0], &c, 1) != 1)
		return;
	pid_t pid = fork();
	if (pid == 0) {
		sleep_ms(40);
		_exit(write(p[1], "x", 1) != 1);
	}
	say("woken through two", "%s", epwait(outer, 60000));
	wait(NULL);
}

static int go[2];

// waiter is a process with an instance of its own that waits for a pipe with others.
static pid_t waiter(int fd, int *woken)
{
	pid_t pid = fork();
	if (pid == 0) {
		int ep = epoll_create1(0);
		struct epoll_event e;
		add(ep, fd, EPOLLIN | EPOLLET | EPOLLEXCLUSIVE, 1);
		if (write(go[1], "x", 1) != 1)
			_exit(1);
		int n = epoll_wait(ep, &e, 1, 60000);
		if (n == 1)
			__atomic_add_fetch(woken, 1, __ATOMIC_SEQ_CST);
		_exit(n != 1);
	}
	return pid;
}

static void exclusive(void)
{
	enum { WAITERS = 5 };
	int p[2], st, fine = 0;
	char c;
	int *woken = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (pipe(p) || pipe(go))
		return;
	pid_t pid[WAITERS];
	for (int i = 0; i < WAITERS; i++)
		pid[i] = waiter(p[0], woken);
	for (int i = 0; i < WAITERS; i++)
		if (read(go[0], &c, 1) != 1)
			return;
	for (int i = 0; i < WAITERS; i++)
		asleep(pid[i]);
	for (int i = 0; i < WAITERS; i++) {
		if (write(p[1], "x", 1) != 1)
			return;
		while (__atomic_load_n(woken, __ATOMIC_SEQ_CST) <= i)
			sleep_ms(1);
		sleep_ms(40); // for one too many
		say("events and woken", "%d %d", i + 1, *woken);
		if (read(p[0], &c, 1) != 1)
			return;
	}
	while (wait(&st) > 0)
		fine += st == 0;
	say("all", "%d", fine);
	int ep = epoll_create1(0);
	say("exclusive add", "%s", ret(add(ep, p[0], EPOLLIN | EPOLLEXCLUSIVE, 1)));
	struct epoll_event e = {EPOLLIN, {.u64 = 1}};
	say("modify", "%s", ret(epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &e)));
}

static void eventfds(void)
{
	uint64_t v = 5;
	int e = eventfd(3, EFD_NONBLOCK);
	show("counting", e);
	say("read", "%s %ld", ret(read(e, &v, 8)), (long)v);
	say("empty", "%s", ret(read(e, &v, 8)));
	show("zero", e);
	v = 7;
	say("write", "%s", ret(write(e, &v, 8)));
	say("write again", "%s", ret(write(e, &v, 8)));
	say("sum", "%s %ld", ret(read(e, &v, 8)), (long)v);
	v = ~0UL;
	say("too large", "%s", ret(write(e, &v, 8)));
	v = ~1UL;
	say("largest", "%s", ret(write(e, &v, 8)));
	show("full", e);
	v = 1;
	say("over", "%s", ret(write(e, &v, 8)));
	say("short", "%s %s", ret(read(e, &v, 4)), ret(write(e, &v, 4)));
	int s = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK);
	say("semaphore", "%s %ld", ret(read(s, &v, 8)), (long)v);
	say("semaphore", "%s %ld", ret(read(s, &v, 8)), (long)v);
	say("semaphore", "%s", ret(read(s, &v, 8)));
	say("bad flag", "%s", ret(eventfd(0, 64)));
	int b = eventfd(0, 0);
	pid_t pid = fork();
	if (pid == 0) {
		sleep_ms(30);
		v = 9;
		_exit(write(b, &v, 8) != 8);
	}
	say("blocking read", "%s %ld", ret(read(b, &v, 8)), (long)v);
	wait(NULL);
}

static void sticky(void)
{
	struct timeval tv = {0, 30000};
	struct timespec ts = {0, 30 * MS};
	say("usual", "%s %ld", ret(select(0, NULL, NULL, NULL, &tv)), (long)tv.tv_usec);
	say("persona", "%s", ret(personality(0x4000000)));
	tv.tv_usec = 30000;
	say("select", "%s %ld", ret(select(0, NULL, NULL, NULL, &tv)), (long)tv.tv_usec);
	say("ppoll", "%s %ld", ret(syscall(SYS_ppoll, NULL, 0, &ts, NULL, 8)), ts.tv_nsec);
	say("pselect", "%s %ld", ret(syscall(SYS_pselect6, 0, NULL, NULL, NULL, &ts, NULL)), ts.tv_nsec);
}

static const struct section table[] = {
	{"sticky", sticky}, {"poll_states", poll_states}, {"poll_waits", poll_waits}, {"select", selects},
	{"epoll", epolls}, {"exclusive", exclusive}, {"eventfd", eventfds},
};

GUEST(table)
