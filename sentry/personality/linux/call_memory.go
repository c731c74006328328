package linux

import (
	"math"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

// mapFlags are those that MAP_SHARED_VALIDATE lets pass.
const mapFlags = unix.MAP_TYPE | unix.MAP_FIXED | unix.MAP_ANONYMOUS | unix.MAP_32BIT | unix.MAP_GROWSDOWN |
	unix.MAP_DENYWRITE | unix.MAP_EXECUTABLE | unix.MAP_LOCKED | unix.MAP_NORESERVE | unix.MAP_POPULATE |
	unix.MAP_NONBLOCK | unix.MAP_STACK | unix.MAP_FIXED_NOREPLACE

func sysMmap(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	flags := a[3]
	if a[5]%mm.PageSize != 0 {
		return 0, unix.EINVAL
	}
	o := mm.MMapOpts{
		Addr: mm.Addr(a[0]), Length: a[1], Prot: protection(a[2]),
		Fixed:      flags&(unix.MAP_FIXED|unix.MAP_FIXED_NOREPLACE) != 0,
		NoReplace:  flags&unix.MAP_FIXED_NOREPLACE != 0,
		GrowsDown:  flags&unix.MAP_GROWSDOWN != 0,
		Populate:   flags&(unix.MAP_POPULATE|unix.MAP_NONBLOCK) == unix.MAP_POPULATE,
		Locked:     flags&unix.MAP_LOCKED != 0,
		NoReserve:  flags&unix.MAP_NORESERVE != 0,
		Bit32:      flags&unix.MAP_32BIT != 0,
		Offset:     a[5],
		Limits:     t.Limits(),
		LockAnyway: mayLock(t),
		Caller:     t,
	}
	if flags&unix.MAP_ANONYMOUS != 0 {
		o.Offset = 0
		if err := mapKind(t, flags, &o); err != nil {
			return 0, err
		}
		return mapMemory(t, o)
	}
	f, err := t.FDs().Get(int32(a[4]))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	if err := mapKind(t, flags, &o); err != nil {
		return 0, err
	}
	if err := mapFile(f, &o); err != nil {
		return 0, err
	}
	return mapMemory(t, o)
}

// mapKind looks at the flags; that a place is taken where it must not comes first.
func mapKind(t *kernel.Task, flags uint64, o *mm.MMapOpts) error {
	if o.NoReplace && o.Addr%mm.PageSize == 0 && t.MM().Taken(o.Addr, o.Length) {
		return unix.EEXIST
	}
	switch flags & unix.MAP_TYPE {
	case unix.MAP_PRIVATE:
		o.Private = true
	case unix.MAP_SHARED:
	case unix.MAP_SHARED_VALIDATE:
		if flags&^uint64(mapFlags) != 0 {
			return unix.EOPNOTSUPP
		}
	default:
		return unix.EINVAL
	}
	if flags&unix.MAP_HUGETLB != 0 {
		return unix.ENOMEM
	}
	return nil
}

func mapMemory(t *kernel.Task, o mm.MMapOpts) (uint64, error) {
	addr, err := t.MM().MMap(o)
	return uint64(addr), err
}

// mapFile checks that the file may be mapped as o wants it.
func mapFile(f *vfs.File, o *mm.MMapOpts) error {
	noExec := f.Path().Mount.Flags()&vfs.NoExec != 0
	switch {
	case f.IsPath():
		return unix.EBADF
	case o.Fixed && o.Addr%mm.PageSize != 0:
		return unix.EINVAL
	case o.Offset+o.Length < o.Offset || o.Offset+o.Length > math.MaxInt64:
		return unix.EOVERFLOW
	case o.Length == 0:
		return unix.EINVAL
	case !f.Readable():
		return unix.EACCES
	case !o.Private && o.Prot&platform.Write != 0 && !f.Writable(), !o.Private && f.Writable() && f.AppendOnly():
		return unix.EACCES
	case o.Prot&platform.Exec != 0 && noExec:
		return unix.EPERM
	}
	file, err := f.Mappable()
	switch {
	case err != nil:
		return err
	case o.GrowsDown:
		return unix.EINVAL
	}
	o.File, o.Source = file, f.Path()
	o.MaxProt = platform.Read | platform.Write | platform.Exec
	if !o.Private && !f.Writable() {
		o.MaxProt &^= platform.Write
	}
	if noExec {
		o.MaxProt &^= platform.Exec
	}
	return mapSealed(file, o)
}

// mapSealed keeps a new shared mapping from writing to a file that is sealed against that, now and later.
func mapSealed(file mm.Mappable, o *mm.MMapOpts) error {
	s, ok := file.(interface{ Seals() uint32 })
	if !ok || o.Private || s.Seals()&(unix.F_SEAL_WRITE|unix.F_SEAL_FUTURE_WRITE) == 0 {
		return nil
	}
	if o.Prot&platform.Write != 0 {
		return unix.EPERM
	}
	o.MaxProt &^= platform.Write
	return nil
}

// protection keeps the bits of PROT_ that there are.
func protection(v uint64) platform.Prot {
	return platform.Prot(v) & (platform.Read | platform.Write | platform.Exec)
}

func sysMprotect(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	const grows = unix.PROT_GROWSDOWN | unix.PROT_GROWSUP
	prot := a[2]
	if prot&grows == grows || prot&unix.PROT_GROWSUP != 0 {
		return 0, unix.EINVAL
	}
	if prot&^uint64(grows|unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC|8) != 0 {
		return 0, unix.EINVAL
	}
	return 0, t.MM().MProtect(mm.Addr(a[0]), a[1], protection(prot), prot&unix.PROT_GROWSDOWN != 0)
}

func sysMunmap(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return 0, t.MM().MUnmap(mm.Addr(a[0]), a[1])
}

func sysBrk(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return uint64(t.MM().Brk(mm.Addr(a[0]))), nil
}

func sysMremap(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	const known = unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED | unix.MREMAP_DONTUNMAP
	if a[3]&^known != 0 {
		return 0, unix.EINVAL
	}
	addr, err := t.MM().MRemap(mm.MRemapOpts{
		Old: mm.Addr(a[0]), OldLength: a[1], NewLength: a[2], New: mm.Addr(a[4]),
		MayMove:    a[3]&unix.MREMAP_MAYMOVE != 0,
		Fixed:      a[3]&unix.MREMAP_FIXED != 0,
		DontUnmap:  a[3]&unix.MREMAP_DONTUNMAP != 0,
		LockAnyway: mayLock(t),
		Caller:     t,
	})
	return uint64(addr), err
}

func sysMseal(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[2] != 0 {
		return 0, unix.EINVAL
	}
	return 0, t.MM().Seal(mm.Addr(a[0]), a[1])
}

func sysRemapFilePages(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[2] != 0 {
		return 0, unix.EINVAL
	}
	return 0, t.MM().RemapFilePages(mm.Addr(a[0]), a[1], a[3], mm.MMapOpts{
		Populate: a[4]&unix.MAP_NONBLOCK == 0, Limits: t.Limits(), LockAnyway: mayLock(t), Caller: t,
	})
}

func sysMsync(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return 0, t.MM().MSync(mm.Addr(a[0]), a[1], int(int32(a[2])))
}

func sysMadvise(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return 0, t.MM().MAdvise(mm.Addr(a[0]), a[1], int(int32(a[2])), t)
}

// mincoreChunk is how many pages mincore(2) looks at between two copies.
const mincoreChunk = 64 << 10

func sysMincore(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	addr, length, vec := a[0], a[1], a[2]
	if addr%mm.PageSize != 0 {
		return 0, unix.EINVAL
	}
	if addr+length < addr || addr+length > userTop {
		return 0, unix.ENOMEM
	}
	for pages := (length + mm.PageSize - 1) / mm.PageSize; pages > 0; {
		b := make([]byte, min(pages, mincoreChunk))
		if err := t.MM().Mincore(mm.Addr(addr), b); err != nil {
			return 0, err
		}
		if err := t.CopyOut(mm.Addr(vec), b); err != nil {
			return 0, err
		}
		if t.Killed() {
			return 0, unix.EINTR
		}
		n := uint64(len(b))
		pages, addr, vec = pages-n, addr+n*mm.PageSize, vec+n
	}
	return 0, nil
}

func mayLock(t *kernel.Task) bool { return t.Creds().HasGlobal(unix.CAP_IPC_LOCK) }

func sysMlock(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return 0, t.MM().MLock(mm.Addr(a[0]), a[1], false, mayLock(t), t)
}

func sysMlock2(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[2]&^unix.MLOCK_ONFAULT != 0 {
		return 0, unix.EINVAL
	}
	return 0, t.MM().MLock(mm.Addr(a[0]), a[1], a[2] != 0, mayLock(t), t)
}

func sysMunlock(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return 0, t.MM().MUnlock(mm.Addr(a[0]), a[1])
}

func sysMlockall(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	const known = unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT
	if a[0] == 0 || a[0]&^known != 0 || a[0] == unix.MCL_ONFAULT {
		return 0, unix.EINVAL
	}
	return 0, t.MM().MLockAll(a[0]&unix.MCL_CURRENT != 0, a[0]&unix.MCL_FUTURE != 0, a[0]&unix.MCL_ONFAULT != 0, mayLock(t), t)
}

func sysMunlockall(t *kernel.Task, _ arch.SyscallArgs) (uint64, error) {
	return 0, t.MM().MLockAll(false, false, false, true, t)
}

// Commands of membarrier(2): they all wait until every thread has been out of guest
// code once, which is a full barrier; registering costs the same and means nothing.
const (
	membarrierQuery    = 0
	membarrierCommands = 0x1f
)

func sysMembarrier(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	cmd := int32(a[0])
	switch {
	case a[1] != 0:
		return 0, unix.EINVAL
	case cmd == membarrierQuery:
		return membarrierCommands, nil
	case cmd&(cmd-1) != 0 || cmd < 0 || cmd&^membarrierCommands != 0:
		return 0, unix.EINVAL
	}
	return 0, t.Barrier()
}
