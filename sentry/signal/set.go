package signal

import (
	"math/bits"

	"golang.org/x/sys/unix"
)

// Signal is a signal number, 1 to Max.
type Signal = unix.Signal

// Bounds of signal numbers.
const (
	// Max is the highest signal (SIGRTMAX).
	Max Signal = 64
	// RTMin is the lowest real-time signal, as the kernel counts them.
	RTMin Signal = 32
)

// Valid tells whether s is the number of a signal.
func Valid(s Signal) bool { return s >= 1 && s <= Max }

// IsRealTime tells whether s is a real-time signal, which is queued once for
// each time it is sent.
func IsRealTime(s Signal) bool { return s >= RTMin && s <= Max }

// Set is a set of signals: bit n-1 stands for signal n, as in the kernel's
// sigset_t.
type Set uint64

// Sets with a meaning of their own.
const (
	// Unblockable can be neither blocked, caught nor ignored.
	Unblockable = Set(1<<(unix.SIGKILL-1) | 1<<(unix.SIGSTOP-1))
	// Synchronous are caused by the thread's own instruction and are delivered first.
	Synchronous = Set(1<<(unix.SIGSEGV-1) | 1<<(unix.SIGBUS-1) | 1<<(unix.SIGILL-1) |
		1<<(unix.SIGTRAP-1) | 1<<(unix.SIGFPE-1) | 1<<(unix.SIGSYS-1))
	// StopSignals stop a process by default.
	StopSignals = Set(1<<(unix.SIGSTOP-1) | 1<<(unix.SIGTSTP-1) |
		1<<(unix.SIGTTIN-1) | 1<<(unix.SIGTTOU-1))
	// All has every signal.
	All = ^Set(0)
)

// SetOf returns the set of the given signals.
func SetOf(signals ...Signal) Set {
	var s Set
	for _, sig := range signals {
		s |= bit(sig)
	}
	return s
}

// bit is the set of sig alone, empty for what is no signal.
func bit(sig Signal) Set {
	if !Valid(sig) {
		return 0
	}
	return 1 << uint(sig-1)
}

// Has tells whether sig is in s.
func (s Set) Has(sig Signal) bool { return s&bit(sig) != 0 }

// Add returns s with sig.
func (s Set) Add(sig Signal) Set { return s | bit(sig) }

// Remove returns s without sig.
func (s Set) Remove(sig Signal) Set { return s &^ bit(sig) }

// Union returns the signals that are in s or t.
func (s Set) Union(t Set) Set { return s | t }

// Intersect returns the signals that are in both s and t.
func (s Set) Intersect(t Set) Set { return s & t }

// Without returns the signals of s that are not in t.
func (s Set) Without(t Set) Set { return s &^ t }

// Empty tells whether s has no signal.
func (s Set) Empty() bool { return s == 0 }

// Len is the number of signals in s.
func (s Set) Len() int { return bits.OnesCount64(uint64(s)) }

// Lowest returns the lowest signal of s, 0 when s is empty.
func (s Set) Lowest() Signal {
	if s == 0 {
		return 0
	}
	return Signal(bits.TrailingZeros64(uint64(s)) + 1)
}

// Next returns the signal of s that is delivered first: a synchronous one
// before others, then the lowest. It is 0 when s is empty.
func (s Set) Next() Signal {
	if first := s & Synchronous; first != 0 {
		return first.Lowest()
	}
	return s.Lowest()
}
