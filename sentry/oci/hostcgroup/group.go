package hostcgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// controllers are those whose hierarchies matter.
var controllers = []string{"cpu", "cpuacct", "cpuset", "memory", "pids", "blkio"}

// Group is a control group of the host.
type Group struct {
	dirs []directory
}

// directory is the group in one hierarchy.
type directory struct {
	mount, path string
	// controllers are those of version 1; version 2 has none here.
	controllers []string
}

// Find returns the group with a path, which need not exist. An empty group, on a host that shows no
// hierarchies, takes no limits.
func Find(path string) (*Group, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return find(string(text), path), nil
}

func find(mountinfo, path string) *Group {
	g := &Group{}
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		f, t := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(t) < 3 {
			continue
		}
		d := directory{mount: f[4], path: filepath.Join(f[4], filepath.Clean("/"+path))}
		switch t[0] {
		case "cgroup":
			for _, o := range strings.Split(t[2], ",") {
				if slices.Contains(controllers, o) {
					d.controllers = append(d.controllers, o)
				}
			}
			if len(d.controllers) == 0 {
				continue
			}
		case "cgroup2":
		default:
			continue
		}
		if !slices.ContainsFunc(g.dirs, func(o directory) bool { return o.path == d.path }) {
			g.dirs = append(g.dirs, d)
		}
	}
	return g
}

// Missing are the directories that Make will make.
func (g *Group) Missing() []string {
	var list []string
	for _, d := range g.dirs {
		if _, err := os.Stat(d.path); errors.Is(err, os.ErrNotExist) {
			list = append(list, d.path)
		}
	}
	return list
}

// Exists tells whether the group is there, in all hierarchies that matter.
func (g *Group) Exists() bool { return len(g.dirs) > 0 && len(g.Missing()) == 0 }

// Make makes the group's directories where they are missing. If one cannot be made, those of missing
// do not stay.
func (g *Group) Make(missing []string) error {
	for _, d := range g.dirs {
		if err := d.create(); err != nil {
			return errors.Join(err, Remove(missing))
		}
	}
	return nil
}

func (d directory) create() error {
	if err := os.MkdirAll(d.path, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		if slices.Contains(d.controllers, "cpuset") {
			if err := d.inherit(name); err != nil {
				return err
			}
		}
	}
	if d.controllers == nil {
		d.delegate()
	}
	return nil
}

// inherit fills a setting of version 1's cpuset, which is empty in a new group and must not be.
func (d directory) inherit(name string) error {
	return d.walk(func(parent, child string) error {
		text, err := os.ReadFile(filepath.Join(child, name))
		if err != nil || len(strings.TrimSpace(string(text))) > 0 {
			return err
		}
		if text, err = os.ReadFile(filepath.Join(parent, name)); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(child, name), text, 0)
	})
}

// delegate turns version 2's controllers on as far as the host has them and lets us.
func (d directory) delegate() {
	d.walk(func(parent, _ string) error { //nolint:errcheck // a limit that cannot be set says so
		for _, c := range []string{"+cpu", "+cpuset", "+memory", "+pids", "+io"} {
			os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte(c), 0) //nolint:errcheck // as above
		}
		return nil
	})
}

// walk goes down from the hierarchy's root to the directory.
func (d directory) walk(step func(parent, child string) error) error {
	at := d.mount
	for name := range strings.SplitSeq(strings.Trim(strings.TrimPrefix(d.path, d.mount), "/"), "/") {
		child := filepath.Join(at, name)
		if err := step(at, child); err != nil {
			return err
		}
		at = child
	}
	return nil
}

// Add moves a process with all its threads into the group.
func (g *Group) Add(pid int) error {
	for _, d := range g.dirs {
		if err := os.WriteFile(filepath.Join(d.path, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			return fmt.Errorf("cannot move the sandbox: %w", err)
		}
	}
	return nil
}

const (
	// removals bounds how often Remove tries: the last process may be on its way out.
	removals = 100
	// removalPause is the time between two tries.
	removalPause = 10 * time.Millisecond
)

// Remove removes a group's directories; those that are gone are fine.
func Remove(dirs []string) error {
	var failed error
	for _, dir := range dirs {
		err := unix.Rmdir(dir)
		for i := 0; err == unix.EBUSY && i < removals; i++ {
			time.Sleep(removalPause)
			err = unix.Rmdir(dir)
		}
		if err != nil && err != unix.ENOENT {
			failed = errors.Join(failed, fmt.Errorf("cannot remove the control group %s: %w", dir, err))
		}
	}
	return failed
}
