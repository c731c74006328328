// Credentials: the set*id family as root and as an ordinary user, groups,
// capabilities, set-id programs, securebits and keepcaps.
#include "guest.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>

static const char *uids(void)
{
	uid_t r, e, s;
	char *p = scratch();
	getresuid(&r, &e, &s);
	snprintf(p, 256, "%d %d %d", r, e, s);
	return p;
}

static const char *gids(void)
{
	gid_t r, e, s;
	char *p = scratch();
	getresgid(&r, &e, &s);
	snprintf(p, 256, "%d %d %d", r, e, s);
	return p;
}

// The calls themselves: the library's wrappers set the ids of all threads.
#define SETUID(u) syscall(SYS_setuid, u)
#define SETRESUID(r, e, s) syscall(SYS_setresuid, r, e, s)

static void as_root(void)
{
	say("seteuid", "%s %s", ret(SETRESUID(-1, 1000, -1)), uids());
	say("back", "%s %s", ret(SETRESUID(-1, 0, -1)), uids());
	say("setreuid", "%s %s", ret(syscall(SYS_setreuid, 1000, 0)), uids());
	say("setreuid swap", "%s %s", ret(syscall(SYS_setreuid, 0, 1000)), uids());
	say("swap back", "%s %s", ret(syscall(SYS_setreuid, 1000, 0)), uids());
	say("setresuid", "%s %s", ret(SETRESUID(1, 0, 3)), uids());
	say("setresgid", "%s %s", ret(syscall(SYS_setresgid, 4, 5, 6)), gids());
	say("setregid", "%s %s", ret(syscall(SYS_setregid, 7, 8)), gids());
	say("setgid", "%s %s", ret(syscall(SYS_setgid, 9)), gids());
	say("setuid -1", "%s", ret(SETUID(-1)));
	say("setuid", "%s %s", ret(SETUID(1000)), uids());
	say("setuid root", "%s", ret(SETUID(0)));
	say("setgid other", "%s", ret(syscall(SYS_setgid, 1)));
	say("setgroups", "%s", ret(setgroups(0, NULL)));
}

static void as_user(void)
{
	syscall(SYS_setresgid, 20, 20, 30);
	SETRESUID(1000, 1000, 2000);
	say("ids", "%s, %s", uids(), gids());
	say("euid to saved", "%s %s", ret(SETRESUID(-1, 2000, -1)), uids());
	say("euid to real", "%s %s", ret(SETUID(1000)), uids());
	say("setuid saved", "%s %s", ret(SETUID(2000)), uids());
	say("setuid other", "%s", ret(SETUID(3000)));
	say("setresuid other", "%s", ret(SETRESUID(-1, -1, 3000)));
	say("setresuid permute", "%s %s", ret(SETRESUID(2000, 1000, 1000)), uids());
	say("setreuid other", "%s", ret(syscall(SYS_setreuid, 5, -1)));
	say("setreuid", "%s %s", ret(syscall(SYS_setreuid, 1000, 2000)), uids());
	say("setgid saved", "%s %s", ret(syscall(SYS_setgid, 30)), gids());
	say("setregid", "%s %s", ret(syscall(SYS_setregid, 30, 20)), gids());
	say("bad pointer", "%s", ret(syscall(SYS_getresuid, 8, 8, 8)));
}

static void groups(void)
{
	gid_t g[] = {30, 10, 20, 10}, got[10];
	say("setgroups", "%s", ret(setgroups(4, g)));
	int n = getgroups(10, got);
	say("getgroups", "%d: %d %d %d %d", n, got[0], got[1], got[2], got[3]);
	say("count", "%s", ret(getgroups(0, NULL)));
	say("too short", "%s", ret(getgroups(2, got)));
	say("too many", "%s", ret(setgroups(65537, g)));
	say("bad pointer", "%s", ret(syscall(SYS_setgroups, 2, 8)));
	put("f", "");
	chown("f", 0, 20);
	chmod("f", 0040);
	if (fork() == 0) {
		syscall(SYS_setresgid, 99, 99, 99);
		SETUID(1000);
		say("read by group", "%s", okret(open("f", O_RDONLY)));
		_exit(0);
	}
	wait(NULL);
	setgroups(0, NULL);
	if (fork() == 0) {
		syscall(SYS_setresgid, 99, 99, 99);
		SETUID(1000);
		say("without group", "%s", ret(open("f", O_RDONLY)));
		_exit(0);
	}
	wait(NULL);
	chmod(".", 0755);
	put("g", "");
	chown("g", 1000, 20);
	chmod("g", 0077);
	if (fork() == 0) {
		SETUID(1000);
		say("owner class comes first", "%s", ret(open("g", O_RDONLY)));
		_exit(0);
	}
	wait(NULL);
}

