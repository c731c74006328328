package loader

import (
	"bytes"
	"debug/elf"
	"os"
	"strings"
	"testing"

	"gosentry/mm"
	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/limits"

	"github.com/google/go-cmp/cmp"
)

// firstStack is the stack of a new program, as its first instructions see it.
type firstStack struct {
	argv, envv []string
	aux        []abi.AuxEntry
}

func (s *firstStack) get(key uint64) uint64 {
	for _, e := range s.aux {
		if e.Key == key {
			return e.Value
		}
	}
	return 0
}

func parseStack(t testing.TB, m *mm.MemoryManager, sp uint64) *firstStack {
	t.Helper()
	word := func() uint64 {
		v := le.Uint64(read(t, m, sp, 8))
		sp += 8
		return v
	}
	s := new(firstStack)
	argc := word()
	for p := word(); p != 0; p = word() {
		s.argv = append(s.argv, readString(t, m, p))
	}
	if argc != uint64(len(s.argv)) {
		t.Errorf("argc %d, %d arguments", argc, len(s.argv))
	}
	for p := word(); p != 0; p = word() {
		s.envv = append(s.envv, readString(t, m, p))
	}
	for {
		e := abi.AuxEntry{Key: word(), Value: word()}
		if e.Key == abi.AtNull {
			return s
		}
		s.aux = append(s.aux, e)
	}
}

const programSource = `int x = 5, y[5000]; int main(void) { return x + y[4000]; }`

// TestLoadPrograms loads what the host's compiler makes.
func TestLoadPrograms(t *testing.T) {
	for _, c := range []struct {
		name  string
		flags []string
	}{
		{"dynamic PIE", []string{"-pie", "-fPIE"}},
		{"dynamic", []string{"-no-pie"}},
		{"static", []string{"-static", "-no-pie"}},
		{"static PIE", []string{"-static-pie", "-fPIE"}},
		{"pages of 2 MiB", []string{"-static-pie", "-fPIE", "-Wl,-z,max-page-size=0x200000"}},
		{"executable stack", []string{"-static", "-no-pie", "-z", "execstack"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnv(t)
			e.files["/bin/prog"] = compile(t, programSource, c.flags...)
			f, err := elf.NewFile(bytes.NewReader(e.files["/bin/prog"]))
			if err != nil {
				t.Fatal(err)
			}
			if name := interpOf(t, f); name != "" {
				if e.files[name], err = os.ReadFile(name); err != nil {
					t.Skip(err)
				}
			}
			img, m, err := e.load(e.args("/bin/prog", []string{"prog", "a b", ""}, []string{"X=1", "Y="}))
			if err != nil {
				t.Fatal(err)
			}
			checkImage(t, e, f, img, m)
			checkStack(t, img, m)
			if exec := c.name == "executable stack"; exec != stackExec(m, img.SP) {
				t.Errorf("stack executable: %v", !exec)
			}
		})
	}
}

func interpOf(t *testing.T, f *elf.File) string {
	t.Helper()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b := make([]byte, p.Filesz)
			if _, err := p.ReadAt(b, 0); err != nil {
				t.Fatal(err)
			}
			return strings.TrimRight(string(b), "\x00")
		}
	}
	return ""
}

func stackExec(m *mm.MemoryManager, sp uint64) bool {
	v, ok := m.FindVMA(mm.Addr(sp))
	return ok && v.Prot&platform.Exec != 0
}

