// Package fstest compares a file system behind the VFS with a directory of the host.
//
// FS is what both sides can do, by path below their root; Guest does it through
// fs/vfs as a sandboxed program would, Host with the host's own calls. Snapshot
// describes a whole tree, so that after any operation both can be compared.
package fstest

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// FS is one side of a comparison. Errors are unix.Errno.
type FS interface {
	Create(path string, mode uint32) error // O_CREAT|O_EXCL|O_WRONLY
	WriteAt(path string, data []byte, off int64) error
	Append(path string, data []byte) error
	ReadFile(path string) ([]byte, error)
	OpenTrunc(path string) error
	Truncate(path string, size int64) error
	Mkdir(path string, mode uint32) error
	Mkfifo(path string, mode uint32) error
	Rmdir(path string) error
	Unlink(path string) error
	Rename(from, to string, flags uint32) error
	Link(from, to string) error
	Symlink(target, path string) error
	Readlink(path string) (string, error)
	Chmod(path string, mode uint32) error
	Chown(path string, uid, gid uint32) error
	Utimes(path string, sec int64) error
	Lstat(path string) (Stat, error)
	Stat(path string) (Stat, error)
	List(path string) ([]string, error)
	SetXattr(path, name, value string, flags int) error
	GetXattr(path, name string) (string, error)
	ListXattr(path string) ([]string, error)
	RemoveXattr(path, name string) error
}

// Stat is what both sides must agree on.
type Stat struct {
	Mode     uint32
	Nlink    uint32
	UID, GID uint32
	Size     int64 // of regular files and symbolic links
	Mtime    int64 // in seconds
	Rdev     uint64
	Ino      uint64 // not compared
}

func (s Stat) String() string {
	return fmt.Sprintf("%o links %d owner %d:%d size %d rdev %x", s.Mode, s.Nlink, s.UID, s.GID, s.Size, s.Rdev)
}

// Options choose what Snapshot tells.
type Options struct {
	NoLinks bool // leave link counts out
}

// Snapshot describes the tree below dir, one line a file.
func Snapshot(fs FS, dir string, o Options) string {
	var b strings.Builder
	snapshot(&b, fs, dir, o)
	return b.String()
}

func snapshot(b *strings.Builder, fs FS, at string, o Options) {
	st, err := fs.Lstat(at)
	if err != nil {
		fmt.Fprintf(b, "%s: %v\n", at, err)
		return
	}
	if o.NoLinks {
		st.Nlink = 0
	}
	fmt.Fprintf(b, "%s: %v", at, st)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		data, err := fs.ReadFile(at)
		fmt.Fprintf(b, " %s %v", digest(data), err)
	case unix.S_IFLNK:
		text, err := fs.Readlink(at)
		fmt.Fprintf(b, " -> %q %v", text, err)
	}
	names, _ := fs.ListXattr(at)
	slices.Sort(names)
	for _, name := range names {
		if strings.HasPrefix(name, "user.") {
			value, err := fs.GetXattr(at, name)
			fmt.Fprintf(b, " %s=%q %v", name, value, err)
		}
	}
	b.WriteByte('\n')
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return
	}
	entries, err := fs.List(at)
	if err != nil {
		fmt.Fprintf(b, "%s: list: %v\n", at, err)
	}
	for _, name := range entries {
		snapshot(b, fs, path.Join(at, name), o)
	}
}

// digest shows short content, and counts the bytes of long content by value.
func digest(data []byte) string {
	if len(data) <= 64 {
		return fmt.Sprintf("%q", data)
	}
	var sum uint64
	for i, c := range data {
		sum = sum*1099511628211 + uint64(c) + uint64(i)
	}
	return fmt.Sprintf("%d bytes %x", len(data), sum)
}
