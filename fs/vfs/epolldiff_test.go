package vfs_test

import (
	"fmt"
	"sort"
	"strings"
	"testing"

	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// How many of each the test of epoll has.
const (
	eventFDs = 3
	epolls   = 6
)

// epollWorld is eventfds and epoll instances on the host and in the VFS. Slots
// below eventFDs are eventfds, the others epoll instances.
type epollWorld struct {
	host  []int
	files []*vfs.File
}

func newEpollWorld(t *rapid.T) *epollWorld {
	w := &epollWorld{}
	sys := vfs.NewSystem()
	for i := range eventFDs + epolls {
		var fd int
		var err error
		var f *vfs.File
		if i < eventFDs {
			fd, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
			f = sys.NewEventFD(0, false, 0)
		} else {
			fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
			f = sys.NewEventPoll()
		}
		if err != nil {
			t.Fatal(err)
		}
		w.host, w.files = append(w.host, fd), append(w.files, f)
	}
	return w
}

func (w *epollWorld) close() {
	for i, fd := range w.host {
		_ = unix.Close(fd)
		w.files[i].DecRef()
	}
}

func (w *epollWorld) ctl(ep, op, slot int, events uint32) (string, string) {
	ev := unix.EpollEvent{Events: events, Fd: int32(slot)}
	host := unix.EpollCtl(w.host[ep], op, w.host[slot], &ev)
	ours := w.files[ep].Ops().(*vfs.EventPoll).Ctl(op, int32(slot), w.files[slot], vfs.EpollEvent{Events: events, Data: uint64(slot)})
	return result(host, "ok"), result(ours, "ok")
}

func (w *epollWorld) wait(ep, n int) (string, string) {
	hostEvents := make([]unix.EpollEvent, n)
	n1, err := unix.EpollWait(w.host[ep], hostEvents, 0)
	if err != nil {
		return err.Error(), ""
	}
	ourEvents := make([]vfs.EpollEvent, n)
	n2 := w.files[ep].Ops().(*vfs.EventPoll).Collect(ourEvents)
	var host, ours []string
	for _, e := range hostEvents[:n1] {
		host = append(host, fmt.Sprintf("%d:%#x", e.Fd, e.Events))
	}
	for _, e := range ourEvents[:n2] {
		ours = append(ours, fmt.Sprintf("%d:%#x", e.Data, e.Events))
	}
	// Who of several watchers is told first is not defined.
	sort.Strings(host)
	sort.Strings(ours)
	return strings.Join(host, " "), strings.Join(ours, " ")
}

func (w *epollWorld) write(slot int) (string, string) {
	_, err := unix.Write(w.host[slot], []byte{1, 0, 0, 0, 0, 0, 0, 0})
	_, ours := w.files[slot].Write(root, mm.BytesBuffer([]byte{1, 0, 0, 0, 0, 0, 0, 0}))
	return result(err, "ok"), result(ours, "ok")
}

func (w *epollWorld) read(slot int) (string, string) {
	var a, b [8]byte
	_, err := unix.Read(w.host[slot], a[:])
	_, ours := w.files[slot].Read(root, mm.BytesBuffer(b[:]))
	return result(err, fmt.Sprint(a)), result(ours, fmt.Sprint(b))
}

// poll compares what poll(2) says.
func (w *epollWorld) poll(slot int) (string, string) {
	fds := []unix.PollFd{{Fd: int32(w.host[slot]), Events: unix.POLLIN | unix.POLLOUT}}
	if _, err := unix.Poll(fds, 0); err != nil {
		return err.Error(), ""
	}
	return fmt.Sprint(fds[0].Revents), fmt.Sprint(uint32(w.files[slot].Readiness(unix.POLLIN | unix.POLLOUT)))
}

// TestEpollHostAgrees does the same calls on the host's epoll and ours: level- and edge-triggered,
// one-shot, nested.
func TestEpollHostAgrees(t *testing.T) {
	events := []uint32{unix.EPOLLIN, unix.EPOLLOUT, unix.EPOLLIN | unix.EPOLLOUT, unix.EPOLLIN, 0}
	rapid.Check(t, func(rt *rapid.T) {
		w := newEpollWorld(rt)
		defer w.close()
		var log []string
		for range 60 {
			slot := rapid.IntRange(0, eventFDs-1).Draw(rt, "slot")
			any := rapid.IntRange(0, eventFDs+epolls-1).Draw(rt, "any")
			ep := rapid.IntRange(eventFDs, eventFDs+epolls-1).Draw(rt, "ep")
			op := rapid.SampledFrom([]int{1, 1, 1, 2, 3, 4}).Draw(rt, "op")
			mask := rapid.SampledFrom(events).Draw(rt, "mask")
			if any < eventFDs {
				mask |= rapid.SampledFrom([]uint32{0, 0, 1 << 31, unix.EPOLLONESHOT, unix.EPOLLONESHOT | 1<<31, unix.EPOLLEXCLUSIVE}).Draw(rt, "how")
			}
			var call, host, ours string
			switch rapid.IntRange(0, 7).Draw(rt, "call") {
			case 0, 1, 2:
				call = fmt.Sprintf("ctl %d op %d %d %#x", ep, op, any, mask)
				host, ours = w.ctl(ep, op, any, mask)
			case 3, 4:
				call = fmt.Sprintf("wait %d", ep)
				host, ours = w.wait(ep, eventFDs+epolls)
			case 5:
				call = fmt.Sprintf("write %d", slot)
				host, ours = w.write(slot)
			case 6:
				call = fmt.Sprintf("read %d", slot)
				host, ours = w.read(slot)
			case 7:
				call = fmt.Sprintf("poll %d", any)
				host, ours = w.poll(any)
			}
			log = append(log, call+": "+host)
			if host != ours {
				rt.Fatalf("%s\nours: %s", strings.Join(log, "\n"), ours)
			}
		}
	})
}
