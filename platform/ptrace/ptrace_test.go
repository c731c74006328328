package ptrace_test

import (
	"testing"

	"gosentry/platform"
	"gosentry/platform/platformtest"
	"gosentry/platform/ptrace"
)

func newPlatform(t testing.TB) platform.Platform {
	p, err := ptrace.New()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPlatform(t *testing.T) { platformtest.Run(t, newPlatform) }

func BenchmarkPlatform(b *testing.B) { platformtest.Bench(b, newPlatform) }
