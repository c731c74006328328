// What the programs about mounts share: a place of their own, and a report of the mounts there.
#ifndef MOUNTS_H
#define MOUNTS_H

#include "guest.h"
#include <sched.h>
#include <sys/mount.h>

static char base[64];

// own_place makes a mount namespace with a file system of its own at base, and goes there.
static MAYBE void own_place(void)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		_exit(98);
	snprintf(base, sizeof base, "/tmp/mounts.XXXXXX");
	if (!mkdtemp(base) || mount("base", base, "tmpfs", 0, NULL) || chdir(base))
		_exit(97);
}

static MAYBE void leave_place(void)
{
	if (chdir("/") || umount2(base, MNT_DETACH) || rmdir(base))
		_exit(96);
}

static MAYBE void dirs(const char *names)
{
	char all[256], *save, *name;
	snprintf(all, sizeof all, "%s", names);
	for (name = strtok_r(all, " ", &save); name; name = strtok_r(NULL, " ", &save))
		mkdir(name, 0755);
}

// line is what is compared of one mount: its place below base, what of the file system it shows, how it passes on mounts.
struct line {
	char at[128], root[128], options[64], tags[96], type[32], super[64];
	int order;
};

static int by_place(const void *a, const void *b)
{
	const struct line *l = a, *m = b;
	int c = strcmp(l->at, m->at);
	c = c ? c : strcmp(l->root, m->root);
	c = c ? c : (int)strcspn(l->tags, "0123456789") - (int)strcspn(m->tags, "0123456789");
	return c ? c : l->order - m->order;
}

// renumber gives groups numbers in the order in which they are met.
static void renumber(char *tags, int *known, int *count)
{
	char out[96] = "";
	for (char *p = tags; *p;) {
		if (*p < '0' || *p > '9') {
			strncat(out, p++, 1);
			continue;
		}
		int id = strtol(p, &p, 10), i = 0;
		while (i < *count && known[i] != id)
			i++;
		if (i == *count && *count < 1000)
			known[(*count)++] = id;
		snprintf(out + strlen(out), sizeof out - strlen(out), "%d", i + 1);
	}
	strcpy(tags, out);
}

static struct line lines[3000];

// read_mounts reads the mounts below base and returns how many there are.
static MAYBE int read_mounts(void)
{
	static char text[1 << 20];
	int fd = open("/proc/self/mountinfo", O_RDONLY), n = 0;
	size_t len = 0;
	ssize_t r;
	while ((r = read(fd, text + len, sizeof text - len - 1)) > 0)
		len += r;
	text[len] = 0;
	close(fd);
	char *save;
	for (char *l = strtok_r(text, "\n", &save); l && n < 3000; l = strtok_r(NULL, "\n", &save)) {
		struct line *m = &lines[n];
		char *dash = strstr(l, " - ");
		char at[256];
		int used = 0;
		if (!dash || sscanf(l, "%*d %*d %*s %127s %255s %63s%n", m->root, at, m->options, &used) != 3)
			continue;
		if (strncmp(at, base, strlen(base)))
			continue;
		snprintf(m->at, sizeof m->at, ".%s", at + strlen(base));
		snprintf(m->tags, sizeof m->tags, "%.*s", (int)(dash - l - used), l + used);
		sscanf(dash + 3, "%31s %*s %2s", m->type, m->super);
		m->order = n++;
	}
	qsort(lines, n, sizeof *lines, by_place);
	return n;
}

// show_mounts reports the mounts below base.
static MAYBE void show_mounts(const char *when)
{
	int known[1000], count = 0, n = read_mounts();
	for (int i = 0; i < n; i++) {
		renumber(lines[i].tags, known, &count);
		say(when, "%s %s %s%s - %s %s", lines[i].at, lines[i].root, lines[i].options, lines[i].tags, lines[i].type, lines[i].super);
	}
}

static MAYBE const char *make(const char *at, int kind)
{
	return ret(mount(NULL, at, NULL, kind, NULL));
}

static MAYBE const char *tmpfs(const char *at)
{
	return ret(mount("x", at, "tmpfs", 0, NULL));
}

static MAYBE const char *bind(const char *from, const char *to)
{
	return ret(mount(from, to, NULL, MS_BIND, NULL));
}

#endif
