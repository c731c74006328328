// Guard pages (MADV_GUARD_INSTALL), and what every advice of madvise says of every kind of mapping.
#include "guest.h"
#include <sys/uio.h>

#define RW (PROT_READ | PROT_WRITE)
#define INSTALL 102
#define REMOVE 103

static char *anon(int n)
{
	return mmap(NULL, n * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

// look reads a byte of each page: what is there, 0 for none, M, A or B for a fault.
static const char *look(char *p, int n)
{
	char *t = scratch();
	for (int i = 0; i < n; i++) {
		volatile char *q = p + i * PAGE;
		const char *f = FAULT(q, (void)*q);
		t[i] = strstr(f, "MAPERR") ? 'M' : strstr(f, "ACCERR") ? 'A' : strstr(f, "SIGBUS") ? 'B' : *q ? *q : '0';
	}
	t[n] = 0;
	return t;
}

static const char *advise(char *p, int from, int n, int advice)
{
	return ret(madvise(p + from * PAGE, n * PAGE, advice));
}

// lines is how many lines of /proc/PID/maps a range has.
static int lines(char *p, int n)
{
	unsigned long from, to;
	char line[512];
	int count = 0;
	FILE *f = fopen("/proc/self/maps", "r");
	while (fgets(line, sizeof line, f))
		count += sscanf(line, "%lx-%lx", &from, &to) == 2 && from < (unsigned long)p + n * PAGE && to > (unsigned long)p;
	fclose(f);
	return count;
}

static void accesses(void)
{
	catch_faults();
	char *p = anon(16), c = 'q';
	memset(p, 'x', 16 * PAGE);
	say("install", "%s %s, lines %d", advise(p, 2, 2, INSTALL), look(p, 8), lines(p, 16));
	say("write", "%s", FAULT(p, p[3 * PAGE + 5] = 1));
	say("execute", "%s", FAULT(p, ((void (*)(void))(p + 2 * PAGE))()));
	int pp[2], mem = open("/proc/self/mem", O_RDWR);
	if (pipe(pp))
		return;
	say("copies", "%s %s", ret(write(pp[1], p + 2 * PAGE, 1)), ret(pread(mem, p + 2 * PAGE, 1, 0)));
	struct iovec l = {&c, 1}, r = {p + 2 * PAGE, 1};
	say("of processes", "%s %s", ret(process_vm_readv(getpid(), &l, 1, &r, 1, 0)), ret(process_vm_writev(getpid(), &l, 1, &r, 1, 0)));
	say("of debuggers", "%s %s", ret(pread(mem, &c, 1, (long)p + 2 * PAGE)), ret(pwrite(mem, &c, 1, (long)p + 2 * PAGE)));
	say("futex", "%s", ret(syscall(SYS_futex, p + 2 * PAGE, 0, 0, NULL)));
	say("more", "%s %s", advise(p, 0, 4, INSTALL), look(p, 8));
	say("thrown away", "%s %s", advise(p, 0, 6, MADV_DONTNEED), look(p, 8));
	say("freed", "%s %s", advise(p, 0, 4, MADV_FREE), look(p, 4));
	say("populated", "%s %s", advise(p, 0, 6, 22), advise(p, 0, 6, 23));
	say("populated before", "%s", advise(p, 6, 2, 23));
	say("locked", "%s", ret(mlock(p, 8 * PAGE)));
	say("removed while locked", "%s %s", advise(p, 0, 1, REMOVE), look(p, 8));
	say("installed while locked", "%s %s", advise(p, 0, 1, INSTALL), look(p, 1));
	munlock(p, 8 * PAGE);
	unsigned char seen[4];
	mincore(p, 4 * PAGE, seen);
	say("resident", "%d %d", seen[1] & 1, seen[3] & 1);
	uint64_t words[2] = {0};
	int map = open("/proc/self/pagemap", O_RDONLY);
	say("words", "%s %d %lx", ret(pread(map, words, 16, (long)p / PAGE * 8)), (int)(words[0] >> 63), words[1] >> 56);
	mprotect(p, 6 * PAGE, PROT_NONE);
	say("without rights", "%s", look(p, 8));
	mprotect(p, 6 * PAGE, PROT_READ);
	say("to be read", "%s", look(p, 8));
	mprotect(p, 6 * PAGE, RW);
	say("with rights again", "%s", look(p, 8));
	say("nothing, odd, far", "%s %s %s", advise(p, 0, 0, INSTALL), ret(madvise(p + 1, PAGE, INSTALL)), ret(madvise(p, -PAGE, REMOVE)));
	munmap(p + 10 * PAGE, PAGE);
	say("over a hole", "%s %s", advise(p, 9, 3, INSTALL), look(p + 9 * PAGE, 3));
	say("and back", "%s %s", advise(p, 9, 3, REMOVE), look(p + 9 * PAGE, 3));
}

static void many(void)
{
	catch_faults();
	char *p = anon(512);
	int failed = 0;
	for (int i = 0; i < 512; i += 2)
		failed += madvise(p + i * PAGE, PAGE, INSTALL) != 0;
	say("each other page", "%d, lines %d %s", failed, lines(p, 512), look(p + 100 * PAGE, 6));
	say("all back", "%s %s", advise(p, 0, 512, REMOVE), look(p + 100 * PAGE, 6));
}

static char *forked;

static void forked_child(void)
{
	say("child", "%s", look(forked, 8));
	say("child removes", "%s %s", advise(forked, 0, 8, REMOVE), look(forked, 8));
}

static void moves(void)
{
	catch_faults();
	char *p = forked = anon(8), *to = anon(16);
	memset(p, 'x', 8 * PAGE);
	advise(p, 1, 3, INSTALL);
	child(forked_child);
	say("parent", "%s", look(p, 8));
	munmap(to, 16 * PAGE);
	say("moved", "%s %s", yes(mremap(p, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to), look(to, 8));
	char *m = mremap(to, 8 * PAGE, 12 * PAGE, MREMAP_MAYMOVE);
	say("grown", "%s", look(m, 12));
	char *n = mremap(m, 12 * PAGE, 12 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
	say("left", "%s", look(m, 12));
	say("where it went", "%s", look(n, 12));
	mmap(n, 2 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	say("mapped over", "%s", look(n, 12));
	forked = n;
	madvise(n, 12 * PAGE, MADV_WIPEONFORK);
	child(forked_child);
	say("parent keeps", "%s", look(n, 12));
	say("a part removed", "%s %s", advise(n, 3, 1, REMOVE), look(n, 12));
}

static void kinds(void)
{
	catch_faults();
	int fd = open("f", O_CREAT | O_RDWR, 0644);
	if (ftruncate(fd, 8 * PAGE))
		return;
	char *s = mmap(NULL, 8 * PAGE, RW, MAP_SHARED, fd, 0), *v = mmap(NULL, 8 * PAGE, RW, MAP_PRIVATE, fd, 0);
	memset(s, 's', 8 * PAGE);
	memset(v, 'v', 4 * PAGE);
	say("shared", "%s %s", advise(s, 0, 2, INSTALL), look(s, 8));
	say("private", "%s %s", advise(v, 1, 2, INSTALL), look(v, 8));
	char c = 0;
	say("the file has", "%s %c", ret(pread(fd, &c, 1, 0)), c);
	say("a hole", "%s %s", ret(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2 * PAGE)), look(s, 8));
	say("cut", "%s %s", ret(ftruncate(fd, PAGE)), look(s, 2));
	say("cut pages", "%s", look(s + 2 * PAGE, 2));
	say("long again", "%s %s", ret(ftruncate(fd, 8 * PAGE)), look(s, 8));
	say("removed", "%s %s", advise(s, 0, 8, REMOVE), look(s, 8));
	say("removed from private", "%s %.2s", advise(v, 0, 8, REMOVE), look(v, 8));
	forked = mmap(NULL, 8 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memset(forked, 'a', 8 * PAGE);
	say("shared memory", "%s %s", advise(forked, 0, 1, INSTALL), look(forked, 8));
	child(forked_child);
	say("still", "%s", look(forked, 8));
	char *g = mmap(NULL, 8 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0);
	say("a stack", "%s %s", advise(g, 0, 1, INSTALL), look(g, 8));
	char *o = mmap(NULL, 8 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	say("read-only", "%s %s", advise(o, 0, 1, INSTALL), look(o, 8));
	syscall(462, o, 2 * PAGE, 0);
	say("sealed", "%s %s", advise(o, 0, 1, INSTALL), advise(o, 0, 1, REMOVE));
	syscall(462, v, 2 * PAGE, 0);
	say("sealed, writable", "%s %s", advise(v, 0, 1, INSTALL), advise(v, 0, 1, REMOVE));
	mlockall(MCL_FUTURE);
	say("locked from the start", "%s", advise(anon(2), 0, 1, INSTALL));
}

// each_advice says what all advice says of pieces of a mapping of two pages, a hole and a page.
static void each_advice(const char *name, char *p, int locked)
{
	static const int advice[] = {-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 99, 102, 103, 104};
	munmap(p + 2 * PAGE, PAGE);
	for (unsigned i = 0; i < sizeof advice / sizeof *advice; i++) {
		int a = advice[i];
		if (locked)
			mlock(p, 2 * PAGE);
		say(name, "%d: %s, %s, hole %s, odd %s, nothing %s, a part %s, far %s, in the hole %s", a, advise(p, 0, 1, a), advise(p, 0, 2, a),
		    advise(p, 0, 4, a), ret(madvise(p + 1, PAGE, a)), advise(p, 0, 0, a), ret(madvise(p, 100, a)), ret(madvise(p, -1UL, a)), advise(p, 2, 1, a));
		advise(p, 0, 2, REMOVE);
		advise(p, 0, 2, MADV_DOFORK);
		advise(p, 0, 2, MADV_KEEPONFORK);
	}
}

static void all_advice(void)
{
	int fd = open("f", O_CREAT | O_RDWR, 0644), ro = open("f", O_RDONLY);
	if (ftruncate(fd, 16 * PAGE))
		return;
	each_advice("private", anon(4), 0);
	each_advice("shared", mmap(NULL, 4 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0), 0);
	each_advice("file", mmap(NULL, 4 * PAGE, RW, MAP_PRIVATE, fd, 0), 0);
	each_advice("shared file", mmap(NULL, 4 * PAGE, RW, MAP_SHARED, fd, 0), 0);
	each_advice("file to read", mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, ro, 0), 0);
	each_advice("file, no rights", mmap(NULL, 4 * PAGE, PROT_NONE, MAP_SHARED, fd, 0), 0);
	each_advice("to read", mmap(NULL, 4 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 0);
	each_advice("no rights", mmap(NULL, 4 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 0);
	each_advice("locked", anon(4), 1);
	each_advice("locked and shared", mmap(NULL, 4 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0), 1);
	each_advice("stack", mmap(NULL, 4 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0), 0);
}

// huge: MADV_COLLAPSE of memory that could lie in huge pages.
static void huge(void)
{
	const unsigned long size = 2 << 20;
	char *p = mmap(NULL, 4 * size, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	p = (char *)(((unsigned long)p + size - 1) & -size);
	say("untouched", "%s", ret(madvise(p, size, 25)));
	p[0] = 1;
	say("a page", "%s %s", ret(madvise(p, size, 25)), ret(madvise(p, size, 25)));
	say("a part", "%s", ret(madvise(p + PAGE, size / 2, 25)));
	say("up to the next", "%s", ret(madvise(p + PAGE, size, 25)));
	say("and more", "%s", ret(madvise(p, 2 * size, 25)));
}

static void released(void)
{
	pid_t c = fork();
	if (c == 0)
		for (;;)
			pause();
	int f = syscall(SYS_pidfd_open, c, 0), me = syscall(SYS_pidfd_open, getpid(), 0);
	say("it lives", "%s, flags %s", ret(syscall(448, f, 0)), ret(syscall(448, f, 1)));
	say("no pidfd", "%s %s %s, flags %s", ret(syscall(448, 0, 0)), ret(syscall(448, -1, 0)), ret(syscall(448, open("/proc/self", O_RDONLY), 0)), ret(syscall(448, -1, 1)));
	say("me", "%s", ret(syscall(448, me, 0)));
	kill(c, SIGKILL);
	siginfo_t si;
	waitid(P_PID, c, &si, WEXITED | WNOWAIT);
	say("dead", "%s", ret(syscall(448, f, 0)));
	waitpid(c, NULL, 0);
	say("gone", "%s", ret(syscall(448, f, 0)));
}

static const struct section sections[] = {
	{"accesses", accesses}, {"many", many}, {"moves", moves}, {"kinds", kinds},
	{"all_advice", all_advice}, {"huge", huge}, {"released", released},
};
GUEST(sections)
