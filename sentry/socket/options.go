package socket

import (
	"encoding/binary"
	"math"
	"sync"
	"time"

	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

var le = binary.LittleEndian

// Sizes of buffers, in bytes: what a socket starts with, and the bounds of what
// SO_SNDBUF and SO_RCVBUF make of it. They count what keeping messages costs too, which is why the
// kernel doubles the number it is given.
const (
	DefaultBuffer = 212992
	maxBuffer     = 2 * 212992
	minSendBuffer = 4608
	minRecvBuffer = 2304
)

// Forever is a timeout that never ends.
const Forever time.Duration = -1

// Options are those of level SOL_SOCKET that do not depend on the family. The zero Options is not ready:
// see Init.
type Options struct {
	mu          sync.Mutex
	sendBuffer  int
	recvBuffer  int
	sendTimeout time.Duration
	recvTimeout time.Duration
	lowWater    int32
	priority    int32
	mark        int32
	linger      [2]int32
	switches    uint64 // bit n: option number n, for those that are on or off
}

// Init gives a new socket's options their defaults.
func (o *Options) Init() {
	o.sendBuffer, o.recvBuffer = DefaultBuffer, DefaultBuffer
	o.sendTimeout, o.recvTimeout = Forever, Forever
	o.lowWater = 1
}

// switchable are the options that are on or off.
const switchable = 1<<unix.SO_DEBUG | 1<<unix.SO_REUSEADDR | 1<<unix.SO_DONTROUTE | 1<<unix.SO_BROADCAST |
	1<<unix.SO_KEEPALIVE | 1<<unix.SO_OOBINLINE | 1<<unix.SO_NO_CHECK | 1<<unix.SO_REUSEPORT |
	1<<unix.SO_TIMESTAMP | 1<<unix.SO_TIMESTAMPNS | 1<<unix.SO_PASSSEC

func isSwitch(name int) bool { return name > 0 && name < 64 && switchable&(1<<name) != 0 }

// On tells whether an option that is on or off is on.
func (o *Options) On(name int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return isSwitch(name) && o.switches&(1<<name) != 0
}

// SendBuffer returns the size of the send buffer in bytes.
func (o *Options) SendBuffer() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.sendBuffer
}

// Timeout returns SO_SNDTIMEO or SO_RCVTIMEO: Forever where there is none.
func (o *Options) Timeout(send bool) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if send {
		return o.sendTimeout
	}
	return o.recvTimeout
}

// Get is getsockopt(2); ENOPROTOOPT for what is not here.
func (o *Options) Get(name int) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch name {
	case unix.SO_SNDBUF:
		return Int(o.sendBuffer), nil
	case unix.SO_RCVBUF:
		return Int(o.recvBuffer), nil
	case unix.SO_RCVLOWAT:
		return Int(int(o.lowWater)), nil
	case unix.SO_SNDLOWAT:
		return Int(1), nil
	case unix.SO_PRIORITY:
		return Int(int(o.priority)), nil
	case unix.SO_MARK:
		return Int(int(o.mark)), nil
	case unix.SO_LINGER:
		return append(Int(int(o.linger[0])), Int(int(o.linger[1]))...), nil
	case unix.SO_SNDTIMEO, unix.SO_SNDTIMEO_NEW:
		return timeval(o.sendTimeout), nil
	case unix.SO_RCVTIMEO, unix.SO_RCVTIMEO_NEW:
		return timeval(o.recvTimeout), nil
	}
	if !isSwitch(name) {
		return nil, unix.ENOPROTOOPT
	}
	return Int(int(o.switches >> name & 1)), nil
}

