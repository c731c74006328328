package loader

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform"
	"gosentry/sentry/abi"
	"gosentry/sentry/cred"
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

// fakePlatform has address spaces that nothing runs in.
type fakePlatform struct{}

func (fakePlatform) NewAddressSpace(platform.AddressSpace) (platform.AddressSpace, error) {
	return fakeSpace{}, nil
}
func (fakePlatform) NewContext([]byte) platform.Context { return nil }
func (fakePlatform) UserRange() (lo, hi uint64)         { return 0x10000, 0x7ffffffff000 }
func (fakePlatform) Release()                           {}

type fakeSpace struct{}

func (fakeSpace) Apply([]platform.Change) error { return nil }
func (fakeSpace) Release()                      {}

// fakeFile is a file whose contents lie in a memory file.
type fakeFile struct {
	vfs.AnonInode
	mem    *mm.MemoryFile
	data   []byte
	off    uint64 // of a copy of data in mem
	length uint64
	open   *atomic.Int64 // open files and mappings
}

func (f *fakeFile) Read(_ vfs.Caller, dst *mm.Buffer, off int64) (int, error) {
	if off >= int64(len(f.data)) {
		return 0, nil
	}
	return dst.CopyOut(f.data[off:])
}

func (f *fakeFile) Write(vfs.Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EBADF }

func (f *fakeFile) Release() {
	f.open.Add(-1)
	if f.length > 0 {
		f.mem.DecRef(f.off, f.length)
	}
}

func (f *fakeFile) Mappable() (mm.Mappable, error) { return f, nil }

func (f *fakeFile) AddMapping(_ *mm.MemoryManager, ar mm.Range, off uint64, writable bool) error {
	f.open.Add(int64(ar.Length()))
	return nil
}

func (f *fakeFile) RemoveMapping(_ *mm.MemoryManager, ar mm.Range, off uint64, writable bool) {
	f.open.Add(-int64(ar.Length()))
}

func (f *fakeFile) Translate(off, length uint64, write bool) (mm.Backing, error) {
	if off >= f.length {
		return mm.Backing{}, unix.EFAULT
	}
	return mm.Backing{Mem: true, Offset: f.off + off, Length: min(length, f.length-off)}, nil
}

func (f *fakeFile) MappedName() (string, uint32, uint32, uint64) { return "/fake", 0, 1, 1 }

// env is what a test loads programs in.
type env struct {
	t     testing.TB
	mem   *mm.MemoryFile
	sys   *vfs.System
	files map[string][]byte // by name; others are not there
	open  atomic.Int64      // what is in use of files
	vdso  *VDSO
	creds *cred.Credentials
	table limits.Table
}

func (e *env) Creds() *cred.Credentials { return e.creds }
func (e *env) FileSizeLimit() uint64    { return limits.Infinity }
func (e *env) Interrupted() bool        { return false }

func newEnv(t testing.TB) *env {
	mem, vdso := newVDSO(t, VDSOConfig{})
	return &env{
		t: t, mem: mem, sys: vfs.NewSystem(), files: make(map[string][]byte), vdso: vdso,
		creds: cred.New(1000, 1001, nil, nil), table: limits.Defaults(100),
	}
}

// file returns an open file with these contents.
func (e *env) file(data []byte, mode uint32) *vfs.File {
	f := &fakeFile{mem: e.mem, data: data, open: &e.open}
	if len(data) > 0 {
		f.length = pageUp(uint64(len(data)))
		var err error
		if f.off, err = e.mem.Allocate(f.length); err != nil {
			e.t.Fatal(err)
		}
		copy(e.mem.Bytes(f.off, f.length), data)
	}
	e.sys.InitAnon(&f.AnonInode, nil, mode)
	e.open.Add(1)
	return vfs.NewFile(f, e.sys.AnonPath(f, "/fake"), unix.O_RDONLY)
}

func (e *env) openExec(name string) (*vfs.File, error) {
	switch data, ok := e.files[name]; {
	case ok:
		return e.file(data, unix.S_IFREG|0o755), nil
	case name == "/directory":
		return e.file(nil, unix.S_IFDIR|0o755), nil
	}
	return nil, unix.ENOENT
}

// args returns arguments of Load that work.
func (e *env) args(name string, argv, envv []string) Args {
	return Args{
		Caller: e, Filename: name, Argv: argv, Envv: envv, OpenExec: e.openExec,
		VDSO: e.vdso, Limits: limits.New(e.table), Creds: e.creds,
	}
}

// load loads the file that a names into a new address space and checks that nothing
// leaks when the test is through with it.
func (e *env) load(a Args) (Image, *mm.MemoryManager, error) {
	e.t.Helper()
	before := e.open.Load()
	m, err := mm.New(fakePlatform{}, e.mem)
	if err != nil {
		e.t.Fatal(err)
	}
	if a.Exec, err = e.openExec(a.Filename); err != nil {
		e.t.Fatal(err)
	}
	a.MM = m
	img, err := Load(a)
	a.Exec.DecRef()
	end := func() {
		m.DecUsers()
		if img.Exec != nil {
			img.Exec.DecRef()
		}
		if n := e.open.Load() - before; n != 0 {
			e.t.Errorf("%d files or mappings are left", n)
		}
	}
	if err != nil {
		end()
		return Image{}, nil, err
	}
	e.t.Cleanup(end)
	return img, m, nil
}

// read copies n bytes of guest memory.
func read(t testing.TB, m *mm.MemoryManager, addr, n uint64) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := m.CopyIn(mm.Addr(addr), b); err != nil {
		t.Fatalf("%d bytes at %#x: %v", n, addr, err)
	}
	return b
}

func readString(t testing.TB, m *mm.MemoryManager, addr uint64) string {
	t.Helper()
	s, err := m.CopyInString(mm.Addr(addr), abi.MaxArgStrlen)
	if err != nil {
		t.Fatalf("string at %#x: %v", addr, err)
	}
	return s
}

// compile builds a C program.
func compile(t testing.TB, source string, flags ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	src, bin := filepath.Join(dir, "a.c"), filepath.Join(dir, "a")
	if err := os.WriteFile(src, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cc", append(flags, "-o", bin, src)...).CombinedOutput(); err != nil {
		t.Skipf("no C compiler: %v\n%s", err, out)
	}
	data, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// dup returns a copy of descriptor fd that the caller may close.
func dup(t *testing.T, fd int) int {
	t.Helper()
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
