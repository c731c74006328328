// Messages of AF_UNIX sockets: sendmsg and recvmsg, descriptors and credentials as part of them,
// and what becomes of descriptors that nobody receives.
#include "unix.h"
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/uio.h>

// control is room for control messages.
union control {
	char b[2048];
	struct cmsghdr h;
};

// send_fds sends n descriptors with some bytes.
static ssize_t send_fds(int s, const char *text, const int *fds, int n)
{
	union control c;
	struct iovec v = {(char *)text, strlen(text)};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = CMSG_SPACE(n * sizeof(int))};
	memset(&c, 0, sizeof c);
	c.h.cmsg_len = CMSG_LEN(n * sizeof(int));
	c.h.cmsg_level = SOL_SOCKET;
	c.h.cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(&c.h), fds, n * sizeof(int));
	return sendmsg(s, &m, MSG_NOSIGNAL);
}

// recv_fds receives up to size bytes and descriptors with room for so many bytes of control; it
// returns how recvmsg went, as text.
static const char *recv_fds(int s, size_t size, size_t room, int flags, int *fds, int *n)
{
	static char b[4096];
	union control c;
	struct iovec v = {b, size};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = room};
	memset(&c, 0, sizeof c);
	memset(b, 0, sizeof b);
	*n = 0;
	ssize_t r = recvmsg(s, &m, flags);
	char *p = scratch();
	if (r < 0)
		return errname(errno);
	int k = snprintf(p, 256, "%ld '%.20s' flags %x control %lu", (long)r, b, m.msg_flags, (unsigned long)m.msg_controllen);
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		k += snprintf(p + k, 256 - k, " [%d/%d length %lu]", h->cmsg_level, h->cmsg_type, (unsigned long)h->cmsg_len);
		if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS)
			for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= h->cmsg_len; i++)
				memcpy(&fds[(*n)++], CMSG_DATA(h) + i * sizeof(int), sizeof(int));
	}
	return p;
}

