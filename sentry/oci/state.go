package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"gosentry/sentry/control"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ErrNotExist is the cause of errors about containers that are not there; engines look for its words.
var ErrNotExist = errors.New("does not exist")

// Names in a container's directory.
const (
	stateName  = "state.json"
	configName = "config.json"
	lockName   = "lock"
)

// maxState bounds state.json, in bytes.
const maxState = 1 << 20

// state is what state.json holds.
type state struct {
	Version     string            `json:"ociVersion"`
	ID          string            `json:"id"`
	PID         int               `json:"pid"`
	PIDStart    uint64            `json:"pidStart"` // of the process, ticks since boot (proc_pid_stat(5))
	Bundle      string            `json:"bundle"`
	RootDir     string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Owner       int               `json:"owner"`             // user id
	Cgroups     []string          `json:"cgroups,omitempty"` // directories of the host to remove at the end
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Runtime is where containers are kept.
type Runtime struct {
	// Root is the directory with a directory for each container.
	Root string
	// Launch makes sandboxes.
	Launch Launch
}

// DefaultRoot is the directory of containers where none is named. Root of a user namespace is an ordinary user of the host, unless
// it says that it means to be root.
func DefaultRoot() string {
	ordinary := os.Geteuid() != 0 || inUserNamespace() && os.Getenv("USER") != "root"
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" && ordinary {
		return filepath.Join(dir, "sentry")
	}
	if os.Geteuid() == 0 {
		return "/run/sentry"
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("sentry-%d", os.Geteuid()))
}

// inUserNamespace tells whether this process is in a user namespace that is not the host's first.
func inUserNamespace() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(text)), " ") != "0 0 4294967295"
}

// maxID bounds an id's length in bytes: it becomes a file's name.
const maxID = 255

// checkID refuses what is no id.
func checkID(id string) error {
	bad := strings.IndexFunc(id, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_+-.", r))
	})
	switch {
	case id == "":
		return errors.New("a container's id cannot be empty")
	case len(id) > maxID:
		return fmt.Errorf("a container's id cannot have %d characters, at most %d", len(id), maxID)
	case id == "." || id == "..":
		return fmt.Errorf("a container cannot have the id %q", id)
	case bad >= 0:
		return fmt.Errorf("a container's id %q may have letters, digits, _, +, - and . only", id)
	}
	return nil
}

// container is one that has a directory.
type container struct {
	dir  string
	lock *os.File
	state
}

// access is what a container is opened for.
type access int

const (
	look   access = iota // at the state, which is replaced at once
	change               // refused while another process changes the container
	end                  // waits for others, for a while
)

// open opens the container id, locked unless it is only looked at.
func (r *Runtime) open(id string, what access) (*container, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	c := &container{dir: filepath.Join(r.Root, id)}
	if _, err := os.Stat(c.dir); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("container %q %w", id, ErrNotExist)
		}
		return nil, err
	}
	err := c.acquireFor(what)
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("container %q %w", id, ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	if err := c.load(); err != nil {
		c.close()
		return nil, fmt.Errorf("container %q: %w", id, err)
	}
	return c, nil
}

// lockPatience is how long the end of a container waits for whoever changes it.
const lockPatience = 5 * time.Second

// errBusy is the cause where another process has the lock.
var errBusy = errors.New("is being changed by another process")

func (c *container) acquireFor(what access) error {
	if what == look {
		return nil
	}
	err := c.acquire()
	// A process that was killed while it made a sandbox leaves the lock a moment later: its child had it too.
	for until := time.Now().Add(lockPatience); what == end && errors.Is(err, errBusy) && time.Now().Before(until); time.Sleep(time.Millisecond) {
		err = c.acquire()
	}
	return err
}

