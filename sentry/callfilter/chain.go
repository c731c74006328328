package callfilter

import "golang.org/x/sys/unix"

// Action is what becomes of a call, with Linux's values: the lower, as a signed number, the
// stricter.
type Action uint32

// Actions.
const (
	KillProcess Action = 0x80000000
	KillThread  Action = 0
	Trap        Action = 0x00030000
	Errno       Action = 0x00050000
	UserNotif   Action = 0x7fc00000
	Trace       Action = 0x7ff00000
	Log         Action = 0x7ffc0000
	Allow       Action = 0x7fff0000

	actionMask = 0xffff0000
)

// Bounds of a chain in instructions, as Linux counts them: of its own machine, to which it
// translates programs, and with an overhead for each older filter.
const (
	maxChain = 32768
	overhead = 4
	prologue = 3
)

// length is the number of instructions that Linux makes of the program.
func (p Program) length() int {
	n := prologue
	for _, in := range p {
		n += translated(in)
	}
	return n
}

func translated(in unix.SockFilter) int {
	n := 1
	switch op := in.Code & opMask; {
	case in.Code == returnK:
		n = 2
	case in.Code == unix.BPF_ALU|unix.BPF_DIV|sourceX:
		n = 5 // with a look at the divisor
	case in.Code&classMask == unix.BPF_JMP && in.Code != jumpAlways:
		if in.Jf != 0 && (in.Jt != 0 || op == unix.BPF_JSET) {
			n++
		}
		if in.Code&sourceX == 0 && int32(in.K) < 0 {
			n++ // constants are signed there
		}
	}
	return n
}

// Chain is a filter and those installed before it; nil is an empty one.
type Chain struct {
	program Program
	older   *Chain
	count   int // filters
	length  int // instructions, as the bound counts them
}

// Push returns the chain with one more filter in front of c. ENOMEM when all are too long.
func (c *Chain) Push(p Program) (*Chain, error) {
	n := &Chain{program: p, older: c, count: 1, length: p.length()}
	if c != nil {
		n.count += c.count
		n.length += c.length + overhead
	}
	if n.length > maxChain {
		return nil, unix.ENOMEM
	}
	return n, nil
}

// Count is the number of filters.
func (c *Chain) Count() int {
	if c == nil {
		return 0
	}
	return c.count
}

// Extends tells whether c is older with filters in front, or older itself.
func (c *Chain) Extends(older *Chain) bool {
	for ; c != nil; c = c.older {
		if c == older {
			return true
		}
	}
	return older == nil
}

// Verdict is what filters say of a call.
type Verdict struct {
	Action Action
	Data   uint16
	By     *Chain // the filter whose answer it is; nil when none had one
}

// Judge runs all filters and returns the strictest answer; of equal ones that of the newest filter.
func (c *Chain) Judge(call *Call) Verdict {
	data := call.Encode()
	result, by := uint32(Allow), (*Chain)(nil)
	for ; c != nil; c = c.older {
		r := c.program.run(&data)
		if int32(r&actionMask) < int32(result&actionMask) {
			result, by = r, c
		}
	}
	return Verdict{Action(result & actionMask), uint16(result), by}
}
