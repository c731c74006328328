// POSIX message queues: mq_open, mq_send, mq_receive, mq_notify and their file system.
#include "guest.h"
#include <linux/netlink.h>
#include <mqueue.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>

static char name[64];

static mqd_t make(int flags, long max, long size)
{
	struct mq_attr a = {.mq_maxmsg = max, .mq_msgsize = size};
	snprintf(name, sizeof name, "/guest-%d", getpid());
	mq_unlink(name);
	return mq_open(name, O_CREAT | O_RDWR | flags, 0600, &a);
}

static void drop(mqd_t q)
{
	mq_close(q);
	mq_unlink(name);
}

static const char *receive(mqd_t q)
{
	static char text[9000];
	unsigned prio = 0;
	ssize_t n = mq_receive(q, text, sizeof text, &prio);
	if (n < 0)
		return errname(errno);
	char *p = scratch();
	snprintf(p, 256, "%u %.*s", prio, (int)n, text);
	return p;
}

static long post(mqd_t q, const char *text, unsigned prio)
{
	return mq_send(q, text, strlen(text), prio);
}

static void opening(void)
{
	say("no such", "%s", ret(mq_open("/guest-no-such", O_RDWR)));
	say("no slash", "%s", ret(syscall(SYS_mq_open, "a/b", O_RDWR | O_CREAT, 0600, NULL)));
	say("empty", "%s", ret(syscall(SYS_mq_open, "", O_RDWR | O_CREAT, 0600, NULL)));
	say("dot", "%s", ret(syscall(SYS_mq_open, ".", O_RDWR | O_CREAT, 0600, NULL)));
	char longname[300] = "/";
	memset(longname + 1, 'x', 280);
	say("too long", "%s", ret(mq_open(longname, O_RDWR | O_CREAT, 0600, NULL)));
	mqd_t q = make(O_EXCL, 5, 100);
	say("made", "%s", okret(q));
	say("close on exec", "%d", fcntl(q, F_GETFD));
	struct mq_attr a;
	say("attr", "%s %ld %ld %ld %ld", ret(mq_getattr(q, &a)), a.mq_flags, a.mq_maxmsg, a.mq_msgsize, a.mq_curmsgs);
	say("exclusive", "%s", ret(mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, NULL)));
	say("bad access", "%s", ret(mq_open(name, O_ACCMODE)));
	mqd_t r = mq_open(name, O_RDONLY | O_NONBLOCK), w = mq_open(name, O_WRONLY);
	say("send to a reader", "%s", ret(post(r, "x", 0)));
	char b[200];
	say("receive from a writer", "%s", ret(mq_receive(w, b, 200, NULL)));
	say("nonblocking", "%s", ret(mq_receive(r, b, 200, NULL)));
	a.mq_flags = O_APPEND;
	say("bad flags", "%s", ret(mq_setattr(r, &a, NULL)));
	a.mq_flags = 0;
	struct mq_attr old;
	say("set", "%s %ld", ret(mq_setattr(r, &a, &old)), old.mq_flags == O_NONBLOCK ? 1L : 0L);
	mq_getattr(r, &a);
	say("now", "%ld", a.mq_flags);
	say("no queue", "%s", ret(post(0, "x", 0)));
	say("no descriptor", "%s", ret(post(99, "x", 0)));
	struct stat st;
	say("stat", "%s %o %ld", ret(fstat(q, &st)), st.st_mode, (long)st.st_size);
	say("unlink", "%s", ret(mq_unlink(name)));
	say("again", "%s", ret(mq_unlink(name)));
	say("lives on", "%s %s", ret(post(w, "still", 3)), receive(r));
	mq_close(w);
	mq_close(r);
	mq_close(q);
	struct mq_attr bad = {.mq_maxmsg = 0, .mq_msgsize = 10};
	say("no messages", "%s", ret(mq_open(name, O_CREAT | O_RDWR, 0600, &bad)));
	bad.mq_maxmsg = 65537;
	say("too many", "%s", ret(mq_open(name, O_CREAT | O_RDWR, 0600, &bad)));
	bad.mq_maxmsg = 1, bad.mq_msgsize = (16 << 20) + 1;
	say("too long messages", "%s", ret(mq_open(name, O_CREAT | O_RDWR, 0600, &bad)));
	q = mq_open(name, O_CREAT | O_RDWR, 0600, NULL);
	mq_getattr(q, &a);
	say("default", "%ld %ld", a.mq_maxmsg, a.mq_msgsize);
	struct rlimit l = {81000, 819200};
	setrlimit(RLIMIT_MSGQUEUE, &l);
	say("over the limit", "%s", ret(mq_open("/guest-other", O_CREAT | O_RDWR, 0600, NULL)));
	bad.mq_maxmsg = 10, bad.mq_msgsize = 8192;
	say("over it with sizes", "%s", ret(mq_open("/guest-other", O_CREAT | O_RDWR, 0600, &bad)));
	drop(q);
}

