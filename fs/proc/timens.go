package proc

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// TimeOffsets are how far the clocks of a time namespace are ahead of the initial one's, in ns.
type TimeOffsets struct{ Monotonic, Boottime int64 }

// TimeOffset is one offset to be set: that of CLOCK_BOOTTIME, or else of CLOCK_MONOTONIC.
type TimeOffset struct {
	Boottime  bool
	Sec, Nsec int64
}

// timeOffsets makes /proc/PID/timens_offsets.
func timeOffsets(d *taskDir) vfs.Inode {
	return d.newNSFile(nsFile{
		size: mm.PageSize,
		read: func(_, _ *cred.UserNamespace, b *bytes.Buffer) {
			o, ok := d.task.TimeOffsets()
			if !ok {
				return
			}
			writeOffset(b, "monotonic", o.Monotonic)
			writeOffset(b, "boottime", o.Boottime)
		},
		write: func(_ *cred.UserNamespace, text string, opener, _ *cred.Credentials) error {
			all, err := parseOffsets(text)
			if err != nil {
				return err
			}
			return d.task.SetTimeOffsets(opener, all)
		},
	})
}

func writeOffset(b *bytes.Buffer, clock string, ns int64) {
	sec, nsec := ns/1e9, ns%1e9
	if nsec < 0 {
		sec, nsec = sec-1, nsec+1e9
	}
	fmt.Fprintf(b, "%-10s %10d %9d\n", clock, sec, nsec)
}

// parseOffsets reads two lines of clock, seconds and nanoseconds, and leaves what follows; EINVAL.
func parseOffsets(text string) ([]TimeOffset, error) {
	var all []TimeOffset
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		if len(all) == 2 {
			break
		}
		words := strings.Fields(line)
		if len(words) != 3 {
			return nil, unix.EINVAL
		}
		var o TimeOffset
		switch words[0] {
		case "monotonic", strconv.Itoa(unix.CLOCK_MONOTONIC):
		case "boottime", strconv.Itoa(unix.CLOCK_BOOTTIME):
			o.Boottime = true
		default:
			return nil, unix.EINVAL
		}
		var err [2]error
		o.Sec, err[0] = strconv.ParseInt(words[1], 10, 64)
		o.Nsec, err[1] = strconv.ParseInt(words[2], 10, 64)
		if err[0] != nil || err[1] != nil || o.Nsec < 0 || o.Nsec >= 1e9 {
			return nil, unix.EINVAL
		}
		all = append(all, o)
	}
	return all, nil
}
