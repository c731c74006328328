// seccomp_unotify(2): calls that a filter leaves to a listener.
#include "ptrace.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif
#define SET_FLAGS _IOW('!', 4, uint64_t)
#define LISTEN SECCOMP_FILTER_FLAG_NEW_LISTENER

static long install_as(int flags, int call, unsigned answer)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, answer),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = {4, f};
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &p);
}

static long listen_to(int flags, int call)
{
	return install_as(LISTEN | flags, call, SECCOMP_RET_USER_NOTIF);
}

static long receive(int fd, struct seccomp_notif *n)
{
	memset(n, 0, sizeof *n);
	return ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, n);
}

static long reply(int fd, uint64_t id, long val, int error, unsigned flags)
{
	struct seccomp_notif_resp r = {id, val, error, flags};
	return ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &r);
}

static const char *events(int fd)
{
	struct pollfd p = {fd, POLLIN | POLLOUT, 0};
	char *s = scratch();
	int r = poll(&p, 1, 0);
	snprintf(s, 256, "%d%s%s%s", r, p.revents & POLLIN ? " in" : "", p.revents & POLLOUT ? " out" : "", p.revents & POLLHUP ? " hup" : "");
	return s;
}

// calls starts a child that has the filter of the caller and runs fn.
static pid_t calls(void (*fn)(void))
{
	pid_t p = fork();
	if (p == 0) {
		fn();
		_exit(0);
	}
	return p;
}

// ask_once asks for a process that there is not.
static void ask_once(void)
{
	say("caller", "%s", ret(syscall(SYS_getpgid, 1L << 30, 22L, 33L)));
}

static void installing(void)
{
	unsigned short sizes[3];
	unsigned action = SECCOMP_RET_USER_NOTIF;
	say("sizes", "%s %d %d %d", ret(syscall(SYS_seccomp, 3, 0, sizes)), sizes[0], sizes[1], sizes[2]);
	say("sizes, errors", "%s %s", ret(syscall(SYS_seccomp, 3, 1, sizes)), ret(syscall(SYS_seccomp, 3, 0, NULL)));
	say("known", "%s", ret(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action)));
	say("all", "%s", ret(listen_to(SECCOMP_FILTER_FLAG_TSYNC, SYS_getpgid)));
	say("killable alone", "%s", ret(install_as(SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, SYS_getpgid, SECCOMP_RET_ALLOW)));
	say("nobody listens", "%s", ret(install_as(0, SYS_getsid, SECCOMP_RET_USER_NOTIF)));
	say("then", "%s", ret(getsid(0)));
	int fd = listen_to(SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH, SYS_getpgid);
	say("listener", "%s %d", okret(fd), fcntl(fd, F_GETFD));
	say("another", "%s", ret(listen_to(0, SYS_getpriority)));
	say("one without", "%s", ret(install_as(0, SYS_getpriority, SECCOMP_RET_ERRNO | 7)));
	char c;
	say("read and write", "%s %s", ret(read(fd, &c, 1)), ret(write(fd, "x", 1)));
	say("unknown request", "%s", ret(ioctl(fd, _IO('!', 9))));
	say("flags", "%s %s", ret(ioctl(fd, SET_FLAGS, 1)), ret(ioctl(fd, SET_FLAGS, 2)));
	say("idle", "%s", events(fd));
	close(fd);
	say("closed", "%s", ret(syscall(SYS_getpgid, 0)));
}

