package policies

import "time"

// LegalBasis is the legal reference of the rule that opens a channel at an
// instant: what a dossier records when it is taken in, before anything about
// the person is known (A1, A5). Empty for an unknown channel.
func (s *Set) LegalBasis(channel Channel, on time.Time) string {
	k := keyChannelPost
	switch channel {
	case ChannelComune:
		k = keyChannelComune
	case ChannelPost:
	default:
		return ""
	}
	return s.at(k, 0, on.Unix()).LegalRef
}
