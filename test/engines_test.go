package test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// imageName is the image of engines' tests: busybox and nothing else.
const imageName = "localhost/sentry-test:latest"

// applets are busybox's names in the image.
var applets = []string{"sh", "cat", "echo", "id", "ls", "ps", "sleep", "hostname", "touch", "true", "mount", "grep", "head", "tail", "stty", "tty", "df", "kill", "tr"}

// engineHome makes a directory for an engine's test, with a short path as sockets need. At the test's end whatever
// still runs, is mounted or stands in control groups below it is removed; after a test that
// passed nothing may be left but the control groups of engines themselves.
func engineHome(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sentry-e")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		left := sweep(dir)
		if len(left) > 0 && !t.Failed() {
			t.Errorf("left behind: %q", left)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// engineRuntime writes a program that is the runtime with its containers below dir. (podman does not pass a
// runtime's flags on everywhere.)
func engineRuntime(t *testing.T, dir string) string {
	t.Helper()
	name := filepath.Join(dir, "runtime")
	text := fmt.Sprintf("#!/bin/sh\nexec %s --root %s --platform %s \"$@\"\n", sentry(t), filepath.Join(dir, "state"), platforms()[0])
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

// cgroupOf is the control group for the containers of an engine whose home is dir.
func cgroupOf(dir string) string { return filepath.Base(dir) }

// sweep removes what a test left and returns it.
func sweep(dir string) (left []string) {
	states, _ := filepath.Glob(filepath.Join(dir, "state", "*"))
	if path, err := built(); err == nil {
		for _, s := range states {
			left = append(left, "container "+s)
			exec.Command(path, "--root", filepath.Dir(s), "delete", "--force", filepath.Base(s)).Run() //nolint:errcheck // the next steps are for that
		}
	}
	for end := time.Now().Add(patience); len(naming(dir)) > 0 && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	for pid, text := range naming(dir) {
		left = append(left, "process "+text)
		unix.Kill(pid, unix.SIGKILL) //nolint:errcheck // it may have ended
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	all := strings.Split(string(mounts), "\n")
	slices.Reverse(all)
	for _, m := range all {
		if f := strings.Fields(m); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			unix.Unmount(f[1], unix.MNT_DETACH) //nolint:errcheck // RemoveAll tells
			// containerd's snapshots and podman's shared memory go with the engine; a container's do not.
			left = append(left, "mount "+f[1])
		}
	}
	for _, depth := range []string{"/*/*", "/*", ""} {
		for _, top := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
			found, _ := filepath.Glob(top + cgroupOf(dir) + depth)
			for _, d := range found {
				unix.Rmdir(d) //nolint:errcheck // files of the group, too, are found
			}
		}
	}
	return left
}

// naming returns the processes whose arguments name dir.
func naming(dir string) map[int]string {
	found := map[int]string{}
	list, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range list {
		text, _ := os.ReadFile(name)
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil && pid != os.Getpid() && bytes.Contains(text, []byte(dir)) {
			found[pid] = strings.ReplaceAll(string(text), "\x00", " ")
		}
	}
	return found
}

// writeImage writes busybox as an archive of the kind that "docker save" makes, which all engines take.
func writeImage(t *testing.T, name string) {
	t.Helper()
	layer := imageLayer(t)
	sum := fmt.Sprintf("%x", sha256.Sum256(layer))
	config := marshal(t, map[string]any{
		"architecture": "amd64", "os": "linux", "config": map[string]any{"Cmd": []string{"sh"}, "Env": []string{"PATH=/bin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + sum}}, "history": []map[string]any{{"created_by": "busybox"}},
	})
	manifest := marshal(t, []map[string]any{{"Config": "config.json", "RepoTags": []string{imageName}, "Layers": []string{"layer.tar"}}})
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range []struct {
		name string
		text []byte
	}{{"layer.tar", layer}, {"config.json", config}, {"manifest.json", manifest}} {
		addFile(t, w, f.name, 0o644, f.text)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func marshal(t *testing.T, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func imageLayer(t *testing.T) []byte {
	t.Helper()
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("busybox is missing")
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header) {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"bin", "dev", "etc", "proc", "root", "run", "sys", "tmp"} {
		add(tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755})
	}
	addFile(t, w, "bin/busybox", 0o755, program)
	addFile(t, w, "etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\n"))
	for _, a := range applets {
		add(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + a, Linkname: "busybox", Mode: 0o777})
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func addFile(t *testing.T, w *tar.Writer, name string, mode int64, text []byte) {
	t.Helper()
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
}

// engineStep is a command of an engine and what must come of it.
type engineStep struct {
	args   string // separated by spaces; '…' quotes
	stdin  string
	status int
	out    string // standard output, as a regular expression that fits the whole; "-": anything
	err    string // likewise, of a part of standard error
	wait   bool   // repeat it until this comes of it, for some seconds
}

// check runs a step and compares what it did with what it must do.
func (s *engineStep) check(t *testing.T, run func() result) {
	t.Helper()
	out, errors := regexp.MustCompile(`(?s)\A`+s.out+`\z`), regexp.MustCompile(s.err)
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		r := run()
		if r.status == s.status && (s.out == "-" || out.MatchString(r.stdout)) && errors.MatchString(r.stderr) {
			return
		}
		if !s.wait || time.Now().After(end) {
			t.Errorf("%s: want status %d, output %q, error %q: %v", s.args, s.status, s.out, s.err, r)
			return
		}
	}
}

// words splits a command line at spaces that do not stand between single quotes.
func words(line string) (list []string) {
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			list = append(list, part)
		} else {
			list = append(list, strings.Fields(part)...)
		}
	}
	return list
}
