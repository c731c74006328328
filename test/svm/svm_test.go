// Package svm runs the KVM platform where ring 0 is real and paging is the processor's: QEMU emulates a
// processor with SVM and nested paging, Debian's kernel with kvm-amd boots on it, and inside run the platform's
// own tests and some of the guest programs, each compared with that kernel itself.
//
// "make svm-files" fetches QEMU, the kernel and busybox first; SENTRY_SVM names where they are. Everything is emulated and
// some hundred times slower than a machine, so timings mean nothing and the platform suite's test of
// many busy contexts is left out, and one of how much processor time calls take; so are those of what the emulator gets wrong: it makes no alignment checks, and lets user
// code enter virtual-8086 mode by IRET, which random code finds.
package svm

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// part is what of the tests a machine runs.
type part struct {
	name     string
	parts    int           // that it prints
	programs []string      // patterns of their sources
	limit    time.Duration // bounds the run
}

// TestSVM boots the machine. The smoke part is what it runs unless SENTRY_TEST_ALL is set.
func TestSVM(t *testing.T) {
	p := part{"smoke", 2, []string{"guest/forks.c"}, 8 * time.Minute}
	if os.Getenv("SENTRY_TEST_ALL") != "" {
		p = part{"whole", 5, []string{"guest/*.c", "fork/*.c", "hostile/*.c"}, time.Hour}
	}
	p.run(t)
}

// TestFigures prints what guest programs pay in the machine.
func TestFigures(t *testing.T) {
	if os.Getenv("SENTRY_SVM_FIGURES") == "" {
		t.Skip("SENTRY_SVM_FIGURES is not set: make bench-svm sets it")
	}
	part{"figures", 1, nil, time.Hour}.run(t)
}

// run boots the machine and waits for its end.
func (p part) run(t *testing.T) {
	dir := os.Getenv("SENTRY_SVM")
	if dir == "" {
		t.Skip("SENTRY_SVM is not set: make test and make test-svm set it")
	}
	if _, err := os.Stat(filepath.Join(dir, "complete")); err != nil {
		t.Skipf("QEMU and a kernel for it are missing, make test-svm fetches them: %v", err)
	}
	work := t.TempDir()
	initrd := filepath.Join(work, "initrd")
	if err := os.WriteFile(initrd, archive(contents(t, dir, work, p.programs)), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), p.limit)
	defer cancel()
	cmd := machine(ctx, t, dir, initrd, p.name)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n := report(t, out)
	if err := cmd.Wait(); err != nil {
		t.Errorf("the machine: %v", err)
	}
	if n != p.parts {
		t.Errorf("%d parts of %d ran", n, p.parts)
	}
}

// report makes a subtest of each part of what the machine prints and returns how many there were.
func report(t *testing.T, out io.Reader) (parts int) {
	var name string
	var lines []string
	for s := bufio.NewScanner(out); s.Scan(); {
		line := strings.TrimRight(s.Text(), "\r")
		if i := strings.Index(line, "=== BEGIN "); i >= 0 {
			name, lines = line[i+len("=== BEGIN "):], nil
			continue
		}
		status, end := strings.CutPrefix(line, "=== END ")
		if !end {
			lines = append(lines, line)
			continue
		}
		parts++
		t.Run(name, func(t *testing.T) {
			count := func(mark string) int { return strings.Count(strings.Join(lines, "\n"), "--- "+mark+":") }
			t.Logf("%d passed, %d skipped", count("PASS"), count("SKIP"))
			if name == "figures" {
				t.Logf("\n%s", strings.Join(lines, "\n"))
			}
			if status != "0" {
				t.Errorf("status %s:\n%s", status, strings.Join(failures(lines), "\n"))
			}
		})
		name, lines = "", nil
	}
	if name != "" {
		t.Errorf("the machine stopped in %s:\n%s", name, strings.Join(lines[max(0, len(lines)-60):], "\n"))
	}
	return parts
}

