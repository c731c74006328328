package loader

import "fmt"

// assembler emits the few amd64 instructions that the vDSO is made of. Operands
// are 64 bits wide unless a name ends in 32; the destination comes first. Jumps
// and addresses refer to labels, which may be placed later; resolve fills them in.
type assembler struct {
	code   []byte
	labels map[string]int // offset in code, negative for what lies before it
	fixups []fixup
}

// fixup is a 32-bit displacement at offset at in the code. It counts from the
// end of the instruction, just behind it.
type fixup struct {
	at    int
	label string
}

// reg is a register by its number in ModRM and REX.
type reg byte

const (
	rax reg = 0
	rcx reg = 1
	rdx reg = 2
	rsi reg = 6
	rdi reg = 7
	r8  reg = 8
	r9  reg = 9
	r10 reg = 10
	r11 reg = 11
)

// cond is a condition code of a jump.
type cond byte

const (
	ifEqual    cond = 0x4
	ifNotEqual cond = 0x5
	ifNotAbove cond = 0x6
	ifAbove    cond = 0x7
)

func newAssembler() *assembler { return &assembler{labels: make(map[string]int)} }

func (a *assembler) place(label string) { a.labels[label] = len(a.code) }

func (a *assembler) raw(b ...byte) { a.code = append(a.code, b...) }

func (a *assembler) imm32(n uint32) { a.code = le.AppendUint32(a.code, n) }

// rex emits a REX prefix where the registers or the width need one.
func (a *assembler) rex(wide bool, r, rm reg) {
	p := byte(0x40) | byte(r>>3)<<2 | byte(rm>>3)
	if wide {
		p |= 8
	}
	if p != 0x40 {
		a.raw(p)
	}
}

// mem emits opcode with the operands r and [base+disp]; r may be an extension of the
// opcode. rsp and r12 are no bases here: they would need one byte more.
func (a *assembler) mem(wide bool, opcode byte, r, base reg, disp int8) {
	a.rex(wide, r, base)
	a.raw(opcode, 0x40|byte(r&7)<<3|byte(base&7), byte(disp))
}

// regs emits opcode with r and, in ModRM's other field, rm.
func (a *assembler) regs(wide bool, opcode byte, r, rm reg) {
	a.rex(wide, r, rm)
	a.raw(opcode, 0xc0|byte(r&7)<<3|byte(rm&7))
}

func (a *assembler) load(dst, base reg, disp int8)      { a.mem(true, 0x8b, dst, base, disp) }
func (a *assembler) load32(dst, base reg, disp int8)    { a.mem(false, 0x8b, dst, base, disp) }
func (a *assembler) store(base reg, disp int8, r reg)   { a.mem(true, 0x89, r, base, disp) }
func (a *assembler) store32(base reg, disp int8, r reg) { a.mem(false, 0x89, r, base, disp) }

func (a *assembler) addMem(r, base reg, disp int8)   { a.mem(true, 0x03, r, base, disp) }
func (a *assembler) subMem(r, base reg, disp int8)   { a.mem(true, 0x2b, r, base, disp) }
func (a *assembler) cmpMem(r, base reg, disp int8)   { a.mem(true, 0x3b, r, base, disp) }
func (a *assembler) cmpMem32(r, base reg, disp int8) { a.mem(false, 0x3b, r, base, disp) }

// mulMem multiplies r by [base+disp].
func (a *assembler) mulMem(r, base reg, disp int8) {
	a.rex(true, r, base)
	a.raw(0x0f, 0xaf, 0x40|byte(r&7)<<3|byte(base&7), byte(disp))
}

// mulBy sets dst to src times n.
func (a *assembler) mulBy(dst, src reg, n int32) {
	a.regs(true, 0x69, dst, src)
	a.imm32(uint32(n))
}

