// What is said of mappings and changed about them: what is resident, rearranged pages of a file.
#include "guest.h"
#include <sys/ioctl.h>

#define RW (PROT_READ | PROT_WRITE)

static char *anon(size_t pages, int flags)
{
	return mmap(NULL, pages * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

// in_memory shows page by page what mincore tells.
static const char *in_memory(char *p, int pages)
{
	unsigned char vec[64];
	if (mincore(p, pages * PAGE, vec))
		return errname(errno);
	char *text = scratch();
	for (int i = 0; i < pages; i++)
		text[i] = '0' + (vec[i] & 1);
	text[pages] = 0;
	return text;
}

// smaps_kb is a figure of smaps about the mapping at p, in KiB.
static long smaps_kb(char *p, const char *name)
{
	char start[32], line[512];
	snprintf(start, sizeof start, "%lx-", (unsigned long)p);
	FILE *f = fopen("/proc/self/smaps", "r");
	long kb = -1;
	int here = 0;
	while (f && kb < 0 && fgets(line, sizeof line, f)) {
		here |= !strncmp(line, start, strlen(start));
		if (here && !strncmp(line, name, strlen(name)))
			kb = atol(line + strlen(name) + 1);
	}
	if (f)
		fclose(f);
	return kb;
}

static void resident(void)
{
	char *p = anon(32, MAP_NORESERVE);
	say("mlock", "%s %s", ret(mlock(p + 2 * PAGE, 3 * PAGE)), in_memory(p + 2 * PAGE, 3));
	p = anon(256, 0);
	mprotect(p + 255 * PAGE, PAGE, PROT_NONE);
	say("mlock of it all", "%s %ld %ld", ret(mlock(p, 255 * PAGE)), smaps_kb(p, "Rss:"), smaps_kb(p, "Locked:"));
	p = anon(8, MAP_POPULATE);
	say("populated", "%s", in_memory(p, 8));
	p = anon(256, MAP_NORESERVE);
	say("mlock2 of it all", "%s %s", ret(mlock2(p, 8 * PAGE, 0)), in_memory(p, 8));
	say("write", "%s %s", ret(madvise(p + 16 * PAGE, 8 * PAGE, 23)), in_memory(p + 16 * PAGE, 8));
	p = mmap(NULL, 8 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	say("read, shared", "%s %s", ret(madvise(p, 8 * PAGE, 22)), in_memory(p, 8));
	say("mlockall", "%s", ret(mlockall(MCL_FUTURE)));
	p = anon(16, 0);
	say("mapped since", "%s", in_memory(p, 16));
	p = mremap(p, 16 * PAGE, 48 * PAGE, MREMAP_MAYMOVE);
	say("grown", "%s", in_memory(p, 48));
}

static const char *pages(char *p, int n)
{
	char *text = scratch();
	for (int i = 0; i < n; i++)
		text[i] = p[i * PAGE];
	text[n] = 0;
	return text;
}

static long rearrange(char *p, size_t length, int prot, size_t page, int flags)
{
	return syscall(SYS_remap_file_pages, p, length, prot, page, flags);
}

static void rearranged(void)
{
	int fd = memfd_create("f", 0);
	if (ftruncate(fd, 8 * PAGE))
		return;
	char *p = mmap(NULL, 8 * PAGE, RW, MAP_SHARED, fd, 0);
	for (int i = 0; i < 8; i++)
		p[i * PAGE] = 'a' + i;
	say("first", "%s", pages(p, 8));
	say("one", "%s %s", ret(rearrange(p, PAGE, 0, 7, 0)), pages(p, 8));
	say("some", "%s %s", ret(rearrange(p + 4 * PAGE, 2 * PAGE, 0, 0, MAP_NONBLOCK)), pages(p, 8));
	say("across", "%s %s", ret(rearrange(p + 3 * PAGE, 3 * PAGE, 0, 1, 0)), pages(p, 8));
	p[3 * PAGE] = 'X';
	say("the file's", "%c", p[1 * PAGE]);
	say("unaligned", "%s %s", ret(rearrange(p + 7 * PAGE + 9, PAGE + 9, 0, 2, 0)), pages(p, 8));
	mprotect(p + PAGE, PAGE, PROT_READ);
	say("of other rights", "%s", ret(rearrange(p, 2 * PAGE, 0, 0, 0)));
	say("with rights", "%s", ret(rearrange(p, PAGE, PROT_READ, 0, 0)));
	say("nothing", "%s", ret(rearrange(p, 0, 0, 0, 0)));
	say("overflow", "%s", ret(rearrange(p, ~0UL, 0, 0, 0)));
	say("far page", "%s", ret(rearrange(p, PAGE, 0, ~0UL, 0)));
	munmap(p + 6 * PAGE, PAGE);
	say("over a hole", "%s", ret(rearrange(p + 5 * PAGE, 3 * PAGE, 0, 0, 0)));
	say("in a hole", "%s", ret(rearrange(p + 6 * PAGE, PAGE, 0, 0, 0)));
	char *private = mmap(NULL, PAGE, RW, MAP_PRIVATE, fd, 0);
	say("private", "%s", ret(rearrange(private, PAGE, 0, 1, 0)));
	char *shared = mmap(NULL, 2 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	shared[PAGE] = 's';
	say("no file", "%s %c", ret(rearrange(shared, PAGE, 0, 1, 0)), shared[0]);
}

// child_faults tells whether writing to p ends a child.
static int child_faults(char *p)
{
	pid_t pid = fork();
	if (pid == 0) {
		*p = 2;
		_exit(0);
	}
	int st;
	waitpid(pid, &st, 0);
	return WIFSIGNALED(st);
}

static void seal_child(char *p)
{
	say("child unmaps", "%s", ret(munmap(p, PAGE)));
	_exit(0);
}

static void sealed(void)
{
	long nr = 462;
	char *p = anon(16, 0);
	memset(p, 1, 16 * PAGE);
	say("flags", "%s", ret(syscall(nr, p, PAGE, 1)));
	say("unaligned", "%s", ret(syscall(nr, p + 1, PAGE, 0)));
	say("overflow", "%s", ret(syscall(nr, p, ~0UL, 0)));
	say("wraps", "%s", ret(syscall(nr, p, -PAGE, 0)));
	say("nothing", "%s", ret(syscall(nr, p, 0, 0)));
	munmap(p + 8 * PAGE, PAGE);
	say("over a hole", "%s", ret(syscall(nr, p + 7 * PAGE, 3 * PAGE, 0)));
	say("none of it", "%s", ret(munmap(p + 7 * PAGE, PAGE)));
	say("sealed", "%s %s", ret(syscall(nr, p + PAGE, 2 * PAGE - 5, 0)), ret(syscall(nr, p + PAGE, PAGE, 0)));
	say("unmapped", "%s", ret(munmap(p, 16 * PAGE)));
	say("the first is still there", "%d", p[0]);
	say("beside it", "%s", ret(munmap(p + 3 * PAGE, PAGE)));
	say("protected", "%s", ret(mprotect(p + 2 * PAGE, PAGE, PROT_READ)));
	say("as it is", "%s", ret(mprotect(p + 2 * PAGE, PAGE, RW)));
	mprotect(p, 3 * PAGE, PROT_READ);
	say("up to it", "%s", yes(child_faults(p)));
	say("replaced", "%s", okret((long)mmap(p + PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)));
	say("moved", "%s", okret((long)mremap(p + PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE)));
	say("shrunk", "%s", okret((long)mremap(p + PAGE, 2 * PAGE, PAGE, 0)));
	say("moved onto", "%s", okret((long)mremap(p + 5 * PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + PAGE)));
	say("the source is still there", "%d", p[5 * PAGE]);
	say("thrown away, writable", "%s", ret(madvise(p + PAGE, PAGE, MADV_DONTNEED)));
	char *ro = anon(4, 0);
	mprotect(ro, 4 * PAGE, PROT_READ);
	syscall(nr, ro, 2 * PAGE, 0);
	say("thrown away", "%s %s %s", ret(madvise(ro, PAGE, MADV_DONTNEED)), ret(madvise(ro, PAGE, MADV_FREE)), ret(madvise(ro + 2 * PAGE, PAGE, MADV_DONTNEED)));
	say("not for children", "%s %s", ret(madvise(ro, PAGE, MADV_DONTFORK)), ret(madvise(ro, PAGE, MADV_WIPEONFORK)));
	say("hints", "%s", ret(madvise(ro, PAGE, MADV_RANDOM)));
	say("locked", "%s", ret(mlock(ro, PAGE)));
	if (fork() == 0)
		seal_child(ro);
	wait(NULL);
	char *end = sbrk(0);
	end = (char *)(((unsigned long)end + PAGE - 1) & -PAGE);
	brk(end + 4 * PAGE);
	say("heap", "%s", ret(syscall(nr, end + 2 * PAGE, PAGE, 0)));
	say("shrinks", "%s", yes(brk(end) == 0));
}

// words shows page by page what pagemap tells of presence and files.
static const char *words(char *p, int n)
{
	uint64_t w[16];
	char *text = scratch();
	int fd = open("/proc/self/pagemap", O_RDONLY);
	if (pread(fd, w, n * 8, (uint64_t)p / PAGE * 8) != n * 8)
		snprintf(text, 256, "%s", errname(errno));
	else {
		for (int i = 0; i < n; i++)
			text[i] = w[i] >> 63 ? (w[i] >> 61 & 1 ? 'f' : 'p') : '-';
		text[n] = 0;
	}
	close(fd);
	return text;
}

static void pagemap(void)
{
	char *p = mmap(NULL, 1 << 20, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	p += 512 * 1024;
	p[PAGE] = p[3 * PAGE] = 1;
	say("touched", "%c%c", words(p, 4)[1], words(p, 4)[3]);
	char *all = anon(8, MAP_POPULATE);
	say("populated", "%s", words(all, 8));
	put("f", "text of a file");
	char *f = mmap(NULL, PAGE, RW, MAP_PRIVATE, open("f", O_RDWR), 0);
	say("file", "%d %s", f[0], words(f, 1));
	f[0] = 1;
	say("copied", "%s", words(f, 1));
	char *s = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	s[0] = 1;
	say("shared", "%s", words(s, 1));
	munmap(all, PAGE);
	say("nothing", "%s", words(all, 2));
	uint64_t w[2];
	int fd = open("/proc/self/pagemap", O_RDONLY);
	say("part of a word", "%s", ret(pread(fd, w, 4, 0)));
	say("between words", "%s", ret(pread(fd, w, 8, 4)));
	say("the first page", "%s", ret(pread(fd, w, 8, 0)));
	say("beyond", "%s", ret(pread(fd, w, 8, (1L << 47) / PAGE * 8)));
	say("beyond all addresses", "%s", ret(pread(fd, w, 16, (1L << 52) * 8)));
}

struct query {
	uint64_t size, flags, addr, start, end, rights, page, offset, ino;
	uint32_t major, minor, name_size, id_size;
	uint64_t name, id;
};

static const char *asked(int fd, char *p, uint64_t flags, char *base)
{
	static char name[256];
	memset(name, 0, sizeof name);
	struct query q = {.size = sizeof q, .flags = flags, .addr = (uint64_t)p, .name = (uint64_t)name, .name_size = sizeof name};
	char *text = scratch();
	if (ioctl(fd, 0xc0686611, &q))
		return errname(errno);
	char *last = strrchr(name, '/');
	snprintf(text, 256, "%+ld %+ld rights %lx page %lx offset %lx ino %d name %u %.80s", (long)q.start - (long)base,
		(long)q.end - (long)base, q.rights, q.page, q.offset, q.ino != 0, last ? 0 : q.name_size, last ? last : name);
	return text;
}

static void queried(void)
{
	int fd = open("/proc/self/maps", O_RDONLY);
	char *p = mmap(NULL, 12 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	put("file", "x");
	int f = open("file", O_RDWR);
	if (ftruncate(f, 8 * PAGE))
		return;
	munmap(p, 12 * PAGE);
	mmap(p + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	mmap(p + 3 * PAGE, 2 * PAGE, RW, MAP_SHARED | MAP_FIXED, f, 2 * PAGE);
	mmap(p + 5 * PAGE, 2 * PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, f, 0);
	say("in it", "%s", asked(fd, p + PAGE + 5, 0, p));
	say("in a file", "%s", asked(fd, p + 4 * PAGE, 0, p));
	say("in a hole", "%s", asked(fd, p + 2 * PAGE, 0, p));
	say("or next", "%s", asked(fd, p + 2 * PAGE, 0x10, p));
	say("a file's", "%s", asked(fd, p + PAGE, 0x20, p));
	say("the next file's", "%s", asked(fd, p + PAGE, 0x30, p));
	say("executable", "%s", asked(fd, p + PAGE, 0x14, p));
	say("writable", "%s", asked(fd, p + PAGE, 0x2, p));
	say("shared", "%s", asked(fd, p + 3 * PAGE, 0xb, p));
	say("far", "%s", asked(fd, (char *)~0UL, 0x10, p));
	say("flags", "%s", asked(fd, p + PAGE, 0x40, p));
	struct query q = {.size = 8};
	say("short", "%s", ret(ioctl(fd, 0xc0686611, &q)));
	q.size = 5000;
	say("long", "%s", ret(ioctl(fd, 0xc0686611, &q)));
	q = (struct query){.size = sizeof q, .addr = (uint64_t)p + 4 * PAGE, .name = (uint64_t)&q};
	say("name without size", "%s", ret(ioctl(fd, 0xc0686611, &q)));
	q.name_size = 3;
	say("no room", "%s", ret(ioctl(fd, 0xc0686611, &q)));
	q = (struct query){.size = 24, .addr = (uint64_t)p + 4 * PAGE};
	say("less asked", "%s %d", ret(ioctl(fd, 0xc0686611, &q)), q.end != 0);
	say("bad pointer", "%s", ret(ioctl(fd, 0xc0686611, NULL)));
	say("another call", "%s", ret(ioctl(fd, 0x6612, &q)));
}

// of_kernel: what the kernel maps into every process cannot be enlarged.
static void of_kernel(void)
{
	static const char *const names[] = {"[vvar]", "[vdso]"};
	for (int i = 0; i < 2; i++) {
		char line[300], *flags = NULL;
		unsigned long from = 0, to = 0;
		FILE *f = fopen("/proc/self/smaps", "r");
		while (fgets(line, sizeof line, f) && !flags) {
			if (strstr(line, names[i]))
				sscanf(line, "%lx-%lx", &from, &to);
			if (from && !strncmp(line, "VmFlags", 7))
				flags = strstr(line, " de ") ? "de" : "none";
		}
		fclose(f);
		char *p = (char *)from;
		size_t n = to - from;
		say(names[i], "%s", flags);
		say("grow", "%s %s", okret((long)mremap(p, n, n + PAGE, MREMAP_MAYMOVE)), okret((long)mremap(p, n, n + PAGE, 0)));
		say("leave", "%s", okret((long)mremap(p, n, n, MREMAP_MAYMOVE | MREMAP_DONTUNMAP)));
		say("keep", "%s", okret((long)mremap(p, n, n, 0)));
	}
}

// file_sealed: a mapping that may write stays what it is when new ones are sealed off, in a child and in another place too.
static void file_sealed(void)
{
	int fd = memfd_create("f", MFD_ALLOW_SEALING), status = 0;
	if (ftruncate(fd, 2 * PAGE))
		return;
	char *p = mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0);
	say("seal", "%s", ret(fcntl(fd, F_ADD_SEALS, 0x10 /* F_SEAL_FUTURE_WRITE */)));
	pid_t child = fork();
	if (!child) {
		p[1] = 'c';
		_exit(0);
	}
	say("fork", "%d", child > 0);
	say("child", "%d %d %c", waitpid(child, &status, 0) == child, status, p[1]);
	p = mremap(p, PAGE, 2 * PAGE, MREMAP_MAYMOVE);
	say("moved", "%s", okret((long)p));
	p[PAGE] = 'm';
	say("another to write", "%s", okret((long)mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0)));
	char *q = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	say("to read", "%s %c", okret((long)q), q[PAGE]);
	say("made writable", "%s", ret(mprotect(q, PAGE, RW)));
	q = mmap(NULL, PAGE, RW, MAP_PRIVATE, fd, 0);
	say("private", "%s", okret((long)q));
	munmap(p, 2 * PAGE);
	say("sealed for all", "%s", ret(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE)));
	say("to write", "%s", okret((long)mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0)));
}

static const struct section sections[] = {
	{"pagemap", pagemap}, {"of_kernel", of_kernel}, {"queried", queried},
	{"sealed", sealed}, {"file_sealed", file_sealed},
	{"resident", resident}, {"rearranged", rearranged}};
GUEST(sections)
