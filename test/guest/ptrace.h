// What the programs about ptrace(2) share.
#ifndef PTRACE_H
#define PTRACE_H

#include "guest.h"
#include <elf.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

#define trace(request, pid, addr, data) ptrace(request, pid, (void *)(long)(addr), (void *)(long)(data))

// stop shows how wait reports a stop.
static MAYBE const char *stop(int st)
{
	static const char *const events[] = {"", " fork", " vfork", " clone", " exec", " vfork done", " exit", " seccomp"};
	char *p = scratch();
	if (!WIFSTOPPED(st))
		return status(st);
	int sig = WSTOPSIG(st), event = st >> 16;
	const char *name = event < 8 ? events[event] : event == PTRACE_EVENT_STOP ? " event stop" : " unknown";
	snprintf(p, 256, "%s%s%s", signame(sig & 0x7f), sig & 0x80 ? "|0x80" : "", name);
	return p;
}

static MAYBE const char *waits(pid_t pid)
{
	int st = 0;
	pid_t r = waitpid(pid, &st, __WALL);
	if (r == -1)
		return errname(errno);
	return r == pid || pid == -1 ? stop(st) : "another";
}

// nothing_yet tells that a wait has nothing to report.
static MAYBE const char *waits_not(pid_t pid)
{
	int st = 0;
	sleep_ms(30);
	pid_t r = waitpid(pid, &st, __WALL | WNOHANG);
	return r == -1 ? errname(errno) : r == 0 ? "nothing" : stop(st);
}

static MAYBE pid_t traced_child(void (*fn)(void))
{
	pid_t p = fork();
	if (p == 0) {
		trace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		fn();
		_exit(7);
	}
	return p;
}

static MAYBE unsigned long message(pid_t p)
{
	unsigned long m = -1;
	trace(PTRACE_GETEVENTMSG, p, 0, &m);
	return m;
}

static MAYBE void sleeps(void)
{
	for (;;)
		pause();
}

static MAYBE const char *procline(pid_t p, const char *name)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/status", p);
	char *at = strstr((char *)get(path), name), *end = at ? strchr(at, '\n') : NULL;
	if (!at || !end)
		return "none";
	char *s = scratch();
	snprintf(s, 256, "%.*s", (int)(end - at), at);
	return s;
}

#endif
