package house

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/token"
	"strings"
	"testing"
)

func TestFormatted(t *testing.T) {
	for _, f := range files(t) {
		want, err := format.Source(f.text)
		if err != nil {
			t.Errorf("%s: %v", f.path, err)
		} else if !bytes.Equal(want, f.text) {
			t.Errorf("%s: gofmt would change it", f.path)
		}
	}
}

func TestUnsafe(t *testing.T) {
	for _, f := range files(t) {
		for _, i := range f.ast.Imports {
			base := strings.TrimSuffix(strings.TrimSuffix(f.path, ".go"), "_test")
			if i.Path.Value == `"unsafe"` && !strings.HasSuffix(base, "_unsafe") {
				t.Errorf("%s imports unsafe and is not named *_unsafe.go", f.path)
			}
		}
	}
}

func TestPackageDocs(t *testing.T) {
	docs := make(map[string]int)
	for _, f := range files(t) {
		if _, ok := docs[f.pkg.ImportPath]; !ok {
			docs[f.pkg.ImportPath] = 0
		}
		if f.ast.Doc == nil || f.test && len(f.pkg.GoFiles) > 0 {
			continue
		}
		docs[f.pkg.ImportPath]++
		want := "Package " + f.ast.Name.Name + " "
		if f.ast.Name.Name == "main" {
			want = "Command "
		}
		if !strings.HasPrefix(f.ast.Doc.Text(), want) {
			t.Errorf("%s: the package's doc does not begin with %q", f.path, want)
		}
	}
	for path, n := range docs {
		if n != 1 {
			t.Errorf("%s has %d package docs, want 1", path, n)
		}
	}
}

func TestExportedDocs(t *testing.T) {
	for _, f := range files(t) {
		if f.test || f.ast.Name.Name == "main" {
			continue
		}
		for _, d := range f.ast.Decls {
			for _, n := range undocumented(d) {
				t.Errorf("%s:%d: %s has no doc comment", f.path, f.line(n.Pos()), n.Name)
			}
		}
	}
}

// undocumented lists the exported names that d declares without a comment. A comment on a group, or
// behind a line of one, serves.
func undocumented(d ast.Decl) []*ast.Ident {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Doc == nil && d.Name.IsExported() && exportedReceiver(d) && !wellKnown(d) {
			return []*ast.Ident{d.Name}
		}
	case *ast.GenDecl:
		if d.Doc != nil && d.Tok != token.TYPE {
			return nil
		}
		var list []*ast.Ident
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				if d.Doc == nil && s.Doc == nil && s.Comment == nil && s.Name.IsExported() {
					list = append(list, s.Name)
				}
			case *ast.ValueSpec:
				if s.Doc == nil && s.Comment == nil && s.Names[0].IsExported() {
					list = append(list, s.Names[0])
				}
			}
		}
		return list
	}
	return nil
}

// wellKnown are methods that say nothing beyond what error and fmt.Stringer do.
func wellKnown(d *ast.FuncDecl) bool {
	return d.Recv != nil && (d.Name.Name == "Error" || d.Name.Name == "String")
}

// exportedReceiver tells whether users of the package can see a method's type.
func exportedReceiver(d *ast.FuncDecl) bool {
	return d.Recv == nil || ast.IsExported(name(d))
}
