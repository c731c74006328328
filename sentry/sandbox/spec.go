package sandbox

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gosentry/sentry/abi"
	"gosentry/sentry/oci"
)

// Exit statuses that are not the guest's.
const (
	Failed        = 125 // the sandbox itself failed
	NotExecutable = 126
	NotFound      = 127
	bySignal      = 128 // plus the signal's number
)

// Spec is what a caller of Run asks for.
type Spec struct {
	// Platform is the name of the way to run guest code; empty: the best that the host can run.
	Platform string
	// NoPatch has systrap leave the guest's text as it is.
	NoPatch bool
	// Root is the host directory that becomes the guest's root, under an overlay; empty: "/".
	Root string
	// Binds are further host directories, each mounted after those that it lies in.
	Binds []Bind
	// Cwd is the guest's first directory. Empty: the caller's where Root is the
	// host's own root and it exists in there, else "/".
	Cwd string
	// Args is the program, looked for along the guest's PATH, and its arguments.
	Args []string
	// Env is the guest's environment, K=V.
	Env []string
	// Hostname is the guest's; empty: the host's.
	Hostname string
	// PIDs is how many processes and threads there may be at a time; 0: no limit but the kernel's own.
	PIDs int
	// Memory is how many bytes the guest's memory and files in memory may have; 0: as many as the host has.
	Memory uint64
	// Strace asks for a line in the log for each system call.
	Strace Strace
	// Trace asks for a stream of what happens to processes.
	Trace Trace
	// Log is where the sentry's own messages go.
	Log Log
	// ReleaseStdio says that Run may replace the process's own standard input and output by
	// /dev/null once the sandbox has them, so that whoever holds their other
	// ends sees when the guest closes them.
	ReleaseStdio bool

	// Persist says that the program writes to Root itself, unless a container's configuration has it read-only, and of a container that files
	// there and in Binds belong to whom it says. A writable Bind of Root at "/" says it, too.
	Persist bool
	// Container is what a container's sandbox is made with; nil for any other.
	Container *oci.LaunchArgs
}

// Bind is a host directory shown inside.
type Bind struct {
	Host     string // absolute after Run has begun
	Inside   string // absolute path in the guest
	Writable bool
}

// Strace says which system calls are logged; no Names: all.
type Strace struct {
	On    bool
	Names []string
}

// Trace says where events of processes are written and how.
type Trace struct {
	File   string // empty: nowhere
	Format string // one of package trace
	// FirstOnly leaves out what the first process's children do.
	FirstOnly bool
}

// Log says where messages go. With no File and no Debug there are none; Debug
// without a File writes to standard error.
type Log struct {
	File  string
	JSON  bool
	Debug bool
}

// ParseBind reads DIR[:INSIDE]. Where INSIDE is not given, it is the absolute DIR.
func ParseBind(s string, writable bool) (Bind, error) {
	host, inside, both := strings.Cut(s, ":")
	if host == "" {
		return Bind{}, fmt.Errorf("%q names no directory", s)
	}
	host, err := filepath.Abs(host)
	if err != nil {
		return Bind{}, err
	}
	if !both {
		inside = host
	}
	if !filepath.IsAbs(inside) {
		return Bind{}, fmt.Errorf("%q: the path inside must begin with /", s)
	}
	return Bind{Host: host, Inside: filepath.Clean(inside), Writable: writable}, nil
}

// complete fills in defaults and makes host paths absolute.
func (s Spec) complete() (Spec, error) {
	if len(s.Args) == 0 || s.Args[0] == "" {
		return s, &Failure{What: "no program given"}
	}
	if s.Platform != "" {
		if err := checkPlatform(s.Platform); err != nil {
			return s, err
		}
	}
	// A directory is mounted before those inside it, so that it does not hide them.
	s.Binds = slices.Clone(s.Binds)
	slices.SortStableFunc(s.Binds, func(a, b Bind) int {
		return cmp.Compare(strings.Count(a.Inside, "/"), strings.Count(b.Inside, "/"))
	})
	if s.Root == "" {
		s.Root = "/"
	}
	root, err := filepath.Abs(s.Root)
	if err != nil {
		return s, &Failure{What: "cannot tell the current directory", Cause: err}
	}
	s.Root = root
	if err := s.bindRoot(); err != nil {
		return s, err
	}
	if s.Cwd != "" && !filepath.IsAbs(s.Cwd) {
		return s, &Failure{What: fmt.Sprintf("--cwd %q does not begin with /", s.Cwd), Way: "give the whole path inside"}
	}
	const maxName = abi.UtsFieldSize - 1
	if len(s.Hostname) > maxName {
		return s, &Failure{What: fmt.Sprintf("--hostname %q has %d bytes", s.Hostname, len(s.Hostname)), Way: fmt.Sprintf("give at most %d, as many as sethostname(2) takes", maxName)}
	}
	if s.Hostname == "" {
		s.Hostname, _ = os.Hostname()
	}
	return s, nil
}

// bindRoot makes a bind at "/" the root: nothing else could be seen over it.
func (s *Spec) bindRoot() error {
	for _, b := range s.Binds {
		if b.Inside == "/" && (!b.Writable || b.Host != s.Root) {
			return &Failure{What: "cannot show " + b.Host + " at / inside", Way: "the root is what --rootfs names, and --rw / makes that of the host writable"}
		}
	}
	all := len(s.Binds)
	s.Binds = slices.DeleteFunc(s.Binds, func(b Bind) bool { return b.Inside == "/" })
	s.Persist = s.Persist || len(s.Binds) < all
	return nil
}

// cwd returns the guest's first directory and whether the caller insists on it.
func (s Spec) cwd() (dir string, must bool) {
	if s.Cwd != "" {
		return s.Cwd, true
	}
	if s.Root != "/" {
		return "/", true
	}
	dir, err := os.Getwd()
	if err != nil {
		return "/", true
	}
	return dir, false
}
