package sys

import "testing"

func TestMasks(t *testing.T) {
	for _, c := range []struct {
		first, last, count int
		list, mask         string
	}{
		{0, 0, 1, "0", "1"}, {0, 1, 2, "0-1", "3"}, {1, 1, 2, "1", "2"}, {0, 7, 8, "0-7", "ff"},
		{0, 31, 32, "0-31", "ffffffff"}, {0, 32, 33, "0-32", "1,ffffffff"}, {40, 40, 64, "40", "00000100,00000000"},
	} {
		if l := list(c.first, c.last); l != c.list {
			t.Errorf("%+v: list %q", c, l)
		}
		if m := bitmap(c.first, c.last, c.count); m != c.mask {
			t.Errorf("%+v: mask %q", c, m)
		}
	}
}
