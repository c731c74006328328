// Connections of AF_UNIX sockets: listening, waiting, signals, readiness, threads.
#include "unix.h"
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/time.h>

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
		listener(kinds[k], "@sentry-idle", 1);
		say(label(k, "connect the listener"), "%s", ret(connect_to(l, "@sentry-idle")));
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
	pid_t pid = fork();
	if (pid == 0) {
		int c = socket(AF_UNIX, SOCK_STREAM, 0);
		int64_t t = now_ms();
		int r = connect_to(c, "s");
		_exit(r == 0 && now_ms() - t > 20 ? 7 : 8);
	}
	asleep(pid);
	sleep_ms(40);
	accept(l, NULL, NULL);
	wait(&st);
	say("connect waited", "%s", status(st));
	// One that waits to connect when the listener goes.
	pid = fork();
	if (pid == 0) {
		close(l);
		int c = socket(AF_UNIX, SOCK_STREAM, 0);
		_exit(connect_to(c, "s") ? errno == ECONNREFUSED ? 1 : 2 : 0);
	}
	asleep(pid);
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
	struct timeval longer = {60, 0};
	setsockopt(p[0], SOL_SOCKET, SO_RCVTIMEO, &longer, sizeof longer);
	say("interrupted with timeout", "%s", ret(UNDER_ALARM(10000, read(p[0], b, 1))));
	int l2 = listener(SOCK_STREAM, "t", 0);
	setsockopt(l2, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	say("accept timed out", "%s", ret(accept(l2, NULL, NULL)));
	connect_to(socket(AF_UNIX, SOCK_STREAM, 0), "t");
	int c = socket(AF_UNIX, SOCK_STREAM, 0);
	setsockopt(c, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
	say("connect timed out", "%s", ret(connect_to(c, "t")));
	tv.tv_sec = -1;
	say("negative", "%s", ret(setsockopt(p[1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv)));
	say("does not wait", "%s", ret(read(p[1], big, sizeof big) > 0 ? read(p[1], big, 1) : 0));
	tv.tv_usec = 1000000;
	say("out of range", "%s", ret(setsockopt(p[1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv)));
	tv.tv_sec = 3, tv.tv_usec = 500000;
	socklen_t len = sizeof tv;
	setsockopt(p[1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	memset(&tv, 0, sizeof tv);
	say("read back", "%s %ld.%06ld %u", ret(getsockopt(p[1], SOL_SOCKET, SO_RCVTIMEO, &tv, &len)), (long)tv.tv_sec, (long)tv.tv_usec, len);
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
	say("read", "%s", ret(UNDER_ALARM(30000, read(s[0], b, 1))));
	say("recv", "%s", ret(UNDER_ALARM(30000, recv(s[0], b, 1, 0))));
	write(s[1], "12", 2);
	say("WAITALL with some", "%s", ret(UNDER_ALARM(30000, recv(s[0], b, 10, MSG_WAITALL))));
	static char big[1 << 20];
	say("write that began", "%s", yes(UNDER_ALARM(30000, write(s[0], big, sizeof big)) > 1000));
	say("write that could not", "%s", ret(UNDER_ALARM(30000, write(s[0], big, sizeof big))));
	int l = listener(SOCK_STREAM, "s", 0);
	say("accept", "%s", ret(UNDER_ALARM(30000, accept(l, NULL, NULL))));
	connect_to(socket(AF_UNIX, SOCK_STREAM, 0), "s");
	int c = socket(AF_UNIX, SOCK_STREAM, 0);
	say("connect", "%s", ret(UNDER_ALARM(30000, connect_to(c, "s"))));
	handle(SIGALRM, SA_RESTART);
	caught = 0;
	if (fork() == 0) {
		asleep(getppid());
		kill(getppid(), SIGALRM);
		sleep_ms(70);
		_exit(write(s[1], "late", 4) != 4);
	}
	say("restarted", "%s, signals %d", ret(read(s[0], b, 10)), caught);
	wait(NULL);
	caught = 0;
	if (fork() == 0) {
		asleep(getppid());
		kill(getppid(), SIGALRM);
		sleep_ms(70);
		_exit(accept(l, NULL, NULL) < 0);
	}
	say("connect restarted", "%s, signals %d", ret(connect_to(c, "s")), caught);
	wait(NULL);
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
	say("poll woke", "%s %s", ret(poll(&p, 1, 60000)), events(p.revents));
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
	say("poll woke for room", "%s %s", ret(poll(&p, 1, 60000)), events(p.revents));
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
	say("datagram room", "%s %s", ret(poll(&p, 1, 60000)), events(p.revents));
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
	{"server", server}, {"waits", waits}, {"signals", signals}, {"epolls", epolls}, {"threads", threads},
};

GUEST(table)
