package pipe_test

import (
	"bytes"
	"errors"
	"math"
	"sync"
	"testing"

	"gosentry/fs/pipe"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

type caller struct{ creds *cred.Credentials }

func (c caller) Creds() *cred.Credentials { return c.creds }
func (caller) FileSizeLimit() uint64      { return math.MaxUint64 }
func (caller) Interrupted() bool          { return false }

var me = caller{cred.New(0, 0, nil, &cred.UserNamespace{})}

func write(f *vfs.File, p []byte) (int, error) { return f.Write(me, mm.BytesBuffer(p)) }

func read(f *vfs.File, n int) ([]byte, error) {
	b := make([]byte, n)
	n, err := f.Read(me, mm.BytesBuffer(b))
	return b[:n], err
}

func want(t *testing.T, what string, err error, e unix.Errno) {
	t.Helper()
	if e == 0 && err != nil || e != 0 && !errors.Is(err, e) {
		t.Errorf("%s: %v, want %v", what, err, e)
	}
}

func open(t *testing.T, flags int) (r, w *vfs.File) {
	r, w = pipe.New(vfs.NewSystem(), me, flags)
	return r, w
}

// TestModel compares with a plain queue of bytes.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r, w := open(t, 0)
		defer r.DecRef()
		defer w.DecRef()
		var queue []byte
		capacity := pipe.DefaultSize
		next := byte(0)
		for range 50 {
			n := rapid.OneOf(rapid.IntRange(0, 100), rapid.IntRange(4000, 5000), rapid.IntRange(0, 70000)).Draw(rt, "n")
			switch rapid.IntRange(0, 4).Draw(rt, "call") {
			case 0, 1:
				data := make([]byte, n)
				for i := range data {
					next++
					data[i] = next
				}
				done, err := write(w, data)
				room := capacity - len(queue)
				switch {
				case n <= pipe.AtomicSize && n > room:
					want(t, "atomic write without room", err, unix.EAGAIN)
				case room == 0 && n > 0:
					want(t, "write without room", err, unix.EAGAIN)
				case err != nil || done != min(n, room):
					rt.Fatalf("wrote %d of %d, room was %d: %v", done, n, room, err)
				}
				queue = append(queue, data[:done]...)
			case 2, 3:
				got, err := read(r, n)
				if n > 0 && len(queue) == 0 {
					want(t, "read of nothing", err, unix.EAGAIN)
				} else if err != nil || !bytes.Equal(got, queue[:min(n, len(queue))]) {
					rt.Fatalf("read %d of %d: %v", len(got), n, err)
				}
				queue = queue[len(got):]
			case 4:
				size := rapid.SampledFrom([]int{0, 1, 4096, 4097, 65536, 100000, 1 << 20}).Draw(rt, "size")
				got, err := w.Ops().(vfs.SizerOps).SetPipeSize(me, size)
				rounded := 4096
				for rounded < size {
					rounded *= 2
				}
				if rounded < len(queue) {
					want(t, "too small", err, unix.EBUSY)
				} else if capacity = rounded; err != nil || got != rounded {
					rt.Fatalf("set to %d: %d, %v", size, got, err)
				}
			}
			in, out := r.Readiness(waiter.In) != 0, w.Readiness(waiter.Out) != 0
			if in != (len(queue) > 0) || out != (capacity-len(queue) >= pipe.AtomicSize) {
				rt.Fatalf("with %d of %d bytes: in %v, out %v", len(queue), capacity, in, out)
			}
		}
	})
}

// TestAtomic lets writers of small records race: none may be torn.
func TestAtomic(t *testing.T) {
	r, w := open(t, 0)
	const size, count, writers = 1000, 500, 4
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			e, ready := waiter.NewChannelEntry(waiter.Out)
			w.Register(e)
			defer w.Unregister(e)
			rec := bytes.Repeat([]byte{byte(i)}, size)
			for range count {
				for {
					n, err := write(w, rec)
					if n == size {
						break
					}
					if err != unix.EAGAIN {
						t.Errorf("%d, %v", n, err)
						return
					}
					<-ready
				}
			}
		})
	}
	e, ready := waiter.NewChannelEntry(waiter.In)
	r.Register(e)
	defer r.Unregister(e)
	var got []byte
	for len(got) < size*count*writers {
		b, err := read(r, 777)
		if err == unix.EAGAIN {
			<-ready
		} else if err != nil {
			t.Fatal(err)
		}
		got = append(got, b...)
	}
	wg.Wait()
	for i := 0; i < len(got); i += size {
		if bytes.Count(got[i:i+size], got[i:i+1]) != size {
			t.Fatalf("record %d is torn", i/size)
		}
	}
}

