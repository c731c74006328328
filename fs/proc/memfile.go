package proc

import (
	"gosentry/fs/pseudo"
	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// memFile is /proc/PID/mem: the memory of a process, at its own addresses.
type memFile struct {
	*pseudo.File
	d *taskDir
}

func newMemFile(d *taskDir) *memFile { return &memFile{d.file(0o600, nil, nil).File, d} }

// Open implements vfs.Inode.
func (f *memFile) Open(c vfs.Caller, _ int) (vfs.FileOps, error) {
	m, err := f.d.openMemory(c, true)
	if err != nil {
		return nil, err
	}
	return &memOps{m: m}, nil
}

// memOps is an open memFile.
type memOps struct {
	addressed
	m *mm.MemoryManager
}

// memStep is how many bytes are moved at a time.
const memStep = 64 << 10

// Read gives memory, whatever its protection; EIO where there is none.
func (o *memOps) Read(c vfs.Caller, dst *mm.Buffer, off int64) (int, error) {
	return o.move(c, dst.Len(), off, func(at mm.Addr, chunk []byte) (int, error) {
		n, err := o.m.CopyInForce(at, chunk)
		if n == 0 && err != nil {
			return 0, unix.EIO
		}
		return dst.CopyOut(chunk[:n])
	})
}

// Write changes memory as ptrace(2) does.
func (o *memOps) Write(c vfs.Caller, src *mm.Buffer, off int64) (int, error) {
	return o.move(c, src.Len(), off, func(at mm.Addr, chunk []byte) (int, error) {
		n, err := src.CopyIn(chunk)
		if err != nil {
			return 0, err
		}
		done, err := o.m.CopyOutForce(at, chunk[:n])
		if done == 0 && err != nil {
			return 0, unix.EIO
		}
		return done, nil
	})
}

// move moves length bytes from off on in chunks, until one is short.
func (o *memOps) move(c vfs.Caller, length uint64, off int64, chunk func(mm.Addr, []byte) (int, error)) (int, error) {
	if length == 0 {
		return 0, nil
	}
	if !o.m.IncUsers() {
		return 0, nil
	}
	defer o.m.DecUsers()
	buf := make([]byte, min(length, memStep))
	done := uint64(0)
	for done < length {
		at := uint64(off) + done
		if at == 0 && done > 0 {
			break
		}
		want := min(length-done, memStep)
		if at > -want {
			want = -at // up to the end of all addresses
		}
		n, err := chunk(mm.Addr(at), buf[:want])
		done += uint64(n)
		if err != nil && done == 0 {
			return 0, err
		}
		if err != nil || uint64(n) < want || c.Interrupted() {
			break
		}
	}
	return int(done), nil
}

// addressed are the operations of a file whose positions stand for addresses, that it does not keep.
type addressed struct{}

// Seek takes any address, also those that are negative offsets.
func (addressed) Seek(_ vfs.Caller, cur, off int64, whence int) (int64, error) {
	switch whence {
	case unix.SEEK_SET:
		return off, nil
	case unix.SEEK_CUR:
		return cur + off, nil
	}
	return 0, unix.EINVAL
}

// Release has nothing to give back.
func (addressed) Release() {}
