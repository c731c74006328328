// Programs that run are not written to, and files that are written to do not run.
#include "guest.h"

static void copy(const char *from, const char *to)
{
	static char b[65536];
	int in = open(from, O_RDONLY), out = open(to, O_CREAT | O_TRUNC | O_WRONLY, 0755);
	ssize_t n;
	while ((n = read(in, b, sizeof b)) > 0)
		if (write(out, b, n) != n)
			say("copy", "%s", errname(errno));
	close(in);
	close(out);
}

static pid_t start(const char *path)
{
	pid_t p = fork();
	if (p == 0) {
		execl(path, "sleep", "100", (char *)0);
		_exit(errno == ETXTBSY ? 5 : 6);
	}
	return p;
}

static void busy(void)
{
	int st;
	copy("/bin/sleep", "prog");
	int w = open("prog", O_WRONLY);
	start("./prog");
	wait(&st);
	say("written to", "%s", status(st));
	close(w);
	pid_t p = start("./prog");
	runs(p, "prog");
	say("write", "%s %s", okret(open("prog", O_WRONLY)), okret(open("prog", O_RDWR)));
	say("truncate", "%s %s", ret(truncate("prog", 10)), okret(open("prog", O_WRONLY | O_TRUNC)));
	say("create", "%s", okret(open("prog", O_WRONLY | O_CREAT | O_TRUNC, 0755)));
	say("read", "%s", okret(open("prog", O_RDONLY)));
	char exe[64];
	sprintf(exe, "/proc/%d/exe", p);
	say("through proc", "%s", okret(open(exe, O_WRONLY)));
	say("rename", "%s", ret(rename("prog", "moved")));
	say("write", "%s", okret(open("moved", O_WRONLY)));
	kill(p, SIGTERM);
	wait(&st);
	say("end", "%s", status(st));
	say("write", "%s", okret(open("moved", O_WRONLY)));
	say("own", "%s", okret(open("/proc/self/exe", O_WRONLY)));
	if (fork() == 0)
		_exit(0);
	wait(NULL);
	say("own, after a child", "%s", okret(open("/proc/self/exe", O_WRONLY)));
	// A child that has gone on to another program leaves the file to its parent's.
	if (fork() == 0) {
		execl("/bin/true", "true", (char *)0);
		_exit(1);
	}
	wait(NULL);
	say("own, after an exec", "%s", okret(open("/proc/self/exe", O_WRONLY)));
}

static const struct section table[] = {{"busy", busy}};

GUEST(table)
