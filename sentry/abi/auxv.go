package abi

// Keys of the auxiliary vector (getauxval(3)).
const (
	AtNull        = 0
	AtPhdr        = 3
	AtPhent       = 4
	AtPhnum       = 5
	AtPagesz      = 6
	AtBase        = 7
	AtFlags       = 8
	AtEntry       = 9
	AtUID         = 11
	AtEUID        = 12
	AtGID         = 13
	AtEGID        = 14
	AtPlatform    = 15
	AtHwcap       = 16
	AtClktck      = 17
	AtSecure      = 23
	AtRandom      = 25
	AtHwcap2      = 26
	AtExecfn      = 31
	AtSysinfoEhdr = 33
	AtMinsigstksz = 51
)

// ClockTicks is the number of clock ticks (times(2), /proc) a second.
const ClockTicks = 100

// Limits of execve(2).
const (
	MaxArgStrlen = 131072 // one string, with its NUL
	ArgMax       = 131072 // what all strings may always take
)

// AuxEntry is one entry of the auxiliary vector.
type AuxEntry struct{ Key, Value uint64 }

// AuxEntrySize is its length in bytes.
const AuxEntrySize = 16

// AppendAuxv appends entries and the AT_NULL that ends them.
func AppendAuxv(b []byte, entries []AuxEntry) []byte {
	for _, e := range entries {
		b = append64(b, e.Key, e.Value)
	}
	return append64(b, AtNull, 0)
}
