package pseudo

import (
	"bytes"
	"sync"

	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// Generate writes a file's content into b.
type Generate func(c vfs.Caller, b *bytes.Buffer) error

// Store takes what was written in one write(2), at most a page.
type Store func(c vfs.Caller, data []byte) error

// File is a regular file whose content is generated anew at each read from the start.
type File struct {
	Node
	generate Generate
	store    Store
}

// NewFile makes a file that can be read.
func (fs *FS) NewFile(mode uint32, generate Generate) *File { return fs.NewKnob(mode, generate, nil) }

// NewKnob makes a file that can be read (EINVAL where generate is nil) and written (EINVAL where store is nil).
func (fs *FS) NewKnob(mode uint32, generate Generate, store Store) *File {
	f := &File{generate: generate, store: store}
	f.Init(fs, unix.S_IFREG|mode)
	return f
}

// NewText makes a file with fixed content.
func (fs *FS) NewText(mode uint32, text string) *File {
	return fs.NewFile(mode, func(_ vfs.Caller, b *bytes.Buffer) error {
		b.WriteString(text)
		return nil
	})
}

// Open implements vfs.Inode.
func (f *File) Open(vfs.Caller, int) (vfs.FileOps, error) { return &openFile{file: f}, nil }

// keepMost is how much content an open file keeps, in bytes: a guest can have many.
const keepMost = 16 << 10

// openFile keeps the content as it was when it was read from the start, so that
// what is read in pieces is of a piece; more than keepMost is generated anew at each read.
type openFile struct {
	file *File

	mu      sync.Mutex
	content []byte
	filled  bool
}

func (o *openFile) Read(c vfs.Caller, dst *mm.Buffer, off int64) (int, error) {
	if o.file.generate == nil {
		return 0, unix.EINVAL
	}
	content, err := o.snapshot(c, off == 0)
	if err != nil {
		return 0, err
	}
	if off >= int64(len(content)) {
		return 0, nil
	}
	return dst.CopyOut(content[off:])
}

func (o *openFile) snapshot(c vfs.Caller, fresh bool) ([]byte, error) {
	o.mu.Lock()
	content, filled := o.content, o.filled
	o.mu.Unlock()
	if filled && !fresh {
		return content, nil
	}
	var b bytes.Buffer
	if err := o.file.generate(c, &b); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.content, o.filled = nil, b.Len() <= keepMost
	if o.filled {
		o.content = b.Bytes()
	}
	return b.Bytes(), nil
}

func (o *openFile) Write(c vfs.Caller, src *mm.Buffer, _ int64) (int, error) {
	if o.file.store == nil {
		return 0, unix.EINVAL
	}
	data := make([]byte, min(src.Len(), mm.PageSize))
	n, err := src.CopyIn(data)
	if err != nil {
		return 0, err
	}
	if err := o.file.store(c, data[:n]); err != nil {
		return 0, err
	}
	return n, nil
}

// Seek implements vfs.SeekOps: such files have no end to count from.
func (o *openFile) Seek(_ vfs.Caller, cur, off int64, whence int) (int64, error) {
	if whence != unix.SEEK_SET && whence != unix.SEEK_CUR {
		return 0, unix.EINVAL
	}
	return vfs.SeekTo(cur, 0, off, whence)
}

func (*openFile) Release() {}
