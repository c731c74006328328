package patch

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"gosentry/platform"
	"gosentry/platform/internal/patch/patchtest"

	"golang.org/x/sys/unix"
)

const (
	trapsAt = trampolinesAt - pageSize
	cpuidAt = 2 // in the code
)

// program is a space of the same store whose text is a program that has CPUID at cpuidAt and a call's site at siteAt.
func (s *space) program(file int32) *space {
	p := &space{file: file, store: s.store}
	p.Text = NewText(s.store, &p.q)
	p.CatchCPUID()
	return p
}

// run maps the program, as it is executed.
func (s *space) run() {
	s.apply(platform.Change{Op: platform.Map, Prot: platform.Read | platform.Exec, File: s.file, Addr: textAt, Length: pageSize, Offset: patchtest.CodeAt})
}

// programFile is a file with the program.
func programFile(t *testing.T) int32 {
	code := slices.Repeat([]byte{0x90}, siteAt)
	copy(code[cpuidAt:], []byte{0x0f, 0xa2})
	code = append(code, 0xb8, number&0xff, number>>8, 0, 0, 0x0f, 0x05, 0xc3)
	return patchtest.Open(t, patchtest.Program(code))
}

// trapping is a space with a program that has been executed so often that its CPUID is a breakpoint. All is carried out but that.
func trapping(t *testing.T) *space {
	t.Helper()
	s, file := newSpace(t), programFile(t)
	s.store.cfg.TrapsAt = trapsAt
	for i := range oftenRun {
		p := s.program(file)
		if p.run(); p.Trapped(textAt+cpuidAt) && i < oftenRun-1 {
			t.Fatal("a breakpoint at once")
		}
		p.run() // counts no more
		defer func() {
			if free := p.End(); free != nil {
				free()
			}
		}()
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		p := s.program(file)
		if p.run(); p.Trapped(textAt + cpuidAt) {
			return p
		}
		if time.Now().After(end) {
			t.Fatal("no breakpoint")
		}
	}
}

// sites are where the guest is told that breakpoints are.
func (s *space) trapSites() []uint64 {
	p := s.store.trapPage(s.traps.page)
	return p.site[:p.sites.Load()]
}

// TestTraps looks at what is mapped where CPUID is caught, and at what the guest is told.
func TestTraps(t *testing.T) {
	s := trapping(t)
	if !s.maps(int32(s.store.fd), textAt) || !s.maps(int32(s.store.fd), trapsAt) || !s.TrapsMapped() || !s.Patched() || s.Active() {
		t.Errorf("%+v", s.q.Pending())
	}
	v := s.Text.patched[textAt]
	if got := s.store.mem[v.at:][cpuidAt : cpuidAt+2]; got[0] != breakpoint || got[1] != 0xa2 {
		t.Errorf("the instruction is % x", got)
	}
	if got := s.trapSites(); !slices.Equal(got, []uint64{textAt + cpuidAt}) || s.Trapped(textAt+cpuidAt+1) {
		t.Errorf("breakpoints at %#x", got)
	}
	for range 2 {
		s.Leaves(4, 1, [4]uint32{11, 12, 13, 14})
	}
	p := s.store.trapPage(s.traps.page)
	if n := p.results.Load(); n != 1 || p.result[0] != (result{4, 1, [4]uint32{11, 12, 13, 14}}) {
		t.Errorf("%d results, %+v", n, p.result[0])
	}
	for sub := range uint32(2 * maxResults) {
		s.Leaves(7, sub, [4]uint32{})
	}
	if n := p.results.Load(); n != maxResults {
		t.Errorf("%d results", n)
	}
}

// TestTrapsAndJumps patches a call in a page that has a breakpoint: both are there, whichever came first.
func TestTrapsAndJumps(t *testing.T) {
	s := trapping(t)
	if !s.Patch(textAt+siteAt+SiteLength, number) {
		t.Fatal("the site is not patched")
	}
	for _, p := range []*space{s, s.program(s.file)} {
		if p != s {
			p.run()
		}
		v := p.Text.patched[textAt]
		if page := s.store.mem[v.at:]; page[cpuidAt] != breakpoint || page[siteAt] == 0xff != (p == s) {
			t.Errorf("% x", page[:siteAt+SiteLength])
		}
	}
	key, _ := keyOf(s.file)
	s.store.files[key][patchtest.CodeAt].traps = nil
	text := make([]byte, pageSize)
	unix.Pread(int(s.file), text, patchtest.CodeAt)
	s.store.trapPages(key, patchtest.CodeAt, []uint64{cpuidAt + 1}, text)
	s.run()
	if page := s.store.mem[s.Text.patched[textAt].at:]; page[cpuidAt+1] != breakpoint || page[siteAt] != 0xff {
		t.Errorf("% x", page[:siteAt+SiteLength])
	}
}

// TestTrapsChange makes changes where a breakpoint is.
func TestTrapsChange(t *testing.T) {
	for name, c := range map[string]struct {
		change         func(*space)
		trapped, plain bool // it may still be met; the plain text is mapped again
	}{
		"rights": {func(s *space) {
			s.apply(platform.Change{Op: platform.Protect, Addr: textAt, Length: pageSize, Prot: platform.Read})
		}, true, true},
		"unmapped": {func(s *space) { s.apply(platform.Change{Op: platform.Unmap, Addr: textAt, Length: pageSize}) }, true, false},
		"replaced": {func(s *space) {
			s.apply(platform.Change{Op: platform.Map, Addr: textAt, Length: pageSize, File: s.file, Prot: platform.Read | platform.Write})
		}, false, true},
		"stepped": {func(s *space) { s.Stop() }, true, true},
	} {
		s := trapping(t)
		s.q.Done()
		c.change(s)
		if s.Trapped(textAt+cpuidAt) != c.trapped || s.maps(s.file, textAt) != c.plain || len(s.trapSites()) == 1 != c.trapped {
			t.Errorf("%s: trapped %v, %+v, told %#x", name, s.Trapped(textAt+cpuidAt), s.q.Pending(), s.trapSites())
		}
	}
}

