// What calls keep in the kernel for those who wait, for each process or each open file: it is refused
// before it is too much, and there again once those who had it are gone.
#include "../guest/guest.h"
#include <grp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

enum { MOST = 1500, FILES = 1 << 19, GROUPS = 65536, MOST_FILES = 1 << 20 };

static gid_t list[GROUPS];
static struct pollfd files[FILES];
static int told[2];

static void tell(int e)
{
	if (write(told[1], &e, sizeof e) != sizeof e)
		_exit(1);
}

// wait_for_many tells what poll gave when it did not wait.
static void wait_for_many(int n)
{
	files[0].events = n ? POLLIN : POLLIN | POLLOUT; // the first one finds something at once
	tell(poll(files, FILES, 100) >= 0 ? 0 : errno);
	poll(files, FILES, -1);
}

static void join_many(int n)
{
	list[0] = n;
	tell(setgroups(GROUPS, list) ? errno : 0);
	pause();
}

// until_refused makes processes until one is refused, and kills them.
static void until_refused(void (*one)(int))
{
	int n = 0, e = 0;
	pid_t made[MOST];
	for (; n < MOST && !e; n++) {
		if ((made[n] = fork()) == 0) {
			one(n);
			_exit(0);
		}
		if (made[n] < 0 || read(told[0], &e, sizeof e) != sizeof e)
			break;
	}
	say("refused", "%s", errname(e));
	say("not at first", "%s", yes(n > 1));
	for (int i = 0; i < n; i++) {
		kill(made[i], SIGKILL);
		waitpid(made[i], NULL, 0);
	}
}

static void twice(void (*one)(int))
{
	if (pipe(told))
		return;
	until_refused(one);
	sleep_ms(300); // what is gone is looked for so often and no more
	until_refused(one);
}

static void polls(void)
{
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){FILES, FILES});
	int fd = eventfd(0, 0);
	for (int i = 0; i < FILES; i++)
		files[i] = (struct pollfd){fd, POLLIN, 0};
	twice(wait_for_many);
}

static void groups(void)
{
	for (int i = 0; i < GROUPS; i++)
		list[i] = i;
	twice(join_many);
}

// number_high has one descriptor, by a number as high as there may be.
static void number_high(int n)
{
	int fd = dup2(0, MOST_FILES - 1 - n % 2);
	tell(fd < 0 ? errno : 0);
	pause();
}

static void tables(void)
{
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){MOST_FILES, MOST_FILES});
	twice(number_high);
}

static int open_one(int kind)
{
	int p[2];
	switch (kind % 3) {
	case 0:
		return eventfd(0, 0);
	case 1:
		return epoll_create1(0);
	}
	return pipe(p);
}

static void open_many(int n)
{
	int e = 0;
	for (int i = 0; i < 40000 && !e; i++)
		e = open_one(i + n) < 0 ? errno : 0;
	tell(e);
	pause();
}

static void opened(void)
{
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){MOST_FILES, MOST_FILES});
	twice(open_many);
}

static const struct section sections[] = {{"polls", polls}, {"groups", groups}, {"tables", tables}, {"opened", opened}};
GUEST(sections)
