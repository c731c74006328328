package vfs_test

import (
	"fmt"
	"sort"
	"strings"

	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// world is something that carries out file system calls: the host or the VFS. Results are texts to be compared.
type world interface {
	open(slot int, name string, flags int, mode uint32) string
	close(slot int) string
	mkdir(name string, mode uint32) string
	mkfifo(name string, mode uint32) string
	remove(name string, dir bool) string
	rename(from, to string, flags uint) string
	link(from, to string, follow bool) string
	symlink(target, name string) string
	stat(name string, follow bool) string
	readlink(name string) string
	chmod(name string, mode uint32) string
	truncate(name string, size int64) string
	read(slot, n int) string
	write(slot, n int, fill byte) string
	pwrite(slot, n int, off int64, fill byte) string
	seek(slot int, off int64, whence int) string
	ftruncate(slot int, size int64) string
	fallocate(slot int, mode uint32, off, length int64) string
	fstat(slot int) string
	list(slot int) string
	resolve(name string, flags uint64) string
}

// The host.
type hostWorld struct {
	dir int
	fds map[int]int
}

func result(err error, ok string) string {
	if err != nil {
		return fmt.Sprint(errno(err))
	}
	return ok
}

func showStat(st *unix.Stat_t) string {
	size := st.Size
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		size = 0
	}
	return fmt.Sprintf("%o %d %d", st.Mode, st.Nlink, size)
}

func (h *hostWorld) fd(slot int) int {
	if fd, ok := h.fds[slot]; ok {
		return fd
	}
	return -1
}

func (h *hostWorld) open(slot int, name string, flags int, mode uint32) string {
	h.close(slot)
	fd, err := unix.Openat(h.dir, name, flags|unix.O_CLOEXEC, mode)
	if err == nil {
		h.fds[slot] = fd
	}
	return result(err, "ok")
}

func (h *hostWorld) close(slot int) string {
	if fd, ok := h.fds[slot]; ok {
		_ = unix.Close(fd)
		delete(h.fds, slot)
		return "ok"
	}
	return "none"
}

func (h *hostWorld) mkdir(name string, mode uint32) string {
	return result(unix.Mkdirat(h.dir, name, mode), "ok")
}

func (h *hostWorld) mkfifo(name string, mode uint32) string {
	return result(unix.Mknodat(h.dir, name, unix.S_IFIFO|mode, 0), "ok")
}

func (h *hostWorld) remove(name string, dir bool) string {
	flags := 0
	if dir {
		flags = unix.AT_REMOVEDIR
	}
	return result(unix.Unlinkat(h.dir, name, flags), "ok")
}

func (h *hostWorld) rename(from, to string, flags uint) string {
	return result(unix.Renameat2(h.dir, from, h.dir, to, flags), "ok")
}

func (h *hostWorld) link(from, to string, follow bool) string {
	flags := 0
	if follow {
		flags = unix.AT_SYMLINK_FOLLOW
	}
	return result(unix.Linkat(h.dir, from, h.dir, to, flags), "ok")
}

func (h *hostWorld) symlink(target, name string) string {
	return result(unix.Symlinkat(target, h.dir, name), "ok")
}

func (h *hostWorld) stat(name string, follow bool) string {
	flags := 0
	if !follow {
		flags = unix.AT_SYMLINK_NOFOLLOW
	}
	var st unix.Stat_t
	err := unix.Fstatat(h.dir, name, &st, flags)
	return result(err, showStat(&st))
}

func (h *hostWorld) readlink(name string) string {
	b := make([]byte, 4096)
	n, err := unix.Readlinkat(h.dir, name, b)
	return result(err, string(b[:max(n, 0)]))
}

func (h *hostWorld) chmod(name string, mode uint32) string {
	return result(unix.Fchmodat(h.dir, name, mode, 0), "ok")
}

func (h *hostWorld) truncate(name string, size int64) string {
	// There is no truncateat, but a path to the directory.
	if name == "" && size >= 0 {
		return fmt.Sprint(unix.ENOENT)
	}
	return result(unix.Truncate(fmt.Sprintf("/proc/self/fd/%d/%s", h.dir, name), size), "ok")
}

func (h *hostWorld) read(slot, n int) string {
	b := make([]byte, n)
	n, err := unix.Read(h.fd(slot), b)
	return result(err, squeeze(b[:max(n, 0)]))
}

