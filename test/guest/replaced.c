// Names whose files are replaced all the time: whoever goes by such a name gets at the old file or at the new one, never at nothing.
#include "guest.h"

enum { CHANGES = 1500 };

static long *failed; // by kind of call, shared

enum { OPEN, CREATE, STAT, SIZE, CHMOD, TRUNCATE, TIMES, READLINK, THROUGH, RUN, KINDS };

static const char *const kinds[] = {"open", "create", "stat", "size", "chmod", "truncate", "times", "readlink", "through a link", "run"};

static void enter(const char *base)
{
	char dir[64];
	snprintf(dir, sizeof dir, "%s/replaced-XXXXXX", base);
	if (!mkdtemp(dir) || chdir(dir))
		_exit(98);
	failed = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static void leave(void)
{
	char dir[64];
	static const char *const names[] = {"f", "l", "n", "nl", "x", "nx"};
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
		unlink(names[i]);
	if (getcwd(dir, sizeof dir))
		rmdir(dir);
	for (int i = 0; i < KINDS; i++)
		say(kinds[i], "%ld", failed[i]);
}

static void store(const char *name, const char *text)
{
	int fd = open(name, O_CREAT | O_WRONLY, 0755);
	if (write(fd, text, strlen(text)) < 0)
		_exit(97);
	close(fd);
}

static void replace(void)
{
	store("n", "0123456789");
	rename("n", "f");
	if (symlink("f", "nl") == 0)
		rename("nl", "l");
	store("nx", "#!/bin/true\n");
	rename("nx", "x");
}

static void look(void)
{
	struct stat s;
	char text[8];
	int fd = open("f", O_RDONLY);
	failed[OPEN] += fd < 0;
	close(fd);
	fd = open("f", O_RDWR | O_CREAT, 0755);
	failed[CREATE] += fd < 0;
	close(fd);
	failed[STAT] += stat("f", &s) != 0;
	failed[SIZE] += s.st_size != 10;
	failed[CHMOD] += chmod("f", 0755) != 0;
	failed[TRUNCATE] += truncate("f", 10) != 0;
	failed[TIMES] += utimensat(AT_FDCWD, "f", NULL, 0) != 0;
	failed[READLINK] += readlink("l", text, sizeof text) != 1;
	fd = open("l", O_RDONLY);
	failed[THROUGH] += fd < 0;
	close(fd);
}

// run executes the program that is replaced. That it is being written to where it has another name is no fault.
static void run(void)
{
	int status;
	pid_t child = vfork();
	if (!child) {
		execl("x", "x", NULL);
		_exit(errno != ETXTBSY);
	}
	waitpid(child, &status, 0);
	failed[RUN] += status != 0;
}

static void in(const char *base)
{
	enter(base);
	replace();
	pid_t other = fork();
	if (!other) {
		for (int i = 0; i < CHANGES; i++)
			replace();
		_exit(0);
	}
	for (int i = 0; waitpid(other, NULL, WNOHANG) == 0; i++) {
		look();
		if (i % 16 == 0)
			run();
	}
	leave();
}

static void in_tmp(void) { in("/tmp"); }
static void in_memory(void) { in("/dev/shm"); }

static const struct section table[] = {{"in_tmp", in_tmp}, {"in_memory", in_memory}};
GUEST(table)
