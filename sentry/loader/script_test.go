package loader

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func scriptLines() []string {
	pad := func(n int) string { return strings.Repeat(" ", n) }
	return []string{
		"#!/bin/echo\n",
		"#!/bin/echo",
		"#! /bin/echo -n a  b\t \nmore",
		"#!\t/bin/echo\targ\t\n",
		"#!/bin/echo " + strings.Repeat("x", 300) + "\n",
		"#!/bin/echo " + strings.Repeat("x", 300),
		"#!" + pad(240) + "/bin/echo\n",
		"#!" + pad(243) + "/bin/echo a\n",
		"#!" + pad(244) + "/bin/echo\n",
		"#!" + pad(245) + "/bin/echo\n",
		"#!" + pad(246) + "/bin/echo\n",
		"#!" + pad(300) + "/bin/echo\n",
		"#!\n",
		"#!  \t \n",
		"#!",
		"#! ",
		"#!/bin/echo\x00x y\n",
		"#!/bin/echo a\x00b\n",
		"#!/bin/echo \x00b\n",
		"#!" + strings.Repeat("/", 250) + "bin/echo\n",
		"#!" + strings.Repeat("/", 244) + "bin/echo\n",
		"#!" + strings.Repeat("/", 245) + "bin/echo\n",
		"#!" + strings.Repeat("/", 246) + "bin/echo\n",
	}
}

// TestScriptLinesAsOnHost runs each line on the host.
func TestScriptLinesAsOnHost(t *testing.T) {
	dir := t.TempDir()
	for i, line := range scriptLines() {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, []byte(line), 0o755); err != nil {
			t.Fatal(err)
		}
		out, hostErr := exec.Command(path).Output()
		var exit *exec.ExitError
		if errors.As(hostErr, &exit) {
			t.Fatal(hostErr)
		}
		buf := make([]byte, scriptLine)
		copy(buf, line)
		interp, arg, err := parseScript(buf)
		if err != nil || hostErr != nil {
			if !errors.Is(hostErr, err) {
				t.Errorf("%q: error %v, on the host %v", line, err, hostErr)
			}
			continue
		}
		want := strings.TrimSpace(arg + " " + path)
		if strings.TrimLeft(interp, "/") != "bin/echo" || strings.TrimSpace(string(out)) != want {
			t.Errorf("%q: %q %q, but the host says %q", line, interp, arg, out)
		}
	}
}

func TestScripts(t *testing.T) {
	e := newEnv(t)
	e.files["/bin/sh"] = build(elfSpec{})
	e.files["/s"] = []byte("#! /bin/sh -x y \n")
	a := e.args("/s", []string{"zero", "one", "two"}, nil)
	img, m, err := e.load(a)
	if err != nil {
		t.Fatal(err)
	}
	s := parseStack(t, m, img.SP)
	if d := cmp.Diff([]string{"/bin/sh", "-x y", "/s", "one", "two"}, s.argv); d != "" {
		t.Error(d)
	}
	if img.Comm != "s" || img.Exec == nil {
		t.Errorf("comm %q, exec %v", img.Comm, img.Exec)
	}
	a.NoScript = true
	if _, _, err := e.load(a); err != unix.ENOENT {
		t.Errorf("a script without a name: %v", err)
	}
}

func TestScriptChains(t *testing.T) {
	e := newEnv(t)
	e.files["/0"] = build(elfSpec{})
	for i := 1; i <= 7; i++ {
		e.files[fmt.Sprintf("/%d", i)] = fmt.Appendf(nil, "#!/%d a%d\n", i-1, i)
	}
	img, m, err := e.load(e.args("/5", []string{"x", "last"}, nil))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/0", "a1", "/1", "a2", "/2", "a3", "/3", "a4", "/4", "a5", "/5", "last"}
	if d := cmp.Diff(want, parseStack(t, m, img.SP).argv); d != "" {
		t.Error(d)
	}
	if _, _, err := e.load(e.args("/6", nil, nil)); err != unix.ELOOP {
		t.Errorf("six scripts: %v", err)
	}
	e.files["/self"] = []byte("#!/self\n")
	if _, _, err := e.load(e.args("/self", nil, nil)); err != unix.ELOOP {
		t.Errorf("a script that runs itself: %v", err)
	}
	for target, want := range map[string]error{"/gone": unix.ENOENT, "/directory": unix.EACCES} {
		e.files["/bad"] = []byte("#!" + target + "\n")
		if _, _, err := e.load(e.args("/bad", nil, nil)); err != want {
			t.Errorf("%s: %v", target, err)
		}
	}
}
