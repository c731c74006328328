package kernel

import (
	"sync/atomic"

	"gosentry/sentry/cred"
)

// Inode numbers of the initial namespaces, as on Linux, and the first of all others.
const (
	inoMountNS = 4026531832 + iota
	inoNetNS
	inoTimeNS
	inoCgroupNS
	inoPIDNS
	inoUserNS
	inoUTSNS
	inoIPCNS
	firstNSIno
)

// nextNSIno returns an inode number for a new namespace.
func (k *Kernel) nextNSIno() uint64 { return firstNSIno + k.lastNSIno.Add(1) - 1 }

// nsCommon is what namespaces of all kinds but user namespaces have in common. It is counted: by the tasks in it,
// files that stand for it, and what else needs it. With the last reference it no longer counts for who
// made it, and close is called.
type nsCommon struct {
	kind  cred.Kind
	ino   uint64 // inode number in /proc/PID/ns
	owner *cred.UserNamespace

	refs     atomic.Int64
	uncharge func()
	close    func() // nil for nothing to do; called with no lock of this package held but perhaps Kernel.tree
}

// initFirst makes the initial namespace of its kind, which nobody is charged for.
func (n *nsCommon) initFirst(k *Kernel, kind cred.Kind, ino uint64) {
	n.kind, n.ino, n.owner, n.uncharge = kind, ino, k.rootUserNS, func() {}
	n.owner.Hold()
	n.refs.Store(1)
}

// initFor makes a namespace that the holder of c asked for, with one reference. ENOSPC over a limit.
func (n *nsCommon) initFor(k *Kernel, kind cred.Kind, c *cred.Credentials) error {
	uncharge, err := c.UserNS.Charge(c.EUID, kind)
	if err != nil {
		return err
	}
	n.kind, n.ino, n.owner, n.uncharge = kind, k.nextNSIno(), c.UserNS, uncharge
	n.owner.Hold()
	n.refs.Store(1)
	return nil
}

// Owner returns the user namespace whose capabilities count for the namespace.
func (n *nsCommon) Owner() *cred.UserNamespace { return n.owner }

// Ino returns the inode number of the namespace's file.
func (n *nsCommon) Ino() uint64 { return n.ino }

func (n *nsCommon) incRef() { n.refs.Add(1) }

// tryIncRef is incRef unless the last reference has gone.
func (n *nsCommon) tryIncRef() bool {
	for {
		r := n.refs.Load()
		if r == 0 {
			return false
		}
		if n.refs.CompareAndSwap(r, r+1) {
			return true
		}
	}
}

func (n *nsCommon) decRef() {
	if n.refs.Add(-1) != 0 {
		return
	}
	if n.close != nil {
		n.close()
	}
	n.uncharge()
	n.owner.Drop()
}
