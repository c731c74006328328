// Pipes and FIFOs: atomic writes, ends that close, non-blocking and interrupted
// calls, capacity, FIFO opens, packet mode.
#include "guest.h"
#include <pthread.h>
#include <sys/ioctl.h>

static void basics(void)
{
	int p[2];
	char b[64] = "";
	say("pipe", "%s", ret(pipe(p)));
	say("write", "%s", ret(write(p[1], "hello world", 11)));
	int n = -1;
	say("FIONREAD", "%s %d", ret(ioctl(p[0], FIONREAD, &n)), n);
	say("part", "%s %.5s", ret(read(p[0], b, 5)), b);
	say("rest", "%s %.6s", ret(read(p[0], b, 64)), b);
	say("read the write end", "%s", ret(read(p[1], b, 1)));
	say("write the read end", "%s", ret(write(p[0], b, 1)));
	say("write nothing", "%s", ret(write(p[1], b, 0)));
	if (write(p[1], "one", 3) != 3 || write(p[1], "two", 3) != 3)
		return;
	say("two writes, one read", "%s %.6s", ret(read(p[0], b, 64)), b);
	close(p[1]);
	say("end of file", "%s", ret(read(p[0], b, 64)));
	say("and again", "%s", ret(read(p[0], b, 64)));
	say("pipe2 bad flag", "%s", ret(pipe2(p, O_APPEND)));
	say("pipe2", "%s", ret(pipe2(p, O_CLOEXEC | O_NONBLOCK)));
	say("flags", "%o %o %d", fcntl(p[0], F_GETFL), fcntl(p[1], F_GETFL), fcntl(p[0], F_GETFD));
	say("empty non-blocking", "%s", ret(read(p[0], b, 1)));
	char link[64], name[32];
	snprintf(name, sizeof name, "/proc/self/fd/%d", p[0]);
	ssize_t k = readlink(name, link, sizeof link);
	say("name", "%.6s", k > 0 ? link : errname(errno));
}

static volatile int pipes_caught;

static void count(int s)
{
	(void)s;
	pipes_caught++;
}

static void broken(void)
{
	int p[2];
	if (pipe(p))
		return;
	close(p[0]);
	if (fork() == 0)
		_exit(write(p[1], "x", 1) == -1);
	int st;
	wait(&st);
	say("default action", "%s", status(st));
	signal(SIGPIPE, SIG_IGN);
	say("ignored", "%s", ret(write(p[1], "x", 1)));
	say("nothing written", "%s", ret(write(p[1], "x", 0)));
	signal(SIGPIPE, count);
	say("caught", "%s %d", ret(write(p[1], "x", 1)), pipes_caught);
	int q[2];
	if (pipe(q))
		return;
	// A reader that goes away while a writer waits for room.
	if (fork() == 0) {
		close(q[1]);
		asleep(getppid());
		_exit(0);
	}
	close(q[0]);
	static char big[200000];
	ssize_t n = write(q[1], big, sizeof big);
	say("reader left", "%ld, signals %d", (long)n, pipes_caught);
	say("next", "%s, signals %d", ret(write(q[1], big, 1)), pipes_caught);
	wait(NULL);
}

static void capacity(void)
{
	int p[2];
	static char big[1 << 20];
	if (pipe2(p, O_NONBLOCK))
		return;
	say("size", "%s", ret(fcntl(p[0], F_GETPIPE_SZ)));
	say("fill", "%s", ret(write(p[1], big, sizeof big)));
	say("full", "%s", ret(write(p[1], big, 1)));
	say("read a page", "%s", ret(read(p[0], big, 4096)));
	say("room again", "%s", ret(write(p[1], big, 4096)));
	// Up to PIPE_BUF all or nothing; above it what fits.
	say("less than a page", "%s", ret(read(p[0], big, 100)));
	say("atomic has no room", "%s", ret(write(p[1], big, 4096)));
	say("small again", "%s", ret(read(p[0], big, 3996)));
	say("long takes what fits", "%s", ret(write(p[1], big, 4097)));
	say("set too small", "%s", ret(fcntl(p[0], F_SETPIPE_SZ, 4096)));
	while (read(p[0], big, sizeof big) > 0)
		;
	say("set one page", "%s", ret(fcntl(p[0], F_SETPIPE_SZ, 1)));
	say("fill it", "%s", ret(write(p[1], big, 10000)));
	say("set larger", "%s", ret(fcntl(p[1], F_SETPIPE_SZ, 100000)));
	say("more room", "%s", ret(write(p[1], big, sizeof big)));
	say("largest", "%s", ret(fcntl(p[1], F_SETPIPE_SZ, 1 << 20)));
	say("zero", "%s", ret(fcntl(p[1], F_SETPIPE_SZ, 0)));
	int f = open("f", O_CREAT | O_RDWR, 0600);
	say("not a pipe", "%s", ret(fcntl(f, F_GETPIPE_SZ)));
}

// atomic: four writers of 512 bytes each; every record arrives whole.
static void atomic(void)
{
	int p[2], whole = 0, torn = 0;
	if (pipe(p))
		return;
	for (int w = 0; w < 4; w++)
		if (fork() == 0) {
			char rec[512];
			memset(rec, 'a' + w, sizeof rec);
			for (int i = 0; i < 300; i++)
				if (write(p[1], rec, sizeof rec) != sizeof rec)
					_exit(1);
			_exit(0);
		}
	close(p[1]);
	char rec[512];
	for (;;) {
		size_t n = 0;
		ssize_t k = 0;
		while (n < sizeof rec && (k = read(p[0], rec + n, sizeof rec - n)) > 0)
			n += k;
		if (n < sizeof rec)
			break;
		int ok = 1;
		for (int i = 1; i < 512; i++)
			ok &= rec[i] == rec[0];
		*(ok ? &whole : &torn) += 1;
	}
	while (wait(NULL) > 0)
		;
	say("records", "%d whole, %d torn", whole, torn);
}

