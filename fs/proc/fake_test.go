package proc

import (
	"bytes"
	"testing"

	"gosentry/fs/pseudo"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform"
	"gosentry/sentry/cred"
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

// fakeTask is a thread that the test makes up.
type fakeTask struct {
	status     Status
	gone       bool
	creds      *cred.Credentials
	limits     *limits.Set
	memory     *mm.MemoryManager
	auxv       []byte
	places     Places
	files      map[int32]*vfs.File
	threads    []int32
	namespaces []Namespace
	sockets    []byte
	adj        int32
}

func newFakeTask(id int32, uid cred.UID) *fakeTask {
	return &fakeTask{
		status:  Status{Name: "task", State: 'S', TID: id, TGID: id, Dumpable: true, Threads: 1},
		creds:   cred.New(uid, cred.GID(uid), nil, nil),
		limits:  limits.New(limits.Defaults(100)),
		threads: []int32{id},
	}
}

func (t *fakeTask) Exists() bool              { return !t.gone }
func (t *fakeTask) Status(bool) Status        { return t.status }
func (t *fakeTask) Creds() *cred.Credentials  { return t.creds }
func (t *fakeTask) Limits() *limits.Set       { return t.limits }
func (t *fakeTask) Memory() *mm.MemoryManager { return t.memory }
func (t *fakeTask) Places() Places            { return t.places }
func (t *fakeTask) Threads() []int32          { return t.threads }
func (t *fakeTask) Namespaces() []Namespace   { return t.namespaces }
func (t *fakeTask) Cgroup(vfs.Caller) string  { return "/" }
func (t *fakeTask) Sockets(string) []byte     { return t.sockets }
func (t *fakeTask) SetName(name string) error { t.status.Name = name; return nil }
func (t *fakeTask) SetCoreFilter(bits uint32) { t.status.CoreFilter = bits }
func (t *fakeTask) SetStopForks(on bool)      { t.status.StopForks = on }

func (t *fakeTask) TimeOffsets() (TimeOffsets, bool) { return TimeOffsets{}, true }

func (t *fakeTask) SetTimeOffsets(*cred.Credentials, []TimeOffset) error { return nil }

func (k *fakeKernel) CorePattern() string { return "core" }

func (k *fakeKernel) SetCorePattern(string) error { return nil }

func (k *fakeKernel) BootOffset(vfs.Caller) int64 { return 0 }

func (t *fakeTask) SetOOMScoreAdj(_ vfs.Caller, adj int32) error {
	t.status.OOMScoreAdj = adj
	return nil
}

func (t *fakeTask) Descriptors() []int32 {
	var list []int32
	for fd := int32(0); fd < 100; fd++ {
		if t.files[fd] != nil {
			list = append(list, fd)
		}
	}
	return list
}

func (t *fakeTask) Descriptor(fd int32) (*vfs.File, bool) {
	f := t.files[fd]
	if f != nil {
		f.IncRef()
	}
	return f, fd == 5
}

func (t *fakeTask) OpenMemory(c vfs.Caller, attach bool) (*mm.MemoryManager, error) {
	return t.memory, t.MayAccess(c, attach)
}
func (t *fakeTask) OpenAuxv(c vfs.Caller) ([]byte, error) {
	return t.auxv, t.MayAccess(c, false)
}
func (t *fakeTask) MayAccess(c vfs.Caller, _ bool) error {
	if c.Creds().EUID != t.creds.EUID && !c.Creds().Has(unix.CAP_SYS_PTRACE) {
		return unix.EACCES
	}
	return nil
}

// fakeKernel is the processes of a test.
type fakeKernel struct {
	tasks        map[int32]*fakeTask
	pids         []int32
	root         vfs.Path
	info         Info
	host, domain string
	pidMax       int64
	knobs        map[string]string
}

// caller is a task that asks.
type caller struct {
	creds *cred.Credentials
	pid   int32
	tid   int32
}

func (c *caller) Creds() *cred.Credentials { return c.creds }
func (c *caller) FileSizeLimit() uint64    { return limits.Infinity }
func (c *caller) Interrupted() bool        { return false }

func (k *fakeKernel) Self(c vfs.Caller) (pid, tid int32) {
	t := c.(*caller)
	return t.pid, t.tid
}

func (k *fakeKernel) Root(vfs.Caller) vfs.Path                            { return k.root }
func (k *fakeKernel) IPCTable(_ vfs.Caller, name string, b *bytes.Buffer) { b.WriteString(name) }
func (k *fakeKernel) IPCKnob(_ vfs.Caller, dir, name string) (string, error) {
	return k.knobs[dir+"/"+name], nil
}
func (k *fakeKernel) SetIPCKnob(_ vfs.Caller, dir, name, text string) error {
	k.knobs[dir+"/"+name] = text
	return nil
}
func (k *fakeKernel) PIDs() []int32                          { return append([]int32(nil), k.pids...) }
func (k *fakeKernel) Info() Info                             { return k.info }
func (k *fakeKernel) Names(vfs.Caller) (host, domain string) { return k.host, k.domain }

func (*fakeKernel) PIDFD(vfs.FileOps) []int32 { return nil }

func (*fakeKernel) NetKnobs() []NetKnob { return nil }

func (k *fakeKernel) Knobs() []Knob {
	return []Knob{{
		Name: "kernel/pid_max",
		Get:  func(vfs.Caller) int64 { return k.pidMax },
		Set: func(_ vfs.Caller, n int64) error {
			if n < 301 {
				return unix.EINVAL
			}
			k.pidMax = n
			return nil
		},
	}}
}

func (k *fakeKernel) Task(id int32) Task {
	if t := k.tasks[id]; t != nil {
		return t
	}
	return nil
}

func (k *fakeKernel) Contract(vfs.Caller) string           { return "" }
func (k *fakeKernel) SetContract(vfs.Caller, string) error { return nil }
func (k *fakeKernel) SetNames(c vfs.Caller, host, domain string) error {
	if !c.Creds().Has(unix.CAP_SYS_ADMIN) {
		return unix.EPERM
	}
	if host != "" {
		k.host = host
	}
	if domain != "" {
		k.domain = domain
	}
	return nil
}

// world is a kernel with a procfs mounted at /proc of a small tree.
type world struct {
	t      *testing.T
	kernel *fakeKernel
	ns     *vfs.Namespace
	root   *caller
	user   *caller
}

func newWorld(t *testing.T) *world {
	t.Helper()
	sys := vfs.NewSystem()
	fs := new(pseudo.FS)
	top := fs.NewDir(0o755).Add("proc", fs.NewDir(0o755)).Add("bin", fs.NewDir(0o755)).
		Add("file", fs.NewText(0o644, "content\n"))
	ns, err := sys.NewNamespace(top, 0, "rootfs", "none")
	if err != nil {
		t.Fatal(err)
	}
	k := &fakeKernel{tasks: make(map[int32]*fakeTask), host: "box", domain: "(none)", root: ns.Root()}
	w := &world{
		t: t, kernel: k, ns: ns,
		root: &caller{cred.New(0, 0, nil, nil), 1, 1},
		user: &caller{cred.New(1000, 1000, nil, nil), 77, 78},
	}
	at, err := vfs.Walk(w.root, w.args(), "/proc")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ns.MountAt(at, New(k), vfs.NoSuid|vfs.NoDev, "proc", "my proc"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []int32{300, 77, 2} {
		w.add(newFakeTask(id, 1000))
	}
	w.kernel.tasks[78] = newFakeTask(78, 1000)
	w.kernel.tasks[78].status.TGID = 77
	w.kernel.tasks[77].threads = []int32{78, 77}
	return w
}

func (w *world) add(t *fakeTask) {
	t.places = Places{Root: w.ns.Root(), WorkDir: w.ns.Root(), Mounts: w.ns}
	w.kernel.tasks[t.status.TID] = t
	w.kernel.pids = append(w.kernel.pids, t.status.TID)
}

func (w *world) args() vfs.WalkArgs {
	return vfs.WalkArgs{Root: w.ns.Root(), Start: w.ns.Root()}
}

func (w *world) open(c vfs.Caller, name string, flags int) (*vfs.File, error) {
	return vfs.Open(c, w.args(), name, vfs.OpenArgs{Flags: flags})
}

// read returns the content of a file in pieces of a few bytes.
func (w *world) read(c vfs.Caller, name string) (string, error) {
	f, err := w.open(c, name, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer f.DecRef()
	var content []byte
	for {
		piece := make([]byte, 37)
		n, err := f.Read(c, mm.BytesBuffer(piece))
		if err != nil {
			return "", err
		}
		if n == 0 {
			return string(content), nil
		}
		content = append(content, piece[:n]...)
	}
}

func (w *world) mustRead(name string) string {
	w.t.Helper()
	s, err := w.read(w.root, name)
	if err != nil {
		w.t.Fatalf("%s: %v", name, err)
	}
	return s
}

func (w *world) write(c vfs.Caller, name, data string) error {
	f, err := w.open(c, name, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer f.DecRef()
	_, err = f.Write(c, mm.BytesBuffer([]byte(data)))
	return err
}

func (w *world) readlink(c vfs.Caller, name string) (string, error) {
	a := w.args()
	a.NoFollow = true
	p, err := vfs.Walk(c, a, name)
	if err != nil {
		return "", err
	}
	return p.Inode().Readlink(c)
}

// list returns the names in a directory, in rounds of three.
func (w *world) list(name string) []vfs.Dirent {
	w.t.Helper()
	f, err := w.open(w.root, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		w.t.Fatalf("%s: %v", name, err)
	}
	defer f.DecRef()
	var all []vfs.Dirent
	for {
		n := 0
		if err := f.ReadDir(w.root, func(e vfs.Dirent) bool {
			if n == 3 {
				return false
			}
			n++
			all = append(all, e)
			return true
		}); err != nil {
			w.t.Fatal(err)
		}
		if n == 0 {
			return all
		}
	}
}

// fakePlatform is a platform that never runs anything.
type fakePlatform struct{}

type fakeSpace struct{}

func (fakePlatform) NewAddressSpace(platform.AddressSpace) (platform.AddressSpace, error) {
	return fakeSpace{}, nil
}
func (fakePlatform) NewContext([]byte) platform.Context { panic("not used") }
func (fakePlatform) UserRange() (lo, hi uint64)         { return 0x10000, 1 << 47 }
func (fakePlatform) Release()                           {}
func (fakeSpace) Apply([]platform.Change) error         { return nil }
func (fakeSpace) Release()                              {}

// newMemory returns an address space.
func newMemory(t *testing.T) *mm.MemoryManager {
	t.Helper()
	file, err := mm.NewMemoryFile(64 << 20)
	if err != nil {
		t.Fatal(err)
	}
	m, err := mm.New(fakePlatform{}, file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.DecUsers()
		file.Release()
	})
	m.SetLayout(m.NewLayout(8<<20, false))
	return m
}

// mapped maps length bytes and writes data to their start.
func mapped(t *testing.T, m *mm.MemoryManager, length uint64, data string) mm.Addr {
	t.Helper()
	addr, err := m.MMap(mm.MMapOpts{Length: length, Prot: platform.Read | platform.Write, Private: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.CopyOut(addr, []byte(data)); err != nil {
		t.Fatal(err)
	}
	return addr
}
