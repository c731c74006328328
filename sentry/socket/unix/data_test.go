package unix

import (
	"bytes"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"gosentry/fs/vfs"
	"gosentry/sentry/socket"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// TestCosts has what Linux 6.18 shows in SIOCOUTQ for one message.
func TestCosts(t *testing.T) {
	for _, c := range []struct{ n, stream, packet int64 }{
		{1, 768, 768}, {100, 768, 768}, {300, 1280, 1280}, {1000, 2304, 2304}, {3000, 4352, 4352}, {4000, 4864, 8448},
		{10000, 12544, 16640}, {16000, 16640, 16640}, {20000, 20736, 20736}, {36544, 37120, 37120}, {0, 768, 768},
	} {
		if got := costOf(int(c.n), streamPiece); got != c.stream {
			t.Errorf("%d bytes of a stream cost %d, want %d", c.n, got, c.stream)
		}
		if got := costOf(int(c.n), packetPiece); got != c.packet {
			t.Errorf("a packet of %d bytes costs %d, want %d", c.n, got, c.packet)
		}
	}
}

// run is a part of a stream in the model: bytes with or without a file.
type run struct {
	data []byte
	file bool
}

// TestStreamAgainstModel sends and receives at random, files too, and compares with a list of runs.
func TestStreamAgainstModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(r)
		defer w.close()
		a, b := w.pair(unix.SOCK_STREAM)
		var released atomic.Int64
		var queue []run
		made := int64(0)
		next := byte(0)
		take := func(r *rapid.T, peek bool) {
			n := rapid.SampledFrom([]int{1, 2, 7, 100, 5000, 200000}).Draw(r, "n")
			want, files := wanted(&queue, n, peek)
			flags := 0
			if peek {
				flags = unix.MSG_PEEK
			}
			got, rights, err := receive(b, n, flags)
			if len(want) == 0 {
				if err != unix.EAGAIN {
					r.Fatalf("receive from an empty stream: %v", err)
				}
				return
			}
			if err != nil || !bytes.Equal(got, want) || len(rights) != files {
				r.Fatalf("receive of %d: %d bytes, %d files, %v; want %d and %d", n, len(got), len(rights), err, len(want), files)
			}
			for _, f := range rights {
				f.DecRef()
			}
		}
		r.Repeat(map[string]func(*rapid.T){
			"send": func(r *rapid.T) {
				data := make([]byte, rapid.SampledFrom([]int{1, 3, 50, 4096, 60000}).Draw(r, "n"))
				for i := range data {
					data[i] = next
					next++
				}
				var files []*vfs.File
				if rapid.Bool().Draw(r, "file") {
					files = append(files, w.marker(&released))
					made++
				}
				n, err := send(a, data, 0, files...)
				for _, f := range files {
					f.DecRef()
				}
				if err != nil && err != unix.EAGAIN {
					r.Fatalf("send: %v", err)
				}
				next -= byte(len(data) - n)
				for at := 0; at < n; at += maxRun {
					queue = append(queue, run{data[at:min(n, at+maxRun)], len(files) > 0 && at == 0})
				}
			},
			"receive": func(r *rapid.T) { take(r, false) },
			"peek":    func(r *rapid.T) { take(r, true) },
			"": func(r *rapid.T) {
				total, flying := 0, int64(0)
				for _, q := range queue {
					total += len(q.data)
					if q.file {
						flying++
					}
				}
				if b.waiting() != total || made-released.Load() != flying {
					r.Fatalf("%d bytes wait and %d files, want %d and %d", b.waiting(), made-released.Load(), total, flying)
				}
			},
		})
		w.close()
		if released.Load() != made {
			r.Fatalf("%d of %d files released", released.Load(), made)
		}
	})
}

// wanted is what a receive of n bytes must give, by the model.
func wanted(queue *[]run, n int, peek bool) (data []byte, files int) {
	q := slices.Clone(*queue)
	for len(q) > 0 && n > 0 {
		k := min(n, len(q[0].data))
		data = append(data, q[0].data[:k]...)
		n -= k
		border := q[0].file
		if border {
			files++
		}
		q[0].data, q[0].file = q[0].data[k:], false
		if len(q[0].data) > 0 {
			break
		}
		q = q[1:]
		if border {
			break
		}
	}
	if !peek {
		*queue = q
	}
	return data, files
}

// TestRoom fills a socket and drains it: readiness changes when Linux's does, and who waits is told.
func TestRoom(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET} {
		a, b := w.pair(kind)
		told := 0
		e := waiter.Entry{Mask: waiter.Out, Notify: func(waiter.EventMask) { told++ }}
		a.Register(&e)
		sent := 0
		for {
			if _, err := send(a, []byte{1}, 0); err == unix.EAGAIN {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			sent++
		}
		if sent != 278 {
			t.Errorf("type %d: %d messages of one byte fit, want 278", kind, sent)
		}
		for left := sent; left > 0; left-- {
			if ready := a.Readiness(waiter.Out) != 0; ready != (left <= 69) || (told > 0) != ready {
				t.Fatalf("type %d: with %d messages ready is %v, told %d times", kind, left, ready, told)
			}
			if _, _, err := receive(b, 1, 0); err != nil {
				t.Fatal(err)
			}
		}
		if told == 0 || a.sent.Load() != 0 {
			t.Errorf("type %d: told %d times, %d left", kind, told, a.sent.Load())
		}
		a.Unregister(&e)
	}
}

