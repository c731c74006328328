package systrap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"gosentry/platform"

	"golang.org/x/sys/unix"
)

// TestDiedUnmapped has an address space die while a thread of it runs on, and another process cut a file that is mapped there. When the
// call has returned the memory may be anybody's.
func TestDiedUnmapped(t *testing.T) {
	unmap := platform.Change{Op: platform.Unmap}
	t.Run("forged", func(t *testing.T) {
		g := newCounter(t, testPlatform(t), true)
		g.as.GiveUp(unix.EIO)
		g.change(t, unmap)
		if g.counts(20 * time.Millisecond) {
			t.Error("a thread of it still writes to the memory")
		}
	})
	t.Run("inside", func(t *testing.T) {
		g := newGuest(t, testPlatform(t), countCode...)
		g.regs.Rdi = guestAt + pageSize
		done := g.start(t)
		if !g.counts(time.Second) {
			t.Fatal("it does not run")
		}
		g.as.GiveUp(unix.EIO)
		g.change(t, unmap)
		if g.counts(20 * time.Millisecond) {
			t.Error("a thread of it still writes to the memory")
		}
		ended(t, done)
	})
}

// TestLeaderDies has the process that is to unmap something die while a thread of the guest's, which is a process of its own, runs on.
func TestLeaderDies(t *testing.T) {
	g := newCounter(t, testPlatform(t), true)
	unix.Kill(g.as.Process().PID(), unix.SIGKILL)
	g.change(t, platform.Change{Op: platform.Unmap})
	if g.counts(20 * time.Millisecond) {
		t.Error("a thread of it still writes to the memory")
	}
	var died *platform.Died
	if _, err := g.Run(g.as, g.regs); !errors.As(err, &died) {
		t.Errorf("%v, want its death", err)
	}
}

// ended waits until what start began has ended, and died.
func ended(t *testing.T, done chan error) {
	t.Helper()
	select {
	case err := <-done:
		if err == nil {
			t.Error("it lives")
		}
	case <-time.After(20 * time.Second):
		t.Error("it runs on")
	}
}

// start runs g and tells how that ended.
func (g *guest) start(t *testing.T) chan error {
	done, out := make(chan error, 1), make(chan struct{})
	go func() {
		_, err := g.Run(g.as, g.regs)
		done <- err
		close(out)
	}()
	t.Cleanup(func() {
		g.Interrupt()
		<-out
	})
	return done
}

// TestStubborn has a thread go round in the handler's own code, where kicks find nothing to do, while another process has the
// address space give its process up. That does not wait for ever.
func TestStubborn(t *testing.T) {
	p := testPlatform(t)
	g := newGuest(t, p, callCode...)
	g.call(t)
	g.addMuch(t)
	g.call(t)
	image, _, _, err := image()
	if err != nil {
		t.Fatal(err)
	}
	// Where the handler goes on with what it was interrupted in, which is this very place: mov %rdx,%rbx; mov 224(%rbx),%rdi.
	back := bytes.Index(image, []byte{0x48, 0x89, 0xd3, 0x48, 0x8b, 0xbb, 0xe0, 0, 0, 0})
	if back < 0 {
		t.Fatal("the handler has no such place any more")
	}
	frame := g.mem[pageSize:]
	at := uint64(guestAt + pageSize)
	for offset, v := range map[int]uint64{
		136: at, 160: at, 168: codeAt + uint64(back), 176: 0x202, // rdx, rsp, rip, flags
		224: g.s.base() + fpuOffset,
	} {
		binary.LittleEndian.PutUint64(frame[offset:], v)
	}
	binary.LittleEndian.PutUint16(frame[184:], uint16(startRegs().Cs))
	binary.LittleEndian.PutUint16(frame[190:], uint16(startRegs().Ss))
	g.s.loadFPU(g.FPU())
	g.regs = startRegs()
	g.regs.Rip, g.regs.Rdx = codeAt+uint64(back), at
	s, done := g.s, g.start(t)
	if !computes(s) || !computes(s) {
		t.Fatal("it does not go round")
	}
	s.Kick()
	if !computes(s) {
		t.Fatal("a kick brings it out")
	}
	gone := make(chan bool)
	go func() {
		g.forgetAll(t)
		close(gone)
	}()
	select {
	case <-gone:
	case <-time.After(20 * time.Second):
		t.Fatal("the process is not given up")
	}
	ended(t, done)
}

// TestHiddenTurn has a thread say that it waits just when it is interrupted, and compute on: it comes out all the same.
func TestHiddenTurn(t *testing.T) {
	g := newGuest(t, testPlatform(t), callCode...)
	g.call(t)
	copy(g.mem[64:], loopCode)
	g.regs.Rip = guestAt + 64
	s, done := g.s, g.start(t)
	if !computes(s) || !computes(s) {
		t.Fatal("it does not compute")
	}
	atomic.StoreUint32(&s.state, stateSentry)
	g.Interrupt()
	atomic.StoreUint32(&s.state, stateGuest)
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it is not interrupted")
		s.Kick()
	}
}
