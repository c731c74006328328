package kernel

import (
	"math/bits"

	"gosentry/fs/vfs"
)

// slotBlock is how many descriptors stand together.
const slotBlock = 16

// maxSlots bounds a table whatever fs.nr_open says: it costs the sentry up to 20 bytes a
// descriptor in use, and less than one for each below the highest.
const maxSlots = 1 << 22

type descriptor struct {
	file    *vfs.File
	cloexec bool
}

// fdSlots are the descriptors of a table by number. Where none was ever in use, nothing is kept but a
// pointer for a block, so that one large number costs little.
type fdSlots struct {
	blocks []*[slotBlock]descriptor
	used   []uint64 // a bit for each number that is taken, perhaps without a file yet
	filled int      // blocks that are there
}

// Sizes in bytes.
const (
	wordBytes  = 8
	blockBytes = 16 * slotBlock
)

// bytes is about how much memory the slots take.
func (s *fdSlots) bytes() int64 {
	return int64(wordBytes*(len(s.blocks)+len(s.used)) + blockBytes*s.filled)
}

// need is how many bytes put of fd would add.
func (s *fdSlots) need(fd int) int64 {
	if s.at(fd) != nil {
		return 0
	}
	words := max(fd/64+1-len(s.used), 0) + max(fd/slotBlock+1-len(s.blocks), 0)
	return int64(wordBytes*words + blockBytes)
}

// at returns the slot of a number, or nil where there never was one.
func (s *fdSlots) at(fd int) *descriptor {
	if fd < 0 || fd/slotBlock >= len(s.blocks) || s.blocks[fd/slotBlock] == nil {
		return nil
	}
	return &s.blocks[fd/slotBlock][fd%slotBlock]
}

// open returns the slot of a descriptor that has a file, or nil.
func (s *fdSlots) open(fd int32) *descriptor {
	if d := s.at(int(fd)); d != nil && d.file != nil {
		return d
	}
	return nil
}

func (s *fdSlots) put(fd int, d descriptor) {
	for len(s.used) <= fd/64 {
		s.used = append(s.used, 0)
	}
	for len(s.blocks) <= fd/slotBlock {
		s.blocks = append(s.blocks, nil)
	}
	b := &s.blocks[fd/slotBlock]
	if *b == nil {
		*b = new([slotBlock]descriptor)
		s.filled++
	}
	(*b)[fd%slotBlock] = d
	s.used[fd/64] |= 1 << (fd % 64)
}

// free makes a number free again and returns what was there.
func (s *fdSlots) free(fd int) descriptor {
	d := s.at(fd)
	old := *d
	*d = descriptor{}
	s.used[fd/64] &^= 1 << (fd % 64)
	return old
}

func (s *fdSlots) taken(fd int) bool {
	return fd/64 < len(s.used) && s.used[fd/64]&(1<<(fd%64)) != 0
}

// next returns the first descriptor with a file from fd on, or nil.
func (s *fdSlots) next(fd int) (int, *descriptor) {
	for i := fd / 64; i < len(s.used); i++ {
		word := s.used[i]
		if i == fd/64 {
			word &= ^uint64(0) << (fd % 64)
		}
		for ; word != 0; word &= word - 1 {
			n := i*64 + bits.TrailingZeros64(word)
			if d := s.at(n); d.file != nil {
				return n, d
			}
		}
	}
	return 0, nil
}

func (s *fdSlots) lowestFree(least int) int {
	for i := least / 64; i < len(s.used); i++ {
		free := ^s.used[i]
		if i == least/64 {
			free &= ^uint64(0) << (least % 64)
		}
		if free != 0 {
			return i*64 + bits.TrailingZeros64(free)
		}
	}
	return max(least, len(s.used)*64)
}

// room is the number of slots, a multiple of 64.
func (s *fdSlots) room() int { return max(64, len(s.used)*64) }

// roomBelow is the room that a copy needs which leaves out the numbers of hole.
func (s *fdSlots) roomBelow(hole fdRange) int {
	last := s.last(len(s.used)*64 - 1)
	if last >= 0 && hole.has(last) {
		last = s.last(hole.first - 1)
	}
	return max(64, (last/64+1)*64)
}

// last returns the highest number taken up to fd, or -1.
func (s *fdSlots) last(fd int) int {
	for ; fd >= 0; fd-- {
		if fd%64 == 63 && s.used[fd/64] == 0 {
			fd -= 63
			continue
		}
		if s.taken(fd) {
			return fd
		}
	}
	return -1
}

// fdRange are the numbers first to last; the zero range with last -1 is none.
type fdRange struct{ first, last int }

var noFDs = fdRange{0, -1}

func (r fdRange) has(fd int) bool { return fd >= r.first && fd <= r.last }
