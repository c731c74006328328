package kernel

import (
	"sync/atomic"
	"testing"

	"gosentry/mm"
	"gosentry/platform"

	"golang.org/x/sys/unix"
)

// vforkExec vforks from a process that has touched size bytes, and has the child exec and end. It returns how
// many address spaces and changes the platform was asked for between the vfork and its return.
func vforkExec(t *testing.T, size uint64) (spaces, changes int64) {
	m := newMachine(t)
	m.run(0, func(g *guest) {
		g.do(func(t *Task) error {
			at, err := t.MM().MMap(mm.MMapOpts{Length: size, Prot: platform.Read | platform.Write, Private: true, Populate: true})
			if err != nil {
				return err
			}
			for off := uint64(0); off < size; off += mm.PageSize {
				if _, err := t.MM().CopyOut(at+mm.Addr(off), []byte{1}); err != nil {
					return err
				}
			}
			return nil
		})
		spaces, changes = m.spaces.Load(), m.changes.Load()
		var release atomic.Bool
		id, err := g.clone(func(g *guest) {
			if err := g.exec(func(g *guest) {
				for !release.Load() {
					g.sleep()
				}
			}); err != nil {
				t.Errorf("exec: %v", err)
			}
		}, ForkArgs{Kind: "vfork", Vfork: true, Share: ShareMM, ExitSignal: unix.SIGCHLD})
		if err != nil {
			t.Errorf("vfork: %v", err)
		}
		spaces, changes = m.spaces.Load()-spaces, m.changes.Load()-changes
		release.Store(true)
		g.kill(id, unix.SIGKILL)
		g.reap(id)
	})
	return spaces, changes
}

func TestForkCost(t *testing.T) {
	t.Run("C02_vfork_exec_whatever_the_size", func(t *testing.T) {
		littleSpaces, little := vforkExec(t, 1<<20)
		muchSpaces, much := vforkExec(t, 256<<20)
		if littleSpaces != 1 || muchSpaces != 1 || little != much {
			t.Errorf("1 MiB: %d address spaces, %d changes; 256 MiB: %d, %d", littleSpaces, little, muchSpaces, much)
		}
	})
}
