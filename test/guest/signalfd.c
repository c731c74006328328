// signalfd: masks, reading one and several, what the structure tells, readiness in
// poll and epoll, threads, children.
#include "guest.h"
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

static struct signalfd_siginfo got[4];

static sigset_t blocked(int a, int b, int c)
{
	sigset_t s;
	sigemptyset(&s);
	for (int i = 0; i < 3; i++)
		if ((int[]){a, b, c}[i])
			sigaddset(&s, (int[]){a, b, c}[i]);
	sigprocmask(SIG_BLOCK, &s, NULL);
	return s;
}

static int ready(int fd)
{
	struct pollfd p = {fd, POLLIN | POLLOUT, 0};
	return poll(&p, 1, 0) ? p.revents : 0;
}

static void reading(void)
{
	sigset_t m = blocked(SIGUSR1, SIGRTMIN, SIGKILL);
	int f = signalfd(-1, &m, SFD_NONBLOCK | SFD_CLOEXEC);
	say("flags", "%s %x", ret(fcntl(f, F_GETFD)), fcntl(f, F_GETFL));
	say("nothing", "%s, ready %x", ret(read(f, got, sizeof got)), ready(f));
	kill(getpid(), SIGUSR1);
	sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 7});
	sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 8});
	say("something", "ready %x", ready(f));
	say("short", "%s", ret(read(f, got, 100)));
	say("two", "%s", ret(read(f, got, 300)));
	say("first", "%d code %d mine %s", got[0].ssi_signo, got[0].ssi_code, yes(got[0].ssi_pid == (unsigned)getpid() && got[0].ssi_uid == getuid()));
	say("second", "%d code %d value %d", got[1].ssi_signo, got[1].ssi_code, got[1].ssi_int);
	say("one", "%s", ret(read(f, got, 128)));
	say("third", "%d", got[0].ssi_int);
	say("none", "%s", ret(read(f, got, 128)));
	say("write", "%s", ret(write(f, got, 128)));
	say("seek", "%s, pread %s", ret(lseek(f, 0, SEEK_CUR)), ret(pread(f, got, 128, 0)));
	char path[64], link[64] = "";
	sprintf(path, "/proc/self/fd/%d", f);
	say("link", "%s %s", ret(readlink(path, link, 63)), link);
	sprintf(path, "/proc/self/fdinfo/%d", f);
	const char *line = strstr(get(path), "sigmask");
	say("fdinfo", "%.24s", line ? line : "none");
	sigset_t other = blocked(SIGUSR2, 0, 0);
	say("change", "%s", yes(signalfd(f, &other, 0) == f));
	raise(SIGUSR1);
	say("not asked for", "%s", ret(read(f, got, 128)));
	raise(SIGUSR2);
	say("asked for", "%s %d", ret(read(f, got, 128)), got[0].ssi_signo);
	timer_t id;
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
	timer_create(CLOCK_MONOTONIC, &ev, &id);
	timer_settime(id, 0, &(struct itimerspec){{0, 0}, {0, MS}}, NULL);
	fcntl(f, F_SETFL, 0);
	say("timer", "%s code %d id %d", ret(read(f, got, 128)), got[0].ssi_code, got[0].ssi_tid);
	other = blocked(SIGCHLD, 0, 0);
	signalfd(f, &other, 0);
	if (fork() == 0)
		_exit(5);
	say("child", "%s", ret(read(f, got, 128)));
	say("its end", "%d code %d status %d", got[0].ssi_signo, got[0].ssi_code, got[0].ssi_status);
	wait(NULL);
}

static void errors(void)
{
	sigset_t m = blocked(SIGUSR1, 0, 0);
	int f = signalfd(-1, &m, 0);
	say("flags", "%s", ret(signalfd(-1, &m, 1)));
	say("size", "%s", ret(syscall(SYS_signalfd4, f, &m, 4, 0)));
	say("pointer", "%s", ret(syscall(SYS_signalfd4, -1, 8, 8, 0)));
	say("no signalfd", "%s", ret(signalfd(1, &m, 0)));
	say("no file", "%s %s", ret(signalfd(99, &m, 0)), ret(signalfd(-2, &m, 0)));
	say("old call", "%s", okret(syscall(SYS_signalfd, -1, &m, 8)));
}

static void *send_later(void *arg)
{
	sleep_ms(30);
	kill(getpid(), (long)arg);
	return NULL;
}

static void *own_signal(void *arg)
{
	pthread_kill(pthread_self(), SIGUSR1);
	say("own thread's", "ready %x", ready((long)arg));
	say("reads it", "%s", ret(read((long)arg, got, 128)));
	return NULL;
}

static void waiting(void)
{
	sigset_t m = blocked(SIGUSR1, SIGUSR2, 0);
	int f = signalfd(-1, &m, 0), ep = epoll_create1(0);
	pthread_t t;
	pthread_create(&t, NULL, send_later, (void *)SIGUSR1);
	say("blocking", "%s %d", ret(read(f, got, 128)), got[0].ssi_signo);
	pthread_join(t, NULL);
	pthread_create(&t, NULL, send_later, (void *)SIGUSR2);
	struct pollfd p = {f, POLLIN, 0};
	say("poll", "%s", ret(poll(&p, 1, 60000)));
	pthread_join(t, NULL);
	read(f, got, 128);
	struct epoll_event e = {.events = EPOLLIN};
	say("add", "%s", ret(epoll_ctl(ep, EPOLL_CTL_ADD, f, &e)));
	say("not ready", "%s", ret(epoll_wait(ep, &e, 1, 0)));
	pthread_create(&t, NULL, send_later, (void *)SIGUSR1);
	say("epoll", "%s %x", ret(epoll_wait(ep, &e, 1, 60000)), e.events);
	pthread_join(t, NULL);
	say("epoll again", "%s", ret(epoll_wait(ep, &e, 1, 0)));
	read(f, got, 128);
	say("read", "%s", ret(epoll_wait(ep, &e, 1, 0)));
	pthread_create(&t, NULL, own_signal, (void *)(long)f);
	pthread_join(t, NULL);
	// A child sees its own signals through the parent's descriptor.
	if (fork() == 0) {
		say("child", "ready %x", ready(f));
		kill(getpid(), SIGUSR2);
		say("child, sent", "ready %x", ready(f));
		say("child reads", "%s %d", ret(read(f, got, 128)), got[0].ssi_signo);
		_exit(0);
	}
	wait(NULL);
	say("parent", "ready %x", ready(f));
	if (fork() == 0) {
		sleep_ms(30);
		kill(getppid(), SIGUSR1);
		_exit(0);
	}
	say("parent reads", "%s %d", ret(read(f, got, 128)), got[0].ssi_signo);
	wait(NULL);
}

static const struct section table[] = {{"reading", reading}, {"errors", errors}, {"waiting", waiting}};

GUEST(table)
