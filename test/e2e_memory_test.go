package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNoExecOfHost runs a program whose pages the host does not let be mapped executable: it gets copies of them.
func TestNoExecOfHost(t *testing.T) {
	needRoot(t)
	echo, err := exec.LookPath("echo")
	if err != nil {
		t.Skip(err)
	}
	text, err := os.ReadFile(echo)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOEXEC, "size=1m"); err != nil {
		t.Skip("cannot mount a tmpfs: ", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH) //nolint:errcheck // the test is over
	program := filepath.Join(dir, "echo")
	if err := os.WriteFile(program, text, 0o755); err != nil {
		t.Fatal(err)
	}
	eachPlatform(t, func(t *testing.T, platform string) {
		r := command{argv: []string{program, "it runs"}}.sandbox(t, platform)
		if r.stdout != "it runs\n" || r.status != 0 {
			t.Errorf("%v", r)
		}
	})
}

// TestNotMappableOfHost maps a file of the host whose driver knows no mappings, inherited as standard
// input: it is refused as the host refuses it.
func TestNotMappableOfHost(t *testing.T) {
	const file = "/sys/kernel/mm/transparent_hugepage/enabled"
	in, err := os.Open(file)
	if err != nil {
		t.Skip(err)
	}
	defer in.Close()
	program := compile(t, "guest/filemap.c", "-static")
	c := command{argv: []string{program, "unmappable"}, input: in}
	host := c.host(t)
	eachPlatform(t, func(t *testing.T, platform string) {
		compare(t, host, c.sandbox(t, platform))
	})
}

// TestMemory: what is over --memory ends the process that asks for it, or is no space for its file, and the
// rest goes on.
func TestMemory(t *testing.T) {
	const script = "grep MemTotal /proc/meminfo; head -c 100M /dev/zero | tail -c 90M >/dev/null; echo $?; " +
		"head -c 100M /dev/zero 2>/dev/null >/tmp/file; echo $?; rm /tmp/file; head -c 20M /dev/zero >/tmp/file; echo $?"
	eachPlatform(t, func(t *testing.T, platform string) {
		r := command{argv: []string{"/bin/sh", "-c", script}, flags: []string{"--memory", "64M"}}.sandbox(t, platform)
		if want := "MemTotal:          65536 kB\n137\n1\n0\n"; r.stdout != want || r.status != 0 {
			t.Errorf("%v, want %q", r, want)
		}
	})
}

// TestCgroupMemory: the root of the control groups shows the sandbox's limit, and groups below have their own: what goes over ends the
// process, there and not elsewhere, and is counted.
func TestCgroupMemory(t *testing.T) {
	needRoot(t)
	const script = `cd /sys/fs/cgroup; cat memory.max memory.high cgroup.controllers; (echo 1g >memory.max) 2>/dev/null || echo refused
[ $(cat memory.current) -gt 0 ] && [ $(cat memory.current) -le $(cat memory.peak) ] && echo used
mkdir a a/b; ls a | grep memory; echo +memory >cgroup.subtree_control; cat a/memory.max a/memory.current; ls a/b | grep memory
echo 4m >a/memory.max; cat a/memory.max
sh -c 'echo $$ >a/b/cgroup.procs; x=$(head -c 8M /dev/zero | tr "\0" x)' 2>/dev/null; echo $?
for f in a/memory.events a/memory.events.local memory.events memory.events.local; do grep -h oom_kill $f; done
i=0; while [ $(cat a/memory.current) != 0 ] && [ $i -lt 500 ]; do sleep .01; i=$((i+1)); done # whom it wrote to and read from end by themselves
cat a/memory.current; [ $(cat a/memory.peak) -gt 2000000 ] && echo high
sh -c 'echo $$ >a/b/cgroup.procs; echo -memory >cgroup.subtree_control; x=$(head -c 8M /dev/zero | tr "\0" x); echo $?'; ls a | grep memory`
	want := "67108864\nmax\nmemory pids\nrefused\nused\nmax\n0\n4194304\n137\noom_kill 1\noom_kill 0\noom_kill 1\noom_kill 0\n0\nhigh\n0\n"
	eachPlatform(t, func(t *testing.T, platform string) {
		r := command{argv: []string{"/bin/sh", "-c", script}, flags: []string{"--memory", "64M"}}.sandbox(t, platform)
		if r.stdout != want || r.status != 1 {
			t.Errorf("%v, want %q", r, want)
		}
	})
}
