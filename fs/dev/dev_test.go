package dev

import (
	"bytes"
	"errors"
	"testing"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// caller is a task that asks; stopAfter is after how many looks a signal is due, 0 for never.
type caller struct {
	creds     *cred.Credentials
	looks     int
	stopAfter int
}

func (c *caller) Creds() *cred.Credentials { return c.creds }
func (c *caller) FileSizeLimit() uint64    { return ^uint64(0) }
func (c *caller) Interrupted() bool {
	c.looks++
	return c.stopAfter != 0 && c.looks >= c.stopAfter
}

// mounted returns a namespace whose root is /dev.
func mounted(t *testing.T, c Config) (*vfs.Namespace, *caller) {
	t.Helper()
	ns, err := vfs.NewSystem().NewNamespace(New(c), 0, "devtmpfs", "dev")
	if err != nil {
		t.Fatal(err)
	}
	return ns, &caller{creds: cred.New(1000, 1000, nil, nil)}
}

func open(ns *vfs.Namespace, c vfs.Caller, name string) (*vfs.File, error) {
	return vfs.Open(c, vfs.WalkArgs{Root: ns.Root(), Start: ns.Root()}, name, vfs.OpenArgs{Flags: unix.O_RDWR})
}

func mustOpen(t *testing.T, ns *vfs.Namespace, c vfs.Caller, name string) *vfs.File {
	t.Helper()
	f, err := open(ns, c, name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	t.Cleanup(f.DecRef)
	return f
}

func TestDevices(t *testing.T) {
	ns, c := mounted(t, Config{})
	for _, x := range []struct {
		name         string
		major, minor uint32
		read, write  int
		err          error
	}{
		{"null", 1, 3, 0, 100, nil}, {"zero", 1, 5, 100, 100, nil}, {"full", 1, 7, 100, 0, unix.ENOSPC},
		{"random", 1, 8, 100, 100, nil}, {"urandom", 1, 9, 100, 100, nil},
	} {
		f := mustOpen(t, ns, c, x.name)
		attr, err := f.Attr()
		if err != nil || attr.Mode != unix.S_IFCHR|0o666 || attr.RdevMajor != x.major || attr.RdevMinor != x.minor {
			t.Errorf("%s: %+v, %v", x.name, attr, err)
		}
		b := bytes.Repeat([]byte{7}, 100)
		if n, err := f.Read(c, mm.BytesBuffer(b)); n != x.read || err != nil {
			t.Errorf("%s: read %d, %v", x.name, n, err)
		}
		zeroes := bytes.Equal(b, make([]byte, 100))
		if wantZeroes := x.name == "zero" || x.name == "full"; zeroes != wantZeroes {
			t.Errorf("%s: zeroes %v", x.name, zeroes)
		}
		if n, err := f.Write(c, mm.BytesBuffer(b)); n != x.write || !errors.Is(err, x.err) {
			t.Errorf("%s: write %d, %v", x.name, n, err)
		}
		if pos, err := f.Seek(c, 1<<40, unix.SEEK_SET); err != nil || pos != 0 {
			t.Errorf("%s: seek to %d, %v", x.name, pos, err)
		}
	}
}

func TestRandomDiffers(t *testing.T) {
	ns, c := mounted(t, Config{})
	a, b := make([]byte, 32), make([]byte, 32)
	f := mustOpen(t, ns, c, "urandom")
	f.Read(c, mm.BytesBuffer(a))
	f.Read(c, mm.BytesBuffer(b))
	if bytes.Equal(a, b) {
		t.Error("twice the same")
	}
}

func TestLongReadsAreInterrupted(t *testing.T) {
	ns, c := mounted(t, Config{})
	c.stopAfter = 2
	if n, err := mustOpen(t, ns, c, "zero").Read(c, mm.BytesBuffer(make([]byte, 8<<20))); n != 2*step || err != nil {
		t.Errorf("read %d, %v, want %d", n, err, 2*step)
	}
}

func TestLinksAndDirectories(t *testing.T) {
	ns, c := mounted(t, Config{})
	a := vfs.WalkArgs{Root: ns.Root(), Start: ns.Root(), NoFollow: true}
	for name, want := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stderr": "/proc/self/fd/2"} {
		p, err := vfs.Walk(c, a, name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.Inode().Readlink(c); got != want || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"shm", "pts", "mqueue"} {
		if p, err := vfs.Walk(c, a, name); err != nil || !p.IsDir() {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTerminal(t *testing.T) {
	ns, c := mounted(t, Config{})
	if _, err := open(ns, c, "tty"); err != unix.ENXIO {
		t.Errorf("without a terminal: %v", err)
	}
	ns, c = mounted(t, Config{Terminal: func(vfs.Caller, int) (vfs.FileOps, error) { return null{}, nil }})
	mustOpen(t, ns, c, "tty")
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

// guestMemory returns an address space with pages mapped at the returned address.
func guestMemory(t *testing.T, pages uint64) (*mm.MemoryFile, *mm.MemoryManager, mm.Addr) {
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
	addr, err := m.MMap(mm.MMapOpts{Length: pages * mm.PageSize, Prot: platform.Read | platform.Write, Private: true})
	if err != nil {
		t.Fatal(err)
	}
	return file, m, addr
}

func TestGuestMemory(t *testing.T) {
	_, m, addr := guestMemory(t, 4)
	ns, c := mounted(t, Config{})
	m.CopyOut(addr, bytes.Repeat([]byte{7}, 4*mm.PageSize))
	f := mustOpen(t, ns, c, "zero")
	// The buffer runs out of the mapping: what is there is filled.
	if n, err := f.Read(c, mm.SingleBuffer(m, addr+mm.PageSize, 9*mm.PageSize)); n != 3*mm.PageSize || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
	got := make([]byte, 4*mm.PageSize)
	m.CopyIn(addr, got)
	if want := append(bytes.Repeat([]byte{7}, mm.PageSize), make([]byte, 3*mm.PageSize)...); !bytes.Equal(got, want) {
		t.Error("memory is not as read")
	}
	if n, err := f.Read(c, mm.SingleBuffer(m, 0x20000, 10)); n != 0 || !errors.Is(err, unix.EFAULT) {
		t.Errorf("read to nowhere: %d, %v", n, err)
	}
	if n, err := mustOpen(t, ns, c, "null").Write(c, mm.SingleBuffer(m, 0x20000, 10)); n != 10 || err != nil {
		t.Errorf("write from nowhere to null: %d, %v", n, err)
	}
}

func TestMapZero(t *testing.T) {
	file, m, _ := guestMemory(t, 1)
	ns, c := mounted(t, Config{Memory: file})
	ops := mustOpen(t, ns, c, "zero").Ops().(vfs.MapOps)
	var at [2]mm.Addr
	for i := range at {
		mappable, err := ops.Mappable()
		if err != nil {
			t.Fatal(err)
		}
		at[i], err = m.MMap(mm.MMapOpts{Length: 2 * mm.PageSize, Prot: platform.Read | platform.Write, File: mappable})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.CopyOut(at[0], []byte("mine")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := m.CopyIn(at[1], got); err != nil || !bytes.Equal(got, make([]byte, 4)) {
		t.Errorf("another mapping has %q, %v", got, err)
	}
	ns, c = mounted(t, Config{})
	if _, err := mustOpen(t, ns, c, "zero").Ops().(vfs.MapOps).Mappable(); err != unix.ENODEV {
		t.Errorf("without memory: %v", err)
	}
}

func TestRandomIoctl(t *testing.T) {
	_, m, addr := guestMemory(t, 1)
	ns, c := mounted(t, Config{})
	ops := mustOpen(t, ns, c, "urandom").Ops().(vfs.IoctlOps)
	if _, err := ops.Ioctl(c, rndGetEntCnt, uint64(addr), m); err != nil {
		t.Fatal(err)
	}
	if v, _ := m.LoadUint32(addr); v != entropyBits {
		t.Errorf("%d bits", v)
	}
	if _, err := ops.Ioctl(c, rndZapCnt, 0, m); err != unix.EPERM {
		t.Errorf("a user empties the pool: %v", err)
	}
	if _, err := ops.Ioctl(c, 0x1234, 0, m); err != unix.ENOTTY {
		t.Errorf("unknown request: %v", err)
	}
}
