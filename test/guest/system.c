// What the system tells of itself: how long it is up, what the processor can do.
#include "guest.h"
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

static const struct section sections[] = {{"uptime", uptime}, {"space", space}, {"processor", processor}};
GUEST(sections)
