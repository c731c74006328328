package mm

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// The host does the same calls in the same pages, and must end up with the same mappings.
const (
	diffBase  = 0x4000_0000
	diffPages = 48
)

// mapping is a line of /proc/PID/maps, page by page, so that merging does not matter.
type mapping struct {
	page   int
	rights string
	offset uint64
	guard  bool
}

func hostMappings(t *rapid.T) (list []mapping) {
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Skip(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		var lo, hi, off uint64
		var rights, dev string
		var ino uint64
		if n, _ := fmt.Sscanf(line, "%x-%x %s %x %s %d", &lo, &hi, &rights, &off, &dev, &ino); n < 6 || hi <= diffBase || lo >= diffBase+diffPages*pg {
			continue
		}
		for a := max(lo, diffBase); a < min(hi, diffBase+diffPages*pg); a += pg {
			m := mapping{page: int((a - diffBase) / pg), rights: rights}
			if strings.HasSuffix(line, "/mapped") {
				m.offset = off + a - lo
			}
			list = append(list, m)
		}
	}
	markGuards(list, hostGuards(t))
	return list
}

// hostGuards reads which pages are guards for the host.
func hostGuards(t *rapid.T) (guards [diffPages]bool) {
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	var words [diffPages]uint64
	if err := binary.Read(io.NewSectionReader(f, diffBase/pg*8, diffPages*8), binary.NativeEndian, &words); err != nil {
		t.Fatal(err)
	}
	for i, w := range words {
		guards[i] = w&(1<<58) != 0
	}
	return guards
}

func markGuards(list []mapping, guards [diffPages]bool) {
	for i := range list {
		list[i].guard = guards[list[i].page]
	}
}

func guestMappings(m *MemoryManager) (list []mapping) {
	m.VMAs(func(v VMA) bool {
		rights := []byte("---s")
		for i, c := range "rwx" {
			if v.Prot&(1<<i) != 0 {
				rights[i] = byte(c)
			}
		}
		if v.Private {
			rights[3] = 'p'
		}
		for a := max(v.Start, diffBase); a < min(v.End, diffBase+diffPages*pg); a += pg {
			x := mapping{page: int((a - diffBase) / pg), rights: string(rights)}
			if _, ok := v.File.(*hostFile); ok {
				x.offset = v.Offset + uint64(a-v.Start)
			}
			list = append(list, x)
		}
		return true
	})
	var guards [diffPages]bool
	var kinds [diffPages]byte
	m.Present(diffBase, kinds[:])
	for i, k := range kinds {
		guards[i] = k&PageGuard != 0
	}
	markGuards(list, guards)
	return list
}

// twins are the guest's and the host's mappings.
type twins struct {
	m        *MemoryManager
	file     *hostFile
	newRemap bool
	guards   bool
}

func (w *twins) both(t *rapid.T, f func(c memoryCalls) error) {
	g, h := f(guestCalls{w.m}), f(hostCalls{})
	if g != h {
		t.Fatalf("%v, on the host %v", g, h)
	}
}

func drawPage(t *rapid.T, label string) int { return rapid.IntRange(0, diffPages-1).Draw(t, label) }

func drawLength(t *rapid.T, first int) uint64 {
	n := rapid.SampledFrom([]int{1, 1, 2, 4, 8, 20}).Draw(t, "pages")
	return uint64(min(n, diffPages-first)) * pg
}

func drawRange(t *rapid.T) (Addr, uint64) {
	i := drawPage(t, "page")
	return diffBase + Addr(i*pg), drawLength(t, i)
}

func (w *twins) mmap(t *rapid.T) {
	a, n := drawRange(t)
	o := MMapOpts{Addr: a, Length: n, Prot: drawProt(t), Private: rapid.Bool().Draw(t, "private")}
	o.NoReplace = rapid.IntRange(0, 4).Draw(t, "noreplace") == 0
	o.Fixed = !o.NoReplace
	if rapid.Bool().Draw(t, "file") {
		o.File, o.Offset = w.file, uint64(drawPage(t, "offset"))*pg
	}
	w.both(t, func(c memoryCalls) error {
		_, err := c.MMap(o)
		return err
	})
}

