// Package cred holds what a task may do: user and group ids, capabilities.
//
// Credentials are immutable once published: a change makes a copy. So they are
// read without a lock and can be shared by any number of tasks and open files.
// User and group ids in here are the sandbox's own (those of its initial user
// namespace). UserNamespace translates at the edge: an id that a guest passes in becomes one of these, or is
// refused, and an id that it is told becomes one of its own namespace, Overflow where there is none.
package cred

import "golang.org/x/sys/unix"

// UID and GID are ids in the sandbox's initial user namespace.
type (
	UID uint32
	GID uint32
)

// NoID is the id that setresuid(2) and the like take for "leave alone", and
// Overflow the one shown for an id that has no mapping.
const (
	NoID     = ^uint32(0)
	Overflow = 65534
)

// CapSet is a set of capabilities, bit n standing for capability n.
type CapSet uint64

// AllCaps has every capability that Linux defines (CAP_LAST_CAP is 40).
const AllCaps CapSet = 1<<41 - 1

// Has tells whether capability c (unix.CAP_*) is in the set.
func (s CapSet) Has(c int) bool { return s&(1<<uint(c)) != 0 }

// Credentials are the identity of a task as of credentials(7).
type Credentials struct {
	RUID, EUID, SUID, FSUID UID
	RGID, EGID, SGID, FSGID GID
	Groups                  []GID

	Permitted, Inheritable, Effective, Bounding, Ambient CapSet

	NoNewPrivs bool
	KeepCaps   bool
	SecureBits uint32

	UserNS *UserNamespace
}

// New returns credentials with all ids set to uid and gid; root of the
// namespace gets every capability.
func New(uid UID, gid GID, groups []GID, ns *UserNamespace) *Credentials {
	c := &Credentials{
		RUID: uid, EUID: uid, SUID: uid, FSUID: uid,
		RGID: gid, EGID: gid, SGID: gid, FSGID: gid,
		Groups: groups, Bounding: AllCaps, UserNS: ns,
	}
	if uid == 0 {
		c.Permitted, c.Effective = AllCaps, AllCaps
	}
	return c
}

// Copy returns a copy that may be changed until it is published.
func (c *Credentials) Copy() *Credentials {
	d := *c
	return &d
}

// Has tells whether the capability is effective in c's own user namespace.
func (c *Credentials) Has(capability int) bool { return c.Effective.Has(capability) }

// HasGlobal tells whether the capability is effective in the initial user namespace, as what
// concerns the whole system needs it.
func (c *Credentials) HasGlobal(capability int) bool {
	return c.UserNS.Initial() && c.Effective.Has(capability)
}

// Covers tells whether c has every capability that d has, for c's user to be trusted with what d's can do.
func (c *Credentials) Covers(d *Credentials) bool {
	if c.UserNS == d.UserNS {
		return c.Permitted.Contains(d.Permitted)
	}
	for ns := d.UserNS; ns != nil; ns = ns.Parent {
		if ns.Parent == c.UserNS && ns.Owner == c.EUID {
			return true
		}
	}
	return false
}

// HasIn tells whether the capability is effective in ns: held in ns or an
// ancestor, or c's user owns a namespace on the way (user_namespaces(7)).
func (c *Credentials) HasIn(capability int, ns *UserNamespace) bool {
	for ; ns != nil; ns = ns.Parent {
		if ns == c.UserNS {
			return c.Effective.Has(capability)
		}
		if ns.Parent == c.UserNS && ns.Owner == c.EUID {
			return true
		}
	}
	return false
}

// InGroup tells whether gid is the file-system group or a supplementary one.
func (c *Credentials) InGroup(gid GID) bool {
	if c.FSGID == gid {
		return true
	}
	for _, g := range c.Groups {
		if g == gid {
			return true
		}
	}
	return false
}

// capFirst keeps unix's numbering in view for CapSet's bits.
var _ = [1]struct{}{}[unix.CAP_CHOWN]
