package sandbox

import (
	"io"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Diagnosis says whether the host can run a platform.
type Diagnosis struct {
	Platform string
	Found    string // what the platform found out about the host; may be empty
	Err      error  // why it cannot be used, with what to do about it
}

// Diagnose starts every platform in this process, one after the other, and ends it again. A sandbox has fewer
// rights than its caller, so what works here need not work there; what fails here does not.
func Diagnose() []Diagnosis {
	var list []Diagnosis
	for _, name := range Platforms() {
		found, err := diagnose(name)
		list = append(list, Diagnosis{name, found, err})
	}
	return list
}

func diagnose(name string) (found string, err error) {
	log := logrus.New()
	log.Out = io.Discard
	in := &Inside{Platform: name, Log: logrus.NewEntry(log)}
	if in.DeviceFD, err = openDevice(name); err != nil {
		return "", err
	}
	if in.DeviceFD >= 0 {
		defer unix.Close(in.DeviceFD)
	}
	p, _, err := in.start(name)
	if err != nil {
		return "", err
	}
	defer p.Release()
	if v, ok := p.(interface{ Verdict() string }); ok {
		found = v.Verdict()
	}
	return found, nil
}
