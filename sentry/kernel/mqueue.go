package kernel

import (
	"gosentry/fs/mqueue"
	"gosentry/fs/vfs"
	"gosentry/sentry/limits"
	"gosentry/sentry/signal"
)

// mqueues returns the POSIX message queues of an IPC namespace.
func (k *Kernel) mqueues(n *IPCNamespace) *mqueue.FileSystem {
	return n.Part("mqueue", func() IPCPart {
		return mqueue.New(mqueue.Config{
			System: k.VFS(), Owner: n.Owner(), Take: k.ipcBudget.Take, Give: k.ipcBudget.Give, Accounts: &k.mqueueAccounts,
		})
	}).(*mqueue.FileSystem)
}

// MessageQueues returns the POSIX message queues of the task's IPC namespace.
func (t *Task) MessageQueues() *mqueue.FileSystem { return t.k.mqueues(t.Namespaces().IPC) }

// ProcessIdentity tells processes apart, for package mqueue.
func (t *Task) ProcessIdentity() any { return t.tg }

// QueueLimit is RLIMIT_MSGQUEUE in bytes, for package mqueue.
func (t *Task) QueueLimit() uint64 { return t.Limits().Soft(limits.MsgQueue) }

// NewNotification returns what mq_notify(3) of the task asks for: sig with value, or nothing if sig is 0.
func (t *Task) NewNotification(sig signal.Signal, value uint64) *mqueue.Notification {
	tg := t.tg
	return &mqueue.Notification{
		Owner: tg, Signal: int(sig),
		PID: func(reader vfs.Caller) int32 {
			if r := taskOf(reader); r != nil {
				return tg.pid.In(r.pidns)
			}
			return 0
		},
		Send: func(sender vfs.Caller) {
			from := taskOf(sender)
			if sig == 0 || from == nil {
				return
			}
			info := from.senderInfo(sig, signal.CodeMesgQ, t)
			info.Value = value
			tg.SendSignal(&info) //nolint:errcheck // the message is there, told or not
		},
	}
}
