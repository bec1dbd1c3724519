package recorder

import (
	"fmt"
	"maps"
	"slices"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/layout"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// NoData as the Config's DataLimit: nothing of a data buffer is kept.
const NoData = -1

// captureLimits are how many bytes are kept of what calls point to.
type captureLimits struct {
	data, text int
	of         map[string]int // by the name of a call, a group or a class
	list       []int          // those of `of`, each once
}

// captureLimits are those that a Config asks for, which has its defaults.
func (c *Config) captureLimits() (*captureLimits, error) {
	l := &captureLimits{data: max(c.DataLimit, 0), text: c.StringLimit, of: c.PayloadCalls}
	for _, name := range slices.Sorted(maps.Keys(l.of)) {
		n := l.of[name]
		if n < 0 || n > layout.SizesMaxLimit {
			return nil, fmt.Errorf("payload limit %s of %d bytes: must be 0 to %d", name, n, layout.SizesMaxLimit)
		}
		if !named(name) {
			return nil, fmt.Errorf("payload limit of %q: no call, group or class of calls has that name. Try: read, Files or Network", name)
		}
		l.list = append(l.list, n)
	}
	slices.Sort(l.list)
	if l.list = slices.Compact(l.list); len(l.list) >= layout.SizesLimits {
		return nil, fmt.Errorf("payload limits of %d different numbers: there can be %d", len(l.list), layout.SizesLimits-1)
	}
	return l, nil
}

// named tells that calls are called so, or their group or class is.
func named(name string) bool {
	for abi := range 2 {
		for _, call := range syscalls.Table(goarch, ringstore.ABI(abi)) {
			if call != nil && (call.Name == name || call.Group == name || call.Class == name) {
				return true
			}
		}
	}
	return false
}

// number is that of the limit that the data buffers of a call have, as the kernel side
// counts them: the smallest that concerns it. 0: it has none of its own.
func (l *captureLimits) number(call *syscalls.Call) uint8 {
	least := -1
	for _, name := range []string{call.Name, call.Group, call.Class} {
		if n, ok := l.of[name]; ok && (least < 0 || n < least) {
			least = n
		}
	}
	if least < 0 {
		return 0
	}
	i, _ := slices.BinarySearch(l.list, least)
	return uint8(i + 1)
}

// table is the kernel side's, by number.
func (l *captureLimits) table() (t [layout.SizesLimits]uint32) {
	for i, n := range l.list {
		t[i+1] = uint32(n)
	}
	return t
}