static void transfer(void)
{
	mqd_t q = make(0, 4, 100);
	post(q, "low", 1);
	post(q, "high", 30000);
	post(q, "low again", 1);
	post(q, "", 2);
	struct timespec no = {1, 0}, bad = {1, -1};
	say("full", "%s", ret(mq_timedsend(q, "x", 1, 0, &no)));
	say("bad time", "%s", ret(mq_timedsend(q, "x", 1, 0, &bad)));
	say("bad priority", "%s", ret(post(q, "x", 32768)));
	char text[200] = {0};
	say("too long", "%s", ret(mq_send(q, text, 101, 0)));
	say("too little room", "%s", ret(mq_receive(q, text, 99, NULL)));
	struct pollfd p = {q, POLLIN | POLLOUT, 0};
	say("poll", "%d %x", poll(&p, 1, 0), p.revents);
	char line[100] = {0};
	say("status", "%zd %s", read(q, line, 99), line);
	say("write", "%s", ret(write(q, "x", 1)));
	for (int i = 0; i < 4; i++)
		say("got", "%s", receive(q));
	say("empty", "%s", ret(mq_timedreceive(q, text, 200, NULL, &no)));
	p.revents = 0;
	say("poll empty", "%d %x", poll(&p, 1, 0), p.revents);

	pid_t c = fork();
	if (c == 0) {
		say("waited", "%s", receive(q));
		_exit(0);
	}
	asleep(c);
	post(q, "to who waits", 7);
	waitpid(c, NULL, 0);
	for (int i = 0; i < 4; i++)
		post(q, "filler", 5);
	c = fork();
	if (c == 0) {
		long r = post(q, "from who waited", 9);
		_exit(r == 0 ? 7 : 1);
	}
	asleep(c);
	say("first", "%s", receive(q));
	int st;
	waitpid(c, &st, 0);
	say("sender", "%s", status(st));
	say("overtakes", "%s", receive(q));
	drop(q);
}

static volatile int signals, last_code, last_value, last_pid;

static void on_notify(int s, siginfo_t *si, void *u)
{
	(void)s;
	(void)u;
	signals++;
	last_code = si->si_code;
	last_value = si->si_value.sival_int;
	last_pid = si->si_pid;
}

