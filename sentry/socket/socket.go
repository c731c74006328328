package socket

import (
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"
	"gosentry/sentry/kernel"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Socket is an open socket of any family. Errors are unix.Errno; a method may be called
// by any goroutine.
type Socket interface {
	vfs.FileOps
	waiter.Waitable

	// Type returns what socket(2) was called with: AF_*, SOCK_* and the protocol.
	Type() (family, kind, protocol int)
	// Bind is bind(2).
	Bind(c vfs.Caller, addr []byte, at Place) error
	// Listen is listen(2).
	Listen(c vfs.Caller, backlog int) error
	// Accept takes a connection that came in, as a file with the given status flags; EAGAIN when
	// there is none. wait tells that the caller would wait for one.
	Accept(c vfs.Caller, flags int, wait bool) (*vfs.File, error)
	// Connect is connect(2). With EAGAIN comes the queue to wait on, nil for the socket's own.
	Connect(c vfs.Caller, addr []byte, at Place) (*waiter.Queue, error)
	// Shutdown is shutdown(2); how is SHUT_*.
	Shutdown(how int) error
	// Name returns the socket's own address, or with peer that of the other side.
	Name(peer bool) ([]byte, error)
	// Send sends m, or for streams as much of it as there is room for, and returns the count.
	// Files that have gone with it are taken out of m.Rights; what is left there is the
	// caller's.
	Send(c vfs.Caller, m *Message) (int, error)
	// Receive fills m with one message, or for streams with what there is.
	Receive(c vfs.Caller, m *Message) (int, error)
	// Option is getsockopt(2): the option's value, as programs have it.
	Option(c vfs.Caller, level, name int) ([]byte, error)
	// SetOption is setsockopt(2).
	SetOption(c vfs.Caller, level, name int, value []byte) error
	// Common returns the options that all families have.
	Common() *Options
}

// Place says where names of files begin for the caller, and its file-creation mask.
type Place struct {
	vfs.WalkArgs
	Umask uint32
}

// Message is what one sendmsg(2) sends, or one recvmsg(2) has received.
type Message struct {
	Data  *mm.Buffer
	Flags int // MSG_*, as the caller gave them

	// Address is where to; nil for the peer. Received: where from, nil when the sender has no name.
	Address []byte
	At      Place
	// Rights are open files that go with the message. Who receives them owns the references.
	Rights []*vfs.File
	// Credentials tell who sent it; nil for none given or none asked for. Received: to be shown by ids, as a pidfd, or both.
	Credentials        *Credentials
	ShowIDs, ShowPIDFD bool

	// Time is when it was sent, in ns of the real-time clock; 0 when that is not asked for (SO_TIMESTAMP).
	Time int64
	// Got is MSG_TRUNC if part of what was received did not fit.
	Got int
	// Complete says that nothing can be added to what was received, even with MSG_WAITALL.
	Complete bool
	// Busy is the queue that tells of room, when Send returned EAGAIN; nil for the
	// socket's own.
	Busy *waiter.Queue
}

// Credentials are who sent a message or who is at the other end (SCM_CREDENTIALS,
// SO_PEERCRED).
type Credentials struct {
	Process *kernel.PID // nil: unknown
	UID     cred.UID
	GID     cred.GID
}

// NoCredentials are those of nobody.
func NoCredentials() Credentials { return Credentials{UID: cred.Overflow, GID: cred.Overflow} }

// ProcessOf returns the process of a caller that is a task, nil for others.
func ProcessOf(c vfs.Caller) *kernel.PID {
	if t, ok := c.(interface{ ThreadGroup() *kernel.ThreadGroup }); ok {
		return t.ThreadGroup().PID()
	}
	return nil
}

// Effective returns a caller's credentials with its effective ids, as connect(2) records them; a pidfd of the process can be asked for.
func Effective(c vfs.Caller) Credentials {
	p := ProcessOf(c)
	p.Watch()
	return Credentials{p, c.Creds().EUID, c.Creds().EGID}
}

// Real returns a caller's credentials with its real ids, as messages carry them.
func Real(c vfs.Caller) Credentials {
	return Credentials{ProcessOf(c), c.Creds().RUID, c.Creds().RGID}
}

// ucredSize is the size of struct ucred in bytes.
const ucredSize = 12

// Append appends the credentials as a struct ucred, the process and the ids by their numbers for c. NoID stays.
func (cr Credentials) Append(b []byte, c vfs.Caller) []byte {
	pid := int32(0)
	if t, ok := c.(interface{ PIDNamespace() *kernel.PIDNamespace }); ok {
		pid = cr.Process.In(t.PIDNamespace())
	}
	uid, gid := cred.NoID, cred.NoID
	if uint32(cr.UID) != cred.NoID {
		uid, gid = c.Creds().UserNS.ShowUID(cr.UID), c.Creds().UserNS.ShowGID(cr.GID)
	}
	for _, v := range [...]uint32{uint32(pid), uid, gid} {
		b = le.AppendUint32(b, v)
	}
	return b
}

// FamilyOf returns the family of an address; EINVAL for one too short to have any.
func FamilyOf(addr []byte) (int, error) {
	if len(addr) < 2 {
		return 0, unix.EINVAL
	}
	return int(le.Uint16(addr)), nil
}
