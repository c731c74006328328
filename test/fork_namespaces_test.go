package test

// namespacesForkRows are the rows about namespaces.
func namespacesForkRows() []forkRow {
	return []forkRow{
		{name: "L01_namespaces", program: "namespaces", root: true},
		{name: "L02_namespaces", program: "namespaces", root: true},
		{name: "L04_depth", program: "namespaces", root: true},
		{name: "L04_inits", program: "namespaces", root: true},
		{name: "L10_unshare", program: "namespaces", root: true},
		{name: "L10_setns", program: "namespaces", root: true},
	}
}
