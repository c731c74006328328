package sandbox

import (
	"slices"
	"testing"
)

func TestOfProcessors(t *testing.T) {
	for _, c := range []struct {
		set  []uint64
		n    int
		want []uint64
	}{
		{nil, 2, nil}, {[]uint64{2}, 2, []uint64{2}}, {[]uint64{3}, 2, nil}, {[]uint64{7}, 2, nil}, {[]uint64{4}, 2, nil},
		{[]uint64{1}, 70, []uint64{1, 0}}, {[]uint64{0, 1}, 70, []uint64{0, 1}}, {[]uint64{0, 0, 1}, 70, nil},
	} {
		if got := ofProcessors(c.set, c.n); !slices.Equal(got, c.want) {
			t.Errorf("%b of %d: %b, want %b", c.set, c.n, got, c.want)
		}
	}
}
