// Pseudo-terminals: line discipline, signals, job control, hang-up, ioctls.
#include "guest.h"
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <termios.h>

static int m, s;

static int make(void)
{
	m = posix_openpt(O_RDWR | O_NOCTTY);
	if (m < 0 || grantpt(m) || unlockpt(m))
		return -1;
	s = open(ptsname(m), O_RDWR | O_NOCTTY);
	return s;
}

// shown makes text of bytes.
static const char *shown(const char *b, ssize_t n)
{
	char *p = scratch(), *q = p;
	if (n < 0)
		return errname(errno);
	for (ssize_t i = 0; i < n && q < p + 240; i++)
		if (b[i] >= ' ' && b[i] < 127)
			*q++ = b[i];
		else
			q += sprintf(q, "\\%02x", (unsigned char)b[i]);
	*q = 0;
	return p;
}

// got reads what there is after a while, for Linux passes things on a little later, or says that it would have to wait.
static const char *got(int fd, size_t n)
{
	char b[200];
	struct pollfd p = {fd, POLLIN, 0};
	sleep_ms(40);
	if (poll(&p, 1, 60) == 0)
		return "(nothing)";
	return shown(b, read(fd, b, n));
}

// type writes to the master. Linux passes it on a little later.
static void type(const char *text)
{
	if (write(m, text, strlen(text)) != (ssize_t)strlen(text))
		say("type", "%s", errname(errno));
	sleep_ms(20);
}

// echo and line show what typing text gives.
static void line(const char *name, const char *text)
{
	type(text);
	const char *echo = got(m, 200);
	say(name, "%s -> %s", echo, got(s, 200));
}

static void modes(tcflag_t ion, tcflag_t ioff, tcflag_t oon, tcflag_t ooff, tcflag_t lon, tcflag_t loff)
{
	struct termios t;
	tcgetattr(s, &t);
	t.c_iflag = (t.c_iflag | ion) & ~ioff;
	t.c_oflag = (t.c_oflag | oon) & ~ooff;
	t.c_lflag = (t.c_lflag | lon) & ~loff;
	tcsetattr(s, TCSANOW, &t);
}

static void start(void)
{
	make();
	struct termios t;
	say("attributes", "%s", ret(tcgetattr(s, &t)));
	say("flags", "%x %x %x %x", t.c_iflag, t.c_oflag, t.c_cflag, t.c_lflag);
	say("characters", "%s", shown((char *)t.c_cc, 17));
	say("of the master too", "%s %x", ret(tcgetattr(m, &t)), t.c_lflag);
	say("speed", "%d %d", cfgetispeed(&t) == B38400, cfgetospeed(&t) == B38400);
	say("is a terminal", "%d %d", isatty(m), isatty(s));
	struct stat st, named;
	fstat(s, &st);
	stat(ptsname(m), &named);
	say("slave", "%d %s", major(st.st_rdev), yes(st.st_rdev == named.st_rdev && st.st_ino == named.st_ino));
	fstat(m, &st);
	say("master", "%d %d", major(st.st_rdev), minor(st.st_rdev));
	char *name = ptsname(m);
	say("number", "%s", yes(name && atoi(name + 9) == (int)minor(named.st_rdev)));
	say("tty name", "%s", yes(ttyname(s) && !strcmp(ttyname(s), name)));
	unsigned n;
	say("number of a slave", "%s", ret(ioctl(s, TIOCGPTN, &n)));
	int other = posix_openpt(O_RDWR | O_NOCTTY), locked;
	say("locked", "%s", ret(open(ptsname(other), O_RDWR | O_NOCTTY)));
	say("lock", "%s %d", ret(ioctl(other, TIOCGPTLCK, &locked)), locked);
	locked = 0;
	ioctl(other, TIOCSPTLCK, &locked);
	say("peer", "%s", okret(ioctl(other, TIOCGPTPEER, O_RDWR | O_NOCTTY)));
	say("peer of a slave", "%s", ret(ioctl(s, TIOCGPTPEER, O_RDWR)));
	char path[64];
	strcpy(path, ptsname(other));
	close(other);
	say("gone with its master", "%s", ret(access(path, F_OK)));
	struct winsize w = {24, 80, 1, 2}, v;
	say("size", "%s", ret(ioctl(m, TIOCSWINSZ, &w)));
	say("of the slave", "%s %d %d %d %d", ret(ioctl(s, TIOCGWINSZ, &v)), v.ws_row, v.ws_col, v.ws_xpixel, v.ws_ypixel);
	say("seek", "%s", ret(lseek(s, 0, SEEK_SET)));
	int none;
	say("unknown request", "%s", ret(ioctl(s, 0x54ff, &none)));
	say("line discipline", "%s %d", ret(ioctl(s, TIOCGETD, &none)), none);
	say("exclusive", "%s", ret(ioctl(s, TIOCEXCL)));
	say("shared", "%s", ret(ioctl(s, TIOCNXCL)));
	say("break", "%s %s", ret(tcsendbreak(s, 0)), ret(tcdrain(s)));
}

