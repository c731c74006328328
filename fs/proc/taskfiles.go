package proc

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

func writeComm(d *taskDir, _ vfs.Caller, b *bytes.Buffer) error {
	b.WriteString(d.task.Status(false).Name + "\n")
	return nil
}

// storeComm renames a thread of the caller's own process; EINVAL for others.
func storeComm(d *taskDir, c vfs.Caller, data []byte) error {
	pid, _ := d.fs.processes.Self(c)
	if pid == 0 || pid != d.task.Status(false).TGID {
		return unix.EINVAL
	}
	name, _, _ := bytes.Cut(data, []byte{0})
	return d.task.SetName(string(bytes.TrimSuffix(name, []byte("\n"))))
}

// maxStrings bounds how much of a process's strings is shown, in bytes. Nothing
// that execve(2) accepts is longer.
const maxStrings = 8 << 20

// readStrings appends the memory in r as far as it can be read.
func readStrings(m *mm.MemoryManager, r mm.Range, b *bytes.Buffer) {
	if r.End <= r.Start {
		return
	}
	data := make([]byte, min(r.Length(), maxStrings))
	n, _ := m.CopyInForce(r.Start, data)
	b.Write(data[:n])
}

// writeCmdline writes the arguments as they are in memory now. A process that
// wrote over the zero at their end (setproctitle(3)) has its title there, which
// may go on in the environment.
func writeCmdline(d *taskDir, _ vfs.Caller, b *bytes.Buffer) error {
	m := d.task.Memory()
	if m == nil {
		return nil
	}
	l := m.Layout()
	readStrings(m, l.Args, b)
	args := b.Bytes()
	if len(args) == 0 || args[len(args)-1] == 0 {
		return nil
	}
	if i := bytes.IndexByte(args, 0); i >= 0 {
		b.Truncate(i + 1)
		return nil
	}
	readStrings(m, mm.Range{Start: l.Args.End, End: min(l.Env.End, l.Args.End+mm.PageSize)}, b)
	if i := bytes.IndexByte(b.Bytes(), 0); i >= 0 {
		b.Truncate(i + 1)
	}
	return nil
}

func writeEnviron(d *taskDir, _ vfs.Caller, b *bytes.Buffer) error {
	if m := d.task.Memory(); m != nil {
		readStrings(m, m.Layout().Env, b)
	}
	return nil
}

func writeAuxv(d *taskDir, _ vfs.Caller, b *bytes.Buffer) error {
	b.Write(d.task.Auxv())
	return nil
}

func writeLimits(d *taskDir, _ vfs.Caller, b *bytes.Buffer) error {
	fmt.Fprintf(b, "%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units")
	for r, l := range d.task.Limits().Table() {
		name, unit := limits.Resource(r).Description()
		fmt.Fprintf(b, "%-25s %-20s %-20s %-10s\n", name, amount(l.Soft), amount(l.Hard), unit)
	}
	return nil
}

func amount(v uint64) string {
	if v == limits.Infinity {
		return "unlimited"
	}
	return strconv.FormatUint(v, 10)
}

func writePersonality(d *taskDir, _ vfs.Caller, b *bytes.Buffer) error {
	fmt.Fprintf(b, "%08x\n", d.task.Status(false).Personality)
	return nil
}

func writeIO(d *taskDir, _ vfs.Caller, b *bytes.Buffer) error {
	io := d.task.Status(d.process).IO
	fmt.Fprintf(b, "rchar: %d\nwchar: %d\nsyscr: %d\nsyscw: %d\n", io.ReadChars, io.WriteChars, io.ReadCalls, io.WriteCalls)
	fmt.Fprintf(b, "read_bytes: %d\nwrite_bytes: %d\ncancelled_write_bytes: %d\n",
		io.ReadBytes, io.WriteBytes, io.CancelledBytes)
	return nil
}

func writeWchan(d *taskDir, c vfs.Caller, b *bytes.Buffer) error {
	where := d.task.Status(false).WaitChannel
	if where == "" || d.task.MayAccess(c, false) != nil {
		where = "0"
	}
	b.WriteString(where)
	return nil
}

func writeTimerSlack(d *taskDir, _ vfs.Caller, b *bytes.Buffer) error {
	fmt.Fprintf(b, "%d\n", d.task.Status(false).TimerSlack)
	return nil
}

// Ranges of a process's adjustment, the present and the former.
const (
	maxAdj    = 1000
	maxOldAdj = 15
	noOldKill = -17
)

func writeOOMScoreAdj(d *taskDir, _ vfs.Caller, b *bytes.Buffer) error {
	fmt.Fprintf(b, "%d\n", d.task.Status(false).OOMScoreAdj)
	return nil
}

func storeOOMScoreAdj(d *taskDir, c vfs.Caller, data []byte) error {
	adj, err := number(data, -maxAdj, maxAdj)
	if err != nil {
		return err
	}
	return d.task.SetOOMScoreAdj(c, int32(adj))
}

// writeOOMScore writes what Linux says of a process that takes little memory.
func writeOOMScore(d *taskDir, _ vfs.Caller, b *bytes.Buffer) error {
	adj := d.task.Status(false).OOMScoreAdj
	score := int32(0)
	if adj > -maxAdj {
		score = (maxAdj + adj) * 2 / 3
	}
	fmt.Fprintf(b, "%d\n", score)
	return nil
}

func writeOOMAdj(d *taskDir, _ vfs.Caller, b *bytes.Buffer) error {
	adj := d.task.Status(false).OOMScoreAdj
	old := adj * -noOldKill / maxAdj
	if adj == maxAdj {
		old = maxOldAdj
	}
	fmt.Fprintf(b, "%d\n", min(old, maxOldAdj))
	return nil
}

func storeOOMAdj(d *taskDir, c vfs.Caller, data []byte) error {
	old, err := number(data, noOldKill, maxOldAdj)
	if err != nil {
		return err
	}
	adj := old * maxAdj / -noOldKill
	if old == maxOldAdj {
		adj = maxAdj
	}
	return d.task.SetOOMScoreAdj(c, int32(adj))
}

// number reads a decimal number with white space around it; EINVAL.
func number(data []byte, lowest, highest int64) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil || n < lowest || n > highest {
		return 0, unix.EINVAL
	}
	return n, nil
}
