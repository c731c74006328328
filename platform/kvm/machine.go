package kvm

import (
	"errors"
	"fmt"
	"time"

	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/platform/kvm/kvmapi"
	"gosentry/platform/kvm/pagetable"
)

// entryKind is what a SYSCALL instruction does in the machine's ring 3.
type entryKind uint8

const (
	entryRing0  entryKind = iota // goes to LSTAR in ring 0, as the manuals say
	entryRing3                   // goes to LSTAR and stays in ring 3
	entryOpcode                  // is an invalid opcode
)

func (k entryKind) String() string {
	return [...]string{"arrives in ring 0", "stays in ring 3", "is an invalid opcode"}[k]
}

// machine is the virtual machine and what all its processors and address spaces share.
type machine struct {
	sys  *kvmapi.System
	vm   *kvmapi.VM
	mem  *memory
	pool *pagetable.Pool

	cpuid []kvmapi.CPUID
	cr4   uint64
	xcr0  uint64
	lstar uint64
	entry entryKind
	ring0 bool // calls are answered and passed over in ring 0
	svm   bool // see svmOn

	callTime time.Duration // of one that leaves the machine

	meeting *meeting

	kernel     *pagetable.Table // the lowest table of the stub's addresses
	kernelRoot uint64
	vcpus      int // at most
}

// errExtensions is what a too old host lacks.
var errExtensions = errors.New("the host's KVM is too old: Linux 4.17 or later is needed")

// newMachine makes the machine with its stub; probe is to be called next.
func newMachine(fd int) (*machine, error) {
	sys, err := kvmapi.NewSystem(fd)
	if err != nil {
		return nil, err
	}
	for _, c := range []uintptr{kvmapi.CapUserMemory, kvmapi.CapXSave, kvmapi.CapXCRs, kvmapi.CapReadOnlyMem, kvmapi.CapImmediateExit} {
		if sys.CheckExtension(c) == 0 {
			return nil, errExtensions
		}
	}
	const sync = kvmapi.SyncRegs | kvmapi.SyncSregs | kvmapi.SyncEvents
	if sys.CheckExtension(kvmapi.CapSyncRegs)&sync != sync {
		return nil, errExtensions
	}
	m := &machine{sys: sys, lstar: syscallAddr, svm: svmOn(), meeting: newMeeting(), vcpus: min(maxRunning, max(sys.CheckExtension(kvmapi.CapMaxVCPUs), 1))}
	if err := m.features(); err != nil {
		return nil, err
	}
	if m.vm, err = sys.CreateVM(); err != nil {
		return nil, err
	}
	m.vm.SetNRMMUPages(shadowPages)
	if m.mem, err = newMemory(m.vm, min(maxSlots, sys.CheckExtension(kvmapi.CapNRMemslots))); err != nil {
		m.vm.Close()
		return nil, err
	}
	if err := m.stub(); err != nil {
		m.release()
		return nil, fmt.Errorf("the stub's memory: %w", err)
	}
	return m, nil
}

const (
	// maxSlots bounds memory slots; a host has at most 65,530 mappings for a process.
	maxSlots = 16384
	// shadowPages bounds the shadow tables of a KVM that has them; its own bound, a share of the memory slots, is
	// too small for many address spaces.
	shadowPages = 1 << 15
)

// features chooses what CPUID says and which extensions of the processor are on.
func (m *machine) features() error {
	list, err := m.sys.SupportedCPUID()
	if err != nil {
		return err
	}
	m.cr4 = cr4
	for _, c := range list {
		const hypervisorLeaves, hypervisor = 0x4, 1 << 31
		switch {
		case c.Function>>28 == hypervisorLeaves:
			continue
		case c.Function == 1:
			c.ECX &^= hypervisor
		case c.Function == 0xd && c.Index == 0:
			m.xcr0 = arch.FPUFeatures() & (uint64(c.EDX)<<32 | uint64(c.EAX))
		}
		m.cpuid = append(m.cpuid, c)
	}
	return nil
}

// stub builds the tables of the stub's addresses and its pages.
func (m *machine) stub() error {
	m.pool = pagetable.NewPool(poolBase, poolFrames, m.mem.grow)
	var frames [3]uint64
	for i := range frames {
		frame, ok := m.pool.Alloc()
		if !ok {
			return pagetable.ErrFull
		}
		frames[i] = frame
	}
	entryOf := func(addr uint64, level int) int { return int(addr >> (12 + 9*(level-1)) & 511) }
	m.pool.Table(frames[0])[entryOf(kernelBase, 3)] = pagetable.KernelBranch(frames[1])
	m.pool.Table(frames[1])[entryOf(kernelBase, 2)] = pagetable.KernelBranch(frames[2])
	m.kernel = m.pool.Table(frames[2])
	m.pool.SetKernel(pagetable.KernelBranch(frames[0]))
	root, err := pagetable.New(m.pool, 1, true)
	if err != nil {
		return err
	}
	m.kernelRoot = root.Root()
	for _, p := range []struct {
		addr uint64
		text []byte
		prot platform.Prot
	}{
		{vectorsAddr, vectorsPage(), platform.Read | platform.Exec},
		{syscallAddr, syscallPage(), platform.Read | platform.Exec},
		{idtAddr, idtPage(), platform.Read},
		{gdtAddr, gdtPage(), platform.Read | platform.Write}, // the processor marks segments as accessed
	} {
		if err := m.place(p.addr, p.text, p.prot, false); err != nil {
			return err
		}
	}
	return nil
}

// place puts a page with this text among the stub's.
func (m *machine) place(addr uint64, text []byte, prot platform.Prot, userToo bool) error {
	frame, ok := m.pool.Alloc()
	if !ok {
		return pagetable.ErrFull
	}
	copy(bytesOf(m.pool.Table(frame)), text)
	m.setKernel(addr, pagetable.KernelPage(frame, prot, userToo))
	return nil
}

func (m *machine) setKernel(addr, entry uint64) { m.kernel[(addr-kernelBase)/pageSize] = entry }

// addPage returns a fresh page among the stub's, which user code cannot use.
func (m *machine) addPage(addr uint64, prot platform.Prot) ([]byte, error) {
	frame, ok := m.pool.Alloc()
	if !ok {
		return nil, pagetable.ErrFull
	}
	m.setKernel(addr, pagetable.KernelPage(frame, prot, false))
	return bytesOf(m.pool.Table(frame)), nil
}

// release ends the machine. Its processors are closed.
func (m *machine) release() {
	m.vm.Close()
	m.mem.release()
}
