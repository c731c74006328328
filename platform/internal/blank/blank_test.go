package blank

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"gosentry/platform"
	"gosentry/platform/internal/changes"

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

// TestRefusedTwice has more to map than a process may have, and something that cannot be mapped at all: nothing is, as the queue says.
func TestRefusedTwice(t *testing.T) {
	f := newFactory(t)
	p, err := f.New()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	var q changes.Queue
	add := func(page, file int) {
		q.Add(platform.Change{Op: platform.Map, Prot: platform.Read, File: int32(file), Addr: uint64(page+1) << 20, Length: pageSize})
	}
	forgotten := 0
	carryOut := func() error {
		return p.CarryOut(&q, func() {
			forgotten++
			q.Wipe()
		})
	}
	most, err := maxMapCount()
	if err != nil || most > 1<<17 {
		t.Skipf("a process may have %d mappings (%v)", most, err)
	}
	for i := range most {
		add(i, f.fd)
	}
	add(most, 9999)
	if err := carryOut(); err != unix.EBADF || forgotten != 1 {
		t.Errorf("%v, forgotten %d times", err, forgotten)
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", p.PID()))
	if n := bytes.Count(maps, []byte("memfd:sentry-orders")); err != nil || n != 1 || q.Mapped() != 0 {
		t.Errorf("%d ranges are mapped, the queue knows of %d bytes (%v)", n-1, q.Mapped(), err)
	}
}

// maxMapCount is how many mappings the host lets a process have.
func maxMapCount() (int, error) {
	b, err := os.ReadFile("/proc/sys/vm/max_map_count")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
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
