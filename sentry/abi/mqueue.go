package abi

// MqAttr is struct mq_attr.
type MqAttr struct{ Flags, Max, Size, Count int64 }

// MqAttrSize is its size in bytes.
const MqAttrSize = 64

// AppendMqAttr appends a struct mq_attr.
func AppendMqAttr(b []byte, m MqAttr) []byte {
	return AppendWords(b, m.Flags, m.Max, m.Size, m.Count, 0, 0, 0, 0)
}

// DecodeMqAttr reads a struct mq_attr.
func DecodeMqAttr(b []byte) MqAttr {
	return MqAttr{int64(get64(b, 0)), int64(get64(b, 8)), int64(get64(b, 16)), int64(get64(b, 24))}
}
