package oci

import (
	"testing"

	"gosentry/sentry/callfilter"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestSeccompConditions asks compiled profiles of one rule about arguments around its bounds.
func TestSeccompConditions(t *testing.T) {
	holds := map[specs.LinuxSeccompOperator]func(a, v, w uint64) bool{
		specs.OpEqualTo: func(a, v, _ uint64) bool { return a == v }, specs.OpNotEqual: func(a, v, _ uint64) bool { return a != v },
		specs.OpLessThan: func(a, v, _ uint64) bool { return a < v }, specs.OpLessEqual: func(a, v, _ uint64) bool { return a <= v },
		specs.OpGreaterThan: func(a, v, _ uint64) bool { return a > v }, specs.OpGreaterEqual: func(a, v, _ uint64) bool { return a >= v },
		specs.OpMaskedEqual: func(a, v, w uint64) bool { return a&v == w },
	}
	values := []uint64{0, 1, 2, 0xffffffff, 1 << 32, 1<<32 + 1, 5 << 32, 5<<32 + 7, ^uint64(0)}
	for op, want := range holds {
		for _, v := range values {
			for _, w := range []uint64{0, v, 1 << 32} {
				chain := chainOf(t, &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{
					Names: []string{"write"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 5, Value: v, ValueTwo: w, Op: op}},
				}}})
				for _, a := range values {
					action := chain.Judge(&callfilter.Call{Number: unix.SYS_WRITE, Arch: filterArch, Args: [6]uint64{5: a}}).Action
					if got := action == callfilter.Allow; got != want(a, v, w) {
						t.Fatalf("%s of %#x, %#x and %#x: %t", op, a, v, w, got)
					}
				}
			}
		}
	}
}

func chainOf(t *testing.T, p *specs.LinuxSeccomp) *callfilter.Chain {
	t.Helper()
	program, err := seccompProgram(p)
	if err != nil {
		t.Fatal(err)
	}
	var none *callfilter.Chain
	chain, err := none.Push(program)
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

// TestSeccompRules has a profile as engines write them.
func TestSeccompRules(t *testing.T) {
	enosys := uint(unix.ENOSYS)
	chain := chainOf(t, &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno,
		Architectures: []specs.Arch{specs.ArchX86, specs.ArchX86_64},
		Syscalls: []specs.LinuxSyscall{
			{Names: []string{"read", "write", "no_such_call", "exit_group"}, Action: specs.ActAllow},
			{Names: []string{"clone3"}, Action: specs.ActErrno, ErrnoRet: &enosys},
			{Names: []string{"personality"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Value: 8, Op: specs.OpEqualTo}}},
			{Names: []string{"personality"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Value: 0, Op: specs.OpEqualTo}}},
			{Names: []string{"socket"}, Action: specs.ActTrap, Args: []specs.LinuxSeccompArg{
				{Index: 0, Value: 1, Op: specs.OpEqualTo}, {Index: 1, Value: 3, Op: specs.OpEqualTo}}},
			{Names: []string{"socket"}, Action: specs.ActAllow},
			{Names: []string{"dup"}, Action: specs.ActLog, Args: []specs.LinuxSeccompArg{
				{Value: 3, Op: specs.OpEqualTo}, {Value: 4, Op: specs.OpEqualTo}}},
			{Names: []string{"ptrace"}, Action: specs.ActKillProcess},
		},
	})
	for _, c := range []struct {
		number uint32
		args   [6]uint64
		want   callfilter.Action
		data   uint16
	}{
		{unix.SYS_READ, [6]uint64{}, callfilter.Allow, 0},
		{unix.SYS_WRITE, [6]uint64{}, callfilter.Allow, 0},
		{unix.SYS_OPEN, [6]uint64{}, callfilter.Errno, uint16(unix.EPERM)},
		{unix.SYS_EXIT_GROUP, [6]uint64{}, callfilter.Allow, 0},
		{unix.SYS_CLONE3, [6]uint64{}, callfilter.Errno, uint16(unix.ENOSYS)},
		{unix.SYS_CLONE3 + 1, [6]uint64{}, callfilter.Errno, uint16(unix.EPERM)},
		{1 << 31, [6]uint64{}, callfilter.Errno, uint16(unix.EPERM)},
		{unix.SYS_PERSONALITY, [6]uint64{8}, callfilter.Allow, 0},
		{unix.SYS_PERSONALITY, [6]uint64{0}, callfilter.Allow, 0},
		{unix.SYS_PERSONALITY, [6]uint64{1}, callfilter.Errno, uint16(unix.EPERM)},
		{unix.SYS_SOCKET, [6]uint64{1, 3}, callfilter.Trap, 0},
		{unix.SYS_SOCKET, [6]uint64{1, 2}, callfilter.Allow, 0},
		{unix.SYS_DUP, [6]uint64{3}, callfilter.Log, 0},
		{unix.SYS_DUP, [6]uint64{4}, callfilter.Log, 0},
		{unix.SYS_DUP, [6]uint64{5}, callfilter.Errno, uint16(unix.EPERM)},
		{unix.SYS_PTRACE, [6]uint64{}, callfilter.KillProcess, 0},
	} {
		verdict := chain.Judge(&callfilter.Call{Number: c.number, Arch: filterArch, Args: c.args})
		action, data := verdict.Action, verdict.Data
		if action != c.want || action == callfilter.Errno && data != c.data {
			t.Errorf("call %d of %v: %#x with %d, want %#x with %d", c.number, c.args, action, data, c.want, c.data)
		}
	}
	if action := chain.Judge(&callfilter.Call{Number: unix.SYS_READ, Arch: 0x40000003}).Action; action != callfilter.KillProcess {
		t.Errorf("another architecture: %#x", action)
	}
}
