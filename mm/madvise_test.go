package mm

import (
	"testing"

	"golang.org/x/sys/unix"
)

// heldFile wants to be mapped only while the mappings stand still: it may be gone otherwise.
type heldFile struct {
	hostFile
	t *testing.T
}

func (h *heldFile) AddMapping(m *MemoryManager, ar Range, off uint64, writable bool) error {
	if m.mappingMu.TryLock() {
		m.mappingMu.Unlock()
		h.t.Error("the file may have lost its last mapping")
	}
	return h.hostFile.AddMapping(m, ar, off, writable)
}

// TestRemapFilePages: pages of a shared file change places, and the file is held meanwhile.
func TestRemapFilePages(t *testing.T) {
	w := newWorld(t, 1<<30)
	content := make([]byte, 4*pg)
	for i := range uint64(4) {
		content[i*pg] = byte(i)
	}
	h := &heldFile{hostFile: hostFile{f: newHostFile(t, content).f}, t: t}
	const at = 0x4000_0000
	w.mmap(MMapOpts{Addr: at, Length: 4 * pg, Prot: rw, Fixed: true, File: h})
	if err := w.m.RemapFilePages(at, pg, 2, MMapOpts{}); err != nil {
		t.Fatal(err)
	}
	if got := w.read(w.m, at); got != 2 {
		t.Errorf("page %d of the file is there", got)
	}
	for _, bad := range []struct{ addr, length, page uint64 }{{at, 0, 0}, {at, pg, 1 << 52}, {at + 3*pg, 2 * pg, 0}, {at, 1 << 63, 0}} {
		if err := w.m.RemapFilePages(Addr(bad.addr), bad.length, bad.page, MMapOpts{}); err != unix.EINVAL {
			t.Errorf("%#x: %v", bad, err)
		}
	}
	w.close()
	if n := h.mapped(); n != 0 {
		t.Errorf("%d bytes are still mapped", n)
	}
}
