package limits

import (
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestForkSharesUntilOneWrites(t *testing.T) {
	a := New(Defaults(100))
	b := a.Fork()
	if a.table.Load() != b.table.Load() {
		t.Error("a fork copied the table")
	}
	if _, err := b.Set(NoFile, Limit{10, 20}, false); err != nil {
		t.Fatal(err)
	}
	if a.Get(NoFile) != (Limit{1024, MaxNoFile}) || b.Get(NoFile) != (Limit{10, 20}) {
		t.Errorf("parent %v, child %v", a.Get(NoFile), b.Get(NoFile))
	}
	a.Set(Core, Limit{5, 5}, false)
	if b.Get(Core).Hard != Infinity {
		t.Error("the parent's change reached the child")
	}
}

func TestSetRules(t *testing.T) {
	s := New(Defaults(100))
	s.Set(Data, Limit{50, 100}, false)
	for _, c := range []struct {
		name string
		r    Resource
		l    Limit
		priv bool
		want error
	}{
		{"unknown", Count, Limit{}, true, unix.EINVAL},
		{"negative", -1, Limit{}, true, unix.EINVAL},
		{"soft over hard", Data, Limit{11, 10}, true, unix.EINVAL},
		{"raise soft to hard", Data, Limit{100, 100}, false, nil},
		{"raise hard", Data, Limit{100, 101}, false, unix.EPERM},
		{"raise hard with privilege", Data, Limit{100, Infinity}, true, nil},
		{"lower hard", Data, Limit{1, 2}, false, nil},
		{"raise it again", Data, Limit{1, 3}, false, unix.EPERM},
	} {
		before := s.Table()
		old, err := s.Set(c.r, c.l, c.priv)
		if err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
			continue
		}
		if err != nil {
			if s.Table() != before {
				t.Errorf("%s: refused but changed", c.name)
			}
			continue
		}
		if s.Get(c.r) != c.l || old != before[c.r] || s.Soft(c.r) != c.l.Soft {
			t.Errorf("%s: now %v, old %v", c.name, s.Get(c.r), old)
		}
	}
	if !s.Exceeds(Data, 2) || s.Exceeds(Data, 1) || s.Exceeds(AS, Infinity) {
		t.Error("Exceeds")
	}
}

func TestConcurrentChangesAllCount(t *testing.T) {
	s := New(Defaults(1))
	var wg sync.WaitGroup
	for r := range Resource(Count) {
		wg.Go(func() {
			for i := range uint64(1000) {
				s.Set(r, Limit{i, MaxNoFile}, true)
				s.Fork()
			}
		})
	}
	wg.Wait()
	for r := range Resource(Count) {
		if s.Soft(r) != 999 {
			t.Errorf("resource %d: %d", r, s.Soft(r))
		}
	}
}
