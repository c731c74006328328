package kernel

import (
	"fmt"
	"sync/atomic"

	"gosentry/fs/vfs"
	"gosentry/sentry/trace"

	"golang.org/x/sys/unix"
)

// contract is a process contract (contract(5) of illumos): processes that are told of together. A child is in
// its parent's contract, or begins a new one if the forking thread has a template for that. Who had the
// template holds the contract; if it asks for that, each fork of a child that is in the contract is an event to it.
type contract struct {
	id     uint64
	holder *ThreadGroup
	forks  bool // tell the holder
}

// template is what a thread's children get contracts by; nil for none.
type template struct{ forks bool }

// contracts is the kernel's part.
type contracts struct{ last atomic.Uint64 }

// contractFork is the fork hook of contracts: the child gets its contract, and the holder is told.
func contractFork(f *ForkEvent) {
	p, c := f.Parent, f.Child
	if f.Args.shares(ShareThread) {
		c.template = nil
		return
	}
	k := p.tg.contract.Load()
	if p.template != nil {
		k = &contract{id: p.k.contracts.last.Add(1), holder: p.tg, forks: p.template.forks}
	}
	c.tg.contract.Store(k)
	if k == nil || !k.forks || k.holder.gone() {
		return
	}
	if s := k.holder.tracing(); s != nil {
		e := p.event(trace.Note)
		describeFork(e, f.Args)
		e.ChildPID, e.ChildTID = c.tg.pid.numbers, c.pid.numbers
		e.Contract, e.Holder = k.id, k.holder.pid.numbers
		s.Stream.Record(e)
	}
}

// gone tells whether the process has ended.
func (tg *ThreadGroup) gone() bool {
	select {
	case <-tg.dead:
		return true
	default:
		return false
	}
}

// tracing is where the process's events go.
func (tg *ThreadGroup) tracing() *Tracing { return tg.Leader().tracing }

// Contract implements proc.Processes: id, holder and events of the caller's contract, and its template.
func (v *ProcView) Contract(c vfs.Caller) string {
	t := taskOf(c)
	if t == nil {
		return ""
	}
	s := "contract none\n"
	if k := t.tg.contract.Load(); k != nil {
		s = fmt.Sprintf("contract %d holder %d%s\n", k.id, k.holder.pid.In(t.pidns), eventWord(k.forks))
	}
	if t.template == nil {
		return s + "template none\n"
	}
	return s + "template new" + eventWord(t.template.forks) + "\n"
}

func eventWord(forks bool) string {
	if forks {
		return " fork"
	}
	return ""
}

// SetContract implements proc.Processes.
func (v *ProcView) SetContract(c vfs.Caller, text string) error {
	t := taskOf(c)
	if t == nil {
		return unix.ESRCH
	}
	switch text {
	case "none":
		t.template = nil
	case "new":
		t.template = &template{}
	case "new fork":
		t.template = &template{forks: true}
	default:
		return unix.EINVAL
	}
	return nil
}
