package kvm

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/platform/kvm/kvmapi"
	"gosentry/platform/kvm/pagetable"
)

// Where the probe's pages lie in its address space.
const (
	probeCode = 0x400000
	probeData = 0x500000
)

// probeTime bounds one entry of the probe.
const probeTime = 2 * time.Second

// probe finds out how SYSCALL leaves ring 3 and whether the hypervisor shadows page tables, with
// a few instructions in ring 3, and sets the machine up accordingly. It returns processor 0.
func (m *machine) probe() (*vcpu, error) {
	v, err := m.newVCPU(0)
	if err != nil {
		return nil, err
	}
	p := &probe{m: m, v: v}
	err = p.begin()
	if err == nil {
		err = p.findEntry()
	}
	if err == nil {
		err = p.findShadow()
	}
	if err == nil {
		err = p.checkCounter()
	}
	if err == nil {
		p.time()
	}
	if err != nil {
		v.kvm.Close()
		return nil, err
	}
	var lost pagetable.Lost
	p.tables.Release(&lost)
	m.pool.SetAside(lost.Frames)
	return v, nil
}

// probe is the machine's first guest.
type probe struct {
	m      *machine
	v      *vcpu
	tables *pagetable.Tables
	pages  [3]uint64 // code and two of data, guest-physical
}

// begin makes the guest's memory: mov (%rbx), %rax; syscall, and two pages with a word each.
func (p *probe) begin() error {
	for i := range p.pages {
		frame, ok := p.m.pool.Alloc()
		if !ok {
			return pagetable.ErrFull
		}
		b := bytesOf(p.m.pool.Table(frame))
		if i == 0 {
			copy(b, []byte{0x48, 0x8b, 0x03, 0x0f, 0x05})
		}
		if i > 0 {
			le.PutUint64(b, uint64(i))
		}
		p.pages[i] = frame
	}
	var err error
	if p.tables, err = pagetable.New(p.m.pool, 16, true); err != nil {
		return err
	}
	if err = p.mapPage(probeCode, 0, platform.Read|platform.Exec); err != nil {
		return err
	}
	return p.mapPage(probeData, 1, platform.Read)
}

func (p *probe) mapPage(addr uint64, page int, prot platform.Prot) error {
	return p.tables.Map(addr, pageSize, p.pages[page], prot, &pagetable.Lost{})
}

// run enters the guest and returns what it read and how it left. toggle is cr3Toggle or 0.
func (p *probe) run(toggle uint64) (word uint64, x exit) {
	regs := arch.Registers{Rip: probeCode, Rbx: probeData, Cs: arch.UserCS, Ss: arch.UserDS, Eflags: fixedFlags}
	p.v.load(&regs, p.tables.Root()|toggle)
	var late atomic.Bool
	timer := time.AfterFunc(probeTime, func() {
		late.Store(true)
		p.v.kick()
	})
	for x.kind == exitInterrupted && !late.Load() { // a signal to the thread is no reason to give up
		e, _ := p.v.enter(func() bool { return true })
		x = p.v.leave(e)
	}
	timer.Stop()
	if x.kind == exitInterrupted && late.Load() {
		x = p.v.broken("the first guest does not come back")
	}
	return p.v.state.Regs.Rax, x
}

// findEntry tells where SYSCALL goes.
func (p *probe) findEntry() error {
	m := p.m
	const at = probeCode + 3
	switch _, x := p.run(0); {
	case x.kind == exitSyscall:
		m.entry = entryRing0
	case x.kind == exitVector && x.vector == vectorPageFault && x.frame.rip == syscallAddr:
		m.entry = entryRing3
		m.lstar = userEntry
		if err := m.place(userEntry, userEntryPage(), platform.Read|platform.Exec, true); err != nil {
			return err
		}
		m.setKernel(exitAddr, pagetable.KernelPage(noMemory, platform.Read|platform.Write, true))
	case x.kind == exitVector && x.vector == vectorOpcode && x.frame.rip == at:
		m.entry = entryOpcode
	case x.kind == exitBroken:
		return fmt.Errorf("the first guest: %w", x.err)
	default:
		return fmt.Errorf("the first guest: exit %d, exception %d at %#x", x.kind, x.vector, x.frame.rip)
	}
	if err := m.extend(p.v); err != nil {
		return err
	}
	if m.ring0 = m.entry == entryRing0 && m.cr4&cr4FSGSBase != 0; m.ring0 {
		if err := m.passInRing0(p.v); err != nil {
			return err
		}
	}
	return m.reset(p.v)
}

// extend switches on what the hypervisor lets be switched on: what CPUID says here is not always what
// ring 3 has.
func (m *machine) extend(v *vcpu) error {
	bits := []uint64{cr4OSXSave, cr4FSGSBase}
	if m.entry == entryRing0 {
		bits = append(bits, cr4SMEP, cr4SMAP, cr4UMIP)
	}
	var s kvmapi.Sregs
	if e := v.kvm.GetSregs(&s); e != 0 {
		return os.NewSyscallError("ioctl KVM_GET_SREGS", e)
	}
	for _, bit := range bits {
		s.CR4 = m.cr4 | bit
		if v.kvm.SetSregs(&s) == 0 {
			m.cr4 |= bit
		}
	}
	return nil
}

// errStale is said of a KVM whose translations cannot be made to go.
var errStale = errors.New("the host's KVM keeps translations that were withdrawn")

// findShadow changes an entry behind the processor's back: who still sees the old page after a flush of
// the processor's own has a hypervisor that shadows the tables.
func (p *probe) findShadow() error {
	read := func(toggle uint64) (uint64, error) {
		word, x := p.run(toggle)
		if x.kind == exitSyscall || x.kind == exitVector && x.vector == vectorOpcode && p.m.entry == entryOpcode {
			return word, nil
		}
		return 0, fmt.Errorf("the second guest: exit %d, exception %d at %#x: %w", x.kind, x.vector, x.frame.rip, x.err)
	}
	word, err := read(0)
	if err != nil || word != 1 {
		return errors.Join(err, fmt.Errorf("the guest read %d", word))
	}
	if err := p.mapPage(probeData, 2, platform.Read); err != nil {
		return err
	}
	if word, err = read(cr3Toggle); err != nil {
		return err
	}
	p.m.mem.shadow = word == 1
	p.m.mem.flush()
	if word, err = read(0); err == nil && word != 2 {
		err = errStale
	}
	return err
}

// time finds out how long a call takes that leaves the machine: the least of some, since the host may do something else meanwhile.
func (p *probe) time() {
	const tries = 5
	p.m.callTime = probeTime
	for range tries {
		begin := time.Now()
		p.run(0)
		p.m.callTime = min(p.m.callTime, time.Since(begin))
	}
}

// errCounter is said of a KVM whose guests have another time stamp counter: their clocks would be wrong.
var errCounter = errors.New("the host's KVM does not let guests have its time stamp counter: Linux 5.16 or later is needed")

// checkCounter compares the guest's time stamp counter with the host's.
func (p *probe) checkCounter() error {
	// rdtsc; shl $32, %rdx; or %rdx, %rax; syscall
	copy(bytesOf(p.m.pool.Table(p.pages[0])), []byte{0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0, 0x0f, 0x05})
	const tolerance = 1 << 20 // the host's processors need not be in step to the last cycle
	before := arch.Cycles()
	counter, x := p.run(0)
	after := arch.Cycles()
	if x.kind == exitBroken {
		return fmt.Errorf("the third guest: %w", x.err)
	}
	if counter+tolerance < before || counter > after+tolerance {
		return errCounter
	}
	return nil
}
