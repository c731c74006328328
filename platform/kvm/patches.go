package kvm

import (
	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/platform/internal/patch"
)

// edits are the changes that package patch wants made to an address space.
type edits struct {
	as   *addressSpace
	list []platform.Change
}

// Add implements patch.Queue.
func (e *edits) Add(c platform.Change) { e.list = append(e.list, c) }

// Overlaps implements patch.Queue.
func (e *edits) Overlaps(start, end uint64) bool {
	if e.as.tables == nil {
		return false
	}
	for addr := start; addr < end; addr += pageSize {
		if e.as.tables.Walk(addr).Mapped {
			return true
		}
	}
	return false
}

// edit makes the changes due. What there is no room for faults later. mu is held.
func (as *addressSpace) edit() {
	for len(as.edits.list) > 0 && as.tables != nil {
		c := as.edits.list[0]
		as.edits.list = as.edits.list[1:]
		_ = as.change(&c)
	}
	as.edits.list = nil
}

// changeText is change for what the kernel asks for, with what that does to patched text. mu is held.
func (as *addressSpace) changeText(c *platform.Change) error {
	as.text.Before(*c)
	as.edit()
	err := as.change(c)
	as.text.After(*c)
	as.edit()
	return err
}

// loseText says that nothing is mapped any more. mu is held.
func (as *addressSpace) loseText() {
	as.text.Lose()
	as.edits.list = nil
}

// consider patches the site of a call that is made often. It returns false for a fault that patching brought about.
func (c *context) consider(as *addressSpace, x exit, ev platform.Event, regs *arch.Registers) bool {
	if x.kind == exitSyscall && c.calls.Count(as.text, regs.Rip) {
		as.mu.Lock()
		if as.tables != nil && as.text.Patch(regs.Rip, regs.Rax) {
			as.edit()
			as.shoot()
		}
		as.mu.Unlock()
	}
	if ev.Kind != platform.Fault {
		c.retries = 0
		return true
	}
	c.rewind(as, regs)
	as.mu.Lock()
	defer as.mu.Unlock()
	if c.retries < maxRetries && as.text.Missed(ev.Addr) {
		c.retries++
		return false
	}
	return true
}

// maxRetries bounds the faults in a row that are taken for those of patched calls.
const maxRetries = 8

// stopPatching undoes all patches for good: the guest is single-stepped, which they would show.
func (as *addressSpace) stopPatching() {
	as.mu.Lock()
	defer as.mu.Unlock()
	as.text.Stop()
	as.edit()
	as.shoot()
}

// rewind makes regs, with which c's processor was stopped on the way of a patched call, those of a thread that has not made its call yet. What
// it has done so far is to write to registers that the call is going to write to.
func (c *context) rewind(as *addressSpace, regs *arch.Registers) {
	c.v.unmeet(regs)
	if regs.Rip-trampolinesAt >= patch.TrampolinesSize {
		return
	}
	as.mu.Lock()
	defer as.mu.Unlock()
	if site, ok := as.text.Site(regs.Rip); ok {
		regs.Rip = site
	}
}

// trampoline is the code that a patched call goes through.
func trampoline(t patch.Trampoline) []byte { return patch.Code(t, 0, meet) }

// SetAnswers implements platform.Answerer.
func (c *context) SetAnswers(list []platform.Answer) { c.answers.Set(list) }

// offer has c's answers where its processor finds them in as, and says whether calls may be passed over.
func (c *context) offer(as *addressSpace) {
	v := c.v
	if !as.passes() {
		c.withdraw()
		return
	}
	if !v.meeting.ring0 && v.answersIn != as {
		c.withdraw()
		as.mu.Lock()
		v.answers = patch.NewPage(as.text.Data()[v.id*pageSize:])
		v.calls = newArea(as.text.Area()[v.id*pageSize:])
		as.mu.Unlock()
		v.answersIn, v.gsBase = as, answersAt+uint64(v.id)*pageSize
	}
	c.answers.Show(&v.answers)
	if v.runner != nil {
		v.look(looks)
	}
}

// withdraw takes back what c's processor, which is about to go elsewhere, shows.
func (c *context) withdraw() {
	v := c.v
	if v.answersIn == nil && !v.meeting.ring0 || c.p.released.Load() { // which takes the memory
		return
	}
	v.look(0)
	c.answers.Unshow(&v.answers)
	if !v.meeting.ring0 {
		v.answersIn, v.gsBase, v.calls = nil, 0, nil
	}
}
