package oci

import (
	"fmt"
	"math"
	"path"

	"gosentry/sentry/oci/hostcgroup"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// sentryMemory is what the sandbox itself may use on the host beyond its container's limit, in bytes, besides
// an eighth of that limit: the host must not kill what the kernel inside can end properly.
const sentryMemory = 64 << 20

// hostLimits are the limits that are the host's to keep.
func hostLimits(r *specs.LinuxResources) hostcgroup.Limits {
	var l hostcgroup.Limits
	if r == nil {
		return l
	}
	if m := r.Memory; m != nil && m.Limit != nil {
		switch limit := *m.Limit; {
		case limit < 0:
			l.Memory = -1
		case limit > 0 && limit < math.MaxInt64/2:
			l.Memory = limit + limit/8 + sentryMemory
		}
	}
	c := r.CPU
	if c == nil {
		return l
	}
	l.CPUs, l.MemNodes = c.Cpus, c.Mems
	for from, to := range map[*uint64]*uint64{c.Shares: &l.Shares, c.Period: &l.Period} {
		if from != nil {
			*to = *from
		}
	}
	if c.Quota != nil {
		l.Quota = *c.Quota
	}
	return l
}

// hostPath is the path of the container's control group on the host; for none it says why.
func hostPath(l *specs.Linux) (name, why string) {
	switch {
	case l == nil || l.CgroupsPath == "" || path.Clean("/"+l.CgroupsPath) == "/":
		return "", "linux.cgroupsPath names no control group"
	case !ofSystemd(l.CgroupsPath):
		return l.CgroupsPath, ""
	case systemdIsThere():
		return "", "linux.cgroupsPath is of systemd's kind, and its groups are systemd's to make (have the engine use cgroupfs)"
	}
	name, _ = systemdPath(l.CgroupsPath) // it was checked
	return name, ""
}

// joinHost makes the container's control group on the host and returns what moves the sandbox there.
// Where the caller may not make one, as without root or where systemd does, the sandbox stays in the caller's, unless there is a limit
// that only the host can keep.
func (c *creation) joinHost() (func(pid int) error, error) {
	l := c.bundle.Config.Linux
	name, why := hostPath(l)
	var limits hostcgroup.Limits
	if l != nil {
		limits = hostLimits(l.Resources)
	}
	// A new group has none to take away.
	limits.Memory, limits.Quota = max(limits.Memory, 0), max(limits.Quota, 0)
	if name == "" {
		return nil, c.mustHave(limits, why)
	}
	g, err := hostcgroup.Find(name)
	if err != nil {
		return nil, err
	}
	c.Cgroups = g.Missing()
	// What is to be removed is written down before it is made.
	if err := c.save(); err != nil {
		return nil, err
	}
	if err := g.Make(c.Cgroups); err != nil {
		return nil, c.mustHave(limits, err.Error())
	}
	if err := g.Set(limits); err != nil {
		return nil, err
	}
	return g.Add, nil
}

// mustHave refuses limits that only the host could keep. What is added to a sandbox runs in that one's group,
// where the limits of the pod are kept.
func (c *container) mustHave(l hostcgroup.Limits, why string) error {
	switch {
	case c.added():
	case l.Quota > 0:
		return refuse("linux.resources.cpu.quota", "the host's control groups are needed: %s", why)
	case l.CPUs != "":
		return refuse("linux.resources.cpu.cpus", "the host's control groups are needed: %s", why)
	case l.MemNodes != "":
		return refuse("linux.resources.cpu.mems", "the host's control groups are needed: %s", why)
	}
	return nil
}

// updateHost changes the limits of the container's control group on the host, where it has one.
func (c *container) updateHost(l hostcgroup.Limits) error {
	config, err := c.config()
	if err != nil {
		return err
	}
	name, why := hostPath(config.Linux)
	if name == "" {
		return c.mustHave(l, why)
	}
	g, err := hostcgroup.Find(name)
	if err != nil {
		return err
	}
	if !g.Exists() {
		return c.mustHave(l, "it has no control group there")
	}
	return g.Set(l)
}

// leaveHost removes the container's control group from the host.
func (c *container) leaveHost() error {
	if err := hostcgroup.Remove(c.Cgroups); err != nil {
		return fmt.Errorf("container %q: %w", c.ID, err)
	}
	return nil
}
