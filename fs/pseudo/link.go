package pseudo

import (
	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// Symlink is a symbolic link with a computed text.
type Symlink struct {
	Node
	text func(c vfs.Caller) (string, error)
}

// NewSymlink makes a symbolic link.
func (fs *FS) NewSymlink(text func(c vfs.Caller) (string, error)) *Symlink {
	l := &Symlink{text: text}
	l.Init(fs, unix.S_IFLNK|0o777)
	return l
}

// NewFixedSymlink makes a symbolic link to one name.
func (fs *FS) NewFixedSymlink(target string) *Symlink {
	return fs.NewSymlink(func(vfs.Caller) (string, error) { return target, nil })
}

// Readlink implements vfs.Inode.
func (l *Symlink) Readlink(c vfs.Caller) (string, error) { return l.text(c) }

// Link is a link to an object: /proc/self/fd/3. Its mode may say what the file was opened for.
type Link struct {
	Node
	text   func(c vfs.Caller) (string, error)
	target func(c vfs.Caller) (vfs.Path, error)
}

// NewLink makes a link that reads as text and leads to target.
func (fs *FS) NewLink(mode uint32, text func(c vfs.Caller) (string, error), target func(c vfs.Caller) (vfs.Path, error)) *Link {
	l := &Link{text: text, target: target}
	l.Init(fs, unix.S_IFLNK|mode)
	return l
}

// Readlink implements vfs.Inode.
func (l *Link) Readlink(c vfs.Caller) (string, error) { return l.text(c) }

// Target implements vfs.MagicLink.
func (l *Link) Target(c vfs.Caller) (vfs.Path, error) { return l.target(c) }

// Device is a device node.
type Device struct {
	Node
	major, minor uint32
	open         func(c vfs.Caller, flags int) (vfs.FileOps, error)
}

// NewDevice makes a device node; mode has the type.
func (fs *FS) NewDevice(mode, major, minor uint32, open func(c vfs.Caller, flags int) (vfs.FileOps, error)) *Device {
	d := &Device{major: major, minor: minor, open: open}
	d.Init(fs, mode)
	return d
}

// Attr implements vfs.Inode.
func (d *Device) Attr() (vfs.Attr, error) {
	a, err := d.Node.Attr()
	a.RdevMajor, a.RdevMinor = d.major, d.minor
	return a, err
}

// Open implements vfs.Inode.
func (d *Device) Open(c vfs.Caller, flags int) (vfs.FileOps, error) { return d.open(c, flags) }

// All types are inodes.
var _ = [...]vfs.Inode{(*Node)(nil), (*Dir)(nil), (*SourceDir)(nil), (*File)(nil), (*Symlink)(nil), (*Link)(nil), (*Device)(nil)}
