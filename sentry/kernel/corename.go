package kernel

import (
	"path"
	"strconv"
	"strings"

	"gosentry/fs/vfs"
	"gosentry/sentry/limits"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// maxCorePattern is how long a pattern may be, in bytes (CORENAME_MAX_SIZE, with its end).
const maxCorePattern = 127

// CorePattern implements proc.Processes.
func (v *ProcView) CorePattern() string { return v.k.corePattern() }

func (k *Kernel) corePattern() string {
	if p := k.knobs.corePlace.Load(); p != nil {
		return *p
	}
	return "core"
}

// SetCorePattern implements proc.Processes. A core file goes to a file: EINVAL for a program or a socket that
// would take it.
func (v *ProcView) SetCorePattern(pattern string) error {
	if strings.HasPrefix(pattern, "|") || strings.HasPrefix(pattern, "@") {
		return unix.EINVAL
	}
	pattern = pattern[:min(len(pattern), maxCorePattern)]
	v.k.knobs.corePlace.Store(&pattern)
	return nil
}

// coreName is the file that the pattern names for the process, which sig ends.
func (t *Task) coreName(sig signal.Signal) string {
	pattern := t.k.corePattern()
	var b strings.Builder
	byPID := t.k.knobs.coreByPID.Load() != 0
	for {
		text, rest, more := strings.Cut(pattern, "%")
		b.WriteString(text)
		if !more || rest == "" {
			break
		}
		byPID = byPID && rest[0] != 'p'
		b.WriteString(t.corePart(rest[0], sig))
		pattern = rest[1:]
	}
	if byPID {
		b.WriteString("." + strconv.Itoa(int(t.tg.pid.In(t.pidns))))
	}
	return b.String()
}

// corePart is what a letter behind a % stands for; nothing for others.
func (t *Task) corePart(letter byte, sig signal.Signal) string {
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	c := t.Creds()
	switch letter {
	case '%':
		return "%"
	case 'p':
		return number(uint64(t.tg.pid.In(t.pidns)))
	case 'P':
		return number(uint64(t.tg.pid.In(t.k.rootPIDNS)))
	case 'i':
		return number(uint64(t.pid.In(t.pidns)))
	case 'I':
		return number(uint64(t.pid.In(t.k.rootPIDNS)))
	case 'u':
		return number(uint64(c.RUID))
	case 'g':
		return number(uint64(c.RGID))
	case 'd':
		return "1" // others have no core file
	case 's':
		return number(uint64(sig))
	case 't':
		return number(uint64(t.k.clocks.Realtime().Now() / 1e9))
	case 'c':
		return number(t.Limits().Soft(limits.Core))
	case 'h':
		host, _ := t.Namespaces().UTS.Names()
		return flat(host)
	case 'e':
		return flat(t.Name())
	case 'E', 'f':
		return t.coreProgram(letter == 'f')
	}
	return ""
}

// coreProgram is the path of the program that runs, or its last part.
func (t *Task) coreProgram(last bool) string {
	name, _ := vfs.PathName(t.FS().Root(), procTask{t, t.pidns}.Places().Executable)
	if last {
		name = path.Base(name)
	}
	return flat(name)
}

// flat makes a part of a file's name of a text. One that is only dots would be a directory's.
func flat(text string) string {
	if text == "." || text == ".." {
		text = "!" + text[1:]
	}
	return strings.ReplaceAll(text, "/", "!")
}
