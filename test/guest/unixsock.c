// Sockets of family AF_UNIX: pairs, names in the file system and abstract ones, options.
#include "unix.h"

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
	say("pair in bad memory", "%s", ret(socketpair(AF_UNIX, SOCK_STREAM, 0, bad_memory)));
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
	say("connect to bad memory", "%s", ret(connect(q, bad_memory, sizeof a)));
	say("name to bad memory", "%s", ret(getsockname(q, bad_memory, &len)));
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
	say("bad memory", "%s", ret(setsockopt(s[0], SOL_SOCKET, SO_REUSEADDR, bad_memory, 4)));
	say("unknown", "%s %s", ret(setsockopt(s[0], SOL_SOCKET, 999, &v, sizeof v)), option(s[0], 999));
	say("other level", "%s", ret(setsockopt(s[0], 6, 1, &v, sizeof v)));
	len = sizeof v;
	say("get of other level", "%s", ret(getsockopt(s[0], 6, 1, &v, &len)));
	char b[8] = "xxxxxxx";
	len = 2;
	say("get with 2", "%s %u %d %c", ret(getsockopt(s[0], SOL_SOCKET, SO_TYPE, b, &len)), len, b[0], b[2]);
	len = -1;
	say("get with -1", "%s", ret(getsockopt(s[0], SOL_SOCKET, SO_TYPE, b, &len)));
	say("get to bad memory", "%s", ret(getsockopt(s[0], SOL_SOCKET, SO_TYPE, bad_memory, &len)));
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

static const struct section table[] = {
	{"pairs", pairs}, {"errors", errors}, {"names", names}, {"abstract", abstract}, {"options", options}, {"peekoff", peekoff},
};

GUEST(table)
