package fetch

import (
	"net/netip"
	"testing"
)

func TestWhichAddressesAreAsked(t *testing.T) {
	for _, text := range []string{
		"1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0", "198.17.255.255",
		"198.20.0.0", "223.255.255.255", "::ffff:1.1.1.1", "2606:4700:4700::1111", "2600:9000::1", "2001:200::1", "2003::1",
	} {
		if err := (&Fetcher{}).allowed(netip.MustParseAddr(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.0.1",
		"169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1",
		"192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255",
		"240.0.0.1", "255.255.255.255",
		"::", "::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::127.0.0.1", "::a00:1",
		"64:ff9b::a9fe:a9fe", "64:ff9b::1.1.1.1", "64:ff9b:1::a00:1", "100::1", "2001::1", "2001:2::1", "2001:10::1",
		"2001:db8::1", "2002:7f00:1::1", "2002:a9fe:a9fe::1", "3fff::1", "fc00::1", "fd00:ec2::254", "fe80::1",
		"fe80::1%eth0", "fec0::1", "ff02::1", "5f00::1", "2606:4700:4700::1111%eth0",
	} {
		if err := (&Fetcher{}).allowed(netip.MustParseAddr(text)); err == nil {
			t.Errorf("%s is asked", text)
		}
	}
}

func TestLoopbackWhereItIsAllowed(t *testing.T) {
	f := &Fetcher{AllowLoopback: true}
	for text, want := range map[string]bool{
		"127.0.0.1": true, "::1": true, "::ffff:127.0.0.1": true, "1.1.1.1": true,
		"10.0.0.1": false, "169.254.169.254": false, "fd00:ec2::254": false, "0.0.0.0": false, "::": false, "64:ff9b::7f00:1": false, "::1%lo": false,
	} {
		if err := f.allowed(netip.MustParseAddr(text)); (err == nil) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// The last look is at the address of the socket itself.
func TestControl(t *testing.T) {
	f := &Fetcher{}
	for address, want := range map[string]bool{
		"1.1.1.1:443": true, "[2606:4700:4700::1111]:443": true,
		"127.0.0.1:443": false, "169.254.169.254:80": false, "[::1]:443": false, "[fe80::1%lo]:443": false, "localhost:443": false, "": false,
	} {
		if err := f.control("tcp", address, nil); (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
}
