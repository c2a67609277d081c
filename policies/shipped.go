package policies

import (
	"embed"
	"io/fs"
	"sync"
)

//go:embed rules
var embedded embed.FS

// ShippedFS returns the rule files in the binary; their cases are in the folder
// "cases".
func ShippedFS() fs.FS {
	sub, err := fs.Sub(embedded, "rules")
	if err != nil {
		panic("policies: the binary holds no rules: " + err.Error())
	}
	return sub
}

// shippedFiles are the rule files in the binary, read once.
var shippedFiles = sync.OnceValue(func() ruleFiles {
	files, err := readFiles(ShippedFS())
	if err != nil {
		panic("policies: the binary holds no rules: " + err.Error())
	}
	return files
})

// Shipped returns the rule set in the binary, loaded once. A set that does not
// load is a broken build, which the package's tests refuse.
var Shipped = sync.OnceValue(func() *Set {
	s, err := shippedFiles().load()
	if err != nil {
		panic("policies: the shipped rules do not load:\n" + err.Error())
	}
	return s
})
