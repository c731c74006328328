package blank

import (
	"errors"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newFactory(t testing.TB) *Factory {
	f, err := NewFactory(Config{Limit: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Release)
	return f
}

func TestOrders(t *testing.T) {
	f := newFactory(t)
	p, err := f.New()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	calls := []Call{
		MapCall(0x400000, 4096, unix.PROT_READ, int32(f.fd), 0),
		ProtectCall(0x500000, 4096, unix.PROT_READ),
		UnmapCall(0x400001, 4096),
		UnmapCall(0x400000, 4096),
	}
	if err := p.Do(calls); err != nil {
		t.Fatal(err)
	}
	for i, want := range []unix.Errno{0, unix.ENOMEM, unix.EINVAL, 0} {
		if calls[i].Errno != want {
			t.Errorf("call %d: %v, want %v", i, calls[i].Errno, want)
		}
	}
	tid, err := p.SpawnThread()
	if err != nil || tid <= 0 || tid == p.PID() {
		t.Fatalf("SpawnThread: %d, %v", tid, err)
	}
}

// TestOrphan makes a process that finds another parent than it should have, as when the caller
// has died meanwhile: it ends.
func TestOrphan(t *testing.T) {
	f := newFactory(t)
	f.parent++
	p, err := f.New()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Do([]Call{UnmapCall(0x400000, 4096)}); err != ErrDead {
		t.Errorf("%v, want %v", err, ErrDead)
	}
	p.Kill()
}

// TestStoppedIsThere has a thread in a stop that its tracer has not waited for yet, as where the tracer has to wait for a processor: it
// has not ended.
func TestStoppedIsThere(t *testing.T) {
	p, err := newFactory(t).New()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	tid, err := p.SpawnThread()
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := errors.Join(unix.PtraceSeize(tid), unix.PtraceInterrupt(tid)); err != nil {
		t.Fatal(err)
	}
	if errno := awaitStop(tid); errno != 0 {
		t.Fatal(errno)
	}
	if ended, errno := Exited(tid); ended || errno != 0 {
		t.Errorf("a stopped thread has ended: %v, %v", ended, errno)
	}
	p.mu.Lock()
	if p.gone() {
		t.Error("its process counts as gone")
	}
	p.mu.Unlock()
	unix.Kill(p.PID(), unix.SIGKILL)
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if ended, _ := Exited(tid); ended {
			break
		} else if time.Now().After(end) {
			t.Error("a killed thread has not ended")
			break
		}
	}
	Reap(tid)
}

func BenchmarkBlank(b *testing.B) {
	f := newFactory(b)
	b.Run("new+kill", func(b *testing.B) {
		for b.Loop() {
			p, err := f.New()
			if err != nil {
				b.Fatal(err)
			}
			p.Kill()
		}
	})
	p, _ := f.New()
	b.Run("order", func(b *testing.B) {
		calls := []Call{UnmapCall(0x400000, 4096)}
		for b.Loop() {
			p.Do(calls)
		}
	})
	b.Run("thread", func(b *testing.B) {
		for b.Loop() {
			p.SpawnThread()
		}
	})
	p.Kill()
}