static void interrupted(void)
{
	int p[2];
	static char big[300000];
	if (pipe(p))
		return;
	struct sigaction sa = {.sa_handler = count};
	sigaction(SIGALRM, &sa, NULL);
	say("read", "%s", ret(UNDER_ALARM(50000, read(p[0], big, 1))));
	say("write that began", "%s", ret(UNDER_ALARM(50000, write(p[1], big, sizeof big))));
	say("write that could not begin", "%s", ret(UNDER_ALARM(50000, write(p[1], big, 1))));
	// With SA_RESTART the read goes on and gets what comes later.
	sa.sa_flags = SA_RESTART;
	sigaction(SIGALRM, &sa, NULL);
	while (fcntl(p[0], F_SETFL, O_NONBLOCK), read(p[0], big, sizeof big) > 0)
		;
	fcntl(p[0], F_SETFL, 0);
	pipes_caught = 0;
	if (fork() == 0) {
		asleep(getppid());
		kill(getppid(), SIGALRM);
		sleep_ms(80);
		_exit(write(p[1], "late", 4) != 4);
	}
	say("restarted", "%s, signals %d", ret(read(p[0], big, 10)), pipes_caught);
	wait(NULL);
}

static void fifos(void)
{
	say("mkfifo", "%s %s", ret(mkfifo("p", 0644)), ret(mkfifo("p", 0644)));
	say("write only, no reader", "%s", okret(open("p", O_WRONLY | O_NONBLOCK)));
	int r = open("p", O_RDONLY | O_NONBLOCK);
	char b[16] = "";
	say("read only", "%s", okret(r));
	say("no writer", "%s", ret(read(r, b, 1)));
	int w = open("p", O_WRONLY | O_NONBLOCK);
	say("write only now", "%s", okret(w));
	say("nothing there", "%s", ret(read(r, b, 1)));
	say("through", "%s %s", ret(write(w, "abc", 3)), ret(read(r, b, 16)));
	close(w);
	say("writer closed", "%s", ret(read(r, b, 1)));
	w = open("p", O_WRONLY);
	say("opened again", "%s", ret(read(r, b, 1)));
	close(w);
	close(r);
	// Opens wait for the other side.
	pid_t pid = fork();
	if (pid == 0) {
		sleep_ms(40);
		w = open("p", O_WRONLY);
		_exit(write(w, "meet", 4) != 4);
	}
	r = open("p", O_RDONLY);
	say("met", "%s %.4s", ret(read(r, b, 16)), b);
	wait(NULL);
	say("then end", "%s", ret(read(r, b, 16)));
	close(r);
	int rw = open("p", O_RDWR);
	say("read-write", "%s %s", okret(rw), ret(write(rw, "self", 4)));
	unlink("p");
	say("after unlink", "%s", ret(read(rw, b, 16)));
	mkfifo("q", 0600);
	struct sigaction sa = {.sa_handler = count};
	sigaction(SIGALRM, &sa, NULL);
	say("open interrupted", "%s", okret(UNDER_ALARM(50000, open("q", O_RDONLY))));
}

static void packets(void)
{
	int p[2];
	char b[8192];
	if (pipe2(p, O_DIRECT | O_NONBLOCK)) {
		say("pipe2", "%s", errname(errno));
		return;
	}
	say("write one", "%s", ret(write(p[1], "one", 3)));
	say("write three", "%s", ret(write(p[1], "three", 5)));
	say("write x", "%s", ret(write(p[1], "x", 1)));
	say("first", "%s", ret(read(p[0], b, sizeof b)));
	say("second cut", "%s", ret(read(p[0], b, 2)));
	say("rest is gone", "%s", ret(read(p[0], b, sizeof b)));
	say("empty", "%s", ret(read(p[0], b, sizeof b)));
	memset(b, 'b', sizeof b);
	say("long is split", "%s", ret(write(p[1], b, 6000)));
	say("parts", "%s", ret(read(p[0], b, sizeof b)));
	say("parts", "%s", ret(read(p[0], b, sizeof b)));
}

static int ring[2][2];

static void *relay(void *a)
{
	(void)a;
	char c;
	while (read(ring[0][0], &c, 1) == 1)
		if (write(ring[1][1], &c, 1) != 1)
			break;
	close(ring[1][1]);
	return NULL;
}

static void threads(void)
{
	pthread_t t;
	if (pipe(ring[0]) || pipe(ring[1]))
		return;
	pthread_create(&t, NULL, relay, NULL);
	int sum = 0;
	for (int i = 0; i < 500; i++) {
		char c = i % 7;
		if (write(ring[0][1], &c, 1) != 1 || read(ring[1][0], &c, 1) != 1)
			break;
		sum += c;
	}
	say("ping-pong", "%d", sum);
	close(ring[0][1]);
	char c;
	say("end", "%s", ret(read(ring[1][0], &c, 1)));
	say("join", "%d", pthread_join(t, NULL));
}

static const struct section table[] = {
	{"basics", basics}, {"broken", broken}, {"capacity", capacity}, {"atomic", atomic},
	{"interrupted", interrupted}, {"fifos", fifos}, {"packets", packets}, {"threads", threads},
};

GUEST(table)
