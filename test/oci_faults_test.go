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
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
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

// TestContainerRivals has two of each verb at once: what the one does the other finds done, or says why it cannot.
func TestContainerRivals(t *testing.T) {
	adoptOrphans(t)
	e := newEngine(t, platforms()[0], shell("exec sleep 1000"))
	create, start := []string{"create", "r"}, []string{"start", "r"}
	kill, remove, force := []string{"kill", "r", "KILL"}, []string{"delete", "r"}, []string{"delete", "--force", "r"}
	for _, c := range []struct {
		prepare [][]string
		a, b    []string
		one     bool // of them only one can succeed
	}{
		{nil, create, create, true},
		{[][]string{create}, start, start, true},
		{[][]string{create}, start, remove, false},
		{[][]string{create}, start, force, false},
		{[][]string{create}, remove, remove, false},
		{[][]string{create, start}, force, force, false},
		{[][]string{create, start}, kill, force, false},
		{[][]string{create, start}, []string{"exec", "r", "true"}, force, false},
		{[][]string{create, start}, []string{"pause", "r"}, []string{"pause", "r"}, true},
		{nil, create, force, false},
	} {
		for range 3 {
			for _, args := range c.prepare {
				e.must(args...)
			}
			results := make(chan result)
			for _, args := range [][]string{c.a, c.b} {
				go func() { results <- e.do(args...) }()
			}
			a, b := <-results, <-results
			if c.one && (a.status == 0) == (b.status == 0) {
				t.Errorf("%q and %q: %v and %v", c.a, c.b, a, b)
			}
			for _, r := range []result{a, b} {
				if r.timedOut || r.status != 0 && r.status != 137 && !strings.Contains(r.stderr, `"r"`) {
					t.Errorf("%q and %q: %v", c.a, c.b, r)
				}
			}
			e.clean("r", "after rivals")
		}
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
	e.must("run", "-d", "bad")
	if err := os.Remove(filepath.Join(e.root, "bad/config.json")); err != nil {
		t.Fatal(err)
	}
	if r := e.do("exec", "bad", "true"); r.status == 0 || !strings.Contains(r.stderr, `"bad": its configuration`) {
		t.Errorf("exec without config.json: %v", r)
	}
	e.clean("bad", "no config.json")
}

// TestContainerBadFiles damages or removes each file of a container's directory: verbs say so, and delete --force cleans.
func TestContainerBadFiles(t *testing.T) {
	adoptOrphans(t)
	e := newEngine(t, platforms()[0], shell("exec sleep 1000"))
	mine := fmt.Sprintf(`{"ociVersion":"1.2.0","id":"bad","pid":%d,"pidStart":1}`, os.Getpid())
	for _, c := range []struct {
		file, text string // no text: the file is removed
		says       string // what start, kill or state say
	}{
		{"state.json", "", "state"}, {"state.json", "\x00", "state"}, {"state.json", "[]", "state"}, {"state.json", mine, "not running"},
		{"state.json", strings.Repeat(" ", 2<<20), "state"},
		{"config.json", "", "config"}, {"config.json", "{", "unexpected EOF"}, {"config.json", `{"ociVersion":"1.2.0"}`, "root.path"},
		{"control.sock", "", "bad"}, {"control.sock", "x", "bad"},
		{"lock", "", ""},
	} {
		e.must("create", "bad")
		name, what := filepath.Join(e.root, "bad", c.file), fmt.Sprintf("%s of %.20q", c.file, c.text)
		err := os.Remove(name)
		if err == nil && c.text != "" {
			err = os.WriteFile(name, []byte(c.text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		said := ""
		for _, args := range [][]string{{"state", "bad"}, {"start", "bad"}, {"exec", "bad", "true"}, {"kill", "bad", "0"}, {"ps", "bad"}, {"list"}} {
			r := e.do(args...)
			if said += r.stderr; r.timedOut || r.status == 0 != (r.stderr == "") {
				t.Errorf("%s: %q: %v", what, args, r)
			}
		}
		if !strings.Contains(said, c.says) {
			t.Errorf("%s: nobody said %q: %s", what, c.says, said)
		}
		e.clean("bad", what)
	}
}

// TestContainerChangedBundle has a bundle that is not as it was: what was read counts, and what is open stays so.
func TestContainerChangedBundle(t *testing.T) {
	adoptOrphans(t)
	e := newEngine(t, platforms()[0], shell("echo started; exec sleep 1000"))
	config, rootfs := filepath.Join(e.bundle, "config.json"), filepath.Join(e.bundle, "rootfs")
	good, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	e.must("create", "changed")
	if err := os.WriteFile(config, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := e.do("create", "x"); r.status == 0 || !strings.Contains(r.stderr, "config.json") {
		t.Errorf("a broken config.json: %v", r)
	}
	if err := os.Rename(rootfs, rootfs+"-moved"); err != nil {
		t.Fatal(err)
	}
	e.must("start", "changed")
	e.must("exec", "changed", "true")
	if err := os.RemoveAll(e.bundle); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(e.bundle, 0o755); err != nil {
		t.Fatal(err)
	}
	e.must("state", "changed")
	e.must("kill", "changed", "KILL")
	e.await("changed", specs.StateStopped)
	e.must("delete", "changed")
	e.gone("a bundle that is gone")
	for what, make := range map[string]func() error{
		"config.json": func() error { return nil },
		"root.path":   func() error { return os.WriteFile(config, good, 0o644) },
		"directory":   func() error { return os.WriteFile(rootfs, nil, 0o644) },
		"is not a regular file": func() error {
			os.Remove(config)
			return unix.Mkfifo(config, 0o644)
		},
	} {
		if err := make(); err != nil {
			t.Fatal(err)
		}
		if r := e.do("create", "x"); r.status == 0 || !strings.Contains(r.stderr, what) {
			t.Errorf("want an error about %q: %v", what, r)
		}
		os.Remove(config)
		os.Remove(rootfs)
	}
	if out := e.must("list", "-q"); out != "" {
		t.Errorf("left: %q", out)
	}
}

// TestContainerDescriptors has a container open as many files as the host lets its sandbox: it can still be asked, entered and ended.
func TestContainerDescriptors(t *testing.T) {
	const script = "i=0; while [ $i -lt 120 ]; do sleep 1000 </many/$i 2>/dev/null & i=$((i+1)); done; sleep 1; touch /dev/done; wait"
	e := newEngine(t, platforms()[0], shell(script))
	many := filepath.Join(e.bundle, "rootfs/many")
	if err := os.Mkdir(many, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range 120 {
		if err := os.WriteFile(filepath.Join(many, strconv.Itoa(i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	argv := []string{"sh", "-c", "ulimit -n 128; exec \"$@\"", "sh", sentry(t), "--root", e.root, "--platform", e.platform, "run", "--detach", "many"}
	if r := (command{dir: e.bundle, leaves: true}).run(t, argv); r.status != 0 {
		t.Fatal(r)
	}
	for end := time.Now().Add(patience); e.do("exec", "many", "ls", "/dev/done").status != 0; {
		if time.Now().After(end) {
			t.Fatal("it does not get on")
		}
	}
	if s := e.status("many"); s != specs.StateRunning {
		t.Errorf("it is %s", s)
	}
	// Only some of the sleepers have their file.
	if n := strings.Count(e.must("exec", "many", "ps"), "sleep"); n < 30 || n >= 120 {
		t.Errorf("%d of 120 files are open", n)
	}
	e.must("kill", "many", "KILL")
	e.await("many", specs.StateStopped)
	e.must("delete", "many")
	e.gone("a container with many files")
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

// TestContainerFullDisk has no room for a container's state, at each step of it, nor for a pid file or a log.
func TestContainerFullDisk(t *testing.T) {
	adoptOrphans(t)
	e := newEngine(t, platforms()[0], shell("exec sleep 1000"))
	if err := os.Mkdir(e.root, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", e.root, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("cannot mount a tmpfs: ", err)
	}
	defer unix.Unmount(e.root, unix.MNT_DETACH) //nolint:errcheck // the test is over
	refused := 0
	for pages := range 17 {
		filler := filepath.Join(e.root, "filler")
		if err := os.WriteFile(filler, make([]byte, (16-pages)*4096), 0o600); err != nil {
			t.Fatal(err)
		}
		what := fmt.Sprintf("%d free pages", pages)
		r := e.do("create", "full")
		if r.status != 0 {
			refused++
			if !strings.Contains(r.stderr, "no space left") {
				t.Errorf("%s: create: %v", what, r)
			}
			if out := e.must("list", "-q"); out != "" {
				t.Errorf("%s: left: %q", what, out)
			}
			e.gone(what)
			continue
		}
		e.must("start", "full")
		e.must("exec", "full", "true")
		for _, args := range [][]string{
			{"exec", "-d", "--pid-file", filepath.Join(e.root, "pid"), "full", "true"}, {"--log", filepath.Join(e.root, "log"), "start", "full"},
		} {
			if r := e.do(args...); r.timedOut || r.status != 0 && r.stderr == "" {
				t.Errorf("%s: %q: %v", what, args, r)
			}
		}
		os.Remove(filepath.Join(e.root, "pid"))
		os.Remove(filepath.Join(e.root, "log"))
		e.clean("full", what)
	}
	if refused == 0 || refused == 17 {
		t.Errorf("refused %d of 17", refused)
	}
}