static void answering(void)
{
	struct seccomp_notif n;
	const char *r;
	int fd = listen_to(0, SYS_getpgid);
	pid_t p = calls(ask_once);
	say("bad pointer", "%s", ret(ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, NULL)));
	memset(&n, 0, sizeof n);
	n.flags = 1;
	say("not zero", "%s", ret(ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &n)));
	struct pollfd pf = {fd, POLLIN, 0};
	poll(&pf, 1, 60000);
	say("arrived", "%s", events(fd));
	say("received", "%s %s %d", ret(receive(fd, &n)), yes(n.pid == (unsigned)p), n.flags);
	say("the call", "%d %x %ld %ld %ld", n.data.nr, n.data.arch, (long)n.data.args[0], (long)n.data.args[1], (long)n.data.args[2]);
	say("told", "%s", events(fd));
	uint64_t other = n.id + 5;
	say("valid", "%s %s", ret(ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &n.id)), ret(ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &other)));
	say("unknown", "%s", ret(reply(fd, other, 1, 0, 0)));
	say("flags", "%s %s %s", ret(reply(fd, n.id, 0, 0, 2)), ret(reply(fd, n.id, 1, 0, 1)), ret(reply(fd, n.id, 0, -1, 1)));
	r = ret(reply(fd, n.id, 1234, 0, 0));
	waitpid(p, NULL, 0);
	say("answer", "%s", r);
	say("too late", "%s %s", ret(reply(fd, n.id, 1, 0, 0)), ret(ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &n.id)));
	uint64_t last = n.id;
	p = calls(ask_once);
	say("next", "%s %s", ret(receive(fd, &n)), yes(n.id == last + 1));
	r = ret(reply(fd, n.id, 0, -EXDEV, 0));
	waitpid(p, NULL, 0);
	say("error", "%s", r);
	p = calls(ask_once);
	receive(fd, &n);
	r = ret(reply(fd, n.id, 0, 0, 1));
	waitpid(p, NULL, 0);
	say("carry on", "%s", r);
	p = calls(ask_once);
	receive(fd, &n);
	r = ret(reply(fd, n.id, 55, -EBADF, 0));
	waitpid(p, NULL, 0);
	say("error and value", "%s", r);
}

static volatile int handled;

static void handler(int s)
{
	(void)s;
	handled++;
}

static void on_signal(int flags)
{
	struct sigaction a = {.sa_handler = handler, .sa_flags = flags};
	sigaction(SIGUSR1, &a, NULL);
}

static void ask_interrupted(void)
{
	on_signal(0);
	ask_once();
	say("handled", "%d", handled);
}

static void ask_restarted(void)
{
	on_signal(SA_RESTART);
	ask_once();
	say("handled", "%d", handled);
}

static void sleep_until_told(int fd)
{
	struct pollfd pf = {fd, POLLIN, 0};
	poll(&pf, 1, 60000);
	usleep(20000);
}

static void interrupted_with(int flags)
{
	struct seccomp_notif n;
	const char *r;
	int fd = listen_to(flags, SYS_getpgid);
	pid_t p = calls(ask_interrupted);
	sleep_until_told(fd);
	kill(p, SIGUSR1);
	waitpid(p, NULL, 0);
	say("nothing is left", "%s", events(fd));
	p = calls(ask_interrupted);
	sleep_until_told(fd);
	receive(fd, &n);
	kill(p, SIGUSR1);
	if (flags)
		usleep(50000);
	else
		comes_to(p, 'Z');
	say("valid", "%s", ret(ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &n.id)));
	r = ret(reply(fd, n.id, 3, 0, 0));
	waitpid(p, NULL, 0);
	say("answer", "%s", r);
	p = calls(ask_restarted);
	sleep_until_told(fd);
	uint64_t first = 0;
	receive(fd, &n);
	first = n.id;
	kill(p, SIGUSR1);
	usleep(50000);
	if (!flags)
		say("again", "%s %s", ret(receive(fd, &n)), yes(n.id == first + 1));
	r = ret(reply(fd, n.id, 4, 0, 0));
	waitpid(p, NULL, 0);
	say("answer", "%s", r);
	p = calls(ask_once);
	sleep_until_told(fd);
	receive(fd, &n);
	kill(p, SIGKILL);
	waitpid(p, NULL, 0);
	say("killed", "%s", ret(reply(fd, n.id, 4, 0, 0)));
}

static void interrupted(void)
{
	interrupted_with(0);
}

static void killable(void)
{
	interrupted_with(SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
}

static long add(int fd, uint64_t id, unsigned flags, int src, int new, unsigned new_flags)
{
	struct seccomp_notif_addfd a = {id, flags, src, new, new_flags};
	return ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, &a);
}

static void use_descriptors(void)
{
	char b[8] = "";
	long got = syscall(SYS_getpgid, 1);
	say("caller", "%s", okret(got));
	say("at its number", "%s %d %d", okret(fcntl(50, F_GETFD)), fcntl(50, F_GETFD), fcntl(51, F_GETFD));
	lseek(50, 0, SEEK_SET);
	say("in it", "%s %s", ret(read(50, b, 4)), b);
	got = syscall(SYS_getpgid, 2);
	say("result", "%s %s", okret(fcntl(got, F_GETFD)), yes(fcntl(got, F_GETFD) == FD_CLOEXEC));
}

