// Corners of several calls: what is written along with an error, which of two errors it is.
#include "guest.h"
#include <sched.h>
#include <sys/socket.h>
#include <sys/un.h>

static const char *info(siginfo_t *si)
{
	char *p = scratch();
	snprintf(p, 256, "signo %d code %d pid %d status %d", si->si_signo, si->si_code, si->si_pid, si->si_status);
	return p;
}

#define FAILS(name, type, id, options) \
	do { \
		memset(&si, 0x11, sizeof si); \
		say(name, "%s %s", ret(syscall(SYS_waitid, type, id, &si, options, 0)), info(&si)); \
	} while (0)

static void waitid_errors(void)
{
	siginfo_t si;
	FAILS("nobody", P_ALL, 0, WEXITED);
	FAILS("nobody, without waiting", P_ALL, 0, WEXITED | WNOHANG);
	FAILS("nothing asked", P_ALL, 0, WNOHANG);
	FAILS("a bad type", 9, 0, WEXITED);
	FAILS("a bad descriptor", P_PIDFD, -1, WEXITED);
	say("into nowhere", "%s", ret(syscall(SYS_waitid, P_ALL, 0, 8L, WNOHANG, 0)));
	say("into nothing", "%s", ret(syscall(SYS_waitid, P_ALL, 0, 0L, WNOHANG, 0)));
}

static long bind_to(int s, const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	strcpy(a.sun_path, path);
	return bind(s, (struct sockaddr *)&a, sizeof a);
}

static void names(void)
{
	int s = socket(AF_UNIX, SOCK_DGRAM, 0);
	say("bind", "%s", ret(bind_to(s, "one")));
	say("to the same", "%s", ret(bind_to(s, "one")));
	say("to another", "%s", ret(bind_to(s, "two")));
	say("which is not there", "%s", ret(access("two", F_OK)));
	say("the first is", "%s", ret(access("one", F_OK)));
	say("to what is in no directory", "%s", ret(bind_to(s, "three/four")));
	int d = socket(AF_UNIX, SOCK_DGRAM, 0);
	say("send", "%s", ret(send(d, "x", 1, MSG_NOSIGNAL)));
	say("shutdown", "%s", ret(shutdown(d, SHUT_WR)));
	say("send", "%s", ret(send(d, "x", 1, MSG_NOSIGNAL)));
}

static void scheduler(void)
{
	struct sched_param p = {0};
	say("a deadline without its times", "%s", ret(sched_setscheduler(0, 6, &p)));
	say("policy", "%d", sched_getscheduler(0));
	say("and reset on fork", "%s", ret(sched_setscheduler(0, 6 | SCHED_RESET_ON_FORK, &p)));
	say("policy", "%d", sched_getscheduler(0));
}

static const struct section sections[] = {{"waitid_errors", waitid_errors}, {"names", names}, {"scheduler", scheduler}};
GUEST(sections)