static void lines(void)
{
	make();
	type("hello");
	say("half a line", "%s", got(s, 100));
	type(" world\r");
	say("echo", "%s", got(m, 100));
	int n;
	say("waiting", "%s %d", ret(ioctl(s, FIONREAD, &n)), n);
	say("line", "%s", got(s, 100));
	type("one\ntwo\n");
	say("first", "%s", got(s, 100));
	say("second", "%s", got(s, 100));
	type("pieces\n");
	say("piece", "%s", got(s, 3));
	say("rest", "%s", got(s, 100));
	got(m, 200);
	line("erase", "abc\177\177d\n");
	line("erase nothing", "\177x\n");
	line("control characters", "a\001b\033c\n");
	line("erase a control character", "a\001\177\n");
	line("erase a tab", "ab\t\177c\n");
	line("kill", "abc\025de\n");
	line("word", "one two.three  \027x\n");
	line("literal", "a\026\003\026\nb\n");
	line("reprint", "abc\022d\n");
	line("end of file", "abc\004");
	line("only that", "\004");
	line("backslash", "a\\\177b\n");
	struct termios t;
	tcgetattr(s, &t);
	t.c_cc[VEOL] = '!';
	tcsetattr(s, TCSANOW, &t);
	line("other ends", "abc!def\n");
	say("rest of it", "%s", got(s, 100));
	modes(0, 0, 0, 0, 0, ECHO);
	line("no echo", "quiet\n");
	modes(0, 0, 0, 0, ECHONL, 0);
	line("newline alone", "quiet\n");
	modes(0, 0, 0, 0, ECHO, ECHOE);
	line("no ECHOE", "ab\177c\n");
	modes(0, 0, 0, 0, ECHOE, ECHOKE);
	line("no ECHOKE", "ab\025c\n");
	modes(0, 0, 0, 0, ECHOKE, ECHOCTL);
	line("no ECHOCTL", "a\001b\001\177c\n");
	modes(IUTF8, 0, 0, 0, ECHOCTL, 0);
	line("of two bytes", "a\303\251\177b\n");
	modes(ISTRIP, 0, 0, 0, 0, 0);
	line("seven bits", "\303\251\n");
	modes(INLCR | IGNCR, ISTRIP | ICRNL, 0, 0, 0, 0);
	line("no return", "a\rb\nc\004");
	modes(ICRNL, INLCR | IGNCR, 0, 0, 0, IEXTEN);
	line("not extended", "a b\027c\026d\n");
	type("unread\nand half");
	modes(0, 0, 0, 0, IEXTEN, ICANON);
	say("raw now", "%s", got(s, 100));
	type("abc");
	modes(0, 0, 0, 0, ICANON, 0);
	say("a line now", "%s", got(s, 100));
	type("to be flushed\n");
	say("flush", "%s", ret(tcflush(s, TCIFLUSH)));
	say("flushed", "%s", got(s, 100));
	say("bad flush", "%s", ret(ioctl(s, TCFLSH, 9)));
}