static void notifying(void)
{
	struct sigaction sa = {.sa_sigaction = on_notify, .sa_flags = SA_SIGINFO};
	sigaction(SIGUSR1, &sa, NULL);
	mqd_t q = make(0, 4, 100);
	struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 42};
	say("notify", "%s", ret(mq_notify(q, &e)));
	say("busy", "%s", ret(mq_notify(q, &e)));
	if (fork() == 0) {
		say("busy for others", "%s", ret(mq_notify(q, &e)));
		say("not theirs to end", "%s", ret(mq_notify(q, NULL)));
		_exit(0);
	}
	wait(NULL);
	char line[100] = {0};
	if (read(q, line, 99) > 0)
		say("status", "%.35s%s", line, yes(atoi(strstr(line, "PID:") + 4) == getpid()));
	post(q, "one", 0);
	say("told", "%d %s %d %s", signals, yes(last_code == SI_MESGQ), last_value, yes(last_pid == getpid()));
	post(q, "two", 0);
	say("once", "%d", signals);
	say("again", "%s", ret(mq_notify(q, &e)));
	post(q, "three", 0);
	say("not when there were some", "%d", signals);
	receive(q), receive(q), receive(q);
	post(q, "four", 0);
	say("when it was empty", "%d", signals);
	receive(q);
	mq_notify(q, &e);
	mqd_t other = mq_open(name, O_RDWR);
	mq_close(other);
	say("a close ends it", "%s", ret(mq_notify(q, &e)));
	say("taken back", "%s", ret(mq_notify(q, NULL)));
	e.sigev_notify = SIGEV_NONE;
	say("none", "%s", ret(mq_notify(q, &e)));
	post(q, "five", 0);
	say("used up", "%s", ret(mq_notify(q, &e)));
	e.sigev_notify = 77;
	say("bad kind", "%s", ret(mq_notify(q, &e)));
	e.sigev_notify = SIGEV_SIGNAL, e.sigev_signo = 999;
	say("bad signal", "%s", ret(mq_notify(q, &e)));
	say("no queue", "%s", ret(mq_notify(0, NULL)));
	drop(q);
}

static volatile int called;

static void on_message(union sigval v) { __atomic_store_n(&called, v.sival_int, __ATOMIC_SEQ_CST); }

// by_thread has the C library run a function in a thread for a message.
static void by_thread(void)
{
	mqd_t q = make(0, 4, 100);
	struct sigevent e = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = on_message, .sigev_value.sival_int = 17};
	say("notify", "%s", ret(mq_notify(q, &e)));
	say("busy", "%s", ret(mq_notify(q, &e)));
	char line[100] = {0};
	say("status", "%s %.35s", yes(read(q, line, 99) > 0), line);
	post(q, "one", 0);
	while (!__atomic_load_n(&called, __ATOMIC_SEQ_CST))
		sleep_ms(1);
	say("called", "%d", called);
	receive(q);
	e.sigev_value.sival_int = 18;
	say("again", "%s", ret(mq_notify(q, &e)));
	say("taken back", "%s", ret(mq_notify(q, NULL)));
	post(q, "two", 0);
	say("not called", "%d", called);
	drop(q);
}

static const char *cookie_of(int s, int flags)
{
	char b[100], *p = scratch();
	struct sockaddr_nl from;
	memset(&from, 0xff, sizeof from);
	socklen_t n = sizeof from;
	ssize_t got = recvfrom(s, b, sizeof b, flags, (struct sockaddr *)&from, &n);
	if (got < 0)
		return errname(errno);
	snprintf(p, 256, "%zd %.5s %d from %d %d %u %u", got, b, b[got - 1], (int)n, from.nl_family, from.nl_pid, from.nl_groups);
	return p;
}

