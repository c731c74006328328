// Mappings of files, sharing and copy-on-write across fork, SIGBUS, and what the
// kernel's own copies do at the edge of what is mapped.
#include "guest.h"
#include <sys/uio.h>

#define RW (PROT_READ | PROT_WRITE)

// pages makes a file of n pages, each filled with its own letter.
static int pages(const char *path, int n)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_RDWR, 0644);
	char page[PAGE];
	for (int i = 0; i < n; i++) {
		memset(page, 'a' + i, PAGE);
		if (write(fd, page, PAGE) != (ssize_t)PAGE)
			say("pages", "%s", errname(errno));
	}
	return fd;
}

static char at(int fd, off_t off)
{
	char c = '?';
	return pread(fd, &c, 1, off) == 1 ? c : '-';
}

static const char *mapres(void *p)
{
	return p == MAP_FAILED ? errname(errno) : "ok";
}

static void private_file(void)
{
	int fd = pages("f", 3);
	volatile char *p = mmap(NULL, 3 * PAGE, RW, MAP_PRIVATE, fd, 0);
	volatile char *q = mmap(NULL, PAGE, RW, MAP_PRIVATE, fd, PAGE);
	say("content", "%c %c %c %c", p[0], p[PAGE], p[3 * PAGE - 1], q[0]);
	p[0] = 'X';
	say("own copy", "%c file %c", p[0], at(fd, 0));
	if (pwrite(fd, "Y", 1, 1) != 1 || pwrite(fd, "Z", 1, PAGE + 1) != 1)
		say("pwrite", "%s", errname(errno));
	say("copied page is apart", "%c", p[1]);
	say("untouched page follows", "%c", q[1]);
	close(fd);
	unlink("f");
	say("after close and unlink", "%c", p[2 * PAGE]);
	int ro = open("/proc/self/exe", O_RDONLY);
	volatile char *e = mmap(NULL, PAGE, RW, MAP_PRIVATE, ro, 0);
	e[0] = 'T';
	say("private write of read-only file", "%c%c%c%c", e[0], e[1], e[2], e[3]);
}

static void shared_file(void)
{
	int fd = pages("f", 2);
	volatile char *p = mmap(NULL, 2 * PAGE, RW, MAP_SHARED, fd, 0);
	volatile char *q = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	p[0] = '1';
	say("store seen by pread", "%c", at(fd, 0));
	say("store seen by other mapping", "%c", q[0]);
	if (pwrite(fd, "2", 1, PAGE) != 1)
		say("pwrite", "%s", errname(errno));
	say("pwrite seen", "%c %c", p[PAGE], q[PAGE]);
	if (fork() == 0) {
		p[1] = '3';
		_exit(0);
	}
	wait(NULL);
	say("store by child", "%c %c", q[1], at(fd, 1));
	int fd2 = open("f", O_RDWR);
	volatile char *r = mmap(NULL, PAGE, RW, MAP_SHARED, fd2, PAGE);
	r[3] = '4';
	say("other description", "%c", p[PAGE + 3]);
	say("ftruncate grow", "%s", ret(ftruncate(fd, 4 * PAGE)));
	volatile char *g = mmap(NULL, 4 * PAGE, RW, MAP_SHARED, fd, 0);
	say("grown is zero", "%d", g[3 * PAGE]);
	g[3 * PAGE] = '5';
	say("grown store", "%c", at(fd, 3 * PAGE));
	say("msync sync", "%s", ret(msync((void *)p, 2 * PAGE, MS_SYNC)));
	say("msync async", "%s", ret(msync((void *)p, PAGE, MS_ASYNC)));
	say("msync invalidate", "%s", ret(msync((void *)p, PAGE, MS_INVALIDATE)));
	say("msync both", "%s", ret(msync((void *)p, PAGE, MS_SYNC | MS_ASYNC)));
	say("msync bad flag", "%s", ret(msync((void *)p, PAGE, 64)));
	say("msync unaligned", "%s", ret(msync((void *)(p + 1), PAGE, MS_SYNC)));
	munmap((void *)p, 2 * PAGE);
	say("msync unmapped", "%s", ret(msync((void *)p, PAGE, MS_SYNC)));
	int ro = open("f", O_RDONLY), wo = open("f", O_WRONLY);
	say("shared write of read-only", "%s", mapres(mmap(NULL, PAGE, RW, MAP_SHARED, ro, 0)));
	say("write-only", "%s", mapres(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, wo, 0)));
	say("write-only private", "%s", mapres(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, wo, 0)));
	void *m = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, ro, 0);
	say("mprotect to write", "%s", ret(mprotect(m, PAGE, RW)));
	void *n = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, ro, 0);
	say("private mprotect to write", "%s", ret(mprotect(n, PAGE, RW)));
	say("opath", "%s", mapres(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, open("f", O_PATH), 0)));
	say("validate unknown flag", "%s", mapres(mmap(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE | (1 << 25), ro, 0)));
	say("offset beyond end", "%s", mapres(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, ro, 64 * PAGE)));
	say("offset overflow", "%s", mapres(mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, ro, 0x7ffffffffffff000L)));
}