static void long_line(void)
{
	make();
	modes(0, 0, 0, 0, 0, ECHO);
	char b[5000];
	memset(b, 'x', sizeof b);
	say("too much", "%s", ret(write(m, b, 4000)));
	say("for a line", "%s", ret(write(m, b, 1000)));
	type("\n");
	say("what was kept", "%s", ret(read(s, b, sizeof b)));
	say("ends in", "%d", b[4094] == 'x' ? b[4095] : b[4094]);
}

static void raw(void)
{
	make();
	struct termios t;
	tcgetattr(s, &t);
	cfmakeraw(&t);
	tcsetattr(s, TCSANOW, &t);
	type("a\003\r\004");
	say("as it is", "%s", got(s, 100));
	say("no echo", "%s", got(m, 100));
	say("output", "%s", ret(write(s, "x\ny\t", 4)));
	say("as it is too", "%s", got(m, 100));
	t.c_cc[VMIN] = 0;
	tcsetattr(s, TCSANOW, &t);
	char b[100];
	say("no minimum", "%s", ret(read(s, b, 100)));
	t.c_cc[VTIME] = 2;
	tcsetattr(s, TCSANOW, &t);
	int64_t from = now_ms();
	say("with a time", "%s", ret(read(s, b, 100)));
	say("waited", "%s", yes(now_ms() - from >= 150));
	type("now");
	say("at once", "%s", ret(read(s, b, 100)));
	t.c_cc[VMIN] = 5;
	tcsetattr(s, TCSANOW, &t);
	type("abc");
	from = now_ms();
	say("between characters", "%s", ret(read(s, b, 100)));
	say("waited then", "%s", yes(now_ms() - from >= 150));
	t.c_cc[VTIME] = 0;
	tcsetattr(s, TCSANOW, &t);
	type("abc");
	struct pollfd p = {s, POLLIN, 0};
	say("not enough", "%d", poll(&p, 1, 0));
	type("de");
	say("enough", "%d", poll(&p, 1, 0));
	say("all", "%s", ret(read(s, b, 100)));
	type("xyz");
	say("less asked for", "%s", ret(read(s, b, 2)));
	fcntl(s, F_SETFL, O_NONBLOCK);
	say("nonblocking", "%s", ret(read(s, b, 100)));
	say("empty", "%s", ret(read(s, b, 100)));
	fcntl(s, F_SETFL, 0);
	if (fork() == 0) {
		ssize_t n = read(s, b, 100);
		say("child", "%s", shown(b, n));
		_exit(0);
	}
	for (int i = 0; i < 5; i++) {
		sleep_ms(10);
		type("z");
	}
	wait(NULL);
}

static void output(void)
{
	make();
	const struct {
		const char *name;
		tcflag_t on;
	} kinds[] = {
		{"plain", 0}, {"ONLCR", OPOST | ONLCR}, {"OCRNL", OPOST | OCRNL}, {"ONOCR", OPOST | ONOCR},
		{"ONLRET", OPOST | ONLRET}, {"OLCUC", OPOST | OLCUC}, {"XTABS", OPOST | XTABS}, {"not OPOST", ONLCR | XTABS},
	};
	for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		modes(0, 0, kinds[i].on, ~kinds[i].on, 0, 0);
		const char *text = "\rab\r\n\tc\n\rX\b\t|\n";
		if (write(s, text, strlen(text)) != (ssize_t)strlen(text))
			return;
		say(kinds[i].name, "%s", got(m, 200));
	}
}

