package signal

import (
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// ledger is a user's count with a limit.
type ledger struct{ used, limit int }

func (l *ledger) Charge(force bool) bool {
	if l.used >= l.limit && !force {
		return false
	}
	l.used++
	return true
}

func (l *ledger) Uncharge() { l.used-- }

func userInfo(sig Signal, pid int32, uid uint32) Info {
	return Info{Signo: sig, Code: CodeUser, PID: pid, UID: uid}
}

func mustEnqueue(t *testing.T, q *Queue, i Info, want bool) {
	t.Helper()
	got, err := q.Enqueue(i, nil)
	if err != nil || got != want {
		t.Fatalf("enqueue of %d: %v, %v, want %v", i.Signo, got, err, want)
	}
}

func TestStandardSignalQueuedOnce(t *testing.T) {
	var q Queue
	mustEnqueue(t, &q, userInfo(unix.SIGUSR1, 7, 0), true)
	mustEnqueue(t, &q, userInfo(unix.SIGUSR1, 8, 0), false)
	i, ok := q.Dequeue(0)
	if !ok || i.PID != 7 {
		t.Errorf("got %+v, want the first", i)
	}
	if _, ok := q.Dequeue(0); ok || q.Pending() != 0 {
		t.Error("the second was queued")
	}
}

func TestRealTimeSignalsInOrder(t *testing.T) {
	var q Queue
	sent := []struct {
		sig   Signal
		value uint64
	}{{40, 1}, {35, 2}, {40, 3}, {35, 4}, {64, 5}, {35, 6}}
	for _, s := range sent {
		mustEnqueue(t, &q, Info{Signo: s.sig, Code: CodeQueue, Value: s.value}, true)
	}
	mustEnqueue(t, &q, userInfo(unix.SIGTERM, 1, 0), true)
	if got := q.Snapshot(1, 3); len(got) != 3 || got[0].Value != 2 || got[2].Value != 4 {
		t.Errorf("snapshot %+v", got)
	}
	want := []uint64{0, 2, 4, 6, 1, 3, 5}
	for n, w := range want {
		i, ok := q.Dequeue(0)
		if !ok || i.Value != w {
			t.Errorf("number %d: %+v, %v, want value %d", n, i, ok, w)
		}
	}
	if q.Len() != 0 || q.Pending() != 0 {
		t.Error("something is left")
	}
}

func TestSynchronousFirst(t *testing.T) {
	var q Queue
	mustEnqueue(t, &q, userInfo(unix.SIGHUP, 1, 0), true)
	mustEnqueue(t, &q, userInfo(unix.SIGILL, 1, 0), true)
	mustEnqueue(t, &q, Info{Signo: unix.SIGSEGV, Code: SegvMapErr, Addr: 0x10}, true)
	mustEnqueue(t, &q, Info{Signo: unix.SIGBUS, Code: BusAdrErr, Addr: 0x20}, true)
	// Own faults by arrival, then the synchronous signal of another process, then the rest.
	for _, want := range []Signal{unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGHUP} {
		if got := q.Next(0); got != want {
			t.Errorf("next is %v, want %v", got, want)
		}
		if i, _ := q.Dequeue(0); i.Signo != want {
			t.Errorf("got %v, want %v", i.Signo, want)
		}
	}
}

func TestBlockedStayPending(t *testing.T) {
	var q Queue
	mustEnqueue(t, &q, userInfo(unix.SIGINT, 1, 0), true)
	mustEnqueue(t, &q, userInfo(unix.SIGTERM, 1, 0), true)
	if i, ok := q.Dequeue(SetOf(unix.SIGINT)); !ok || i.Signo != unix.SIGTERM {
		t.Errorf("got %+v", i)
	}
	if _, ok := q.Dequeue(SetOf(unix.SIGINT)); ok {
		t.Error("a blocked signal was taken")
	}
	if q.Pending() != SetOf(unix.SIGINT) {
		t.Errorf("pending %#x", q.Pending())
	}
}

func TestLimit(t *testing.T) {
	var q Queue
	l := &ledger{limit: 2}
	rt := Info{Signo: 40, Code: CodeQueue}
	for range 2 {
		if _, err := q.Enqueue(rt, l); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := q.Enqueue(rt, l); err != unix.EAGAIN {
		t.Errorf("real-time signal over the limit: %v, want EAGAIN", err)
	}
	if _, err := q.Enqueue(userInfo(41, 9, 0), l); err != nil || !q.Pending().Has(41) {
		t.Errorf("kill over the limit: %v", err)
	}
	if _, err := q.Enqueue(Info{Signo: unix.SIGUSR1, Code: CodeQueue, PID: 9}, l); err != nil {
		t.Errorf("standard signal by sigqueue over the limit: %v", err)
	}
	if _, err := q.Enqueue(KernelInfo(unix.SIGALRM), l); err != nil || l.used != 3 {
		t.Errorf("a standard signal of the kernel over the limit: %v, %d used", err, l.used)
	}
	if i, _ := q.Dequeue(^SetOf(unix.SIGUSR1)); i != (Info{Signo: unix.SIGUSR1}) {
		t.Errorf("a signal without entry came as %+v", i)
	}
	if gone := q.Discard(SetOf(40, unix.SIGALRM, unix.SIGQUIT)); gone != SetOf(40, unix.SIGALRM) || l.used != 0 {
		t.Errorf("discarded %#x, %d still charged", gone, l.used)
	}
	if q.Pending() != SetOf(41) {
		t.Errorf("pending %#x", q.Pending())
	}
}

// timer is a Source that notes what happens.
type timer struct{ collected, dropped int }

func (s *timer) Collected(i *Info) { s.collected++; i.Overrun = 12 }
func (s *timer) Dropped()          { s.dropped++ }

func TestSource(t *testing.T) {
	var q Queue
	a, b := new(timer), new(timer)
	i := Info{Signo: 34, Code: CodeTimer}
	if !q.EnqueueFrom(i, a) || q.EnqueueFrom(i, a) || !q.EnqueueFrom(i, b) {
		t.Error("a source's signal is pending once, and each source's by itself")
	}
	mustEnqueue(t, &q, Info{Signo: 34, Code: CodeQueue, Value: 5}, true)
	if got, _ := q.Dequeue(0); got.Overrun != 12 || a.collected != 1 {
		t.Errorf("got %+v", got)
	}
	q.RemoveSource(b)
	if got, _ := q.Dequeue(0); got.Value != 5 || b.collected+b.dropped != 0 {
		t.Errorf("got %+v, want the signal that is no timer's", got)
	}
	q.EnqueueFrom(i, a)
	q.Discard(All)
	if a.dropped != 1 || q.Pending() != 0 {
		t.Error("a discarded source was not told")
	}
	q.EnqueueFrom(i, a)
	q.RemoveSource(a)
	if q.Pending() != 0 {
		t.Error("a removed source's signal is pending")
	}
}

func TestInvalidSignal(t *testing.T) {
	var q Queue
	for _, sig := range []Signal{0, -1, 65, 1 << 30} {
		if _, err := q.Enqueue(Info{Signo: sig}, nil); err != unix.EINVAL {
			t.Errorf("signal %d: %v", sig, err)
		}
		if q.EnqueueFrom(Info{Signo: sig}, new(timer)) || SetOf(sig) != 0 {
			t.Errorf("signal %d is taken", sig)
		}
	}
}

// TestQueueAgainstModel compares with a plain list, searched as signal(7) says.
func TestQueueAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q Queue
		var model []Info
		l := &ledger{limit: 1 << 20}
		number := uint64(0)
		sigs := rapid.SampledFrom([]Signal{1, 9, 10, 15, 20, 32, 33, 50, 64})
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			sig := sigs.Draw(t, "signal")
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				number++
				i := Info{Signo: sig, Code: CodeQueue, Value: number}
				q.Enqueue(i, l)
				if IsRealTime(sig) || !has(model, sig) {
					model = append(model, i)
				}
			case 2:
				blocked := SetOf(sig)
				got, ok := q.Dequeue(blocked)
				n := first(model, blocked)
				if ok != (n >= 0) || ok && got.Signo != model[n].Signo {
					t.Fatalf("dequeued %+v %v from %+v", got, ok, model)
				}
				if ok {
					if got.Signo != unix.SIGKILL && got != model[n] {
						t.Fatalf("dequeued %+v, want %+v", got, model[n])
					}
					model = append(model[:n:n], model[n+1:]...)
				}
			case 3:
				q.Discard(SetOf(sig))
				var kept []Info
				for _, i := range model {
					if i.Signo != sig {
						kept = append(kept, i)
					}
				}
				model = kept
			}
			var pending Set
			charged := 0
			for _, i := range model {
				pending = pending.Add(i.Signo)
				if i.Signo != unix.SIGKILL {
					charged++
				}
			}
			if q.Pending() != pending || l.used != charged || q.Len() != charged {
				t.Fatalf("pending %#x, want %#x; %d charged, want %d", q.Pending(), pending, l.used, charged)
			}
		}
	})
}

func has(list []Info, sig Signal) bool {
	for _, i := range list {
		if i.Signo == sig {
			return true
		}
	}
	return false
}

func first(list []Info, blocked Set) int {
	best := -1
	for n, i := range list {
		if !blocked.Has(i.Signo) && (best < 0 || i.Signo < list[best].Signo) {
			best = n
		}
	}
	return best
}