// TestStream moves a long stream from one goroutine to another, in large writes that are
// taken up in part.
func TestStream(t *testing.T) {
	r, w := open(t, 0)
	const total = 8 << 20
	go func() {
		defer w.DecRef()
		e, ready := waiter.NewChannelEntry(waiter.Out)
		w.Register(e)
		defer w.Unregister(e)
		data := make([]byte, 100_001)
		for sent := 0; sent < total; {
			part := data[:min(len(data), total-sent)]
			for i := range part {
				part[i] = byte((sent + i) * 7 >> 3)
			}
			n, err := write(w, part)
			if sent += n; n < len(part) && (err == nil || err == unix.EAGAIN) {
				<-ready
			} else if err != nil {
				t.Error(err)
				return
			}
		}
	}()
	e, ready := waiter.NewChannelEntry(waiter.In)
	r.Register(e)
	defer r.Unregister(e)
	for seen := 0; ; {
		b, err := read(r, 30_000)
		if err == unix.EAGAIN {
			<-ready
			continue
		}
		if err != nil || len(b) == 0 {
			if seen != total || err != nil {
				t.Fatalf("the stream ends after %d: %v", seen, err)
			}
			break
		}
		for i := range b {
			if b[i] != byte((seen+i)*7>>3) {
				t.Fatalf("byte %d is wrong", seen+i)
			}
		}
		seen += len(b)
	}
	r.DecRef()
}

func TestPackets(t *testing.T) {
	r, w := open(t, unix.O_DIRECT)
	for _, n := range []int{10, 20, 5000} {
		if got, err := write(w, bytes.Repeat([]byte{byte(n)}, n)); got != n || err != nil {
			t.Fatal(got, err)
		}
	}
	for _, tc := range []struct{ ask, get int }{{100, 10}, {5, 5}, {8192, 4096}, {8192, 904}} {
		if b, err := read(r, tc.ask); len(b) != tc.get || err != nil {
			t.Errorf("a packet of %d, %v; want %d", len(b), err, tc.get)
		}
	}
	for i := range pipe.DefaultSize / pipe.AtomicSize {
		if _, err := write(w, []byte("x")); err != nil {
			t.Fatal(i, err)
		}
	}
	_, err := write(w, []byte("x"))
	want(t, "a packet takes a page", err, unix.EAGAIN)
	if w.Readiness(waiter.Out) != 0 {
		t.Error("writable without room for a packet")
	}
	// Without O_DIRECT bytes follow packets without borders among themselves.
	if _, err := read(r, 10); err != nil {
		t.Fatal(err)
	}
	if err := w.SetFlags(me, 0, 0); err != nil {
		t.Fatal(err)
	}
	_, _ = write(w, []byte("ab"))
	_, _ = write(w, []byte("cd"))
	for range pipe.DefaultSize/pipe.AtomicSize - 1 {
		_, _ = read(r, 10)
	}
	if b, _ := read(r, 10); string(b) != "abcd" {
		t.Errorf("got %q", b)
	}
}

func TestEnds(t *testing.T) {
	r, w := open(t, 0)
	_, _ = write(w, []byte("left"))
	w.DecRef()
	if got := r.Readiness(waiter.In); got != waiter.In|waiter.HUp {
		t.Errorf("after the writer: ready for %#x", got)
	}
	if b, err := read(r, 10); string(b) != "left" || err != nil {
		t.Errorf("what was left: %q, %v", b, err)
	}
	if b, err := read(r, 10); len(b) != 0 || err != nil {
		t.Errorf("the end: %q, %v", b, err)
	}
	_, err := write(r, nil)
	want(t, "write to the reading end", err, unix.EBADF)
	r.DecRef()
	r, w = open(t, 0)
	e, ready := waiter.NewChannelEntry(waiter.Out)
	w.Register(e)
	r.DecRef()
	<-ready
	if got := w.Readiness(waiter.Out); got&waiter.Err == 0 {
		t.Errorf("after the reader: ready for %#x", got)
	}
	_, err = write(w, []byte("x"))
	want(t, "write without reader", err, unix.EPIPE)
	_, err = w.Seek(me, 0, 0)
	want(t, "seek", err, unix.ESPIPE)
	_, err = w.Ops().(vfs.SizerOps).SetPipeSize(me, 2<<20)
	want(t, "too large", err, unix.EPERM)
	w.DecRef()
}

