package vfs

import (
	"math"

	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// Read is read(2): from the position on, into dst. EAGAIN where there is nothing
// yet; 0 at the end.
func (f *File) Read(c Caller, dst *mm.Buffer) (int, error) {
	if err := f.mayRead(); err != nil {
		return 0, err
	}
	if f.stream {
		n, err := f.ops.Read(c, dst, 0)
		f.noteMoved(n, unix.IN_ACCESS)
		return n, err
	}
	f.posMu.Lock()
	defer f.posMu.Unlock()
	n, err := f.ops.Read(c, dst, f.pos)
	if n > 0 {
		f.pos += int64(n)
	}
	f.noteMoved(n, unix.IN_ACCESS)
	return n, err
}

// PRead is pread(2); ESPIPE for what has no position.
func (f *File) PRead(c Caller, dst *mm.Buffer, off int64) (int, error) {
	switch {
	case !validSpan(off, dst):
		return 0, unix.EINVAL
	case f.stream:
		return 0, unix.ESPIPE
	}
	if err := f.mayRead(); err != nil {
		return 0, err
	}
	n, err := f.ops.Read(c, dst, off)
	f.noteMoved(n, unix.IN_ACCESS)
	return n, err
}

// noteMoved tells who watches the file that n bytes were read or written.
func (f *File) noteMoved(n int, event uint32) {
	if n > 0 {
		f.path.Dentry.notify(event)
	}
}

// validSpan tells whether off and the end of what would be moved there are offsets.
func validSpan(off int64, b *mm.Buffer) bool {
	return off >= 0 && b.Len() <= math.MaxInt64-uint64(off)
}

func (f *File) mayRead() error {
	if !f.readable {
		return unix.EBADF
	}
	if f.kind == unix.S_IFDIR {
		return unix.EISDIR
	}
	return nil
}

// Write is write(2): from src to the position, or to the end with O_APPEND.
// ErrFileTooBig at RLIMIT_FSIZE.
func (f *File) Write(c Caller, src *mm.Buffer) (int, error) {
	return f.WriteAs(c, src, f.appends())
}

// appends tells whether writes go to the end.
func (f *File) appends() bool { return f.flags.Load()&unix.O_APPEND != 0 }

// WriteAs is Write with O_APPEND or without it, whatever the file has.
func (f *File) WriteAs(c Caller, src *mm.Buffer, appending bool) (int, error) {
	if !f.writable {
		return 0, unix.EBADF
	}
	if f.stream {
		n, err := f.ops.Write(c, src, 0)
		f.noteMoved(n, unix.IN_MODIFY)
		return n, err
	}
	f.posMu.Lock()
	defer f.posMu.Unlock()
	n, end, err := f.writeAt(c, src, f.pos, appending)
	if n > 0 {
		f.pos = end
	}
	return n, err
}

// PWrite is pwrite(2). With O_APPEND it appends all the same.
func (f *File) PWrite(c Caller, src *mm.Buffer, off int64) (int, error) {
	return f.PWriteAs(c, src, off, f.appends())
}

// PWriteAs is PWrite with O_APPEND or without it, whatever the file has.
func (f *File) PWriteAs(c Caller, src *mm.Buffer, off int64, appending bool) (int, error) {
	switch {
	case !validSpan(off, src):
		return 0, unix.EINVAL
	case f.stream:
		return 0, unix.ESPIPE
	case !f.writable:
		return 0, unix.EBADF
	}
	n, _, err := f.writeAt(c, src, off, appending)
	return n, err
}

// writeAt writes and returns where the written bytes end.
func (f *File) writeAt(c Caller, src *mm.Buffer, off int64, appending bool) (int, int64, error) {
	if f.kind != unix.S_IFREG {
		n, err := f.ops.Write(c, src, off)
		f.noteMoved(n, unix.IN_MODIFY)
		return n, off + int64(n), err
	}
	if src.Len() == 0 {
		return 0, off, nil
	}
	f.state.write.Lock()
	defer f.state.write.Unlock()
	if appending {
		attr, err := f.Attr()
		if err != nil {
			return 0, off, err
		}
		off = attr.Size
	}
	if err := limitWrite(c, src, off); err != nil {
		return 0, off, err
	}
	if err := dropPrivileges(c, f.path.Dentry); err != nil {
		return 0, off, err
	}
	n, err := f.ops.Write(c, src, off)
	f.noteMoved(n, unix.IN_MODIFY)
	return n, off + int64(n), err
}

// limitWrite cuts src at RLIMIT_FSIZE and at the greatest offset.
func limitWrite(c Caller, src *mm.Buffer, off int64) error {
	limit := c.FileSizeLimit()
	if limit < math.MaxInt64 {
		if uint64(off) >= limit {
			return ErrFileTooBig
		}
	} else {
		limit = math.MaxInt64
		if uint64(off) >= limit {
			return unix.EFBIG
		}
	}
	if room := limit - uint64(off); src.Len() > room {
		src.Take(room)
	}
	return nil
}

// Seek is lseek(2).
func (f *File) Seek(c Caller, off int64, whence int) (int64, error) {
	switch {
	case f.IsPath():
		return 0, unix.EBADF
	case whence < unix.SEEK_SET || whence > unix.SEEK_HOLE:
		return 0, unix.EINVAL
	case f.stream:
		if o, ok := f.ops.(SeekOps); ok {
			return o.Seek(c, 0, off, whence)
		}
		return 0, unix.ESPIPE
	}
	f.posMu.Lock()
	defer f.posMu.Unlock()
	var pos int64
	var err error
	if o, ok := f.ops.(SeekOps); ok {
		pos, err = o.Seek(c, f.pos, off, whence)
	} else {
		pos, err = f.seek(off, whence)
	}
	if err != nil {
		return 0, err
	}
	f.pos = pos
	return pos, nil
}

func (f *File) seek(off int64, whence int) (int64, error) {
	size := int64(0)
	if whence != unix.SEEK_SET && whence != unix.SEEK_CUR {
		attr, err := f.Attr()
		if err != nil {
			return 0, err
		}
		size = attr.Size
	}
	return SeekTo(f.pos, size, off, whence)
}

// SeekTo is lseek(2) for a file of the given size without holes. EINVAL for a
// negative result and one too great, ENXIO for SEEK_DATA beyond the end.
func SeekTo(cur, size, off int64, whence int) (int64, error) {
	base := int64(0)
	switch whence {
	case unix.SEEK_SET:
	case unix.SEEK_CUR:
		base = cur
	case unix.SEEK_END:
		base = size
	case unix.SEEK_DATA, unix.SEEK_HOLE:
		if off < 0 || off >= size {
			return 0, unix.ENXIO
		}
		if whence == unix.SEEK_HOLE {
			return size, nil
		}
		return off, nil
	default:
		return 0, unix.EINVAL
	}
	if off > 0 && base > math.MaxInt64-off {
		return 0, unix.EINVAL
	}
	if base+off < 0 {
		return 0, unix.EINVAL
	}
	return base + off, nil
}

// ReadDir gives the entries of a directory to emit, from the position on, until
// it returns false: that entry comes again next time. emit must not touch guest memory: the directory is locked.
func (f *File) ReadDir(c Caller, emit func(Dirent) bool) error {
	if f.IsPath() {
		return unix.EBADF
	}
	ops, ok := f.ops.(DirOps)
	if !ok {
		return unix.ENOTDIR
	}
	f.posMu.Lock()
	defer f.posMu.Unlock()
	f.state.dir.RLock()
	defer f.state.dir.RUnlock()
	if f.state.dead {
		return unix.ENOENT
	}
	err := ops.ReadDir(c, f.pos, func(e Dirent) bool {
		if !emit(e) {
			return false
		}
		f.pos = e.Next
		return true
	})
	f.path.Dentry.notify(unix.IN_ACCESS)
	return err
}

// Truncate is ftruncate(2): EINVAL for what is not a regular file open for writing.
func (f *File) Truncate(c Caller, size int64) error {
	if f.IsPath() {
		return unix.EBADF
	}
	if size < 0 || f.kind != unix.S_IFREG || !f.writable {
		return unix.EINVAL
	}
	return truncate(c, f.path, size)
}

// Allocate is fallocate(2).
func (f *File) Allocate(c Caller, mode uint32, off, length int64) error {
	const known = unix.FALLOC_FL_KEEP_SIZE | unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_ZERO_RANGE |
		unix.FALLOC_FL_COLLAPSE_RANGE | unix.FALLOC_FL_INSERT_RANGE | unix.FALLOC_FL_UNSHARE_RANGE
	switch {
	case f.IsPath():
		return unix.EBADF
	case off < 0 || length <= 0:
		return unix.EINVAL
	case mode&^known != 0:
		return unix.EOPNOTSUPP
	case mode&unix.FALLOC_FL_PUNCH_HOLE != 0 && mode != unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE:
		return unix.EOPNOTSUPP
	case !f.writable:
		return unix.EBADF
	case f.kind == unix.S_IFIFO:
		return unix.ESPIPE
	case f.kind == unix.S_IFDIR:
		return unix.EISDIR
	case f.kind != unix.S_IFREG && f.kind != unix.S_IFBLK:
		return unix.ENODEV
	case off > math.MaxInt64-length:
		return unix.EFBIG
	}
	ops, ok := f.ops.(AllocOps)
	if !ok {
		return unix.EOPNOTSUPP
	}
	if on := f.path.Dentry.flags(); on&FlagImmutable != 0 || on&FlagAppend != 0 && mode != unix.FALLOC_FL_KEEP_SIZE && mode != 0 {
		return unix.EPERM
	}
	f.state.write.Lock()
	defer f.state.write.Unlock()
	if limit := c.FileSizeLimit(); mode&unix.FALLOC_FL_KEEP_SIZE == 0 && uint64(off+length) > limit {
		return ErrFileTooBig
	}
	if err := dropPrivileges(c, f.path.Dentry); err != nil {
		return err
	}
	err := ops.Allocate(c, mode, off, length)
	if err == nil {
		f.path.Dentry.notify(unix.IN_MODIFY)
	}
	return err
}

// Mappable returns the file's pages for mmap(2); ENODEV where there are none.
func (f *File) Mappable() (mm.Mappable, error) {
	o, ok := f.ops.(MapOps)
	if !ok {
		return nil, unix.ENODEV
	}
	return o.Mappable()
}

// Sync is fsync(2), or with dataOnly fdatasync(2): EINVAL where it makes no sense.
func (f *File) Sync(dataOnly bool) error {
	if f.IsPath() {
		return unix.EBADF
	}
	if o, ok := f.ops.(SyncOps); ok {
		return o.Sync(dataOnly)
	}
	if f.kind != unix.S_IFREG && f.kind != unix.S_IFDIR && f.kind != unix.S_IFBLK {
		return unix.EINVAL
	}
	return nil
}

// Flush is called at each close(2) of a descriptor.
func (f *File) Flush(c Caller) error {
	if o, ok := f.ops.(FlushOps); ok {
		return o.Flush(c)
	}
	return nil
}

// Ioctl is ioctl(2); ENOTTY for what the file does not know.
func (f *File) Ioctl(c Caller, cmd uint32, arg uint64, mem *mm.MemoryManager) (uint64, error) {
	if f.IsPath() {
		return 0, unix.EBADF
	}
	if o, ok := f.ops.(IoctlOps); ok {
		return o.Ioctl(c, cmd, arg, mem)
	}
	return 0, unix.ENOTTY
}