func (a *assembler) or(dst, src reg)    { a.regs(true, 0x09, src, dst) }
func (a *assembler) zero(r reg)         { a.regs(false, 0x31, r, r) }
func (a *assembler) test(x, y reg)      { a.regs(true, 0x85, x, y) }
func (a *assembler) mov(dst, src reg)   { a.regs(true, 0x89, src, dst) }
func (a *assembler) mov32(dst, src reg) { a.regs(false, 0x89, src, dst) }
func (a *assembler) dec32(r reg)        { a.regs(false, 0xff, 1, r) }

func (a *assembler) cmp32(r reg, n int8) {
	a.regs(false, 0x83, 7, r)
	a.raw(byte(n))
}

func (a *assembler) testBits32(r reg, mask uint32) {
	a.regs(false, 0xf7, 0, r)
	a.imm32(mask)
}

func (a *assembler) and32(r reg, mask uint32) {
	a.regs(false, 0x81, 4, r)
	a.imm32(mask)
}

func (a *assembler) shl(r reg, n byte) {
	a.regs(true, 0xc1, 4, r)
	a.raw(n)
}

func (a *assembler) shr(r reg, n byte) {
	a.regs(true, 0xc1, 5, r)
	a.raw(n)
}

func (a *assembler) shr32(r reg, n byte) {
	a.regs(false, 0xc1, 5, r)
	a.raw(n)
}

// addTo adds n to r.
func (a *assembler) addTo(r reg, n int32) {
	a.regs(true, 0x81, 0, r)
	a.imm32(uint32(n))
}

// cmpRAX compares rax with n.
func (a *assembler) cmpRAX(n int32) {
	a.raw(0x48, 0x3d)
	a.imm32(uint32(n))
}

// set32 sets r to n; its upper half becomes 0.
func (a *assembler) set32(r reg, n uint32) {
	a.rex(false, 0, r)
	a.raw(0xb8 | byte(r&7))
	a.imm32(n)
}

// lea sets r to the address of label.
func (a *assembler) lea(r reg, label string) {
	a.rex(true, r, 0)
	a.raw(0x8d, 0x05|byte(r&7)<<3)
	a.refer(label)
}

// nop5 is as long as a jump.
func (a *assembler) nop5() { a.raw(0x0f, 0x1f, 0x44, 0, 0) }

func (a *assembler) jump(label string) {
	a.raw(0xe9)
	a.refer(label)
}

func (a *assembler) jumpIf(c cond, label string) {
	a.raw(0x0f, 0x80|byte(c))
	a.refer(label)
}

func (a *assembler) refer(label string) {
	a.fixups = append(a.fixups, fixup{len(a.code), label})
	a.imm32(0)
}

// lslCPU sets r to the limit of the segment in which Linux keeps the number of the
// processor and, from bit 12 on, of its node.
func (a *assembler) lslCPU(r reg) {
	const cpuNodeSelector = 0x7b
	a.set32(r, cpuNodeSelector)
	a.rex(true, r, r)
	a.raw(0x0f, 0x03, 0xc0|byte(r&7)<<3|byte(r&7))
}

func (a *assembler) pause()   { a.raw(0xf3, 0x90) }
func (a *assembler) lfence()  { a.raw(0x0f, 0xae, 0xe8) }
func (a *assembler) rdtsc()   { a.raw(0x0f, 0x31) }
func (a *assembler) syscall() { a.raw(0x0f, 0x05) }
func (a *assembler) ret()     { a.raw(0xc3) }

// align pads with int3 up to the next multiple of n bytes.
func (a *assembler) align(n int) {
	for len(a.code)%n != 0 {
		a.raw(0xcc)
	}
}

// resolve fills in the displacements.
func (a *assembler) resolve() error {
	for _, f := range a.fixups {
		target, ok := a.labels[f.label]
		if !ok {
			return fmt.Errorf("vDSO: no label %q", f.label)
		}
		le.PutUint32(a.code[f.at:], uint32(int32(target-(f.at+4))))
	}
	return nil
}
