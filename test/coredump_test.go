package test

import (
	"debug/elf"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestCoreDump looks into the core file of a program with two threads.
func TestCoreDump(t *testing.T) {
	program := compile(t, "testdata/core.c")
	eachPlatform(t, func(t *testing.T, platform string) {
		dir := t.TempDir()
		flags := []string{"--rw", dir, "--cwd", dir}
		r := command{argv: []string{"sh", "-c", program + "; echo $?"}, flags: flags}.sandbox(t, platform)
		out := strings.Fields(r.stdout)
		if len(out) != 2 || out[1] != "134" {
			t.Fatalf("the program did not abort: %v", r)
		}
		core, err := elf.Open(filepath.Join(dir, "core"))
		if err != nil {
			t.Fatal(err)
		}
		defer core.Close()
		if core.Type != elf.ET_CORE || core.Machine != elf.EM_X86_64 {
			t.Errorf("a file of %v for %v", core.Type, core.Machine)
		}
		if n := countNotes(t, core, 1); n != 2 {
			t.Errorf("registers of %d threads, want 2", n)
		}
		at, err := strconv.ParseUint(strings.TrimPrefix(out[0], "0x"), 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		if first, second := wordAt(t, core, at), wordAt(t, core, at+8); first != 0x1122334455667788 || second != 0x99 {
			t.Errorf("the data reads %#x, %#x", first, second)
		}
	})
}

// TestCoreDumpLimits: no core file without room for one, and no link is followed.
func TestCoreDumpLimits(t *testing.T) {
	program := compile(t, "testdata/core.c")
	eachPlatform(t, func(t *testing.T, platform string) {
		dir := t.TempDir()
		flags := []string{"--rw", dir, "--cwd", dir}
		run := func(script string) string {
			r := command{argv: []string{"sh", "-c", script}, flags: flags}.sandbox(t, platform)
			return r.stdout + r.stderr
		}
		if out := run(program + " 0 >/dev/null; ls"); strings.Contains(out, "core") {
			t.Errorf("a limit of 0 gave %q", out)
		}
		if out := run("echo keep >kept; ln -s kept core; " + program + " >/dev/null; cat kept"); !strings.Contains(out, "keep") || strings.Contains(out, "dumped") {
			t.Errorf("through a link: %q", out)
		}
		if out := run("rm core; " + program + " 8192 >/dev/null"); !strings.Contains(out, "dumped") {
			t.Errorf("a cut file does not count as dumped: %q", out)
		}
		if info, err := os.Stat(filepath.Join(dir, "core")); err != nil || info.Size() > 8192 {
			t.Errorf("the cut file: %v, %v", info, err)
		}
	})
}

// TestCorePattern: the file's name follows the pattern, which no program can be in.
func TestCorePattern(t *testing.T) {
	needRoot(t)
	program := compile(t, "testdata/core.c")
	script := `k=/proc/sys/kernel
try() { echo "$1" >$k/core_pattern; cat $k/core_pattern; rm -rf d; mkdir -p d/e; ` + program + ` >/dev/null & p=$!; wait $p; find . -type f | sed "s/\.$p\b/.PID/"; }
try 'd/%e-%f.%p.%s%%%' 2>/dev/null
try "$PWD/d/e/%E-%u-%h" 2>/dev/null | sed "s/-$(hostname)$/-HOST/"
try 'd/no/such' 2>/dev/null
echo 1 >$k/core_uses_pid
try 'd/x' 2>/dev/null
echo '|/bin/touch x' >$k/core_pattern 2>/dev/null || cat $k/core_pattern`
	name := filepath.Base(program)
	want := "d/%e-%f.%p.%s%%%\n./d/" + name[:min(len(name), 15)] + "-" + name + ".PID.6%\n"
	eachPlatform(t, func(t *testing.T, platform string) {
		dir := t.TempDir()
		r := command{argv: []string{"sh", "-c", script}, flags: []string{"--rw", dir, "--cwd", dir}}.sandbox(t, platform)
		if !strings.HasPrefix(r.stdout, want) {
			t.Errorf("%q does not begin with %q", r.stdout, want)
		}
		_, rest, _ := strings.Cut(r.stdout, want)
		path := strings.ReplaceAll(program, "/", "!")
		if more := dir + "/d/e/%E-%u-%h\n./d/e/" + path + "-0-HOST\nd/no/such\nd/x\n./d/x.PID\nd/x\n"; rest != more {
			t.Errorf("%q, want %q", rest, more)
		}
	})
}

// countNotes counts the notes of a type.
func countNotes(t *testing.T, core *elf.File, kind uint32) (n int) {
	t.Helper()
	for _, p := range core.Progs {
		if p.Type != elf.PT_NOTE {
			continue
		}
		b, err := io.ReadAll(p.Open())
		if err != nil {
			t.Fatal(err)
		}
		for len(b) >= 12 {
			name, desc := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
			if binary.LittleEndian.Uint32(b[8:]) == kind {
				n++
			}
			b = b[12+(name+3)&^3+(desc+3)&^3:]
		}
	}
	return n
}

// wordAt reads eight bytes of the dumped memory.
func wordAt(t *testing.T, core *elf.File, addr uint64) uint64 {
	t.Helper()
	for _, p := range core.Progs {
		if p.Type == elf.PT_LOAD && p.Vaddr <= addr && addr+8 <= p.Vaddr+p.Filesz {
			var b [8]byte
			if _, err := p.ReadAt(b[:], int64(addr-p.Vaddr)); err != nil {
				t.Fatal(err)
			}
			return binary.LittleEndian.Uint64(b[:])
		}
	}
	t.Fatalf("no segment holds %#x", addr)
	return 0
}
