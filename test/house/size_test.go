package house

import (
	"go/ast"
	"go/token"
	"testing"
)

// Bounds in lines: "about 400" and "about 40". The lines of tables (composite literals) do not count.
const (
	maxFile     = 400 + 40
	maxFunction = 40 + 4
	// A test tells a story from the beginning to the end, and one kind of test stands in one file; both
	// may take longer.
	maxTestFile     = 600
	maxTestFunction = 80
)

// longer are places that read better longer.
var longer = exceptions{}

func TestSizes(t *testing.T) {
	used := make(map[string]bool)
	for _, f := range files(t) {
		fileBound, bound := maxFile, maxFunction
		if f.test {
			fileBound, bound = maxTestFile, maxTestFunction
		}
		if n := lines(f, f.ast.FileStart, f.ast.FileEnd, f.ast); n > fileBound {
			longer.check(t, used, f.path, "%d lines without tables, the bound is %d", n, fileBound)
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			// The braces' own lines are not the function's work.
			if n := lines(f, fn.Body.Lbrace, fn.Body.Rbrace, fn) - 1; n > bound {
				longer.check(t, used, f.path+":"+name(fn), "%d lines without tables, the bound is %d", n, bound)
			}
		}
	}
	longer.unused(t, used)
}

// name is a function's name, with its receiver's type for methods.
func name(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return fn.Name.Name
	}
	typ := fn.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.Name + "." + fn.Name.Name
		default:
			return fn.Name.Name
		}
	}
}

// lines counts the lines from one position to another, less those of the outermost
// composite literals below node.
func lines(f *file, from, to token.Pos, node ast.Node) int {
	n := f.line(to) - f.line(from)
	ast.Inspect(node, func(x ast.Node) bool {
		lit, ok := x.(*ast.CompositeLit)
		if !ok {
			return true
		}
		if rows := f.line(lit.Rbrace) - f.line(lit.Lbrace); isTable(lit) {
			n -= rows
		}
		return false
	})
	return n
}

// isTable tells a table from a literal that holds code: it has no function in it.
func isTable(lit *ast.CompositeLit) bool {
	table := true
	ast.Inspect(lit, func(x ast.Node) bool {
		if _, ok := x.(*ast.FuncLit); ok {
			table = false
		}
		return table
	})
	return table
}
