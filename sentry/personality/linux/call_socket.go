package linux

import (
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/kernel"
	"gosentry/sentry/socket"
	"gosentry/sentry/socket/netlink"
	unixsocket "gosentry/sentry/socket/unix"
	"gosentry/sentry/syscalls"

	"golang.org/x/sys/unix"
)

// Parts of the type argument of socket(2), and what bounds it and the family.
const (
	socketTypeMask  = 0xf
	socketTypeCount = 11
	socketFlags     = unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	familyCount     = 46
)

// withSocket calls fn with a descriptor's socket; ENOTSOCK if it has none.
func withSocket(t *kernel.Task, fd uint64, fn func(*vfs.File, socket.Socket) (uint64, error)) (uint64, error) {
	f, err := t.FDs().Get(int32(fd))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	if f.IsPath() {
		return 0, unix.EBADF
	}
	s, ok := f.Ops().(socket.Socket)
	if !ok {
		return 0, unix.ENOTSOCK
	}
	return fn(f, s)
}

// socketType checks family and type and splits the type from its flags.
func socketType(family, typ uint64) (kind, flags int, err error) {
	kind, flags = int(uint32(typ))&socketTypeMask, int(uint32(typ))&^socketTypeMask
	switch {
	case flags&^socketFlags != 0:
		return 0, 0, unix.EINVAL
	case uint32(family) >= familyCount:
		return 0, 0, unix.EAFNOSUPPORT
	case kind >= socketTypeCount:
		return 0, 0, unix.EINVAL
	case uint32(family) != unix.AF_UNIX && uint32(family) != unix.AF_NETLINK:
		return 0, 0, unix.EAFNOSUPPORT
	}
	return kind, flags, nil
}

func sysSocket(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	kind, flags, err := socketType(a[0], a[1])
	if err != nil {
		return 0, err
	}
	makeSocket := unixsocket.NamespaceOf(t).New
	if uint32(a[0]) == unix.AF_NETLINK {
		makeSocket = netlink.NamespaceOf(t).New
	}
	f, err := makeSocket(t, kind, int(int32(a[2])), flags&unix.SOCK_NONBLOCK)
	if err != nil {
		return 0, err
	}
	return newFD(t, f, flags&unix.SOCK_CLOEXEC != 0)
}

func sysSocketpair(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	kind, flags, err := socketType(a[0], a[1])
	if err != nil {
		return 0, err
	}
	if uint32(a[0]) == unix.AF_NETLINK {
		return 0, unix.EOPNOTSUPP
	}
	one, two, err := unixsocket.NamespaceOf(t).NewPair(t, kind, int(int32(a[2])), flags&unix.SOCK_NONBLOCK)
	if err != nil {
		return 0, err
	}
	return 0, storeFDs(t, a[3], one, two, flags&unix.SOCK_CLOEXEC != 0)
}

func sysBind(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return withSocket(t, a[0], func(_ *vfs.File, s socket.Socket) (uint64, error) {
		addr, err := loadAddress(t, a[1], a[2])
		if err != nil {
			return 0, err
		}
		return 0, s.Bind(t, addr, syscalls.PlaceOf(t))
	})
}

func sysConnect(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return withSocket(t, a[0], func(f *vfs.File, s socket.Socket) (uint64, error) {
		addr, err := loadAddress(t, a[1], a[2])
		if err != nil {
			return 0, err
		}
		return 0, syscalls.Connect(t, f, s, addr)
	})
}

func sysListen(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return withSocket(t, a[0], func(_ *vfs.File, s socket.Socket) (uint64, error) {
		return 0, s.Listen(t, int(int32(a[1])))
	})
}

func sysAccept(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return sysAccept4(t, arch.SyscallArgs{a[0], a[1], a[2]})
}

func sysAccept4(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[3]&^socketFlags != 0 {
		return 0, unix.EINVAL
	}
	return withSocket(t, a[0], func(f *vfs.File, s socket.Socket) (uint64, error) {
		fd, err := t.FDs().Open(t.Limits(), a[3]&unix.SOCK_CLOEXEC != 0, func() (*vfs.File, error) {
			file, err := syscalls.Accept(t, f, s, int(a[3]&unix.SOCK_NONBLOCK))
			if err != nil || a[1] == 0 {
				return file, err
			}
			if err := storePeer(t, file, a[1], a[2]); err != nil {
				file.DecRef()
				return nil, err
			}
			return file, nil
		})
		return uint64(fd), err
	})
}

