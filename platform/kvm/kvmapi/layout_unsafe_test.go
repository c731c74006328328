package kvmapi

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"
)

// layouts is what testdata/layout.c prints, as this package has it.
func layouts() map[string]uint64 {
	out := make(map[string]uint64)
	size := func(name string, n uintptr) { out["size "+name] = uint64(n) }
	at := func(name string, n uintptr) { out["at "+name] = uint64(n) }
	size("kvm_regs", unsafe.Sizeof(Regs{}))
	size("kvm_segment", unsafe.Sizeof(Segment{}))
	size("kvm_dtable", unsafe.Sizeof(Table{}))
	size("kvm_sregs", unsafe.Sizeof(Sregs{}))
	size("kvm_vcpu_events", unsafe.Sizeof(Events{}))
	size("kvm_userspace_memory_region", unsafe.Sizeof(Region{}))
	size("kvm_msr_entry", unsafe.Sizeof(MSR{}))
	size("kvm_cpuid_entry2", unsafe.Sizeof(CPUID{}))
	size("kvm_xsave", XSaveSize)
	size("kvm_xcrs", unsafe.Sizeof(xcrs{}))
	size("kvm_device_attr", unsafe.Sizeof(deviceAttr{}))
	size("kvm_stats_header", statsHeaderSize)
	size("kvm_stats_desc", statsDescSize)
	at("kvm_regs.r8", unsafe.Offsetof(Regs{}.R8))
	at("kvm_regs.rip", unsafe.Offsetof(Regs{}.Rip))
	at("kvm_regs.rflags", unsafe.Offsetof(Regs{}.Rflags))
	at("kvm_regs.rsp", unsafe.Offsetof(Regs{}.Rsp))
	at("kvm_regs.rbp", unsafe.Offsetof(Regs{}.Rbp))
	at("kvm_segment.selector", unsafe.Offsetof(Segment{}.Selector))
	at("kvm_segment.dpl", unsafe.Offsetof(Segment{}.DPL))
	at("kvm_segment.l", unsafe.Offsetof(Segment{}.L))
	at("kvm_segment.unusable", unsafe.Offsetof(Segment{}.Unusable))
	at("kvm_sregs.ss", unsafe.Offsetof(Sregs{}.SS))
	at("kvm_sregs.tr", unsafe.Offsetof(Sregs{}.TR))
	at("kvm_sregs.gdt", unsafe.Offsetof(Sregs{}.GDT))
	at("kvm_sregs.idt", unsafe.Offsetof(Sregs{}.IDT))
	at("kvm_sregs.cr2", unsafe.Offsetof(Sregs{}.CR2))
	at("kvm_sregs.efer", unsafe.Offsetof(Sregs{}.EFER))
	at("kvm_vcpu_events.exception.error_code", unsafe.Offsetof(Events{}.ExceptionCode))
	at("kvm_vcpu_events.exception.pending", unsafe.Offsetof(Events{}.ExceptionPending))
	at("kvm_vcpu_events.exception_has_payload", unsafe.Offsetof(Events{}.ExceptionHasPayload))
	at("kvm_vcpu_events.exception_payload", unsafe.Offsetof(Events{}.ExceptionPayload))
	at("kvm_run.immediate_exit", unsafe.Offsetof(Run{}.control)+1)
	at("kvm_run.exit_reason", unsafe.Offsetof(Run{}.ExitReason))
	at("kvm_run.io.port", unsafe.Offsetof(Run{}.exit)+2)
	at("kvm_run.mmio.is_write", unsafe.Offsetof(Run{}.exit)+20)
	at("kvm_run.kvm_valid_regs", unsafe.Offsetof(Run{}.ValidRegs))
	at("kvm_run.kvm_dirty_regs", unsafe.Offsetof(Run{}.DirtyRegs))
	at("kvm_run.s.regs.regs", unsafe.Offsetof(Run{}.Regs))
	at("kvm_run.s.regs.sregs", unsafe.Offsetof(Run{}.Sregs))
	at("kvm_run.s.regs.events", unsafe.Offsetof(Run{}.Events))
	at("kvm_msrs.entries", unsafe.Offsetof(msrs{}.entries))
	at("kvm_cpuid2.entries", unsafe.Offsetof(cpuids{}.entries))
	at("kvm_xcrs.xcrs[0].value", unsafe.Offsetof(xcrs{}.entries)+8)
	at("kvm_device_attr.attr", unsafe.Offsetof(deviceAttr{}.attr))
	at("kvm_device_attr.addr", unsafe.Offsetof(deviceAttr{}.addr))
	for name, n := range numbers() {
		out["num "+name] = n
	}
	return out
}

