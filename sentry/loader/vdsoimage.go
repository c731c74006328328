package loader

import (
	"debug/elf"
	"fmt"

	"gosentry/mm"
)

// Versions and names of the vDSO, which C libraries and Go's runtime look for.
const (
	vdsoSoname  = "linux-vdso.so.1"
	vdsoVersion = "LINUX_2.6"

	versionNone    = 0 // versym: of the null symbol
	versionSoname  = 1
	versionDefault = 2

	symSize     = 24
	verdefSize  = 20
	verdauxSize = 8

	// noSection is what symbols say of where they are: there are no sections, but 0 would
	// mean that they are undefined.
	noSection = 1
)

// vdsoSymbol is a row of the dynamic symbol table.
type vdsoSymbol struct {
	name        string
	info        byte
	section     uint16
	value, size uint64
	version     uint16
}

// vdsoImage returns the ELF image, at most a page. Its parts stand one behind the other:
// headers, hash tables, symbols, strings, versions, the dynamic section, unwind
// tables, code.
func vdsoImage(c VDSOConfig) ([]byte, error) {
	b := &imageBuilder{strings: []byte{0}}
	b.grow(ehdrSize + vdsoPhdrs*phdrSize)
	// The code's place depends on the length of the tables, and those on the functions alone. The
	// code is emitted twice: its length does not depend on its place.
	_, funcs, err := vdsoText(0, c)
	if err != nil {
		return nil, err
	}
	symbols := vdsoSymbols(funcs)
	b.putTables(symbols)
	textLen := uint64(funcs[len(funcs)-1].end)
	b.putUnwind(textLen)
	text := b.align(textAlign)
	a, _, err := vdsoText(mm.PageSize+int(text), c)
	if err != nil {
		return nil, err
	}
	b.bytes = append(b.bytes, a.code...)
	b.relocate(text, symbols)
	b.putHeaders()
	if len(b.bytes) > mm.PageSize {
		return nil, fmt.Errorf("vDSO: %d bytes do not fit a page", len(b.bytes))
	}
	return b.bytes, nil
}

const (
	vdsoPhdrs = 3
	textAlign = 64
)

// vdsoSymbols lists the functions under both of their names. Values are offsets in the code.
func vdsoSymbols(funcs []vdsoFunc) []vdsoSymbol {
	symbols := []vdsoSymbol{{version: versionNone}}
	for _, f := range funcs {
		s := vdsoSymbol{
			name: "__vdso_" + f.name, info: elf.ST_INFO(elf.STB_GLOBAL, elf.STT_FUNC),
			section: noSection, value: uint64(f.start), size: uint64(f.end - f.start), version: versionDefault,
		}
		alias := s
		alias.name, alias.info = f.name, elf.ST_INFO(elf.STB_WEAK, elf.STT_FUNC)
		symbols = append(symbols, s, alias)
	}
	return append(symbols, vdsoSymbol{
		name: vdsoVersion, info: elf.ST_INFO(elf.STB_GLOBAL, elf.STT_OBJECT),
		section: uint16(elf.SHN_ABS), version: versionDefault,
	})
}

// imageBuilder collects the image. Offsets are addresses as well: it is linked at 0.
type imageBuilder struct {
	bytes   []byte
	strings []byte // of the dynamic string table

	symtab            uint64
	dynamic, dynSize  uint64
	ehFrame, ehFrHdr  uint64
	ehFrHdrSize, text uint64
}

func (b *imageBuilder) grow(n int) { b.bytes = append(b.bytes, make([]byte, n)...) }

// align pads to a multiple of n bytes and returns the offset.
func (b *imageBuilder) align(n int) uint64 {
	b.grow(-len(b.bytes) & (n - 1))
	return uint64(len(b.bytes))
}

func (b *imageBuilder) u16(v ...uint16) {
	for _, x := range v {
		b.bytes = le.AppendUint16(b.bytes, x)
	}
}

func (b *imageBuilder) u32(v ...uint32) {
	for _, x := range v {
		b.bytes = le.AppendUint32(b.bytes, x)
	}
}

func (b *imageBuilder) u64(v ...uint64) {
	for _, x := range v {
		b.bytes = le.AppendUint64(b.bytes, x)
	}
}

// str adds a string and returns its offset in the string table.
func (b *imageBuilder) str(s string) uint32 {
	off := len(b.strings)
	b.strings = append(append(b.strings, s...), 0)
	return uint32(off)
}

