package dev

import (
	"crypto/rand"
	"encoding/binary"

	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// step is how many bytes are moved between two looks whether the caller has to
// stop.
const step = 256 << 10

// device has what all of them have: nothing to release, and a position that is
// always 0.
type device struct{}

// Release has nothing to do.
func (device) Release() {}

// Seek accepts everything.
func (device) Seek(vfs.Caller, int64, int64, int) (int64, error) { return 0, nil }

// fill lets put fill the rest of dst piece by piece, until a signal is due.
func fill(c vfs.Caller, dst *mm.Buffer, put func([]byte)) (int, error) {
	return inSteps(c, dst, func() (int, error) {
		return dst.WithBytes(step, true, func(segs [][]byte) (int, error) {
			n := 0
			for _, s := range segs {
				put(s)
				n += len(s)
			}
			return n, nil
		})
	})
}

// inSteps lets one move the rest of b, a step at a time, until a signal is due. An error counts if nothing was moved before.
func inSteps(c vfs.Caller, b *mm.Buffer, one func() (int, error)) (int, error) {
	done := 0
	for b.Len() > 0 {
		n, err := one()
		done += n
		switch {
		case err != nil && done == 0:
			return 0, err
		case err != nil || n == 0 || c.Interrupted():
			return done, nil
		}
	}
	return done, nil
}

// swallow takes all of src for written, without a look at it.
func swallow(src *mm.Buffer) int {
	n := src.Len()
	src.Skip(n)
	return int(n)
}

// null is /dev/null.
type null struct{ device }

// Read is at the end.
func (null) Read(vfs.Caller, *mm.Buffer, int64) (int, error) { return 0, nil }

// Splices tells whether splice(2) writes or reads here.
func (null) Splices(write bool) bool { return write }

// Write takes everything.
func (null) Write(_ vfs.Caller, src *mm.Buffer, _ int64) (int, error) { return swallow(src), nil }

// zero is /dev/zero.
type zero struct {
	device
	memory *mm.MemoryFile
}

// Read gives zeroes.
func (*zero) Read(c vfs.Caller, dst *mm.Buffer, _ int64) (int, error) {
	return fill(c, dst, func(b []byte) { clear(b) })
}

// Write takes everything.
func (*zero) Write(_ vfs.Caller, src *mm.Buffer, _ int64) (int, error) { return swallow(src), nil }

// maxMapping is the size of the memory behind a mapping, more than can be mapped.
const maxMapping = 1 << 47

// Mappable gives every mapping memory of its own; ENODEV where there is none.
func (z *zero) Mappable() (mm.Mappable, error) {
	if z.memory == nil {
		return nil, unix.ENODEV
	}
	return mm.NewSharedMemory(z.memory, maxMapping), nil
}

// full is /dev/full.
type full struct{ device }

// Splices tells whether splice(2) writes or reads here.
func (full) Splices(write bool) bool { return !write }

// Read gives zeroes.
func (full) Read(c vfs.Caller, dst *mm.Buffer, _ int64) (int, error) {
	return fill(c, dst, func(b []byte) { clear(b) })
}

// Write finds no space.
func (full) Write(vfs.Caller, *mm.Buffer, int64) (int, error) {
	return 0, unix.ENOSPC
}

// random is /dev/random and /dev/urandom.
type random struct{ device }

// Read gives bytes of the host's generator.
func (random) Read(c vfs.Caller, dst *mm.Buffer, _ int64) (int, error) {
	return fill(c, dst, func(b []byte) {
		_, _ = rand.Read(b) // never fails
	})
}

// Write takes everything and credits nothing; it looks at the bytes all the same.
func (random) Write(c vfs.Caller, src *mm.Buffer, _ int64) (int, error) {
	var b [4096]byte
	return inSteps(c, src, func() (int, error) { return src.CopyIn(b[:]) })
}

// Requests of random(4).
const (
	rndGetEntCnt = 0x80045200 // RNDGETENTCNT
	rndAddToCnt  = 0x40045201 // RNDADDTOENTCNT
	rndAddEnt    = 0x40085203 // RNDADDENTROPY
	rndZapCnt    = 0x5204     // RNDZAPENTCNT
	rndClearPool = 0x5206     // RNDCLEARPOOL
	rndReseed    = 0x5207     // RNDRESEEDCRNG

	// entropyBits is the size of the pool, which is always full.
	entropyBits = 256
)

// Ioctl answers the requests of random(4): the pool is full, and nobody may
// change it.
func (random) Ioctl(c vfs.Caller, cmd uint32, arg uint64, mem *mm.MemoryManager) (uint64, error) {
	switch cmd {
	case rndGetEntCnt:
		b := binary.LittleEndian.AppendUint32(nil, entropyBits)
		_, err := mem.CopyOut(mm.Addr(arg), b)
		return 0, err
	case rndAddToCnt, rndAddEnt, rndZapCnt, rndClearPool, rndReseed:
		if !c.Creds().HasGlobal(unix.CAP_SYS_ADMIN) {
			return 0, unix.EPERM
		}
		return 0, nil
	}
	return 0, unix.ENOTTY
}
