package abi

import "golang.org/x/sys/unix"

// Sizes of times and what holds them, in bytes.
const (
	TimespecSize   = 16
	TimevalSize    = 16
	ItimerspecSize = 32 // interval, value
	ItimervalSize  = 32
	TimezoneSize   = 8
	TmsSize        = 32
	TimexSize      = 208
)

// AppendTimespec appends a struct timespec.
func AppendTimespec(b []byte, t unix.Timespec) []byte {
	return append64(b, uint64(t.Sec), uint64(t.Nsec))
}

// DecodeTimespec reads a struct timespec. Its nanoseconds may be out of range.
func DecodeTimespec(b []byte) unix.Timespec {
	return unix.Timespec{Sec: int64(get64(b, 0)), Nsec: int64(get64(b, 8))}
}

// AppendTimeval appends a struct timeval.
func AppendTimeval(b []byte, t unix.Timeval) []byte {
	return append64(b, uint64(t.Sec), uint64(t.Usec))
}

// DecodeTimeval reads a struct timeval. Its microseconds may be out of range.
func DecodeTimeval(b []byte) unix.Timeval {
	return unix.Timeval{Sec: int64(get64(b, 0)), Usec: int64(get64(b, 8))}
}

// AppendItimerspec appends a struct itimerspec.
func AppendItimerspec(b []byte, t unix.ItimerSpec) []byte {
	return AppendTimespec(AppendTimespec(b, t.Interval), t.Value)
}

// DecodeItimerspec reads a struct itimerspec.
func DecodeItimerspec(b []byte) unix.ItimerSpec {
	return unix.ItimerSpec{Interval: DecodeTimespec(b), Value: DecodeTimespec(b[TimespecSize:])}
}

// AppendItimerval appends a struct itimerval.
func AppendItimerval(b []byte, t unix.Itimerval) []byte {
	return AppendTimeval(AppendTimeval(b, t.Interval), t.Value)
}

// DecodeItimerval reads a struct itimerval.
func DecodeItimerval(b []byte) unix.Itimerval {
	return unix.Itimerval{Interval: DecodeTimeval(b), Value: DecodeTimeval(b[TimevalSize:])}
}

// AppendTms appends a struct tms; times are in clock ticks.
func AppendTms(b []byte, t unix.Tms) []byte {
	return append64(b, uint64(t.Utime), uint64(t.Stime), uint64(t.Cutime), uint64(t.Cstime))
}

// AppendTimex appends a struct timex, for adjtimex(2).
func AppendTimex(b []byte, t *unix.Timex) []byte {
	start := len(b)
	b = append32(b, t.Modes, 0)
	b = append64(b, uint64(t.Offset), uint64(t.Freq), uint64(t.Maxerror), uint64(t.Esterror))
	b = append32(b, uint32(t.Status), 0)
	b = append64(b, uint64(t.Constant), uint64(t.Precision), uint64(t.Tolerance))
	b = AppendTimeval(b, t.Time)
	b = append64(b, uint64(t.Tick), uint64(t.Ppsfreq), uint64(t.Jitter))
	b = append32(b, uint32(t.Shift), 0)
	b = append64(b, uint64(t.Stabil), uint64(t.Jitcnt), uint64(t.Calcnt), uint64(t.Errcnt), uint64(t.Stbcnt))
	b = append32(b, uint32(t.Tai))
	return zeros(b, start+TimexSize-len(b))
}

// DecodeTimexModes reads what adjtimex(2) is asked to set.
func DecodeTimexModes(b []byte) uint32 { return get32(b, 0) }