// checkImage compares what is mapped with the file's segments.
func checkImage(t *testing.T, e *env, f *elf.File, img Image, m *mm.MemoryManager) {
	t.Helper()
	aux := parseStack(t, m, img.SP)
	bias := aux.get(abi.AtEntry) - f.Entry
	if (f.Type == elf.ET_EXEC) != (bias == 0) || bias%mm.PageSize != 0 {
		t.Errorf("moved by %#x", bias)
	}
	end := uint64(0)
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		want := make([]byte, p.Memsz)
		if _, err := p.ReadAt(want[:p.Filesz], 0); err != nil {
			t.Fatal(err)
		}
		if got := read(t, m, p.Vaddr+bias, p.Memsz); !bytes.Equal(got, want) {
			t.Errorf("segment at %#x differs", p.Vaddr)
		}
		v, ok := m.FindVMA(mm.Addr(p.Vaddr + bias))
		if !ok || v.Prot != protOf(p.Flags) {
			t.Errorf("segment at %#x: rights %v, want %v", p.Vaddr, v.Prot, p.Flags)
		}
		end = max(end, p.Vaddr+bias+p.Memsz)
		if bias%p.Align != 0 && p.Align <= maxAlign {
			t.Errorf("moved by %#x, not aligned to %#x", bias, p.Align)
		}
	}
	phdrs := aux.get(abi.AtPhdr)
	if got := read(t, m, phdrs, uint64(len(f.Progs))*phdrSize); decodeSegment(got).vaddr != f.Progs[0].Vaddr {
		t.Errorf("AT_PHDR %#x does not show the program headers", phdrs)
	}
	if f.Type == elf.ET_EXEC && uint64(img.Layout.BrkStart) < end {
		t.Errorf("heap at %#x, the program ends at %#x", img.Layout.BrkStart, end)
	}
	if m.Brk(0) != img.Layout.BrkStart || m.Brk(img.Layout.BrkStart+100000) != img.Layout.BrkStart+100000 {
		t.Error("the heap does not grow")
	}
	interp := interpOf(t, f)
	if (interp != "") != (img.InterpBase != 0) || aux.get(abi.AtBase) != img.InterpBase {
		t.Errorf("interpreter %q at %#x", interp, img.InterpBase)
	}
	if interp == "" && img.Entry != f.Entry+bias {
		t.Errorf("entry %#x", img.Entry)
	}
	if interp != "" && string(read(t, m, img.InterpBase, 4)) != elf.ELFMAG {
		t.Error("AT_BASE does not show the interpreter")
	}
}

// checkStack looks at the first stack of a program that was loaded as TestLoadPrograms does.
func checkStack(t *testing.T, img Image, m *mm.MemoryManager) {
	t.Helper()
	s := parseStack(t, m, img.SP)
	if img.SP%16 != 0 {
		t.Errorf("sp %#x", img.SP)
	}
	if d := cmp.Diff([][]string{{"prog", "a b", ""}, {"X=1", "Y="}}, [][]string{s.argv, s.envv}); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(img.Auxv, s.aux); d != "" {
		t.Error(d)
	}
	for key, want := range map[uint64]uint64{
		abi.AtPagesz: 4096, abi.AtPhent: phdrSize, abi.AtClktck: 100, abi.AtUID: 1000, abi.AtEUID: 1000,
		abi.AtGID: 1001, abi.AtEGID: 1001, abi.AtSecure: 0, abi.AtHwcap2: arch.HWCap2(),
	} {
		if got := s.get(key); got != want {
			t.Errorf("auxv %d: %d, want %d", key, got, want)
		}
	}
	if got := readString(t, m, s.get(abi.AtExecfn)); got != "/bin/prog" {
		t.Errorf("AT_EXECFN %q", got)
	}
	if got := readString(t, m, s.get(abi.AtPlatform)); got != "x86_64" {
		t.Errorf("AT_PLATFORM %q", got)
	}
	if got := read(t, m, s.get(abi.AtRandom), 16); bytes.Equal(got, make([]byte, 16)) {
		t.Error("AT_RANDOM is all zeros")
	}
	if got := read(t, m, s.get(abi.AtSysinfoEhdr), 4); string(got) != elf.ELFMAG {
		t.Errorf("AT_SYSINFO_EHDR: %q", got)
	}
	l := img.Layout
	if got := string(read(t, m, uint64(l.Args.Start), l.Args.Length())); got != "prog\x00a b\x00\x00" {
		t.Errorf("arguments' range: %q", got)
	}
	if got := string(read(t, m, uint64(l.Env.Start), l.Env.Length())); got != "X=1\x00Y=\x00" {
		t.Errorf("environment's range: %q", got)
	}
	if img.Comm != "prog" || m.Layout() != l {
		t.Errorf("comm %q, layout %+v", img.Comm, l)
	}
}

