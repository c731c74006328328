// Sockets of family AF_UNIX: pairs, names, connections, datagrams, options, readiness,
// shutdown, signals and timeouts.
#include "guest.h"
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <linux/sockios.h>

static const int kinds[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
static const char *const kind_names[] = {"stream", "dgram", "seqpacket"};

// label makes a name for a line of the report.
static const char *label(int k, const char *what)
{
	char *p = scratch();
	snprintf(p, 256, "%s %s", kind_names[k], what);
	return p;
}

// address fills in a name; a leading @ makes it an abstract one.
static socklen_t address(struct sockaddr_un *a, const char *name)
{
	memset(a, 0, sizeof *a);
	a->sun_family = AF_UNIX;
	strncpy(a->sun_path, name, sizeof a->sun_path);
	if (name[0] == '@') {
		a->sun_path[0] = 0;
		return offsetof(struct sockaddr_un, sun_path) + strlen(name);
	}
	return sizeof *a;
}

static int bind_to(int s, const char *name)
{
	struct sockaddr_un a;
	socklen_t n = address(&a, name);
	return bind(s, (struct sockaddr *)&a, n);
}

static int connect_to(int s, const char *name)
{
	struct sockaddr_un a;
	socklen_t n = address(&a, name);
	return connect(s, (struct sockaddr *)&a, n);
}

static ssize_t send_to(int s, const char *text, const char *name)
{
	struct sockaddr_un a;
	socklen_t n = address(&a, name);
	return sendto(s, text, strlen(text), 0, (struct sockaddr *)&a, n);
}

// listener returns a socket that listens by that name.
static int listener(int kind, const char *name, int backlog)
{
	int s = socket(AF_UNIX, kind, 0);
	if (bind_to(s, name) || listen(s, backlog))
		say("listener", "%s", errname(errno));
	return s;
}

// shown is an address as text: its length, and its name with zeros as @.
static const char *shown(const struct sockaddr_un *a, socklen_t len)
{
	char *p = scratch();
	int n = snprintf(p, 256, "[%u] %d ", len, len >= 2 ? a->sun_family : -1);
	for (socklen_t i = 2; i < len && i < sizeof *a && n < 250; i++)
		p[n++] = a->sun_path[i - 2] ? a->sun_path[i - 2] : '@';
	p[n] = 0;
	return p;
}

static const char *own_name(int s)
{
	struct sockaddr_un a;
	socklen_t len = sizeof a;
	memset(&a, 'x', sizeof a);
	return getsockname(s, (struct sockaddr *)&a, &len) ? errname(errno) : shown(&a, len);
}

static const char *peer_name(int s)
{
	struct sockaddr_un a;
	socklen_t len = sizeof a;
	return getpeername(s, (struct sockaddr *)&a, &len) ? errname(errno) : shown(&a, len);
}

// option returns an integer option.
static const char *option(int s, int name)
{
	int v = -99;
	socklen_t len = sizeof v;
	char *p = scratch();
	if (getsockopt(s, SOL_SOCKET, name, &v, &len))
		return errname(errno);
	snprintf(p, 256, "%d", v);
	return p;
}

static const char *events(int e)
{
	static const struct {
		int bit;
		const char *name;
	} names[] = {{POLLIN, "IN"}, {POLLPRI, "PRI"}, {POLLOUT, "OUT"}, {POLLERR, "ERR"}, {POLLHUP, "HUP"},
		     {POLLNVAL, "NVAL"}, {POLLRDNORM, "RDNORM"}, {POLLRDBAND, "RDBAND"}, {POLLWRNORM, "WRNORM"},
		     {POLLWRBAND, "WRBAND"}, {POLLRDHUP, "RDHUP"}};
	char *p = scratch();
	int n = 0;
	p[0] = 0;
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
		if (e & names[i].bit)
			n += snprintf(p + n, 256 - n, "%s%s", n ? " " : "", names[i].name);
	return p;
}

// ready polls once for everything.
static const char *ready(int s)
{
	struct pollfd p = {s, POLLIN | POLLPRI | POLLOUT | POLLRDNORM | POLLRDBAND | POLLWRNORM | POLLWRBAND | POLLRDHUP, 0};
	return poll(&p, 1, 0) < 0 ? errname(errno) : events(p.revents);
}

static volatile int caught;

static void count(int s)
{
	(void)s;
	caught++;
}

static void handle(int sig, int flags)
{
	struct sigaction sa = {.sa_handler = count, .sa_flags = flags};
	sigaction(sig, &sa, NULL);
}

static void pairs(void)
{
	int s[2];
	char b[64] = "";
	for (int k = 0; k < 3; k++) {
		say(label(k, "pair"), "%s", ret(socketpair(AF_UNIX, kinds[k] | SOCK_CLOEXEC, 0, s)));
		say(label(k, "flags"), "%o %d", fcntl(s[0], F_GETFL), fcntl(s[0], F_GETFD));
		say(label(k, "ready"), "%s", ready(s[0]));
		say(label(k, "there"), "%s %s", ret(write(s[0], "hello", 5)), ret(read(s[1], b, sizeof b)));
		say(label(k, "back"), "%s %s", ret(write(s[1], "bye", 3)), ret(read(s[0], b, sizeof b)));
		say(label(k, "text"), "%.5s", b);
		say(label(k, "names"), "%s %s", own_name(s[0]), peer_name(s[0]));
		struct stat st;
		say(label(k, "fstat"), "%s %o %d", ret(fstat(s[0], &st)), st.st_mode, (int)st.st_size);
		say(label(k, "lseek"), "%s", ret(lseek(s[0], 0, SEEK_CUR)));
		say(label(k, "pread"), "%s", ret(pread(s[0], b, 1, 0)));
		say(label(k, "other end closed"), "%s %s", ret(close(s[1])), ready(s[0]));
		say(label(k, "read"), "%s", ret(recv(s[0], b, 1, MSG_DONTWAIT)));
		say(label(k, "write"), "%s", ret(send(s[0], "x", 1, MSG_NOSIGNAL)));
		say(label(k, "again"), "%s", ret(send(s[0], "x", 1, MSG_NOSIGNAL)));
		say(label(k, "name of the closed"), "%s", peer_name(s[0]));
		close(s[0]);
	}
	say("non-blocking", "%s", ret(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s)));
	say("its flags", "%o %d", fcntl(s[0], F_GETFL), fcntl(s[0], F_GETFD));
	say("empty", "%s", ret(read(s[0], b, 1)));
	char link[64] = "", name[32];
	snprintf(name, sizeof name, "/proc/self/fd/%d", s[0]);
	say("name in proc", "%s %.8s", yes(readlink(name, link, sizeof link) > 0), link);
	say("open by it", "%s", okret(open(name, O_RDWR)));
	struct stat st;
	say("stat by it", "%s %o", ret(stat(name, &st)), st.st_mode & S_IFMT);
}

