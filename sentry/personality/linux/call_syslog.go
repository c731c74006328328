package linux

import (
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/kernel"
	"gosentry/sentry/klog"

	"golang.org/x/sys/unix"
)

// What syslog(2) is asked for; the names of the manual page.
const (
	syslogClose = iota
	syslogOpen
	syslogRead
	syslogReadAll
	syslogReadClear
	syslogClear
	syslogConsoleOff
	syslogConsoleOn
	syslogConsoleLevel
	syslogSizeUnread
	syslogSizeBuffer
)

// sysSyslog is syslog(2). There is no console, so nothing follows its level.
func sysSyslog(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	action, log := int32(a[0]), t.Kernel().Messages()
	if err := t.Kernel().MayReadMessages(t.Creds(), action == syslogReadAll || action == syslogSizeBuffer); err != nil {
		return 0, err
	}
	switch action {
	case syslogClose, syslogOpen, syslogConsoleOff, syslogConsoleOn:
		return 0, nil
	case syslogRead, syslogReadAll, syslogReadClear:
		return readSyslog(t, action, mm.Addr(a[1]), int32(a[2]))
	case syslogClear:
		log.Clear()
		return 0, nil
	case syslogConsoleLevel:
		if level := int32(a[2]); level < 1 || level > 8 {
			return 0, unix.EINVAL
		}
		return 0, nil
	case syslogSizeUnread:
		return uint64(log.Unread()), nil
	case syslogSizeBuffer:
		return klog.Size, nil
	}
	return 0, unix.EINVAL
}

func readSyslog(t *kernel.Task, action int32, addr mm.Addr, size int32) (uint64, error) {
	if addr == 0 || size < 0 {
		return 0, unix.EINVAL
	}
	if size == 0 {
		return 0, nil
	}
	var b []byte
	var err error
	if action == syslogRead {
		b, err = t.TakeMessages(int(size))
	} else {
		b = t.Kernel().Messages().Last(int(size), action == syslogReadClear)
	}
	if err != nil {
		return 0, err
	}
	return uint64(len(b)), t.CopyOut(addr, b)
}
