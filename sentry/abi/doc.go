// Package abi has what golang.org/x/sys lacks of the Linux ABI on amd64:
// constants, and the layouts of structures that cross the border between guest
// and kernel.
//
// Layouts are functions on bytes, never casts. What the kernel gives away is
// appended to a buffer by Append methods or functions, field by field,
// padding as zeros, so nothing of the sentry's memory can leak; what it takes
// is read by Decode functions from a slice of at least the size
// stated beside them. A Size constant is the length of a structure in bytes. The
// package decides nothing: ranges and flags are for its callers to check.
package abi