static void errors(void)
{
	int s[2], f = open("/dev/null", O_RDWR);
	struct sockaddr_un a;
	say("family 0", "%s", okret(socket(AF_UNSPEC, SOCK_STREAM, 0)));
	say("family 44", "%s", okret(socket(45, SOCK_STREAM, 0)));
	say("family 999", "%s", okret(socket(999, SOCK_STREAM, 0)));
	say("type 0", "%s", okret(socket(AF_UNIX, 0, 0)));
	say("type 11", "%s", okret(socket(AF_UNIX, 11, 0)));
	say("type packet", "%s", okret(socket(AF_UNIX, SOCK_RDM, 0)));
	say("bad flags", "%s", okret(socket(AF_UNIX, SOCK_STREAM | 0x10, 0)));
	say("protocol 1", "%s", okret(socket(AF_UNIX, SOCK_STREAM, 1)));
	say("protocol 2", "%s", okret(socket(AF_UNIX, SOCK_STREAM, 2)));
	int raw = socket(AF_UNIX, SOCK_RAW, 0);
	say("raw is", "%s", option(raw, SO_TYPE));
	say("pair in bad memory", "%s", ret(socketpair(AF_UNIX, SOCK_STREAM, 0, (int *)8)));
	say("not a socket", "%s", ret(listen(f, 1)));
	say("no descriptor", "%s", ret(listen(-1, 1)));
	s[0] = open("/", O_PATH);
	say("a path", "%s", ret(listen(s[0], 1)));
	s[0] = socket(AF_UNIX, SOCK_STREAM, 0);
	say("listen unbound", "%s", ret(listen(s[0], 1)));
	say("accept unbound", "%s", ret(accept(s[0], NULL, NULL)));
	say("accept4 flags", "%s", ret(accept4(s[0], NULL, NULL, 1)));
	say("peer", "%s", peer_name(s[0]));
	say("recv", "%s", ret(recv(s[0], &a, 1, 0)));
	say("send", "%s", ret(send(s[0], "x", 1, 0)));
	say("sendto", "%s", ret(send_to(s[0], "x", "nothing")));
	say("ready", "%s", ready(s[0]));
	say("shutdown how", "%s", ret(shutdown(s[0], 3)));
	say("shutdown", "%s", ret(shutdown(s[0], SHUT_RDWR)));
	say("ready then", "%s", ready(s[0]));
	s[1] = socket(AF_UNIX, SOCK_DGRAM, 0);
	say("dgram listen", "%s", ret(listen(s[1], 1)));
	say("dgram accept", "%s", ret(accept(s[1], NULL, NULL)));
	say("dgram send", "%s", ret(send(s[1], "x", 1, 0)));
	say("dgram peer", "%s", peer_name(s[1]));
	say("dgram ready", "%s", ready(s[1]));
	int q = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	say("seqpacket recv", "%s", ret(recv(q, &a, 1, 0)));
	say("seqpacket send", "%s", ret(send(q, "x", 1, 0)));
	say("seqpacket ready", "%s", ready(q));
	socklen_t len = sizeof a;
	say("connect with 0", "%s", ret(connect(q, (struct sockaddr *)&a, 0)));
	say("connect with 1", "%s", ret(connect(q, (struct sockaddr *)&a, 1)));
	a.sun_family = AF_INET;
	say("connect with another family", "%s", ret(connect(q, (struct sockaddr *)&a, sizeof a)));
	a.sun_family = AF_UNSPEC;
	say("connect with none", "%s", ret(connect(q, (struct sockaddr *)&a, sizeof a)));
	a.sun_family = AF_UNIX;
	say("connect with 2", "%s", ret(connect(q, (struct sockaddr *)&a, 2)));
	say("connect with 111", "%s", ret(connect(q, (struct sockaddr *)&a, 111)));
	say("connect with 129", "%s", ret(connect(q, (struct sockaddr *)&a, 129)));
	say("connect to bad memory", "%s", ret(connect(q, (struct sockaddr *)8, sizeof a)));
	say("name to bad memory", "%s", ret(getsockname(q, (struct sockaddr *)8, &len)));
	len = -1;
	say("name of negative length", "%s", ret(getsockname(q, (struct sockaddr *)&a, &len)));
	say("splice nothing", "%s", ret(ioctl(q, 0x12345678, NULL)));
}

// names: binding, and what can be found by a name.
static void names(void)
{
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un a;
	struct stat st;
	say("unbound", "%s", own_name(s));
	umask(027);
	say("bind", "%s", ret(bind_to(s, "one")));
	say("name", "%s", own_name(s));
	say("stat", "%s %o", ret(stat("one", &st)), st.st_mode);
	say("bind twice", "%s", ret(bind_to(s, "two")));
	say("no second file", "%s", ret(access("two", F_OK)));
	int t = socket(AF_UNIX, SOCK_STREAM, 0);
	say("taken", "%s", ret(bind_to(t, "one")));
	say("no directory", "%s", ret(bind_to(t, "none/x")));
	say("file as directory", "%s", ret(bind_to(t, "one/x")));
	say("a directory", "%s", ret(bind_to(t, ".")));
	say("with a slash", "%s", ret(bind_to(t, "three/")));
	put("file", "x");
	say("a file", "%s", ret(bind_to(t, "file")));
	symlink("target", "link");
	say("a dangling link", "%s", ret(bind_to(t, "link")));
	say("open", "%s", okret(open("one", O_RDWR)));
	say("open as path", "%s", okret(open("one", O_PATH)));
	address(&a, "short-name-and-rest");
	say("cut short", "%s", ret(bind(t, (struct sockaddr *)&a, 2 + 5)));
	say("its name", "%s", own_name(t));
	int u = socket(AF_UNIX, SOCK_STREAM, 0);
	char longest[109];
	memset(longest, 'n', 108);
	longest[108] = 0;
	memset(&a, 0, sizeof a);
	a.sun_family = AF_UNIX;
	memcpy(a.sun_path, longest, 108);
	say("longest", "%s", ret(bind(u, (struct sockaddr *)&a, sizeof a)));
	socklen_t len = sizeof a;
	say("its length", "%s %u", ret(getsockname(u, (struct sockaddr *)&a, &len)), len);
	say("is there", "%s", ret(access(longest, F_OK)));
	len = 5;
	memset(&a, 'x', sizeof a);
	say("name cut", "%s %u %.4s", ret(getsockname(t, (struct sockaddr *)&a, &len)), len, a.sun_path);
	say("mode of fd", "%s", ret(fchmod(socket(AF_UNIX, SOCK_STREAM, 0), 0600)));
	u = socket(AF_UNIX, SOCK_STREAM, 0);
	fchmod(u, 0712);
	say("bind with mode", "%s %s", ret(bind_to(u, "moded")), ret(stat("moded", &st)));
	say("mode", "%o", st.st_mode);

	// Whoever holds the name, the inode leads to the socket.
	say("listen", "%s", ret(listen(s, 5)));
	say("connect", "%s", ret(connect_to(socket(AF_UNIX, SOCK_STREAM, 0), "one")));
	rename("one", "moved");
	say("renamed", "%s", ret(connect_to(socket(AF_UNIX, SOCK_STREAM, 0), "moved")));
	link("moved", "linked");
	unlink("moved");
	say("another link", "%s", ret(connect_to(socket(AF_UNIX, SOCK_STREAM, 0), "linked")));
	symlink("linked", "soft");
	say("by symbolic link", "%s", ret(connect_to(socket(AF_UNIX, SOCK_STREAM, 0), "soft")));
	say("old name", "%s", ret(connect_to(socket(AF_UNIX, SOCK_STREAM, 0), "one")));
	say("to a file", "%s", ret(connect_to(socket(AF_UNIX, SOCK_STREAM, 0), "file")));
	say("to a directory", "%s", ret(connect_to(socket(AF_UNIX, SOCK_STREAM, 0), ".")));
	say("another type", "%s", ret(connect_to(socket(AF_UNIX, SOCK_SEQPACKET, 0), "linked")));
	say("another type of datagram", "%s", ret(send_to(socket(AF_UNIX, SOCK_DGRAM, 0), "x", "linked")));
	say("not listening", "%s", ret(connect_to(socket(AF_UNIX, SOCK_STREAM, 0), "short")));
	say("made by mknod", "%s %s", ret(mknod("node", S_IFSOCK | 0600, 0)), ret(connect_to(socket(AF_UNIX, SOCK_STREAM, 0), "node")));
	close(s);
	say("closed", "%s %s", ret(connect_to(socket(AF_UNIX, SOCK_STREAM, 0), "linked")), ret(access("linked", F_OK)));
	say("still taken", "%s", ret(bind_to(socket(AF_UNIX, SOCK_STREAM, 0), "linked")));
	say("accepted socket's name", "%s", ret(0));
}

