package tmpfs_test

import (
	"sync"
	"testing"

	"gosentry/fs/tmpfs"
	"gosentry/mm"
	"gosentry/platform"
)

// TestForkWhileTruncated truncates a file again and again while a process that has it mapped forks: no page is given back twice, and none is
// left.
func TestForkWhileTruncated(t *testing.T) {
	const pages = 64
	mem := memory(t, 64<<20)
	r := tmpfs.NewRegular(mem, nil, nil)
	m := manager(t, mem)
	addr := mapFile(t, m, r, pages*page, false)
	stop := make(chan struct{})
	var truncating sync.WaitGroup
	truncating.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			for _, size := range []int64{pages * page, pages * page / 2, 0} {
				if err := r.Truncate(size); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for range 3000 {
		for i := range pages {
			_ = m.HandleFault(addr+mm.Addr(i)*page, platform.Write)
		}
		c, err := m.Fork()
		if err != nil {
			t.Fatal(err)
		}
		c.DecUsers()
	}
	close(stop)
	truncating.Wait()
	m.DecUsers()
	r.Drop()
	if n := mem.Usage(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}
