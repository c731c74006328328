package waiter

import "testing"

// TestOffer: one of those that ask for it is told, unless others may wait for something else.
func TestOffer(t *testing.T) {
	for _, c := range []struct {
		name   string
		events EventMask
		takes  bool
		told   int
	}{
		{"one takes it", In, true, 1},
		{"nobody takes it", In, false, 2},
		{"the end", In | HUp, true, 3},
		{"a fault", Err, true, 3},
		{"for readers and writers", In | Out, true, 3},
	} {
		var q Queue
		told := 0
		for _, mask := range []EventMask{In, In, Out} {
			q.Register(&Entry{Mask: mask, Offer: func(EventMask) bool { told++; return c.takes }})
		}
		if q.Notify(c.events); told != c.told {
			t.Errorf("%s: %d are told, want %d", c.name, told, c.told)
		}
	}
}
