package house

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// module is the path that all packages of the project share.
const module = "gosentry"

// pkg is what go list says of a package of the project.
type pkg struct {
	Dir, ImportPath                              string
	Imports, Deps                                []string
	GoFiles, CgoFiles, TestGoFiles, XTestGoFiles []string
}

// short is the import path below the module.
func (p *pkg) short() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

// file is one parsed file of the project.
type file struct {
	path string // below the project's root
	pkg  *pkg
	text []byte
	test bool
	fset *token.FileSet
	ast  *ast.File
}

func (f *file) line(p token.Pos) int { return f.fset.Position(p).Line }

// packages asks go list for every package of the project.
func packages(t *testing.T) []*pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=Dir,ImportPath,Imports,Deps,GoFiles,CgoFiles,TestGoFiles,XTestGoFiles", "./...")
	cmd.Dir = root(t)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []*pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		p := new(pkg)
		if err := dec.Decode(p); err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	if len(list) < 5 {
		t.Fatalf("go list knows only %d packages", len(list))
	}
	return list
}

// root is the project's directory: the nearest one above with a go.mod.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("no go.mod above the working directory")
	return ""
}

// files parses every Go file of the project.
func files(t *testing.T) []*file {
	t.Helper()
	base := root(t)
	var list []*file
	add := func(p *pkg, names []string, test bool) {
		for _, name := range names {
			path := filepath.Join(p.Dir, name)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			f := &file{pkg: p, text: text, test: test, fset: token.NewFileSet()}
			if f.path, err = filepath.Rel(base, path); err != nil {
				t.Fatal(err)
			}
			if f.ast, err = parser.ParseFile(f.fset, path, text, parser.ParseComments); err != nil {
				t.Errorf("%s: %v", f.path, err)
				continue
			}
			list = append(list, f)
		}
	}
	for _, p := range packages(t) {
		add(p, p.GoFiles, false)
		add(p, p.TestGoFiles, true)
		add(p, p.XTestGoFiles, true)
	}
	return list
}

// exceptions are places that break a rule for a reason.
type exceptions map[string]string

// check reports a breach at place, unless it is excepted. It returns whether it was.
func (e exceptions) check(t *testing.T, used map[string]bool, place, format string, args ...any) {
	t.Helper()
	if _, ok := e[place]; ok {
		used[place] = true
		return
	}
	t.Errorf(place+": "+format, args...)
}

// unused reports exceptions that nothing needs.
func (e exceptions) unused(t *testing.T, used map[string]bool) {
	t.Helper()
	for place := range e {
		if !used[place] {
			t.Errorf("%s: an exception that is not needed", place)
		}
	}
}
