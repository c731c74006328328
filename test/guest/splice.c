// splice, tee and vmsplice: between pipes, files and sockets; positions, errors, waiting.
#include "guest.h"
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

static void *volatile bad_memory = (void *)8;

static void handler(int s)
{
	(void)s;
}

static void files(void)
{
	int p[2];
	char b[64] = "";
	put("in", "0123456789abcdef");
	int in = open("in", O_RDONLY), out = open("out", O_CREAT | O_RDWR | O_TRUNC, 0600);
	if (pipe2(p, O_NONBLOCK))
		return;
	say("from a file", "%s %ld", ret(splice(in, NULL, p[1], NULL, 6, 0)), (long)lseek(in, 0, SEEK_CUR));
	loff_t off = 10;
	say("from a position", "%s %ld", ret(splice(in, &off, p[1], NULL, 100, 0)), (long)off);
	say("not moved", "%ld", (long)lseek(in, 0, SEEK_CUR));
	say("at the end", "%s", ret(splice(in, &off, p[1], NULL, 100, 0)));
	off = 3;
	say("to a position", "%s %ld", ret(splice(p[0], NULL, out, &off, 4, 0)), (long)off);
	say("to the file", "%s %ld", ret(splice(p[0], NULL, out, NULL, 100, 0)), (long)lseek(out, 0, SEEK_CUR));
	say("content", "%s %.8s", ret(pread(out, b, sizeof b, 0)), b);
	say("empty", "%s", ret(splice(p[0], NULL, out, NULL, 100, 0)));
	say("nothing", "%s", ret(splice(p[0], NULL, out, NULL, 0, 0)));
	say("no pipe", "%s", ret(splice(in, NULL, out, NULL, 5, 0)));
	say("position of a pipe", "%s", ret(splice(p[0], &off, out, NULL, 5, 0)));
	say("position of a pipe to write", "%s", ret(splice(in, NULL, p[1], &off, 5, 0)));
	say("wrong ends", "%s", ret(splice(p[1], NULL, out, NULL, 5, 0)));
	say("file not to be read", "%s", ret(splice(open("in", O_WRONLY), NULL, p[1], NULL, 5, 0)));
	say("same pipe", "%s", ret(splice(p[0], NULL, p[1], NULL, 5, 0)));
	say("flags", "%s", ret(splice(in, NULL, p[1], NULL, 5, 0x10)));
	say("bad position", "%s", ret(splice(in, bad_memory, p[1], NULL, 5, 0)));
	off = -1;
	say("negative position", "%s", ret(splice(in, &off, p[1], NULL, 5, 0)));
	say("append", "%s", ret((write(p[1], "x", 1), splice(p[0], NULL, open("out", O_WRONLY | O_APPEND), NULL, 5, 0))));
	say("directory", "%s", ret(splice(open(".", O_RDONLY), NULL, p[1], NULL, 5, 0)));
	say("no descriptor", "%s", ret(splice(-1, NULL, p[1], NULL, 5, 0)));
	say("to null", "%s", ret(splice(p[0], NULL, open("/dev/null", O_WRONLY), NULL, 5, 0)));
	say("from zero", "%s", ret(splice(open("/dev/zero", O_RDONLY), NULL, p[1], NULL, 5, 0)));
}

