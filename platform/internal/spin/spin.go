// Package spin waits for a word of memory that another processor is about to write, without sleeping.
//
// The goroutine that waits cannot be preempted meanwhile, so the time is to be short.
package spin

// WhileClear waits for at most n cycles while none of bits is set in *word, and tells whether one is.
//
//go:noescape
func WhileClear(word *uint32, bits uint32, n uint64) bool
