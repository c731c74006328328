package pairs

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// setAffinity lets thread tid (0: the calling one) run on the processors of mask only.
func setAffinity(tid int, mask *unix.CPUSet) unix.Errno {
	_, _, e := unix.RawSyscall(unix.SYS_SCHED_SETAFFINITY, uintptr(tid), unsafe.Sizeof(*mask), uintptr(unsafe.Pointer(mask)))
	return e
}

// currentCPU is the processor that the calling thread is on.
func currentCPU() int {
	var cpu uint32
	if _, _, e := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0); e != 0 {
		return 0
	}
	return int(cpu)
}

// schedAttr is the kernel's struct sched_attr up to its first version's end.
type schedAttr struct {
	size     uint32
	policy   uint32
	flags    uint64
	nice     int32
	priority uint32
	runtime  uint64
	deadline uint64
	period   uint64
}

// sliceNanoseconds is the time slice asked for: the least that the kernel takes.
const sliceNanoseconds = 100_000

// shortSlice asks the scheduler to give the calling thread, and those it makes, its share in short slices
// (sched_setattr(2) since Linux 6.12; older ones ignore it): what wakes up then need not wait
// until others have used up theirs.
func shortSlice() {
	a := schedAttr{size: uint32(unsafe.Sizeof(schedAttr{}))}
	if _, _, e := unix.RawSyscall6(unix.SYS_SCHED_GETATTR, 0, uintptr(unsafe.Pointer(&a)), unsafe.Sizeof(a), 0, 0, 0); e != 0 || a.policy != 0 {
		return
	}
	a.runtime = sliceNanoseconds
	unix.RawSyscall(unix.SYS_SCHED_SETATTR, 0, uintptr(unsafe.Pointer(&a)), 0)
}
