package ipc

import (
	"sync/atomic"

	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// Process is the identity of a process, as the kernel has it; it is only kept and given back.
type Process any

// Caller is who makes a call.
type Caller struct {
	Creds   *cred.Credentials
	Process Process
	// MemLock is the caller's RLIMIT_MEMLOCK in bytes.
	MemLock uint64
}

// Flags of the get calls (sysvipc(7)) that package unix lacks.
const (
	Create    = 0o1000 // IPC_CREAT
	Exclusive = 0o2000 // IPC_EXCL
	NoWait    = 0o4000 // IPC_NOWAIT
	Private   = 0      // the key IPC_PRIVATE
)

const permissions = 0o777

// Rights asked for, in the form of one class of a mode.
const (
	mayRead  = 0o4
	mayWrite = 0o2
	mayExec  = 0o1
)

// Perm is the part that all objects have in common (struct ipc_perm).
type Perm struct {
	Key       int32
	ID        int32
	UID, CUID cred.UID
	GID, CGID cred.GID
	Mode      uint32 // permissions, and for shared memory SHM_DEST and SHM_LOCKED
	Seq       uint16
}

// NewOwner is what IPC_SET may change of every object.
type NewOwner struct {
	UID  cred.UID
	GID  cred.GID
	Mode uint32
}

func (p *Perm) setOwner(o NewOwner) {
	p.UID, p.GID = o.UID, o.GID
	p.Mode = p.Mode&^permissions | o.Mode&permissions
}

// check gives EACCES unless the caller has all the rights in want, in any class of a mode.
func (p *Perm) check(c *Caller, ns *cred.UserNamespace, want uint32) error {
	asked := want>>6 | want>>3 | want
	granted := p.Mode
	switch creds := c.Creds; {
	case creds.EUID == p.CUID || creds.EUID == p.UID:
		granted >>= 6
	case creds.InGroup(p.CGID) || creds.InGroup(p.GID):
		granted >>= 3
	}
	if asked&^granted&7 != 0 && !c.Creds.HasIn(unix.CAP_IPC_OWNER, ns) {
		return unix.EACCES
	}
	return nil
}

// checkOwner gives EPERM unless the caller may change or remove the object.
func (p *Perm) checkOwner(c *Caller, ns *cred.UserNamespace) error {
	if c.Creds.EUID == p.CUID || c.Creds.EUID == p.UID || c.Creds.HasIn(unix.CAP_SYS_ADMIN, ns) {
		return nil
	}
	return unix.EPERM
}

// Budget bounds the sentry's memory behind objects, in bytes. It is safe for concurrent use.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget returns a budget of limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Used is how much is in use.
func (b *Budget) Used() int64 { return b.used.Load() }

// Take takes n bytes; ENOMEM when they are not left.
func (b *Budget) Take(n int) error {
	if b.used.Add(int64(n)) > b.limit {
		b.used.Add(-int64(n))
		return unix.ENOMEM
	}
	return nil
}

// Give gives n bytes back.
func (b *Budget) Give(n int) { b.used.Add(-int64(n)) }

// Costs in bytes of what is charged besides its payload, generous rather than exact.
const (
	objectCost  = 512
	waiterCost  = 256
	messageCost = 96
	undoCost    = 160
	attachCost  = 160
)
