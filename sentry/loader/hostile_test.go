package loader

import (
	"bytes"
	"debug/elf"
	"math/rand/v2"
	"testing"

	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// elfSpec describes a small ELF file. Zero values make one that can be loaded.
type elfSpec struct {
	dynamic  bool
	interp   string // with its NUL unless noNUL is set
	noNUL    bool
	segments []segment // nil: one of code and one of data
	edit     func(b []byte)
}

const specBase = 0x400000

// specSegments are a page of code, and data with bss behind it.
func specSegments() []segment {
	return []segment{
		{typ: elf.PT_LOAD, flags: elf.PF_R | elf.PF_X, off: 0, vaddr: specBase, filesz: 0x1000, memsz: 0x1000, align: 0x1000},
		{typ: elf.PT_LOAD, flags: elf.PF_R | elf.PF_W, off: 0x1000, vaddr: specBase + 0x1000, filesz: 0x123, memsz: 0x3000, align: 0x1000},
	}
}

// build makes a file of three pages that are filled with 0xaa behind the headers.
func build(s elfSpec) []byte {
	b := bytes.Repeat([]byte{0xaa}, 3*mm.PageSize)
	clear(b[:0x400])
	base := uint64(specBase)
	if s.segments == nil {
		s.segments = specSegments()
		if s.dynamic {
			base = 0
			for i := range s.segments {
				s.segments[i].vaddr -= specBase
			}
		}
	}
	if s.interp != "" {
		n := uint64(copy(b[0x300:], s.interp))
		if !s.noNUL {
			n++
		}
		s.segments = append(s.segments, segment{typ: elf.PT_INTERP, off: 0x300, vaddr: base + 0x300, filesz: n, memsz: n})
	}
	h := &imageBuilder{}
	h.bytes = append(h.bytes, elf.ELFMAG...)
	h.bytes = append(h.bytes, byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1)
	h.grow(elfIdentEnd - len(h.bytes))
	typ := elf.ET_EXEC
	if s.dynamic {
		typ = elf.ET_DYN
	}
	h.u16(uint16(typ), uint16(elf.EM_X86_64))
	h.u32(1)
	h.u64(base+0x800, ehdrSize, 0)
	h.u32(0)
	h.u16(ehdrSize, phdrSize, uint16(len(s.segments)), 0, 0, 0)
	for _, p := range s.segments {
		h.u32(uint32(p.typ), uint32(p.flags))
		h.u64(p.off, p.vaddr, p.vaddr, p.filesz, p.memsz, p.align)
	}
	copy(b, h.bytes)
	if s.edit != nil {
		s.edit(b)
	}
	return b
}

// second returns the segments of specSegments with the second one changed.
func second(edit func(*segment)) []segment {
	s := specSegments()
	edit(&s[1])
	return s
}

// hostileFiles are files with the error that loading each gives; 0 means that it is loaded.
func hostileFiles() map[string]struct {
	file []byte
	want unix.Errno
} {
	type row = struct {
		file []byte
		want unix.Errno
	}
	seg := func(edit func(*segment)) []byte { return build(elfSpec{segments: second(edit)}) }
	head := func(edit func(b []byte)) []byte { return build(elfSpec{edit: edit}) }
	return map[string]row{
		"good":               {build(elfSpec{}), 0},
		"empty":              {nil, unix.ENOEXEC},
		"one byte":           {[]byte{0x7f}, unix.ENOEXEC},
		"magic only":         {[]byte(elf.ELFMAG), unix.ENOEXEC},
		"header only":        {build(elfSpec{})[:ehdrSize], unix.ENOEXEC},
		"headers cut":        {build(elfSpec{})[:ehdrSize+100], unix.ENOEXEC},
		"text":               {bytes.Repeat([]byte("echo hello\n"), 100), unix.ENOEXEC},
		"32 bits":            {head(func(b []byte) { b[4] = 1 }), unix.ENOEXEC},
		"big endian":         {head(func(b []byte) { b[5] = 2 }), unix.ENOEXEC},
		"relocatable":        {head(func(b []byte) { b[16] = byte(elf.ET_REL) }), unix.ENOEXEC},
		"core":               {head(func(b []byte) { b[16] = byte(elf.ET_CORE) }), unix.ENOEXEC},
		"arm64":              {head(func(b []byte) { b[18] = byte(elf.EM_AARCH64) }), unix.ENOEXEC},
		"phentsize":          {head(func(b []byte) { b[54]-- }), unix.ENOEXEC},
		"phnum 0":            {head(func(b []byte) { b[56] = 0 }), unix.ENOEXEC},
		"phnum 65535":        {head(func(b []byte) { le.PutUint16(b[56:], 0xffff) }), unix.ENOEXEC},
		"phnum beyond file":  {head(func(b []byte) { le.PutUint16(b[56:], maxPhdrs) }), unix.ENOEXEC},
		"phoff beyond file":  {head(func(b []byte) { le.PutUint64(b[32:], 1<<40) }), unix.ENOEXEC},
		"phoff negative":     {head(func(b []byte) { le.PutUint64(b[32:], 1<<63) }), unix.ENOEXEC},
		"phoff wraps":        {head(func(b []byte) { le.PutUint64(b[32:], ^uint64(0)-10) }), unix.ENOEXEC},
		"phoff in garbage":   {head(func(b []byte) { le.PutUint64(b[32:], 0x1000) }), unix.EINVAL},
		"entry in kernel":    {head(func(b []byte) { le.PutUint64(b[24:], 0xffffffff80000000) }), unix.EINVAL},
		"no PT_LOAD":         {build(elfSpec{segments: []segment{{typ: elf.PT_NULL}}}), unix.EINVAL},
		"filesz over memsz":  {seg(func(s *segment) { s.filesz = s.memsz + 1 }), unix.EINVAL},
		"memsz huge":         {seg(func(s *segment) { s.memsz = 1 << 62 }), unix.EINVAL},
		"memsz all ones":     {seg(func(s *segment) { s.memsz = ^uint64(0) }), unix.EINVAL},
		"filesz all ones":    {seg(func(s *segment) { s.filesz, s.memsz = ^uint64(0), ^uint64(0) }), unix.EINVAL},
		"filesz beyond file": {seg(func(s *segment) { s.filesz, s.memsz = 1<<30, 1<<30 }), 0},
		"vaddr in kernel":    {seg(func(s *segment) { s.vaddr = 0xffffffff80001000 }), unix.EINVAL},
		"vaddr wraps":        {seg(func(s *segment) { s.vaddr = ^uint64(0) - 0xfff }), unix.EINVAL},
		"vaddr not mappable": {seg(func(s *segment) { s.vaddr, s.off = 0x1000, 0x1000 }), unix.EPERM},
		"vaddr unaligned":    {seg(func(s *segment) { s.vaddr += 8 }), unix.EINVAL},
		"offset unaligned":   {seg(func(s *segment) { s.off++ }), unix.EINVAL},
		"offset huge":        {seg(func(s *segment) { s.off = 1 << 63 }), unix.EINVAL},
		"offset all ones":    {seg(func(s *segment) { s.off = ^uint64(0) &^ 0xfff }), unix.EINVAL},
		"offset beyond file": {seg(func(s *segment) { s.off = 1 << 40; s.flags = elf.PF_R }), 0},
		"bss beyond file":    {seg(func(s *segment) { s.off = 1 << 40 }), unix.EFAULT},
		"align no power":     {seg(func(s *segment) { s.align = 12345 }), 0},
		"align huge":         {seg(func(s *segment) { s.align = 1 << 63 }), 0},
		"overlapping":        {seg(func(s *segment) { s.vaddr, s.off = specBase, 0 }), 0},
		"backwards":          {seg(func(s *segment) { s.vaddr, s.memsz = specBase-0x3000, 0x1000 }), 0},
		"gap":                {seg(func(s *segment) { s.vaddr += 1 << 30 }), 0},
		"empty segment":      {seg(func(s *segment) { s.filesz, s.memsz = 0, 0 }), 0},
		"read-only bss":      {seg(func(s *segment) { s.flags = elf.PF_R }), 0},
		"no rights":          {seg(func(s *segment) { s.flags = 0 }), 0},
		"over the stack":     {seg(func(s *segment) { s.vaddr, s.memsz = 0x7fffffff0000, 0xf000 }), unix.EEXIST},
	}
}

func TestHostileFiles(t *testing.T) {
	for name, c := range hostileFiles() {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			e.files["/p"] = c.file
			a := e.args("/p", []string{"p"}, nil)
			a.NoRandomize = true
			img, _, err := e.load(a)
			if c.want == 0 && err != nil || c.want != 0 && err != c.want {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if err == nil && img.Entry != specBase+0x800 {
				t.Errorf("entry %#x", img.Entry)
			}
		})
	}
}

