package kernel

import (
	"testing"

	"gosentry/fs/vfs"

	"pgregory.net/rapid"
)

// TestSlotsAreAMap holds a table of descriptors against a map.
func TestSlotsAreAMap(t *testing.T) {
	number := rapid.OneOf(rapid.IntRange(0, 40), rapid.IntRange(60, 70), rapid.IntRange(maxSlots-70, maxSlots-1))
	rapid.Check(t, func(t *rapid.T) {
		var s fdSlots
		model := make(map[int]*vfs.File)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			fd := number.Draw(t, "descriptor")
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				model[fd] = new(vfs.File)
				s.put(fd, descriptor{file: model[fd]})
			case 1:
				if got := s.open(int32(fd)); (got != nil) != (model[fd] != nil) || got != nil && s.free(fd).file != model[fd] {
					t.Fatalf("slot %d", fd)
				}
				delete(model, fd)
			case 2:
				checkSlots(t, &s, model, fd)
			}
		}
	})
}

func checkSlots(t *rapid.T, s *fdSlots, model map[int]*vfs.File, from int) {
	free := from
	for model[free] != nil {
		free++
	}
	if got := s.lowestFree(from); got != free {
		t.Fatalf("lowest free from %d: %d, want %d", from, got, free)
	}
	last, seen := -1, 0
	for fd, d := s.next(0); d != nil; fd, d = s.next(fd + 1) {
		if fd <= last || d.file != model[fd] {
			t.Fatalf("slot %d comes after %d", fd, last)
		}
		last, seen = fd, seen+1
	}
	if seen != len(model) || s.last(len(s.used)*64-1) != last {
		t.Fatalf("%d of %d, last %d", seen, len(model), last)
	}
	kept := max(64, (below(model, from)/64+1)*64)
	if last < from {
		kept = max(64, (last/64+1)*64)
	}
	if got := s.roomBelow(fdRange{from, 1<<32 - 1}); got != kept {
		t.Fatalf("room without those from %d on: %d, want %d", from, got, kept)
	}
}

// below returns the highest number of model under fd, or -1.
func below(model map[int]*vfs.File, fd int) int {
	top := -1
	for n := range model {
		if n < fd {
			top = max(top, n)
		}
	}
	return top
}
