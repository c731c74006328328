// exec: arguments and environment and their limits, scripts, errors, what the new
// program keeps and what it loses.
#include "guest.h"
#include <limits.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static char self[PATH_MAX];

// run execs path in a child and shows its end.
static const char *run(const char *path, char *const argv[], char *const envp[])
{
	pid_t pid = fork();
	if (pid == 0) {
		execve(path, argv, envp);
		_exit(errno < 128 ? 128 + errno % 64 : 255);
	}
	int st;
	waitpid(pid, &st, 0);
	char *p = scratch();
	if (WIFEXITED(st) && WEXITSTATUS(st) >= 128)
		snprintf(p, 256, "%s", errname(WEXITSTATUS(st) - 128));
	else
		snprintf(p, 256, "%s", status(st));
	return p;
}

static const char *try(const char *path)
{
	return run(path, (char *[]){"x", NULL}, (char *[]){NULL});
}

static void script(const char *path, const char *text, int mode)
{
	put(path, text);
	chmod(path, mode);
}

static void errors(void)
{
	say("missing", "%s", try("./none"));
	mkdir("d", 0755);
	say("directory", "%s", try("./d"));
	script("plain", "echo hi\n", 0644);
	say("not executable", "%s", try("./plain"));
	script("text", "echo hi\n", 0755);
	say("no format", "%s", try("./text"));
	script("empty", "", 0755);
	say("empty", "%s", try("./empty"));
	script("elf", "\177ELF", 0755);
	say("short ELF", "%s", try("./elf"));
	say("through file", "%s", try("./plain/x"));
	say("empty name", "%s", try(""));
	symlink("loop", "loop");
	say("loop", "%s", try("./loop"));
	char name[300];
	memset(name, 'n', 299);
	name[299] = 0;
	say("long name", "%s", try(name));
	mkfifo("fifo", 0755);
	say("fifo", "%s", try("./fifo"));
	say("device", "%s", try("/dev/null"));
	script("busy", "#!/bin/true\n", 0755);
	int w = open("busy", O_WRONLY);
	say("open for writing", "%s", try("./busy"));
	close(w);
	say("closed", "%s", try("./busy"));
	say("null path", "%s", try(NULL));
	char **volatile bad = (char **)8;
	say("bad argv", "%s", run("/bin/true", bad, (char *[]){NULL}));
	say("bad argument", "%s", run("/bin/true", (char *[]){"x", (char *)8, NULL}, (char *[]){NULL}));
	say("bad environment", "%s", run("/bin/true", (char *[]){"x", NULL}, (char *[]){(char *)8, NULL}));
	if (fork() == 0) {
		if (setuid(1234))
			_exit(1);
		execl("./busy", "x", (char *)0);
		_exit(6);
	}
	int st;
	wait(&st);
	say("user, mode 0755", "%s", status(st));
	chmod("busy", 0700);
	if (fork() == 0) {
		if (setuid(1234))
			_exit(1);
		execl("./busy", "x", (char *)0);
		_exit(errno == EACCES ? 5 : 6);
	}
	wait(&st);
	say("user, mode 0700", "%s", status(st));
}

