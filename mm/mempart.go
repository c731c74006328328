package mm

// account is what a memory file, or a part of one, may have and has, in bytes. It is guarded by the file's lock.
type account struct {
	id               uint32 // of a part, from 1 on
	limit, allocated uint64
	peak             uint64   // the most that was allocated
	over, overBelow  uint64   // allocations that were needed and would have gone over the limit, and over those of its parts
	closed           bool     // nobody allocates through the part any more
	in               *account // the part that this is a part of; nil: the whole
}

func (a *account) left() uint64 { return a.limit - min(a.limit, a.allocated) }

func (a *account) add(length uint64) {
	a.allocated += length
	a.peak = max(a.peak, a.allocated)
}

// Part returns the same file with a limit of its own, in bytes: what is allocated through it is charged to the part, to the one that
// it was made of, and to the whole, for as long as anybody refers to it. All else is common, so that ranges can be handed from one part to
// another. ClosePart ends it.
func (f *MemoryFile) Part(limit uint64) *MemoryFile {
	f.mu.Lock()
	if f.parts == nil {
		f.parts = map[uint32]*account{}
	}
	for f.lastPart++; f.lastPart == 0 || f.parts[f.lastPart] != nil; f.lastPart++ {
	}
	a := &account{id: f.lastPart, in: f.open()}
	f.parts[a.id] = a
	f.mu.Unlock()
	p := &MemoryFile{pages: f.pages, part: a}
	p.SetLimit(limit)
	return p
}

// ClosePart ends a part. What is still in use stays charged, and what is allocated through it from now on is charged to what it is a part of.
func (f *MemoryFile) ClosePart() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.part.closed = true
	f.forgetPart(f.part)
}

// open is the part that allocations are charged to; nil: the whole alone.
func (f *MemoryFile) open() *account {
	a := f.part
	for a != nil && a.closed {
		a = a.in
	}
	return a
}

// account is whose limit and usage f's are.
func (f *MemoryFile) account() *account {
	if f.part != nil {
		return f.part
	}
	return &f.whole
}

// room returns the limit that is nearest, and how much may still be allocated.
func (f *MemoryFile) room() (limit, left uint64) {
	limit, left = f.whole.limit, f.whole.left()
	for a := f.open(); a != nil; a = a.in {
		limit, left = min(limit, a.limit), min(left, a.left())
	}
	return limit, left
}

// hasRoom tells whether length bytes could be allocated now.
func (f *MemoryFile) hasRoom(length uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, left := f.room()
	return left >= length
}

// refused counts an allocation for which there is no room, where the innermost limit is that it would go over.
func (f *MemoryFile) refused(length uint64) {
	a := f.open()
	for a != nil && length <= a.left() {
		a = a.in
	}
	if a == nil {
		f.whole.over++
		return
	}
	a.over++
	for a = a.in; a != nil; a = a.in {
		a.overBelow++
	}
	f.whole.overBelow++
}

// take charges a range to who allocates it.
func (f *MemoryFile) take(off, length uint64) {
	r := refCount{n: 1}
	f.whole.add(length)
	payer := f.open()
	if payer != nil {
		r.by = payer.id
	}
	for a := payer; a != nil; a = a.in {
		a.add(length)
	}
	f.refs.insert(off, off+length, r)
}

// uncharge gives back what a part had, 0 for none.
func (f *pages) uncharge(by uint32, length uint64) {
	if by == 0 {
		return
	}
	for a := f.parts[by]; a != nil; a = a.in {
		a.allocated -= length
		f.forgetPart(a)
	}
}

func (f *pages) forgetPart(a *account) {
	if a.closed && a.allocated == 0 && f.parts[a.id] == a {
		delete(f.parts, a.id)
	}
}

// Peak is the most that was ever allocated at once, in bytes.
func (f *MemoryFile) Peak() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.account().peak
}

// Over is how many allocations were refused that would have gone over the limit, and how many over that of a part of it. Those of
// TryAllocate do not count.
func (f *MemoryFile) Over() (here, below uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.account()
	return a.over, a.overBelow
}
