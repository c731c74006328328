package vfs_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

const shm = "/dev/shm"

// needShm skips without a tmpfs of the host to compare with.
func needShm(t *testing.T) {
	var sf unix.Statfs_t
	if err := unix.Statfs(shm, &sf); err != nil || sf.Type != 0x01021994 {
		t.Skip("no tmpfs on /dev/shm")
	}
}

// plot is an empty directory in both worlds.
type plot struct {
	host *hostWorld
	ours *vfsWorld
	top  string
	done func()
}

// newPlot makes the directory 1/2/3/4 for c, who is or can become its owner on the host.
func newPlot(t *testing.T, mem *mm.MemoryFile, c *caller) *plot {
	tr := treeOn(t, mem)
	top, err := os.MkdirTemp(shm, "vfs")
	if err == nil {
		err = os.Chmod(top, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	uid, gid := int(c.creds.FSUID), int(c.creds.FSGID)
	name := ""
	for _, n := range []string{"1", "/2", "/3", "/4"} {
		name += n
		tr.make(name + "/")
		tr.must(vfs.ChangeOwner(root, tr.path(name), uint32(uid), uint32(gid)))
		if err := os.Mkdir(top+"/"+name, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Lchown(top+"/"+name, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := unix.Open(top+"/"+name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := &plot{top: top}
	p.host = &hostWorld{dir: fd, fds: map[int]int{}}
	p.ours = &vfsWorld{tr: tr, c: c, a: tr.at(name), files: map[int]*vfs.File{}}
	for _, l := range links {
		tr.must(unix.Symlinkat(l.target, fd, l.name))
		tr.must(vfs.SymlinkAt(root, l.target, p.ours.a, l.name))
	}
	p.done = func() {
		for slot := range 3 {
			p.host.close(slot)
			p.ours.close(slot)
		}
		_ = unix.Close(fd)
		_ = os.RemoveAll(top)
	}
	return p
}

// compare does drawn calls in both worlds.
func (p *plot) compare(rt *rapid.T, calls int, log []string) {
	allocates := rapid.Bool().Draw(rt, "allocates")
	for range calls {
		call, got := step(rt, [2]world{p.host, p.ours}, allocates)
		log = append(log, call+": "+got[0])
		if got[0] != got[1] {
			rt.Fatalf("%s\nours: %s", strings.Join(log, "\n"), got[1])
		}
	}
}

// TestHostAgrees does the same calls on the host's tmpfs and on ours.
func TestHostAgrees(t *testing.T) {
	needShm(t)
	defer unix.Umask(unix.Umask(0))
	mem := memory(t)
	me := myself(t)
	rapid.Check(t, func(rt *rapid.T) {
		p := newPlot(t, mem, me)
		defer p.done()
		p.compare(rt, 60, nil)
	})
}

// TestHostAgreesUnprivileged does so as an ordinary user among files of others.
func TestHostAgreesUnprivileged(t *testing.T) {
	needShm(t)
	if os.Geteuid() != 0 {
		t.Skip("needs root to become others")
	}
	for _, name := range []string{"fifos", "hardlinks", "regular", "symlinks"} {
		want := "0"
		if name == "hardlinks" {
			want = "1"
		}
		b, err := os.ReadFile("/proc/sys/fs/protected_" + name)
		if err != nil || strings.TrimSpace(string(b)) != want {
			t.Skipf("the host's protected_%s is not %s", name, want)
		}
	}
	defer unix.Umask(unix.Umask(0))
	mem := memory(t)
	runtime.LockOSThread() // with other ids, and never unlocked: the thread ends with the test
	rapid.Check(t, func(rt *rapid.T) {
		user := myself(t)
		user.creds.FSUID, user.creds.FSGID = 1000, 1000
		user.creds.Groups = nil
		const lost = 1<<unix.CAP_CHOWN | 1<<unix.CAP_MKNOD | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH |
			1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID | 1<<unix.CAP_LINUX_IMMUTABLE | 1<<unix.CAP_MAC_OVERRIDE
		user.creds.Effective &^= cred.CapSet(lost)
		p := newPlot(t, mem, user)
		defer p.done()
		log := p.plant(rt)
		p.become(t, 1000)
		defer p.become(t, 0)
		p.compare(rt, 40, log)
	})
}

// become changes the ids that the host checks files with, for this thread only. The
// supplementary groups are root's own, which no file has.
func (p *plot) become(t *testing.T, id int) {
	for _, call := range []uintptr{unix.SYS_SETFSGID, unix.SYS_SETFSUID} {
		if _, _, e := unix.RawSyscall(call, uintptr(id), 0, 0); e != 0 {
			t.Fatal(e)
		}
	}
}

// plant makes files of several owners in both worlds.
func (p *plot) plant(rt *rapid.T) (log []string) {
	dir := p.host.dir
	tr := p.ours.tr
	for range rapid.IntRange(1, 8).Draw(rt, "files") {
		name := plain(drawName(rt, "plant"))
		kind := rapid.SampledFrom([]string{"dir", "dir", "file", "link", "fifo"}).Draw(rt, "kind")
		owner := rapid.SampledFrom([]int{0, 1000, 2000}).Draw(rt, "owner")
		group := rapid.SampledFrom([]int{2000, 1000, 3000}).Draw(rt, "group")
		mode := rapid.SampledFrom(modes).Draw(rt, "mode")
		a := tr.at("1/2/3/4")
		a.NoFollow = true
		var err1, err2 error
		switch kind {
		case "dir":
			err1 = unix.Mkdirat(dir, name, 0o755)
			err2 = vfs.MkdirAt(root, a, name, 0o755, 0)
		case "file":
			err1 = unix.Mknodat(dir, name, unix.S_IFREG|0o644, 0)
			err2 = vfs.MknodAt(root, a, name, unix.S_IFREG|0o644, 0, 0, 0)
		case "fifo":
			err1 = unix.Mknodat(dir, name, unix.S_IFIFO|0o644, 0)
			err2 = vfs.MknodAt(root, a, name, unix.S_IFIFO|0o644, 0, 0, 0)
		case "link":
			err1 = unix.Symlinkat("a", dir, name)
			err2 = vfs.SymlinkAt(root, "a", a, name)
		}
		log = append(log, fmt.Sprintf("plant %s %q %d:%d %#o: %v", kind, name, owner, group, mode, err1))
		if errno(err1) != errno(err2) {
			rt.Fatalf("%s\nours: %v", strings.Join(log, "\n"), err2)
		}
		if err1 != nil {
			continue
		}
		path, err := vfs.Walk(root, a, name)
		tr.must(err)
		tr.must(unix.Fchownat(dir, name, owner, group, unix.AT_SYMLINK_NOFOLLOW))
		tr.must(vfs.ChangeOwner(root, path, uint32(owner), uint32(group)))
		if kind != "link" {
			tr.must(unix.Fchmodat(dir, name, mode, 0))
			tr.must(vfs.ChangeMode(root, path, mode))
		}
	}
	return log
}