static void scripts(void)
{
	char *args[] = {"zero", "one", "two", NULL}, *env[] = {"V=value", NULL};
	script("s", "#!/bin/sh\necho \"script $0 $# $1 $2 $V\"\nexit 3\n", 0755);
	say("script", "%s", run("./s", args, env));
	script("opt", "#! /bin/echo  one argument  only \n", 0755);
	say("option", "%s", run("./opt", args, env));
	script("chain", "#!./s with\n", 0755);
	say("chain", "%s", run("./chain", args, env));
	script("nl", "#!/bin/echo", 0755);
	say("no newline", "%s", run("./nl", args, env));
	script("none", "#!/no/such/interpreter\n", 0755);
	say("interpreter missing", "%s", run("./none", args, env));
	script("blank", "#!\n", 0755);
	say("no interpreter", "%s", run("./blank", args, env));
	script("dir", "#!/\n", 0755);
	say("interpreter is a directory", "%s", run("./dir", args, env));
	script("self", "#!./self\n", 0755);
	say("its own interpreter", "%s", run("./self", args, env));
	char text[600], name[8], prev[8] = "s";
	for (int i = 0; i < 7; i++) {
		sprintf(name, "c%d", i);
		sprintf(text, "#!./%s\n", prev);
		script(name, text, 0755);
		strcpy(prev, name);
		say(name, "%s", run(name, args, env));
	}
	memset(text, ' ', sizeof text);
	strcpy(text, "#!/bin/echo ");
	memset(text + 12, 'a', 300);
	strcpy(text + 312, "\n");
	script("long", text, 0755);
	say("long line", "%s", run("./long", args, env));
	memset(text + 2, 'b', 400);
	strcpy(text + 402, "\n");
	script("longname", text, 0755);
	say("long interpreter", "%s", run("./longname", args, env));
	// The interpreter must be found from where the script runs, the script by its own path.
	mkdir("bin", 0755);
	script("bin/t", "#!/bin/sh\necho \"$0\"\n", 0755);
	chdir("bin");
	say("relative", "%s", run("../bin/t", args, env));
	int fd = open("t", O_RDONLY);
	pid_t pid = fork();
	if (pid == 0) {
		fexecve(fd, args, env);
		_exit(77);
	}
	int st;
	waitpid(pid, &st, 0);
	say("fexecve", "%s", status(st));
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	pid = fork();
	if (pid == 0) {
		syscall(SYS_execveat, fd, "", args, env, AT_EMPTY_PATH);
		_exit(errno == ENOENT ? 44 : 45);
	}
	waitpid(pid, &st, 0);
	say("fexecve with close on exec", "%s", status(st));
	fflush(stdout);
}

static void limits(void)
{
	static char big[300000];
	memset(big, 'x', sizeof big);
	char *args[] = {"true", big, NULL}, *env[] = {NULL};
	big[131071] = 0;
	say("string of 128 KiB", "%s", run("/bin/true", args, env));
	big[131071] = 'x';
	big[131072] = 0;
	say("one more", "%s", run("/bin/true", args, env));
	char **many = calloc(200001, sizeof *many);
	for (int i = 0; i < 100000; i++)
		many[i] = "a";
	say("100000 arguments", "%s", run("/bin/true", many, env));
	big[131071] = 0;
	for (int i = 0; i < 8; i++)
		many[i] = big;
	many[8] = NULL;
	say("1 MiB", "%s", run("/bin/true", many, env));
	for (int i = 0; i < 20; i++)
		many[i] = big;
	many[20] = NULL;
	say("2.5 MiB", "%s", run("/bin/true", many, env));
	say("environment counts", "%s", run("/bin/true", many, many));
	if (fork() == 0) {
		struct rlimit r;
		getrlimit(RLIMIT_STACK, &r);
		r.rlim_cur = r.rlim_max < 64 << 20 ? r.rlim_max : 64 << 20;
		setrlimit(RLIMIT_STACK, &r);
		for (int i = 0; i < 44; i++)
			many[i] = big;
		many[44] = NULL;
		say("5.5 MiB, larger stack", "%s", run("/bin/true", many, env));
		for (int i = 44; i < 50; i++)
			many[i] = big;
		many[50] = NULL;
		say("6.25 MiB, larger stack", "%s", run("/bin/true", many, env));
		_exit(0);
	}
	wait(NULL);
	say("no arguments", "%s", run("/bin/true", (char *[]){NULL}, env));
	say("null argv", "%s", run("/bin/true", NULL, NULL));
}

