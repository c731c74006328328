// Anonymous memory: mmap and its relations, protection faults, brk, the stack.
#include "guest.h"
#include <sys/resource.h>

static char *anon(size_t n, int prot)
{
	return mmap(NULL, n, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

#define RW (PROT_READ | PROT_WRITE)

static void try_map(const char *name, void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	void *p = (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, off);
	say(name, "%s", p == MAP_FAILED ? errname(errno) : addr && (flags & MAP_FIXED) ? yes(p == addr) : "ok");
}

static void mmap_args(void)
{
	const int pa = MAP_PRIVATE | MAP_ANONYMOUS;
	char *p = anon(4 * PAGE, RW);
	try_map("zero length", NULL, 0, RW, pa, -1, 0);
	try_map("neither shared nor private", NULL, PAGE, RW, MAP_ANONYMOUS, -1, 0);
	try_map("unaligned fixed", p + 1, PAGE, RW, pa | MAP_FIXED, -1, 0);
	try_map("unaligned hint", p + 1, PAGE, RW, pa, -1, 0);
	try_map("unaligned offset", NULL, PAGE, RW, pa, -1, 1);
	try_map("length overflow", NULL, ~0UL, RW, pa, -1, 0);
	try_map("whole address space", NULL, 1UL << 47, RW, pa, -1, 0);
	try_map("fixed at top", (void *)((1UL << 47) - PAGE), 2 * PAGE, RW, pa | MAP_FIXED, -1, 0);
	try_map("fixed in kernel", (void *)0xffff800000000000UL, PAGE, RW, pa | MAP_FIXED, -1, 0);
	try_map("fixed replace", p + PAGE, PAGE, PROT_READ, pa | MAP_FIXED, -1, 0);
	try_map("noreplace taken", p + PAGE, PAGE, RW, pa | MAP_FIXED_NOREPLACE, -1, 0);
	munmap(p + 2 * PAGE, PAGE);
	try_map("noreplace free", p + 2 * PAGE, PAGE, RW, pa | MAP_FIXED_NOREPLACE, -1, 0);
	try_map("file with bad fd", NULL, PAGE, RW, MAP_PRIVATE, -1, 0);
	try_map("anonymous ignores fd", NULL, PAGE, RW, pa, 12345, 0);
	try_map("populate", NULL, 8 * PAGE, RW, pa | MAP_POPULATE, -1, 0);
	try_map("noreserve", NULL, 1UL << 30, RW, pa | MAP_NORESERVE, -1, 0);
	try_map("stack norm", NULL, PAGE, RW, pa | MAP_STACK, -1, 0);
	void *low = mmap(NULL, PAGE, RW, pa | MAP_32BIT, -1, 0);
	say("32bit", "%s", low == MAP_FAILED ? errname(errno) : yes((uintptr_t)low < (1UL << 31)));
	int d = open(".", O_RDONLY);
	try_map("directory", NULL, PAGE, PROT_READ, MAP_PRIVATE, d, 0);
	int pp[2];
	if (pipe(pp) == 0)
		try_map("pipe", NULL, PAGE, PROT_READ, MAP_PRIVATE, pp[0], 0);
	char *z = anon(PAGE * 16, RW);
	int sum = 0;
	for (unsigned i = 0; i < PAGE * 16; i++)
		sum |= z[i];
	say("zero filled", "%d", sum);
	say("hint honoured", "%s", yes(munmap(z, PAGE * 16) == 0 && mmap(z, PAGE, RW, pa, -1, 0) == z));
}

static void unmap(void)
{
	catch_faults();
	char *p = anon(5 * PAGE, RW);
	memset(p, 7, 5 * PAGE);
	say("zero length", "%s", ret(munmap(p, 0)));
	say("unaligned", "%s", ret(munmap(p + 8, PAGE)));
	say("kernel address", "%s", ret(munmap((void *)0xffff800000000000UL, PAGE)));
	say("over the top", "%s", ret(munmap(p, 1UL << 47)));
	say("middle", "%s", ret(munmap(p + 2 * PAGE, PAGE)));
	say("before hole", "%s", FAULT(p, p[2 * PAGE - 1]++));
	say("in hole", "%s", FAULT(p, p[2 * PAGE + 5]++));
	say("after hole", "%s", FAULT(p, p[3 * PAGE]++));
	say("values kept", "%d %d", p[2 * PAGE - 1], p[3 * PAGE]);
	say("hole again", "%s", ret(munmap(p, 5 * PAGE)));
	say("gone", "%s", FAULT(p, p[0]++));
	say("length rounds up", "%s", ret((p = anon(2 * PAGE, RW), munmap(p, PAGE + 1))));
	say("second page gone", "%s", FAULT(p, p[PAGE]++));
	say("null read", "%s", FAULT(NULL, (void)*(volatile char *)16));
	say("null write", "%s", FAULT(NULL, *(volatile char *)24 = 1));
	say("kernel read", "%s", FAULT((void *)0xffff800000000000UL, (void)*(volatile char *)0xffff800000000010UL));
	fault_addr = (void *)1;
	say("non-canonical", "%s", FAULT(NULL, (void)*(volatile char *)0x1234567890abcdefUL));
}

static void protect(void)
{
	catch_faults();
	volatile char *p = anon(4 * PAGE, RW);
	memset((char *)p, 3, 4 * PAGE);
	say("read only", "%s", ret(mprotect((char *)p + PAGE, PAGE, PROT_READ)));
	say("read it", "%s %d", FAULT(p, (void)p[PAGE]), p[PAGE]);
	say("write it", "%s", FAULT(p, p[PAGE + 9] = 1));
	say("write next", "%s", FAULT(p, p[2 * PAGE] = 1));
	say("none", "%s", ret(mprotect((char *)p + PAGE, PAGE, PROT_NONE)));
	say("read none", "%s", FAULT(p, (void)p[PAGE + 100]));
	say("back", "%s", ret(mprotect((char *)p + PAGE, PAGE, RW)));
	say("kept", "%s %d", FAULT(p, p[PAGE]++), p[PAGE] - 1);
	say("unaligned", "%s", ret(mprotect((char *)p + 1, PAGE, RW)));
	say("zero length", "%s", ret(mprotect((char *)p, 0, RW)));
	say("bad bits", "%s", ret(mprotect((char *)p, PAGE, 0x80)));
	say("both grows", "%s", ret(mprotect((char *)p, PAGE, RW | PROT_GROWSDOWN | PROT_GROWSUP)));
	munmap((char *)p + 2 * PAGE, PAGE);
	say("over a hole", "%s", ret(mprotect((char *)p, 4 * PAGE, PROT_READ)));
	say("before hole changed", "%s", FAULT(p, p[0] = 1));
	say("after hole not", "%s", FAULT(p, p[3 * PAGE] = 1));
	// mov $42,%eax; ret
	unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3};
	unsigned char *x = (unsigned char *)anon(PAGE, RW);
	memcpy(x, code, sizeof code);
	say("run data", "%s", FAULT(x, ((int (*)(void))x)()));
	mprotect(x, PAGE, PROT_READ | PROT_EXEC);
	say("run code", "%d", ((int (*)(void))x)());
	mprotect(x, PAGE, RW | PROT_EXEC);
	x[1] = 43;
	say("run changed code", "%d", ((int (*)(void))x)());
	munmap(x, PAGE);
	say("run nothing", "%s", FAULT(x, ((int (*)(void))x)()));
	say("call null", "%s", FAULT(NULL, ((int (*volatile)(void))0)()));
}

static void remap(void)
{
	catch_faults();
	char *p = anon(8 * PAGE, RW);
	for (int i = 0; i < 8; i++)
		p[i * PAGE] = i + 1;
	say("shrink", "%s", yes(mremap(p, 8 * PAGE, 6 * PAGE, 0) == p));
	say("tail gone", "%s", FAULT(p, p[6 * PAGE]++));
	say("grow in place", "%s", yes(mremap(p, 6 * PAGE, 7 * PAGE, 0) == p));
	say("new page zero", "%s %d", FAULT(p, (void)*(volatile char *)(p + 6 * PAGE)), p[6 * PAGE]);
	mmap(p + 7 * PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	// A different protection keeps the neighbour from merging with what grows.
	mprotect(p + 7 * PAGE, PAGE, PROT_READ);
	say("blocked", "%s", okret((long)mremap(p, 7 * PAGE, 9 * PAGE, 0)));
	char *q = mremap(p, 7 * PAGE, 64 * PAGE, MREMAP_MAYMOVE);
	say("moved", "%s", yes(q != MAP_FAILED && q != p));
	int ok = 1;
	for (int i = 0; i < 6; i++)
		ok &= q[i * PAGE] == i + 1;
	say("content", "%s %d", yes(ok), q[63 * PAGE]);
	say("old gone", "%s", FAULT(p, p[0]++));
	char *t = anon(8 * PAGE, RW);
	say("fixed", "%s", yes(mremap(q, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, t) == t));
	say("fixed content", "%d %d", t[0], t[PAGE]);
	say("fixed overlap", "%s", okret((long)mremap(t, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, t + PAGE)));
	say("fixed alone", "%s", okret((long)mremap(t, PAGE, PAGE, MREMAP_FIXED, q)));
	say("bad flags", "%s", okret((long)mremap(t, PAGE, PAGE, 64)));
	say("zero new", "%s", okret((long)mremap(t, PAGE, 0, 0)));
	say("unaligned", "%s", okret((long)mremap(t + 1, PAGE, PAGE, 0)));
	say("unmapped", "%s", okret((long)mremap(p, PAGE, 2 * PAGE, MREMAP_MAYMOVE)));
	say("private dup", "%s", okret((long)mremap(t, 0, PAGE, MREMAP_MAYMOVE)));
	char *s = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *s2 = mremap(s, 0, PAGE, MREMAP_MAYMOVE);
	s[5] = 55;
	say("shared dup", "%s", s2 == MAP_FAILED ? errname(errno) : s2[5] == 55 ? "same" : "other");
	char *u = anon(2 * PAGE, RW);
	u[0] = 9;
	char *v = mremap(u, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	say("dontunmap", "%s", v == MAP_FAILED ? errname(errno) : yes(v[0] == 9 && u[0] == 0));
}

static char *wipe, *nofork;

static void advise_child(void)
{
	catch_faults();
	say("wiped in child", "%d", wipe[0]);
	say("dontfork in child", "%s", FAULT(nofork, nofork[0]++));
}

static void advise(void)
{
	char *p = anon(4 * PAGE, RW);
	memset(p, 5, 4 * PAGE);
	say("dontneed", "%s", ret(madvise(p + PAGE, PAGE, MADV_DONTNEED)));
	say("pages", "%d %d %d", p[0], p[PAGE], p[2 * PAGE]);
	char *s = mmap(NULL, 2 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	s[0] = s[PAGE] = 6;
	madvise(s, PAGE, MADV_DONTNEED);
	say("shared dontneed", "%d", s[0]);
	say("shared remove", "%s", ret(madvise(s, PAGE, MADV_REMOVE)));
	say("shared after", "%d %d", s[0], s[PAGE]);
	say("private remove", "%s", ret(madvise(p, PAGE, MADV_REMOVE)));
	say("bad advice", "%s", ret(madvise(p, PAGE, 9999)));
	say("unaligned", "%s", ret(madvise(p + 1, PAGE, MADV_NORMAL)));
	say("zero length", "%s", ret(madvise(p, 0, MADV_NORMAL)));
	say("willneed", "%s", ret(madvise(p, PAGE, MADV_WILLNEED)));
	say("sequential", "%s", ret(madvise(p, PAGE, MADV_SEQUENTIAL)));
	say("free", "%s", ret(madvise(p, PAGE, MADV_FREE)));
	munmap(p + 2 * PAGE, PAGE);
	unsigned char vec[4];
	say("hole", "%s", ret(madvise(p, 4 * PAGE, MADV_NORMAL)));
	say("mlock hole", "%s", ret(mlock(p, 4 * PAGE)));
	say("mincore hole", "%s", ret(mincore(p, 4 * PAGE, vec)));
	wipe = anon(PAGE, RW);
	nofork = anon(PAGE, RW);
	wipe[0] = nofork[0] = 1;
	say("wipeonfork", "%s", ret(madvise(wipe, PAGE, MADV_WIPEONFORK)));
	say("wipeonfork shared", "%s", ret(madvise(s, PAGE, MADV_WIPEONFORK)));
	say("dontfork", "%s", ret(madvise(nofork, PAGE, MADV_DONTFORK)));
	child(advise_child);
	say("parent keeps", "%d %d", wipe[0], nofork[0]);
	say("mlock", "%s", ret(mlock(wipe, PAGE)));
	say("munlock", "%s", ret(munlock(wipe, PAGE)));
	say("mincore", "%s", ret(mincore(wipe, PAGE, vec)));
	say("mincore touched", "%d", vec[0] & 1);
	say("mincore unaligned", "%s", ret(mincore(wipe + 1, PAGE, vec)));
	say("mincore bad vector", "%s", ret(mincore(wipe, PAGE, (void *)8)));
}

static void program_break(void)
{
	catch_faults();
	char *b = (char *)syscall(SYS_brk, 0);
	char *top = (char *)(((uintptr_t)b + PAGE - 1) & ~(PAGE - 1));
	say("same", "%s", yes((char *)syscall(SYS_brk, 0) == b));
	say("grow", "%s", yes((char *)syscall(SYS_brk, top + 4 * PAGE) == top + 4 * PAGE));
	int sum = 0;
	for (unsigned i = 0; i < 4 * PAGE; i++)
		sum |= top[i];
	say("zero", "%d", sum);
	memset(top, 1, 4 * PAGE);
	say("odd value", "%s", yes((char *)syscall(SYS_brk, top + PAGE + 7) == top + PAGE + 7));
	say("rest of page", "%d", top[PAGE + 100]);
	say("beyond", "%s", FAULT(top, top[3 * PAGE]++));
	say("grow again", "%s", yes((char *)syscall(SYS_brk, top + 4 * PAGE) == top + 4 * PAGE));
	say("zero again", "%d", top[3 * PAGE]);
	say("too much", "%s", yes((char *)syscall(SYS_brk, b + (1UL << 47)) == top + 4 * PAGE));
	say("below start", "%s", yes((char *)syscall(SYS_brk, PAGE) == top + 4 * PAGE));
	mmap(top + 5 * PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	say("into a mapping", "%s", yes((char *)syscall(SYS_brk, top + 8 * PAGE) == top + 4 * PAGE));
	say("back", "%s", yes((char *)syscall(SYS_brk, b) == b));
}

static int deep(int n)
{
	volatile char pad[4000];
	pad[0] = n;
	return n == 0 ? 0 : deep(n - 1) + (pad[0] != (char)n);
}

static void small_stack(void)
{
	struct rlimit r = {256 << 10, 256 << 10};
	setrlimit(RLIMIT_STACK, &r);
	deep(1000);
}

static void small_stack_caught(void)
{
	struct rlimit r = {256 << 10, 256 << 10};
	setrlimit(RLIMIT_STACK, &r);
	catch_faults();
	say("overflow caught", "%s", sigsetjmp(fault_env, 1) ? "SIGSEGV" : (deep(1000), "none"));
	say("overflow code", "%s", fault_code == SEGV_MAPERR ? "MAPERR" : "other");
	say("deep enough after", "%d", deep(10));
}

static void stack(void)
{
	say("overflow", "%s", status(child(small_stack)));
	say("overflow with handler", "%s", status(child(small_stack_caught)));
	say("6 MiB deep", "%d", deep(1500));
	volatile char here = 1;
	volatile char *far = &here - (7 << 20);
	*far = 4;
	say("far below the stack pointer", "%d", *far);
}

static const struct section table[] = {
	{"mmap_args", mmap_args}, {"munmap", unmap}, {"mprotect", protect}, {"mremap", remap},
	{"madvise", advise}, {"brk", program_break}, {"stack", stack},
};

GUEST(table)