static void flow(void)
{
	make();
	modes(0, 0, 0, 0, 0, ECHO);
	type("\023");
	fcntl(s, F_SETFL, O_NONBLOCK);
	struct pollfd p = {s, POLLOUT, 0};
	say("stopped", "%s %d", ret(write(s, "x", 1)), poll(&p, 1, 0));
	type("\021");
	say("started", "%s %s", ret(write(s, "x", 1)), got(m, 100));
	say("suspend", "%s", ret(tcflow(s, TCOOFF)));
	say("stopped too", "%s", ret(write(s, "y", 1)));
	say("resume", "%s %s %s", ret(tcflow(s, TCOON)), ret(write(s, "y", 1)), got(m, 100));
	say("tell to stop", "%s %s", ret(tcflow(s, TCIOFF)), got(m, 100));
	say("tell to start", "%s %s", ret(tcflow(s, TCION)), got(m, 100));
	say("bad", "%s", ret(tcflow(s, 17)));
	modes(IXANY, 0, 0, 0, 0, 0);
	type("\023");
	type("a");
	say("by any", "%s", ret(write(s, "z", 1)));
	got(m, 100);
	modes(0, IXON | IXANY, 0, 0, 0, 0);
	type("\023\021\n");
	say("not special", "%s", got(s, 100));
	char b[70000];
	memset(b, 'x', sizeof b);
	long n = 0, r;
	while ((r = write(s, b, sizeof b)) > 0 && n < 1000000)
		n += r;
	say("bounded", "%s %s", yes(n > 1000 && n < 200000), ret(r));
}

static void packets(void)
{
	make();
	int on = 1;
	say("on", "%s", ret(ioctl(m, TIOCPKT, &on)));
	say("is on", "%s %d", ret(ioctl(m, TIOCGPKT, &on)), on);
	say("write", "%s", ret(write(s, "hello", 5)));
	say("data", "%s", got(m, 100));
	tcflush(s, TCIFLUSH);
	struct pollfd p = {m, POLLIN | POLLPRI, 0};
	say("poll", "%d %x", poll(&p, 1, 0), p.revents & (POLLIN | POLLPRI));
	say("flushed", "%s", got(m, 100));
	tcflow(s, TCOOFF);
	say("stopped", "%s", got(m, 100));
	tcflow(s, TCOON);
	say("started", "%s", got(m, 100));
	modes(0, IXON, 0, 0, 0, 0);
	say("no more stops", "%s", got(m, 100));
	modes(IXON, 0, 0, 0, 0, 0);
	say("stops", "%s", got(m, 100));
	on = 0;
	ioctl(m, TIOCPKT, &on);
	type("x\n");
	say("off", "%s", got(m, 100));
}

static volatile int caught[65];

static void on_signal(int n)
{
	caught[n]++;
}

static const char *signals(void)
{
	// The host delivers from a queue of work: wait for what may still come.
	sleep_ms(60);
	char *p = scratch(), *q = p;
	*q = 0;
	for (int i = 1; i < 65; i++) {
		if (caught[i])
			q += sprintf(q, "%s%s", q == p ? "" : " ", signame(i));
		caught[i] = 0;
	}
	return *p ? p : "none";
}

static void lead(void)
{
	int list[] = {SIGINT, SIGQUIT, SIGTSTP, SIGWINCH, SIGHUP, SIGCONT, SIGTTOU, SIGTTIN};
	// The leader of a process group cannot begin a session; a child can.
	pid_t pid = setsid() < 0 ? fork() : 0;
	if (pid != 0) {
		waitpid(pid, NULL, 0);
		_exit(0);
	}
	setsid();
	make();
	for (unsigned i = 0; i < sizeof list / sizeof *list; i++)
		signal(list[i], on_signal);
}

