package tty

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const (
	termiosSize  = 36 // struct termios of the kernel
	termios2Size = 44
	termioSize   = 18 // struct termio, of System V
	oldChars     = 8  // special characters that it has
	// nccs is how many special characters there are.
	nccs = 19
	// Bits and characters without a name in package unix.
	xtabs    = 0o14000
	disabled = 0 // a special character that is none
)

// Termios are a terminal's modes.
type Termios struct {
	Input, Output, Control, Local uint32
	Line                          byte
	Chars                         [nccs]byte
	InSpeed, OutSpeed             uint32
}

// newTermios are the modes that a terminal starts with.
func newTermios() Termios {
	const speed = 38400
	return Termios{
		Input:   unix.ICRNL | unix.IXON,
		Output:  unix.OPOST | unix.ONLCR,
		Control: unix.B38400 | unix.CS8 | unix.CREAD,
		Local:   unix.ISIG | unix.ICANON | unix.ECHO | unix.ECHOE | unix.ECHOK | unix.ECHOCTL | unix.ECHOKE | unix.IEXTEN,
		Chars: [nccs]byte{
			unix.VINTR: 'C' & 31, unix.VQUIT: '\\' & 31, unix.VERASE: 0x7f, unix.VKILL: 'U' & 31, unix.VEOF: 'D' & 31,
			unix.VMIN: 1, unix.VSTART: 'Q' & 31, unix.VSTOP: 'S' & 31, unix.VSUSP: 'Z' & 31,
			unix.VREPRINT: 'R' & 31, unix.VDISCARD: 'O' & 31, unix.VWERASE: 'W' & 31, unix.VLNEXT: 'V' & 31,
		},
		InSpeed: speed, OutSpeed: speed,
	}
}

// encode makes a struct termios2, which begins with a struct termios.
func (m *Termios) encode() []byte {
	b := make([]byte, 0, termios2Size)
	for _, v := range [...]uint32{m.Input, m.Output, m.Control, m.Local} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	b = append(append(b, m.Line), m.Chars[:]...)
	b = binary.LittleEndian.AppendUint32(b, m.InSpeed)
	return binary.LittleEndian.AppendUint32(b, m.OutSpeed)
}

// encodeOld makes a struct termio: the lower halves of the modes, and the first characters.
func (m *Termios) encodeOld() []byte {
	b := make([]byte, 0, termioSize)
	for _, v := range [...]uint32{m.Input, m.Output, m.Control, m.Local} {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	b = append(append(b, m.Line), m.Chars[:oldChars]...)
	return append(b, 0)
}

// decodeOld reads a struct termio; what it does not have stays.
func (m *Termios) decodeOld(b []byte) {
	for i, v := range [...]*uint32{&m.Input, &m.Output, &m.Control, &m.Local} {
		*v = *v&^0xffff | uint32(binary.LittleEndian.Uint16(b[2*i:]))
	}
	m.Line = b[8]
	copy(m.Chars[:oldChars], b[9:])
}

// decode reads a struct termio, termios or termios2. What a pseudo-terminal has no use for stays: characters of eight bits, no parity.
func (m *Termios) decode(b []byte) {
	if len(b) == termioSize {
		m.decodeOld(b)
	} else {
		m.decodeNew(b)
	}
	m.Control = m.Control&^(unix.CSIZE|unix.PARENB) | unix.CS8 | unix.CREAD
}

func (m *Termios) decodeNew(b []byte) {
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(b[i:]) }
	m.Input, m.Output, m.Control, m.Local = word(0), word(4), word(8), word(12)
	m.Line = b[16]
	copy(m.Chars[:], b[17:termiosSize])
	if len(b) >= termios2Size {
		m.InSpeed, m.OutSpeed = word(36), word(40)
	}
}

func (m *Termios) input(bit uint32) bool  { return m.Input&bit != 0 }
func (m *Termios) output(bit uint32) bool { return m.Output&bit != 0 }
func (m *Termios) local(bit uint32) bool  { return m.Local&bit != 0 }

// is tells whether c is the special character i.
func (m *Termios) is(c byte, i int) bool { return c == m.Chars[i] && c != disabled }

// setModesLocked changes the modes. What was typed becomes a line when lines begin to count.
func (t *Terminal) setModesLocked(m Termios) {
	old := t.termios
	t.termios = m
	if old.local(unix.ICANON) != m.local(unix.ICANON) {
		t.literal = false
		t.canon = 0
		if n := len(t.in); n > 0 && m.local(unix.ICANON) {
			t.in[n-1].end = true
			t.canon = n
		}
	}
	if t.packet {
		t.flowStatusLocked(&old)
	}
	if !m.input(unix.IXON) && old.input(unix.IXON) {
		t.startLocked()
	}
}

// flowStatusLocked tells the master in packet mode whether stop and start are ^S and ^Q now.
func (t *Terminal) flowStatusLocked(old *Termios) {
	plain := func(m *Termios) bool {
		return m.input(unix.IXON) && m.Chars[unix.VSTOP] == 'S'&31 && m.Chars[unix.VSTART] == 'Q'&31
	}
	if plain(old) == plain(&t.termios) {
		return
	}
	t.status &^= unix.TIOCPKT_DOSTOP | unix.TIOCPKT_NOSTOP
	if plain(&t.termios) {
		t.status |= unix.TIOCPKT_DOSTOP
	} else {
		t.status |= unix.TIOCPKT_NOSTOP
	}
}
