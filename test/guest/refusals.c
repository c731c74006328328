// Which of several errors it is, and what is an error at all: arguments that are wrong in more than one way.
#include "guest.h"
#include <linux/capability.h>
#include <linux/openat2.h>
#include <mqueue.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static const char *mapped(void *p)
{
	return p == MAP_FAILED ? errname(errno) : "ok";
}

static void maps(void)
{
	char *p = mmap(NULL, 4 * PAGE, RW, ANON, -1, 0);
	int fd = open("f", O_CREAT | O_RDWR, 0644), ro = open("f", O_RDONLY), flags = MAP_FIXED_NOREPLACE;
	say("taken", "%s %s", mapped(mmap(p, PAGE, RW, ANON | flags, -1, 0)), mapped(mmap(p, PAGE, RW, ANON | flags | MAP_FIXED, -1, 0)));
	say("odd address", "%s %s", mapped(mmap(p + 1, PAGE, RW, ANON | flags, -1, 0)), mapped(mmap(p + 1, PAGE, RW, ANON | MAP_FIXED, -1, 0)));
	say("bad descriptor", "%s %s", mapped(mmap(p, PAGE, RW, MAP_PRIVATE | flags, -1, 0)), mapped(mmap(p + 1, 0, RW, MAP_PRIVATE | flags, -1, 0)));
	say("not to be written", "%s %s", mapped(mmap(p, PAGE, RW, MAP_SHARED | flags, ro, 0)), mapped(mmap(p + 1, PAGE, RW, MAP_SHARED | flags, ro, 0)));
	say("no length", "%s %s", mapped(mmap(p, 0, RW, ANON | flags, -1, 0)), mapped(mmap(p, 0, RW, MAP_SHARED | flags, fd, 0)));
	say("no kind", "%s %s", mapped(mmap(p, PAGE, RW, flags | MAP_ANONYMOUS, -1, 0)), mapped(mmap(p, PAGE, RW, flags, fd, 0)));
	say("odd offset", "%s", mapped(mmap(p, PAGE, RW, MAP_PRIVATE | flags, fd, 1)));
	say("high", "%s %s", mapped(mmap((void *)-PAGE, PAGE, RW, ANON | flags, -1, 0)), mapped(mmap(p, -PAGE, RW, ANON | flags, -1, 0)));
	say("far offset", "%s", mapped(mmap(p, PAGE, RW, MAP_SHARED | flags, fd, 0x7ffffffffffff000L)));
	say("validated", "%s %s", mapped(mmap(p, PAGE, RW, MAP_SHARED_VALIDATE | flags | (1 << 27), fd, 0)), mapped(mmap(p, PAGE, RW, MAP_SHARED_VALIDATE | flags, fd, 0)));
	say("a stack", "%s %s", mapped(mmap(p, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_GROWSDOWN | flags, -1, 0)), mapped(mmap(p, PAGE, RW, MAP_PRIVATE | MAP_GROWSDOWN | flags, fd, 0)));
}

