package vfs

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"testing"

	"gosentry/mm"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// superuser is a Caller with every right.
type superuser struct{}

func (superuser) Creds() *cred.Credentials { return cred.New(0, 0, nil, nil) }
func (superuser) FileSizeLimit() uint64    { return math.MaxUint64 }
func (superuser) Interrupted() bool        { return false }

// readEvents reads what is queued, as "wd:mask:name".
func readEvents(t *testing.T, i *Inotify) (events []string) {
	t.Helper()
	for {
		b := make([]byte, 4096)
		n, err := i.Read(nil, mm.BytesBuffer(b), 0)
		if err == unix.EAGAIN {
			return events
		}
		if err != nil {
			t.Fatal(err)
		}
		for b = b[:n]; len(b) > 0; {
			le := binary.LittleEndian
			length := le.Uint32(b[12:])
			name := b[16 : 16+length]
			for len(name) > 0 && name[len(name)-1] == 0 {
				name = name[:len(name)-1]
			}
			events = append(events, fmt.Sprintf("%d:%x:%s", int32(le.Uint32(b)), le.Uint32(b[4:]), name))
			b = b[16+length:]
		}
	}
}

func newInotify(t *testing.T, s *System, c Caller) (*Inotify, *File) {
	t.Helper()
	f, err := s.NewInotify(c, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f.Ops().(*Inotify), f
}

func TestInotifyOverflow(t *testing.T) {
	s := NewSystem()
	i, f := newInotify(t, s, superuser{})
	defer f.DecRef()
	d := s.AnonPath(&dirStub{}, "d").Dentry
	wd, err := i.Watch(superuser{}, Path{s.anon, d}, unix.IN_ALL_EVENTS)
	if err != nil || wd != 1 {
		t.Fatal(wd, err)
	}
	for n := range inotifyQueued + 10 {
		d.state.tell(notice{mask: unix.IN_CREATE, name: fmt.Sprint(n)})
	}
	events := readEvents(t, i)
	if len(events) != inotifyQueued+1 || events[inotifyQueued] != fmt.Sprintf("-1:%x:", unix.IN_Q_OVERFLOW) {
		t.Fatalf("%d events, the last %q", len(events), events[len(events)-1])
	}
	if used := s.inotify.bytes.used.Load(); used != 0 {
		t.Errorf("%d bytes charged for an empty queue", used)
	}
	d.state.tell(notice{mask: unix.IN_CREATE, name: "later"})
	if got := readEvents(t, i); len(got) != 1 {
		t.Errorf("after an overflow was read: %q", got)
	}
}

// TestInotifyLimits takes all that a user may have and sees it given back.
func TestInotifyLimits(t *testing.T) {
	s := NewSystem()
	var files []*File
	for range inotifyInstances {
		_, f := newInotify(t, s, superuser{})
		files = append(files, f)
	}
	if _, err := s.NewInotify(superuser{}, 0); err != unix.EMFILE {
		t.Fatalf("one more: %v", err)
	}
	i := files[0].Ops().(*Inotify)
	for range inotifyWatches {
		if _, err := i.Watch(superuser{}, s.AnonPath(&dirStub{}, "d"), unix.IN_CREATE); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := i.Watch(superuser{}, s.AnonPath(&dirStub{}, "d"), unix.IN_CREATE); err != unix.ENOSPC {
		t.Fatalf("one watch more: %v", err)
	}
	for _, f := range files {
		f.DecRef()
	}
	if len(s.inotify.users) != 0 || s.inotify.active.Load() != 0 || s.inotify.instances != 0 {
		t.Errorf("left: %+v %d %d", s.inotify.users, s.inotify.active.Load(), s.inotify.instances)
	}
}

// TestInotifyLimitsChange lowers the limits.
func TestInotifyLimitsChange(t *testing.T) {
	s := NewSystem()
	limits := s.InotifyLimits()
	limits.Instances.Store(1)
	limits.Watches.Store(1)
	limits.Queued.Store(2)
	i, f := newInotify(t, s, superuser{})
	defer f.DecRef()
	if _, err := s.NewInotify(superuser{}, 0); err != unix.EMFILE {
		t.Errorf("one instance more: %v", err)
	}
	p := s.AnonPath(&dirStub{}, "d")
	if _, err := i.Watch(superuser{}, p, unix.IN_CREATE); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Watch(superuser{}, s.AnonPath(&dirStub{}, "e"), unix.IN_CREATE); err != unix.ENOSPC {
		t.Errorf("one watch more: %v", err)
	}
	for n := range 4 {
		p.Dentry.state.tell(notice{mask: unix.IN_CREATE, name: fmt.Sprint(n)})
	}
	if got := readEvents(t, i); len(got) != 3 {
		t.Errorf("of two events: %q", got)
	}
}

// TestInotifyRaces has watches come and go while things happen.
func TestInotifyRaces(t *testing.T) {
	s := NewSystem()
	p := s.AnonPath(&dirStub{}, "d")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				i, f := newInotify(t, s, superuser{})
				wd, err := i.Watch(superuser{}, p, unix.IN_ALL_EVENTS)
				if err != nil {
					t.Error(err)
				}
				p.Dentry.notify(unix.IN_ATTRIB)
				readEvents(t, i)
				if wd%2 == 0 && i.Unwatch(wd) != nil {
					t.Error("no watch to remove")
				}
				f.DecRef()
			}
		})
		wg.Go(func() {
			for n := range 2000 {
				p.Dentry.notifyEntry(unix.IN_CREATE, fmt.Sprint(n), p.Dentry, 0)
			}
		})
	}
	wg.Wait()
	if p.Dentry.state.watches.Load() != nil || s.inotify.active.Load() != 0 {
		t.Error("watches are left")
	}
}