// storePeer tells a program where a connection comes from.
func storePeer(t *kernel.Task, f *vfs.File, addr, size uint64) error {
	name, err := f.Ops().(socket.Socket).Name(true)
	if err != nil {
		return unix.ECONNABORTED
	}
	return storeAddress(t, name, addr, size)
}

func sysShutdown(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return withSocket(t, a[0], func(_ *vfs.File, s socket.Socket) (uint64, error) {
		return 0, s.Shutdown(int(int32(a[1])))
	})
}

func sysGetsockname(t *kernel.Task, a arch.SyscallArgs) (uint64, error) { return getName(t, a, false) }

func sysGetpeername(t *kernel.Task, a arch.SyscallArgs) (uint64, error) { return getName(t, a, true) }

func getName(t *kernel.Task, a arch.SyscallArgs, peer bool) (uint64, error) {
	return withSocket(t, a[0], func(_ *vfs.File, s socket.Socket) (uint64, error) {
		name, err := s.Name(peer)
		if err != nil {
			return 0, err
		}
		return 0, storeAddress(t, name, a[1], a[2])
	})
}

// maxOption bounds the value of an option, in bytes.
const maxOption = 4096

func sysSetsockopt(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return withSocket(t, a[0], func(_ *vfs.File, s socket.Socket) (uint64, error) {
		size := int32(a[4])
		if size < 0 {
			return 0, unix.EINVAL
		}
		value := make([]byte, min(size, maxOption))
		if err := t.CopyIn(mm.Addr(a[3]), value); err != nil {
			return 0, err
		}
		return 0, s.SetOption(t, int(int32(a[1])), int(int32(a[2])), value)
	})
}

func sysGetsockopt(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return withSocket(t, a[0], func(_ *vfs.File, s socket.Socket) (uint64, error) {
		room, err := load32(t, a[4])
		if err != nil {
			return 0, err
		}
		if int32(room) < 0 {
			return 0, unix.EINVAL
		}
		level, name := int(int32(a[1])), int(int32(a[2]))
		value, err := socketOption(t, s, level, name)
		if err != nil {
			return 0, err
		}
		if level == unix.SOL_SOCKET && name == unix.SO_PEERNAME && int(room) > len(value) {
			return 0, unix.EINVAL
		}
		n := min(int(room), len(value))
		if err := t.CopyOut(mm.Addr(a[3]), value[:n]); err != nil {
			return 0, err
		}
		return 0, store32(t, a[4], uint32(n))
	})
}

// socketOption is an option's value. A descriptor of the peer is made here, where descriptors are.
func socketOption(t *kernel.Task, s socket.Socket, level, name int) ([]byte, error) {
	u, ok := s.(*unixsocket.Socket)
	if level != unix.SOL_SOCKET || name != unix.SO_PEERPIDFD || !ok {
		return s.Option(t, level, name)
	}
	p := u.Peer().Process
	if p == nil {
		return nil, unix.ENODATA
	}
	fd, err := newPIDFDOf(t, p)
	return socket.Int(int(fd)), err
}

// newPIDFDOf makes a descriptor of a process.
func newPIDFDOf(t *kernel.Task, p *kernel.PID) (int32, error) {
	f, err := t.PIDFDOf(p)
	if err != nil {
		return -1, err
	}
	fd, err := newFD(t, f, true)
	return int32(fd), err
}

// maxAddress is the size of struct sockaddr_storage, the longest address.
const maxAddress = 128

// loadAddress reads an address; EINVAL for one too long.
func loadAddress(t *kernel.Task, addr, size uint64) ([]byte, error) {
	n := int32(size)
	if n < 0 || n > maxAddress {
		return nil, unix.EINVAL
	}
	b := make([]byte, n)
	return b, t.CopyIn(mm.Addr(addr), b)
}

// storeAddress writes an address as far as there is room, and its true length over the room at size.
func storeAddress(t *kernel.Task, name []byte, addr, size uint64) error {
	room, err := load32(t, size)
	if err != nil {
		return err
	}
	if int32(room) < 0 {
		return unix.EINVAL
	}
	if err := t.CopyOut(mm.Addr(addr), name[:min(int(room), len(name))]); err != nil {
		return err
	}
	return store32(t, size, uint32(len(name)))
}