func (w *twins) munmap(t *rapid.T) {
	a, n := drawRange(t)
	w.both(t, func(c memoryCalls) error { return c.MUnmap(a, n) })
}

func (w *twins) mprotect(t *rapid.T) {
	a, n := drawRange(t)
	p := drawProt(t)
	w.both(t, func(c memoryCalls) error { return c.MProtect(a, n, uint8(p), false) })
}

func (w *twins) mremap(t *rapid.T) {
	if !w.newRemap {
		t.Skip("not comparable")
	}
	i, to := drawPage(t, "page"), drawPage(t, "to")
	o := MRemapOpts{Old: diffBase + Addr(i*pg), OldLength: drawLength(t, i), NewLength: drawLength(t, to), New: diffBase + Addr(to*pg)}
	o.MayMove = rapid.Bool().Draw(t, "maymove")
	o.Fixed = o.MayMove || rapid.Bool().Draw(t, "fixed")
	o.DontUnmap = rapid.IntRange(0, 3).Draw(t, "dontunmap") == 0
	if rapid.IntRange(0, 5).Draw(t, "duplicate") == 0 {
		o.OldLength = 0
	}
	if !o.Fixed && i*pg+int(o.NewLength) > diffPages*pg {
		t.Skip("leaves the window")
	}
	w.both(t, func(c memoryCalls) error {
		_, err := c.MRemap(o)
		return err
	})
}

func (w *twins) madvise(t *rapid.T) {
	a, n := drawRange(t)
	advice := rapid.SampledFrom([]int{unix.MADV_DONTNEED, unix.MADV_FREE, unix.MADV_NORMAL, unix.MADV_DONTFORK, unix.MADV_WILLNEED,
		unix.MADV_DOFORK, unix.MADV_WIPEONFORK, unix.MADV_KEEPONFORK, madvPopulateRead, 9999, madvGuardInstall, madvGuardInstall, madvGuardRemove}).Draw(t, "advice")
	if !w.guards && (advice == madvGuardInstall || advice == madvGuardRemove) {
		t.Skip("not comparable")
	}
	w.both(t, func(c memoryCalls) error { return c.MAdvise(a, n, advice) })
}

func (w *twins) msync(t *rapid.T) {
	a, n := drawRange(t)
	w.both(t, func(c memoryCalls) error { return c.MSync(a, n, unix.MS_ASYNC) })
}

func (w *twins) mincore(t *rapid.T) {
	a, n := drawRange(t)
	w.both(t, func(c memoryCalls) error { return c.Mincore(a, n/pg) })
}

func (w *twins) check(t *rapid.T) {
	g, h := guestMappings(w.m), hostMappings(t)
	if !slices.Equal(g, h) {
		t.Fatalf("mappings\n%v\non the host\n%v", g, h)
	}
}

func TestMappingsLikeTheHosts(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/mapped")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(diffPages * pg); err != nil {
		t.Fatal(err)
	}
	newRemap := hostCalls{}.movesMany()
	if !newRemap {
		t.Log("the host's mremap is an older one: it is left out")
	}
	// An old host knows no guards, not even for nothing.
	guards := hostCalls{}.MAdvise(diffBase, 0, madvGuardInstall) == nil
	rapid.Check(t, func(t *rapid.T) {
		v := newWorld(t, 1<<30)
		defer func() {
			v.m.DecUsers()
			v.f.Release()
			_ = hostCalls{}.MUnmap(diffBase, diffPages*pg)
		}()
		w := &twins{v.m, &hostFile{f: f}, newRemap, guards}
		t.Repeat(map[string]func(*rapid.T){
			"mmap": w.mmap, "munmap": w.munmap, "mprotect": w.mprotect, "mremap": w.mremap,
			"madvise": w.madvise, "msync": w.msync, "mincore": w.mincore, "": w.check,
		})
	})
}
