package mqueue

import (
	"container/list"
	"sync"

	"gosentry/fs/pseudo"
	"gosentry/fs/vfs"
	"gosentry/sentry/waiter"

	"github.com/tidwall/btree"
	"golang.org/x/sys/unix"
)

// Queue is a message queue, and the inode that stands for it.
type Queue struct {
	pseudo.Node
	waiter.Queue
	fs      *FileSystem
	name    string // that it was made with
	sizes   Attr
	account account
	charged uint64

	// Guarded by mu.
	mu        sync.Mutex
	messages  btree.Map[uint64, *Message] // by place
	bytes     int64
	last      uint64    // sequence number
	senders   list.List // *Waiter
	receivers list.List // *Waiter
	notify    *Notification
	opens     int
	nameless  bool
	freed     bool
}

// Message is one message.
type Message struct {
	Priority uint32
	Text     []byte
}

// messageCost is what the sentry needs for a message besides its text, in bytes; queueCost that for a queue.
const (
	messageCost = 128
	queueCost   = 1024
	waiterCost  = 256
)

func (m *Message) cost() int { return messageCost + len(m.Text) }

// Notification is what mq_notify(3) asked for.
type Notification struct {
	// Owner is the process, as the method ProcessIdentity of callers has it.
	Owner any
	// Kind and Signal are for the file of the queue: SIGEV_*, and the signal's number, 0 for none.
	Kind, Signal int
	// PID is the owner's id in the namespace of a reader.
	PID func(reader vfs.Caller) int32
	// Send tells the owner that a message of sender's has come. It is called with no lock held.
	Send func(sender vfs.Caller)
	// Removed, unless nil, tells the owner that the notification was taken back. It is called with the queue locked.
	Removed func()
}

func identity(c vfs.Caller) any {
	if p, ok := c.(interface{ ProcessIdentity() any }); ok {
		return p.ProcessIdentity()
	}
	return nil
}

// newQueue makes a queue for c, within its limits.
func (fs *FileSystem) newQueue(c vfs.Caller, name string, a vfs.NewAttr) (*Queue, error) {
	sizes, err := fs.sizes(c)
	if err != nil {
		return nil, err
	}
	fs.mu.Lock()
	if fs.count >= fs.limits.queues && !c.Creds().HasIn(unix.CAP_SYS_RESOURCE, fs.config.Owner) {
		fs.mu.Unlock()
		return nil, unix.ENOSPC
	}
	fs.count++
	fs.mu.Unlock()
	q := &Queue{fs: fs, name: name, sizes: sizes, account: account{c.Creds().UserNS, c.Creds().RUID}, charged: sizes.charge()}
	if err := fs.config.Accounts.charge(q.account, q.charged, queueLimit(c)); err != nil {
		fs.dropCount()
		return nil, err
	}
	if err := fs.config.Take(queueCost); err != nil {
		fs.config.Accounts.uncharge(q.account, q.charged)
		fs.dropCount()
		return nil, err
	}
	q.Init(&fs.FS, a.Mode)
	q.SetOwner(a.UID, a.GID)
	return q, nil
}

func (fs *FileSystem) dropCount() {
	fs.mu.Lock()
	fs.count--
	fs.mu.Unlock()
}

// charge is what RLIMIT_MSGQUEUE counts for a queue, in bytes (getrlimit(2)).
func (a Attr) charge() uint64 {
	const message, priority = 48, 48
	return uint64(a.Messages*(message+a.Size) + min(a.Messages, MaxPriority)*priority)
}

// queueLimit is the caller's RLIMIT_MSGQUEUE, none for the sentry itself.
func queueLimit(c vfs.Caller) uint64 {
	if l, ok := c.(interface{ QueueLimit() uint64 }); ok {
		return l.QueueLimit()
	}
	return ^uint64(0)
}

// Attr implements vfs.Inode.
func (q *Queue) Attr() (vfs.Attr, error) {
	a, err := q.Node.Attr()
	a.Size = statusSize
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.nameless {
		a.Nlink = 0
	}
	return a, err
}

// Open implements vfs.Inode.
func (q *Queue) Open(vfs.Caller, int) (vfs.FileOps, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.freed {
		return nil, unix.ENOENT
	}
	q.opens++
	return &openQueue{q}, nil
}

// unnamed says that the queue has lost its name.
func (q *Queue) unnamed() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.nameless = true
	q.freeUnusedLocked()
}

func (q *Queue) freeUnusedLocked() {
	if !q.nameless || q.opens > 0 || q.freed {
		return
	}
	q.freed = true
	q.messages.Scan(func(_ uint64, m *Message) bool {
		q.fs.config.Give(m.cost())
		return true
	})
	q.messages.Clear()
	q.fs.config.Give(queueCost)
	q.fs.config.Accounts.uncharge(q.account, q.charged)
	q.fs.dropCount()
}

// Sizes are how many messages the queue may hold and of what size.
func (q *Queue) Sizes() Attr { return q.sizes }

// Count is how many messages it holds.
func (q *Queue) Count() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return int64(q.messages.Len())
}

// SetNotification is mq_notify(3) of c: nil takes its own back, EBUSY when another stands.
func (q *Queue) SetNotification(c vfs.Caller, n *Notification) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case n == nil:
		q.dropNotificationLocked(identity(c))
	case q.notify != nil:
		return unix.EBUSY
	default:
		q.notify = n
	}
	return nil
}

func (q *Queue) dropNotificationLocked(owner any) {
	if q.notify != nil && q.notify.Owner == owner {
		if q.notify.Removed != nil {
			q.notify.Removed()
		}
		q.notify = nil
	}
}
