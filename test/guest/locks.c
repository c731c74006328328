// Locks on files: flock, POSIX record locks, open-file-description locks.
#include "guest.h"
#include <sys/file.h>

static long lock(int fd, int cmd, short type, off_t start, off_t len)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
	return fcntl(fd, cmd, &l);
}

static const char *asked(int fd, int cmd, short type, off_t start, off_t len)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
	char *p = scratch();
	if (fcntl(fd, cmd, &l))
		return errname(errno);
	if (l.l_type == F_UNLCK)
		return "free";
	const char *who = l.l_pid == getppid() ? "parent" : l.l_pid == -1 ? "-1" : "other";
	snprintf(p, 256, "%s %ld+%ld by %s", l.l_type == F_WRLCK ? "write" : "read", (long)l.l_start, (long)l.l_len, who);
	return p;
}

static void flocks(void)
{
	int a = open("f", O_CREAT | O_RDWR, 0644), b = open("f", O_RDONLY);
	say("exclusive", "%s", ret(flock(a, LOCK_EX)));
	say("other description", "%s", ret(flock(b, LOCK_SH | LOCK_NB)));
	say("same description", "%s", ret(flock(dup(a), LOCK_EX | LOCK_NB)));
	say("downgrade", "%s", ret(flock(a, LOCK_SH)));
	say("shared by two", "%s", ret(flock(b, LOCK_SH | LOCK_NB)));
	say("upgrade refused", "%s", ret(flock(a, LOCK_EX | LOCK_NB)));
	// A failed upgrade has lost the old lock.
	say("unlock", "%s", ret(flock(b, LOCK_UN)));
	say("upgrade", "%s", ret(flock(a, LOCK_EX | LOCK_NB)));
	if (fork() == 0) {
		say("child shares it", "%s", ret(flock(a, LOCK_EX | LOCK_NB)));
		flock(a, LOCK_UN);
		_exit(0);
	}
	wait(NULL);
	say("child's unlock counts", "%s", ret(flock(b, LOCK_EX | LOCK_NB)));
	close(b);
	say("close releases", "%s", ret(flock(a, LOCK_EX | LOCK_NB)));
	say("bad operation", "%s", ret(flock(a, 64)));
	say("bad fd", "%s", ret(flock(99, LOCK_SH)));
	pid_t pid = fork();
	if (pid == 0) {
		int c = open("f", O_RDONLY);
		_exit(flock(c, LOCK_EX) ? 1 : 0);
	}
	asleep(pid);
	say("waiting", "%s", ret(waitpid(pid, NULL, WNOHANG)));
	flock(a, LOCK_UN);
	int st;
	waitpid(pid, &st, 0);
	say("waiter got it", "%s", status(st));
}

static void on_alarm(int s)
{
	(void)s;
}

static void records(void)
{
	int a = open("f", O_CREAT | O_RDWR, 0644), ro = open("f", O_RDONLY);
	say("write lock", "%s", ret(lock(a, F_SETLK, F_WRLCK, 10, 20)));
	say("own again", "%s", ret(lock(a, F_SETLK, F_WRLCK, 0, 100)));
	say("own part read", "%s", ret(lock(a, F_SETLK, F_RDLCK, 50, 10)));
	say("own part free", "%s", ret(lock(a, F_SETLK, F_UNLCK, 70, 10)));
	if (fork() == 0) {
		int c = open("f", O_RDWR);
		say("child asks whole", "%s", asked(c, F_GETLK, F_WRLCK, 0, 0));
		say("child asks read part", "%s", asked(c, F_GETLK, F_RDLCK, 50, 10));
		say("child asks write part", "%s", asked(c, F_GETLK, F_WRLCK, 50, 10));
		say("child asks hole", "%s", asked(c, F_GETLK, F_WRLCK, 70, 10));
		say("child asks after hole", "%s", asked(c, F_GETLK, F_WRLCK, 70, 0));
		say("child conflict", "%s", ret(lock(c, F_SETLK, F_WRLCK, 5, 1)));
		say("child shares read", "%s", ret(lock(c, F_SETLK, F_RDLCK, 52, 4)));
		signal(SIGALRM, on_alarm);
		struct sigaction sa = {.sa_handler = on_alarm};
		sigaction(SIGALRM, &sa, NULL);
		say("child wait interrupted", "%s", ret(UNDER_ALARM(50000, lock(c, F_SETLKW, F_WRLCK, 0, 1))));
		_exit(0);
	}
	wait(NULL);
	say("read lock on write-only", "%s", ret(lock(open("f", O_WRONLY), F_SETLK, F_RDLCK, 0, 1)));
	say("write lock on read-only", "%s", ret(lock(ro, F_SETLK, F_WRLCK, 0, 1)));
	// Closing any descriptor of the file drops the process's locks.
	lock(a, F_SETLK, F_WRLCK, 0, 0);
	close(ro);
	if (fork() == 0) {
		say("after another close", "%s", asked(a, F_GETLK, F_WRLCK, 0, 0));
		_exit(0);
	}
	wait(NULL);
	say("bad type", "%s", ret(lock(a, F_SETLK, 9, 0, 1)));
	say("negative start", "%s", ret(lock(a, F_SETLK, F_WRLCK, -1, 1)));
	say("negative length", "%s", ret(lock(a, F_SETLK, F_WRLCK, 10, -5)));
	if (fork() == 0) {
		say("child sees it", "%s", asked(a, F_GETLK, F_WRLCK, 0, 0));
		_exit(0);
	}
	wait(NULL);
}

