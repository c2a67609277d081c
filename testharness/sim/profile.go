package sim

import "fmt"

// Profile says how unpleasant a simulator is on its own account. Faults asked
// for by name over the management surface work in every profile.
type Profile string

// The profiles.
const (
	// Polite injects nothing: demonstrations.
	Polite Profile = "polite"
	// Rude injects each fault at its rude rate: tests, with a fixed seed.
	Rude Profile = "rude"
	// Hostile injects each fault at its hostile rate: soak runs, the seed is
	// printed.
	Hostile Profile = "hostile"
)

// ParseProfile reads a profile's name; the empty name is Polite. Anything else
// is an error, never a default.
func ParseProfile(name string) (Profile, error) {
	switch Profile(name) {
	case "", Polite:
		return Polite, nil
	case Rude:
		return Rude, nil
	case Hostile:
		return Hostile, nil
	}
	return "", fmt.Errorf("unknown profile %q: polite, rude or hostile", name)
}

// UnmarshalText reads a profile from a flag or a configuration.
func (p *Profile) UnmarshalText(text []byte) error {
	parsed, err := ParseProfile(string(text))
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}
