// What /proc/self/fdinfo tells of an inotify instance.
#include "guest.h"
#include <sys/inotify.h>

static void info(const char *name, int fd, ino_t d, ino_t f)
{
	char path[64], line[512];
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	FILE *in = fopen(path, "r");
	while (in && fgets(line, sizeof line, in)) {
		unsigned long wd, ino, dev, mask, ignored;
		if (sscanf(line, "inotify wd:%lx ino:%lx sdev:%lx mask:%lx ignored_mask:%lx ", &wd, &ino, &dev, &mask, &ignored) == 5)
			say(name, "%lx of %s, mask %lx, ignored %lx", wd, ino == d ? "d" : ino == f ? "f" : "?", mask, ignored);
	}
	if (in)
		fclose(in);
}

static void lines(void)
{
	struct stat d, f;
	int fd = inotify_init();
	mkdir("d", 0755);
	put("f", "");
	stat("d", &d);
	stat("f", &f);
	info("none", fd, d.st_ino, f.st_ino);
	say("add", "%s", ret(inotify_add_watch(fd, "d", IN_CREATE | IN_DELETE | IN_ONLYDIR)));
	info("one", fd, d.st_ino, f.st_ino);
	say("add", "%s", ret(inotify_add_watch(fd, "f", IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK)));
	info("two", fd, d.st_ino, f.st_ino);
	say("more", "%s", ret(inotify_add_watch(fd, "d", IN_OPEN | IN_MASK_ADD)));
	info("changed", fd, d.st_ino, f.st_ino);
	close(open("f", O_RDONLY));
	info("once", fd, d.st_ino, f.st_ino);
	inotify_rm_watch(fd, 1);
	info("removed", fd, d.st_ino, f.st_ino);
}

static const struct section table[] = {{"lines", lines}};

GUEST(table)
