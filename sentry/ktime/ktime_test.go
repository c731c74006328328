package ktime

import (
	"math"
	"math/bits"
	"sync"
	"testing"
	"time"
)

// fakeHost is a host whose clocks and counter the test moves. The counter runs at
// rate cycles a ns.
type fakeHost struct {
	mu   sync.Mutex
	now  int64 // monotonic ns
	tsc  uint64
	rate float64
	step int64 // realtime - monotonic
}

func newFakeHost() *fakeHost {
	return &fakeHost{now: 5e9, tsc: 1 << 40, rate: 2.5, step: 1e18}
}

func (f *fakeHost) advance(ns int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now += ns
	f.tsc += uint64(float64(ns) * f.rate)
}

func (f *fakeHost) cycles() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tsc
}

func (f *fakeHost) rough() uint64 { return f.cycles() }

func (f *fakeHost) monotonic() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fakeHost) realtime() int64 { return f.monotonic() + f.step }
func (f *fakeHost) boottime() int64 { return f.monotonic() + 7e9 }

// warm gets the clocks to computing from the counter.
func warm(t *testing.T, f *fakeHost, k *Clocks) {
	t.Helper()
	f.advance(firstSpan + 1)
	k.Monotonic().Now()
	if k.Params().Mode != ModeTSC {
		t.Fatal("no parameters after two measurements")
	}
}

func within(t *testing.T, what string, got, want, tolerance int64) {
	t.Helper()
	if d := got - want; d > tolerance || d < -tolerance {
		t.Errorf("%s = %d, want %d within %d (off by %d)", what, got, want, tolerance, d)
	}
}

func TestClocksFollowHost(t *testing.T) {
	f := newFakeHost()
	k := newClocks(Config{BoottimeOffset: 11}, f, true)
	if k.Params().Mode != ModeCall {
		t.Error("the counter is used before its rate is known")
	}
	within(t, "monotonic before calibration", k.Monotonic().Now(), f.now, 0)
	warm(t, f, k)
	for range 200 {
		f.advance(37e6)
		within(t, "monotonic", k.Monotonic().Now(), f.now, 50)
		within(t, "realtime", k.Realtime().Now(), f.now+1e18, 50)
		within(t, "boottime", k.Boottime().Now(), f.now+7e9+11, 50)
	}
	if k.span != maxSpan {
		t.Errorf("span grew to %d, want %d", k.span, int64(maxSpan))
	}
}

func TestUnusableCounterAlwaysCalls(t *testing.T) {
	f := newFakeHost()
	k := newClocks(Config{}, f, false)
	for range 10 {
		f.advance(50e6)
		within(t, "monotonic", k.Monotonic().Now(), f.now, 0)
		if k.Params().Mode != ModeCall {
			t.Fatal("parameters for a counter that is not usable")
		}
	}
	f.step += 5e9
	within(t, "realtime after a step", k.Realtime().Now(), f.now+f.step, 0)
}

func TestDriftIsSlewedNotStepped(t *testing.T) {
	f := newFakeHost()
	k := newClocks(Config{}, f, true)
	warm(t, f, k)
	// The counter slows down by 100 millionths, then speeds up by as much.
	for _, rate := range []float64{2.5 * 0.9999, 2.5 * 1.0001} {
		f.rate = rate
		prev := k.Monotonic().Now()
		for range 3000 {
			f.advance(1e6)
			now := k.Monotonic().Now()
			if now < prev {
				t.Fatalf("monotonic stepped back by %d", prev-now)
			}
			if d := now - prev; d < 998e3 || d > 1002e3 {
				t.Fatalf("1 ms of the host took %d ns", d)
			}
			prev = now
		}
		within(t, "monotonic after the drift", prev, f.now, 2000)
	}
}

func TestRealtimeStepIsSeen(t *testing.T) {
	f := newFakeHost()
	k := newClocks(Config{}, f, true)
	warm(t, f, k)
	for _, step := range []int64{3600e9, -7200e9} {
		mono := k.Monotonic().Now()
		f.step += step
		f.advance(maxSpan + 1e6)
		within(t, "realtime after the host was set", k.Realtime().Now(), f.realtime(), 100)
		within(t, "monotonic meanwhile", k.Monotonic().Now()-mono, maxSpan+1e6, 100)
	}
}

func TestCounterJump(t *testing.T) {
	for _, leap := range []int64{-1 << 39, 1 << 45} {
		f := newFakeHost()
		k := newClocks(Config{}, f, true)
		warm(t, f, k)
		f.advance(5e6)
		prev := k.Monotonic().Now()
		f.tsc += uint64(leap)
		for range 400 {
			f.advance(10e6)
			now := k.Monotonic().Now()
			if now < prev {
				t.Fatalf("leap %d: stepped back by %d", leap, prev-now)
			}
			prev = now
		}
		within(t, "monotonic some time after", prev, f.now, 100)
		if k.Params().Mode != ModeTSC {
			t.Error("the counter is not used again after the jump")
		}
	}
}