// acquire takes the container's lock.
func (c *container) acquire() error {
	f, err := os.OpenFile(filepath.Join(c.dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		err = c.stillAt(f)
	}
	if err != nil {
		f.Close()
		if err == unix.EWOULDBLOCK {
			return fmt.Errorf("container %q %w", filepath.Base(c.dir), errBusy)
		}
		return err
	}
	c.lock = f
	return nil
}

// stillAt tells whether a lock that was waited for is the container's, and not that of one which is gone.
func (c *container) stillAt(lock *os.File) error {
	had, err := lock.Stat()
	if err != nil {
		return err
	}
	has, err := os.Stat(filepath.Join(c.dir, lockName))
	if err == nil && !os.SameFile(had, has) {
		err = os.ErrNotExist
	}
	return err
}

// discard removes the directory: under its own name it is there whole, or not at all.
func (c *container) discard() error {
	gone := discarded(c.dir)
	os.RemoveAll(gone) //nolint:errcheck // the next step tells
	if err := os.Rename(c.dir, gone); err != nil {
		return os.RemoveAll(c.dir)
	}
	return os.RemoveAll(gone)
}

// discarded is the name of a container's directory while it is removed; no id looks like it.
func discarded(dir string) string {
	id := filepath.Base(dir)
	return filepath.Join(filepath.Dir(dir), "#"+id[:min(len(id), maxID-1)])
}

func (c *container) close() {
	if c.lock != nil {
		c.lock.Close()
	}
}

func (c *container) load() error {
	name := filepath.Join(c.dir, stateName)
	text, err := readBounded(name, maxState)
	if err != nil {
		return fmt.Errorf("its state cannot be read (delete --force removes it): %w", err)
	}
	if err := json.Unmarshal(text, &c.state); err != nil {
		return fmt.Errorf("its state %s is damaged (delete --force removes it): %w", name, err)
	}
	return nil
}

// save writes the state so that a reader sees the old one or the new one.
func (c *container) save() error {
	text, err := json.Marshal(&c.state)
	if err != nil {
		return err
	}
	return writeWhole(filepath.Join(c.dir, stateName), text)
}

// alive tells whether the sandbox process is there.
func (c *container) alive() bool {
	start, dead := startTime(c.PID)
	return c.PID > 0 && !dead && start == c.PIDStart
}

// startTime returns when a process started, and whether it is gone or a zombie.
func startTime(pid int) (start uint64, dead bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, true
	}
	// The name, in brackets, may hold anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 {
		return 0, true
	}
	fmt.Sscan(fields[19], &start)
	return start, fields[0] == "Z" || fields[0] == "X"
}

// status tells what the container is doing.
func (c *container) status() control.Status {
	if !c.alive() {
		return control.Stopped
	}
	a, err := c.request(control.Request{Op: control.OpStatus})
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && c.alive():
		return control.Running // the host does not get round to it
	case err != nil:
		return control.Stopped
	}
	return a.Status
}

// specState is the state as the specification has it.
func (c *container) specState(s control.Status) *specs.State {
	out := &specs.State{
		Version: c.Version, ID: c.ID, Status: specs.ContainerState(s), Bundle: c.Bundle, Annotations: c.Annotations,
	}
	if s != control.Stopped {
		out.Pid = c.PID
	}
	return out
}

// State returns the state of a container.
func (r *Runtime) State(id string) (*specs.State, error) {
	c, err := r.open(id, look)
	if err != nil {
		return nil, err
	}
	return c.specState(c.status()), nil
}

// Entry is a line of List.
type Entry struct {
	Version     string            `json:"ociVersion"`
	ID          string            `json:"id"`
	PID         int               `json:"pid"`
	Status      string            `json:"status"`
	Bundle      string            `json:"bundle"`
	RootDir     string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Owner       int               `json:"owner"`
}

// List returns all containers whose state can be read, by id.
func (r *Runtime) List() ([]Entry, error) {
	names, err := os.ReadDir(r.Root)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	list := []Entry{}
	for _, n := range names {
		c, err := r.open(n.Name(), look)
		if err != nil {
			continue
		}
		s := c.specState(c.status())
		list = append(list, Entry{
			Version: c.Version, ID: c.ID, PID: s.Pid, Status: string(s.Status), Bundle: c.Bundle, RootDir: c.RootDir,
			Created: c.Created, Annotations: c.Annotations, Owner: c.Owner,
		})
	}
	sort.Slice(list, func(i, j int) bool { return list[i].ID < list[j].ID })
	return list, nil
}
