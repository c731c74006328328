/* Prints sizes, offsets and request numbers of the kernel's headers. */
#include <linux/kvm.h>
#include <stddef.h>
#include <stdio.h>

#define SIZE(t) printf("size " #t " %zu\n", sizeof(struct t))
#define AT(t, f) printf("at " #t "." #f " %zu\n", offsetof(struct t, f))
#define NUM(n) printf("num " #n " %#lx\n", (unsigned long)(n))

int main(void)
{
	SIZE(kvm_regs); SIZE(kvm_segment); SIZE(kvm_dtable); SIZE(kvm_sregs); SIZE(kvm_vcpu_events);
	SIZE(kvm_userspace_memory_region); SIZE(kvm_msr_entry); SIZE(kvm_cpuid_entry2); SIZE(kvm_xsave);
	SIZE(kvm_xcrs); SIZE(kvm_device_attr); SIZE(kvm_stats_header); SIZE(kvm_stats_desc);
	AT(kvm_regs, r8); AT(kvm_regs, rip); AT(kvm_regs, rflags); AT(kvm_regs, rsp); AT(kvm_regs, rbp);
	AT(kvm_segment, selector); AT(kvm_segment, dpl); AT(kvm_segment, l); AT(kvm_segment, unusable);
	AT(kvm_sregs, ss); AT(kvm_sregs, tr); AT(kvm_sregs, gdt); AT(kvm_sregs, idt); AT(kvm_sregs, cr2); AT(kvm_sregs, efer);
	AT(kvm_vcpu_events, exception.error_code); AT(kvm_vcpu_events, exception.pending);
	AT(kvm_vcpu_events, exception_has_payload); AT(kvm_vcpu_events, exception_payload);
	AT(kvm_run, immediate_exit); AT(kvm_run, exit_reason); AT(kvm_run, io.port); AT(kvm_run, mmio.is_write);
	AT(kvm_run, kvm_valid_regs); AT(kvm_run, kvm_dirty_regs); AT(kvm_run, s.regs.regs); AT(kvm_run, s.regs.sregs);
	AT(kvm_run, s.regs.events);
	AT(kvm_msrs, entries); AT(kvm_cpuid2, entries); AT(kvm_xcrs, xcrs[0].value);
	AT(kvm_device_attr, attr); AT(kvm_device_attr, addr);
	NUM(KVM_API_VERSION); NUM(KVM_GET_API_VERSION); NUM(KVM_CREATE_VM); NUM(KVM_CHECK_EXTENSION);
	NUM(KVM_GET_VCPU_MMAP_SIZE); NUM(KVM_GET_SUPPORTED_CPUID); NUM(KVM_CREATE_VCPU); NUM(KVM_SET_NR_MMU_PAGES);
	NUM(KVM_SET_USER_MEMORY_REGION); NUM(KVM_SET_TSS_ADDR); NUM(KVM_SET_IDENTITY_MAP_ADDR); NUM(KVM_RUN);
	NUM(KVM_GET_REGS); NUM(KVM_SET_REGS); NUM(KVM_GET_SREGS); NUM(KVM_SET_SREGS); NUM(KVM_GET_MSRS); NUM(KVM_SET_MSRS);
	NUM(KVM_SET_CPUID2); NUM(KVM_GET_XSAVE); NUM(KVM_SET_XSAVE); NUM(KVM_SET_XCRS); NUM(KVM_SET_DEVICE_ATTR); NUM(KVM_GET_STATS_FD);
	NUM(KVM_EXIT_IO); NUM(KVM_EXIT_HLT); NUM(KVM_EXIT_MMIO); NUM(KVM_EXIT_SHUTDOWN); NUM(KVM_EXIT_FAIL_ENTRY);
	NUM(KVM_EXIT_INTR); NUM(KVM_EXIT_INTERNAL_ERROR); NUM(KVM_MEM_READONLY); NUM(KVM_SYNC_X86_REGS);
	NUM(KVM_SYNC_X86_SREGS); NUM(KVM_SYNC_X86_EVENTS); NUM(KVM_VCPU_TSC_CTRL); NUM(KVM_VCPU_TSC_OFFSET);
	NUM(KVM_CAP_USER_MEMORY); NUM(KVM_CAP_NR_VCPUS); NUM(KVM_CAP_NR_MEMSLOTS); NUM(KVM_CAP_XSAVE); NUM(KVM_CAP_XCRS);
	NUM(KVM_CAP_MAX_VCPUS); NUM(KVM_CAP_SYNC_REGS); NUM(KVM_CAP_READONLY_MEM); NUM(KVM_CAP_IMMEDIATE_EXIT);
	NUM(KVM_CAP_XSAVE2); NUM(KVM_INTERNAL_ERROR_EMULATION);
	return 0;
}
