package kvmapi

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests of ioctl(2).
const (
	kvmGetAPIVersion       = 0xae00
	kvmCreateVM            = 0xae01
	kvmCheckExtension      = 0xae03
	kvmGetVCPUMmapSize     = 0xae04
	kvmGetSupportedCPUID   = 0xc008ae05
	kvmCreateVCPU          = 0xae41
	kvmSetNRMMUPages       = 0xae44
	kvmSetUserMemoryRegion = 0x4020ae46
	kvmSetTSSAddr          = 0xae47
	kvmSetIdentityMapAddr  = 0x4008ae48
	kvmRun                 = 0xae80
	kvmGetRegs             = 0x8090ae81
	kvmSetRegs             = 0x4090ae82
	kvmGetSregs            = 0x8138ae83
	kvmSetSregs            = 0x4138ae84
	kvmGetMSRs             = 0xc008ae88
	kvmSetMSRs             = 0x4008ae89
	kvmSetCPUID2           = 0x4008ae90
	kvmGetXSave            = 0x9000aea4
	kvmSetXSave            = 0x5000aea5
	kvmSetXCRs             = 0x4188aea7
	kvmSetDeviceAttr       = 0x4018aee1
	kvmGetStatsFD          = 0xaece
)

// Requests returns the numbers of the ioctls that are made while guests run, for a filter on
// ioctl's second argument.
func Requests() []uint32 {
	return []uint32{
		kvmRun, kvmGetXSave, kvmSetXSave, kvmSetUserMemoryRegion, kvmCreateVCPU, kvmSetCPUID2, kvmGetSregs, kvmSetSregs,
		kvmGetMSRs, kvmSetMSRs, kvmSetXCRs, kvmSetDeviceAttr, kvmGetRegs, kvmSetRegs, kvmGetStatsFD,
	}
}

func ioctl(fd int, request, arg uintptr) (int, unix.Errno) {
	r, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), request, arg)
	return int(r), e
}

func ioctlPtr(fd int, request uintptr, arg unsafe.Pointer) unix.Errno {
	_, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
	return e
}

// ioctlWait is an ioctl that can take long: the Go scheduler is told.
func ioctlWait(fd int, request uintptr, arg unsafe.Pointer) unix.Errno {
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
	return e
}

// SetUserMemoryRegion makes, changes or deletes a memory slot. Deleting one makes KVM forget all
// translations of the machine where it keeps shadow page tables.
func (vm *VM) SetUserMemoryRegion(r *Region) unix.Errno {
	return ioctlWait(vm.fd, kvmSetUserMemoryRegion, unsafe.Pointer(r))
}

// Run runs guest code until an exit: v.State().ExitReason says why. EINTR: by a signal or
// ImmediateExit; EFAULT: the guest touched memory that the host cannot provide.
func (v *VCPU) Run() unix.Errno {
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(v.fd), kvmRun, 0)
	return e
}

// State is what v shares with the kernel.
func (v *VCPU) State() *Run { return (*Run)(unsafe.Pointer(unsafe.SliceData(v.shared))) }

// GetRegs reads the general registers.
func (v *VCPU) GetRegs(r *Regs) unix.Errno { return ioctlPtr(v.fd, kvmGetRegs, unsafe.Pointer(r)) }

// SetRegs loads the general registers.
func (v *VCPU) SetRegs(r *Regs) unix.Errno { return ioctlPtr(v.fd, kvmSetRegs, unsafe.Pointer(r)) }

// GetSregs reads segments and control registers.
func (v *VCPU) GetSregs(s *Sregs) unix.Errno { return ioctlPtr(v.fd, kvmGetSregs, unsafe.Pointer(s)) }

// SetSregs loads segments and control registers.
func (v *VCPU) SetSregs(s *Sregs) unix.Errno { return ioctlPtr(v.fd, kvmSetSregs, unsafe.Pointer(s)) }

// GetXSave reads the extended state in XSAVE's standard format.
func (v *VCPU) GetXSave(b *[XSaveSize]byte) unix.Errno {
	return ioctlPtr(v.fd, kvmGetXSave, unsafe.Pointer(b))
}

// SetXSave loads the extended state. EINVAL where XRSTOR would fault.
func (v *VCPU) SetXSave(b *[XSaveSize]byte) unix.Errno {
	return ioctlPtr(v.fd, kvmSetXSave, unsafe.Pointer(b))
}

// SetXCR0 loads XCR0.
func (v *VCPU) SetXCR0(value uint64) unix.Errno {
	x := xcrs{count: 1}
	x.entries[0].value = value
	return ioctlPtr(v.fd, kvmSetXCRs, unsafe.Pointer(&x))
}

// SetMSRs loads model-specific registers; it returns how many the kernel took before the first
// that it refused.
func (v *VCPU) SetMSRs(list ...MSR) (int, unix.Errno) {
	m := msrs{count: uint32(min(len(list), maxMSRs))}
	copy(m.entries[:], list)
	n, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(v.fd), kvmSetMSRs, uintptr(unsafe.Pointer(&m)))
	return int(n), e
}

// GetMSR reads a model-specific register.
func (v *VCPU) GetMSR(index uint32) (uint64, unix.Errno) {
	m := msrs{count: 1}
	m.entries[0].Index = index
	n, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(v.fd), kvmGetMSRs, uintptr(unsafe.Pointer(&m)))
	if e == 0 && n != 1 {
		e = unix.EINVAL
	}
	return m.entries[0].Data, e
}

// SetTSCOffset makes the guest's time stamp counter the host's plus offset.
func (v *VCPU) SetTSCOffset(offset uint64) unix.Errno {
	v.tscOffset = offset
	// Group KVM_VCPU_TSC_CTRL, attribute KVM_VCPU_TSC_OFFSET.
	a := deviceAttr{addr: uint64(uintptr(unsafe.Pointer(&v.tscOffset)))}
	return ioctlPtr(v.fd, kvmSetDeviceAttr, unsafe.Pointer(&a))
}

// SetCPUID says what CPUID returns to guests.
func (v *VCPU) SetCPUID(list []CPUID) unix.Errno {
	c := &cpuids{count: uint32(min(len(list), maxCPUID))}
	copy(c.entries[:], list)
	return ioctlPtr(v.fd, kvmSetCPUID2, unsafe.Pointer(c))
}

// SupportedCPUID returns what CPUID can return to guests.
func (s *System) SupportedCPUID() ([]CPUID, error) {
	c := &cpuids{count: maxCPUID}
	if e := ioctlPtr(s.fd, kvmGetSupportedCPUID, unsafe.Pointer(c)); e != 0 {
		return nil, requestError("KVM_GET_SUPPORTED_CPUID", e)
	}
	return c.entries[:c.count], nil
}

// reserve sets aside the pages that VMX uses inside the machine. Other hardware ignores it.
func (vm *VM) reserve(addr uint64) {
	identity := addr
	ioctlPtr(vm.fd, kvmSetIdentityMapAddr, unsafe.Pointer(&identity))
	ioctl(vm.fd, kvmSetTSSAddr, uintptr(addr+0x1000))
}
