package linux

import (
	"crypto/rand"
	"runtime"

	"gosentry/fs/tmpfs"
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

// What uname(2) tells. Release is the Linux whose calls the table follows.
const (
	Sysname = "Linux"
	Release = "6.12.0-gosentry"
	Version = "#1 SMP"
	Machine = "x86_64"
)

func sysUname(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	host, domain := t.Namespaces().UTS.Names()
	return 0, t.CopyOut(mm.Addr(a[0]), abi.AppendUtsname(make([]byte, 0, abi.UtsnameSize), &abi.Utsname{
		Sysname: Sysname, Nodename: host, Release: Release, Version: Version, Machine: Machine, Domainname: domain,
	}))
}

func sysSethostname(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	s, err := loadName(t, a[0], a[1])
	if err == nil {
		t.Namespaces().UTS.SetHost(s)
	}
	return 0, err
}

func sysSetdomainname(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	s, err := loadName(t, a[0], a[1])
	if err == nil {
		t.Namespaces().UTS.SetDomain(s)
	}
	return 0, err
}

func loadName(t *kernel.Task, addr, size uint64) (string, error) {
	if !t.Creds().HasIn(unix.CAP_SYS_ADMIN, t.Namespaces().UTS.Owner()) {
		return "", unix.EPERM
	}
	if size > abi.UtsFieldSize-1 {
		return "", unix.EINVAL
	}
	b := make([]byte, size)
	err := t.CopyIn(mm.Addr(addr), b)
	return string(b), err
}

func sysSysinfo(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	memory := t.Memory()
	total := memory.Limit()
	processes, _ := t.Kernel().Processes()
	return 0, t.CopyOut(mm.Addr(a[0]), abi.AppendSysinfo(make([]byte, 0, abi.SysinfoSize), &unix.Sysinfo_t{
		Uptime:   (t.Boottime().Now() + 1e9 - 1) / 1e9, // rounded up, unlike /proc/uptime
		Totalram: total, Freeram: total - min(memory.Usage(), total),
		Procs: uint16(min(processes, 1<<16-1)), Unit: 1,
	}))
}

// maxRandom bounds what one round of getrandom makes, in bytes.
const maxRandom = 64 << 10

func sysGetrandom(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	const insecure = 4
	flags := a[2]
	if flags&^(unix.GRND_NONBLOCK|unix.GRND_RANDOM|insecure) != 0 || flags&(unix.GRND_RANDOM|insecure) == unix.GRND_RANDOM|insecure {
		return 0, unix.EINVAL
	}
	size := min(a[1], 1<<25-1)
	b := make([]byte, min(size, maxRandom))
	done := uint64(0)
	for done < size {
		part := b[:min(size-done, maxRandom)]
		rand.Read(part) //nolint:errcheck // never fails
		if err := t.CopyOut(mm.Addr(a[0]+done), part); err != nil {
			if done > 0 {
				break
			}
			return 0, err
		}
		if done += uint64(len(part)); t.Interrupted() {
			break
		}
	}
	return done, nil
}

func sysMemfdCreate(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	const nameMax = 249
	flags := a[1]
	if flags&^(unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL|unix.MFD_EXEC) != 0 {
		return 0, unix.EINVAL
	}
	name, err := t.CopyInString(mm.Addr(a[0]), nameMax+1)
	if err == unix.ENAMETOOLONG {
		return 0, unix.EINVAL
	}
	if err != nil {
		return 0, err
	}
	sealing := flags&(unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL) != 0
	f, err := tmpfs.NewMemFD(t.Kernel().VFS(), t, t.Payer(), name, sealing)
	if err != nil {
		return 0, err
	}
	return newFD(t, f, flags&unix.MFD_CLOEXEC != 0)
}

func sysPersonality(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return uint64(t.ThreadGroup().SetPersona(uint32(a[0]))), nil
}

// CPUs is the number of processors that a guest sees.
func CPUs() int { return runtime.NumCPU() }
