package sandbox

import (
	"encoding/json"
	"os"

	"golang.org/x/sys/unix"
	"gosentry/sentry/kernel"
	"gosentry/sentry/limits"
)

// controlFD is the inner process's end of the control socket: the first
// descriptor behind the standard ones.
const controlFD = 3

// config is the first message, from the outer process to the inner one.
// Descriptor numbers are the inner process's.
type config struct {
	Platform string
	NoPatch  bool
	Args     []opaque
	Env      []opaque
	Cwd      opaque
	MustCwd  bool
	Hostname opaque
	PIDs     int
	Memory   uint64
	Strace   Strace
	Debug    bool
	JSON     bool

	Root  grant
	Binds []grant
	Stdio [3]int
	LogFD int // -1: none
	// Container is an oci.Container, what a container is made from, and nothing for a program of "sentry do": package json looks at a
	// type and all within before it reads the first byte, and this one's would take half a millisecond on each side. ListenFD is its
	// control socket, More the program's further descriptors.
	Container json.RawMessage `json:",omitempty"`
	ListenFD  int
	More      []int
	// DeviceFD is the device that the platform needs, -1 for none.
	DeviceFD int
	// TraceFD is where events go, -1 for nowhere.
	TraceFD int
	Trace   Trace

	// Capabilities are those that the inner process keeps, as a mask.
	Capabilities uint32

	UID, GID int
	Groups   []int
	Umask    uint32
	Limits   limits.Table
	Traits   kernel.Traits
}

// grant is a directory that the sandbox may have.
type grant struct {
	FD     int
	Host   opaque // path
	Inside opaque // path
	Sealed bool   // a detached clone with its flags set; else a plain descriptor
	Write  bool
	// Devices is the device of the file system where the host keeps its devices, see host.Config.
	Devices uint64
}

// command is a later message to the inner process.
type command struct {
	Signal unix.Signal `json:",omitempty"`
	// Detach says that the outer process will end and the sandbox is to stay.
	Detach bool `json:",omitempty"`
}

// report is a message from the inner process. Ready comes before a container's program runs and in answer
// to Detach; any other is the process's last act. Broken tells that the sentry had a
// fault of its own, which is in the log.
type report struct {
	Ready  bool   `json:",omitempty"`
	Broken bool   `json:",omitempty"`
	Error  string `json:",omitempty"`
	Status int
}

// opaque is a string of any bytes, which JSON's strings cannot hold.
type opaque []byte

func opaques(list []string) []opaque {
	out := make([]opaque, len(list))
	for i, s := range list {
		out[i] = opaque(s)
	}
	return out
}

func plain(list []opaque) []string {
	out := make([]string, len(list))
	for i, o := range list {
		out[i] = string(o)
	}
	return out
}

// link is one end of the control socket. One goroutine at a time reads from dec, and one sends.
type link struct {
	file *os.File
	dec  *json.Decoder
	enc  *json.Encoder
}

func (l *link) send(message any) error { return l.enc.Encode(message) }

func newLink(fd int) (*link, error) {
	// Without O_NONBLOCK a reader would hold a thread for as long as the sandbox lives.
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "control socket")
	return &link{file: f, enc: json.NewEncoder(f), dec: json.NewDecoder(f)}, nil
}
