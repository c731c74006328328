package blank

import (
	"testing"

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
