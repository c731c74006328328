package patch

import "testing"

// TestCalls counts calls: of a site that cannot be patched, in turn with another one, and at the same place of another program.
func TestCalls(t *testing.T) {
	const rip, elsewhere, limit = 0x401007, 0x401027, 4 * seldom
	var c Calls
	until := func(text *Text) (n uint32) {
		for n = 1; !c.Count(text, rip); n++ {
			c.Count(text, elsewhere)
			if n > limit {
				t.Fatal("it is never time")
			}
		}
		return n
	}
	first, second := new(Text), new(Text)
	for want := uint32(worthIt); want < seldom; want *= 2 {
		if n := until(first); n != want {
			t.Fatalf("time to patch after %d calls, want %d", n, want)
		}
	}
	for range 3 {
		if n := until(first); n != seldom {
			t.Errorf("time to patch after %d calls, want %d", n, seldom)
		}
	}
	for _, text := range []*Text{second, first} {
		if n := until(text); n != worthIt {
			t.Errorf("another program: after %d calls, want %d", n, worthIt)
		}
	}
}
