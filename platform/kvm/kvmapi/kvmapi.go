package kvmapi

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Device is where KVM is found.
const Device = "/dev/kvm"

// apiVersion is KVM_API_VERSION, the same since Linux 2.6.22.
const apiVersion = 12

// Reserved is the first of the guest-physical addresses that a VM keeps for
// itself: ReservedSize bytes, below 4 GiB.
const (
	Reserved     = 0xfffbc000
	ReservedSize = 0x4000
)

// OpenError is why KVM cannot be used.
type OpenError struct {
	What string
	Way  string // what to do
	Err  error
}

func (e *OpenError) Error() string {
	text := e.What
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	if e.Way != "" {
		text += ": " + e.Way
	}
	return text
}

// Unwrap returns the cause.
func (e *OpenError) Unwrap() error { return e.Err }

// OpenDevice opens /dev/kvm. The error is an *OpenError.
func OpenDevice() (fd int, err error) {
	fd, err = unix.Open(Device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		return fd, nil
	}
	e := &OpenError{What: Device, Err: err}
	switch {
	case errors.Is(err, unix.ENOENT):
		e.Way = "the host has no KVM: load the module kvm_intel or kvm_amd, in a virtual machine have nested virtualization allowed, or use another platform"
	case errors.Is(err, unix.EACCES):
		e.Way = "join the group " + deviceGroup() + ", or use another platform"
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		e.Way = "the processor's virtualization is switched off by the firmware, or the module is not loaded; use another platform"
	case errors.Is(err, unix.EPERM):
		e.Way = "the container must be given the device; use another platform"
	}
	return -1, e
}

// deviceGroup names the group that may use the device.
func deviceGroup() string {
	var st unix.Stat_t
	if unix.Stat(Device, &st) != nil || st.Gid == 0 {
		return "kvm"
	}
	return groupName(st.Gid)
}

// System is an open /dev/kvm.
type System struct{ fd int }

// NewSystem wraps a descriptor of /dev/kvm, which stays the caller's, and checks that it is one.
func NewSystem(fd int) (*System, error) {
	v, e := ioctl(fd, kvmGetAPIVersion, 0)
	if e != 0 {
		return nil, requestError("KVM_GET_API_VERSION", e)
	}
	if v != apiVersion {
		return nil, fmt.Errorf("KVM's interface has version %d, not %d", v, apiVersion)
	}
	return &System{fd}, nil
}

// CheckExtension asks for a capability: 0 where it is missing.
func (s *System) CheckExtension(capability uintptr) int {
	n, _ := ioctl(s.fd, kvmCheckExtension, capability)
	return max(n, 0)
}

// VM is a virtual machine.
type VM struct {
	fd     int
	shared int // bytes that a VCPU shares with the kernel
}

// CreateVM makes a virtual machine without memory or processors.
func (s *System) CreateVM() (*VM, error) {
	size, e := ioctl(s.fd, kvmGetVCPUMmapSize, 0)
	if e != 0 {
		return nil, requestError("KVM_GET_VCPU_MMAP_SIZE", e)
	}
	for {
		fd, e := ioctl(s.fd, kvmCreateVM, 0)
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return nil, requestError("KVM_CREATE_VM", e)
		}
		unix.CloseOnExec(fd)
		vm := &VM{fd, size}
		vm.reserve(Reserved)
		return vm, nil
	}
}

// Close lets the virtual machine go; it ends with its last processor.
func (vm *VM) Close() { unix.Close(vm.fd) }

// SetNRMMUPages bounds the shadow page tables that KVM keeps, in pages.
func (vm *VM) SetNRMMUPages(n int) unix.Errno {
	_, e := ioctl(vm.fd, kvmSetNRMMUPages, uintptr(n))
	return e
}

// VCPU is a processor of a virtual machine.
type VCPU struct {
	fd        int
	shared    []byte
	tscOffset uint64 // on the heap, where the kernel can read it
}

// CreateVCPU makes processor number id.
func (vm *VM) CreateVCPU(id int) (*VCPU, error) {
	fd, e := ioctl(vm.fd, kvmCreateVCPU, uintptr(id))
	if e != 0 {
		return nil, requestError("KVM_CREATE_VCPU", e)
	}
	shared, err := unix.Mmap(fd, 0, vm.shared, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("mapping a virtual processor: %w", err)
	}
	return &VCPU{fd: fd, shared: shared}, nil
}

// Close ends the processor, which must not run.
func (v *VCPU) Close() {
	unix.Munmap(v.shared)
	unix.Close(v.fd)
}

func requestError(request string, e unix.Errno) error {
	return os.NewSyscallError("ioctl "+request, e)
}
