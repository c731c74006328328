package patch

import (
	"bytes"
	"encoding/binary"
	"testing"

	"gosentry/platform"
	"gosentry/platform/internal/changes"
	"gosentry/platform/internal/patch/patchtest"

	"golang.org/x/sys/unix"
)

const (
	trampolinesAt = 0x7fffffe00000
	textAt        = 0x400000
	siteAt        = 64 // in the page
	number        = 999
)

// space is an address space of a test: what is queued, and a text file with a site in its first page.
type space struct {
	*Text
	q     changes.Queue
	file  int32
	store *Store
}

func newSpace(t *testing.T) *space {
	t.Helper()
	store, err := NewStore(Config{At: trampolinesAt, Code: func(tr Trampoline) []byte {
		return binary.LittleEndian.AppendUint64(nil, tr.Back)
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Release)
	text := bytes.Repeat([]byte{0x90}, 2*pageSize)
	copy(text[siteAt:], []byte{0xb8, number & 0xff, number >> 8, 0, 0, 0x0f, 0x05})
	s := &space{file: patchtest.Open(t, text), store: store}
	s.Text = NewText(store, &s.q)
	return s
}

// apply makes a change as an address space does.
func (s *space) apply(c platform.Change) {
	s.Before(c)
	s.q.Add(c)
	s.After(c)
}

// text is the mapping of the text at addr.
func (s *space) text(addr uint64) platform.Change {
	return platform.Change{Op: platform.Map, Prot: platform.Read | platform.Exec, File: s.file, Addr: addr, Length: pageSize}
}

// patched makes a space with a patched site, of which all is carried out.
func patched(t *testing.T) *space {
	t.Helper()
	s := newSpace(t)
	s.apply(s.text(textAt))
	if !s.Patch(textAt+siteAt+SiteLength, number) {
		t.Fatal("the site is not patched")
	}
	s.q.Done()
	return s
}

// maps tells whether something of file is about to be mapped at addr.
func (s *space) maps(file int32, addr uint64) bool {
	for _, c := range s.q.Pending() {
		if c.Op == platform.Map && c.File == file && c.Addr <= addr && addr < c.Addr+c.Length {
			return true
		}
	}
	return false
}

// TestManyTexts maps text that was patched before where there is more text by now than is kept in mind: it stays plain, since nobody could
// undo that.
func TestManyTexts(t *testing.T) {
	s := patched(t)
	s.apply(platform.Change{Op: platform.Unmap, Addr: textAt, Length: pageSize})
	const apart = 2 * pageSize
	for i := range uint64(maxText) {
		c := s.text(textAt + (i+1)*apart)
		c.Offset = pageSize
		s.apply(c)
	}
	s.q.Done()
	s.apply(s.text(textAt))
	if _, known := s.find(textAt); known || s.Text.patched[textAt] != nil || s.maps(int32(s.store.fd), textAt) {
		t.Errorf("the last text is kept in mind: %v, patched: %v", known, s.Text.patched[textAt] != nil)
	}
}

func TestPatch(t *testing.T) {
	s := newSpace(t)
	s.apply(s.text(textAt))
	for _, c := range []struct {
		rip, number uint64
		want        bool
	}{
		{textAt + siteAt + SiteLength, number + 1, false}, {textAt + siteAt + SiteLength + 1, number, false},
		{textAt + SiteLength - 1, number, false}, {textAt + pageSize + siteAt + SiteLength, number, false}, {3, number, false},
		{textAt + siteAt + SiteLength, number, true}, {textAt + siteAt + SiteLength, number, false},
	} {
		if got := s.Patch(c.rip, c.number); got != c.want {
			t.Errorf("Patch(%#x, %d): %v", c.rip, c.number, got)
		}
	}
	for _, addr := range []uint64{textAt, TableAt, trampolinesAt} {
		if !s.maps(int32(s.store.fd), addr) {
			t.Errorf("nothing is mapped at %#x", addr)
		}
	}
	v := s.Text.patched[textAt]
	if got, want := s.store.mem[v.at+siteAt:][:SiteLength], []byte{0xff, 0x24, 0x25, 0, 0, 0x0f, 0x05}; !bytes.Equal(got, want) {
		t.Errorf("the site is % x, want % x", got, want)
	}
	if got := binary.LittleEndian.Uint64(s.store.slot(s.slot)[TableSize:]); got != textAt+siteAt+SiteLength {
		t.Errorf("the trampoline leads back to %#x", got)
	}
	if _, err := unix.Mmap(s.store.fd, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != unix.EPERM {
		t.Errorf("mapping the patches writable: %v, want EPERM", err)
	}
}

// TestChanges makes changes to a patched address space and looks what becomes of the patch.
func TestChanges(t *testing.T) {
	for _, c := range []struct {
		name          string
		change        func(s *space) platform.Change
		plain, active bool // the plain page is mapped again; something may still be patched
	}{
		{"protect", func(s *space) platform.Change {
			return platform.Change{Op: platform.Protect, Addr: textAt, Length: pageSize, Prot: platform.Read}
		}, true, true},
		{"elsewhere", func(s *space) platform.Change {
			return platform.Change{Op: platform.Protect, Addr: textAt + pageSize, Length: pageSize, Prot: platform.Read}
		}, false, true},
		{"table taken", func(s *space) platform.Change {
			return platform.Change{Op: platform.Map, Addr: TableAt + pageSize, Length: pageSize, File: s.file, Prot: platform.Read}
		}, true, false},
		{"unmapped", func(s *space) platform.Change {
			return platform.Change{Op: platform.Unmap, Addr: textAt, Length: pageSize}
		}, false, true},
	} {
		s := patched(t)
		s.apply(c.change(s))
		if s.maps(s.file, textAt) != c.plain || s.Active() != c.active {
			t.Errorf("%s: %+v, active %v", c.name, s.q.Pending(), s.Active())
		}
	}
}

// TestTableStays changes what lies around the table: it is still there, and the guest cannot write to it.
func TestTableStays(t *testing.T) {
	around := platform.Change{Addr: TableAt - pageSize, Length: TableSize + 2*pageSize}
	for _, c := range []struct {
		op   platform.Op
		prot platform.Prot
		maps bool
		last platform.Prot
	}{
		{platform.Unmap, 0, true, 0},
		{platform.Protect, platform.Read | platform.Write, false, platform.Read},
		{platform.Protect, platform.Exec, false, platform.Read},
		{platform.Protect, platform.Read, false, platform.Read},
	} {
		s := patched(t)
		around.Op, around.Prot = c.op, c.prot
		s.apply(around)
		if got := s.maps(int32(s.store.fd), TableAt); got != c.maps {
			t.Errorf("%+v: %+v", c, s.q.Pending())
		}
		last := platform.Prot(0)
		for _, p := range s.q.Pending() {
			if p.Op == platform.Protect && p.Addr <= TableAt && TableAt+TableSize <= p.Addr+p.Length {
				last = p.Prot
			}
		}
		if last != c.last {
			t.Errorf("%+v: %+v", c, s.q.Pending())
		}
	}
}

// TestAgain maps patched text anew: at the same place it is patched at once, at a second one it is not.
func TestAgain(t *testing.T) {
	s := patched(t)
	s.apply(s.text(textAt + 16*pageSize))
	if s.maps(int32(s.store.fd), textAt+16*pageSize) {
		t.Error("a site has two places")
	}
	s.apply(s.text(textAt))
	if !s.maps(int32(s.store.fd), textAt) {
		t.Error("the text is not patched any more")
	}
}

// TestLost drops everything: the table comes back before guest code runs, and a fault in it is none of the guest's.
func TestLost(t *testing.T) {
	s := patched(t)
	if s.Missed(TableAt-1) || s.Missed(TableAt+TableSize) || !s.Missed(TableAt) {
		t.Error("faults of the table are told from others wrongly")
	}
	s.q.Wipe()
	s.Lose()
	s.Recover()
	if !s.maps(int32(s.store.fd), TableAt) || !s.maps(int32(s.store.fd), trampolinesAt) {
		t.Error("the table is not mapped again")
	}
}

// TestEnd gives slots back, until there are as many as at first, and cleared.
func TestEnd(t *testing.T) {
	s := patched(t)
	free := s.End()
	if free == nil || s.Patch(textAt+siteAt+SiteLength, number) {
		t.Fatal("the text is in use after its end")
	}
	free()
	if len(s.store.slots) != maxSlots || !bytes.Equal(s.store.slot(s.slot), make([]byte, s.store.cfg.slotSize())) {
		t.Errorf("%d slots are free, want %d, cleared", len(s.store.slots), maxSlots)
	}
	if NewText(nil, &s.q).End() != nil {
		t.Error("a text without a store has a slot")
	}
}
