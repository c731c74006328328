package ktime

import (
	"os"
	"slices"
	"strings"
)

// readTSC reads the time-stamp counter after all earlier loads and before
// anything later.
func readTSC() uint64

// roughTSC reads the counter at some moment between a few instructions earlier and later.
func roughTSC() uint64

// cpuid executes CPUID with subleaf 0.
func cpuid(leaf uint32) (eax, ebx, ecx, edx uint32)

// clocksourceFile names the clock source that the host's kernel trusts.
const clocksourceFile = "/sys/devices/system/clocksource/clocksource0/current_clocksource"

// usableTSC tells whether the counter runs at one constant rate on all CPUs: the
// processor says it is invariant, and the host's kernel, if it can be asked, uses
// it too.
func usableTSC() bool {
	const (
		extended  = 0x80000000
		power     = 0x80000007
		invariant = 1 << 8
	)
	if highest, _, _, _ := cpuid(extended); highest < power {
		return false
	}
	if _, _, _, edx := cpuid(power); edx&invariant == 0 {
		return false
	}
	name, err := os.ReadFile(clocksourceFile)
	if err != nil {
		return true
	}
	good := []string{"tsc", "kvm-clock", "hyperv_clocksource_tsc_page"}
	return slices.Contains(good, strings.TrimSpace(string(name)))
}