func (h *hostWorld) write(slot, n int, fill byte) string {
	var st unix.Stat_t
	if unix.Fstat(h.fd(slot), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
		n = min(n, 10) // what fits into a pipe depends on how it was written
	}
	n, err := unix.Write(h.fd(slot), filled(n, fill))
	return result(err, fmt.Sprint(n))
}

func (h *hostWorld) pwrite(slot, n int, off int64, fill byte) string {
	n, err := unix.Pwrite(h.fd(slot), filled(n, fill), off)
	return result(err, fmt.Sprint(n))
}

func (h *hostWorld) seek(slot int, off int64, whence int) string {
	var st unix.Stat_t
	if unix.Fstat(h.fd(slot), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return "positions of directories are the file system's own"
	}
	at, err := unix.Seek(h.fd(slot), off, whence)
	return result(err, fmt.Sprint(at))
}

func (h *hostWorld) ftruncate(slot int, size int64) string {
	return result(unix.Ftruncate(h.fd(slot), size), "ok")
}

func (h *hostWorld) fallocate(slot int, mode uint32, off, length int64) string {
	return result(unix.Fallocate(h.fd(slot), mode, off, length), "ok")
}

func (h *hostWorld) fstat(slot int) string {
	var st unix.Stat_t
	err := unix.Fstat(h.fd(slot), &st)
	return result(err, showStat(&st)+fmt.Sprint(" ", st.Blocks))
}

func (h *hostWorld) list(slot int) string {
	_, _ = unix.Seek(h.fd(slot), 0, unix.SEEK_SET)
	b := make([]byte, 1<<16)
	n, err := unix.Getdents(h.fd(slot), b)
	if err != nil {
		return fmt.Sprint(errno(err))
	}
	_, _, names := unix.ParseDirent(b[:n], -1, nil)
	sort.Strings(names)
	return strings.Join(names, " ")
}

func (h *hostWorld) resolve(name string, flags uint64) string {
	fd, err := -1, error(unix.EAGAIN)
	for err == unix.EAGAIN { // any rename on the host meanwhile
		fd, err = unix.Openat2(h.dir, name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: flags})
	}
	if err != nil {
		return fmt.Sprint(errno(err))
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	return result(unix.Fstat(fd, &st), showStat(&st))
}

// squeeze writes runs short.
func squeeze(b []byte) string {
	var s strings.Builder
	for i := 0; i < len(b); {
		j := i
		for j < len(b) && b[j] == b[i] {
			j++
		}
		fmt.Fprintf(&s, "%d*%d ", j-i, b[i])
		i = j
	}
	return s.String()
}

func filled(n int, fill byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = fill
	}
	return b
}

// The VFS.
type vfsWorld struct {
	tr    *tree
	c     *caller
	a     vfs.WalkArgs
	files map[int]*vfs.File
}

func (v *vfsWorld) open(slot int, name string, flags int, mode uint32) string {
	v.close(slot)
	f, err := vfs.Open(v.c, v.a, name, vfs.OpenArgs{Flags: flags, Mode: mode})
	if err == nil {
		v.files[slot] = f
	}
	return result(err, "ok")
}

func (v *vfsWorld) close(slot int) string {
	if f, ok := v.files[slot]; ok {
		f.DecRef()
		delete(v.files, slot)
		return "ok"
	}
	return "none"
}

// with runs fn on an open file.
func (v *vfsWorld) with(slot int, fn func(f *vfs.File) (string, error)) string {
	f, ok := v.files[slot]
	if !ok {
		return fmt.Sprint(unix.EBADF)
	}
	s, err := fn(f)
	return result(err, s)
}

func (v *vfsWorld) mkdir(name string, mode uint32) string {
	return result(vfs.MkdirAt(v.c, v.a, name, mode, 0), "ok")
}

func (v *vfsWorld) mkfifo(name string, mode uint32) string {
	return result(vfs.MknodAt(v.c, v.a, name, unix.S_IFIFO|mode, 0, 0, 0), "ok")
}

func (v *vfsWorld) remove(name string, dir bool) string {
	if dir {
		return result(vfs.RmdirAt(v.c, v.a, name), "ok")
	}
	return result(vfs.UnlinkAt(v.c, v.a, name), "ok")
}