// shown: what a program started by kept reports of itself.
static void shown(void)
{
	sigset_t s;
	struct sigaction sa;
	sigprocmask(SIG_SETMASK, NULL, &s);
	say("USR1 blocked", "%s", yes(sigismember(&s, SIGUSR1)));
	sigpending(&s);
	say("USR1 pending", "%s", yes(sigismember(&s, SIGUSR1)));
	sigaction(SIGUSR2, NULL, &sa);
	say("caught is default", "%s", yes(sa.sa_handler == SIG_DFL));
	sigaction(SIGTERM, NULL, &sa);
	say("ignored stays", "%s", yes(sa.sa_handler == SIG_IGN));
	sigaction(SIGCHLD, NULL, &sa);
	say("SIGCHLD", "%s", yes(sa.sa_handler == SIG_IGN));
	stack_t ss;
	sigaltstack(NULL, &ss);
	say("alternate stack", "%d", ss.ss_flags);
	say("descriptor 40", "%s", ret(fcntl(40, F_GETFD)));
	say("descriptor 41", "%s", ret(fcntl(41, F_GETFD)));
	say("position", "%s", ret(lseek(40, 0, SEEK_CUR)));
	say("umask", "%03o", umask(0));
	char b[PATH_MAX];
	say("directory", "%s", strrchr(getcwd(b, sizeof b), '/'));
	struct rlimit r;
	getrlimit(RLIMIT_NOFILE, &r);
	say("limit", "%ld", (long)r.rlim_cur);
	say("same process", "%s", yes(getpid() == atoi(getenv("WAS"))));
	say("group kept", "%s", yes(getpgrp() == getpid()));
	say("environment", "%s", getenv("V"));
	char name[32] = "";
	prctl(PR_GET_NAME, name);
	say("name", "%s", name);
	say("parent death signal", "%s", (prctl(PR_GET_PDEATHSIG, b), ret(*(int *)b)));
	say("secure", "%ld", (long)getauxval(AT_SECURE));
	say("page size", "%ld", (long)getauxval(AT_PAGESZ));
	say("execfn", "%s", (char *)getauxval(AT_EXECFN));
	say("platform", "%s", (char *)getauxval(AT_PLATFORM));
	say("ticks", "%ld", (long)getauxval(AT_CLKTCK));
	say("random", "%s", yes(getauxval(AT_RANDOM) != 0));
	say("ids", "%ld %ld %ld %ld", (long)getauxval(AT_UID) - getuid(), (long)getauxval(AT_EUID) - geteuid(), (long)getauxval(AT_GID) - getgid(), (long)getauxval(AT_EGID) - getegid());
}

static void on_signal(int s)
{
	(void)s;
}

static void kept(void)
{
	if (fork() == 0) {
		sigset_t s;
		sigemptyset(&s);
		sigaddset(&s, SIGUSR1);
		sigprocmask(SIG_BLOCK, &s, NULL);
		raise(SIGUSR1);
		signal(SIGUSR2, on_signal);
		signal(SIGTERM, SIG_IGN);
		signal(SIGCHLD, SIG_IGN);
		static char alt[65536];
		stack_t ss = {.ss_sp = alt, .ss_size = sizeof alt};
		sigaltstack(&ss, NULL);
		put("f", "0123456789");
		int fd = open("f", O_RDONLY);
		lseek(fd, 4, SEEK_SET);
		dup2(fd, 40);
		dup3(fd, 41, O_CLOEXEC);
		umask(035);
		mkdir("here", 0755);
		chdir("here");
		struct rlimit r = {100, 200};
		setrlimit(RLIMIT_NOFILE, &r);
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		char was[32];
		snprintf(was, sizeof was, "WAS=%d", getpid());
		symlink(self, "longer-than-fifteen-letters");
		execve("./longer-than-fifteen-letters", (char *[]){"x", "shown", NULL}, (char *[]){was, "V=set", NULL});
		_exit(1);
	}
	int st;
	wait(&st);
	say("done", "%s", status(st));
}

