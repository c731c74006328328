package ipc

import (
	"container/list"

	"golang.org/x/sys/unix"
)

// MsgStat is struct msqid_ds. Times are in seconds.
type MsgStat struct {
	Perm
	Sent, Received, Changed int64
	Bytes, Count, Capacity  int64
	LastSend, LastRecv      Process
}

func (q *msgQueue) stat() MsgStat {
	return MsgStat{
		Perm: q.Perm, Sent: q.stime, Received: q.rtime, Changed: q.ctime,
		Bytes: q.bytes, Count: int64(q.messages.Len()), Capacity: q.capacity,
		LastSend: q.lastSend, LastRecv: q.lastRecv,
	}
}

// MsgInfo is struct msginfo, with what is in use.
type MsgInfo struct {
	Limits       Limits
	Queues       int
	Bytes, Count int64
	Highest      int // slot in use
}

// Info is msgctl(2) with IPC_INFO and MSG_INFO.
func (m *Messages) Info() MsgInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	return MsgInfo{
		Limits: m.limits.get(), Queues: m.queues.slots.Len(), Bytes: m.bytes, Count: m.count, Highest: m.queues.highest(),
	}
}

func (m *Messages) openLocked(c *Caller, id int32, want uint32) (*msgQueue, error) {
	q, err := m.queues.find(id)
	if err != nil {
		return nil, err
	}
	return q, q.check(c, m.config.Owner, want)
}

// Stat is IPC_STAT.
func (m *Messages) Stat(c Caller, id int32) (MsgStat, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	q, err := m.openLocked(&c, id, mayRead)
	if err != nil {
		return MsgStat{}, err
	}
	return q.stat(), nil
}

// StatSlot is MSG_STAT, and with any set MSG_STAT_ANY: no permission is needed.
func (m *Messages) StatSlot(c Caller, slot int32, any bool) (MsgStat, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	q, err := m.queues.at(slot)
	if err == nil && !any {
		err = q.check(&c, m.config.Owner, mayRead)
	}
	if err != nil {
		return MsgStat{}, err
	}
	return q.stat(), nil
}

// Change is IPC_SET; EPERM also for a capacity over the limit without CAP_SYS_RESOURCE. Who waits has to
// ask again, since rights and room may have changed: receivers get EAGAIN.
func (m *Messages) Change(c Caller, id int32, o NewOwner, capacity uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	q, err := m.ownedLocked(&c, id)
	if err != nil {
		return err
	}
	if capacity > uint64(m.limits.get().MsgMNB) && !c.Creds.Has(unix.CAP_SYS_RESOURCE) {
		return unix.EPERM
	}
	q.setOwner(o)
	q.capacity = int64(min(capacity, 1<<31))
	q.ctime = m.config.Now()
	finishAllLocked(&q.receivers, unix.EAGAIN)
	finishAllLocked(&q.senders, nil)
	return nil
}

func finishAllLocked(line *list.List, err error) {
	for e := line.Front(); e != nil; e = line.Front() {
		e.Value.(*MsgWait).finishLocked(nil, err)
	}
}

func (m *Messages) ownedLocked(c *Caller, id int32) (*msgQueue, error) {
	q, err := m.queues.find(id)
	if err != nil {
		return nil, err
	}
	return q, q.checkOwner(c, m.config.Owner)
}

// Remove is IPC_RMID.
func (m *Messages) Remove(c Caller, id int32) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	q, err := m.ownedLocked(&c, id)
	if err != nil {
		return err
	}
	m.removeLocked(q)
	return nil
}

func (m *Messages) removeAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, q := range m.queues.slots.Values() {
		m.removeLocked(q)
	}
}

// removeLocked ends a queue: who waits gets EIDRM.
func (m *Messages) removeLocked(q *msgQueue) {
	m.queues.remove(q)
	finishAllLocked(&q.receivers, unix.EIDRM)
	finishAllLocked(&q.senders, unix.EIDRM)
	for e := q.messages.Front(); e != nil; e = e.Next() {
		m.config.Budget.Give(e.Value.(*Message).cost())
	}
	m.bytes -= q.bytes
	m.count -= int64(q.messages.Len())
	m.config.Budget.Give(objectCost)
}
