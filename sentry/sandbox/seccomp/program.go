package seccomp

import (
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Condition holds when argument Arg (0 to 5), masked with Mask, is Value. Only
// the low 32 bits count.
type Condition struct {
	Arg   int
	Mask  uint32
	Value uint32
}

// Equal is the condition that argument arg is value.
func Equal(arg int, value uint32) Condition {
	return Condition{Arg: arg, Mask: ^uint32(0), Value: value}
}

// Without is the condition that argument arg has none of bits.
func Without(arg int, bits uint32) Condition {
	return Condition{Arg: arg, Mask: bits}
}

// Rule allows one system call: always when there are no alternatives, else when
// every condition of one of them holds.
type Rule struct {
	Number       uint32
	Alternatives [][]Condition
}

// Allow returns the rules that allow the numbers with any arguments.
func Allow(numbers ...uintptr) []Rule {
	rules := make([]Rule, len(numbers))
	for i, n := range numbers {
		rules[i].Number = uint32(n)
	}
	return rules
}

// When returns a rule that allows number when all conditions hold.
func When(number uintptr, all ...Condition) Rule {
	return Rule{Number: uint32(number), Alternatives: [][]Condition{all}}
}

// OneOf returns a rule that allows number when argument arg is one of values.
func OneOf(number uintptr, arg int, values ...uint32) Rule {
	r := Rule{Number: uint32(number)}
	for _, v := range values {
		r.Alternatives = append(r.Alternatives, []Condition{Equal(arg, v)})
	}
	return r
}

// Action is what happens to a call that the filter does not allow.
type Action uint32

// Actions. Trap sends the thread a SIGSYS, which Go's runtime turns into a stack
// trace of the culprit.
const (
	Kill Action = unix.SECCOMP_RET_KILL_PROCESS
	Trap Action = unix.SECCOMP_RET_TRAP
)

// Offsets into struct seccomp_data, and the bit that marks x32 calls.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
	x32Bit    = 0x40000000
)

// maxInstructions is BPF_MAXINSNS.
const maxInstructions = 4096

// Assemble makes the program: rules in their order, deny for the rest. Rules for the
// same number are merged: the call is allowed when one of them allows it.
func Assemble(rules []Rule, deny Action) ([]bpf.RawInstruction, error) {
	prog := []bpf.Instruction{
		bpf.LoadAbsolute{Off: offArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AUDIT_ARCH_X86_64, SkipTrue: 1},
		bpf.RetConstant{Val: uint32(Kill)},
		bpf.LoadAbsolute{Off: offNumber, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: x32Bit, SkipTrue: 1},
		bpf.RetConstant{Val: uint32(Kill)},
	}
	for _, r := range merge(rules) {
		body, err := r.body(deny)
		if err != nil {
			return nil, err
		}
		prog = append(prog, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: r.Number, SkipTrue: uint8(len(body))})
		prog = append(prog, body...)
	}
	prog = append(prog, bpf.RetConstant{Val: uint32(deny)})
	if len(prog) > maxInstructions {
		return nil, fmt.Errorf("seccomp program of %d instructions, the kernel takes %d", len(prog), maxInstructions)
	}
	return bpf.Assemble(prog)
}

// merge joins the rules of each number at the place of the first. One without
// alternatives wins, since it allows everything.
func merge(rules []Rule) []Rule {
	at := make(map[uint32]int, len(rules))
	var out []Rule
	for _, r := range rules {
		i, seen := at[r.Number]
		switch {
		case !seen:
			at[r.Number] = len(out)
			out = append(out, r)
		case r.Alternatives == nil || out[i].Alternatives == nil:
			out[i].Alternatives = nil
		default:
			both := append([][]Condition(nil), out[i].Alternatives...)
			out[i].Alternatives = append(both, r.Alternatives...)
		}
	}
	return out
}

// body is what runs when the number matches; it always returns.
func (r Rule) body(deny Action) ([]bpf.Instruction, error) {
	allow := bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	if r.Alternatives == nil {
		return []bpf.Instruction{allow}, nil
	}
	if arg, values, ok := r.list(); ok {
		return listBody(arg, values, deny), nil
	}
	var body []bpf.Instruction
	for _, conditions := range r.Alternatives {
		test, err := r.test(conditions)
		if err != nil {
			return nil, err
		}
		body = append(append(body, test...), allow)
	}
	body = append(body, bpf.RetConstant{Val: uint32(deny)})
	if len(body) > 255 {
		return nil, fmt.Errorf("too many alternatives for system call %d", r.Number)
	}
	return body, nil
}

// list tells whether every alternative asks for a value of the same argument.
func (r Rule) list() (arg int, values []uint32, ok bool) {
	for i, a := range r.Alternatives {
		if len(a) != 1 || a[0].Mask != ^uint32(0) || a[0].Arg > 5 || i > 0 && a[0].Arg != arg || i > maxList {
			return 0, nil, false
		}
		arg = a[0].Arg
		values = append(values, a[0].Value)
	}
	return arg, values, true
}

// maxList is what the last of a list's comparisons can still jump over.
const maxList = 250

// listBody compares an argument with one value after the other.
func listBody(arg int, values []uint32, deny Action) []bpf.Instruction {
	body := []bpf.Instruction{bpf.LoadAbsolute{Off: offArgs + 8*uint32(arg), Size: 4}}
	for i, v := range values {
		body = append(body, bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipTrue: uint8(len(values) - i)})
	}
	return append(body, bpf.RetConstant{Val: uint32(deny)}, bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW})
}

// test falls through to the instruction behind it when all conditions hold, and
// skips that one otherwise.
func (r Rule) test(conditions []Condition) ([]bpf.Instruction, error) {
	var test []bpf.Instruction
	for i, c := range conditions {
		if c.Arg < 0 || c.Arg > 5 {
			return nil, fmt.Errorf("system call %d: no argument %d", r.Number, c.Arg)
		}
		left := 3 * (len(conditions) - i - 1)
		test = append(test,
			bpf.LoadAbsolute{Off: offArgs + 8*uint32(c.Arg), Size: 4},
			bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: c.Mask},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: c.Value & c.Mask, SkipTrue: uint8(left + 1)},
		)
	}
	return test, nil
}