// failures are the lines that matter of a part that failed: all but the marks of tests that did not.
func failures(lines []string) []string {
	var kept []string
	for _, l := range lines {
		if mark := strings.TrimLeft(l, " "); !strings.HasPrefix(mark, "=== ") && !strings.HasPrefix(mark, "--- PASS") {
			kept = append(kept, l)
		}
	}
	return kept[max(0, len(kept)-400):]
}

// machine is the command that emulates the machine. It has two processors, for calls to be passed over from one to the other, and one
// thread emulates both, going from one to the other at a PAUSE: with a thread for each, what spins waits for the host to run the other one.
// Supervisor-mode access prevention is off, since the emulator applies it to far returns of user code.
func machine(ctx context.Context, t *testing.T, dir, initrd, part string) *exec.Cmd {
	root := filepath.Join(dir, "root")
	lib := filepath.Join(root, "usr/lib/x86_64-linux-gnu")
	cmd := exec.CommandContext(ctx, filepath.Join(root, "usr/bin/qemu-system-x86_64"),
		"-L", filepath.Join(root, "usr/share/seabios"), "-L", filepath.Join(root, "usr/share/qemu"),
		"-accel", "tcg,thread=single", "-cpu", "EPYC-Rome,+svm,+npt,-smap", "-m", "2000", "-smp", "2", "-nographic", "-no-reboot",
		"-nodefaults", "-serial", "stdio", "-kernel", one(t, filepath.Join(root, "boot/vmlinuz-*")), "-initrd", initrd,
		"-append", "console=ttyS0 quiet panic=-1 rdinit=/init svm="+part)
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+lib+":"+filepath.Join(root, "lib/x86_64-linux-gnu"))
	return cmd
}

// contents builds what the machine's root has, by name there; programs are patterns of the sources of guest programs.
func contents(t *testing.T, dir, work string, programs []string) map[string]string {
	modules := one(t, filepath.Join(dir, "root/lib/modules/*/kernel"))
	files := map[string]string{
		"init":             "testdata/init",
		"bin/busybox":      one(t, filepath.Join(dir, "root/*bin/busybox"), filepath.Join(dir, "root/usr/bin/busybox")),
		"bin/kvm.test":     filepath.Join(work, "kvm.test"),
		"bin/test.test":    filepath.Join(work, "test.test"),
		"bin/sentry":       filepath.Join(work, "sentry"),
		"bin/bench":        filepath.Join(work, "bench"),
		"lib/irqbypass.ko": filepath.Join(modules, "virt/lib/irqbypass.ko"),
		"lib/kvm.ko":       filepath.Join(modules, "arch/x86/kvm/kvm.ko"),
		"lib/kvm-amd.ko":   filepath.Join(modules, "arch/x86/kvm/kvm-amd.ko"),
	}
	run(t, "go", "test", "-c", "-o", files["bin/kvm.test"], "gosentry/platform/kvm")
	run(t, "go", "test", "-c", "-o", files["bin/test.test"], "gosentry/test")
	run(t, "go", "build", "-o", files["bin/sentry"], "gosentry/cmd/sentry")
	run(t, "go", "build", "-o", files["bin/bench"], "gosentry/test/bench")
	for _, name := range []string{"micro", "forks"} {
		files["test/programs/"+name] = filepath.Join(work, name)
		run(t, "cc", "-O2", "-static", "-pthread", "-o", files["test/programs/"+name], "../bench/testdata/"+name+".c")
	}
	for _, pattern := range programs {
		sources, _ := filepath.Glob("../" + pattern)
		for _, source := range sources {
			name := strings.TrimPrefix(source, "../")
			program := strings.NewReplacer("/", "_", ".c", "_-static").Replace(name) // as package test names it
			files["test/"+name] = source
			files["test/programs/"+program] = filepath.Join(work, program)
			run(t, "cc", "-O1", "-static", "-pthread", "-o", files["test/programs/"+program], source)
		}
	}
	return files
}

// one returns the only file that a pattern matches.
func one(t *testing.T, patterns ...string) string {
	t.Helper()
	for _, p := range patterns {
		if found, _ := filepath.Glob(p); len(found) == 1 {
			return found[0]
		}
	}
	t.Fatalf("there is not one file %q: make test-svm fetches them", patterns)
	return ""
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}
