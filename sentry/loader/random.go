package loader

import "crypto/rand"

// source gives random numbers, or zeros when addresses shall not be random.
type source struct{ off bool }

// below returns a random number below n, a power of two.
func (s source) below(n uint64) uint64 {
	if s.off {
		return 0
	}
	var b [8]byte
	rand.Read(b[:])
	return le.Uint64(b[:]) & (n - 1)
}
