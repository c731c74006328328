// pidfds beyond wait: descriptors taken from another process, directories of /proc as
// targets of signals; and what prctl keeps by process and thread.
#include "guest.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

static int getfd(int pidfd, int fd, unsigned flags)
{
	return syscall(SYS_pidfd_getfd, pidfd, fd, flags);
}

static void takes(void)
{
	int sync[2];
	if (pipe(sync))
		return;
	pid_t p = fork();
	if (p == 0) {
		int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
		dup2(fd, 60);
		(void)!write(sync[1], "x", 1);
		for (;;)
			pause();
	}
	char c;
	(void)!read(sync[0], &c, 1);
	int pidfd = syscall(SYS_pidfd_open, p, 0);
	say("flags", "%s", ret(getfd(pidfd, 60, 1)));
	say("no such", "%s", ret(getfd(pidfd, 61, 0)));
	say("negative", "%s", ret(getfd(pidfd, -1, 0)));
	say("not a pidfd", "%s", ret(getfd(sync[0], 60, 0)));
	say("closed pidfd", "%s", ret(getfd(99, 60, 0)));
	int fd = getfd(pidfd, 60, 0);
	say("taken", "%s cloexec %d", okret(fd), fcntl(fd, F_GETFD));
	say("same description", "%ld", syscall(SYS_kcmp, getpid(), p, 0, fd, 60));
	kill(p, SIGKILL);
	waitpid(p, NULL, 0);
	say("of the gone", "%s", ret(getfd(pidfd, 60, 0)));
}

static volatile sig_atomic_t caught;

static void note_signal(int sig) { caught = sig; }

static void directories(void)
{
	signal(SIGUSR1, note_signal);
	int self = open("/proc/self", O_DIRECTORY | O_RDONLY);
	say("to /proc/self", "%s caught %d", ret(syscall(SYS_pidfd_send_signal, self, SIGUSR1, NULL, 0)), caught == SIGUSR1);
	int other = open("/proc/self/fd", O_DIRECTORY | O_RDONLY);
	say("to /proc/self/fd", "%s", ret(syscall(SYS_pidfd_send_signal, other, 0, NULL, 0)));
	int root = open("/proc", O_DIRECTORY | O_RDONLY);
	say("to /proc", "%s", ret(syscall(SYS_pidfd_send_signal, root, 0, NULL, 0)));
	say("to a thread's", "%s", ret(syscall(SYS_pidfd_send_signal, open("/proc/thread-self", O_DIRECTORY), 0, NULL, 0)));
	siginfo_t si = {0};
	say("waited for", "%s", ret(waitid(P_PIDFD, self, &si, WEXITED | WNOHANG)));
}

