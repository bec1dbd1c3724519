package verdict

import (
	"strings"

	"github.com/swoll-recorder/swoll/ringstore"
)

// Names of hosts are looked up by datagrams to port 53. What a name server answers tells
// more than that a connection was never tried.

// The answers of a name server that are failures, by their number in RFC 1035.
var answers = map[int]struct{ name, text string }{
	2: {"SERVFAIL", "could not tell"},
	3: {"NXDOMAIN", "says that there is no"},
	5: {"REFUSED", "would not tell"},
}

func isNameServer(address string) bool { return strings.HasSuffix(address, ":53") }

// answer takes in what was read from a name server.
func (p *process) answer(e *ringstore.Event, server string) {
	var data []byte
	for i := range e.Captures {
		// Of a message, the bytes follow its header.
		if c := &e.Captures[i]; c.Arg == 1 && c.Status&ringstore.CaptureExit != 0 && c.Status&ringstore.CaptureNone == 0 {
			data = c.Data
		}
	}
	const head, isResponse = 12, 0x80
	if len(data) < head || data[2]&isResponse == 0 {
		return
	}
	p.recover("poll", server)
	name := question(data[head:])
	if name == "" {
		return
	}
	code, found := int(data[3]&15), data[6]|data[7] != 0
	switch {
	case code == 0 && found:
		p.recover("dns", name)
	case answers[code].name != "":
		f := p.fail(subjectKey{"dns", name, code}, "lookup", e)
		f.opens, f.by = true, server
	}
}

// question is the name that a query or its answer is about; "" if it is not all there.
func question(b []byte) string {
	var labels []string
	for len(b) > 0 && b[0] != 0 {
		n := int(b[0])
		if n > 63 || n >= len(b) {
			return ""
		}
		labels = append(labels, strings.ToValidUTF8(string(b[1:1+n]), "\ufffd"))
		b = b[1+n:]
	}
	if len(b) == 0 {
		return ""
	}
	return strings.Join(labels, ".")
}

// waited takes in a poll that ended without an event: of a name server it waited for, no
// answer came.
func (p *process) waited(e *ringstore.Event) {
	const patience = int64(900e6) // shorter waits are looks
	c := captured(e, 0, false)
	if e.Ret != 0 || c == nil || len(c.Data) != 8 || e.Duration < patience {
		return
	}
	fd := int32(uint32(c.Data[0]) | uint32(c.Data[1])<<8 | uint32(c.Data[2])<<16 | uint32(c.Data[3])<<24)
	if server := p.files[fd]; isNameServer(server) {
		const etimedout = 110
		f := p.fail(subjectKey{"poll", server, etimedout}, "poll", e)
		f.first, f.opens = min(f.first, e.Start), true
	}
}

// unknownName are the words in which programs say that a name is not known.
var unknownName = []string{"not known", "ENOTFOUND", "no such host", "could not resolve", "EAI_", "getaddrinfo", "not resolve", "nodename", "unknown host"}

func saysUnknownName(heard string) bool {
	for _, words := range unknownName {
		if strings.Contains(strings.ToLower(heard), strings.ToLower(words)) {
			return true
		}
	}
	return false
}
