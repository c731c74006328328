// System V shared memory: shmget, shmat, shmdt, shmctl.
#include "guest.h"
#include <sys/ipc.h>
#include <sys/resource.h>
#include <sys/shm.h>

static int fresh(size_t size)
{
	return shmget(IPC_PRIVATE, size, IPC_CREAT | 0600);
}

static long attached(int id)
{
	struct shmid_ds ds;
	return shmctl(id, IPC_STAT, &ds) ? -1 : (long)ds.shm_nattch;
}

static void creation(void)
{
	key_t key = 0x53480000 + (getpid() & 0xffff);
	say("none", "%s", ret(shmget(key, 1, 0600)));
	int id = shmget(key, 5000, IPC_CREAT | IPC_EXCL | 0640);
	say("made", "%s", okret(id));
	say("again", "%s", yes(shmget(key, 5000, IPC_CREAT | 0600) == id));
	say("larger", "%s", ret(shmget(key, 5001, 0)));
	say("any size", "%s", yes(shmget(key, 0, 0) == id));
	say("exclusive", "%s", ret(shmget(key, 1, IPC_CREAT | IPC_EXCL)));
	say("empty", "%s", ret(shmget(IPC_PRIVATE, 0, IPC_CREAT | 0600)));
	say("huge pages", "%s", ret(shmget(IPC_PRIVATE, 2 << 20, IPC_CREAT | SHM_HUGETLB | 0600)));
	say("whole address space", "%s", ret(shmget(IPC_PRIVATE, -1, IPC_CREAT | 0600)));
	struct shmid_ds ds;
	say("stat", "%s", ret(shmctl(id, IPC_STAT, &ds)));
	say("size", "%zu", ds.shm_segsz);
	say("mode", "%o", ds.shm_perm.mode);
	say("creator", "%s", yes(ds.shm_cpid == getpid() && ds.shm_lpid == 0));
	say("times", "%s", yes(!ds.shm_atime && !ds.shm_dtime && ds.shm_ctime));
	say("lock", "%s", ret(shmctl(id, SHM_LOCK, NULL)));
	shmctl(id, IPC_STAT, &ds);
	say("locked", "%o", ds.shm_perm.mode);
	say("unlock", "%s", ret(shmctl(id, SHM_UNLOCK, NULL)));
	ds.shm_perm.mode = 0400;
	say("change", "%s", ret(shmctl(id, IPC_SET, &ds)));
	shmctl(id, IPC_STAT, &ds);
	say("new mode", "%o", ds.shm_perm.mode);
	say("remove", "%s", ret(shmctl(id, IPC_RMID, NULL)));
	say("gone", "%s", ret(shmctl(id, IPC_STAT, &ds)));
	say("no attach", "%s", okret((long)shmat(id, NULL, 0)));
	say("bad command", "%s", ret(shmctl(id, 99, NULL)));
	say("bad id", "%s", ret(shmctl(-1, IPC_RMID, NULL)));
}

