package arch

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestExceptionOf(t *testing.T) {
	for _, c := range []struct {
		sig         unix.Signal
		code        int32
		access      uint8
		trap, error uint64
	}{
		{unix.SIGSEGV, 1, unix.PROT_READ, 14, 4},
		{unix.SIGSEGV, 1, unix.PROT_WRITE, 14, 6},
		{unix.SIGSEGV, 2, unix.PROT_WRITE, 14, 7},
		{unix.SIGSEGV, 2, unix.PROT_EXEC, 14, 0x15},
		{unix.SIGSEGV, 0x80, 0, 13, 0},
		{unix.SIGBUS, 2, unix.PROT_READ, 14, 4},
		{unix.SIGBUS, 1, 0, 17, 0},
		{unix.SIGILL, 2, 0, 6, 0},
		{unix.SIGFPE, 1, 0, 0, 0},
		{unix.SIGFPE, 3, 0, 19, 0},
		{unix.SIGTRAP, 0x80, 0, 3, 0},
		{unix.SIGTRAP, 2, 0, 1, 0},
		{unix.SIGTERM, 0, 0, 0, 0},
	} {
		if trap, err := ExceptionOf(c.sig, c.code, c.access); trap != c.trap || err != c.error {
			t.Errorf("%v, code %d, access %d: %d, %#x; want %d, %#x", c.sig, c.code, c.access, trap, err, c.trap, c.error)
		}
	}
}
