// Many threads of several processes do what they like to things that they share: files, memory, descriptors, each other. Nothing is
// expected of a call; what counts is that the kernel lives, and that a race detector sees no two of its hands at one thing.
//
// Usage: storm SEED MILLISECONDS [AREA...]. Areas are the names of the tables below; none: all. It does nothing outside a sandbox.
#include "../guest/guest.h"
#include <dirent.h>
#include <linux/futex.h>
#include <linux/stat.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/un.h>
#include <sys/xattr.h>

enum { PROCESSES = 3, THREADS = 4, FDS = 40, KNOWN = 24, AREA = 64 };

static struct {
	volatile int pids[KNOWN]; // processes and threads that were here lately
	volatile unsigned next;
	volatile uint32_t words[16];
	volatile long done;
} *all;

static char *area; // private memory of a process, which its threads map anew
static char home[200];
static int64_t end;
static __thread uint64_t state;
static __thread sigjmp_buf *back;
static __thread char buf[1 << 14];

static unsigned rnd(unsigned n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 20) % n;
}

static int fd(void) { return 3 + rnd(FDS); }
static int pid(void) { return rnd(8) ? all->pids[rnd(KNOWN)] : 0; }
static void *at(void) { return area + rnd(AREA) * PAGE; }
static size_t len(void) { return (1 + rnd(8)) * PAGE; }

static void know(int id)
{
	all->pids[__sync_fetch_and_add(&all->next, 1) % KNOWN] = id;
}

// name gives one of a few names, some below directories.
static const char *name(void)
{
	static const char *const names[] = {"a", "b", "c", "d", "d/a", "d/b", "e", "e/a", "l", ".", "d/..", "e/s"};
	return names[rnd(sizeof names / sizeof *names)];
}

// keep moves a new descriptor to a low number, for all to use.
static void keep(int f)
{
	if (f < 0)
		return;
	fcntl(f, F_SETFL, O_NONBLOCK | (rnd(4) ? 0 : O_APPEND));
	dup2(f, fd());
	if (f >= 3 + FDS)
		close(f);
}

