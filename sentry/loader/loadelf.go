package loader

import (
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

// loadELF loads the program in h, and its interpreter, and fills img in.
func (a *Args) loadELF(img *Image, h *head) error {
	p, err := parseELF(h, unix.ENOEXEC)
	if err != nil {
		return err
	}
	interp, err := a.openInterp(p)
	if err != nil {
		return err
	}
	if interp != nil {
		defer interp.head.file.DecRef()
	}
	if a.Gain != nil {
		if a.Creds, a.Secure, err = a.Gain(h.file); err != nil {
			return err
		}
		a.NoRandomize = a.NoRandomize && !a.Secure
	}
	s := &space{mm: a.MM, limits: a.Limits, layout: a.MM.NewLayout(a.Limits.Soft(limits.Stack), !a.NoRandomize)}
	s.mm.SetLimits(a.Limits)
	s.mm.SetLayout(s.layout)
	main, err := s.place(p, s.pieHint(p, interp))
	if err != nil {
		return err
	}
	img.Entry, img.OSABI = main.entry, p.osabi
	if interp != nil {
		l, err := s.place(interp, 0)
		if err != nil {
			return err
		}
		img.Entry, img.InterpBase = l.entry, l.bias
	}
	s.placeHeap(p, main, interp)
	s.layout.Code, s.layout.Data = main.code, main.data
	return a.finish(s, img, p, main)
}

// openInterp opens and reads the interpreter that p wants; nil if it wants none.
func (a *Args) openInterp(p *program) (*program, error) {
	name, err := p.interpreter()
	if name == "" || err != nil {
		return nil, err
	}
	f, err := a.OpenExec(name)
	if err != nil {
		return nil, err
	}
	h, err := readHead(a.Caller, f)
	var interp *program
	if err == nil {
		interp, err = parseELF(h, unix.ELIBBAD)
	}
	if err != nil {
		f.DecRef()
		return nil, err
	}
	return interp, nil
}

// pieHint is where a position-independent program should go: away from the
// mappings if it has an interpreter, among them if it is one.
func (s *space) pieHint(p, interp *program) uint64 {
	if !p.dynamic || interp == nil {
		return 0
	}
	return uint64(s.layout.PIEBase)
}

// placeHeap chooses where the heap starts: behind the program's last page; but for an
// interpreter that is run as a program, which lies among the mappings, where a
// position-independent program would be.
func (s *space) placeHeap(p *program, main placed, interp *program) {
	brk := mm.Addr(main.end)
	if p.dynamic && interp == nil {
		brk = s.layout.PIEBase
	}
	s.layout.BrkStart = min(brk+mm.Addr(s.layout.BrkGap), s.layout.Max-mm.PageSize)
}

// finish maps the vDSO and the stack, fills the stack and publishes the layout.
func (a *Args) finish(s *space, img *Image, p *program, main placed) error {
	vdso, err := s.mapVDSO(a.VDSO)
	if err != nil {
		return err
	}
	st := stack{argv: a.Argv, envv: a.Envv, execfn: a.Filename, top: uint64(s.layout.StackTop)}
	if err := st.measure(a.Limits.Soft(limits.Stack)); err != nil {
		return err
	}
	st.place(source{off: a.NoRandomize})
	img.Auxv = a.auxv(img, p, main, vdso, &st)
	if err := s.mapStack(&st, p.execStack()); err != nil {
		return err
	}
	if _, err := s.mm.CopyOut(mm.Addr(st.sp), st.build(img.Auxv)); err != nil {
		return err
	}
	img.SP = st.sp
	s.layout.VDSO, s.layout.StackStart = mm.Addr(vdso), mm.Addr(st.sp)
	s.layout.Args = mm.Range{Start: mm.Addr(st.argStart), End: mm.Addr(st.envStart)}
	s.layout.Env = mm.Range{Start: mm.Addr(st.envStart), End: mm.Addr(st.execfnAddr)}
	s.mm.SetLayout(s.layout)
	img.Layout = s.layout
	return nil
}

// auxv returns the auxiliary vector in Linux's order.
func (a *Args) auxv(img *Image, p *program, main placed, vdso uint64, st *stack) []abi.AuxEntry {
	v := make([]abi.AuxEntry, 0, auxEntries)
	add := func(key, value uint64) { v = append(v, abi.AuxEntry{Key: key, Value: value}) }
	if vdso != 0 {
		add(abi.AtSysinfoEhdr, vdso)
	}
	add(abi.AtMinsigstksz, arch.MinSigStackSize())
	add(abi.AtHwcap, arch.HWCap())
	add(abi.AtPagesz, mm.PageSize)
	add(abi.AtClktck, abi.ClockTicks)
	add(abi.AtPhdr, p.phdrAddr()+main.bias)
	add(abi.AtPhent, phdrSize)
	add(abi.AtPhnum, uint64(p.phnum))
	add(abi.AtBase, img.InterpBase)
	add(abi.AtFlags, 0)
	add(abi.AtEntry, main.entry)
	add(abi.AtUID, uint64(a.Creds.UserNS.ShowUID(a.Creds.RUID)))
	add(abi.AtEUID, uint64(a.Creds.UserNS.ShowUID(a.Creds.EUID)))
	add(abi.AtGID, uint64(a.Creds.UserNS.ShowGID(a.Creds.RGID)))
	add(abi.AtEGID, uint64(a.Creds.UserNS.ShowGID(a.Creds.EGID)))
	secure := uint64(0)
	if a.Secure {
		secure = 1
	}
	add(abi.AtSecure, secure)
	add(abi.AtRandom, st.randomAddr)
	add(abi.AtHwcap2, arch.HWCap2())
	add(abi.AtExecfn, st.execfnAddr)
	add(abi.AtPlatform, st.platformAddr)
	return v
}

// auxEntries is how many entries there are at most, without AT_NULL.
const auxEntries = 20