func TestHostAheadJumpsForward(t *testing.T) {
	f := newFakeHost()
	k := newClocks(Config{}, f, true)
	warm(t, f, k)
	for k.span < maxSpan {
		f.advance(maxSpan)
		k.Monotonic().Now()
	}
	f.now += 1500e3 // within the drift believed, more than is slewed
	f.advance(maxSpan + 1e6)
	within(t, "monotonic", k.Monotonic().Now(), f.now, 200)
}

func TestParamsPageIsWhatReadersCompute(t *testing.T) {
	f := newFakeHost()
	k := newClocks(Config{}, f, true)
	words := make([]uint64, 512)
	b := bytesOf(words)
	if err := k.Attach(b[1:]); err == nil {
		t.Error("a misaligned page was taken")
	}
	if err := k.Attach(b[:8]); err == nil {
		t.Error("a short page was taken")
	}
	if err := k.Attach(b); err != nil {
		t.Fatal(err)
	}
	warm(t, f, k)
	for range 50 {
		f.advance(17e6 + 3)
		want := k.Monotonic().Now()
		// By the documented offsets, as the vDSO does it.
		if uint32(words[0])&1 != 0 || uint32(words[0]>>32) != ModeTSC {
			t.Fatalf("sequence and mode %#x", words[0])
		}
		delta := f.tsc - words[1]
		if delta > words[2] {
			t.Fatal("parameters that a reader has just used are expired")
		}
		at := func(clock []uint64) int64 { return int64(clock[0]*second + clock[1] + delta*words[3]>>32) }
		if got := at(words[4:]); got != want {
			t.Fatalf("the page says %d, the sentry %d", got, want)
		}
		if got := at(words[6:]); got != k.Realtime().Now() {
			t.Fatal("realtime differs")
		}
		if got := at(words[8:]); got != k.Boottime().Now() {
			t.Fatal("boottime differs")
		}
	}
}

func TestConcurrentReadersNeverSeeTimeStepBack(t *testing.T) {
	k := New(Config{})
	words := make([]uint64, PageSize/8)
	if err := k.Attach(bytesOf(words)); err != nil {
		t.Fatal(err)
	}
	var last struct {
		sync.Mutex
		v int64
	}
	var wg sync.WaitGroup
	stop := time.Now().Add(150 * time.Millisecond)
	for range 4 {
		wg.Go(func() {
			for time.Now().Before(stop) {
				last.Lock()
				now := k.Monotonic().Now()
				if now < last.v {
					t.Errorf("stepped back by %d", last.v-now)
				}
				last.v = now
				last.Unlock()
				k.Realtime().Now()
			}
		})
	}
	wg.Wait()
}

func TestAgainstRealHost(t *testing.T) {
	k := New(Config{MonotonicOffset: 1e9})
	for end := time.Now().Add(time.Minute); usableTSC() && k.Params().Mode != ModeTSC && time.Now().Before(end); time.Sleep(2 * firstSpan) {
		k.Monotonic().Now()
	}
	if usableTSC() && k.Params().Mode != ModeTSC {
		t.Fatal("the counter is usable but not used")
	}
	worst := int64(0)
	for range 20 {
		time.Sleep(5 * time.Millisecond)
		// The smallest of a few, since this thread can lose the processor between the two readings.
		best := int64(1 << 62)
		for range 5 {
			before := host{}.monotonic()
			got := k.Monotonic().Now() - 1e9
			after := host{}.monotonic()
			best = min(best, max(before-got, got-after, 0))
		}
		worst = max(worst, best)
	}
	t.Logf("mode %d, outside the host's interval by at most %d ns", k.Params().Mode, worst)
	if worst > 5e3 {
		t.Errorf("the clock is %d ns off the host's", worst)
	}
}

func BenchmarkMonotonic(b *testing.B) {
	k := New(Config{})
	k.Monotonic().Now()
	time.Sleep(2 * firstSpan)
	c := k.Monotonic()
	for b.Loop() {
		c.Now()
	}
}

// TestProductsFit holds the parameters to what the vDSO computes with: 64 bits.
func TestProductsFit(t *testing.T) {
	for perSecond := 1e6; perSecond <= 1e11; perSecond *= 1.1 {
		rate := ratio(1e9, uint64(perSecond))
		span := cyclesFor(maxSpan, rate)
		if hi, _ := bits.Mul64(span, slew(rate, maxSpan, maxSpan)); hi != 0 {
			t.Errorf("%g cycles a second: %d cycles", perSecond, span)
		}
	}
}

// TestPageTimes takes times apart and puts them together again.
func TestPageTimes(t *testing.T) {
	for _, ns := range []int64{0, 1, second - 1, second, 3*second + 7, -1, -second, -second - 1, math.MaxInt64, math.MinInt64 / 2} {
		var v Time
		v.set(ns)
		if rest := v.Nanoseconds.Load(); v.get() != ns || rest < 0 || rest >= second {
			t.Errorf("%d ns are %d s and %d", ns, v.Seconds.Load(), rest)
		}
	}
}