static void o_open(void)
{
	static const int flags[] = {O_RDONLY, O_RDWR | O_CREAT, O_WRONLY | O_TRUNC, O_RDWR | O_APPEND, O_PATH, O_DIRECTORY, O_RDWR | O_CREAT | O_EXCL};
	keep(open(name(), flags[rnd(7)] | O_NONBLOCK, 0666));
}
static void o_tmpfile(void) { keep(rnd(2) ? open(".", O_TMPFILE | O_RDWR, 0600) : memfd_create("m", MFD_ALLOW_SEALING)); }
static void o_dup(void) { rnd(2) ? dup2(fd(), fd()) : close(fd()); }
static void o_read(void) { rnd(2) ? read(fd(), buf, rnd(9000)) : pread(fd(), buf, rnd(9000), rnd(9000)); }
static void o_write(void) { rnd(2) ? write(fd(), buf, rnd(9000)) : pwrite(fd(), buf, rnd(9000), rnd(90000)); }
static void o_seek(void) { lseek(fd(), rnd(90000), rnd(5)); }
static void o_size(void) { rnd(2) ? ftruncate(fd(), rnd(90000)) : fallocate(fd(), rnd(4), rnd(90000), 1 + rnd(90000)); }
static void o_stat(void)
{
	struct stat st;
	struct statx sx;
	rnd(2) ? fstat(fd(), &st) : statx(AT_FDCWD, name(), AT_SYMLINK_NOFOLLOW, STATX_ALL, &sx);
}
static void o_lock(void)
{
	struct flock l = {.l_type = rnd(3), .l_start = rnd(100), .l_len = rnd(100)};
	rnd(2) ? flock(fd(), (1 << rnd(4)) | LOCK_NB) : fcntl(fd(), rnd(2) ? F_SETLK : rnd(2) ? F_OFD_SETLK : F_GETLK, &l);
}
static void o_fcntl(void)
{
	static const int cmds[] = {F_GETFL, F_SETFL, F_GETFD, F_SETFD, F_SETOWN, F_GETOWN, F_SETSIG, F_SETLEASE, F_GETLEASE, F_SETPIPE_SZ, F_GETPIPE_SZ, F_ADD_SEALS, F_GET_SEALS, F_DUPFD};
	int c = cmds[rnd(14)];
	fcntl(fd(), c, c == F_SETFL ? O_NONBLOCK | O_ASYNC : c == F_SETOWN ? pid() : c == F_SETSIG ? SIGUSR1 : (int)rnd(4));
}
static void o_names(void)
{
	switch (rnd(8)) {
	case 0: rename(name(), name()); break;
	case 1: link(name(), name()); break;
	case 2: unlink(name()); break;
	case 3: symlink(name(), name()); break;
	case 4: mkdir(name(), 0777); break;
	case 5: rmdir(name()); break;
	case 6: renameat2(AT_FDCWD, name(), AT_FDCWD, name(), 1 + rnd(2)); break;
	case 7: mknod(name(), S_IFIFO | 0666, 0); break;
	}
}
static void o_attrs(void)
{
	switch (rnd(7)) {
	case 0: chmod(name(), 0700 + rnd(64)); break;
	case 1: fchmod(fd(), 0700); break;
	case 2: chown(name(), rnd(3), rnd(3)); break;
	case 3: utimensat(AT_FDCWD, name(), NULL, 0); break;
	case 4: setxattr(name(), "user.x", buf, rnd(64), 0); break;
	case 5: getxattr(name(), "user.x", buf, 64); break;
	case 6: listxattr(name(), buf, 64); break;
	}
}
static void o_dirs(void)
{
	int f = open(name(), O_DIRECTORY);
	syscall(SYS_getdents64, f < 0 ? fd() : f, buf, sizeof buf);
	close(f);
	rnd(2) ? chdir(rnd(2) ? "." : home) : fchdir(fd());
	getcwd(buf, 200);
}
static void o_copy(void)
{
	loff_t a = rnd(9000), b = rnd(9000);
	switch (rnd(5)) {
	case 0: sendfile(fd(), fd(), &a, rnd(9000)); break;
	case 1: splice(fd(), NULL, fd(), NULL, rnd(9000), SPLICE_F_NONBLOCK); break;
	case 2: tee(fd(), fd(), rnd(9000), SPLICE_F_NONBLOCK); break;
	case 3: copy_file_range(fd(), &a, fd(), &b, rnd(9000), 0); break;
	case 4: fsync(fd()); break;
	}
}
static void o_watch(void)
{
	switch (rnd(4)) {
	case 0: keep(inotify_init1(IN_NONBLOCK)); break;
	case 1: inotify_rm_watch(fd(), rnd(5)); break;
	default: inotify_add_watch(fd(), name(), IN_ALL_EVENTS); break;
	}
}

// old gives a name that was there before, which the first change copies.
static const char *old(void)
{
	static const char *const names[] = {"/etc/passwd", "/etc/group", "/etc/hosts", "/etc/profile", "/etc/fstab", "/etc/shells", "/bin/true", "/usr/bin/env", "/etc/ld.so.cache", "/etc/new", "/dev/shm/x", "/etc", "/usr/bin"};
	return names[rnd(sizeof names / sizeof *names)];
}
static void n_open(void) { keep(open(old(), (rnd(2) ? O_RDONLY : O_RDWR | O_CREAT) | (rnd(8) ? 0 : O_TRUNC) | O_NONBLOCK, 0644)); }
static void n_change(void)
{
	switch (rnd(8)) {
	case 0: rename(old(), old()); break;
	case 1: link(old(), rnd(2) ? old() : name()); break;
	case 2: if (!rnd(4)) unlink(old()); break;
	case 3: chmod(old(), 0755); break;
	case 4: chown(old(), rnd(2), 0); break;
	case 5: truncate(old(), rnd(9000)); break;
	case 6: setxattr(old(), "user.x", buf, rnd(64), 0); break;
	case 7: symlink(name(), old()); break;
	}
}
static void n_look(void)
{
	struct statx sx;
	int f = open(rnd(2) ? "/etc" : "/usr/bin", O_DIRECTORY);
	syscall(SYS_getdents64, f, buf, sizeof buf);
	close(f);
	statx(AT_FDCWD, old(), 0, STATX_ALL, &sx);
	access(old(), R_OK);
}
static void n_mount(void)
{
	static const int kinds[] = {MS_SHARED, MS_PRIVATE, MS_SLAVE, MS_UNBINDABLE, MS_SHARED | MS_REC};
	const char *on = rnd(2) ? "d" : "e";
	switch (rnd(8)) {
	case 0: mount("t", on, "tmpfs", 0, NULL); break;
	case 1: mount(rnd(2) ? "/etc" : "d", on, NULL, MS_BIND | (rnd(2) ? MS_REC : 0), NULL); break;
	case 2: mount("d", "e", NULL, MS_MOVE, NULL); break;
	case 3: mount(NULL, on, NULL, kinds[rnd(5)], NULL); break;
	case 4: mount("o", on, "overlay", 0, "lowerdir=/etc:/usr/bin"); break;
	case 5: mount(NULL, on, NULL, MS_REMOUNT | MS_BIND | (rnd(2) ? MS_RDONLY : 0), NULL); break;
	default: umount2(on, rnd(2) ? MNT_DETACH : 0); break;
	}
}
static void n_run(void)
{
	pid_t p = vfork();
	if (p == 0) {
		execl("/bin/true", "true", NULL);
		_exit(1);
	}
}