static void typed_signals(void)
{
	lead();
	say("no foreground", "%s", ret(tcgetpgrp(s)));
	type("\003");
	say("nobody", "%s", signals());
	got(m, 100);
	say("controlling", "%s", ret(ioctl(s, TIOCSCTTY, 0)));
	say("foreground", "%s", yes(tcgetpgrp(s) == getpgrp()));
	say("seen by the master", "%s", yes(tcgetpgrp(m) == getpgrp() && tcgetsid(m) == getsid(0)));
	type("half a line\003");
	say("interrupt", "%s, %s", signals(), got(m, 100));
	type("\n");
	say("line", "%s", got(s, 100));
	got(m, 100);
	type("\034\032");
	say("quit and stop", "%s, %s", signals(), got(m, 100));
	modes(0, 0, 0, 0, NOFLSH, 0);
	type("kept\003\n");
	say("not flushed", "%s, %s", signals(), got(s, 100));
	got(m, 100);
	modes(0, 0, 0, 0, 0, ISIG);
	type("\003\n");
	say("no signals", "%s, %s", signals(), got(s, 100));
	struct winsize w = {10, 20, 0, 0};
	ioctl(m, TIOCSWINSZ, &w);
	say("size", "%s", signals());
	ioctl(s, TIOCSWINSZ, &w);
	say("same size", "%s", signals());
	say("from the master", "%s %s", ret(ioctl(m, TIOCSIG, SIGINT)), signals());
	say("bad signal", "%s", ret(ioctl(m, TIOCSIG, 99)));
	int tty = open("/dev/tty", O_RDWR);
	say("by /dev/tty", "%s %s", okret(tty), yes(isatty(tty)));
	struct stat st;
	fstat(tty, &st);
	say("its device", "%d %d", major(st.st_rdev), minor(st.st_rdev));
	close(tty);
	say("give up", "%s", ret(ioctl(s, TIOCNOTTY)));
	say("hung up", "%s", signals());
	say("no /dev/tty", "%s", ret(open("/dev/tty", O_RDWR)));
}

static void acquiring(void)
{
	lead();
	int fd = open(ptsname(m), O_RDWR);
	say("by opening", "%s", yes(tcgetsid(fd) == getpid()));
	int m2 = posix_openpt(O_RDWR);
	say("not by a master", "%s", yes(tcgetsid(s) == getpid()));
	say("only one", "%s", ret(ioctl(m2, TIOCSCTTY, 0)));
	if (fork() == 0) {
		say("not by a member", "%s", ret(ioctl(m2, TIOCSCTTY, 0)));
		setsid();
		say("not another's", "%s", ret(ioctl(s, TIOCSCTTY, 0)));
		say("not ours", "%s %s", ret(tcgetpgrp(s)), ret(tcgetsid(s)));
		say("nor to be set", "%s", ret(tcsetpgrp(s, getpid())));
		_exit(0);
	}
	wait(NULL);
	say("a group of another session", "%s", ret(tcsetpgrp(s, getppid())));
	say("no group", "%s", ret(tcsetpgrp(s, 4190000)));
	say("negative", "%s", ret(tcsetpgrp(s, -1)));
	say("steal", "%s", ret(ioctl(s, TIOCSTI, "x")) ? "told" : "");
}

// background runs fn in a background group and shows how it stops.
static void background(const char *name, void (*fn)(void))
{
	pid_t pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		signal(SIGTTIN, SIG_DFL);
		signal(SIGTTOU, SIG_DFL);
		fn();
		_exit(0);
	}
	int st;
	waitpid(pid, &st, WUNTRACED);
	say(name, "%s", status(st));
	kill(pid, SIGKILL);
	if (WIFSTOPPED(st))
		waitpid(pid, &st, 0);
}

static void reads(void)
{
	char b[10];
	say("read", "%s", ret(read(s, b, 10)));
}

static void reads_ignoring(void)
{
	signal(SIGTTIN, SIG_IGN);
	reads();
}

static void writes(void)
{
	say("write", "%s", ret(write(s, "x", 1)));
}

static void sets(void)
{
	struct termios t;
	tcgetattr(s, &t);
	say("set", "%s", ret(tcsetattr(s, TCSANOW, &t)));
}

