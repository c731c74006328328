package proc

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// coreFilterBits are the bits of coredump_filter that mean something (core(5)).
const coreFilterBits = 1<<9 - 1

func writeCoreFilter(d *taskDir, _ vfs.Caller, b *bytes.Buffer) error {
	fmt.Fprintf(b, "%08x\n", d.task.Status(false).CoreFilter)
	return nil
}

func storeCoreFilter(d *taskDir, _ vfs.Caller, data []byte) error {
	n, err := strconv.ParseUint(strings.TrimSpace(string(data)), 0, 32)
	if err != nil {
		return unix.EINVAL
	}
	d.task.SetCoreFilter(uint32(n) & coreFilterBits)
	return nil
}

func writeStopForks(d *taskDir, _ vfs.Caller, b *bytes.Buffer) error {
	n := 0
	if d.task.Status(false).StopForks {
		n = 1
	}
	fmt.Fprintln(b, n)
	return nil
}

func storeStopForks(d *taskDir, _ vfs.Caller, data []byte) error {
	n, err := number(data, 0, 1)
	if err != nil {
		return err
	}
	d.task.SetStopForks(n == 1)
	return nil
}
