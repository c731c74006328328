// Flags of a single read or write, descriptors that are only places, owners of
// asynchronous files, processors of a thread, addresses without randomness.
#include "guest.h"
#include <poll.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/select.h>
#include <sys/uio.h>

#ifndef RWF_NOAPPEND
#define RWF_NOAPPEND 0x20
#endif

static char self[4096];

static void flags(void)
{
	char b[64] = "abc";
	struct iovec v = {b, 3};
	put("f", "0123456789");
	int f = open("f", O_RDWR);
	say("append", "%s, position %s, %s", ret(pwritev2(f, &v, 1, 2, RWF_APPEND)), ret(lseek(f, 0, SEEK_CUR)), get("f"));
	say("append here", "%s, position %s, %s", ret(pwritev2(f, &v, 1, -1, RWF_APPEND)), ret(lseek(f, 0, SEEK_CUR)), get("f"));
	fcntl(f, F_SETFL, O_APPEND);
	say("not append", "%s, %s", ret(pwritev2(f, &v, 1, 1, RWF_NOAPPEND)), get("f"));
	say("both", "%s", ret(pwritev2(f, &v, 1, 1, RWF_APPEND | RWF_NOAPPEND)));
	say("unknown", "%s %s", ret(pwritev2(f, &v, 1, 1, 0x1000)), ret(preadv2(f, &v, 1, 1, 0x1000)));
	v.iov_len = 5;
	ssize_t n = preadv2(f, &v, 1, 0, RWF_NOWAIT); // which tmpfs does not know
	say("no wait", "%s", yes(n == 5 ? !memcmp(b, "0abc4", 5) : n < 0 && errno == EOPNOTSUPP));
	int p[2];
	if (pipe(p))
		return;
	say("empty pipe", "%s", ret(preadv2(p[0], &v, 1, -1, RWF_NOWAIT)));
	write(p[1], "xy", 2);
	say("pipe", "%s", ret(preadv2(p[0], &v, 1, -1, RWF_NOWAIT)));
	say("pipe at an offset", "%s", ret(preadv2(p[0], &v, 1, 0, RWF_NOWAIT)));
	static char big[1 << 20];
	v = (struct iovec){big, sizeof big};
	say("filled", "%s", ret(pwritev2(p[1], &v, 1, -1, RWF_NOWAIT)));
	say("full", "%s", ret(pwritev2(p[1], &v, 1, -1, RWF_NOWAIT)));
}

static void places(void)
{
	put("f", "");
	int f = open("f", O_PATH);
	struct pollfd p = {f, POLLIN, 0};
	fd_set s;
	FD_ZERO(&s);
	FD_SET(f, &s);
	say("poll", "%s %x", ret(poll(&p, 1, 0)), p.revents);
	say("select", "%s", ret(select(f + 1, &s, NULL, NULL, NULL)));
}

static void owners(void)
{
	int p[2];
	if (pipe(p))
		return;
	int f = p[0], me = getpid();
	say("process", "%s %s", ret(fcntl(f, F_SETOWN, me)), yes(fcntl(f, F_GETOWN) == me));
	setpgid(0, 0);
	say("group", "%s %s", ret(fcntl(f, F_SETOWN, -me)), yes(fcntl(f, F_GETOWN) == -me));
	struct f_owner_ex o = {9, 9};
	say("extended", "%s type %d %s", ret(fcntl(f, F_GETOWN_EX, &o)), o.type, yes(o.pid == me));
	o = (struct f_owner_ex){F_OWNER_TID, me};
	say("thread", "%s %s", ret(fcntl(f, F_SETOWN_EX, &o)), yes(fcntl(f, F_GETOWN) == me));
	o.type = 5;
	say("bad type", "%s", ret(fcntl(f, F_SETOWN_EX, &o)));
	o = (struct f_owner_ex){F_OWNER_PID, 4000000};
	say("nobody", "%s %s %s", ret(fcntl(f, F_SETOWN_EX, &o)), ret(fcntl(f, F_SETOWN, 4000000)), ret(fcntl(f, F_SETOWN, 1 << 31)));
	say("cleared", "%s %s", ret(fcntl(f, F_SETOWN, 0)), ret(fcntl(f, F_GETOWN)));
	pid_t c = fork();
	if (c == 0)
		pause();
	fcntl(f, F_SETOWN, c);
	kill(c, SIGKILL);
	wait(NULL);
	say("gone", "%s", ret(fcntl(f, F_GETOWN)));
	say("signal", "%s %s", ret(fcntl(f, F_SETSIG, SIGUSR1)), ret(fcntl(f, F_GETSIG)));
	say("bad signal", "%s", ret(fcntl(f, F_SETSIG, 65)));
	say("other end", "%s", ret(fcntl(p[1], F_GETSIG)));
}

