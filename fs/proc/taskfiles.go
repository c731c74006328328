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

// writeCgroup writes the one line of a system with cgroup2 alone.
func writeCgroup(d *taskDir, c vfs.Caller, b *bytes.Buffer) error {
	b.WriteString("0::" + d.task.Cgroup(c) + "\n")
	return nil
}

// readStrings appends the memory in r behind the offset cursor, one step of it, as
// far as it can be read.
func readStrings(m *mm.MemoryManager, r mm.Range, cursor uint64, b *bytes.Buffer) (next uint64, more bool) {
	if r.End <= r.Start || cursor >= r.Length() {
		return cursor, false
	}
	data := make([]byte, min(r.Length()-cursor, stepSize))
	n, err := m.CopyInForce(r.Start+mm.Addr(cursor), data)
	b.Write(data[:n])
	next = cursor + uint64(n)
	return next, err == nil && next < r.Length()
}

// writeCmdline writes the arguments as they are in memory now. A process that
// wrote over the zero at their end (setproctitle(3)) has its title there, of at
// most a page, which may go on in the environment.
func writeCmdline(d *taskDir, _ vfs.Caller, cursor uint64, b *bytes.Buffer) (uint64, bool, error) {
	return commandLine(d.task.Memory(), cursor, b)
}

// CommandLine returns the beginning of what writeCmdline writes, a few kilobytes at most. m is of the process, nil for one that
// has ended.
func CommandLine(m *mm.MemoryManager) []byte {
	var b bytes.Buffer
	commandLine(m, 0, &b) //nolint:errcheck // what cannot be read is not there
	return b.Bytes()
}

func commandLine(m *mm.MemoryManager, cursor uint64, b *bytes.Buffer) (uint64, bool, error) {
	if m == nil {
		return 0, false, nil
	}
	args := m.Layout().Args
	if args.End <= args.Start {
		return 0, false, nil
	}
	var last [1]byte
	if _, err := m.CopyInForce(args.End-1, last[:]); err != nil {
		return 0, false, nil
	}
	if last[0] == 0 || cursor > 0 {
		next, more := readStrings(m, args, cursor, b)
		return next, more, nil
	}
	title := make([]byte, mm.PageSize)
	n, _ := m.CopyInForce(args.Start, title)
	title = title[:n]
	if i := bytes.IndexByte(title, 0); i >= 0 {
		title = title[:i+1]
	}
	b.Write(title)
	return 0, false, nil
}

func writeEnviron(_ *taskDir, m *mm.MemoryManager, _ vfs.Caller, cursor uint64, b *bytes.Buffer) (uint64, bool, error) {
	next, more := readStrings(m, m.Layout().Env, cursor, b)
	return next, more, nil
}

func writeLimits(d *taskDir, _ vfs.Caller, b *bytes.Buffer) error {
	fmt.Fprintf(b, "%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units")
	for r, l := range d.task.Limits().Table() {
		name, unit := limits.Resource(r).Description()
		fmt.Fprintf(b, "%-25s %-20s %-20s ", name, amount(l.Soft), amount(l.Hard))
		if unit != "" {
			fmt.Fprintf(b, "%-10s", unit)
		}
		b.WriteByte('\n')
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
