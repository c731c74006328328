package mm

import (
	"testing"

	"pgregory.net/rapid"
)

type color uint8

func (c color) equal(d color) bool { return c == d }

// check verifies the structure of a set.
func (s *segset[V]) check(t interface {
	Fatalf(string, ...any)
}, merged bool) {
	n, last := 0, uint64(0)
	var prev *segment[V]
	for l, leaf := range s.leaves {
		if len(leaf) == 0 || len(leaf) > leafSize || s.firsts[l] != leaf[0].start {
			t.Fatalf("leaf %d of %d segments starts at %d, recorded %d", l, len(leaf), leaf[0].start, s.firsts[l])
		}
		for i := range leaf {
			g := &leaf[i]
			if g.start >= g.end || g.start < last {
				t.Fatalf("segment %d-%d behind one that ends at %d", g.start, g.end, last)
			}
			if merged && prev != nil && prev.end == g.start && prev.v.equal(g.v) {
				t.Fatalf("segments are not merged at %d", g.start)
			}
			prev, last = g, g.end
			n++
		}
	}
	if n != s.count || len(s.firsts) != len(s.leaves) {
		t.Fatalf("%d segments, counted %d", n, s.count)
	}
}

func TestSegsetAgainstArray(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 1500
		var model [size]color // 0: nothing
		var s segset[color]
		span := func() (uint64, uint64) {
			a := rapid.Uint64Range(0, size-1).Draw(t, "start")
			return a, min(size, a+rapid.SampledFrom([]uint64{1, 1, 2, 3, 10, 400, size}).Draw(t, "length"))
		}
		paint := func(a, b uint64, c color) {
			for ; a < b; a++ {
				model[a] = c
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"insert": func(t *rapid.T) {
				a, b := span()
				for i := a; i < b; i++ {
					if model[i] != 0 {
						b = i
					}
				}
				if a < b {
					c := color(rapid.IntRange(1, 3).Draw(t, "color"))
					s.insert(a, b, c)
					paint(a, b, c)
				}
			},
			"speckle": func(t *rapid.T) {
				a := rapid.Uint64Range(0, size-400).Draw(t, "from")
				for i := a; i < a+400; i += 2 {
					if model[i] == 0 {
						s.insert(i, i+1, color(1+i/2%2))
						model[i] = color(1 + i/2%2)
					}
				}
			},
			"remove": func(t *rapid.T) {
				a, b := span()
				at := a
				s.remove(a, b, func(x, y uint64, c color) {
					for ; at < x; at++ {
						if model[at] != 0 {
							t.Fatalf("%d was not removed", at)
						}
					}
					for ; at < y; at++ {
						if model[at] != c {
							t.Fatalf("removed %d with color %d instead of %d", at, c, model[at])
						}
					}
				})
				paint(a, b, 0)
			},
			"update": func(t *rapid.T) {
				a, b := span()
				c := color(rapid.IntRange(1, 3).Draw(t, "color"))
				s.update(a, b, func(_, _ uint64, old color) color {
					if old == 1 {
						return old
					}
					return c
				})
				for i := a; i < b; i++ {
					if model[i] > 1 {
						model[i] = c
					}
				}
			},
			"clone": func(t *rapid.T) {
				c := s.clone()
				s.remove(0, size, nil)
				s.check(t, true)
				if s.len() != 0 {
					t.Fatalf("%d segments left", s.len())
				}
				s = c
			},
			"rebuild": func(t *rapid.T) {
				var c segset[color]
				s.each(0, size, func(a, b uint64, v color) bool {
					c.append(a, b, v)
					return true
				})
				s = c
			},
			"": func(t *rapid.T) {
				s.check(t, true)
				for i := range uint64(size) {
					g := s.get(i)
					if (g == nil) != (model[i] == 0) || g != nil && g.v != model[i] {
						t.Fatalf("at %d: %v instead of %d", i, g, model[i])
					}
				}
				a, b := span()
				any := false
				for i := a; i < b; i++ {
					any = any || model[i] != 0
				}
				if s.overlaps(a, b) != any {
					t.Fatalf("overlaps(%d, %d) is %v", a, b, !any)
				}
				if model[a] == 0 {
					lo, hi := s.gap(a, 0, size)
					if lo > 0 && model[lo-1] == 0 || hi < size && model[hi] == 0 {
						t.Fatalf("gap around %d is %d-%d", a, lo, hi)
					}
					for i := lo; i < hi; i++ {
						if model[i] != 0 {
							t.Fatalf("gap around %d is %d-%d", a, lo, hi)
						}
					}
				}
			},
		})
	})
}
