package cgroup

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// memoryController counts what is allocated by processes in the group and below, and refuses it past a limit. Memory stays charged where it was
// allocated when processes move, and to the groups above when a group is removed. Where the controller works, the group has a part of
// the memory file; the sandbox and its containers have one from outside, whose limit is not the guest's to change.
type memoryController struct {
	events, localEvents watched // memory.events and memory.events.local

	// Guarded by Tree.mu.
	file       *mm.MemoryFile // nil: the controller is off
	given      bool           // from outside
	max        int64
	kill, here uint64 // processes killed for want of memory, in the subtree and in the group
}

// begin makes the group's part of its parent's, unless it has one from outside.
func (m *memoryController) begin(of *mm.MemoryFile) {
	if !m.given {
		m.file, m.max = of.Part(math.MaxUint64), unlimited
	}
}

// end forgets what was set.
func (m *memoryController) end() {
	if m.file == nil || m.given {
		return
	}
	m.file.ClosePart()
	m.file, m.max, m.kill, m.here = nil, unlimited, 0, 0
}

// GiveMemory says what memory a group has whose limit is set from outside.
func (g *Group) GiveMemory(f *mm.MemoryFile) {
	g.tree.mu.Lock()
	defer g.tree.mu.Unlock()
	g.memory.end()
	g.memory.file, g.memory.given = f, true
}

// Memory is what processes in g are charged to: the part of the nearest group that has one.
func (g *Group) Memory() *mm.MemoryFile {
	g.tree.mu.Lock()
	defer g.tree.mu.Unlock()
	for a := g; a != nil; a = a.parent {
		if a.memory.file != nil {
			return a.memory.file
		}
	}
	return nil
}

// OutOfMemory counts a process in g that was killed for want of memory.
func (g *Group) OutOfMemory() {
	g.tree.mu.Lock()
	defer g.tree.mu.Unlock()
	g.memory.here++
	g.memory.localEvents.changed()
	for a := g; a != nil; a = a.parent {
		a.memory.kill++
		a.memory.events.changed()
	}
}

// memoryEventsLocked is memory.events, or with local memory.events.local. There is no reclaim, so whoever finds no room after going over the
// limit is killed at once.
func (g *Group) memoryEventsLocked(local bool) string {
	over, below := g.memory.file.Over()
	kill := g.memory.here
	if !local {
		over, kill = over+below, g.memory.kill
	}
	return fmt.Sprintf("low 0\nhigh 0\nmax %d\noom %d\noom_kill %d\noom_group_kill 0\n", over, kill, kill)
}

func showMemoryMax(g *Group) string {
	switch m := &g.memory; {
	case m.given:
		return fmt.Sprintln(m.file.Limit())
	case m.max == unlimited:
		return "max\n"
	default:
		return fmt.Sprintln(m.max)
	}
}

// storeMemoryMax takes "max" or a number of bytes, with a letter for the unit. What is allocated already stays.
func storeMemoryMax(g *Group, _ vfs.Caller, text string) error {
	n, err := parseSize(text)
	if err != nil {
		return err
	}
	g.tree.mu.Lock()
	defer g.tree.mu.Unlock()
	switch {
	case g.memory.given:
		return unix.EPERM
	case g.memory.file == nil:
		return unix.ENODEV
	}
	g.memory.max = n
	g.memory.file.SetLimit(uint64(n))
	return nil
}

// parseSize reads what the kernel's memparse does, in whole pages.
func parseSize(text string) (int64, error) {
	if text == "max" {
		return unlimited, nil
	}
	digits, base := strings.ToLower(text), 10
	switch {
	case strings.HasPrefix(digits, "0x"):
		digits, base = digits[2:], 16
	case strings.HasPrefix(digits, "0"):
		base = 8
	}
	n, shift, err := uint64(0), 0, error(nil)
	if end := len(digits) - 1; end >= 0 {
		if unit := strings.IndexByte("kmgtpe", digits[end]); unit >= 0 && (base < 16 || digits[end] != 'e') {
			digits, shift = digits[:end], 10*(unit+1)
		}
		n, err = strconv.ParseUint(digits, base, 64)
	}
	switch {
	case err != nil:
		return 0, numberError(err)
	case n > math.MaxInt64>>shift:
		return unlimited, nil
	}
	return int64(n) << shift &^ (mm.PageSize - 1), nil
}
