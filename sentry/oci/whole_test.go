package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestWriteWhole: a file is new or replaced whole, whatever is left of a write that was killed, and nothing else is left.
func TestWriteWhole(t *testing.T) {
	name := filepath.Join(t.TempDir(), "pid")
	for what, write := range map[string]func(string, []byte) error{"without a name": writeWhole, "under another name": writeSpare} {
		for i, prepare := range []func() error{
			func() error { return nil },
			func() error { return os.WriteFile(spare(name), []byte("left"), 0o600) },
			func() error { return os.Remove(name) },
		} {
			if err := prepare(); err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprint(what, i)
			if err := write(name, []byte(want)); err != nil {
				t.Errorf("%s: %v", want, err)
			}
			checkAlone(t, name, want)
		}
	}
	if err := writeWhole(filepath.Join(name, "x"), nil); err == nil {
		t.Error("a file below a file was written")
	}
}

// TestWriteWholeTogether: of several writes at once all succeed, and each reader sees one of them.
func TestWriteWholeTogether(t *testing.T) {
	name := filepath.Join(t.TempDir(), "pid")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 50 {
				if err := writeWhole(name, []byte("whole")); err != nil {
					t.Error(err)
				}
				if text, err := os.ReadFile(name); string(text) != "whole" {
					t.Errorf("read %q, %v", text, err)
				}
			}
		})
	}
	all.Wait()
	checkAlone(t, name, "whole")
}

// checkAlone checks a file's text, and that it is alone in its directory and its owner's.
func checkAlone(t *testing.T, name, want string) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil || string(text) != want {
		t.Errorf("%q, %v, want %q", text, err, want)
	}
	list, err := os.ReadDir(filepath.Dir(name))
	if err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}
