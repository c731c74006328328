package proc

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform"

	"golang.org/x/sys/unix"
)

// longFile is a file of n numbered lines, and what it has in all.
func longFile(f *fileSystem, n uint64) (*file, string) {
	var all strings.Builder
	for i := range n {
		fmt.Fprintf(&all, "line %d\n", i)
	}
	return f.newFile(0o444, func(_ vfs.Caller, cursor uint64, b *bytes.Buffer) (uint64, bool, error) {
		for ; cursor < n && b.Len() < stepSize; cursor++ {
			fmt.Fprintf(b, "line %d\n", cursor)
		}
		return cursor, cursor < n, nil
	}, nil), all.String()
}

func TestLongFileAtAnyOffset(t *testing.T) {
	f, want := longFile(&fileSystem{}, 5000)
	c := &caller{}
	ops, err := f.Open(c, unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 2))
	for range 100 {
		off := random.IntN(len(want) + 100)
		b := make([]byte, random.IntN(40_000))
		n, err := ops.Read(c, mm.BytesBuffer(b), int64(off))
		if err != nil {
			t.Fatal(err)
		}
		expected := want[min(off, len(want)):min(off+len(b), len(want))]
		if string(b[:n]) != expected {
			t.Fatalf("seed %d: %d bytes at %d are not what is there", seed, len(b), off)
		}
		if kept := ops.(*reader).last; kept != nil && len(kept.buf) > keepSize {
			t.Fatalf("%d bytes are kept", len(kept.buf))
		}
	}
}

func TestLargeStepIsNotKept(t *testing.T) {
	content := strings.Repeat("x", 10*keepSize) + "end"
	f := (&fileSystem{}).newFile(0o444, whole(func(_ vfs.Caller, b *bytes.Buffer) error {
		b.WriteString(content)
		return nil
	}), nil)
	c := &caller{}
	ops, _ := f.Open(c, unix.O_RDONLY)
	var got []byte
	for {
		b := make([]byte, 5000)
		n, err := ops.Read(c, mm.BytesBuffer(b), int64(len(got)))
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		got = append(got, b[:n]...)
		if kept := ops.(*reader).last; kept != nil && len(kept.buf) > keepSize {
			t.Fatalf("%d bytes are kept", len(kept.buf))
		}
	}
	if string(got) != content {
		t.Errorf("read %d bytes, want %d", len(got), len(content))
	}
}

func TestReadFromTheStartIsFresh(t *testing.T) {
	calls := 0
	f := (&fileSystem{}).newFile(0o444, whole(func(_ vfs.Caller, b *bytes.Buffer) error {
		calls++
		fmt.Fprintf(b, "call %d", calls)
		return nil
	}), nil)
	c := &caller{}
	ops, _ := f.Open(c, unix.O_RDONLY)
	read := func(off int64, n int) string {
		b := make([]byte, n)
		n, err := ops.Read(c, mm.BytesBuffer(b), off)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	for _, x := range []struct {
		off  int64
		n    int
		want string
	}{{0, 5, "call "}, {5, 9, "1"}, {6, 9, ""}, {0, 9, "call 2"}, {0, 4, "call"}, {4, 9, " 3"}, {0, 0, ""}} {
		if got := read(x.off, x.n); got != x.want {
			t.Errorf("%d bytes at %d: %q, want %q", x.n, x.off, got, x.want)
		}
	}
}

func TestManyMappings(t *testing.T) {
	w := newWorld(t)
	m := newMemory(t)
	w.kernel.tasks[77].memory = m
	const pages = 600
	base := mapped(t, m, pages*mm.PageSize, "")
	for i := mm.Addr(1); i < pages; i += 2 {
		if err := m.MProtect(base+i*mm.PageSize, mm.PageSize, platform.Read, false); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSuffix(w.mustRead("/proc/77/maps"), "\n"), "\n")
	if len(lines) != pages+1 {
		t.Fatalf("%d lines, want %d", len(lines), pages+1)
	}
	for i, line := range lines[:pages] {
		at := base + mm.Addr(i)*mm.PageSize
		form := "%08x-%08x rw-p 00000000 00:00 0 "
		if i%2 == 1 {
			form = "%08x-%08x r--p 00000000 00:00 0 "
		}
		if want := fmt.Sprintf(form, at, at+mm.PageSize); line != want {
			t.Fatalf("line %d: %q, want %q", i, line, want)
		}
	}
	if n := strings.Count(w.mustRead("/proc/77/smaps"), "VmFlags:"); n != pages {
		t.Errorf("smaps has %d mappings", n)
	}
}
