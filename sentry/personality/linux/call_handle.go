package linux

import (
	"encoding/binary"
	"fmt"

	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

// Flags of name_to_handle_at(2) that x/sys lacks, and what is in a struct file_handle.
const (
	handleUnique      = 1 // AT_HANDLE_MNT_ID_UNIQUE
	handleConnectable = 2 // AT_HANDLE_CONNECTABLE
	handleFID         = 0x200

	handleHeader = 8   // its size and type
	maxHandle    = 128 // bytes behind that
	inodeHandle  = 12  // the inode number and a generation
	ofInode      = 0x81
	noHandle     = 0xff
)

// sysNameToHandleAt is name_to_handle_at(2). No file can be opened by a handle, so there are but those that tell files apart.
func sysNameToHandleAt(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	flags := a[4]
	const both = handleConnectable | handleFID
	if flags&^(unix.AT_SYMLINK_FOLLOW|unix.AT_EMPTY_PATH|handleUnique|both) != 0 || flags&both == both {
		return 0, unix.EINVAL
	}
	walk := flags & unix.AT_EMPTY_PATH
	if flags&unix.AT_SYMLINK_FOLLOW == 0 {
		walk |= unix.AT_SYMLINK_NOFOLLOW
	}
	s, err := attrAt(t, a[0], a[1], walk)
	switch {
	case err != nil:
		return 0, err
	case flags&handleFID == 0:
		return 0, unix.EOPNOTSUPP
	}
	room, err := load32(t, a[2])
	switch {
	case err != nil:
		return 0, err
	case room > maxHandle:
		return 0, unix.EINVAL
	}
	if flags&handleUnique != 0 {
		err = storeWords(t, a[3], s.MountID)
	} else {
		err = store32(t, a[3], uint32(s.MountID))
	}
	if err != nil {
		return 0, err
	}
	le := binary.LittleEndian
	b := le.AppendUint32(nil, inodeHandle)
	if room < inodeHandle {
		if err := t.CopyOut(mm.Addr(a[2]), le.AppendUint32(b, noHandle)); err != nil {
			return 0, err
		}
		return 0, unix.EOVERFLOW
	}
	b = le.AppendUint64(le.AppendUint32(b, ofInode), s.Ino)
	return 0, t.CopyOut(mm.Addr(a[2]), le.AppendUint32(b, 0))
}

// errHandle is ESTALE for good: a bare one has the call tried again.
var errHandle = fmt.Errorf("a handle: %w", unix.ESTALE)

// sysOpenByHandleAt is open_by_handle_at(2): as no file system here knows handles that can be opened, they are all stale.
func sysOpenByHandleAt(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	header := make([]byte, handleHeader)
	if err := t.CopyIn(mm.Addr(a[1]), header); err != nil {
		return 0, err
	}
	size, kind := binary.LittleEndian.Uint32(header), int32(binary.LittleEndian.Uint32(header[4:]))
	if size == 0 || size > maxHandle || kind < 0 {
		return 0, unix.EINVAL
	}
	if int32(a[0]) != unix.AT_FDCWD {
		f, err := t.FDs().Get(int32(a[0]))
		if err != nil {
			return 0, err
		}
		defer f.DecRef()
		if f.IsPath() {
			return 0, unix.EBADF
		}
	}
	if !t.Creds().HasGlobal(unix.CAP_DAC_READ_SEARCH) {
		return 0, unix.EPERM
	}
	if err := t.CopyIn(mm.Addr(a[1]+handleHeader), make([]byte, size)); err != nil {
		return 0, err
	}
	return 0, errHandle
}