static int open_files(void)
{
	int n = 0;
	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void rights(void)
{
	int s[2], fds[300], n;
	put("file", "contents of the file");
	for (int k = 0; k < 3; k++) {
		socketpair(AF_UNIX, kinds[k] | SOCK_NONBLOCK, 0, s);
		int f = open("file", O_RDONLY);
		int before = open_files();
		say(label(k, "send"), "%s", ret(send_fds(s[0], "take", &f, 1)));
		say(label(k, "receive"), "%s", recv_fds(s[1], 100, 64, 0, fds, &n));
		say(label(k, "new one"), "%s %d", yes(n == 1 && fds[0] != f), fcntl(fds[0], F_GETFD));
		char b[32] = "";
		say(label(k, "one position"), "%s %s", ret(read(f, b, 9)), ret(lseek(fds[0], 0, SEEK_CUR)));
		close(fds[0]);
		say(label(k, "three of one"), "%s", ret(send_fds(s[0], "x", (int[]){f, f, s[0]}, 3)));
		say(label(k, "with close-on-exec"), "%s", recv_fds(s[1], 100, 64, MSG_CMSG_CLOEXEC, fds, &n));
		say(label(k, "flags"), "%d %d %d", n, fcntl(fds[0], F_GETFD), fcntl(fds[2], F_GETFD));
		for (int i = 0; i < n; i++)
			close(fds[i]);
		say(label(k, "bad one"), "%s", ret(send_fds(s[0], "x", (int[]){f, 999}, 2)));
		say(label(k, "negative one"), "%s", ret(send_fds(s[0], "x", (int[]){-1}, 1)));
		say(label(k, "nothing came"), "%s", recv_fds(s[1], 100, 64, 0, fds, &n));
		say(label(k, "room for one of two"), "%s", ret(send_fds(s[0], "x", (int[]){f, f}, 2)));
		say(label(k, "gets"), "%s, %d", recv_fds(s[1], 100, CMSG_LEN(4), 0, fds, &n), n);
		close(fds[0]);
		send_fds(s[0], "x", &f, 1);
		say(label(k, "no room"), "%s, %d", recv_fds(s[1], 100, 16, 0, fds, &n), n);
		send_fds(s[0], "x", &f, 1);
		say(label(k, "less than a header"), "%s, %d", recv_fds(s[1], 100, 8, 0, fds, &n), n);
		send_fds(s[0], "x", &f, 1);
		say(label(k, "by read"), "%s", ret(read(s[1], b, 10)));
		send_fds(s[0], "peek", &f, 1);
		say(label(k, "look"), "%s, %d", recv_fds(s[1], 2, 64, MSG_PEEK, fds, &n), n);
		close(fds[0]);
		say(label(k, "take"), "%s, %d", recv_fds(s[1], 100, 64, 0, fds, &n), n);
		close(fds[0]);
		for (int i = 0; i < 254; i++)
			fds[i] = f;
		say(label(k, "254"), "%s", ret(send_fds(s[0], "x", fds, 254)));
		say(label(k, "253"), "%s", ret(send_fds(s[0], "x", fds, 253)));
		say(label(k, "all"), "%s, %d", recv_fds(s[1], 100, 2048, 0, fds, &n), n);
		for (int i = 0; i < n; i++)
			close(fds[i]);
		say(label(k, "a path"), "%s", ret(send_fds(s[0], "x", (int[]){open("file", O_PATH)}, 1)));
		say(label(k, "comes"), "%s", recv_fds(s[1], 100, 64, 0, fds, &n));
		say(label(k, "as a path"), "%s", ret(read(fds[0], b, 1)));
		say(label(k, "left open"), "%d", open_files() - before);
	}
}

// streams: descriptors are a border in what is read.
static void borders(void)
{
	int s[2], fds[8], n;
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s);
	write(s[0], "before ", 7);
	send_fds(s[0], "with", (int[]){1}, 1);
	write(s[0], " after", 6);
	send_fds(s[0], "more", (int[]){1, 1}, 2);
	say("first", "%s", recv_fds(s[1], 100, 64, 0, fds, &n));
	say("second", "%s", recv_fds(s[1], 100, 64, 0, fds, &n));
	say("third", "%s", recv_fds(s[1], 100, 64, 0, fds, &n));
	send_fds(s[0], "abcdef", (int[]){1}, 1);
	write(s[0], "ghi", 3);
	say("part", "%s", recv_fds(s[1], 2, 64, 0, fds, &n));
	say("rest", "%s", recv_fds(s[1], 100, 64, 0, fds, &n));
	send_fds(s[0], "abc", (int[]){1}, 1);
	write(s[0], "def", 3);
	fcntl(s[1], F_SETFL, 0);
	say("WAITALL", "%s", recv_fds(s[1], 6, 64, MSG_WAITALL, fds, &n));
	say("none without bytes", "%s", ret(send_fds(s[0], "", (int[]){1}, 1)));
	say("left", "%s", recv_fds(s[1], 100, 64, MSG_DONTWAIT, fds, &n));
	socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, s);
	say("datagram without bytes", "%s", ret(send_fds(s[0], "", (int[]){1}, 1)));
	say("comes", "%s", recv_fds(s[1], 100, 64, MSG_DONTWAIT, fds, &n));
}

