package kvm

import (
	"testing"

	"gosentry/platform"
	"gosentry/platform/kvm/kvmapi"
	"gosentry/platform/platformtest"

	"golang.org/x/sys/unix"
)

// testPlatform makes a platform, or skips where the host has no KVM for us.
func testPlatform(t testing.TB) *Platform {
	t.Helper()
	fd, err := kvmapi.OpenDevice()
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	p, err := New(fd, true)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestSuite is the suite that every platform passes.
func TestSuite(t *testing.T) {
	platformtest.Run(t, func(t testing.TB) platform.Platform { return testPlatform(t) })
}

func BenchmarkSuite(b *testing.B) {
	platformtest.Bench(b, func(tb testing.TB) platform.Platform { return testPlatform(tb) })
}

// TestVerdict shows what the probe found.
func TestVerdict(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	t.Log(p.Verdict())
}
