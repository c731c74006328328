package futex

import (
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

// encode is FUTEX_OP of futex(2).
func encode(op, cmp, arg, cmpArg uint32) uint32 {
	return op<<28 | cmp<<24 | arg&0xfff<<12 | cmpArg&0xfff
}

func TestWakeOpCounts(t *testing.T) {
	minus := func(n uint32) uint32 { return -n & 0xfff }
	for _, c := range []struct {
		name     string
		old      uint32
		encoded  uint32
		now      uint32
		wantBoth bool
	}{
		{"set, equal", 7, encode(opSet, cmpEQ, 9, 7), 9, true},
		{"set, not equal", 7, encode(opSet, cmpEQ, 9, 8), 9, false},
		{"add, ne", 7, encode(opAdd, cmpNE, 3, 8), 10, true},
		{"add negative, lt", 7, encode(opAdd, cmpLT, minus(8), 8), ^uint32(0), true},
		{"or, le", 5, encode(opOr, cmpLE, 2, 5), 7, true},
		{"or, le fails", 6, encode(opOr, cmpLE, 1, 5), 7, false},
		{"andn, gt", 7, encode(opAndNot, cmpGT, 5, 6), 2, true},
		{"xor, ge", 7, encode(opXor, cmpGE, 2, 7), 5, true},
		{"signed comparison", ^uint32(0), encode(opXor, cmpLT, 0, 0), ^uint32(0), true},
		{"negative operand of comparison", ^uint32(4), encode(opSet, cmpGE, 1, minus(5)), 1, true},
		{"shift", 0, encode(opOr|opShift, cmpEQ, 31, 0), 1 << 31, true},
	} {
		m := New[int]()
		first, second := queueUp(t, m, 1, 3, BitsetAll), queueUp(t, m, 2, 4, BitsetAll)
		w := newWord(c.old)
		w.missing.Store(1)
		n, err := m.WakeOp(1, 2, w, 2, 3, c.encoded)
		want := 2
		if c.wantBoth {
			want += 3
			checkTold(t, c.name, second, 0, 1, 2)
		}
		if n != want || err != nil || w.v.Load() != c.now {
			t.Errorf("%s: %d, %v, word %#x; want %d and %#x", c.name, n, err, w.v.Load(), want, c.now)
		}
		checkTold(t, c.name, first, 0, 1)
	}
}

func TestWakeOpRefuses(t *testing.T) {
	m := New[int]()
	for _, e := range []uint32{encode(5, 0, 0, 0), encode(15, 0, 0, 0), encode(0, 6, 0, 0)} {
		if _, err := m.WakeOp(1, 2, newWord(0), 1, 1, e); err != unix.ENOSYS {
			t.Errorf("operation %#x: %v, want ENOSYS", e, err)
		}
	}
	if _, err := m.WakeOp(1, 2, &word{gone: true}, 1, 1, 0); err != unix.EFAULT {
		t.Errorf("no memory: %v", err)
	}
}

// TestWakeOpAsOnHost lets the host's futex(2) do random operations.
func TestWakeOpAsOnHost(t *testing.T) {
	m := New[int]()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	for range 3000 {
		old := random.Uint32() >> random.UintN(32)
		e := random.Uint32()
		onHost := old
		errno := hostWakeOp(&onHost, e)
		if errno == unix.EPERM || errno == unix.EACCES {
			t.Skip("the host refuses futex(2): ", errno)
		}
		w := newWord(old)
		_, err := m.WakeOp(1, 2, w, 1, 1, e)
		if (err != nil) != (errno != 0) || err != nil && err != errno {
			t.Fatalf("seed %d: operation %#x: %v, on the host %v", seed, e, err, errno)
		}
		if w.v.Load() != onHost {
			t.Fatalf("seed %d: operation %#x on %#x: %#x, on the host %#x", seed, e, old, w.v.Load(), onHost)
		}
	}
}
