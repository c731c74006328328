package abi

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// raw returns the memory of *p: what the host's kernel would read or write.
func raw[T any](p *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(p)), unsafe.Sizeof(*p))
}

// fill gives every named field of a struct random contents, and leaves padding alone.
func fill(r *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && !strings.HasPrefix(f.Name, "Pad") {
				fill(r, v.Field(i))
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(r, v.Index(i))
		}
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(r.Uint64() >> (64 - v.Type().Bits())))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(r.Uint64() >> (64 - v.Type().Bits()))
	}
}

// encodes checks that enc lays a T out as x/sys does, size bytes of it.
func encodes[T any](t *testing.T, size int, enc func(b []byte, v *T) []byte) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		var v T
		fill(r, reflect.ValueOf(&v).Elem())
		prefix := []byte("prefix")
		got := enc(prefix, &v)
		if !bytes.HasPrefix(got, prefix) {
			t.Fatalf("%T: not appended", v)
		}
		got = got[len(prefix):]
		if want := raw(&v)[:size]; !bytes.Equal(got, want) {
			t.Fatalf("%T, %d bytes of %d:\n got %x\nwant %x", v, len(got), size, got, want)
		}
	}
}

// decodes checks that dec reads a T as x/sys lays it out, from size bytes.
func decodes[T any](t *testing.T, size int, dec func(b []byte) T) {
	t.Helper()
	r := rand.New(rand.NewPCG(2, 2))
	for range 20 {
		var v T
		fill(r, reflect.ValueOf(&v).Elem())
		if got := dec(bytes.Clone(raw(&v)[:size])); !reflect.DeepEqual(got, v) {
			t.Fatalf("%T:\n got %+v\nwant %+v", v, got, v)
		}
	}
}

// both makes an encoder of values one of pointers.
func both[T any](enc func([]byte, T) []byte) func([]byte, *T) []byte {
	return func(b []byte, v *T) []byte { return enc(b, *v) }
}

func TestLayoutsOfXSys(t *testing.T) {
	encodes(t, StatSize, AppendStat)
	encodes(t, StatfsSize-32, func(b []byte, v *unix.Statfs_t) []byte { // the rest is spare
		e := AppendStatfs(b, v)
		return e[:len(e)-32]
	})
	encodes(t, TimespecSize, both(AppendTimespec))
	decodes(t, TimespecSize, DecodeTimespec)
	encodes(t, TimevalSize, both(AppendTimeval))
	decodes(t, TimevalSize, DecodeTimeval)
	encodes(t, ItimerspecSize, both(AppendItimerspec))
	decodes(t, ItimerspecSize, DecodeItimerspec)
	encodes(t, ItimervalSize, both(AppendItimerval))
	decodes(t, ItimervalSize, DecodeItimerval)
	encodes(t, TmsSize, both(AppendTms))
	encodes(t, TimexSize, AppendTimex)
	encodes(t, SysinfoSize, AppendSysinfo)
	encodes(t, RusageSize, AppendRusage)
	encodes(t, RlimitSize, both(AppendRlimit))
	decodes(t, RlimitSize, DecodeRlimit)
	encodes(t, SchedAttrSize, AppendSchedAttr)
	decodes(t, SchedAttrSize, DecodeSchedAttr)
	decodes(t, PollFDSize, DecodePollFD)
	encodes(t, FlockSize, AppendFlock)
	decodes(t, FlockSize, DecodeFlock)
	decodes(t, OpenHowSize, DecodeOpenHow)
}

func TestStatx(t *testing.T) {
	encodes(t, 168, func(b []byte, v *unix.Statx_t) []byte {
		e := AppendStatx(b, v)
		if len(e)-len(b) != StatxSize || StatxSize != unsafe.Sizeof(*v) {
			t.Errorf("struct statx of %d bytes", len(e)-len(b))
		}
		return e[:len(b)+168] // the rest is spare
	})
	var v unix.Statx_t
	v.Subvol, v.Atomic_write_segments_max = 7, 9
	if got := AppendStatx(nil, &v); !bytes.Equal(got, raw(&v)) {
		t.Errorf("got %x", got)
	}
}

