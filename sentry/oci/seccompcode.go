package oci

import (
	"maps"
	"slices"

	"gosentry/sentry/callfilter"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data.
const (
	dataNumber = 0
	dataArch   = 4
	dataArgs   = 16
)

// filterArch is the architecture of programs inside (AUDIT_ARCH_X86_64).
const filterArch = 0xc000003e

// failed in the place of a jump's length says that the rule does not apply; no rule is that long.
const failed = 0xff

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func answer(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}

func jump(op uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, Jt: yes, Jf: no, K: k}
}

// span are the numbers from first on, up to the next span's, with what becomes of them.
type span struct {
	first uint32
	code  []unix.SockFilter
}

// seccompFilter makes the program: what is not of our architecture is killed, and the number is looked for
// by halving.
func seccompFilter(rules map[uint32][]seccompRule, otherwise uint32) []unix.SockFilter {
	rest := []unix.SockFilter{answer(otherwise)}
	spans := []span{{0, rest}}
	add := func(first uint32, code []unix.SockFilter) {
		last := &spans[len(spans)-1]
		switch {
		case last.first == first:
			last.code = code
		case !slices.Equal(last.code, code):
			spans = append(spans, span{first, code})
		}
	}
	for _, nr := range slices.Sorted(maps.Keys(rules)) {
		add(nr, rulesCode(rules[nr], otherwise))
		add(nr+1, rest)
	}
	head := []unix.SockFilter{
		load(dataArch), jump(unix.BPF_JEQ, filterArch, 1, 0), answer(uint32(callfilter.KillProcess)), load(dataNumber),
	}
	return append(head, halve(spans)...)
}

// halve finds the span that the number, which is loaded, lies in.
func halve(spans []span) []unix.SockFilter {
	if len(spans) == 1 {
		return spans[0].code
	}
	middle := len(spans) / 2
	low, high := halve(spans[:middle]), halve(spans[middle:])
	code := []unix.SockFilter{
		jump(unix.BPF_JGE, spans[middle].first, 0, 1),
		{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(low))},
	}
	return slices.Concat(code, low, high)
}

// rulesCode asks one rule of a call after the other.
func rulesCode(rules []seccompRule, otherwise uint32) []unix.SockFilter {
	var code []unix.SockFilter
	for _, r := range rules {
		var rule []unix.SockFilter
		for _, c := range r.conditions {
			rule = append(rule, conditionCode(c)...)
		}
		rule = append(rule, answer(r.action))
		for i := range rule {
			left := uint8(len(rule) - i - 1)
			if rule[i].Jt == failed {
				rule[i].Jt = left
			}
			if rule[i].Jf == failed {
				rule[i].Jf = left
			}
		}
		code = append(code, rule...)
		if len(r.conditions) == 0 {
			return code
		}
	}
	return append(code, answer(otherwise))
}

// conditionCode compares an argument, the upper half first; it goes on where the condition holds.
func conditionCode(c specs.LinuxSeccompArg) []unix.SockFilter {
	low, high := load(dataArgs+8*uint32(c.Index)), load(dataArgs+8*uint32(c.Index)+4)
	v, top := uint32(c.Value), uint32(c.Value>>32)
	compare := func(whenAbove, whenBelow uint8, last unix.SockFilter) []unix.SockFilter {
		return []unix.SockFilter{high, jump(unix.BPF_JGT, top, whenAbove, 0), jump(unix.BPF_JEQ, top, 0, whenBelow), low, last}
	}
	// How far it is from the second and the third instruction of compare to its end.
	const fromAbove, fromBelow = 3, 2
	switch c.Op {
	case specs.OpGreaterThan:
		return compare(fromAbove, failed, jump(unix.BPF_JGT, v, 0, failed))
	case specs.OpGreaterEqual:
		return compare(fromAbove, failed, jump(unix.BPF_JGE, v, 0, failed))
	case specs.OpLessThan:
		return compare(failed, fromBelow, jump(unix.BPF_JGE, v, failed, 0))
	case specs.OpLessEqual:
		return compare(failed, fromBelow, jump(unix.BPF_JGT, v, failed, 0))
	case specs.OpNotEqual:
		return []unix.SockFilter{high, jump(unix.BPF_JEQ, top, 0, 2), low, jump(unix.BPF_JEQ, v, failed, 0)}
	case specs.OpMaskedEqual:
		and := func(k uint32) unix.SockFilter {
			return unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: k}
		}
		want, wantTop := uint32(c.ValueTwo), uint32(c.ValueTwo>>32)
		return []unix.SockFilter{
			high, and(top), jump(unix.BPF_JEQ, wantTop, 0, failed), low, and(v), jump(unix.BPF_JEQ, want, 0, failed),
		}
	}
	return []unix.SockFilter{high, jump(unix.BPF_JEQ, top, 0, failed), low, jump(unix.BPF_JEQ, v, 0, failed)}
}
