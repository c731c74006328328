package proc

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform"

	"golang.org/x/sys/unix"
)

func TestRootListsProcesses(t *testing.T) {
	w := newWorld(t)
	var ids, names []string
	for _, e := range w.list("/proc") {
		if _, ok := parseID(e.Name); ok {
			ids = append(ids, e.Name)
			if e.Type != unix.DT_DIR {
				t.Errorf("%s has type %d", e.Name, e.Type)
			}
		} else {
			names = append(names, e.Name)
		}
	}
	if want := []string{"2", "77", "300"}; !slices.Equal(ids, want) {
		t.Errorf("processes %v, want %v", ids, want)
	}
	for _, name := range []string{"self", "thread-self", "meminfo", "cpuinfo", "stat", "uptime", "loadavg", "version", "filesystems", "mounts", "sys"} {
		if !slices.Contains(names, name) {
			t.Errorf("no %s", name)
		}
	}
}

func TestNumbers(t *testing.T) {
	for name, want := range map[string]int32{
		"0": 0, "7": 7, "2147483647": 1<<31 - 1, "": -1, "07": -1, "00": -1, "+7": -1, "-7": -1, "7 ": -1,
		"2147483648": -1, "99999999999": -1, "x": -1, "0x7": -1,
	} {
		got, ok := parseID(name)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %d, %v", name, got, ok)
		}
	}
}

