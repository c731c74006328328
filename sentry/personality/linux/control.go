package linux

import (
	"encoding/binary"
	"math"
	"slices"

	"gosentry/mm"
	"gosentry/sentry/abi"
	"gosentry/sentry/cred"
	"gosentry/sentry/kernel"
	"gosentry/sentry/socket"
	unixsocket "gosentry/sentry/socket/unix"

	"golang.org/x/sys/unix"
)

// maxControl bounds the control data of one message, in bytes (net.core.optmem_max).
const maxControl = 131072

// controlAlign is what control messages are aligned to.
func controlAlign(n uint64) uint64 { return (n + 7) &^ 7 }

// loadControl reads the control data of a message to be sent into m. The files in m.Rights are the
// caller's to drop, with an error too.
func loadControl(t *kernel.Task, h *abi.Msghdr, m *socket.Message) error {
	switch {
	case h.Controllen > math.MaxInt32 || h.Controllen > maxControl:
		return unix.ENOBUFS
	case h.Controllen == 0:
		return nil
	}
	b := make([]byte, h.Controllen)
	if err := t.CopyIn(mm.Addr(h.Control), b); err != nil {
		return err
	}
	le := binary.LittleEndian
	for len(b) >= abi.CmsghdrSize {
		size := le.Uint64(b)
		if size < abi.CmsghdrSize || size > uint64(len(b)) {
			return unix.EINVAL
		}
		level, kind := le.Uint32(b[8:]), le.Uint32(b[12:])
		if level == unix.SOL_SOCKET {
			if err := loadControlMessage(t, kind, b[abi.CmsghdrSize:size], m); err != nil {
				return err
			}
		}
		b = b[min(controlAlign(size), uint64(len(b))):]
	}
	return nil
}

func loadControlMessage(t *kernel.Task, kind uint32, data []byte, m *socket.Message) error {
	switch kind {
	case unix.SCM_RIGHTS:
		return loadRights(t, data, m)
	case unix.SCM_CREDENTIALS:
		creds, err := loadCredentials(t, data)
		m.Credentials = creds
		return err
	}
	return unix.EINVAL
}

func loadRights(t *kernel.Task, data []byte, m *socket.Message) error {
	n := len(data) / 4
	if len(m.Rights)+n > unixsocket.MaxRights {
		return unix.EINVAL
	}
	for i := range n {
		f, err := t.FDs().Get(int32(binary.LittleEndian.Uint32(data[4*i:])))
		if err != nil {
			return err
		}
		m.Rights = append(m.Rights, f)
	}
	return nil
}

// loadCredentials reads a struct ucred: EPERM for ids that are not the caller's, without the
// capability that lets it claim others; ESRCH for a process that does not exist.
func loadCredentials(t *kernel.Task, data []byte) (*socket.Credentials, error) {
	if len(data) != unix.SizeofUcred {
		return nil, unix.EINVAL
	}
	le := binary.LittleEndian
	c := t.Creds()
	pid := int32(le.Uint32(data))
	uid, uidOK := c.UserNS.ToUID(le.Uint32(data[4:]))
	gid, gidOK := c.UserNS.ToGID(le.Uint32(data[8:]))
	switch {
	case !uidOK || !gidOK:
		return nil, unix.EINVAL
	case pid != t.TGID() && !c.HasIn(unix.CAP_SYS_ADMIN, t.PIDNamespace().Owner()),
		!slices.Contains([]cred.UID{c.RUID, c.EUID, c.SUID}, uid) && !c.Has(unix.CAP_SETUID),
		!slices.Contains([]cred.GID{c.RGID, c.EGID, c.SGID}, gid) && !c.Has(unix.CAP_SETGID):
		return nil, unix.EPERM
	}
	p, err := t.FindPID(pid)
	if err != nil {
		return nil, err
	}
	return &socket.Credentials{Process: p, UID: uid, GID: gid}, nil
}

// controlWriter writes the control data of a message that was received.
type controlWriter struct {
	t     *kernel.Task
	addr  uint64 // of what comes next
	left  uint64
	flags int // msg_flags
	// nanoseconds is the form of times (SO_TIMESTAMPNS).
	nanoseconds bool
}

