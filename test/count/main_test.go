package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	const events = `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestA/one"}
{"Action":"output","Package":"p","Test":"TestA/two","Output":"broken\n"}
{"Action":"fail","Package":"p","Test":"TestA/two"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:1: no such program\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p","Elapsed":1}
{"Action":"build-output","ImportPath":"q","Output":"does not build\n"}
{"Action":"build-fail","ImportPath":"q"}
{"Action":"fail","Package":"q"}
{"Action":"pass","Package":"r","Test":"TestC"}
{"Action":"pass","Package":"r"}
{"Action":"output","Package":"s","Test":"TestD","Output":"panic: died\n"}
{"Action":"fail","Package":"s"}
`
	var out strings.Builder
	r := newReport(&out)
	if err := r.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	if !r.summary() {
		t.Error("failures were not told")
	}
	for _, want := range []string{"broken\n", "skipped p TestB: b_test.go:1: no such program", "does not build", "panic: died"} {
		if strings.Count(out.String(), want) != 1 {
			t.Errorf("%q does not stand once in:\n%s", want, out.String())
		}
	}
	if want := "2 passed, 3 failed, 1 skipped\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("the last line is not %q:\n%s", want, out.String())
	}
}