static void descriptors(void)
{
	struct seccomp_notif n;
	int fd = listen_to(0, SYS_getpgid), mem = memfd_create("m", 0);
	if (write(mem, "abcd", 4) != 4)
		return;
	pid_t p = calls(use_descriptors);
	sleep_until_told(fd);
	say("not told yet", "%s", ret(add(fd, 1, 0, mem, 0, 0)));
	receive(fd, &n);
	say("bad", "%s %s %s %s", ret(add(fd, n.id, 4, mem, 0, 0)), ret(add(fd, n.id, 0, mem, 5, 0)), ret(add(fd, n.id, 0, mem, 0, 1)), ret(add(fd, n.id, 0, 777, 0, 0)));
	say("unknown", "%s", ret(add(fd, n.id + 9, 0, mem, 0, 0)));
	struct {
		struct seccomp_notif_addfd a;
		uint64_t more;
	} large = {{n.id, 1, mem, 50, O_CLOEXEC}, 1};
	say("larger", "%s", ret(ioctl(fd, _IOC(_IOC_WRITE, '!', 3, sizeof large), &large)));
	large.more = 0;
	say("larger, zero", "%s", ret(ioctl(fd, _IOC(_IOC_WRITE, '!', 3, sizeof large), &large)));
	say("smaller", "%s", ret(ioctl(fd, _IOC(_IOC_WRITE, '!', 3, 16), &large)));
	say("at a number", "%s %s", ret(add(fd, n.id, 1, mem, 51, 0)), ret(add(fd, n.id, 1, mem, 50, O_CLOEXEC)));
	say("too high", "%s", ret(add(fd, n.id, 1, mem, 1 << 30, 0)));
	say("some number", "%s", okret(add(fd, n.id, 0, mem, 0, 0)));
	const char *r = ret(reply(fd, n.id, 0, 0, 0)), *late = yes(add(fd, n.id, 0, mem, 0, 0) == -1);
	receive(fd, &n);
	const char *with = okret(add(fd, n.id, 2, mem, 0, O_CLOEXEC));
	waitpid(p, NULL, 0);
	say("answers", "%s %s %s", r, late, with);
}

static void *in_thread(void *arg)
{
	(void)arg;
	ask_once();
	return NULL;
}

static int pass(int sock, int fd)
{
	char c = 0, space[CMSG_SPACE(sizeof fd)] = {};
	struct iovec v = {&c, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
	if (fd >= 0) {
		struct cmsghdr *h = CMSG_FIRSTHDR(&m);
		*h = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(h), &fd, sizeof fd);
		return sendmsg(sock, &m, 0);
	}
	if (recvmsg(sock, &m, 0) != 1)
		return -1;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
	return fd;
}

static void ends(void)
{
	int s[2];
	struct seccomp_notif n;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, s))
		return;
	pid_t p = fork();
	if (p == 0) {
		int fd = listen_to(0, SYS_getpgid);
		pass(s[1], fd);
		close(fd);
		pthread_t th;
		pthread_create(&th, NULL, in_thread, NULL);
		pthread_join(th, NULL);
		if (read(s[1], &n, 1) != 1)
			_exit(1);
		ask_once();
		_exit(0);
	}
	int fd = pass(s[0], -1);
	say("from a thread", "%s %s", ret(receive(fd, &n)), yes(n.pid != (unsigned)p));
	const char *r = ret(reply(fd, n.id, 8, 0, 0));
	if (write(s[0], "", 1) != 1)
		return;
	sleep_until_told(fd);
	say("answer", "%s", r);
	int copy = dup(fd);
	close(fd);
	receive(copy, &n);
	close(copy);
	int st;
	waitpid(p, &st, 0);
	say("listener gone", "%s", status(st));
	p = fork();
	if (p == 0) {
		fd = listen_to(0, SYS_getpgid);
		pass(s[1], fd);
		_exit(0);
	}
	fd = pass(s[0], -1);
	waitpid(p, NULL, 0);
	say("nobody calls", "%s", events(fd));
	say("receive", "%s", ret(receive(fd, &n)));
}

static const struct section table[] = {
	{"installing", installing}, {"answering", answering}, {"interrupted", interrupted}, {"killable", killable},
	{"descriptors", descriptors}, {"ends", ends},
};

GUEST(table)