// flying: what is in a message stays open, until the message goes.
static void flying(void)
{
	int s[2], p[2], fds[8], n;
	char b[16];
	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	pipe2(p, O_NONBLOCK);
	send_fds(s[0], "x", &p[1], 1);
	close(p[1]);
	say("open in flight", "%s", ret(read(p[0], b, 1)));
	recv_fds(s[1], 1, 64, 0, fds, &n);
	say("write by it", "%s %s", ret(write(fds[0], "hi", 2)), ret(read(p[0], b, 10)));
	send_fds(s[0], "x", &fds[0], 1);
	close(fds[0]);
	close(s[1]);
	say("receiver closed", "%s", ret(read(p[0], b, 1)));
	// A chain of sockets, each in the queue of the next.
	int chain[2], last;
	pipe2(p, O_NONBLOCK);
	last = p[1];
	for (int i = 0; i < 50; i++) {
		socketpair(AF_UNIX, SOCK_DGRAM, 0, chain);
		send_fds(chain[0], "x", &last, 1);
		close(last);
		close(chain[0]);
		last = chain[1];
	}
	say("at the end of a chain", "%s", ret(read(p[0], b, 1)));
	close(last);
	say("chain closed", "%s", ret(read(p[0], b, 1)));
	// A listener with a connection that nobody accepted.
	pipe2(p, O_NONBLOCK);
	int l = listener(SOCK_STREAM, "s", 5), c = socket(AF_UNIX, SOCK_STREAM, 0);
	connect_to(c, "s");
	send_fds(c, "x", &p[1], 1);
	close(p[1]);
	close(c);
	say("with a waiting connection", "%s", ret(read(p[0], b, 1)));
	close(l);
	say("listener closed", "%s", ret(read(p[0], b, 1)));
	// A process that ends with descriptors in flight.
	pipe2(p, O_NONBLOCK);
	if (fork() == 0) {
		socketpair(AF_UNIX, SOCK_STREAM, 0, s);
		send_fds(s[0], "x", &p[1], 1);
		_exit(0);
	}
	wait(NULL);
	close(p[1]);
	say("process ended", "%s", ret(read(p[0], b, 1)));
}

// settle waits for the end of a pipe that only garbage holds open.
static const char *settle(int fd)
{
	char b;
	ssize_t n = -1;
	for (int i = 0; i < 3000; i++) {
		int s[2];
		socketpair(AF_UNIX, SOCK_STREAM, 0, s); // a socket that closes has garbage looked for
		close(s[0]);
		close(s[1]);
		if ((n = read(fd, &b, 1)) == 0)
			break;
		sleep_ms(10);
	}
	return ret(n);
}

// cycles: sockets in each other's queues that nobody else has open.
static void cycles(void)
{
	int s[2], t[2], p[2];
	pipe2(p, O_NONBLOCK);
	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	send_fds(s[0], "x", &p[1], 1);
	send_fds(s[0], "x", &s[1], 1);
	close(p[1]);
	close(s[0]);
	close(s[1]);
	say("in its own queue", "%s", settle(p[0]));
	pipe2(p, O_NONBLOCK);
	socketpair(AF_UNIX, SOCK_DGRAM, 0, s);
	socketpair(AF_UNIX, SOCK_DGRAM, 0, t);
	send_fds(s[0], "x", (int[]){t[0], t[1], p[1]}, 3);
	send_fds(t[0], "x", (int[]){s[0], s[1], p[1]}, 3);
	send_fds(s[1], "x", (int[]){t[0], t[1]}, 2);
	int keep = dup(t[1]);
	close(s[0]), close(s[1]), close(t[0]), close(t[1]), close(p[1]);
	char b;
	say("one still open", "%s", ret(read(p[0], &b, 1)));
	int fds[8], n;
	say("it has", "%s, %d", recv_fds(keep, 10, 64, MSG_DONTWAIT, fds, &n), n);
	for (int i = 0; i < n; i++)
		close(fds[i]);
	close(keep);
	say("in each other's", "%s", settle(p[0]));
	pipe2(p, O_NONBLOCK);
	int l = listener(SOCK_STREAM, "s", 5), c = socket(AF_UNIX, SOCK_STREAM, 0);
	connect_to(c, "s");
	send_fds(c, "x", (int[]){l, p[1]}, 2);
	close(l), close(c), close(p[1]);
	say("through a listener", "%s", settle(p[0]));
}

// spell shows credentials, ids that are ours by name.
static const char *spell(const struct ucred *u)
{
	char *p = scratch();
	const char *who = u->pid == getpid() ? "me" : u->pid == getppid() ? "parent" : u->pid == 0 ? "nobody" : "another";
	snprintf(p, 256, "%s %d %d", who, (int)u->uid - (int)(u->uid == getuid() ? getuid() : 0), (int)u->gid - (int)(u->gid == getgid() ? getgid() : 0));
	return p;
}