static void abstract(void)
{
	struct sockaddr_un a, b;
	int s = socket(AF_UNIX, SOCK_STREAM, 0), t = socket(AF_UNIX, SOCK_STREAM, 0), d = socket(AF_UNIX, SOCK_DGRAM, 0);
	say("bind", "%s", ret(bind_to(s, "@sentry-test")));
	say("name", "%s", own_name(s));
	say("taken", "%s", ret(bind_to(t, "@sentry-test")));
	say("other type", "%s", ret(bind_to(d, "@sentry-test")));
	say("bind twice", "%s", ret(bind_to(s, "@sentry-else")));
	say("listen", "%s", ret(listen(s, 5)));
	socklen_t len = address(&a, "@sentry-test");
	say("connect", "%s", ret(connect(t, (struct sockaddr *)&a, len)));
	say("peer", "%s", peer_name(t));
	int u = socket(AF_UNIX, SOCK_STREAM, 0);
	say("one more byte", "%s", ret(connect(u, (struct sockaddr *)&a, len + 1)));
	say("one less", "%s", ret(connect(u, (struct sockaddr *)&a, len - 1)));
	say("accept", "%s", okret(accept(s, NULL, NULL)));
	say("other type of socket", "%s", ret(connect_to(socket(AF_UNIX, SOCK_SEQPACKET, 0), "@sentry-test")));
	close(s);
	say("gone", "%s", ret(connect(u, (struct sockaddr *)&a, len)));
	s = socket(AF_UNIX, SOCK_STREAM, 0);
	say("free again", "%s", ret(bind_to(s, "@sentry-test")));
	// The empty name of an address longer than its family is a name too.
	memset(&a, 0, sizeof a);
	a.sun_family = AF_UNIX;
	u = socket(AF_UNIX, SOCK_STREAM, 0);
	say("one zero", "%s %s", ret(bind(u, (struct sockaddr *)&a, 3)), own_name(u));
	u = socket(AF_UNIX, SOCK_STREAM, 0);
	say("all zeros", "%s", ret(bind(u, (struct sockaddr *)&a, sizeof a)));
	len = sizeof b;
	say("its length", "%s %u", ret(getsockname(u, (struct sockaddr *)&b, &len)), len);
	// Only the family: the kernel chooses.
	u = socket(AF_UNIX, SOCK_STREAM, 0);
	say("autobind", "%s", ret(bind(u, (struct sockaddr *)&a, 2)));
	len = sizeof b;
	getsockname(u, (struct sockaddr *)&b, &len);
	int hex = b.sun_path[0] == 0;
	for (int i = 1; i < 6; i++)
		hex &= strchr("0123456789abcdef", b.sun_path[i]) != NULL;
	say("five digits", "%u %s", len, yes(hex));
	say("autobind twice", "%s", ret(bind(u, (struct sockaddr *)&a, 2)));
	say("name after autobind", "%s", ret(bind_to(u, "@sentry-late")));
}

