package loader

import (
	"gosentry/mm"
	"gosentry/platform"

	"golang.org/x/sys/unix"
)

// VDSO is the vDSO of a sandbox: three pages in the memory file, the clock parameters
// and behind them an ELF image, twice: the second one has getcpu ask the kernel. All processes map the same pages, the first
// and one of the others, privately, so that a debugger's stores stay its own.
type VDSO struct {
	file *mm.MemoryFile
	off  uint64
}

// VDSOConfig says how the vDSO answers.
type VDSOConfig struct {
	// HostCPU lets getcpu give the number of the host's processor. Without it,
	// getcpu makes a system call.
	HostCPU bool
	// askCPU makes that system call all the same, in code that is as long.
	askCPU bool
}

const (
	vdsoPages   = 3 // in the memory file
	vdsoMapped  = 2
	plainImage  = mm.PageSize
	askingImage = 2 * mm.PageSize
)

// NewVDSO makes a vDSO in f. ENOMEM where f is full.
func NewVDSO(f *mm.MemoryFile, c VDSOConfig) (*VDSO, error) {
	plain, err := vdsoImage(c)
	if err != nil {
		return nil, err
	}
	c.askCPU = true
	asking, err := vdsoImage(c)
	if err != nil {
		return nil, err
	}
	off, err := f.Allocate(vdsoPages * mm.PageSize)
	if err != nil {
		return nil, err
	}
	v := &VDSO{file: f, off: off}
	err = f.Guard(func() error {
		copy(f.Bytes(off+plainImage, mm.PageSize), plain)
		copy(f.Bytes(off+askingImage, mm.PageSize), asking)
		return nil
	})
	if err != nil {
		v.Release()
		return nil, err
	}
	return v, nil
}

// Timeless returns a vDSO like v that makes a system call for every time. ENOMEM.
func (v *VDSO) Timeless() (*VDSO, error) {
	off, err := v.file.Allocate(vdsoPages * mm.PageSize)
	if err != nil {
		return nil, err
	}
	err = v.file.Guard(func() error {
		copy(v.file.Bytes(off+plainImage, 2*mm.PageSize), v.file.Bytes(v.off+plainImage, 2*mm.PageSize))
		return nil
	})
	if err != nil {
		v.file.DecRef(off, vdsoPages*mm.PageSize)
		return nil, err
	}
	return &VDSO{file: v.file, off: off}, nil
}

// ReplaceClocks has the code of the vDSO that is in m read v's parameters.
func (v *VDSO) ReplaceClocks(m *mm.MemoryManager) error {
	return replace(m, 0, func(*VDSO) (*VDSO, uint64) { return v, 0 })
}

// AskCPU has getcpu of the vDSO that is in m ask the kernel, which knows who may run where, from now on. Code that runs
// in the page meanwhile goes on in the same code.
func AskCPU(m *mm.MemoryManager) error {
	return replace(m, plainImage, func(v *VDSO) (*VDSO, uint64) { return v, askingImage })
}

// replace maps what by says in place of the vDSO's page at offset from.
func replace(m *mm.MemoryManager, from uint64, by func(*VDSO) (*VDSO, uint64)) (err error) {
	m.VMAs(func(a mm.VMA) bool {
		old, ours := a.File.(*VDSO)
		if !ours || a.Offset != from {
			return true
		}
		v, offset := by(old)
		_, err = m.MMap(mm.MMapOpts{
			Addr: a.Start, Length: a.Length(), Prot: a.Prot, MaxProt: a.MaxProt, Private: a.Private, Fixed: true,
			File: v, Offset: offset, Name: a.Name,
		})
		return err == nil
	})
	return err
}

// Params is the page of clock parameters, for ktime's Attach. All zeros, as it is at first, make every
// function a system call.
func (v *VDSO) Params() []byte { return v.file.Bytes(v.off, mm.PageSize) }

// Release gives the memory back. Nobody maps it, and nobody writes to Params any more.
func (v *VDSO) Release() { v.file.DecRef(v.off, vdsoPages*mm.PageSize) }

// AddMapping implements mm.Mappable: the pages stay as long as v.
func (v *VDSO) AddMapping(*mm.MemoryManager, mm.Range, uint64, bool) error { return nil }

// RemoveMapping implements mm.Mappable.
func (v *VDSO) RemoveMapping(*mm.MemoryManager, mm.Range, uint64, bool) {}

// Translate implements mm.Mappable. Shared mappings that could be written to are none of Load's.
func (v *VDSO) Translate(off, length uint64, write bool) (mm.Backing, error) {
	if write || off >= vdsoPages*mm.PageSize {
		return mm.Backing{}, unix.EFAULT
	}
	length = min(length, vdsoPages*mm.PageSize-off)
	return mm.Backing{Mem: true, Offset: v.off + off, Length: length}, nil
}

// MappedName implements mm.Mappable: the mappings have names of their own.
func (v *VDSO) MappedName() (path string, major, minor uint32, ino uint64) { return "", 0, 0, 0 }

// mapVDSO maps v and returns where its ELF image is, 0 without one.
func (s *space) mapVDSO(v *VDSO) (uint64, error) {
	if v == nil {
		return 0, nil
	}
	params, err := s.mm.MMap(mm.MMapOpts{
		Length: vdsoMapped * mm.PageSize, Prot: platform.Read, MaxProt: platform.Read,
		Private: true, File: v, Name: "[vvar]", Limits: s.limits, DontExpand: true,
	})
	if err != nil {
		return 0, err
	}
	image := uint64(params) + plainImage
	return image, s.fixed(mm.MMapOpts{
		Addr: mm.Addr(image), Length: mm.PageSize, Prot: platform.Read | platform.Exec,
		File: v, Offset: plainImage, Name: "[vdso]", DontExpand: true,
	})
}