// TestTrapsLost drops everything: the page comes back with the next breakpoint.
func TestTrapsLost(t *testing.T) {
	s := trapping(t)
	s.q.Wipe()
	s.Lose()
	if s.TrapsMapped() {
		t.Error("the page is mapped still")
	}
	s.run()
	if !s.TrapsMapped() || !s.maps(int32(s.store.fd), trapsAt) || !s.maps(int32(s.store.fd), textAt) {
		t.Errorf("%+v", s.q.Pending())
	}
}

// TestTrapsEnd gives pages back, until there are as many as at first; without one there are breakpoints, too.
func TestTrapsEnd(t *testing.T) {
	s := trapping(t)
	free := s.End()
	if len(s.store.traps) != maxTraps-1 || free == nil {
		t.Fatalf("%d pages are free", len(s.store.traps))
	}
	if free(); len(s.store.traps) != maxTraps {
		t.Errorf("%d pages are free", len(s.store.traps))
	}
	if at := s.store.trapPage(s.traps.page).site[0]; at != 0 {
		t.Errorf("who gets the page finds %#x", at)
	}
	s.store.traps = nil
	p := s.program(s.file)
	if p.run(); !p.Trapped(textAt+cpuidAt) || p.TrapsMapped() {
		t.Error("no breakpoint, or a page from nowhere")
	}
	p.Leaves(1, 2, [4]uint32{})
	p.Stop()
	if p.End() != nil {
		t.Error("a page that was not had is given back")
	}
}

// TestRunsBounded executes more files than are counted.
func TestRunsBounded(t *testing.T) {
	s := newSpace(t)
	for ino := range uint64(3 * maxRuns) {
		s.store.executed(fileKey{ino: ino})
	}
	if n := len(s.store.runs); n > maxRuns {
		t.Errorf("%d files are counted", n)
	}
}

// TestLooksOneByOne has many files executed often at once: one is looked through at a time, and each once.
func TestLooksOneByOne(t *testing.T) {
	s := newSpace(t)
	for i, want := range []struct {
		ino    uint64
		due    bool
		looked bool // before
	}{{1, true, false}, {2, false, false}, {2, false, false}, {1, false, false}, {2, true, true}, {1, false, true}, {2, false, false}} {
		if want.looked {
			s.store.looked()
		}
		for n := s.store.runs[fileKey{ino: want.ino}]; n < oftenRun-1; n++ {
			if s.store.executed(fileKey{ino: want.ino}) {
				t.Fatalf("due after %d runs", n+1)
			}
		}
		if got := s.store.executed(fileKey{ino: want.ino}); got != want.due {
			t.Errorf("%d: %+v: %v", i, want, got)
		}
	}
}

// TestTrapsBounded maps text with a breakpoint in more and more places.
func TestTrapsBounded(t *testing.T) {
	s := trapping(t)
	for i := range uint64(maxTrapped + 100) {
		at := textAt + (i+1)*pageSize
		s.apply(platform.Change{Op: platform.Map, Prot: platform.Read | platform.Exec, File: s.file, Addr: at, Length: pageSize, Offset: patchtest.CodeAt})
		if trapped := s.Text.patched[at] != nil; trapped != s.Trapped(at+cpuidAt) {
			t.Fatalf("page %d is mapped with a breakpoint: %v", i, trapped)
		}
		s.apply(platform.Change{Op: platform.Unmap, Addr: at, Length: pageSize})
		s.q.Done()
	}
	if n := len(s.traps.at); n != maxTrapped {
		t.Errorf("%d breakpoints are kept in mind", n)
	}
}

// TestFileKey writes to a file and sets its times back.
func TestFileKey(t *testing.T) {
	file := programFile(t)
	was, ok := keyOf(file)
	if again, _ := keyOf(file); !ok || again != was {
		t.Errorf("%+v, and then %+v", was, again)
	}
	name := fmt.Sprintf("/proc/self/fd/%d", file)
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // longer than a tick of the host's
	to, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if _, err := to.WriteAt([]byte{0xc3}, patchtest.CodeAt); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(name, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if now, _ := keyOf(file); now == was {
		t.Errorf("%+v as before", now)
	}
}

// TestReplaced maps something else where a breakpoint is, which a thread has met just before.
func TestReplaced(t *testing.T) {
	s := trapping(t)
	const at = textAt + cpuidAt
	own := platform.Change{Op: platform.Map, Addr: textAt, Length: pageSize, File: s.file, Prot: platform.Read | platform.Write}
	var one, other uint64
	if s.Replaced(at, &one) {
		t.Error("it stands")
	}
	for range 2 {
		s.apply(own)
		for _, seen := range []*uint64{&one, &other} {
			if s.Replaced(at+1, seen) || !s.Replaced(at, seen) || s.Replaced(at, seen) {
				t.Error("a thread is not to go on once, or to do so elsewhere or again")
			}
		}
		s.run()
		if s.Replaced(at, new(uint64)) || !s.Trapped(at) {
			t.Error("it stands again")
		}
	}
}

// TestTrapsOfExec maps the program where guest code has run already: it is plain.
func TestTrapsOfExec(t *testing.T) {
	s := trapping(t)
	s.Recover()
	s.apply(platform.Change{Op: platform.Unmap, Addr: textAt, Length: pageSize})
	s.q.Done()
	if s.run(); !s.maps(s.file, textAt) || s.maps(int32(s.store.fd), textAt) {
		t.Errorf("%+v", s.q.Pending())
	}
}
