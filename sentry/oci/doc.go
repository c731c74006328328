// Package oci is the life of containers as the OCI runtime specification has it:
// a bundle becomes a sandbox by Create, its program runs after Start, and Delete
// leaves nothing behind.
//
// # State
//
// A container is a directory, named by its id, below the runtime's root:
//
//	state.json    what the container is: written whole to a new file and renamed
//	config.json   the bundle's configuration as it was when the container was made
//	control.sock  how the sandbox is reached (package control)
//	lock          held (flock) by whoever changes the container
//
// The sandbox process is the container: its host pid stands in state.json together
// with its start time, so that another process with the same number is never taken
// for it. What a container is doing is never read from the file: a process that is gone
// is a stopped container, one that lives is asked. So a runtime process
// that is killed at any moment leaves a state from which delete can clean up.
//
// While Create runs, the sandbox ends when the creating process does. Only
// when state and pid file are written is it told that it stands alone.
//
// # Pods
//
// Annotations (pod.go) make a container a pod's sandbox, to which others are added: the kernel is common to all, but
// root, mounts, processes, limits and end are each one's own. A container that was added has no control.sock but a link "pod"
// to the directory that has it. The process whose id stands in its state.json is the keeper that package
// sandbox starts for it; the container lives as long as that, and none longer than the sandbox. Namespaces
// in common are named by the paths that runc would be given, and found by comparing
// those with the namespaces of the processes of the pod's containers.
//
// # Limits
//
// Memory and processes are limited by the kernel inside, whoever the caller is. Where the configuration
// names a control group and the caller may make it (package hostcgroup), the sandbox also runs
// in that group of the host: processor time is the host's to limit, and engines read a container's
// use from there. Its directories stand in state.json before they are made, and go with the container.
//
// # Errors
//
// A container that is not there is ErrNotExist, whose text engines look for. Fields of a
// configuration that cannot be honoured are refused with their names, unless the
// specification lets them be ignored.
package oci
