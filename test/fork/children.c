// Many children at once: they sleep, end in any order, and are waited for by number or as they come.
// "held" waits for its input to end while they sleep, so that what they hold on the host can be counted.
#include "../guest/guest.h"

#define MANY 10000
#define HELD 2000

static pid_t pids[MANY];
static int gate[2];

// create makes n children that sleep until the gate is closed.
static void create(int n)
{
	char c;
	if (pipe(gate) != 0)
		_exit(1);
	for (int i = 0; i < n; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			close(gate[1]);
			_exit(read(gate[0], &c, 1) == 0 ? 7 : 1);
		}
		if (pids[i] < 0) {
			say("fork", "%d: %s", i, errname(errno));
			_exit(1);
		}
	}
}

static int by_number(const void *a, const void *b)
{
	return *(const pid_t *)a - *(const pid_t *)b;
}

static void many(void)
{
	int st, good = 0, distinct = 1;
	create(MANY);
	qsort(pids, MANY, sizeof *pids, by_number);
	for (int i = 1; i < MANY; i++)
		distinct += pids[i] != pids[i - 1];
	say("created", "%d", distinct);
	say("none has ended", "%s", ret(waitpid(-1, &st, WNOHANG | WUNTRACED | WCONTINUED)));
	close(gate[1]);
	for (int i = 0; i < MANY; i += 2)
		good += waitpid(pids[i], &st, 0) == pids[i] && st == 7 << 8;
	say("waited for by number", "%d", good);
	for (good = 0; wait(&st) > 0; good += st == 7 << 8)
		;
	say("waited for as they come", "%d, then %s", good, errname(errno));
}

static void held(void)
{
	int n = 0;
	char c;
	create(HELD);
	say("sleeping", "%d", HELD);
	while (read(0, &c, 1) > 0)
		;
	close(gate[1]);
	while (wait(NULL) > 0)
		n++;
	say("waited for", "%d", n);
}

static const struct section table[] = {
	{"C03_ten_thousand_children", many},
	{"held", held},
};
GUEST(table)
