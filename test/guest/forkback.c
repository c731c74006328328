// A process with much memory forks, changes that memory a little, and goes on once the child is gone or while it is still there: what each of them
// sees then, page by page.
#include "guest.h"
#include <pthread.h>
#include <sys/uio.h>

#define ARENA ((char *)0x200000000UL)
#define PAGES 6144UL // 24 MiB
#define PLAY 128UL // of these the first are changed
#define FILEPAGES 64UL

static int shared, steady, plain; // files: two in memory, of which one changes, and one with a name
static uint64_t seed;

static unsigned draw(unsigned n)
{
	seed = seed * 6364136223846793005UL + 1442695040888963407UL;
	return (unsigned)(seed >> 33) % n;
}

static char *page(uint64_t i)
{
	return ARENA + i * PAGE;
}

// look reads a word, or tells by which signal it cannot.
static uint64_t look(char *at)
{
	volatile uint64_t v = 0;
	int sig = sigsetjmp(fault_env, 0);
	if (sig == 0)
		v = *(volatile uint64_t *)at;
	else
		v = (uint64_t)sig << 56;
	return v;
}

// store writes a word, or tells by which signal it cannot.
static uint64_t store(char *at, uint64_t v)
{
	int sig = sigsetjmp(fault_env, 0);
	if (sig == 0)
		*(volatile uint64_t *)at = v;
	return sig;
}

// sum is of all that can be seen.
static uint64_t sum(void)
{
	uint64_t h = 14695981039346656037UL;
	for (uint64_t i = 0; i < PAGES; i++) {
		h = (h ^ look(page(i))) * 1099511628211UL;
		h = (h ^ look(page(i) + PAGE - 8)) * 1099511628211UL;
	}
	return h;
}

