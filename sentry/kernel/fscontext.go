package kernel

import (
	"sync"
	"sync/atomic"

	"gosentry/fs/vfs"
)

// FSContext is root directory, working directory and umask, shared by tasks
// cloned with CLONE_FS.
type FSContext struct {
	refs atomic.Int32

	// Guarded by mu.
	mu    sync.RWMutex
	root  vfs.Path
	cwd   vfs.Path
	umask uint32
}

func newFSContext(root, cwd vfs.Path, umask uint32) *FSContext {
	root.Hold()
	cwd.Hold()
	f := &FSContext{root: root, cwd: cwd, umask: umask}
	f.refs.Store(1)
	return f
}

func (f *FSContext) incRef() *FSContext {
	f.refs.Add(1)
	return f
}

// decRef drops a reference. The places stay known after the last one, for what looks at a task that ends,
// but no longer keep their mounts busy.
func (f *FSContext) decRef() {
	if f.refs.Add(-1) != 0 {
		return
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	f.root.Unhold()
	f.cwd.Unhold()
}

func (f *FSContext) fork() *FSContext {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return newFSContext(f.root, f.cwd, f.umask)
}

// Root returns the root directory.
func (f *FSContext) Root() vfs.Path {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.root
}

// CWD returns the working directory.
func (f *FSContext) CWD() vfs.Path {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.cwd
}

// Umask returns the file-creation mask.
func (f *FSContext) Umask() uint32 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.umask
}

// SetRoot replaces the root directory (chroot(2)).
func (f *FSContext) SetRoot(p vfs.Path) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.Hold()
	f.root.Unhold()
	f.root = p
}

// SetCWD replaces the working directory (chdir(2)).
func (f *FSContext) SetCWD(p vfs.Path) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.Hold()
	f.cwd.Unhold()
	f.cwd = p
}

// move replaces both directories by what to makes of them.
func (f *FSContext) move(to func(vfs.Path) vfs.Path) {
	f.SetRoot(to(f.Root()))
	f.SetCWD(to(f.CWD()))
}

// SetUmask replaces the mask and returns the old one.
func (f *FSContext) SetUmask(m uint32) uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.umask
	f.umask = m & 0o777
	return old
}
