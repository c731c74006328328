// Maps a vDSO image and its parameter page from descriptor 3 at the offset in argv[1],
// finds its functions as C libraries do, and compares them with system calls.
// argv[2] is a file with the image, for the dynamic linker; argv[3] says whether
// readings must do without calls. Prints "ok" at the end.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define DIE(...) do { printf(__VA_ARGS__); printf("\n"); exit(1); } while (0)

static char *base;
static Elf64_Sym *syms;
static char *strs;
static Elf64_Half *versym;
static Elf64_Verdef *verdef;
static uint32_t *hash, *gnu;

static void parse(void) {
	Elf64_Ehdr *e = (void *)base;
	Elf64_Phdr *p = (void *)(base + e->e_phoff);
	Elf64_Dyn *d = NULL;
	int loads = 0;
	for (int i = 0; i < e->e_phnum; i++) {
		if (p[i].p_type == PT_LOAD && loads++ == 0 && (p[i].p_vaddr || p[i].p_offset))
			DIE("linked at %#lx", (long)p[i].p_vaddr);
		if (p[i].p_type == PT_DYNAMIC)
			d = (void *)(base + p[i].p_offset);
	}
	if (loads != 1 || !d)
		DIE("%d segments, dynamic %p", loads, (void *)d);
	for (; d->d_tag; d++) {
		char *at = base + d->d_un.d_ptr;
		switch (d->d_tag) {
		case DT_SYMTAB: syms = (void *)at; break;
		case DT_STRTAB: strs = at; break;
		case DT_HASH: hash = (void *)at; break;
		case DT_GNU_HASH: gnu = (void *)at; break;
		case DT_VERSYM: versym = (void *)at; break;
		case DT_VERDEF: verdef = (void *)at; break;
		}
	}
	if (!syms || !strs || !hash || !gnu || !versym || !verdef)
		DIE("a table is missing");
}

static unsigned long elf_hash(const char *s) {
	unsigned long h = 0, g;
	while (*s) {
		h = (h << 4) + (unsigned char)*s++;
		if ((g = h & 0xf0000000))
			h ^= g >> 24;
		h &= ~g;
	}
	return h;
}

static int version_ok(int i) {
	Elf64_Verdef *v = verdef;
	for (;;) {
		if (!(v->vd_flags & VER_FLG_BASE) && v->vd_ndx == (versym[i] & 0x7fff)) {
			Elf64_Verdaux *a = (void *)((char *)v + v->vd_aux);
			return v->vd_hash == elf_hash("LINUX_2.6") && !strcmp(strs + a->vda_name, "LINUX_2.6");
		}
		if (!v->vd_next)
			return 0;
		v = (void *)((char *)v + v->vd_next);
	}
}

static int by_hash(const char *name) {
	uint32_t nb = hash[0], *bucket = hash + 2, *chain = bucket + nb;
	for (uint32_t i = bucket[elf_hash(name) % nb]; i; i = chain[i])
		if (!strcmp(strs + syms[i].st_name, name))
			return i;
	return 0;
}

static int by_gnu_hash(const char *name) {
	uint32_t h = 5381, nb = gnu[0], first = gnu[1], words = gnu[2], shift = gnu[3];
	for (const char *s = name; *s; s++)
		h = h * 33 + (unsigned char)*s;
	uint64_t *bloom = (void *)(gnu + 4), w = bloom[h / 64 % words];
	if (!(w >> h % 64 & w >> (h >> shift) % 64 & 1))
		return 0;
	uint32_t *bucket = (void *)(bloom + words), *chain = bucket + nb;
	uint32_t i = bucket[h % nb];
	for (; i; i++) {
		if ((chain[i - first] | 1) == (h | 1) && !strcmp(strs + syms[i].st_name, name))
			return i;
		if (chain[i - first] & 1)
			return 0;
	}
	return 0;
}

static void *find(const char *name) {
	int i = by_hash(name), j = by_gnu_hash(name);
	if (!i || i != j)
		DIE("%s: symbol %d by DT_HASH, %d by DT_GNU_HASH", name, i, j);
	if (!version_ok(i))
		DIE("%s: version %d", name, versym[i]);
	if (syms[i].st_shndx == SHN_UNDEF || ELF64_ST_TYPE(syms[i].st_info) != STT_FUNC || !syms[i].st_size)
		DIE("%s is no function", name);
	return base + syms[i].st_value;
}

static int (*gettime)(clockid_t, struct timespec *);
static int (*getres)(clockid_t, struct timespec *);
static int (*tod)(struct timeval *, struct timezone *);
static time_t (*sec)(time_t *);
static int (*cpu)(unsigned *, unsigned *, void *);

