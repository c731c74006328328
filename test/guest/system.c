// What the system tells of itself: how long it is up, what the processor can do.
#include "guest.h"
#include <sched.h>
#include <sys/klog.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>

#define SECOND 1000000000L

// up is the time since the start in ns.
static int64_t up(void)
{
	struct timespec t;
	clock_gettime(CLOCK_BOOTTIME, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

static void uptime(void)
{
	int exact = 1;
	for (int i = 0; i < 5; i++) {
		struct sysinfo s;
		int64_t before = up();
		sysinfo(&s);
		int64_t after = up();
		exact &= s.uptime * SECOND >= before && (s.uptime - 1) * SECOND < after;
		sleep_ms(60);
	}
	say("rounded up", "%s", yes(exact));
	int64_t before = up() / SECOND;
	double told = atof(get("/proc/uptime"));
	say("file", "%s", yes(told >= before && told <= before + 2));
}

// space asks how much room there is on a file system by its device number.
static void space(void)
{
	struct {
		int blocks;
		unsigned long inodes;
		char names[12];
	} u;
	struct statfs f;
	struct stat s;
	memset(&u, 0xff, sizeof u);
	stat("/proc", &s);
	statfs("/proc", &f);
	say("proc", "%s, %d blocks and %lu inodes", ret(syscall(SYS_ustat, s.st_dev, &u)), u.blocks, u.inodes);
	say("names", "%d %d", u.names[0], u.names[11]);
	say("as statfs", "%s", yes(u.blocks == (int)f.f_bfree && u.inodes == f.f_ffree));
	say("bad pointer", "%s", ret(syscall(SYS_ustat, s.st_dev, 8)));
	say("nothing", "%s", ret(syscall(SYS_ustat, ~0, &u)));
}

static void processor(void)
{
	say("may use CPUID", "%s", ret(syscall(SYS_arch_prctl, 0x1011, 0)));
}

// kernel_log asks for what changes nothing of the host's log.
static void kernel_log(void)
{
	static char b[8192]; // the last record of the host, whatever it is, has room
	for (int action = -1; action < 2; action++)
		say("action", "%d: %s", action, ret(klogctl(action, NULL, 0)));
	say("unknown", "%s", ret(klogctl(11, NULL, 0)));
	for (int action = 2; action < 5; action++)
		say("no buffer", "%d: %s %s", action, ret(klogctl(action, NULL, 10)), ret(klogctl(action, b, -1)));
	say("nothing", "%s %s", ret(klogctl(2, b, 0)), ret(klogctl(3, b, 0)));
	say("level", "%s %s", ret(klogctl(8, NULL, 0)), ret(klogctl(8, NULL, 9)));
	say("sizes", "%s %s", yes(klogctl(9, NULL, 0) >= 0), yes(klogctl(10, NULL, 0) > 4096));
	int n = klogctl(3, b, sizeof b);
	say("records", "%s, %c to %c", yes(n > 0 && n <= (int)sizeof b), *b, b[n - 1] == '\n' ? 'n' : b[n - 1]);
	say("to nowhere", "%s", ret(klogctl(3, (char *)-1L, 1000)));
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	say("too small", "%s", ret(read(fd, b, 5)));
	say("seek", "%s %s", ret(lseek(fd, 0, SEEK_CUR)), ret(lseek(fd, 1, SEEK_SET)));
	say("and", "%s %s", ret(lseek(fd, 0, 9)), ret(lseek(fd, 0, SEEK_SET)));
	static char record[9000];
	while (read(fd, record, sizeof record - 1) < 0 && errno == EPIPE)
		;
	say("device", "%s", yes(strchr(record, ';') && strchr(record, '\n')));
	say("too long", "%s", ret(write(open("/dev/kmsg", O_WRONLY), scratch(), 100000)));
	if (fork() == 0) {
		setgid(1000);
		setuid(1000);
		for (int action = -1; action < 12; action++)
			if (action != 3 && action != 10)
				say("may not", "%d: %s", action, ret(klogctl(action, b, 10)));
		say("nor open", "%s", ret(open("/dev/kmsg", O_WRONLY)));
		_exit(0);
	}
	wait(NULL);
	say("a user namespace's root", "%s %s", ret(unshare(CLONE_NEWUSER)), ret(klogctl(9, NULL, 0)));
}

static const struct section sections[] = {{"kernel_log", kernel_log}, {"uptime", uptime}, {"space", space}, {"processor", processor}};
GUEST(sections)