// recv_creds receives a message and shows who sent it.
static const char *recv_creds(int s, size_t size)
{
	char b[64] = "", *p = scratch();
	union control c;
	struct iovec v = {b, size};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = 256};
	ssize_t r = recvmsg(s, &m, MSG_DONTWAIT);
	if (r < 0)
		return errname(errno);
	int k = snprintf(p, 256, "'%s'", b);
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		struct ucred u;
		memcpy(&u, CMSG_DATA(h), sizeof u);
		if (h->cmsg_type == SCM_CREDENTIALS)
			k += snprintf(p + k, 256 - k, " from %s", spell(&u));
		else
			k += snprintf(p + k, 256 - k, " type %d", h->cmsg_type);
	}
	return p;
}

static const char *send_creds(int s, int pid, int uid, int gid, size_t size)
{
	union control c;
	struct iovec v = {"said", 4};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = CMSG_SPACE(size)};
	struct ucred u = {pid, uid, gid};
	memset(&c, 0, sizeof c);
	c.h.cmsg_len = CMSG_LEN(size);
	c.h.cmsg_level = SOL_SOCKET;
	c.h.cmsg_type = SCM_CREDENTIALS;
	memcpy(CMSG_DATA(&c.h), &u, size < sizeof u ? size : sizeof u);
	return ret(sendmsg(s, &m, 0));
}

static const char *peer_creds(int s)
{
	struct ucred u;
	socklen_t len = sizeof u;
	return getsockopt(s, SOL_SOCKET, SO_PEERCRED, &u, &len) ? errname(errno) : spell(&u);
}

static void creds(void)
{
	int s[2], on = 1, off = 0;
	char b[16];
	for (int k = 0; k < 3; k++) {
		socketpair(AF_UNIX, kinds[k], 0, s);
		say(label(k, "peer"), "%s", peer_creds(s[0]));
		write(s[0], "early", 5);
		say(label(k, "not asked for"), "%s", recv_creds(s[1], 64));
		write(s[0], "early", 5);
		setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
		say(label(k, "sent before"), "%s", recv_creds(s[1], 64));
		write(s[0], "late", 4);
		say(label(k, "sent after"), "%s", recv_creds(s[1], 64));
		setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &off, sizeof off);
		say(label(k, "given"), "%s", send_creds(s[0], getpid(), getuid(), getgid(), sizeof(struct ucred)));
		setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
		say(label(k, "seen"), "%s", recv_creds(s[1], 64));
		say(label(k, "too short"), "%s", send_creds(s[0], getpid(), getuid(), getgid(), 8));
		say(label(k, "too long"), "%s", send_creds(s[0], getpid(), getuid(), getgid(), 16));
		pid_t pid = fork();
		if (pid == 0) {
			write(s[0], "child", 5);
			_exit(0);
		}
		waitpid(pid, NULL, 0);
		write(s[0], "mine", 4);
		say(label(k, "of a child"), "%s", recv_creds(s[1], 64));
		say(label(k, "of mine"), "%s", recv_creds(s[1], 64));
		write(s[0], "x", 1);
		union control c;
		struct iovec v = {b, 1};
		struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = 20};
		say(label(k, "cut"), "%s %x %lu", ret(recvmsg(s[1], &m, 0)), m.msg_flags, (unsigned long)m.msg_controllen);
		write(s[0], "x", 1);
		m.msg_control = NULL;
		say(label(k, "no control"), "%s %x %lu", ret(recvmsg(s[1], &m, 0)), m.msg_flags, (unsigned long)m.msg_controllen);
	}
	// Who listened, and who connected.
	int l = listener(SOCK_STREAM, "s", 5);
	if (fork() == 0) {
		int c = socket(AF_UNIX, SOCK_STREAM, 0);
		say("client before", "%s", peer_creds(c));
		if (connect_to(c, "s"))
			_exit(1);
		say("client sees", "%s", peer_creds(c));
		write(c, "x", 1);
		read(c, b, 1);
		_exit(0);
	}
	int c = accept(l, NULL, NULL);
	read(c, b, 1);
	say("server sees", "%s", peer_creds(c));
	say("listener sees", "%s", peer_creds(l));
	close(c);
	wait(NULL);
	// A socket that shows credentials gets a name with its first message.
	int d = socket(AF_UNIX, SOCK_DGRAM, 0);
	setsockopt(d, SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
	say("no name", "%.4s", own_name(d));
	bind_to(socket(AF_UNIX, SOCK_DGRAM, 0), "d");
	say("sent", "%s %.4s", ret(send_to(d, "x", "d")), own_name(d));
}