static void waiting(void)
{
	int a = open("f", O_CREAT | O_RDWR, 0644);
	lock(a, F_SETLK, F_WRLCK, 0, 10);
	pid_t pid = fork();
	if (pid == 0)
		_exit(lock(a, F_SETLKW, F_WRLCK, 5, 1) ? 1 : 7);
	asleep(pid);
	say("waiting", "%s", ret(waitpid(pid, NULL, WNOHANG)));
	lock(a, F_SETLK, F_UNLCK, 5, 5);
	int st;
	waitpid(pid, &st, 0);
	say("got it", "%s", status(st));
	// Two that wait for each other: one is refused.
	int go[2], back[2];
	char c;
	if (pipe(go) || pipe(back))
		return;
	lock(a, F_SETLK, F_UNLCK, 0, 0);
	lock(a, F_SETLK, F_WRLCK, 0, 1);
	pid = fork();
	if (pid == 0) {
		lock(a, F_SETLK, F_WRLCK, 1, 1);
		if (write(back[1], "x", 1) != 1)
			_exit(1);
		_exit(lock(a, F_SETLKW, F_WRLCK, 0, 1) ? 2 : 7);
	}
	if (read(back[0], &c, 1) != 1)
		return;
	asleep(pid);
	say("deadlock", "%s", ret(lock(a, F_SETLKW, F_WRLCK, 1, 1)));
	lock(a, F_SETLK, F_UNLCK, 0, 0);
	waitpid(pid, &st, 0);
	say("other goes on", "%s", status(st));
	// The end of the owner frees its locks.
	pid = fork();
	if (pid == 0) {
		lock(a, F_SETLK, F_WRLCK, 0, 0);
		if (write(back[1], "x", 1) != 1)
			_exit(1);
		pause();
	}
	if (read(back[0], &c, 1) != 1)
		return;
	say("held", "%s", ret(lock(a, F_SETLK, F_RDLCK, 3, 1)));
	kill(pid, SIGKILL);
	say("after the owner's end", "%s", ret(lock(a, F_SETLKW, F_RDLCK, 3, 1)));
	waitpid(pid, &st, 0);
}

// order shows which of several locks in the way is told of.
static void order(void)
{
	int a = open("f", O_CREAT | O_RDWR, 0644);
	lock(a, F_SETLK, F_WRLCK, 10, 5);
	lock(a, F_SETLK, F_RDLCK, 1, 5);
	lock(a, F_SETLK, F_RDLCK, 30, 5);
	lock(a, F_SETLK, F_WRLCK, 20, 5);
	if (fork() == 0) {
		for (int at = 0; at < 40; at += 5)
			say("first from", "%d %s", at, asked(a, F_GETLK, F_WRLCK, at, 0));
		lock(a, F_SETLK, F_RDLCK, 30, 1);
		say("own are not in the way", "%s", asked(a, F_GETLK, F_WRLCK, 25, 0));
		_exit(0);
	}
	wait(NULL);
	lock(a, F_SETLK, F_RDLCK, 8, 4);
	lock(a, F_SETLK, F_RDLCK, 14, 10);
	if (fork() == 0) {
		for (int at = 0; at < 40; at++)
			say("after changes", "%d %s", at, asked(a, F_GETLK, F_WRLCK, at, 0));
		_exit(0);
	}
	wait(NULL);
}

static void descriptions(void)
{
	int a = open("f", O_CREAT | O_RDWR, 0644), b = open("f", O_RDWR);
	say("ofd lock", "%s", ret(lock(a, F_OFD_SETLK, F_WRLCK, 0, 10)));
	say("other description", "%s", ret(lock(b, F_OFD_SETLK, F_WRLCK, 5, 1)));
	say("asked", "%s", asked(b, F_OFD_GETLK, F_WRLCK, 0, 0));
	say("posix against ofd", "%s", ret(lock(a, F_SETLK, F_WRLCK, 5, 1)));
	int d = dup(a);
	close(a);
	say("dup holds it", "%s", ret(lock(b, F_OFD_SETLK, F_WRLCK, 5, 1)));
	close(d);
	say("last close frees", "%s", ret(lock(b, F_OFD_SETLK, F_WRLCK, 5, 1)));
	struct flock l = {.l_type = F_WRLCK, .l_pid = 5};
	say("l_pid must be 0", "%s", ret(fcntl(b, F_OFD_SETLK, &l)));
}

static const struct section table[] = {
	{"flock", flocks}, {"records", records}, {"waiting", waiting}, {"order", order}, {"ofd", descriptions},
};

GUEST(table)
