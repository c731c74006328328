package loader

import (
	"strings"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/abi"
	"gosentry/sentry/cred"
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

// Args says what to load, for whom, and where.
type Args struct {
	// MM is fresh and used by nobody else.
	MM     *mm.MemoryManager
	Caller vfs.Caller

	// Exec is the program, opened by OpenExec's rules; Load keeps no reference to it
	// but for the one in Image.Exec.
	Exec *vfs.File
	// Filename is the program's name as execve(2) got it: for AT_EXECFN, for
	// "#!" scripts, and its last component for the thread's name.
	Filename string
	Argv     []string
	Envv     []string
	// OpenExec opens an interpreter as execve(2) does: a regular file, executable
	// for the caller, not on a mount with noexec.
	OpenExec func(path string) (*vfs.File, error)
	// NoScript says that Filename will not lead to the program once it runs (it names
	// a descriptor that closes): a "#!" script then fails with ENOENT.
	NoScript bool

	VDSO   *VDSO // nil: none
	Limits *limits.Set

	// Creds and Secure are for the auxiliary vector. If Gain is not nil it is asked
	// instead, with the file that is run in the end: only that one's set-id bits count.
	Creds  *cred.Credentials
	Secure bool
	Gain   func(exec *vfs.File) (creds *cred.Credentials, secure bool, err error)

	// NoRandomize puts everything at fixed addresses, but for a program that gains rights.
	NoRandomize bool
}

// Image is a loaded program. Addresses are the guest's.
type Image struct {
	Entry uint64 // first instruction: the interpreter's if there is one
	SP    uint64 // of the first thread

	// Exec is the file that is run, the last one of a chain of scripts, with a
	// reference that is the caller's.
	Exec *vfs.File
	Comm string // name of the first thread, at most 15 bytes
	Auxv []abi.AuxEntry

	InterpBase uint64    // AT_BASE, 0 without an interpreter
	Layout     mm.Layout // as given to MM

	// OSABI is the ELF header's: whose program it is.
	OSABI byte
}

const (
	// maxScripts is the number of "#!" files that may lead to a program.
	maxScripts = 5
	// commLen is the most bytes that a thread's name has.
	commLen = 15
)

// Load makes a.MM ready to run a program. Errors are those of execve(2).
func Load(a Args) (Image, error) {
	if len(a.Argv) == 0 {
		a.Argv = []string{""}
	}
	img := Image{Comm: commOf(a.Filename)}
	file := a.Exec
	file.IncRef()
	name := a.Filename
	for depth := 0; ; depth++ {
		h, err := readHead(a.Caller, file)
		if err == nil {
			if !h.isScript() {
				img.Exec = file
				if err = a.loadELF(&img, h); err == nil {
					return img, nil
				}
			} else {
				file, name, err = a.enterScript(file, h, name, depth)
			}
		}
		if err != nil {
			if file != nil {
				file.DecRef()
			}
			return Image{}, err
		}
	}
}

// enterScript opens the interpreter of a script, for which it gives file up, and
// puts it in front of the arguments. The file returned is nil after an error.
func (a *Args) enterScript(file *vfs.File, h *head, name string, depth int) (*vfs.File, string, error) {
	defer file.DecRef()
	if depth >= maxScripts {
		return nil, "", unix.ELOOP
	}
	interp, arg, err := parseScript(h.script())
	if err != nil {
		return nil, "", err
	}
	if a.NoScript {
		return nil, "", unix.ENOENT
	}
	argv := []string{interp}
	if arg != "" {
		argv = append(argv, arg)
	}
	a.Argv = append(append(argv, name), a.Argv[1:]...)
	a.NoScript = false
	next, err := a.OpenExec(interp)
	if err != nil {
		return nil, "", err
	}
	return next, interp, nil
}

// commOf is the last component of name, cut to what a thread's name holds.
func commOf(name string) string {
	name = name[strings.LastIndexByte(name, '/')+1:]
	return name[:min(len(name), commLen)]
}
