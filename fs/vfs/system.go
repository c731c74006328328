package vfs

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// keptDentries is how many names a System keeps that nobody uses.
const keptDentries = 8192

// maxMounts bounds the mounts of one namespace.
const maxMounts = 100000

// maxAllMounts bounds the mounts of all namespaces: each costs the sentry memory.
const maxAllMounts = 1 << 18

// defaultPipeMax is Linux's.
const defaultPipeMax = 1 << 20

// defaultLeaseBreak is Linux's time for holders of leases, in seconds.
const defaultLeaseBreak = 45

// System is what all mount namespaces of one kernel have in common: device
// numbers, the ring of kept dentries, files without a name.
type System struct {
	seed maphash.Seed
	ring ring

	minor   atomic.Uint32
	mountID atomic.Uint64
	nsID    atomic.Uint64
	ino     atomic.Uint64 // of files without a name

	// renames and moves count changes of the trees and of the mounts, for
	// walks that must notice them.
	renames atomic.Uint64
	moves   atomic.Uint64

	files atomic.Int64 // open files

	// privileged counts what may have given any file set-id bits or file capabilities, from 1 on. It is common to
	// all, since a file with several names may have several inodes.
	privileged atomic.Uint64

	// nesting is held while one epoll instance is added to another.
	nesting sync.Mutex
	watches atomic.Int64

	pipeBytes Budget
	// PipeMax is how large a pipe may be made by who is not privileged, in bytes.
	PipeMax atomic.Int64

	inotify inotifySystem
	async   asyncSystem
	// LeaseBreak is how many seconds the holder of a lease has when it is broken.
	LeaseBreak atomic.Int64

	pipes, sockets, anon, nsfs *Mount

	// mounts bounds the mounts of all namespaces together.
	mounts *Budget

	// mountMu guards the trees of mounts of all namespaces, which propagation connects.
	mountMu sync.Mutex
	// groups are the numbers of peer groups in use; guarded by mountMu.
	groups groupNumbers
}

// NewSystem returns a System with no mounts.
func NewSystem() *System {
	s := &System{seed: maphash.MakeSeed(), ring: ring{max: keptDentries}, pipeBytes: Budget{limit: PipeBytes}}
	s.ino.Store(1)
	s.privileged.Store(1)
	s.LeaseBreak.Store(defaultLeaseBreak)
	s.inotify.init()
	s.PipeMax.Store(defaultPipeMax)
	s.anon = s.hidden("anon_inodefs")
	s.pipes = s.hidden("pipefs")
	s.sockets = s.hidden("sockfs")
	s.nsfs = s.hidden("nsfs")
	s.mounts = NewBudget(maxAllMounts)
	return s
}

// hidden makes a mount of no namespace, for files without a name.
func (s *System) hidden(fstype string) *Mount {
	fs := &fileSystem{sys: s, minor: s.minor.Add(1), fstype: fstype}
	root := &dirStub{}
	fs.root, _ = newDentry(fs, nil, "/", root)
	return &Mount{id: s.mountID.Add(1), fs: fs, root: fs.root, source: fstype}
}

// dirStub is the root of a file system that has no tree.
type dirStub struct{ NoInode }

func (*dirStub) Attr() (Attr, error) { return Attr{Ino: 1, Mode: unix.S_IFDIR | 0o555, Nlink: 2}, nil }

func (s *System) hash(name string) uint64 { return maphash.String(s.seed, name) }

// DropCache forgets every name that nobody uses, once the garbage is collected.
func (s *System) DropCache() { s.ring.drop() }

// NextIno returns an inode number for a file without a name.
func (s *System) NextIno() uint64 { return s.ino.Add(1) }

// fileSystem is one instance of a file system, however often it is mounted.
type fileSystem struct {
	sys    *System
	minor  uint32 // of its device; the major is 0
	fstype string
	root   *Dentry
	// readOnly says that no mount of it can be written to.
	readOnly atomic.Bool
	owner    atomic.Value // whoever it was made for

	// renameMu is held by renames between directories, so that ancestors stay.
	renameMu sync.Mutex
}
