// Package kvmapi is the part of the host's KVM that package kvm uses: one function an ioctl,
// one type a structure of the kernel's.
//
// A System is /dev/kvm, a VM a virtual machine, a VCPU one of its processors, with the page or
// so that it shares with the kernel. Functions return unix.Errno as the kernel does, without a wrapper, on the
// paths taken while guests run; those that set things up say in their error which request
// failed. OpenError says in words why /dev/kvm cannot be used and what to do.
//
// The layouts are the kernel's (linux/kvm.h, asm/kvm.h), for amd64; a test compares them with the headers.
// Nothing here locks: the kernel serializes a VM's and a VCPU's requests itself, and Run is the only one
// that waits for long.
package kvmapi
