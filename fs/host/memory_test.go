package host

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"gosentry/fs/host/fstest"
	"gosentry/mm"
	"gosentry/platform"

	"golang.org/x/sys/unix"
)

// TestGuestMemory reads into and writes from guest memory that lies in pieces.
func TestGuestMemory(t *testing.T) {
	dir := t.TempDir()
	g := guest(t, dir, writable)
	m := fstest.Memory(t, 16<<20)
	at := fstest.Map(t, m, nil, 1<<20, true)
	want := pattern(0, 600<<10)
	_, err := m.CopyOut(at, want)
	must(t, err)
	f, err := g.Open("/f", unix.O_CREAT|unix.O_RDWR, 0o600)
	must(t, err)
	defer f.DecRef()
	if n, err := f.Write(g.C, mm.SingleBuffer(m, at, uint64(len(want)))); n != len(want) || err != nil {
		t.Fatal(n, err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "f")); !bytes.Equal(got, want) {
		t.Error("the file has other bytes")
	}
	var iovs []mm.Range
	to := fstest.Map(t, m, nil, 1<<20, true)
	for i := range mm.Addr(100) {
		iovs = append(iovs, mm.Range{Start: to + i*7000, End: to + i*7000 + 6500})
	}
	if n, err := f.PRead(g.C, mm.NewBuffer(m, iovs), 0); n != len(want) || err != nil {
		t.Fatal(n, err)
	}
	var got []byte
	for _, r := range iovs {
		part := make([]byte, 6500)
		_, err := m.CopyIn(r.Start, part)
		must(t, err)
		got = append(got, part...)
	}
	if !bytes.Equal(got[:len(want)], want) {
		t.Error("guest memory has other bytes")
	}
	if _, err := f.PRead(g.C, mm.SingleBuffer(m, 0x1000, 100), 0); !errors.Is(err, unix.EFAULT) {
		t.Errorf("reading to a bad address: %v", err)
	}
	if _, err := f.PWrite(g.C, mm.SingleBuffer(m, 0x1000, 100), 0); !errors.Is(err, unix.EFAULT) {
		t.Errorf("writing from a bad address: %v", err)
	}
	if n, err := f.PRead(g.C, mm.SingleBuffer(m, at+1<<20-100, 5000), 0); n != 100 || err != nil {
		t.Errorf("reading to an address that ends: %d, %v", n, err)
	}
}

