package abi

import "golang.org/x/sys/unix"

// Sizes of what the calls on descriptors take, in bytes.
const (
	IovecSize      = 16
	MsghdrSize     = 56
	MmsghdrSize    = 64
	CmsghdrSize    = 16
	PollFDSize     = 8
	EpollEventSize = 12
	FlockSize      = 32
	OpenHowSize    = 24
)

// Iovec is struct iovec. Nothing about it has been checked.
type Iovec struct{ Base, Len uint64 }

// DecodeIovec reads a struct iovec.
func DecodeIovec(b []byte) Iovec { return Iovec{get64(b, 0), get64(b, 8)} }

// Msghdr is struct user_msghdr; pointers are guest addresses.
type Msghdr struct {
	Name       uint64
	Namelen    uint32
	Iov        uint64
	Iovlen     uint64
	Control    uint64
	Controllen uint64
	Flags      uint32
}

// DecodeMsghdr reads a struct user_msghdr.
func DecodeMsghdr(b []byte) Msghdr {
	return Msghdr{
		Name: get64(b, 0), Namelen: get32(b, 8), Iov: get64(b, 16), Iovlen: get64(b, 24),
		Control: get64(b, 32), Controllen: get64(b, 40), Flags: get32(b, 48),
	}
}

// DecodePollFD reads a struct pollfd.
func DecodePollFD(b []byte) unix.PollFd {
	return unix.PollFd{Fd: int32(get32(b, 0)), Events: int16(get16(b, 4)), Revents: int16(get16(b, 6))}
}

// PutRevents writes what poll(2) found to a struct pollfd.
func PutRevents(b []byte, revents int16) { le.PutUint16(b[6:], uint16(revents)) }

// EpollEvent is struct epoll_event, which is packed.
type EpollEvent struct {
	Events uint32
	Data   uint64
}

// DecodeEpollEvent reads a struct epoll_event.
func DecodeEpollEvent(b []byte) EpollEvent { return EpollEvent{get32(b, 0), get64(b, 4)} }

// AppendEpollEvent appends a struct epoll_event.
func AppendEpollEvent(b []byte, e EpollEvent) []byte {
	return append64(append32(b, e.Events), e.Data)
}

// DecodeFlock reads a struct flock.
func DecodeFlock(b []byte) unix.Flock_t {
	return unix.Flock_t{
		Type: int16(get16(b, 0)), Whence: int16(get16(b, 2)),
		Start: int64(get64(b, 8)), Len: int64(get64(b, 16)), Pid: int32(get32(b, 24)),
	}
}

// AppendFlock appends a struct flock.
func AppendFlock(b []byte, f *unix.Flock_t) []byte {
	b = le.AppendUint16(b, uint16(f.Type))
	b = le.AppendUint16(b, uint16(f.Whence))
	b = append32(b, 0)
	b = append64(b, uint64(f.Start), uint64(f.Len))
	return append32(b, uint32(f.Pid), 0)
}

// DecodeOpenHow reads a struct open_how.
func DecodeOpenHow(b []byte) unix.OpenHow {
	return unix.OpenHow{Flags: get64(b, 0), Mode: get64(b, 8), Resolve: get64(b, 16)}
}
