package linux

import (
	"os/exec"
	"strconv"
	"testing"
	"unsafe"

	"gosentry/platform/arch"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// childSiginfo returns what waitid(2) of the host tells of a child that exits with status.
func childSiginfo(t *testing.T, status int) signal.Info {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "exit "+strconv.Itoa(status))
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	var b [arch.SiginfoSize]byte
	if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, (*unix.Siginfo)(unsafe.Pointer(&b)), unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	return DecodeSiginfo(&b)
}
