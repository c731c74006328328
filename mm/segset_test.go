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

// painted is the model of a set: the color of every place, 0 for none.
type painted struct {
	set   segset[color]
	model [paintedSize]color
}

const paintedSize = 1500

func (p *painted) span(t *rapid.T) (uint64, uint64) {
	a := rapid.Uint64Range(0, paintedSize-1).Draw(t, "start")
	return a, min(paintedSize, a+rapid.SampledFrom([]uint64{1, 1, 2, 3, 10, 400, paintedSize}).Draw(t, "length"))
}

func (p *painted) paint(a, b uint64, c color) {
	for ; a < b; a++ {
		p.model[a] = c
	}
}

func (p *painted) insert(t *rapid.T) {
	a, b := p.span(t)
	for i := a; i < b; i++ {
		if p.model[i] != 0 {
			b = i
		}
	}
	if a < b {
		c := color(rapid.IntRange(1, 3).Draw(t, "color"))
		p.set.insert(a, b, c)
		p.paint(a, b, c)
	}
}

// speckle makes many small segments.
func (p *painted) speckle(t *rapid.T) {
	a := rapid.Uint64Range(0, paintedSize-400).Draw(t, "from")
	for i := a; i < a+400; i += 2 {
		if p.model[i] == 0 {
			p.set.insert(i, i+1, color(1+i/2%2))
			p.model[i] = color(1 + i/2%2)
		}
	}
}

func (p *painted) remove(t *rapid.T) {
	a, b := p.span(t)
	at := a
	p.set.remove(a, b, func(x, y uint64, c color) {
		for ; at < x; at++ {
			if p.model[at] != 0 {
				t.Fatalf("%d was not removed", at)
			}
		}
		for ; at < y; at++ {
			if p.model[at] != c {
				t.Fatalf("removed %d with color %d instead of %d", at, c, p.model[at])
			}
		}
	})
	p.paint(a, b, 0)
}

func (p *painted) update(t *rapid.T) {
	a, b := p.span(t)
	c := color(rapid.IntRange(1, 3).Draw(t, "color"))
	p.set.update(a, b, func(_, _ uint64, old color) color {
		if old == 1 {
			return old
		}
		return c
	})
	for i := a; i < b; i++ {
		if p.model[i] > 1 {
			p.model[i] = c
		}
	}
}

// copied replaces the set by a clone, or by one built anew.
func (p *painted) copied(t *rapid.T) {
	var c segset[color]
	if rapid.Bool().Draw(t, "clone") {
		c = p.set.clone()
	} else {
		p.set.each(0, paintedSize, func(a, b uint64, v color) bool {
			c.append(a, b, v)
			return true
		})
	}
	p.set.remove(0, paintedSize, nil)
	p.set.check(t, true)
	if p.set.len() != 0 {
		t.Fatalf("%d segments left", p.set.len())
	}
	p.set = c
}

func (p *painted) check(t *rapid.T) {
	p.set.check(t, true)
	for i := range uint64(paintedSize) {
		g := p.set.get(i)
		if (g == nil) != (p.model[i] == 0) || g != nil && g.v != p.model[i] {
			t.Fatalf("at %d: %v instead of %d", i, g, p.model[i])
		}
	}
	a, b := p.span(t)
	any := false
	for i := a; i < b; i++ {
		any = any || p.model[i] != 0
	}
	if p.set.overlaps(a, b) != any {
		t.Fatalf("overlaps(%d, %d) is %v", a, b, !any)
	}
	if p.model[a] != 0 {
		return
	}
	lo, hi := p.set.gap(a, 0, paintedSize)
	wrong := lo > 0 && p.model[lo-1] == 0 || hi < paintedSize && p.model[hi] == 0
	for i := lo; i < hi; i++ {
		wrong = wrong || p.model[i] != 0
	}
	if wrong {
		t.Fatalf("gap around %d is %d-%d", a, lo, hi)
	}
}

func TestSegsetAgainstArray(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := new(painted)
		t.Repeat(map[string]func(*rapid.T){
			"insert": p.insert, "speckle": p.speckle, "remove": p.remove, "update": p.update, "copy": p.copied, "": p.check,
		})
	})
}
