package kernel

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestPipeSizeKnob(t *testing.T) {
	for _, c := range []struct{ written, size int64 }{{0, 4096}, {4096, 4096}, {4097, 8192}, {70000, 131072}, {1 << 20, 1 << 20}} {
		if got, err := pipeSize(c.written); got != c.size || err != nil {
			t.Errorf("%d becomes %d (%v), want %d", c.written, got, err, c.size)
		}
	}
	for _, n := range []int64{-1, 1<<20 + 1} {
		if _, err := pipeSize(n); err != unix.EINVAL {
			t.Errorf("%d: %v", n, err)
		}
	}
}
