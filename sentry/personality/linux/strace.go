package linux

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

// Strace writes a line for each call that it is interested in.
type Strace struct {
	// Names are the calls to trace; empty for all.
	Names map[string]bool
	// Line takes a finished line without its end. It is called by many goroutines.
	Line func(string)
}

// wants tells whether c is to be traced; unknown calls are when all are.
func (s *Strace) wants(c *Call) bool {
	if s == nil {
		return false
	}
	return len(s.Names) == 0 || c != nil && s.Names[c.Name]
}

// straceLine is a call under way.
type straceLine struct {
	trace *Strace
	text  strings.Builder
	start time.Time
}

// begin writes the task's id, the name and the arguments.
func (s *Strace) begin(t *kernel.Task, c *Call, number uint64, a arch.SyscallArgs) *straceLine {
	l := &straceLine{trace: s}
	name, formats := "call_"+strconv.FormatUint(number, 10), []string{"hex", "hex", "hex", "hex", "hex", "hex"}
	if c != nil {
		name, formats = c.Name, strings.Fields(c.Args)
	}
	fmt.Fprintf(&l.text, "[%5d] %s(", t.TID(), name)
	for i, f := range formats {
		if i > 0 {
			l.text.WriteString(", ")
		}
		l.text.WriteString(formatArg(t, f, a, i))
	}
	l.text.WriteString(")")
	l.start = time.Now()
	return l
}

// end writes the result and how long the call took.
func (l *straceLine) end(ret uint64, err error) {
	took := time.Since(l.start)
	switch e, isErrno := err.(unix.Errno); {
	case err == nil && ret > 1<<20:
		fmt.Fprintf(&l.text, " = %#x", ret)
	case err == nil:
		fmt.Fprintf(&l.text, " = %d", int64(ret))
	case kernel.IsRestart(err):
		l.text.WriteString(" = ? (interrupted)")
	case isErrno:
		fmt.Fprintf(&l.text, " = -1 %s (%s)", unix.ErrnoName(e), e.Error())
	default:
		fmt.Fprintf(&l.text, " = -1 (%v)", err)
	}
	fmt.Fprintf(&l.text, " <%.6f>", took.Seconds())
	l.trace.Line(l.text.String())
}

// formats are the words of Call.Args: int, uint, hex, ptr, fd, path (a string in
// guest memory), buf (bytes, as many as the next argument says), sockaddr (likewise), sig, and the
// sets of flags in flagNames.
func formatArg(t *kernel.Task, format string, a arch.SyscallArgs, i int) string {
	v := a[i]
	switch format {
	case "int":
		return strconv.FormatInt(int64(int32(v)), 10)
	case "uint":
		return strconv.FormatUint(v, 10)
	case "fd":
		return formatFD(t, int32(v))
	case "path":
		return formatString(t, v)
	case "buf":
		return formatBytes(t, v, a[min(i+1, 5)])
	case "sockaddr":
		return formatAddress(t, v, a[min(i+1, 5)])
	case "sig":
		return unix.SignalName(unix.Signal(v))
	case "mode":
		return "0" + strconv.FormatUint(v, 8)
	case "argv":
		return formatVector(t, v)
	case "timespec":
		return formatTimespec(t, v)
	case "open":
		return openMode(v) + formatFlags(v&^unix.O_ACCMODE, openNames, "|")
	case "prot":
		return orZero(formatFlags(v, protNames, ""))
	case "mmap":
		return orZero(formatFlags(v, mmapNames, ""))
	case "at":
		return orZero(formatFlags(v, atNames, ""))
	}
	if v == 0 && format == "ptr" {
		return "NULL"
	}
	return "0x" + strconv.FormatUint(v, 16)
}

func orZero(s string) string {
	if s == "" {
		return "0"
	}
	return s
}

// maxShown is how much of a string or buffer a line shows, in bytes.
const maxShown = 64

func formatFD(t *kernel.Task, fd int32) string {
	if fd == unix.AT_FDCWD {
		return "AT_FDCWD"
	}
	s := strconv.Itoa(int(fd))
	f, err := t.FDs().Get(fd)
	if err != nil {
		return s
	}
	defer f.DecRef()
	name, _ := vfs.PathName(t.FS().Root(), f.Path())
	return s + "<" + name + ">"
}

func formatString(t *kernel.Task, addr uint64) string {
	if addr == 0 {
		return "NULL"
	}
	s, err := t.CopyInString(mm.Addr(addr), pathMax)
	if err != nil {
		return "0x" + strconv.FormatUint(addr, 16)
	}
	return strconv.Quote(s)
}

