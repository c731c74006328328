// What the programs about AF_UNIX sockets share: names, and how addresses, options and
// readiness look in a report.
#ifndef UNIX_H
#define UNIX_H

#include "guest.h"
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

// bad_memory is an address where nothing is.
static void *volatile bad_memory MAYBE = (void *)8;

static MAYBE const int kinds[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};

static MAYBE const char *const kind_names[] = {"stream", "dgram", "seqpacket"};

// label makes a name for a line of the report.
static MAYBE const char *label(int k, const char *what)
{
	char *p = scratch();
	snprintf(p, 256, "%s %s", kind_names[k], what);
	return p;
}

// address fills in a name; a leading @ makes it an abstract one.
static MAYBE socklen_t address(struct sockaddr_un *a, const char *name)
{
	memset(a, 0, sizeof *a);
	a->sun_family = AF_UNIX;
	strncpy(a->sun_path, name, sizeof a->sun_path);
	if (name[0] == '@') {
		a->sun_path[0] = 0;
		return offsetof(struct sockaddr_un, sun_path) + strlen(name);
	}
	return sizeof *a;
}

static MAYBE int bind_to(int s, const char *name)
{
	struct sockaddr_un a;
	socklen_t n = address(&a, name);
	return bind(s, (struct sockaddr *)&a, n);
}

static MAYBE int connect_to(int s, const char *name)
{
	struct sockaddr_un a;
	socklen_t n = address(&a, name);
	return connect(s, (struct sockaddr *)&a, n);
}

static MAYBE ssize_t send_to(int s, const char *text, const char *name)
{
	struct sockaddr_un a;
	socklen_t n = address(&a, name);
	return sendto(s, text, strlen(text), 0, (struct sockaddr *)&a, n);
}

// listener returns a socket that listens by that name.
static MAYBE int listener(int kind, const char *name, int backlog)
{
	int s = socket(AF_UNIX, kind, 0);
	if (bind_to(s, name) || listen(s, backlog))
		say("listener", "%s", errname(errno));
	return s;
}

// shown is an address as text: its length, and its name with zeros as @.
static MAYBE const char *shown(const struct sockaddr_un *a, socklen_t len)
{
	char *p = scratch();
	int n = snprintf(p, 256, "[%u] %d ", len, len >= 2 ? a->sun_family : -1);
	for (socklen_t i = 2; i < len && i < sizeof *a && n < 250; i++)
		p[n++] = a->sun_path[i - 2] ? a->sun_path[i - 2] : '@';
	p[n] = 0;
	return p;
}

static MAYBE const char *own_name(int s)
{
	struct sockaddr_un a;
	socklen_t len = sizeof a;
	memset(&a, 'x', sizeof a);
	return getsockname(s, (struct sockaddr *)&a, &len) ? errname(errno) : shown(&a, len);
}

static MAYBE const char *peer_name(int s)
{
	struct sockaddr_un a;
	socklen_t len = sizeof a;
	return getpeername(s, (struct sockaddr *)&a, &len) ? errname(errno) : shown(&a, len);
}

// option returns an integer option.
static MAYBE const char *option(int s, int name)
{
	int v = -99;
	socklen_t len = sizeof v;
	char *p = scratch();
	if (getsockopt(s, SOL_SOCKET, name, &v, &len))
		return errname(errno);
	snprintf(p, 256, "%d", v);
	return p;
}

static MAYBE const char *events(int e)
{
	static const struct {
		int bit;
		const char *name;
	} names[] = {{POLLIN, "IN"}, {POLLPRI, "PRI"}, {POLLOUT, "OUT"}, {POLLERR, "ERR"}, {POLLHUP, "HUP"},
		     {POLLNVAL, "NVAL"}, {POLLRDNORM, "RDNORM"}, {POLLRDBAND, "RDBAND"}, {POLLWRNORM, "WRNORM"},
		     {POLLWRBAND, "WRBAND"}, {POLLRDHUP, "RDHUP"}};
	char *p = scratch();
	int n = 0;
	p[0] = 0;
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
		if (e & names[i].bit)
			n += snprintf(p + n, 256 - n, "%s%s", n ? " " : "", names[i].name);
	return p;
}

// ready polls once for everything.
static MAYBE const char *ready(int s)
{
	struct pollfd p = {s, POLLIN | POLLPRI | POLLOUT | POLLRDNORM | POLLRDBAND | POLLWRNORM | POLLWRBAND | POLLRDHUP, 0};
	return poll(&p, 1, 0) < 0 ? errname(errno) : events(p.revents);
}

static MAYBE volatile int caught;

static MAYBE void count(int s)
{
	(void)s;
	caught++;
}

static MAYBE void handle(int sig, int flags)
{
	struct sigaction sa = {.sa_handler = count, .sa_flags = flags};
	sigaction(sig, &sa, NULL);
}

#endif
