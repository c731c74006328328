package unix

import "sync"

// maxSpare is how many buffers for runs of streams a namespace keeps.
const maxSpare = 64

// buffers keeps long buffers that are not in use: making one takes longer than filling it.
type buffers struct {
	mu    sync.Mutex
	spare [][]byte // of maxRun bytes each
}

// get returns a buffer of n bytes, whatever they are.
func (b *buffers) get(n int) []byte {
	if n <= maxRun/2 || n > maxRun {
		return make([]byte, n)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	last := len(b.spare) - 1
	if last < 0 {
		return make([]byte, n, maxRun)
	}
	p := b.spare[last]
	b.spare[last] = nil
	b.spare = b.spare[:last]
	return p[:n]
}

// put takes back what get gave, once nobody uses it.
func (b *buffers) put(p []byte) {
	if cap(p) != maxRun {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.spare) < maxSpare {
		b.spare = append(b.spare, p[:0])
	}
}
