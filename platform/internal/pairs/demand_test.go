package pairs

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestDemand looks when one processor is wanted, and when several are again.
func TestDemand(t *testing.T) {
	type ticks struct {
		n    int
		tick tick
		one  bool // at the end
	}
	forks, computes := tick{1, maxWaiting, oftenEntered, lateMost}, tick{1, 0, oftenEntered - 1, 0}
	crowd, queue, late := tick{2, 0, oftenEntered, 0}, tick{1, maxWaiting + 1, oftenEntered, 0}, tick{1, 0, oftenEntered, lateMost + 1}
	for _, test := range []struct {
		name  string
		parts []ticks
	}{
		{"forks", []ticks{{enoughGood - 1, forks, false}, {1, forks, true}, {1000, forks, true}}},
		{"a program that computes", []ticks{{1000, computes, false}}},
		{"a crowd", []ticks{{1000, crowd, false}}},
		{"a queue", []ticks{{1000, queue, false}}},
		{"somebody lets others wait", []ticks{{1000, late, false}}},
		{"forks, then it computes", []ticks{{100, forks, true}, {mostGood - 1, computes, true}, {1, computes, false}}},
		{"forks, then a crowd", []ticks{{100, forks, true}, {mostGood - 1, crowd, true}, {1, crowd, false}}},
		{"forks, then others wait", []ticks{{100, forks, true}, {1, late, false}, {minHold - 1, forks, false}, {1, forks, true}}},
		{"others wait again soon", []ticks{
			{100, forks, true}, {1, late, false}, {minHold, forks, true}, {1, late, false}, {2*minHold - 1, forks, false}, {1, forks, true},
			{1, late, false}, {4*minHold - 1, forks, false}, {1, forks, true},
		}},
		{"others wait again later", []ticks{{100, forks, true}, {1, late, false}, {2 * minHold, forks, true}, {1, late, false}, {minHold, forks, true}}},
	} {
		var d demand
		for i, p := range test.parts {
			for range p.n {
				d.note(p.tick)
			}
			if d.one != p.one {
				t.Errorf("%s, part %d: %+v", test.name, i, d)
			}
		}
	}
	var d demand
	for range 20 { // each time late as soon as one is wanted
		for !d.one {
			d.note(forks)
		}
		d.note(late)
	}
	if d.hold != maxHold {
		t.Errorf("%+v", d)
	}
}

// idler is a runner whose guest computes.
type idler struct{ guest Guest }

func (*idler) Kick()            {}
func (r *idler) Inside() *Guest { return &r.guest }

// TestOnDemand has two runners enter in turns, and then one stay: one processor is wanted, and then several.
func TestOnDemand(t *testing.T) {
	s, err := New(4)
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan bool, 100)
	s.OnDemand(func(several bool) { told <- several })
	wait := func(want bool) {
		t.Helper()
		for end := time.After(time.Minute); ; {
			select {
			case got := <-told:
				if got == want {
					return
				}
			case <-end:
				t.Fatalf("not told: several %v", want)
			}
		}
	}
	turns := [2]chan bool{make(chan bool, 1), make(chan bool, 1)}
	var stop atomic.Bool
	var group sync.WaitGroup
	for i := range turns {
		group.Go(func() {
			r := &idler{}
			for goesOn := range turns[i] {
				s.Enter(r).Exit(nil)
				s.Leave()
				turns[1-i] <- !stop.Load()
				if !goesOn {
					return
				}
			}
		})
	}
	turns[0] <- true
	wait(false)
	stop.Store(true)
	group.Wait()
	tr := s.Enter(&idler{})
	wait(true)
	tr.Exit(nil)
	s.Leave()
	soon(t, "rest", func() bool { return !s.Busy() })
}