func (v *vfsWorld) rename(from, to string, flags uint) string {
	return result(vfs.RenameAt(v.c, v.a, from, v.a, to, uint32(flags)), "ok")
}

func (v *vfsWorld) link(from, to string, follow bool) string {
	a := v.a
	a.NoFollow = !follow
	p, err := vfs.Walk(v.c, a, from)
	if err == nil {
		err = vfs.LinkAt(v.c, p, v.a, to)
	}
	return result(err, "ok")
}

func (v *vfsWorld) symlink(target, name string) string {
	return result(vfs.SymlinkAt(v.c, target, v.a, name), "ok")
}

func (v *vfsWorld) walk(name string, follow bool, fn func(p vfs.Path) (string, error)) string {
	a := v.a
	a.NoFollow = !follow
	p, err := vfs.Walk(v.c, a, name)
	if err != nil {
		return fmt.Sprint(errno(err))
	}
	s, err := fn(p)
	return result(err, s)
}

func showAttr(a vfs.Attr) string {
	st := unix.Stat_t{Mode: a.Mode, Nlink: uint64(a.Nlink), Size: a.Size}
	return showStat(&st)
}

func (v *vfsWorld) stat(name string, follow bool) string {
	return v.walk(name, follow, func(p vfs.Path) (string, error) {
		a, err := vfs.Stat(v.c, p)
		return showAttr(a), err
	})
}

func (v *vfsWorld) readlink(name string) string {
	s, err := vfs.ReadlinkAt(v.c, v.a, name)
	return result(err, s)
}

func (v *vfsWorld) chmod(name string, mode uint32) string {
	return v.walk(name, true, func(p vfs.Path) (string, error) { return "ok", vfs.ChangeMode(v.c, p, mode) })
}

func (v *vfsWorld) truncate(name string, size int64) string {
	if size < 0 {
		return fmt.Sprint(unix.EINVAL) // before the name is looked at
	}
	return v.walk(name, true, func(p vfs.Path) (string, error) { return "ok", vfs.Truncate(v.c, p, size) })
}

func (v *vfsWorld) read(slot, n int) string {
	return v.with(slot, func(f *vfs.File) (string, error) {
		b := make([]byte, n)
		n, err := f.Read(v.c, mm.BytesBuffer(b))
		return squeeze(b[:n]), err
	})
}

func (v *vfsWorld) write(slot, n int, fill byte) string {
	if f, ok := v.files[slot]; ok && f.FileType() == unix.S_IFIFO {
		n = min(n, 10)
	}
	return v.with(slot, func(f *vfs.File) (string, error) {
		n, err := f.Write(v.c, mm.BytesBuffer(filled(n, fill)))
		return fmt.Sprint(n), err
	})
}

func (v *vfsWorld) pwrite(slot, n int, off int64, fill byte) string {
	if off < 0 {
		return fmt.Sprint(unix.EINVAL) // before the descriptor is
	}
	return v.with(slot, func(f *vfs.File) (string, error) {
		n, err := f.PWrite(v.c, mm.BytesBuffer(filled(n, fill)), off)
		return fmt.Sprint(n), err
	})
}

func (v *vfsWorld) seek(slot int, off int64, whence int) string {
	if f, ok := v.files[slot]; ok && f.FileType() == unix.S_IFDIR {
		return "positions of directories are the file system's own"
	}
	return v.with(slot, func(f *vfs.File) (string, error) {
		at, err := f.Seek(v.c, off, whence)
		return fmt.Sprint(at), err
	})
}

func (v *vfsWorld) ftruncate(slot int, size int64) string {
	if size < 0 {
		return fmt.Sprint(unix.EINVAL)
	}
	return v.with(slot, func(f *vfs.File) (string, error) { return "ok", f.Truncate(v.c, size) })
}

func (v *vfsWorld) fallocate(slot int, mode uint32, off, length int64) string {
	return v.with(slot, func(f *vfs.File) (string, error) { return "ok", f.Allocate(v.c, mode, off, length) })
}

func (v *vfsWorld) fstat(slot int) string {
	return v.with(slot, func(f *vfs.File) (string, error) {
		a, err := f.Attr()
		return showAttr(a) + fmt.Sprint(" ", a.Blocks), err
	})
}

