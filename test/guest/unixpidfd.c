// Processes behind AF_UNIX sockets as pidfds (SO_PEERPIDFD, SO_PASSPIDFD), and sockets that take no descriptors (SO_PASSRIGHTS).
#include "unix.h"
#include <sys/resource.h>
#include <sys/uio.h>

#define PASS_PIDFD 76 // SO_PASSPIDFD
#define PEER_PIDFD 77 // SO_PEERPIDFD
#define PASS_RIGHTS 83 // SO_PASSRIGHTS
#define OF_PIDFD 4 // SCM_PIDFD

static int set(int s, int name, int v)
{
	return setsockopt(s, SOL_SOCKET, name, &v, sizeof v);
}

// who tells of what process a descriptor is, and whether it has ended; the descriptor is closed.
static const char *who(int fd, pid_t child)
{
	char path[64], line[256], *p = scratch();
	int pid = -99;
	struct pollfd e = {.fd = fd, .events = POLLIN};
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	FILE *f = fopen(path, "r");
	while (f && fgets(line, sizeof line, f))
		sscanf(line, "Pid: %d", &pid);
	if (f)
		fclose(f);
	poll(&e, 1, 0);
	const char *name = pid == getpid() ? "me" : pid == child ? "child" : pid == -1 ? "gone" : pid == 0 ? "nowhere" : "other";
	snprintf(p, 256, "%s, flags %d, ready %s", name, fcntl(fd, F_GETFD), events(e.revents & ~POLLHUP));
	close(fd);
	return p;
}

// receive tells of a message that comes, with all its control messages.
static const char *receive(int s, size_t room, void *control, int flags, pid_t child)
{
	static char b[64], space[512] __attribute__((aligned(8)));
	struct iovec v = {b, sizeof b};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control ? control : space, .msg_controllen = room};
	if (room == 0)
		m.msg_control = NULL;
	memset(b, 0, sizeof b);
	ssize_t r = recvmsg(s, &m, flags);
	if (r < 0)
		return errname(errno);
	char *p = scratch();
	int k = snprintf(p, 256, "'%s' flags %x control %lu", b, m.msg_flags, (unsigned long)m.msg_controllen);
	if (control == bad_memory)
		return p;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		k += snprintf(p + k, 256 - k, " [%d length %lu", h->cmsg_type, (unsigned long)h->cmsg_len);
		int fd;
		memcpy(&fd, CMSG_DATA(h), sizeof fd);
		if (h->cmsg_type == OF_PIDFD && h->cmsg_len == CMSG_LEN(sizeof fd))
			k += snprintf(p + k, 256 - k, " %s", fd < 0 ? errname(-fd) : who(fd, child));
		if (h->cmsg_type == SCM_RIGHTS && h->cmsg_len >= CMSG_LEN(sizeof fd))
			close(fd);
		k += snprintf(p + k, 256 - k, "]");
	}
	return p;
}

// pass sends text with a descriptor, or with none if that is -1.
static const char *pass(int s, const char *text, int fd)
{
	char c[CMSG_SPACE(sizeof fd)] __attribute__((aligned(8)));
	struct iovec v = {(char *)text, strlen(text)};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = fd < 0 ? NULL : c, .msg_controllen = fd < 0 ? 0 : sizeof c};
	struct cmsghdr *h = (struct cmsghdr *)c;
	memset(c, 0, sizeof c);
	h->cmsg_len = CMSG_LEN(sizeof fd);
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(h), &fd, sizeof fd);
	return ret(sendmsg(s, &m, MSG_NOSIGNAL | MSG_DONTWAIT));
}

static const char *peer(int s, pid_t child)
{
	int fd = -1;
	socklen_t n = sizeof fd;
	return getsockopt(s, SOL_SOCKET, PEER_PIDFD, &fd, &n) ? errname(errno) : n != sizeof fd ? "size" : who(fd, child);
}