func formatBytes(t *kernel.Task, addr, size uint64) string {
	b := make([]byte, min(size, maxShown))
	if t.CopyIn(mm.Addr(addr), b) != nil {
		return "0x" + strconv.FormatUint(addr, 16)
	}
	s := strconv.Quote(string(b))
	if size > maxShown {
		s += "..."
	}
	return s
}

// formatAddress shows the family of a socket's address and the bytes behind it.
func formatAddress(t *kernel.Task, addr, size uint64) string {
	b, err := loadAddress(t, addr, size)
	if err != nil || len(b) < 2 {
		return "0x" + strconv.FormatUint(addr, 16)
	}
	return fmt.Sprintf("{family %d, %q}", int(b[0])|int(b[1])<<8, b[2:])
}

func formatVector(t *kernel.Task, addr uint64) string {
	const maxStrings = 16
	var list []string
	for i := uint64(0); addr != 0 && i < maxStrings; i++ {
		var w [1]uint64
		if loadWords(t, addr+8*i, w[:]) != nil || w[0] == 0 {
			break
		}
		list = append(list, formatString(t, w[0]))
	}
	return "[" + strings.Join(list, ", ") + "]"
}

func formatTimespec(t *kernel.Task, addr uint64) string {
	var w [2]uint64
	if addr == 0 || loadWords(t, addr, w[:]) != nil {
		return "0x" + strconv.FormatUint(addr, 16)
	}
	return fmt.Sprintf("{%d, %d}", int64(w[0]), int64(w[1]))
}

// flagName is one flag and its name.
type flagName struct {
	flag uint64
	name string
}

var (
	openNames = []flagName{
		{unix.O_CREAT, "O_CREAT"}, {unix.O_EXCL, "O_EXCL"}, {unix.O_NOCTTY, "O_NOCTTY"}, {unix.O_TRUNC, "O_TRUNC"},
		{unix.O_APPEND, "O_APPEND"}, {unix.O_NONBLOCK, "O_NONBLOCK"}, {unix.O_DIRECT, "O_DIRECT"},
		{unix.O_TMPFILE, "O_TMPFILE"}, {unix.O_DIRECTORY, "O_DIRECTORY"}, {unix.O_NOFOLLOW, "O_NOFOLLOW"},
		{unix.O_NOATIME, "O_NOATIME"}, {unix.O_CLOEXEC, "O_CLOEXEC"}, {unix.O_PATH, "O_PATH"},
	}
	protNames = []flagName{{unix.PROT_READ, "PROT_READ"}, {unix.PROT_WRITE, "PROT_WRITE"}, {unix.PROT_EXEC, "PROT_EXEC"}}
	mmapNames = []flagName{
		{unix.MAP_SHARED, "MAP_SHARED"}, {unix.MAP_PRIVATE, "MAP_PRIVATE"}, {unix.MAP_FIXED, "MAP_FIXED"},
		{unix.MAP_ANONYMOUS, "MAP_ANONYMOUS"}, {unix.MAP_GROWSDOWN, "MAP_GROWSDOWN"}, {unix.MAP_DENYWRITE, "MAP_DENYWRITE"},
		{unix.MAP_NORESERVE, "MAP_NORESERVE"}, {unix.MAP_POPULATE, "MAP_POPULATE"}, {unix.MAP_STACK, "MAP_STACK"},
		{unix.MAP_FIXED_NOREPLACE, "MAP_FIXED_NOREPLACE"},
	}
	atNames = []flagName{
		{unix.AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"}, {unix.AT_REMOVEDIR, "AT_REMOVEDIR"},
		{unix.AT_SYMLINK_FOLLOW, "AT_SYMLINK_FOLLOW"}, {unix.AT_NO_AUTOMOUNT, "AT_NO_AUTOMOUNT"}, {unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"},
	}
)

func openMode(v uint64) string {
	switch v & unix.O_ACCMODE {
	case unix.O_WRONLY:
		return "O_WRONLY"
	case unix.O_RDWR:
		return "O_RDWR"
	}
	return "O_RDONLY"
}

// formatFlags joins the names of the flags in v, and what is left as a number;
// lead stands in front if there are any.
func formatFlags(v uint64, names []flagName, lead string) string {
	var list []string
	for _, n := range names {
		if v&n.flag == n.flag {
			list = append(list, n.name)
			v &^= n.flag
		}
	}
	if v != 0 {
		list = append(list, "0x"+strconv.FormatUint(v, 16))
	}
	if len(list) == 0 {
		return ""
	}
	return lead + strings.Join(list, "|")
}
