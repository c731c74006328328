package control

import (
	"encoding/json"
	"time"

	"gosentry/sentry/limits"
)

// Op names what a request asks for.
type Op string

// What can be asked for.
const (
	OpStatus Op = "status" // Answer.Status
	OpStart  Op = "start"  // let the prepared program run
	OpSignal Op = "signal" // Request.Signal, to the first process, to Request.PID, or to All
	OpExec   Op = "exec"   // Request.Process with its descriptors; Answer.PID, then Answer.Exit
	OpPS     Op = "ps"     // Answer.PIDs
	OpLook   Op = "look"   // Answer.Processes
	OpPause  Op = "pause"
	OpResume Op = "resume"
	OpStats  Op = "stats"  // Answer.Stats
	OpUpdate Op = "update" // Request.Limits
	OpWait   Op = "wait"   // Answer.Exit, once the first process has ended
	OpCreate Op = "create" // make Request.Container from Request.Made with its descriptors; an Answer, then Answer.Exit
	OpDelete Op = "delete" // end Request.Container if it is there, and forget it
)

// Request is what a caller asks of a sandbox.
type Request struct {
	Op Op
	// Container is one that was added to the sandbox by OpCreate; empty: the one that it was made for.
	Container string   `json:",omitempty"`
	Signal    int32    `json:",omitempty"`
	PID       int32    `json:",omitempty"` // as seen in the container; 0: the first process
	All       bool     `json:",omitempty"`
	Process   *Process `json:",omitempty"`
	Limits    *Limits  `json:",omitempty"`
	// Made is what a container is made from, in words that are not this package's.
	Made json.RawMessage `json:",omitempty"`
}

// Limits are what a container may have; nil leaves a limit as it is.
type Limits struct {
	Memory *int64 `json:",omitempty"` // bytes; -1: no limit of its own
	Tasks  *int64 `json:",omitempty"` // processes and threads; -1 or 0: no limit of its own
}

// Stats are what a container uses.
type Stats struct {
	CPUUser, CPUSystem  uint64 // ns
	Memory, MemoryLimit uint64 // bytes
	Tasks, TaskLimit    int64
	OOMKills            uint64
}

// Status is where a sandbox stands, in the runtime specification's words.
type Status string

// What a sandbox that answers can be.
const (
	Created Status = "created"
	Running Status = "running"
	Paused  Status = "paused"
	Stopped Status = "stopped"
)

// Answer is what a sandbox says. Error is for people; the other fields depend on the request.
type Answer struct {
	Error  string  `json:",omitempty"`
	Status Status  `json:",omitempty"`
	PID    int32   `json:",omitempty"`
	Exit   *int    `json:",omitempty"` // as a shell shows it: 128+n for signal n
	PIDs   []int32 `json:",omitempty"`
	// Processes are those of PIDs.
	Processes []ProcessInfo `json:",omitempty"`
	Stats     *Stats        `json:",omitempty"`
}

// ProcessInfo is what is to be said of a process that runs, with its ids in the container.
type ProcessInfo struct {
	PID, PPID, Group, Session int32
	UID                       uint32
	State                     byte // as in proc_pid_stat(5)
	Threads                   int
	TTY                       uint32        // device, 0 for none
	Start                     time.Time     // of the process
	CPU                       time.Duration // user and system time
	Size, Resident            uint64        // bytes
	Name                      Bytes
	Args                      Bytes // each ended by a zero; a long list is cut
}

// Process is a program to run in the container.
type Process struct {
	Args     []Bytes
	Env      []Bytes
	Cwd      Bytes
	UID, GID uint32
	Groups   []uint32
	Umask    uint32
	// Capabilities are bit sets; nil: what execve gives the user.
	Capabilities *Capabilities `json:",omitempty"`
	NoNewPrivs   bool
	Limits       limits.Table
	Terminal     bool // the first descriptor is to be the controlling terminal
	OOMScoreAdj  int32
	Schedule     Schedule
}

// Schedule is how a process starts out in the eyes of sched_setscheduler(2), setpriority(2) and ioprio_set(2).
type Schedule struct {
	Policy, Priority, Nice, IOPriority int32
}

// Capabilities are a process's sets, bit n for capability n (capabilities(7)).
type Capabilities struct {
	Bounding, Effective, Inheritable, Permitted, Ambient uint64
}

// Bytes is a string of any bytes, which JSON's strings cannot hold; it travels in base64.
type Bytes []byte

// Strings returns list as strings.
func Strings(list []Bytes) []string {
	out := make([]string, len(list))
	for i, b := range list {
		out[i] = string(b)
	}
	return out
}

// BytesOf is the reverse of Strings.
func BytesOf(list []string) []Bytes {
	out := make([]Bytes, len(list))
	for i, s := range list {
		out[i] = Bytes(s)
	}
	return out
}
