package pipe

import (
	"bytes"
	"errors"
	"testing"

	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// TestFillAndDrain moves bytes through functions: as much as there is room for, as much as is taken.
func TestFillAndDrain(t *testing.T) {
	r, w := New(vfs.NewSystem(), nil, 0)
	defer r.DecRef()
	if !Is(r) || !Same(r, w) {
		t.Error("the ends are not of one pipe")
	}
	give := func(n int) func([]byte) (int, error) {
		return func(b []byte) (int, error) { return copy(b, bytes.Repeat([]byte{'x'}, n)), nil }
	}
	total := 0
	for {
		n, err := Fill(w, 1<<20, give(50000))
		if err == unix.EAGAIN {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	if total != DefaultSize {
		t.Errorf("%d bytes fit", total)
	}
	broken := errors.New("broken")
	if n, err := Drain(r, 100, func([]byte) (int, error) { return 0, broken }); n != 0 || err != broken {
		t.Errorf("a writer that fails: %d, %v", n, err)
	}
	if n, err := Drain(r, 100, func(b []byte) (int, error) { return min(len(b), 30), nil }); n != 30 || err != nil {
		t.Errorf("a writer that takes a part: %d, %v", n, err)
	}
	if n, err := Fill(w, 10, func([]byte) (int, error) { return 0, unix.EAGAIN }); n != 0 || err != unix.EAGAIN {
		t.Errorf("a reader that has nothing: %d, %v", n, err)
	}
	took := 0
	if n, err := Drain(r, 1<<20, func(b []byte) (int, error) { took += len(b); return len(b), nil }); n != total-30 || took != n || err != nil {
		t.Errorf("the rest: %d of %d, %v", n, took, err)
	}
	if _, err := Drain(r, 1, nil); err != unix.EAGAIN {
		t.Errorf("an empty pipe: %v", err)
	}
	w.DecRef()
	if n, err := Drain(r, 1, nil); n != 0 || err != nil {
		t.Errorf("without writers: %d, %v", n, err)
	}
	if Is(vfs.NewSystem().NewEventFD(0, false, 0)) {
		t.Error("an eventfd is a pipe")
	}
}

// TestFillWithoutReaders does not ask for bytes that nobody would get.
func TestFillWithoutReaders(t *testing.T) {
	r, w := New(vfs.NewSystem(), nil, 0)
	defer w.DecRef()
	if _, err := w.Write(nil, mm.BytesBuffer([]byte("x"))); err != nil {
		t.Fatal(err)
	}
	r.DecRef()
	_, err := Fill(w, 1, func([]byte) (int, error) {
		t.Error("it was asked for bytes")
		return 1, nil
	})
	if err != unix.EPIPE {
		t.Errorf("error %v", err)
	}
}