// change does one thing to some of the pages that are played with.
static void change(void)
{
	unsigned n = 1 + draw(6), i = draw(PLAY - n), j = draw(PLAY - n);
	char *a = page(i);
	size_t len = n * PAGE;
	switch (draw(15)) {
	case 0:
		munmap(a, len);
		break;
	case 1:
		mprotect(a, len, PROT_READ);
		break;
	case 2:
		mprotect(a, len, PROT_NONE);
		break;
	case 3:
		mprotect(a, len, PROT_READ | PROT_WRITE);
		break;
	case 4:
		madvise(a, len, MADV_DONTNEED);
		break;
	case 5:
		mmap(a, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		break;
	case 6:
		mmap(a, len, PROT_READ | (draw(2) ? PROT_WRITE : 0), MAP_PRIVATE | MAP_FIXED, plain, draw(FILEPAGES) * PAGE);
		break;
	case 7:
		mmap(a, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, shared, draw(FILEPAGES) * PAGE);
		break;
	case 8:
		mmap(a, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, steady, draw(FILEPAGES) * PAGE);
		break;
	case 9:
		if (i + n <= j || j + n <= i)
			mremap(a, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, page(j));
		break;
	case 10:
		ftruncate(shared, (1 + draw(FILEPAGES)) * PAGE);
		break;
	case 11: {
		uint64_t w = seed;
		pwrite(shared, &w, 8, draw(FILEPAGES) * PAGE);
		break;
	}
	case 12: {
		uint64_t w = seed;
		struct iovec from = {&w, 8}, to = {a, 8};
		process_vm_writev(getpid(), &from, 1, &to, 1, 0);
		break;
	}
	case 13:
		mprotect(a, len, PROT_READ | PROT_EXEC);
		break;
	default:
		for (unsigned k = 0; k < n; k++)
			store(a + k * PAGE, seed + k);
	}
}

// fill makes the arena anew.
static void fill(void)
{
	mmap(ARENA, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	ftruncate(shared, 0);
	ftruncate(shared, FILEPAGES * PAGE);
	for (uint64_t i = 0; i < PAGES; i++)
		*(uint64_t *)page(i) = seed ^ i;
}

// ask is a child that tells what it sees once it is asked, if it lasts.
struct ask {
	pid_t pid;
	int go[2], out[2];
};

static struct ask start(unsigned kind)
{
	struct ask c;
	char b;
	if (pipe(c.go) || pipe(c.out))
		exit(1);
	c.pid = fork();
	if (c.pid)
		return c;
	if (kind == 1)
		for (unsigned i = 0; i < 20; i++)
			change();
	if (kind == 2)
		execl("/bin/true", "true", NULL);
	if (kind == 3 && fork() > 0) // a grandchild lasts
		_exit(0);
	if (kind < 3)
		_exit(0);
	read(c.go[0], &b, 1);
	uint64_t h = sum();
	write(c.out[1], &h, 8);
	_exit(0);
}

static uint64_t end(struct ask *c, unsigned kind)
{
	uint64_t h = 0;
	close(c->out[1]);
	write(c->go[1], "x", 1);
	if (kind >= 3)
		read(c->out[0], &h, 8);
	if (kind > 3)
		waitpid(c->pid, NULL, 0);
	close(c->go[0]);
	close(c->go[1]);
	close(c->out[0]);
	return h;
}

static void round_(unsigned n)
{
	char name[32];
	seed = n * 7919 + 1;
	fill();
	for (unsigned i = draw(30); i > 0; i--)
		change();
	unsigned kind = draw(5), again = draw(3);
	struct ask c = start(kind);
	if (kind == 1)
		waitpid(c.pid, NULL, 0); // it changes the shared file, too
	for (unsigned i = draw(15); i > 0; i--)
		change();
	if (kind <= 3 && kind != 1)
		waitpid(c.pid, NULL, 0);
	store(page(PAGES - 5), n);
	if (again == 0) {
		struct ask d = start(0);
		waitpid(d.pid, NULL, 0);
		end(&d, 0);
		store(page(PAGES - 700), n);
	}
	for (unsigned i = draw(10); i > 0; i--)
		change();
	store(page(PAGES - 1000), n);
	uint64_t h = sum();
	for (unsigned i = draw(20); i > 0; i--)
		change();
	uint64_t its = end(&c, kind);
	store(page(PAGES - 2000), n);
	snprintf(name, sizeof name, "%u, child %u", n, kind);
	say(name, "%016lx %016lx %016lx", (unsigned long)h, (unsigned long)its, (unsigned long)sum());
}

static void open_files(void)
{
	shared = memfd_create("shared", 0);
	steady = memfd_create("steady", 0);
	plain = open("/proc/self/exe", O_RDONLY);
	ftruncate(steady, FILEPAGES * PAGE);
	for (uint64_t i = 0; i < FILEPAGES; i++)
		pwrite(steady, &i, 8, i * PAGE);
	catch_faults();
	struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER}; // the mask need not be kept
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
}

static void alone(void)
{
	open_files();
	for (unsigned n = 0; n < 30; n++)
		round_(n);
}

// rights takes all rights to a file that it has mapped in place of memory.
static void rights(void)
{
	open_files();
	fill();
	struct ask c = start(4);
	mmap(page(0), PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, plain, 0);
	look(page(0));
	mprotect(page(0), PAGE, PROT_NONE);
	end(&c, 4);
	store(page(PAGES - 5), 1);
	say("without rights", "%d", (int)(look(page(0)) >> 56));
	munmap(page(0), PAGE);
	say("unmapped", "%d", (int)(look(page(0)) >> 56));
}

static volatile int over;

// spin writes to the arena's end all the time.
static void *spin(void *at)
{
	volatile uint64_t *p = at;
	for (uint64_t i = 1; !over; i++) {
		if (*p != i - 1)
			return "lost";
		*p = i;
	}
	return "";
}

// threads forks while other threads write to the same memory.
static void threads(void)
{
	enum { THREADS = 3 };
	pthread_t t[THREADS];
	open_files();
	fill();
	for (unsigned i = 0; i < THREADS; i++) {
		*(uint64_t *)page(PAGES - 1 - i * 512) = 0;
		pthread_create(&t[i], NULL, spin, page(PAGES - 1 - i * 512));
	}
	int wrong = 0;
	for (unsigned n = 0; n < 60; n++) {
		for (uint64_t i = 0; i < PAGES - 2048; i += 1 + n % 7)
			*(uint64_t *)page(i) = n;
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		if (n % 3)
			waitpid(pid, NULL, 0);
		for (uint64_t i = 0; i < PAGES - 2048; i += 1 + n % 7) {
			wrong += *(uint64_t *)page(i) != n;
			*(uint64_t *)page(i) = n + 1;
		}
		if (n % 3 == 0)
			waitpid(pid, NULL, 0);
	}
	over = 1;
	for (unsigned i = 0; i < THREADS; i++) {
		void *what;
		pthread_join(t[i], &what);
		wrong += *(char *)what != 0;
	}
	say("wrong", "%d", wrong);
}

static const struct section table[] = {{"rights", rights}, {"alone", alone}, {"threads", threads}};
GUEST(table)
