package patch

import (
	"slices"
	"testing"
)

// TestGuardedRead looks for the C library's read in bytes like it.
func TestGuardedRead(t *testing.T) {
	read := []byte{0x80, 0x3d, 0x10, 0x32, 0x0e, 0x00, 0x00, 0x74, 0xf0, 0x31, 0xc0, 0x0f, 0x05}
	const at = 16
	for name, c := range map[string]struct {
		number uint64
		change func(text []byte) []byte
		want   bool
	}{
		"itself":             {0, func(b []byte) []byte { return b }, true},
		"another number":     {1, func(b []byte) []byte { return b }, false},
		"a register cleared": {0, func(b []byte) []byte { b[at+10] = 0xc9; return b }, false},
		"another constant":   {0, func(b []byte) []byte { b[at+6] = 1; return b }, false},
		"not relative":       {0, func(b []byte) []byte { b[at+1] = 0x3c; return b }, false},
		"another condition":  {0, func(b []byte) []byte { b[at+7] = 0x75; return b }, false},
		"a prefix":           {0, func(b []byte) []byte { b[at-1] = 0x64; return b }, false},
		"REX":                {0, func(b []byte) []byte { b[at-1] = 0x41; return b }, false},
		"no SYSCALL":         {0, func(b []byte) []byte { b[at+12] = 0x0b; return b }, false},
	} {
		text := c.change(append(slices.Repeat([]byte{0x90}, at), read...))
		s, ok := siteBefore(text, uint64(len(text)), c.number)
		if ok != c.want {
			t.Errorf("%s: %v", name, ok)
		}
		if ok && (s.offset != at || s.length() != guardedLength) {
			t.Errorf("%s: %+v", name, s)
		}
	}
	for cut := range len(read) {
		text := slices.Concat([]byte{0x90}, read[cut:])
		if s, ok := siteBefore(text, uint64(len(text)), 0); ok != (cut == 0) {
			t.Errorf("without the first %d bytes: %+v %v", cut, s, ok)
		}
	}
	text := append([]byte{0x90}, read...)
	s, _ := siteBefore(text, uint64(len(text)), 0)
	got := s.trampoline(trampolinesAt, textAt)
	if want := (Trampoline{At: trampolinesAt, Back: textAt + 13, Guarded: true, Guard: textAt + 7 + 0xe3210, Otherwise: textAt + 9 - 16}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
