package fstest

import (
	"fmt"
	"math/rand/v2"
	"path"

	"golang.org/x/sys/unix"
)

// Step is one operation, for both sides.
type Step struct {
	Name string
	Do   func(FS) string // the result, errno included
}

func result(err error) string {
	if err == nil {
		return "ok"
	}
	if e, ok := err.(unix.Errno); ok {
		return unix.ErrnoName(e)
	}
	return err.Error()
}

// names and their depth are few, so that operations meet.
var components = [...]string{"a", "b", "c", "d"}

func randomPath(r *rand.Rand) string {
	p := "/"
	for range 1 + r.IntN(3) {
		p = path.Join(p, components[r.IntN(len(components))])
	}
	return p
}

// RandomStep makes an operation on a few names.
func RandomStep(r *rand.Rand) Step {
	p, q := randomPath(r), randomPath(r)
	data := fmt.Sprintf("data %d", r.IntN(1000))
	n := int64(r.IntN(9000))
	mode := uint32(0o400 | r.IntN(0o1000))
	flags := [...]uint32{0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE}[r.IntN(4)]
	steps := [...]struct {
		name string
		do   func(FS) error
	}{
		{"create", func(f FS) error { return f.Create(p, mode) }},
		{"create", func(f FS) error { return f.Create(p, mode) }},
		{"write", func(f FS) error { return f.WriteAt(p, []byte(data), n) }},
		{"append", func(f FS) error { return f.Append(p, []byte(data)) }},
		{"open for truncation", func(f FS) error { return f.OpenTrunc(p) }},
		{"truncate", func(f FS) error { return f.Truncate(p, n) }},
		{"mkdir", func(f FS) error { return f.Mkdir(p, mode|0o700) }},
		{"mkdir", func(f FS) error { return f.Mkdir(p, mode|0o700) }},
		{"mkfifo", func(f FS) error { return f.Mkfifo(p, mode) }},
		{"rmdir", func(f FS) error { return f.Rmdir(p) }},
		{"unlink", func(f FS) error { return f.Unlink(p) }},
		{"rename", func(f FS) error { return f.Rename(p, q, flags) }},
		{"rename", func(f FS) error { return f.Rename(p, q, 0) }},
		{"link", func(f FS) error { return f.Link(p, q) }},
		{"symlink", func(f FS) error { return f.Symlink(path.Base(q), p) }},
		{"chmod", func(f FS) error { return f.Chmod(p, mode|0o700) }},
		{"chown", func(f FS) error { return f.Chown(p, 7, 8) }},
		{"set xattr", func(f FS) error { return f.SetXattr(p, "user."+data[:6], data, 0) }},
		{"remove xattr", func(f FS) error { return f.RemoveXattr(p, "user."+data[:6]) }},
	}
	s := steps[r.IntN(len(steps))]
	return Step{
		Name: fmt.Sprintf("%s %s %s %#o %d flags %d", s.name, p, q, mode, n, flags),
		Do:   func(f FS) string { return result(s.do(f)) },
	}
}

// Run takes steps on both sides and compares results, and the whole trees after each. It
// returns a description of the first difference, "" for none.
func Run(r *rand.Rand, steps int, want, got FS, o Options) string {
	trail := ""
	for range steps {
		s := RandomStep(r)
		a, b := s.Do(want), s.Do(got)
		trail += fmt.Sprintf("%s: %s\n", s.Name, a)
		if a != b {
			return fmt.Sprintf("%sgot %s", trail, b)
		}
		if a, b := Snapshot(want, "/", o), Snapshot(got, "/", o); a != b {
			return fmt.Sprintf("%swant:\n%sgot:\n%s", trail, a, b)
		}
	}
	return ""
}