static void sigbus(void)
{
	catch_faults();
	int fd = pages("f", 1);
	if (write(fd, "tail", 4) != 4)
		say("write", "%s", errname(errno));
	volatile char *p = mmap(NULL, 4 * PAGE, RW, MAP_SHARED, fd, 0);
	volatile char *q = mmap(NULL, 4 * PAGE, RW, MAP_PRIVATE, fd, 0);
	say("tail of last page", "%c %d", p[PAGE + 3], p[PAGE + 4]);
	say("shared beyond", "%s", FAULT(p, (void)p[2 * PAGE + 6]));
	say("private beyond", "%s", FAULT(q, q[3 * PAGE] = 1));
	p[PAGE + 10] = 'x';
	struct stat st;
	fstat(fd, &st);
	say("size unchanged", "%ld", (long)st.st_size);
	int pp[2];
	if (pipe(pp) || write(pp[1], "abc", 3) != 3)
		return;
	say("read into it", "%s", ret(read(pp[0], (char *)p + 2 * PAGE, 3)));
	say("write from it", "%s", ret(write(pp[1], (char *)p + 2 * PAGE, 3)));
	say("truncate", "%s", ret(ftruncate(fd, 10)));
	say("after truncate", "%s", FAULT(p, (void)p[PAGE]));
	say("private after truncate", "%s", FAULT(q, (void)q[PAGE]));
	say("rest of page zero", "%c %d", p[9], p[11]);
	say("grow again", "%s", ret(ftruncate(fd, 2 * PAGE)));
	say("zero after growth", "%s %d", FAULT(p, (void)p[PAGE]), p[PAGE]);
	if (fork() == 0) {
		signal(SIGBUS, SIG_DFL);
		p[3 * PAGE] = 1;
		_exit(0);
	}
	int s;
	wait(&s);
	say("default action", "%s", status(s));
}

static volatile char *sh, *pr;

static void cow_child(void)
{
	say("child sees", "%d %d", sh[0], pr[0]);
	sh[0] = 2;
	pr[0] = 2;
	if (fork() == 0) {
		say("grandchild sees", "%d %d", sh[0], pr[0]);
		sh[0] = 3;
		pr[0] = 3;
		_exit(0);
	}
	wait(NULL);
	say("child after grandchild", "%d %d", sh[0], pr[0]);
}

static void cow(void)
{
	sh = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pr = mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	sh[0] = pr[0] = 1;
	child(cow_child);
	say("parent after child", "%d %d", sh[0], pr[0]);
	// The parent writes while the child lives; the child must keep the old values.
	const int n = 300;
	char *big = mmap(NULL, n * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < n; i++)
		memset(big + i * PAGE, i % 100, PAGE);
	int go[2];
	if (pipe(go))
		return;
	pid_t pid = fork();
	if (pid == 0) {
		char c;
		int bad = read(go[0], &c, 1) != 1;
		for (int i = 0; i < n; i++)
			bad += big[i * PAGE + i] != i % 100;
		for (int i = 0; i < n; i += 3)
			big[i * PAGE] = 111;
		_exit(bad);
	}
	for (int i = 0; i < n; i += 2)
		big[i * PAGE + i] = 120;
	if (write(go[1], "x", 1) != 1)
		return;
	int st;
	waitpid(pid, &st, 0);
	say("child kept", "%s", status(st));
	int bad = 0;
	for (int i = 0; i < n; i++)
		bad += big[i * PAGE + i] != (i % 2 ? i % 100 : 120) || (i && big[i * PAGE] != i % 100);
	say("parent kept", "%d", bad);
	// The kernel's own writes break sharing too.
	char *k = mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	strcpy(k, "before");
	if (fork() == 0) {
		int pp[2];
		if (pipe(pp) || write(pp[1], "inside", 6) != 6 || read(pp[0], k, 6) != 6)
			_exit(1);
		_exit(strcmp(k, "inside"));
	}
	wait(&st);
	say("read into shared page", "%s, parent has %s", status(st), k);
	// A private mapping of a file, written before the fork.
	int fd = pages("f", 2);
	char *f = mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE, fd, 0);
	f[0] = 'P';
	if (fork() == 0) {
		f[1] = 'C';
		f[PAGE] = 'C';
		_exit(f[0] == 'P' ? 0 : 1);
	}
	wait(&st);
	say("private file", "%s %c%c%c", status(st), f[0], f[1], f[PAGE]);
	// Generations: each child writes one page of an inherited area and checks all.
	int gen = 0;
	for (; gen < 12; gen++) {
		pid = fork();
		if (pid)
			break;
		big[gen * PAGE + 7] = 'g';
	}
	int ok = 1;
	for (int i = 0; i < 12; i++)
		ok &= (big[i * PAGE + 7] == 'g') == (i < gen);
	if (gen < 12) {
		waitpid(pid, &st, 0);
		ok &= st == 0;
	}
	if (gen)
		_exit(!ok);
	say("generations", "%s", yes(ok));
}

