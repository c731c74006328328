// Signals of files that something happened to: O_ASYNC, F_SETOWN, F_SETSIG, by pipes, sockets, terminals and inotify.
#include "guest.h"
#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>

static sigset_t all;

// caught takes one pending signal and shows what it says.
static const char *caught(int fd)
{
	static const char *codes[] = {"0", "IN", "OUT", "MSG", "ERR", "PRI", "HUP"};
	siginfo_t si;
	struct timespec t = {0, 0};
	char *p = scratch();
	int sig = sigtimedwait(&all, &si, &t);
	if (sig < 0)
		return "nothing";
	if (si.si_code > 0 && si.si_code < 7)
		snprintf(p, 256, "%s %s band %lx fd %s", sig == SIGRTMIN ? "RT" : signame(sig), codes[si.si_code], si.si_band, yes(si.si_fd == fd));
	else
		snprintf(p, 256, "%s code %d pid %d", sig == SIGRTMIN ? "RT" : signame(sig), si.si_code, si.si_pid);
	return p;
}

static void block(void)
{
	sigemptyset(&all);
	sigaddset(&all, SIGIO);
	sigaddset(&all, SIGCHLD);
	sigaddset(&all, SIGUSR1);
	sigaddset(&all, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &all, NULL);
}

static const char *watch(int fd, int sig)
{
	fcntl(fd, F_SETSIG, sig);
	fcntl(fd, F_SETOWN, getpid());
	return ret(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC | O_NONBLOCK));
}

static void wr(int fd, const char *s)
{
	if (write(fd, s, strlen(s)) != (ssize_t)strlen(s))
		say("write", "%s", errname(errno));
}

static void rd(int fd)
{
	char b[64];
	if (read(fd, b, sizeof b) < 0)
		say("read", "%s", errname(errno));
}

static void pipes(void)
{
	int p[2];
	block();
	if (pipe(p))
		return;
	say("no owner", "%s", ret(fcntl(p[0], F_SETFL, O_ASYNC)));
	say("flag", "%x", fcntl(p[0], F_GETFL));
	wr(p[1], "x");
	say("to nobody", "%s", caught(p[0]));
	fcntl(p[0], F_SETOWN, getpid());
	wr(p[1], "x");
	say("plain", "%s", caught(p[0]));
	say("once", "%s", caught(p[0]));
	fcntl(p[0], F_SETSIG, SIGRTMIN);
	wr(p[1], "x");
	wr(p[1], "x");
	say("chosen", "%s", caught(p[0]));
	say("queued", "%s", caught(p[0]));
	say("no more", "%s", caught(p[0]));
	fcntl(p[0], F_SETSIG, SIGIO);
	wr(p[1], "x");
	say("SIGIO chosen", "%s", caught(p[0]));
	fcntl(p[0], F_SETSIG, SIGCHLD);
	wr(p[1], "x");
	say("SIGCHLD chosen", "%s", caught(p[0]));
	say("writer", "%s", watch(p[1], SIGRTMIN));
	fcntl(p[0], F_SETSIG, SIGUSR1);
	rd(p[0]);
	say("room", "%s", caught(p[1]));
	wr(p[1], "x");
	say("data", "%s", caught(p[0]));
	int d = dup(p[0]);
	close(p[0]);
	wr(p[1], "x");
	say("closed number", "%s", caught(p[0]));
	fcntl(d, F_SETFL, 0);
	wr(p[1], "x");
	say("flag off", "%s", caught(p[0]));
	close(d);
	say("reader gone", "%s", caught(p[1]));
	if (pipe(p))
		return;
	watch(p[0], SIGRTMIN);
	close(p[1]);
	say("writer gone", "%s", caught(p[0]));
	int on = 1, off = 0;
	if (pipe(p))
		return;
	fcntl(p[0], F_SETOWN, getpid());
	say("FIOASYNC", "%s", ret(ioctl(p[0], FIOASYNC, &on)));
	wr(p[1], "x");
	say("by FIOASYNC", "%s", caught(p[0]));
	ioctl(p[0], FIOASYNC, &off);
	wr(p[1], "x");
	say("off", "%s", caught(p[0]));
	int f = open("f", O_CREAT | O_RDWR, 0600);
	say("file", "%s %x", ret(fcntl(f, F_SETFL, O_ASYNC)), fcntl(f, F_GETFL) & O_ASYNC);
	say("file's FIOASYNC", "%s", ret(ioctl(f, FIOASYNC, &on)));
}