static int64_t ns(struct timespec t) {
	if (t.tv_nsec < 0 || t.tv_nsec >= 1000000000)
		DIE("%ld ns", t.tv_nsec);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int64_t host(clockid_t c) {
	struct timespec t;
	if (syscall(SYS_clock_gettime, c, &t))
		DIE("host: clock %d", c);
	return ns(t);
}

static int64_t ours(clockid_t c) {
	struct timespec t = {-1, -1};
	int r = gettime(c, &t);
	if (r)
		DIE("clock %d: %d", c, r);
	return ns(t);
}

enum { TOLERANCE = 5000000, COARSE = 20000000 }; // ns

static void near(const char *what, int64_t got, int64_t lo, int64_t hi, int64_t tolerance) {
	if (got < lo - tolerance || got > hi + tolerance)
		DIE("%s: %ld is not in %ld..%ld", what, got, lo, hi);
}

static void clocks(void) {
	static const clockid_t ids[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME,
		CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_PROCESS_CPUTIME_ID, CLOCK_TAI};
	for (int round = 0; round < 200; round++)
		for (unsigned i = 0; i < sizeof ids / sizeof *ids; i++) {
			char name[32];
			sprintf(name, "clock %d", ids[i]);
			int64_t lo = host(ids[i]), got = ours(ids[i]), hi = host(ids[i]);
			near(name, got, lo, hi, COARSE);
		}
	struct timespec t;
	if (gettime(12345, &t) != -22)
		DIE("unknown clock: no EINVAL");
}

static void others(void) {
	struct timespec r = {5, 5};
	if (getres(CLOCK_MONOTONIC, &r) || r.tv_sec || r.tv_nsec != 1 || getres(CLOCK_REALTIME, NULL))
		DIE("clock_getres: %ld.%ld", r.tv_sec, r.tv_nsec);
	if (getres(CLOCK_MONOTONIC_COARSE, &r) || !r.tv_nsec || getres(4321, &r) != -22)
		DIE("clock_getres by a call: %ld.%ld", r.tv_sec, r.tv_nsec);

	struct timeval v = {-1, -1};
	struct timezone z = {-1, -1};
	int64_t lo = host(CLOCK_REALTIME);
	if (tod(&v, &z) || tod(NULL, NULL) || z.tz_minuteswest || z.tz_dsttime || v.tv_usec < 0 || v.tv_usec >= 1000000)
		DIE("gettimeofday: %ld.%ld", v.tv_sec, v.tv_usec);
	near("gettimeofday", v.tv_sec * 1000000000LL + v.tv_usec * 1000, lo - 1000, host(CLOCK_REALTIME), TOLERANCE);

	time_t s = -1, q = sec(&s);
	near("time", q * 1000000000LL, lo - 1000000000, host(CLOCK_REALTIME), TOLERANCE);
	if (s != q || sec(NULL) < q)
		DIE("time: %ld, %ld", q, s);

	unsigned c = -1, n = -1;
	if (cpu(&c, &n, NULL) || cpu(NULL, NULL, NULL) || c >= 4096 || n >= 1024)
		DIE("getcpu: %u, %u", c, n);
	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET(c, &one);
	unsigned again = -1;
	if (!sched_setaffinity(0, sizeof one, &one) && (cpu(&again, NULL, NULL) || again != c))
		DIE("getcpu: %u on processor %u", again, c);
	memset(&one, 0xff, sizeof one);
	sched_setaffinity(0, sizeof one, &one);
}

static void *watch(void *arg) {
	int64_t last = 0;
	for (int i = 0; i < 300000; i++) {
		int64_t t = ours(CLOCK_MONOTONIC);
		if (t < last)
			DIE("the clock went back by %ld ns", last - t);
		last = t;
	}
	return arg;
}

static void monotonic(void) {
	pthread_t other;
	int64_t start = host(CLOCK_MONOTONIC);
	pthread_create(&other, NULL, watch, NULL);
	watch(NULL);
	pthread_join(other, NULL);
	printf("%ld ns a reading on two threads\n", (host(CLOCK_MONOTONIC) - start) / 300000);
}

// Refuses the system calls by which the vDSO could answer: most readings do without. Those just
// after the parameters expired need one.
static void refuse_calls(void) {
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_gettime, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_gettimeofday, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_time, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 38),
	};
	struct sock_fprog prog = {sizeof f / sizeof *f, f};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		DIE("seccomp");
	int calls = 0, all = 0;
	for (int round = 0; round < 100; round++, usleep(1000)) {
		struct timespec t;
		struct timeval v;
		calls += !!gettime(CLOCK_MONOTONIC, &t) + !!gettime(CLOCK_REALTIME, &t) + !!gettime(CLOCK_BOOTTIME, &t);
		calls += !!tod(&v, NULL) + (sec(NULL) < 0);
		all += 5;
	}
	printf("%d calls in %d readings\n", calls, all);
	if (calls > all / 2)
		DIE("too many");
}

struct dwarf_eh_bases { void *tbase, *dbase, *func; };
extern const void *_Unwind_Find_FDE(void *pc, struct dwarf_eh_bases *bases);

// Has the C library and the unwinder of C++ look things up.
static void libraries(const char *image) {
	void *lib = dlopen(image, RTLD_NOW);
	if (!lib)
		DIE("the dynamic linker: %s", dlerror());
	if (!dlvsym(lib, "__vdso_clock_gettime", "LINUX_2.6") || dlvsym(lib, "__vdso_time", "LINUX_2.5"))
		DIE("the dynamic linker's lookup by version");
	struct dwarf_eh_bases b = {0};
	char *pc = dlsym(lib, "__vdso_time");
	if (!_Unwind_Find_FDE(pc + 5, &b) || (char *)b.func > pc || _Unwind_Find_FDE(pc + 4096, &b))
		DIE("unwinding");
}

int main(int argc, char **argv) {
	if (argc != 4)
		return 2;
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_EXEC, MAP_PRIVATE, 3, atol(argv[1]));
	if (pages == MAP_FAILED)
		DIE("mmap");
	base = pages + 4096;
	parse();
	gettime = find("__vdso_clock_gettime");
	getres = find("__vdso_clock_getres");
	tod = find("__vdso_gettimeofday");
	sec = find("__vdso_time");
	cpu = find("__vdso_getcpu");
	find("clock_gettime"), find("gettimeofday"), find("time"), find("getcpu"), find("clock_getres");
	if (by_hash("nonsense") || by_gnu_hash("nonsense"))
		DIE("found what is not there");

	libraries(argv[2]);
	clocks();
	others();
	monotonic();
	if (atoi(argv[3]))
		refuse_calls();
	puts("ok");
	return 0;
}