func (v *vfsWorld) list(slot int) string {
	return v.with(slot, func(f *vfs.File) (string, error) {
		_, _ = f.Seek(v.c, 0, unix.SEEK_SET)
		var names []string
		err := f.ReadDir(v.c, func(e vfs.Dirent) bool {
			if e.Name != "." && e.Name != ".." {
				names = append(names, e.Name)
			}
			return true
		})
		sort.Strings(names)
		return strings.Join(names, " "), err
	})
}

func (v *vfsWorld) resolve(name string, flags uint64) string {
	a := v.a
	a.Resolve = flags
	f, err := vfs.Open(v.c, a, name, vfs.OpenArgs{Flags: unix.O_PATH})
	if err != nil {
		return fmt.Sprint(errno(err))
	}
	defer f.DecRef()
	attr, err := f.Attr()
	return result(err, showAttr(attr))
}

// links are symbolic links for resolve only: followed without a bound, they would lead out of the plot.
var links = []struct{ name, target string }{
	{"x", "/a"}, {"y", "../../b"}, {"z", "/../a/../x"}, {"v", "a/x"}, {"w", "w"},
}

// drawBound makes names that lead anywhere, for resolve.
func drawBound(t *rapid.T) (string, uint64) {
	parts := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "x", "y", "z", "v", "w", "..", "."}), 1, 5).Draw(t, "bound")
	flags := rapid.SampledFrom([]uint64{unix.RESOLVE_BENEATH, unix.RESOLVE_IN_ROOT}).Draw(t, "scope")
	if rapid.Bool().Draw(t, "more") {
		flags |= rapid.SampledFrom([]uint64{unix.RESOLVE_NO_SYMLINKS, unix.RESOLVE_NO_XDEV, unix.RESOLVE_NO_MAGICLINKS}).Draw(t, "flag")
	}
	return rapid.SampledFrom([]string{"", "", "/"}).Draw(t, "abs") + strings.Join(parts, "/"), flags
}

// drawName makes names of few components; at most two lead up.
func drawName(t *rapid.T, label string) string {
	parts := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "a", "b", "d", ".", ""}), 1, 3).Draw(t, label)
	up := rapid.SampledFrom([]string{"", "", "", "", "../", "../../", "a/../"}).Draw(t, "up")
	tail := rapid.SampledFrom([]string{"", "", "", "", "", "/", "//", "/.", "/.."}).Draw(t, "tail")
	return strings.TrimLeft(up+strings.Join(parts, "/")+tail, "/")
}

func drawFlags(t *rapid.T) int {
	flags := unix.O_NONBLOCK | rapid.SampledFrom([]int{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR, unix.O_RDWR}).Draw(t, "access")
	extra := []int{
		unix.O_CREAT, unix.O_CREAT, unix.O_CREAT | unix.O_EXCL, unix.O_TRUNC, unix.O_APPEND, unix.O_DIRECTORY,
		unix.O_NOFOLLOW, unix.O_PATH, unix.O_TMPFILE, unix.O_EXCL, 0, 0, 0,
	}
	for range 2 {
		flags |= rapid.SampledFrom(extra).Draw(t, "flag")
	}
	return flags
}

var (
	offsets = []int64{0, 1, 100, 4095, 4096, 4097, 8192, 12345, 65536, 1 << 20, 2 << 20, 2<<20 - 1, 5 << 20, -1}
	sizes   = []int{0, 1, 10, 4096, 4097, 10000, 70000}
	modes   = []uint32{0o644, 0o600, 0o755, 0o777, 0o000, 0o200, 0o100, 0o4755, 0o2755, 0o2775, 0o1777}
)

