package linux

import (
	"testing"

	"gosentry/sentry/signal"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func samples() []signal.Info {
	return []signal.Info{
		{Signo: unix.SIGTERM, Code: signal.CodeUser, PID: 7, UID: 1000},
		{Signo: unix.SIGHUP, Code: signal.CodeKernel},
		{Signo: unix.SIGUSR1, Code: signal.CodeQueue, Errno: 3, PID: 7, UID: 9, Value: 1 << 40},
		{Signo: unix.SIGALRM, Code: signal.CodeTimer, TimerID: 4, Overrun: 2, Value: ^uint64(0)},
		{Signo: unix.SIGCHLD, Code: signal.CldKilled, PID: 8, UID: 1, Status: 9, UTime: 1 << 33, STime: 2},
		{Signo: unix.SIGSEGV, Code: signal.SegvMapErr, Addr: 0xdeadbeef0000},
		{Signo: unix.SIGSEGV, Code: signal.SegvBndErr, Addr: 5, Lower: 1, Upper: 1 << 40},
		{Signo: unix.SIGSEGV, Code: signal.SegvPKUErr, Addr: 5, PKey: 3},
		{Signo: unix.SIGBUS, Code: 4, Addr: 1 << 44, AddrLSB: 12},
		{Signo: unix.SIGPOLL, Code: signal.PollIn, Band: 0x41, FD: 5},
		{Signo: unix.SIGSYS, Code: signal.SysSeccomp, Addr: 0x401000, Syscall: 39, Arch: 0xc000003e},
	}
}

func TestSiginfoRoundTrip(t *testing.T) {
	for _, want := range samples() {
		b := EncodeSiginfo(&want)
		if d := cmp.Diff(want, DecodeSiginfo(&b)); d != "" {
			t.Errorf("signal %v code %d (-want +got):\n%s", want.Signo, want.Code, d)
		}
	}
}

// TestSiginfoFromHost compares with what the host's kernel lays out.
func TestSiginfoFromHost(t *testing.T) {
	got := childSiginfo(t, 7)
	want := signal.Info{
		Signo: unix.SIGCHLD, Code: signal.CldExited, Status: 7,
		PID: got.PID, UID: uint32(unix.Getuid()),
	}
	if d := cmp.Diff(want, got); d != "" || got.PID <= 0 {
		t.Errorf("pid %d (-want +got):\n%s", got.PID, d)
	}
}
