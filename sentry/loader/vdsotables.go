package loader

// putHash emits DT_HASH with a single bucket: there are a dozen symbols, looked up once.
func (b *imageBuilder) putHash(symbols []vdsoSymbol) {
	n := uint32(len(symbols))
	b.u32(1, n, 1, 0)
	for i := uint32(2); i < n; i++ {
		b.u32(i)
	}
	b.u32(0)
}

// putGNUHash emits DT_GNU_HASH with a single bucket and one word of bloom filter.
func (b *imageBuilder) putGNUHash(symbols []vdsoSymbol) {
	const bloomShift = 6
	bloom := uint64(0)
	for _, s := range symbols[1:] {
		h := gnuHash(s.name)
		bloom |= 1<<(h%64) | 1<<(h>>bloomShift%64)
	}
	b.u32(1, 1, 1, bloomShift)
	b.u64(bloom)
	b.u32(1)
	for i, s := range symbols[1:] {
		h := gnuHash(s.name) &^ 1
		if i == len(symbols)-2 {
			h |= 1 // the end of the chain
		}
		b.u32(h)
	}
}

func sysvHash(name string) uint32 {
	h := uint32(0)
	for _, c := range []byte(name) {
		h = h<<4 + uint32(c)
		h ^= h >> 24 & 0xf0
	}
	return h & 0x0fffffff
}

func gnuHash(name string) uint32 {
	h := uint32(5381)
	for _, c := range []byte(name) {
		h = h*33 + uint32(c)
	}
	return h
}

// Encodings of addresses in the unwind tables, and the instructions used there (DWARF, LSB).
const (
	encPCRel    = 0x1b // signed 4 bytes, relative to their own place
	encCount    = 0x03 // unsigned 4 bytes
	encDataRel  = 0x3b // signed 4 bytes, relative to the start of .eh_frame_hdr
	cfaDef      = 0x0c
	cfaOffset   = 0x80
	dwarfRSP    = 7
	dwarfRIP    = 16
	cieLength   = 20
	fdeLength   = 20
	fdePCOffset = 8 // of an FDE's first address in it
)

// putUnwind emits .eh_frame_hdr and .eh_frame. One entry does for all the code:
// no function moves the stack pointer.
func (b *imageBuilder) putUnwind(textLen uint64) {
	b.ehFrHdr = b.align(8)
	b.bytes = append(b.bytes, 1, encPCRel, encCount, encDataRel)
	b.u32(0, 1, 0, 0) // .eh_frame, entries; address and FDE of the only one: see relocateUnwind
	b.ehFrHdrSize = uint64(len(b.bytes)) - b.ehFrHdr

	b.ehFrame = b.align(8)
	b.u32(cieLength, 0)
	b.bytes = append(b.bytes, 1, 'z', 'R', 0, 1, 0x78, dwarfRIP, 1, encPCRel) // aligned by 1 and -8
	b.bytes = append(b.bytes, cfaDef, dwarfRSP, 8, cfaOffset|dwarfRIP, 1)
	b.grow(int(b.ehFrame) + 4 + cieLength - len(b.bytes))
	fde := uint64(len(b.bytes))
	b.u32(fdeLength, uint32(fde+4-b.ehFrame), 0, uint32(textLen))
	b.grow(int(fde) + 4 + fdeLength - len(b.bytes))
	b.u32(0)
}

// relocateUnwind fills in what refers to the code and to the tables.
func (b *imageBuilder) relocateUnwind() {
	fde := b.ehFrame + 4 + cieLength
	put := func(at, target, from uint64) { le.PutUint32(b.bytes[at:], uint32(target-from)) }
	put(b.ehFrHdr+4, b.ehFrame, b.ehFrHdr+4)
	put(b.ehFrHdr+12, b.text, b.ehFrHdr)
	put(b.ehFrHdr+16, fde, b.ehFrHdr)
	put(fde+fdePCOffset, b.text, fde+fdePCOffset)
}