func TestMsghdr(t *testing.T) {
	// Three pointers of x/sys's type stay 0 for the first comparison.
	v := unix.Msghdr{Namelen: 3, Iovlen: 5, Controllen: 6, Flags: 7}
	if got, want := DecodeMsghdr(raw(&v)), (Msghdr{Namelen: 3, Iovlen: 5, Controllen: 6, Flags: 7}); got != want || len(raw(&v)) != MsghdrSize {
		t.Errorf("got %+v, want %+v", got, want)
	}
	m := struct {
		name               uint64
		namelen            uint32
		_                  uint32
		iov, iovlen        uint64
		control, controlen uint64
		flags              uint64
	}{1, 2, 0, 3, 4, 5, 6, 7}
	if got := DecodeMsghdr(raw(&m)); got != (Msghdr{1, 2, 3, 4, 5, 6, 7}) {
		t.Errorf("got %+v", got)
	}
}

func TestUtsname(t *testing.T) {
	u := Utsname{"Linux", "host", "6.1", "#1", "x86_64", "(none)"}
	var want unix.Utsname
	copy(want.Sysname[:], u.Sysname)
	copy(want.Nodename[:], u.Nodename)
	copy(want.Release[:], u.Release)
	copy(want.Version[:], u.Version)
	copy(want.Machine[:], u.Machine)
	copy(want.Domainname[:], u.Domainname)
	if got := AppendUtsname(nil, &u); !bytes.Equal(got, raw(&want)) {
		t.Errorf("got %q", got)
	}
	u.Nodename = string(bytes.Repeat([]byte{'x'}, 100))
	if got := AppendUtsname(nil, &u); len(got) != UtsnameSize || got[2*UtsFieldSize-1] != 0 || got[2*UtsFieldSize-2] != 'x' {
		t.Errorf("long name: %q", got)
	}
}

func TestRobustListHead(t *testing.T) {
	var head RobustListHead
	if unsafe.Sizeof(head) != RobustListHeadSize {
		t.Error("RobustListHeadSize")
	}
	head = RobustListHead{1, -2, 3}
	if got := DecodeRobustListHead(raw(&head)); got != head {
		t.Errorf("got %+v", got)
	}
}

func TestOwnLayouts(t *testing.T) {
	args := CloneArgs{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
	if got := DecodeCloneArgs(raw(&args)); got != args || len(raw(&args)) != CloneArgsSize {
		t.Errorf("got %+v", got)
	}
	short := args
	short.SetTID, short.SetTIDSize, short.Cgroup = 0, 0, 0
	if got := DecodeCloneArgs(raw(&args)[:CloneArgsSizeMin]); got != short {
		t.Errorf("short: %+v", got)
	}
	if got := DecodeSchedAttr([]byte{1, 0, 0, 0}); got != (unix.SchedAttr{Size: 1}) {
		t.Errorf("short: %+v", got)
	}
	act := Sigaction{1, 2, 3, 4}
	if got := AppendSigaction(nil, act); !bytes.Equal(got, raw(&act)) || DecodeSigaction(got) != act || len(got) != SigactionSize {
		t.Errorf("sigaction %x", got)
	}
	st := Stack{1, -2, 3}
	if got := AppendStack(nil, st); DecodeStack(raw(&st)) != st || DecodeStack(got) != st || len(got) != StackSize {
		t.Errorf("stack %x", got)
	}
	iov := Iovec{1, 2}
	if got := DecodeIovec(raw(&iov)); got != iov || len(raw(&iov)) != IovecSize {
		t.Errorf("iovec %+v", got)
	}
	ev := unix.EpollEvent{Events: 5, Fd: 6, Pad: 7}
	if got := DecodeEpollEvent(raw(&ev)); got != (EpollEvent{5, 7<<32 | 6}) || !bytes.Equal(AppendEpollEvent(nil, got), raw(&ev)) {
		t.Errorf("epoll_event %+v", got)
	}
	h := unix.CapUserHeader{Version: 1, Pid: -2}
	if got := DecodeCapHeader(raw(&h)); got != (CapHeader{1, -2}) || len(raw(&h)) != CapHeaderSize {
		t.Errorf("capability header %+v", got)
	}
	d := unix.CapUserData{Effective: 1, Permitted: 2, Inheritable: 3}
	if got := AppendCapData(nil, CapData{1, 2, 3}); !bytes.Equal(got, raw(&d)) || DecodeCapData(got) != (CapData{1, 2, 3}) {
		t.Errorf("capability data %x", got)
	}
	p := unix.PollFd{Fd: 1, Events: 2, Revents: 3}
	pb := bytes.Clone(raw(&p))
	if PutRevents(pb, 9); DecodePollFD(pb) != (unix.PollFd{Fd: 1, Events: 2, Revents: 9}) {
		t.Errorf("revents: %x", pb)
	}
}
