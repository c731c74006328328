// Package platformtest is the suite that every platform passes.
//
// Guest programs are a few machine instructions each, written by hand into a memory
// file whose pages are mapped into guest address spaces. Run runs all tests; Bench all benchmarks.
package platformtest

import (
	"testing"

	"gosentry/platform"
)

// New makes the platform under test; the suite releases it.
type New func(t testing.TB) platform.Platform

// Run runs the suite.
func Run(t *testing.T, newPlatform New) {
	for _, test := range []struct {
		name string
		f    func(t *testing.T, e *env)
	}{
		{"Syscall", testSyscall},
		{"Registers", testRegisters},
		{"Int80", testInt80},
		{"Compat", testCompat},
		{"Vsyscall", testVsyscall},
		{"Faults", testFaults},
		{"Resume", testResume},
		{"SingleStep", testSingleStep},
		{"Changes", testChanges},
		{"BadChanges", testBadChanges},
		{"ClosedDescriptor", testClosedDescriptor},
		{"ConcurrentChanges", testConcurrentChanges},
		{"ReplaceUnderRunner", testReplaceUnderRunner},
		{"ForgetUnderRunners", testForgetUnderRunners},
		{"GoBack", testGoBack},
		{"Successors", testSuccessors},
		{"ManyMappings", testManyMappings},
		{"FPU", testFPU},
		{"FPUShared", testFPUShared},
		{"FPUFresh", testFPUFresh},
		{"FPUHostile", testFPUHostile},
		{"Interrupt", testInterrupt},
		{"InterruptStorm", testInterruptStorm},
		{"Sleepers", testSleepers},
		{"Runners", testRunners},
		{"Spaces", testSpaces},
		{"SharedSpace", testSharedSpace},
		{"Empty", testEmpty},
		{"ReleaseWhileHeld", testReleaseWhileHeld},
		{"HostileRegisters", testHostileRegisters},
		{"HostileInstructions", testHostileInstructions},
		{"HostileCode", testHostileCode},
		{"NoRestart", testNoRestart},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.f(t, newEnv(t, newPlatform(t)))
		})
	}
}
