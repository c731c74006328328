package linux

import (
	"encoding/binary"
	"math"

	"gosentry/mm"
	"gosentry/sentry/abi"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

// pathMax is PATH_MAX with its final zero (path_resolution(7)).
const pathMax = 4096

// path copies a path in; ENAMETOOLONG when it is longer than PATH_MAX.
func path(t *kernel.Task, addr uint64) (string, error) {
	return t.CopyInString(mm.Addr(addr), pathMax)
}

// load copies in a structure of size bytes and decodes it.
func load[T any](t *kernel.Task, addr uint64, size int, decode func([]byte) T) (v T, err error) {
	b := make([]byte, size)
	if err := t.CopyIn(mm.Addr(addr), b); err != nil {
		return v, err
	}
	return decode(b), nil
}

// loadWords copies in 64-bit words.
func loadWords(t *kernel.Task, addr uint64, words []uint64) error {
	b := make([]byte, 8*len(words))
	if err := t.CopyIn(mm.Addr(addr), b); err != nil {
		return err
	}
	for i := range words {
		words[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return nil
}

func storeWords(t *kernel.Task, addr uint64, words ...uint64) error {
	b := make([]byte, 0, 8*len(words))
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return t.CopyOut(mm.Addr(addr), b)
}

func load32(t *kernel.Task, addr uint64) (uint32, error) {
	var b [4]byte
	err := t.CopyIn(mm.Addr(addr), b[:])
	return binary.LittleEndian.Uint32(b[:]), err
}

func store32(t *kernel.Task, addr uint64, v uint32) error {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], v)
	return t.CopyOut(mm.Addr(addr), b[:])
}

// loadTimespec reads a struct timespec; EINVAL when its nanoseconds are out of
// range or its seconds negative.
func loadTimespec(t *kernel.Task, addr uint64) (unix.Timespec, error) {
	var b [abi.TimespecSize]byte
	if err := t.CopyIn(mm.Addr(addr), b[:]); err != nil {
		return unix.Timespec{}, err
	}
	ts := abi.DecodeTimespec(b[:])
	if ts.Sec < 0 || ts.Nsec < 0 || ts.Nsec >= 1e9 {
		return unix.Timespec{}, unix.EINVAL
	}
	return ts, nil
}

func storeTimespec(t *kernel.Task, addr uint64, ts unix.Timespec) error {
	return t.CopyOut(mm.Addr(addr), abi.AppendTimespec(make([]byte, 0, abi.TimespecSize), ts))
}

// nanoseconds is ts in ns, cut at the largest int64 instead of overflowing.
func nanoseconds(ts unix.Timespec) int64 {
	const most = math.MaxInt64
	if ts.Sec > most/1_000_000_000-1 {
		return most
	}
	return ts.Sec*1e9 + ts.Nsec
}

// loadSigset reads a signal set of the kernel's size; EINVAL for another.
func loadSigset(t *kernel.Task, addr, size uint64) (uint64, error) {
	if size != abi.SigsetSize {
		return 0, unix.EINVAL
	}
	var w [1]uint64
	err := loadWords(t, addr, w[:])
	return w[0], err
}

// stringVector copies in argv or envp: strings up to a null pointer, E2BIG when
// they are more than maxTotal bytes or one is more than MAX_ARG_STRLEN.
func stringVector(t *kernel.Task, addr uint64) ([]string, error) {
	const (
		maxTotal = 6 << 20
		maxCount = 1 << 20
	)
	if addr == 0 {
		return nil, nil
	}
	var list []string
	total := 0
	for i := uint64(0); i < maxCount; i++ {
		var w [1]uint64
		if err := loadWords(t, addr+8*i, w[:]); err != nil {
			return nil, err
		}
		if w[0] == 0 {
			return list, nil
		}
		s, err := t.CopyInString(mm.Addr(w[0]), abi.MaxArgStrlen)
		if err == unix.ENAMETOOLONG {
			return nil, unix.E2BIG
		}
		if err != nil {
			return nil, err
		}
		if total += len(s) + 9; total > maxTotal {
			return nil, unix.E2BIG
		}
		list = append(list, s)
	}
	return nil, unix.E2BIG
}