// putTables emits what the dynamic section refers to, and the section itself.
func (b *imageBuilder) putTables(symbols []vdsoSymbol) {
	hash := b.align(8)
	b.putHash(symbols)
	gnuHash := b.align(8)
	b.putGNUHash(symbols)
	b.symtab = b.align(8)
	for _, s := range symbols {
		name := uint32(0)
		if s.name != "" {
			name = b.str(s.name)
		}
		b.u32(name)
		b.bytes = append(b.bytes, s.info, byte(elf.STV_DEFAULT))
		b.u16(s.section)
		b.u64(s.value, s.size)
	}
	versym := b.align(2)
	for _, s := range symbols {
		b.u16(s.version)
	}
	soname, version := b.str(vdsoSoname), b.str(vdsoVersion)
	verdef := b.align(8)
	b.putVersion(elf.VER_FLG_BASE, versionSoname, vdsoSoname, soname, verdefSize+verdauxSize)
	b.putVersion(0, versionDefault, vdsoVersion, version, 0)
	strtab := b.align(1)
	b.bytes = append(b.bytes, b.strings...)

	b.putDynamic([]dynEntry{
		{elf.DT_SONAME, uint64(soname)},
		{elf.DT_HASH, hash},
		{elf.DT_GNU_HASH, gnuHash},
		{elf.DT_STRTAB, strtab},
		{elf.DT_SYMTAB, b.symtab},
		{elf.DT_STRSZ, uint64(len(b.strings))},
		{elf.DT_SYMENT, symSize},
		{elf.DT_VERDEF, verdef},
		{elf.DT_VERDEFNUM, 2},
		{elf.DT_VERSYM, versym},
		{elf.DT_NULL, 0},
	})
}

// dynEntry is an entry of the dynamic section.
type dynEntry struct {
	tag   elf.DynTag
	value uint64
}

func (b *imageBuilder) putDynamic(entries []dynEntry) {
	b.dynamic = b.align(8)
	for _, d := range entries {
		b.u64(uint64(d.tag), d.value)
	}
	b.dynSize = uint64(len(b.bytes)) - b.dynamic
}

// putVersion emits a version definition with its one name; next is the distance to the next
// definition in bytes.
func (b *imageBuilder) putVersion(flags elf.DynamicVersionFlag, index uint16, name string, offset, next uint32) {
	b.u16(1, uint16(flags), index, 1)
	b.u32(sysvHash(name), verdefSize, next)
	b.u32(offset, 0)
}

// relocate gives the symbols and the unwind tables the code's address.
func (b *imageBuilder) relocate(text uint64, symbols []vdsoSymbol) {
	b.text = text
	for i, s := range symbols {
		if s.section == noSection {
			le.PutUint64(b.bytes[b.symtab+uint64(i)*symSize+8:], s.value+text)
		}
	}
	b.relocateUnwind()
}

// putHeaders fills in the ELF header and the program headers. The dynamic section is marked read-only,
// so that no C library writes addresses into it.
func (b *imageBuilder) putHeaders() {
	size := uint64(len(b.bytes))
	rest := b.bytes
	b.bytes = b.bytes[:0:0]
	b.bytes = append(b.bytes, elf.ELFMAG...)
	b.bytes = append(b.bytes, byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT))
	b.grow(elfIdentEnd - len(b.bytes))
	b.u16(uint16(elf.ET_DYN), uint16(elf.EM_X86_64))
	b.u32(uint32(elf.EV_CURRENT))
	b.u64(0, ehdrSize, 0)
	b.u32(0)
	b.u16(ehdrSize, phdrSize, vdsoPhdrs, 0, 0, 0)
	b.putPhdr(elf.PT_LOAD, elf.PF_R|elf.PF_X, 0, size, mm.PageSize)
	b.putPhdr(elf.PT_DYNAMIC, elf.PF_R, b.dynamic, b.dynSize, 8)
	b.putPhdr(elf.PT_GNU_EH_FRAME, elf.PF_R, b.ehFrHdr, b.ehFrHdrSize, 4)
	b.bytes = append(b.bytes, rest[len(b.bytes):]...)
}

func (b *imageBuilder) putPhdr(t elf.ProgType, flags elf.ProgFlag, off, size, align uint64) {
	b.u32(uint32(t), uint32(flags))
	b.u64(off, off, off, size, size, align)
}
