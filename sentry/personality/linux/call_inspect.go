package linux

import (
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

func sysProcessVMReadv(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return processVM(t, a, func(other, own *mm.Buffer, chunk []byte) (int, error) { return pump(own, other, chunk) })
}

func sysProcessVMWritev(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return processVM(t, a, func(other, own *mm.Buffer, chunk []byte) (int, error) { return pump(other, own, chunk) })
}

// pump moves what chunk holds from one buffer to another.
func pump(to, from *mm.Buffer, chunk []byte) (int, error) {
	n, err := from.CopyIn(chunk[:min(uint64(len(chunk)), from.Len(), to.Len())])
	m, toErr := to.CopyOut(chunk[:n])
	if toErr != nil {
		err = toErr
	}
	return m, err
}

// processVM moves bytes between the caller's buffers and another process's until one side is full, a page is
// missing or a signal comes.
func processVM(t *kernel.Task, a arch.SyscallArgs, step func(other, own *mm.Buffer, chunk []byte) (int, error)) (uint64, error) {
	if a[5] != 0 {
		return 0, unix.EINVAL
	}
	local, err := loadIovecs(t, a[1], a[2])
	if err != nil {
		return 0, err
	}
	remote, err := loadIovecs(t, a[3], a[4])
	if err != nil {
		return 0, err
	}
	m, err := t.MemoryOf(int32(a[0]))
	if err != nil {
		return 0, err
	}
	defer m.DecUsers()
	other, own := mm.NewBuffer(m, remote), mm.NewBuffer(t.MM(), local)
	chunk := make([]byte, min(64<<10, other.Len(), own.Len()))
	done := uint64(0)
	for other.Len() > 0 && own.Len() > 0 {
		n, err := step(other, own, chunk)
		done += uint64(n)
		if err != nil {
			if done > 0 {
				break
			}
			return 0, unix.EFAULT
		}
		if n == 0 || t.Interrupted() {
			break
		}
	}
	return done, nil
}

// sysKcmp is kcmp(2). What differs has no order here, which the call may say.
func sysKcmp(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	const unequal = 3
	same, err := t.Same(int32(a[0]), int32(a[1]), int(int32(a[2])), int32(a[3]), int32(a[4]))
	if err != nil || same {
		return 0, err
	}
	return unequal, nil
}

// There are no protection keys, as on a processor without them.

func sysPkeyAlloc(_ *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	const rights = 3
	if a[0] != 0 || a[1]&^rights != 0 {
		return 0, unix.EINVAL
	}
	return 0, unix.ENOSPC
}

func sysPkeyFree(*kernel.Task, arch.SyscallArgs) (uint64, error) { return 0, unix.EINVAL }

func sysPkeyMprotect(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if int32(a[3]) != -1 {
		return 0, unix.EINVAL
	}
	return sysMprotect(t, a)
}
