package loader

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// scriptLine is how much of a file is looked at for a "#!" line, in bytes.
const scriptLine = 256

// parseScript splits a "#!" line, as execve(2) has it: what follows is the
// interpreter's name and at most one argument, which may have blanks inside. line is
// scriptLine bytes, padded with zeros. ENOEXEC where there is no name, or where it may be cut off.
func parseScript(line []byte) (interp, arg string, err error) {
	rest := line[2:]
	if end := bytes.IndexByte(line, '\n'); end >= 0 {
		rest = line[2:end]
	} else {
		// The last byte never counts: a line of this length has been cut.
		rest = rest[:len(rest)-1]
		name := bytes.TrimLeft(rest, " \t")
		switch end := bytes.IndexAny(name, " \t\x00"); {
		case end < 0:
			return "", "", unix.ENOEXEC
		case end == 0:
			// Linux opens the empty name, which is the current directory.
			return "", "", unix.EACCES
		}
	}
	rest = bytes.Trim(rest, " \t")
	name := rest
	if sep := bytes.IndexAny(rest, " \t\x00"); sep >= 0 {
		name = rest[:sep]
		if rest[sep] != 0 {
			arg = string(untilNUL(bytes.TrimLeft(rest[sep:], " \t")))
		}
	}
	if len(name) == 0 {
		return "", "", unix.ENOEXEC
	}
	return string(name), arg, nil
}

func untilNUL(b []byte) []byte {
	if end := bytes.IndexByte(b, 0); end >= 0 {
		return b[:end]
	}
	return b
}