static void copies(void)
{
	char *p = mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(p, 'm', 2 * PAGE);
	munmap(p + PAGE, PAGE);
	int fd = open("f", O_CREAT | O_RDWR, 0644), pp[2];
	if (pipe(pp))
		return;
	say("write bad", "%s", ret(write(fd, p + PAGE, 10)));
	say("write null", "%s", ret(write(fd, NULL, 10)));
	say("write nothing from bad", "%s", ret(write(fd, p + PAGE, 0)));
	say("write straddling", "%s", ret(write(fd, p + PAGE - 6, 20)));
	say("file has", "%ld", (long)lseek(fd, 0, SEEK_END));
	say("read bad", "%s", ret(pread(fd, p + PAGE, 3, 0)));
	say("read straddling at end of file", "%s", ret(pread(fd, p + PAGE - 6, 20, 0)));
	say("pipe read bad", "%s", write(pp[1], "xyz", 3) == 3 ? ret(read(pp[0], p + PAGE, 3)) : "?");
	mprotect(p, PAGE, PROT_READ);
	say("read into read-only", "%s", ret(pread(fd, p, 3, 0)));
	mprotect(p, PAGE, PROT_NONE);
	say("write from none", "%s", ret(write(fd, p, 3)));
	say("open bad", "%s", ret(open((char *)p, O_RDONLY)));
	mprotect(p, PAGE, RW);
	strcpy(p + PAGE - 2, "f");
	say("path at end of page", "%s", okret(open(p + PAGE - 2, O_RDONLY)));
	p[PAGE - 1] = 'f';
	say("path without end", "%s", ret(open(p + PAGE - 2, O_RDONLY)));
	say("pipe bad", "%s", ret(syscall(SYS_pipe, 8)));
	say("stat bad", "%s", ret(syscall(SYS_stat, ".", 8)));
	say("huge read", "%s", ret(read(fd, p, 1UL << 46)));
	say("huge read at end of file", "%s", ret(read(fd, p, 1UL << 30)));
	say("kernel pointer", "%s", ret(read(pp[0], (void *)0xffff888000000000UL, 1)));
	struct iovec v[2] = {{p, 4}, {NULL, 4}};
	say("readv second bad", "%s", ret(preadv(fd, v, 2, 0)));
	v[0].iov_len = ~0UL;
	say("readv length negative", "%s", ret(preadv(fd, v, 2, 0)));
	say("readv vector bad", "%s", ret(syscall(SYS_preadv, fd, 8, 1, 0, 0)));
	say("readv too many", "%s", ret(syscall(SYS_preadv, fd, v, 1025, 0, 0)));
	say("readv none", "%s", ret(syscall(SYS_preadv, fd, 8, 0, 0, 0)));
}

static void try_to_map(const char *name, int fd, int grows)
{
	char *p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	say(name, "%s", mapres(p));
	if (p != MAP_FAILED)
		say(name, "%s", FAULT(p, (void)*(volatile char *)p));
	say(name, "shared %s", mapres(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0)));
	say(name, "again %s", mapres(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0)));
	say(name, "beyond %s", mapres(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, PAGE)));
	if (grows)
		say(name, "growing %s", mapres(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_GROWSDOWN, fd, 0)));
}

// unmappable maps standard input, whatever it is, and files that have no pages.
static void unmappable(void)
{
	const char *paths[] = {"/proc/self/maps", "/proc/self", "/proc/sys/kernel/hostname", "/dev/null", "/dev/full"};
	catch_faults();
	try_to_map("standard input", 0, 0);
	for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++)
		try_to_map(paths[i], open(paths[i], O_RDONLY), 1);
}

static const struct section table[] = {
	{"private_file", private_file}, {"shared_file", shared_file}, {"sigbus", sigbus},
	{"cow", cow}, {"copies", copies}, {"unmappable", unmappable},
};

GUEST(table)