static unsigned long affinity(void)
{
	unsigned long m = 0;
	return syscall(SYS_sched_getaffinity, 0, 8, &m) < 0 ? 0 : m;
}

static int set_affinity(unsigned long m)
{
	return syscall(SYS_sched_setaffinity, 0, sizeof m, &m);
}

// stays tells whether the C library says for a while that the program runs on a processor, not on another.
static int stays(int cpu)
{
	for (int i = 0; i < 20000; i++)
		if (sched_getcpu() != cpu)
			return 0;
	return 1;
}

// told binds the program to each processor in turn and asks where it runs: here, in a child, and in a program that a child execs.
static void told(unsigned long all)
{
	for (int cpu = 0; cpu < 64; cpu++) {
		int st[2];
		if (!(all >> cpu & 1))
			continue;
		set_affinity(1UL << cpu);
		int here = stays(cpu);
		for (int i = 0; i < 2; i++) {
			pid_t pid = fork();
			if (pid == 0 && i == 1)
				execl(self, self, "stays", (char[]){'0' + cpu / 10, '0' + cpu % 10, 0}, NULL);
			if (pid == 0)
				_exit(stays(cpu));
			waitpid(pid, &st[i], 0);
		}
		if (!here || WEXITSTATUS(st[0]) != 1 || WEXITSTATUS(st[1]) != 1)
			say("strayed", "%d %d %d", here, WEXITSTATUS(st[0]), WEXITSTATUS(st[1]));
	}
	set_affinity(all);
	say("told", "%s", yes(1));
}

static void processors(void)
{
	told(affinity());
	unsigned long all = affinity(), last = all & -all;
	unsigned cpu = 0;
	say("lowest", "%s", ret(set_affinity(last)));
	syscall(SYS_getcpu, &cpu, NULL, NULL);
	say("kept", "%s, runs there %s", yes(affinity() == last), yes(1UL << cpu == last));
	if (fork() == 0) {
		say("inherited", "%s", yes(affinity() == last));
		say("all", "%s %s", ret(set_affinity(~0UL)), yes((affinity() & all) == all));
		_exit(0);
	}
	wait(NULL);
	say("none", "%s", ret(set_affinity(0)));
	say("absent", "%s", ret(set_affinity(1UL << 63)));
	say("short", "%s", ret(syscall(SYS_sched_getaffinity, 0, 4, &all)));
	say("nobody", "%s", ret(syscall(SYS_sched_getaffinity, 4000000, 8, &all)));
	say("bad pointer", "%s", ret(syscall(SYS_sched_setaffinity, 0, 8, 8)));
}

static void addresses(void)
{
	char seen[4][100];
	for (int i = 0; i < 4; i++) {
		char cmd[5000];
		personality(i < 2 ? ADDR_NO_RANDOMIZE : 0);
		snprintf(cmd, sizeof cmd, "%s where", self);
		FILE *f = popen(cmd, "r");
		if (!f || !fgets(seen[i], sizeof seen[i], f))
			say("popen", "%s", errname(errno));
		pclose(f);
	}
	say("fixed", "%s", yes(!strcmp(seen[0], seen[1])));
	say("random", "%s", yes(strcmp(seen[2], seen[3])));
}

static const struct section table[] = {
	{"flags", flags}, {"places", places}, {"owners", owners}, {"processors", processors}, {"addresses", addresses},
};

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "where")) {
		printf("%p %p %p\n", (void *)&argc, mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), (void *)main);
		return 0;
	}
	if (argc == 3 && !strcmp(argv[1], "stays"))
		return stays(atoi(argv[2]));
	if (!realpath(argv[0], self))
		return 97;
	return guest_main(argc, argv, table, sizeof table / sizeof *table);
}
