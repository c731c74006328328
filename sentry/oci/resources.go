package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"gosentry/sentry/control"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// ReadResources reads resources as they stand in a configuration's linux.resources.
func ReadResources(text []byte) (*specs.LinuxResources, error) {
	var r specs.LinuxResources
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("the resources cannot be read: %w", err)
	}
	return &r, nil
}

// limitsOf are the limits among resources that the kernel inside keeps. The others are for the host's
// cgroups, and the specification lets a runtime ignore those that it cannot apply.
func limitsOf(r *specs.LinuxResources) (control.Limits, error) {
	var l control.Limits
	if m := r.Memory; m != nil && m.Limit != nil && *m.Limit != 0 {
		if *m.Limit != -1 && *m.Limit < leastMemory {
			return l, refuse("linux.resources.memory.limit", "%d bytes are too few, %d at least", *m.Limit, leastMemory)
		}
		l.Memory = m.Limit
	}
	if p := r.Pids; p != nil && p.Limit != nil && *p.Limit != 0 {
		if *p.Limit < -1 {
			return l, refuse("linux.resources.pids.limit", "%d is neither a number of processes nor -1", *p.Limit)
		}
		l.Tasks = p.Limit
	}
	return l, nil
}

// leastMemory is the least that a container's memory may be limited to, in bytes.
const leastMemory = 1 << 20

// limit takes over the limits that the kernel inside keeps.
func (c *Container) limit(r *specs.LinuxResources) error {
	l, err := limitsOf(r)
	if err != nil {
		return err
	}
	if l.Memory != nil {
		c.Memory = max(*l.Memory, 0)
	}
	if l.Tasks != nil {
		c.PIDs = max(*l.Tasks, 0)
	}
	if r.CPU != nil && r.CPU.Cpus != "" {
		if c.Affinity, err = processors(r.CPU.Cpus); err != nil {
			return refuse("linux.resources.cpu.cpus", "%v", err)
		}
	}
	return nil
}

// processors reads a list of processors (cpuset(7), "List format") into bits. Which of them there are, the host's control group judges.
func processors(list string) ([]uint64, error) {
	const most, word = 1 << 13, 64
	var set []uint64
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, err := strconv.ParseUint(strings.TrimSpace(from), 10, 32)
		last, err2 := strconv.ParseUint(strings.TrimSpace(to), 10, 32)
		if err != nil || err2 != nil || first > last || last >= most {
			return nil, fmt.Errorf("%q is no list of processors", list)
		}
		for n := first; n <= last; n++ {
			for uint64(len(set)) <= n/word {
				set = append(set, 0)
			}
			set[n/word] |= 1 << (n % word)
		}
	}
	return set, nil
}

// Update changes a container's limits, inside and on the host: all of them, or those inside not at all.
func (r *Runtime) Update(id string, res *specs.LinuxResources) error {
	l, err := limitsOf(res)
	if err != nil {
		return err
	}
	before, err := r.running(id, "update", control.Request{Op: control.OpStats})
	if err != nil {
		return err
	}
	c, err := r.open(id, look)
	if err != nil {
		return err
	}
	inside := func() error {
		_, err := c.ask(control.Request{Op: control.OpUpdate, Limits: &l})
		return err
	}
	host := func() error { return c.updateHost(hostLimits(res)) }
	// The host's limit is above the one inside at any time, so that it is the kernel inside that ends who has too much.
	if m := l.Memory; m == nil || *m < 0 || before.Stats == nil || uint64(*m) >= before.Stats.MemoryLimit {
		if err := host(); err != nil {
			return err
		}
		return inside()
	}
	if err := inside(); err != nil {
		return err
	}
	if err := host(); err != nil {
		old := int64(before.Stats.MemoryLimit)
		l = control.Limits{Memory: &old, Tasks: &before.Stats.TaskLimit}
		return errors.Join(err, inside())
	}
	return nil
}

// Wait waits for a container's end and returns its program's exit status.
func (r *Runtime) Wait(id string) (int, error) {
	c, err := r.open(id, look)
	if err != nil {
		return 0, err
	}
	if err := c.must("wait for", control.Created, control.Running, control.Paused); err != nil {
		return 0, err
	}
	status, err := control.Wait(c.sandboxDir(), c.name())
	switch {
	case errors.As(err, new(control.Refused)):
		return 0, fmt.Errorf("container %q: %w", id, err)
	case err != nil:
		return 0, fmt.Errorf("container %q: it was killed from outside: %w", id, err)
	}
	return status, nil
}

// Event is what Events tells, in the form that engines know.
type Event struct {
	Type string `json:"type"` // stats or oom
	ID   string `json:"id"`
	Data *Usage `json:"data,omitempty"`
}

// Usage is what a container uses.
type Usage struct {
	CPU    CPUUsage    `json:"cpu"`
	Memory MemoryUsage `json:"memory"`
	PIDs   PIDUsage    `json:"pids"`
}

// CPUUsage is processor time in ns.
type CPUUsage struct {
	Usage struct {
		Total  uint64 `json:"total"`
		Kernel uint64 `json:"kernel"`
		User   uint64 `json:"user"`
	} `json:"usage"`
}

// MemoryUsage is in bytes.
type MemoryUsage struct {
	Usage struct {
		Limit   uint64 `json:"limit"`
		Usage   uint64 `json:"usage"`
		Failcnt uint64 `json:"failcnt"` // processes that were killed for want of memory
	} `json:"usage"`
	Raw map[string]uint64 `json:"raw"`
}

// PIDUsage counts processes and threads.
type PIDUsage struct {
	Current uint64 `json:"current"`
	Limit   uint64 `json:"limit"`
}

func usageOf(s *control.Stats) *Usage {
	u := new(Usage)
	t := &u.CPU.Usage
	t.Total, t.Kernel, t.User = s.CPUUser+s.CPUSystem, s.CPUSystem, s.CPUUser
	m := &u.Memory.Usage
	m.Limit, m.Usage, m.Failcnt = s.MemoryLimit, s.Memory, s.OOMKills
	u.Memory.Raw = map[string]uint64{}
	u.PIDs = PIDUsage{uint64(s.Tasks), uint64(s.TaskLimit)}
	return u
}

// Stats returns what a container uses now.
func (r *Runtime) Stats(id string) (Event, error) {
	s, err := r.stats(id)
	if err != nil {
		return Event{}, err
	}
	return Event{"stats", id, usageOf(s)}, nil
}

func (r *Runtime) stats(id string) (*control.Stats, error) {
	a, err := r.running(id, "look at", control.Request{Op: control.OpStats})
	if err == nil && a.Stats == nil {
		err = fmt.Errorf("container %q: no answer", id)
	}
	return a.Stats, err
}

// lookEvery is how often Events looks for processes that were killed.
const lookEvery = 500 * time.Millisecond

// Events tells what a container uses, every interval, and each time that a process was killed for want of memory,
// until the container ends or tell fails.
func (r *Runtime) Events(id string, interval time.Duration, tell func(Event) error) error {
	s, err := r.stats(id)
	if err != nil {
		return err
	}
	killed, due := s.OOMKills, time.Now()
	for ; err == nil; s, err = r.stats(id) {
		for ; killed < s.OOMKills; killed++ {
			if err := tell(Event{Type: "oom", ID: id}); err != nil {
				return err
			}
		}
		if now := time.Now(); !now.Before(due) {
			due = now.Add(interval)
			if err := tell(Event{"stats", id, usageOf(s)}); err != nil {
				return err
			}
		}
		time.Sleep(min(interval, lookEvery))
	}
	return nil
}
