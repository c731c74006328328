package vfs

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// InodeState is the VFS's share of an inode. Every Inode has one for all its
// life; its zero value is ready.
type InodeState struct {
	// dir guards a directory's entries; see Inode.
	dir sync.RWMutex

	// write is held by writers of a regular file and by truncation, so that a
	// write is seen whole by other writers and an append lands at the end.
	write sync.Mutex

	mu sync.Mutex
	// writers counts open files that may write, or when negative, those that forbid it
	// (programs being run).
	writers int32
	// locks are the advisory locks, nil while there never were any.
	locks *lockTable
	// object is what a name is bound to besides the inode: a listening socket.
	object any

	// dead is set under dir when a directory was removed: nothing can be made in it.
	dead bool

	// watches are the inotify watches of the inode, replaced under mu and never changed; nil for none.
	watches atomic.Pointer[[]*watch]
	// opens counts open files.
	opens atomic.Int64
	// readers counts open files that only read, of regular files.
	readers atomic.Int64
	// leased counts leases, and whoever is about to take one.
	leased atomic.Int32

	// plain is what System.privileged was when a write found no set-id bits and no file capabilities to clear, 0 for never.
	plain atomic.Uint64
	// linkable marks an unnamed file (O_TMPFILE) that may still be given a name.
	linkable atomic.Bool
	// hint is what F_SET_RW_HINT said (RWH_WRITE_LIFE_*).
	hint atomic.Uint32
}

// LockWrite takes the lock that writers and truncation of a regular file hold. It
// is for file systems that move data by themselves.
func (s *InodeState) LockWrite() { s.write.Lock() }

// UnlockWrite releases what LockWrite took.
func (s *InodeState) UnlockWrite() { s.write.Unlock() }

// SetObject binds an object to the inode, such as the socket of a bound address.
func (s *InodeState) SetObject(o any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.object = o
}

// Object returns what SetObject bound, nil for nothing.
func (s *InodeState) Object() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.object
}

// addWriter counts one more writable open file; ETXTBSY while a program runs from it.
func (s *InodeState) addWriter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writers < 0 {
		return unix.ETXTBSY
	}
	s.writers++
	return nil
}

func (s *InodeState) dropWriter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writers--
}

// denyWrite forbids writers; ETXTBSY when there are some.
func (s *InodeState) denyWrite() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writers > 0 {
		return unix.ETXTBSY
	}
	s.writers--
	return nil
}

func (s *InodeState) allowWrite() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writers++
}
