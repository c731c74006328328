package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// compiled remembers what was compiled in this run: name and options to a func() (string, error).
var compiled sync.Map

// compile compiles a C program of directory guest or hostile with cc and further options; it is
// skipped without cc. Where SENTRY_PROGRAMS is set, that directory has them compiled.
func compile(t testing.TB, source string, options ...string) string {
	t.Helper()
	key := source + " " + strings.Join(options, " ")
	name := strings.NewReplacer("/", "_", ".c", "", " ", "_").Replace(key)
	if dir := os.Getenv("SENTRY_PROGRAMS"); dir != "" {
		return filepath.Join(dir, name)
	}
	need(t, "cc")
	once, _ := compiled.LoadOrStore(key, sync.OnceValues(func() (string, error) {
		out := filepath.Join(tempDir(), name)
		args := append([]string{"-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Wno-nonnull", "-pthread", "-o", out, source}, options...)
		if msg, err := exec.Command("cc", args...).CombinedOutput(); err != nil {
			return "", &compileError{source, string(msg)}
		}
		return out, nil
	}))
	path, err := once.(func() (string, error))()
	if err != nil {
		if strings.Contains(err.Error(), "cannot find -l") {
			t.Skipf("no static C library: %v", err)
		}
		t.Fatal(err)
	}
	return path
}

type compileError struct{ source, output string }

func (e *compileError) Error() string { return "compiling " + e.source + ":\n" + e.output }

// buildGo builds a Go program of directory testdata, static.
func buildGo(t testing.TB, name string) string {
	t.Helper()
	once, _ := compiled.LoadOrStore("go "+name, sync.OnceValues(func() (string, error) {
		out := filepath.Join(tempDir(), "go_"+name)
		cmd := exec.Command("go", "build", "-o", out, "./testdata/"+name)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if msg, err := cmd.CombinedOutput(); err != nil {
			return "", &compileError{name, string(msg)}
		}
		return out, nil
	}))
	path, err := once.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
