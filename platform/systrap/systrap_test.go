package systrap

import (
	"testing"

	"gosentry/platform"
	"gosentry/platform/platformtest"
)

func newForTest(t testing.TB) platform.Platform {
	t.Helper()
	p, err := New(true)
	if err != nil {
		t.Skipf("the host cannot run it: %v", err)
	}
	return p
}

func TestPlatform(t *testing.T) { platformtest.Run(t, newForTest) }

func BenchmarkPlatform(b *testing.B) { platformtest.Bench(b, newForTest) }
