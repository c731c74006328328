package abi

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDirents reads the entries as programs do, and has them parsed by x/sys.
func TestDirents(t *testing.T) {
	var now, old []byte
	var names []string
	for n := 1; n <= 255; n += 7 {
		name := strings.Repeat("n", n)
		names = append(names, name)
		now = AppendDirent64(now, uint64(n), int64(n)<<33, unix.DT_REG, name)
		old = AppendDirent(old, uint64(n), int64(n)<<33, unix.DT_DIR, name)
		if len(now)%direntAlign != 0 || len(old)%direntAlign != 0 {
			t.Fatalf("name of %d bytes: %d, %d", n, len(now), len(old))
		}
	}
	if _, n, got := unix.ParseDirent(now, -1, nil); n != len(names) || strings.Join(got, "/") != strings.Join(names, "/") {
		t.Errorf("%d names: %v", n, got)
	}
	for i, n := 0, 1; i < len(old); n += 7 {
		size := int(le.Uint16(old[i+16:]))
		if size != direntSize(n) || old[i+size-1] != unix.DT_DIR || le.Uint64(old[i+8:]) != uint64(n)<<33 || le.Uint64(old[i:]) != uint64(n) {
			t.Fatalf("old entry with %d bytes: %x", n, old[i:i+size])
		}
		i += size
	}
}

func TestAuxv(t *testing.T) {
	got := AppendAuxv(nil, []AuxEntry{{AtPagesz, 4096}})
	if len(got) != 2*AuxEntrySize || le.Uint64(got) != AtPagesz || le.Uint64(got[8:]) != 4096 || le.Uint64(got[16:]) != AtNull {
		t.Errorf("got %x", got)
	}
}

func TestSigevent(t *testing.T) {
	b := make([]byte, SigeventSize)
	le.PutUint64(b, 1<<40)
	le.PutUint32(b[8:], 10)
	le.PutUint32(b[12:], 4)
	le.PutUint32(b[16:], 77)
	if got := DecodeSigevent(b); got != (Sigevent{1 << 40, 10, 4, 77}) {
		t.Errorf("got %+v", got)
	}
}
