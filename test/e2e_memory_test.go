package test

import "testing"

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
