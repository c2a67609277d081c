// Package delivery holds the four deliveries of the card: postal addresses of
// every country, the plan of a shipment with its promised date, and the words
// for what happens to a parcel on its way.
//
// Duty: say whether an address can be delivered, print it as the courier's
// label, count Italian working days, and turn the rule set's days, attempts,
// storage and return path into a plan.
//
// Promise: every expected date names its basis; a country whose format is not
// known is labelled by the generic format, never refused for it; nothing here
// chooses an address, since the foreign residence is the register's (A56).
//
// It refuses: addresses with control characters or beyond the register's
// lengths, without street or number, with a postcode the country does not use,
// and post-office boxes, where registered mail into the addressee's own hands
// cannot be delivered.
package delivery
