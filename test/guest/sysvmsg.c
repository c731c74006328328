// System V message queues: msgget, msgsnd, msgrcv, msgctl.
#include "guest.h"
#include <sched.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#ifndef MSG_COPY
#define MSG_COPY 040000
#endif
#ifndef MSG_EXCEPT
#define MSG_EXCEPT 020000
#endif

struct message {
	long type;
	char text[20000];
};

static int fresh(void)
{
	return msgget(IPC_PRIVATE, IPC_CREAT | 0600);
}

static long send(int id, long type, const char *text, int flags)
{
	static struct message m;
	m.type = type;
	strcpy(m.text, text);
	return msgsnd(id, &m, strlen(text), flags);
}

static const char *receive(int id, long want, size_t size, int flags)
{
	static struct message m;
	long n = msgrcv(id, &m, size, want, flags | IPC_NOWAIT);
	if (n < 0)
		return errname(errno);
	char *p = scratch();
	snprintf(p, 256, "%ld %.*s", m.type, (int)n, m.text);
	return p;
}

static void order(void)
{
	int id = fresh();
	say("empty", "%s", receive(id, 0, 100, 0));
	for (int i = 0; i < 6; i++) {
		char text[] = {'a' + i, 0};
		say("send", "%s", ret(send(id, 3 - i % 3, text, 0)));
	}
	say("any", "%s", receive(id, 0, 100, 0));
	say("of a type", "%s", receive(id, 2, 100, 0));
	say("the least up to", "%s", receive(id, -2, 100, 0));
	say("except", "%s", receive(id, 3, 100, MSG_EXCEPT));
	say("no such type", "%s", receive(id, 9, 100, 0));
	say("copy", "%s", receive(id, 1, 100, MSG_COPY));
	say("copy the same", "%s", receive(id, 1, 100, MSG_COPY));
	say("copy beyond", "%s", receive(id, 7, 100, MSG_COPY));
	static struct message m;
	say("copy may not wait", "%s", ret(msgrcv(id, &m, 100, 0, MSG_COPY)));
	say("copy and except", "%s", receive(id, 0, 100, MSG_COPY | MSG_EXCEPT));
	struct msqid_ds ds;
	say("stat", "%s %lu %lu %lu", ret(msgctl(id, IPC_STAT, &ds)), ds.msg_qnum, ds.__msg_cbytes, ds.msg_qbytes);
	say("by us", "%s", yes(ds.msg_lspid == getpid() && ds.msg_lrpid == getpid()));
	say("times", "%s", yes(ds.msg_stime && ds.msg_rtime && ds.msg_ctime));
	msgctl(id, IPC_RMID, NULL);
}

static void sizes(void)
{
	int id = fresh();
	send(id, 1, "hello", 0);
	say("too little room", "%s", receive(id, 0, 3, 0));
	say("copy with too little room", "%s", receive(id, 0, 3, MSG_COPY));
	say("copy cut", "%s", receive(id, 0, 3, MSG_COPY | MSG_NOERROR));
	say("cut", "%s", receive(id, 0, 3, MSG_NOERROR));
	say("lost", "%s", receive(id, 0, 3, MSG_NOERROR));
	say("empty text", "%s", ret(send(id, 5, "", 0)));
	say("got", "%s", receive(id, 0, 0, 0));
	static struct message m = {.type = 1};
	say("too long", "%s", ret(msgsnd(id, &m, 8193, 0)));
	say("longest", "%s", ret(msgsnd(id, &m, 8192, 0)));
	say("another", "%s", ret(msgsnd(id, &m, 8192, 0)));
	say("full", "%s", ret(msgsnd(id, &m, 1, IPC_NOWAIT)));
	say("negative size", "%s", ret(msgsnd(id, &m, -1, 0)));
	say("type 0", "%s", ret(({ m.type = 0; msgsnd(id, &m, 1, IPC_NOWAIT); })));
	say("type -1", "%s", ret(({ m.type = -1; msgsnd(id, &m, 1, IPC_NOWAIT); })));
	say("bad pointer", "%s", ret(msgsnd(id, (void *)8, 1, IPC_NOWAIT)));
	say("bad id", "%s", ret(msgsnd(-1, &m, 1, IPC_NOWAIT)));
	say("bad pointer loses", "%s", ret(msgrcv(id, (void *)8, 8192, 0, 0)));
	say("one left", "%s", ret(msgrcv(id, &m, 8192, 0, IPC_NOWAIT)));
	say("none left", "%s", ret(msgrcv(id, &m, 8192, 0, IPC_NOWAIT)));
	struct msqid_ds ds;
	msgctl(id, IPC_STAT, &ds);
	ds.msg_qbytes = 4;
	say("smaller", "%s", ret(msgctl(id, IPC_SET, &ds)));
	say("does not fit", "%s", ret(send(id, 1, "hello", IPC_NOWAIT)));
	say("fits", "%s", ret(send(id, 1, "four", IPC_NOWAIT)));
	msgctl(id, IPC_RMID, NULL);
}

static void on_signal(int s)
{
	(void)s;
}