static void switches(void)
{
	say("slack", "%s", ret(prctl(PR_SET_TIMERSLACK, 70000)));
	pid_t p = fork();
	if (p == 0) {
		say("child's", "%d", prctl(PR_GET_TIMERSLACK));
		prctl(PR_SET_TIMERSLACK, 1);
		prctl(PR_SET_TIMERSLACK, 0);
		say("child's default", "%d", prctl(PR_GET_TIMERSLACK));
		_exit(0);
	}
	waitpid(p, NULL, 0);
	prctl(PR_SET_TIMERSLACK, 0);
	say("own default", "%d", prctl(PR_GET_TIMERSLACK));
	int tsc = 77;
	say("time stamp counter", "%s %d %s", ret(prctl(PR_GET_TSC, &tsc)), tsc, ret(prctl(PR_GET_TSC, NULL)));
	say("set it", "%s %s %s", ret(prctl(PR_SET_TSC, PR_TSC_ENABLE)), ret(prctl(PR_SET_TSC, 0)), ret(prctl(PR_SET_TSC, 3)));
	say("thp", "%d", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
	say("thp get with an argument", "%s", ret(prctl(PR_GET_THP_DISABLE, 1, 0, 0, 0)));
	say("thp set", "%s", ret(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)));
	say("thp after", "%d", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
	if (fork() == 0) {
		say("thp child's", "%d", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
		_exit(0);
	}
	wait(NULL);
	say("speculation, argument", "%s", ret(prctl(PR_GET_SPECULATION_CTRL, 0, 1, 0, 0)));
	say("speculation, unknown", "%s", ret(prctl(PR_GET_SPECULATION_CTRL, 50, 0, 0, 0)));
}

// struct pidfd_info, by words.
struct info {
	uint64_t mask, cgroup;
	uint32_t pid, tgid, ppid, ids[8];
	int32_t exit_code;
	uint32_t coredump, more[5];
};

#define GET_INFO(size) _IOC(_IOC_READ | _IOC_WRITE, 0xff, 11, size)

// tell says what pidfd tells about the process pid, without what an old kernel does not know.
static void tell(const char *when, int pidfd, pid_t pid)
{
	static const int masks[] = {0, 7, 8, 8 | 1};
	for (unsigned i = 0; i < sizeof masks / sizeof *masks; i++) {
		struct info f = {.mask = masks[i]};
		say(when, "%s mask %x: %s %s %s %s, exit %x", ret(ioctl(pidfd, GET_INFO(64), &f)), (int)f.mask, yes((pid_t)f.pid == pid),
		    yes((pid_t)f.tgid == pid), yes((pid_t)f.ppid == getpid()), yes(f.cgroup), f.exit_code);
	}
}

static void infos(void)
{
	struct info f = {.mask = ~0ull};
	siginfo_t si;
	pid_t pid = fork();
	if (pid == 0) {
		(void)!setresgid(5, 6, 7);
		(void)!setresuid(2, 3, 4);
		raise(SIGSTOP);
		_exit(1);
	}
	waitid(P_PID, pid, &si, WSTOPPED);
	int pidfd = syscall(SYS_pidfd_open, pid, 0);
	tell("alive", pidfd, pid);
	ioctl(pidfd, GET_INFO(64), &f);
	for (int i = 0; i < 8; i++)
		say("id", "%d", f.ids[i]);
	memset(&f, 0xff, sizeof f);
	say("longer", "%s %u", ret(ioctl(pidfd, GET_INFO(88), &f)), f.more[4]);
	say("short", "%s", ret(ioctl(pidfd, GET_INFO(56), &f)));
	say("only out", "%s", ret(ioctl(pidfd, _IOC(_IOC_READ, 0xff, 11, 64), &f)));
	say("null", "%s", ret(ioctl(pidfd, GET_INFO(64), NULL)));
	say("bad pointer", "%s", ret(ioctl(pidfd, GET_INFO(64), (void *)8)));
	kill(pid, SIGKILL);
	waitid(P_PID, pid, &si, WEXITED | WNOWAIT);
	tell("zombie", pidfd, pid);
	waitpid(pid, NULL, 0);
	tell("waited for", pidfd, pid);
}

// spaces opens the namespaces of a process by its pidfd.
static void spaces(void)
{
	siginfo_t si;
	pid_t pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	int pidfd = syscall(SYS_pidfd_open, pid, 0);
	for (int ended = 0; ended < 2; ended++) {
		for (int i = 0; i < 12; i++) {
			char link[32], to[16] = "";
			int fd = ioctl(pidfd, _IO(0xff, i), 0);
			const char *got = okret(fd);
			int cloexec = fcntl(fd, F_GETFD);
			snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
			(void)!readlink(link, to, 4);
			say("namespace", "%d %s %s %d", i, got, to, cloexec);
			close(fd);
		}
		say("argument", "%s", ret(ioctl(pidfd, _IO(0xff, 3), 1)));
		kill(pid, SIGKILL);
		waitid(P_PID, pid, &si, WEXITED | WNOWAIT);
	}
}

static int go[2];

// thread ends once it is told to; it shares main's errno.
static int thread(void *arg)
{
	(void)arg;
	char c;
	syscall(SYS_read, go[0], &c, 1);
	syscall(SYS_exit, 3);
	return 0;
}

// threads: what the pidfd of a single thread tells, before and after its end.
static void threads(void)
{
	static char stack[1 << 16] __attribute__((aligned(16)));
	int fd = -1;
	if (pipe(go))
		return;
	pid_t tid = clone(thread, stack + sizeof stack, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_PIDFD, NULL, &fd);
	struct info f = {.mask = 3};
	say("alive", "%s %s %s", ret(ioctl(fd, GET_INFO(64), &f)), yes((pid_t)f.pid == tid), yes((pid_t)f.tgid == getpid()));
	(void)!write(go[1], "x", 1);
	while (syscall(SYS_tgkill, getpid(), tid, 0) == 0)
		usleep(1000);
	for (int mask = 3; mask <= 11; mask += 8) {
		f = (struct info){.mask = mask};
		say("gone", "%s mask %x, exit %x", ret(ioctl(fd, GET_INFO(64), &f)), (int)f.mask, f.exit_code);
	}
}

#define OF_THREAD O_EXCL

static int of(pid_t pid, int flags) { return syscall(SYS_pidfd_open, pid, flags); }

static const char *events(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLRDNORM};
	char *text = scratch();
	int n = poll(&p, 1, 0);
	snprintf(text, 256, "%d %x", n, p.revents);
	return text;
}

static volatile pid_t got_by;

static void note_thread(int sig)
{
	(void)sig;
	got_by = syscall(SYS_gettid);
}

static const char *to(int fd, siginfo_t *si, unsigned flags, pid_t me)
{
	char *text = scratch();
	got_by = 0;
	const char *r = ret(syscall(SYS_pidfd_send_signal, fd, SIGUSR2, si, flags));
	for (int i = 0; i < 1000 && !got_by && *r == '0'; i++)
		usleep(1000);
	snprintf(text, 256, "%s %s", r, got_by == me ? "main" : got_by ? "thread" : "nobody");
	return text;
}

static pid_t tid;

static void *waits(void *arg)
{
	char c;
	tid = syscall(SYS_gettid);
	(void)!write(((int *)arg)[1], "x", 1);
	while (syscall(SYS_read, go[0], &c, 1) != 1)
		;
	return NULL;
}

// single: pidfds that are opened for a thread.
static void single(void)
{
	int up[2];
	char c;
	pthread_t t;
	siginfo_t si = {.si_signo = SIGUSR2, .si_code = SI_QUEUE};
	struct sigaction sa = {.sa_handler = note_thread};
	sigaction(SIGUSR2, &sa, NULL);
	if (pipe(go) || pipe(up) || pthread_create(&t, NULL, waits, up) || read(up[0], &c, 1) != 1)
		return;
	pid_t me = getpid();
	int fd = of(tid, OF_THREAD), all = of(me, 0), leader = of(me, OF_THREAD | O_NONBLOCK);
	say("thread as process", "%s", ret(of(tid, 0)));
	say("others", "%s %s", ret(of(1 << 21, OF_THREAD)), ret(of(me, O_CLOEXEC)));
	say("flags", "%x %x %x", fcntl(fd, F_GETFL), fcntl(all, F_GETFL), fcntl(leader, F_GETFL));
	say("poll", "%s %s %s", events(fd), events(all), events(leader));
	say("signal", "%s", to(fd, NULL, 0, me));
	say("to the thread", "%s", to(fd, NULL, 1, me));
	say("to the leader", "%s, %s", to(leader, NULL, 0, me), to(all, NULL, 1, me));
	say("flags at once", "%s %s", to(fd, NULL, 3, me), to(fd, NULL, 8, me));
	say("with values", "%s, %s", to(fd, &si, 1, me), to(leader, &si, 0, me));
	si.si_code = SI_USER;
	say("forged for itself", "%s", to(leader, &si, 0, me));
	say("forged for a thread", "%s", to(fd, &si, 1, me));
	say("wait", "%s", ret(waitid(P_PIDFD, fd, &si, WEXITED | WNOHANG)));
	say("getfd", "%s", okret(getfd(fd, 0, 0)));
	struct info f = {.mask = 3};
	say("told", "%s %s %s", ret(ioctl(fd, GET_INFO(64), &f)), yes((pid_t)f.pid == tid), yes((pid_t)f.tgid == me));
	(void)!write(go[1], "x", 1);
	pthread_join(t, NULL);
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLRDNORM};
	say("ends", "%d %x", poll(&p, 1, 60000), p.revents & ~POLLHUP);
	while (!strchr(events(fd), '5') && syscall(SYS_tgkill, me, tid, 0) == 0)
		usleep(1000);
	say("gone", "%s %s", events(fd), to(fd, NULL, 1, me));
	say("and then", "%s %s", ret(getfd(fd, 0, 0)), ret(of(tid, OF_THREAD)));
	pid_t child = fork();
	if (child == 0)
		_exit(0);
	int of_child = of(child, 0), thread_of_child = of(child, OF_THREAD);
	waitid(P_PID, child, &si, WEXITED | WNOWAIT);
	say("zombie", "%s %s", events(of_child), events(thread_of_child));
	waitpid(child, NULL, 0);
	say("waited for", "%s %s", events(of_child), events(thread_of_child));
}

