// Package hostcgroup puts a container's sandbox into control groups of the host, for what the kernel
// inside cannot do: shares and quotas of processor time, an upper bound on what the sandbox
// itself uses, and the figures that engines read from the host.
//
// A group is one directory with the same path in each hierarchy that matters, whether the
// host has version 1, version 2 or both (cgroups(7)). The directories are known before they
// are made, so that whoever makes them can write down first what there will be to remove.
//
// There are no locks and there is no state besides the directories.
package hostcgroup