static void m_map(void)
{
	int f = rnd(3) ? -1 : fd(), shared = rnd(2) ? MAP_SHARED : MAP_PRIVATE;
	mmap(at(), len(), PROT_READ | (rnd(3) ? PROT_WRITE : 0), shared | MAP_FIXED | (f < 0 ? MAP_ANONYMOUS : 0) | (rnd(5) ? 0 : MAP_POPULATE), f, rnd(4) * PAGE);
}
static void m_unmap(void) { rnd(4) ? mprotect(at(), len(), rnd(4)) : munmap(at(), len()); }
static void m_remap(void) { mremap(at(), len(), len(), MREMAP_MAYMOVE | MREMAP_FIXED, at()); }
static void m_advise(void) { madvise(at(), len(), rnd(24)); }
static void m_look(void)
{
	switch (rnd(5)) {
	case 0: mincore(at(), len(), (void *)buf); break;
	case 1: msync(at(), len(), MS_SYNC); break;
	case 2: mlock(at(), len()); break;
	case 3: munlock(at(), len()); break;
	case 4: sbrk(rnd(2) ? 4096 : -4096); break;
	}
}
static void m_touch(void)
{
	sigjmp_buf here;
	back = &here;
	if (!sigsetjmp(here, 1))
		for (int i = 0; i < 8; i++) {
			volatile char *p = at();
			if (rnd(2))
				*p = i;
			else
				(void)*p;
		}
	back = NULL;
}
static void m_calls(void) { rnd(2) ? read(fd(), at(), len()) : write(fd(), at(), len()); }
static void m_other(void)
{
	struct iovec a = {buf, 4096}, b = {at(), 4096};
	rnd(2) ? process_vm_readv(pid(), &a, 1, &b, 1, 0) : process_vm_writev(pid(), &a, 1, &b, 1, 0);
}
static void m_shm(void)
{
	int id = shmget(100 + rnd(3), 4 * PAGE, IPC_CREAT | 0666);
	struct shmid_ds ds;
	switch (rnd(4)) {
	case 0: shmat(id, at(), SHM_REMAP); break;
	case 1: shmdt(at()); break;
	case 2: shmctl(id, IPC_STAT, &ds); break;
	case 3: shmctl(id, IPC_RMID, NULL); break;
	}
}

