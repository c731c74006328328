package linux

import (
	"encoding/binary"

	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/cred"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

func sysGetuid(t *kernel.Task, _ arch.SyscallArgs) (uint64, error) {
	return uint64(t.Creds().RUID), nil
}
func sysGeteuid(t *kernel.Task, _ arch.SyscallArgs) (uint64, error) {
	return uint64(t.Creds().EUID), nil
}
func sysGetgid(t *kernel.Task, _ arch.SyscallArgs) (uint64, error) {
	return uint64(t.Creds().RGID), nil
}
func sysGetegid(t *kernel.Task, _ arch.SyscallArgs) (uint64, error) {
	return uint64(t.Creds().EGID), nil
}

// become gives the task the credentials that a rule of package cred made.
func become(t *kernel.Task, c *cred.Credentials, err error) (uint64, error) {
	if err == nil {
		t.SetCreds(c)
	}
	return 0, err
}

func sysSetuid(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if uint32(a[0]) == cred.NoID {
		return 0, unix.EINVAL
	}
	c, err := t.Creds().SetUID(cred.UID(a[0]))
	return become(t, c, err)
}

func sysSetgid(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if uint32(a[0]) == cred.NoID {
		return 0, unix.EINVAL
	}
	c, err := t.Creds().SetGID(cred.GID(a[0]))
	return become(t, c, err)
}

func sysSetreuid(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	c, err := t.Creds().SetREUID(uint32(a[0]), uint32(a[1]))
	return become(t, c, err)
}

func sysSetregid(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	c, err := t.Creds().SetREGID(uint32(a[0]), uint32(a[1]))
	return become(t, c, err)
}

func sysSetresuid(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	c, err := t.Creds().SetRESUID(uint32(a[0]), uint32(a[1]), uint32(a[2]))
	return become(t, c, err)
}

func sysSetresgid(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	c, err := t.Creds().SetRESGID(uint32(a[0]), uint32(a[1]), uint32(a[2]))
	return become(t, c, err)
}

func sysSetfsuid(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	old := t.Creds().FSUID
	if uint32(a[0]) != cred.NoID {
		t.SetCreds(t.Creds().SetFSUID(cred.UID(a[0])))
	}
	return uint64(old), nil
}

func sysSetfsgid(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	old := t.Creds().FSGID
	if uint32(a[0]) != cred.NoID {
		t.SetCreds(t.Creds().SetFSGID(cred.GID(a[0])))
	}
	return uint64(old), nil
}

func sysGetresuid(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	c := t.Creds()
	return storeIDs(t, a, uint32(c.RUID), uint32(c.EUID), uint32(c.SUID))
}

func sysGetresgid(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	c := t.Creds()
	return storeIDs(t, a, uint32(c.RGID), uint32(c.EGID), uint32(c.SGID))
}

func storeIDs(t *kernel.Task, a arch.SyscallArgs, ids ...uint32) (uint64, error) {
	for i, id := range ids {
		if err := store32(t, a[i], id); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

func sysGetgroups(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	groups, room := t.Creds().Groups, int32(a[0])
	switch {
	case room < 0:
		return 0, unix.EINVAL
	case room == 0:
		return uint64(len(groups)), nil
	case int(room) < len(groups):
		return 0, unix.EINVAL
	}
	b := make([]byte, 0, 4*len(groups))
	for _, g := range groups {
		b = binary.LittleEndian.AppendUint32(b, uint32(g))
	}
	return uint64(len(groups)), t.CopyOut(mm.Addr(a[1]), b)
}

func sysSetgroups(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if !t.Creds().Has(unix.CAP_SETGID) {
		return 0, unix.EPERM
	}
	if uint64(uint32(a[0])) > cred.MaxGroups {
		return 0, unix.EINVAL
	}
	b := make([]byte, 4*uint32(a[0]))
	if err := t.CopyIn(mm.Addr(a[1]), b); err != nil {
		return 0, err
	}
	groups := make([]cred.GID, len(b)/4)
	for i := range groups {
		groups[i] = cred.GID(binary.LittleEndian.Uint32(b[4*i:]))
	}
	c, err := t.Creds().SetGroups(groups)
	return become(t, c, err)
}

// Versions of struct __user_cap_header_struct (capget(2)).
const (
	capVersion1 = 0x19980330
	capVersion2 = 0x20071026
	capVersion3 = 0x20080522
)

// capHeader reads the header and tells how many data structures follow; 0 when
// the version is unknown, which capget and capset tell the program in the header.
func capHeader(t *kernel.Task, addr uint64) (structs int, pid int32, err error) {
	h, err := load(t, addr, abi.CapHeaderSize, abi.DecodeCapHeader)
	if err != nil {
		return 0, 0, err
	}
	switch h.Version {
	case capVersion1:
		return 1, h.PID, nil
	case capVersion2, capVersion3:
		return 2, h.PID, nil
	}
	return 0, h.PID, store32(t, addr, capVersion3)
}

func sysCapget(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	n, pid, err := capHeader(t, a[0])
	if err != nil {
		return 0, err
	}
	if n == 0 {
		if a[1] == 0 {
			return 0, nil
		}
		return 0, unix.EINVAL
	}
	if pid < 0 {
		return 0, unix.EINVAL
	}
	c, err := t.CredsOf(pid)
	if err != nil || a[1] == 0 {
		return 0, err
	}
	var b []byte
	for i := range n {
		half := 32 * i
		b = abi.AppendCapData(b, abi.CapData{
			Effective: uint32(c.Effective >> half), Permitted: uint32(c.Permitted >> half), Inheritable: uint32(c.Inheritable >> half),
		})
	}
	return 0, t.CopyOut(mm.Addr(a[1]), b)
}

func sysCapset(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	n, pid, err := capHeader(t, a[0])
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, unix.EINVAL
	}
	if pid != 0 && pid != t.TID() {
		return 0, unix.EPERM
	}
	b := make([]byte, abi.CapDataSize*n)
	if err := t.CopyIn(mm.Addr(a[1]), b); err != nil {
		return 0, err
	}
	var effective, permitted, inheritable cred.CapSet
	for i := range n {
		d, half := abi.DecodeCapData(b[abi.CapDataSize*i:]), 32*i
		effective |= cred.CapSet(d.Effective) << half
		permitted |= cred.CapSet(d.Permitted) << half
		inheritable |= cred.CapSet(d.Inheritable) << half
	}
	c, err := t.Creds().SetCaps(effective&cred.AllCaps, permitted&cred.AllCaps, inheritable&cred.AllCaps)
	return become(t, c, err)
}
