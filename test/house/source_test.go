package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
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

// The project is listed and parsed once for all tests.
var (
	listed = sync.OnceValues(list)
	parsed = sync.OnceValues(parse)
)

// packages returns every package of the project.
func packages(t *testing.T) []*pkg {
	t.Helper()
	list, err := listed()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 5 {
		t.Fatalf("go list knows only %d packages", len(list))
	}
	return list
}

// files returns every Go file of the project.
func files(t *testing.T) []*file {
	t.Helper()
	list, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// list asks go list.
func list() ([]*pkg, error) {
	base, err := root()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("go", "list", "-e", "-json=Dir,ImportPath,Imports,Deps,GoFiles,CgoFiles,TestGoFiles,XTestGoFiles", "./...")
	cmd.Dir, cmd.Stderr = base, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var list []*pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		p := new(pkg)
		if err := dec.Decode(p); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// root is the project's directory: the nearest one above with a go.mod.
func root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("no go.mod above the working directory")
}

// parse reads the files of every package.
func parse() ([]*file, error) {
	packages, err := listed()
	if err != nil {
		return nil, err
	}
	base, err := root()
	if err != nil {
		return nil, err
	}
	var list []*file
	for _, p := range packages {
		for i, names := range [][]string{p.GoFiles, p.TestGoFiles, p.XTestGoFiles} {
			for _, name := range names {
				f, err := parseFile(base, p, name)
				if err != nil {
					return nil, err
				}
				f.test = i > 0
				list = append(list, f)
			}
		}
	}
	return list, nil
}

func parseFile(base string, p *pkg, name string) (*file, error) {
	path := filepath.Join(p.Dir, name)
	below, err := filepath.Rel(base, path)
	if err != nil {
		return nil, err
	}
	f := &file{pkg: p, path: below, fset: token.NewFileSet()}
	if f.text, err = os.ReadFile(path); err != nil {
		return nil, err
	}
	f.ast, err = parser.ParseFile(f.fset, path, f.text, parser.ParseComments)
	return f, err
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