// claims: credentials that are not the sender's.
static void claims(void)
{
	int s[2], on = 1, st;
	socketpair(AF_UNIX, SOCK_DGRAM, 0, s);
	setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
	say("root says parent", "%s", send_creds(s[0], getppid(), 12345, 54321, sizeof(struct ucred)));
	say("seen", "%s", recv_creds(s[1], 64));
	say("no such process", "%s", send_creds(s[0], 0x3ffffff, 0, 0, sizeof(struct ucred)));
	say("no such user", "%s", send_creds(s[0], getpid(), -1, 0, sizeof(struct ucred)));
	if (fork() == 0) {
		if (setresgid(1000, 1001, 1002) || setresuid(1000, 1001, 1002))
			_exit(1);
		say("saved ids", "%s", send_creds(s[0], getpid(), 1002, 1002, sizeof(struct ucred)));
		say("effective ids", "%s", send_creds(s[0], getpid(), 1001, 1001, sizeof(struct ucred)));
		say("another user", "%s", send_creds(s[0], getpid(), 1003, 1001, sizeof(struct ucred)));
		say("another group", "%s", send_creds(s[0], getpid(), 1001, 1003, sizeof(struct ucred)));
		say("another process", "%s", send_creds(s[0], getppid(), 1001, 1001, sizeof(struct ucred)));
		write(s[0], "real", 4);
		for (int i = 0; i < 3; i++)
			say("seen", "%s", recv_creds(s[1], 64));
		int t[2];
		socketpair(AF_UNIX, SOCK_DGRAM, 0, t);
		struct ucred u;
		socklen_t len = sizeof u;
		getsockopt(t[0], SOL_SOCKET, SO_PEERCRED, &u, &len);
		say("pair of", "%d %d", u.uid, u.gid);
		// Only so many descriptors of an ordinary user may be in flight.
		struct rlimit r = {20, 20};
		setrlimit(RLIMIT_NOFILE, &r);
		int n = 0;
		while (n < 100 && send_fds(t[0], "x", &t[0], 1) == 1)
			n++;
		say("in flight", "%d %s", n, errname(errno));
		_exit(0);
	}
	wait(&st);
	say("child", "%s", status(st));
	mkdir("closed", 0777);
	chmod("closed", 0777);
	int l = listener(SOCK_STREAM, "closed/s", 5);
	int d = socket(AF_UNIX, SOCK_DGRAM, 0);
	bind_to(d, "closed/d");
	chmod("closed/s", 0755);
	chmod("closed/d", 0755);
	if (fork() == 0) {
		setuid(1000);
		say("no right to write", "%s", ret(connect_to(socket(AF_UNIX, SOCK_STREAM, 0), "closed/s")));
		say("nor datagrams", "%s", ret(send_to(socket(AF_UNIX, SOCK_DGRAM, 0), "x", "closed/d")));
		int u = socket(AF_UNIX, SOCK_STREAM, 0);
		struct stat st;
		say("bind", "%s %s", ret(bind_to(u, "closed/mine")), ret(stat("closed/mine", &st)));
		say("owner", "%u", st.st_uid);
		_exit(0);
	}
	wait(NULL);
	chmod("closed/s", 0722);
	if (fork() == 0) {
		setuid(1000);
		say("write is enough", "%s", ret(connect_to(socket(AF_UNIX, SOCK_STREAM, 0), "closed/s")));
		_exit(0);
	}
	wait(NULL);
	close(l);
}

