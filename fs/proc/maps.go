package proc

import (
	"bytes"
	"fmt"
	"strings"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform"
)

// nameColumn is where names of mappings begin.
const nameColumn = 73

// vsyscall is the mapping that every address space has beyond the user's part.
const vsyscall = "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n"

// eachVMA calls write for the mappings from address cursor on until there is
// enough for a step.
func eachVMA(m *mm.MemoryManager, cursor uint64, b *bytes.Buffer, write func(v *mm.VMA)) (next uint64, more bool) {
	m.VMAs(func(v mm.VMA) bool {
		if uint64(v.End) <= cursor {
			return true
		}
		if b.Len() >= stepSize {
			more = true
			return false
		}
		write(&v)
		next = uint64(v.End)
		return true
	})
	return next, more
}

func writeMaps(d *taskDir, m *mm.MemoryManager, c vfs.Caller, cursor uint64, b *bytes.Buffer) (uint64, bool, error) {
	next, more := eachVMA(m, cursor, b, func(v *mm.VMA) { d.fs.writeMapping(c, b, v) })
	if !more {
		b.WriteString(vsyscall)
	}
	return next, more, nil
}

// writeMapping writes one line of maps. A file has the name that leads to it from the reader's root.
func (f *fileSystem) writeMapping(c vfs.Caller, b *bytes.Buffer, v *mm.VMA) {
	start := b.Len()
	f.nameMapping(c, v)
	fmt.Fprintf(b, "%08x-%08x %s %08x %02x:%02x %d ", uint64(v.Start), uint64(v.End),
		permissions(v), v.Offset, v.Major, v.Minor, v.Ino)
	if v.Name != "" {
		for b.Len()-start < nameColumn {
			b.WriteByte(' ')
		}
		b.WriteString(strings.ReplaceAll(v.Name, "\n", `\012`))
	}
	b.WriteByte('\n')
}

// nameMapping gives v the name and the device that a reader sees.
func (f *fileSystem) nameMapping(c vfs.Caller, v *mm.VMA) {
	if p, ok := v.Source.(vfs.Path); ok {
		if v.Name == "" {
			v.Name, _ = vfs.PathName(f.processes.Root(c), p)
		}
		v.Major, v.Minor = p.Mount.Device()
	}
}

func permissions(v *mm.VMA) string {
	p := []byte("---s")
	if v.Prot&platform.Read != 0 {
		p[0] = 'r'
	}
	if v.Prot&platform.Write != 0 {
		p[1] = 'w'
	}
	if v.Prot&platform.Exec != 0 {
		p[2] = 'x'
	}
	if v.Private {
		p[3] = 'p'
	}
	return string(p)
}

// sums are the figures of smaps, in bytes.
type sums struct{ size, anonymous, file, locked uint64 }

func (s *sums) add(m *mm.MemoryManager, v *mm.VMA) {
	anonymous, file := m.Resident(v.Range)
	s.size += v.Length()
	s.anonymous += anonymous
	s.file += file
	if v.Locked {
		s.locked += v.Length()
	}
}

func writeSmaps(d *taskDir, m *mm.MemoryManager, c vfs.Caller, cursor uint64, b *bytes.Buffer) (uint64, bool, error) {
	next, more := eachVMA(m, cursor, b, func(v *mm.VMA) {
		var s sums
		s.add(m, v)
		d.fs.writeMapping(c, b, v)
		writeField(b, "Size", s.size)
		writeField(b, "KernelPageSize", mm.PageSize)
		writeField(b, "MMUPageSize", mm.PageSize)
		s.write(b, false)
		b.WriteString("THPeligible:           0\nVmFlags: " + vmFlags(v) + "\n")
	})
	return next, more, nil
}

func writeSmapsRollup(d *taskDir, m *mm.MemoryManager, c vfs.Caller, _ uint64, b *bytes.Buffer) (uint64, bool, error) {
	var s sums
	whole := mm.VMA{Private: true, Name: "[rollup]"}
	m.VMAs(func(v mm.VMA) bool {
		if s.size == 0 {
			whole.Start = v.Start
		}
		whole.End = v.End
		s.add(m, &v)
		return !c.Interrupted()
	})
	d.fs.writeMapping(c, b, &whole)
	s.write(b, true)
	return 0, false, nil
}

func writeField(b *bytes.Buffer, name string, bytes uint64) {
	fmt.Fprintf(b, "%-16s%8d kB\n", name+":", bytes/1024)
}

// write writes the sums. All memory counts as private: how often a page is
// shared is not known.
func (s *sums) write(b *bytes.Buffer, rollup bool) {
	fields := []struct {
		name  string
		value uint64
	}{
		{"Rss", s.anonymous + s.file}, {"Pss", s.anonymous + s.file}, {"Pss_Dirty", s.anonymous},
		{"Pss_Anon", s.anonymous}, {"Pss_File", s.file}, {"Pss_Shmem", 0},
		{"Shared_Clean", 0}, {"Shared_Dirty", 0}, {"Private_Clean", s.file}, {"Private_Dirty", s.anonymous},
		{"Referenced", s.anonymous + s.file}, {"Anonymous", s.anonymous}, {"KSM", 0}, {"LazyFree", 0},
		{"AnonHugePages", 0}, {"ShmemPmdMapped", 0}, {"FilePmdMapped", 0}, {"Shared_Hugetlb", 0},
		{"Private_Hugetlb", 0}, {"Swap", 0}, {"SwapPss", 0}, {"Locked", s.locked},
	}
	for _, f := range fields {
		if strings.HasPrefix(f.name, "Pss_") && f.name != "Pss_Dirty" && !rollup {
			continue
		}
		writeField(b, f.name, f.value)
	}
}

// vmFlags are the two-letter flags of smaps.
func vmFlags(v *mm.VMA) string {
	var list []string
	for _, f := range []struct {
		name string
		on   bool
	}{
		{"rd", v.Prot&platform.Read != 0}, {"wr", v.Prot&platform.Write != 0},
		{"ex", v.Prot&platform.Exec != 0}, {"sh", !v.Private},
		{"mr", v.MaxProt&platform.Read != 0}, {"mw", v.MaxProt&platform.Write != 0},
		{"me", v.MaxProt&platform.Exec != 0}, {"ms", !v.Private}, {"gd", v.GrowsDown}, {"lo", v.Locked},
		{"dc", v.DontFork}, {"de", v.DontExpand}, {"nr", v.NoReserve}, {"wf", v.WipeOnFork}, {"dd", v.DontDump}, {"sl", v.Sealed},
	} {
		if f.on {
			list = append(list, f.name)
		}
	}
	return strings.Join(list, " ") + " "
}