static void sets_ignoring(void)
{
	signal(SIGTTOU, SIG_IGN);
	sets();
}

static void moves(void)
{
	say("foreground", "%s", ret(tcsetpgrp(s, getpgrp())));
}

static void jobs(void)
{
	lead();
	ioctl(s, TIOCSCTTY, 0);
	background("reader", reads);
	background("reader that ignores it", reads_ignoring);
	background("writer", writes);
	modes(0, 0, 0, 0, TOSTOP, 0);
	background("writer with TOSTOP", writes);
	background("setter", sets);
	background("setter that ignores it", sets_ignoring);
	background("mover", moves);
	// A job in the foreground gets what is typed, not its shell.
	signal(SIGINT, SIG_DFL);
	pid_t pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		for (;;)
			pause();
	}
	setpgid(pid, pid);
	signal(SIGINT, on_signal);
	signal(SIGTTOU, SIG_IGN);
	say("to the foreground", "%s", ret(tcsetpgrp(s, pid)));
	type("\003");
	int st;
	waitpid(pid, &st, 0);
	say("its end", "%s, we got %s", status(st), signals());
	say("no foreground left", "%s", ret(tcgetpgrp(s) > 0 ? 0 : -1) ? "told" : "");
	say("back", "%s", ret(tcsetpgrp(s, getpgrp())));
}

static void events(const char *name, int fd)
{
	struct pollfd p = {fd, POLLIN | POLLOUT, 0};
	poll(&p, 1, 0);
	say(name, "%s%s%s%s", p.revents & POLLIN ? "in " : "", p.revents & POLLOUT ? "out " : "",
	    p.revents & POLLERR ? "err " : "", p.revents & POLLHUP ? "hup" : "");
}

static void hangup(void)
{
	make();
	events("master", m);
	if (write(s, "last words", 10) != 10)
		return;
	close(s);
	events("slave closed", m);
	say("what is left", "%s", got(m, 100));
	say("then", "%s", got(m, 100));
	events("nothing left", m);
	s = open(ptsname(m), O_RDWR | O_NOCTTY);
	events("open again", m);
	char b[10];
	fcntl(m, F_SETFL, O_NONBLOCK);
	say("nothing yet", "%s", ret(read(m, b, 10)));
	pid_t pid = fork();
	if (pid == 0) {
		close(m);
		ssize_t n = read(s, b, 10);
		say("reader", "%s", ret(n));
		say("write", "%s", ret(write(s, "x", 1)));
		events("hung up", s);
		struct termios t;
		say("attributes", "%s", ret(ioctl(s, TCGETS, &t)));
		say("foreground", "%s %s", ret(tcgetpgrp(s)), ret(tcsetpgrp(s, getpgrp())));
		say("again", "%s", ret(read(s, b, 10)));
		_exit(0);
	}
	asleep(pid);
	close(m);
	wait(NULL);
}

static void leader(void)
{
	int up[2];
	if (pipe(up))
		return;
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	unlockpt(master);
	pid_t pid = fork();
	if (pid == 0) {
		lead();
		close(m), close(s);
		s = open(ptsname(master), O_RDWR);
		close(master);
		say("led", "%s", yes(tcgetsid(s) == getpid()));
		pid_t job = fork();
		if (job == 0) {
			setpgid(0, 0);
			signal(SIGTTOU, SIG_IGN);
			tcsetpgrp(s, getpgrp());
			if (write(up[1], "", 1) != 1)
				_exit(1);
			while (!caught[SIGHUP])
				sleep_ms(5);
			say("foreground hung up", "%s", signals());
			_exit(0);
		}
		while (!caught[SIGHUP])
			sleep_ms(5);
		sleep_ms(20);
		say("leader hung up", "%s", signals());
		say("no terminal", "%s", ret(open("/dev/tty", O_RDWR)));
		_exit(0);
	}
	char b;
	if (read(up[0], &b, 1) != 1)
		return;
	close(up[1]);
	close(master);
	waitpid(pid, NULL, 0);
	(void)!read(up[0], &b, 1); // until the job has ended too
}