// write writes all control messages. Files that there is no room for are released.
func (w *controlWriter) write(m *socket.Message) {
	if w.addr == 0 {
		if m.Time != 0 || m.Credentials != nil || len(m.Rights) > 0 {
			w.flags |= unix.MSG_CTRUNC
		}
		w.left = 0
	} else {
		w.putTime(m)
		if m.ShowIDs {
			w.put(unix.SCM_CREDENTIALS, m.Credentials.Append(nil, w.t))
		}
	}
	w.putRights(m)
	if m.ShowPIDFD && w.addr != 0 {
		w.putPIDFD(m.Credentials.Process)
	}
}

// putPIDFD gives the sender's process a descriptor, or says by a negative errno why it got none. It is whole or is not there.
func (w *controlWriter) putPIDFD(p *kernel.PID) {
	const size = 4
	if w.left < abi.CmsghdrSize+size {
		w.flags |= unix.MSG_CTRUNC
		return
	}
	if p == nil {
		return
	}
	value, err := newPIDFDOf(w.t, p)
	if errno, ok := err.(unix.Errno); ok {
		value = -int32(errno)
	}
	before := w.left
	w.put(unix.SCM_PIDFD, socket.Int(int(value)))
	if w.left == before && err == nil {
		_ = w.t.FDs().Close(w.t, value)
	}
}

// putTime writes when a message was sent, as a struct timeval or timespec.
func (w *controlWriter) putTime(m *socket.Message) {
	if m.Time == 0 {
		return
	}
	kind, unit := uint32(unix.SCM_TIMESTAMP), int64(1000)
	if w.nanoseconds {
		kind, unit = unix.SCM_TIMESTAMPNS, 1
	}
	le := binary.LittleEndian
	b := le.AppendUint64(nil, uint64(m.Time/1e9))
	w.put(kind, le.AppendUint64(b, uint64(m.Time%1e9/unit)))
}

// header is a struct cmsghdr of level SOL_SOCKET for n bytes of data.
func header(kind uint32, n int) []byte {
	le := binary.LittleEndian
	b := le.AppendUint64(nil, uint64(abi.CmsghdrSize+n))
	b = le.AppendUint32(b, unix.SOL_SOCKET)
	return le.AppendUint32(b, kind)
}

// put writes one control message, or as much of it as there is room for.
func (w *controlWriter) put(kind uint32, data []byte) {
	if w.left < abi.CmsghdrSize {
		w.flags |= unix.MSG_CTRUNC
		return
	}
	if room := int(min(w.left, maxControl)) - abi.CmsghdrSize; len(data) > room {
		w.flags |= unix.MSG_CTRUNC
		data = data[:room]
	}
	if w.t.CopyOut(mm.Addr(w.addr), append(header(kind, len(data)), data...)) == nil {
		w.advance(len(data))
	}
}

func (w *controlWriter) advance(n int) {
	size := min(controlAlign(uint64(abi.CmsghdrSize+n)), w.left)
	w.addr += size
	w.left -= size
}

// putRights gives the files descriptors, as many as there is room for.
func (w *controlWriter) putRights(m *socket.Message) {
	files := m.Rights
	m.Rights = nil
	room := 0
	if w.left > abi.CmsghdrSize {
		room = int(min(w.left-abi.CmsghdrSize, maxControl) / 4)
	}
	var fds []byte
	for i, f := range files {
		if i < room {
			fd, err := dupFD(w.t, f, 0, w.flags&unix.MSG_CMSG_CLOEXEC != 0)
			if err == nil {
				fds = binary.LittleEndian.AppendUint32(fds, uint32(fd))
				continue
			}
			room = 0
		} else {
			f.DecRef()
		}
		w.flags |= unix.MSG_CTRUNC
	}
	if len(fds) == 0 {
		return
	}
	if w.t.CopyOut(mm.Addr(w.addr), append(header(unix.SCM_RIGHTS, len(fds)), fds...)) == nil {
		w.advance(len(fds))
	}
}
