package tty

import (
	"gosentry/fs/vfs"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// Size is that of a window (struct winsize): rows, columns, and its width and height in pixels.
type Size [4]uint16

// OpenPair makes a pair whose slave belongs to uid and can be opened at once, for a master that nobody inside has. ENOSPC as of Open.
func (fs *FileSystem) OpenPair(c vfs.Caller, uid cred.UID, gid cred.GID) (*Master, error) {
	ops, err := fs.Open(c, unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	m := ops.(*Master)
	if fs.options.hasGID {
		gid = fs.options.gid
	}
	m.t.node.SetOwner(uid, gid)
	m.t.mu.Lock()
	m.t.locked = false
	m.t.mu.Unlock()
	return m, nil
}

// Resize changes the size of the window, and tells the foreground group if it is another.
func (t *Terminal) Resize(size Size) {
	t.mu.Lock()
	if size != t.size {
		t.size = size
		t.signals = append(t.signals, unix.SIGWINCH)
	}
	t.unlock(0, 0)
}

// SetNewlines says whether a newline that a program writes becomes a carriage return and a newline (ONLCR).
func (t *Terminal) SetNewlines(on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.termios.Output &^= unix.ONLCR
	if on {
		t.termios.Output |= unix.ONLCR
	}
}