// step draws one call and returns it by name with what both worlds say.
// Pages that were only allocated count as data for us and as holes for Linux, so a run
// has either fallocate or SEEK_DATA.
func step(t *rapid.T, worlds [2]world, allocates bool) (string, [2]string) {
	slot := rapid.IntRange(0, 2).Draw(t, "slot")
	name, other := drawName(t, "name"), drawName(t, "other")
	mode := rapid.SampledFrom(modes).Draw(t, "mode")
	flags := drawFlags(t)
	off, length := rapid.SampledFrom(offsets).Draw(t, "off"), rapid.SampledFrom(offsets).Draw(t, "length")
	size := rapid.SampledFrom(sizes).Draw(t, "size")
	fill := byte(rapid.IntRange(1, 9).Draw(t, "fill"))
	yes := rapid.Bool().Draw(t, "yes")
	whence := rapid.IntRange(0, 5).Draw(t, "whence")
	ren := rapid.SampledFrom([]uint{0, 0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE}).Draw(t, "ren")
	alloc := rapid.SampledFrom([]uint32{0, 1, 3, 2}).Draw(t, "alloc")
	if !allocates {
		alloc |= 2
	} else if whence == unix.SEEK_DATA || whence == unix.SEEK_HOLE {
		whence = 0
	}
	bound, scope := drawBound(t)
	calls := []struct {
		name string
		do   func(w world) string
	}{
		{fmt.Sprintf("open %d %q %#o %#o", slot, name, flags, mode), func(w world) string { return w.open(slot, name, flags, mode) }},
		{fmt.Sprintf("open %d %q %#o %#o", slot, name, flags, mode), func(w world) string { return w.open(slot, name, flags, mode) }},
		{fmt.Sprintf("mkdir %q %#o", name, mode), func(w world) string { return w.mkdir(name, mode) }},
		{fmt.Sprintf("mkdir %q %#o", name, mode), func(w world) string { return w.mkdir(name, mode) }},
		{fmt.Sprintf("mkfifo %q", name), func(w world) string { return w.mkfifo(name, mode) }},
		{fmt.Sprintf("remove %q %v", name, yes), func(w world) string { return w.remove(name, yes) }},
		{fmt.Sprintf("rename %q %q %d", name, other, ren), func(w world) string { return w.rename(name, other, ren) }},
		{fmt.Sprintf("rename %q %q %d", name, other, ren), func(w world) string { return w.rename(name, other, ren) }},
		{fmt.Sprintf("link %q %q %v", name, other, yes), func(w world) string { return w.link(name, other, yes) }},
		{fmt.Sprintf("symlink %q %q", plain(other), name), func(w world) string { return w.symlink(plain(other), name) }},
		{fmt.Sprintf("stat %q %v", name, yes), func(w world) string { return w.stat(name, yes) }},
		{fmt.Sprintf("readlink %q", name), func(w world) string { return w.readlink(name) }},
		{fmt.Sprintf("chmod %q %#o", name, mode), func(w world) string { return w.chmod(name, mode) }},
		{fmt.Sprintf("truncate %q %d", name, off), func(w world) string { return w.truncate(name, off) }},
		{fmt.Sprintf("read %d %d", slot, size), func(w world) string { return w.read(slot, size) }},
		{fmt.Sprintf("write %d %d %d", slot, size, fill), func(w world) string { return w.write(slot, size, fill) }},
		{fmt.Sprintf("pwrite %d %d %d %d", slot, size, off, fill), func(w world) string { return w.pwrite(slot, size, off, fill) }},
		{fmt.Sprintf("seek %d %d %d", slot, off, whence), func(w world) string { return w.seek(slot, off, whence) }},
		{fmt.Sprintf("ftruncate %d %d", slot, off), func(w world) string { return w.ftruncate(slot, off) }},
		{fmt.Sprintf("fallocate %d %d %d %d", slot, alloc, off, length), func(w world) string { return w.fallocate(slot, alloc, off, length) }},
		{fmt.Sprintf("fstat %d", slot), func(w world) string { return w.fstat(slot) }},
		{fmt.Sprintf("list %d", slot), func(w world) string { return w.list(slot) }},
		{fmt.Sprintf("resolve %q %#x", bound, scope), func(w world) string { return w.resolve(bound, scope) }},
		{fmt.Sprintf("resolve %q %#x", bound, scope), func(w world) string { return w.resolve(bound, scope) }},
		{fmt.Sprintf("close %d", slot), func(w world) string { return w.close(slot) }},
	}
	c := calls[rapid.IntRange(0, len(calls)-1).Draw(t, "call")]
	return c.name, [2]string{c.do(worlds[0]), c.do(worlds[1])}
}

// plain is a name that does not lead up, for symbolic links.
func plain(name string) string { return strings.ReplaceAll(name, "..", "b") }
