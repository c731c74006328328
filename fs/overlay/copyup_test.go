package overlay

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"gosentry/fs/host/fstest"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// TestTruncationCopiesOnlyWhatStays cuts a file that would not fit.
func TestTruncationCopiesOnlyWhatStays(t *testing.T) {
	dir := t.TempDir()
	h := fstest.Host{Dir: dir}
	must(t, h.Create("/big", 0o644))
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for i := range int64(8) {
		must(t, h.WriteAt("/big", data, i<<20))
	}
	g, file := guest(t, dir, 2<<20)
	if err := g.WriteAt("/big", []byte("x"), 0); err != unix.ENOSPC {
		t.Errorf("writing to more than there is memory for: %v", err)
	}
	if used := file.Usage(); used != 0 {
		t.Errorf("%d bytes stay allocated after a failed copy", used)
	}
	must(t, g.Chmod("/big", 0o600)) // needs no memory
	must(t, g.Truncate("/big", 1<<20+5))
	got, err := g.ReadFile("/big")
	must(t, err)
	if len(got) != 1<<20+5 || !bytes.Equal(got[:1<<20], data) || string(got[1<<20:]) != "01234" {
		t.Errorf("%d bytes", len(got))
	}
	must(t, g.OpenTrunc("/big"))
	if used := file.Usage(); used != 0 {
		t.Errorf("%d bytes are allocated for an empty file", used)
	}
}

// TestHolesStayHoles copies a file of 1 TiB with little in it.
func TestHolesStayHoles(t *testing.T) {
	dir := t.TempDir()
	h := fstest.Host{Dir: dir}
	must(t, h.Create("/sparse", 0o644))
	must(t, h.WriteAt("/sparse", []byte("middle"), 1<<39))
	must(t, h.Truncate("/sparse", 1<<40))
	g, file := guest(t, dir, memory)
	must(t, g.WriteAt("/sparse", []byte("start"), 0))
	st, err := g.Stat("/sparse")
	must(t, err)
	if st.Size != 1<<40 || file.Usage() > 1<<20 {
		t.Errorf("size %d, %d bytes allocated", st.Size, file.Usage())
	}
	f, err := g.Open("/sparse", unix.O_RDONLY, 0)
	must(t, err)
	defer f.DecRef()
	var buf [6]byte
	if _, err := f.PRead(g.C, mm.BytesBuffer(buf[:]), 1<<39); err != nil || string(buf[:]) != "middle" {
		t.Errorf("%q, %v", buf, err)
	}
}

// TestInterruptedCopyGoesOn interrupts a copy up at each piece.
func TestInterruptedCopyGoesOn(t *testing.T) {
	dir := t.TempDir()
	want := make([]byte, 5*copyChunk+77)
	for i := range want {
		want[i] = byte(i * 7 >> 3)
	}
	must(t, os.WriteFile(filepath.Join(dir, "f"), want, 0o644))
	g, _ := guest(t, dir, memory)
	calls := 0
	g.C.Due = func() bool { calls++; return calls%3 == 0 }
	tries := 0
	for g.WriteAt("/f", []byte("new"), 0) == unix.EINTR {
		if tries++; tries > 20 {
			t.Fatal("the copy never ends")
		}
	}
	if tries == 0 {
		t.Error("the copy was not interrupted")
	}
	g.C.Due = nil
	copy(want, "new")
	if got, err := g.ReadFile("/f"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestCopyUpTogether has many writers at once begin with the same lower file.
func TestCopyUpTogether(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "f"), make([]byte, 1<<20), 0o644))
	g, _ := guest(t, dir, memory)
	errs := make(chan error)
	const writers = 16
	for i := range writers {
		go func() { errs <- g.WriteAt("/f", []byte{byte(i + 1)}, int64(i)*70000) }()
	}
	for range writers {
		must(t, <-errs)
	}
	got, err := g.ReadFile("/f")
	must(t, err)
	for i := range writers {
		if got[i*70000] != byte(i+1) {
			t.Errorf("writer %d's byte is lost", i)
		}
	}
}
