package mm

// account is what a memory file, or a part of one, may have and has, in bytes. It is guarded by the file's lock.
type account struct {
	id               uint32 // of a part, from 1 on
	limit, allocated uint64
	closed           bool // nobody allocates through the part any more
}

func (a *account) left() uint64 { return a.limit - min(a.limit, a.allocated) }

// Part returns the same file with a limit of its own, in bytes: what is allocated through it is charged to the part and
// to the whole, for as long as anybody refers to it. All else is common, so that ranges can be handed from one part to
// another. ClosePart ends it.
func (f *MemoryFile) Part(limit uint64) *MemoryFile {
	f.mu.Lock()
	if f.parts == nil {
		f.parts = map[uint32]*account{}
	}
	a := &account{id: 1}
	for f.parts[a.id] != nil {
		a.id++
	}
	f.parts[a.id] = a
	f.mu.Unlock()
	p := &MemoryFile{pages: f.pages, part: a}
	p.SetLimit(limit)
	return p
}

// ClosePart says that nothing more is allocated through a part. What is still in use stays charged.
func (f *MemoryFile) ClosePart() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.part.closed = true
	f.forgetPart(f.part)
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
	if f.part != nil {
		limit, left = min(limit, f.part.limit), min(left, f.part.left())
	}
	return limit, left
}

// take charges a range to who allocates it.
func (f *MemoryFile) take(off, length uint64) {
	r := refCount{n: 1}
	f.whole.allocated += length
	if f.part != nil {
		r.by = f.part.id
		f.part.allocated += length
	}
	f.refs.insert(off, off+length, r)
}

// uncharge gives back what a part had, 0 for none.
func (f *pages) uncharge(by uint32, length uint64) {
	if by == 0 {
		return
	}
	a := f.parts[by]
	a.allocated -= length
	f.forgetPart(a)
}

func (f *pages) forgetPart(a *account) {
	if a.closed && a.allocated == 0 {
		delete(f.parts, a.id)
	}
}
