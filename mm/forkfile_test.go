package mm

import (
	"sync"
	"testing"
	"time"
)

// eventful is a file that says when an address space is about to be known to it, and when it is.
type eventful struct {
	*hostFile
	before, after func()
}

func (e *eventful) AddMapping(m *MemoryManager, ar Range, off uint64, writable bool) error {
	e.before()
	err := e.hostFile.AddMapping(m, ar, off, writable)
	e.after()
	return err
}

// TestForkWhileAFileLoses takes a file's pages away while a process that has them mapped forks: the child has none of them afterwards.
func TestForkWhileAFileLoses(t *testing.T) {
	for name, early := range map[string]bool{"before the file knows the child": true, "after that": false} {
		for how, p := range map[string]*fakePlatform{"copied": {}, "shared": {share: true}} {
			t.Run(name+", "+how, func(t *testing.T) {
				w := newWorldOn(t, p, 1<<30)
				defer w.close()
				none := func() {}
				h := &eventful{newHostFile(t, make([]byte, 4*pg)), none, none}
				a := w.mmap(MMapOpts{Length: 4 * pg, Prot: rw, File: h})
				w.write(w.m, w.anon(pg), 1)
				w.read(w.m, a)
				var loser sync.WaitGroup
				lose := func() {
					loser.Go(func() { h.Invalidate(0, 4*pg) })
					for !h.invalidates() {
						time.Sleep(time.Millisecond)
					}
				}
				if early {
					h.before = lose
				} else {
					h.after = lose
				}
				c := w.fork()
				h.before, h.after = none, none
				loser.Wait()
				for who, m := range map[string]*MemoryManager{"parent": w.m, "child": c} {
					if m.pmas.get(uint64(a)) != nil {
						t.Errorf("the %s has a page of it", who)
					}
					if _, ok := space(m).page(uint64(a)); ok {
						t.Errorf("the %s has a page of it mapped", who)
					}
				}
				c.DecUsers()
			})
		}
	}
}