static void *idle(void *arg)
{
	(void)arg;
	know(gettid());
	usleep(1000);
	return NULL;
}
static void work(int n, int only);
static void p_fork(void)
{
	pid_t p = rnd(5) ? fork() : vfork();
	if (p == 0) {
		know(getpid());
		_exit(0);
	}
	know(p);
}
static void p_long(void)
{
	pid_t p = fork();
	if (p)
		return;
	know(getpid());
	state += getpid();
	alarm(1);
	signal(SIGALRM, SIG_DFL);
	work(60, -1);
	_exit(0);
}
static void p_thread(void)
{
	pthread_t t;
	if (pthread_create(&t, NULL, idle, NULL) == 0)
		pthread_detach(t);
}
static void p_exec(void)
{
	pid_t p = fork();
	if (p == 0) {
		know(getpid());
		execl("/proc/self/exe", "storm", NULL);
		_exit(1);
	}
}
static void p_wait(void)
{
	siginfo_t si;
	struct rusage ru;
	rnd(2) ? (void)wait4(-1, NULL, WNOHANG | WUNTRACED | (rnd(2) ? __WALL : 0), &ru) : (void)waitid(P_PID, pid(), &si, WEXITED | WNOHANG | WNOWAIT);
}
static void p_kill(void)
{
	static const int signals[] = {SIGUSR1, SIGUSR2, SIGCHLD, SIGCONT, SIGWINCH, SIGURG, 40, 0, SIGSTOP};
	int p = pid(), s = signals[rnd(9)];
	union sigval v = {.sival_int = 3};
	if (p <= 2)
		return;
	if (s == SIGSTOP) {
		kill(p, s);
		usleep(100);
		s = SIGCONT;
	}
	switch (rnd(3)) {
	case 0: kill(p, s); break;
	case 1: syscall(SYS_tkill, p, s); break;
	case 2: sigqueue(p, s, v); break;
	}
}
static void p_ids(void)
{
	switch (rnd(10)) {
	case 0: getpgid(pid()); break;
	case 1: getsid(pid()); break;
	case 2: setpgid(0, 0); break;
	case 3: getpriority(PRIO_PROCESS, pid()); break;
	case 4: setpriority(PRIO_PROCESS, pid(), rnd(3)); break;
	case 5: getppid(); break;
	case 6: syscall(SYS_setresuid, 0, 0, 0); break;
	case 7: syscall(SYS_setgroups, rnd(3), buf); break;
	case 8: prctl(PR_SET_NAME, "n"); break;
	case 9: prctl(PR_SET_CHILD_SUBREAPER, rnd(2)); break;
	}
}
static void p_sched(void)
{
	struct sched_param sp = {0};
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(rnd(2), &set);
	switch (rnd(6)) {
	case 0: sched_setaffinity(pid(), sizeof set, &set); break;
	case 1: sched_getaffinity(pid(), sizeof set, &set); break;
	case 2: sched_setscheduler(pid(), rnd(6), &sp); break;
	case 3: sched_getscheduler(pid()); break;
	case 4: syscall(SYS_ioprio_set, 1, pid(), rnd(4) << 13); break;
	case 5: sched_yield(); break;
	}
}
static void p_limits(void)
{
	struct rlimit r;
	int which = rnd(16);
	if (prlimit(pid(), which, NULL, &r) == 0 && which != RLIMIT_CPU && which != RLIMIT_NOFILE)
		prlimit(pid(), which, &r, NULL);
	struct rusage u;
	struct tms t;
	getrusage(rnd(2) - 1, &u);
	times(&t);
}
static void p_ptrace(void)
{
	int p = pid(), st;
	if (p <= 2 || p == getpid() || syscall(SYS_ptrace, PTRACE_SEIZE, p, 0, rnd(256)))
		return;
	syscall(SYS_ptrace, PTRACE_INTERRUPT, p, 0, 0);
	for (int i = 0; i < 20 && waitpid(p, &st, WNOHANG | __WALL) == 0; i++)
		usleep(200);
	syscall(SYS_ptrace, PTRACE_GETREGSET, p, 1, &(struct iovec){buf, 1000});
	syscall(SYS_ptrace, PTRACE_PEEKDATA, p, area, buf);
	syscall(SYS_ptrace, rnd(2) ? PTRACE_DETACH : PTRACE_SYSCALL, p, 0, 0);
	usleep(200);
	waitpid(p, &st, WNOHANG | __WALL);
	syscall(SYS_ptrace, PTRACE_DETACH, p, 0, 0);
}
static void p_pidfd(void)
{
	siginfo_t si;
	switch (rnd(4)) {
	case 0: keep(syscall(SYS_pidfd_open, pid(), 0)); break;
	case 1: syscall(SYS_pidfd_send_signal, fd(), SIGUSR1, NULL, 0); break;
	case 2: keep(syscall(SYS_pidfd_getfd, fd(), fd(), 0)); break;
	case 3: waitid(P_PIDFD, fd(), &si, WEXITED | WNOHANG); break;
	}
}
static void p_spaces(void)
{
	static const int flags[] = {CLONE_FS, CLONE_FILES, CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWCGROUP};
	static const char *const kinds[] = {"ns/mnt", "ns/uts", "ns/ipc", "ns/net", "ns/cgroup"};
	char path[64];
	pid_t p = fork();
	if (p)
		return;
	know(getpid());
	unshare(flags[rnd(8)]);
	sethostname("h", 1);
	mount("t", "d", "tmpfs", 0, NULL);
	snprintf(path, sizeof path, "/proc/%d/%s", pid(), kinds[rnd(5)]);
	int f = open(path, O_RDONLY);
	setns(f, 0);
	work(10, -1);
	umount2("d", MNT_DETACH);
	_exit(0);
}
static void p_proc(void)
{
	static const char *const of[] = {"status", "stat", "maps", "smaps", "environ", "cmdline", "limits", "mountinfo", "cgroup", "comm", "io", "oom_score", "oom_score_adj",
		"sched", "statm", "wchan", "timers", "syscall", "task", "fd", "fdinfo", "ns", "fd/4", "fdinfo/5", "exe", "cwd", "root", "uid_map", "mounts", "pagemap", "auxv", "personality",
		"children", "net/unix", "timens_offsets", "smaps_rollup", "setgroups", "stack", "loginuid", "map_files"};
	static const char *const whole[] = {"stat", "meminfo", "loadavg", "uptime", "locks", "sysvipc/shm", "sysvipc/sem", "sysvipc/msg", "net/unix", "self/mountinfo", "sys/kernel/hostname",
		"vmstat", "sys/fs/file-nr", "sys/kernel/pid_max", "cgroups", "interrupts", ""};
	char path[96];
	if (rnd(4))
		snprintf(path, sizeof path, "/proc/%d/%s%s", pid() ?: getpid(), rnd(3) ? "" : "task/", of[rnd(sizeof of / sizeof *of)]);
	else
		snprintf(path, sizeof path, "/proc/%s", whole[rnd(sizeof whole / sizeof *whole)]);
	int f = open(path, O_RDONLY | O_NONBLOCK);
	if (f < 0) {
		readlink(path, buf, 200);
		return;
	}
	if (syscall(SYS_getdents64, f, buf, sizeof buf) < 0)
		for (int i = 0; i < 4 && read(f, buf, sizeof buf) > 0; i++)
			;
	close(f);
}
static void p_tell(void)
{
	static const struct { const char *file, *text; } tell[] = {{"comm", "x"}, {"oom_score_adj", "5"}, {"coredump_filter", "3"}, {"clear_refs", "1"}, {"timerslack_ns", "5"}, {"autogroup", "1"}};
	char path[64];
	int i = rnd(6);
	snprintf(path, sizeof path, "/proc/%d/%s", pid() ?: getpid(), tell[i].file);
	int f = open(path, O_WRONLY);
	write(f, tell[i].text, strlen(tell[i].text));
	close(f);
}
static void p_groups(void)
{
	char path[64];
	snprintf(path, sizeof path, "/sys/fs/cgroup/g%d", rnd(3));
	switch (rnd(5)) {
	case 0: mkdir(path, 0755); break;
	case 1: rmdir(path); break;
	case 2: case 3: {
		static const char *const files[] = {"cgroup.procs", "cgroup.events", "memory.current", "pids.current", "pids.max", "memory.stat", "cpu.stat", "cgroup.stat", "cgroup.threads"};
		strcat(strcat(path, "/"), files[rnd(9)]);
		int f = open(path, O_RDONLY);
		read(f, buf, 4096);
		close(f);
		break;
	}
	case 4: {
		strcat(path, "/cgroup.procs");
		int f = open(rnd(2) ? path : "/sys/fs/cgroup/cgroup.procs", O_WRONLY);
		write(f, "0", 1);
		close(f);
	}
	}
}