static void leader_ends(void)
{
	int up[2];
	if (pipe(up))
		return;
	make();
	pid_t pid = fork();
	if (pid == 0) {
		setsid();
		ioctl(s, TIOCSCTTY, 0);
		signal(SIGHUP, on_signal);
		pid_t job = fork();
		if (job == 0) {
			if (write(up[1], "", 1) != 1)
				_exit(1);
			while (!caught[SIGHUP])
				sleep_ms(5);
			say("foreground", "%s", signals());
			say("still open", "%s", ret(write(s, "x", 1)));
			say("no terminal", "%s", ret(open("/dev/tty", O_RDWR)));
			_exit(0);
		}
		sleep_ms(50);
		_exit(0);
	}
	char b;
	if (read(up[0], &b, 1) != 1)
		return;
	close(up[1]);
	waitpid(pid, NULL, 0);
	(void)!read(up[0], &b, 1);
	say("master", "%s", got(m, 10));
}

static void old_modes(void)
{
	struct {
		unsigned short in, out, control, local;
		unsigned char line, chars[8];
	} t;
	enum { GETA = 0x5405, SETA, SETAW, SETAF };
	struct termios new;
	start();
	memset(&t, 0xee, sizeof t);
	say("termio", "%s %x %x %x %x %x", ret(ioctl(s, GETA, &t)), t.in, t.out, t.control, t.local, t.line);
	for (int i = 0; i < 8; i++)
		say("character", "%d %x", i, t.chars[i]);
	t.local &= ~ECHO;
	t.chars[0] = 'X';
	say("set", "%s", ret(ioctl(s, SETA, &t)));
	tcgetattr(s, &new);
	say("seen", "%x %x %x", new.c_lflag & ECHO, new.c_cc[VINTR], new.c_cc[VSUSP]);
	say("of the master", "%s %x", ret(ioctl(m, GETA, &t)), t.local);
	(void)!write(m, "ab\n", 3);
	sleep_ms(50);
	say("drained and flushed", "%s %s", ret(ioctl(s, SETAW, &t)), ret(ioctl(s, SETAF, &t)));
	fcntl(s, F_SETFL, O_NONBLOCK);
	reads();
	say("to nowhere", "%s %s", ret(ioctl(s, GETA, NULL)), ret(ioctl(s, SETA, NULL)));
	say("no terminal", "%s", ret(ioctl(open("f", O_CREAT | O_RDWR, 0600), GETA, &t)));
}

static void vhangups(void)
{
	lead();
	say("no terminal", "%s", ret(syscall(SYS_vhangup)));
	ioctl(s, TIOCSCTTY, 0);
	int other = open(ptsname(m), O_RDWR | O_NOCTTY);
	say("hung up", "%s %s", ret(syscall(SYS_vhangup)), signals());
	char b[8];
	say("read", "%s %s", ret(read(s, b, 8)), ret(read(other, b, 8)));
	say("write", "%s", ret(write(s, "x", 1)));
	say("no terminal now", "%s", ret(open("/dev/tty", O_RDWR)));
	if (setgid(1) || setuid(1))
		return;
	say("nobody", "%s", ret(syscall(SYS_vhangup)));
}

static const struct section sections[] = {
	{"vhangup", vhangups},
	{"start", start}, {"lines", lines}, {"longline", long_line}, {"raw", raw}, {"output", output}, {"flow", flow},
	{"packets", packets}, {"signals", typed_signals}, {"acquiring", acquiring}, {"jobs", jobs}, {"hangup", hangup},
	{"leader", leader}, {"leaderends", leader_ends}, {"termio", old_modes},
};
GUEST(sections)
