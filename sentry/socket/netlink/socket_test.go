package netlink

import (
	"testing"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/socket"

	"golang.org/x/sys/unix"
)

// TestRoom: notifications are bounded by socket and by namespace, and whatever becomes of one its room comes back.
func TestRoom(t *testing.T) {
	n := &Namespace{buffered: vfs.NewBudget(2 * maxWaiting * CookieSize)}
	sockets := []*Socket{{ns: n}, {ns: n}, {ns: n}}
	for i, s := range sockets {
		for range maxWaiting {
			if err := s.Reserve(); (err == nil) != (i < 2) {
				t.Fatalf("socket %d: %v", i, err)
			}
		}
	}
	a, b := sockets[0], sockets[1]
	if err := a.Reserve(); err != unix.EAGAIN {
		t.Errorf("one more: %v", err)
	}
	for i := range maxWaiting {
		if i%2 == 0 {
			a.Cancel()
			continue
		}
		a.Notify([CookieSize]byte{byte(i)}, Woken)
		var text [CookieSize]byte
		if got, err := a.Receive(nil, &socket.Message{Data: mm.BytesBuffer(text[:])}); got != CookieSize || err != nil || text[0] != byte(i) || text[CookieSize-1] != Woken {
			t.Fatalf("%d: %v, %v", got, err, text)
		}
	}
	b.Notify([CookieSize]byte{}, Removed)
	b.Release()
	for range maxWaiting - 1 {
		b.Notify([CookieSize]byte{}, Woken)
	}
	if !n.buffered.Take(2 * maxWaiting * CookieSize) {
		t.Error("room is lost")
	}
}