static void messages(void)
{
	int s[2], f = open("f", O_CREAT | O_RDWR, 0644);
	struct iovec v = {scratch(), 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	struct mmsghdr mm = {.msg_hdr = m};
	socketpair(AF_UNIX, SOCK_DGRAM, 0, s);
	say("none", "%s", ret(recvmsg(s[0], &m, MSG_DONTWAIT)));
	say("compat", "%s %s", ret(recvmsg(s[0], &m, MSG_DONTWAIT | 0x80000000)), ret(sendmsg(s[0], &m, MSG_DONTWAIT | 0x80000000)));
	say("many", "%s %s", ret(syscall(SYS_recvmmsg, s[0], &mm, 1, MSG_DONTWAIT | 0x80000000, NULL)), ret(syscall(SYS_sendmmsg, s[0], &mm, 1, MSG_DONTWAIT | 0x80000000)));
	say("of no socket", "%s %s", ret(recvmsg(f, &m, 0x80000000)), ret(sendmsg(-1, &m, 0x80000000)));
	say("simple", "%s %s", ret(recv(s[0], v.iov_base, 1, MSG_DONTWAIT | 0x80000000)), ret(send(s[0], v.iov_base, 1, MSG_DONTWAIT | 0x80000000)));
}

static long openat2(int dir, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = {.flags = flags, .resolve = resolve, .mode = flags & O_CREAT ? 0644 : 0};
	return syscall(SYS_openat2, dir, path, &how, sizeof how);
}

static void resolved(void)
{
	int proc = open("/proc", O_RDONLY), self = open("/proc/self", O_RDONLY);
	mkdir("d", 0755);
	int d = open("d", O_RDONLY);
	say("up and out", "%s %s", okret(openat2(proc, "..", O_RDONLY, RESOLVE_NO_XDEV)), okret(openat2(proc, "../proc", O_RDONLY, RESOLVE_NO_XDEV)));
	say("up", "%s %s", okret(openat2(self, "..", O_RDONLY, RESOLVE_NO_XDEV)), okret(openat2(d, "..", O_RDONLY, RESOLVE_NO_XDEV)));
	say("out and made", "%s %s", okret(openat2(proc, "..", O_CREAT | O_RDWR, RESOLVE_NO_XDEV)), okret(openat2(d, "..", O_CREAT | O_RDWR, RESOLVE_NO_XDEV)));
	say("made there", "%s %s", okret(openat2(proc, "../made", O_CREAT | O_RDWR, RESOLVE_NO_XDEV)), okret(openat2(d, "../made", O_CREAT | O_RDWR, RESOLVE_NO_XDEV)));
	say("into", "%s %s", okret(openat2(AT_FDCWD, "/proc", O_RDONLY, RESOLVE_NO_XDEV)), okret(openat2(AT_FDCWD, "/proc", O_CREAT | O_RDWR, RESOLVE_NO_XDEV)));
	say("beneath", "%s %s", okret(openat2(d, "..", O_RDONLY, RESOLVE_BENEATH)), okret(openat2(d, "..", O_CREAT | O_RDWR, RESOLVE_BENEATH)));
	say("in the root", "%s %s", okret(openat2(d, "..", O_RDONLY, RESOLVE_IN_ROOT)), okret(openat2(d, "..", O_CREAT | O_RDWR, RESOLVE_IN_ROOT)));
	say("and both", "%s", okret(openat2(d, ".", O_RDONLY, RESOLVE_IN_ROOT | RESOLVE_BENEATH)));
	say("itself", "%s %s", okret(openat2(d, ".", O_CREAT | O_RDWR, RESOLVE_NO_XDEV)), okret(openat2(d, "x/", O_CREAT | O_RDWR, RESOLVE_NO_XDEV)));
}

static void capabilities(void)
{
	static const unsigned versions[] = {0, _LINUX_CAPABILITY_VERSION_1, _LINUX_CAPABILITY_VERSION_2, _LINUX_CAPABILITY_VERSION_3};
	for (int i = 0; i < 4; i++)
		for (int pid = -2; pid < 2; pid++) {
			struct __user_cap_header_struct h = {versions[i], pid == 1 ? 0x3fffff : pid};
			struct __user_cap_data_struct data[2];
			char name[32];
			snprintf(name, sizeof name, "version %d pid %d", i, pid);
			say(name, "%s", ret(syscall(SYS_capget, &h, data)));
			say(name, "%d", h.version == _LINUX_CAPABILITY_VERSION_3);
			h.version = versions[i];
			say(name, "%s %s", ret(syscall(SYS_capget, &h, NULL)), ret(syscall(SYS_capset, &h, NULL)));
		}
	say("no header", "%s %s", ret(syscall(SYS_capget, NULL, NULL)), ret(syscall(SYS_capset, 8, NULL)));
}

static int option;

static void one_prctl(void)
{
	static const long values[] = {0, 1, -1, 2};
	for (int i = 0; i < 4; i++) {
		char name[32];
		snprintf(name, sizeof name, "prctl %d(%ld)", option, values[i]);
		say(name, "%s", ret(syscall(SYS_prctl, option, values[i], 0L, 0L, 0L)));
		say(name, "%s", ret(syscall(SYS_prctl, option, values[i], 1L, 0L, 0L)));
		say(name, "%s", ret(syscall(SYS_prctl, option, values[i], 0L, 1L, 0L)));
		say(name, "%s", ret(syscall(SYS_prctl, option, values[i], 0L, 0L, 1L)));
	}
}

// process: what processors and kernels are built with makes no difference to these options.
static void process(void)
{
	static const int options[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 23, 25, 27, 28, 29, 30, 31, 32, 36, 37, 38, 39, 40, 41, 42, 47, 80, 100};
	struct {
		int *address;
		long guard;
	} told = {NULL, 7};
	for (unsigned i = 0; i < sizeof options / sizeof *options; i++) {
		option = options[i];
		child(one_prctl);
	}
	static int where;
	syscall(SYS_set_tid_address, &where);
	say("where the id is cleared", "%s %s %ld", ret(prctl(40, &told)), yes(told.address == &where), told.guard);
	syscall(SYS_set_tid_address, NULL);
	say("nowhere", "%s %s", ret(prctl(40, &told)), yes(told.address == NULL));
}

static void files(void)
{
	int p[2], null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDWR), full = open("/dev/full", O_RDWR);
	if (pipe2(p, O_NONBLOCK))
		return;
	say("from null", "%s", ret(splice(null, NULL, p[1], NULL, 10, SPLICE_F_NONBLOCK)));
	say("from zero", "%s", ret(splice(zero, NULL, p[1], NULL, 10, SPLICE_F_NONBLOCK)));
	say("from full", "%s", ret(splice(full, NULL, p[1], NULL, 10, SPLICE_F_NONBLOCK)));
	say("to null", "%s", ret(splice(p[0], NULL, null, NULL, 10, SPLICE_F_NONBLOCK)));
	say("to zero", "%s", ret(splice(p[0], NULL, zero, NULL, 10, SPLICE_F_NONBLOCK)));
	say("to full", "%s", ret(splice(p[0], NULL, full, NULL, 10, SPLICE_F_NONBLOCK)));
	int t = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	struct itimerspec at = {.it_value = {0, 1}}, bad = {.it_value = {0, 1000000000}}, old;
	say("timers", "%s %s %s", okret(timerfd_create(CLOCK_PROCESS_CPUTIME_ID, 0)), okret(timerfd_create(99, 0)), okret(timerfd_create(CLOCK_MONOTONIC, 1)));
	say("set", "%s %s %s", ret(timerfd_settime(t, 4, &at, NULL)), ret(timerfd_settime(t, 0, &bad, NULL)), ret(timerfd_settime(t, 0, NULL, NULL)));
	say("of none", "%s %s %s", ret(timerfd_settime(null, 0, &at, NULL)), ret(timerfd_settime(-1, 8, &bad, NULL)), ret(timerfd_gettime(null, &old)));
	say("set to cancel", "%s", ret(timerfd_settime(t, TFD_TIMER_CANCEL_ON_SET, &at, NULL)));
	char b[8];
	say("short", "%s %s", ret(read(t, b, 4)), ret(write(t, b, 8)));
	say("into nowhere", "%s", ret(syscall(SYS_timerfd_gettime, t, 8)));
	mq_unlink("/refusals");
	struct mq_attr a = {.mq_maxmsg = 2, .mq_msgsize = 8};
	mqd_t q = mq_open("/refusals", O_CREAT | O_RDWR | O_NONBLOCK, 0600, &a);
	struct timespec odd = {0, -1};
	say("a queue", "%s", okret(q));
	say("long", "%s %s", ret(mq_send(q, "0123456789", 10, 0)), ret(mq_send(q, "x", 1, 40000)));
	say("odd times", "%s %s", ret(mq_timedsend(q, "x", 1, 0, &odd)), ret(mq_timedsend(-1, "x", 1, 40000, &odd)));
	say("short", "%s %s", ret(mq_receive(q, b, 4, NULL)), ret(mq_receive(null, b, 8, NULL)));
	say("attributes", "%s %s", ret(syscall(SYS_mq_getsetattr, q, &(struct mq_attr){.mq_flags = 1}, NULL)), ret(syscall(SYS_mq_getsetattr, null, NULL, NULL)));
	say("names", "%s %s %s", okret(syscall(SYS_mq_open, "a/b", O_CREAT | O_RDWR, 0600, NULL)), okret(syscall(SYS_mq_open, "", O_CREAT | O_RDWR, 0600, NULL)), okret(syscall(SYS_mq_open, ".", O_RDONLY, 0, NULL)));
	say("removed", "%s %s", ret(syscall(SYS_mq_unlink, "refusals")), ret(syscall(SYS_mq_unlink, "refusals")));
}