// Set is setsockopt(2); ENOPROTOOPT for what is not here.
func (o *Options) Set(c vfs.Caller, name int, b []byte) error {
	v, err := IntOf(b)
	if err != nil {
		return err
	}
	switch name {
	case unix.SO_SNDTIMEO, unix.SO_SNDTIMEO_NEW:
		return o.setTimeout(&o.sendTimeout, b)
	case unix.SO_RCVTIMEO, unix.SO_RCVTIMEO_NEW:
		return o.setTimeout(&o.recvTimeout, b)
	case unix.SO_LINGER:
		return o.setLinger(b)
	}
	creds := c.Creds()
	switch {
	case name == unix.SO_DEBUG && v != 0 && !creds.HasGlobal(unix.CAP_NET_ADMIN):
		return unix.EACCES
	case name == unix.SO_PRIORITY && (v < 0 || v > 6) && !creds.Has(unix.CAP_NET_RAW) && !creds.Has(unix.CAP_NET_ADMIN):
		return unix.EPERM
	case name == unix.SO_MARK && !creds.Has(unix.CAP_NET_RAW) && !creds.Has(unix.CAP_NET_ADMIN):
		return unix.EPERM
	case (name == unix.SO_SNDBUFFORCE || name == unix.SO_RCVBUFFORCE) && !creds.HasGlobal(unix.CAP_NET_ADMIN):
		return unix.EPERM
	}
	return o.setInt(name, v)
}

func (o *Options) setInt(name int, v int32) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch name {
	case unix.SO_SNDBUF, unix.SO_SNDBUFFORCE:
		o.sendBuffer = bufferSize(v, minSendBuffer)
	case unix.SO_RCVBUF, unix.SO_RCVBUFFORCE:
		o.recvBuffer = bufferSize(v, minRecvBuffer)
	case unix.SO_RCVLOWAT:
		switch {
		case v < 0:
			v = math.MaxInt32
		case v == 0:
			v = 1
		}
		o.lowWater = v
	case unix.SO_PRIORITY:
		o.priority = v
	case unix.SO_MARK:
		o.mark = v
	default:
		if !isSwitch(name) {
			return unix.ENOPROTOOPT
		}
		o.switches &^= 1 << name
		if name == unix.SO_TIMESTAMP || name == unix.SO_TIMESTAMPNS {
			o.switches &^= 1<<unix.SO_TIMESTAMP | 1<<unix.SO_TIMESTAMPNS // one form or the other
		}
		if v != 0 {
			o.switches |= 1 << name
		}
	}
	return nil
}

// bufferSize is what a socket gets that asks for v bytes. A negative number counts as a great one.
func bufferSize(v int32, least int) int {
	n := 2 * int(v)
	if v < 0 || n > maxBuffer {
		n = maxBuffer
	}
	return max(n, least)
}

func (o *Options) setLinger(b []byte) error {
	if len(b) < 8 {
		return unix.EINVAL
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	on, seconds := int32(le.Uint32(b)), int32(le.Uint32(b[4:]))
	o.linger[0] = 0
	if on != 0 {
		o.linger = [2]int32{1, seconds}
	}
	return nil
}

// setTimeout reads a struct timeval: zero is Forever, a negative time none at all; EDOM for
// microseconds out of range.
func (o *Options) setTimeout(d *time.Duration, b []byte) error {
	if len(b) < 16 {
		return unix.EINVAL
	}
	sec, usec := int64(le.Uint64(b)), int64(le.Uint64(b[8:]))
	if usec < 0 || usec >= 1e6 {
		return unix.EDOM
	}
	t := Forever
	switch {
	case sec < 0:
		t = 0
	case sec < math.MaxInt64/int64(time.Second)-1 && (sec > 0 || usec > 0):
		t = time.Duration(sec)*time.Second + time.Duration(usec)*time.Microsecond
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	*d = t
	return nil
}

func timeval(d time.Duration) []byte {
	d = max(d, 0)
	b := le.AppendUint64(nil, uint64(d/time.Second))
	return le.AppendUint64(b, uint64(d%time.Second/time.Microsecond))
}

// Int is the value of an option that is an int.
func Int(v int) []byte { return le.AppendUint32(nil, uint32(int32(v))) }

// IntOf is the int in an option's value; EINVAL when that is too short.
func IntOf(b []byte) (int32, error) {
	if len(b) < 4 {
		return 0, unix.EINVAL
	}
	return int32(le.Uint32(b)), nil
}
