package sandbox

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// Failure is why a sandbox could not start or go on, in one line: what was tried, the cause, and
// the way out where one is known.
type Failure struct {
	What   string
	Cause  error
	Way    string
	Status int // exit status; 0 stands for Failed
}

func (f *Failure) Error() string {
	s := f.What
	if f.Cause != nil {
		s += ": " + f.Cause.Error()
	}
	if f.Way != "" {
		s += " (" + f.Way + ")"
	}
	return s
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Cause }

// ExitStatus is the status with which the program ends after err.
func ExitStatus(err error) int {
	var f *Failure
	if errors.As(err, &f) && f.Status != 0 {
		return f.Status
	}
	return Failed
}

// startFailure is the failure to run the guest's program, with the status that shells give. Container
// engines tell a program that is missing by these words.
func startFailure(program string, err error) *Failure {
	if f := new(Failure); errors.As(err, &f) {
		return f
	}
	f := &Failure{What: program, Cause: err, Status: Failed}
	switch {
	case errors.Is(err, unix.ENOENT):
		f.Status, f.Cause = NotFound, errors.New("no such file or directory in the sandbox")
		if !strings.Contains(program, "/") {
			f.Cause = errors.New("executable file not found in the sandbox's $PATH")
		}
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENAMETOOLONG), errors.Is(err, unix.ELOOP):
		f.Status = NotFound
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOEXEC), errors.Is(err, unix.EISDIR),
		errors.Is(err, unix.EPERM), errors.Is(err, unix.ELIBBAD), errors.Is(err, unix.E2BIG):
		f.Status = NotExecutable
	}
	return f
}
