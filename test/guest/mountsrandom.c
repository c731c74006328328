// Random changes of a small tree of mounts: what each gives, and what is there in the end.
#include "mounts.h"

static uint64_t state;

static unsigned pick(unsigned n)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (state >> 33) % n;
}

static const char *place(void)
{
	static const char *const top[] = {"a", "b", "c", "d"};
	char *p = scratch();
	int n = snprintf(p, 256, "%s", top[pick(4)]);
	for (unsigned depth = pick(3); depth > 0; depth--)
		n += snprintf(p + n, 256 - n, "/%u", 1 + pick(2));
	return p;
}

static void fill(const char *at)
{
	char path[128];
	for (int i = 1; i <= 2; i++) {
		snprintf(path, sizeof path, "%s/%d", at, i);
		mkdir(path, 0755);
		snprintf(path, sizeof path, "%s/%d/1", at, i);
		mkdir(path, 0755);
		snprintf(path, sizeof path, "%s/%d/2", at, i);
		mkdir(path, 0755);
	}
}

static void step(int i)
{
	static const int kinds[] = {MS_SHARED, MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE};
	const char *at = place(), *from;
	char name[64];
	int kind;
	switch (pick(10)) {
	case 0: case 1:
		snprintf(name, sizeof name, "%d mount %s", i, at);
		say(name, "%s", tmpfs(at));
		fill(at);
		break;
	case 2: case 3:
		from = place();
		snprintf(name, sizeof name, "%d bind %s %s", i, from, at);
		say(name, "%s", bind(from, at));
		break;
	case 4:
		from = place();
		snprintf(name, sizeof name, "%d bind all %s %s", i, from, at);
		say(name, "%s", ret(mount(from, at, NULL, MS_BIND | MS_REC, NULL)));
		break;
	case 5:
		from = place();
		snprintf(name, sizeof name, "%d move %s %s", i, from, at);
		say(name, "%s", ret(mount(from, at, NULL, MS_MOVE, NULL)));
		break;
	case 6:
		kind = pick(3) ? 0 : MNT_DETACH;
		snprintf(name, sizeof name, "%d umount %s %d", i, at, kind);
		say(name, "%s", ret(umount2(at, kind)));
		break;
	default:
		kind = kinds[pick(5)] | (pick(4) ? 0 : MS_REC);
		snprintf(name, sizeof name, "%d make %s %x", i, at, kind);
		say(name, "%s", make(at, kind));
	}
}

static void run(int seed)
{
	state = seed * 7919;
	own_place();
	dirs("a b c d");
	fill("a"), fill("b"), fill("c"), fill("d");
	for (int i = 0; i < 60; i++) {
		step(i);
		if (read_mounts() > 150) {
			say("much", "%s", ret(umount2("a", MNT_DETACH)));
			say("much", "%s", ret(umount2("b", MNT_DETACH)));
		}
		if (i % 6 == 5)
			show_mounts("then");
	}
	leave_place();
}

static void some(int from)
{
	for (int seed = from; seed < from + 10; seed++)
		run(seed);
}

static void first(void)
{
	some(1);
}

static void second(void)
{
	some(100);
}

static const struct section table[] = {{"first", first}, {"second", second}};

GUEST(table)
