package cred

import (
	"slices"

	"golang.org/x/sys/unix"
)

// MaxGroups is how many supplementary groups a task may have (NGROUPS_MAX).
const MaxGroups = 65536

// rootUID is the user that is root in c's user namespace; where there is none, the id of no user.
func (c *Credentials) rootUID() UID {
	if root, ok := c.UserNS.Root(); ok {
		return root
	}
	return UID(NoID)
}

// IsRoot tells whether the real user is root in c's user namespace.
func (c *Credentials) IsRoot() bool { return c.RUID == c.rootUID() }

// SetUID returns the credentials after setuid(2); EPERM.
func (c *Credentials) SetUID(uid UID) (*Credentials, error) {
	n := c.Copy()
	switch {
	case c.Has(unix.CAP_SETUID):
		n.RUID, n.SUID = uid, uid
	case uid != c.RUID && uid != c.SUID:
		return nil, unix.EPERM
	}
	n.EUID, n.FSUID = uid, uid
	n.followUIDs(c)
	return n, nil
}

// SetREUID returns the credentials after setreuid(2); NoID leaves an id. EPERM.
func (c *Credentials) SetREUID(ruid, euid uint32) (*Credentials, error) {
	n := c.Copy()
	change(&n.RUID, ruid)
	change(&n.EUID, euid)
	if !c.Has(unix.CAP_SETUID) {
		if n.RUID != c.RUID && n.RUID != c.EUID {
			return nil, unix.EPERM
		}
		if !oneOf(n.EUID, c.RUID, c.EUID, c.SUID) {
			return nil, unix.EPERM
		}
	}
	if ruid != NoID || euid != NoID && n.EUID != c.RUID {
		n.SUID = n.EUID
	}
	n.FSUID = n.EUID
	n.followUIDs(c)
	return n, nil
}

// SetRESUID returns the credentials after setresuid(2); NoID leaves an id. EPERM.
func (c *Credentials) SetRESUID(ruid, euid, suid uint32) (*Credentials, error) {
	n := c.Copy()
	change(&n.RUID, ruid)
	change(&n.EUID, euid)
	change(&n.SUID, suid)
	if !c.Has(unix.CAP_SETUID) {
		for _, id := range [...]UID{n.RUID, n.EUID, n.SUID} {
			if !oneOf(id, c.RUID, c.EUID, c.SUID) {
				return nil, unix.EPERM
			}
		}
	}
	n.FSUID = n.EUID
	n.followUIDs(c)
	return n, nil
}

// SetFSUID returns the credentials after setfsuid(2), which never fails: c
// itself where the id is not allowed.
func (c *Credentials) SetFSUID(uid UID) *Credentials {
	if !c.Has(unix.CAP_SETUID) && !oneOf(uid, c.RUID, c.EUID, c.SUID, c.FSUID) {
		return c
	}
	n := c.Copy()
	n.FSUID = uid
	if c.SecureBits&SecureNoSetuidFixup != 0 {
		return n
	}
	switch root := c.rootUID(); {
	case c.FSUID == root && uid != root:
		n.Effective &^= fileCaps
	case c.FSUID != root && uid == root:
		n.Effective |= n.Permitted & fileCaps
	}
	return n
}

// SetGID returns the credentials after setgid(2); EPERM.
func (c *Credentials) SetGID(gid GID) (*Credentials, error) {
	n := c.Copy()
	switch {
	case c.Has(unix.CAP_SETGID):
		n.RGID, n.SGID = gid, gid
	case gid != c.RGID && gid != c.SGID:
		return nil, unix.EPERM
	}
	n.EGID, n.FSGID = gid, gid
	return n, nil
}

// SetREGID returns the credentials after setregid(2); NoID leaves an id. EPERM.
func (c *Credentials) SetREGID(rgid, egid uint32) (*Credentials, error) {
	n := c.Copy()
	change(&n.RGID, rgid)
	change(&n.EGID, egid)
	if !c.Has(unix.CAP_SETGID) {
		if n.RGID != c.RGID && n.RGID != c.EGID {
			return nil, unix.EPERM
		}
		if !oneOf(n.EGID, c.RGID, c.EGID, c.SGID) {
			return nil, unix.EPERM
		}
	}
	if rgid != NoID || egid != NoID && n.EGID != c.RGID {
		n.SGID = n.EGID
	}
	n.FSGID = n.EGID
	return n, nil
}

// SetRESGID returns the credentials after setresgid(2); NoID leaves an id. EPERM.
func (c *Credentials) SetRESGID(rgid, egid, sgid uint32) (*Credentials, error) {
	n := c.Copy()
	change(&n.RGID, rgid)
	change(&n.EGID, egid)
	change(&n.SGID, sgid)
	if !c.Has(unix.CAP_SETGID) {
		for _, id := range [...]GID{n.RGID, n.EGID, n.SGID} {
			if !oneOf(id, c.RGID, c.EGID, c.SGID) {
				return nil, unix.EPERM
			}
		}
	}
	n.FSGID = n.EGID
	return n, nil
}

// SetFSGID returns the credentials after setfsgid(2), which never fails: c
// itself where the id is not allowed.
func (c *Credentials) SetFSGID(gid GID) *Credentials {
	if !c.Has(unix.CAP_SETGID) && !oneOf(gid, c.RGID, c.EGID, c.SGID, c.FSGID) {
		return c
	}
	n := c.Copy()
	n.FSGID = gid
	return n
}

// SetGroups returns the credentials after setgroups(2), with the groups in
// ascending order; EPERM, EINVAL for more than MaxGroups.
func (c *Credentials) SetGroups(groups []GID) (*Credentials, error) {
	if !c.Has(unix.CAP_SETGID) {
		return nil, unix.EPERM
	}
	if len(groups) > MaxGroups {
		return nil, unix.EINVAL
	}
	n := c.Copy()
	n.Groups = slices.Sorted(slices.Values(groups))
	return n, nil
}

// followUIDs does to n's capabilities what a change of user ids from old does
// (capabilities(7)).
func (n *Credentials) followUIDs(old *Credentials) {
	if old.SecureBits&SecureNoSetuidFixup != 0 {
		return
	}
	root := old.rootUID()
	wasRoot := oneOf(root, old.RUID, old.EUID, old.SUID)
	if wasRoot && !oneOf(root, n.RUID, n.EUID, n.SUID) {
		if !old.keepsCaps() {
			n.Permitted, n.Effective = 0, 0
		}
		n.Ambient = 0
	}
	switch {
	case old.EUID == root && n.EUID != root:
		n.Effective = 0
	case old.EUID != root && n.EUID == root:
		n.Effective = n.Permitted
	}
}

func change[ID UID | GID](to *ID, id uint32) {
	if id != NoID {
		*to = ID(id)
	}
}

func oneOf[ID comparable](id ID, ids ...ID) bool { return slices.Contains(ids, id) }
