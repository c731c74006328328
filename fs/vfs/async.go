package vfs

// Async says whom a file tells by signal that it became ready (fcntl(2), F_SETOWN
// and F_SETSIG). It is remembered; no signal is sent.
type Async struct {
	Owner  any   // the kernel's idea of an id, nil: nobody
	Kind   int32 // F_OWNER_TID, F_OWNER_PID or F_OWNER_PGRP
	Signal int32 // 0 stands for SIGIO
}

// Async returns what SetAsync left.
func (f *File) Async() Async {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.async
}

// SetAsync lets change edit it.
func (f *File) SetAsync(change func(*Async)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.async)
}
