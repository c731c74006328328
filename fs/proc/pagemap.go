package proc

import (
	"encoding/binary"

	"gosentry/fs/pseudo"
	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// pageMap is /proc/PID/pagemap: a word for each page of a process. Where a page lies is not told, as it is not told
// to those without CAP_SYS_ADMIN on Linux.
type pageMap struct {
	*pseudo.File
	d *taskDir
}

func newPageMap(d *taskDir) *pageMap { return &pageMap{d.file(0o400, nil, nil).File, d} }

// Open implements vfs.Inode.
func (f *pageMap) Open(c vfs.Caller, _ int) (vfs.FileOps, error) {
	m, err := f.d.openMemory(c, false)
	if err != nil {
		return nil, err
	}
	return &pageMapOps{m: m}, nil
}

type pageMapOps struct {
	addressed
	m *mm.MemoryManager
}

// Bits of a page's word (the kernel's pagemap documentation).
const (
	pageGuard   = 1<<58 | 1<<62 // as something in swap
	pageInFile  = 1 << 61
	pagePresent = 1 << 63

	wordSize = 8
	// endOfWords is where the words of all 2^64 addresses end.
	endOfWords = 1 << 64 / mm.PageSize * wordSize
	// wordsAtOnce is how many pages are looked at in one step.
	wordsAtOnce = 4096
)

// Read gives words; EINVAL for a part of one.
func (o *pageMapOps) Read(c vfs.Caller, dst *mm.Buffer, off int64) (int, error) {
	if off < 0 || off%wordSize != 0 || dst.Len()%wordSize != 0 {
		return 0, unix.EINVAL
	}
	if off >= endOfWords || !o.m.IncUsers() {
		return 0, nil
	}
	defer o.m.DecUsers()
	done := 0
	for dst.Len() > 0 && !(done > 0 && c.Interrupted()) {
		pages := make([]byte, min(dst.Len()/wordSize, wordsAtOnce))
		pages = pages[:o.m.Present(mm.Addr(uint64(off)/wordSize*mm.PageSize), pages)]
		words := make([]byte, 0, len(pages)*wordSize)
		for _, p := range pages {
			words = binary.NativeEndian.AppendUint64(words, pageWord(p))
		}
		n, err := dst.CopyOut(words)
		done, off = done+n, off+int64(n)
		if err != nil && done == 0 {
			return 0, err
		}
		if err != nil || len(words) == 0 {
			break
		}
	}
	return done, nil
}

func pageWord(p byte) (word uint64) {
	switch {
	case p&mm.PageGuard != 0:
		return pageGuard
	case p&mm.PagePresent == 0:
		return 0
	}
	if p&mm.PageOfFile != 0 {
		word = pageInFile
	}
	return word | pagePresent
}

// Write implements vfs.FileOps.
func (*pageMapOps) Write(vfs.Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EINVAL }