func TestSelf(t *testing.T) {
	w := newWorld(t)
	for name, want := range map[string]string{"/proc/self": "77", "/proc/thread-self": "77/task/78"} {
		if got, err := w.readlink(w.user, name); got != want || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := w.readlink(&caller{creds: w.root.creds}, "/proc/self"); err != unix.ENOENT {
		t.Errorf("a caller that is not visible: %v", err)
	}
	if s, err := w.read(w.user, "/proc/self/comm"); s != "task\n" || err != nil {
		t.Errorf("comm %q, %v", s, err)
	}
}

func TestSocketTables(t *testing.T) {
	w := newWorld(t)
	w.kernel.tasks[77].sockets = []byte("a line\n")
	heading, _, _ := strings.Cut(hostFile(t, "net/unix"), "\n")
	for _, name := range []string{"/proc/net/unix", "/proc/77/net/unix"} {
		if got, err := w.read(w.user, name); got != heading+"\na line\n" || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestThreads(t *testing.T) {
	w := newWorld(t)
	var names []string
	for _, e := range w.list("/proc/77/task") {
		names = append(names, e.Name)
	}
	if want := []string{".", "..", "77", "78"}; !slices.Equal(names, want) {
		t.Errorf("threads %v", names)
	}
	w.kernel.tasks[78].status.Name = "second"
	if s := w.mustRead("/proc/77/task/78/comm"); s != "second\n" {
		t.Errorf("thread's name %q", s)
	}
	// A thread that is no leader can be looked up, but is not listed.
	if s := w.mustRead("/proc/78/comm"); s != "second\n" {
		t.Errorf("by its id alone %q", s)
	}
	if _, err := w.read(w.root, "/proc/77/task/300/comm"); err != unix.ENOENT {
		t.Errorf("a thread of another process: %v", err)
	}
	if _, err := w.read(w.root, "/proc/77/task/77/task"); err != unix.ENOENT {
		t.Errorf("task within a thread: %v", err)
	}
}

func TestProcessesComeAndGo(t *testing.T) {
	w := newWorld(t)
	if _, err := w.read(w.root, "/proc/5/comm"); err != unix.ENOENT {
		t.Fatalf("before: %v", err)
	}
	first := newFakeTask(5, 0)
	w.add(first)
	if s := w.mustRead("/proc/5/comm"); s != "task\n" {
		t.Errorf("came: %q", s)
	}
	f, err := w.open(w.root, "/proc/5/status", unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer f.DecRef()
	dir, err := w.open(w.root, "/proc/5", unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.DecRef()
	first.gone = true
	delete(w.kernel.tasks, 5)
	if _, err := f.Read(w.root, mm.BytesBuffer(make([]byte, 10))); err != unix.ESRCH {
		t.Errorf("an open file of a process that is gone: %v", err)
	}
	if err := dir.ReadDir(w.root, func(vfs.Dirent) bool { return true }); err != unix.ENOENT {
		t.Errorf("an open directory of a process that is gone: %v", err)
	}
	if _, err := w.read(w.root, "/proc/5/comm"); err != unix.ENOENT {
		t.Errorf("gone: %v", err)
	}
	second := newFakeTask(5, 0)
	second.status.Name = "reused"
	w.add(second)
	if s := w.mustRead("/proc/5/comm"); s != "reused\n" {
		t.Errorf("a new process with the number: %q", s)
	}
}

func TestInodeNumbersAgree(t *testing.T) {
	w := newWorld(t)
	w.kernel.tasks[77].namespaces = []Namespace{{Name: "mnt", Kind: "mnt", ID: 4026531840}}
	file, err := w.open(w.root, "/file", unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	w.kernel.tasks[77].files = map[int32]*vfs.File{3: file}
	seen := make(map[uint64]string)
	for _, dir := range []string{"/proc", "/proc/77", "/proc/77/task", "/proc/77/task/78", "/proc/77/fd", "/proc/77/fdinfo", "/proc/77/ns", "/proc/sys/kernel"} {
		for _, e := range w.list(dir) {
			if e.Name == "." || e.Name == ".." {
				continue
			}
			a := w.args()
			a.NoFollow = true
			name := dir + "/" + e.Name
			p, err := vfs.Walk(w.root, a, name)
			if err != nil {
				t.Errorf("%s is listed: %v", name, err)
				continue
			}
			attr, _ := p.Inode().Attr()
			if attr.Ino != e.Ino || uint8(attr.Mode>>12) != e.Type {
				t.Errorf("%s: inode %d type %d, listed as %d, %d", name, attr.Ino, attr.Mode>>12, e.Ino, e.Type)
			}
			if other := seen[e.Ino]; other != "" {
				t.Errorf("%s and %s have one inode number", name, other)
			}
			seen[e.Ino] = name
		}
	}
}

func TestPermissions(t *testing.T) {
	w := newWorld(t)
	w.add(newFakeTask(9, 2000))
	for _, name := range []string{"environ", "maps", "smaps", "auxv", "mem", "io", "personality"} {
		if _, err := w.read(w.user, "/proc/9/"+name); err != unix.EACCES {
			t.Errorf("another user's %s: %v", name, err)
		}
	}
	for _, name := range []string{"stat", "status", "statm", "cmdline", "comm", "limits", "mounts", "cgroup"} {
		if _, err := w.read(w.user, "/proc/9/"+name); err != nil {
			t.Errorf("another user's %s: %v", name, err)
		}
	}
	for _, name := range []string{"cwd", "root"} {
		if _, err := w.readlink(w.user, "/proc/9/"+name); err != unix.EACCES {
			t.Errorf("another user's %s: %v", name, err)
		}
		if got, err := w.readlink(w.user, "/proc/77/"+name); got != "/" || err != nil {
			t.Errorf("own %s: %q, %v", name, got, err)
		}
	}
	if _, err := w.open(w.user, "/proc/9/fd", unix.O_RDONLY); err != unix.EACCES {
		t.Errorf("another user's descriptors: %v", err)
	}
	w.kernel.tasks[77].status.Dumpable = false
	if attr := statOf(t, w, "/proc/77/stat"); attr.UID != 0 {
		t.Errorf("a process not to be looked into belongs to %d", attr.UID)
	}
	if _, err := w.open(w.user, "/proc/77/fd", unix.O_RDONLY); err != nil {
		t.Errorf("own descriptors all the same: %v", err)
	}
	if attr := statOf(t, w, "/proc/9/stat"); attr.UID != 2000 || attr.Mode != unix.S_IFREG|0o444 {
		t.Errorf("owner %d, mode %o", attr.UID, attr.Mode)
	}
}

func statOf(t *testing.T, w *world, name string) vfs.Attr {
	t.Helper()
	p, err := vfs.Walk(w.root, w.args(), name)
	if err != nil {
		t.Fatal(err)
	}
	attr, err := vfs.Stat(w.root, p)
	if err != nil {
		t.Fatal(err)
	}
	return attr
}

func TestDescriptors(t *testing.T) {
	w := newWorld(t)
	ro, err := w.open(w.root, "/file", unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	wo, err := w.open(w.root, "/proc/77/comm", unix.O_WRONLY|unix.O_APPEND)
	if err != nil {
		t.Fatal(err)
	}
	task := w.kernel.tasks[77]
	task.files = map[int32]*vfs.File{3: ro, 5: wo}
	var names []string
	for _, e := range w.list("/proc/77/fd") {
		names = append(names, e.Name)
	}
	if want := []string{".", "..", "3", "5"}; !slices.Equal(names, want) {
		t.Errorf("descriptors %v", names)
	}
	for fd, want := range map[string]string{"3": "/file", "5": "/proc/77/comm"} {
		if got, err := w.readlink(w.root, "/proc/77/fd/"+fd); got != want || err != nil {
			t.Errorf("descriptor %s: %q, %v", fd, got, err)
		}
	}
	a := w.args()
	a.NoFollow = true
	for fd, mode := range map[string]uint32{"3": 0o500, "5": 0o300} {
		p, err := vfs.Walk(w.root, a, "/proc/77/fd/"+fd)
		if err != nil {
			t.Fatal(err)
		}
		if attr, _ := p.Inode().Attr(); attr.Mode != unix.S_IFLNK|mode {
			t.Errorf("descriptor %s: mode %o", fd, attr.Mode)
		}
	}
	if s := w.mustRead("/proc/77/fd/3"); s != "content\n" {
		t.Errorf("opened again: %q", s)
	}
	if _, err := w.readlink(w.root, "/proc/77/fd/4"); err != unix.ENOENT {
		t.Errorf("a closed one: %v", err)
	}
	// The number comes to mean another file.
	task.files[3] = wo
	if got, _ := w.readlink(w.root, "/proc/77/fd/3"); got != "/proc/77/comm" {
		t.Errorf("after the number was used again: %q", got)
	}
	info := w.mustRead("/proc/77/fdinfo/5")
	want := fmt.Sprintf("pos:\t0\nflags:\t0%o\nmnt_id:\t%d\n", wo.Flags()|unix.O_CLOEXEC, wo.Path().Mount.ID())
	if !strings.HasPrefix(info, want) || !strings.Contains(info, "\nino:\t") {
		t.Errorf("fdinfo %q, want %q", info, want)
	}
}

func TestNamespaceLinks(t *testing.T) {
	w := newWorld(t)
	bin, err := vfs.Walk(w.root, w.args(), "/bin")
	if err != nil {
		t.Fatal(err)
	}
	w.kernel.tasks[77].namespaces = []Namespace{
		{Name: "mnt", Kind: "mnt", ID: 4026531840},
		{Name: "pid_for_children", Kind: "pid", ID: 12, Open: func(vfs.Caller) (vfs.Path, error) { return bin, nil }},
	}
	for name, want := range map[string]string{"mnt": "mnt:[4026531840]", "pid_for_children": "pid:[12]"} {
		if got, err := w.readlink(w.user, "/proc/77/ns/"+name); got != want || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := vfs.Walk(w.user, w.args(), "/proc/77/ns/mnt"); err != unix.EACCES {
		t.Errorf("one that cannot be opened: %v", err)
	}
	if p, err := vfs.Walk(w.user, w.args(), "/proc/77/ns/pid_for_children"); p != bin || err != nil {
		t.Errorf("one that can: %v", err)
	}
}

func TestMemoryFiles(t *testing.T) {
	w := newWorld(t)
	m := newMemory(t)
	task := w.kernel.tasks[77]
	task.memory, task.auxv = m, []byte("auxv")
	page := mapped(t, m, 2*mm.PageSize, "prog\x00arg\x00A=1\x00B=2\x00")
	m.EditLayout(func(l *mm.Layout) {
		l.Args = mm.Range{Start: page, End: page + 9}
		l.Env = mm.Range{Start: page + 9, End: page + 17}
	})
	for name, want := range map[string]string{"cmdline": "prog\x00arg\x00", "environ": "A=1\x00B=2\x00", "auxv": "auxv"} {
		if got := w.mustRead("/proc/77/" + name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	m.CopyOut(page, []byte("a title over it all\x00"))
	if got := w.mustRead("/proc/77/cmdline"); got != "a title over it all\x00" {
		t.Errorf("title: %q", got)
	}
	m.CopyOut(page, []byte("short\x00xxxx"))
	if got := w.mustRead("/proc/77/cmdline"); got != "short\x00" {
		t.Errorf("short title: %q", got)
	}
	checkMem(t, w, m, page)
	task.memory = nil
	if got := w.mustRead("/proc/77/cmdline"); got != "" {
		t.Errorf("a zombie's arguments: %q", got)
	}
	if _, err := w.open(w.root, "/proc/77/mem", unix.O_RDONLY); err != unix.ESRCH {
		t.Errorf("a zombie's memory: %v", err)
	}
}

func checkMem(t *testing.T, w *world, m *mm.MemoryManager, page mm.Addr) {
	t.Helper()
	if err := m.MProtect(page, 2*mm.PageSize, platform.Read, false); err != nil {
		t.Fatal(err)
	}
	f, err := w.open(w.root, "/proc/77/mem", unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer f.DecRef()
	if n, err := f.PWrite(w.root, mm.BytesBuffer([]byte("poked")), int64(page)); n != 5 || err != nil {
		t.Errorf("write to a read-only page: %d, %v", n, err)
	}
	got := make([]byte, 3*mm.PageSize)
	if n, err := f.PRead(w.root, mm.BytesBuffer(got), int64(page)); n != 2*mm.PageSize || err != nil || string(got[:5]) != "poked" {
		t.Errorf("read up to the end of a mapping: %d, %v, %q", n, err, got[:5])
	}
	for _, bad := range []int64{0, 1 << 62} {
		if n, err := f.PRead(w.root, mm.BytesBuffer(got), bad); n != 0 || err != unix.EIO {
			t.Errorf("read at %#x: %d, %v", bad, n, err)
		}
	}
	if pos, err := f.Seek(w.root, -4096, unix.SEEK_SET); pos != -4096 || err != nil {
		t.Errorf("seek to the top: %d, %v", pos, err)
	}
	if _, err := f.Read(w.root, mm.BytesBuffer(got)); err != unix.EIO {
		t.Errorf("read at the top: %v", err)
	}
}

func TestNumberKnobs(t *testing.T) {
	const path = "/proc/sys/kernel/pid_max"
	w := newWorld(t)
	for _, c := range []struct {
		text string
		err  error
		want int64
	}{
		{"400\n", nil, 400}, {" 0x200", nil, 512}, {"0700 9\n", nil, 448},
		{"", nil, 448}, {"12\n", unix.EINVAL, 448}, {"many", unix.EINVAL, 448}, {"99999999999999999999", unix.EINVAL, 448},
	} {
		if err := w.write(w.root, path, c.text); err != c.err || w.kernel.pidMax != c.want {
			t.Errorf("%q: %v, %d", c.text, err, w.kernel.pidMax)
		}
	}
	if got := w.mustRead(path); got != "448\n" {
		t.Errorf("read %q", got)
	}
	if err := w.write(w.user, path, "500"); err != unix.EACCES {
		t.Errorf("a user: %v", err)
	}
}

func TestKnobs(t *testing.T) {
	w := newWorld(t)
	task := w.kernel.tasks[77]
	if err := w.write(w.user, "/proc/77/comm", "renamed\n"); err != nil || task.status.Name != "renamed" {
		t.Errorf("own name: %v, %q", err, task.status.Name)
	}
	if err := w.write(w.root, "/proc/77/comm", "other"); err != unix.EINVAL {
		t.Errorf("name of another process: %v", err)
	}
	for value, want := range map[string]error{"500\n": nil, " -1000 ": nil, "1001": unix.EINVAL, "x": unix.EINVAL} {
		if err := w.write(w.user, "/proc/77/oom_score_adj", value); err != want {
			t.Errorf("oom_score_adj %q: %v", value, err)
		}
	}
	w.write(w.user, "/proc/77/oom_score_adj", "1000")
	for name, want := range map[string]string{"oom_score_adj": "1000\n", "oom_adj": "15\n", "oom_score": "1333\n"} {
		if got := w.mustRead("/proc/77/" + name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if err := w.write(w.user, "/proc/77/oom_adj", "-17"); err != nil || task.status.OOMScoreAdj != -1000 {
		t.Errorf("oom_adj: %v, %d", err, task.status.OOMScoreAdj)
	}
	if err := w.write(w.user, "/proc/sys/kernel/hostname", "evil"); err != unix.EACCES {
		t.Errorf("host name by a user: %v", err)
	}
	if err := w.write(w.root, "/proc/sys/kernel/hostname", "new name\nrest"); err != nil || w.kernel.host != "new name" {
		t.Errorf("host name: %v, %q", err, w.kernel.host)
	}
	if got := w.mustRead("/proc/sys/kernel/hostname"); got != "new name\n" {
		t.Errorf("host name %q", got)
	}
	if err := w.write(w.root, "/proc/sys/vm/overcommit_memory", "2"); err != unix.EINVAL {
		t.Errorf("a fixed setting: %v", err)
	}
}

func TestMounts(t *testing.T) {
	w := newWorld(t)
	want := "none / rootfs rw,relatime 0 0\nmy\\040proc /proc proc rw,nosuid,nodev,relatime 0 0\n"
	if got := w.mustRead("/proc/77/mounts"); got != want {
		t.Errorf("mounts %q, want %q", got, want)
	}
	if got, err := w.read(w.user, "/proc/mounts"); got != want || err != nil {
		t.Errorf("mounts at the top %q, %v", got, err)
	}
	lines := strings.Split(w.mustRead("/proc/77/mountinfo"), "\n")
	root, proc := strings.Fields(lines[0]), strings.Fields(lines[1])
	if len(lines) != 3 || len(proc) != 10 || proc[1] != root[0] || proc[4] != "/proc" || proc[6] != "-" || proc[7] != "proc" {
		t.Errorf("mountinfo %q", lines)
	}
	bin, err := vfs.Walk(w.root, w.args(), "/bin")
	if err != nil {
		t.Fatal(err)
	}
	w.kernel.tasks[77].places.Root = bin
	if got := w.mustRead("/proc/77/mounts"); got != "" {
		t.Errorf("mounts out of reach: %q", got)
	}
}