static const char *handle(int dir, const char *path, int flags, unsigned room)
{
	struct {
		unsigned bytes;
		int type;
		unsigned long ino;
		char more[120];
	} h = {room, 77, 0, ""};
	int id[2] = {-5, -5};
	long r = syscall(SYS_name_to_handle_at, dir, path, &h, id, flags);
	char *p = scratch();
	snprintf(p, 256, "%s: %u bytes, type %d, mount %s%s", ret(r), h.bytes, h.type, yes(id[0] != -5), yes(id[1] != -5));
	return p;
}

// handles: of what has none that could be opened.
static void handles(void)
{
	const char *paths[] = {"/proc/self/status", "/proc", "/proc/self", "/nothing", "/proc/self/status/x"};
	for (int i = 0; i < 5; i++) {
		say(paths[i], "%s, %s", handle(AT_FDCWD, paths[i], 0, 0), handle(AT_FDCWD, paths[i], 0, 128));
		say(paths[i], "%s, %s", handle(AT_FDCWD, paths[i], 0x200, 0), handle(AT_FDCWD, paths[i], 0x200, 128));
		say(paths[i], "%s, %s", handle(AT_FDCWD, paths[i], 0x600, 11), handle(AT_FDCWD, paths[i], 0x201, 12));
		say(paths[i], "%s, %s", handle(AT_FDCWD, paths[i], 0x200, 129), handle(AT_FDCWD, paths[i], 0, -1));
		say(paths[i], "%s, %s", handle(AT_FDCWD, paths[i], 2, 128), handle(AT_FDCWD, paths[i], 0x202, 128));
	}
	int fd = open("/proc/self/status", O_RDONLY), p[2], proc = open("/proc", O_RDONLY), place = open("/proc", O_PATH);
	say("flags", "%s, %s", handle(AT_FDCWD, paths[0], 0x100, 128), handle(AT_FDCWD, paths[0], 0x800, 128));
	say("empty", "%s, %s", handle(fd, "", 0x1200, 128), handle(fd, "", 0x200, 128));
	say("bad", "%s, %s", handle(-1, "x", 0x200, 128), ret(syscall(SYS_name_to_handle_at, AT_FDCWD, "/proc", 8, p, 0x200)));
	say("a pipe", "%s", pipe(p) ? "?" : handle(p[0], "", 0x1000, 128));
	struct {
		unsigned bytes;
		int type;
		char data[128];
	} h = {12, 0x81, ""};
	say("opened", "%s %s", ret(syscall(SYS_open_by_handle_at, proc, &h, 0)), ret(syscall(SYS_open_by_handle_at, -1, &h, 0)));
	say("by a place", "%s", ret(syscall(SYS_open_by_handle_at, place, &h, 0)));
	h.bytes = 0;
	say("of nothing", "%s %s", ret(syscall(SYS_open_by_handle_at, proc, &h, 0)), ret(syscall(SYS_open_by_handle_at, -1, 8, 0)));
	h.bytes = 129;
	say("of too much", "%s", ret(syscall(SYS_open_by_handle_at, proc, &h, 0)));
	h.bytes = 12;
	h.type = -1;
	say("no type", "%s", ret(syscall(SYS_open_by_handle_at, proc, &h, 0)));
}

static const struct section sections[] = {
	{"maps", maps}, {"messages", messages}, {"resolved", resolved}, {"capabilities", capabilities}, {"process", process}, {"files", files}, {"handles", handles},
};
GUEST(sections)
