package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// attribute is a file of a group.
type attribute struct {
	name   string
	mode   uint32
	root   bool // the root has it too
	of     controllers
	show   func(g *Group, c vfs.Caller, b *bytes.Buffer) error
	store  func(g *Group, c vfs.Caller, text string) error
	events func(g *Group) *watched // for files that can be waited for
}

// attributes are all files, in the order of a listing.
func attributes() []attribute {
	return []attribute{
		{name: "cgroup.controllers", mode: 0o444, root: true, show: locked(func(g *Group) string { return g.mayGiveLocked().line() })},
		{name: "cgroup.events", mode: 0o444, show: locked(showEvents), events: func(g *Group) *watched { return &g.events }},
		{name: "cgroup.freeze", mode: 0o644, show: locked(func(g *Group) string { return fmt.Sprintln(bit(g.freeze)) }), store: storeFreeze},
		{name: "cgroup.kill", mode: 0o200, store: storeKill},
		{name: "cgroup.max.depth", mode: 0o644, root: true, show: limit(func(g *Group) *int64 { return &g.maxDepth }),
			store: storeLimit(math.MaxInt32, unix.ERANGE, func(g *Group) *int64 { return &g.maxDepth })},
		{name: "cgroup.max.descendants", mode: 0o644, root: true, show: limit(func(g *Group) *int64 { return &g.maxDescendants }),
			store: storeLimit(math.MaxInt32, unix.ERANGE, func(g *Group) *int64 { return &g.maxDescendants })},
		{name: "cgroup.procs", mode: 0o644, root: true, show: showIDs(false), store: storeIDs(false)},
		{name: "cgroup.stat", mode: 0o444, root: true, show: locked(func(g *Group) string {
			return fmt.Sprintf("nr_descendants %d\nnr_dying_descendants %d\n", g.descendants, g.dying)
		})},
		{name: "cgroup.subtree_control", mode: 0o644, root: true, show: locked(func(g *Group) string { return g.below.line() }), store: storeControl},
		{name: "cgroup.threads", mode: 0o644, root: true, show: showIDs(true), store: storeIDs(true)},
		{name: "cgroup.type", mode: 0o644, show: locked(func(g *Group) string { return g.kindLocked() + "\n" }), store: storeType},
		{name: "memory.current", mode: 0o444, root: true, of: memory, show: ofMemory(func(g *Group) string { return fmt.Sprintln(g.memory.file.Usage()) })},
		{name: "memory.events", mode: 0o444, root: true, of: memory, show: ofMemory(func(g *Group) string { return g.memoryEventsLocked(false) }),
			events: func(g *Group) *watched { return &g.memory.events }},
		{name: "memory.events.local", mode: 0o444, root: true, of: memory, show: ofMemory(func(g *Group) string { return g.memoryEventsLocked(true) }),
			events: func(g *Group) *watched { return &g.memory.localEvents }},
		{name: "memory.high", mode: 0o444, root: true, of: memory, show: locked(func(*Group) string { return "max\n" })},
		{name: "memory.max", mode: 0o644, root: true, of: memory, show: ofMemory(showMemoryMax), store: storeMemoryMax},
		{name: "memory.peak", mode: 0o444, root: true, of: memory, show: ofMemory(func(g *Group) string { return fmt.Sprintln(g.memory.file.Peak()) })},
		{name: "pids.current", mode: 0o444, of: pids, show: locked(func(g *Group) string { return fmt.Sprintln(g.pids.current) })},
		{name: "pids.events", mode: 0o444, of: pids, show: locked(func(g *Group) string { return fmt.Sprintln("max", g.pids.events) }),
			events: func(g *Group) *watched { return &g.pids.file }},
		{name: "pids.events.local", mode: 0o444, of: pids, show: locked(func(g *Group) string { return fmt.Sprintln("max", g.pids.local) }),
			events: func(g *Group) *watched { return &g.pids.localFile }},
		{name: "pids.max", mode: 0o644, of: pids, show: limit(func(g *Group) *int64 { return &g.pids.max }),
			store: storeLimit(maxPIDs, unix.EINVAL, func(g *Group) *int64 { return &g.pids.max })},
		{name: "pids.peak", mode: 0o444, of: pids, show: locked(func(g *Group) string { return fmt.Sprintln(g.pids.peak) })},
	}
}

