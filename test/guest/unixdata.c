// Data through AF_UNIX sockets: streams, datagrams, packets, full buffers, shutdown.
#include "unix.h"
#include <linux/sockios.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

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
	say("bad memory", "%s", ret(write(s[0], bad_memory, 4)));
	write(s[0], "keep", 4);
	say("into bad memory", "%s", ret(read(s[1], bad_memory, 4)));
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
	say("writev of nothing", "%s", ret(writev(s[0], NULL, 0)));
	say("FIONREAD", "%s %d", ret(ioctl(s[1], FIONREAD, &n)), n);
	say("peek", "%s %.5s", ret(recv(s[1], b, sizeof b, MSG_PEEK)), b);
	say("first cut", "%s %.3s", ret(recv(s[1], b, 3, 0)), b);
	say("empty one", "%s", ret(recv(s[1], b, sizeof b, 0)));
	say("true length", "%s", ret(recv(s[1], b, 3, MSG_TRUNC)));
	say("the written nothing", "%s", ret(recv(s[1], b, sizeof b, 0)));
	say("none", "%s", ret(recv(s[1], b, sizeof b, 0)));
	say("into bad memory", "%s %s", ret(write(s[0], "lost", 4)), ret(read(s[1], bad_memory, 4)));
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
	pid_t pid = fork();
	if (pid == 0)
		_exit(send(other, "late", 4, 0) != 4);
	asleep(pid);
	int st;
	for (n = 0; recv(u, b, sizeof b, 0) > 0; n++)
		if (n == 0)
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

static const struct section table[] = {
	{"streams", streams}, {"buffers", buffers}, {"datagrams", datagrams}, {"packets", packets}, {"shutdowns", shutdowns},
};

GUEST(table)
