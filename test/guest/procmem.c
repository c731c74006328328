// Files of /proc that show a process's memory, opened before it execs, ends and is waited for.
#include "guest.h"
#include <sys/ioctl.h>
#include <sys/prctl.h>

static const char *const names[] = {"maps", "smaps", "smaps_rollup", "environ", "auxv", "pagemap", "mem", "cmdline", "stat"};
#define FILES (sizeof names / sizeof *names)

static int files[FILES];

static void open_all(pid_t pid)
{
	for (unsigned i = 0; i < FILES; i++) {
		char path[64];
		snprintf(path, sizeof path, "/proc/%d/%s", pid, names[i]);
		files[i] = open(path, O_RDONLY);
	}
}

// read_all says what the open files give: an error's name, nothing or something.
static void read_all(const char *when, off_t at)
{
	for (unsigned i = 0; i < FILES; i++) {
		char what[64], buf[4096];
		snprintf(what, sizeof what, "%s, %s", names[i], when);
		off_t from = !strcmp(names[i], "mem") ? at : !strcmp(names[i], "pagemap") ? at / (off_t)PAGE * 8 : 0;
		ssize_t n = pread(files[i], buf, 8, from);
		say(what, "%s", n > 0 ? "something" : ret(n));
	}
}

static char word[] = "a word";

// query asks maps for the mapping of word, by PROCMAP_QUERY.
static const char *query(void)
{
	struct {
		uint64_t size, flags, address, more[10];
	} q = {.size = sizeof q, .address = (uintptr_t)word};
	return ret(ioctl(files[0], _IOC(_IOC_READ | _IOC_WRITE, 0x66, 17, 104), &q));
}

// cat starts a child that runs program, which is cat, between the pipes in and out, once it is told.
static pid_t cat(const char *program, int *go, int *in, int *out)
{
	if (pipe(go) || pipe(in) || pipe(out))
		exit(1);
	pid_t pid = fork();
	if (pid == 0) {
		char c;
		close(in[1]);
		close(go[1]);
		if (read(go[0], &c, 1) == 1) {
			dup2(in[0], 0);
			dup2(out[1], 1);
			execl(program, "cat", NULL);
		}
		_exit(1);
	}
	return pid;
}

static void exec(void)
{
	int go[2], in[2], out[2], st;
	char c;
	pid_t pid = cat("/bin/cat", go, in, out);
	open_all(pid);
	read_all("before", (off_t)(uintptr_t)word);
	say("query", "%s", query());
	write(go[1], "x", 1);
	write(in[1], "x", 1);
	read(out[0], &c, 1);
	read_all("after an exec", (off_t)(uintptr_t)word);
	say("query", "%s", query());
	for (unsigned i = 0; i < FILES; i++)
		close(files[i]);
	open_all(pid);
	read_all("opened again", (off_t)(uintptr_t)word);
	kill(pid, SIGKILL);
	siginfo_t si;
	waitid(P_PID, pid, &si, WEXITED | WNOWAIT);
	read_all("of a zombie", (off_t)(uintptr_t)word);
	say("query", "%s", query());
	waitpid(pid, &st, 0);
	read_all("of nobody", (off_t)(uintptr_t)word);
	say("query", "%s", query());
}

// zombie opens the files of a process that has ended.
static void zombie(void)
{
	siginfo_t si;
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	waitid(P_PID, pid, &si, WEXITED | WNOWAIT);
	for (unsigned i = 0; i < FILES; i++) {
		char path[64], buf[8];
		snprintf(path, sizeof path, "/proc/%d/%s", pid, names[i]);
		int fd = open(path, O_RDONLY);
		ssize_t n = fd < 0 ? -1 : read(fd, buf, 8);
		say(names[i], "%s, %s", fd < 0 ? errname(errno) : "opened", n > 0 ? "something" : ret(n));
	}
}

// gain is what a user does whose child executes a program with rights that the user has not.
static void gain(void)
{
	int go[2], in[2], out[2];
	char c, path[64], buf[256];
	if (setresgid(1000, 1000, 1000) || setresuid(1000, 1000, 1000) || prctl(PR_SET_DUMPABLE, 1))
		_exit(1);
	pid_t pid = cat("./gains", go, in, out);
	snprintf(path, sizeof path, "/proc/%d/io", pid);
	int fd = open(path, O_RDONLY);
	say("before", "%s", pread(fd, buf, sizeof buf, 0) > 0 ? "something" : errname(errno));
	(void)!write(go[1], "x", 1);
	(void)!write(in[1], "x", 1);
	(void)!read(out[0], &c, 1);
	say("after", "%s", pread(fd, buf, sizeof buf, 0) > 0 ? "something" : errname(errno));
	close(in[1]);
	_exit(0);
}

static void gains(void)
{
	if (chmod(".", 0755) || system("cp /bin/cat gains && chmod 4755 gains"))
		return;
	if (fork() == 0)
		gain();
	wait(NULL);
}

static const struct section table[] = {{"exec", exec}, {"zombie", zombie}, {"gains", gains}};
GUEST(table)