static void server(void)
{
	char b[64] = "";
	struct sockaddr_un a;
	for (int k = 0; k < 3; k += 2) {
		const char *name = k ? "@sentry-q" : "stream";
		int l = listener(kinds[k], name, 2);
		say(label(k, "listener"), "%s, %s", ready(l), option(l, SO_ACCEPTCONN));
		int c[8], n = 0;
		for (; n < 8; n++) {
			c[n] = socket(AF_UNIX, kinds[k] | SOCK_NONBLOCK, 0);
			if (connect_to(c[n], name))
				break;
		}
		say(label(k, "backlog 2 takes"), "%d %s", n, ret(connect_to(c[n], name)));
		say(label(k, "refused one"), "%s", ready(c[n]));
		say(label(k, "ready"), "%s", ready(l));
		say(label(k, "connected"), "%s %s", ready(c[0]), peer_name(c[0]));
		say(label(k, "early write"), "%s", ret(write(c[0], "early", 5)));
		say(label(k, "connect twice"), "%s", ret(connect_to(c[0], name)));
		say(label(k, "connect nowhere"), "%s", ret(connect_to(c[0], "@sentry-nowhere")));
		say(label(k, "read the listener"), "%s", ret(read(l, b, 1)));
		say(label(k, "write the listener"), "%s", ret(send(l, b, 1, MSG_NOSIGNAL)));
		say(label(k, "connect the listener"), "%s", ret(connect_to(l, name)));
		int q;
		say(label(k, "FIONREAD of the listener"), "%s", ret(ioctl(l, FIONREAD, &q)));
		socklen_t len = sizeof a;
		int s = accept4(l, (struct sockaddr *)&a, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		say(label(k, "accept"), "%s %s", okret(s), shown(&a, len));
		say(label(k, "flags"), "%o %d", fcntl(s, F_GETFL), fcntl(s, F_GETFD));
		say(label(k, "early read"), "%s %.5s", ret(read(s, b, sizeof b)), b);
		say(label(k, "nothing more"), "%s", ret(read(s, b, sizeof b)));
		say(label(k, "room again"), "%s", ret(connect_to(c[n], name)));
		say(label(k, "names"), "%s %s", own_name(s), peer_name(s));
		// A client that is named, and gone when it is accepted.
		bind_to(c[1], k ? "@sentry-client" : "client");
		write(c[1], "last", 4);
		close(c[1]);
		len = sizeof a;
		s = accept(l, (struct sockaddr *)&a, &len);
		say(label(k, "accept the dead"), "%s %s", okret(s), shown(&a, len));
		say(label(k, "ready"), "%s", ready(s));
		say(label(k, "last words"), "%s %.4s", ret(read(s, b, sizeof b)), b);
		say(label(k, "end"), "%s", ret(read(s, b, sizeof b)));
		// The listener goes while one waits.
		close(l);
		say(label(k, "listener gone"), "%s", ready(c[2]));
		say(label(k, "error"), "%s %s", option(c[2], SO_ERROR), option(c[2], SO_ERROR));
		say(label(k, "read"), "%s", ret(read(c[2], b, 1)));
		say(label(k, "accepted one lives"), "%s", ready(c[0]));
		l = listener(kinds[k], k ? "@sentry-0" : "zero", 0);
		fcntl(l, F_SETFL, O_NONBLOCK);
		say(label(k, "nobody"), "%s", ret(accept(l, NULL, NULL)));
		say(label(k, "backlog 0"), "%s", ret(connect_to(socket(AF_UNIX, kinds[k], 0), k ? "@sentry-0" : "zero")));
		int x = socket(AF_UNIX, kinds[k] | SOCK_NONBLOCK, 0);
		say(label(k, "is full"), "%s", ret(connect_to(x, k ? "@sentry-0" : "zero")));
		say(label(k, "raise it"), "%s %s", ret(listen(l, 1)), ret(connect_to(x, k ? "@sentry-0" : "zero")));
		say(label(k, "shut down"), "%s %s", ret(shutdown(l, SHUT_RD)), ready(l));
		say(label(k, "those who wait"), "%s %s", okret(accept(l, NULL, NULL)), okret(accept(l, NULL, NULL)));
		say(label(k, "then"), "%s", ret(accept(l, NULL, NULL)));
		say(label(k, "no more"), "%s", ret(connect_to(socket(AF_UNIX, kinds[k], 0), k ? "@sentry-0" : "zero")));
	}
}

// waits: accept, connect and read that wait for another process.
static void waits(void)
{
	char b[64] = "";
	int l = listener(SOCK_STREAM, "s", 0);
	if (fork() == 0) {
		sleep_ms(60);
		int c = socket(AF_UNIX, SOCK_STREAM, 0);
		_exit(connect_to(c, "s") || write(c, "hello", 5) != 5);
	}
	int s = accept(l, NULL, NULL), st;
	say("accepted", "%s", okret(s));
	say("read", "%s %.5s", ret(read(s, b, sizeof b)), b);
	say("end", "%s", ret(read(s, b, sizeof b)));
	wait(&st);
	say("child", "%s", status(st));
	if (connect_to(socket(AF_UNIX, SOCK_STREAM, 0), "s"))
		say("connect", "%s", errname(errno));
	if (fork() == 0) {
		int c = socket(AF_UNIX, SOCK_STREAM, 0);
		int64_t t = now_ms();
		int r = connect_to(c, "s");
		_exit(r == 0 && now_ms() - t > 20 ? 7 : 8);
	}
	sleep_ms(80);
	accept(l, NULL, NULL);
	wait(&st);
	say("connect waited", "%s", status(st));
	// One that waits to connect when the listener goes.
	if (fork() == 0) {
		close(l);
		int c = socket(AF_UNIX, SOCK_STREAM, 0);
		_exit(connect_to(c, "s") ? errno == ECONNREFUSED ? 1 : 2 : 0);
	}
	sleep_ms(60);
	close(l);
	wait(&st);
	say("listener closed", "%s", status(st));
	// Threads that wait for a socket which another shuts down.
	int p[2];
	socketpair(AF_UNIX, SOCK_STREAM, 0, p);
	if (fork() == 0) {
		sleep_ms(50);
		_exit(shutdown(p[0], SHUT_RDWR));
	}
	say("shut down by another", "%s", ret(read(p[0], b, 1)));
	wait(NULL);
	struct timeval tv = {0, 40000};
	int64_t t = now_ms();
	socketpair(AF_UNIX, SOCK_STREAM, 0, p);
	say("set timeout", "%s", ret(setsockopt(p[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv)));
	say("timed out", "%s", ret(read(p[0], b, 1)));
	say("took long enough", "%s", yes(now_ms() - t >= 39));
	say("set it for writing", "%s", ret(setsockopt(p[0], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv)));
	static char big[1 << 20];
	ssize_t n = write(p[0], big, sizeof big);
	say("write part", "%s", yes(n > 0 && n < (ssize_t)sizeof big));
	say("write timed out", "%s", ret(write(p[0], big, 1)));
	handle(SIGALRM, SA_RESTART);
	ualarm(10000, 0);
	say("interrupted with timeout", "%s", ret(read(p[0], b, 1)));
	int l2 = listener(SOCK_STREAM, "t", 0);
	setsockopt(l2, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	say("accept timed out", "%s", ret(accept(l2, NULL, NULL)));
	connect_to(socket(AF_UNIX, SOCK_STREAM, 0), "t");
	int c = socket(AF_UNIX, SOCK_STREAM, 0);
	setsockopt(c, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
	say("connect timed out", "%s", ret(connect_to(c, "t")));
	tv.tv_sec = -1;
	say("negative", "%s %s", ret(setsockopt(p[1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv)), ret(0));
	tv.tv_usec = 1000000;
	say("out of range", "%s", ret(setsockopt(p[1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv)));
	tv.tv_sec = 3, tv.tv_usec = 250000;
	socklen_t len = sizeof tv;
	setsockopt(p[1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	memset(&tv, 0, sizeof tv);
	say("read back", "%s %ld.%06ld %u", ret(getsockopt(p[1], SOL_SOCKET, SO_RCVTIMEO, &tv, &len)), (long)tv.tv_sec, (long)tv.tv_usec, len);
}

static void streams(void)
{
	int s[2], n;
	char b[64] = "";
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s);
	say("two writes", "%s %s", ret(write(s[0], "abc", 3)), ret(write(s[0], "defg", 4)));
	say("of nothing", "%s", ret(write(s[0], "", 0)));
	say("FIONREAD", "%s %d", ret(ioctl(s[1], FIONREAD, &n)), n);
	say("FIONREAD of the sender", "%s %d", ret(ioctl(s[0], FIONREAD, &n)), n);
	ioctl(s[0], SIOCOUTQ, &n);
	say("SIOCOUTQ", "%s", yes(n >= 7));
	say("SIOCATMARK", "%s", yes(ioctl(s[0], TIOCGWINSZ, b) == -1 && errno == ENOTTY));
	say("peek", "%s %.7s", ret(recv(s[1], b, sizeof b, MSG_PEEK)), b);
	say("peek part", "%s", ret(recv(s[1], b, 2, MSG_PEEK)));
	say("part", "%s %.2s", ret(read(s[1], b, 2)), b);
	say("FIONREAD then", "%s %d", ret(ioctl(s[1], FIONREAD, &n)), n);
	say("rest", "%s %.5s", ret(read(s[1], b, sizeof b)), b);
	say("empty", "%s", ret(read(s[1], b, sizeof b)));
	say("read of 0", "%s", ret(read(s[1], b, 0)));
	say("recv of 0", "%s", ret(recv(s[1], b, 0, 0)));
	write(s[0], "x", 1);
	say("recv of 0 with data", "%s", ret(recv(s[1], b, 0, 0)));
	say("MSG_TRUNC", "%s", ret(recv(s[1], b, 10, MSG_TRUNC)));
	ioctl(s[0], SIOCOUTQ, &n);
	say("SIOCOUTQ empty", "%d", n);
	struct iovec v[3] = {{"one", 3}, {NULL, 0}, {"three", 5}};
	say("writev", "%s", ret(writev(s[0], v, 3)));
	struct iovec w[2] = {{b, 4}, {b + 10, 10}};
	say("readv", "%s %.4s %.4s", ret(readv(s[1], w, 2)), b, b + 10);
	say("bad memory", "%s", ret(write(s[0], (void *)8, 4)));
	write(s[0], "keep", 4);
	say("into bad memory", "%s", ret(read(s[1], (void *)8, 4)));
	say("is kept", "%s %.4s", ret(read(s[1], b, 10)), b);
	say("send with name", "%s", ret(send_to(s[0], "x", "other")));
	struct sockaddr_un a;
	socklen_t len = sizeof a;
	write(s[0], "x", 1);
	say("recvfrom", "%s %u", ret(recvfrom(s[1], b, 1, 0, (struct sockaddr *)&a, &len)), len);
	fcntl(s[1], F_SETFL, 0);
	if (fork() == 0) {
		for (int i = 0; i < 5; i++) {
			sleep_ms(15);
			if (write(s[0], "12", 2) != 2)
				_exit(1);
		}
		_exit(0);
	}
	say("WAITALL", "%s %.10s", ret(recv(s[1], b, 10, MSG_WAITALL)), b);
	wait(NULL);
	write(s[0], "123", 3);
	close(s[0]);
	say("WAITALL to the end", "%s", ret(recv(s[1], b, 10, MSG_WAITALL)));
	// Data nobody read makes it a reset for the other side.
	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	write(s[0], "lost", 4);
	write(s[1], "found", 5);
	close(s[1]);
	say("reset", "%s", ready(s[0]));
	say("read first", "%s", ret(read(s[0], b, 10)));
	say("then the error", "%s", ret(read(s[0], b, 10)));
	say("then the end", "%s", ret(read(s[0], b, 10)));
	put("file", "from a file");
	int f = open("file", O_RDONLY);
	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	say("sendfile", "%s", ret(sendfile(s[0], f, NULL, 100)));
	say("got", "%s %.11s", ret(read(s[1], b, sizeof b)), b);
	f = open("out", O_CREAT | O_RDWR, 0600);
	say("sendfile from a socket", "%s", ret(sendfile(f, s[0], NULL, 100)));
}

// fill and drain: what was written comes out, in order, and writers wait for room.
static void buffers(void)
{
	int s[2];
	static char big[1 << 20], back[1 << 20];
	for (unsigned i = 0; i < sizeof big; i++)
		big[i] = i * 7 + (i >> 8);
	for (int k = 0; k < 3; k++) {
		socketpair(AF_UNIX, kinds[k] | SOCK_NONBLOCK, 0, s);
		long put = 0, got = 0;
		int chunks = 0;
		for (ssize_t n; (n = write(s[0], big + put, 1000)) > 0; chunks++)
			put += n;
		say(label(k, "full"), "%s, %s", errname(errno), ready(s[0]));
		say(label(k, "took a lot"), "%s", yes(put > 40000 && put < 400000));
		for (ssize_t n; (n = read(s[1], back + got, 1000)) > 0;)
			got += n;
		say(label(k, "all back"), "%s %s", yes(put == got), yes(!memcmp(big, back, got)));
		say(label(k, "room"), "%s", ready(s[0]));
		fcntl(s[0], F_SETFL, 0);
		fcntl(s[1], F_SETFL, 0);
		pid_t pid = fork();
		if (pid == 0) {
			close(s[1]);
			long n = 0;
			while (n < (long)sizeof big) {
				ssize_t w = write(s[0], big + n, k ? 4096 : sizeof big - n);
				if (w <= 0)
					_exit(1);
				n += w;
			}
			_exit(0);
		}
		close(s[0]);
		memset(back, 0, sizeof back);
		got = 0;
		for (ssize_t n; got < (long)sizeof back && (n = read(s[1], back + got, sizeof back - got)) > 0;)
			got += n;
		int st;
		wait(&st);
		say(label(k, "a megabyte"), "%s, %s", yes(!memcmp(big, back, sizeof big)), status(st));
	}
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s);
	int v = 1;
	say("small buffer", "%s %s", ret(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, sizeof v)), option(s[0], SO_SNDBUF));
	say("small write", "%s", yes(write(s[0], big, 100000) < 20000));
	v = 50000;
	say("larger buffer", "%s %s", ret(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, sizeof v)), option(s[0], SO_SNDBUF));
	say("more", "%s", yes(write(s[0], big, 100000) > 0));
	v = 20000;
	say("receive buffer", "%s %s", ret(setsockopt(s[0], SOL_SOCKET, SO_RCVBUF, &v, sizeof v)), option(s[0], SO_RCVBUF));
	int d[2];
	socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, d);
	v = 4000;
	setsockopt(d[0], SOL_SOCKET, SO_SNDBUF, &v, sizeof v);
	say("too long", "%s", ret(write(d[0], big, 8000)));
	say("just not", "%s", ret(write(d[0], big, 8000 - 32)));
}

static void datagrams(void)
{
	int s[2], n;
	char b[64] = "";
	struct sockaddr_un a;
	socklen_t len;
	socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, s);
	say("two", "%s %s", ret(write(s[0], "first", 5)), ret(send(s[0], "", 0, 0)));
	say("third", "%s", ret(send(s[0], "third one", 9, 0)));
	say("write of nothing", "%s", ret(write(s[0], "", 0)));
	say("FIONREAD", "%s %d", ret(ioctl(s[1], FIONREAD, &n)), n);
	say("peek", "%s %.5s", ret(recv(s[1], b, sizeof b, MSG_PEEK)), b);
	say("first cut", "%s %.3s", ret(recv(s[1], b, 3, 0)), b);
	say("empty one", "%s", ret(recv(s[1], b, sizeof b, 0)));
	say("true length", "%s", ret(recv(s[1], b, 3, MSG_TRUNC)));
	say("the written nothing", "%s", ret(recv(s[1], b, sizeof b, 0)));
	say("none", "%s", ret(recv(s[1], b, sizeof b, 0)));
	say("into bad memory", "%s %s", ret(write(s[0], "lost", 4)), ret(read(s[1], (void *)8, 4)));
	say("is lost", "%s", ret(read(s[1], b, 4)));
	int u = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0), c = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	bind_to(u, "u");
	say("sendto", "%s", ret(send_to(c, "anonymous", "u")));
	len = sizeof a;
	say("from nobody", "%s %u", ret(recvfrom(u, b, sizeof b, 0, (struct sockaddr *)&a, &len)), len);
	bind_to(c, "c");
	say("sendto", "%s", ret(send_to(c, "named", "u")));
	len = sizeof a;
	say("from", "%s %s", ret(recvfrom(u, b, sizeof b, 0, (struct sockaddr *)&a, &len)), shown(&a, len));
	say("answer", "%s", ret(sendto(u, "answer", 6, 0, (struct sockaddr *)&a, len)));
	say("came", "%s %.6s", ret(recv(c, b, sizeof b, 0)), b);
	say("connect", "%s %s", ret(connect_to(c, "u")), peer_name(c));
	say("send", "%s", ret(send(c, "one", 3, 0)));
	say("sendto elsewhere", "%s", ret(send_to(c, "x", "nowhere")));
	say("sendto with name", "%s", ret(send_to(c, "two", "u")));
	// A connected socket takes datagrams only from its peer.
	int other = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	say("to one that is connected", "%s %s", ret(send_to(other, "x", "c")), ret(connect_to(other, "c")));
	say("to one that is not", "%s", ret(connect_to(other, "u")));
	say("back", "%s %s", ret(connect_to(u, "c")), ret(send(u, "to c", 4, 0)));
	say("excluded now", "%s", ret(send(other, "x", 1, 0)));
	struct sockaddr none = {.sa_family = AF_UNSPEC};
	say("disconnect", "%s %s", ret(connect(u, &none, sizeof none)), peer_name(u));
	say("what it had is lost", "%s", ret(recv(u, b, sizeof b, 0)));
	say("the other is told", "%s %s", ready(c), ret(recv(c, b, sizeof b, 0)));
	say("and then has", "%s", ret(recv(c, b, sizeof b, 0)));
	close(u);
	say("peer closed", "%s %s", ready(c), ret(recv(c, b, 1, 0)));
	say("send", "%s %s", ret(send(c, "x", 1, 0)), ret(send(c, "x", 1, 0)));
	say("sendto", "%s", ret(send_to(c, "x", "u")));
	say("to itself", "%s %s", ret(connect_to(c, "c")), ret(send(c, "self", 4, 0)));
	say("from itself", "%s %.4s", ret(recv(c, b, sizeof b, 0)), b);
	// Only so many wait from those it is not connected to.
	u = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	bind_to(u, "@sentry-many");
	connect_to(other, "@sentry-many");
	int sent = 0;
	while (send(other, "x", 1, 0) == 1)
		sent++;
	say("queue is full", "%s %s, %s", errname(errno), yes(sent >= 10), ready(other));
	say("sendto too", "%s", ret(send_to(c, "x", "@sentry-many")));
	say("one taken", "%s", ret(recv(u, b, 1, 0)));
	say("room for one", "%s, %s", ready(other), ret(send(other, "x", 1, 0)));
	fcntl(other, F_SETFL, 0);
	if (fork() == 0)
		_exit(send(other, "late", 4, 0) != 4);
	sleep_ms(50);
	for (n = 0; recv(u, b, sizeof b, 0) > 0; n++)
		sleep_ms(5);
	int st;
	wait(&st);
	say("one waited", "%s %s %.4s", status(st), yes(n == sent + 1), b);
	say("shut down", "%s %s", ret(shutdown(u, SHUT_RD)), ret(send(other, "x", 1, 0)));
	say("reader sees", "%s %s", ret(recv(u, b, 1, 0)), ready(u));
	fcntl(u, F_SETFL, 0);
	say("waiting reader sees", "%s", ret(recv(u, b, 1, 0)));
	say("write side", "%s %s", ret(shutdown(other, SHUT_WR)), ret(send(other, "x", 1, 0)));
}

static void packets(void)
{
	int n;
	char b[64] = "";
	int l = listener(SOCK_SEQPACKET, "q", 5);
	int c = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	say("connect", "%s", ret(connect_to(c, "q")));
	int s = accept4(l, NULL, NULL, SOCK_NONBLOCK);
	say("write", "%s %s", ret(write(c, "packet", 6)), ret(send(c, "second", 6, MSG_EOR)));
	say("FIONREAD", "%s %d", ret(ioctl(s, FIONREAD, &n)), n);
	struct iovec v = {b, 3};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	say("cut", "%s %x", ret(recvmsg(s, &m, 0)), m.msg_flags);
	v.iov_len = sizeof b;
	say("whole", "%s %x", ret(recvmsg(s, &m, 0)), m.msg_flags);
	say("empty one", "%s %s", ret(send(c, "", 0, 0)), ret(recv(s, b, 1, 0)));
	say("none", "%s", ret(recv(s, b, 1, 0)));
	say("with a name", "%s", ret(send_to(c, "named", "nowhere")));
	say("all the same", "%s", ret(recv(s, b, 10, 0)));
	write(c, "last", 4);
	shutdown(c, SHUT_WR);
	say("last", "%s %s", ready(s), ret(recv(s, b, 10, 0)));
	say("end", "%s %s", ret(recv(s, b, 10, 0)), ret(recv(s, b, 10, 0)));
	say("write after shutdown", "%s", ret(write(c, "x", 1)));
	say("other direction", "%s %s", ret(write(s, "back", 4)), ret(recv(c, b, 10, 0)));
	write(s, "unread", 6);
	close(c);
	say("closed with data", "%s %s", ready(s), option(s, SO_ERROR));
	say("read", "%s", ret(recv(s, b, 1, 0)));
	say("write", "%s", ret(write(s, "x", 1)));
}

static void shutdowns(void)
{
	char b[16];
	static const char *const how[] = {"RD", "WR", "RDWR"};
	signal(SIGPIPE, SIG_IGN);
	for (int k = 0; k < 3; k++)
		for (int h = 0; h < 3; h++) {
			int s[2];
			socketpair(AF_UNIX, kinds[k] | SOCK_NONBLOCK, 0, s);
			write(s[0], "mine", 4);
			write(s[1], "theirs", 6);
			say(label(k, how[h]), "%s: %s; %s", ret(shutdown(s[0], h)), ready(s[0]), ready(s[1]));
			say(label(k, "reads"), "%s %s", ret(read(s[0], b, 10)), ret(read(s[1], b, 10)));
			say(label(k, "then"), "%s %s", ret(read(s[0], b, 10)), ret(read(s[1], b, 10)));
			say(label(k, "writes"), "%s %s", ret(write(s[0], "x", 1)), ret(write(s[1], "x", 1)));
			say(label(k, "ready"), "%s; %s", ready(s[0]), ready(s[1]));
			close(s[0]);
			close(s[1]);
		}
}

static void signals(void)
{
	int s[2], st;
	char b[16];
	for (int k = 0; k < 3; k++) {
		socketpair(AF_UNIX, kinds[k], 0, s);
		close(s[1]);
		if (fork() == 0)
			_exit(write(s[0], "x", 1) == -1 ? errno == EPIPE ? 1 : 2 : 0);
		wait(&st);
		say(label(k, "default action"), "%s", status(st));
		handle(SIGPIPE, 0);
		caught = 0;
		say(label(k, "send"), "%s, signals %d", ret(send(s[0], "x", 1, 0)), caught);
		say(label(k, "send"), "%s, signals %d", ret(send(s[0], "x", 1, 0)), caught);
		say(label(k, "NOSIGNAL"), "%s, signals %d", ret(send(s[0], "x", 1, MSG_NOSIGNAL)), caught);
		signal(SIGPIPE, SIG_DFL);
		close(s[0]);
	}
	handle(SIGALRM, 0);
	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	ualarm(30000, 0);
	say("read", "%s", ret(read(s[0], b, 1)));
	ualarm(30000, 0);
	say("recv", "%s", ret(recv(s[0], b, 1, 0)));
	write(s[1], "12", 2);
	ualarm(30000, 0);
	say("WAITALL with some", "%s", ret(recv(s[0], b, 10, MSG_WAITALL)));
	static char big[1 << 20];
	ualarm(30000, 0);
	say("write that began", "%s", yes(write(s[0], big, sizeof big) > 1000));
	ualarm(30000, 0);
	say("write that could not", "%s", ret(write(s[0], big, sizeof big)));
	int l = listener(SOCK_STREAM, "s", 0);
	ualarm(30000, 0);
	say("accept", "%s", ret(accept(l, NULL, NULL)));
	connect_to(socket(AF_UNIX, SOCK_STREAM, 0), "s");
	int c = socket(AF_UNIX, SOCK_STREAM, 0);
	ualarm(30000, 0);
	say("connect", "%s", ret(connect_to(c, "s")));
	handle(SIGALRM, SA_RESTART);
	if (fork() == 0) {
		sleep_ms(100);
		_exit(write(s[1], "late", 4) != 4);
	}
	caught = 0;
	ualarm(30000, 0);
	say("restarted", "%s, signals %d", ret(read(s[0], b, 10)), caught);
	wait(NULL);
	if (fork() == 0) {
		sleep_ms(100);
		_exit(accept(l, NULL, NULL) < 0);
	}
	caught = 0;
	ualarm(30000, 0);
	say("connect restarted", "%s, signals %d", ret(connect_to(c, "s")), caught);
	wait(NULL);
}

static void options(void)
{
	int s[2], v = 1;
	static const struct {
		const char *name;
		int opt;
	} list[] = {{"DEBUG", SO_DEBUG}, {"REUSEADDR", SO_REUSEADDR}, {"TYPE", SO_TYPE}, {"ERROR", SO_ERROR},
		    {"DONTROUTE", SO_DONTROUTE}, {"BROADCAST", SO_BROADCAST}, {"SNDBUF", SO_SNDBUF}, {"RCVBUF", SO_RCVBUF},
		    {"KEEPALIVE", SO_KEEPALIVE}, {"OOBINLINE", SO_OOBINLINE}, {"PRIORITY", SO_PRIORITY}, {"REUSEPORT", SO_REUSEPORT},
		    {"PASSCRED", SO_PASSCRED}, {"RCVLOWAT", SO_RCVLOWAT}, {"SNDLOWAT", SO_SNDLOWAT}, {"ACCEPTCONN", SO_ACCEPTCONN},
		    {"PROTOCOL", SO_PROTOCOL}, {"DOMAIN", SO_DOMAIN}, {"PEEK_OFF", SO_PEEK_OFF}, {"TIMESTAMP", SO_TIMESTAMP}};
	for (int k = 0; k < 3; k++) {
		socketpair(AF_UNIX, kinds[k], 0, s);
		for (unsigned i = 0; i < sizeof list / sizeof *list; i++) {
			const char *before = option(s[0], list[i].opt);
			const char *r = ret(setsockopt(s[0], SOL_SOCKET, list[i].opt, &v, sizeof v));
			say(label(k, list[i].name), "%s, %s, %s", before, r, option(s[0], list[i].opt));
		}
	}
	struct linger l = {1, 5};
	socklen_t len = sizeof l;
	say("LINGER", "%s", ret(setsockopt(s[0], SOL_SOCKET, SO_LINGER, &l, sizeof l)));
	memset(&l, 0, sizeof l);
	say("its value", "%s %d %d %u", ret(getsockopt(s[0], SOL_SOCKET, SO_LINGER, &l, &len)), l.l_onoff, l.l_linger, len);
	say("too short", "%s", ret(setsockopt(s[0], SOL_SOCKET, SO_REUSEADDR, &v, 3)));
	say("negative", "%s", ret(setsockopt(s[0], SOL_SOCKET, SO_REUSEADDR, &v, -1)));
	say("bad memory", "%s", ret(setsockopt(s[0], SOL_SOCKET, SO_REUSEADDR, (void *)8, 4)));
	say("unknown", "%s %s", ret(setsockopt(s[0], SOL_SOCKET, 999, &v, sizeof v)), option(s[0], 999));
	say("other level", "%s", ret(setsockopt(s[0], 6, 1, &v, sizeof v)));
	len = sizeof v;
	say("get of other level", "%s", ret(getsockopt(s[0], 6, 1, &v, &len)));
	char b[8] = "xxxxxxx";
	len = 2;
	say("get with 2", "%s %u %d %c", ret(getsockopt(s[0], SOL_SOCKET, SO_TYPE, b, &len)), len, b[0], b[2]);
	len = -1;
	say("get with -1", "%s", ret(getsockopt(s[0], SOL_SOCKET, SO_TYPE, b, &len)));
	say("get to bad memory", "%s", ret(getsockopt(s[0], SOL_SOCKET, SO_TYPE, (void *)8, &len)));
	struct sockaddr_un a;
	len = 1;
	say("PEERNAME cut", "%s", ret(getsockopt(s[0], SOL_SOCKET, SO_PEERNAME, &a, &len)));
	len = sizeof a;
	say("PEERNAME", "%s %u", ret(getsockopt(s[0], SOL_SOCKET, SO_PEERNAME, &a, &len)), len);
}

// peekoff: SO_PEEK_OFF goes on with each look.
static void peekoff(void)
{
	char b[32];
	for (int k = 0; k < 2; k++) {
		int s[2], v = 0;
		socketpair(AF_UNIX, kinds[k] | SOCK_NONBLOCK, 0, s);
		setsockopt(s[1], SOL_SOCKET, SO_PEEK_OFF, &v, sizeof v);
		write(s[0], "abcdef", 6);
		write(s[0], "ghi", 3);
		for (int i = 0; i < 5; i++) {
			memset(b, 0, sizeof b);
			ssize_t n = recv(s[1], b, 4, MSG_PEEK);
			say(label(k, "look"), "%s %s at %s", ret(n), b, option(s[1], SO_PEEK_OFF));
		}
		memset(b, 0, sizeof b);
		ssize_t n = recv(s[1], b, 4, 0);
		say(label(k, "take"), "%s %s at %s", ret(n), b, option(s[1], SO_PEEK_OFF));
		memset(b, 0, sizeof b);
		n = recv(s[1], b, 4, MSG_PEEK);
		say(label(k, "look"), "%s %s at %s", ret(n), b, option(s[1], SO_PEEK_OFF));
	}
}

static void epolls(void)
{
	int s[2], ep = epoll_create1(0);
	char b[16];
	struct epoll_event e;
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s);
	e.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
	say("add", "%s", ret(epoll_ctl(ep, EPOLL_CTL_ADD, s[0], &e)));
#define NEXT(what) say(what, "%s %s", ret((e.events = 0, epoll_wait(ep, &e, 1, 0))), events(e.events))
	NEXT("at first");
	NEXT("edge passed");
	write(s[1], "a", 1);
	NEXT("came in");
	NEXT("edge passed");
	write(s[1], "b", 1);
	NEXT("more");
	read(s[0], b, 10);
	NEXT("read");
	static char big[300000];
	while (write(s[0], big, sizeof big) > 0)
		;
	NEXT("full");
	while (read(s[1], big, sizeof big) > 0)
		;
	NEXT("drained");
	shutdown(s[1], SHUT_WR);
	NEXT("half closed");
	close(s[1]);
	NEXT("closed");
	NEXT("edge passed");
	close(s[0]);
	int l = listener(SOCK_STREAM, "s", 5);
	e.events = EPOLLIN | EPOLLET;
	epoll_ctl(ep, EPOLL_CTL_ADD, l, &e);
	NEXT("listener");
	int c = socket(AF_UNIX, SOCK_STREAM, 0);
	connect_to(c, "s");
	NEXT("connection");
	connect_to(socket(AF_UNIX, SOCK_STREAM, 0), "s");
	NEXT("another");
	close(accept(l, NULL, NULL));
	NEXT("one accepted");
	e.events = EPOLLRDHUP | EPOLLET;
	epoll_ctl(ep, EPOLL_CTL_ADD, c, &e);
	NEXT("client of a closed one");
	// poll wakes when something happens.
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s);
	if (fork() == 0) {
		sleep_ms(40);
		_exit(write(s[1], "x", 1) != 1);
	}
	struct pollfd p = {s[0], POLLIN, 0};
	say("poll woke", "%s %s", ret(poll(&p, 1, 5000)), events(p.revents));
	wait(NULL);
	while (write(s[0], big, sizeof big) > 0)
		;
	if (fork() == 0) {
		sleep_ms(40);
		while (read(s[1], big, sizeof big) > 0)
			;
		_exit(0);
	}
	p.events = POLLOUT;
	say("poll woke for room", "%s %s", ret(poll(&p, 1, 5000)), events(p.revents));
	wait(NULL);
	// Room in the queue of a datagram socket wakes those who are connected to it.
	int u = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0), d = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	bind_to(u, "u");
	connect_to(d, "u");
	while (send(d, "x", 1, 0) == 1)
		;
	p.fd = d;
	say("no room", "%s", ret(poll(&p, 1, 0)));
	if (fork() == 0) {
		sleep_ms(40);
		_exit(recv(u, b, 1, 0) != 1);
	}
	say("datagram room", "%s %s", ret(poll(&p, 1, 5000)), events(p.revents));
	wait(NULL);
}

