package oci

import (
	"fmt"
	"slices"
	"strings"

	"gosentry/sentry/callfilter"
	"gosentry/sentry/personality/linux"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// seccompActions are what a profile may say of a call; NOTIFY is not among them, as nobody could listen.
var seccompActions = map[specs.LinuxSeccompAction]callfilter.Action{
	specs.ActKill: callfilter.KillThread, specs.ActKillThread: callfilter.KillThread, specs.ActKillProcess: callfilter.KillProcess,
	specs.ActTrap: callfilter.Trap, specs.ActErrno: callfilter.Errno, specs.ActTrace: callfilter.Trace,
	specs.ActAllow: callfilter.Allow, specs.ActLog: callfilter.Log,
}

// seccompFlags change nothing for a filter that is there before its program.
const seccompFlags = " SECCOMP_FILTER_FLAG_TSYNC SECCOMP_FILTER_FLAG_LOG SECCOMP_FILTER_FLAG_SPEC_ALLOW "

// seccompOperators are what conditions may compare by.
var seccompOperators = []string{
	string(specs.OpEqualTo), string(specs.OpNotEqual), string(specs.OpLessThan), string(specs.OpLessEqual),
	string(specs.OpGreaterThan), string(specs.OpGreaterEqual), string(specs.OpMaskedEqual),
}

// seccompRule says what becomes of a call, always or under conditions.
type seccompRule struct {
	action     uint32
	conditions []specs.LinuxSeccompArg
}

// seccompProgram compiles a profile to a filter of the kernel inside, which names no other calls than those of the
// kernel's table: a name that is not there is of another architecture, or of a later Linux.
func seccompProgram(p *specs.LinuxSeccomp) (callfilter.Program, error) {
	if p == nil {
		return nil, nil
	}
	if err := checkSeccomp(p); err != nil {
		return nil, err
	}
	otherwise, err := seccompAction(p.DefaultAction, p.DefaultErrnoRet)
	if err != nil {
		return nil, refuse("linux.seccomp.defaultAction", "%v", err)
	}
	rules, err := seccompRules(p.Syscalls, otherwise)
	if err != nil {
		return nil, err
	}
	program, err := callfilter.Check(seccompFilter(rules, otherwise))
	if err != nil {
		return nil, refuse("linux.seccomp", "the profile is too long for a filter")
	}
	return program, nil
}

func checkSeccomp(p *specs.LinuxSeccomp) error {
	if len(p.Architectures) > 0 && !slices.Contains(p.Architectures, specs.ArchX86_64) {
		return refuse("linux.seccomp.architectures", "programs inside are of %s, which is not among them", specs.ArchX86_64)
	}
	if p.ListenerPath != "" {
		return refuse("linux.seccomp.listenerPath", "not supported")
	}
	for i, f := range p.Flags {
		if !strings.Contains(seccompFlags, " "+string(f)+" ") {
			return refuse(fmt.Sprintf("linux.seccomp.flags[%d]", i), "%q is not supported", f)
		}
	}
	return nil
}

// seccompAction is the answer of a filter, with the data that goes with some of them.
func seccompAction(a specs.LinuxSeccompAction, data *uint) (uint32, error) {
	action, known := seccompActions[a]
	if !known {
		return 0, fmt.Errorf("%q is not supported", a)
	}
	const mostData = 0xffff
	value := uint32(0)
	if action == callfilter.Errno || action == callfilter.Trace {
		value = uint32(unix.EPERM)
		if data != nil {
			if *data > mostData {
				return 0, fmt.Errorf("errnoRet %d is above %d", *data, mostData)
			}
			value = uint32(*data)
		}
	}
	return uint32(action) | value, nil
}

// seccompRules sorts the rules by calls: those with conditions in their order, and last the one without. One that says what
// is said anyway is left out.
func seccompRules(list []specs.LinuxSyscall, otherwise uint32) (map[uint32][]seccompRule, error) {
	numbers := make(map[string]uint32)
	for _, c := range linux.New(nil).Calls() {
		numbers[c.Name] = uint32(c.Number)
	}
	rules := make(map[uint32][]seccompRule)
	for i, s := range list {
		field := fmt.Sprintf("linux.seccomp.syscalls[%d]", i)
		action, err := seccompAction(s.Action, s.ErrnoRet)
		switch {
		case err != nil:
			return nil, refuse(field+".action", "%v", err)
		case len(s.Names) == 0:
			return nil, refuse(field+".names", "missing")
		}
		for j, a := range s.Args {
			if err := checkCondition(a); err != nil {
				return nil, refuse(fmt.Sprintf("%s.args[%d]", field, j), "%v", err)
			}
		}
		for _, name := range s.Names {
			nr, known := numbers[name]
			for _, conditions := range alternatives(s.Args) {
				if known {
					rules[nr] = addRule(rules[nr], seccompRule{action, conditions}, otherwise)
				}
			}
		}
	}
	return rules, nil
}

// alternatives are the lists of conditions of which one has to hold. Conditions for different arguments
// have to hold together; where two are for one argument, engines mean that any is enough.
func alternatives(conditions []specs.LinuxSeccompArg) [][]specs.LinuxSeccompArg {
	var seen [maxArgs]bool
	for _, c := range conditions {
		if seen[c.Index] {
			var each [][]specs.LinuxSeccompArg
			for i := range conditions {
				each = append(each, conditions[i:i+1])
			}
			return each
		}
		seen[c.Index] = true
	}
	return [][]specs.LinuxSeccompArg{conditions}
}

func addRule(rules []seccompRule, r seccompRule, otherwise uint32) []seccompRule {
	end := len(rules)
	final := end > 0 && len(rules[end-1].conditions) == 0
	switch {
	case len(r.conditions) == 0 && r.action == otherwise && end == 0, len(r.conditions) == 0 && final:
		return rules
	case len(r.conditions) > 0 && final:
		return slices.Insert(rules, end-1, r)
	}
	return append(rules, r)
}

// maxArgs is how many arguments a call has.
const maxArgs = 6

func checkCondition(a specs.LinuxSeccompArg) error {
	if a.Index >= maxArgs {
		return fmt.Errorf("index %d: a call has %d arguments", a.Index, maxArgs)
	}
	if !slices.Contains(seccompOperators, string(a.Op)) {
		return fmt.Errorf("op %q is not known", a.Op)
	}
	return nil
}