static void s_make(void)
{
	int two[2];
	switch (rnd(5)) {
	case 0: if (pipe2(two, O_NONBLOCK)) return; break;
	case 1: if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, two)) return; break;
	case 2: if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, two)) return; break;
	case 3: if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, two)) return; break;
	case 4: two[0] = eventfd(0, EFD_NONBLOCK), two[1] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0); break;
	}
	keep(two[0]);
	keep(two[1]);
}
static void s_names(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	snprintf(a.sun_path + 1, 20, "storm%d", rnd(4));
	socklen_t n = 9;
	switch (rnd(7)) {
	case 0: bind(fd(), (void *)&a, n); break;
	case 1: listen(fd(), rnd(4)); break;
	case 2: case 3: connect(fd(), (void *)&a, n); break;
	case 4: keep(accept4(fd(), NULL, NULL, SOCK_NONBLOCK)); break;
	case 5: getpeername(fd(), (void *)&a, &n); break;
	case 6: shutdown(fd(), rnd(3)); break;
	}
}
static void s_message(void)
{
	char control[CMSG_SPACE(2 * sizeof(int))] = {0};
	struct iovec v = {buf, rnd(5000)};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	if (rnd(2)) {
		recvmsg(fd(), &m, MSG_DONTWAIT | (rnd(4) ? 0 : MSG_PEEK));
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c && m.msg_controllen; c = CMSG_NXTHDR(&m, c))
			if (c->cmsg_type == SCM_RIGHTS)
				for (unsigned i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++)
					keep(((int *)CMSG_DATA(c))[i]);
		return;
	}
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(2 * sizeof(int));
	((int *)CMSG_DATA(c))[0] = fd(), ((int *)CMSG_DATA(c))[1] = fd();
	if (rnd(2))
		m.msg_controllen = 0;
	sendmsg(fd(), &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}