static void messages(void)
{
	int s[2];
	char b[64] = "";
	socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, s);
	struct iovec v[3] = {{"one ", 4}, {NULL, 0}, {"two", 3}}, w[2] = {{b, 2}, {b + 10, 30}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 3}, r = {.msg_iov = w, .msg_iovlen = 2, .msg_flags = 0x7777};
	struct sockaddr_un a;
	say("gather", "%s", ret(sendmsg(s[0], &m, 0)));
	r.msg_name = &a;
	r.msg_namelen = sizeof a;
	say("scatter", "%s %.2s %.5s", ret(recvmsg(s[1], &r, 0)), b, b + 10);
	say("name", "%u flags %x control %lu", r.msg_namelen, r.msg_flags, (unsigned long)r.msg_controllen);
	sendmsg(s[0], &m, 0);
	r.msg_iovlen = 1;
	say("cut", "%s %x", ret(recvmsg(s[1], &r, 0)), r.msg_flags);
	sendmsg(s[0], &m, 0);
	say("cut but told", "%s %x", ret(recvmsg(s[1], &r, MSG_TRUNC)), r.msg_flags);
	say("no vectors", "%s", ret((m.msg_iovlen = 0, sendmsg(s[0], &m, 0))));
	say("nothing", "%s", ret(recvmsg(s[1], &r, 0)));
	m.msg_iovlen = 1025;
	say("too many vectors", "%s", ret(sendmsg(s[0], &m, 0)));
	m.msg_iovlen = 1;
	m.msg_iov = bad_memory;
	say("vectors in bad memory", "%s", ret(sendmsg(s[0], &m, 0)));
	m.msg_iov = v;
	v[0].iov_base = bad_memory;
	say("data in bad memory", "%s", ret(sendmsg(s[0], &m, 0)));
	v[0].iov_base = "one ";
	say("header in bad memory", "%s", ret(sendmsg(s[0], bad_memory, 0)));
	m.msg_control = bad_memory;
	m.msg_controllen = 32;
	say("control in bad memory", "%s", ret(sendmsg(s[0], &m, 0)));
	m.msg_controllen = 1 << 30;
	say("control too long", "%s", ret(sendmsg(s[0], &m, 0)));
	union control c = {.h = {.cmsg_len = 8, .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
	m.msg_control = &c;
	m.msg_controllen = 32;
	say("control shorter than a header", "%s", ret(sendmsg(s[0], &m, 0)));
	c.h.cmsg_len = 40;
	say("control longer than all", "%s", ret(sendmsg(s[0], &m, 0)));
	c.h.cmsg_len = 20;
	c.h.cmsg_type = 99;
	say("unknown type", "%s", ret(sendmsg(s[0], &m, 0)));
	c.h.cmsg_level = 99;
	say("unknown level", "%s", ret(sendmsg(s[0], &m, 0)));
	m.msg_controllen = 15;
	say("less than a header", "%s", ret(sendmsg(s[0], &m, 0)));
	say("two came", "%s %s", ret(read(s[1], b, 9)), ret(read(s[1], b, 9)));
	m.msg_control = NULL;
	m.msg_controllen = 0;
	m.msg_name = &a;
	m.msg_namelen = -1;
	say("negative name", "%s", ret(sendmsg(s[0], &m, 0)));
	m.msg_namelen = 500;
	say("long name", "%s", ret(sendmsg(s[0], &m, 0)));
	m.msg_name = NULL;
	say("no name but a length", "%s", ret(sendmsg(s[0], &m, 0)));
	read(s[1], b, 9);

	struct mmsghdr many[5];
	memset(many, 0, sizeof many);
	for (int i = 0; i < 5; i++)
		many[i].msg_hdr = (struct msghdr){.msg_iov = &v[i % 2 * 2], .msg_iovlen = 1};
	say("sendmmsg", "%s %u %u", ret(sendmmsg(s[0], many, 4, 0)), many[0].msg_len, many[3].msg_len);
	for (int i = 0; i < 5; i++)
		many[i].msg_hdr = (struct msghdr){.msg_iov = &w[1], .msg_iovlen = 1}, many[i].msg_len = 77;
	say("recvmmsg", "%s %u %u", ret(recvmmsg(s[1], many, 5, 0, NULL)), many[0].msg_len, many[1].msg_len);
	say("the fifth", "%u", many[4].msg_len);
	say("none", "%s", ret(recvmmsg(s[1], many, 5, 0, NULL)));
	fcntl(s[1], F_SETFL, 0);
	write(s[0], "x", 1);
	say("WAITFORONE", "%s", ret(recvmmsg(s[1], many, 5, MSG_WAITFORONE, NULL)));
	struct timespec t = {0, 2000000000};
	say("bad time", "%s", ret(recvmmsg(s[1], many, 5, 0, &t)));
	write(s[0], "x", 1);
	t = (struct timespec){0, 0};
	say("no time", "%s", ret(recvmmsg(s[1], many, 5, 0, &t)));
	say("send none", "%s", ret(sendmmsg(s[0], many, 0, 0)));
	say("in bad memory", "%s", ret(sendmmsg(s[0], bad_memory, 1, 0)));
}

// stamps: when messages were sent.
static void stamps(void)
{
	int on = 1, s[2];
	for (int k = 0; k < 3; k++)
		for (int form = 0; form < 2; form++) {
			char b[8];
			union control c;
			struct iovec v = {b, sizeof b};
			struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c};
			socketpair(AF_UNIX, kinds[k], 0, s);
			say(label(k, "set"), "%s", ret(setsockopt(s[1], SOL_SOCKET, form ? SO_TIMESTAMPNS : SO_TIMESTAMP, &on, sizeof on)));
			say(label(k, "options"), "%s %s", option(s[1], SO_TIMESTAMP), option(s[1], SO_TIMESTAMPNS));
			time_t before = time(NULL);
			write(s[0], "x", 1);
			say(label(k, "received"), "%s control %lu", ret(recvmsg(s[1], &m, 0)), (unsigned long)m.msg_controllen);
			struct cmsghdr *h = CMSG_FIRSTHDR(&m);
			if (!h)
				continue;
			long t[2];
			memcpy(t, CMSG_DATA(h), sizeof t);
			int good = t[0] >= before - 1 && t[0] <= time(NULL) && t[1] >= 0 && t[1] < (form ? 1000000000 : 1000000);
			say(label(k, "time"), "%d/%d length %lu, %s", h->cmsg_level, h->cmsg_type, (unsigned long)h->cmsg_len, yes(good));
			write(s[0], "x", 1);
			m.msg_control = NULL;
			say(label(k, "no room"), "%s %x", ret(recvmsg(s[1], &m, 0)), m.msg_flags);
		}
}

