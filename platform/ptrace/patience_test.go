package ptrace

import (
	"testing"
	"time"

	"gosentry/platform"
)

// TestProcessesTaken has two address spaces with one process between them: who finds it taken waits, and can be interrupted.
func TestProcessesTaken(t *testing.T) {
	p, err := newPlatform(1, 4)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Release()
	busy, other := newGuest(t, p, loopCode...), newGuest(t, p, callCode...)
	ended := make(chan error, 1)
	go func() {
		_, err := busy.Run(busy.as, busy.regs)
		busy.Leave()
		ended <- err
	}()
	for busy.running.Load() == nil {
		time.Sleep(time.Millisecond)
	}
	time.AfterFunc(50*time.Millisecond, other.Interrupt)
	if ev, err := other.Run(other.as, other.regs); err != nil || ev.Kind != platform.Interrupted {
		t.Fatalf("while the process is taken: %+v %v", ev, err)
	}
	time.AfterFunc(50*time.Millisecond, busy.Interrupt)
	if ev, err := other.Run(other.as, other.regs); err != nil || ev.Kind != platform.Syscall {
		t.Errorf("when it is free again: %+v %v", ev, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
