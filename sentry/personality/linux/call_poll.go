package linux

import (
	"math/bits"

	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/kernel"
	"gosentry/sentry/ktime"
	"gosentry/sentry/limits"
	"gosentry/sentry/signal"
	"gosentry/sentry/syscalls"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// deadlineAfter is a time of the monotonic clock, ns from now; negative: never.
func deadlineAfter(t *kernel.Task, ns int64) int64 {
	if ns < 0 {
		return ktime.Forever
	}
	at := t.Kernel().Clocks().Monotonic().Now() + ns
	if at < 0 {
		return ktime.Forever
	}
	return at
}

// pollUntil polls with an end at a time of the monotonic clock.
func pollUntil(t *kernel.Task, files []syscalls.PollFile, at int64) (int, error) {
	clock := t.Kernel().Clocks().Monotonic()
	if at != ktime.Forever && at <= clock.Now() {
		return syscalls.Poll(t, files, true, nil)
	}
	s := ktime.NewSleeper()
	s.Set(clock, at)
	defer s.Stop()
	return syscalls.Poll(t, files, false, s.C)
}

func sysPoll(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	ns := int64(int32(a[2]))
	if ns > 0 {
		ns *= 1e6
	}
	at := deadlineAfter(t, ns)
	n, err := doPoll(t, a[0], a[1], at)
	if err == kernel.ERESTARTNOHAND {
		*t.Restart() = kernel.Restart{
			Call: restartPoll, Deadline: at, Addr: [2]mm.Addr{mm.Addr(a[0])}, Value: [3]uint64{a[1]},
		}
		return 0, kernel.ERESTARTBLOCK
	}
	return n, err
}

func restartPoll(t *kernel.Task, r *kernel.Restart) (uint64, error) {
	n, err := doPoll(t, uint64(r.Addr[0]), r.Value[0], r.Deadline)
	if err == kernel.ERESTARTNOHAND {
		*t.Restart() = *r
		return 0, kernel.ERESTARTBLOCK
	}
	return n, err
}

const (
	polledSize = 128      // about what a file costs that a call waits for, in bytes
	fewKept    = 64 << 10 // up to where what a call keeps is not worth counting
)

// keepWaiting counts what a call keeps while it waits, in bytes, until done: ENOMEM when all calls keep too much.
func keepWaiting(t *kernel.Task, n int64) (done func(), err error) {
	if n <= fewKept {
		return func() {}, nil
	}
	if !t.Kernel().Memory().TakeAside(n) {
		return nil, unix.ENOMEM
	}
	return func() { t.Kernel().Memory().TakeAside(-n) }, nil
}

func doPoll(t *kernel.Task, addr, count uint64, at int64) (uint64, error) {
	count = uint64(uint32(count))
	if count > t.Limits().Soft(limits.NoFile) {
		return 0, unix.EINVAL
	}
	done, err := keepWaiting(t, polledSize*int64(count))
	if err != nil {
		return 0, err
	}
	defer done()
	b := make([]byte, abi.PollFDSize*count)
	if err := t.CopyIn(mm.Addr(addr), b); err != nil {
		return 0, err
	}
	files := make([]syscalls.PollFile, count)
	defer dropFiles(files)
	for i := range files {
		p := abi.DecodePollFD(b[abi.PollFDSize*i:])
		files[i].Events = waiter.EventMask(uint16(p.Events))
		if p.Fd < 0 {
			continue
		}
		f, err := t.FDs().Get(p.Fd)
		if err != nil || f.IsPath() {
			files[i].Got = waiter.NVal
			if err == nil {
				f.DecRef()
			}
			continue
		}
		files[i].File = f
	}
	n, err := pollUntil(t, files, at)
	if err != nil {
		return 0, err
	}
	for i := range files {
		abi.PutRevents(b[abi.PollFDSize*i:], int16(files[i].Got))
	}
	return uint64(n), t.CopyOut(mm.Addr(addr), b)
}

func dropFiles(files []syscalls.PollFile) {
	for i := range files {
		if files[i].File != nil {
			files[i].File.DecRef()
		}
	}
}

func sysPpoll(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	at, err := loadDeadline(t, a[2])
	if err != nil {
		return 0, err
	}
	if err := temporaryMask(t, a[3], a[4]); err != nil {
		return 0, err
	}
	n, err := doPoll(t, a[0], a[1], at)
	return n, pollLeft(t, a[2], at, 1, err)
}

// loadDeadline reads a struct timespec of a relative time; 0 means never.
func loadDeadline(t *kernel.Task, addr uint64) (int64, error) {
	if addr == 0 {
		return ktime.Forever, nil
	}
	ts, err := loadTimespec(t, addr)
	if err != nil {
		return 0, err
	}
	return deadlineAfter(t, nanoseconds(ts)), nil
}

// temporaryMask sets the mask of ppoll, pselect and epoll_pwait if there is one.
func temporaryMask(t *kernel.Task, addr, size uint64) error {
	if addr == 0 {
		return nil
	}
	set, err := loadSigset(t, addr, size)
	if err == nil {
		t.SetTemporaryMask(signal.Set(set))
	}
	return err
}

// stickyTimeouts is the persona of programs that do not expect their timeouts to change.
const stickyTimeouts = 0x4000000

// pollLeft is storeLeft of ppoll and select: with STICKY_TIMEOUTS nothing is written, and the call, which could
// not go on where it was, is not made again.
func pollLeft(t *kernel.Task, addr uint64, at int64, unit int64, err error) error {
	if t.ThreadGroup().Persona()&stickyTimeouts == 0 {
		return storeLeft(t, addr, at, unit, err)
	}
	if err == kernel.ERESTARTNOHAND {
		return unix.EINTR
	}
	return err
}

// storeLeft writes the time left until at; unit is the
// length of its fraction in ns. It returns err.
func storeLeft(t *kernel.Task, addr uint64, at int64, unit int64, err error) error {
	if addr == 0 || at == ktime.Forever {
		return err
	}
	left := max(at-t.Kernel().Clocks().Monotonic().Now(), 0)
	storeWords(t, addr, uint64(left/1e9), uint64(left%1e9/unit)) //nolint:errcheck // as Linux, the result counts
	return err
}

func sysSelect(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	at := int64(ktime.Forever)
	if a[4] != 0 {
		tv, err := load(t, a[4], abi.TimevalSize, abi.DecodeTimeval)
		if err != nil {
			return 0, err
		}
		if tv.Sec < 0 || tv.Usec < 0 {
			return 0, unix.EINVAL
		}
		tv.Sec += tv.Usec / 1e6
		at = deadlineAfter(t, nanoseconds(unix.Timespec{Sec: tv.Sec, Nsec: tv.Usec % 1e6 * 1000}))
	}
	n, err := doSelect(t, a, at)
	return n, pollLeft(t, a[4], at, 1000, err)
}

func sysPselect6(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	at, err := loadDeadline(t, a[4])
	if err != nil {
		return 0, err
	}
	if a[5] != 0 {
		var w [2]uint64
		if err := loadWords(t, a[5], w[:]); err != nil {
			return 0, err
		}
		if err := temporaryMask(t, w[0], w[1]); err != nil {
			return 0, err
		}
	}
	n, err := doSelect(t, a, at)
	return n, pollLeft(t, a[4], at, 1, err)
}

// What the three sets of select(2) stand for.
var selectEvents = [3]struct{ ask, tell waiter.EventMask }{
	{waiter.In | waiter.RdNorm | waiter.RdBand | waiter.RdHUp, waiter.In | waiter.RdNorm | waiter.RdBand | waiter.HUp | waiter.Err | waiter.NVal},
	{waiter.Out | waiter.WrNorm | waiter.WrBand, waiter.Out | waiter.WrNorm | waiter.WrBand | waiter.Err | waiter.NVal},
	{waiter.Pri, waiter.Pri | waiter.NVal},
}

func doSelect(t *kernel.Task, a arch.SyscallArgs, at int64) (uint64, error) {
	count := int32(a[0])
	if count < 0 {
		return 0, unix.EINVAL
	}
	count = min(count, int32(min(t.Limits().Soft(limits.NoFile), limits.MaxNoFile)))
	words := (int(count) + 63) / 64
	done, err := keepWaiting(t, int64(24*words))
	if err != nil {
		return 0, err
	}
	defer done()
	var sets [3][]uint64
	for i := range sets {
		sets[i] = make([]uint64, words)
		if a[1+i] != 0 {
			if err := loadWords(t, a[1+i], sets[i]); err != nil {
				return 0, err
			}
		}
	}
	files, fds, err := selectFiles(t, &sets, count)
	defer dropFiles(files)
	if err != nil {
		return 0, err
	}
	forget, err := keepWaiting(t, polledSize*int64(len(files)))
	if err != nil {
		return 0, err
	}
	defer forget()
	if _, err := pollUntil(t, files, at); err != nil {
		return 0, err
	}
	n := selectResult(&sets, files, fds)
	for i := range sets {
		if a[1+i] != 0 {
			if err := storeWords(t, a[1+i], sets[i]...); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// selectFiles collects the files that the sets name; EBADF for a bad descriptor.
func selectFiles(t *kernel.Task, sets *[3][]uint64, count int32) (files []syscalls.PollFile, fds []int32, err error) {
	for w := range sets[0] {
		any := sets[0][w] | sets[1][w] | sets[2][w]
		for ; any != 0; any &= any - 1 {
			bit := bits.TrailingZeros64(any)
			fd := int32(w*64 + bit)
			if fd >= count {
				break
			}
			f, err := t.FDs().Get(fd)
			if err != nil {
				return files, fds, err
			}
			p := syscalls.PollFile{File: f}
			if f.IsPath() {
				f.DecRef()
				p = syscalls.PollFile{Got: waiter.NVal}
			}
			for i := range sets {
				if sets[i][w]&(1<<bit) != 0 {
					p.Events |= selectEvents[i].ask
				}
			}
			files, fds = append(files, p), append(fds, fd)
		}
	}
	return files, fds, nil
}

func selectResult(sets *[3][]uint64, files []syscalls.PollFile, fds []int32) uint64 {
	n := uint64(0)
	for i := range sets {
		asked := sets[i]
		got := make([]uint64, len(asked))
		for j, fd := range fds {
			bit := uint64(1) << (fd % 64)
			if asked[fd/64]&bit != 0 && files[j].Got&selectEvents[i].tell != 0 {
				got[fd/64] |= bit
				n++
			}
		}
		copy(asked, got)
	}
	return n
}