static void s_options(void)
{
	int v = 1;
	socklen_t n = sizeof v;
	static const int o[] = {SO_PASSCRED, SO_SNDBUF, SO_RCVBUF, SO_ERROR, SO_PEERCRED, SO_ACCEPTCONN, SO_TYPE};
	rnd(2) ? setsockopt(fd(), SOL_SOCKET, o[rnd(7)], &v, n) : getsockopt(fd(), SOL_SOCKET, o[rnd(7)], &v, &n);
	ioctl(fd(), rnd(2) ? FIONREAD : FIOASYNC, &v);
}
static void s_poll(void)
{
	struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | (rnd(2) ? EPOLLET : 0) | (rnd(3) ? 0 : EPOLLONESHOT)}, out[8];
	struct pollfd p[4];
	switch (rnd(5)) {
	case 0: keep(epoll_create1(0)); break;
	case 1: case 2: epoll_ctl(fd(), 1 + rnd(3), fd(), &e); break;
	case 3: epoll_wait(fd(), out, 8, rnd(3)); break;
	case 4:
		for (int i = 0; i < 4; i++)
			p[i] = (struct pollfd){fd(), POLLIN | POLLOUT, 0};
		poll(p, 4, rnd(3));
	}
}
static void s_pty(void)
{
	int v = 0;
	struct termios t;
	switch (rnd(6)) {
	case 0: keep(posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK)); break;
	case 1: ioctl(fd(), TIOCSPTLCK, &v); break;
	case 2: keep(ioctl(fd(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK)); break;
	case 3: if (ioctl(fd(), TCGETS, &t) == 0) ioctl(fd(), rnd(2) ? TCSETS : TCSETSF, &t); break;
	case 4: ioctl(fd(), TCFLSH, rnd(3)); break;
	case 5: ioctl(fd(), TIOCGPGRP, &v); break;
	}
}

