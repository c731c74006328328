package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// killed starts a verb and kills it after a while.
func (e *engine) killed(after time.Duration, args ...string) {
	e.t.Helper()
	cmd := exec.Command(sentry(e.t), append([]string{"--root", e.root, "--platform", e.platform}, args...)...)
	cmd.Dir = e.bundle
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	time.Sleep(after)
	cmd.Process.Kill() //nolint:errcheck // it may have ended
	cmd.Wait()         //nolint:errcheck // as above
}

// adoptOrphans makes this process the parent of sandboxes whose makers end, for the test's time.
func adoptOrphans(t *testing.T) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Skip("cannot adopt sandboxes: ", err)
	}
	t.Cleanup(func() { unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) }) //nolint:errcheck // it could be set
}

// clean removes a container by force and looks that nothing is left.
func (e *engine) clean(id, what string) {
	e.t.Helper()
	r := e.do("delete", "--force", id)
	if r.status != 0 {
		e.t.Errorf("%s: delete --force: %v", what, r)
	}
	if _, err := os.Stat(filepath.Join(e.root, id)); err == nil {
		e.t.Errorf("%s: the directory is left", what)
	}
	e.gone(what)
}

// gone waits until no sandbox is left: one that lost its maker ends by itself.
func (e *engine) gone(what string) {
	e.t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		left := adopted()
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			e.t.Errorf("%s: the sandboxes %q are left", what, left)
			return
		}
	}
}

// adopted are the sandboxes among this process's children that have not ended.
func adopted() []string {
	var live []string
	for _, pid := range children() {
		if line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); strings.HasPrefix(string(line), "sentry-sandbox") {
			live = append(live, strconv.Itoa(pid))
		}
	}
	return live
}

// children are the ids of this process's children, zombies too.
func children() (ids []int) {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, name := range lists {
		text, _ := os.ReadFile(name) // a thread may have ended
		for field := range strings.FieldsSeq(string(text)) {
			if id, err := strconv.Atoi(field); err == nil {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// TestContainerKilledVerbs kills verbs at moments from before they began to after they ended.
func TestContainerKilledVerbs(t *testing.T) {
	adoptOrphans(t)
	steps := 2
	if everything() {
		steps = 60
	}
	eachPlatform(t, func(t *testing.T, platform string) {
		e := newEngine(t, platform, shell("exec sleep 1000"))
		for i := range steps {
			after := time.Duration(i) * 36 * time.Millisecond / time.Duration(steps)
			id := fmt.Sprintf("k%d", i)
			e.killed(after, "create", id)
			e.clean(id, fmt.Sprint("create killed after ", after))
			e.must("create", id)
			e.killed(after, "start", id)
			e.clean(id, fmt.Sprint("start killed after ", after))
			e.must("run", "-d", id)
			e.killed(after, "exec", id, "sleep", "1000")
			if got := e.status(id); got != specs.StateRunning {
				t.Errorf("exec killed after %v: the container is %s", after, got)
			}
			e.killed(after, "delete", "--force", id)
			e.clean(id, fmt.Sprint("delete killed after ", after))
			e.killed(after, "run", id)
			e.clean(id, fmt.Sprint("run killed after ", after))
		}
	})
}

// TestContainerRivals has two of each verb at once: one makes, one starts, and what the other says is an error.
func TestContainerRivals(t *testing.T) {
	e := newEngine(t, platforms()[0], shell("exec sleep 1000"))
	for range 2 {
		for _, args := range [][]string{{"create", "r"}, {"start", "r"}} {
			results := make(chan result)
			for range 2 {
				go func() { results <- e.do(args...) }()
			}
			a, b := <-results, <-results
			if (a.status == 0) == (b.status == 0) || !strings.Contains(a.stderr+b.stderr, `"r"`) {
				t.Errorf("two of %q: %v and %v", args, a, b)
			}
		}
		e.clean("r", "after rivals")
	}
}

// TestContainerBadState has ids, bundles and state directories that are not as they should be.
func TestContainerBadState(t *testing.T) {
	adoptOrphans(t)
	e := newEngine(t, platforms()[0], shell("exec sleep 1000"))
	for _, id := range []string{"a/b", "..", ".", "", strings.Repeat("x", 1000), "a b", "ä"} {
		if r := e.do("create", id); r.status == 0 || !strings.Contains(r.stderr, "id") {
			t.Errorf("id %q: %v", id, r)
		}
	}
	for _, text := range []string{"", "{", `{"pid":"x"}`} {
		e.must("run", "-d", "bad")
		if err := os.WriteFile(filepath.Join(e.root, "bad/state.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if r := e.do("state", "bad"); r.status == 0 || !strings.Contains(r.stderr, "delete --force") {
			t.Errorf("state.json of %q: %v", text, r)
		}
		if r := e.do("delete", "bad"); r.status == 0 {
			t.Errorf("deleted without force: %v", r)
		}
		e.clean("bad", "a state.json of "+text)
	}
	// The bundle changes after create.
	e.must("create", "changed")
	if err := os.WriteFile(filepath.Join(e.bundle, "config.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	e.must("start", "changed")
	e.clean("changed", "a changed bundle")
	if r := e.do("create", "x"); r.status == 0 || !strings.Contains(r.stderr, "config.json") {
		t.Errorf("a broken config.json: %v", r)
	}
}

// TestContainerSymlinkRoot has a root file system behind a symbolic link.
func TestContainerSymlinkRoot(t *testing.T) {
	e := newEngine(t, platforms()[0], shell("echo here"))
	root := filepath.Join(e.bundle, "rootfs")
	if err := os.Rename(root, root+"-real"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("rootfs-real", root); err != nil {
		t.Fatal(err)
	}
	if out := e.must("run", "linked"); out != "here\n" {
		t.Errorf("got %q", out)
	}
}

// TestContainerFullDisk has no room for a container's state.
func TestContainerFullDisk(t *testing.T) {
	adoptOrphans(t)
	e := newEngine(t, platforms()[0], shell("exec sleep 1000"))
	if err := os.Mkdir(e.root, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", e.root, "tmpfs", 0, "size=4k"); err != nil {
		t.Skip("cannot mount a tmpfs: ", err)
	}
	defer unix.Unmount(e.root, unix.MNT_DETACH) //nolint:errcheck // the test is over
	if r := e.do("create", "full"); r.status == 0 || !strings.Contains(r.stderr, "no space left") {
		t.Errorf("create: %v", r)
	}
	e.gone("no room")
	if out := e.must("list", "-q"); out != "" {
		t.Errorf("left: %q", out)
	}
}
