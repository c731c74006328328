package tmpfs_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"gosentry/fs/tmpfs"
	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// TestAttributesOfMany: the attributes of files that each have a file system of their own are bounded together, and so
// are texts of links; all of it is given back.
func TestAttributesOfMany(t *testing.T) {
	m := memory(t, 1<<20)
	sys := vfs.NewSystem()
	most, value := int64(128<<20), make([]byte, 60000)
	files := make([]*vfs.File, 0, 64)
	refused := false
	for i := 0; i < cap(files) && !refused; i++ {
		f, err := tmpfs.NewMemFD(sys, caller{}, m, "m", false)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
		refused = f.Inode().SetXattr(caller{}, "user.0", value, 0) == unix.ENOSPC
		for k := 1; k < 256 && f.Inode().SetXattr(caller{}, fmt.Sprint("user.", k), value, 0) == nil; k++ {
		}
	}
	if kept := m.KeptAside(); !refused || kept > most || kept < most-100000 {
		t.Errorf("refused: %v, %d bytes are kept", refused, kept)
	}
	for _, f := range files {
		f.DecRef()
	}
	clear(files)
	keepsNothing(t, m)
	root := tmpfs.New(tmpfs.Config{File: m, Size: 1 << 40, Inodes: 1 << 40})
	made, err := 0, error(nil)
	for ; err == nil; made++ {
		_, err = root.Symlink(caller{}, fmt.Sprint(made), strings.Repeat("x", 4000), vfs.NewAttr{Mode: unix.S_IFLNK | 0o777})
	}
	if err != unix.ENOSPC || made > int(most/4000) {
		t.Errorf("%d links, then %v", made, err)
	}
	kept := m.KeptAside()
	l, _ := root.Lookup(caller{}, "0")
	if err := root.Unlink(caller{}, "0", l); err != nil || m.KeptAside() > kept-4000 {
		t.Errorf("%v, %d bytes of %d are kept", err, m.KeptAside(), kept)
	}
	runtime.KeepAlive(root)
	root, l = nil, nil
	keepsNothing(t, m)
}

func keepsNothing(t *testing.T, m *mm.MemoryFile) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); m.KeptAside() != 0; {
		if runtime.GC(); time.Now().After(end) {
			t.Fatalf("%d bytes are kept for nobody", m.KeptAside())
		}
	}
}
