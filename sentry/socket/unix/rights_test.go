package unix

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gosentry/fs/vfs"
	"gosentry/sentry/limits"
	"gosentry/sentry/socket"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// node is a pair of sockets in the model of who holds whom. Each queue has a marker, released when
// nobody can reach it any more.
type node struct {
	in       [2]*Socket
	file     [2]*vfs.File
	open     [2]bool
	held     [2][]*vfs.File // in the queue of each
	released [2]*atomic.Int64
}

// TestGarbage sends sockets through each other at random and closes them at random. What a
// search from the open ones reaches must stay, all else go.
func TestGarbage(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(r)
		nodes := make([]*node, rapid.IntRange(1, 5).Draw(r, "pairs"))
		owner := map[*vfs.File][2]int{}
		for i := range nodes {
			n := new(node)
			n.in[0], n.in[1] = w.pair(unix.SOCK_SEQPACKET)
			for j := range 2 {
				n.file[j], n.open[j], n.released[j] = w.fileOf(n.in[j]), true, new(atomic.Int64)
				owner[n.file[j]] = [2]int{i, j}
				m := w.marker(n.released[j])
				if _, err := send(n.in[1-j], nil, 0, m); err != nil {
					r.Fatal(err)
				}
				m.DecRef()
			}
			nodes[i] = n
		}
		pick := func(r *rapid.T, label string) (*node, int) {
			return nodes[rapid.IntRange(0, len(nodes)-1).Draw(r, label)], rapid.IntRange(0, 1).Draw(r, label+" end")
		}
		r.Repeat(map[string]func(*rapid.T){
			"send": func(r *rapid.T) {
				by, from := pick(r, "by")
				what, end := pick(r, "what")
				if !by.open[from] || !what.open[end] {
					return
				}
				_, err := send(by.in[from], nil, 0, what.file[end])
				if to := 1 - from; err == nil {
					by.held[to] = append(by.held[to], what.file[end])
				}
			},
			"close": func(r *rapid.T) {
				n, end := pick(r, "which")
				if n.open[end] {
					n.open[end] = false
					w.forget(n.file[end])
				}
			},
			"": func(r *rapid.T) {
				w.collect()
				alive := reachable(nodes, owner)
				for i, n := range nodes {
					for j := range 2 {
						if (n.released[j].Load() == 0) != alive[[2]int{i, j}] {
							r.Fatalf("socket %d.%d: released %d times, reachable %v", i, j, n.released[j].Load(), alive[[2]int{i, j}])
						}
					}
				}
			},
		})
		w.close()
	})
}

// reachable are the sockets that open ones hold, directly or through others.
func reachable(nodes []*node, owner map[*vfs.File][2]int) map[[2]int]bool {
	alive := map[[2]int]bool{}
	var visit func(at [2]int)
	visit = func(at [2]int) {
		if alive[at] {
			return
		}
		alive[at] = true
		for _, f := range nodes[at[0]].held[at[1]] {
			visit(owner[f])
		}
	}
	for i, n := range nodes {
		for j := range 2 {
			if n.open[j] {
				visit([2]int{i, j})
			}
		}
	}
	return alive
}

// TestDeepChain closes a socket that holds one that holds one and so on.
func TestDeepChain(t *testing.T) {
	w := newWorld(t)
	var released atomic.Int64
	last := w.marker(&released)
	for range maxInFlight - 1 {
		f, g, err := w.NewPair(root, unix.SOCK_DGRAM, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := send(f.Ops().(*Socket), nil, 0, last); err != nil {
			t.Fatal(err)
		}
		last.DecRef()
		f.Ops().(*Socket).close(false) // without the search for garbage
		w.leave(f.Ops().(*Socket))
		last = g
	}
	last.DecRef()
	if released.Load() != 1 {
		t.Error("the end of the chain is still open")
	}
	w.close()
}

// TestFlightBounds: so many descriptors in flight for a user, so many for all.
func TestFlightBounds(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	var released atomic.Int64
	m := w.marker(&released)
	defer m.DecRef()
	poor := user(1000)
	if _, err := poor.limits.Set(limits.NoFile, limits.Limit{Soft: 10, Hard: 10}, false); err != nil {
		t.Fatal(err)
	}
	try := func(c vfs.Caller, n int) error {
		a, b := w.pair(unix.SOCK_DGRAM)
		files := make([]*vfs.File, n)
		for i := range files {
			files[i] = m
			m.IncRef()
		}
		msg := socket.Message{Data: emptyBuffer(), Rights: files}
		_, err := a.Send(c, &msg)
		for _, f := range msg.Rights {
			f.DecRef()
		}
		_ = b
		return err
	}
	for range 11 {
		if err := try(poor, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := try(poor, 1); err != unix.ETOOMANYREFS {
		t.Errorf("one more of a user: %v", err)
	}
	for w.flight.total+MaxRights <= maxInFlight {
		if err := try(root, MaxRights); err != nil {
			t.Fatalf("with %d in flight: %v", w.flight.total, err)
		}
	}
	if err := try(root, MaxRights); err != unix.ETOOMANYREFS {
		t.Errorf("more than all: %v", err)
	}
}

// TestTogether lets many goroutines do everything to a few sockets at once; it is for the race detector, and
// for locks in the wrong order.
func TestTogether(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	const sockets = 6
	var all []*Socket
	for i := range sockets {
		kind := []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET}[i%3]
		s := w.socket(kind)
		if err := s.Bind(root, abstractAddress(fmt.Sprint(i)), socket.Place{}); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	var files sync.Map
	var group sync.WaitGroup
	end := time.Now().Add(300 * time.Millisecond)
	for g := range 8 {
		group.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(g)))
			for time.Now().Before(end) {
				step(r, all, w.fileOf(all[r.IntN(len(all))]), &files)
			}
		})
	}
	group.Wait()
	files.Range(func(f, _ any) bool {
		f.(*vfs.File).DecRef()
		return true
	})
}

// step does one thing to one of the sockets.
func step(r *rand.Rand, all []*Socket, some *vfs.File, files *sync.Map) {
	s := all[r.IntN(len(all))]
	switch r.IntN(12) {
	case 0:
		s.Listen(root, r.IntN(3)) //nolint:errcheck // any answer will do
	case 1:
		if f, err := s.Accept(root, 0, false); err == nil {
			files.Store(f, true)
			if r.IntN(2) == 0 {
				files.Delete(f)
				f.DecRef()
			}
		}
	case 2, 3:
		s.Connect(root, abstractAddress(fmt.Sprint(r.IntN(len(all)))), socket.Place{}) //nolint:errcheck // any answer will do
	case 4, 5:
		send(s, make([]byte, r.IntN(3000)), 0, some) //nolint:errcheck // any answer will do
	case 6:
		send(s, make([]byte, r.IntN(100)), 0) //nolint:errcheck // any answer will do
	case 7, 8:
		_, rights, _ := receive(s, r.IntN(3000), r.IntN(2)*unix.MSG_PEEK)
		for _, f := range rights {
			f.DecRef()
		}
	case 9:
		s.Readiness(^s.Readiness(0))
		s.Name(true) //nolint:errcheck // any answer will do
	case 10:
		s.ns.collect()
	case 11:
		if s.kind == unix.SOCK_DGRAM {
			s.Connect(root, []byte{0, 0}, socket.Place{}) //nolint:errcheck // any answer will do
		}
	}
}
