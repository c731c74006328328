// Leases on files: who may have them, how open and truncate break them, and how the holder hears of it.
#include "guest.h"

static sigset_t all;

static void block(void)
{
	sigemptyset(&all);
	sigaddset(&all, SIGIO);
	sigaddset(&all, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &all, NULL);
}

// caught waits for a signal and shows what it says.
static const char *caught(int fd, int ms)
{
	siginfo_t si;
	struct timespec t = {ms / 1000, ms % 1000 * MS};
	char *p = scratch();
	int sig = sigtimedwait(&all, &si, &t);
	if (sig < 0)
		return "nothing";
	if (si.si_code > 0 && si.si_code < 7)
		snprintf(p, 256, "%s code %d band %lx fd %s", sig == SIGRTMIN ? "RT" : signame(sig), si.si_code, si.si_band, yes(si.si_fd == fd));
	else
		snprintf(p, 256, "%s code %d", sig == SIGRTMIN ? "RT" : signame(sig), si.si_code);
	return p;
}

static const char *kind(int fd)
{
	int k = fcntl(fd, F_GETLEASE);
	return k == F_RDLCK ? "read" : k == F_WRLCK ? "write" : k == F_UNLCK ? "none" : errname(errno);
}

static const char *take(int fd, int k)
{
	return ret(fcntl(fd, F_SETLEASE, k));
}

static void taking(void)
{
	block();
	put("f", "text");
	int r = open("f", O_RDONLY);
	say("none", "%s", kind(r));
	say("give up none", "%s", take(r, F_UNLCK));
	say("read", "%s %s", take(r, F_RDLCK), kind(r));
	say("owner", "%s", yes(fcntl(r, F_GETOWN) == getpid()));
	int r2 = open("f", O_RDONLY);
	say("another reader", "%s %s", take(r2, F_RDLCK), kind(r2));
	say("write beside others", "%s", take(r, F_WRLCK));
	close(r2);
	say("write alone", "%s %s", take(r, F_WRLCK), kind(r));
	int d = dup(r);
	say("same description", "%s", kind(d));
	close(d);
	say("back to read", "%s %s", take(r, F_RDLCK), kind(r));
	say("give up", "%s %s", take(r, F_UNLCK), kind(r));
	say("bad kind", "%s", take(r, 77));
	say("kind beyond a short", "%s", take(r, 0x10000));
	close(r);
	int w = open("f", O_RDWR);
	say("read of a writer", "%s", take(w, F_RDLCK));
	say("write of a writer", "%s %s", take(w, F_WRLCK), kind(w));
	close(w);
	w = open("f", O_WRONLY);
	r = open("f", O_RDONLY);
	say("read beside a writer", "%s", take(r, F_RDLCK));
	say("write beside a reader", "%s", take(w, F_WRLCK));
	int p = open("f", O_PATH);
	say("place", "%s", take(p, F_RDLCK));
	close(r);
	say("beside a place", "%s", take(w, F_WRLCK));
	say("directory", "%s", take(open(".", O_RDONLY), F_RDLCK));
	int q[2];
	if (pipe(q))
		return;
	say("pipe", "%s", take(q[0], F_RDLCK));
}

static void breaking(void)
{
	block();
	put("f", "text");
	int r = open("f", O_RDONLY);
	take(r, F_RDLCK);
	fcntl(r, F_SETSIG, SIGRTMIN);
	say("open to read", "%s", okret(close(open("f", O_RDONLY | O_NONBLOCK))));
	say("nobody told", "%s", caught(r, 0));
	say("open to write", "%s", okret(open("f", O_WRONLY | O_NONBLOCK)));
	say("told", "%s", caught(r, 0));
	say("becomes", "%s", kind(r));
	say("again", "%s", okret(open("f", O_WRONLY | O_NONBLOCK)));
	say("told once", "%s", caught(r, 0));
	say("give up", "%s", take(r, F_UNLCK));
	say("free", "%s", okret(close(open("f", O_WRONLY | O_NONBLOCK))));
	say("write lease", "%s", take(r, F_WRLCK));
	say("open to read", "%s", okret(open("f", O_RDONLY | O_NONBLOCK)));
	say("told", "%s %s", caught(r, 0), kind(r));
	say("then to write", "%s", okret(open("f", O_RDWR | O_NONBLOCK)));
	say("told again", "%s %s", caught(r, 0), kind(r));
	close(r);
	say("closed", "%s", okret(close(open("f", O_RDWR | O_NONBLOCK))));
	r = open("f", O_RDONLY);
	take(r, F_RDLCK);
	fcntl(r, F_SETSIG, 0);
	open("f", O_WRONLY | O_NONBLOCK);
	say("plain signal", "%s", caught(r, 0));
	close(r);
}

// waits shows what another process's call does until the lease is given up.
static void waits(const char *name, int lease, int give, int (*call)(void))
{
	int st;
	put("f", "text");
	int r = open("f", O_RDONLY);
	take(r, lease);
	fcntl(r, F_SETSIG, SIGRTMIN);
	pid_t pid = fork();
	if (pid == 0) {
		close(r);
		_exit(call() < 0 ? errno : 0);
	}
	say(name, "told %s", caught(r, 50000));
	sleep_ms(30);
	say(name, "waits %d", waitpid(pid, &st, WNOHANG) == 0);
	say(name, "gives %s", take(r, give));
	waitpid(pid, &st, 0);
	say(name, "then %s, holder has %s", status(st), kind(r));
	close(r);
}

static int to_read(void) { return open("f", O_RDONLY); }
static int to_write(void) { return open("f", O_WRONLY); }
static int to_empty(void) { return open("f", O_RDWR | O_TRUNC); }
static int shorten(void) { return truncate("f", 1); }

static void waiting(void)
{
	block();
	waits("open to read", F_WRLCK, F_RDLCK, to_read);
	waits("open to read, given up", F_WRLCK, F_UNLCK, to_read);
	waits("open to write", F_RDLCK, F_UNLCK, to_write);
	waits("open to empty", F_WRLCK, F_UNLCK, to_empty);
	waits("truncate", F_RDLCK, F_UNLCK, shorten);
	struct stat st;
	stat("f", &st);
	say("size", "%ld", (long)st.st_size);
	// The holder's end frees who waits; a signal frees him too.
	int go[2], s;
	char c;
	if (pipe(go))
		return;
	pid_t holder = fork();
	if (holder == 0) {
		take(open("f", O_RDONLY), F_RDLCK);
		if (write(go[1], "x", 1) != 1)
			_exit(1);
		pause();
	}
	if (read(go[0], &c, 1) != 1)
		return;
	pid_t waiter = fork();
	if (waiter == 0)
		_exit(to_write() < 0);
	sleep_ms(50);
	kill(waiter, SIGTERM);
	waitpid(waiter, &s, 0);
	say("killed while waiting", "%s", status(s));
	waiter = fork();
	if (waiter == 0)
		_exit(to_write() < 0);
	sleep_ms(50);
	kill(holder, SIGKILL);
	waitpid(holder, &s, 0);
	waitpid(waiter, &s, 0);
	say("holder gone", "%s", status(s));
}

static void others(void)
{
	put("f", "text");
	chmod("f", 0666);
	if (setresuid(1, 1, 1))
		return;
	say("another's file", "%s", take(open("f", O_RDONLY), F_RDLCK));
	say("give up another's", "%s", take(open("f", O_RDONLY), F_UNLCK));
}

static const struct section table[] = {
	{"taking", taking}, {"breaking", breaking}, {"waiting", waiting}, {"others", others},
};

GUEST(table)
