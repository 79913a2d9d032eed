// Which addresses are not asked: everything that is not public (RFC 6890 and the IANA
// special-purpose registries).

package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
)

// A Resolver looks the addresses of a host up.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

var _ Resolver = (*net.Resolver)(nil)

// special lists what is not public of IPv4, and of IPv6 what is not public within
// global.
func special() []netip.Prefix {
	var prefixes []netip.Prefix
	for _, text := range []string{
		"0.0.0.0/8",       // this network, RFC 791
		"10.0.0.0/8",      // private use, RFC 1918
		"100.64.0.0/10",   // carrier-grade NAT, RFC 6598
		"127.0.0.0/8",     // loopback, RFC 1122
		"169.254.0.0/16",  // link-local, RFC 3927: 169.254.169.254 is the instance metadata service
		"172.16.0.0/12",   // private use, RFC 1918
		"192.0.0.0/24",    // protocol assignments, RFC 6890
		"192.0.2.0/24",    // documentation, RFC 5737
		"192.88.99.0/24",  // 6to4 relays, RFC 7526
		"192.168.0.0/16",  // private use, RFC 1918
		"198.18.0.0/15",   // benchmarks, RFC 2544
		"198.51.100.0/24", // documentation, RFC 5737
		"203.0.113.0/24",  // documentation, RFC 5737
		"224.0.0.0/4",     // multicast, RFC 5771
		"240.0.0.0/4",     // reserved and broadcast, RFC 1112

		"2001::/23",     // protocol assignments, Teredo and benchmarks among them, RFC 2928
		"2001:db8::/32", // documentation, RFC 3849
		"2002::/16",     // 6to4, RFC 3056: an IPv4 address within
		"3fff::/20",     // documentation, RFC 9637
	} {
		prefixes = append(prefixes, netip.MustParsePrefix(text))
	}
	return prefixes
}

// global is the global unicast space of IPv6 (RFC 4291 §2.4, IANA). What lies outside
// is not public: ::1 and ::, mapped IPv4 (which is unwrapped before), NAT64
// 64:ff9b::/96 and 64:ff9b:1::/48, unique local fc00::/7 (fd00:ec2::254 is the
// instance metadata service), link-local fe80::/10, multicast ff00::/8.
func global() netip.Prefix { return netip.MustParsePrefix("2000::/3") }

// allowed says why an address is not asked, or nil.
func (f *Fetcher) allowed(address netip.Addr) error {
	address = address.Unmap()
	if f.AllowLoopback && address.IsLoopback() && address.Zone() == "" {
		return nil
	}
	// What has a zone lies in no prefix.
	public := address.Is4() || global().Contains(address)
	for _, prefix := range special() {
		public = public && !prefix.Contains(address)
	}
	if !public {
		return fmt.Errorf("%s is no public address", address)
	}
	return nil
}

// check reads the address of a document.
func (f *Fetcher) check(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	switch {
	case len(address) > maxURL:
		return nil, errors.New("the address is too long")
	case err != nil:
		return nil, errors.New("the address is no URL")
	case u.User != nil:
		return nil, errors.New("the address has user information")
	case strings.Contains(address, "#"):
		return nil, errors.New("the address has a fragment")
	case u.Hostname() == "":
		return nil, errors.New("the address names no host")
	case u.Scheme == "https", u.Scheme == "http" && f.AllowLoopback:
		return u, nil
	default:
		return nil, errors.New("the address is not https")
	}
}

// errGuard marks what the guard refuses.
var errGuard = errors.New("not asked")

// resolve looks a host up, once. A name that has one address which is not public is
// refused whole: it is made to be asked twice.
func (f *Fetcher) resolve(ctx context.Context, u *url.URL) ([]netip.Addr, error) {
	addresses, err := f.lookUpHost(ctx, u.Hostname())
	if err != nil {
		return nil, err
	}
	for _, address := range addresses {
		if err := f.allowed(address); err != nil {
			return nil, fmt.Errorf("%w: %w", errGuard, err)
		}
		if u.Scheme != "https" && !address.Unmap().IsLoopback() {
			return nil, fmt.Errorf("%w: plain http to another machine", errGuard)
		}
	}
	return addresses, nil
}

func (f *Fetcher) lookUpHost(ctx context.Context, host string) ([]netip.Addr, error) {
	if address, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{address}, nil
	}
	resolver := f.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	addresses, err := resolver.LookupNetIP(ctx, "ip", host)
	if err == nil && len(addresses) == 0 {
		err = errors.New("the host has no address")
	}
	return addresses, err
}

// dial connects to one of the addresses that were checked, and to no other: a second
// look-up could answer otherwise.
func (f *Fetcher) dial(ctx context.Context, u *url.URL, addresses []netip.Addr) (net.Conn, error) {
	port := cmp.Or(u.Port(), map[string]string{"https": "443", "http": "80"}[u.Scheme])
	dialer := net.Dialer{Control: f.control}
	var failed error
	for _, address := range addresses[:min(len(addresses), maxAddresses)] {
		conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(address.Unmap().String(), port))
		if err == nil {
			return conn, nil
		}
		failed = errors.Join(failed, err)
	}
	return nil, failed
}

// maxAddresses bounds how many addresses of a host are tried.
const maxAddresses = 4

// control looks once more at the address that the socket is about to connect to.
func (f *Fetcher) control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %w", errGuard, err)
	}
	if err := f.allowed(at.Addr()); err != nil {
		return fmt.Errorf("%w: %w", errGuard, err)
	}
	return nil
}
