package host

// IsTerminal tells whether the stream is a terminal, which the guest's kernel may
// make a session's controlling one.
func (st *stream) IsTerminal() bool { return st.tty }