static void owners(void)
{
	int p[2], go[2], st;
	char c;
	block();
	if (pipe(p) || pipe(go))
		return;
	watch(p[0], SIGUSR1);
	setpgid(0, 0);
	pid_t pid = fork();
	if (pid == 0) {
		if (read(go[0], &c, 1) != 1)
			_exit(1);
		say("child", "%s", caught(p[0]));
		_exit(0);
	}
	fcntl(p[0], F_SETOWN, -getpgrp());
	wr(p[1], "x");
	say("group's parent", "%s", caught(p[0]));
	wr(go[1], "x");
	waitpid(pid, &st, 0);
	caught(p[0]);
	struct f_owner_ex me = {F_OWNER_TID, gettid()};
	fcntl(p[0], F_SETOWN_EX, &me);
	wr(p[1], "x");
	say("thread", "%s", caught(p[0]));
	pid = fork();
	if (pid == 0)
		_exit(0);
	fcntl(p[0], F_SETOWN, pid);
	waitpid(pid, &st, 0);
	caught(p[0]);
	wr(p[1], "x");
	say("owner gone", "%s", caught(p[0]));
	fcntl(p[0], F_SETOWN, 0);
	wr(p[1], "x");
	say("owner taken back", "%s", caught(p[0]));
}

static void sockets(void)
{
	int s[2];
	block();
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, s))
		return;
	say("watch", "%s", watch(s[0], SIGRTMIN));
	wr(s[1], "x");
	say("data", "%s", caught(s[0]));
	rd(s[0]);
	say("read", "%s", caught(s[0]));
	wr(s[0], "x");
	rd(s[1]);
	say("taken by the other", "%s", caught(s[0]));
	shutdown(s[1], SHUT_WR);
	say("end of data", "%s", caught(s[0]));
	close(s[1]);
	say("closed", "%s", caught(s[0]));
	say("nothing else", "%s", caught(s[0]));
	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, s))
		return;
	watch(s[0], SIGRTMIN);
	wr(s[1], "x");
	say("datagram", "%s", caught(s[0]));
}

static void terminals(void)
{
	int m = posix_openpt(O_RDWR | O_NOCTTY), s;
	block();
	grantpt(m);
	unlockpt(m);
	s = open(ptsname(m), O_RDWR | O_NOCTTY);
	struct termios t;
	tcgetattr(s, &t);
	t.c_lflag &= ~ECHO;
	tcsetattr(s, TCSANOW, &t);
	say("slave", "%s", ret(fcntl(s, F_SETFL, O_ASYNC | O_NONBLOCK)));
	say("owner", "%s", yes(fcntl(s, F_GETOWN) == getpid()));
	fcntl(s, F_SETSIG, SIGRTMIN);
	wr(m, "ab");
	sleep_ms(50);
	say("part of a line", "%s", caught(s));
	wr(m, "c\n");
	sleep_ms(50);
	say("line", "%s", caught(s));
	rd(s);
	t.c_lflag &= ~ICANON;
	tcsetattr(s, TCSANOW, &t);
	while (strcmp(caught(s), "nothing"))
		;
	wr(m, "d");
	sleep_ms(50);
	say("raw", "%s", caught(s));
	say("master", "%s", watch(m, SIGRTMIN));
	wr(s, "out");
	sleep_ms(50);
	say("output", "%s", caught(m));
}

static void watches(void)
{
	int i = inotify_init1(IN_NONBLOCK);
	block();
	inotify_add_watch(i, ".", IN_CREATE);
	say("watch", "%s", watch(i, SIGRTMIN));
	put("f", "");
	say("event", "%s", caught(i));
}

static const struct section table[] = {
	{"pipes", pipes}, {"owners", owners}, {"sockets", sockets}, {"terminals", terminals}, {"inotify", watches},
};

GUEST(table)
