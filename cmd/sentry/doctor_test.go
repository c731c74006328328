package main

import (
	"errors"
	"strings"
	"testing"

	"gosentry/sentry/sandbox"
)

func TestPrintDiagnoses(t *testing.T) {
	var out strings.Builder
	err := printDiagnoses(&out, []sandbox.Diagnosis{
		{Platform: "one"}, {Platform: "two", Found: "large"}, {Platform: "three", Err: errors.New("no (buy one)")},
	})
	const want = "one      usable\ntwo      usable: large\nthree    not usable: no (buy one)\n"
	if err != nil || out.String() != want {
		t.Errorf("%v\n%s", err, out.String())
	}
}