func numbers() map[string]uint64 {
	return map[string]uint64{
		"KVM_API_VERSION": apiVersion, "KVM_GET_API_VERSION": kvmGetAPIVersion, "KVM_CREATE_VM": kvmCreateVM,
		"KVM_CHECK_EXTENSION": kvmCheckExtension, "KVM_GET_VCPU_MMAP_SIZE": kvmGetVCPUMmapSize,
		"KVM_GET_SUPPORTED_CPUID": kvmGetSupportedCPUID, "KVM_CREATE_VCPU": kvmCreateVCPU,
		"KVM_SET_NR_MMU_PAGES": kvmSetNRMMUPages, "KVM_SET_USER_MEMORY_REGION": kvmSetUserMemoryRegion,
		"KVM_SET_TSS_ADDR": kvmSetTSSAddr, "KVM_SET_IDENTITY_MAP_ADDR": kvmSetIdentityMapAddr, "KVM_RUN": kvmRun,
		"KVM_GET_REGS": kvmGetRegs, "KVM_SET_REGS": kvmSetRegs, "KVM_GET_SREGS": kvmGetSregs, "KVM_SET_SREGS": kvmSetSregs,
		"KVM_GET_MSRS": kvmGetMSRs, "KVM_SET_MSRS": kvmSetMSRs, "KVM_SET_CPUID2": kvmSetCPUID2,
		"KVM_GET_XSAVE": kvmGetXSave, "KVM_SET_XSAVE": kvmSetXSave, "KVM_SET_XCRS": kvmSetXCRs,
		"KVM_SET_DEVICE_ATTR": kvmSetDeviceAttr, "KVM_GET_STATS_FD": kvmGetStatsFD,
		"KVM_EXIT_IO": ExitIO, "KVM_EXIT_HLT": ExitHLT, "KVM_EXIT_MMIO": ExitMMIO, "KVM_EXIT_SHUTDOWN": ExitShutdown,
		"KVM_EXIT_FAIL_ENTRY": ExitFailEntry, "KVM_EXIT_INTR": ExitIntr, "KVM_EXIT_INTERNAL_ERROR": ExitInternalError,
		"KVM_MEM_READONLY": MemReadOnly, "KVM_SYNC_X86_REGS": SyncRegs, "KVM_SYNC_X86_SREGS": SyncSregs,
		"KVM_SYNC_X86_EVENTS": SyncEvents, "KVM_VCPU_TSC_CTRL": 0, "KVM_VCPU_TSC_OFFSET": 0,
		"KVM_INTERNAL_ERROR_EMULATION": internalEmulation, "KVM_CAP_USER_MEMORY": CapUserMemory, "KVM_CAP_NR_VCPUS": CapNRVCPUs, "KVM_CAP_NR_MEMSLOTS": CapNRMemslots,
		"KVM_CAP_XSAVE": CapXSave, "KVM_CAP_XCRS": CapXCRs, "KVM_CAP_MAX_VCPUS": CapMaxVCPUs,
		"KVM_CAP_SYNC_REGS": CapSyncRegs, "KVM_CAP_READONLY_MEM": CapReadOnlyMem,
		"KVM_CAP_IMMEDIATE_EXIT": CapImmediateExit, "KVM_CAP_XSAVE2": CapXSave2,
	}
}

// TestLayout compares layouts and numbers with the kernel's headers.
func TestLayout(t *testing.T) {
	if _, err := exec.LookPath("cc"); err != nil {
		t.Skip("no C compiler")
	}
	prog := filepath.Join(t.TempDir(), "layout")
	if b, err := exec.Command("cc", "-Wall", "-Werror", "-o", prog, "testdata/layout.c").CombinedOutput(); err != nil {
		t.Fatalf("cc: %v\n%s", err, b)
	}
	out, err := exec.Command(prog).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := layouts()
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		var n uint64
		if _, err := fmt.Sscan(f[2], &n); err != nil {
			t.Fatal(err)
		}
		name := f[0] + " " + f[1]
		if got, ok := want[name]; !ok || got != n {
			t.Errorf("%s is %#x, here %#x (known: %t)", name, n, got, ok)
		}
		delete(want, name)
	}
	for name := range want {
		t.Errorf("%s was not compared", name)
	}
}