// TestAuxvAsOnHost compares with this very process, which the host's kernel started.
func TestAuxvAsOnHost(t *testing.T) {
	b, err := os.ReadFile("/proc/self/auxv")
	if err != nil {
		t.Skip(err)
	}
	host := make(map[uint64]uint64)
	var order []uint64
	for ; len(b) >= abi.AuxEntrySize; b = b[abi.AuxEntrySize:] {
		host[le.Uint64(b)] = le.Uint64(b[8:])
		order = append(order, le.Uint64(b))
	}
	e := newEnv(t)
	e.files["/p"] = build(elfSpec{})
	img, _, err := e.load(e.args("/p", nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	last := -1
	for _, a := range img.Auxv {
		switch a.Key {
		case abi.AtHwcap, abi.AtHwcap2, abi.AtPagesz, abi.AtClktck, abi.AtPhent, abi.AtSecure, abi.AtFlags:
			if v, ok := host[a.Key]; ok && v != a.Value {
				t.Errorf("auxv %d: %#x, on the host %#x", a.Key, a.Value, v)
			}
		case abi.AtMinsigstksz:
			// Less than the host's where the host has AMX tiles, which guests have not.
			if v, ok := host[a.Key]; ok && (v < a.Value || a.Value != arch.MinSigStackSize()) {
				t.Errorf("AT_MINSIGSTKSZ %d, on the host %d", a.Value, v)
			}
		}
		for i, k := range order {
			if k == a.Key && i < last {
				t.Errorf("auxv %d comes later than on the host", k)
			} else if k == a.Key {
				last = i
			}
		}
	}
}

func TestNoRandomize(t *testing.T) {
	e := newEnv(t)
	e.files["/p"] = build(elfSpec{dynamic: true, interp: "/i"})
	e.files["/i"] = build(elfSpec{dynamic: true})
	var images [2][2]Image
	for i := range images {
		for j := range images[i] {
			a := e.args("/p", []string{"p"}, nil)
			a.NoRandomize = i == 1
			img, _, err := e.load(a)
			if err != nil {
				t.Fatal(err)
			}
			img.Exec, img.Auxv = nil, nil
			images[i][j] = img
		}
	}
	if r := images[0]; r[0].SP == r[1].SP || r[0].Entry == r[1].Entry || r[0].Layout.BrkStart == r[1].Layout.BrkStart || r[0].Layout.MMapBase == r[1].Layout.MMapBase {
		t.Errorf("not random: %+v %+v", r[0], r[1])
	}
	if r := images[1]; r[0].SP != r[1].SP || r[0].Entry != r[1].Entry || r[0].Layout != r[1].Layout {
		t.Errorf("random: %+v %+v", r[0], r[1])
	}
}

func TestArgumentLimits(t *testing.T) {
	e := newEnv(t)
	e.files["/p"] = build(elfSpec{})
	longest := strings.Repeat("x", abi.MaxArgStrlen-1)
	many := func(n int) []string { return strings.Split(strings.Repeat("y ", n-1)+"y", " ") }
	for _, c := range []struct {
		name       string
		argv, envv []string
		stack      uint64
		fits       bool
	}{
		{"longest string", []string{longest}, nil, 8 << 20, true},
		{"too long a string", []string{longest + "x"}, nil, 8 << 20, false},
		{"too long a variable", nil, []string{longest + "x"}, 8 << 20, false},
		{"a quarter of the stack", repeat(longest, 15), nil, 8 << 20, true},
		{"more than that", nil, repeat(longest, 16), 8 << 20, false},
		{"6 MiB", repeat(longest, 47), nil, limits.Infinity, true},
		{"more than 6 MiB", repeat(longest, 48), nil, limits.Infinity, false},
		{"pointers count", many(2<<20/10 - 1), nil, 8 << 20, true},
		{"too many pointers", many(2<<20/10 + 10), nil, 8 << 20, false},
		{"a small stack", []string{longest[:100000]}, nil, 4096, true},
		{"too much for it", []string{longest}, nil, 4096, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e.table[limits.Stack].Soft = c.stack
			img, m, err := e.load(e.args("/p", c.argv, c.envv))
			if (err == nil) != c.fits || err != nil && err.Error() != "argument list too long" {
				t.Fatalf("error %v", err)
			}
			if err != nil {
				return
			}
			s := parseStack(t, m, img.SP)
			if len(c.argv) > 0 && !cmp.Equal(s.argv, c.argv) || !cmp.Equal(s.envv, c.envv) {
				t.Error("the strings differ")
			}
		})
	}
}

func repeat(s string, n int) []string {
	v := make([]string, n)
	for i := range v {
		v[i] = s
	}
	return v
}

func TestNoArguments(t *testing.T) {
	e := newEnv(t)
	e.files["/p"] = build(elfSpec{})
	img, m, err := e.load(e.args("/p", nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	if s := parseStack(t, m, img.SP); !cmp.Equal(s.argv, []string{""}) {
		t.Errorf("argv %q, want one empty string", s.argv)
	}
}