static int ring[2][2];

static void *relay(void *a)
{
	(void)a;
	char c;
	while (read(ring[0][1], &c, 1) == 1)
		if (write(ring[1][0], &c, 1) != 1)
			break;
	close(ring[1][0]);
	return NULL;
}

static void threads(void)
{
	pthread_t t;
	socketpair(AF_UNIX, SOCK_STREAM, 0, ring[0]);
	socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ring[1]);
	pthread_create(&t, NULL, relay, NULL);
	int sum = 0;
	for (int i = 0; i < 500; i++) {
		char c = i % 7;
		if (write(ring[0][0], &c, 1) != 1 || read(ring[1][1], &c, 1) != 1)
			break;
		sum += c;
	}
	say("ping-pong", "%d", sum);
	close(ring[0][0]);
	char c;
	say("end", "%s", ret(read(ring[1][1], &c, 1)));
	say("join", "%d", pthread_join(t, NULL));
	// Many clients and one server.
	int l = listener(SOCK_STREAM, "s", 128);
	for (int i = 0; i < 8; i++)
		if (fork() == 0) {
			for (int j = 0; j < 10; j++) {
				int s = socket(AF_UNIX, SOCK_STREAM, 0);
				char b = i;
				if (connect_to(s, "s") || write(s, &b, 1) != 1 || read(s, &b, 1) != 1 || b != i + 1)
					_exit(1);
				close(s);
			}
			_exit(0);
		}
	for (int i = 0; i < 80; i++) {
		int s = accept(l, NULL, NULL);
		char b;
		if (read(s, &b, 1) != 1)
			break;
		b++;
		if (write(s, &b, 1) != 1)
			break;
		close(s);
	}
	int good = 0, st;
	while (wait(&st) > 0)
		good += st == 0;
	say("clients served", "%d", good);
}

static const struct section table[] = {
	{"pairs", pairs}, {"errors", errors}, {"names", names}, {"abstract", abstract}, {"server", server}, {"waits", waits},
	{"streams", streams}, {"buffers", buffers}, {"datagrams", datagrams}, {"packets", packets}, {"shutdowns", shutdowns},
	{"signals", signals}, {"options", options}, {"peekoff", peekoff}, {"epolls", epolls}, {"threads", threads},
};

GUEST(table)
