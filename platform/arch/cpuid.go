package arch

import "sync"

// cpuid executes CPUID.
func cpuid(leaf, sub uint32) (eax, ebx, ecx, edx uint32)

// xgetbv0 reads XCR0; only where CPUID tells that the host enabled XSAVE.
func xgetbv0() uint64

// fxsave stores the thread's legacy state inside area and its MXCSR mask in the
// last four bytes.
func fxsave(area *[1024]byte)

// processor is what the host's CPUID says, as far as guests or frames depend on it.
type processor struct {
	features  uint64 // XSAVE components that guests have, bits of XCR0
	size      int    // of the standard XSAVE format for features, in bytes
	hostSize  int    // of the standard format for all that the host enabled
	mxcsrMask uint32
	hwcap     uint32 // CPUID.1:EDX
	fsgsbase  bool
	rdpid     bool
	rdtscp    bool
	hybrid    bool
}

// host memoizes what never changes: CPUID traps to the hypervisor on virtual
// machines and takes tens of microseconds there.
var host = sync.OnceValue(detect)

// XSAVE components that guests do not get: AMX wants a permission of the host
// for each process (arch_prctl(ARCH_REQ_XCOMP_PERM)) and 8 KiB in every frame.
const amxComponents = 1<<17 | 1<<18

const (
	leaf1OSXSAVE  = 1 << 27 // CPUID.1:ECX
	leaf7FSGSBASE = 1 << 0  // CPUID.7:EBX
	leaf7RDPID    = 1 << 22 // CPUID.7:ECX
	leaf7Hybrid   = 1 << 15 // CPUID.7:EDX
	leafExtRDTSCP = 1 << 27 // CPUID.80000001H:EDX
)

func detect() processor {
	p := processor{features: fpsse, size: xsaveHeaderEnd, hostSize: xsaveHeaderEnd}
	maxLeaf, _, _, _ := cpuid(0, 0)
	_, _, c, d := cpuid(1, 0)
	p.hwcap = d
	if maxLeaf >= 7 {
		_, b7, c7, d7 := cpuid(7, 0)
		p.hybrid = d7&leaf7Hybrid != 0
		p.fsgsbase = b7&leaf7FSGSBASE != 0
		p.rdpid = c7&leaf7RDPID != 0
	}
	_, _, _, ext := cpuid(0x80000001, 0)
	p.rdtscp = ext&leafExtRDTSCP != 0
	var area [1024]byte
	fxsave(&area)
	if p.mxcsrMask = le.Uint32(area[1020:]); p.mxcsrMask == 0 {
		p.mxcsrMask = 0xffbf // what the manuals say of processors that store no mask
	}
	if c&leaf1OSXSAVE != 0 && maxLeaf >= 0xd {
		p.features = xgetbv0() &^ amxComponents
		_, enabled, _, _ := cpuid(0xd, 0)
		p.hostSize = int(enabled)
		for i := uint32(2); i < 63; i++ {
			if p.features&(1<<i) == 0 {
				continue
			}
			length, offset, _, _ := cpuid(0xd, i)
			p.size = max(p.size, int(offset+length))
		}
	}
	return p
}

// HWCap is AT_HWCAP: CPUID.1:EDX of the host.
func HWCap() uint64 { return uint64(host().hwcap) }

// HWCap2 is AT_HWCAP2. Bit 1 says that user code may write its FS and GS bases;
// ring3mwait (bit 0) is not offered.
func HWCap2() uint64 {
	if host().fsgsbase {
		return 1 << 1
	}
	return 0
}

// rdtscpAux executes RDTSCP and returns what it reads beside the cycles.
func rdtscpAux() uint32

// Cycles is the time stamp counter, read when everything before is done.
func Cycles() uint64

// CPUID executes the instruction CPUID with these in EAX and ECX, and returns what it leaves in EAX, EBX, ECX and EDX.
func CPUID(leaf, sub uint32) [4]uint32 {
	a, b, c, d := cpuid(leaf, sub)
	return [4]uint32{a, b, c, d}
}

// Hybrid tells whether processors of more than one kind are in the host, whose CPUID differs.
func Hybrid() bool { return host().hybrid }

// CPU returns the number of the processor that the caller runs on, as the host's
// kernel counts them; 0 where user code cannot tell.
func CPU() int {
	if !host().rdtscp {
		return 0
	}
	return int(rdtscpAux() & 0xfff)
}
