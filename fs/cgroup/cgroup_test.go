package cgroup

import (
	"fmt"
	"testing"

	"gosentry/fs/vfs"
	"gosentry/sentry/cred"
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// root is the caller of all tests.
type root struct{}

func (root) Creds() *cred.Credentials { return cred.New(0, 0, nil, nil) }
func (root) FileSizeLimit() uint64    { return limits.Infinity }
func (root) Interrupted() bool        { return false }

// noTasks is a kernel without any.
type noTasks struct{}

func (noTasks) IDs(vfs.Caller, *Group, bool) []int32       { return nil }
func (noTasks) Move(vfs.Caller, *Group, int32, bool) error { return nil }
func (noTasks) Kill(*Group)                                {}
func (noTasks) Freeze(*Group)                              {}
func (noTasks) Charge(*Group)                              {}
func (g *Group) mkdir(name string) (*Group, error)         { return g.make(name, vfs.NewAttr{Mode: 0o755}) }

// switched turns the pids controller of g's children on or off.
func (g *Group) switched(on bool) error {
	var err error
	if on {
		_, err = g.control(pids, 0)
	} else {
		_, err = g.control(0, pids)
	}
	return err
}

func mustMake(t testing.TB, parent *Group, name string) *Group {
	t.Helper()
	g, err := parent.mkdir(name)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func want(t testing.TB, what string, got, want error) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// TestDomains: tasks and controllers for children bear each other only as cgroups(7) has it.
func TestDomains(t *testing.T) {
	tree := New(noTasks{})
	a := mustMake(t, tree.Root(), "a")
	b := mustMake(t, a, "b")
	want(t, "a controller that the parent has not", a.switched(true), unix.ENOENT)
	want(t, "the root's children", tree.Root().switched(true), nil)
	want(t, "admit", a.Admit(), nil)
	want(t, "a's children", a.switched(true), nil)
	for g, kind := range map[*Group]string{a: "domain threaded", b: "domain invalid", tree.Root(): "domain"} {
		if got := g.kindLocked(); got != kind {
			t.Errorf("%s is %q, want %q", g.name, got, kind)
		}
	}
	want(t, "into an invalid one", tree.MayMove(root{}, a, b, false), unix.EOPNOTSUPP)
	want(t, "controllers of an invalid one", b.switched(true), unix.EOPNOTSUPP)
	a.Leave()
	a.Uncharge()
	want(t, "into a valid one", tree.MayMove(root{}, a, b, false), nil)
	want(t, "a thread alone", tree.MayMove(root{}, a, b, true), unix.EOPNOTSUPP)
	want(t, "admit", b.Admit(), nil)
	want(t, "beside populated children", tree.MayMove(root{}, b, a, false), unix.EBUSY)
	want(t, "off above one that is on", tree.Root().switched(false), unix.EBUSY)
	want(t, "remove", b.remove(), unix.EBUSY)
	b.Leave()
	want(t, "remove with a zombie", b.remove(), nil)
	if a.dying != 1 || tree.root.dying != 1 {
		t.Errorf("%d and %d are dying", a.dying, tree.root.dying)
	}
	want(t, "admit to a removed one", b.Admit(), unix.ENODEV)
	want(t, "make in a removed one", func() error { _, err := b.mkdir("c"); return err }(), unix.ENODEV)
	b.Uncharge()
	if a.dying != 0 || tree.root.dying != 0 {
		t.Errorf("%d and %d are still dying", a.dying, tree.root.dying)
	}
}

// TestBounded: a guest cannot make groups without end.
func TestBounded(t *testing.T) {
	tree := New(noTasks{})
	deep, err := tree.Root(), error(nil)
	for n := 0; err == nil; n++ {
		var next *Group
		if next, err = deep.mkdir("d"); err == nil {
			deep = next
		}
		if n > maxDepth {
			t.Fatal("no end of the depth")
		}
	}
	want(t, "too deep", err, unix.EAGAIN)
	for n := 0; n < maxGroups; n++ {
		if _, err = tree.Root().mkdir(fmt.Sprint(n)); err != nil {
			break
		}
	}
	want(t, "too many", err, unix.EAGAIN)
}

// TestCounts does things at random, and compares the counts of all groups with those of a plain sum.
func TestCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := New(noTasks{})
		groups := []*Group{tree.Root()}
		live, charged := map[*Group]int{}, map[*Group]int64{}
		pick := func() *Group { return groups[rapid.IntRange(0, len(groups)-1).Draw(t, "group")] }
		t.Repeat(map[string]func(*rapid.T){
			"make": func(t *rapid.T) {
				if g, err := pick().mkdir(fmt.Sprint(len(groups))); err == nil {
					groups = append(groups, g)
				}
			},
			"remove": func(*rapid.T) { pick().remove() },
			"limit":  func(t *rapid.T) { pick().pids.max = rapid.Int64Range(0, 6).Draw(t, "max") },
			"control": func(t *rapid.T) {
				pick().switched(rapid.Bool().Draw(t, "on"))
			},
			"admit": func(*rapid.T) {
				if g := pick(); g.Admit() == nil {
					live[g]++
					charged[g]++
				}
			},
			"leave": func(*rapid.T) {
				if g := pick(); live[g] > 0 {
					live[g]--
					g.Leave()
				}
			},
			"uncharge": func(*rapid.T) {
				if g := pick(); charged[g] > int64(live[g]) {
					charged[g]--
					g.Uncharge()
				}
			},
			"": func(t *rapid.T) { checkCounts(t, groups, live, charged) },
		})
	})
}

func checkCounts(t *rapid.T, groups []*Group, live map[*Group]int, charged map[*Group]int64) {
	for _, g := range groups {
		sum, tasks, below, dying := 0, int64(0), 0, 0
		for _, o := range groups {
			if !o.Within(g) {
				continue
			}
			sum += live[o]
			tasks += charged[o]
			switch {
			case o == g:
			case !o.removed:
				below++
			case o.pids.current > 0:
				dying++
			}
		}
		if g.live != sum || g.Tasks() != tasks || g.removed && sum > 0 || !g.removed && (g.descendants != below || g.dying != dying) {
			t.Fatalf("%s: %d live, %d charged, %d below and %d dying; want %d, %d, %d, %d", g.PathFrom(groups[0]),
				g.live, g.Tasks(), g.descendants, g.dying, sum, tasks, below, dying)
		}
	}
}
