package ipc

import (
	"bytes"
	"strings"
	"testing"

	"gosentry/mm"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

var (
	rootNS = new(cred.UserNamespace)
	root   = Caller{Creds: cred.New(0, 0, nil, rootNS), Process: 1}
	user   = Caller{Creds: cred.New(1000, 1000, []cred.GID{50}, rootNS), Process: 2}
)

const create = Create | 0o600

func newNamespace(t *testing.T, budget int64) *Namespace {
	t.Helper()
	file, err := mm.NewMemoryFile(64 << 20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(file.Release)
	b := NewBudget(budget)
	n := New(Config{Owner: rootNS, Memory: file, Budget: b, Now: func() int64 { return 1 }})
	t.Cleanup(func() {
		n.Release()
		if used := b.Used(); used != 0 {
			t.Errorf("%d bytes of the budget are in use at the end", used)
		}
		if file.Usage() != 0 {
			t.Errorf("%d bytes of memory are in use at the end", file.Usage())
		}
	})
	return n
}

func want(t *testing.T, what string, err, e error) {
	t.Helper()
	if err != e {
		t.Errorf("%s: %v, want %v", what, err, e)
	}
}

// TestIDs: a slot that is used again gets another id, so that a stale one is refused.
func TestIDs(t *testing.T) {
	n := newNamespace(t, 1<<20)
	seen := make(map[int32]bool)
	for range 200 {
		id, err := n.Semaphores.Get(root, Get{Flags: create}, 1)
		want(t, "get", err, nil)
		if seen[id] {
			t.Fatalf("id %d twice", id)
		}
		seen[id] = true
		want(t, "remove", n.Semaphores.Remove(root, id), nil)
		_, err = n.Semaphores.Stat(root, id)
		want(t, "stale", err, unix.EINVAL)
	}
}

func TestLimits(t *testing.T) {
	n := newNamespace(t, 1<<20)
	want(t, "knob", n.SetKnob("sem", "10 20 3 4"), nil)
	if got, _ := n.Knob("sem"); got != "10\t20\t3\t4" {
		t.Errorf("the knob is %q", got)
	}
	for _, bad := range []string{"x", "-1", "1 1 1 99999999999", "1 1 1000000"} {
		want(t, bad, n.SetKnob("sem", bad), unix.EINVAL)
	}
	want(t, "no knob", n.SetKnob("sems", "1"), unix.ENOENT)
	_, err := n.Semaphores.Get(root, Get{Flags: create}, 11)
	want(t, "SEMMSL", err, unix.EINVAL)
	for range 2 {
		_, err = n.Semaphores.Get(root, Get{Flags: create}, 10)
		want(t, "get", err, nil)
	}
	_, err = n.Semaphores.Get(root, Get{Flags: create}, 1)
	want(t, "SEMMNS", err, unix.ENOSPC)
	want(t, "knob", n.SetKnob("msgmni", "1"), nil)
	_, err = n.Messages.Get(root, Get{Flags: create})
	want(t, "get", err, nil)
	_, err = n.Messages.Get(root, Get{Flags: create})
	want(t, "MSGMNI", err, unix.ENOSPC)
	want(t, "knob", n.SetKnob("shmall", "2"), nil)
	_, err = n.Memory.Get(root, Get{Flags: create}, 3*mm.PageSize)
	want(t, "SHMALL", err, unix.ENOSPC)
}

// TestBudget: whatever is asked for, memory ends at the budget, and a failed call takes none.
func TestBudget(t *testing.T) {
	n := newNamespace(t, 100<<10)
	made := 0
	for ; made < 1000; made++ {
		if _, err := n.Semaphores.Get(root, Get{Flags: create}, 1000); err != nil {
			want(t, "sets", err, unix.ENOMEM)
			break
		}
	}
	if made != 4 {
		t.Errorf("%d sets within the budget", made)
	}
	q, err := n.Messages.Get(root, Get{Flags: create})
	want(t, "queue", err, nil)
	for err == nil {
		_, err = n.Messages.Send(root, q, Message{1, make([]byte, 1000)}, true)
	}
	want(t, "messages", err, unix.ENOMEM)
}

func TestPermissions(t *testing.T) {
	n := newNamespace(t, 1<<20)
	id, _ := n.Semaphores.Get(root, Get{Key: 7, Flags: Create | 0o640}, 1)
	_, err := n.Semaphores.Stat(user, id)
	want(t, "stat by others", err, unix.EACCES)
	_, err = n.Semaphores.Get(user, Get{Key: 7, Flags: 0o400}, 1)
	want(t, "get by others", err, unix.EACCES)
	want(t, "remove by others", n.Semaphores.Remove(user, id), unix.EPERM)
	want(t, "change", n.Semaphores.Change(root, id, NewOwner{UID: 0, GID: 50, Mode: 0o640}), nil)
	_, err = n.Semaphores.Stat(user, id)
	want(t, "stat by the group", err, nil)
	_, err = n.Semaphores.Operate(user, id, []SemOp{{0, 1, 0}}, nil)
	want(t, "alter by the group", err, unix.EACCES)
	// Root of another user namespace has no say here.
	other := Caller{Creds: cred.New(0, 0, nil, &cred.UserNamespace{Parent: rootNS, Owner: 5}), Process: 3}
	other.Creds.EUID, other.Creds.EGID, other.Creds.FSGID = 5, 5, 5
	_, err = n.Semaphores.Stat(other, id)
	want(t, "stat by another namespace's root", err, unix.EACCES)
	want(t, "remove", n.Semaphores.Remove(root, id), nil)
}

// TestWaiters: served in order, cancelled, told of a removal.
func TestWaiters(t *testing.T) {
	n := newNamespace(t, 1<<20)
	s := &n.Semaphores
	id, _ := s.Get(root, Get{Flags: create}, 1)
	wait := func(op int16) *SemWait {
		w, err := s.Operate(root, id, []SemOp{{0, op, 0}}, nil)
		want(t, "wait", err, nil)
		return w
	}
	a, b, c := wait(-1), wait(-1), wait(-5)
	served, _ := a.Cancel()
	if served {
		t.Error("served without reason")
	}
	s.Operate(root, id, []SemOp{{0, 1, 0}}, nil)
	if served, err := b.Cancel(); !served || err != nil {
		t.Errorf("the second: %v, %v", served, err)
	}
	want(t, "remove", s.Remove(root, id), nil)
	<-c.Done()
	if served, err := c.Cancel(); !served || err != unix.EIDRM {
		t.Errorf("removed: %v, %v", served, err)
	}
}

func TestUndoAfterRemoval(t *testing.T) {
	n := newNamespace(t, 1<<20)
	s := &n.Semaphores
	u := NewUndoList()
	var ids []int32
	for range 3 {
		id, _ := s.Get(root, Get{Flags: create}, 2)
		ids = append(ids, id)
		_, err := s.Operate(root, id, []SemOp{{1, 4, SemUndo}}, u)
		want(t, "up", err, nil)
	}
	s.Remove(root, ids[1])
	u.Share().Drop(9)
	if sem, _ := s.Look(root, ids[0], 1); sem.Value != 4 {
		t.Errorf("undone to %d while shared", sem.Value)
	}
	u.Drop(9)
	for _, id := range []int32{ids[0], ids[2]} {
		if sem, err := s.Look(root, id, 1); err != nil || sem.Value != 0 || sem.Last != 9 {
			t.Errorf("after the end: %+v, %v", sem, err)
		}
	}
}

func TestTable(t *testing.T) {
	n := newNamespace(t, 1<<20)
	n.Memory.Get(root, Get{Key: 5, Flags: create}, 100)
	var b bytes.Buffer
	n.Table(&b, "shm", Viewer{
		Process: func(p Process) int32 { n, _ := p.(int); return int32(n) },
		User:    rootNS.ShowUID, Group: rootNS.ShowGID,
	})
	const row = "\n         5          0   600                   100     1     0      0     0     0     0     0          0          0          1                     0                     0\n"
	if !strings.HasSuffix(b.String(), row) {
		t.Errorf("%s", b.String())
	}
}

// TestPieces counts the pieces of a segment that are attached, page by page and in any order, as package mm tells of them.
func TestPieces(t *testing.T) {
	n := newNamespace(t, 1<<20)
	id, err := n.Memory.Get(root, Get{Flags: create}, 64*mm.PageSize)
	if err != nil {
		t.Fatal(err)
	}
	s, err := n.Memory.segments.find(id)
	if err != nil {
		t.Fatal(err)
	}
	before := n.Memory.config.Budget.Used()
	rapid.Check(t, func(t *rapid.T) {
		m := new(mm.MemoryManager)
		layers := map[[2]uint64]int{} // how often each page is attached, by its address and its offset
		type mapping struct{ start, pages, off uint64 }
		var there []mapping
		count := func(x mapping, n int) {
			ar := mm.Range{Start: mm.Addr(x.start * mm.PageSize), End: mm.Addr((x.start + x.pages) * mm.PageSize)}
			if n < 0 {
				s.RemoveMapping(m, ar, x.off*mm.PageSize, true)
			} else if err := s.AddMapping(m, ar, x.off*mm.PageSize, true); err != nil {
				t.Fatal(err)
			}
			for i := range x.pages {
				layers[[2]uint64{x.start + i, x.off + i}] += n
			}
		}
		page := rapid.Uint64Range(0, 7)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			if i := rapid.IntRange(0, 2*len(there)).Draw(t, "which"); i < len(there) {
				x := there[i]
				there = append(there[:i], there[i+1:]...)
				// A part of a mapping may go before the rest.
				cut := rapid.Uint64Range(0, x.pages-1).Draw(t, "cut")
				count(mapping{x.start + cut, x.pages - cut, x.off + cut}, -1)
				if cut > 0 {
					there = append(there, mapping{x.start, cut, x.off})
				}
			} else {
				x := mapping{page.Draw(t, "start"), 1 + page.Draw(t, "pages"), page.Draw(t, "off")}
				there = append(there, x)
				count(x, 1)
			}
			want := 0
			for at, n := range layers {
				want += max(n-layers[[2]uint64{at[0] - 1, at[1] - 1}], 0)
			}
			if charged := n.Memory.config.Budget.Used() - before; s.attaches != want || charged != int64(want)*attachCost {
				t.Fatalf("%d pieces, %d bytes charged, want %d pieces", s.attaches, charged, want)
			}
		}
		for _, x := range there {
			count(x, -1)
		}
		if s.attaches != 0 || len(s.attached) != 0 {
			t.Fatalf("%d pieces are left, %v", s.attaches, s.attached)
		}
	})
}
