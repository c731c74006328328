package house

import (
	"slices"
	"strings"
	"testing"
)

// layers is the order of imports: a package may import those of earlier rows
// only. A name that ends in /* stands for everything below; the longest name that fits counts.
var layers = [][]string{
	{"sentry/abi", "platform/arch"},
	{"sentry/waiter", "sentry/trace", "sentry/cred", "sentry/callfilter", "sentry/signal", "sentry/limits", "sentry/futex", "sentry/ktime", "sentry/sandbox/seccomp", "sentry/sandbox/inherited"},
	{"platform"},
	{"platform/internal/changes"},
	{"platform/internal/*", "platform/kvm/kvmapi", "platform/kvm/pagetable"},
	{"platform/internal/pool"},
	{"platform/ptrace", "platform/systrap", "platform/kvm", "mm"},
	{"fs/vfs"},
	{"fs/pipe", "fs/pseudo"},
	{"fs/tmpfs"},
	{"fs/*"},
	{"sentry/klog", "sentry/loader", "sentry/coredump", "sentry/ipc"},
	{"sentry/kernel"},
	{"sentry/socket"},
	{"sentry/socket/*"},
	{"sentry/syscalls"},
	{"sentry/personality/*"},
	{"sentry/control"},
	{"sentry/oci/hostcgroup"},
	{"sentry/oci"},
	{"sentry/sandbox"},
	{"cmd/*"},
	{"platform/platformtest", "fs/host/fstest", "test", "test/*"},
}

// backends are the platforms: only the sandbox, which chooses one, and tests know them.
var backends = []string{"platform/ptrace", "platform/systrap", "platform/kvm"}

// layer is the row of a package, -1 if it has none.
func layer(path string) int {
	row, length := -1, -1
	for i, names := range layers {
		for _, name := range names {
			base, below := strings.CutSuffix(name, "/*")
			fits := path == name || below && strings.HasPrefix(path, base+"/")
			if fits && len(name) > length {
				row, length = i, len(name)
			}
		}
	}
	return row
}

func TestImportOrder(t *testing.T) {
	for _, p := range packages(t) {
		from := layer(p.short())
		if from < 0 {
			t.Errorf("%s stands in no layer", p.short())
			continue
		}
		for _, imported := range p.Imports {
			path, ours := strings.CutPrefix(imported, module+"/")
			if !ours {
				continue
			}
			if to := layer(path); to >= from {
				t.Errorf("%s (layer %d) imports %s (layer %d)", p.short(), from, path, to)
			}
			if slices.Contains(backends, path) && p.short() != "sentry/sandbox" && from != len(layers)-1 {
				t.Errorf("%s imports the platform %s", p.short(), path)
			}
		}
	}
}

// TestLayer keeps the table honest about names that fit twice.
func TestLayer(t *testing.T) {
	for path, like := range map[string]string{"fs/tmpfs": "fs/tmpfs", "fs/proc": "fs/*", "platform/internal/a/b": "platform/internal/*", "cmd/sentry": "cmd/*"} {
		if got := layer(path); !slices.Contains(layers[got], like) {
			t.Errorf("%s is in row %d, want that of %s", path, got, like)
		}
	}
	if layer("elsewhere") != -1 {
		t.Error("a package of no layer has one")
	}
}

// TestNoCgo: the process of a sandbox is locked by calls on all threads at once,
// which Go can make only in programs without cgo.
func TestNoCgo(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.CgoFiles) > 0 {
			t.Errorf("%s uses cgo", p.short())
		}
		if strings.HasPrefix(p.short(), "cmd/") && slices.Contains(p.Deps, "runtime/cgo") {
			t.Errorf("%s depends on a package that uses cgo (net and os/user do)", p.short())
		}
	}
}
