package syscalls

import (
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/kernel"
)

// copyChunk is how much is moved at once between two files, in bytes.
const copyChunk = 64 << 10

// Copy moves up to length bytes from in to out through a buffer of the sentry's.
// inOff and outOff are positions to use and advance instead of the files' own;
// nil for those. It stops at the end of in, or when a signal is due.
func Copy(t *kernel.Task, out, in *vfs.File, outOff, inOff *int64, length uint64) (int, error) {
	buf := make([]byte, min(length, copyChunk))
	done := 0
	for uint64(done) < length {
		n, err := readChunk(t, in, buf[:min(uint64(len(buf)), length-uint64(done))], inOff)
		if n > 0 {
			var w int
			w, err = writeChunk(t, out, buf[:n], outOff)
			done += w
			rewind(t, in, inOff, n-w)
			if err == nil && w < n {
				return done, nil
			}
		}
		if err != nil && done == 0 {
			return 0, err
		}
		if err != nil || n <= 0 || t.Interrupted() {
			break
		}
	}
	return done, nil
}

func readChunk(t *kernel.Task, f *vfs.File, b []byte, off *int64) (int, error) {
	if off == nil {
		return Read(t, f, mm.BytesBuffer(b))
	}
	n, err := PRead(t, f, mm.BytesBuffer(b), *off)
	*off += int64(max(n, 0))
	return n, err
}

func writeChunk(t *kernel.Task, f *vfs.File, b []byte, off *int64) (int, error) {
	if off == nil {
		return Write(t, f, mm.BytesBuffer(b))
	}
	n, err := PWrite(t, f, mm.BytesBuffer(b), *off)
	*off += int64(max(n, 0))
	return n, err
}

// rewind gives back what was read and not written.
func rewind(t *kernel.Task, f *vfs.File, off *int64, n int) {
	switch {
	case n <= 0:
	case off != nil:
		*off -= int64(n)
	default:
		f.Seek(t, int64(-n), 1) //nolint:errcheck // a stream has no way back
	}
}
