package coredump

import (
	"bytes"
	"debug/elf"
	"encoding/binary"

	"gosentry/mm"
	"gosentry/platform/arch"
)

// Thread is a thread as it was when it stopped.
type Thread struct {
	ID            int32
	Regs          arch.Registers
	FPU           []byte // the XSAVE area, standard format
	Signal        int32  // that ended the process
	Pending       uint64 // signal set
	Blocked       uint64 // signal set
	UserNS, SysNS int64  // processor time
	ChildUserNS   int64
	ChildSysNS    int64
}

// Process is what the dump says of the process as a whole.
type Process struct {
	PID, Parent, Group, Session int32
	UID, GID                    uint32
	Nice                        int32
	Flags                       uint64
	Name, Args                  string
	Auxv                        []byte
}

// Types of notes (linux/elf.h).
const (
	notePRStatus = 1
	notePRFPReg  = 2
	notePRPSInfo = 3
	noteAuxv     = 6
	noteXState   = 0x202
	noteFile     = 0x46494c45

	fxsaveSize  = 512
	nameLength  = 16
	argsLength  = 80
	stateRunner = 'R'
)

// maxFileNames bounds the table of mapped files, in bytes, as Linux does.
const maxFileNames = 4 << 20

func note(b *bytes.Buffer, owner string, kind uint32, desc []byte) {
	put(b, uint32(len(owner)+1), uint32(len(desc)), kind)
	b.WriteString(owner + "\x00")
	align(b)
	b.Write(desc)
	align(b)
}

func align(b *bytes.Buffer) {
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
}

func put(b *bytes.Buffer, values ...any) {
	for _, v := range values {
		binary.Write(b, binary.LittleEndian, v) //nolint:errcheck // a buffer takes everything
	}
}

// notes returns the contents of the note segment; the first thread is the one
// that the debugger shows.
func (d *Dump) notes(vmas []mm.VMA) []byte {
	var b bytes.Buffer
	for i := range d.Threads {
		t := &d.Threads[i]
		note(&b, "CORE", notePRStatus, d.status(t))
		if i == 0 {
			note(&b, "CORE", notePRPSInfo, d.Process.info())
			note(&b, "CORE", noteAuxv, d.Process.Auxv)
			note(&b, "CORE", noteFile, d.fileTable(vmas))
		}
		if len(t.FPU) >= fxsaveSize {
			note(&b, "CORE", notePRFPReg, t.FPU[:fxsaveSize])
			note(&b, "LINUX", noteXState, t.FPU)
		}
	}
	return b.Bytes()
}

// status is struct elf_prstatus.
func (d *Dump) status(t *Thread) []byte {
	var b bytes.Buffer
	p := &d.Process
	put(&b, t.Signal, int32(0), int32(0), int16(t.Signal), int16(0), t.Pending, t.Blocked, t.ID, p.Parent, p.Group, p.Session)
	for _, ns := range []int64{t.UserNS, t.SysNS, t.ChildUserNS, t.ChildSysNS} {
		put(&b, ns/1e9, ns%1e9/1e3)
	}
	put(&b, &t.Regs, int32(1), int32(0))
	return b.Bytes()
}

// info is struct elf_prpsinfo.
func (p *Process) info() []byte {
	var b bytes.Buffer
	put(&b, [4]byte{0, stateRunner, 0, byte(p.Nice)}, uint32(0), p.Flags, p.UID, p.GID, p.PID, p.Parent, p.Group, p.Session)
	b.Write(padded(p.Name, nameLength))
	b.Write(padded(p.Args, argsLength))
	return b.Bytes()
}

// padded cuts or fills s to n bytes, the last of them zero.
func padded(s string, n int) []byte {
	b := make([]byte, n)
	copy(b[:n-1], s)
	return b
}

// fileTable is the NT_FILE note: which file lies behind which range.
func (d *Dump) fileTable(vmas []mm.VMA) []byte {
	var ranges, names bytes.Buffer
	count := uint64(0)
	for i := range vmas {
		v := &vmas[i]
		name := d.FileName(v)
		if name == "" || names.Len()+len(name) >= maxFileNames {
			continue
		}
		put(&ranges, uint64(v.Start), uint64(v.End), v.Offset/mm.PageSize)
		names.WriteString(name + "\x00")
		count++
	}
	var b bytes.Buffer
	put(&b, count, uint64(mm.PageSize))
	b.Write(ranges.Bytes())
	b.Write(names.Bytes())
	return b.Bytes()
}

// header is the ELF header; programs is the number of program headers.
func header(programs int) elf.Header64 {
	h := elf.Header64{
		Type: uint16(elf.ET_CORE), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Phoff: headerSize, Ehsize: headerSize, Phentsize: programSize, Phnum: uint16(programs),
	}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	h.Ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	h.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	return h
}