static int open_files(void)
{
	int n = 0;
	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void messages(void)
{
	int s[2];
	for (int k = 0; k < 3; k++) {
		int before = open_files();
		socketpair(AF_UNIX, kinds[k], 0, s);
		say(label(k, "at first"), "%s", option(s[1], PASS_PIDFD));
		pass(s[0], "early", -1);
		say(label(k, "set"), "%s %s", ret(set(s[1], PASS_PIDFD, 7)), option(s[1], PASS_PIDFD));
		say(label(k, "sent before"), "%s", receive(s[1], 512, NULL, 0, 0));
		pass(s[0], "late", -1);
		say(label(k, "looked at"), "%s", receive(s[1], 512, NULL, MSG_PEEK, 0));
		say(label(k, "sent after"), "%s", receive(s[1], 512, NULL, 0, 0));
		pass(s[0], "rights", 1);
		say(label(k, "with a descriptor"), "%s", receive(s[1], 512, NULL, 0, 0));
		set(s[1], SO_PASSCRED, 1);
		pass(s[0], "all", 1);
		say(label(k, "with credentials"), "%s", receive(s[1], 512, NULL, 0, 0));
		set(s[1], SO_PASSCRED, 0);
		for (int room = 0; room <= 32; room += room < 15 ? 15 : room < 20 ? 1 : 4) {
			pass(s[0], "room", -1);
			say(label(k, "room"), "%d %s", room, receive(s[1], room, NULL, 0, 0));
		}
		pass(s[0], "bad", -1);
		say(label(k, "bad memory"), "%s", receive(s[1], 64, bad_memory, 0, 0));
		say(label(k, "of the other side"), "%s", peer(s[1], 0));
		say(label(k, "cannot be set"), "%s", ret(set(s[1], PEER_PIDFD, 1)));
		set(s[1], PASS_PIDFD, 0);
		pass(s[0], "off", -1);
		say(label(k, "off"), "%s", receive(s[1], 512, NULL, 0, 0));
		pass(s[0], "one", -1);
		set(s[0], PASS_PIDFD, 1);
		pass(s[0], "two", -1);
		set(s[1], PASS_PIDFD, 1);
		say(label(k, "the sender asks"), "%s", receive(s[1], 512, NULL, 0, 0));
		int fd = open("/dev/null", O_RDONLY);
		struct rlimit r, low;
		getrlimit(RLIMIT_NOFILE, &r);
		low = (struct rlimit){fd + 1, r.rlim_max};
		setrlimit(RLIMIT_NOFILE, &low);
		pass(s[0], "full", -1);
		say(label(k, "no number left"), "%s", receive(s[1], 512, NULL, MSG_DONTWAIT, 0));
		setrlimit(RLIMIT_NOFILE, &r);
		close(fd);
		close(s[0]);
		close(s[1]);
		say(label(k, "left open"), "%d", open_files() - before);
	}
}

static void gone(void)
{
	int s[2];
	for (int k = 0; k < 3; k++) {
		socketpair(AF_UNIX, kinds[k], 0, s);
		set(s[1], PASS_PIDFD, 1);
		pid_t pid = fork();
		if (pid == 0) {
			pass(s[0], "zombie", -1);
			_exit(0);
		}
		siginfo_t si;
		waitid(P_PID, pid, &si, WEXITED | WNOWAIT);
		say(label(k, "of a zombie"), "%s", receive(s[1], 512, NULL, 0, pid));
		waitpid(pid, NULL, 0);
		pid = fork();
		if (pid == 0) {
			pass(s[0], "gone", -1);
			_exit(0);
		}
		waitpid(pid, NULL, 0);
		pass(s[0], "mine", -1);
		say(label(k, "of a child that is gone"), "%s", receive(s[1], 512, NULL, 0, pid));
		say(label(k, "of mine"), "%s", receive(s[1], 512, NULL, MSG_DONTWAIT, pid));
	}
	int l = listener(SOCK_STREAM, "s", 5);
	set(l, PASS_PIDFD, 1);
	pid_t pid = fork();
	if (pid == 0) {
		int c = socket(AF_UNIX, SOCK_STREAM, 0);
		say("before", "%s", peer(c, 0));
		_exit(connect_to(c, "s") || peer(c, getppid()) == NULL);
	}
	int c = accept(l, NULL, NULL);
	say("inherited", "%s", option(c, PASS_PIDFD));
	siginfo_t si;
	waitid(P_PID, pid, &si, WEXITED | WNOWAIT);
	say("a zombie", "%s", peer(c, pid));
	waitpid(pid, NULL, 0);
	say("gone", "%s", peer(c, pid));
	say("listens", "%s", peer(l, pid));
	say("datagrams", "%s", peer(socket(AF_UNIX, SOCK_DGRAM, 0), 0));
}

static void no_rights(void)
{
	int s[2];
	for (int k = 0; k < 3; k++) {
		socketpair(AF_UNIX, kinds[k], 0, s);
		say(label(k, "at first"), "%s", option(s[1], PASS_RIGHTS));
		pass(s[0], "early", 1);
		say(label(k, "off"), "%s %s", ret(set(s[1], PASS_RIGHTS, 0)), option(s[1], PASS_RIGHTS));
		say(label(k, "refused"), "%s", pass(s[0], "refused", 1));
		say(label(k, "without"), "%s", pass(s[0], "plain", -1));
		say(label(k, "the other way"), "%s", pass(s[1], "back", 1));
		say(label(k, "arrived before"), "%s", receive(s[1], 512, NULL, 0, 0));
		say(label(k, "next"), "%s", receive(s[1], 512, NULL, MSG_DONTWAIT, 0));
		say(label(k, "again"), "%s", receive(s[0], 512, NULL, MSG_DONTWAIT, 0));
		set(s[1], PASS_RIGHTS, 5);
		say(label(k, "on"), "%s %s", option(s[1], PASS_RIGHTS), pass(s[0], "on", 1));
		say(label(k, "comes"), "%s", receive(s[1], 512, NULL, 0, 0));
	}
	int l = listener(SOCK_STREAM, "r", 5), c = socket(AF_UNIX, SOCK_STREAM, 0);
	set(l, PASS_RIGHTS, 0);
	connect_to(c, "r");
	say("not accepted", "%s", pass(c, "x", 1));
	set(l, PASS_RIGHTS, 1);
	say("still not", "%s", pass(c, "x", 1));
	say("inherited", "%s", option(accept(l, NULL, NULL), PASS_RIGHTS));
}

static void names(void)
{
	int s = socket(AF_UNIX, SOCK_DGRAM, 0);
	set(s, PASS_PIDFD, 1);
	bind_to(socket(AF_UNIX, SOCK_DGRAM, 0), "d");
	say("sent", "%s %.4s", ret(send_to(s, "x", "d")), own_name(s));
	int l = listener(SOCK_STREAM, "n", 5), c = socket(AF_UNIX, SOCK_STREAM, 0);
	(void)l;
	set(c, PASS_PIDFD, 1);
	say("connected", "%s %.4s", ret(connect_to(c, "n")), own_name(c));
}

static const struct section sections[] = {
	{"messages", messages}, {"gone", gone}, {"no_rights", no_rights}, {"names", names},
};
GUEST(sections)