// locked makes a show of what text says with the tree locked.
func locked(text func(g *Group) string) func(*Group, vfs.Caller, *bytes.Buffer) error {
	return func(g *Group, _ vfs.Caller, b *bytes.Buffer) error {
		g.tree.mu.Lock()
		defer g.tree.mu.Unlock()
		b.WriteString(text(g))
		return nil
	}
}

// ofMemory is locked for what only a group with the memory controller has: that may go while its file is read.
func ofMemory(text func(g *Group) string) func(*Group, vfs.Caller, *bytes.Buffer) error {
	return func(g *Group, _ vfs.Caller, b *bytes.Buffer) error {
		g.tree.mu.Lock()
		defer g.tree.mu.Unlock()
		if g.memory.file == nil {
			return unix.ENODEV
		}
		b.WriteString(text(g))
		return nil
	}
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func showEvents(g *Group) string {
	s := g.stateLocked()
	return fmt.Sprintf("populated %d\nfrozen %d\n", bit(s.populated), bit(s.frozen))
}

func storeFreeze(g *Group, _ vfs.Caller, text string) error {
	n, err := strconv.ParseInt(text, 0, 32)
	if err != nil {
		return numberError(err)
	}
	if n != 0 && n != 1 {
		return unix.ERANGE
	}
	g.tree.mu.Lock()
	before := g.stateLocked()
	g.freeze = n == 1
	g.tellLocked(before)
	g.tree.mu.Unlock()
	g.tree.tasks.Freeze(g)
	return nil
}

func storeKill(g *Group, _ vfs.Caller, text string) error {
	n, err := strconv.ParseInt(text, 0, 32)
	if err != nil {
		return numberError(err)
	}
	if n != 1 {
		return unix.ERANGE
	}
	g.tree.tasks.Kill(g)
	return nil
}

// numberError is what Linux says of text that is no number, or one too large.
func numberError(err error) error {
	if errors.Is(err, strconv.ErrRange) {
		return unix.ERANGE
	}
	return unix.EINVAL
}

func limit(of func(g *Group) *int64) func(*Group, vfs.Caller, *bytes.Buffer) error {
	return locked(func(g *Group) string {
		if n := *of(g); n != unlimited {
			return fmt.Sprintln(n)
		}
		return "max\n"
	})
}

func storeLimit(most int64, over error, of func(g *Group) *int64) func(*Group, vfs.Caller, string) error {
	return func(g *Group, _ vfs.Caller, text string) error {
		n := int64(unlimited)
		if text != "max" {
			var err error
			if n, err = strconv.ParseInt(text, 0, 64); err != nil {
				return numberError(err)
			}
			if n < 0 || n > most {
				return over
			}
		}
		g.tree.mu.Lock()
		defer g.tree.mu.Unlock()
		*of(g) = n
		return nil
	}
}

func showIDs(threads bool) func(*Group, vfs.Caller, *bytes.Buffer) error {
	return func(g *Group, c vfs.Caller, b *bytes.Buffer) error {
		ids := g.tree.tasks.IDs(c, g, threads)
		slices.Sort(ids)
		for _, id := range ids {
			fmt.Fprintln(b, id)
		}
		return nil
	}
}

func storeIDs(thread bool) func(*Group, vfs.Caller, string) error {
	return func(g *Group, c vfs.Caller, text string) error {
		id, err := strconv.ParseInt(text, 0, 32)
		if err != nil || id < 0 {
			return unix.EINVAL
		}
		return g.tree.tasks.Move(c, g, int32(id), thread)
	}
}

// storeType refuses what is not built.
func storeType(_ *Group, _ vfs.Caller, text string) error {
	if text == "threaded" {
		return unix.EOPNOTSUPP
	}
	return unix.EINVAL
}