static void attaching(void)
{
	int id = fresh(3 * PAGE + 5);
	char *a = shmat(id, NULL, 0), *b = shmat(id, NULL, SHM_RDONLY);
	say("twice", "%ld", attached(id));
	strcpy(a + PAGE, "shared");
	say("seen", "%s", b + PAGE);
	catch_faults();
	say("read only", "%s", FAULT(b, b[0] = 1));
	say("no right to write", "%s", ret(mprotect(b, PAGE, PROT_READ | PROT_WRITE)));
	say("the last page", "%s", FAULT(a, a[4 * PAGE - 1] = 1));
	struct shmid_ds ds;
	shmctl(id, IPC_STAT, &ds);
	say("attach time", "%s", yes(ds.shm_atime && !ds.shm_dtime && ds.shm_lpid == getpid()));
	say("detach", "%s", ret(shmdt(b)));
	say("once", "%ld", attached(id));
	shmctl(id, IPC_STAT, &ds);
	say("detach time", "%s", yes(ds.shm_dtime));
	say("detach again", "%s", ret(shmdt(b)));
	say("inside", "%s", ret(shmdt(a + PAGE)));
	say("odd", "%s", ret(shmdt(a + 1)));

	char *hole = mmap(NULL, 16 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	say("in the way", "%s", okret((long)shmat(id, hole, 0)));
	munmap(hole, 16 * PAGE);
	say("unaligned", "%s", okret((long)shmat(id, hole + 5, 0)));
	say("at a place", "%s", yes(shmat(id, hole + 5, SHM_RND) == hole));
	strcpy(hole, "there");
	say("same memory", "%s", a);
	int other = fresh(PAGE);
	say("over it", "%s", okret((long)shmat(other, hole, 0)));
	say("over it with force", "%s", yes(shmat(other, hole, SHM_REMAP) == hole));
	say("hidden", "%d", hole[0]);
	say("force nowhere", "%s", okret((long)shmat(other, NULL, SHM_REMAP)));
	say("counts", "%ld %ld", attached(id), attached(other));
	say("detach the hidden rest", "%s", ret(shmdt(hole)));
	say("counts then", "%ld %ld", attached(id), attached(other));
	shmctl(other, IPC_RMID, NULL);

	// Attached at least once, a removed segment stays.
	say("remove", "%s", ret(shmctl(id, IPC_RMID, NULL)));
	say("marked", "%s %o", ret(shmctl(id, IPC_STAT, &ds)), ds.shm_perm.mode);
	char *c = shmat(id, NULL, 0);
	say("attach still", "%s", c == (void *)-1 ? errname(errno) : c + PAGE);
	shmdt(c);
	say("last detach", "%s", ret(shmdt(a)));
	say("gone", "%s", ret(shmctl(id, IPC_STAT, &ds)));
}

static void processes(void)
{
	int id = fresh(8 * PAGE);
	char *a = shmat(id, NULL, 0);
	int up[2], down[2];
	if (pipe(up) || pipe(down))
		return;
	char byte = 0;
	pid_t pid = fork();
	if (pid == 0) {
		strcpy(a, "from the child");
		if (write(up[1], &byte, 1) != 1 || read(down[0], &byte, 1) != 1)
			_exit(1);
		_exit(0);
	}
	if (read(up[0], &byte, 1) != 1)
		return;
	say("inherited", "%ld %s", attached(id), a);
	if (write(down[1], &byte, 1) != 1)
		return;
	waitpid(pid, NULL, 0);
	struct shmid_ds ds;
	shmctl(id, IPC_STAT, &ds);
	say("after its end", "%ld", (long)ds.shm_nattch);
	say("last by the child", "%s", yes(ds.shm_lpid == pid));
	pid = fork();
	if (pid == 0) {
		execl("/bin/sleep", "sleep", "100", NULL);
		_exit(1);
	}
	runs(pid, "sleep");
	say("exec detaches", "%ld", attached(id));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	say("hole", "%s", ret(munmap(a + 2 * PAGE, PAGE)));
	say("two pieces", "%ld", attached(id));
	say("end cut off", "%s", ret(munmap(a + 7 * PAGE, PAGE)));
	say("still two", "%ld", attached(id));
	char *to = mmap(NULL, 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *moved = mremap(a, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	say("moved", "%s %ld", yes(moved == to), attached(id));
	say("detach the rest", "%s", ret(shmdt(a)));
	say("the moved one", "%ld", attached(id));
	say("and that", "%s %ld", ret(shmdt(moved)), attached(id));
	shmctl(id, IPC_RMID, NULL);
}

static void names(void)
{
	key_t key = 0x12ab0000 + (getpid() & 0xffff);
	int id = fresh(PAGE), keyed = shmget(key, PAGE, IPC_CREAT | 0600);
	char *a = shmat(id, NULL, SHM_EXEC);
	(void)shmat(keyed, NULL, 0);
	a[0] = 1;
	char line[128];
	const char *maps = get("/proc/self/maps");
	snprintf(line, sizeof line, "rwxs 00000000 00:01 %d ", id);
	say("private", "%s", yes(strstr(maps, line) != NULL));
	say("named", "%s", yes(strstr(maps, "/SYSV00000000 (deleted)\n") != NULL));
	snprintf(line, sizeof line, "/SYSV%08x (deleted)\n", key);
	say("named by key", "%s", yes(strstr(maps, line) != NULL));
	snprintf(line, sizeof line, "         0 %10d   600                  4096 %5d %5d      1 ", id, getpid(), getpid());
	say("in /proc", "%s", yes(has_line("/proc/sysvipc/shm", line)));
	shmctl(id, IPC_RMID, NULL);
	shmctl(keyed, IPC_RMID, NULL);
	struct shminfo i;
	say("info", "%s", okret(shmctl(0, IPC_INFO, (void *)&i)));
	say("limits", "%lx %lu %lu %lu %lx", i.shmmax, i.shmmin, i.shmmni, i.shmseg, i.shmall);
	struct shm_info used;
	say("used", "%s", okret(shmctl(0, SHM_INFO, (void *)&used)));
	say("at least ours", "%s", yes(used.used_ids >= 2 && used.shm_tot >= 2));
	say("knobs", "%s", get("/proc/sys/kernel/shmmax"));
}

static void rights(void)
{
	int id = shmget(IPC_PRIVATE, PAGE, 0644), closed = fresh(PAGE);
	if (fork() == 0) {
		struct rlimit none = {0, 0};
		setrlimit(RLIMIT_MEMLOCK, &none);
		if (setgid(12345) || setuid(12345))
			_exit(1);
		struct shmid_ds ds = {0};
		say("read", "%s", okret((long)shmat(id, NULL, SHM_RDONLY)));
		say("write", "%s", okret((long)shmat(id, NULL, 0)));
		say("execute", "%s", okret((long)shmat(id, NULL, SHM_RDONLY | SHM_EXEC)));
		say("closed", "%s", okret((long)shmat(closed, NULL, SHM_RDONLY)));
		say("stat", "%s", ret(shmctl(closed, IPC_STAT, &ds)));
		say("change", "%s", ret(shmctl(id, IPC_SET, &ds)));
		say("remove", "%s", ret(shmctl(id, IPC_RMID, NULL)));
		say("lock", "%s", ret(shmctl(id, SHM_LOCK, NULL)));
		int own = fresh(PAGE);
		say("lock our own", "%s", ret(shmctl(own, SHM_LOCK, NULL)));
		shmctl(own, IPC_RMID, NULL);
		_exit(0);
	}
	wait(NULL);
	shmctl(id, IPC_RMID, NULL);
	shmctl(closed, IPC_RMID, NULL);
}

// What is done to parts of a segment that is attached.
static void parts(void)
{
	int id = fresh(8 * PAGE);
	char *room = mmap(NULL, 16 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *a = shmat(id, room, SHM_REMAP);
	say("sync of a part", "%s", ret(msync(a + PAGE, PAGE, MS_SYNC)));
	say("sync of all", "%s", ret(msync(a, 8 * PAGE, MS_SYNC | MS_INVALIDATE)));
	say("synced", "%ld", attached(id));
	a[2 * PAGE] = 1;
	say("punch", "%s", ret(madvise(a + PAGE, 2 * PAGE, MADV_REMOVE)));
	say("punched", "%ld, %d", attached(id), a[2 * PAGE]);
	say("over itself", "%s", yes(shmat(id, a, SHM_REMAP) == a));
	say("counts", "%ld", attached(id));
	say("over itself, later", "%s", yes(shmat(id, a + 4 * PAGE, SHM_REMAP) == a + 4 * PAGE));
	say("counts", "%ld", attached(id));
	say("unmap in the middle", "%s", ret(munmap(a + PAGE, PAGE)));
	say("counts", "%ld", attached(id));
	say("sync of a rest", "%s", ret(msync(a + 2 * PAGE, PAGE, MS_SYNC)));
	pid_t pid = fork();
	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
	say("after a child", "%ld", attached(id));
	munmap(a, 12 * PAGE);
	say("none", "%ld", attached(id));
	a = shmat(id, NULL, 0);
	say("remove", "%s", ret(shmctl(id, IPC_RMID, NULL)));
	munmap(a, PAGE);
	say("sync still", "%s", ret(msync(a + PAGE, 7 * PAGE, MS_SYNC)));
	say("left", "%ld", attached(id));
}

static const struct section sections[] = {
	{"creation", creation}, {"attaching", attaching}, {"parts", parts}, {"processes", processes}, {"names", names}, {"rights", rights},
};
GUEST(sections)
