// What programs about cgroups have in common: a group of their own below the root.
#include <dirent.h>
#include <sched.h>
#include <sys/syscall.h>

static char base[64], own[80];

// in returns the path of a file in the program's own group.
static MAYBE const char *in(const char *name)
{
	char *p = scratch();
	snprintf(p, 256, "%s/%s", own, name);
	return p;
}

// attach writes an id to a group's file and returns what write did.
static MAYBE const char *attach(const char *file, int id)
{
	char text[16];
	int fd = open(in(file), O_WRONLY);
	if (fd < 0)
		return errname(errno);
	const char *r = okret(write(fd, text, snprintf(text, sizeof text, "%d", id)));
	close(fd);
	return r;
}

// store writes text to a group's file.
static MAYBE const char *store(const char *file, const char *text)
{
	int fd = open(in(file), O_WRONLY);
	if (fd < 0)
		return errname(errno);
	const char *r = okret(write(fd, text, strlen(text)));
	close(fd);
	return r;
}

// where shows a process's group, without the part that differs from run to run.
static MAYBE const char *where(const char *proc)
{
	char *p = scratch();
	const char *text = strstr(get(proc), "0::");
	if (!text)
		return "none";
	text += 3;
	const char *name = own + strlen(base);
	if (!strncmp(text, name, strlen(name)))
		text += strlen(name);
	snprintf(p, 256, "%.*s", (int)strcspn(text, "\n"), text);
	return p;
}

// members counts the lines of a file of ids.
static MAYBE int members(const char *file)
{
	int n = 0;
	for (const char *p = get(in(file)); (p = strchr(p, '\n')); p++)
		n++;
	return n;
}

// remove_below removes a group and those in it, innermost first.
static MAYBE void remove_below(const char *dir)
{
	char path[512];
	DIR *d = opendir(dir);
	for (struct dirent *e; d && (e = readdir(d));) {
		if (e->d_type == DT_DIR && e->d_name[0] != '.') {
			snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
			remove_below(path);
		}
	}
	if (d)
		closedir(d);
	rmdir(dir);
}

// leave_all puts the program back into the root and removes its groups.
static MAYBE void leave_all(void)
{
	char path[128];
	snprintf(path, sizeof path, "%s/cgroup.procs", base);
	put(path, "0");
	remove_below(own);
}

// begin finds the tree and makes the program's own group.
static MAYBE void begin(void)
{
	strcpy(base, access("/sys/fs/cgroup/unified/cgroup.procs", F_OK) ? "/sys/fs/cgroup" : "/sys/fs/cgroup/unified");
	snprintf(own, sizeof own, "%s/t%d", base, getpid());
	say("group", "%s", okret(mkdir(own, 0755)));
}

// clone_into is clone3 with a cgroup's descriptor.
static MAYBE long clone_into(unsigned long long flags, int fd)
{
	struct {
		unsigned long long flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
	} a = {.flags = flags | 0x200000000ull, .exit_signal = flags & CLONE_THREAD ? 0 : SIGCHLD, .cgroup = fd};
	return syscall(SYS_clone3, &a, sizeof a);
}

// is_born runs clone_into, and tells where the child is.
static MAYBE const char *is_born(unsigned long long flags, int fd)
{
	long pid = clone_into(flags, fd);
	if (pid == 0) {
		say("born in", "%s", where("/proc/self/cgroup"));
		_exit(0);
	}
	if (pid < 0)
		return errname(errno);
	int st;
	waitpid(pid, &st, __WALL);
	return status(st);
}
