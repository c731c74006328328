package trace

// Kinds of events.
const (
	// Fork is a task created by another; it is recorded before the child runs.
	Fork = "fork"
	// Refused is a fork that failed.
	Refused = "refused"
	// Start is the beginning of a task that is traced, where fork returns 0 in it.
	Start = "start"
	// Exec is a new program in a process.
	Exec = "exec"
	// Exit is the end of a thread; with Last that of its process too.
	Exit = "exit"
	// Killed is the end of a process by a signal, told by its last thread.
	Killed = "killed"
	// Note is a fork told to whoever holds the child's contract.
	Note = "note"
	// Dropped stands where events are missing.
	Dropped = "dropped"
)

// Event is one line of the stream. Ids are lists: those in each pid namespace
// that the task is in, the outermost first. Fields that do not belong to a kind
// are left zero and are not written.
type Event struct {
	Kind string `json:"event"`
	// Time is in ns since the kernel was made.
	Time int64 `json:"ns"`
	// PID and TID are of the process and the thread that the event happened to.
	PID  []int32 `json:"pid,omitempty"`
	TID  []int32 `json:"tid,omitempty"`
	Comm string  `json:"comm,omitempty"`

	// Fork, Refused and Note. Shared are the pages that parent and child see each other
	// write, Copied those that are the child's own from the first write to them.
	How        string   `json:"kind,omitempty"`
	Call       string   `json:"call,omitempty"`
	Flags      []string `json:"flags,omitzero"`
	ExitSignal int32    `json:"exit_signal,omitempty"`
	ChildPID   []int32  `json:"child_pid,omitempty"`
	ChildTID   []int32  `json:"child_tid,omitempty"`
	Shared     *uint64  `json:"pages_shared,omitempty"`
	Copied     *uint64  `json:"pages_copied,omitempty"`
	// Took is how long the fork took until the child could run, in ns.
	Took int64 `json:"took_ns,omitempty"`
	// Reason and Errno tell why a fork was refused; Reason is "returned" in the Exit of a process of the kernel's own that
	// should have gone on.
	Reason string `json:"reason,omitempty"`
	Errno  string `json:"errno,omitempty"`
	// Contract and Holder are the contract that a Note is about, and its holder's process.
	Contract uint64  `json:"contract,omitempty"`
	Holder   []int32 `json:"holder,omitempty"`

	// Start: the parent, and what the call returned in the child.
	ParentPID []int32 `json:"parent_pid,omitempty"`
	ParentTID []int32 `json:"parent_tid,omitempty"`
	Returns   *int32  `json:"returns,omitempty"`

	// Path is the program of an Exec; OldTID the thread's id before it, where that was another.
	Path   string  `json:"path,omitempty"`
	OldTID []int32 `json:"old_tid,omitempty"`

	// Exit and Killed.
	Code   *int32 `json:"code,omitempty"`
	Signal int32  `json:"signal,omitempty"`
	Core   bool   `json:"core,omitempty"`
	Last   bool   `json:"last,omitempty"`

	// Count is how many events were Dropped.
	Count uint64 `json:"count,omitempty"`
}
