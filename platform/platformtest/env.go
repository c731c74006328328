package platformtest

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"gosentry/platform"
	"gosentry/platform/arch"

	"golang.org/x/sys/unix"
)

const page = 4096

// Where the suite maps things in a guest.
const (
	codeAt  = 0x400000
	dataAt  = 0x10000000
	stackAt = 0x20000000
	rwx     = platform.Read | platform.Write | platform.Exec
	rw      = platform.Read | platform.Write
	rx      = platform.Read | platform.Exec
)

// Pages of the memory file.
const (
	codePages = 16 // of 16 pages
	dataPage  = 16
	filePages = 4096
)

// env is a platform and a memory file.
type env struct {
	tb  testing.TB
	p   platform.Platform
	fd  int
	id  uint32 // of the file: another test may have had the descriptor, and the platform
	mem []byte // the file
}

func newEnv(tb testing.TB, p platform.Platform) *env {
	e := &env{tb: tb, p: p, id: rand.Uint32()}
	tb.Cleanup(p.Release)
	var err error
	if e.fd, err = unix.MemfdCreate("platformtest", unix.MFD_CLOEXEC); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { unix.Close(e.fd) })
	if err = unix.Ftruncate(e.fd, filePages*page); err != nil {
		tb.Fatal(err)
	}
	if e.mem, err = unix.Mmap(e.fd, 0, filePages*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { unix.Munmap(e.mem) })
	return e
}

// space returns an address space with code at codeAt, and readable and writable
// pages at dataAt and, up to it, stackAt. All spaces share the pages.
func (e *env) space(code ...byte) platform.AddressSpace {
	e.tb.Helper()
	copy(e.mem[:codePages*page], append(code, 0xcc, 0xcc, 0xcc, 0xcc))
	as := e.empty()
	e.apply(as,
		e.file(codeAt, codePages*page, 0, rx),
		e.file(dataAt, 16*page, dataPage*page, rw),
		e.file(stackAt-16*page, 16*page, (dataPage+16)*page, rw))
	return as
}

func (e *env) empty() platform.AddressSpace {
	e.tb.Helper()
	as, err := e.p.NewAddressSpace(nil)
	if err != nil {
		e.tb.Fatal(err)
	}
	return as
}

// file is a Map of the memory file.
func (e *env) file(addr, length, offset uint64, prot platform.Prot) platform.Change {
	return platform.Change{Op: platform.Map, File: int32(e.fd), FileID: e.id, Addr: addr, Length: length, Offset: offset, Prot: prot}
}

func (e *env) apply(as platform.AddressSpace, c ...platform.Change) {
	e.tb.Helper()
	if err := as.Apply(c); err != nil {
		e.tb.Fatalf("Apply: %v", err)
	}
}

// start returns the registers of a program at codeAt.
func start() *arch.Registers {
	return &arch.Registers{Rip: codeAt, Rsp: stackAt - 256, Cs: arch.UserCS, Ss: arch.UserDS, Eflags: 0x202}
}

// run calls Run, which must not fail.
func (e *env) run(c platform.Context, as platform.AddressSpace, regs *arch.Registers) platform.Event {
	e.tb.Helper()
	ev, err := c.Run(as, regs)
	if err != nil {
		e.tb.Fatalf("Run: %v (rip %#x)", err, regs.Rip)
	}
	return ev
}

// want runs the guest and checks for an event of this kind.
func (e *env) want(c platform.Context, as platform.AddressSpace, regs *arch.Registers, kind platform.EventKind) platform.Event {
	e.tb.Helper()
	ev := e.run(c, as, regs)
	if ev.Kind != kind {
		e.tb.Fatalf("event %+v at rip %#x, want kind %d", ev, regs.Rip, kind)
	}
	return ev
}

// context returns a context that is released at the end of the test. A goroutine other than the
// test's that runs it must call Leave before it ends.
func (e *env) context(fpu []byte) platform.Context {
	c := e.p.NewContext(fpu)
	e.tb.Cleanup(c.Release)
	return c
}

// with returns e for a subtest.
func (e *env) with(tb testing.TB) *env {
	sub := *e
	sub.tb = tb
	return &sub
}

// poke stores v at an offset of the memory file.
func (e *env) poke(offset int, v uint64) {
	binary.LittleEndian.PutUint64(e.mem[offset:], v)
}

// peek loads from an offset of the memory file.
func (e *env) peek(offset int) uint64 { return binary.LittleEndian.Uint64(e.mem[offset:]) }

// waitFor waits until f holds.
func waitFor(tb testing.TB, what string, f func() bool) {
	tb.Helper()
	deadline := time.Now().Add(time.Minute)
	for !f() {
		if time.Now().After(deadline) {
			tb.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(10 * time.Microsecond)
	}
}
