package cred

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// ExecFile is what execve(2) must know of the program file. Where its mount forbids
// set-id programs only the zero value is to be given.
type ExecFile struct {
	Mode uint32 // type and permissions
	UID  UID
	GID  GID
	// Caps are the file's capabilities, nil for none.
	Caps *FileCaps
}

// FileCaps are the capabilities of a file.
type FileCaps struct {
	Permitted, Inheritable CapSet
	Effective              bool
	Root                   UID // they count in the user namespaces whose root this is, and below
}

// Layout of the attribute security.capability.
const (
	capRevisionMask = 0xff000000
	capRevision1    = 0x01000000
	capRevision2    = 0x02000000
	capRevision3    = 0x03000000
	capEffective    = 0x1
)

// ParseFileCaps reads the attribute security.capability; EINVAL.
func ParseFileCaps(b []byte) (*FileCaps, error) {
	if len(b) < 4 {
		return nil, unix.EINVAL
	}
	magic := binary.LittleEndian.Uint32(b)
	sizes := map[uint32]int{capRevision1: 12, capRevision2: 20, capRevision3: 24}
	if size, ok := sizes[magic&capRevisionMask]; !ok || size != len(b) {
		return nil, unix.EINVAL
	}
	word := func(i int) CapSet { return CapSet(binary.LittleEndian.Uint32(b[4*i:])) }
	f := &FileCaps{Permitted: word(1), Inheritable: word(2), Effective: magic&capEffective != 0}
	if len(b) > 12 {
		f.Permitted |= word(3) << 32
		f.Inheritable |= word(4) << 32
	}
	if len(b) > 20 {
		f.Root = UID(word(5))
	}
	f.Permitted &= AllCaps
	f.Inheritable &= AllCaps
	return f, nil
}

// Exec returns the credentials with which a program starts (capabilities(7)),
// and whether it must run in secure mode (AT_SECURE). unsafe says that somebody could
// interfere with the program, a tracer without privilege or a task that shares the
// file-system context: it gains nothing then. EPERM when the file's capabilities are not to be had.
func (c *Credentials) Exec(f ExecFile, unsafe bool) (next *Credentials, secure bool, err error) {
	n := c.Copy()
	if !c.NoNewPrivs {
		n.takeIDs(f)
	}
	if f.Caps != nil && !c.UserNS.heeds(f.Caps.Root) {
		f.Caps = nil
	}
	effective, err := n.takeFileCaps(f.Caps)
	if err != nil {
		return nil, false, err
	}
	effective = n.takeRoot(c, f.Caps != nil) || effective

	changed := n.EUID != c.EUID || !c.InGroup(n.EGID)
	gained := !c.Permitted.Contains(n.Permitted)
	if (changed || gained) && (unsafe || c.NoNewPrivs) {
		if !c.Has(unix.CAP_SETUID) || c.NoNewPrivs {
			n.EUID, n.EGID = n.RUID, n.RGID
		}
		n.Permitted &= c.Permitted
	}
	n.SUID, n.FSUID = n.EUID, n.EUID
	n.SGID, n.FSGID = n.EGID, n.EGID
	if f.Caps != nil || changed {
		n.Ambient = 0
	}
	n.Permitted |= n.Ambient
	n.Effective = n.Ambient
	if effective {
		n.Effective = n.Permitted
	}
	n.KeepCaps = false
	n.SecureBits &^= SecureKeepCaps
	secure = changed || n.EUID != c.RUID || n.EGID != c.RGID ||
		n.RUID != n.rootUID() && (effective || !n.Ambient.Contains(n.Permitted))
	return n, secure, nil
}

// heeds tells whether root, who gave a file capabilities, is root in ns or an ancestor.
func (ns *UserNamespace) heeds(root UID) bool {
	for ; !ns.Initial(); ns = ns.Parent {
		if r, ok := ns.Root(); ok && r == root {
			return true
		}
	}
	return root == 0
}

// takeIDs follows the set-user-ID and set-group-ID bits of a file whose owners n's user namespace has.
func (n *Credentials) takeIDs(f ExecFile) {
	if !n.UserNS.Has(f.UID, f.GID) {
		return
	}
	if f.Mode&unix.S_ISUID != 0 {
		n.EUID = f.UID
	}
	if f.Mode&(unix.S_ISGID|unix.S_IXGRP) == unix.S_ISGID|unix.S_IXGRP {
		n.EGID = f.GID
	}
}

// takeFileCaps makes the permitted set that the file's capabilities give.
func (n *Credentials) takeFileCaps(f *FileCaps) (effective bool, err error) {
	if f == nil {
		n.Permitted = 0
		return false, nil
	}
	n.Permitted = n.Bounding&f.Permitted | n.Inheritable&f.Inheritable
	if f.Effective && !n.Permitted.Contains(f.Permitted) {
		return false, unix.EPERM
	}
	return f.Effective, nil
}

// takeRoot gives root its capabilities, whatever the file says; except to a
// program that is set-user-ID root and has capabilities, too.
func (n *Credentials) takeRoot(old *Credentials, hasCaps bool) (effective bool) {
	if n.SecureBits&SecureNoRoot != 0 {
		return false
	}
	root := n.rootUID()
	if hasCaps && n.RUID != root && n.EUID == root {
		return false
	}
	if n.EUID == root || n.RUID == root {
		n.Permitted = old.Bounding | old.Inheritable
	}
	return n.EUID == root
}