static void t_timers(void)
{
	timer_t t = (timer_t)(long)rnd(6);
	struct itimerspec v = {{0, rnd(2) * 20 * MS}, {0, 1 + rnd(2 * MS)}};
	struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
	struct itimerval i = {{0, 20000}, {0, 2000}};
	switch (rnd(8)) {
	case 0: syscall(SYS_timer_create, rnd(2) ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID, &e, &t); break;
	case 1: syscall(SYS_timer_settime, t, 0, &v, NULL); break;
	case 2: syscall(SYS_timer_gettime, t, &v); break;
	case 3: syscall(SYS_timer_delete, t); break;
	case 4: keep(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)); break;
	case 5: timerfd_settime(fd(), 0, &v, NULL); break;
	case 6: setitimer(ITIMER_PROF, &i, NULL); break;
	case 7: clock_gettime((~pid() << 3) | 2, &v.it_value); break;
	}
}
static void t_signals(void)
{
	sigset_t s, old;
	siginfo_t si;
	struct timespec little = {0, 100000};
	stack_t ss;
	sigemptyset(&s);
	sigaddset(&s, 40);
	sigaddset(&s, SIGWINCH);
	switch (rnd(6)) {
	case 0: sigprocmask(SIG_BLOCK, &s, &old); break;
	case 1: sigprocmask(SIG_UNBLOCK, &s, &old); break;
	case 2: sigtimedwait(&s, &si, &little); break;
	case 3: keep(signalfd(rnd(2) ? -1 : fd(), &s, SFD_NONBLOCK)); break;
	case 4: signal(SIGWINCH, rnd(2) ? SIG_IGN : SIG_DFL); break;
	case 5: sigaltstack(NULL, &ss); sigpending(&s); break;
	}
}
static void t_futex(void)
{
	static const int ops[] = {FUTEX_WAIT, FUTEX_WAKE, FUTEX_REQUEUE, FUTEX_CMP_REQUEUE, FUTEX_WAKE_OP, FUTEX_LOCK_PI, FUTEX_UNLOCK_PI, FUTEX_TRYLOCK_PI, FUTEX_WAIT_BITSET};
	int op = ops[rnd(9)];
	struct timespec little = {0, 1000000};
	volatile uint32_t *w = rnd(2) ? &all->words[rnd(4)] : (uint32_t *)at(), *x = &all->words[4 + rnd(4)];
	void *fourth = op == FUTEX_WAIT ? (void *)&little : op == FUTEX_REQUEUE || op == FUTEX_CMP_REQUEUE || op == FUTEX_WAKE_OP ? (void *)2 : NULL;
	if (op == FUTEX_LOCK_PI || op == FUTEX_WAIT_BITSET) {
		clock_gettime(op == FUTEX_LOCK_PI ? CLOCK_REALTIME : CLOCK_MONOTONIC, &little);
		fourth = &little;
	}
	syscall(SYS_futex, w, op | (rnd(2) ? 0 : FUTEX_PRIVATE_FLAG), 0, fourth, x, op == FUTEX_WAIT_BITSET ? -1 : 0);
}
static void t_ipc(void)
{
	struct { long type; char text[64]; } m = {1 + rnd(3), ""};
	struct sembuf sb[2] = {{rnd(3), (int)rnd(3) - 1, IPC_NOWAIT | (rnd(2) ? SEM_UNDO : 0)}, {rnd(3), 1, IPC_NOWAIT}};
	struct timespec little = {0, 1000000};
	int q = msgget(200 + rnd(2), IPC_CREAT | 0666), s = semget(300 + rnd(2), 3, IPC_CREAT | 0666);
	switch (rnd(9)) {
	case 0: msgsnd(q, &m, rnd(64), IPC_NOWAIT); break;
	case 1: msgrcv(q, &m, 64, rnd(3), IPC_NOWAIT); break;
	case 2: msgctl(q, IPC_STAT, (void *)buf); break;
	case 3: if (!rnd(5)) msgctl(q, IPC_RMID, NULL); break;
	case 4: semop(s, sb, 1 + rnd(2)); break;
	case 5: sb[0].sem_flg &= ~IPC_NOWAIT; semtimedop(s, sb, 1, &little); break;
	case 6: semctl(s, rnd(3), rnd(2) ? SETVAL : GETNCNT, 0); break;
	case 7: if (!rnd(5)) semctl(s, 0, IPC_RMID); break;
	case 8: semctl(s, 0, IPC_STAT, buf); break;
	}
}
static void t_queues(void)
{
	struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	const char *n = rnd(2) ? "/q" : "/r";
	switch (rnd(6)) {
	case 0: keep(mq_open(n, O_RDWR | O_CREAT | O_NONBLOCK, 0666, NULL)); break;
	case 1: mq_unlink(n); break;
	case 2: mq_send(fd(), buf, rnd(100), rnd(4)); break;
	case 3: mq_receive(fd(), buf, sizeof buf, NULL); break;
	case 4: syscall(SYS_mq_notify, fd(), rnd(2) ? &e : NULL); break;
	case 5: syscall(SYS_mq_getsetattr, fd(), NULL, buf); break;
	}
}

typedef void op(void);
static op *const files[] = {o_open, o_open, o_tmpfile, o_dup, o_read, o_write, o_seek, o_size, o_stat, o_lock, o_fcntl, o_names, o_names, o_attrs, o_dirs, o_copy, o_watch, NULL};
static op *const names[] = {n_open, n_open, n_change, n_change, n_look, n_mount, n_run, o_read, o_write, o_dup, o_watch, o_names, o_stat, o_dirs, m_map, m_touch, m_calls, p_proc, p_wait, NULL};
static op *const memory[] = {m_map, m_map, m_unmap, m_remap, m_advise, m_look, m_touch, m_touch, m_calls, m_other, m_shm, o_open, o_tmpfile, o_size, o_size, p_fork, p_long, NULL};
static op *const processes[] = {p_fork, p_long, p_thread, p_exec, p_wait, p_wait, p_kill, p_kill, p_ids, p_sched, p_limits, p_ptrace, p_pidfd, p_spaces, p_proc, p_proc, p_tell, p_groups, NULL};
static op *const sockets[] = {s_make, s_make, s_names, s_names, s_message, s_message, s_options, s_poll, s_poll, s_pty, o_dup, o_read, o_write, o_fcntl, p_fork, NULL};
static op *const times_[] = {t_timers, t_signals, t_futex, t_futex, t_ipc, t_queues, p_kill, p_fork, p_thread, o_read, NULL};
static const struct { const char *name; op *const *ops; } areas[] = {{"files", files}, {"names", names}, {"memory", memory}, {"processes", processes}, {"sockets", sockets}, {"times", times_}};
enum { AREAS = sizeof areas / sizeof *areas };
static int chosen[AREAS], choices;

