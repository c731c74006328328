package control

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// maxMessage bounds a message in bytes: a program's arguments and environment in base64.
const maxMessage = 16 << 20

// MaxFiles is how many descriptors a message may bring: as many as Linux takes (SCM_MAX_FD).
const MaxFiles = 253

// lengthSize is the size of what goes before a message: its length, little-endian.
const lengthSize = 4

// send writes a message, with descriptors that stay the caller's.
func send(c conn, message any, files []int) error {
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if len(text) > maxMessage {
		return fmt.Errorf("a message of %d bytes is too long: %w", len(text), unix.E2BIG)
	}
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(text)))
	if len(files) > MaxFiles {
		return fmt.Errorf("%d descriptors are too many, at most %d can be sent: %w", len(files), MaxFiles, unix.E2BIG)
	}
	if err := c.sendRights(head, files); err != nil {
		return err
	}
	_, err = c.Write(text)
	return err
}

// receive reads a message and the descriptors that came with it, which are close-on-exec.
func receive(c conn, message any) (files []int, err error) {
	head, rights := make([]byte, lengthSize), make([]byte, unix.CmsgSpace(MaxFiles*4))
	n, got, flags, err := c.receiveRights(head, rights)
	if err != nil {
		return nil, err
	}
	files, err = descriptors(rights[:got])
	defer func() {
		if err != nil {
			closeAll(files)
			files = nil
		}
	}()
	switch {
	case err != nil:
		return files, err
	case flags&unix.MSG_CTRUNC != 0:
		return files, errors.New("too many descriptors came with the message")
	case n == 0:
		return files, io.EOF
	}
	if _, err = io.ReadFull(c, head[n:]); err != nil {
		return files, err
	}
	length := binary.LittleEndian.Uint32(head)
	if length > maxMessage {
		err = fmt.Errorf("a message of %d bytes is too long", length)
		return files, err
	}
	text := make([]byte, length)
	if _, err = io.ReadFull(c, text); err != nil {
		return files, err
	}
	err = json.Unmarshal(text, message)
	return files, err
}

func descriptors(rights []byte) ([]int, error) {
	if len(rights) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	var files []int
	for _, m := range messages {
		list, err := unix.ParseUnixRights(&m)
		files = append(files, list...)
		if err != nil {
			return files, err
		}
	}
	return files, nil
}

func closeAll(files []int) {
	for _, fd := range files {
		unix.Close(fd)
	}
}
