package tty

import "golang.org/x/sys/unix"

// inputLocked takes one character that was typed. It tells whether there was room.
func (t *Terminal) inputLocked(c byte) bool {
	m := &t.termios
	if len(t.in) >= inputSize-1 && (t.canon > 0 || !m.local(unix.ICANON)) {
		return false
	}
	if m.input(unix.ISTRIP) {
		c &= 0x7f
	}
	if m.input(unix.IUCLC) && m.local(unix.IEXTEN) && c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	switch {
	case t.literal:
		t.literal = false
		t.typedLocked(c, true)
	case t.flowLocked(c), t.signalLocked(c):
	default:
		t.translatedLocked(c)
	}
	return true
}

// flowLocked handles stop and start.
func (t *Terminal) flowLocked(c byte) bool {
	m := &t.termios
	if !m.input(unix.IXON) {
		return false
	}
	switch {
	case m.is(c, unix.VSTART):
		t.startLocked()
		return true
	case m.is(c, unix.VSTOP):
		t.stopLocked()
		return true
	}
	if m.input(unix.IXANY) {
		t.startLocked()
	}
	return false
}

// signalLocked handles the characters that send signals.
func (t *Terminal) signalLocked(c byte) bool {
	m := &t.termios
	if !m.local(unix.ISIG) {
		return false
	}
	var sig unix.Signal
	switch {
	case m.is(c, unix.VINTR):
		sig = unix.SIGINT
	case m.is(c, unix.VQUIT):
		sig = unix.SIGQUIT
	case m.is(c, unix.VSUSP):
		sig = unix.SIGTSTP
	default:
		return false
	}
	if !m.local(unix.NOFLSH) {
		t.flushLocked(true, true)
	}
	t.signals = append(t.signals, sig)
	if m.input(unix.IXON) {
		t.startLocked()
	}
	if m.local(unix.ECHO) {
		t.echoLocked(c)
	}
	return true
}

// translatedLocked maps carriage returns and newlines, and edits the line.
func (t *Terminal) translatedLocked(c byte) {
	m := &t.termios
	switch {
	case c == '\r' && m.input(unix.IGNCR):
		return
	case c == '\r' && m.input(unix.ICRNL):
		c = '\n'
	case c == '\n' && m.input(unix.INLCR):
		c = '\r'
	}
	if !m.local(unix.ICANON) || !t.editLocked(c) {
		t.typedLocked(c, false)
	}
}

// typedLocked takes a character that means itself.
func (t *Terminal) typedLocked(c byte, literal bool) {
	if !t.putLocked(cell{c: c}) {
		return
	}
	if !t.termios.local(unix.ECHO) {
		return
	}
	if c == '\n' && !literal {
		t.emitLocked(c)
		return
	}
	if len(t.in)-1 == t.canon {
		t.from = t.column
	}
	t.echoLocked(c)
}

// putLocked appends to the queue. A line that is too long loses what does not fit, but not its end.
func (t *Terminal) putLocked(x cell) bool {
	if len(t.in) >= inputSize-1 && !(x.end && len(t.in) < inputSize) {
		if t.termios.input(unix.IMAXBEL) {
			t.emitLocked('\a')
		}
		return false
	}
	t.in = append(t.in, x)
	if x.end {
		t.canon = len(t.in)
	}
	return true
}

// editLocked handles the characters that edit and end lines.
func (t *Terminal) editLocked(c byte) bool {
	m := &t.termios
	extended := m.local(unix.IEXTEN)
	switch {
	case m.is(c, unix.VERASE), m.is(c, unix.VKILL), m.is(c, unix.VWERASE) && extended:
		t.eraseLocked(c)
	case m.is(c, unix.VLNEXT) && extended:
		t.literal = true
		if m.local(unix.ECHO) && m.local(unix.ECHOCTL) {
			t.emitLocked('^', '\b')
		}
	case m.is(c, unix.VREPRINT) && extended && m.local(unix.ECHO):
		t.echoLocked(c)
		t.emitLocked('\n')
		for _, x := range t.in[t.canon:] {
			t.echoLocked(x.c)
		}
	case c == '\n':
		if t.putLocked(cell{c: c, end: true}) && m.Local&(unix.ECHO|unix.ECHONL) != 0 {
			t.emitLocked(c)
		}
	case m.is(c, unix.VEOF):
		t.putLocked(cell{end: true, eof: true})
	case m.is(c, unix.VEOL), m.is(c, unix.VEOL2) && extended:
		if t.putLocked(cell{c: c, end: true}) && m.local(unix.ECHO) {
			t.echoLocked(c)
		}
	default:
		return false
	}
	return true
}

// eraseLocked takes back a character, a word or the line that is edited.
func (t *Terminal) eraseLocked(c byte) {
	m := &t.termios
	word, line := m.is(c, unix.VWERASE), m.is(c, unix.VKILL)
	switch {
	case len(t.in) == t.canon:
		return
	case line && !m.local(unix.ECHO):
		t.in = t.in[:t.canon]
		return
	case line && m.Local&(unix.ECHOK|unix.ECHOKE|unix.ECHOE) != unix.ECHOK|unix.ECHOKE|unix.ECHOE:
		t.in = t.in[:t.canon]
		t.echoLocked(c)
		if m.local(unix.ECHOK) {
			t.emitLocked('\n')
		}
		return
	}
	met := false
	for len(t.in) > t.canon {
		n := len(t.in) - 1
		for n > t.canon && t.continuesLocked(t.in[n].c) {
			n--
		}
		x := t.in[n].c
		if word {
			if part := wordPart(x); met && !part {
				return
			} else {
				met = met || part
			}
		}
		t.in = t.in[:n]
		if m.local(unix.ECHO) {
			t.unechoLocked(c, x, !word && !line)
		}
		if !word && !line {
			return
		}
	}
}

func wordPart(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// unechoLocked takes x away from the screen, or with a terminal that cannot echoes the erase character c.
func (t *Terminal) unechoLocked(c, x byte, single bool) {
	m := &t.termios
	switch {
	case single && !m.local(unix.ECHOE):
		t.echoLocked(c)
	case x == '\t':
		for range t.tabWidthLocked() {
			t.emitLocked('\b')
		}
	case isControl(x) && m.local(unix.ECHOCTL):
		t.emitLocked('\b', ' ', '\b', '\b', ' ', '\b')
	case !isControl(x):
		t.emitLocked('\b', ' ', '\b')
	}
}

// tabWidthLocked is how wide a tab is at the end of the line that is edited.
func (t *Terminal) tabWidthLocked() int {
	width := t.from
	for _, x := range t.in[t.canon:] {
		switch {
		case x.c == '\t':
			width = 0
		case isControl(x.c):
			if t.termios.local(unix.ECHOCTL) {
				width += 2
			}
		case !t.continuesLocked(x.c):
			width++
		}
	}
	return 8 - width&7
}
