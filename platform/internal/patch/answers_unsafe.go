package patch

import (
	"sync/atomic"
	"unsafe"
)

// NewPage returns b, a page of zeros outside of Go's heap, as a page of answers.
func NewPage(b []byte) Page {
	return Page{words: (*[AnswerCount + 1]atomic.Uint64)(unsafe.Pointer(&b[:pageSize][0]))}
}
