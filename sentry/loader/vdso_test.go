package loader

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"gosentry/mm"
	"gosentry/sentry/ktime"
)

// newVDSO returns a vDSO in a memory file of its own.
func newVDSO(t testing.TB, c VDSOConfig) (*mm.MemoryFile, *VDSO) {
	t.Helper()
	f, err := mm.NewMemoryFile(16 << 20)
	if err != nil {
		t.Fatal(err)
	}
	v, err := NewVDSO(f, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		v.Release()
		f.Release()
	})
	return f, v
}

// TestParamOffsets holds the code's idea of ktime.Page to what it is.
func TestParamOffsets(t *testing.T) {
	page, clock := reflect.TypeFor[ktime.Page](), reflect.TypeFor[ktime.Time]()
	for name, want := range map[string]uintptr{
		"Seq": paramSeq, "Mode": paramMode, "Base": paramBase, "Span": paramSpan,
		"Mult": paramMult, "Mono": paramMono, "Real": paramReal, "Boot": paramBoot,
		"Seconds": clockSeconds, "Nanoseconds": clockNanoseconds,
	} {
		f, ok := page.FieldByName(name)
		if !ok {
			f, ok = clock.FieldByName(name)
		}
		if !ok || f.Offset != want {
			t.Errorf("%s is at %d, not %d", name, f.Offset, want)
		}
	}
	if ktime.ModeTSC != paramModeTSC || ktime.ModeCall == paramModeTSC {
		t.Error("the modes differ")
	}
}

// TestVDSORuns maps the vDSO in a C program, with clocks that are kept up to date
// meanwhile, and without any.
func TestVDSORuns(t *testing.T) {
	for _, c := range []struct {
		name   string
		clocks bool
		config VDSOConfig
	}{
		{"by calls", false, VDSOConfig{}},
		{"by calls, host's processors", false, VDSOConfig{HostCPU: true}},
		{"by the counter", true, VDSOConfig{HostCPU: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, v := newVDSO(t, c.config)
			fast := c.clocks && keepTime(t, v)
			if c.clocks && !fast {
				t.Skip("no usable time-stamp counter")
			}
			runVDSO(t, f, v, fast)
		})
	}
}

// keepTime attaches clocks to v and reads them all the time, so that the parameters change. It
// returns false where there is no counter to compute with.
func keepTime(t *testing.T, v *VDSO) bool {
	k := ktime.New(ktime.Config{})
	if err := k.Attach(v.Params()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); k.Params().Mode != ktime.ModeTSC; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
		k.Monotonic().Now()
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for tick := time.NewTicker(time.Millisecond); ; {
			select {
			case <-stop:
				tick.Stop()
				return
			case <-tick.C:
				k.Realtime().Now()
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-stopped
	})
	return true
}

func runVDSO(t *testing.T, f *mm.MemoryFile, v *VDSO, fast bool) {
	dir := t.TempDir()
	prog := filepath.Join(dir, "vdso")
	if out, err := exec.Command("cc", "-O1", "-Wall", "-pthread", "-o", prog, "testdata/vdso.c", "-ldl", "-lgcc_s").CombinedOutput(); err != nil {
		t.Skipf("no C compiler: %v\n%s", err, out)
	}
	image := filepath.Join(dir, "vdso.so")
	if err := os.WriteFile(image, f.Bytes(v.off+mm.PageSize, mm.PageSize), 0o600); err != nil {
		t.Fatal(err)
	}
	fd := "0"
	if fast {
		fd = "1"
	}
	cmd := exec.Command(prog, strconv.FormatUint(v.off, 10), image, fd)
	cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(dup(t, f.FD())), "memory")}
	defer cmd.ExtraFiles[0].Close()
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "ok\n") {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// TestThousandth divides as the code does.
func TestThousandth(t *testing.T) {
	check := func(ns uint64) {
		if got := ns * thousandth >> thousandthBits; got != ns/1000 {
			t.Fatalf("%d ns are %d us", ns, got)
		}
	}
	for us := range uint64(nsPerSecond / 1000) {
		check(1000 * us)
		check(1000*us + 999)
	}
}

// TestVDSOHeaders reads the image as debuggers do.
func TestVDSOHeaders(t *testing.T) {
	image, err := vdsoImage(VDSOConfig{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(strings.NewReader(string(image)))
	if err != nil {
		t.Fatal(err)
	}
	if f.Type != elf.ET_DYN || f.Machine != elf.EM_X86_64 || len(f.Progs) != vdsoPhdrs {
		t.Errorf("%+v", f.FileHeader)
	}
	load := f.Progs[0]
	if load.Type != elf.PT_LOAD || load.Flags != elf.PF_R|elf.PF_X || load.Filesz != uint64(len(image)) || load.Memsz != load.Filesz {
		t.Errorf("%+v", load.ProgHeader)
	}
	for _, p := range f.Progs {
		if p.Off+p.Filesz > uint64(len(image)) || p.Off != p.Vaddr || p.Flags&elf.PF_W != 0 {
			t.Errorf("%+v", p.ProgHeader)
		}
	}
}
