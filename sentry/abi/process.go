package abi

import "golang.org/x/sys/unix"

// Sizes of what describes processes and the system, in bytes.
const (
	SysinfoSize = 112
	RusageSize  = 144
	UtsnameSize = 6 * UtsFieldSize
	// UtsFieldSize is the length of a field of struct utsname, with its NUL.
	UtsFieldSize = 65

	RlimitSize         = 16 // struct rlimit64
	RobustListHeadSize = 24
	CapHeaderSize      = 8  // struct __user_cap_header_struct
	CapDataSize        = 12 // struct __user_cap_data_struct, of which version 3 has two

	// The versions of struct clone_args and struct sched_attr differ in length.
	CloneArgsSizeMin = 64
	CloneArgsSize    = 88
	SchedAttrSizeMin = 48
	SchedAttrSize    = 56
)

// AppendSysinfo appends a struct sysinfo.
func AppendSysinfo(b []byte, s *unix.Sysinfo_t) []byte {
	b = append64(b, uint64(s.Uptime), s.Loads[0], s.Loads[1], s.Loads[2])
	b = append64(b, s.Totalram, s.Freeram, s.Sharedram, s.Bufferram, s.Totalswap, s.Freeswap)
	b = le.AppendUint16(b, s.Procs)
	b = zeros(b, 6)
	b = append64(b, s.Totalhigh, s.Freehigh)
	return append32(b, s.Unit, 0)
}

// AppendRusage appends a struct rusage.
func AppendRusage(b []byte, r *unix.Rusage) []byte {
	b = AppendTimeval(AppendTimeval(b, r.Utime), r.Stime)
	for _, v := range [...]int64{
		r.Maxrss, r.Ixrss, r.Idrss, r.Isrss, r.Minflt, r.Majflt, r.Nswap,
		r.Inblock, r.Oublock, r.Msgsnd, r.Msgrcv, r.Nsignals, r.Nvcsw, r.Nivcsw,
	} {
		b = append64(b, uint64(v))
	}
	return b
}

// Utsname is what uname(2) tells.
type Utsname struct {
	Sysname, Nodename, Release, Version, Machine, Domainname string
}

// AppendUtsname appends a struct new_utsname. Strings that are too long are cut.
func AppendUtsname(b []byte, u *Utsname) []byte {
	for _, s := range [...]string{u.Sysname, u.Nodename, u.Release, u.Version, u.Machine, u.Domainname} {
		s = s[:min(len(s), UtsFieldSize-1)]
		b = zeros(append(b, s...), UtsFieldSize-len(s))
	}
	return b
}

// AppendRlimit appends a struct rlimit64.
func AppendRlimit(b []byte, r unix.Rlimit) []byte { return append64(b, r.Cur, r.Max) }

// DecodeRlimit reads a struct rlimit64.
func DecodeRlimit(b []byte) unix.Rlimit { return unix.Rlimit{Cur: get64(b, 0), Max: get64(b, 8)} }

// CloneArgs is struct clone_args; pointers are guest addresses.
type CloneArgs struct {
	Flags, PidFD, ChildTID, ParentTID, ExitSignal, Stack, StackSize, TLS, SetTID, SetTIDSize, Cgroup uint64
}

// DecodeCloneArgs reads a struct clone_args, of which b holds any number of
// bytes; what b does not reach is 0.
func DecodeCloneArgs(b []byte) CloneArgs {
	var full [CloneArgsSize]byte
	copy(full[:], b)
	f := func(i int) uint64 { return get64(full[:], 8*i) }
	return CloneArgs{
		Flags: f(0), PidFD: f(1), ChildTID: f(2), ParentTID: f(3), ExitSignal: f(4),
		Stack: f(5), StackSize: f(6), TLS: f(7), SetTID: f(8), SetTIDSize: f(9), Cgroup: f(10),
	}
}

// RobustListHead is what set_robust_list(2) points to.
type RobustListHead struct {
	List        uint64 // address of the first entry
	FutexOffset int64  // from an entry to its futex
	Pending     uint64 // address of the entry that is being added or removed
}

// DecodeRobustListHead reads a struct robust_list_head.
func DecodeRobustListHead(b []byte) RobustListHead {
	return RobustListHead{List: get64(b, 0), FutexOffset: int64(get64(b, 8)), Pending: get64(b, 16)}
}

// AppendSchedAttr appends a struct sched_attr in its longest form.
func AppendSchedAttr(b []byte, a *unix.SchedAttr) []byte {
	b = append32(b, a.Size, a.Policy)
	b = append64(b, a.Flags)
	b = append32(b, uint32(a.Nice), a.Priority)
	b = append64(b, a.Runtime, a.Deadline, a.Period)
	return append32(b, a.Util_min, a.Util_max)
}

// DecodeSchedAttr reads a struct sched_attr, of which b holds any number of bytes;
// what b does not reach is 0.
func DecodeSchedAttr(b []byte) unix.SchedAttr {
	var full [SchedAttrSize]byte
	copy(full[:], b)
	f := full[:]
	return unix.SchedAttr{
		Size: get32(f, 0), Policy: get32(f, 4), Flags: get64(f, 8), Nice: int32(get32(f, 16)), Priority: get32(f, 20),
		Runtime: get64(f, 24), Deadline: get64(f, 32), Period: get64(f, 40), Util_min: get32(f, 48), Util_max: get32(f, 52),
	}
}

// CapHeader is the head of capget(2) and capset(2).
type CapHeader struct {
	Version uint32
	PID     int32
}

// DecodeCapHeader reads a struct __user_cap_header_struct.
func DecodeCapHeader(b []byte) CapHeader { return CapHeader{get32(b, 0), int32(get32(b, 4))} }

// CapData are the low or high halves of capability sets.
type CapData struct{ Effective, Permitted, Inheritable uint32 }

// DecodeCapData reads a struct __user_cap_data_struct.
func DecodeCapData(b []byte) CapData { return CapData{get32(b, 0), get32(b, 4), get32(b, 8)} }

// AppendCapData appends one.
func AppendCapData(b []byte, d CapData) []byte {
	return append32(b, d.Effective, d.Permitted, d.Inheritable)
}
