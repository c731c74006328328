package tty

import "golang.org/x/sys/unix"

func isControl(c byte) bool { return c < 0x20 || c == 0x7f }

// processLocked appends what a character of output becomes.
func (t *Terminal) processLocked(to []byte, c byte) []byte {
	m := &t.termios
	if !m.output(unix.OPOST) {
		return append(to, c)
	}
	switch c {
	case '\n':
		if m.output(unix.ONLCR) {
			t.column, t.from = 0, 0
			return append(to, '\r', '\n')
		}
		if m.output(unix.ONLRET) {
			t.column, t.from = 0, 0
		}
	case '\r':
		if m.output(unix.ONOCR) && t.column == 0 {
			return to
		}
		if m.output(unix.OCRNL) {
			c = '\n'
			if !m.output(unix.ONLRET) {
				break
			}
		}
		t.column, t.from = 0, 0
	case '\t':
		spaces := 8 - t.column&7
		t.column += spaces
		if m.Output&unix.TABDLY == xtabs {
			return append(to, "        "[:spaces]...)
		}
	case '\b':
		t.column = max(t.column-1, 0)
	default:
		c = t.printableLocked(c)
	}
	return append(to, c)
}

func (t *Terminal) printableLocked(c byte) byte {
	if isControl(c) {
		return c
	}
	if t.termios.output(unix.OLCUC) && c >= 'a' && c <= 'z' {
		c -= 'a' - 'A'
	}
	if !t.continuesLocked(c) {
		t.column++
	}
	return c
}

// continuesLocked tells whether c goes on a character of UTF-8.
func (t *Terminal) continuesLocked(c byte) bool { return t.termios.input(unix.IUTF8) && c&0xc0 == 0x80 }

// emitLocked echoes characters as they are meant to be seen, through the output modes.
func (t *Terminal) emitLocked(text ...byte) {
	for _, c := range text {
		switch {
		case t.stopped && len(t.held) < echoSize:
			t.held = t.processLocked(t.held, c)
		case !t.stopped && len(t.out)+8 <= outputSize:
			t.out = t.processLocked(t.out, c)
		}
	}
}

// echoLocked echoes a character that was typed: ^X for control characters.
func (t *Terminal) echoLocked(c byte) {
	if t.termios.local(unix.ECHOCTL) && isControl(c) && c != '\t' {
		t.emitLocked('^', c^0x40)
		return
	}
	t.emitLocked(c)
}

func (t *Terminal) stopLocked() {
	if t.stopped {
		return
	}
	t.stopped = true
	if t.packet {
		t.status = t.status&^unix.TIOCPKT_START | unix.TIOCPKT_STOP
	}
}

func (t *Terminal) startLocked() {
	if !t.stopped {
		return
	}
	t.stopped = false
	t.out = append(t.out, t.held...)
	t.held = nil
	if t.packet {
		t.status = t.status&^unix.TIOCPKT_STOP | unix.TIOCPKT_START
	}
}

// flushLocked forgets input that was not read, or output that the master has not read.
func (t *Terminal) flushLocked(input, output bool) {
	if input {
		t.in, t.canon, t.literal = nil, 0, false
		if t.packet {
			t.status |= unix.TIOCPKT_FLUSHREAD
		}
	}
	if output {
		t.out, t.held = nil, nil
		if t.packet {
			t.status |= unix.TIOCPKT_FLUSHWRITE
		}
	}
}