func TestHostileInterpreters(t *testing.T) {
	long := string(bytes.Repeat([]byte{'x'}, 0x80))
	for _, c := range []struct {
		name string
		file []byte
		want error
	}{
		{"not there", build(elfSpec{interp: "/gone"}), unix.ENOENT},
		{"a directory", build(elfSpec{interp: "/directory"}), unix.EACCES},
		{"empty", build(elfSpec{interp: "/empty"}), unix.ELIBBAD},
		{"text", build(elfSpec{interp: "/text"}), unix.ELIBBAD},
		{"a script", build(elfSpec{interp: "/script"}), unix.ELIBBAD},
		{"for arm64", build(elfSpec{interp: "/arm"}), unix.ELIBBAD},
		{"with an interpreter", build(elfSpec{interp: "/withinterp"}), nil},
		{"not movable", build(elfSpec{dynamic: true, interp: "/exec"}), nil},
		{"in the program's place", build(elfSpec{interp: "/exec"}), unix.EEXIST},
		{"name not terminated", build(elfSpec{interp: "/good", noNUL: true}), unix.ENOEXEC},
		{"name of one byte", build(elfSpec{interp: "\x00", noNUL: true}), unix.ENOEXEC},
		{"name too long", build(elfSpec{interp: long, edit: func(b []byte) {
			le.PutUint64(b[ehdrSize+2*phdrSize+32:], maxInterp+1)
		}}), unix.ENOEXEC},
		{"name beyond the file", build(elfSpec{interp: "/good", edit: func(b []byte) {
			le.PutUint64(b[ehdrSize+2*phdrSize+8:], 1<<40)
		}}), unix.EIO},
		{"name with a NUL inside", build(elfSpec{interp: "/good\x00junk"}), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnv(t)
			e.files["/p"] = c.file
			e.files["/good"] = build(elfSpec{dynamic: true})
			e.files["/exec"] = build(elfSpec{})
			e.files["/withinterp"] = build(elfSpec{dynamic: true, interp: "/gone"})
			e.files["/empty"] = nil
			e.files["/text"] = []byte("text")
			e.files["/script"] = []byte("#!/good\n")
			e.files["/arm"] = build(elfSpec{dynamic: true, edit: func(b []byte) { b[18] = byte(elf.EM_AARCH64) }})
			if _, _, err := e.load(e.args("/p", nil, nil)); err != c.want {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}

// TestBss looks at the border between a file's bytes and zeros.
func TestBss(t *testing.T) {
	e := newEnv(t)
	e.files["/p"] = build(elfSpec{})
	_, m, err := e.load(e.args("/p", nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	data := read(t, m, specBase+0x1000, 0x3000)
	if !bytes.Equal(data[:0x123], bytes.Repeat([]byte{0xaa}, 0x123)) || len(bytes.Trim(data[0x123:], "\x00")) != 0 {
		t.Errorf("data and bss: %x", data[0x120:0x130])
	}
	if got := e.files["/p"][0x1123]; got != 0xaa {
		t.Error("the file changed")
	}
	if _, again, err := e.load(e.args("/p", nil, nil)); err != nil || !bytes.Equal(read(t, again, specBase+0x1000, 0x3000), data) {
		t.Errorf("loaded once more it differs: %v", err)
	}
	e.files["/p"] = build(elfSpec{segments: second(func(s *segment) { s.flags = elf.PF_R })})
	_, m, err = e.load(e.args("/p", nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, m, specBase+0x1123, 1)[0]; got != 0xaa {
		t.Errorf("read-only page: %#x behind the file's part", got)
	}
}

// TestGaps checks that what lies between segments is free again.
func TestGaps(t *testing.T) {
	e := newEnv(t)
	e.files["/p"] = build(elfSpec{segments: second(func(s *segment) { s.vaddr += 1 << 30 })})
	_, m, err := e.load(e.args("/p", nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := m.FindVMA(specBase + 0x5000); ok && v.Start <= specBase+0x5000 {
		t.Errorf("the gap holds %+v", v)
	}
}

// FuzzLoad loads any bytes, which are their own interpreter too.
func FuzzLoad(f *testing.F) {
	for _, c := range hostileFiles() {
		f.Add(c.file)
	}
	f.Add(build(elfSpec{dynamic: true}))
	f.Add(build(elfSpec{dynamic: true, interp: "/p"}))
	f.Add([]byte("#!/p a b\n"))
	e := newEnv(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<20 {
			t.Skip()
		}
		e.t, e.files["/p"] = t, data
		img, m, err := e.load(e.args("/p", []string{"p"}, []string{"A=b"}))
		if err != nil {
			return
		}
		checkSpace(t, img, m)
		parseStack(t, m, img.SP)
	})
}

// checkSpace checks what holds for every loaded program.
func checkSpace(t testing.TB, img Image, m *mm.MemoryManager) {
	t.Helper()
	lo, hi := uint64(img.Layout.Min), uint64(img.Layout.Max)
	if img.Entry >= hi || img.SP < lo || img.SP >= hi || img.SP%16 != 0 || img.Exec == nil {
		t.Errorf("%+v", img)
	}
	last := lo
	m.VMAs(func(v mm.VMA) bool {
		if uint64(v.Start) < last || v.End <= v.Start || uint64(v.End) > hi {
			t.Errorf("vma %#x-%#x", v.Start, v.End)
		}
		last = uint64(v.End)
		return true
	})
	for _, r := range []mm.Range{img.Layout.Args, img.Layout.Env} {
		if r.End < r.Start || uint64(r.End) > hi {
			t.Errorf("range %#x", r)
		}
	}
}

// TestRandomSegments loads files whose segments have interesting numbers at random places.
func TestRandomSegments(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	numbers := []uint64{
		0, 1, 0x123, 0xfff, 0x1000, 0x1001, 0x2000, 0x5000, 0x200000, specBase, 1 << 30, 1 << 40,
		0x7ffff0000000, 0x7fffffffe000, 0x7fffffffefff, 0x7ffffffff000, 1 << 47, 1 << 62, 1<<63 - 1, 1 << 63, ^uint64(0) &^ 0xfff, ^uint64(0),
	}
	number := func(likely uint64) uint64 {
		switch r.IntN(5) {
		case 0:
			return numbers[r.IntN(len(numbers))]
		case 1:
			return likely + numbers[r.IntN(len(numbers))]
		}
		return likely
	}
	e := newEnv(t)
	loaded := 0
	for range 3000 {
		spec := elfSpec{dynamic: r.IntN(2) == 0, segments: make([]segment, 1+r.IntN(5))}
		for i := range spec.segments {
			page := uint64(i) * 0x4000
			s := segment{typ: elf.PT_LOAD, flags: elf.ProgFlag(r.IntN(8)), off: number(0x1000), vaddr: number(specBase + page), filesz: number(0x800), align: number(0x1000)}
			s.memsz = number(s.filesz)
			if r.IntN(8) == 0 {
				s.typ = elf.PT_GNU_STACK
			}
			spec.segments[i] = s
		}
		if r.IntN(3) == 0 {
			spec.interp = "/p"
		}
		e.files["/p"] = build(spec)
		t.Run("", func(t *testing.T) {
			e.t = t
			img, m, err := e.load(e.args("/p", []string{"p"}, nil))
			if err == nil {
				loaded++
				checkSpace(t, img, m)
				parseStack(t, m, img.SP)
			}
			if t.Failed() {
				t.Logf("%+v", spec)
			}
		})
	}
	e.t = t
	if loaded < 100 {
		t.Errorf("only %d files were loaded: the test shows nothing", loaded)
	}
}
