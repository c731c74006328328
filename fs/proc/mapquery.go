package proc

import (
	"bytes"
	"encoding/binary"

	"gosentry/fs/pseudo"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform"

	"golang.org/x/sys/unix"
)

// mapsFile is /proc/PID/maps, which can also be asked for one mapping.
type mapsFile struct {
	*pseudo.File
	d *taskDir
}

func newMapsFile(d *taskDir) vfs.Inode { return &mapsFile{d.file(0o444, nil, nil).File, d} }

// Open implements vfs.Inode.
func (f *mapsFile) Open(c vfs.Caller, flags int) (vfs.FileOps, error) {
	m, err := f.d.openMappings(c, false)
	if err != nil {
		return nil, err
	}
	ops, err := f.File.Open(c, flags)
	if err != nil {
		return nil, err
	}
	return &mapsOps{newReader(ops, f.d.mappingSteps(m, writeMaps)), f.d, m}, nil
}

type mapsOps struct {
	*reader
	d *taskDir
	m *mm.MemoryManager // nil: none
}

// mapQuery is struct procmap_query of linux/fs.h.
type mapQuery struct {
	Size, Flags, Addr                         uint64
	Start, End, Rights, PageSize, Offset, Ino uint64
	Major, Minor, NameSize, BuildIDSize       uint32
	NameAddr, BuildIDAddr                     uint64
}

const (
	procmapQuery     = 0xc0686611
	mapQuerySize     = 104
	leastMapQuery    = 16
	mapQueryOrNext   = 0x10
	mapQueryFile     = 0x20
	mapQueryRights   = 0xf
	mapQueryAll      = mapQueryRights | mapQueryOrNext | mapQueryFile
	mapQueryIsShared = 8
)

// Ioctl implements vfs.IoctlOps: PROCMAP_QUERY. Build ids are not told: no file has one.
func (o *mapsOps) Ioctl(c vfs.Caller, cmd uint32, arg uint64, mem *mm.MemoryManager) (uint64, error) {
	if cmd != procmapQuery {
		return 0, unix.ENOTTY
	}
	q, err := loadMapQuery(arg, mem)
	if err != nil {
		return 0, err
	}
	v, err := o.ask(&q)
	if err != nil {
		return 0, err
	}
	o.d.fs.nameMapping(c, &v)
	name := []byte(v.Name + "\x00")
	switch {
	case q.NameAddr == 0 || v.Name == "":
		name = nil
	case len(name) > int(min(q.NameSize, unix.PathMax)):
		return 0, unix.ENAMETOOLONG
	}
	q.answer(&v)
	q.NameSize, q.BuildIDSize = uint32(len(name)), 0
	if _, err := mem.CopyOut(mm.Addr(q.NameAddr), name); err != nil && len(name) > 0 {
		return 0, unix.EFAULT
	}
	var b bytes.Buffer
	_ = binary.Write(&b, binary.NativeEndian, &q)
	if _, err := mem.CopyOut(mm.Addr(arg), b.Bytes()[:min(q.Size, mapQuerySize)]); err != nil {
		return 0, unix.EFAULT
	}
	return 0, nil
}

// loadMapQuery reads and checks a query, of which the caller may know less or more than we do.
func loadMapQuery(arg uint64, mem *mm.MemoryManager) (q mapQuery, err error) {
	var b [mm.PageSize]byte
	if _, err := mem.CopyIn(mm.Addr(arg), b[:8]); err != nil {
		return q, unix.EFAULT
	}
	size := binary.NativeEndian.Uint64(b[:])
	switch {
	case size > mm.PageSize:
		return q, unix.E2BIG
	case size < leastMapQuery:
		return q, unix.EINVAL
	}
	if _, err := mem.CopyIn(mm.Addr(arg), b[:size]); err != nil {
		return q, unix.EFAULT
	}
	if len(bytes.Trim(b[mapQuerySize:], "\x00")) > 0 {
		return q, unix.E2BIG
	}
	_ = binary.Read(bytes.NewReader(b[:mapQuerySize]), binary.NativeEndian, &q)
	q.Size = size
	if q.Flags&^mapQueryAll != 0 || (q.NameSize != 0) != (q.NameAddr != 0) || (q.BuildIDSize != 0) != (q.BuildIDAddr != 0) {
		return q, unix.EINVAL
	}
	return q, nil
}

// ask finds the mapping; ENOENT, ESRCH when there is no address space.
func (o *mapsOps) ask(q *mapQuery) (v mm.VMA, err error) {
	m := o.m
	if m == nil || !m.IncUsers() {
		return v, unix.ESRCH
	}
	defer m.DecUsers()
	err = unix.ENOENT
	m.VMAs(func(g mm.VMA) bool {
		switch {
		case uint64(g.End) <= q.Addr:
			return true
		case uint64(g.Start) > q.Addr && q.Flags&mapQueryOrNext == 0:
			return false
		case q.fits(&g):
			v, err = g, nil
			return false
		}
		return q.Flags&mapQueryOrNext != 0
	})
	return v, err
}

func (q *mapQuery) fits(v *mm.VMA) bool {
	return mapRights(v)&q.Flags&mapQueryRights == q.Flags&mapQueryRights && (q.Flags&mapQueryFile == 0 || v.File != nil)
}

// mapRights are the flags PROCMAP_QUERY_VMA_READABLE and so on, of which the first are those of PROT_.
func mapRights(v *mm.VMA) uint64 {
	rights := uint64(v.Prot & (platform.Read | platform.Write | platform.Exec))
	if !v.Private {
		rights |= mapQueryIsShared
	}
	return rights
}

func (q *mapQuery) answer(v *mm.VMA) {
	q.Start, q.End, q.Rights, q.PageSize = uint64(v.Start), uint64(v.End), mapRights(v), mm.PageSize
	q.Offset, q.Ino, q.Major, q.Minor = 0, 0, 0, 0
	if v.File != nil {
		q.Offset, q.Ino, q.Major, q.Minor = v.Offset, v.Ino, v.Major, v.Minor
	}
}