static void work(int n, int only)
{
	for (int i = 0; n < 0 || i < n; i++) {
		if (now_ms() > end)
			return;
		op *const *ops = areas[only >= 0 ? only : chosen[rnd(choices)]].ops;
		int count = 0;
		while (ops[count])
			count++;
		ops[rnd(count)]();
		__sync_fetch_and_add(&all->done, 1);
	}
}

static void wild(int s)
{
	if (back)
		siglongjmp(*back, 1);
	signal(s, SIG_DFL);
}
static void nothing(int s) { (void)s; }

static void *thread(void *seed)
{
	state = (uintptr_t)seed * 2654435761u + 88172645463325252u;
	know(gettid());
	work(-1, -1);
	return NULL;
}

// share opens and maps what the processes of a round have in common.
static void share(void)
{
	for (int i = 0; i < 60; i++) {
		o_tmpfile();
		o_open();
		if (rnd(2))
			s_make();
		o_size();
		s_poll();
		m_map();
	}
}

// process runs threads and wakes them from calls that wait.
static void process(uintptr_t seed)
{
	pthread_t t[THREADS];
	know(getpid());
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&t[i], NULL, thread, (void *)(seed * 100 + i + 1)))
			_exit(1);
	while (now_ms() < end) {
		usleep(20000);
		for (int i = 0; i < THREADS; i++)
			pthread_kill(t[i], SIGUSR2);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	struct utsname u;
	if (argc < 3 || uname(&u) || !strstr(u.release, "gosentry"))
		return 0;
	all = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	end = now_ms() + atoi(argv[2]);
	state = atoi(argv[1]) + 88172645463325252u;
	for (int a = 0; a < AREAS; a++)
		for (int i = argc > 3 ? 3 : argc - 1; i < argc; i++)
			if (argc == 3 || !strcmp(argv[i], areas[a].name))
				chosen[choices++] = a;
	if (!choices || prctl(PR_SET_CHILD_SUBREAPER, 1))
		return 2;
	mkdir("storm", 0777);
	if (chdir("storm") || !getcwd(home, sizeof home))
		return 3;
	struct rlimit r = {1 << 20, 1 << 20};
	setrlimit(RLIMIT_FSIZE, &r);
	for (int s = 1; s < 32; s++)
		signal(s, s == SIGSEGV || s == SIGBUS ? wild : s == SIGCHLD ? SIG_DFL : nothing);
	signal(40, nothing);
	area = mmap(NULL, (AREA + 16) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (uintptr_t round = 0; now_ms() < end; round++) {
		share();
		pid_t p[PROCESSES];
		for (int i = 0; i < PROCESSES; i++)
			if ((p[i] = fork()) == 0) {
				setpgid(0, 0);
				process(atoi(argv[1]) * 1000 + round * 10 + i);
			}
		// Who has ended early, by a call of another or of its own, is made anew.
		while (now_ms() < end && waitpid(p[rnd(PROCESSES)], NULL, WNOHANG) == 0) {
			usleep(20000);
			kill(-1, SIGCONT); // some stop themselves
		}
		for (int i = 0; i < PROCESSES; i++)
			kill(p[i], SIGKILL);
	}
	for (int tries = 0; tries < 200; tries++) {
		kill(-1, SIGKILL);
		while (waitpid(-1, NULL, WNOHANG | __WALL) > 0)
			;
		if (waitpid(-1, NULL, WNOHANG | __WALL) < 0)
			break;
		usleep(20000);
	}
	printf("storm: %s\n", all->done > 100 ? "much was done" : "little was done");
	fprintf(stderr, "%ld things\n", all->done);
	return 0;
}
