package abi

import "encoding/binary"

var le = binary.LittleEndian

// zeros appends n bytes of padding.
func zeros(b []byte, n int) []byte {
	for ; n >= 8; n -= 8 {
		b = le.AppendUint64(b, 0)
	}
	for ; n > 0; n-- {
		b = append(b, 0)
	}
	return b
}

// append64 appends 64-bit fields.
func append64(b []byte, v ...uint64) []byte {
	for _, x := range v {
		b = le.AppendUint64(b, x)
	}
	return b
}

// append32 appends 32-bit fields.
func append32(b []byte, v ...uint32) []byte {
	for _, x := range v {
		b = le.AppendUint32(b, x)
	}
	return b
}

func get64(b []byte, off int) uint64 { return le.Uint64(b[off:]) }

func get32(b []byte, off int) uint32 { return le.Uint32(b[off:]) }

func get16(b []byte, off int) uint16 { return le.Uint16(b[off:]) }
