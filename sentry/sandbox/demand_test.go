package sandbox

import (
	"runtime"
	"testing"

	"gosentry/platform"
)

// demander is a platform that says when several processors are wanted.
type demander struct {
	platform.Platform
	wanted func(several bool)
}

func (d *demander) OnDemand(f func(several bool)) { d.wanted = f }

// TestFollowDemand has the sentry run on one processor when a platform asks for that, and on as many as before otherwise.
func TestFollowDemand(t *testing.T) {
	const all = 3
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(all))
	var d demander
	want := func(n int) {
		t.Helper()
		if got := runtime.GOMAXPROCS(0); got != n {
			t.Errorf("%d processors, want %d", got, n)
		}
	}
	followDemand(d.Platform) // one that asks for nothing
	want(all)
	followDemand(&d)
	want(all)
	d.wanted(false)
	want(1)
	d.wanted(true)
	want(all)
}
