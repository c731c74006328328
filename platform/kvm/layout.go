package kvm

import (
	"encoding/binary"

	"gosentry/platform/internal/patch"
)

const (
	pageSize = 4096

	// What a guest may map: [userLow, userHigh), Linux's lower bound for users and almost its TASK_SIZE, taskSize.
	userLow  = 0x10000
	userHigh = 0x7fff00000000
	taskSize = 0x7ffffffff000

	// Where the trampolines of patched calls lie, and behind them a page of answers for each processor, and then an area for each.
	trampolinesAt = 0x7fffffe00000
	answersAt     = trampolinesAt + patch.TrampolinesSize
	areaOffset    = maxRunning * pageSize // of a processor's area from its page of answers
)

// Guest-physical memory. Below 4 GiB there is none but what KVM keeps for itself.
const (
	noMemory    = 0xd0000000  // never any: a store there is an exit
	poolBase    = 0x100000000 // frames of tables and of the stub
	poolFrames  = 1 << 16
	windowsBase = 0x200000000 // files
)

// The stub's virtual addresses, the same in every address space. They fit in 32 bits
// when extended by their sign.
const (
	kernelBase  = 0xffffffff80000000
	vectorsAddr = kernelBase          // 256 handlers, ring 0
	syscallAddr = kernelBase + 0x1000 // where SYSCALL goes, ring 0
	userEntry   = kernelBase + 0x2000 // where SYSCALL goes when it stays in ring 3
	idtAddr     = kernelBase + 0x3000
	gdtAddr     = kernelBase + 0x4000
	exitAddr    = kernelBase + 0x5000 // noMemory
	vcpuAddr    = kernelBase + 0x10000
	ring0Addr   = vcpuAddr + maxRunning*pageSize // see ring0Text

	vectorSize = 16 // bytes of a handler
)

// compatAddr is where SYSCALL of 32-bit code goes on AMD: nowhere, in ring 0, and the fault is the call. Nobody can map anything there. It is below
// 4 GiB since KVM's emulator, which makes such a SYSCALL where ring 0 is emulated, keeps only 32 bits of the address: what any other one leads to
// then is the guest's own memory.
const compatAddr = userLow - pageSize

// A processor's page: its TSS, and two stacks that grow down from these offsets.
const (
	alternateStack = 0x800
	mainStack      = 0x1000

	tssRSP0  = 4
	tssIST1  = 36
	tssIOMap = 102
	tssSize  = 104
)

// Selectors of ring 0. User ones are package arch's.
const (
	kernelCS = 0x10
	kernelDS = 0x18
	tssEntry = 0x40
)

// Vectors of exceptions.
const (
	vectorDivide      = 0
	vectorDebug       = 1
	vectorNMI         = 2
	vectorBreakpoint  = 3
	vectorOverflow    = 4
	vectorBounds      = 5
	vectorOpcode      = 6
	vectorDevice      = 7
	vectorDoubleFault = 8
	vectorNotPresent  = 11
	vectorStack       = 12
	vectorProtection  = 13
	vectorPageFault   = 14
	vectorX87         = 16
	vectorAlignment   = 17
	vectorMachine     = 18
	vectorSIMD        = 19
	vectorCall        = 0x80
)

// exitPort is the port whose OUT leaves the machine.
const exitPort = 0x10

var le = binary.LittleEndian