static void pipes(void)
{
	int p[2], q[2];
	char b[64] = "";
	if (pipe(p) || pipe(q))
		return;
	write(p[1], "hello world", 11);
	say("tee", "%s", ret(tee(p[0], q[1], 5, 0)));
	say("copied", "%s %.5s", ret(read(q[0], b, sizeof b)), b);
	say("move", "%s", ret(splice(p[0], NULL, q[1], NULL, 6, 0)));
	say("moved", "%s %.6s", ret(read(q[0], b, sizeof b)), b);
	say("left", "%s %.5s", ret(read(p[0], b, sizeof b)), b);
	say("empty", "%s", ret(splice(p[0], NULL, q[1], NULL, 6, SPLICE_F_NONBLOCK)));
	say("empty tee", "%s", ret(tee(p[0], q[1], 6, SPLICE_F_NONBLOCK)));
	write(p[1], "x", 1);
	fcntl(q[1], F_SETFL, O_NONBLOCK);
	static char big[65536];
	while (write(q[1], big, sizeof big) > 0)
		;
	say("full", "%s %s", ret(splice(p[0], NULL, q[1], NULL, 6, 0)), ret(tee(p[0], q[1], 6, 0)));
	fcntl(q[1], F_SETFL, 0);
	if (fork() == 0) {
		sleep_ms(40);
		_exit(read(q[0], big, sizeof big) <= 0);
	}
	say("waited for room", "%s", ret(splice(p[0], NULL, q[1], NULL, 6, 0)));
	wait(NULL);
	while (fcntl(q[0], F_SETFL, O_NONBLOCK), read(q[0], big, sizeof big) > 0)
		;
	if (fork() == 0) {
		sleep_ms(40);
		_exit(write(p[1], "late", 4) != 4);
	}
	say("waited for bytes", "%s", ret(tee(p[0], q[1], 100, 0)));
	wait(NULL);
	read(p[0], b, sizeof b);
	struct sigaction sa = {.sa_handler = handler};
	sigaction(SIGALRM, &sa, NULL);
	say("interrupted", "%s", ret(UNDER_ALARM(30000, splice(p[0], NULL, q[1], NULL, 6, 0))));
	close(p[1]);
	say("no writer", "%s %s", ret(splice(p[0], NULL, q[1], NULL, 6, 0)), ret(tee(p[0], q[1], 6, 0)));
	if (pipe(p))
		return;
	write(p[1], "x", 1);
	close(q[0]);
	int st;
	if (fork() == 0)
		_exit(splice(p[0], NULL, q[1], NULL, 6, 0) != -1);
	wait(&st);
	say("no reader", "%s", status(st));
	signal(SIGPIPE, SIG_IGN);
	say("ignored", "%s %s", ret(splice(p[0], NULL, q[1], NULL, 6, 0)), ret(tee(p[0], q[1], 6, 0)));
	say("not lost", "%s", ret(read(p[0], b, sizeof b)));
	say("tee of a file", "%s", ret(tee(open("/dev/zero", O_RDONLY), p[1], 5, 0)));
	say("tee to itself", "%s", ret(tee(p[0], p[1], 5, 0)));
}

static void sockets(void)
{
	int p[2], s[2];
	char b[64] = "";
	if (pipe(p) || socketpair(AF_UNIX, SOCK_STREAM, 0, s))
		return;
	write(s[0], "from socket", 11);
	say("socket to pipe", "%s", ret(splice(s[1], NULL, p[1], NULL, 100, 0)));
	say("pipe to socket", "%s", ret(splice(p[0], NULL, s[1], NULL, 4, 0)));
	say("came", "%s %.4s", ret(read(s[0], b, sizeof b)), b);
	loff_t off = 0;
	say("position", "%s", ret(splice(s[1], &off, p[1], NULL, 4, 0)));
	say("rest", "%s", ret(read(p[0], b, sizeof b)));
	say("nothing there", "%s", ret(splice(s[1], NULL, p[1], NULL, 4, SPLICE_F_NONBLOCK)));
	fcntl(s[1], F_SETFL, O_NONBLOCK);
	say("non-blocking socket", "%s", ret(splice(s[1], NULL, p[1], NULL, 4, 0)));
	close(s[0]);
	say("closed", "%s", ret(splice(s[1], NULL, p[1], NULL, 4, 0)));
}

static void memory(void)
{
	int p[2];
	char b[64] = "", c[64] = "";
	if (pipe(p))
		return;
	struct iovec v[3] = {{"one ", 4}, {NULL, 0}, {"two", 3}}, w[2] = {{b, 4}, {c, 30}};
	say("in", "%s", ret(vmsplice(p[1], v, 3, 0)));
	say("out", "%s %.4s %.3s", ret(vmsplice(p[0], w, 2, 0)), b, c);
	say("empty", "%s", ret(vmsplice(p[0], w, 2, SPLICE_F_NONBLOCK)));
	say("no vectors", "%s", ret(vmsplice(p[1], v, 0, 0)));
	say("gift", "%s", ret(vmsplice(p[1], v, 1, SPLICE_F_GIFT)));
	say("flags", "%s", ret(vmsplice(p[1], v, 1, 0x20)));
	say("no pipe", "%s", ret(vmsplice(open("/dev/null", O_RDWR), v, 1, 0)));
	v[0].iov_base = bad_memory;
	say("bad memory", "%s", ret(vmsplice(p[1], v, 1, 0)));
	say("too many", "%s", ret(vmsplice(p[1], v, 1025, 0)));
	static char big[300000];
	v[0] = (struct iovec){big, sizeof big};
	say("as much as fits", "%s", yes(vmsplice(p[1], v, 1, SPLICE_F_NONBLOCK) > 60000));
	say("full", "%s", ret(vmsplice(p[1], v, 1, SPLICE_F_NONBLOCK)));
	close(p[0]);
	signal(SIGPIPE, SIG_IGN);
	say("no reader", "%s", ret(vmsplice(p[1], v, 1, 0)));
}

static const struct section table[] = {
	{"files", files}, {"pipes", pipes}, {"sockets", sockets}, {"memory", memory},
};

GUEST(table)