// by_socket does what the C library does for that.
static void by_socket(void)
{
	int s = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, 0), v, left;
	mqd_t q = make(0, 4, 100), other = mq_open(name, O_RDWR);
	char cookie[32] = "hello";
	struct sigevent e = {.sigev_notify = SIGEV_THREAD, .sigev_signo = s, .sigev_value.sival_ptr = cookie};
	struct pollfd p = {.fd = s, .events = POLLIN};
	socklen_t n = sizeof v;
	say("socket", "%s %d", ret(getsockopt(s, SOL_SOCKET, SO_DOMAIN, &v, &n)), v);
	say("type", "%s %d", ret(getsockopt(s, SOL_SOCKET, SO_TYPE, &v, &n)), v);
	say("protocol", "%s %d", ret(getsockopt(s, SOL_SOCKET, SO_PROTOCOL, &v, &n)), v);
	say("nothing yet", "%s %d", cookie_of(s, 0), poll(&p, 1, 0));
	say("ask", "%s", ret(syscall(SYS_mq_notify, q, &e)));
	say("busy", "%s", ret(syscall(SYS_mq_notify, q, &e)));
	say("still nothing", "%s %d", cookie_of(s, 0), poll(&p, 1, 0));
	post(q, "one", 0);
	say("ready", "%d %d", poll(&p, 1, 0), p.revents);
	say("peek", "%s", cookie_of(s, MSG_PEEK));
	say("told", "%s", cookie_of(s, 0));
	say("once", "%s", cookie_of(s, 0));
	receive(q);
	say("ask again", "%s", ret(syscall(SYS_mq_notify, q, &e)));
	say("taken back", "%s", ret(syscall(SYS_mq_notify, q, NULL)));
	say("told of that", "%s", cookie_of(s, 0));
	say("and again", "%s", ret(syscall(SYS_mq_notify, q, &e)));
	mq_close(other);
	say("told of the close", "%s", cookie_of(s, 0));
	syscall(SYS_mq_notify, q, &e);
	post(q, "two", 0);
	receive(q);
	say("short", "%s", ret(recv(s, &left, 4, MSG_TRUNC)));
	say("left", "%s", cookie_of(s, 0));
	syscall(SYS_mq_notify, q, &e);
	close(s);
	post(q, "three", 0);
	say("nobody there", "%s", receive(q));
	say("no descriptor", "%s", ret(syscall(SYS_mq_notify, q, &e)));
	e.sigev_signo = q;
	say("no socket", "%s", ret(syscall(SYS_mq_notify, q, &e)));
	e.sigev_signo = socket(AF_UNIX, SOCK_DGRAM, 0);
	say("another family", "%s", ret(syscall(SYS_mq_notify, q, &e)));
	e.sigev_signo = socket(AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE);
	say("no queue", "%s", ret(syscall(SYS_mq_notify, 0, &e)));
	e.sigev_value.sival_ptr = NULL;
	say("no cookie", "%s", ret(syscall(SYS_mq_notify, q, &e)));
	say("a stream", "%s", ret(socket(AF_NETLINK, SOCK_STREAM, 0)));
	say("no protocol", "%s %s", ret(socket(AF_NETLINK, SOCK_RAW, 32)), ret(socket(AF_NETLINK, SOCK_RAW, -1)));
	int pair[2];
	say("no pairs", "%s", ret(socketpair(AF_NETLINK, SOCK_RAW, 0, pair)));
	say("accepts", "%s", ret(accept(e.sigev_signo, NULL, NULL)));
	say("listens", "%s", ret(listen(e.sigev_signo, 1)));
	drop(q);
}

static void mounted(void)
{
	mkdir("m", 0755);
	say("mount", "%s", ret(mount("none", "m", "mqueue", 0, NULL)));
	mqd_t q = make(0, 4, 100);
	char path[100];
	snprintf(path, sizeof path, "m%s", name);
	struct stat st;
	say("seen", "%s %o %ld", ret(stat(path, &st)), st.st_mode, (long)st.st_size);
	stat("m", &st);
	say("directory", "%o", st.st_mode);
	post(q, "hello", 0);
	say("read", "%.21s", get(path));
	say("made by open", "%s", okret(open("m/guest-file", O_CREAT | O_RDWR, 0600)));
	mqd_t f = mq_open("/guest-file", O_RDONLY);
	struct mq_attr a;
	say("has attributes", "%s %ld", ret(mq_getattr(f, &a)), a.mq_maxmsg);
	say("no directories", "%s", ret(mkdir("m/d", 0755)));
	say("no renames", "%s", ret(rename("m/guest-file", "m/other")));
	say("removed", "%s", ret(unlink("m/guest-file")));
	say("gone", "%s", ret(mq_open("/guest-file", O_RDONLY)));
	close(f);
	drop(q);
	say("unseen", "%s", ret(stat(path, &st)));
	say("umount", "%s", ret(umount2("m", MNT_DETACH)));
}

static void knobs(void)
{
	const char *names[] = {"queues_max", "msg_max", "msg_default", "msgsize_max", "msgsize_default"};
	for (int i = 0; i < 5; i++) {
		char path[100];
		snprintf(path, sizeof path, "/proc/sys/fs/mqueue/%s", names[i]);
		say(names[i], "%s", get(path));
	}
}

static const struct section sections[] = {
	{"opening", opening}, {"transfer", transfer}, {"notify", notifying}, {"by_thread", by_thread}, {"by_socket", by_socket}, {"mounted", mounted}, {"knobs", knobs},
};
GUEST(sections)
