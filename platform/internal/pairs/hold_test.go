package pairs

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestHold is certain of nothing when the caller has slept, and mostly is when it has not.
func TestHold(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s, err := New(1)
	if err != nil {
		t.Fatal(err)
	}
	certain := 0
	for range 100 {
		cpu, held := s.Hold(nil, func() {})
		if held {
			certain++
		}
		if held && (cpu < 0 || cpu >= len(s.cpus.masks)) {
			t.Fatalf("held on processor %d", cpu)
		}
	}
	if certain == 0 {
		t.Error("it is never certain")
	}
	for range 20 {
		sleep := func() {
			d := unix.NsecToTimespec(int64(100 * time.Microsecond))
			unix.Nanosleep(&d, nil)
		}
		if _, held := s.Hold(nil, sleep); held {
			t.Fatal("it is certain after a sleep")
		}
	}
	if _, held := s.Hold([]int{1 << 29}, func() { t.Error("called for a thread that does not exist") }); held {
		t.Error("it is certain of a thread that does not exist")
	}
}
