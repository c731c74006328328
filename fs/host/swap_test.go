package host

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// TestChangesOfSwappedNames changes modes and owners of a file whose name another one takes in turns: of the other nothing may ever
// change, as the guest's rights are over the first alone.
func TestChangesOfSwappedNames(t *testing.T) {
	dir := t.TempDir()
	mine, other := filepath.Join(dir, "mine"), filepath.Join(dir, "other")
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	must(t, err)
	root, err := New(fd, writable)
	must(t, err)
	for kind, make := range map[string]func(string) error{
		"file":   func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"fifo":   func(p string) error { return unix.Mkfifo(p, 0o600) },
		"socket": func(p string) error { return unix.Mknod(p, unix.S_IFSOCK|0o600, 0) },
	} {
		must(t, make(mine))
		must(t, make(other))
		i, err := root.Lookup(nil, "mine")
		must(t, err)
		keep, err := unix.Open(other, unix.O_PATH|unix.O_CLOEXEC, 0)
		must(t, err)
		before := attrsOf(t, keep)
		swapUntil(t, mine, other, func() {
			for range 3000 {
				_ = i.SetAttr(nil, vfs.SetAttr{Set: vfs.SetMode, Mode: 0o4777})
				_ = i.SetAttr(nil, vfs.SetAttr{Set: vfs.SetUID | vfs.SetGID, UID: 7, GID: 7})
				_ = i.SetAttr(nil, vfs.SetAttr{Set: vfs.SetMtime, Mtime: unix.Timespec{Sec: 1}})
			}
		})
		if after := attrsOf(t, keep); after != before {
			t.Errorf("another %s was changed from %v to %v", kind, before, after)
		}
		unix.Close(keep)
		must(t, os.Remove(mine))
		must(t, os.Remove(other))
	}
}

// swapUntil exchanges two names again and again until do is over.
func swapUntil(t *testing.T, a, b string, do func()) {
	t.Helper()
	stop := make(chan struct{})
	var swapper sync.WaitGroup
	swapper.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
			}
		}
	})
	do()
	close(stop)
	swapper.Wait()
}

// attrsOf are the owner, mode and time of what a descriptor is of.
func attrsOf(t *testing.T, fd int) [4]int64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Fstat(fd, &st))
	return [4]int64{int64(st.Uid), int64(st.Gid), int64(st.Mode), st.Mtim.Sec}
}

// TestChangesWhileRenamed: a file that is renamed meanwhile is changed all the same.
func TestChangesWhileRenamed(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "a"), nil, 0o600))
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	must(t, err)
	root, err := New(fd, writable)
	must(t, err)
	i, err := root.Lookup(nil, "a")
	must(t, err)
	stop := make(chan struct{})
	var renamer sync.WaitGroup
	renamer.Go(func() {
		for from, to := "a", "b"; ; from, to = to, from {
			select {
			case <-stop:
				return
			default:
				if err := root.Rename(nil, from, i, root, to, nil, false); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for range 3000 {
		if err := i.SetAttr(nil, vfs.SetAttr{Set: vfs.SetMode, Mode: 0o640}); err != nil {
			t.Error(err)
			break
		}
	}
	close(stop)
	renamer.Wait()
}

// TestOpenWhileReplaced: a name that is replaced by renames can be opened at any time.
func TestOpenWhileReplaced(t *testing.T) {
	g := guest(t, t.TempDir(), writable)
	stop := make(chan struct{})
	write := func(n string) {
		f, err := g.Open(n, unix.O_CREAT|unix.O_RDWR, 0o600)
		must(t, err)
		f.DecRef()
	}
	write("/f")
	var w sync.WaitGroup
	w.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				write("/new")
				must(t, g.Rename("/new", "/f", 0))
			}
		}
	})
	errs := map[string]int{}
	for range 20000 {
		f, err := g.Open("/f", unix.O_RDONLY, 0)
		if err != nil {
			errs[fmt.Sprint(err)]++
			continue
		}
		f.DecRef()
	}
	close(stop)
	w.Wait()
	if len(errs) > 0 {
		t.Error(errs)
	}
}