// TestReopen opens a pipe by its path, as /proc/self/fd does.
func TestReopen(t *testing.T) {
	r, w := open(t, 0)
	w2, err := vfs.OpenPath(me, r.Path(), unix.O_WRONLY)
	want(t, "reopen", err, 0)
	w.DecRef()
	if r.Readiness(waiter.In)&waiter.HUp != 0 {
		t.Error("hung up with a second writer")
	}
	_, err = write(w2, []byte("x"))
	want(t, "write", err, 0)
	w2.DecRef()
	if r.Readiness(waiter.In)&waiter.HUp == 0 {
		t.Error("no hang-up")
	}
	r.DecRef()
}

func TestFIFO(t *testing.T) {
	f := pipe.NewFIFO()
	opened := func(ops vfs.FileOps) bool { return ops.(vfs.OpenWaitOps).Opened() }
	_, err := f.Open(unix.O_WRONLY | unix.O_NONBLOCK)
	want(t, "writer without reader", err, unix.ENXIO)
	r, err := f.Open(unix.O_RDONLY)
	want(t, "reader", err, 0)
	if opened(r) {
		t.Error("a reader does not wait for a writer")
	}
	w, err := f.Open(unix.O_WRONLY)
	want(t, "writer", err, 0)
	if !opened(r) || !opened(w) {
		t.Error("both ends are there")
	}
	w.Release()
	if !opened(r) {
		t.Error("a reader missed a writer that came and went")
	}
	r.Release()
	// A reader that does not wait sees no hang-up before there was a writer.
	r, err = f.Open(unix.O_RDONLY | unix.O_NONBLOCK)
	want(t, "reader", err, 0)
	if !opened(r) || r.(waiter.Waitable).Readiness(waiter.In) != 0 {
		t.Error("a reader without writers")
	}
	w, _ = f.Open(unix.O_RDWR)
	if !opened(w) {
		t.Error("O_RDWR waits")
	}
	if _, err := w.Write(me, mm.BytesBuffer([]byte("lost")), 0); err != nil {
		t.Error(err)
	}
	w.Release()
	if got := r.(waiter.Waitable).Readiness(waiter.In); got != waiter.In|waiter.HUp {
		t.Errorf("ready for %#x", got)
	}
	r.Release()
	r, _ = f.Open(unix.O_RDONLY | unix.O_NONBLOCK)
	var b [10]byte
	if n, err := r.Read(me, mm.BytesBuffer(b[:]), 0); n != 0 || err != nil {
		t.Errorf("a FIFO that everybody had closed has %d bytes, %v", n, err)
	}
	r.Release()
}

func TestTee(t *testing.T) {
	r, w := open(t, 0)
	r2, w2 := open(t, 0)
	_, err := pipe.Tee(r, w2, 10)
	want(t, "empty", err, unix.EAGAIN)
	_, err = pipe.Tee(r, w, 10)
	want(t, "one pipe", err, unix.EINVAL)
	_, _ = write(w, []byte("hello"))
	if n, err := pipe.Tee(r, w2, 4); n != 4 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	a, _ := read(r, 10)
	b, _ := read(r2, 10)
	if string(a) != "hello" || string(b) != "hell" {
		t.Errorf("%q and %q", a, b)
	}
	w.DecRef()
	if n, err := pipe.Tee(r, w2, 4); n != 0 || err != nil {
		t.Errorf("at the end: %d, %v", n, err)
	}
}

// TestBudget gives pipes little when there are too many, and takes back what they had.
func TestBudget(t *testing.T) {
	sys := vfs.NewSystem()
	size := func(f *vfs.File) int { return f.Ops().(vfs.SizerOps).PipeSize() }
	var files []*vfs.File
	for range vfs.PipeBytes / pipe.DefaultSize {
		r, w := pipe.New(sys, me, 0)
		files = append(files, r, w)
	}
	r, w := pipe.New(sys, me, 0)
	if n := size(r); n != 2*pipe.AtomicSize {
		t.Errorf("one too many has %d bytes", n)
	}
	_, err := w.Ops().(vfs.SizerOps).SetPipeSize(me, pipe.DefaultSize)
	want(t, "more", err, unix.EPERM)
	if n, err := write(w, make([]byte, 10000)); n != 2*pipe.AtomicSize {
		t.Errorf("wrote %d, %v", n, err)
	}
	for _, f := range files {
		f.DecRef()
	}
	_, err = w.Ops().(vfs.SizerOps).SetPipeSize(me, pipe.MaxSize)
	want(t, "more, when the others are gone", err, 0)
	r.DecRef()
	w.DecRef()
	if !sys.Pipes().Take(vfs.PipeBytes) {
		t.Error("the budget did not come back")
	}
}