// limited: descriptors that cannot be received.
static void limited(void)
{
	int s[2], fds[16], n, e = eventfd(0, 0);
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s);
	struct rlimit r = {e + 5, e + 5};
	setrlimit(RLIMIT_NOFILE, &r);
	send_fds(s[0], "x", (int[]){e, e, e, e}, 4);
	say("room for some", "%s, %d", recv_fds(s[1], 10, 64, 0, fds, &n), n);
	send_fds(s[0], "x", (int[]){e}, 1);
	say("room for none", "%s, %d", recv_fds(s[1], 10, 64, 0, fds, &n), n);
	int l;
	close(fds[0]);
	l = listener(SOCK_STREAM, "s", 5);
	close(fds[1]);
	int c = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	say("connect", "%s", ret(connect_to(c, "s")));
	say("accept without room", "%s", ret(accept(l, NULL, NULL)));
	close(s[0]);
	say("it was not lost", "%s", okret(accept(l, NULL, NULL)));
	say("socket without room", "%s", ret(socket(AF_UNIX, SOCK_STREAM, 0)));
	say("pair without room", "%s", ret(socketpair(AF_UNIX, SOCK_STREAM, 0, s)));
}

static const struct section table[] = {
	{"rights", rights}, {"borders", borders}, {"flying", flying}, {"cycles", cycles}, {"creds", creds}, {"claims", claims},
	{"messages", messages}, {"stamps", stamps}, {"limited", limited},
};

GUEST(table)
