package policies

import _ "embed"

//go:embed situation.schema.json
var situationSchema []byte

// SituationSchema returns the JSON Schema (2020-12) of what ParseSituation
// reads. The slice is the caller's own.
func SituationSchema() []byte { return append([]byte(nil), situationSchema...) }
