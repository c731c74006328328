package kernel

import (
	"testing"

	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

// TestFilesAreCountedNotDescriptors makes as many open files as there may be: no file more, but descriptors of those that there are.
func TestFilesAreCountedNotDescriptors(t *testing.T) {
	m := newMachine(t)
	m.run(0, func(*guest) {
		many := limits.Defaults(limits.Infinity)
		many[limits.NoFile] = limits.Limit{Soft: limits.MaxNoFile, Hard: limits.MaxNoFile}
		lim, table := limits.New(many), newFDTable(m.k)
		defer table.CloseRange(nil, 0, ^uint32(0))
		most, last := int(m.k.memory.MostAside()/fileCost), error(nil)
		for n := 0; last == nil && n <= most; n++ {
			f := m.k.VFS().NewEventFD(0, false, 0)
			if _, last = table.NewFD(lim, f, false); last != nil {
				defer f.DecRef() // one too many for as long as the test lasts
			}
		}
		if last != unix.ENFILE {
			t.Fatalf("the last file: %v, want ENFILE", last)
		}
		if _, err := table.reserve(lim); err != unix.ENFILE {
			t.Errorf("a number for another file: %v, want ENFILE", err)
		}
		f, err := table.Get(0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := table.Dup(lim, 100, f, false); err != nil {
			t.Errorf("dup: %v", err)
		}
	})
}
