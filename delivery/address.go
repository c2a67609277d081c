package delivery

// Address is where a card is sent, as it is printed on the label. The members
// follow what the register holds of a foreign residence (ANPR localitaEstera),
// so that nothing has to be guessed: Street is toponimo.denominazione,
// HouseNumber numeroCivico, Postcode cap, Locality descrizioneLocalita, Region
// provinciaContea, CareOf presso.
type Address struct {
	// ISO2 is the ISO 3166-1 alpha-2 code of the country, "IT" for Italy.
	ISO2 string `json:"iso2"`
	// Recipient is the holder's name as it is to be printed.
	Recipient string `json:"recipient"`
	// CareOf is "presso": whose door it is, if not the holder's own.
	CareOf      string `json:"care_of,omitempty"`
	Street      string `json:"street,omitempty"`
	HouseNumber string `json:"house_number,omitempty"`
	Unit        string `json:"unit,omitempty"`
	// StreetLine is the whole street line as already written by the country's
	// custom; when present it is printed instead of Street and HouseNumber.
	StreetLine        string `json:"street_line,omitempty"`
	DependentLocality string `json:"dependent_locality,omitempty"`
	Postcode          string `json:"postcode,omitempty"`
	Locality          string `json:"locality,omitempty"`
	Region            string `json:"region,omitempty"`
}

// Problem says what is wrong with one member of an address.
type Problem struct {
	Code  string `json:"code"`           // stable, such as "address.postcode_format"
	Field string `json:"field"`          // JSON name of the member
	Arg   string `json:"arg,omitempty"`  // what was expected, such as a pattern's example
	Fatal bool   `json:"fatal,omitzero"` // false: a doubt to confirm; true: cannot be printed or delivered
}