// TestAllBuffers: all sockets together hold only so much.
func TestAllBuffers(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	if !w.buffered.Take(maxBuffered - 1000) {
		t.Fatal("no budget")
	}
	a, b := w.pair(unix.SOCK_SEQPACKET)
	if _, err := send(a, []byte{1}, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := send(a, []byte{1}, 0); err != unix.ENOBUFS {
		t.Errorf("over the bound: %v", err)
	}
	if _, _, err := receive(b, 1, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := send(a, []byte{1}, 0); err != nil {
		t.Errorf("with room again: %v", err)
	}
	w.buffered.Take(1000 - maxBuffered)
}

// TestPending: connections that nobody accepts are counted too.
func TestPending(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	l := w.socket(unix.SOCK_STREAM)
	if err := l.Bind(root, abstractAddress("l"), socket.Place{}); err != nil {
		t.Fatal(err)
	}
	if err := l.Listen(root, 10); err != nil {
		t.Fatal(err)
	}
	connect := func() error {
		_, err := w.socket(unix.SOCK_STREAM).Connect(root, abstractAddress("l"), socket.Place{})
		return err
	}
	const room = 3*pendingCost + pendingCost/2
	w.buffered.Take(maxBuffered - room)
	for i := range 4 {
		if err := connect(); (err == nil) != (i < 3) || err != nil && err != unix.ENOMEM {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	if w.accept(l) == nil {
		t.Fatal("nothing to accept")
	}
	if err := connect(); err != nil {
		t.Errorf("with room again: %v", err)
	}
	w.forget(w.fileOf(l))
	w.buffered.Take(room - maxBuffered)
}

// TestTable has the lines of /proc/net/unix.
func TestTable(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	l := w.socket(unix.SOCK_STREAM)
	if err := l.Bind(root, abstractAddress("a\x00b"), socket.Place{}); err != nil {
		t.Fatal(err)
	}
	if err := l.Listen(root, 10); err != nil {
		t.Fatal(err)
	}
	f := w.socket(unix.SOCK_DGRAM)
	if err := f.Bind(root, addressOf("/sock"), tree(t)); err != nil {
		t.Fatal(err)
	}
	w.pair(unix.SOCK_SEQPACKET)
	want := fmt.Sprintf(`0000000000000000: 00000002 00000000 00010000 0001 01 %[1]*[2]d @a@b
0000000000000000: 00000002 00000000 00000000 0002 01 %[1]*[3]d /sock
0000000000000000: 00000003 00000000 00000000 0005 03 %[1]*[4]d
0000000000000000: 00000003 00000000 00000000 0005 03 %[1]*[5]d
`, 5, l.ino(), f.ino(), f.ino()+1, f.ino()+2)
	if got := string(w.ProcTable("unix")); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if w.ProcTable("tcp") != nil {
		t.Error("a table of another family")
	}
}

// TestFiles binds by a name in a file system and is found by it.
func TestFiles(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	at := tree(t)
	l := w.socket(unix.SOCK_STREAM)
	if err := l.Bind(root, addressOf("/sock"), at); err != nil {
		t.Fatal(err)
	}
	p, err := vfs.Walk(root, at.WalkArgs, "sock")
	if err != nil {
		t.Fatal(err)
	}
	if attr, _ := vfs.Stat(root, p); attr.Mode != unix.S_IFSOCK|0o755 {
		t.Errorf("mode %o", attr.Mode)
	}
	if err := l.Listen(root, 1); err != nil {
		t.Fatal(err)
	}
	c := w.socket(unix.SOCK_STREAM)
	if _, err := c.Connect(user(7), addressOf("/sock"), at); err != unix.EACCES {
		t.Errorf("without the right to write: %v", err)
	}
	if _, err := c.Connect(root, addressOf("/sock"), at); err != nil {
		t.Fatal(err)
	}
	if err := w.socket(unix.SOCK_STREAM).Bind(root, addressOf("/sock"), at); err != unix.EADDRINUSE {
		t.Errorf("bound twice: %v", err)
	}
	w.forget(w.fileOf(l))
	if p.Inode().State().Object() != nil {
		t.Error("the inode still leads to a closed socket")
	}
	if _, err := w.socket(unix.SOCK_STREAM).Connect(root, addressOf("/sock"), at); err != unix.ECONNREFUSED {
		t.Errorf("to a closed one: %v", err)
	}
}

// TestOptionsValues has values at the edges of their ranges.
func TestOptionsValues(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	s := w.socket(unix.SOCK_STREAM)
	for _, c := range []struct {
		name  int
		value int
		want  int
	}{
		{unix.SO_SNDBUF, -1, 425984}, {unix.SO_SNDBUF, 0, 4608}, {unix.SO_RCVBUF, 0, 2304}, {unix.SO_RCVBUF, 1 << 30, 425984},
		{unix.SO_RCVLOWAT, 0, 1}, {unix.SO_RCVLOWAT, -5, 1<<31 - 1}, {unix.SO_PEEK_OFF, -7, -1}, {unix.SO_PASSCRED, 5, 1},
	} {
		if err := s.SetOption(root, unix.SOL_SOCKET, c.name, socket.Int(c.value)); err != nil {
			t.Errorf("option %d: %v", c.name, err)
		}
		b, err := s.Option(root, unix.SOL_SOCKET, c.name)
		if got, _ := socket.IntOf(b); err != nil || int(got) != c.want {
			t.Errorf("option %d set to %d: %d %v, want %d", c.name, c.value, got, err, c.want)
		}
	}
	for _, name := range []int{unix.SO_MARK, unix.SO_SNDBUFFORCE} {
		if err := s.SetOption(user(5), unix.SOL_SOCKET, name, socket.Int(1)); err != unix.EPERM {
			t.Errorf("option %d without privilege: %v", name, err)
		}
	}
}