// TestReadsDoNotAllocate reads in the way that guests do most.
func TestReadsDoNotAllocate(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "f"), pattern(0, 1<<16), 0o600))
	m := fstest.Memory(t, 16<<20)
	at := fstest.Map(t, m, nil, 1<<16, true)
	for name, cfg := range map[string]Config{"cached": cached, "writable": writable} {
		g := guest(t, dir, cfg)
		f, err := g.Open("/f", unix.O_RDONLY, 0)
		must(t, err)
		var buf mm.Buffer
		n := testing.AllocsPerRun(100, func() {
			buf.Reset(m, at, 1<<16)
			if n, err := f.PRead(g.C, &buf, 0); n != 1<<16 || err != nil {
				t.Fatal(n, err)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations a read", name, n)
		}
		f.DecRef()
	}
}

// TestMappedFileIsCut cuts a file while it is mapped: what is behind its end is an error, now and for good.
func TestMappedFileIsCut(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	must(t, os.WriteFile(path, pattern(0, 8*mm.PageSize), 0o600))
	for name, cfg := range map[string]Config{"cached": cached, "writable": writable} {
		must(t, os.WriteFile(path, pattern(0, 8*mm.PageSize), 0o600))
		g := guest(t, dir, cfg)
		m := fstest.Memory(t, 16<<20)
		f, err := g.Open("/f", unix.O_RDONLY, 0)
		must(t, err)
		file, err := f.Mappable()
		must(t, err)
		at, err := m.MMap(mm.MMapOpts{Length: 8 * mm.PageSize, Prot: unix.PROT_READ, Private: true, File: file})
		must(t, err)
		f.DecRef()
		got := make([]byte, 8*mm.PageSize)
		if _, err := m.CopyIn(at, got); err != nil || !bytes.Equal(got, pattern(0, len(got))) {
			t.Fatalf("%s: mapped bytes differ: %v", name, err)
		}
		must(t, os.Truncate(path, mm.PageSize+5))
		if n, err := m.CopyIn(at, got); n > 2*mm.PageSize || err == nil {
			t.Errorf("%s: after it was cut: %d, %v", name, n, err)
		}
		err = m.HandleFault(at+4*mm.PageSize, 0)
		if bus := (*mm.BusError)(nil); !errors.As(err, &bus) {
			t.Errorf("%s: a fault behind the end: %v", name, err)
		}
		must(t, os.Remove(path))
		if _, err := m.CopyIn(at, got[:mm.PageSize]); err != nil {
			t.Errorf("%s: after it was removed: %v", name, err)
		}
		must(t, m.MUnmap(at, 8*mm.PageSize))
	}
}

// TestSharedMapping maps a file of a writable tree and looks at it from all sides.
func TestSharedMapping(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	must(t, os.WriteFile(path, make([]byte, 2*mm.PageSize), 0o600))
	before := openFDs(t)
	g := guest(t, dir, writable)
	m := fstest.Memory(t, 16<<20)
	f, err := g.Open("/f", unix.O_RDWR, 0)
	must(t, err)
	file, err := f.Mappable()
	must(t, err)
	at := fstest.Map(t, m, file, 2*mm.PageSize, false)
	_, err = m.CopyOut(at+mm.PageSize-2, []byte("shared"))
	must(t, err)
	var got [6]byte
	_, err = f.PRead(g.C, mm.BytesBuffer(got[:]), mm.PageSize-2)
	must(t, err)
	data, err := os.ReadFile(path)
	must(t, err)
	if string(got[:]) != "shared" || string(data[mm.PageSize-2:mm.PageSize+4]) != "shared" {
		t.Errorf("pread sees %q, the host %q", got, data[mm.PageSize-2:mm.PageSize+4])
	}
	f.DecRef()
	must(t, m.MUnmap(at, mm.PageSize))
	must(t, m.MUnmap(at+mm.PageSize, mm.PageSize))
	if n := openFDs(t); n > before+3 {
		t.Errorf("%d descriptors are open, %d before", n, before)
	}
	r, err := g.Open("/f", unix.O_RDONLY, 0)
	must(t, err)
	defer r.DecRef()
	file, err = r.Mappable()
	must(t, err)
	if _, err := m.MMap(mm.MMapOpts{Length: mm.PageSize, Prot: unix.PROT_READ | unix.PROT_WRITE, File: file}); err == nil {
		t.Error("a writable mapping of a file that is open for reading")
	}
}

// TestTerminalIoctls asks and sets what may be, and tries what may not.
// TestFutexOfFile has words of a file be the same for whoever maps it, however it was opened.
func TestFutexOfFile(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"f", "other"} {
		must(t, os.WriteFile(filepath.Join(dir, name), make([]byte, mm.PageSize), 0o600))
	}
	must(t, os.Link(filepath.Join(dir, "f"), filepath.Join(dir, "link")))
	g := guest(t, dir, writable)
	m := fstest.Memory(t, 16<<20)
	var keys []mm.FutexKey
	for _, open := range []struct {
		name  string
		flags int
	}{{"/f", unix.O_RDWR}, {"/f", unix.O_RDONLY}, {"/f", unix.O_RDWR | unix.O_SYNC}, {"/link", unix.O_RDWR}, {"/other", unix.O_RDWR}} {
		f, err := g.Open(open.name, open.flags, 0)
		must(t, err)
		defer f.DecRef()
		mappable, err := f.Mappable()
		must(t, err)
		at, err := m.MMap(mm.MMapOpts{Length: mm.PageSize, Prot: platform.Read, MaxProt: platform.Read, File: mappable})
		must(t, err)
		key, err := m.FutexKey(at+8, false)
		must(t, err)
		keys = append(keys, key)
	}
	for i, key := range keys {
		if same := i < len(keys)-1; (key == keys[0]) != same {
			t.Errorf("word %d is the first one: %v", i, !same)
		}
	}
}

