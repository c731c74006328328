package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rootOnly are the programs and sections of guest that need root's capabilities to say anything.
var rootOnly = map[string]bool{
	"creds": true, "limits/processes": true, "limits/reading": true, "limits/memory": true, "limits/others": true,
	"attrs/modes": true, "attrs/owners": true, "attrs/accesses": true, "exec/errors": true, "unixmsg/claims": true, "userns": true, "setns": true, "timens": true, "sysvsem/rights": true, "sysvmsg/rights": true, "sysvmsg/ids": true, "sysvshm/names": true, "sysvshm/rights": true, "exhaust/processes": true, "leases/others": true, "ptrace/access": true, "seccomp/privileges": true, "mqueues/mounted": true, "ptys/vhangup": true,
	"cgroups": true, "system/kernel_log": true, "answers/threads": true, "answers/set_ids": true, "answers/fresh_user": true, "answers/namespaces": true, "answers/let_go": true,
	"fileflags": true, "mounts": true, "mountsrandom": true, "mountfds": true,
}

// differences are report lines that may differ from the host's, by program, section and
// name, with the reason. An entry that is not needed fails the test.
var differences = map[string]string{}

// TestGuest runs each section of each program in guest on the host and in the sandbox
// and compares the reports. Sections run static and one at a time; "dynamic" is all of them in one run of
// the program linked dynamically, each in a child of its own.
func TestGuest(t *testing.T) {
	sources, err := filepath.Glob("guest/*.c")
	if err != nil || len(sources) == 0 {
		t.Fatalf("no guest programs: %v", err)
	}
	eachPlatform(t, func(t *testing.T, platform string) {
		for _, source := range sources {
			name := strings.TrimSuffix(filepath.Base(source), ".c")
			t.Run(name, func(t *testing.T) { testProgram(t, platform, name, source) })
		}
	})
}

func testProgram(t *testing.T, platform, name, source string) {
	if rootOnly[name] {
		needRoot(t)
	}
	if name == "cgroups" {
		needCgroups(t)
	}
	static := compile(t, source, "-static")
	list := command{argv: []string{static, "--list"}}.host(t)
	sections := strings.Fields(list.stdout)
	if len(sections) == 0 {
		t.Fatalf("no sections: %v", list)
	}
	for _, s := range sections {
		t.Run(s, func(t *testing.T) {
			if rootOnly[name+"/"+s] {
				needRoot(t)
			}
			testSection(t, platform, name+"/"+s, command{argv: []string{static, s}})
		})
	}
	t.Run("dynamic", func(t *testing.T) {
		if os.Getuid() != 0 {
			t.Skip("some sections need root")
		}
		testSection(t, platform, name+"/dynamic", command{argv: []string{compile(t, source)}})
	})
}

func testSection(t *testing.T, platform, name string, c command) {
	host := c.host(t)
	if host.status != 0 {
		t.Fatalf("on the host: %v", host)
	}
	sandbox := c.sandbox(t, platform)
	for key, reason := range differences {
		if line, ok := strings.CutPrefix(key, name+"/"); ok {
			h, s := without(host.stdout, line), without(sandbox.stdout, line)
			if host.stdout == sandbox.stdout {
				t.Errorf("%q does not differ any more (%s)", line, reason)
			}
			host.stdout, sandbox.stdout = h, s
		}
	}
	compare(t, host, sandbox)
}

// without drops the lines of a report that have the given name.
func without(report, name string) string {
	var kept strings.Builder
	for l := range strings.Lines(report) {
		if !strings.HasPrefix(l, name+": ") {
			kept.WriteString(l)
		}
	}
	return kept.String()
}
