package abi

import "encoding/binary"

// Sizes of the structures of System V IPC on amd64, in bytes.
const (
	IPCPermSize = 48
	SemDSSize   = 104
	ShmDSSize   = 112
	MsgDSSize   = 120
	SemBufSize  = 6
)

// Commands of semctl(2), shmctl(2) and msgctl(2).
const (
	IPCRmid = 0
	IPCSet  = 1
	IPCStat = 2
	IPCInfo = 3

	SemGetPID  = 11
	SemGetVal  = 12
	SemGetAll  = 13
	SemGetNCnt = 14
	SemGetZCnt = 15
	SemSetVal  = 16
	SemSetAll  = 17
	SemStat    = 18
	SemInfo    = 19
	SemStatAny = 20

	ShmLock    = 11
	ShmUnlock  = 12
	ShmStat    = 13
	ShmInfo    = 14
	ShmStatAny = 15

	MsgStat    = 11
	MsgInfo    = 12
	MsgStatAny = 13
)

// Flags of shmat(2).
const (
	ShmRdOnly = 0o10000
	ShmRnd    = 0o20000
	ShmRemap  = 0o40000
	ShmExec   = 0o100000
)

// IPCPerm is struct ipc64_perm.
type IPCPerm struct {
	Key                  int32
	UID, GID, CUID, CGID uint32
	Mode                 uint32
	Seq                  uint16
}

// AppendIPCPerm appends a struct ipc64_perm.
func AppendIPCPerm(b []byte, p IPCPerm) []byte {
	for _, v := range [...]uint32{uint32(p.Key), p.UID, p.GID, p.CUID, p.CGID, p.Mode, uint32(p.Seq), 0} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return append(b, make([]byte, 16)...)
}

// DecodeIPCPerm reads what IPC_SET takes of a struct ipc64_perm: owner and mode.
func DecodeIPCPerm(b []byte) (p IPCPerm) {
	p.UID = binary.LittleEndian.Uint32(b[4:])
	p.GID = binary.LittleEndian.Uint32(b[8:])
	p.Mode = binary.LittleEndian.Uint32(b[20:])
	return p
}

// MsgDSBytes is where msg_qbytes lies in struct msqid_ds.
const MsgDSBytes = IPCPermSize + 5*8

// AppendWords appends 64-bit words.
func AppendWords(b []byte, words ...int64) []byte {
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, uint64(w))
	}
	return b
}

// AppendInts appends 32-bit words.
func AppendInts(b []byte, ints ...int64) []byte {
	for _, v := range ints {
		b = binary.LittleEndian.AppendUint32(b, uint32(v))
	}
	return b
}