static void fsids(void)
{
	put("f", "");
	chmod("f", 0600);
	struct stat st;
	chmod(".", 0777);
	say("setfsuid gives old", "%d", setfsuid(1000));
	say("now", "%d", setfsuid(-1));
	close(open("mine", O_CREAT | O_WRONLY, 0600));
	stat("mine", &st);
	say("file belongs to fsuid", "%d", st.st_uid);
	say("open as fsuid", "%s", ret(open("f", O_RDONLY)));
	setfsuid(0);
	say("open as root", "%s", okret(open("f", O_RDONLY)));
	say("seteuid moves fsuid", "%s", (SETRESUID(-1, 1000, -1), ret(setfsuid(-1))));
	say("fsuid other as user", "%d", setfsuid(55));
	say("unchanged", "%d", setfsuid(-1));
	say("setfsgid", "%d", setfsgid(-1));
}

static uint64_t caps(int which)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2];
	if (syscall(SYS_capget, &h, d))
		return 0xdead;
	return which == 0 ? d[0].effective | (uint64_t)d[1].effective << 32 : which == 1 ? d[0].permitted | (uint64_t)d[1].permitted << 32 : d[0].inheritable;
}

static void capabilities(void)
{
	say("root has chown", "%s", yes(caps(0) >> CAP_CHOWN & 1));
	SETRESUID(-1, 1000, -1);
	say("effective cleared with euid", "%s", yes(caps(0) == 0));
	say("permitted kept", "%s", yes(caps(1) != 0));
	SETRESUID(-1, 0, -1);
	say("effective back", "%s", yes(caps(0) == caps(1)));
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2] = {{1 << CAP_CHOWN, 1 << CAP_CHOWN | 1 << CAP_KILL, 0}, {0, 0, 0}};
	say("capset", "%s %lx %lx", ret(syscall(SYS_capset, &h, d)), caps(0), caps(1));
	d[0].permitted |= 1 << CAP_SETUID;
	say("capset more", "%s", ret(syscall(SYS_capset, &h, d)));
	put("f", "");
	say("chown", "%s", ret(chown("f", 5, 5)));
	d[0].permitted = 1 << CAP_KILL;
	d[0].effective = 0;
	syscall(SYS_capset, &h, d);
	say("chown without", "%s", ret(chown("f", 6, 6)));
	say("setuid without", "%s", ret(SETRESUID(7, 7, 7)));
	h.version = 1;
	say("bad version", "%s %x", ret(syscall(SYS_capget, &h, d)), h.version);
	say("bounding", "%s", ret(prctl(PR_CAPBSET_READ, CAP_CHOWN)));
	say("bounding bad", "%s", ret(prctl(PR_CAPBSET_READ, 100)));
}

static void keepcaps(void)
{
	say("get", "%s", ret(prctl(PR_GET_KEEPCAPS)));
	say("set", "%s", ret(prctl(PR_SET_KEEPCAPS, 1)));
	SETRESUID(1000, 1000, 1000);
	say("effective", "%s", yes(caps(0) != 0));
	say("permitted", "%s", yes(caps(1) != 0));
	say("securebits", "%s", ret(prctl(PR_GET_SECUREBITS)));
	say("dumpable after", "%s", yes(prctl(PR_GET_DUMPABLE) != 1));
}

static char self[4096];

static void set_id(void)
{
	int in = open(self, O_RDONLY), out = open("copy", O_CREAT | O_WRONLY, 0755);
	static char b[65536];
	ssize_t n;
	while ((n = read(in, b, sizeof b)) > 0)
		if (write(out, b, n) != n)
			return;
	close(out);
	chmod(".", 0755);
	chown("copy", 1234, 4321);
	chmod("copy", 06755);
	if (fork() == 0) {
		SETRESUID(1000, 1000, 1000);
		execl("./copy", "copy", "ids", (char *)0);
		_exit(1);
	}
	wait(NULL);
	if (fork() == 0) {
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		SETRESUID(1000, 1000, 1000);
		execl("./copy", "copy", "ids", (char *)0);
		_exit(1);
	}
	wait(NULL);
	chown("copy", 0, 0);
	chmod("copy", 04755);
	if (fork() == 0) {
		SETRESUID(1000, 1000, 1000);
		execl("./copy", "copy", "ids", (char *)0);
		_exit(1);
	}
	wait(NULL);
	if (fork() == 0) {
		SETRESUID(1000, 1000, 0);
		chmod("copy", 0755);
		execl("/proc/self/exe", "exe", "ids", (char *)0);
		_exit(1);
	}
	wait(NULL);
}

static const struct section table[] = {
	{"as_root", as_root}, {"as_user", as_user}, {"groups", groups}, {"fsids", fsids},
	{"capabilities", capabilities}, {"keepcaps", keepcaps}, {"set_id", set_id},
};

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "ids")) {
		say("set-id run", "%s, %s, capable %s", uids(), gids(), yes(caps(0) != 0));
		return 0;
	}
	if (!realpath(argv[0], self))
		return 97;
	return guest_main(argc, argv, table, sizeof table / sizeof *table);
}
