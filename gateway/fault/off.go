//go:build !mutants

package fault

// Enabled says whether this build can be broken on purpose.
const Enabled = false

// Mutant is false: this build holds every check.
func Mutant(string) bool { return false }

// Point does nothing: this build fails only when it must.
func Point(string) error { return nil }