static void *executes(void *arg)
{
	char c;
	tid = syscall(SYS_gettid);
	(void)!write(((int *)arg)[1], &tid, sizeof tid);
	if (syscall(SYS_read, go[0], &c, 1) == 1)
		execl("/proc/self/exe", "guest", "--list", NULL);
	return NULL;
}

// follows: another thread than the leader executes a program and takes the process's number; a pidfd follows the number.
static void follows(void)
{
	int up[2], out[2];
	char text[4096];
	if (pipe(go) || pipe(up) || pipe(out))
		return;
	pid_t child = fork(), other;
	if (child == 0) {
		pthread_t t;
		dup2(out[1], 1);
		fcntl(up[0], F_SETFD, FD_CLOEXEC);
		close(out[0]);
		pthread_create(&t, NULL, executes, up);
		for (;;)
			pause();
	}
	if (read(up[0], &other, sizeof other) != sizeof other)
		return;
	int leader = of(child, OF_THREAD), thread = of(other, OF_THREAD), process = of(child, 0);
	say("before", "%s %s %s", events(leader), events(thread), events(process));
	fcntl(out[0], F_SETPIPE_SZ, PAGE);
	memset(text, 'x', sizeof text);
	(void)!write(out[1], text, sizeof text); // the new program stays until this is read
	(void)!write(go[1], "x", 1);
	struct pollfd p = {.fd = thread, .events = POLLIN};
	poll(&p, 1, 60000);
	say("after", "%s %s %s", events(leader), events(thread), events(process));
	struct info f = {.mask = 3};
	say("leader", "%s %s %s", ret(ioctl(leader, GET_INFO(64), &f)), yes((pid_t)f.pid == child), yes((pid_t)f.tgid == child));
	f = (struct info){.mask = 3};
	say("thread", "%s", ret(ioctl(thread, GET_INFO(64), &f)));
	f = (struct info){.mask = 11};
	say("thread's end", "%s", ret(ioctl(thread, GET_INFO(64), &f)));
	say("signals", "%s %s", ret(syscall(SYS_pidfd_send_signal, leader, 0, NULL, 0)), ret(syscall(SYS_pidfd_send_signal, thread, 0, NULL, 0)));
	close(out[1]);
	while (read(out[0], text, sizeof text) > 0)
		;
	int status;
	waitpid(child, &status, 0);
	say("ended", "%d: %s %s %s", status, events(leader), events(thread), events(process));
}

static const struct section table[] = {{"threads", threads}, {"single", single}, {"follows", follows},

	{"infos", infos}, {"spaces", spaces},
	{"takes", takes}, {"directories", directories}, {"switches", switches},
};

GUEST(table)
