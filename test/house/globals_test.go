package house

import (
	"go/ast"
	"go/token"
	"strings"
	"testing"
)

// state are package-level variables that change and have a reason to.
var state = exceptions{}

// TestNoGlobalState allows variables at package level that are set where they are declared
// and nowhere written: errors, tables, values computed once. It knows no types, so a table changed through a method or a
// pointer passes; what holds a lock, an atomic or a pool does not.
func TestNoGlobalState(t *testing.T) {
	used := make(map[string]bool)
	byPackage := make(map[string][]*file)
	for _, f := range files(t) {
		if !f.test {
			byPackage[f.pkg.ImportPath] = append(byPackage[f.pkg.ImportPath], f)
		}
	}
	for _, list := range byPackage {
		vars := globals(list)
		for _, f := range list {
			for name, why := range writes(f, vars) {
				state.check(t, used, f.pkg.short()+"."+name, "%s", why)
			}
		}
		for name, g := range vars {
			if why := g.mutable(); why != "" {
				state.check(t, used, g.file.pkg.short()+"."+name, "%s", why)
			}
		}
	}
	state.unused(t, used)
}

// global is a variable at package level.
type global struct {
	file  *file
	typ   ast.Expr // nil: that of value
	value ast.Expr // nil: none
	ident *ast.Ident
}

func globals(list []*file) map[string]*global {
	vars := make(map[string]*global)
	for _, f := range list {
		for _, d := range f.ast.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				spec := s.(*ast.ValueSpec)
				for i, n := range spec.Names {
					if n.Name == "_" {
						continue
					}
					v := &global{file: f, typ: spec.Type, ident: n}
					if i < len(spec.Values) {
						v.value = spec.Values[i]
					} else if len(spec.Values) == 1 {
						v.value = spec.Values[0]
					}
					vars[n.Name] = v
				}
			}
		}
	}
	return vars
}

// mutable says why a variable is meant to change, by its declaration alone.
func (g *global) mutable() string {
	if g.value == nil && !embedded(g.file, g.ident) {
		return "a variable that is not set where it is declared"
	}
	for _, e := range []ast.Expr{g.typ, g.value} {
		if e == nil {
			continue
		}
		why := ""
		ast.Inspect(e, func(n ast.Node) bool {
			if _, ok := n.(*ast.FuncLit); ok {
				return false
			}
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := sel.X.(*ast.Ident); ok && (x.Name == "sync" || x.Name == "atomic") && !strings.HasPrefix(sel.Sel.Name, "OnceValue") {
					why = "a variable with a " + x.Name + "." + sel.Sel.Name
				}
			}
			if call, ok := n.(*ast.CallExpr); ok {
				if f, ok := call.Fun.(*ast.Ident); ok && (f.Name == "make" || f.Name == "new") {
					why = "a variable that is made to be filled"
				}
			}
			return why == ""
		})
		if why != "" {
			return why
		}
	}
	return ""
}

// embedded tells whether the declaration stands under a go:embed.
func embedded(f *file, id *ast.Ident) bool {
	for _, c := range f.ast.Comments {
		if f.line(c.End()) == f.line(id.Pos())-1 && strings.Contains(c.List[len(c.List)-1].Text, "//go:embed") {
			return true
		}
	}
	return false
}

// writes finds assignments to the variables, to parts of them, and addresses taken of whole ones. The parser
// resolves names within a file; a name that it resolves to something else than a
// declaration at package level is not ours.
func writes(f *file, vars map[string]*global) map[string]string {
	found := make(map[string]string)
	note := func(e ast.Expr, what string) {
		id := base(e)
		if id == nil || vars[id.Name] == nil || shadowed(f, id) {
			return
		}
		found[id.Name] = what + " in " + f.path
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for _, e := range n.Lhs {
				if n.Tok != token.DEFINE {
					note(e, "assigned to")
				}
			}
		case *ast.IncDecStmt:
			note(n.X, "changed")
		case *ast.UnaryExpr:
			if _, whole := n.X.(*ast.Ident); whole && n.Op == token.AND {
				note(n.X, "its address is taken")
			}
		case *ast.CallExpr:
			if fn, ok := n.Fun.(*ast.Ident); ok && (fn.Name == "delete" || fn.Name == "clear" || fn.Name == "copy") && len(n.Args) > 0 {
				note(n.Args[0], fn.Name+" is called on it")
			}
		}
		return true
	})
	return found
}

// base is the variable in x, x[i], x.f, *x and (x).
func base(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// shadowed tells whether a name means something local.
func shadowed(f *file, id *ast.Ident) bool {
	return id.Obj != nil && f.ast.Scope.Objects[id.Name] != id.Obj
}
