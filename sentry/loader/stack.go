package loader

import (
	"crypto/rand"

	"gosentry/mm"
	"gosentry/platform"
	"gosentry/sentry/abi"

	"golang.org/x/sys/unix"
)

const (
	// stackSpare is mapped below the first stack pointer, in bytes: Linux does, and
	// it saves the first faults.
	stackSpare = 128 << 10
	// stackArgs is the most that arguments may take, in bytes, whatever RLIMIT_STACK is.
	stackArgs = 6 << 20

	platformName = "x86_64"
	randomSize   = 16 // AT_RANDOM
	topSize      = 8  // zeros above the strings
	wordSize     = 8
	alignRange   = 8192 // the stack pointer starts lower by up to so many bytes, at random
)

// stack is the first stack of a program. From its top downwards: 8 zero
// bytes, the program's file name, environment and argument strings, a random gap, the platform's
// name, AT_RANDOM's bytes, the auxiliary vector, envv, argv, argc.
type stack struct {
	argv, envv []string
	execfn     string
	top        uint64 // page-aligned

	// Known after measure.
	argBytes, envBytes uint64

	// Addresses, known after place.
	execfnAddr, envStart, argStart uint64
	platformAddr, randomAddr, sp   uint64
}

// measure adds up the strings. E2BIG for one that is too long, and when all of them with their
// pointers take more than a quarter of the stack's limit, stackLimit bytes.
func (s *stack) measure(stackLimit uint64) error {
	limit := max(min(stackLimit/4, stackArgs), abi.ArgMax)
	used := uint64(len(s.argv)+len(s.envv))*wordSize + uint64(len(s.execfn)) + 1
	var err error
	if s.argBytes, err = stringBytes(s.argv, limit); err != nil {
		return err
	}
	if s.envBytes, err = stringBytes(s.envv, limit); err != nil {
		return err
	}
	if used > limit || s.argBytes+s.envBytes > limit-used {
		return unix.E2BIG
	}
	return nil
}

func stringBytes(strings []string, limit uint64) (uint64, error) {
	total := uint64(0)
	for _, x := range strings {
		if len(x) >= abi.MaxArgStrlen {
			return 0, unix.E2BIG
		}
		if total += uint64(len(x)) + 1; total > limit {
			return 0, unix.E2BIG
		}
	}
	return total, nil
}

// place chooses addresses. The sizes that measure has bounded cannot wrap.
func (s *stack) place(rnd source) {
	s.execfnAddr = s.top - topSize - uint64(len(s.execfn)) - 1
	s.envStart = s.execfnAddr - s.envBytes
	s.argStart = s.envStart - s.argBytes
	p := (s.argStart - rnd.below(alignRange)) &^ 15
	s.platformAddr = p - uint64(len(platformName)) - 1
	s.randomAddr = s.platformAddr - randomSize
	words := 1 + len(s.argv) + 1 + len(s.envv) + 1
	s.sp = s.randomAddr - uint64(words*wordSize) - (auxEntries+1)*abi.AuxEntrySize
	s.sp &^= 15
}

// build returns what the stack holds from sp to top.
func (s *stack) build(aux []abi.AuxEntry) []byte {
	b := make([]byte, 0, s.top-s.sp)
	b = le.AppendUint64(b, uint64(len(s.argv)))
	b = appendPointers(b, s.argv, s.argStart)
	b = appendPointers(b, s.envv, s.envStart)
	b = abi.AppendAuxv(b, aux)
	b = b[:cap(b)]
	rand.Read(b[s.randomAddr-s.sp:][:randomSize])
	copy(b[s.platformAddr-s.sp:], platformName)
	copyStrings(b[s.argStart-s.sp:], s.argv)
	copyStrings(b[s.envStart-s.sp:], s.envv)
	copy(b[s.execfnAddr-s.sp:], s.execfn)
	return b
}

// appendPointers appends the addresses of strings that lie one behind the other from addr on, and a null.
func appendPointers(b []byte, strings []string, addr uint64) []byte {
	for _, x := range strings {
		b = le.AppendUint64(b, addr)
		addr += uint64(len(x)) + 1
	}
	return le.AppendUint64(b, 0)
}

func copyStrings(b []byte, strings []string) {
	for _, x := range strings {
		b = b[copy(b, x)+1:]
	}
}

// mapStack maps st, which has been placed.
func (s *space) mapStack(st *stack, exec bool) error {
	prot := platform.Read | platform.Write
	if exec {
		prot |= platform.Exec
	}
	start := pageDown(st.sp - stackSpare)
	_, err := s.mm.MMap(mm.MMapOpts{
		Addr: mm.Addr(start), Length: st.top - start, Prot: prot, Name: "[stack]",
		Private: true, Fixed: true, NoReplace: true, GrowsDown: true, Limits: s.limits,
	})
	return err
}
