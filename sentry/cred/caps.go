package cred

import "golang.org/x/sys/unix"

// Bits of SecureBits. Each is followed by the bit that locks it.
const (
	SecureNoRoot            uint32 = 1 << 0
	SecureNoSetuidFixup     uint32 = 1 << 2
	SecureKeepCaps          uint32 = 1 << 4
	SecureNoCapAmbientRaise uint32 = 1 << 6

	secureSettings = SecureNoRoot | SecureNoSetuidFixup | SecureKeepCaps | SecureNoCapAmbientRaise
	secureLocks    = secureSettings << 1
)

// fileCaps are the capabilities that follow the file-system user id.
const fileCaps CapSet = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH |
	1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID | 1<<unix.CAP_LINUX_IMMUTABLE | 1<<unix.CAP_MKNOD |
	1<<unix.CAP_MAC_OVERRIDE

// CapOf returns the set of one capability; EINVAL for a number that is none.
func CapOf(capability uint64) (CapSet, error) {
	if capability > unix.CAP_LAST_CAP {
		return 0, unix.EINVAL
	}
	return 1 << capability, nil
}

// Contains tells whether all of t is in s.
func (s CapSet) Contains(t CapSet) bool { return t&^s == 0 }

// keepsCaps tells whether capabilities outlive the last root user id.
func (c *Credentials) keepsCaps() bool { return c.KeepCaps || c.SecureBits&SecureKeepCaps != 0 }

// SetCaps returns the credentials after capset(2); EPERM.
func (c *Credentials) SetCaps(effective, permitted, inheritable CapSet) (*Credentials, error) {
	effective, permitted, inheritable = effective&AllCaps, permitted&AllCaps, inheritable&AllCaps
	switch {
	case !c.Has(unix.CAP_SETPCAP) && !(c.Inheritable | c.Permitted).Contains(inheritable),
		!(c.Inheritable | c.Bounding).Contains(inheritable),
		!c.Permitted.Contains(permitted),
		!permitted.Contains(effective):
		return nil, unix.EPERM
	}
	n := c.Copy()
	n.Effective, n.Permitted, n.Inheritable = effective, permitted, inheritable
	n.Ambient &= permitted & inheritable
	return n, nil
}

// DropBounding returns the credentials after PR_CAPBSET_DROP; EINVAL, EPERM.
func (c *Credentials) DropBounding(capability uint64) (*Credentials, error) {
	if !c.Has(unix.CAP_SETPCAP) {
		return nil, unix.EPERM
	}
	bit, err := CapOf(capability)
	if err != nil {
		return nil, err
	}
	n := c.Copy()
	n.Bounding &^= bit
	return n, nil
}

// RaiseAmbient returns the credentials after PR_CAP_AMBIENT_RAISE; EINVAL, EPERM.
func (c *Credentials) RaiseAmbient(capability uint64) (*Credentials, error) {
	bit, err := CapOf(capability)
	if err != nil {
		return nil, err
	}
	if !(c.Permitted & c.Inheritable).Contains(bit) || c.SecureBits&SecureNoCapAmbientRaise != 0 {
		return nil, unix.EPERM
	}
	n := c.Copy()
	n.Ambient |= bit
	return n, nil
}

// LowerAmbient returns the credentials after PR_CAP_AMBIENT_LOWER; EINVAL.
func (c *Credentials) LowerAmbient(capability uint64) (*Credentials, error) {
	bit, err := CapOf(capability)
	if err != nil {
		return nil, err
	}
	n := c.Copy()
	n.Ambient &^= bit
	return n, nil
}

// ClearAmbient returns the credentials after PR_CAP_AMBIENT_CLEAR_ALL.
func (c *Credentials) ClearAmbient() *Credentials {
	n := c.Copy()
	n.Ambient = 0
	return n
}

// SetSecureBits returns the credentials after PR_SET_SECUREBITS; EPERM.
func (c *Credentials) SetSecureBits(bits uint32) (*Credentials, error) {
	old := c.secureBits()
	locked := old & secureLocks >> 1
	if locked&(old^bits) != 0 || old&secureLocks&^bits != 0 ||
		bits&^(secureSettings|secureLocks) != 0 || !c.Has(unix.CAP_SETPCAP) {
		return nil, unix.EPERM
	}
	n := c.Copy()
	n.SecureBits, n.KeepCaps = bits, bits&SecureKeepCaps != 0
	return n, nil
}

// secureBits is SecureBits with KeepCaps in it.
func (c *Credentials) secureBits() uint32 {
	if c.KeepCaps {
		return c.SecureBits | SecureKeepCaps
	}
	return c.SecureBits
}

// SetKeepCaps returns the credentials after PR_SET_KEEPCAPS; EPERM when locked.
func (c *Credentials) SetKeepCaps(keep bool) (*Credentials, error) {
	if c.SecureBits&(SecureKeepCaps<<1) != 0 {
		return nil, unix.EPERM
	}
	n := c.Copy()
	n.KeepCaps = keep
	n.SecureBits &^= SecureKeepCaps
	if keep {
		n.SecureBits |= SecureKeepCaps
	}
	return n, nil
}

// SetNoNewPrivs returns the credentials after PR_SET_NO_NEW_PRIVS.
func (c *Credentials) SetNoNewPrivs() *Credentials {
	n := c.Copy()
	n.NoNewPrivs = true
	return n
}
