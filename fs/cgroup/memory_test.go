package cgroup

import (
	"bytes"
	"strings"
	"testing"

	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// withMemory is a tree whose root has 64 pages.
func withMemory(t *testing.T) (tree *Tree, file *mm.MemoryFile) {
	t.Helper()
	file, err := mm.NewMemoryFile(64 * mm.PageSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(file.Release)
	tree = New(noTasks{})
	tree.Root().GiveMemory(file)
	return tree, file
}

// TestMemoryDomains: memory is given to children of the root, or of a group without tasks (cgroups(7)).
func TestMemoryDomains(t *testing.T) {
	tree, _ := withMemory(t)
	a := mustMake(t, tree.Root(), "a")
	give := func(g *Group, words string) error { return storeControl(g, nil, words) }
	want(t, "what the parent has not", give(a, "+memory"), unix.ENOENT)
	for _, bad := range []string{"memory", "+", "+memory +cpu", "*pids"} {
		want(t, bad, give(tree.Root(), bad), unix.EINVAL)
	}
	want(t, "the root's children", give(tree.Root(), "-pids +memory +pids"), nil)
	if got := a.mayGiveLocked().line(); got != "memory pids\n" {
		t.Errorf("a has %q", got)
	}
	b := mustMake(t, a, "b")
	want(t, "admit", a.Admit(), nil)
	want(t, "in a group with tasks", give(a, "+memory"), unix.EBUSY)
	want(t, "pids there", give(a, "+pids"), nil)
	want(t, "in a threaded one", give(a, "+memory"), unix.EOPNOTSUPP)
	want(t, "neither", give(a, "-pids"), nil)
	a.Leave()
	a.Uncharge()
	want(t, "without tasks", give(a, "+memory"), nil)
	want(t, "into one with a controller", tree.MayMove(root{}, b, a, false), unix.EBUSY)
	want(t, "off above one that is on", give(tree.Root(), "-memory"), unix.EBUSY)
	want(t, "off", give(a, "-memory"), nil)
	want(t, "a file of it", b.works(memory), unix.ENODEV)
	if a.Memory() != b.Memory() || a.Memory() == tree.Root().Memory() {
		t.Error("processes in b are charged to another group than a")
	}
}

// TestMemoryCharges: a group's limit binds it and what is below it, and its charges stay with those above when it goes.
func TestMemoryCharges(t *testing.T) {
	tree, file := withMemory(t)
	want(t, "on", storeControl(tree.Root(), nil, "+memory"), nil)
	a := mustMake(t, tree.Root(), "a")
	want(t, "on", storeControl(a, nil, "+memory"), nil)
	b := mustMake(t, a, "b")
	want(t, "a limit", storeMemoryMax(a, nil, "40k"), nil)
	want(t, "of what is given", storeMemoryMax(tree.Root(), nil, "max"), unix.EPERM)
	off, err := b.Memory().Allocate(8 * mm.PageSize)
	want(t, "eight pages", err, nil)
	_, err = b.Memory().Allocate(4 * mm.PageSize)
	want(t, "four more", err, unix.ENOMEM)
	b.OutOfMemory()
	for g, lines := range map[*Group][2]string{
		b: {"max 0 oom 1 oom_kill 1", "max 0 oom 1 oom_kill 1"}, a: {"max 1 oom 1 oom_kill 1", "max 1 oom 0 oom_kill 0"},
		tree.Root(): {"max 1 oom 1 oom_kill 1", "max 0 oom 0 oom_kill 0"},
	} {
		for i, local := range []bool{false, true} {
			if got := strings.ReplaceAll(g.memoryEventsLocked(local), "\n", " "); got != "low 0 high 0 "+lines[i]+" oom_group_kill 0 " {
				t.Errorf("%q, local %v: %s", g.name, local, got)
			}
		}
	}
	old := b.Memory()
	want(t, "remove", b.remove(), nil)
	if n := a.Memory().Usage(); n != 8*mm.PageSize {
		t.Errorf("%d bytes of a removed group", n)
	}
	late, err := old.Allocate(mm.PageSize)
	want(t, "by who is late", err, nil)
	file.DecRef(late, mm.PageSize)
	file.DecRef(off, 8*mm.PageSize)
	if a.Memory().Usage() != 0 || file.Usage() != 0 || a.Memory().Peak() != 9*mm.PageSize {
		t.Errorf("%d and %d bytes are left, peak %d", a.Memory().Usage(), file.Usage(), a.Memory().Peak())
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"max": unlimited, "0": 0, "": 0, "4095": 0, "4096": 4096, "10K": 8192, "20m": 20 << 20, "0x1e000": 0x1e000, "0x4k": 4096, "010000": 4096,
		"3G": 3 << 30, "8e": unlimited, "18446744073709551615": unlimited, "9223372036854775807": unlimited &^ 4095,
	} {
		if got, err := parseSize(text); got != want || err != nil {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"-1", "x", "1_0", "k", "0xk", "10 m", "10mb", "08"} {
		if n, err := parseSize(text); err != unix.EINVAL {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
}

// TestMemoryFileGoes: the controller is taken away between the opening look of a read and the read.
func TestMemoryFileGoes(t *testing.T) {
	tree, _ := withMemory(t)
	g := mustMake(t, tree.Root(), "g")
	for _, a := range attributes() {
		if a.of == memory && a.show != nil && a.name != "memory.high" {
			want(t, a.name, a.show(g, nil, new(bytes.Buffer)), unix.ENODEV)
		}
	}
}