static void proc_self(void)
{
	char b[PATH_MAX] = "";
	say("exe", "%s", yes(readlink("/proc/self/exe", b, sizeof b) > 0 && !strcmp(b, self)));
	pid_t pid = fork();
	if (pid == 0) {
		execl("/proc/self/exe", "again", "nothing", (char *)0);
		_exit(1);
	}
	int st;
	waitpid(pid, &st, 0);
	say("exec of it", "%s", status(st));
	pid = fork();
	if (pid == 0) {
		execl("/bin/sleep", "sleep", "20", (char *)0);
		_exit(1);
	}
	runs(pid, "sleep");
	char p[64];
	snprintf(p, sizeof p, "/proc/%d/cmdline", pid);
	char *c = (char *)get(p);
	say("cmdline", "%s %s", c, c + strlen(c) + 1);
	snprintf(p, sizeof p, "/proc/%d/comm", pid);
	say("comm", "%.5s", get(p));
	kill(pid, SIGKILL);
	waitpid(pid, &st, 0);
	int fd = open("/bin/true", O_RDONLY | O_CLOEXEC);
	pid = fork();
	if (pid == 0) {
		fexecve(fd, (char *[]){"t", NULL}, (char *[]){NULL});
		_exit(1);
	}
	waitpid(pid, &st, 0);
	say("fexecve", "%s", status(st));
	int d = open("/bin", O_PATH);
	pid = fork();
	if (pid == 0) {
		syscall(SYS_execveat, d, "false", (char *[]){"t", NULL}, (char *[]){NULL}, 0);
		_exit(9);
	}
	waitpid(pid, &st, 0);
	say("execveat", "%s", status(st));
	pid = fork();
	if (pid == 0) {
		symlink("/bin/true", "lnk");
		syscall(SYS_execveat, AT_FDCWD, "lnk", (char *[]){"t", NULL}, (char *[]){NULL}, AT_SYMLINK_NOFOLLOW);
		_exit(errno == ELOOP ? 11 : 12);
	}
	waitpid(pid, &st, 0);
	say("execveat nofollow", "%s", status(st));
	say("execveat bad flag", "%s", ret(syscall(SYS_execveat, d, "true", NULL, NULL, 0x40000000)));
}

// failures: an exec that fails late leaves the caller as it was.
static void failures(void)
{
	signal(SIGUSR1, on_signal);
	static char alt[65536];
	stack_t ss = {.ss_sp = alt, .ss_size = sizeof alt};
	sigaltstack(&ss, NULL);
	script("none", "#!/no/such/interpreter\n", 0755);
	int fd = open(".", O_RDONLY | O_CLOEXEC);
	say("exec", "%s", ret(execl("./none", "x", (char *)0)));
	struct sigaction sa;
	sigaction(SIGUSR1, NULL, &sa);
	say("handler kept", "%s", yes(sa.sa_handler == on_signal));
	sigaltstack(NULL, &ss);
	say("stack kept", "%s", yes(ss.ss_sp == alt));
	say("descriptor kept", "%s", ret(fcntl(fd, F_GETFD)));
	int p[2];
	if (pipe2(p, O_CLOEXEC))
		return;
	if (fork() == 0) {
		execl("/bin/sleep", "sleep", "1", (char *)0);
		_exit(1);
	}
	close(p[1]);
	char c;
	say("closed on exec", "%s", ret(read(p[0], &c, 1)));
	int st;
	wait(&st);
	say("sleeper", "%s", status(st));
}

static const struct section table[] = {
	{"errors", errors}, {"scripts", scripts}, {"limits", limits}, {"kept", kept},
	{"proc_self", proc_self}, {"failures", failures},
};

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "shown")) {
		shown();
		return 0;
	}
	if (!realpath(argv[0], self))
		return 97;
	return guest_main(argc, argv, table, sizeof table / sizeof *table);
}
