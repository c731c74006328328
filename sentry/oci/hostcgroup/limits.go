package hostcgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// Limits are what a group may use; zero values leave a limit as it is, and -1 takes it away where it is signed.
type Limits struct {
	Memory   int64  // bytes
	Shares   uint64 // of processor time, version 1's scale: 1024 is the default
	Quota    int64  // µs of processor time in a period
	Period   uint64 // µs, 0: 100,000
	CPUs     string // list as in cpuset(7)
	MemNodes string // likewise
}

// defaultPeriod is the host's own, in µs.
const defaultPeriod = 100_000

// Set sets limits. An error names the field of the configuration.
func (g *Group) Set(l Limits) error {
	period := l.Period
	if period == 0 {
		period = defaultPeriod
	}
	for _, s := range []struct {
		on                bool
		field, controller string
		v1, v2            setting
	}{
		{l.Memory != 0, "memory.limit", "memory", number("memory.limit_in_bytes", l.Memory), setting{"memory.max", most(l.Memory)}},
		{l.Shares > 0, "cpu.shares", "cpu", number("cpu.shares", l.Shares), number("cpu.weight", weight(l.Shares))},
		{l.Quota != 0, "cpu.period", "cpu", number("cpu.cfs_period_us", period), setting{}},
		{l.Quota != 0, "cpu.quota", "cpu", number("cpu.cfs_quota_us", l.Quota), setting{"cpu.max", fmt.Sprint(most(l.Quota), " ", period)}},
		{l.CPUs != "", "cpu.cpus", "cpuset", setting{"cpuset.cpus", l.CPUs}, setting{"cpuset.cpus", l.CPUs}},
		{l.MemNodes != "", "cpu.mems", "cpuset", setting{"cpuset.mems", l.MemNodes}, setting{"cpuset.mems", l.MemNodes}},
	} {
		if !s.on {
			continue
		}
		if err := g.set(s.controller, s.v1, s.v2); err != nil {
			return fmt.Errorf("linux.resources.%s: %w", s.field, err)
		}
	}
	return nil
}

// most is a limit as version 2 writes it.
func most(n int64) string {
	if n < 0 {
		return "max"
	}
	return fmt.Sprint(n)
}

// setting is a file of a group and what to write.
type setting struct{ file, value string }

func number[N int64 | uint64](file string, n N) setting { return setting{file, fmt.Sprint(n)} }

// set writes a setting where its controller is.
func (g *Group) set(controller string, v1, v2 setting) error {
	for _, d := range g.dirs {
		if slices.Contains(d.controllers, controller) {
			return d.write(v1)
		}
	}
	for _, d := range g.dirs {
		if d.controllers == nil {
			return d.write(v2)
		}
	}
	return fmt.Errorf("the host shows no controller %q", controller)
}

func (d directory) write(s setting) error {
	if s.file == "" {
		return nil
	}
	// A file that is missing must not be made: cgroup file systems refuse that with EACCES, which would mislead.
	f, err := os.OpenFile(filepath.Join(d.path, s.file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(s.value)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", strconv.Quote(s.value), err)
	}
	return nil
}

// weight translates version 1's shares, 2 to 262,144, to version 2's weight, 1 to 10,000, as other
// runtimes do.
func weight(shares uint64) uint64 {
	shares = min(max(shares, 2), 262_144)
	return 1 + (shares-2)*9999/262_142
}