func TestTerminalIoctls(t *testing.T) {
	master, slave := openTerminal(t)
	defer unix.Close(master)
	f, err := streams(t).File(slave, "")
	must(t, err)
	defer f.DecRef()
	m := fstest.Memory(t, 1<<20)
	at := fstest.Map(t, m, nil, mm.PageSize, true)
	ioctl := func(cmd uint32, arg mm.Addr) error {
		_, err := f.Ioctl(root, cmd, uint64(arg), m)
		return err
	}
	must(t, ioctl(unix.TCGETS, at))
	modes := make([]byte, termiosSize)
	_, err = m.CopyIn(at, modes)
	must(t, err)
	modes[12] ^= unix.ECHO // c_lflag
	_, err = m.CopyOut(at, modes)
	must(t, err)
	for _, cmd := range []uint32{unix.TCSETS, unix.TCSETSW, unix.TCSETSF} {
		must(t, ioctl(cmd, at))
	}
	tio, err := unix.IoctlGetTermios(slave, unix.TCGETS)
	must(t, err)
	if byte(tio.Lflag) != modes[12] {
		t.Errorf("modes are %#x, want %#x", byte(tio.Lflag), modes[12])
	}
	_, err = m.CopyOut(at, []byte{30, 0, 90, 0, 0, 0, 0, 0})
	must(t, err)
	must(t, ioctl(unix.TIOCSWINSZ, at))
	if w, err := unix.IoctlGetWinsize(master, unix.TIOCGWINSZ); err != nil || w.Row != 30 || w.Col != 90 {
		t.Errorf("%+v, %v", w, err)
	}
	_, err = unix.Write(master, []byte("12345"))
	must(t, err)
	var n [1]byte
	for range 30_000 { // the terminal takes its time
		must(t, ioctl(unix.TIOCINQ, at))
		if _, err = m.CopyIn(at, n[:]); n[0] != 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err != nil || n[0] != 5 {
		t.Errorf("%d bytes to read, %v", n, err)
	}
	if err := ioctl(unix.TCGETS, 0x1000); !errors.Is(err, unix.EFAULT) {
		t.Errorf("bad pointer: %v", err)
	}
	for _, cmd := range []uint32{unix.TIOCSTI, unix.TIOCSCTTY, unix.TIOCSPGRP, unix.TIOCSETD, unix.TIOCLINUX, unix.TIOCCONS} {
		if err := ioctl(cmd, at); err != unix.ENOTTY {
			t.Errorf("ioctl %#x: %v", cmd, err)
		}
	}
}

// TestMappedIdentity maps files of two trees one after the other, which get the same descriptors of the host's: no two files that are opened have
// descriptor and ID in common, and one that stays open has the same.
func TestMappedIdentity(t *testing.T) {
	type identity struct {
		fd int32
		id uint32
	}
	var opened atomic.Uint32
	seen, descriptors := map[identity]bool{}, map[int32]bool{}
	for range 3 {
		dir := t.TempDir()
		plant(t, dir)
		g := guest(t, dir, Config{ReadOnly: true, Cache: true, Opened: &opened})
		for _, name := range []string{"/f", "/d/big", "/f"} {
			f, err := g.Open(name, unix.O_RDONLY, 0)
			must(t, err)
			var of [2]identity
			for i := range of {
				m, err := f.Mappable()
				must(t, err)
				b, err := m.Translate(0, mm.PageSize, false)
				must(t, err)
				of[i] = identity{b.FD, b.ID}
			}
			f.DecRef()
			if of[0] != of[1] || seen[of[0]] || of[0].id == 0 {
				t.Errorf("%s is %+v, then %+v, and others were %v", name, of[0], of[1], seen)
			}
			seen[of[0]], descriptors[of[0].fd] = true, true
		}
	}
	if len(descriptors) == len(seen) {
		t.Error("no descriptor was used again: nothing is shown")
	}
}