static void waiting(void)
{
	int id = fresh();
	static struct message m;
	pid_t a = fork();
	if (a == 0) {
		long n = msgrcv(id, &m, 3, 7, 0);
		say("small receiver", "%s", ret(n));
		n = msgrcv(id, &m, 100, 7, 0);
		say("then", "%s %s", ret(n), m.text);
		_exit(0);
	}
	asleep(a);
	send(id, 1, "other", 0);
	send(id, 7, "wanted", 0);
	waitpid(a, NULL, 0);
	say("left", "%s", receive(id, 0, 100, 0));

	m.type = 1;
	msgsnd(id, &m, 8192, 0);
	msgsnd(id, &m, 8192, 0);
	a = fork();
	if (a == 0) {
		long r = msgsnd(id, &m, 100, 0);
		say("sender", "%s", ret(r));
		_exit(0);
	}
	asleep(a);
	say("waits", "%s", ret(waitpid(a, NULL, WNOHANG)));
	long room = msgrcv(id, &m, 8192, 0, 0);
	waitpid(a, NULL, 0);
	say("made room", "%s", ret(room));

	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	sigaction(SIGUSR1, &sa, NULL);
	a = fork();
	if (a == 0) {
		long r = msgrcv(id, &m, 100, 99, 0);
		say("interrupted", "%s", ret(r));
		_exit(0);
	}
	asleep(a);
	kill(a, SIGUSR1);
	waitpid(a, NULL, 0);

	a = fork();
	if (a == 0) {
		long r = msgrcv(id, &m, 100, 99, 0);
		say("removed", "%s", ret(r));
		_exit(0);
	}
	asleep(a);
	msgctl(id, IPC_RMID, NULL);
	waitpid(a, NULL, 0);
	say("gone", "%s", receive(id, 0, 1, 0));
}

static void rights(void)
{
	int id = msgget(IPC_PRIVATE, 0644);
	struct msqid_ds ds;
	msgctl(id, IPC_STAT, &ds);
	ds.msg_qbytes = 20000;
	if (fork() == 0) {
		if (setgid(12345) || setuid(12345))
			_exit(1);
		say("send", "%s", ret(send(id, 1, "x", IPC_NOWAIT)));
		say("receive", "%s", receive(id, 0, 10, 0));
		say("change", "%s", ret(msgctl(id, IPC_SET, &ds)));
		say("remove", "%s", ret(msgctl(id, IPC_RMID, NULL)));
		int own = fresh();
		msgctl(own, IPC_STAT, &ds);
		ds.msg_qbytes = 20000;
		say("own over the limit", "%s", ret(msgctl(own, IPC_SET, &ds)));
		msgctl(own, IPC_RMID, NULL);
		_exit(0);
	}
	wait(NULL);
	msgctl(id, IPC_RMID, NULL);
}

static void info(void)
{
	struct msginfo i;
	say("info", "%s", okret(msgctl(0, IPC_INFO, (void *)&i)));
	say("limits", "%d %d %d", i.msgmax, i.msgmnb, i.msgmni);
	say("more", "%d %d %d %d %d", i.msgpool, i.msgmap, i.msgssz, i.msgtql, i.msgseg);
	int id = fresh();
	send(id, 1, "hello", 0);
	char line[80];
	snprintf(line, sizeof line, "         0 %10d   600           5          1 %5d     0", id, getpid());
	say("in /proc", "%s", yes(has_line("/proc/sysvipc/msg", line)));
	msgctl(id, IPC_RMID, NULL);
	say("negative command", "%s", ret(msgctl(id, -1, NULL)));
	say("knobs", "%s", get("/proc/sys/kernel/msgmax"));
}

// ids asks for ids in a namespace of its own, so that the host's are left alone.
static void ids(void)
{
	say("namespace", "%s", ret(unshare(CLONE_NEWIPC)));
	const char *knob = "/proc/sys/kernel/msg_next_id";
	say("not asked", "%s", get(knob));
	put(knob, "70000");
	say("asked", "%s", get(knob));
	int a = fresh();
	say("got", "%d %s", a, get(knob));
	put(knob, "70000");
	int b = fresh();
	say("the slot is taken", "%d", b);
	say("in turn", "%d", fresh());
	say("by id", "%s", ret(send(a, 1, "x", 0)));
	say("removed", "%s", ret(msgctl(a, IPC_RMID, NULL)));
	put(knob, "2147483647");
	say("the last", "%d", fresh());
	put(knob, "2147483647");
	say("no slot", "%s", ret(fresh()));
	say("negative", "%s", ret(write(open(knob, O_WRONLY), "-1", 2)));
	say("no number", "%s", ret(write(open(knob, O_WRONLY), "x", 1)));
	say("too large", "%s", ret(write(open(knob, O_WRONLY), "2147483648", 10)));
	put("/proc/sys/kernel/sem_next_id", "123");
	say("semaphores", "%d", semget(IPC_PRIVATE, 1, 0600));
	put("/proc/sys/kernel/shm_next_id", "456");
	say("memory", "%d", shmget(IPC_PRIVATE, 1, 0600));
}

static const struct section sections[] = {
	{"ids", ids}, {"order", order}, {"sizes", sizes}, {"waiting", waiting}, {"rights", rights}, {"info", info},
};
GUEST(sections)
