// Forks of a process with much memory, which a kernel may treat otherwise than others: what it does to that before and after the
// child is gone, in one thread and while others write. Each page has a word that says what was written last.
#include "guest.h"
#include <pthread.h>

#define PAGES 12288UL // 48 MiB
#define PIECE 16UL
#define ROUNDS 12

static char *m;
static uint32_t want[PAGES]; // 0: as new
static uint32_t seed = 1, stamp;

static uint32_t draw(uint32_t n)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % n;
}

static volatile uint32_t *word(size_t page)
{
	return (volatile uint32_t *)(m + page * PAGE);
}

static void store(size_t page)
{
	*word(page) = want[page] = ++stamp;
}

// differs counts the pages that do not have what was written last.
static int differs(void)
{
	int n = 0;
	for (size_t i = 0; i < PAGES; i++)
		n += *word(i) != want[i];
	return n;
}

static void renew(size_t page, int prot)
{
	mmap(m + page * PAGE, PIECE * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	memset(want + page, 0, PIECE * sizeof want[0]);
}

// change does something to a piece of the memory.
static void change(void)
{
	size_t page = draw(PAGES / PIECE) * PIECE;
	char *at = m + page * PAGE;
	switch (draw(6)) {
	case 0:
		renew(page, PROT_READ | PROT_WRITE);
		break;
	case 1:
		madvise(at, PIECE * PAGE, MADV_DONTNEED);
		memset(want + page, 0, PIECE * sizeof want[0]);
		break;
	case 2:
		mprotect(at, PIECE * PAGE, PROT_READ);
		if (draw(2))
			mprotect(at, PIECE * PAGE, PROT_READ | PROT_WRITE);
		else
			renew(page, PROT_READ | PROT_WRITE);
		break;
	case 3: {
		size_t to = draw(PAGES / PIECE) * PIECE;
		if (to == page)
			break;
		mremap(at, PIECE * PAGE, PIECE * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, m + to * PAGE);
		memcpy(want + to, want + page, PIECE * sizeof want[0]);
		renew(page, PROT_READ | PROT_WRITE);
		break;
	}
	default:
		for (size_t i = 0; i < PIECE; i++)
			store(page + i);
	}
}

// in_child looks whether the memory is as it was at the fork, also after the parent has changed it.
static void in_child(int told)
{
	char c = 0;
	int n = differs();
	for (int i = 0; i < 4; i++)
		store(draw(PAGES));
	n += read(told, &c, 1) != 1;
	_exit(n != 0 || differs() != 0);
}

static void begin(void)
{
	m = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (size_t i = 0; i < PAGES; i++)
		store(i);
}

static void rounds(void)
{
	int bad = 0, died = 0;
	begin();
	for (int i = 0; i < ROUNDS; i++) {
		int p[2], st = 0;
		if (pipe(p))
			_exit(98);
		pid_t pid = fork();
		if (pid == 0)
			in_child(p[0]);
		for (int n = draw(6); n > 0; n--)
			change();
		if (draw(2))
			bad += differs();
		bad += write(p[1], "", 1) != 1;
		waitpid(pid, &st, 0);
		died += st != 0;
		close(p[0]);
		close(p[1]);
		for (int n = draw(3); n > 0; n--)
			change();
		bad += differs();
		for (size_t n = 0; n < PAGES; n += 1 + draw(3))
			store(n);
	}
	say("pages that are wrong", "%d", bad);
	say("children that saw wrong ones", "%d", died);
}

static volatile int ending;
static volatile uint32_t written[3];

// writer counts in pages of its own, and looks that nothing is lost.
static void *writer(void *arg)
{
	size_t me = (size_t)arg, first = me * (PAGES / 3), lost = 0;
	for (uint32_t n = 1; !ending; n++) {
		for (size_t i = first; i < first + PAGES / 3; i += 97) {
			lost += *word(i) != n - 1;
			*word(i) = n;
		}
		written[me] = n;
	}
	return (void *)lost;
}

static uint32_t sum(void)
{
	uint32_t n = 0;
	for (size_t i = 0; i < PAGES; i++)
		n = n * 31 + *word(i);
	return n;
}

static void beside(void)
{
	pthread_t t[3];
	size_t lost = 0;
	int died = 0;
	begin();
	for (size_t i = 0; i < PAGES; i++)
		*word(i) = 0;
	for (size_t i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, writer, (void *)i);
	for (int i = 0; i < ROUNDS; i++) {
		int st = 0;
		pid_t pid = fork();
		if (pid == 0) {
			uint32_t before = sum();
			sleep_ms(1);
			_exit(sum() != before);
		}
		waitpid(pid, &st, 0);
		died += st != 0;
		uint32_t seen = written[0];
		for (int n = 0; n < 20 && written[0] == seen; n++)
			sleep_ms(1);
	}
	ending = 1;
	for (int i = 0; i < 3; i++) {
		void *r;
		pthread_join(t[i], &r);
		lost += (size_t)r;
	}
	say("stores that were lost", "%zu", lost);
	say("children that saw it written to", "%d", died);
}

static const struct section table[] = {
	{"rounds", rounds}, {"beside", beside},
};

GUEST(table)
