package cred

import (
	"math"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// UserNamespace is a user namespace as of user_namespaces(7). One without a parent is
// the initial one: it maps every id to itself, and its zero value is ready for use, as is a nil pointer where
// ids are only read.
//
// Tasks, other namespaces and open files that stand for it hold it; credentials that
// merely remember it do not. When nobody holds it any more, it no longer counts for
// who made it, but stays usable.
type UserNamespace struct {
	Parent *UserNamespace
	Owner  UID // effective ids of who made it
	Group  GID
	Level  int
	Most   Most

	ino          uint64
	couldSetFCap bool // its maker had CAP_SETFCAP, in Parent
	holders      atomic.Int64
	uncharge     func()

	// Set once, under mu.
	uids, gids, projects atomic.Pointer[IDMap]
	denySetgroups        atomic.Bool

	// Guarded by mu, which is held for one namespace at a time.
	mu     sync.Mutex
	counts map[UID]*[NumKinds]int64
	limits [NumKinds]int64 // see Limit
}

// Most is how much of what resource limits count the maker of a user namespace may have, in the namespace around it, for that to grow
// by what the namespace's users have: the limits the maker had then.
type Most struct {
	Tasks   uint64 // RLIMIT_NPROC
	Signals uint64 // RLIMIT_SIGPENDING
}

// maxLevel is the level of the innermost user namespace that can be.
const maxLevel = 33

// Kind is a kind of namespace, of which each user may make a number.
type Kind int

// Kinds of namespaces.
const (
	KindCgroup Kind = iota
	KindIPC
	KindMount
	KindNet
	KindPID
	KindTime
	KindUser
	KindUTS
	// NumKinds is how many kinds there are.
	NumKinds
)

// NewUserNamespace makes the namespace that c's clone(2) or unshare(2) with CLONE_NEWUSER asks for, and
// returns the credentials in it, which have every capability. The namespace is held once, for the caller.
// ENOSPC too deep or over a limit, EPERM where c's own ids have no meaning in its namespace.
func (c *Credentials) NewUserNamespace(ino uint64, most Most) (*Credentials, error) {
	parent := c.UserNS
	if parent.Level >= maxLevel {
		return nil, unix.ENOSPC
	}
	uncharge, err := parent.Charge(c.EUID, KindUser)
	if err != nil {
		return nil, err
	}
	if !parent.Has(c.EUID, c.EGID) {
		uncharge()
		return nil, unix.EPERM
	}
	ns := &UserNamespace{
		Parent: parent, Owner: c.EUID, Group: c.EGID, Level: parent.Level + 1, Most: most,
		ino: ino, couldSetFCap: c.Has(unix.CAP_SETFCAP), uncharge: uncharge,
	}
	ns.denySetgroups.Store(parent.denySetgroups.Load())
	parent.Hold()
	ns.Hold()
	return c.entered(ns), nil
}

// entered returns the credentials that c's task has once it is in ns.
func (c *Credentials) entered(ns *UserNamespace) *Credentials {
	n := c.Copy()
	n.UserNS = ns
	n.SecureBits, n.KeepCaps = 0, false
	n.Inheritable, n.Ambient = 0, 0
	n.Permitted, n.Effective, n.Bounding = AllCaps, AllCaps, AllCaps
	return n
}

// Enter returns the credentials after setns(2) into ns; EINVAL for the namespace that
// c is in, EPERM without CAP_SYS_ADMIN there.
func (c *Credentials) Enter(ns *UserNamespace) (*Credentials, error) {
	if ns == c.UserNS {
		return nil, unix.EINVAL
	}
	if !c.HasIn(unix.CAP_SYS_ADMIN, ns) {
		return nil, unix.EPERM
	}
	return c.entered(ns), nil
}

// Ino is the inode number of the namespace's file.
func (ns *UserNamespace) Ino() uint64 { return ns.ino }

// SetIno numbers the initial namespace, before anyone uses it.
func (ns *UserNamespace) SetIno(ino uint64) { ns.ino = ino }

// Initial tells whether ns is the sandbox's initial namespace.
func (ns *UserNamespace) Initial() bool { return ns == nil || ns.Parent == nil }

// Within tells whether ns is top or a descendant of it.
func (ns *UserNamespace) Within(top *UserNamespace) bool {
	for ; ns != nil; ns = ns.Parent {
		if ns == top {
			return true
		}
	}
	return false
}

// Hold keeps the namespace counted until Drop.
func (ns *UserNamespace) Hold() { ns.holders.Add(1) }

// Drop ends one Hold.
func (ns *UserNamespace) Drop() {
	for ns != nil && ns.holders.Add(-1) == 0 && ns.Parent != nil {
		ns.uncharge()
		ns = ns.Parent
	}
}

// TryHold is Hold unless nobody holds the namespace any more.
func (ns *UserNamespace) TryHold() bool {
	for {
		n := ns.holders.Load()
		if n == 0 {
			return false
		}
		if ns.holders.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Holders is how many hold the namespace, for those who look for leaks.
func (ns *UserNamespace) Holders() int64 { return ns.holders.Load() }

// Made is how many namespaces of a kind are charged to uid in ns.
func (ns *UserNamespace) Made(uid UID, k Kind) int64 {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if c := ns.counts[uid]; c != nil {
		return c[k]
	}
	return 0
}

// Charge counts one more namespace of a kind made by uid in ns, and for the owners of ns and its
// ancestors there. ENOSPC over a limit (namespaces(7), /proc/sys/user).
func (ns *UserNamespace) Charge(uid UID, k Kind) (uncharge func(), err error) {
	for at, who := ns, uid; at != nil; at, who = at.Parent, at.Owner {
		if !at.count(who, k, 1) {
			takeBack(ns, uid, at, k)
			return nil, unix.ENOSPC
		}
	}
	return sync.OnceFunc(func() { takeBack(ns, uid, nil, k) }), nil
}

// takeBack takes back what Charge counted, up to but not in end.
func takeBack(ns *UserNamespace, uid UID, end *UserNamespace, k Kind) {
	for at, who := ns, uid; at != end; at, who = at.Parent, at.Owner {
		at.count(who, k, -1)
	}
}

// count changes a count, but not to more than the limit.
func (ns *UserNamespace) count(uid UID, k Kind, delta int64) bool {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	c := ns.counts[uid]
	if c == nil {
		c = new([NumKinds]int64)
	}
	if delta > 0 && c[k] >= ns.limitLocked(k) {
		return false
	}
	c[k] += delta
	if *c == ([NumKinds]int64{}) {
		delete(ns.counts, uid)
		return true
	}
	if ns.counts == nil {
		ns.counts = map[UID]*[NumKinds]int64{}
	}
	ns.counts[uid] = c
	return true
}

// initialLimit is how many namespaces of a kind a user may have at first.
const initialLimit = 16384

// Limit returns how many namespaces of a kind each user may have that were made in ns or below.
func (ns *UserNamespace) Limit(k Kind) int64 {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	return ns.limitLocked(k)
}

// limitLocked: limits hold one more than the limit, 0 for what was never set.
func (ns *UserNamespace) limitLocked(k Kind) int64 {
	switch {
	case ns.limits[k] > 0:
		return ns.limits[k] - 1
	case ns.Parent == nil:
		return initialLimit
	}
	return math.MaxInt32
}

// SetLimit sets it.
func (ns *UserNamespace) SetLimit(k Kind, n int64) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	ns.limits[k] = n + 1
}
