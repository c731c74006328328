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
	TermiosSize    = 36 // the kernel's struct termios
	Termios2Size   = 44
	WinsizeSize    = 8
	FutexWaitvSize = 24
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

// AppendMsghdr appends a struct user_msghdr.
func AppendMsghdr(b []byte, m *Msghdr) []byte {
	b = append64(b, m.Name)
	b = append32(b, m.Namelen, 0)
	b = append64(b, m.Iov, m.Iovlen, m.Control, m.Controllen)
	return append32(b, m.Flags, 0)
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

// termiosCC is the number of control characters in the kernel's struct termios: fewer than C
// libraries have.
const termiosCC = 19

// AppendTermios appends the kernel's struct termios, of TCGETS.
func AppendTermios(b []byte, t *unix.Termios) []byte {
	b = append32(b, t.Iflag, t.Oflag, t.Cflag, t.Lflag)
	b = append(b, t.Line)
	return append(b, t.Cc[:termiosCC]...)
}

// DecodeTermios reads the kernel's struct termios.
func DecodeTermios(b []byte) unix.Termios {
	t := unix.Termios{Iflag: get32(b, 0), Oflag: get32(b, 4), Cflag: get32(b, 8), Lflag: get32(b, 12), Line: b[16]}
	copy(t.Cc[:termiosCC], b[17:])
	return t
}

// AppendTermios2 appends a struct termios2, of TCGETS2.
func AppendTermios2(b []byte, t *unix.Termios) []byte {
	return append32(AppendTermios(b, t), t.Ispeed, t.Ospeed)
}

// DecodeTermios2 reads a struct termios2.
func DecodeTermios2(b []byte) unix.Termios {
	t := DecodeTermios(b)
	t.Ispeed, t.Ospeed = get32(b, TermiosSize), get32(b, TermiosSize+4)
	return t
}

// AppendWinsize appends a struct winsize.
func AppendWinsize(b []byte, w unix.Winsize) []byte {
	for _, v := range [...]uint16{w.Row, w.Col, w.Xpixel, w.Ypixel} {
		b = le.AppendUint16(b, v)
	}
	return b
}

// DecodeWinsize reads a struct winsize.
func DecodeWinsize(b []byte) unix.Winsize {
	return unix.Winsize{Row: get16(b, 0), Col: get16(b, 2), Xpixel: get16(b, 4), Ypixel: get16(b, 6)}
}

// FutexWaitv is struct futex_waitv, of futex_waitv(2).
type FutexWaitv struct {
	Val      uint64
	Addr     uint64
	Flags    uint32
	Reserved uint32
}

// DecodeFutexWaitv reads a struct futex_waitv.
func DecodeFutexWaitv(b []byte) FutexWaitv {
	return FutexWaitv{get64(b, 0), get64(b, 8), get32(b, 16), get32(b, 20)}
}
