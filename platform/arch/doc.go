// Package arch knows the processor: registers, extended state, signal frames.
// Only amd64 so far; another one can be added beside it.
//
// A guest thread's extended state (x87, SSE, AVX...) is a slice in XSAVE's standard format, with
// the components that the host enabled but for AMX; its length, FPUSize, is the same for all threads. Bytes that
// come from a guest go through SanitizeFPU or ParseFrame before anything loads
// them: after that, XRSTOR cannot fault.
//
// A signal frame is Linux's rt_sigframe, byte for byte. BuildFrame says what is to be written
// where, ParseFrame reads it again in rt_sigreturn(2) and believes nothing: flags are masked,
// selectors are those of user code, an extended state without its marks counts as far as FXSAVE
// goes. Neither touches guest memory itself: who calls them copies.
//
// What CPUID says is read once, since that is slow on virtual machines, and never changes.
// The package has no other state.
package arch
