package outbound

import (
	"context"
	"errors"
	"net/netip"
	"syscall"

	"airegw/gateway/fault"
)

var errNotPublic = errors.New("not a public address")

// notPublic are the special-purpose blocks (IANA registries, RFC 6890) that
// netip does not know by name. Of IPv6 only 2000::/3 is public at all; of it
// Teredo and 6to4 lead to an IPv4 address hidden inside.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("2001::/23"),
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("3fff::/20"),
}

var publicIPv6 = netip.MustParsePrefix("2000::/3")

// Public tells whether an address is one that anybody on the internet may have.
func Public(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	if !ip.IsValid() || !ip.IsGlobalUnicast() || ip.IsPrivate() || ip.IsLoopback() || ip.Is6() && !publicIPv6.Contains(ip) {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(ip) {
			return false
		}
	}
	return true
}

// publicOnly judges the address a dial is about to use.
func publicOnly(_ context.Context, _, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if (err != nil || !Public(at.Addr())) && !fault.Mutant("outbound.public-only") {
		return errNotPublic
	}
	return nil
}
